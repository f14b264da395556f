"""The server as a process: what it prints, who may ask it, that it is alone in its folder, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

from tests.fixtures.asgi import TOKEN
from tests.fixtures.server_parts import bare_app
from tunesmith.cli import app as verbs
from tunesmith.cli import serving
from tunesmith.errors import EXIT_INTERRUPTED, UserError
from tunesmith.server import health_api, listening
from tunesmith.server.listening import configuration, folder_alone, is_loopback, listening_socket
from tunesmith.server.settings import Settings

# The command line


def refused(*words: str) -> UserError:
    result: Result = CliRunner().invoke(verbs, ["serve", *words], env={"TUNESMITH_TOKEN": ""})
    assert isinstance(result.exception, UserError), result.output
    return result.exception


@pytest.fixture(autouse=True)
def nothing_listens(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """In this process the verb ends where the server would begin."""
    begun: list[Settings] = []
    monkeypatch.setattr(listening, "serve", lambda settings, ready: begun.append(settings))
    return begun


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", "127.0.0.1.evil.example", ""])
def test_other_machines_reach_it_only_by_a_flag_and_a_token_of_ones_own(
    host: str, nothing_listens: list[Settings]
) -> None:
    assert "--open-to-network" in refused("--host", host).fix
    assert "--open-to-network" in refused("--host", host, "--token", TOKEN).fix
    assert "TUNESMITH_TOKEN" in refused("--host", host, "--open-to-network").fix
    assert nothing_listens == []
    done = CliRunner().invoke(verbs, ["serve", "--host", host, "--open-to-network"], env={"TUNESMITH_TOKEN": TOKEN})
    assert done.exit_code == 0
    assert [(one.host, one.token) for one in nothing_listens] == [(host, TOKEN)]


def test_what_is_not_said_is_closed(nothing_listens: list[Settings]) -> None:
    assert CliRunner().invoke(verbs, ["serve"], env={"TUNESMITH_TOKEN": ""}).exit_code == 0
    (held,) = nothing_listens
    assert (held.host, held.hosts, held.origins) == ("127.0.0.1", (), ())
    assert len(held.token) > 64


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, nothing_listens: list[Settings]) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    fault = refused()
    assert ("uvicorn" in fault.what, "tunesmith[serve]" in fault.fix) == (True, True)
    assert nothing_listens == []


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("--token", "short"), "--token"),
        (("--answer-to", "*"), "--answer-to"),
        (("--answer-to", "http://box.lan"), "--answer-to"),
        (("--origin", "*"), "--origin"),
        (("--origin", "null"), "--origin"),
        (("--origin", "http://localhost:3000/page"), "--origin"),
        (("--model", "smollm2"), "--model"),
        (("--model", "a=x", "--model", "a=y"), "--model"),
        (("--run", "=folder"), "--run"),
        (("--run", "a=no/such/folder"), "no/such/folder"),
        (("--run", f"a={Path(__file__).parent}", "--model", "a=x"), "--model"),
    ],
)
def test_what_can_not_be_is_refused(words: tuple[str, ...], where: str, nothing_listens: list[Settings]) -> None:
    assert where in refused(*words).where
    assert nothing_listens == []


def test_what_is_said_reaches_the_server(nothing_listens: list[Settings], tmp_path: Path) -> None:
    words = f"--model a=starter:x --model b=folder=c --run r={tmp_path}"
    words += " --answer-to box.lan --origin http://localhost:3000"
    assert CliRunner().invoke(verbs, ["serve", *words.split(), "--upload-mib", "3"]).exit_code == 0
    (held,) = nothing_listens
    assert held.models == {"a": "starter:x", "b": "folder=c"}
    assert held.runs == {"r": tmp_path}
    assert (held.hosts, held.origins, held.upload_bytes) == (("box.lan",), ("http://localhost:3000",), 3 << 20)


def test_the_token_is_printed_only_where_it_was_made_here(capsys: pytest.CaptureFixture[str]) -> None:
    held = Settings(folder=Path("there"), token=TOKEN, port=1234, host="0.0.0.0", models={"a": "x"})
    serving.greet(held, shown=True)
    shown = capsys.readouterr()
    assert f"Bearer {TOKEN}" in shown.out
    assert "http://127.0.0.1:1234/v1/models" in shown.out
    assert "nothing is encrypted" in shown.err
    serving.greet(held, shown=False)
    assert TOKEN not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "10.0.0.1", "localhost.evil.example", "127.0.0.1x")],
)
def test_what_is_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own


# Folder and port


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    place = tmp_path / "new"
    with folder_alone(place), pytest.raises(UserError, match="another server"), folder_alone(place):
        pass
    with folder_alone(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_folder_that_can_not_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError), folder_alone(tmp_path / "file"):
        pass


def test_a_port_that_is_taken_is_refused() -> None:
    with listening_socket("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(UserError, match="can't listen") as fault:
            listening_socket("127.0.0.1", port)
    assert "--port" in fault.value.fix
    with pytest.raises(UserError):
        listening_socket("no.such.host.invalid", 0)


# Connections


@contextmanager
def served(folder: Path, routes: list[Route], **settings: Any) -> Iterator[int]:
    """The application behind a real socket, in a thread; its port."""
    with listening_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        app = bare_app(folder, routes, port=port, **settings)
        server = uvicorn.Server(configuration(app, app.state.server.settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            for _ in range(2000):
                if server.started:
                    break
                time.sleep(0.01)
            yield port
        finally:
            server.should_exit = True
            thread.join()


def talk(port: int, *sent: bytes) -> bytes:
    """All that comes back on one connection; each part is sent after the answer to the one before."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for number, part in enumerate(sent):
            found += line.recv(65536) if number else b""
            line.sendall(part)
        while piece := line.recv(65536):
            found += piece
    return found


