"""The one HTTP client of Tunesmith: it waits, asks again, follows and counts. It knows no service.

One request at a time (each thread has a client of its own), spaced by a token bucket. What says "later" (429, 5xx, a
lost or a cut connection) is asked again; ``Retry-After`` is kept to. Redirects are followed by hand, each target
checked, credentials left behind when the origin changes. Bytes are counted as they arrive and again when they unfold:
there is a limit a reply and one a sync. A proxy is used where the environment names one.
"""

from __future__ import annotations

import http.client
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from tunesmith.errors import UserError
from tunesmith.web.addresses import Origin, Resolve, checked, connection_to, is_near, origin_of, resolve
from tunesmith.web.proxies import Proxy, check_behind, proxy_of, through
from tunesmith.web.replies import (
    LATER,
    MIB,
    HttpFault,
    Reply,
    answered,
    bare,
    fault_of,
    is_json,
    said_of,
    too_much,
    with_query,
)
from tunesmith.web.tally import Tally
from tunesmith.web.waiting import Clock, SystemClock, TokenBucket, moment, retry_after, step

REDIRECTS = {301, 302, 303, 307, 308}
PIECE = 1 << 16
SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Limits:
    """How hard a service may be asked.

    Args:
        rate: Requests a second in the long run; infinite where the service's own word is enough.
        burst: Requests at once after a pause.
        attempts: Of one request, the first included.
        timeout_seconds: Without a byte.
        longest_wait_seconds: A reply that asks for more ends the sync; it can go on later.
        reply_bytes: Largest reply, unfolded.
        sync_bytes: All replies of a sync together, as they arrive; None sets no limit.
        redirects: Followed for one request; 0 makes each an error that says so.
    """

    rate: float = 3.0
    burst: int = 3
    attempts: int = 8
    timeout_seconds: float = 60.0
    longest_wait_seconds: float = 900.0
    reply_bytes: int = 64 * MIB
    sync_bytes: int | None = 4096 * MIB
    redirects: int = 5


Authorize = Callable[[bool], Mapping[str, str]]


