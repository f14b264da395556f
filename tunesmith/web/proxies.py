"""The proxy that the environment names, and the way through it. It knows no service.

``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` are read in either case, the lower one first. A proxy is
for the open internet: this machine and hosts of its own network, as far as their names tell, are reached directly.

Behind a proxy the address that was checked is no longer the one connected to, since names are looked up there. What
keeps a page from leading us into a private network is then, for every address that no person named: its name leads to
no private address where it can be looked up here, and it is https, so that nothing is sent before a certificate has
shown that this very name answers. Plain http has no such proof, and is refused.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tunesmith.errors import UserError
from tunesmith.web.addresses import Origin, Resolve, Secure, connected, is_near, need_public, resolve
from tunesmith.web.replies import LATER, HttpFault, said_of


class Proxy(NamedTuple):
    """An HTTP proxy.

    Args:
        host: Its name or address.
        port: Its port.
        authorization: What it is shown, as a header's value; empty: nothing.
        variable: Of the environment, that names it.
    """

    host: str
    port: int
    authorization: str
    variable: str

    def __str__(self) -> str:
        return f"{Origin('http', self.host, self.port)} ({self.variable})"


def proxy_of(origin: Origin) -> Proxy | None:
    """The proxy that the environment names for an origin; None where it is to be reached directly.

    Raises:
        HttpFault: It is no HTTP proxy: SOCKS, or one that is itself spoken to by TLS.
    """
    if is_near(origin.host):
        return None
    from urllib.request import getproxies_environment

    named = getproxies_environment()
    kind = origin.scheme if origin.scheme in named else "all"
    if not named.get(kind) or _is_direct(origin, named.get("no", "")):
        return None
    variable = f"{kind}_proxy" if os.environ.get(f"{kind}_proxy") else f"{kind}_proxy".upper()
    address = named[kind] if "://" in named[kind] else f"http://{named[kind]}"
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme != "http" or not host:
        # The address itself is not shown: it may hold a password.
        what = f"{variable} names " + (f"a proxy by {scheme}, which is not spoken" if host else "no proxy")
        fix = f"write it as http://HOST:PORT, or add {origin.host} to NO_PROXY"
        raise HttpFault(what, variable, fix, reason="proxy", stops=True)
    shown = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        shown = f"Basic {b64encode(pair.encode()).decode()}"
    return Proxy(host, port or 80, shown, variable)


def _is_direct(origin: Origin, said: str) -> bool:
    """Whether ``NO_PROXY`` names a host: all (``*``), a name and what is below it, a network; a port may follow."""
    for entry in said.lower().replace(",", " ").split():
        with_port = entry.count(":") == 1 or "]:" in entry
        name, port = entry.rsplit(":", 1) if with_port else (entry, "")
        name = name.removeprefix("*").strip("[].")
        below = name and (origin.host == name or origin.host.endswith(f".{name}"))
        if entry == "*" or _is_in(origin.host, entry) or (below and port in ("", str(origin.port))):
            return True
    return False


def _is_in(host: str, network: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    return False


def check_behind(origin: Origin, named: Iterable[Origin], look_up: Resolve) -> None:
    """Refuse what may not be asked through a proxy (the rule stands above).

    Raises:
        UserError: No person named this origin, and it leads into a private network or is plain http.
    """
    if origin in named:
        return
    fix = "name it as the base address yourself if it is meant; that a page or a reply names it is not enough"
    if origin.scheme != "https":
        raise UserError(f"{origin} is plain http, which can't be checked behind a proxy", str(origin), fix)
    try:
        addresses = look_up(origin.host, origin.port)
    except OSError:
        # Where only the proxy looks names up, the certificate is the check.
        return
    need_public(origin, addresses)


def through(proxy: Proxy, origin: Origin, seconds: float) -> http.client.HTTPConnection:
    """A connection to an origin through a proxy: a tunnel for https, whole addresses for http."""
    if origin.scheme == "https":
        return Secure(origin, partial(_tunnel, proxy, origin, seconds), seconds)
    return _Whole(proxy, origin, seconds)


def _reached(proxy: Proxy, seconds: float) -> socket.socket:
    try:
        return connected(resolve(proxy.host, proxy.port), proxy.port, seconds)
    except OSError as fault:
        raise ConnectionError(f"the proxy {proxy}: {said_of(fault)}") from fault


def _tunnel(proxy: Proxy, origin: Origin, seconds: float) -> socket.socket:
    """A socket that leads to the origin, before TLS.

    Raises:
        HttpFault: The proxy refuses.
        OSError: It can't be reached, or says to come back later.
    """
    bare = _reached(proxy, seconds)
    try:
        host = origin.host.encode("idna").decode()
        place = f"[{host}]:{origin.port}" if ":" in host else f"{host}:{origin.port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", "User-Agent: tunesmith"]
        lines += [f"Proxy-Authorization: {proxy.authorization}"] if proxy.authorization else []
        bare.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with http.client.HTTPResponse(bare, method="CONNECT") as answer:
            answer.begin()
            status, reason = answer.status, " ".join(answer.reason.split())[:100]
        if not 200 <= status < 300:
            raise _refused(proxy, origin, status, reason)
    except BaseException:
        bare.close()
        raise
    return bare


def _refused(proxy: Proxy, origin: Origin, status: int, reason: str) -> Exception:
    said = f"the proxy {proxy} answered {status}" + (f" {reason}" if reason else "")
    if status in LATER:
        return ConnectionError(said)
    fix = f"let the proxy reach {origin.host}, or add {origin.host} to NO_PROXY"
    if status == 407:
        fix = f"write a name and a password into {proxy.variable}: http://NAME:PASSWORD@HOST:PORT"
    return HttpFault(f"{said} for {origin}", str(origin), fix, reason="proxy", stops=status == 407)


class _Whole(http.client.HTTPConnection):
    """Plain HTTP, asked of a proxy by whole addresses (RFC 9112, 3.2.2)."""

    def __init__(self, proxy: Proxy, origin: Origin, seconds: float) -> None:
        super().__init__(origin.host, origin.port, timeout=seconds)
        self._proxy, self._seconds, self._before = proxy, seconds, str(origin)

    def connect(self) -> None:
        self.sock = _reached(self._proxy, self._seconds)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        super().putrequest(method, f"{self._before}{url}", skip_host, skip_accept_encoding)
        if self._proxy.authorization:
            self.putheader("Proxy-Authorization", self._proxy.authorization)
