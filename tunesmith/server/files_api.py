"""The routes of files: upload, list, look at, take back, delete. A training file is read whole before it is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import Answer
from tunesmith.server.repeated import digest_of, key_of, once
from tunesmith.server.requests import listing, page_of
from tunesmith.server.training_file import check_rows
from tunesmith.server.upload_form import UploadForm

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from tunesmith.server.store import Store

TRAINING = "fine-tune"
PURPOSES = (TRAINING, "user_data")
"""What a file may be uploaded for; the second is kept as it is."""
EXPIRY = "expires_after is not applied here: a file stays until it is deleted"
ROUTE = "POST /v1/files"
READ_BYTES = 1 << 18
LIST_MOST = 10_000


def routes() -> list[Route]:
    """All routes of files."""
    from starlette.routing import Route

    return [
        Route("/v1/files", create_file, methods=["POST"]),
        Route("/v1/files", list_files, methods=["GET"]),
        Route("/v1/files/{file_id}", retrieve_file, methods=["GET"]),
        Route("/v1/files/{file_id}", delete_file, methods=["DELETE"]),
        Route("/v1/files/{file_id}/content", file_content, methods=["GET"]),
    ]


async def create_file(request: Request) -> Response:
    """Upload: the form goes to the disk as it comes in, is checked, and only then is a file.

    Raises:
        ApiFault: 400 for a form or content that is not taken, with the lines at fault; 409 for a key of another upload.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    store, key = _store(request), key_of(request)
    form = UploadForm(store.upload_path())
    try:
        await form.read(request)
        answer = await run_in_threadpool(_take, store, form, key)
    finally:
        await run_in_threadpool(form.place.unlink, missing_ok=True)
    return JSONResponse(answer.body, status_code=answer.status)


def _take(store: Store, form: UploadForm, key: str | None) -> Answer:
    """Make a file of an upload that is on the disk."""
    purpose, filename = form.fields.get("purpose"), form.filename or ""
    if purpose is None:
        raise ApiFault(400, "the form has no field 'purpose'", param="purpose", code="missing_required_parameter")
    check_purpose(purpose)
    expires = any(name.startswith("expires_after") for name in form.fields)
    data = known_of(form.place, filename=filename, purpose=purpose, expires=expires)

    def add() -> Answer:
        return Answer(200, store.add_file(form.place, filename=filename, purpose=purpose, **data).public())

    digest = digest_of({"fields": form.fields, "filename": filename, "content": form.digest})
    return once(store, key, ROUTE, digest, add)


def check_purpose(purpose: str) -> None:
    """What a file is uploaded for has to be something that this server uses.

    Raises:
        ApiFault: 400, it is not.
    """
    if purpose not in PURPOSES:
        what = f"purpose {purpose[:100]!a} is not used by this server: it takes {' and '.join(PURPOSES)}"
        raise ApiFault(400, what, param="purpose", code="invalid_value")


def known_of(place: Path, *, filename: str, purpose: str, expires: bool) -> dict[str, Any]:
    """What is kept of a file beside its content, once it has been read.

    Args:
        place: Its content.
        filename: As the client calls it.
        purpose: What it is for.
        expires: Whether the client wants it to expire, which is not applied and said so.

    Raises:
        ApiFault: 400, it is for training and holds no rows for it.
    """
    data: dict[str, Any] = {}
    if purpose == TRAINING:
        checked = check_rows(place, filename)
        data = {"kind": checked.kind, "rows": checked.rows, "notes": list(checked.notes)}
    if expires:
        data["note"] = EXPIRY
    return data


async def list_files(request: Request) -> Response:
    """Files, newest first, a page at a time.

    Raises:
        ApiFault: 400 for a page that has no meaning.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    asked = page_of(request, LIST_MOST, most=LIST_MOST)
    page = await run_in_threadpool(
        _store(request).list_files,
        purpose=request.query_params.get("purpose"),
        after=asked.after,
        limit=asked.limit,
        order=asked.order,
    )
    return JSONResponse(listing([found.public() for found in page.rows], page.has_more))


async def retrieve_file(request: Request) -> Response:
    """What is known of a file.

    Raises:
        ApiFault: 404, there is none.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    found = await run_in_threadpool(_store(request).get_file, request.path_params["file_id"])
    return JSONResponse(found.public())


async def delete_file(request: Request) -> Response:
    """Remove a file.

    Raises:
        ApiFault: 404, there is none; 409, a job that has not ended needs it.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    file_id = request.path_params["file_id"]
    await run_in_threadpool(_store(request).delete_file, file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


async def file_content(request: Request) -> Response:
    """The bytes of a file, as they were uploaded.

    Raises:
        ApiFault: 404, there is none.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import StreamingResponse

    store = _store(request)
    found = await run_in_threadpool(store.get_file, request.path_params["file_id"])
    try:
        # Open before the answer begins: one who deletes it meanwhile does not cut it off.
        content = await run_in_threadpool(Path.open, store.files / found.id, "rb")
    except FileNotFoundError as fault:
        raise ApiFault(404, f"the content of {found.id} is gone", param="id", code="file_not_found") from fault
    headers = {
        "content-length": str(found.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
    }
    return StreamingResponse(_blocks(content), media_type="application/octet-stream", headers=headers)


async def _blocks(content: BinaryIO) -> AsyncIterator[bytes]:
    from starlette.concurrency import run_in_threadpool

    with content:
        while block := await run_in_threadpool(content.read, READ_BYTES):
            yield block


def _store(request: Request) -> Store:
    store: Store = request.app.state.server.store
    return store
