"""The routes of files: what is uploaded comes back as it was, and what can't be learned from is no file."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.fixtures.asgi import GOOD, Said, ask, asked
from tests.fixtures.full_disk import no_more_than
from tests.fixtures.server_parts import bare_app
from tunesmith.server import files_api
from tunesmith.server.security import POURED_BYTES

BOUNDARY = "between-parts-7f3a"
FORM = [*GOOD, ("content-type", f"multipart/form-data; boundary={BOUNDARY}")]
TALK = {"messages": [{"role": "user", "content": "two and two?"}, {"role": "assistant", "content": "four"}]}
CALL = {
    "messages": [
        {"role": "user", "content": "rain in Graz?"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "rain", "arguments": '{"place": "Graz"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "no"},
        {"role": "assistant", "content": "No."},
    ],
    "tools": [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object", "properties": {}}}}],
    "parallel_tool_calls": False,
}
PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "hello"}], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [{"role": "assistant", "content": "Good morning."}],
    "non_preferred_output": [{"role": "assistant", "content": "What?"}],
}
MIB = 1 << 20


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Starlette]:
    made = bare_app(tmp_path / "server", files_api.routes(), upload_bytes=4 * MIB)
    yield made
    made.state.server.store.close()


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    head = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form(content: bytes, filename: str = "rows.jsonl", purpose: str = "fine-tune", **fields: str) -> bytes:
    texts = b"".join(part(name, value.encode()) for name, value in {"purpose": purpose, **fields}.items())
    return texts + part("file", content, filename) + END


def upload(app: Any, body: bytes | Iterable[bytes], **headers: str) -> Said:
    return ask(app, "POST", "/v1/files", [*FORM, *((k.replace("_", "-"), v) for k, v in headers.items())], body)


def on_disk(app: Any) -> list[str]:
    return sorted(place.name for place in app.state.server.store.files.iterdir())


def json_of(said: Said) -> Any:
    assert said.status == 200, said.body
    return json.loads(said.body)


def test_what_was_uploaded_comes_back_byte_for_byte(app: Starlette) -> None:
    content = b"\xef\xbb\xbf" + lines(TALK).replace(b"\n", b"\r\n") + '{"text": "ä\u2028"}'.encode()
    made = json_of(upload(app, form(content, "talks.jsonl")))
    assert made == {
        "id": made["id"],
        "object": "file",
        "bytes": len(content),
        "created_at": made["created_at"],
        "expires_at": None,
        "filename": "talks.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
        "status_details": None,
    }
    assert json_of(ask(app, "GET", f"/v1/files/{made['id']}")) == made
    said = ask(app, "GET", f"/v1/files/{made['id']}/content")
    assert said.body == content
    assert said.headers["content-type"] == "application/octet-stream"
    assert said.headers["content-disposition"] == "attachment; filename*=UTF-8''talks.jsonl"
    assert on_disk(app) == [made["id"]]


@pytest.mark.parametrize("size", [1, 7, 61, 1000])
def test_a_form_may_come_in_any_pieces_and_order(app: Starlette, size: int) -> None:
    content = lines(TALK, CALL) + f"\r\n--{BOUNDARY[:-1]}\r\n".encode() * 3
    body = part("file", content, "x") + part("purpose", b"user_data") + END
    made = json_of(upload(app, (body[at : at + size] for at in range(0, len(body), size))))
    assert ask(app, "GET", f"/v1/files/{made['id']}/content").body == content


def test_uploads_at_one_time_do_not_mix(app: Starlette) -> None:
    contents = [lines(*[{**TALK, "n": n}] * 300) for n in range(5)]

    async def all_at_once() -> list[Said]:
        def pieces(body: bytes) -> Iterator[bytes]:
            return (body[at : at + 999] for at in range(0, len(body), 999))

        return await asyncio.gather(*(asked(app, "POST", "/v1/files", FORM, pieces(form(c))) for c in contents))

    for said, content in zip(asyncio.run(all_at_once()), contents, strict=True):
        assert ask(app, "GET", f"/v1/files/{json_of(said)['id']}/content").body == content


@pytest.mark.parametrize(
    ("rows", "kind"),
    [([TALK], "conversation"), ([TALK, CALL], "conversation"), ([PREFERENCE, PREFERENCE], "preference")],
)
def test_rows_of_every_method_are_taken_and_counted(app: Starlette, rows: list[Any], kind: str) -> None:
    made = json_of(upload(app, form(lines(*rows))))
    data = app.state.server.store.get_file(made["id"]).data
    assert (data["kind"], data["rows"]) == (kind, len(rows))


def test_invalid_json_at_line_40017_is_named(app: Starlette) -> None:
    talk = lines(TALK)
    content = talk * 40_016 + b'{"messages": [{"role": "user", "content": no end}\n' + talk * 5
    assert len(content) < 8 * MIB
    app = bare_app(app.state.server.settings.folder / "wide", files_api.routes(), upload_bytes=8 * MIB)
    said = upload(app, form(content))
    assert said.status == 400
    assert said.error()["type"] == "invalid_request_error"
    assert (said.error()["code"], said.error()["param"]) == ("invalid_file_format", "file")
    assert "rows.jsonl: line 40,017 is not valid JSON at column 43 (Expecting value)" in said.error()["message"]
    assert "line 40,018" not in said.error()["message"]
    assert on_disk(app) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n\n  \n", "empty"),
        (b"PK\x03\x04 and more", "zip archive"),
        (b"\x1f\x8b\x08 and more", "compressed with gzip"),
        (b"\x00\x01\x02\xff" * 100, "not a text file"),
        (json.dumps([TALK, TALK]).encode(), "line 1 is a list, not an object"),
        (lines(TALK, "text"), "line 2 is a text, not an object"),
        (b"prompt,completion\na,b\n", "line 1 is not valid JSON"),
        (lines(TALK, {"messages": TALK["messages"][:1]}), "line 2 has no assistant message"),
        (lines(TALK, {"messages": [{"role": "robot", "content": "x"}]}), "line 2"),
        (lines(TALK, PREFERENCE), "line 2 fits no known shape"),
        (lines(PREFERENCE, TALK), "line 2 fits no known shape"),
        (lines({**PREFERENCE, "preferred_output": []}), "line 1"),
        (lines({"a": 1}), "line 1 fits no known shape"),
        (b"[" * 100_000 + b"\n", "line 1"),
    ],
)
def test_what_holds_no_training_rows_is_refused(app: Starlette, content: bytes, what: str) -> None:
    said = upload(app, form(content))
    assert (said.status, said.error()["code"]) == (400, "invalid_file_format")
    assert what in said.error()["message"]
    assert on_disk(app) == []
    assert json_of(ask(app, "GET", "/v1/files"))["data"] == []


def test_a_file_with_many_faults_names_the_first_few(app: Starlette) -> None:
    message = upload(app, form(lines(TALK) + b"no\n" * 1000)).error()["message"]
    assert [f"line {n} is not" in message for n in range(1, 8)] == [False, *[True] * 5, False]
    assert "there may be more" in message


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (part("file", lines(TALK), "x") + END, "purpose", "missing_required_parameter"),
        (form(lines(TALK), purpose="batch"), "purpose", "invalid_value"),
        (part("purpose", b"fine-tune") + END, "file", "missing_required_parameter"),
        (part("purpose", b"fine-tune") + part("file", lines(TALK)) + END, "file", "missing_required_parameter"),
        (part("file", b"a", "x") + form(lines(TALK)), "file", "invalid_form"),
        (part("other", b"a", "x") + form(lines(TALK)), "file", "invalid_form"),
        (part("x", b"a") * 33 + form(lines(TALK)), None, "invalid_form"),
        (form(lines(TALK), note="x" * 5000), "note", "invalid_form"),
        (form(lines(TALK))[: -len(END)], None, "invalid_form"),
        (b"no form at all", None, "invalid_form"),
        (b"", None, "invalid_form"),
        (b"--" + BOUNDARY.encode() + b"\r\nX: " + b"a" * 10_000 + b"\r\n\r\nb", None, "invalid_form"),
    ],
)
def test_what_is_no_such_form_is_refused(app: Starlette, body: bytes, param: str | None, code: str) -> None:
    said = upload(app, body)
    assert (said.status, said.error()["param"], said.error()["code"]) == (400, param, code)
    assert on_disk(app) == []


@pytest.mark.parametrize(
    ("kind", "status"), [("application/json", 415), ("multipart/form-data", 400), ("text/plain", 415)]
)
def test_a_body_of_another_kind_is_refused(app: Starlette, kind: str, status: int) -> None:
    assert ask(app, "POST", "/v1/files", [*GOOD, ("content-type", kind)], b"{}").status == status


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..\\..\\evil.jsonl", "/abs/a b.jsonl", "nul\tl\x7f.jsonl", ""]
)
def test_a_clients_name_is_never_a_path(app: Starlette, name: str) -> None:
    made = json_of(upload(app, form(lines(TALK), name)))
    assert not set(made["filename"]) & set("/\\\t\x7f")
    assert made["filename"]
    assert on_disk(app) == [made["id"]]
    said = ask(app, "GET", f"/v1/files/{made['id']}/content")
    assert said.headers["content-disposition"].isascii()
    for wrong in ("..%2fserver.sqlite", "..", "%00", "server.sqlite"):
        assert ask(app, "GET", f"/v1/files/{wrong}/content").status == 404


def test_expiry_is_not_applied_and_that_is_said(app: Starlette) -> None:
    made = json_of(
        upload(app, form(lines(TALK), **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}))
    )
    assert made["expires_at"] is None
    assert "not applied" in made["status_details"]


def test_a_second_upload_with_one_key_is_the_first(app: Starlette) -> None:
    first = upload(app, form(lines(TALK)), idempotency_key="k-1")
    again = upload(app, [form(lines(TALK))[:50], form(lines(TALK))[50:]], idempotency_key="k-1")
    assert json_of(again) == json_of(first)
    other = upload(app, form(lines(TALK, TALK)), idempotency_key="k-1")
    assert (other.status, other.error()["code"]) == (409, "idempotency_key_reused")
    assert on_disk(app) == [json_of(first)["id"]]
    assert upload(app, form(lines(TALK)), idempotency_key="a b").error()["code"] == "invalid_idempotency_key"
    assert json_of(upload(app, form(lines(TALK)), idempotency_key="k-2"))["id"] != json_of(first)["id"]


def test_files_are_listed_in_pages_and_deleted(app: Starlette) -> None:
    ids = [json_of(upload(app, form(lines(TALK), purpose=purpose)))["id"] for purpose in ("fine-tune", "user_data") * 2]
    whole = json_of(ask(app, "GET", "/v1/files"))
    assert [file["id"] for file in whole["data"]] == ids[::-1]
    assert (whole["object"], whole["has_more"], whole["first_id"], whole["last_id"]) == ("list", False, ids[3], ids[0])
    page = json_of(ask(app, "GET", f"/v1/files?order=asc&limit=2&after={ids[0]}"))
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (ids[1:3], True)
    assert [f["id"] for f in json_of(ask(app, "GET", "/v1/files?purpose=user_data"))["data"]] == [ids[3], ids[1]]
    for wrong in ("limit=0", "limit=10001", "limit=x", "order=up", "after=file-nope"):
        said = ask(app, "GET", f"/v1/files?{wrong}")
        assert (said.status, said.error()["param"]) == (400, wrong.partition("=")[0])
    assert json_of(ask(app, "DELETE", f"/v1/files/{ids[0]}")) == {"id": ids[0], "object": "file", "deleted": True}
    for method, path in (("DELETE", ids[0]), ("GET", ids[0]), ("GET", f"{ids[0]}/content")):
        said = ask(app, method, f"/v1/files/{path}")
        assert (said.status, said.error()["code"]) == (404, "file_not_found")
    assert on_disk(app) == sorted(ids[1:])


def test_a_file_whose_job_has_not_ended_is_not_deleted(app: Starlette) -> None:
    file = json_of(upload(app, form(lines(TALK))))["id"]
    app.state.server.store.add_job(training_file=file)
    said = ask(app, "DELETE", f"/v1/files/{file}")
    assert (said.status, said.error()["code"]) == (409, "file_in_use")
    assert ask(app, "GET", f"/v1/files/{file}/content").body == lines(TALK)


def test_a_full_disk_is_said_and_leaves_nothing(app: Starlette) -> None:
    before = json_of(upload(app, form(lines(TALK))))["id"]
    row = lines({**TALK, "long": "x" * 1000})
    body = form(row * 2500)
    with no_more_than(1_500_000):
        said = upload(app, (body[at : at + 65_536] for at in range(0, len(body), 65_536)))
    assert (said.status, said.error()["code"]) == (507, "insufficient_storage")
    assert said.pieces_taken < len(body) // 65_536
    # What is still on its way is not waited for.
    assert said.headers["connection"] == "close"
    assert on_disk(app) == [before]
    assert json_of(upload(app, body))["bytes"] == len(row) * 2500


def test_a_client_that_goes_away_leaves_nothing(app: Starlette) -> None:
    body = form(lines(TALK) * 50)
    coming = iter([{"type": "http.request", "body": body[:2000], "more_body": True}, {"type": "http.disconnect"}])
    seen: list[list[str]] = []
    sent: list[Any] = []

    async def receive() -> Any:
        seen.append(on_disk(app))
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/files",
             "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 8642),
             "headers": [(name.encode(), value.encode()) for name, value in FORM]}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    # It was on the disk while it came in.
    assert [len(names) for names in seen] == [1, 1]
    assert seen[1][0].startswith(".uploading-")
    assert on_disk(app) == []
    assert sent[0]["status"] == 400


def five_gigabytes(taken: list[int]) -> Iterator[bytes]:
    yield form(b"")[: -len(END) - 2]
    piece = b"x" * MIB
    for _ in range(5 << 10):
        taken.append(MIB)
        yield piece


def test_five_gigabytes_are_refused_before_they_have_come(app: Starlette) -> None:
    declared = upload(app, five_gigabytes([]), content_length=str(5 << 30))
    assert (declared.status, declared.error()["code"], declared.pieces_taken) == (413, "body_too_large", 0)
    taken: list[int] = []
    undeclared = upload(app, five_gigabytes(taken))
    assert (undeclared.status, undeclared.error()["code"]) == (413, "body_too_large")
    assert undeclared.pieces_taken <= 6
    assert sum(taken) <= 5 * MIB + POURED_BYTES
    assert on_disk(app) == []


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    """The application at a port of its own, as the command runs it."""
    import uvicorn

    from tunesmith.server.listening import configuration, listening_socket

    bound = listening_socket("127.0.0.1", 0)
    server = uvicorn.Server(configuration(app, app.state.server.settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def test_the_official_client_uploads_reads_and_is_told_what_is_wrong(tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    app = bare_app(tmp_path, files_api.routes(), port=0, upload_bytes=2 * MIB)
    token = app.state.server.settings.token
    with listening(app) as url, openai.OpenAI(api_key=token, base_url=url, max_retries=0) as client:
        content = lines(TALK, CALL)
        made = client.files.create(file=('tälk "1".jsonl', content), purpose="fine-tune")
        assert client.files.wait_for_processing(made.id).status == "processed"
        assert client.files.content(made.id).read() == content
        assert [file.id for file in client.files.list(limit=1)] == [made.id]
        with pytest.raises(openai.BadRequestError, match="line 2 is not valid JSON") as fault:
            client.files.create(file=("x.jsonl", lines(TALK) + b"{"), purpose="fine-tune")
        assert (fault.value.code, fault.value.param) == ("invalid_file_format", "file")
        with pytest.raises(openai.APIStatusError, match="longer than") as fault:
            client.files.create(file=("x.jsonl", b"x" * 30 * MIB), purpose="fine-tune")
        assert fault.value.status_code == 413
        assert client.files.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            client.files.retrieve(made.id)


def test_five_gigabytes_in_chunks_over_a_socket_are_refused(tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    app = bare_app(tmp_path, files_api.routes(), port=0, upload_bytes=2 * MIB)
    taken: list[int] = []
    with listening(app) as url:
        said = httpx.post(f"{url}/files", content=five_gigabytes(taken), headers=dict(FORM[1:]), timeout=30)
    assert (said.status_code, said.json()["error"]["code"]) == (413, "body_too_large")
    assert sum(taken) < 2 * MIB + POURED_BYTES + 32 * MIB
    assert on_disk(app) == []
