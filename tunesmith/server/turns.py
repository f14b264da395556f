"""Turns at a model that answers one request at a time: a queue, a thread and an end for each. It knows no task.

A request whose client went away, or whose time is over, leaves the queue; one that is being computed stops at the next
layer of its network.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith.server.faults import ApiFault
from tunesmith.server.waiting import unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request
    from torch import nn

    from tunesmith.server.settings import Settings

Found = TypeVar("Found")
DEEP = 3
"""Levels of modules at which a network is stopped: blocks of a decoder, calls of a denoiser."""
FIRST_SECONDS = 2.0
"""What a request is thought to take before one was measured."""
RECENT = 0.3
"""Weight of the newest request in the mean of seconds."""


class Stopped(Exception):
    """Nobody waits for the answer any more."""


class Stop:
    """Says to a computation that nobody waits for it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on ``check`` raises."""
        self._event.set()

    def check(self, *_: Any) -> None:
        """Go on.

        Raises:
            Stopped: Nobody waits.
        """
        if self._event.is_set():
            raise Stopped

    @contextmanager
    def within(self, model: nn.Module) -> Iterator[None]:
        """Checks before every call of the model's upper modules while the context is open."""
        some = [module for name, module in model.named_modules() if name.count(".") < DEEP]
        handles = [module.register_forward_pre_hook(self.check) for module in some]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Line:
    """Who waits for one model, and how long a request has taken of late."""

    def __init__(self, name: str) -> None:
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=f"ask {name}"[:60])
        self.seconds = FIRST_SECONDS
        self.inside = 0
        self.lock = threading.Lock()

    def enter(self, most: int) -> None:
        """Take a place: ``most`` wait behind the one that is computed.

        Raises:
            ApiFault: 429, all places are taken.
        """
        with self.lock:
            if self.inside > most:
                seconds = max(1.0, self.seconds * self.inside)
                what = f"{self.inside:,} requests wait for this model; ask again in {seconds:.0f} seconds"
                raise ApiFault(429, what, code="rate_limit_exceeded", retry_after=seconds)
            self.inside += 1

    def leave(self, _: Any = None) -> None:
        """Give the place back."""
        with self.lock:
            self.inside -= 1

    def timed(self, work: Callable[[], Found]) -> Found:
        """Do it, and keep in mind how long it took."""
        began = time.monotonic()
        found = work()
        self.seconds += RECENT * (time.monotonic() - began - self.seconds)
        return found


class Turns:
    """Turns at every model of a server.

    Args:
        settings: ``queue`` and ``seconds`` hold for each model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lines: dict[str, _Line] = {}
        self._stops: set[Stop] = set()
        self._lock = threading.Lock()

    async def take(self, request: Request, name: str, work: Callable[[Stop], Found]) -> Found:
        """Compute in the model's own thread when its turn comes.

        Args:
            request: Its body has been read: what comes then is that the client goes away.
            name: Of the model.
            work: Is given what tells it to stop.

        Raises:
            ApiFault: 429 where too many wait, 499 where the client went away, 504 where it took too long; and what
                ``work`` raises.
        """
        with self._lock:
            line = self._lines.setdefault(name, _Line(name))
        line.enter(self.settings.queue)
        stop = Stop()
        self._stops.add(stop)
        future: Future[Found] = line.pool.submit(lambda: line.timed(lambda: work(stop)))
        future.add_done_callback(line.leave)
        try:
            return await unless_gone(request, asyncio.wrap_future(future), self.settings.seconds)
        except Stopped as fault:
            raise ApiFault(503, "the server is stopping", code="server_stopping") from fault
        finally:
            stop.set()
            self._stops.discard(stop)

    def waiting(self) -> dict[str, int]:
        """How many requests are inside, computed or waiting, by model."""
        with self._lock:
            return {name: line.inside for name, line in self._lines.items()}

    def gauges(self) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
        """What is measured of the turns, as ``/metrics`` says it: of all models together, for a place is no label."""
        inside = self.waiting().values()
        told = {
            "tunesmith_turns_taken": ("Requests that a model computes alone.", sum(min(one, 1) for one in inside)),
            "tunesmith_turns_waiting": ("Requests that wait for their turn.", sum(max(one - 1, 0) for one in inside)),
        }
        return {name: (said, {(): float(value)}) for name, (said, value) in told.items()}

    def close(self) -> None:
        """Stop what is computed, drop what waits, and end the threads."""
        for stop in tuple(self._stops):
            stop.set()
        with self._lock:
            for line in self._lines.values():
                line.pool.shutdown(wait=False, cancel_futures=True)
