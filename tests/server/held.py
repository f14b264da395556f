"""A server of models that are held, asked in one process by the official client and by plain requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from starlette.testclient import TestClient

from tunesmith.server.app import make_app
from tunesmith.server.models import Models
from tunesmith.server.settings import Settings

PORT, TOKEN = 8642, "a-token-for-the-tests-of-a-server"


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[TestClient]:
    """Plain requests to a server of ``models`` and ``runs``."""
    wanted = Settings(folder, port=PORT, token=TOKEN, device="cpu", **settings)
    app = make_app(wanted, models=Models(wanted))
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client
        # What came with requests is gone with them.
        assert not any((folder / "incoming").glob("*"))


def official(client: TestClient) -> openai.OpenAI:
    """OpenAI's own client, which asks the same server."""
    return openai.OpenAI(api_key=TOKEN, base_url=f"http://127.0.0.1:{PORT}/v1", http_client=client, max_retries=0)


def fault_of(answer: Any) -> tuple[int, str | None, str]:
    """Status, parameter and text of a refusal."""
    said = answer.json()["error"]
    return answer.status_code, said["param"], said["message"]


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """What runs keep between them lies in a folder of the tests."""
    before = os.environ.get("TUNESMITH_CACHE")
    os.environ["TUNESMITH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TUNESMITH_CACHE"]
        else:
            os.environ["TUNESMITH_CACHE"] = before
