"""JSON to an address that a person named, and back: waits, tries again, follows nowhere. It knows no protocol above it.

Every call opens a connection of its own, so that any number of threads may call at once.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from threading import Event
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tunesmith.errors import UserError

LATER = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Replies that ask to come again."""
TRIES = 6
LOOKS = 2
"""Tries of a first look, where a person waits to hear that nobody is there."""
LONGEST_WAIT = 120.0
MOST_BYTES = 32 << 20


@dataclass(eq=False)
class EndpointFault(UserError):
    """A reply that is an error.

    Args:
        status: HTTP status; 0 where there was none.
        said: What the endpoint said about it.
        wait: Seconds that it asks to wait; None if it does not say.
    """

    status: int = field(default=0, kw_only=True)
    said: str = field(default="", kw_only=True)
    wait: float | None = field(default=None, kw_only=True)


class _Stay(HTTPRedirectHandler):
    """A key must go nowhere but where a person sent it."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """None: the redirect becomes an error."""
        return


class Posting:
    """One base address.

    Args:
        base: ``https://host/v1``; a person named it, so that it may lie in a private network.
        key: Sent as a bearer; empty sends none.
        seconds: Longest wait for a reply.
        sleep: Waits; None waits by the clock, until ``halt``.

    Raises:
        UserError: The address is none, or a key would travel unencrypted over the open network.
    """

    def __init__(
        self, base: str, key: str = "", *, seconds: float = 120.0, sleep: Callable[[float], object] | None = None
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            what = f"{base!r} is no address of an endpoint"
            raise UserError(what, "--model", "write openai:MODEL@https://host/v1")
        if key and parts.scheme == "http" and not _is_near(parts.hostname):
            what = f"the key would travel unencrypted to {parts.hostname}"
            raise UserError(what, "--model", "write https://, or unset the key's variable")
        self.base, self._key, self._seconds = base.rstrip("/"), key, seconds
        self._halted = Event()
        self._sleep = sleep or self._halted.wait
        self._opener = build_opener(_Stay())

    def halt(self, halted: bool = True) -> None:
        """Ask nothing again and stop waiting in all threads; with False begin anew."""
        self._halted.set() if halted else self._halted.clear()

    def get(self, path: str) -> Any:
        """JSON of a path.

        Raises:
            EndpointFault: The reply is an error, or none came.
        """
        return self._asked(path, None, LOOKS)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """JSON in reply to JSON.

        Raises:
            EndpointFault: The reply is an error, or none came.
        """
        return self._asked(path, json.dumps(body).encode(), TRIES)

    def _asked(self, path: str, data: bytes | None, tries: int) -> Any:
        for attempt in range(1, tries + 1):
            try:
                return self._once(path, data)
            except EndpointFault as fault:
                if attempt == tries or (fault.status and fault.status not in LATER):
                    raise
                wait = 2.0 ** (attempt - 1) if fault.wait is None else fault.wait
                if wait > LONGEST_WAIT:
                    raise
                self._sleep(wait)
                if self._halted.is_set():
                    raise
        raise AssertionError("the last try returns or raises")

    def _once(self, path: str, data: bytes | None) -> Any:
        headers = {"Accept": "application/json", "User-Agent": "tunesmith"}
        headers |= {"Content-Type": "application/json"} if data is not None else {}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = Request(f"{self.base}/{path}", data=data, headers=headers)  # noqa: S310 - http or https, checked
        try:
            with self._opener.open(request, timeout=self._seconds) as reply:
                body = reply.read(MOST_BYTES + 1)
        except HTTPError as fault:
            raise self._fault(fault) from fault
        except (URLError, OSError, http.client.HTTPException) as fault:
            reason = getattr(fault, "reason", None) or fault
            what = f"no reply from {self.base}: {str(reason) or type(reason).__name__}"
            raise EndpointFault(what, "--model", "see that the endpoint runs and the address is right") from fault
        try:
            if len(body) > MOST_BYTES:
                raise ValueError("too long")
            return json.loads(body)
        except ValueError as fault:
            what = f"the endpoint's reply is no JSON ({len(body):,} bytes)"
            raise EndpointFault(what, self.base, "see that the address ends as the endpoint's does (/v1)") from fault

    def _fault(self, fault: HTTPError) -> EndpointFault:
        try:
            body = fault.read(1 << 16).decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException):
            body = ""
        said = _said(body)
        fixes = {
            401: "put a valid key into the variable of the environment",
            403: "use a key that may use this model",
            404: "check the model's name, and that the address ends as the endpoint's does (/v1)",
            429: "wait, or raise the account's limit",
        }
        redirect = 300 <= fault.code < 400
        what = f"the endpoint refuses ({fault.code}): {said or fault.reason}"
        if redirect:
            what = f"the endpoint sends us elsewhere ({fault.code}), which is not followed, since a key would go along"
        fix = "name the address that it means" if redirect else fixes.get(fault.code, "see what it says")
        return EndpointFault(what, self.base, fix, status=fault.code, said=said, wait=_retry_after(fault.headers))


def _said(body: str) -> str:
    """The message of an error as endpoints write it, else the beginning of the body; never more than a line."""
    try:
        error = json.loads(body).get("error")
        said = error.get("message") if isinstance(error, dict) else error
        param = error.get("param") if isinstance(error, dict) else None
        text = f"{said} ({param})" if param and str(param) not in str(said) else str(said or body)
    except (ValueError, AttributeError):
        text = body
    return " ".join(text.split())[:300]


def _retry_after(headers: Any) -> float | None:
    """Seconds that a reply asks to wait; both forms of the header are read (RFC 9110, 10.2.3)."""
    said = (headers.get("Retry-After") or "").strip() if headers is not None else ""
    try:
        return max(0.0, float(said)) if said else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _is_near(host: str) -> bool:
    """Whether a host is this machine or stands in a private network, as far as its name tells."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    return address.is_private or address.is_loopback
