"""Which vectors lie near each other, told by comparing all of them, a block at a time. It knows nothing of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Report = Callable[[int, int], None]
BLOCK_BYTES = 64 << 20


def _silent(_done: int, _total: int) -> None:
    """Tell nobody."""


def nearest(asked: Floats, known: Floats, count: int, *, same: bool, report: Report = _silent) -> tuple[Floats, Ints]:
    """The nearest of the known unit vectors for each asked one, by cosine.

    Args:
        asked: Unit vectors [rows, width].
        known: Unit vectors [others, width].
        count: How many; fewer where there are not so many.
        same: Whether both are the same vectors, so that each is left out of its own neighbours.
        report: Receives how many rows are done, and of how many.

    Returns:
        Cosines float32 [rows, count], the nearest first, and which ones they are, int64 [rows, count].
    """
    count = max(0, min(count, len(known) - same))
    values = np.zeros((len(asked), count), dtype=np.float32)
    places = np.zeros((len(asked), count), dtype=np.int64)
    if not count:
        return values, places
    step = max(1, BLOCK_BYTES // (4 * len(known)))
    for start in range(0, len(asked), step):
        cosines = asked[start : start + step] @ known.T
        rows = np.arange(len(cosines))
        if same:
            cosines[rows, rows + start] = -2.0
        top = np.argpartition(cosines, -count, axis=1)[:, -count:]
        found = np.take_along_axis(cosines, top, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        values[start : start + step] = np.take_along_axis(found, order, axis=1)
        places[start : start + step] = np.take_along_axis(top, order, axis=1)
        report(min(start + step, len(asked)), len(asked))
    return values, places
