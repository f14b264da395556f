"""What no one gets past: every route, every method, every way in which a stranger or a page might ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tests.fixtures.asgi import GOOD, HOST, TOKEN, Said, ask, asked
from tunesmith.errors import UserError
from tunesmith.server import security
from tunesmith.server.app import all_routes
from tunesmith.server.security import Gate, check_token, host_names, new_token
from tunesmith.server.settings import Settings

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
NOWHERE = ["/", "/v1", "/v1/nothing", "/v1/files/", "//v1/files", "/docs", "/favicon.ico", "/v1/files/../../etc/passwd"]
BEARER = ("authorization", f"Bearer {TOKEN}")
PREFLIGHT = ("access-control-request-method", "POST")

ATTACKS: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {
    "no token": (401, [("host", HOST)], b""),
    "wrong token": (401, [("host", HOST), ("authorization", f"Bearer {TOKEN}x")], b""),
    "first part of the token": (401, [("host", HOST), ("authorization", f"Bearer {TOKEN[:-1]}")], b""),
    "empty token": (401, [("host", HOST), ("authorization", "Bearer ")], b""),
    "another scheme": (401, [("host", HOST), ("authorization", f"Basic {TOKEN}")], b""),
    "token twice": (401, [*GOOD, BEARER], b""),
    "letters beyond ASCII": (401, [("host", HOST), ("authorization", "Bearer ÿþ")], b""),
    "token as a cookie": (401, [("host", HOST), ("cookie", f"token={TOKEN}")], b""),
    "no Host": (400, [BEARER], b""),
    "Host twice": (400, [("host", HOST), *GOOD], b""),
    "a name that was bound anew": (403, [("host", "evil.example:8642"), BEARER], b""),
    "loopback's name below another": (403, [("host", "127.0.0.1.evil.example:8642"), BEARER], b""),
    "another port": (403, [("host", "127.0.0.1:80"), BEARER], b""),
    "no port": (403, [("host", "127.0.0.1"), BEARER], b""),
    "a foreign page": (403, [*GOOD, ("origin", "https://evil.example")], b""),
    "a page without origin": (403, [*GOOD, ("origin", "null")], b""),
    "a page on this machine": (403, [*GOOD, ("origin", "http://127.0.0.1:3000")], b""),
    "our own address as origin": (403, [*GOOD, ("origin", f"http://{HOST}")], b""),
    "a preflight": (403, [("host", HOST), ("origin", "https://evil.example"), PREFLIGHT], b""),
    "a preflight of no page": (401, [("host", HOST), PREFLIGHT], b""),
    "another site": (403, [*GOOD, ("sec-fetch-site", "cross-site")], b""),
    "the same site": (403, [*GOOD, ("sec-fetch-site", "same-site")], b""),
    "the same origin": (403, [*GOOD, ("sec-fetch-site", "same-origin")], b""),
    "one site and another": (403, [*GOOD, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], b""),
    "text": (415, [*GOOD, ("content-type", "text/plain"), ("content-length", "2")], b"{}"),
    "a web form": (415, [*GOOD, ("content-type", "application/x-www-form-urlencoded"), ("content-length", "1")], b"a"),
    "no kind": (415, [*GOOD, ("content-length", "2")], b"{}"),
    "no kind, in chunks": (415, [*GOOD, ("transfer-encoding", "chunked")], b"{}"),
    "packed": (415, [*GOOD, ("content-type", "application/json"), ("content-encoding", "gzip")], b"{}"),
    "too long": (413, [*GOOD, ("content-type", "application/json"), ("content-length", "99999999999")], b""),
    "a length that is none": (400, [*GOOD, ("content-type", "application/json"), ("content-length", "-1")], b""),
}


async def reached(request: Request) -> Response:
    """Stands in every route's place: an attack that gets here has got through."""
    return JSONResponse({"reached": True})


