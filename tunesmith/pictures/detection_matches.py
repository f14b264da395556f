"""Which found box takes which object: the matching of the COCO evaluation, once a picture, in numpy.

It knows rows and predictions as lists of boxes; no model, no picture and no score made of the matches.

The rules are those of the reference ``COCOeval``: per class, boxes in order of their score, at most 100 a picture, each
takes the free object that it overlaps most, an object that counts before one that does not (a crowd, or one of another
size). A box that takes such an object counts neither for nor against; a crowd can be taken any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.types import Row

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""Overlaps from which a box has found an object."""

SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Least and largest area in square pixels, both included, of what counts for a size."""

MOST_FOUND = 100
"""Boxes of a class in a picture that count, the surest."""


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes of one class in one picture, surest first, and the objects of that class there.

    Args:
        boxes: What was found, [found, 4] as x, y, width, height in pixels.
        scores: How sure, [found], falling.
        objects: What is there, [objects, 4].
        areas: Their areas in square pixels, [objects].
        crowd: Which of them stand for many, [objects].
    """

    boxes: Floats
    scores: Floats
    objects: Floats
    areas: Floats
    crowd: Bools


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """All matches of one class, surest box first; of equally sure ones that of the earlier picture.

    Args:
        picture: Row of each box, [found].
        score: Its score, [found].
        rank: Its place among the boxes of this class in its picture, from 0, [found].
        hit: Whether it found an object that counts, [sizes, IoU thresholds, found].
        counted: Whether it counts at all, rightly or wrongly, likewise.
        positives: Objects that count, [sizes, pictures].

    Boxes less sure than the last hit of any kind are left out but for the first: they change no score.
    """

    picture: Ints
    score: Floats
    rank: Ints
    hit: Bools
    counted: Bools
    positives: Ints


