"""SIGKILL of a server between the parts of an upload, within one, and at everything it does to the disk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

from tests.fixtures.served import TOKEN, served
from tests.fixtures.small_decoders import conversations
from tests.server.forking import ROOT
from tunesmith.server.store import Store
from tunesmith.server.uploads import Uploads

ROWS = "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in conversations(40)).encode()
CUT = len(ROWS) // 2 + 3
ONE_LIFE = """
import sys
from pathlib import Path
from tests.engine.server import die_at_disk_event
from tunesmith.server.store import Store
from tunesmith.server.uploads import Uploads
folder, rows, cut, count = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), int(sys.argv[4])
store = Store(folder)
uploads = Uploads(store, 1 << 20)
upload = uploads.begin(filename="rows.jsonl", purpose="fine-tune", size=len(rows), expires=False)
die_at_disk_event(count, [str(folder)], "")
ids = []
for piece in (rows[:cut], rows[cut:]):
    place = store.part_path()
    place.write_bytes(piece)
    ids.append(uploads.add(upload.id, place, len(piece)).id)
uploads.complete(upload.id, ids, None)
"""


@contextmanager
def killed_at_its_end(folder: Path, cache: Path) -> Iterator[tuple[openai.OpenAI, int]]:
    """A client of a server that gets SIGKILL when the block ends, and the server's port."""
    with served(folder, {"tiny": "none"}, cache=cache) as server:
        port = int(server.base.rpartition(":")[2].partition("/")[0])
        with openai.OpenAI(api_key=TOKEN, base_url=server.base, max_retries=0) as client:
            yield client, port
        server.process.kill()
        server.process.wait()
        # So that the fixture finds what it looks for: a server that still lives, and ends when it is asked to.
        server.process.poll = lambda: None  # type: ignore[method-assign]
        server.process.send_signal = lambda _: None  # type: ignore[method-assign,assignment]


def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with killed_at_its_end(folder, tmp_path / "cache") as (client, port):
        upload = client.uploads.create(
            bytes=len(ROWS), filename="rows.jsonl", mime_type="text/jsonl", purpose="fine-tune"
        )
        first = client.uploads.parts.create(upload.id, data=ROWS[:CUT])
        # Half of the second part is on its way when the server dies.
        with socket.create_connection(("127.0.0.1", port)) as line:
            head = f"POST /v1/uploads/{upload.id}/parts HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            head += f"Authorization: Bearer {TOKEN}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            part = b'--x\r\nContent-Disposition: form-data; name="data"; filename="b"\r\n\r\n' + b"y" * (3 << 20)
            line.sendall(head.encode() + f"Content-Length: {len(part) + 1000}\r\n\r\n".encode() + part)
            while not any(place.stat().st_size for place in (folder / "parts").glob(".uploading-*")):
                pass
    assert len(list((folder / "parts").iterdir())) == 2
    with served(folder, {"tiny": "none"}, cache=tmp_path / "cache") as server:
        assert [place.name for place in (folder / "parts").iterdir()] == [first.id]
        with openai.OpenAI(api_key=TOKEN, base_url=server.base, max_retries=0) as client:
            second = client.uploads.parts.create(upload.id, data=ROWS[CUT:])
            done = client.uploads.complete(upload.id, part_ids=[first.id, second.id])
            assert done.file is not None
            assert client.files.content(done.file.id).content == ROWS
    assert list((folder / "parts").iterdir()) == []


def test_killed_at_everything_it_does_to_the_disk(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(ROWS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    count, ended = 0, 0
    while not ended:
        count += 1
        folder = tmp_path / f"at-{count}"
        words = [sys.executable, "-c", ONE_LIFE, str(folder), str(tmp_path / "rows"), str(CUT), str(count)]
        code = subprocess.run(words, env=environment, check=False).returncode
        ended = code == 0
        assert ended or code == -signal.SIGKILL
        store = Store(folder)
        store.sweep()
        uploads = Uploads(store, 1 << 20)
        (row,) = store._all("SELECT id FROM upload")
        upload, there = store.get_upload(row["id"]), store.parts_of(row["id"])
        for piece in (ROWS[:CUT], ROWS[CUT:])[len(there) :] if upload.status == "pending" else ():
            place = store.part_path()
            place.write_bytes(piece)
            uploads.add(upload.id, place, len(piece))
        ids = upload.data.get("part_ids") or [part.id for part in store.parts_of(upload.id)]
        done = uploads.complete(upload.id, ids, None)
        (file,) = store.list_files().rows
        assert done.data["file"]["id"] == file.id
        assert store.file_path(file.id).read_bytes() == ROWS
        assert [place.name for place in store.files.iterdir()] == [file.id]
        assert list(store.parts.iterdir()) == []
        store.close()
    # Two parts that are written and named, the file that is written and named, two parts that are taken away.
    assert count > 8
