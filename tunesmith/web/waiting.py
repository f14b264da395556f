"""How requests are spaced: a clock that tests can turn, a token bucket, what a server asks for. It sends nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Protocol

LONGEST_STEP_SECONDS = 60.0


class Clock(Protocol):
    """Seconds that pass, and waiting for them."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def sleep(self, seconds: float) -> None:
        """Come back after so many seconds."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Come back after so many seconds."""
        time.sleep(seconds)


class Stopped(Exception):
    """A wait was ended by another thread; what waited gives up."""


class StoppableClock:
    """A clock whose waits, of any number of threads, end when one says so.

    Args:
        clock: Whose seconds count; None is the clock of the machine.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock, self._stopped = clock, Event()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() if self._clock is None else self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Come back after so many seconds.

        Raises:
            Stopped: `stop` was called, before or meanwhile.
        """
        if self._clock is None:
            self._stopped.wait(seconds)
        else:
            self._clock.sleep(seconds)
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """End all waits, also those to come."""
        self._stopped.set()

    def start(self) -> None:
        """Let waits be waits again."""
        self._stopped.clear()


class TokenBucket:
    """At most ``rate`` requests a second in the long run, ``burst`` at once.

    Args:
        rate: Requests a second; infinite means any number.
        burst: Requests that may go at once after a pause.
        clock: Whose seconds count.
    """

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = float(burst), clock.now()

    def take(self) -> float:
        """Wait till a request may go; the seconds waited."""
        if math.isinf(self._rate):
            return 0.0
        self._refill()
        waited = 0.0
        if self._tokens < 1:
            waited = (1 - self._tokens) / self._rate
            self._clock.sleep(waited)
            self._refill()
        self._tokens -= 1
        return waited

    def _refill(self) -> None:
        now = self._clock.now()
        # A clock that was set back must not take tokens away.
        passed = max(0.0, now - self._at)
        self._tokens, self._at = min(float(self._burst), self._tokens + passed * self._rate), now


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a reply asks to wait; None if it does not say. Both forms of the header are read (RFC 9110, 10.2.3).

    A date is compared with the server's own ``Date``: this machine's clock may be wrong.
    """
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    until = moment(said)
    if until is None:
        return None
    there = moment(headers.get("date", ""))
    return max(0.0, until - (now if there is None else there))


def moment(said: str) -> float | None:
    """Seconds since 1970 of a date in a header; None if it is none."""
    try:
        read = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def step(attempt: int) -> float:
    """Seconds before the next attempt where the server does not say: 1, 2, 4, ... at most a minute."""
    return min(2.0 ** (attempt - 1), LONGEST_STEP_SECONDS)
