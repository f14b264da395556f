"""Files that come in parts: by the official client, cut off at any moment, completed twice, too long, too late."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fixtures.asgi import GOOD, HOST, TOKEN, Said, ask
from tests.fixtures.full_disk import no_more_than
from tests.fixtures.server_parts import bare_app
from tests.fixtures.small_decoders import conversations
from tunesmith.server import files_api, uploads_api
from tunesmith.server.faults import ApiFault
from tunesmith.server.security import PART_BYTES
from tunesmith.server.store import Store
from tunesmith.server.uploads import SECONDS, Uploads

ROWS = "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in conversations(40)).encode()
BOUNDARY = "between-parts-7f3a"
FORM = [*GOOD, ("content-type", f"multipart/form-data; boundary={BOUNDARY}")]
JSON = [*GOOD, ("content-type", "application/json")]
TOP = "/v1/uploads"
MIB = 1 << 20


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Starlette]:
    made = bare_app(tmp_path, [*files_api.routes(), *uploads_api.routes()], upload_bytes=4 * MIB)
    yield made
    made.state.server.store.close()


@pytest.fixture
def client(app: Starlette) -> Iterator[openai.OpenAI]:
    with TestClient(app, base_url=f"http://{HOST}") as plain:
        yield openai.OpenAI(api_key=TOKEN, base_url=f"http://{HOST}/v1", http_client=plain, max_retries=0)


def begun(client: openai.OpenAI, content: bytes = ROWS, **changes: Any) -> Any:
    asked = {"bytes": len(content), "filename": "rows.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    return client.uploads.create(**asked | changes)


def halves(client: openai.OpenAI, upload: Any, content: bytes = ROWS) -> list[str]:
    """The ids of its two parts, whose cut goes through the middle of a row."""
    middle = len(content) // 2 + 3
    pieces = (content[:middle], content[middle:])
    return [client.uploads.parts.create(upload.id, data=piece).id for piece in pieces]


def on_disk(app: Any) -> list[str]:
    store: Store = app.state.server.store
    return sorted(place.name for folder in (store.files, store.parts) for place in folder.iterdir())


def part_of(content: bytes, name: str = "data") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="blob"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(app: Any, path: str, **body: Any) -> Said:
    return ask(app, "POST", path, JSON, json.dumps(body).encode())


def test_the_client_uploads_a_file_in_parts(app: Starlette, client: openai.OpenAI, tmp_path: Path) -> None:
    place = tmp_path / "the rows.jsonl"
    place.write_bytes(ROWS)
    done = client.uploads.upload_file_chunked(
        file=place, mime_type="text/jsonl", purpose="fine-tune", part_size=700, md5=hashlib.md5(ROWS).hexdigest()
    )
    assert (done.object, done.status, done.bytes, done.filename) == ("upload", "completed", len(ROWS), "the rows.jsonl")
    assert done.expires_at == done.created_at + SECONDS
    assert done.file is not None
    assert done.file == client.files.retrieve(done.file.id)
    assert (done.file.purpose, done.file.bytes, done.file.status) == ("fine-tune", len(ROWS), "processed")
    assert client.files.content(done.file.id).content == ROWS
    # It is a training file like any other, and no part is left.
    data = app.state.server.store.get_file(done.file.id).data
    assert (data["kind"], data["rows"]) == ("conversation", 40)
    assert on_disk(app) == [done.file.id]
    in_memory = client.uploads.upload_file_chunked(
        file=ROWS, filename="../../etc/passwd", bytes=len(ROWS), mime_type="text/jsonl", purpose="user_data"
    )
    assert in_memory.filename == "passwd"


def test_the_order_is_that_of_the_ids_and_other_parts_are_dropped(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    late = client.uploads.parts.create(upload.id, data=ROWS[500:])
    assert (late.object, late.upload_id) == ("upload.part", upload.id)
    client.uploads.parts.create(upload.id, data=b"whose answer was lost")
    early = client.uploads.parts.create(upload.id, data=ROWS[:500])
    done = client.uploads.complete(upload.id, part_ids=[early.id, late.id])
    assert done.file is not None
    assert client.files.content(done.file.id).content == ROWS
    assert on_disk(app) == [done.file.id]


def test_completing_twice_makes_one_file(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    ids = halves(client, upload)
    first, second = (client.uploads.complete(upload.id, part_ids=ids) for _ in range(2))
    assert first == second
    assert len(list(client.files.list())) == 1
    for wrong in ({"part_ids": ids[::-1]}, {"part_ids": ids, "md5": "0" * 32}):
        with pytest.raises(openai.BadRequestError, match="completed with other parts") as fault:
            client.uploads.complete(upload.id, **wrong)  # type: ignore[arg-type]
        assert fault.value.code == "upload_has_ended"
    with pytest.raises(openai.BadRequestError, match="can't take another part: it is completed"):
        client.uploads.parts.create(upload.id, data=b"more")
    with pytest.raises(openai.BadRequestError, match="can't be cancelled: it is completed"):
        client.uploads.cancel(upload.id)
    assert on_disk(app) == [first.file.id]  # type: ignore[union-attr]


def test_completing_at_one_time_makes_one_file(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    ids = halves(client, upload)
    uploads: Uploads = app.state.server.extra["uploads"]
    meeting, found = threading.Barrier(4), []

    def complete() -> None:
        meeting.wait(60)
        found.append(uploads.complete(upload.id, ids, None).public())

    threads = [threading.Thread(target=complete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    files = [file.id for file in client.files.list()]
    assert len(files) == 1
    assert [one["file"]["id"] for one in found] == files * 4
    assert on_disk(app) == files


def test_a_cancelled_upload_leaves_nothing(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    ids = halves(client, upload)
    assert len(on_disk(app)) == 2
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert on_disk(app) == []
    for act in (
        lambda: client.uploads.complete(upload.id, part_ids=ids),
        lambda: client.uploads.parts.create(upload.id, data=b"x"),
    ):
        with pytest.raises(openai.BadRequestError, match="it is cancelled") as fault:
            act()
        assert (fault.value.code, fault.value.param) == ("upload_has_ended", "upload_id")
    assert on_disk(app) == []


def test_what_does_not_fit_together_is_said_and_the_upload_waits_on(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    ids = halves(client, upload)
    refused: list[tuple[dict[str, Any], str, str, str]] = [
        ({"part_ids": ids[:1]}, "part_ids", "invalid_size", "was begun for"),
        ({"part_ids": [*ids, ids[0]]}, "part_ids", "invalid_part", "named twice"),
        ({"part_ids": [ids[0], "part_none"]}, "part_ids", "invalid_part", "is no part of it"),
        ({"part_ids": ids, "md5": hashlib.md5(b"").hexdigest()}, "md5", "md5_mismatch", "damaged on its way"),
        ({"part_ids": ids[::-1]}, "file", "invalid_file_format", "rows.jsonl: line 1 is not valid JSON"),
    ]
    for body, param, code, said in refused:
        with pytest.raises(openai.BadRequestError, match=said) as fault:
            client.uploads.complete(upload.id, **body)
        assert (fault.value.param, fault.value.code) == (param, code)
        assert on_disk(app) == sorted(ids)
    assert list(client.files.list()) == []
    assert client.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(ROWS).hexdigest().upper()).file is not None


def test_parts_of_another_upload_are_none_of_this_one(client: openai.OpenAI) -> None:
    one, other = begun(client), begun(client)
    ids = halves(client, one)
    with pytest.raises(openai.BadRequestError, match="is no part of it"):
        client.uploads.complete(other.id, part_ids=ids)
    for act in (client.uploads.cancel, lambda name: client.uploads.parts.create(name, data=b"x")):
        with pytest.raises(openai.NotFoundError, match="No such Upload object: upload_none"):
            act("upload_none")


def test_how_long_files_and_parts_may_be(app: Starlette, client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="may have 4,194,304 bytes here") as fault:
        begun(client, bytes=4 * MIB + 1)
    assert (fault.value.status_code, fault.value.param) == (413, "bytes")
    upload = begun(client, bytes=100)
    path = f"{TOP}/{upload.id}/parts"
    # What is longer than a file may be does not come in whole, whether its length is told or not.
    told = ask(app, "POST", path, [*FORM, ("content-length", str(5 << 30))], b"")
    assert (told.status, told.pieces_taken) == (413, 0)
    untold = ask(app, "POST", path, FORM, (part_of(b"")[:90], *[b"x" * MIB] * 100))
    assert (untold.status, untold.error()["code"]) == (413, "body_too_large")
    assert untold.pieces_taken <= 7
    assert ask(app, "POST", path, FORM, part_of(b"")).error()["message"] == "a part has at least one byte"
    # A part may come twice, and not without end.
    for _ in range(2):
        client.uploads.parts.create(upload.id, data=b"x" * 100)
    with pytest.raises(openai.BadRequestError, match="complete it, or cancel it") as full:
        client.uploads.parts.create(upload.id, data=b"x")
    assert full.value.code == "upload_full"
    assert len(on_disk(app)) == 2


def test_a_part_has_the_hosted_limit(tmp_path: Path) -> None:
    app = bare_app(tmp_path, uploads_api.routes())
    store: Store = app.state.server.store
    uploads = Uploads(store, 1 << 40)
    upload = uploads.begin(filename="x", purpose="user_data", size=1 << 30, expires=False)
    place = store.part_path()
    place.write_bytes(b"x")
    with pytest.raises(ApiFault, match="at most 67,108,864 bytes"):
        uploads.add(upload.id, place, PART_BYTES + 1)
    # The gate lets a whole part through, with the form around it, where another body may be half as long.
    declared = ("content-length", str(PART_BYTES + 1000))
    assert ask(app, "POST", f"{TOP}/x/parts", [*FORM, declared], part_of(b"x")).error()["code"] == "upload_not_found"
    assert ask(app, "POST", f"{TOP}/x/complete", [*JSON, declared], b"{}").status == 413
    store.close()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": "5"}, "bytes"),
        ({"filename": ""}, "filename"),
        ({"purpose": "batch"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_no_upload_is_begun_with(app: Starlette, change: dict[str, Any], param: str) -> None:
    asked = {"bytes": 5, "filename": "rows.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    said = send(app, TOP, **asked | change)
    assert (said.status, said.error()["param"]) == (400, param)
    assert app.state.server.store.pending_uploads(1 << 40) == []


def test_a_form_is_for_parts_alone_and_its_part_is_called_data(app: Starlette, client: openai.OpenAI) -> None:
    upload = begun(client)
    path = f"{TOP}/{upload.id}"
    for place in (TOP, f"{path}/complete", f"{path}/cancel"):
        assert ask(app, "POST", place, FORM, part_of(b"x")).status == 415
    assert send(app, f"{path}/parts", data="x").status == 415
    wrong = ask(app, "POST", f"{path}/parts", FORM, part_of(b"x", "file"))
    assert (wrong.status, wrong.error()["param"]) == (400, "data")
    assert on_disk(app) == []


def test_the_next_upload_takes_away_what_has_expired(tmp_path: Path) -> None:
    app = bare_app(tmp_path, uploads_api.routes())
    store: Store = app.state.server.store
    steady = [0.0]
    app.state.server.extra["uploads"] = uploads = Uploads(store, MIB, monotonic=lambda: steady[0])
    old = uploads.begin(filename="x", purpose="user_data", size=4, expires=False)
    store.clock, steady[0] = (lambda: old.expires + 1.0), SECONDS + 1.0
    asked = {"bytes": 5, "filename": "rows.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    assert send(app, TOP, **asked).status == 200
    assert store.get_upload(old.id).status == "expired"
    store.close()


def test_one_key_begins_one_upload(client: openai.OpenAI, app: Starlette) -> None:
    key = {"Idempotency-Key": "one-and-the-same"}
    assert begun(client, extra_headers=key) == begun(client, extra_headers=key)
    with pytest.raises(openai.ConflictError):
        begun(client, bytes=7, extra_headers=key)
    assert len(app.state.server.store.pending_uploads(1 << 40)) == 1


# Time


def test_an_upload_that_is_not_completed_expires(tmp_path: Path) -> None:
    wall, steady = [1_000_000.0], [50.0]
    store = Store(tmp_path, clock=lambda: wall[0])
    uploads = Uploads(store, MIB, monotonic=lambda: steady[0])

    def begin() -> str:
        uploads.give_up_old()
        upload = uploads.begin(filename="x", purpose="user_data", size=4, expires=False)
        place = store.part_path()
        place.write_bytes(b"half")
        uploads.add(upload.id, place, 4)
        return upload.id

    first = begin()
    wall[0] += SECONDS - 1
    steady[0] += SECONDS - 1
    second = begin()
    wall[0] += 1
    steady[0] += 1
    with pytest.raises(ApiFault, match="can't be completed: it is expired"):
        uploads.complete(first, [part.id for part in store.parts_of(first)], None)
    assert [store.get_upload(name).status for name in (first, second)] == ["expired", "pending"]
    assert len(list(store.parts.iterdir())) == 1
    with pytest.raises(ApiFault, match="can't be cancelled: it is expired"):
        uploads.cancel(first)
    # Nobody asks for the second any more: the next upload takes it away.
    wall[0] += SECONDS
    steady[0] += SECONDS
    third = begin()
    assert [store.get_upload(name).status for name in (second, third)] == ["expired", "pending"]
    assert [place.name for place in store.parts.iterdir()] == [part.id for part in store.parts_of(third)]
    store.close()


@pytest.mark.parametrize("jump", [10**9, -(10**9)])
def test_a_clock_that_jumps_takes_no_upload_away(tmp_path: Path, jump: int) -> None:
    wall, steady = [2_000_000_000.0], [0.0]
    store = Store(tmp_path, clock=lambda: wall[0])
    uploads = Uploads(store, MIB, monotonic=lambda: steady[0])
    upload = uploads.begin(filename="x", purpose="user_data", size=4, expires=False)
    place = store.part_path()
    place.write_bytes(b"all.")
    part = uploads.add(upload.id, place, 4)
    wall[0] += jump
    uploads.give_up_old()
    # Nor after a restart, which knows no more how long it has waited.
    again = Uploads(store, MIB, monotonic=lambda: steady[0])
    again.give_up_old()
    assert again.complete(upload.id, [part.id], None).status == "completed"
    store.close()


# What is cut off


def test_a_full_disk_leaves_the_upload_as_it_was(app: Starlette, client: openai.OpenAI) -> None:
    content = ROWS * 40
    upload = begun(client, content)
    first = client.uploads.parts.create(upload.id, data=content[:1000])
    with no_more_than(50_000):
        said = ask(app, "POST", f"{TOP}/{upload.id}/parts", FORM, part_of(content[1000:]))
        assert (said.status, said.error()["code"]) == (507, "insufficient_storage")
    assert on_disk(app) == [first.id]
    second = client.uploads.parts.create(upload.id, data=content[1000:])
    with no_more_than(50_000), pytest.raises(openai.InternalServerError, match="disk is full") as fault:
        client.uploads.complete(upload.id, part_ids=[first.id, second.id])
    assert fault.value.status_code == 507
    assert on_disk(app) == sorted([first.id, second.id])
    done = client.uploads.complete(upload.id, part_ids=[first.id, second.id])
    assert done.file is not None
    assert client.files.content(done.file.id).content == content


def test_what_fails_while_the_file_is_made_is_undone(
    app: Starlette, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begun(client)
    ids = halves(client, upload)
    store: Store = app.state.server.store

    def fail(*_: Any, **__: Any) -> None:
        raise ApiFault(507, "full", code="insufficient_storage")

    with monkeypatch.context() as patch:
        patch.setattr(store, "end_upload", fail)
        with pytest.raises(openai.InternalServerError):
            client.uploads.complete(upload.id, part_ids=ids)
    assert list(client.files.list()) == []
    # The file had its name already; the next start takes it away, and leaves the parts.
    assert store.sweep() == 1
    assert on_disk(app) == sorted(ids)
    assert client.uploads.complete(upload.id, part_ids=ids).status == "completed"


def test_a_folder_of_an_older_version_takes_uploads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = store.add_job(status="queued")["id"]
    for table in ("upload", "upload_part"):
        store._db.execute(f"DROP TABLE {table}")
    store.close()
    again = Store(tmp_path)
    assert again.get_job(kept)["status"] == "queued"
    upload = Uploads(again, MIB).begin(filename="x", purpose="user_data", size=4, expires=True)
    assert again.get_upload(upload.id) == upload
    again.close()
