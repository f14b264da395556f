"""The routes of uploads in parts. What an upload is and how it ends is said elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tunesmith.server.kept import Answer
from tunesmith.server.repeated import digest_of, key_of, once
from tunesmith.server.requests import SEED, Body, Id, read_body
from tunesmith.server.upload_form import UploadForm
from tunesmith.server.uploads import MOST_PARTS, Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

TOP = "/v1/uploads"
ROUTE = f"POST {TOP}"
DATA = "data"


class ExpiresAfter(Body):
    """When the file is to expire."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class UploadBody(Body):
    """POST /v1/uploads. ``mime_type`` is the hosted API's and changes nothing here."""

    bytes: Annotated[int, Field(ge=1, lt=SEED)]
    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    mime_type: Annotated[str, Field(max_length=255)]
    purpose: Annotated[str, Field(max_length=64)]
    expires_after: ExpiresAfter | None = None


class CompleteBody(Body):
    """POST /v1/uploads/ID/complete. The parts in their order; ``md5`` of the whole, in hexadecimal."""

    part_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_PARTS)]
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


def routes() -> list[Route]:
    """All routes of uploads."""
    from starlette.routing import Route

    one = f"{TOP}/{{upload_id}}"
    return [
        Route(TOP, create_upload, methods=["POST"]),
        Route(f"{one}/parts", add_part, methods=["POST"]),
        Route(f"{one}/complete", complete_upload, methods=["POST"]),
        Route(f"{one}/cancel", cancel_upload, methods=["POST"]),
    ]


async def create_upload(request: Request) -> Response:
    """Begin an upload in parts.

    Raises:
        ApiFault: 400 for a purpose that is not used here, 413 for more bytes than a file may have, 409 for a key of
            another upload.
    """
    key, body = key_of(request), await read_body(request, UploadBody)
    uploads = _uploads(request)

    def begin() -> Answer:
        made = uploads.begin(
            filename=body.filename, purpose=body.purpose, size=body.bytes, expires=body.expires_after is not None
        )
        return Answer(200, made.public())

    def act() -> dict[str, Any]:
        uploads.give_up_old()
        return dict(once(uploads.store, key, ROUTE, digest_of(body.model_dump(exclude_none=True)), begin).body)

    return await _answered(act)


async def add_part(request: Request) -> Response:
    """Take a part: it goes to the disk as it comes in, and is one when it is whole.

    Raises:
        ApiFault: 400 for a form that is none, or an upload that has ended; 404, there is none; 413, it is too long.
    """
    from starlette.concurrency import run_in_threadpool

    uploads = _uploads(request)
    form = UploadForm(uploads.store.part_path(), DATA)
    try:
        await form.read(request)
        return await _answered(lambda: uploads.add(_id(request), form.place, form.bytes).public())
    finally:
        await run_in_threadpool(form.place.unlink, missing_ok=True)


async def complete_upload(request: Request) -> Response:
    """Make a file of the parts, in the order in which they are named.

    Raises:
        ApiFault: 400 for parts that are not all of it, for another digest, and for content that does not fit its
            purpose.
    """
    body = await read_body(request, CompleteBody)
    return await _answered(lambda: _uploads(request).complete(_id(request), body.part_ids, body.md5).public())


async def cancel_upload(request: Request) -> Response:
    """Give an upload up, and what has come of it.

    Raises:
        ApiFault: 404, there is none; 400, it has ended otherwise.
    """
    return await _answered(lambda: _uploads(request).cancel(_id(request)).public())


async def _answered(act: Callable[[], dict[str, Any]]) -> Response:
    """The store waits for its disk, so it is asked from a thread."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    return JSONResponse(await run_in_threadpool(act))


def _uploads(request: Request) -> Uploads:
    server = request.app.state.server
    found: Uploads = server.extra.setdefault("uploads", Uploads(server.store, server.settings.upload_bytes))
    return found


def _id(request: Request) -> str:
    return str(request.path_params["upload_id"])