def overlaps(boxes: Floats, objects: Floats, crowd: Bools) -> Floats:
    """Intersection over union of boxes given as x, y, width, height: [boxes, 4], [objects, 4] to [boxes, objects].

    Against a crowd it is the share of the box that lies inside.
    """
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (objects[:, :2] + objects[:, 2:])[None])
    width, height = np.moveaxis(high - low, -1, 0)
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    own, other = boxes[:, 2] * boxes[:, 3], objects[:, 2] * objects[:, 3]
    whole = np.where(crowd[None], own[:, None], own[:, None] + other[None] - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def match(overlap: Floats, passed_over: Bools, crowd: Bools, thresholds: Floats) -> Ints:
    """The object that each box takes, or -1.

    Args:
        overlap: [boxes, objects], the surest box first.
        passed_over: Objects that do not count, for each of several ways to count, [ways, objects].
        crowd: Objects that many boxes may take, [objects].
        thresholds: Least overlaps, [thresholds].

    Returns:
        Indices of objects, [ways, thresholds, boxes].
    """
    ways, objects = passed_over.shape
    taken: Ints = np.full((ways, thresholds.size, overlap.shape[0]), -1, dtype=np.int64)
    if objects == 0 or overlap.shape[0] == 0:
        return taken
    least = np.minimum(thresholds, 1 - 1e-10)
    free = np.ones((ways, thresholds.size, objects), dtype=bool)
    first = np.where(passed_over, 0, objects)
    place = np.empty(objects, dtype=np.int64)
    for box in np.flatnonzero(overlap.max(axis=1) >= least.min()):
        # Whole numbers in place of overlaps, so that what counts comes first and, of equal ones, the last object.
        place[np.argsort(overlap[box], kind="stable")] = np.arange(objects)
        can = (free | crowd) & (overlap[box] >= least[:, None])
        wanted = np.where(can, (place + first)[:, None, :], -1)
        best = wanted.argmax(axis=-1)
        way, at = np.nonzero(wanted.max(axis=-1) >= 0)
        chosen = best[way, at]
        taken[way, at, box] = chosen
        free[way, at, chosen] = False
    return taken


def found_in(predictions: Sequence[Mapping[str, Any]], row: Row, index: Mapping[str, int]) -> dict[int, Found]:
    """One picture by class: those classes that it shows or that were found in it.

    Boxes of a class that is not in ``index`` are left out: a base model may know other things than the data do.

    Args:
        predictions: Boxes found: ``{"box": [x, y, width, height], "score": ..., "label": name}``.
        row: ``"objects"`` are what there is; an object's own ``"area"`` counts where it has one, as in COCO files.
        index: Class names to numbers.

    Raises:
        UserError: A box or score is no finite number, or an object has a class that is not in ``index``.
    """
    found: dict[int, list[tuple[float, Sequence[float]]]] = {}
    for one in predictions:
        if (label := index.get(str(one["label"]))) is not None:
            found.setdefault(label, []).append((float(one["score"]), one["box"]))
    there: dict[int, list[Mapping[str, Any]]] = {}
    for thing in row.get("objects") or ():
        if str(thing["label"]) not in index:
            what = f"an object has the class {thing['label']!r}, which the class table lacks"
            raise UserError(what, f"row {row.get('id')}", "train with that class, or take the object out")
        there.setdefault(index[str(thing["label"])], []).append(thing)
    return {
        label: _arrays(found.get(label, []), there.get(label, []), str(row.get("id")))
        for label in sorted(found.keys() | there.keys())
    }


def _arrays(found: Sequence[tuple[float, Sequence[float]]], there: Sequence[Mapping[str, Any]], name: str) -> Found:
    scores = np.array([score for score, _ in found], dtype=np.float64)
    boxes = np.array([box for _, box in found], dtype=np.float64).reshape(-1, 4)
    if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
        what = "a box that was found has a score or a place that is no finite number"
        raise UserError(what, f"row {name}", "a model that gives NaN has diverged: lower the rate")
    order = np.argsort(-scores, kind="stable")[:MOST_FOUND]
    objects = np.array([thing["box"] for thing in there], dtype=np.float64).reshape(-1, 4)
    own = objects[:, 2] * objects[:, 3]
    areas = np.array([thing.get("area", area) for thing, area in zip(there, own, strict=True)], dtype=np.float64)
    crowd = np.array([bool(thing.get("crowd")) for thing in there], dtype=bool)
    return Found(boxes[order], scores[order], objects, areas, crowd)


def match_pictures(
    predictions: Sequence[Sequence[Mapping[str, Any]]], rows: Sequence[Row], classes: Sequence[str]
) -> list[ClassMatches]:
    """Matches of every class over all pictures.

    Args:
        predictions: Boxes found in each picture.
        rows: The pictures' rows, in the same order.
        classes: Names of the classes.
    """
    index = {name: number for number, name in enumerate(classes)}
    pieces: list[list[tuple[int, Floats, Bools, Bools]]] = [[] for _ in classes]
    positives = np.zeros((len(classes), len(SIZES), len(rows)), dtype=np.int64)
    for picture, (found, row) in enumerate(zip(predictions, rows, strict=True)):
        for label, one in found_in(found, row, index).items():
            passed_over = one.crowd | _outside(one.areas)
            positives[label, :, picture] = (~passed_over).sum(axis=1)
            taken = match(overlaps(one.boxes, one.objects, one.crowd), passed_over, one.crowd, IOU_THRESHOLDS)
            hit, counted = _judged(taken, passed_over, _outside(one.boxes[:, 2] * one.boxes[:, 3]))
            pieces[label].append((picture, one.scores, hit, counted))
    return [_joined(parts, of_class) for parts, of_class in zip(pieces, positives, strict=True)]


def _outside(areas: Floats) -> Bools:
    """Which areas are of another size, [sizes, areas]."""
    low, high = np.array(list(SIZES.values())).T[:, :, None]
    outside: Bools = (areas < low) | (areas > high)
    return outside


def _judged(taken: Ints, passed_over: Bools, outside: Bools) -> tuple[Bools, Bools]:
    """From objects taken [sizes, thresholds, found] to whether each is a hit, and whether each counts."""
    one = taken >= 0
    if passed_over.shape[1] == 0:
        return one, np.broadcast_to(~outside[:, None], one.shape)
    void = np.take_along_axis(passed_over[:, None, :], np.maximum(taken, 0), axis=2) & one
    return one & ~void, ~void & (one | ~outside[:, None])


def _joined(parts: Sequence[tuple[int, Floats, Bools, Bools]], positives: Ints) -> ClassMatches:
    empty = np.zeros((len(SIZES), IOU_THRESHOLDS.size, 0), dtype=bool)
    score = np.concatenate([np.zeros(0), *(scores for _, scores, _, _ in parts)])
    order = np.argsort(-score, kind="stable")
    hit = np.concatenate([empty, *(hits for _, _, hits, _ in parts)], axis=2)[..., order]
    score = score[order]
    last = np.flatnonzero(hit.any(axis=(0, 1)))
    # With the last hit stay all that are as sure as it, and the first that is less so, between which a threshold lies.
    keep = int(np.searchsorted(-score, -score[last[-1]], side="right")) + 1 if last.size else 0
    order = order[:keep]
    return ClassMatches(
        picture=np.repeat([n for n, *_ in parts], [s.size for _, s, _, _ in parts]).astype(np.int64)[order],
        score=score[:keep],
        rank=np.concatenate([np.zeros(0, np.int64), *(np.arange(s.size) for _, s, _, _ in parts)])[order],
        hit=hit[..., :keep],
        counted=np.concatenate([empty, *(counted for *_, counted in parts)], axis=2)[..., order],
        positives=positives,
    )
