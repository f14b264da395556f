"""The gate of the server: what every request passes, before any route is looked up. It knows no route's business.

A page in a browser, and any name that resolves to this machine, can send requests to a port of loopback. So nothing is
trusted for where it comes from: each request needs the token, a Host we answer to (DNS rebinding), no foreign Origin
and no foreign Sec-Fetch-Site, and a body of a kind, size and pace that is taken. What is not allowed here is refused,
on routes and methods that do not exist too.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response

from tunesmith.errors import UserError
from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tunesmith.server.settings import Settings

TOKEN_LETTERS = 20
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
WILDCARDS = ("0.0.0.0", "::", "[::]", "")  # noqa: S104 (they are named to be refused as names)
HTTP_PORT = 80
JSON = "application/json"
MULTIPART = "multipart/form-data"
UPLOADS = "/v1/files"
PART = re.compile(r"/v1/uploads/[^/]+/parts")
FORMS = (UPLOADS, "/v1/audio/", "/v1/predict")
"""Paths (with a slash at the end: all below it) that take a form, as ``PART`` does; every other one takes JSON only."""
PART_BYTES, FORM_BYTES = 64 << 20, 1 << 16
"""Most bytes of one part of an upload, as in the hosted API, and of the form around it."""
ANSWERS = ("application/json", "text/event-stream", "text/plain", "text/vtt", "text/csv", "application/x-subrip",
           "application/octet-stream", "application/jsonl")  # fmt: skip
"""Kinds of content that may leave. None of them is rendered: a model's output is never a page."""
POURED_BYTES, POURED_SECONDS = 48 << 20, 3.0
"""Most that is read of a body that was refused, so that its sender comes to read why."""
UNREAD = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.INSUFFICIENT_STORAGE)
"""Answers after which the rest of a body is not waited for."""
SILENCE_SECONDS = 30.0
BODY_SECONDS = 120.0
UPLOAD_SECONDS = 3600.0
METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_HEADERS = "authorization, content-type, idempotency-key"
CLOSED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def new_token() -> str:
    """A random token with 256 bits, in letters that a shell leaves alone."""
    return "sk-local-" + secrets.token_hex(32)


def check_token(token: str) -> str:
    """The token, where it can be one.

    Raises:
        UserError: It is too short to be safe, or holds letters that no header carries.
    """
    if len(token) < TOKEN_LETTERS or not re.fullmatch(r"[!-~]+", token):
        raise UserError(
            f"the token has to be {TOKEN_LETTERS} printable ASCII letters or more, without spaces",
            "--token or TUNESMITH_TOKEN",
            "leave it out: a random one is made and printed",
        )
    return token


def host_names(settings: Settings, port: int) -> frozenset[str]:
    """All values of Host that are answered, in small letters.

    Args:
        settings: ``hosts`` and ``host`` are answered beside the names of loopback, each with the port.
        port: That the request came in at.
    """
    own = () if settings.host in WILDCARDS else (bracketed(settings.host),)
    names = [name.lower() for name in (*LOOPBACK_NAMES, *own)]
    ported = [f"{name}:{port}" for name in names]
    given = [name.lower() for name in settings.hosts]
    # A port that a person wrote holds; a name without one is answered at our own.
    given += [f"{name}:{port}" for name in given if not re.search(r":\d+$", name)]
    return frozenset([*ported, *given, *(names if port == HTTP_PORT else ())])


