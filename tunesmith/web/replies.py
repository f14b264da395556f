"""What a service answers, and what an answer that is an error means to a person. It sends nothing."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tunesmith.errors import UserError
from tunesmith.web.addresses import origin_of

# 409: Notion's word for a write that collided. 529: overloaded, of Notion and others.
LATER = {408, 409, 423, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
MIB = 1 << 20
TOLD_BYTES = 1 << 12
"""Of an error's body, where it is read as it is."""


@dataclass(eq=False)
class HttpFault(UserError):
    """A reply that is an error.

    Args:
        status: HTTP status; 0 where there was none.
        reason: The service's own word for it (``object_not_found``), else the status.
        said: Its message, in one line; empty where it gave none.
        stops: Whether it ends the sync: credentials refused, the service away, the byte budget spent. Otherwise it is
            about one document, which is then skipped with this as its reason.
    """

    status: int = field(default=0, kw_only=True)
    reason: str = field(default="", kw_only=True)
    said: str = field(default="", kw_only=True)
    stops: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Reply:
    """What came back, whole.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        body: Unfolded bytes.
        address: Where it came from at last, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)


def with_query(address: str, params: Mapping[str, Any] | None) -> str:
    """An address with parameters appended; None values are left out."""
    given = {name: value for name, value in (params or {}).items() if value is not None}
    if not given:
        return address
    return address + ("&" if "?" in address else "?") + urlencode(given, doseq=True)


def bare(address: str) -> str:
    """An address without its query, which may hold credentials."""
    return address.partition("?")[0]


def is_json(reply: Reply) -> bool:
    """Whether a body is whole JSON."""
    try:
        reply.json()
    except ValueError:
        return False
    return True


def said_of(fault: Exception) -> str:
    """What went wrong with a connection, for a person."""
    if isinstance(fault, socket.gaierror):
        return "its name is not known"
    if isinstance(fault, TimeoutError):
        return "it did not answer in time"
    if isinstance(fault, http.client.IncompleteRead):
        return "its reply was cut off"
    return f"the connection failed ({fault or type(fault).__name__})"


def too_much(limit: int, what: str, target: str, *, stops: bool) -> HttpFault:
    """The fault of a reply, or of a sync, that is larger than its limit."""
    fix = "raise the limit of bytes (--most-mib) and give the command again; it goes on where it was" if stops else ""
    said = f"{what} more than {limit / MIB:,.0f} MiB"
    return HttpFault(said, bare(target), fix, reason="too large", stops=stops)


def answered(reply: Reply, plain: bool = False) -> str:
    """What an error reply says, for a person: its status, and its own words where it has some (see `fault_of`)."""
    message = _told(reply, plain)[1]
    return f"answered {reply.status}" + (f": {message}" if message else "")


def fault_of(reply: Reply, target: str, fixes: Mapping[int, str] | None = None, plain: bool = False) -> HttpFault:
    """The fault of an error reply.

    Args:
        reply: What came.
        target: What was asked.
        fixes: What a person can do about a status, where it is known better than here.
        plain: Whether a body that is no JSON is the service's word too, as it is not where pages are read.
    """
    reason, message = _told(reply, plain)
    refused = {
        401: "renew the token in the environment and give the same command again; it goes on where it was",
        407: "write a name and a password into the proxy's variable: http://NAME:PASSWORD@HOST:PORT",
    }
    fix = (fixes or {}).get(reply.status, refused.get(reply.status, ""))
    what = f"{origin_of(target)} {answered(reply, plain)}"
    stops = reply.status in refused
    return HttpFault(what, bare(target), fix, status=reply.status, reason=reason, said=message, stops=stops)


def _told(reply: Reply, plain: bool) -> tuple[str, str]:
    """The service's own word for an error, and its message in one line."""
    reason, message = str(reply.status), ""
    text = reply.body[:TOLD_BYTES].decode("utf-8", "replace").strip()
    with suppress(ValueError, AttributeError):
        told = reply.json()
        inner = told.get("error") if isinstance(told.get("error"), dict) else told
        listed = inner.get("errors")
        # Google's word stands a level deeper, beside a code that is the status again.
        word = listed[0].get("reason") if isinstance(listed, list) and listed and isinstance(listed[0], dict) else ""
        reason = str(word or inner.get("code") or inner.get("category") or inner.get("error") or reply.status)
        error = inner.get("error")
        bare_word = error if isinstance(error, str) else ""
        message = str(inner.get("message") or inner.get("description") or inner.get("error_description") or bare_word)
        # Endpoints of OpenAI's protocol name the setting that they refuse beside the message.
        param = inner.get("param")
        message += f" ({param})" if message and param and str(param) not in message else ""
    if not message and plain and not text.startswith("<"):
        message = text
    return reason, " ".join(message.split())[:300]
