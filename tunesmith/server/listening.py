"""How the server listens: its socket, its folder for itself alone, and connections that have to get on. No route."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith.server.settings import Settings

HEAD_SECONDS = 10.0
"""Most time from a connection, or from the first byte of a further request, to the end of the request's head."""
HEAD_BYTES = 32 << 10
LINGER_SECONDS = 10
BACKLOG = 512
SPARE = 192
"""Connections beside those whose requests wait for a model: uploads, polls, streams."""


class TimedHead(H11Protocol):
    """A connection whose client has to send a head in time; uvicorn 0.54 waits for one without end."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._close_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        self._late = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; who connects waits until the server accepts.

    Args:
        host: An address or a name of one of this machine's.
        port: 0 takes a free one.

    Raises:
        UserError: It is taken, or can't be listened at.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(BACKLOG)
        except OSError:
            made.close()
            raise
    except (OSError, UnicodeError, OverflowError) as fault:
        fix = "name another port with --port; 0 takes a free one"
        raise UserError(f"can't listen there: {fault}", f"{host}:{port}", fix) from fault
    return made


@contextmanager
def folder_alone(folder: Path) -> Iterator[None]:
    """The server's folder, for this server alone: two would both start its jobs.

    Raises:
        UserError: Another server has it, or it can't be written.
    """
    import fcntl

    from tunesmith.run import refusal

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / ".server.lock").open("w")
    except OSError as fault:
        raise refusal(fault, folder) from fault
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = "stop it first, or name another folder with --folder"
            raise UserError("another server uses this folder", str(folder), fix) from None
        yield


def serve(settings: Settings, ready: Callable[[Settings], Any]) -> None:
    """Answer requests until a signal comes.

    Args:
        settings: With a token. A port of 0 is replaced by the one that was taken.
        ready: Is called with the settings as they hold when requests are answered.

    Raises:
        UserError: The folder or the port is taken, or a setting can't be used.
        KeyboardInterrupt: Ctrl-C came, and all has been closed.
    """
    from tunesmith.server.app import make_app

    with folder_alone(settings.folder), listening_socket(settings.host, settings.port) as bound:
        settings = replace(settings, port=bound.getsockname()[1])
        app = make_app(settings)
        _Server(configuration(app, settings), lambda: ready(settings)).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()


def configuration(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application: no header that a client wrote is believed for where it comes from."""
    return uvicorn.Config(
        app,
        http=TimedHead,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=LINGER_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
        limit_concurrency=settings.queue + SPARE,
    )