def gated(routes: list[Route], **settings: Any) -> Starlette:
    held = Settings(folder=Path("nowhere"), token=TOKEN, **settings)
    return Starlette(routes=routes, middleware=[Middleware(Gate, settings=held)])


def path_of(route: Route) -> str:
    return "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    return all_routes()


def test_all_rooms_have_routes(routes: list[Route]) -> None:
    """Or the enumeration below would be of too little."""
    rooms = {route.endpoint.__module__.rpartition(".")[2] for route in routes}
    from tunesmith.server.app import ROUTE_MODULES

    assert rooms >= set(ROUTE_MODULES)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_gets_through_on_any_route_and_method(attack: str, routes: list[Route]) -> None:
    status, headers, body = ATTACKS[attack]
    app = gated([Route(route.path, reached, methods=METHODS) for route in routes])

    async def all_of_them() -> list[tuple[str, str, Said]]:
        paths = [*dict.fromkeys(path_of(route) for route in routes), *NOWHERE]
        return [(m, path, await asked(app, m, path, headers, body)) for path in paths for m in METHODS]

    for method, path, said in asyncio.run(all_of_them()):
        assert (method, path, said.status) == (method, path, status)
        assert said.error()["message"]
        assert b"reached" not in said.body
        assert "access-control-allow-origin" not in said.headers
        assert TOKEN.encode() not in said.body


def test_who_may_ask_gets_through_on_every_route(routes: list[Route]) -> None:
    """The test above could not fail if nothing ever got through."""
    app = gated([Route(route.path, reached, methods=METHODS) for route in routes])
    paths = dict.fromkeys(path_of(route) for route in routes)
    assert {ask(app, "POST", path, [*GOOD, ("content-type", "application/json")]).status for path in paths} == {200}
    assert ask(app, "GET", "/healthz", [*GOOD, ("sec-fetch-site", "none")]).status == 200
    assert ask(app, "GET", "/healthz", [("host", "LOCALHOST:8642"), BEARER]).status == 200
    assert ask(app, "GET", "/healthz", [("host", "[::1]:8642"), ("authorization", f"bearer  {TOKEN}")]).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions", "/v1/fine_tuning/jobs", "/healthz", "/v1/nothing", "/v1/uploads",
        "/v1/uploads/x/complete", "/v1/uploads/x/y/parts", "/v1/uploads/x/parts/", "/v1/uploads//parts",
    ],
)  # fmt: skip
def test_a_form_is_taken_by_uploads_only(path: str) -> None:
    takers = ("/v1/files", "/v1/uploads/upload_x/parts")
    app = gated([Route(one, reached, methods=["POST"]) for one in (path, *takers)])
    headers = [*GOOD, ("content-type", "multipart/form-data; boundary=x")]
    assert ask(app, "POST", path, headers, b"--x--").status == 415
    assert [ask(app, "POST", one, headers, b"--x--").status for one in takers] == [200, 200]


def test_a_websocket_is_closed_at_once() -> None:
    sent: list[dict[str, Any]] = []

    async def connect() -> None:
        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await gated([])({"type": "websocket", "path": "/", "headers": []}, None, send)  # type: ignore[arg-type]

    asyncio.run(connect())
    assert [message["type"] for message in sent] == ["websocket.close"]


# Origins that a person allowed


def test_an_allowed_origin_may_ask_and_another_still_may_not() -> None:
    app = gated([Route("/x", reached, methods=["GET", "POST"])], origins=("http://localhost:3000",))
    page = ("origin", "http://localhost:3000")
    preflight = ask(app, "OPTIONS", "/x", [("host", HOST), page, PREFLIGHT])
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == page[1]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    said = ask(app, "GET", "/x", [*GOOD, page, ("sec-fetch-site", "cross-site")])
    assert (said.status, said.headers["access-control-allow-origin"], said.headers["vary"]) == (200, page[1], "Origin")
    assert ask(app, "GET", "/x", [("host", HOST), page]).status == 401
    assert ask(app, "OPTIONS", "/x", [("host", HOST), page]).status == 401
    assert ask(app, "GET", "/x", [*GOOD, ("origin", "http://localhost:3001")]).status == 403
    assert ask(app, "GET", "/x", [*GOOD, page, ("origin", "https://evil.example")]).status == 403
    assert ask(app, "GET", "/x", [("host", "evil.example"), BEARER, page]).status == 403


