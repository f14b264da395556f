"""Nearest vectors: exact, or from an approximate index that is made only where the exact search is measured to be slow.

The approximate index is that of usearch, which is optional. It knows no document.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.retrieval.vectors import VectorFile, ordered

if TYPE_CHECKING:
    from tunesmith.retrieval.indexed import IndexReport

SLOW_SECONDS = 0.05
"""95th percentile of the exact search from which on an approximate index is made."""
TRIED = 20
"""Vectors of the index that are searched for, to measure."""
WIDER = 3
"""Times as many are asked of the approximate index, and ordered by their exact products."""
_OPEN: dict[Path, tuple[float, Any]] = {}


def keep_fast(
    vectors: VectorFile, count: int, report: IndexReport, progress: Callable[[str, int, int], None], slow: float
) -> None:
    """Measure the exact search, and make an approximate index where it is slow.

    Args:
        vectors: Of the index.
        count: Slots in use.
        report: Gets a note of what was found and done.
        progress: Hears how far it is.
        slow: Seconds of the 95th percentile that are too many.
    """
    file = _file(vectors)
    for other in vectors.path.parent.glob("vectors-*.usearch"):
        if other != file:
            other.unlink()
    if not count:
        return
    at = np.random.default_rng(0).integers(count, size=TRIED)
    queries = vectors.rows(count)[at].astype(np.float32)
    exact, seconds = _timed(lambda query: vectors.best(query, 10, count)[0], queries)
    if seconds < slow:
        file.unlink(missing_ok=True)
        return
    said = f"the exact search over {count:,} vectors takes {seconds * 1000:.0f} ms (95th percentile of {TRIED})"
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        report.notes.append(f'{said}; for an approximate index: pip install "tunesmith[ann]", and index once more')
        return
    index = Index(
        ndim=vectors.width, metric="ip", dtype="f16", connectivity=16, expansion_add=128, expansion_search=128
    )
    have = 0
    if file.is_file():
        index.load(str(file))
        have = len(index)
    rows = vectors.rows(count)
    for start in range(have, count, 10_000):
        stop = min(count, start + 10_000)
        index.add(np.arange(start, stop, dtype=np.uint64), np.asarray(rows[start:stop]))
        progress("approximate index", stop, count)
    draft = file.with_suffix(".draft")
    index.save(str(draft))
    draft.replace(file)
    found, faster = _timed(lambda query: nearest(vectors, query, 10, count, None, False)[0], queries)
    same = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(exact, found, strict=True)])
    report.notes.append(
        f"{said}: an approximate index answers in {faster * 1000:.0f} ms and finds {same:.1%} of the same"
    )


def nearest(
    vectors: VectorFile,
    query: NDArray[np.float32],
    k: int,
    count: int,
    allowed: NDArray[np.bool_] | None,
    filtered: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Slots of the nearest vectors and their products with the query, best first.

    Args:
        vectors: Of the index.
        query: Of length 1, [width].
        k: How many.
        count: Slots in use.
        allowed: Which slots may be found, [count]; None is all.
        filtered: Whether few may be found, so that the search is exact whatever there is.
    """
    index = None if filtered else _opened(vectors)
    if index is None:
        return vectors.best(query, k, count, allowed)
    have = len(index)
    matches = index.search(query.astype(np.float16), min(have, WIDER * k))
    # What was added since stands behind, and is few: it is searched exactly.
    slots = np.concatenate(
        [np.asarray(matches.keys, dtype=np.int64), np.arange(min(have, count), count, dtype=np.int64)]
    )
    slots = slots[slots < count]
    if allowed is not None:
        slots = slots[allowed[slots]]
    return ordered(vectors.rows(count), slots, query, k)


def _opened(vectors: VectorFile) -> Any:
    """The approximate index of a vector file; None where there is none, or nothing here reads it."""
    file = _file(vectors)
    if not file.is_file():
        return None
    changed = file.stat().st_mtime
    if _OPEN.get(file, (0.0, None))[0] != changed:
        try:
            from usearch.index import Index
        except ModuleNotFoundError:
            return None
        _OPEN[file] = (changed, Index.restore(str(file), view=True))
    return _OPEN[file][1]


def _file(vectors: VectorFile) -> Path:
    return vectors.path.with_suffix(".usearch")


def _timed(
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]], queries: NDArray[np.float32]
) -> tuple[list[list[int]], float]:
    """What a search finds for each query, and the 95th percentile of its seconds; the first one warms up."""
    search(queries[0])
    found, seconds = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(search(query).tolist())
        seconds.append(time.perf_counter() - began)
    return found, float(np.percentile(seconds, 95))
