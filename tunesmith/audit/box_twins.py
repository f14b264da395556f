"""Objects that nearly the same picture has, and this one has not, or in another class. It measures no picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.audit.box_rules import Marked, boxes_of, overlaps_between
from tunesmith.audit.bursts import runs_of
from tunesmith.audit.found import Found, share_level
from tunesmith.audit.picture_table import PictureSide
from tunesmith.pictures.likeness import are_near
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.found import SideName

SAME_PLACE, NOWHERE = 0.5, 0.2
MOST_OF_ONE_HASH = 64


def twin_findings(rows: Sequence[Row], side: SideName, where: str, pictures: PictureSide) -> Iterator[Found]:
    """Compare the boxes of pictures that are nearly the same, and of those that follow each other in a run."""
    at = {name: place for place, name in enumerate(str(row["id"]) for row in rows)}
    missing, confused = Marked(), Marked()
    told: set[tuple[int, int]] = set()

    def row(picture: int) -> Row:
        return rows[at[pictures.ids[picture]]]

    for one, other in _near(pictures):
        told |= {(one, other), (other, one)}
        for here, there in ((one, other), (other, one)):
            _compare(row(here), [row(there)], side, missing, confused)
    for run in runs_of(pictures):
        for before, here, after in zip(run, run[1:], run[2:], strict=False):
            if (here, before) not in told or (here, after) not in told:
                _compare(row(here), [row(before), row(after)], side, missing, confused)
    total = len(pictures)
    if missing.boxes:
        yield Found(
            "box-missing-on-twin",
            share_level(len(missing.notes) / total, 0.01),
            f"{len(missing.notes):,} of {total:,} pictures lack {missing.boxes:,} boxes that nearly the same pictures "
            f"have at the same place: {missing.told()}",
            where,
            "draw the boxes that were forgotten, or take the pictures' repeats out",
            missing.marks(side),
            len(missing.notes) / total,
        )
    if confused.boxes:
        yield Found(
            "class-differs-on-twin",
            share_level(len(confused.notes) / total, 0.005),
            f"{confused.boxes:,} boxes in {len(confused.notes):,} of {total:,} pictures have another class than the "
            "box at the same place of nearly the same picture",
            where,
            "decide for one class",
            confused.marks(side),
            len(confused.notes) / total,
        )


def _near(pictures: PictureSide) -> Iterator[tuple[int, int]]:
    """Pictures that are nearly equal, each with the first of them."""
    by_hash: dict[int, list[int]] = {}
    readable = np.flatnonzero(pictures.readable).tolist()
    for picture, sight in zip(readable, pictures.sights(readable), strict=True):
        by_hash.setdefault(sight.bits, []).append(picture)
    for group in by_hash.values():
        if len(group) < 2:
            continue
        first, *others = pictures.sights(group[:MOST_OF_ONE_HASH])
        for picture, sight in zip(group[1:], others, strict=False):
            if are_near(first.thumbnail, sight.thumbnail):
                yield group[0], picture


def _compare(here: Row, others: Sequence[Row], side: SideName, missing: Marked, confused: Marked) -> None:
    """Objects that all the others have at one place: what does this picture have there?"""
    theirs = [boxes_of(other) for other in others]
    reference, things = theirs[0]
    if not len(reference) or not all(_same_size(here, other) for other in others):
        return
    agreed = np.ones(len(reference), bool)
    for (boxes, more), _ in zip(theirs[1:], others[1:], strict=True):
        if not len(boxes):
            return
        overlap = overlaps_between(reference, boxes)
        best = overlap.argmax(axis=1)
        same = np.array([str(more[b]["label"]) == str(one["label"]) for b, one in zip(best, things, strict=True)])
        agreed &= (overlap.max(axis=1) >= SAME_PLACE) & same
    ours, own = boxes_of(here)
    overlap = overlaps_between(reference, ours) if len(ours) else np.zeros((len(reference), 1))
    place = f"{side}:{others[0]['id']}"
    for at in np.flatnonzero(agreed).tolist():
        label, best = str(things[at]["label"]), float(overlap[at].max())
        if best < NOWHERE:
            missing.add(here, f"no box where {others[0]['id']} has {label}", 0.9 if len(others) == 1 else 0.7, label)
            missing.twins[str(here["id"])] = place
        elif best >= SAME_PLACE and len(ours):
            mine = str(own[int(overlap[at].argmax())]["label"])
            if mine != label:
                confused.add(here, f"{mine} where {others[0]['id']} has {label}", 0.8, label)
                confused.twins[str(here["id"])] = place


def _same_size(one: Row, other: Row) -> bool:
    return one.get("width") == other.get("width") and one.get("height") == other.get("height")
