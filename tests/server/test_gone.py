"""A client that goes away cancels its work: over real connections, streamed or not, answered or still waiting."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from tests.fixtures.asgi import TOKEN
from tests.fixtures.small_decoders import write_decoder
from tunesmith.server import decoding
from tunesmith.server.app import make_app
from tunesmith.server.listening import configuration, listening_socket
from tunesmith.server.models import Models
from tunesmith.server.settings import Settings

LONG = 1 << 14


@contextmanager
def served(folder: Path, **models: str) -> Iterator[tuple[int, Models]]:
    """Port and models of a server behind a real socket."""
    with listening_socket("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        settings = Settings(folder, port=port, token=TOKEN, device="cpu", models=models)
        held = Models(settings)
        server = uvicorn.Server(configuration(make_app(settings, models=held), settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            until(lambda: server.started)
            yield port, held
        finally:
            server.should_exit = True
            thread.join()


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be")


def ask(port: int, *, stream: bool) -> http.client.HTTPConnection:
    """A request for more text than any test waits for."""
    body = {
        "model": "base",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": LONG,
        "stream": stream,
        "logit_bias": {"2": -100},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def growing(models: Models, name: str = "growing") -> float:
    return models.gauges()[f"tunesmith_answers_{name}"][1][()]


def test_work_ends_with_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_decoder(tmp_path / "base", longest=2 * LONG, max_position_embeddings=2 * LONG)
    monkeypatch.setattr(decoding, "MOST_ROWS", 2)
    with served(tmp_path / "server", base=str(base)) as (port, models):
        streamed = ask(port, stream=True)
        answer = streamed.getresponse()
        assert answer.status == 200
        assert answer.readline().startswith(b"data: {")
        whole = ask(port, stream=False)
        until(lambda: growing(models) == 2)
        waits = ask(port, stream=True)
        until(lambda: growing(models, "waiting") == 1)
        waits.close()
        until(lambda: growing(models, "waiting") == 0)
        answer.close()
        streamed.close()
        until(lambda: growing(models) == 1)
        whole.close()
        until(lambda: growing(models) == 0)
        wrote = models.gauges()["tunesmith_tokens_written"][1][()]
        until(lambda: [held.users for held in models._held.values()] == [0])
    assert 0 < wrote < 2 * LONG
