"""Replies of a decoder to many clients at once: a queue, one thread a base, tokens as they come.

Rows join and leave a batch at any token (`tunesmith.model.continuous`). It knows no route and no HTTP but its faults.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith.model.continuous import Batch, Growing
    from tunesmith.model.shared_base import SharedBase

MOST_ROWS = 32
"""Most answers that grow together."""
FORESEEN = 512
"""Tokens of an answer for which room is kept; a longer one takes more as it grows."""
FIRST_SECONDS = 1.0
"""What an answer is taken to last until one was measured."""


@dataclass(eq=False)
class Ask:
    """One answer that somebody waits for.

    Args:
        growing: The answer.
        told: Called by the base's thread after each token and at the end; it must not wait.
        began: When it was asked, by the monotonic clock.
        gone: Whether nobody waits any more.
    """

    growing: Growing
    told: Callable[[], None]
    began: float = field(default_factory=time.monotonic)
    gone: bool = False


class Engine:
    """A base with its adapters, and the thread that computes with it.

    Args:
        base: The decoder; from here on only this thread touches it.
        pad: Id that fills up shorter prompts.
        queue: Most answers that wait to join; one more is refused.
    """

    def __init__(self, base: SharedBase, pad: int, *, queue: int) -> None:
        from tunesmith.model.continuous import Batch

        self._base, self._pad, self._queue = base, pad, queue
        self._batch: Batch = Batch(base, pad)
        self._waiting: deque[Ask] = deque()
        self._live: list[Ask] = []
        self._work: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._seconds = FIRST_SECONDS
        self.tokens = self.answered = self.cancelled = 0
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Answers that have not begun."""
        return len(self._waiting)

    @property
    def live(self) -> int:
        """Answers that grow."""
        return len(self._live)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that are held."""
        return self._base.names

    def submit(self, asks: Sequence[Ask]) -> None:
        """Let answers join as soon as there is room.

        Raises:
            ApiFault: 429 where too many wait, 503 where the base is being unloaded.
        """
        with self._changed:
            if self._stopped:
                raise ApiFault(503, "the model is being unloaded; ask again", code="model_unloaded", retry_after=1)
            free = self._queue + max(0, MOST_ROWS - len(self._live))
            if len(self._waiting) + len(asks) > free:
                text = f"{len(self._waiting)} answers wait for this model already; ask again later"
                raise ApiFault(429, text, code="rate_limit_exceeded", retry_after=self._wait())
            self._waiting.extend(asks)
            self._changed.notify()

    def cancel(self, asks: Sequence[Ask]) -> None:
        """Let answers go: nobody waits for them any more. One that has ended is left as it is."""
        with self._changed:
            for ask in asks:
                ask.gone = True
            self._changed.notify()

    def put(self, name: str, folder: Path) -> int:
        """Hold an adapter; its bytes.

        Raises:
            UserError: It can't stand on this base.
        """

        def work() -> int:
            if name not in self._base.names:
                self._base.put(name, folder)
            return self._base.bytes_of(name)

        return int(self._between(work))

    def drop(self, name: str) -> None:
        """Hold an adapter no more; no answer of it may be open."""
        self._between(lambda: self._base.drop(name))

    def stop(self) -> None:
        """End the thread; who still waits gets a fault."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _between(self, work: Callable[[], Any]) -> Any:
        """Do something with the base between two tokens."""
        promise: Future[Any] = Future()
        with self._changed:
            if self._stopped:
                raise ApiFault(503, "the model is being unloaded; ask again", code="model_unloaded", retry_after=1)
            self._work.append((work, promise))
            self._changed.notify()
        return promise.result()

    def _wait(self) -> float:
        """About how many seconds until there is room, at least one."""
        rounds = 1 + len(self._waiting) // MOST_ROWS
        return max(1.0, round(rounds * self._seconds))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._stopped or self._waiting or self._live or self._work):
                    self._changed.wait()
                if self._stopped:
                    break
                work = list(self._work)
                self._work.clear()
            for do, promise in work:
                _fulfil(do, promise)
            self._turn()
        self._end(ApiFault(503, "the model was unloaded; ask again", code="model_unloaded", retry_after=1))

    def _turn(self) -> None:
        """One token of every answer, and the first of those that join."""
        try:
            self._batch.leave([ask.growing for ask in self._left()])
            joining = self._joining()
            if joining:
                self._batch.join([ask.growing for ask in joining])
                self._tell(joining)
            growing = [ask for ask in self._live if not ask.growing.done]
            if growing:
                self._batch.step()
                self._tell(growing)
        except Exception as fault:  # the others' thread must live on
            traceback.print_exception(fault, file=sys.stderr)
            from tunesmith.model.continuous import Batch

            for ask in self._live:
                ask.growing.fault = ask.growing.fault or fault
                ask.told()
            self._live = []
            self._batch = Batch(self._base, self._pad)
        self._live = [ask for ask in self._live if not ask.growing.done]

    def _tell(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            self.tokens += not ask.growing.ended
            if ask.growing.done:
                self.answered += 1
                self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - ask.began)
            ask.told()

    def _left(self) -> list[Ask]:
        """Who was live and is waited for no more; nobody of them is live from here on."""
        with self._changed:
            gone = [ask for ask in self._live if ask.gone]
            kept = deque(ask for ask in self._waiting if not ask.gone)
            self.cancelled += len(gone) + len(self._waiting) - len(kept)
            self._live = [ask for ask in self._live if ask not in gone]
            self._waiting = kept
        return gone

    def _joining(self) -> list[Ask]:
        """Who waits and finds room; they are live from here on."""
        found: list[Ask] = []
        with self._changed:
            longest = max((_foreseen(ask) for ask in self._live), default=0)
            while self._waiting and len(self._live) < MOST_ROWS:
                longest = max(longest, _foreseen(self._waiting[0]))
                if self._live and longest * (len(self._live) + 1) > self._batch.room:
                    break
                found.append(self._waiting.popleft())
                self._live.append(found[-1])
        return found

    def _end(self, fault: ApiFault) -> None:
        with self._changed:
            asks, work = [*self._live, *self._waiting], list(self._work)
            self._waiting.clear()
            self._work.clear()
            self._live = []
        for ask in asks:
            ask.growing.fault = fault
            ask.told()
        for _, promise in work:
            promise.set_exception(fault)


def _foreseen(ask: Ask) -> int:
    """Tokens that an answer's keys and values will be of, as far as is foreseen."""
    growing = ask.growing
    written = len(growing.written)
    return len(growing.prompt) + written + min(growing.most - written, FORESEEN)


def _fulfil(do: Callable[[], Any], promise: Future[Any]) -> None:
    try:
        promise.set_result(do())
    except Exception as fault:  # whoever asked gets it
        promise.set_exception(fault)
