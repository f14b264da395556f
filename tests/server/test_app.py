"""The application: faults in the API's shape, what is started and stopped with it, what it measures of itself."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.fixtures.asgi import GOOD, HOST, ask
from tests.fixtures.server_parts import bare_app
from tunesmith.errors import UserError
from tunesmith.server import health_api
from tunesmith.server.app import Server
from tunesmith.server.faults import ApiFault
from tunesmith.server.measures import Measures

SECRET_PLACE = "/home/someone/secret/place"


def failing(fault: Exception) -> Any:
    async def endpoint(request: Request) -> Response:
        raise fault

    return endpoint


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        (
            ApiFault(404, "no model x", param="model", code="model_not_found"),
            404,
            "invalid_request_error",
            "model_not_found",
        ),
        (
            ApiFault(429, "full", code="rate_limit_exceeded", retry_after=2.4),
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (UserError("the rows are empty", SECRET_PLACE, "add some"), 400, "invalid_request_error", "invalid_request"),
        (OSError(errno.ENOSPC, "No space left on device", SECRET_PLACE), 507, "server_error", "insufficient_storage"),
        (OSError(errno.EFBIG, "File too large", SECRET_PLACE), 507, "server_error", "insufficient_storage"),
    ],
)
def test_faults_come_in_the_apis_shape(tmp_path: Path, fault: Exception, status: int, kind: str, code: str) -> None:
    said = ask(bare_app(tmp_path, [Route("/x", failing(fault))]), "GET", "/x")
    assert (said.status, said.error()["type"], said.error()["code"]) == (status, kind, code)
    assert set(said.error()) == {"message", "type", "param", "code"}
    assert SECRET_PLACE.encode() not in said.body
    assert said.headers.get("retry-after") == ("2" if status == 429 else None)


@pytest.mark.parametrize("fault", [KeyError(SECRET_PLACE), OSError(errno.EACCES, "Permission denied", SECRET_PLACE)])
def test_what_no_one_foresaw_is_told_to_the_terminal_and_not_to_the_client(tmp_path: Path, fault: Exception) -> None:
    app = bare_app(tmp_path, [Route("/x", failing(fault))])
    said = TestClient(app, base_url=f"http://{HOST}", headers=dict(GOOD), raise_server_exceptions=False).get("/x")
    assert (said.status_code, said.json()["error"]["type"]) == (500, "server_error")
    assert SECRET_PLACE not in said.text
    assert said.headers["x-content-type-options"] == "nosniff"
    # It goes on to uvicorn, which writes it to the terminal.
    with pytest.raises(type(fault), match=SECRET_PLACE):
        ask(app, "GET", "/x")


def test_what_is_not_there_is_said_in_the_apis_shape(tmp_path: Path) -> None:
    app = bare_app(tmp_path, health_api.routes())
    nothing = ask(app, "GET", "/v1/nothing")
    assert (nothing.status, nothing.error()["code"]) == (404, "not_found")
    assert "/openapi.json" in nothing.error()["message"]
    assert ask(app, "GET", "/healthz/").status == 404
    wrong = ask(app, "DELETE", "/healthz")
    assert (wrong.status, wrong.error()["code"], set(wrong.headers["allow"].split(", "))) == (
        405,
        "method_not_allowed",
        {"GET", "HEAD"},
    )


def test_jobs_are_followed_while_the_application_runs_and_all_is_closed_after(tmp_path: Path) -> None:
    app = bare_app(tmp_path, health_api.routes())
    server: Server = app.state.server
    happened: list[str] = []

    class Part:
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self) -> None:
            happened.append(f"{self.name} start")

        def stop(self) -> None:
            happened.append(f"{self.name} stop")

    server.jobs, server.models = Part("jobs"), Part("models")
    server.extra["turns"] = Part("turns")
    assert happened == []
    with TestClient(app, base_url=f"http://{HOST}", headers=dict(GOOD)) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert happened == ["jobs start"]
    assert happened == ["jobs start", "jobs stop", "turns stop", "models stop"]


def test_what_an_upload_left_is_swept_before_the_server_answers(tmp_path: Path) -> None:
    app = bare_app(tmp_path, health_api.routes())
    left = app.state.server.store.upload_path()
    left.write_text("half", encoding="utf-8")
    with TestClient(app, base_url=f"http://{HOST}", headers=dict(GOOD)):
        assert not left.exists()


# What it measures

LINE = re.compile(r'[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [0-9.e+-]+|[a-z_]+ [0-9]+')


def test_requests_are_counted_by_route_and_not_by_what_a_client_wrote(tmp_path: Path) -> None:
    async def one(request: Request) -> Response:
        return JSONResponse({})

    app = bare_app(tmp_path, [*health_api.routes(), Route("/v1/files/{file_id}", one)])
    server: Server = app.state.server
    server.store.add_job(status="queued")
    for name in ("file-a", "file-b"):
        assert ask(app, "GET", f"/v1/files/{name}").status == 200
    assert ask(app, 'GET"} 1\nmade_up 7', "/v1/x").status == 404
    assert ask(app, "GET", "/v1/files/a", [("host", HOST)]).status == 401
    said = ask(app, "GET", "/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = said.body.decode()
    lines = text.splitlines()
    assert all(LINE.fullmatch(line) or line.startswith(("# HELP ", "# TYPE ")) for line in lines)
    assert 'tunesmith_requests_total{method="GET",route="/v1/files/{file_id}",status="200"} 2' in lines
    assert 'tunesmith_requests_total{method="other",route="none",status="404"} 1' in lines
    assert 'tunesmith_requests_total{method="GET",route="none",status="401"} 1' in lines
    assert 'tunesmith_request_seconds_bucket{route="/v1/files/{file_id}",le="+Inf"} 2' in lines
    assert 'tunesmith_request_seconds_count{route="/v1/files/{file_id}"} 2' in lines
    assert "tunesmith_requests_in_flight 1" in lines
    assert 'tunesmith_jobs{status="queued"} 1' in lines
    assert "made_up" not in text


def test_a_histogram_counts_what_is_not_longer_than_the_end_of_its_bucket() -> None:
    measures = Measures()
    for seconds in (0.001, 0.01, 0.2, 999.0):
        measures.enter()
        measures.leave("POST", "/x", 200, seconds)
    found = dict(re.findall(r'tunesmith_request_seconds_bucket\{route="/x",le="([^"]+)"\} (\d+)', measures.text({})))
    assert [found[end] for end in ("0.005", "0.01", "0.1", "0.25", "300", "+Inf")] == ["1", "2", "2", "3", "3", "4"]
    assert 'tunesmith_request_seconds_sum{route="/x"} 999.211' in measures.text({})


def test_health_says_how_many_jobs_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = bare_app(tmp_path, health_api.routes())
    store = app.state.server.store
    for status in ("queued", "queued", "failed"):
        store.add_job(status=status)
    # They are counted, not read: there may be very many.
    monkeypatch.setattr(store, "list_jobs", None)
    assert json.loads(ask(app, "GET", "/healthz").body)["jobs"] == {"failed": 1, "queued": 2}
    assert 'tunesmith_jobs{status="queued"} 2' in ask(app, "GET", "/metrics").body.decode()


def test_a_store_that_can_not_be_read_is_not_well(tmp_path: Path) -> None:
    app = bare_app(tmp_path, health_api.routes())
    app.state.server.store.close()
    client = TestClient(app, base_url=f"http://{HOST}", headers=dict(GOOD), raise_server_exceptions=False)
    assert client.get("/healthz").status_code >= 500
