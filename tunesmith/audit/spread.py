"""How values spread over the span that they could have: histograms, what is missing, which class stands apart.

It knows no picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import View

Floats = NDArray[np.float64]
BySide = Mapping[Any, Floats]

LEAST_VALUES = 8
STARVED = 0.01
"""A share below which a part of the span counts as missing."""
APART, LEAST_OF_CLASS, MOST_CLASSES = 0.8, 10, 3
SHOWN_CLASSES = 12


@dataclass(frozen=True)
class End:
    """One end of a span.

    Args:
        at: Values beyond this are at the end.
        few: Words where there are next to none, after ``none of 100 pictures``.
    """

    at: float
    few: str


def histogram(
    name: str,
    title: str,
    values: BySide,
    edges: Sequence[float],
    *,
    unit: str,
    said: Sequence[str] = (),
    labels: Sequence[str | None] = (),
) -> View:
    """Values of each side in bins; what lies beyond the outermost edges counts in the outermost bins.

    Args:
        name, title, unit, said: As `View` has them.
        values: By side; NaN is left out.
        edges: Of the bins.
        labels: Classes of the training values: counts of the largest classes are added as ``classes``.
    """
    bounds = np.asarray(edges, dtype=np.float64)
    data: dict[str, Any] = {
        "edges": [round(float(edge), 6) for edge in edges],
        "counts": {side: counted(found, bounds) for side, found in values.items()},
    }
    if labels and any(label is not None for label in labels):
        names, counts = np.unique([label or "" for label in labels], return_counts=True)
        own = np.array([label or "" for label in labels], dtype=str)
        largest = [str(names[at]) for at in np.argsort(-counts, kind="stable") if names[at]][:SHOWN_CLASSES]
        data["classes"] = {label: counted(values["train"][own == label], bounds) for label in largest}
    return View(name, title, "histogram", data, unit, tuple(said))


def counted(values: Floats, bounds: Floats) -> list[int]:
    """How many values lie in each bin."""
    known = values[np.isfinite(values)]
    places = np.clip(np.searchsorted(bounds, known, side="right") - 1, 0, len(bounds) - 2)
    found: list[int] = np.bincount(places, minlength=len(bounds) - 1).tolist()
    return found


def missing_ends(values: Floats, low: End | None, high: End | None, what: str = "pictures") -> list[str]:
    """One sentence for each end of the span that has next to no values."""
    known = values[np.isfinite(values)]
    if len(known) < LEAST_VALUES:
        return []
    said = []
    for end, beyond in ((low, known < low.at if low else None), (high, known > high.at if high else None)):
        if end is not None and beyond is not None and beyond.mean() < STARVED:
            count = int(beyond.sum())
            said.append(f"{'none' if not count else f'only {count:,}'} of {len(known):,} {what} {end.few}")
    return said


def classes_apart(values: Floats, labels: Sequence[str | None], lower: str, higher: str) -> list[str]:
    """A sentence for each class whose values lie nearly all on one side of the others'.

    Args:
        values: One for each row.
        labels: Their classes.
        lower, higher: What a class is that has lower or higher values: ``darker``, ``brighter``.
    """
    known = np.isfinite(values) & np.array([label is not None for label in labels], dtype=bool)
    if known.sum() < 2 * LEAST_OF_CLASS:
        return []
    kept = values[known]
    own = np.array([label or "" for label in labels], dtype=str)[known]
    order = np.argsort(kept, kind="stable")
    # Equal values share the mean of their ranks.
    _, inverse, counts = np.unique(kept, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    assert len(order) == len(ranks)
    found = []
    for name in np.unique(own)[:1000]:
        ours = own == name
        count, rest = int(ours.sum()), int((~ours).sum())
        if count < LEAST_OF_CLASS or rest < LEAST_OF_CLASS:
            continue
        area = (ranks[ours].sum() - count * (count + 1) / 2) / (count * rest)
        if max(area, 1 - area) >= APART:
            said = f"{str(name)!r} is {higher if area > 0.5 else lower} than the others: its median is higher than"
            beaten = float(np.mean(kept[~ours] < np.median(kept[ours])))
            found.append((max(area, 1 - area), f"{said} {beaten:.0%} of theirs, so that a model could tell it by that"))
    found.sort(reverse=True)
    return [words for _, words in found[:MOST_CLASSES]]
