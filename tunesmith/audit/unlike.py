"""Rows that are like no other to the task's own network, and a map of all as it sees them. It knows no modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.features import Features
from tunesmith.audit.found import Found, Mark, SideName, View
from tunesmith.audit.neighbours import nearest
from tunesmith.audit.row_texts import excerpt, reader
from tunesmith.data.tally import share_of

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
SIDES: tuple[SideName, SideName] = ("train", "eval")

LEAST_ROWS = 30
"""Fewer rows tell nothing of what is usual."""
NEIGHBOURS, MOST_KNOWN = 10, 10_000
FAR, MOST_OUTLIERS = 2.8, 0.01
"""Robust deviations above the median from which on a row is like no other, and the most that are told."""
SURELY_FAR, MOST_SURE = 3.5, 5
"""One in a hundred is next to nothing of a small side: so many are told of it where they lie beyond the bar of Iglewicz
and Hoaglin (1993)."""
BEYOND = 0.99
MAP_POINTS = 3000


@dataclass(frozen=True)
class Nearness:
    """How far each row is from the training rows around it, between vectors of length 1.

    Args:
        tenth: From the tenth nearest one, so that a handful of copies make no crowd; float32 [rows], by side.
        first: From the nearest one, float32 [rows], by side.
    """

    tenth: dict[SideName, Floats]
    first: dict[SideName, Floats]


def nearness(data: AuditData, features: Features) -> Nearness:
    """Every row compared with the training rows, or with ten thousand of them."""
    vectors = {side: features.unit(side) for side in SIDES}
    known = np.arange(len(vectors["train"]))
    if len(known) > MOST_KNOWN:
        rng = np.random.default_rng(data.prepared.source.recipe.run.seed)
        known = np.sort(rng.choice(len(known), MOST_KNOWN, replace=False))
    count = max(1, min(NEIGHBOURS, len(known) // 10))
    tenth: dict[SideName, Floats] = {}
    first: dict[SideName, Floats] = {}

    def tell(done: int, total: int) -> None:
        data.progress("comparing features", done, total)

    for side, asked in vectors.items():
        cosines, places = nearest(asked, vectors["train"][known], count + 1, same=False, report=tell)
        if side == "train":
            # A row is its own neighbour: it is left out, and of a row that was not drawn the farthest one.
            own = known[places] == np.arange(len(asked))[:, None]
            own[~own.any(1), -1] = True
            cosines = cosines[~own].reshape(len(asked), -1)
        cosines = cosines[:, :count]
        far = np.sqrt(np.maximum(2 - 2 * cosines, 0)) if cosines.shape[1] else np.zeros((0, 1), np.float32)
        tenth[side], first[side] = far[:, -1], far[:, 0]
    return Nearness(tenth, first)


def outlier_findings(data: AuditData, features: Features, near: Nearness) -> Iterator[Found]:
    """Rows that are far from all others."""
    distances = near.tenth["train"]
    if len(distances) < LEAST_ROWS:
        return
    median = float(np.median(distances))
    spread = 1.4826 * float(np.median(np.abs(distances - median))) or 1e-6
    marks: list[Mark] = []
    count = 0
    for side, own in near.tenth.items():
        deviations = (own - median) / spread
        far = np.flatnonzero(deviations >= FAR)
        sure = min(MOST_SURE, int(np.count_nonzero(deviations >= SURELY_FAR)))
        far = far[np.argsort(-deviations[far], kind="stable")][: max(1, sure, int(MOST_OUTLIERS * len(own)))]
        count += len(far)
        for n in far.tolist():
            row = data.sides[side][int(features.at[side][n])]
            marks.append(
                Mark(
                    str(row["id"]),
                    side,
                    round(1 - FAR / (FAR + float(deviations[n])), 4),
                    f"{_times(own[n], median)} as far from other rows as usual{_shown(data, row)}",
                )
            )
    if marks:
        marks.sort(key=lambda mark: -mark.score)
        rows = len(near.tenth["train"]) + len(near.tenth["eval"])
        yield Found(
            "outliers",
            "note",
            f"{share_of(count, rows)} are unlike all others to the network (row {marks[0].row}: {marks[0].note})",
            data.where("train"),
            "look at them: what is no part of the task is better left out, what is rare in it needs more rows",
            marks,
            count / rows,
        )


def _times(distance: float, usual: float) -> str:
    return f"{distance / max(usual, 1e-6):.1f} times"


def _shown(data: AuditData, row: Any) -> str:
    pieces = reader(data)(row) if data.has("text") else []
    return f": {excerpt(pieces[0].text)!r}" if pieces else ""


def map_view(data: AuditData, features: Features, near: Nearness, said: Sequence[str]) -> View:
    """A sample of the rows in the two directions of their largest spread.

    Args:
        data: For labels and ids.
        features: Of the rows.
        near: How far they are from each other.
        said: What else is known of both sides, one sentence each.
    """
    rng = np.random.default_rng(data.prepared.source.recipe.run.seed)
    total = len(features.train) + len(features.eval)
    picked: dict[SideName, Ints] = {}
    for side in ("train", "eval"):
        count = len(features.of(side))
        wanted = min(count, -(-MAP_POINTS * count // total)) if total > MAP_POINTS else count
        picked[side] = np.sort(rng.choice(count, wanted, replace=False))
    drawn = np.concatenate([features.unit(side)[at] for side, at in picked.items()]).astype(np.float64)
    axes, held = plane(drawn)
    points: list[list[Any]] = []
    for side, at in picked.items():
        for n in at.tolist():
            row = data.sides[side][int(features.at[side][n])]
            x, y = axes[len(points)]
            label = None if data.label is None else str(row.get(data.label))
            points.append([round(float(x), 4), round(float(y), 4), side, label, str(row["id"])])
    first = f"each point is a row as the network sees it; the two directions hold {held:.0%} of the spread"
    sentences = [first, *said, *_beyond(near)]
    return View("feature-map", "Map of the rows", "map", {"points": points[:MAP_POINTS]}, said=sentences)


def plane(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Vectors [rows, width] in the two directions of their largest spread, [rows, 2], and the share that these hold."""
    centred = values - values.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(values), 2))
    kept = min(2, len(spread))
    found[:, :kept] = centred @ directions[:kept].T
    whole = float((spread**2).sum())
    return found, float((spread[:kept] ** 2).sum()) / whole if whole > 0 else 1.0


def _beyond(near: Nearness) -> Iterator[str]:
    if len(near.first["train"]) < LEAST_ROWS or not len(near.first["eval"]):
        return
    limit = float(np.quantile(near.first["train"], BEYOND))
    share = float((near.first["eval"] > limit).mean())
    yield (
        f"{share:.1%} of the held-out rows lie farther from every training row than {BEYOND:.0%} of the training rows "
        "do from each other"
        + (": there is nothing to learn them from" if share >= 5 * (1 - BEYOND) else ", which is about as it should be")
    )