def head(port: int, line: str, *more: str) -> bytes:
    lines = [line, f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {TOKEN}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_what_real_connections_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def size(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    monkeypatch.setattr(listening, "HEAD_SECONDS", 0.3)
    routes = [*health_api.routes(), Route("/size", size, methods=["POST"])]
    with served(tmp_path, routes, body_bytes=5000) as port:
        # A head that does not come, or not to its end, is given up; a body may take longer.
        assert talk(port, b"") == b""
        assert talk(port, b"GET /healthz HT") == b""
        kind = "Content-Type: application/json"
        slow = head(
            port, "POST /size HTTP/1.1", "Content-Type: application/json", "Content-Length: 4", "Connection: close"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(slow + b"12")
            time.sleep(0.6)
            line.sendall(b"34")
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
        # A connection that is kept has to send a whole further head in time too.
        answered = talk(port, head(port, "GET /healthz HTTP/1.1"), b"GET /heal")
        assert answered.count(b"HTTP/1.1 200") == 1
        # The answer to a body that is too long ends the connection, before all of it has been sent.
        chunked = head(port, "POST /size HTTP/1.1", kind, "Transfer-Encoding: chunked")
        refused = talk(port, chunked + b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n")
        assert refused.startswith(b"HTTP/1.1 413")
        assert talk(port, head(port, "GET http://evil.example/healthz HTTP/1.1", "Connection: close")).startswith(
            b"HTTP/1.1 404"
        )
        # No one may speak for another address, and the server does not say what it is made of.
        said = talk(port, head(port, "GET /healthz HTTP/1.1", "X-Forwarded-Host: evil", "Connection: close"))
        assert b"uvicorn" not in said.lower()
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(head(port, "GET /healthz HTTP/1.1", *upgrade))
            assert line.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.heavy
def test_the_command_serves_answers_and_ends(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tunesmith", "serve", "--port", "0", "--folder", str(tmp_path / "server"), "--json"]
    env = {name: value for name, value in os.environ.items() if name != "TUNESMITH_TOKEN"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            base, token = ready["base_url"].removesuffix("/v1"), ready["token"]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", base)
            assert ready["folder"] == str(tmp_path / "server")
            asked = urllib.request.Request(f"{base}/healthz", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked, timeout=60) as said:
                assert json.load(said)["status"] == "ok"
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{base}/healthz", timeout=60)
            second = subprocess.run(words, capture_output=True, text=True, env=env, check=False)
            assert (second.returncode, "another server" in second.stderr) == (2, True)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (EXIT_INTERRUPTED, "")
    mode = (tmp_path / "server").stat().st_mode
    assert mode & 0o077 == 0
