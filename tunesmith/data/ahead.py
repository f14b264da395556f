"""Work done in threads a little ahead of where its results are read, in order. It knows no rows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 64


def default_threads() -> int:
    """Threads that decoding and waiting for a disk can use at once."""
    return min(16, 2 + (os.cpu_count() or 1))


def ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None) -> Iterator[R]:
    """``map(function, items)`` in threads, at most `AHEAD` items ahead of the reader; order and errors are kept.

    Whoever stops reading stops the work.
    """
    with ThreadPoolExecutor(threads or default_threads(), thread_name_prefix="ahead") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