class Client:
    """Asks one service.

    Args:
        base: Address that paths are appended to. Whoever gives it names it: it may lie in a private network.
        limits: How hard it may be asked.
        headers: Sent with every request to the origin of ``base``: API version and the like.
        authorize: Gives the headers with credentials; called with True once after a 401, to renew them.
        tally: Where requests, waits and bytes are counted.
        clock: Whose seconds count.
        throttled: Tells from a reply with another status than 429 that it asks to wait (Google says so by 403).
        look_up: Addresses of a host.
        say: Told about long waits and a proxy, for a person.
        fixes: What a person can do about an error of a status (0: no reply), where the caller knows it better.

    Raises:
        UserError: It is no address, or credentials would travel unencrypted over the open network.
    """

    def __init__(
        self,
        base: str,
        limits: Limits | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        authorize: Authorize | None = None,
        tally: Tally | None = None,
        clock: Clock | None = None,
        throttled: Callable[[Reply], bool] | None = None,
        look_up: Resolve = resolve,
        say: Callable[[str], None] | None = None,
        fixes: Mapping[int, str] | None = None,
    ) -> None:
        self.base, self.limits, self.clock = base.rstrip("/"), limits or Limits(), clock or SystemClock()
        self.origin = origin_of(base)
        self.tally = tally if tally is not None else Tally()
        self._headers, self._authorize, self._fixes = dict(headers or {}), authorize, dict(fixes or {})
        secret = authorize is not None or any(name.lower() == "authorization" for name in self._headers)
        if secret and self.origin.scheme == "http" and not is_near(self.origin.host):
            what = f"the credentials would travel unencrypted to {self.origin.host}"
            raise UserError(what, str(self.origin), "write https://, or take the credentials out of the environment")
        self._throttled, self._look_up, self._say = throttled, look_up, say
        self._bucket = TokenBucket(self.limits.rate, self.limits.burst, self.clock)
        self._open: tuple[Origin, http.client.HTTPConnection] | None = None
        self._ahead_seconds = 0.0
        self._told: Proxy | None = None

    def get(self, path: str, params: Mapping[str, Any] | None = None, attempts: int | None = None) -> Any:
        """JSON of a path or an address; a parameter that is None is left out.

        Raises:
            HttpFault: The reply is an error.
        """
        return self.ask("GET", path, params=params, wants_json=True, attempts=attempts).json()

    def post(self, path: str, body: Any, params: Mapping[str, Any] | None = None) -> Any:
        """JSON in reply to JSON. Only for questions: it may be sent twice.

        Raises:
            HttpFault: The reply is an error.
        """
        data = json.dumps(body).encode()
        return self.ask("POST", path, params=params, data=data, kind="application/json", wants_json=True).json()

    def download(self, address: str, params: Mapping[str, Any] | None = None, most: int | None = None) -> Reply:
        """A reply as bytes, at most ``most`` of them.

        Raises:
            HttpFault: The reply is an error, or too large.
        """
        return self.ask("GET", address, params=params, most=most)

    def ask(
        self,
        method: str,
        address: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        kind: str = "",
        headers: Mapping[str, str] | None = None,
        most: int | None = None,
        wants_json: bool = False,
        attempts: int | None = None,
    ) -> Reply:
        """Send a request till it is answered.

        Args:
            method: ``GET`` or ``POST``.
            address: A path behind the base address, or a whole address; that one may lead to the open internet only.
            params: Appended as a query; None values are left out, sequences repeat the name.
            data: Body.
            kind: Its media type.
            headers: Besides those of the client.
            most: Largest reply; the client's own limit if None.
            wants_json: Whether a reply that is no JSON is damaged, and asked again.
            attempts: Of this request; the client's own limit if None.

        Raises:
            HttpFault: The reply is an error (4xx), or the attempts are used up (``stops``).
            UserError: It is no address.
        """
        target = address if "://" in address else f"{self.base}/{address.lstrip('/')}"
        target = with_query(target, params)
        sent = {**({"Content-Type": kind} if kind else {}), **(headers or {})}
        renewed, why, status = False, "", 0
        attempts = attempts or self.limits.attempts
        for attempt in range(1, attempts + 1):
            wait: float | None = None
            status = 0
            try:
                reply = self._followed(method, target, data, sent, most or self.limits.reply_bytes)
            except (OSError, http.client.HTTPException, zlib.error) as fault:
                self.close()
                why, key = said_of(fault), "connection"
            else:
                if reply.status == 401 and self._authorize is not None and not renewed:
                    self._authorize(True)
                    renewed = True
                    self.tally.repeated["401"] += 1
                    continue
                key = str(reply.status)
                later = reply.status in LATER or (self._throttled is not None and self._throttled(reply))
                if reply.status >= 400 and not later:
                    raise fault_of(reply, target, self._fixes, wants_json)
                if not later:
                    if not wants_json or is_json(reply):
                        return reply
                    key = "damaged"
                why = f"it {answered(reply, wants_json)}" if later else "its reply is no JSON"
                wait = retry_after(reply.headers, self.clock.now()) if later else None
                status = reply.status if later else 0
            if attempt < attempts:
                self.tally.repeated[key] += 1
                self._wait(step(attempt) if wait is None else wait, why, target, status)
        raise HttpFault(
            f"{origin_of(target)} gave no answer in {attempts} attempts: {why}",
            bare(target),
            self._fixes.get(status, "give the same command again later; it goes on where it was")
            + (_asked_by(target) if key == "connection" else ""),
            status=status,
            reason="away",
            stops=origin_of(target) == self.origin,
        )

    def pages(self, ask: Callable[[str | None], Any], following: Callable[[Any], str | None]) -> Iterator[Any]:
        """Replies page by page, till one names no further page.

        Args:
            ask: Gives the reply for a cursor; None is the first page.
            following: Cursor of the page after a reply; None or empty if there is none.

        Raises:
            HttpFault: A cursor came twice: to go on would never end, to stop would lose what is behind it.
        """
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            reply = ask(cursor)
            yield reply
            cursor = following(reply) or None
            if cursor is None:
                return
            if cursor in seen:
                raise HttpFault(
                    f"{self.origin} names the same page twice, so its list has no end",
                    f"cursor {cursor[:80]!r}",
                    "give the same command again; if it stays, tell those who run the service",
                    reason="cursor loop",
                    stops=True,
                )
            seen.add(cursor)

    def now(self) -> float:
        """Seconds since 1970 by the service's clock, as its last reply told; by our own before there was one."""
        return self.clock.now() + self._ahead_seconds

    def close(self) -> None:
        """Let the connection go; the next request opens another."""
        opened, self._open = self._open, None
        if opened is not None:
            with suppress(OSError):
                opened[1].close()

    def _wait(self, seconds: float, why: str, target: str, status: int) -> None:
        if seconds > self.limits.longest_wait_seconds:
            raise HttpFault(
                f"{origin_of(target)} asks to wait {seconds:,.0f} seconds: {why}",
                bare(target),
                self._fixes.get(status, "give the same command again after that; it goes on where it was"),
                status=status,
                reason="wait",
                stops=True,
            )
        if self._say is not None and seconds >= 5:
            self._say(f"waiting {seconds:.0f} s for {origin_of(target)}: {why}")
        self.tally.waited_seconds += seconds
        self.clock.sleep(seconds)

    def _followed(self, method: str, target: str, data: bytes | None, sent: Mapping[str, str], most: int) -> Reply:
        """One request and the redirects behind it."""
        for _ in range(self.limits.redirects + 1):
            reply = self._once(method, target, data, sent, most)
            place = reply.headers.get("location")
            if reply.status not in REDIRECTS or not place:
                return reply
            if self.limits.redirects == 0:
                what = f"{origin_of(target)} sends us elsewhere ({reply.status}), which is not followed"
                fix = self._fixes.get(reply.status, "name the address that it means, if you trust that one")
                raise HttpFault(what, bare(target), fix, status=reply.status, reason="redirect")
            try:
                onward = urljoin(target, place)
                origin_of(onward)
            except (UserError, ValueError) as fault:
                raise HttpFault("it leads to what is no address", bare(target), reason="redirect") from fault
            if target.startswith("https:") and not onward.startswith("https:"):
                raise HttpFault(f"{bare(target)} leads from https to {bare(onward)}", bare(target), reason="redirect")
            if reply.status == 303 or (reply.status in {301, 302} and method == "POST"):
                method, data = "GET", None
            target = onward
        raise HttpFault("redirects do not end", bare(target), reason="redirect")

    def _once(self, method: str, target: str, data: bytes | None, sent: Mapping[str, str], most: int) -> Reply:
        """One request, no redirect followed."""
        origin = origin_of(target)
        headers = {"Accept-Encoding": "gzip", "User-Agent": "tunesmith", "Accept": "*/*"}
        if origin == self.origin:
            # Credentials go to the service they are for, and nowhere that it may send us.
            headers |= {**self._headers, **(self._authorize(False) if self._authorize else {}), **sent}
        parts = urlsplit(target)
        # A place that a reply names may hold what no request line may.
        path = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE + '?')}" if parts.query else "")
        self.tally.waited_seconds += self._bucket.take()
        self.tally.requests += 1
        connection, kept = self._connection(origin)
        try:
            try:
                connection.request(method, path, body=data, headers=headers)
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not kept:
                    raise
                # A kept connection that the server closed in the meantime says nothing about the server.
                self.close()
                self.tally.requests += 1
                self.tally.repeated["connection"] += 1
                connection, _ = self._connection(origin)
                connection.request(method, path, body=data, headers=headers)
                answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            body = self._body(answer, found, most, target)
            # An error may come from something in between, whose clock is its own.
            if origin == self.origin and answer.status < 400 and (there := moment(found.get("date", ""))) is not None:
                self._ahead_seconds = there - self.clock.now()
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return Reply(answer.status, found, body, target)

    def _connection(self, origin: Origin) -> tuple[http.client.HTTPConnection, bool]:
        """A connection to an origin, and whether it was open already."""
        if self._open is not None and self._open[0] == origin:
            return self._open[1], True
        self.close()
        seconds, proxy = self.limits.timeout_seconds, proxy_of(origin)
        try:
            if proxy is None:
                made = connection_to(origin, checked(origin, {self.origin}, self._look_up), seconds)
            else:
                check_behind(origin, {self.origin}, self._look_up)
                made = through(proxy, origin, seconds)
        except UserError as fault:
            raise HttpFault(fault.what, fault.where, fault.fix, reason="private address") from fault
        if self._say is not None and proxy is not None and proxy != self._told:
            self._say(f"{origin} is asked through the proxy {proxy}")
            self._told = proxy
        self._open = (origin, made)
        return made, False

    def _body(self, answer: http.client.HTTPResponse, headers: Mapping[str, str], most: int, target: str) -> bytes:
        """The whole body, unfolded, within the limits."""
        # read(n) tells nothing about a connection that ended early, so what was promised is counted.
        promised = answer.length
        folded = zlib.decompressobj(16 + zlib.MAX_WBITS) if headers.get("content-encoding") == "gzip" else None
        body, came = bytearray(), 0
        while piece := answer.read(PIECE):
            came += len(piece)
            self.tally.bytes += len(piece)
            budget = self.tally.most_bytes or self.limits.sync_bytes
            if budget is not None and self.tally.bytes > budget:
                raise too_much(budget, "the sync has received", target, stops=True)
            body += folded.decompress(piece, most + 1 - len(body)) if folded else piece
            if len(body) > most or (folded is not None and folded.unconsumed_tail):
                raise too_much(most, "the reply holds", target, stops=False)
        if promised is not None and came < promised:
            raise http.client.IncompleteRead(bytes(body), promised - came)
        if folded is not None and came and not folded.eof:
            raise http.client.IncompleteRead(bytes(body))
        return bytes(body)


def credential(variable: str, service: str, how: str) -> str:
    """A secret from the environment.

    Raises:
        UserError: It is not there.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise UserError(f"{service} needs a token and {variable} is not set", "the environment", f"{how}, and set it")
    return value


def _asked_by(target: str) -> str:
    """By which way an address was asked that did not answer, where that was a proxy."""
    proxy = proxy_of(origin_of(target))
    return f"; it was asked through the proxy {proxy}" if proxy else ""