def bracketed(host: str) -> str:
    """An address as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


class Gate:
    """ASGI middleware that lets through what may pass, and closes every answer.

    Args:
        app: What stands behind it.
        settings: Whose ``token``, ``hosts``, ``origins``, ``upload_bytes`` and ``body_bytes`` hold.

    Raises:
        UserError: The settings have no token.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        if not settings.token:
            raise UserError("a server needs a token", "settings.token", "give one, or use tunesmith.server's new_token")
        self.app, self.settings = app, settings
        self.token = settings.token.encode("utf-8")
        self.origins = frozenset(origin.lower().rstrip("/") for origin in settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection: checked, then passed on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "no route takes a websocket"})
            return
        headers = Headers(scope=scope)
        closing = _Closing(send, receive, headers.get("origin") if self._origin_may(headers) else None)
        try:
            preflight = self.check_sender(scope, headers)
            if preflight is None:
                self.check_token(headers)
                limited = self.check_body(scope, headers, receive)
        except ApiFault as fault:
            await fault_response(fault)(scope, receive, closing)
            return
        if preflight is not None:
            await preflight(scope, receive, closing)
            return
        try:
            await self.app(scope, limited, closing)
        except Exception:
            # What went wrong inside is for the person at the terminal; a client learns no path and no line of ours.
            if not closing.started:
                failed = ApiFault(500, "the server failed; its terminal says where", code="server_error")
                await fault_response(failed)(scope, receive, closing)
            raise

    def check_sender(self, scope: Scope, headers: Headers) -> Response | None:
        """Who may have sent this: Host, Origin, Sec-Fetch-Site.

        Returns:
            The answer to a CORS preflight of an allowed origin, which carries no token; otherwise None.

        Raises:
            ApiFault: 400 without exactly one Host, 403 where one of the three is not allowed.
        """
        server = scope.get("server")
        port = self.settings.port or (server[1] if server and server[1] else HTTP_PORT)
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise ApiFault(400, "a request needs exactly one Host header", code="invalid_host")
        if hosts[0].lower() not in host_names(self.settings, port):
            raise ApiFault(
                403,
                f"this server does not answer to the host {shown(hosts[0])}; ask at http://{LOOPBACK_NAMES[0]}:{port},"
                " or start it with --answer-to NAME",
                code="host_not_allowed",
            )
        known = self._origin_may(headers)
        if headers.getlist("origin") and not known:
            raise ApiFault(
                403,
                f"pages of {shown(headers['origin'])} may not ask this server; start it with --origin to allow them",
                code="origin_not_allowed",
            )
        sites = [site.lower() for site in headers.getlist("sec-fetch-site")]
        if any(site != "none" for site in sites) and not known:
            raise ApiFault(403, "another site's page may not ask this server", code="origin_not_allowed")
        if known and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            allowed = {"access-control-allow-methods": METHODS, "access-control-allow-headers": PREFLIGHT_HEADERS}
            return Response(status_code=204, headers=allowed)
        return None

    def check_token(self, headers: Headers) -> None:
        """The token, in a time that does not tell how much of it was right.

        Raises:
            ApiFault: 401 without the right token.
        """
        given = headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        # Header values are latin-1; a token that is no ASCII compares as its bytes and is simply wrong.
        right = hmac.compare_digest(token.strip().encode("utf-8"), self.token)
        if scheme.lower() != "bearer" or not right:
            raise ApiFault(
                401,
                "the token is missing or wrong; send the one that `tunesmith serve` printed, as"
                " 'Authorization: Bearer TOKEN' (api_key= in OpenAI's clients)",
                code="invalid_api_key",
            )

    def check_body(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """The body's kind and declared size; what is returned counts and times the rest while it comes in.

        Raises:
            ApiFault: 400 for a length that is no number, 413 where it is too long, 415 for a kind that is not taken.
        """
        declared = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,20}", declared):
            raise ApiFault(400, "Content-Length has to be one number", code="invalid_content_length")
        has_body = int(declared) > 0 or "transfer-encoding" in headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        path = scope["path"]
        part = PART.fullmatch(path) is not None
        takes_form = part or any(path == form or (form[-1] == "/" and path.startswith(form)) for form in FORMS)
        if (has_body or kind) and kind != JSON and not (kind == MULTIPART and takes_form):
            wanted = f"{JSON} or {MULTIPART}" if takes_form else JSON
            raise ApiFault(
                415, f"Content-Type {shown(kind)} is not taken here; send {wanted}", code="unsupported_media_type"
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            # What unpacks to more than was sent would get round every limit of size.
            raise ApiFault(415, "Content-Encoding is not taken; send the body as it is", code="unsupported_media_type")
        uploads = (path == UPLOADS or part) and kind == MULTIPART
        limit = self.settings.upload_bytes if uploads else self.settings.body_bytes
        if uploads and part:
            limit = min(PART_BYTES, self.settings.upload_bytes) + FORM_BYTES
        if int(declared) > limit:
            raise too_large(limit)
        return _Limited(receive, limit, UPLOAD_SECONDS if uploads else BODY_SECONDS)

    def _origin_may(self, headers: Headers) -> bool:
        given = headers.getlist("origin")
        return len(given) == 1 and given[0].lower() in self.origins


class _Limited:
    """Receives a body, and refuses it where it grows too long or comes too slowly."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self.receive, self.limit, self.until = receive, limit, monotonic() + seconds
        self.bytes, self.done = 0, False

    async def __call__(self) -> Message:
        if self.done:
            # From here on it only waits for the client to go away, which may take as long as the answer does.
            return await self.receive()
        try:
            async with asyncio.timeout(min(SILENCE_SECONDS, max(self.until - monotonic(), 0.0))):
                message = await self.receive()
        except TimeoutError as fault:
            raise ApiFault(408, "the request's body came too slowly; send it again", code="request_timeout") from fault
        self.bytes += len(message.get("body", b""))
        self.done = not message.get("more_body", False)
        if self.bytes > self.limit:
            raise too_large(self.limit)
        return message


class _Closing:
    """Sends an answer with the headers that keep a browser from showing, keeping or sharing it."""

    def __init__(self, send: Send, receive: Receive, origin: str | None) -> None:
        self.send, self.receive, self.origin, self.started = send, receive, origin, False
        self.unread = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body" and self.unread and not message.get("more_body", False):
            await self.send({**message, "more_body": True})
            await self._pour_away()
            message = {"type": "http.response.body", "body": b""}
        if message["type"] == "http.response.start":
            self.started, self.unread = True, message["status"] in UNREAD
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in CLOSED.items():
                headers[name] = value
            headers["x-request-id"] = f"req_{secrets.token_hex(12)}"
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind and kind not in ANSWERS:
                headers["content-type"] = "application/octet-stream"
            if self.origin is not None:
                headers["access-control-allow-origin"] = self.origin
                headers["access-control-expose-headers"] = "x-request-id, retry-after"
                headers["cross-origin-resource-policy"] = "cross-origin"
                headers["vary"] = "Origin"
            if self.unread:
                headers["connection"] = "close"
            message = {**message, "headers": headers.raw}
        await self.send(message)

    async def _pour_away(self) -> None:
        """Take some of what still comes: a connection that is closed on it is reset, and the answer lost with it."""
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(POURED_SECONDS):
                while taken < POURED_BYTES:
                    message = await self.receive()
                    taken += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return


def too_large(limit: int) -> ApiFault:
    """The fault of a body that is longer than is taken."""
    return ApiFault(413, f"the request's body is longer than the {limit:,} bytes that are taken", code="body_too_large")


def fault_response(fault: ApiFault) -> Response:
    """A fault as the answer that says it."""
    headers = {}
    if fault.retry_after is not None:
        headers["retry-after"] = str(max(1, round(fault.retry_after)))
    if fault.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(fault.body(), status_code=fault.status, headers=headers)


def shown(text: str) -> str:
    """A header's value as it can stand in an answer or a log: short, printable, in quotes."""
    return ascii(text[:100])
