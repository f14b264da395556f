"""Where a connection may go: never into a private network, unless a person named that very place.

A name is looked up once and the connection is made to the very address that was checked, so that a name server that
answers differently a moment later (DNS rebinding) gains nothing. It knows no protocol above TLS, and no proxy.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from tunesmith.errors import UserError

Resolve = Callable[[str, int], Sequence[str]]
PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host and port: what a person names when they name an address."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


def origin_of(address: str) -> Origin:
    """The origin of an address.

    Raises:
        UserError: It is no http or https address, or it carries a user's name and password.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
        # No label of a name is empty or longer than 63 signs; a look-up would fail otherwise than by OSError.
        (parts.hostname or "").encode("idna")
    except ValueError as fault:
        raise UserError(f"{address!r} is no address: {fault}", address, "write it as https://HOST/...") from fault
    if parts.scheme not in PORTS or not parts.hostname:
        raise UserError(f"{address!r} is no http or https address", address, "write it as https://HOST/...")
    if parts.username is not None or parts.password is not None:
        place = f"{parts.scheme}://{parts.hostname}"
        raise UserError("an address carries a name or a password", place, "put the token into the environment")
    return Origin(parts.scheme, parts.hostname.lower(), port or PORTS[parts.scheme])


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a host, as the system tells them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever it is wrapped in (IPv4 in IPv6, 6to4, NAT64)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_near(host: str) -> bool:
    """Whether a host is this machine or stands in a private network, as far as its name tells; it is not looked up."""
    host = host.rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    return address.is_private or address.is_loopback


def checked(origin: Origin, named: Iterable[Origin], look_up: Resolve) -> Sequence[str]:
    """The IP addresses that a connection to this origin may be made to.

    Raises:
        UserError: The name leads into a private network and no person named this origin.
        OSError: The name is not known.
    """
    addresses = look_up(origin.host, origin.port)
    if origin not in named:
        need_public(origin, addresses)
    return addresses


def need_public(origin: Origin, addresses: Iterable[str]) -> None:
    """Refuse an origin that no person named if one of its IP addresses is of a private network.

    Raises:
        UserError: One is.
    """
    private = [address for address in addresses if not is_public(address)]
    if private:
        raise UserError(
            f"{origin} leads to {private[0]}, an address of a private network",
            str(origin),
            "name it as the base address yourself if it is meant; that a page or a reply names it is not enough",
        )


def connection_to(origin: Origin, addresses: Sequence[str], seconds: float) -> http.client.HTTPConnection:
    """A connection that goes to these IP addresses only, first to the first; the host's name stays in TLS."""
    reach = partial(connected, addresses, origin.port, seconds)
    return Secure(origin, reach, seconds) if origin.scheme == "https" else _Plain(origin, reach, seconds)


def connected(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """A socket to the first of the addresses that answers.

    Raises:
        OSError: None does.
    """
    refused: OSError = OSError("the name has no address")
    for address in addresses:
        try:
            made = socket.create_connection((address, port), seconds)
            # A body that waits for the acknowledgement of its headers would cost 40 ms a request.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        except OSError as fault:
            refused = fault
    raise refused


class _Plain(http.client.HTTPConnection):
    """HTTP over a socket that was reached in a way of its own."""

    def __init__(self, origin: Origin, reach: Callable[[], socket.socket], seconds: float) -> None:
        super().__init__(origin.host, origin.port, timeout=seconds)
        self._reach = reach

    def connect(self) -> None:
        self.sock = self._reach()


class Secure(http.client.HTTPSConnection):
    """HTTPS over such a socket; the certificate has to be that of the origin's host.

    Args:
        origin: What is asked.
        reach: Makes the socket that TLS is spoken over.
        seconds: Without a byte.
    """

    def __init__(self, origin: Origin, reach: Callable[[], socket.socket], seconds: float) -> None:
        self._trust = ssl.create_default_context()
        super().__init__(origin.host, origin.port, timeout=seconds, context=self._trust)
        self._reach = reach

    def connect(self) -> None:
        """Reach the host and check its certificate."""
        bare = self._reach()
        try:
            self.sock = self._trust.wrap_socket(bare, server_hostname=self.host)
        except BaseException:
            bare.close()
            raise
