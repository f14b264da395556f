"""Masks that are wrong, told by heads over cells that learned from other pictures: regions of another class.

It reads no file: the mask is that of the task, at the network's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.cells import IGNORED, NoMaps, SeenPicture, picture_limit_said, pieces, seen_pictures
from tunesmith.audit.found import Found, Mark, Skipped, View, share_level
from tunesmith.audit.label_noise import doubt
from tunesmith.pictures.classes import BACKGROUND

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.types import Batch

UNLABELLED = 255
SURE = 0.7
"""Probability of another class, averaged over a region, from which on the region counts."""
LEAST_SHARE = 0.01
"""Share of the picture that such regions must have together."""
SPREADS = 3.0
LEAST_CELLS, LEAST_PIECES = 4, 20
WRONG = 0.5
WARNING_SHARE = 0.01


@dataclass(frozen=True)
class _Region:
    given: int
    looks: int
    cells: int
    sure: float


def mask_label_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Training pictures whose mask says another class than their pixels look like, and which is taken for which."""
    names = [str(name) for name in data.task.facts.values.get("labels", ())]
    if not data.has_weights or not names:
        yield Skipped("mask-errors", "masks are judged by the network's maps, and the model's weights are not at hand")
        return
    classes = len(names)
    pairs = np.zeros((classes, classes), dtype=np.int64)
    pictures: list[tuple[int, float, list[_Region]]] = []
    things = _Things()
    try:
        for seen in seen_pictures(data, classes, cells_of_mask, data.prepared.source.recipe.run.seed):
            known = seen.given != IGNORED
            sure = seen.probabilities.max(-1) >= SURE
            np.add.at(pairs, (seen.given[known & sure], seen.probabilities.argmax(-1)[known & sure]), 1)
            regions = _regions(seen)
            weight = sum(one.cells * one.sure for one in regions) / max(1, int(known.sum()))
            pictures.append((seen.at, weight, regions))
            things.add(seen, classes)
    except NoMaps as why:
        yield Skipped("mask-errors", str(why))
        return
    if said := picture_limit_said(data):
        yield Skipped("mask-errors", said)
    beside = pairs.sum() - np.trace(pairs)
    told = [
        f"{beside / max(1, pairs.sum()):.1%} of the cells that heads of other pictures are sure of have another class."
    ]
    title = "Classes of masks (down) and what their cells surely look like (across)"
    yield View("mask-pairs", title, "matrix", {"names": names, "cells": pairs.tolist()}, unit="cells", said=told)
    marks = _marks(data, pictures, names)
    known_rows = {mark.row for mark in marks}
    marks += [mark for mark in things.marks(data, names) if mark.row not in known_rows]
    marks.sort(key=lambda mark: -mark.score)
    if marks:
        share = len(marks) / len(pictures)
        what = (
            f"{len(marks):,} of {len(pictures):,} training pictures ({share:.1%}) have a mask that is probably wrong "
            f"in places (the first: {marks[0].row}, {marks[0].note})"
        )
        fix = "look at these masks, the surest first, and paint them anew; --fix leaves the pictures out"
        level = share_level(share, WARNING_SHARE)
        yield Found("mask-errors", level, what, data.where("train"), fix, marks, share, remedy="drop")


@dataclass
class _Things:
    """Connected pieces of the masks, each with what its cells look like on the whole."""

    rows: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    shares: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, seen: SeenPicture, classes: int) -> None:
        """Take in the pieces of a picture."""
        for label in range(classes):
            for piece in pieces(seen.given == label):
                if piece.sum() < LEAST_CELLS:
                    break
                self.rows.append(seen.at)
                self.labels.append(label)
                self.shares.append(seen.probabilities[piece].astype(np.float64).mean(0) + 1e-6)

    def marks(self, data: AuditData, names: list[str]) -> list[Mark]:
        """One for each picture with a piece whose class is more probably wrong than right."""
        # Pieces of background are gaps between objects, and take after these.
        bare = names.index(BACKGROUND) if BACKGROUND in names else None
        mine = [i for i, label in enumerate(self.labels) if label != bare]
        present = sorted({self.labels[i] for i in mine})
        if len(mine) < LEAST_PIECES or len(present) < 2:
            return []
        index = {k: i for i, k in enumerate(present)}
        labels, shares = np.array([index[self.labels[i]] for i in mine]), np.array(self.shares)[mine][:, present]
        found = doubt(labels, np.asarray(shares / shares.sum(1, keepdims=True), dtype=np.float32))
        marks: dict[str, Mark] = {}
        for i in np.argsort(-found.wrong):
            if found.wrong[i] < WRONG:
                break
            row = str(data.sides["train"][self.rows[mine[i]]]["id"])
            said, looks = (names[present[k]] for k in (labels[i], found.looks[i]))
            note = f"a region given as {said} looks like {looks} on the whole"
            # Below those that are found by the share of the picture that is in doubt: a whole object is less than that.
            marks.setdefault(row, Mark(row, "train", round(float(found.wrong[i]) / 2, 4), note))
        return list(marks.values())


def cells_of_mask(batch: Batch, size: tuple[int, int]) -> NDArray[np.int64]:
    """Class of each cell: that of most of its pixels where these are more than two in three, else -1."""
    mask = batch["mask"][0].numpy()
    rows = (np.arange(mask.shape[0]) * size[0]) // mask.shape[0]
    columns = (np.arange(mask.shape[1]) * size[1]) // mask.shape[1]
    cell = (rows[:, None] * size[1] + columns[None]).reshape(-1)
    flat = mask.reshape(-1).astype(np.int64)
    classes = int(flat[flat != UNLABELLED].max(initial=0)) + 1
    known = flat != UNLABELLED
    counts = np.bincount(cell[known] * classes + flat[known], minlength=size[0] * size[1] * classes)
    counts = counts.reshape(-1, classes)
    of_cell = np.bincount(cell, minlength=size[0] * size[1])
    most = counts.argmax(1)
    clear = counts.max(1) * 3 > 2 * of_cell
    return np.where(clear, most, IGNORED).reshape(size)


def _regions(seen: SeenPicture) -> list[_Region]:
    """Regions that surely look like one class and are given as another."""
    looks, known = seen.probabilities.argmax(-1), seen.given != IGNORED
    found = []
    for given, other in {(int(g), int(o)) for g, o in zip(seen.given[known], looks[known], strict=True) if g != o}:
        for piece in pieces((seen.given == given) & (looks == other)):
            cells = int(piece.sum())
            if cells < LEAST_CELLS:
                break
            sure = float(seen.probabilities[piece][:, other].mean() - seen.probabilities[piece][:, given].mean())
            if sure >= SURE - (1 - SURE):
                found.append(_Region(given, other, cells, sure))
    return sorted(found, key=lambda one: -one.cells * one.sure)


def _marks(data: AuditData, pictures: list[tuple[int, float, list[_Region]]], names: list[str]) -> list[Mark]:
    weights = np.array([weight for _, weight, _ in pictures])
    middle = float(np.median(weights))
    spread = 1.4826 * float(np.median(np.abs(weights - middle)))
    least = max(LEAST_SHARE, middle + SPREADS * spread)
    marks = []
    for at, weight, regions in pictures:
        if weight < least or not regions:
            continue
        row, first = data.sides["train"][at], regions[0]
        pair = f"a region given as {names[first.given]} looks like {names[first.looks]}"
        note = f"{pair}; {weight:.1%} of the picture is in doubt"
        marks.append(Mark(str(row["id"]), "train", round(min(1.0, weight / (weight + least)), 4), note))
    return sorted(marks, key=lambda mark: -mark.score)
