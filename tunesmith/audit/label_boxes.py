"""Boxes that are wrong, told by heads that learned from other pictures: swapped, askew, missing.

A cell inside a box has its class, one outside has none. What the heads of other pictures see around a box, and where
there is no box, is held against the boxes. Classes are told by heads over whole objects: the mean features of each box,
beside those of places that look like an object and have no box, so that a box of something else is not given the class
that it is the least unlike. It reads no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.cells import NoMaps, SeenPicture, picture_limit_said, pieces, seen_pictures
from tunesmith.audit.found import Found, Mark, Skipped, View, share_level
from tunesmith.audit.heads import Floats, Numbers
from tunesmith.audit.label_noise import Doubt, confident_joint, doubt
from tunesmith.audit.out_of_fold import LEAST_ROWS, sifted

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.types import Batch

Boxes = NDArray[np.float64]

WRONG = 0.5
MOVES = np.arange(-0.8, 0.81, 0.1)
SIZES = (0.8, 1.0, 1.25)
ASKEW_OVERLAP = 0.55
ASKEW_GAIN = 0.15
SURE_OBJECT = 0.8
MISSED_INSIDE = 0.25
WARNING_SHARE = 0.01
LEAST_BOXES = 20


@dataclass(frozen=True)
class _Judged:
    """Boxes of classes that have enough of them, as heads see them that learned from other pictures.

    Args:
        at: Their numbers in `_Boxes`, [boxes].
        present: Numbers of these classes.
        labels: Place of each box's class in ``present``, [boxes].
        probabilities: Out of fold; the last is that of no object, float32 [boxes, classes + 1].
        doubts: How probable it is that each is wrong, [boxes].
    """

    at: Numbers
    present: list[int]
    labels: Numbers
    probabilities: Floats
    doubts: Doubt


@dataclass
class _Boxes:
    """What was gathered of all boxes, and of places without one that look like an object."""

    rows: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    features: list[Floats] = field(default_factory=list)
    bare_rows: list[int] = field(default_factory=list)
    bare_features: list[Floats] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    askew: list[tuple[int, int, float, float]] = field(default_factory=list)
    missed: list[tuple[int, int, float, float, list[float]]] = field(default_factory=list)


def box_label_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Boxes of training pictures that are probably wrong."""
    names = [str(name) for name in data.task.facts.values.get("labels", ())]
    if not data.has_weights or not names:
        yield Skipped("box-errors", "boxes are judged by the network's maps, and the model's weights are not at hand")
        return
    found, looked, seed = _Boxes(), 0, data.prepared.source.recipe.run.seed
    try:
        for seen in seen_pictures(data, len(names) + 1, cells_of_boxes, seed):
            _look(seen, found)
            looked += 1
    except NoMaps as why:
        yield Skipped("box-errors", str(why))
        return
    if said := picture_limit_said(data):
        yield Skipped("box-errors", said)
    judged = _judged(found, seed)
    marks = [*_swapped(data, found, judged, names), *_askew(data, found, names), *_missed(data, found, names)]
    marks.sort(key=lambda mark: -mark.score)
    if judged is not None:
        yield _pairs(judged, names)
    if not marks:
        return
    rows = len({mark.row for mark in marks})
    kinds = {kind: sum(mark.note.startswith(kind) for mark in marks) for kind in ("class", "place", "missing")}
    what = (
        f"{rows:,} of {looked:,} training pictures ({rows / looked:.1%}) have boxes that are probably wrong: "
        f"{kinds['class']} of the wrong class, {kinds['place']} in the wrong place, {kinds['missing']} missing "
        f"(the first: {marks[0].row}, {marks[0].note})"
    )
    fix = "look at these pictures, the surest first, and draw the boxes anew; --fix --relabel changes the classes alone"
    level = share_level(rows / looked, WARNING_SHARE)
    yield Found("box-errors", level, what, data.where("train"), fix, marks, rows / looked, remedy="change")


def cells_of_boxes(batch: Batch, size: tuple[int, int]) -> NDArray[np.int64]:
    """Class of each cell: that of the smallest box around its centre, the last (no class) outside; -1 in a crowd."""
    boxes, labels, crowd, scale = _given(batch, size)
    grid = np.full(size, -2, dtype=np.int64)
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    for i in np.argsort(-((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))):
        x1, y1, x2, y2 = boxes[i] / scale
        # The corners of a box seldom show its object: an ellipse is nearer to it.
        inside = ((xs - (x1 + x2) / 2) / max((x2 - x1) / 2, 1e-6)) ** 2 + (
            (ys - (y1 + y2) / 2) / max((y2 - y1) / 2, 1e-6)
        ) ** 2 <= 1
        corner = (xs >= x1) & (xs < x2) & (ys >= y1) & (ys < y2) & ~inside
        grid[corner & (grid == -2)] = -1
        grid[inside] = -1 if crowd[i] else labels[i] + 1
    grid[grid == -2] = 0
    return grid