def test_hosts_that_are_answered() -> None:
    def names(**given: Any) -> frozenset[str]:
        return host_names(Settings(folder=Path(), **given), 8642)

    loopback = {"127.0.0.1:8642", "localhost:8642", "[::1]:8642"}
    assert names() == loopback
    assert names(host="0.0.0.0") == loopback
    assert names(host="10.0.0.5") == loopback | {"10.0.0.5:8642"}
    assert names(host="fd00::5") == loopback | {"[fd00::5]:8642"}
    assert names(hosts=("Box.lan",)) == loopback | {"box.lan", "box.lan:8642"}
    assert names(hosts=("box.lan:80",)) == loopback | {"box.lan:80"}
    assert "localhost" in host_names(Settings(folder=Path()), 80)


# Bodies


def pieces(count: int, size: int = 1000) -> Iterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def reads(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


def test_a_body_that_does_not_say_its_length_is_cut_off_when_it_is_too_long(tmp_path: Path) -> None:
    from tests.fixtures.server_parts import bare_app

    app = bare_app(tmp_path, [Route("/x", reads, methods=["POST"])], body_bytes=5000)
    headers = [*GOOD, ("content-type", "application/json"), ("transfer-encoding", "chunked")]
    fits = ask(app, "POST", "/x", headers, pieces(5))
    assert (fits.status, fits.body) == (200, b'{"bytes":5000}')
    said = ask(app, "POST", "/x", headers, pieces(1000))
    assert (said.status, said.error()["code"], said.headers["connection"]) == (413, "body_too_large", "close")
    assert said.pieces_taken == 6


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fixtures.server_parts import bare_app

    app = bare_app(tmp_path, [Route("/x", reads, methods=["POST"])])
    headers = [*GOOD, ("content-type", "application/json"), ("content-length", "5000")]
    monkeypatch.setattr(security, "SILENCE_SECONDS", 0.05)
    silent = ask(app, "POST", "/x", headers, pieces(2), stalls=True)
    assert (silent.status, silent.error()["code"]) == (408, "request_timeout")
    monkeypatch.setattr(security, "SILENCE_SECONDS", 30.0)
    monkeypatch.setattr(security, "BODY_SECONDS", 0.05)
    assert ask(app, "POST", "/x", headers, pieces(2), stalls=True).status == 408


# Answers


def test_no_answer_is_a_page() -> None:
    async def page(request: Request) -> Response:
        return HTMLResponse("<script>alert(1)</script>")

    async def drawing(request: Request) -> Response:
        return Response("<svg onload=alert(1)>", media_type="image/svg+xml")

    app = gated([Route("/page", page), Route("/drawing", drawing)])
    for path in ("/page", "/drawing"):
        said = ask(app, "GET", path)
        assert said.headers["content-type"] == "application/octet-stream"
        assert said.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in said.headers["content-security-policy"]


def test_what_a_client_sent_comes_back_short_and_in_letters() -> None:
    said = ask(gated([]), "GET", "/", [("host", "<script>\x07" + "é" * 5000), BEARER])
    assert said.status == 403
    assert len(said.body) < 1000
    assert said.body.isascii()
    assert b"\\\\x07" in said.body


# The token


def test_tokens_are_random_and_long() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(check_token(token) == token and len(token) > 64 for token in tokens)


@pytest.mark.parametrize("token", ["", "short", "a b" * 20, "é" * 40, "x" * 30 + "\n"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(UserError, match="20 printable"):
        check_token(token)


def test_a_server_without_a_token_is_refused() -> None:
    with pytest.raises(UserError, match="needs a token"):
        Gate(gated([]), Settings(folder=Path()))