def _given(batch: Batch, size: tuple[int, int]) -> tuple[Boxes, NDArray[np.int64], NDArray[np.bool_], NDArray[Any]]:
    height, width = batch["pixels"].shape[-2:]
    scale = np.array([width / size[1], height / size[0]] * 2)
    boxes = np.asarray(batch["boxes"][0].numpy(), dtype=np.float64).reshape(-1, 4)
    return boxes, batch["labels"][0].numpy(), batch["crowd"][0].numpy(), scale


def _look(seen: SeenPicture, found: _Boxes) -> None:
    size = (seen.given.shape[0], seen.given.shape[1])
    boxes, labels, crowd, scale = _given(seen.batch, size)
    boxes = boxes / scale
    thing = 1 - seen.probabilities[..., 0].astype(np.float64)
    total = _summed(thing)
    for i, box in enumerate(boxes):
        found.sizes.append(float((box[2] - box[0]) * (box[3] - box[1])))
        if crowd[i]:
            continue
        found.rows.append(seen.at)
        found.numbers.append(i)
        found.labels.append(int(labels[i]))
        found.features.append(seen.maps[_cells_in(_inner(box), size)].mean(0))
        others = np.delete(boxes, i, axis=0)
        gain, overlap = _better_place(box, total, others, size)
        found.askew.append((seen.at, i, gain, overlap))
    free = np.ones(size, dtype=bool)
    for box in boxes:
        free &= ~_cells_in(_grown(box, 1.3), size)
    for piece in pieces(free & (thing >= 0.5)):
        if piece.sum() < 4:
            break
        ys, xs = np.nonzero(piece)
        place = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        shares = seen.probabilities[piece][:, 1:].mean(0)
        found.bare_rows.append(seen.at)
        found.bare_features.append(seen.maps[piece].mean(0))
        found.missed.append(
            (seen.at, int(shares.argmax()), float(thing[piece].mean()), float(piece.sum()), (place * scale).tolist())
        )


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _inner(box: NDArray[np.float64], share: float = 0.7) -> NDArray[np.float64]:
    return _grown(box, share)


def _grown(box: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * share
    return np.concatenate([centre - half, centre + half])


def _cells_in(box: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells whose centre a box holds; of a box that holds none, the one it lies in."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    inside = (xs >= box[0]) & (xs < box[2]) & (ys >= box[1]) & (ys < box[3])
    if not inside.any():
        y, x = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
        inside[min(max(int(y), 0), size[0] - 1), min(max(int(x), 0), size[1] - 1)] = True
    return np.asarray(inside)


def _better_place(
    box: NDArray[np.float64], total: NDArray[np.float64], others: Boxes, size: tuple[int, int]
) -> tuple[float, float]:
    """How much more of an object a box near this one would hold, and how far that one overlaps with it.

    What a box holds is the mean of its cells less the mean of those right around it. Places on other boxes don't count.
    """
    wide, high = box[2] - box[0], box[3] - box[1]
    moves = np.array([(dx * wide, dy * high, s) for s in SIZES for dx in MOVES for dy in MOVES])
    centre = (box[:2] + box[2:]) / 2 + moves[:, :2]
    half = np.array([wide, high]) / 2 * moves[:, 2:]
    tried = np.concatenate([centre - half, centre + half], 1)
    scores = _held(tried, total, size)
    own = float(_held(box[None], total, size)[0])
    if len(others):
        scores = np.where(_overlaps(tried, others).max(1) > 0.3, -np.inf, scores)
    overlap = _overlaps(tried, box[None])[:, 0]
    best = int(scores.argmax())
    return float(scores[best] - own) if np.isfinite(scores[best]) else 0.0, float(overlap[best])


def _held(boxes: Boxes, total: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    around = np.concatenate([boxes[:, :2] - 0.4 * half, boxes[:, 2:] + 0.4 * half], 1)
    inner, inner_area = _sums(boxes, total, size)
    outer, outer_area = _sums(around, total, size)
    ring = (outer - inner) / np.maximum(outer_area - inner_area, 1e-6)
    return np.asarray(inner / np.maximum(inner_area, 1e-6) - ring)


def _sums(
    boxes: Boxes, total: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x1, x2 = (np.clip(np.rint(boxes[:, i]), 0, size[1]).astype(int) for i in (0, 2))
    y1, y2 = (np.clip(np.rint(boxes[:, i]), 0, size[0]).astype(int) for i in (1, 3))
    return total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1], ((x2 - x1) * (y2 - y1)).astype(np.float64)


def _overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union, [one, other]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (one, other)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9))


def _judged(found: _Boxes, seed: int) -> _Judged | None:
    """Every box held against what heads of other pictures see in it; None of few boxes, or of one class."""
    counts = np.bincount(found.labels) if found.labels else np.zeros(0, dtype=np.int64)
    present = [int(k) for k in np.flatnonzero(counts >= LEAST_ROWS)]
    at = np.flatnonzero(np.isin(found.labels, present))
    if len(at) < LEAST_BOXES or len(present) < 2:
        return None
    index = {k: i for i, k in enumerate(present)}
    labels = np.array([index[found.labels[i]] for i in at], dtype=np.int64)
    bare = len(found.bare_rows) if len(found.bare_rows) >= LEAST_ROWS else 0
    inputs = np.stack([found.features[i] for i in at] + found.bare_features[:bare])
    every = np.concatenate([labels, np.full(bare, len(present))])
    # A picture is in one fold: what else it shows would tell the class of a box.
    units = np.array([found.rows[i] for i in at] + found.bare_rows[:bare])
    said = sifted(inputs, every, len(present) + 1, units, seed)
    doubts = doubt(every, said)
    boxes = slice(0, len(at))
    own = Doubt(doubts.wrong[boxes], doubts.looks[boxes], doubts.rates, doubts.noise, doubts.sharpness)
    return _Judged(at, present, labels, said[boxes], own)


def _swapped(data: AuditData, found: _Boxes, judged: _Judged | None, names: list[str]) -> Iterator[Mark]:
    if judged is None:
        return
    doubts, present = judged.doubts, judged.present
    # What looks like no object is a matter of its place.
    for n in np.flatnonzero((doubts.wrong >= WRONG) & (doubts.looks < len(present))):
        i, looks = int(judged.at[n]), names[present[int(doubts.looks[n])]]
        row = data.sides["train"][found.rows[i]]
        things = [dict(thing) for thing in row["objects"]]
        number = found.numbers[i]
        if number >= len(things):
            continue
        said = str(things[number]["label"])
        things[number]["label"] = looks
        note = f"class of box {number + 1}: said to be {said}, looks like {looks}"
        yield Mark(str(row["id"]), "train", round(float(doubts.wrong[n]), 4), note, change={"objects": things})


def _askew(data: AuditData, found: _Boxes, names: list[str]) -> Iterator[Mark]:
    gains = np.array([gain for _, _, gain, _ in found.askew])
    if len(gains) < LEAST_BOXES:
        return
    middle = float(np.median(gains))
    spread = 1.4826 * float(np.median(np.abs(gains - middle)))
    least = max(ASKEW_GAIN, middle + 3 * spread)
    for at, number, gain, overlap in found.askew:
        if gain >= least and overlap < ASKEW_OVERLAP:
            row = data.sides["train"][at]
            score = min(1.0, 0.5 + (gain - least))
            yield Mark(
                str(row["id"]), "train", round(score, 4), f"place of box {number + 1}: its object lies beside it"
            )


def _missed(data: AuditData, found: _Boxes, names: list[str]) -> Iterator[Mark]:
    if not found.sizes:
        return
    least = max(4.0, MISSED_INSIDE * float(np.quantile(found.sizes, 0.25)))
    for at, label, sure, cells, place in found.missed:
        if sure >= SURE_OBJECT and cells >= least:
            row = data.sides["train"][at]
            where = ", ".join(f"{value:.0f}" for value in place)
            note = f"missing: what looks like {names[label]} has no box (about {where} of the network's input)"
            yield Mark(str(row["id"]), "train", round(sure * 0.9, 4), note)


def _pairs(judged: _Judged, names: list[str]) -> View:
    shares = judged.probabilities[:, :-1] + 1e-6
    joint = confident_joint(judged.labels, np.asarray(shares / shares.sum(1, keepdims=True), dtype=np.float32))
    cells = np.zeros((len(names), len(names)), dtype=np.int64)
    cells[np.ix_(judged.present, judged.present)] = joint.counts
    beside, total = int(joint.issues.sum()), len(judged.labels)
    said = [f"{beside:,} of {total:,} boxes look like another class than theirs to heads of other pictures."]
    title = "Classes of boxes (down) and what they surely look like (across)"
    return View("box-pairs", title, "matrix", {"names": names, "cells": cells.tolist()}, said=said)
