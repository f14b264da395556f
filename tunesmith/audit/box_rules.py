"""What is wrong with boxes by themselves: outside, tiny, doubled, all over, oddly shaped. It reads no picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Found, Mark, SideName, share_level
from tunesmith.pictures.findings import CLIPPED_WARNING_SHARE, TINY_PIXELS, TINY_WARNING_SHARE
from tunesmith.types import Row

Floats = NDArray[np.float64]

DOUBLED_SAME, DOUBLED_OTHER, DOUBLED_PIXELS = 0.85, 0.9, 2.0
COVERING, COVERING_USUAL = 0.98, 0.3
SHAPE_LEAST, SHAPE_SPREADS, SHAPE_FLOOR = 20, 5.0, 0.35
"""Boxes of a class from which on shapes are compared; robust deviations, and octaves that count as one at least."""
MOST_MARKS = 100_000


@dataclass
class Marked:
    """Rows with a fault: what each has, its score, and what would be right."""

    notes: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    boxes: int = 0
    classes: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, note: str, score: float = 1.0, label: str = "") -> None:
        """A box of a row is at fault."""
        name = str(row["id"])
        self.notes.setdefault(name, []).append(note)
        self.scores[name] = max(score, self.scores.get(name, 0.0))
        self.boxes += 1
        if label:
            self.classes[label] += 1

    def marks(self, side: SideName) -> list[Mark]:
        """A mark for each row, the surest first."""
        order = sorted(self.notes, key=lambda name: -self.scores[name])[:MOST_MARKS]
        return [
            Mark(
                name,
                side,
                round(self.scores[name], 3),
                "; ".join(self.notes[name][:5]),
                self.twins.get(name),
                self.changes.get(name),
            )
            for name in order
        ]

    def told(self) -> str:
        """The classes that are concerned most."""
        return ", ".join(f"{name} ({count:,})" for name, count in self.classes.most_common(3))


def overlaps(boxes: Floats) -> Floats:
    """Intersection over union of every pair of boxes x, y, width, height: float64 [n, n]."""
    return overlaps_between(boxes, boxes)


def overlaps_between(one: Floats, other: Floats) -> Floats:
    """The same of boxes of two pictures, float64 [len(one), len(other)]."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    end = np.minimum((one[:, :2] + one[:, 2:])[:, None], (other[:, :2] + other[:, 2:])[None])
    inside = np.clip(end - corner, 0, None).prod(axis=-1)
    total = one[:, 2:].prod(axis=-1)[:, None] + other[:, 2:].prod(axis=-1)[None] - inside
    return np.asarray(np.divide(inside, total, out=np.zeros_like(inside), where=total > 0))


def boxes_of(row: Row) -> tuple[Floats, list[Mapping[str, Any]]]:
    """A row's boxes, float64 [n, 4], and its objects; crowds are left out."""
    things = [one for one in row.get("objects") or () if not one.get("crowd")]
    return np.array([one["box"] for one in things], dtype=np.float64).reshape(-1, 4), things


def rule_findings(
    rows: Sequence[Row],
    side: SideName,
    where: str,
    *,
    refused: Sequence[tuple[str, str]] = (),
    input_size: tuple[int, int] | None = None,
) -> Iterator[Found]:
    """Look at all boxes of one side.

    Args:
        rows: With ``objects``, ``width`` and ``height``.
        side: Which.
        where: Its source.
        refused: Rows that reading left out, with the reason.
        input_size: Height and width that pictures are fitted into; None: tiny boxes are told by their own pixels.
    """
    clipped, tiny, doubled, contrary, covering = (Marked() for _ in range(5))
    shapes = _Shapes()
    total = 0
    for row in rows:
        boxes, things = boxes_of(row)
        total += len(boxes)
        if not len(boxes):
            continue
        _outside(row, things, clipped)
        _tiny(row, things, input_size, tiny)
        _doubled(row, boxes, things, doubled, contrary)
        _covering(row, things, covering)
        shapes.add(row, things)
    for name, reason in refused:
        if "box" in reason:
            clipped.add({"id": name}, reason)
    if not total and not clipped.boxes:
        return
    yield from _said(total, side, where, clipped, tiny, doubled, contrary, input_size)
    if covering.boxes and covering.boxes < COVERING_USUAL * total:
        yield Found(
            "covering-box",
            share_level(covering.boxes / total, 0.02),
            f"{_of(covering.boxes, total)} cover their whole picture: {covering.told()}",
            where,
            "draw them around the object, or leave the picture out if it was labelled as a whole",
            covering.marks(side),
            len(covering.notes) / len(rows),
        )
    yield from shapes.findings(side, where, len(rows))


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} boxes ({count / max(1, total):.1%})"


def _outside(row: Row, things: Sequence[Mapping[str, Any]], found: Marked) -> None:
    for one in things:
        if one.get("clipped"):
            found.add(
                row, f"the box of {one['label']} reached out of the picture and was clipped to it", 0.7, one["label"]
            )


def _tiny(row: Row, things: Sequence[Mapping[str, Any]], input_size: tuple[int, int] | None, found: Marked) -> None:
    width, height = float(row.get("width") or 0), float(row.get("height") or 0)
    scale = min(input_size[0] / height, input_size[1] / width) if input_size and width and height else 1.0
    for one in things:
        least = min(one["box"][2:]) * scale
        if least < TINY_PIXELS:
            found.add(row, f"{one['label']} is {least:.1f} pixels wide or high", 1 - least / 8, str(one["label"]))


def _doubled(row: Row, boxes: Floats, things: Sequence[Mapping[str, Any]], doubled: Marked, contrary: Marked) -> None:
    if len(boxes) < 2:
        return
    overlap = overlaps(boxes)
    apart = np.abs(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)[:, None] - np.concatenate(
        [boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)[None]).max(axis=-1)  # fmt: skip
    # A pixel or two of a small box is a small overlap; of a box of that size it would be another object.
    close = (apart <= DOUBLED_PIXELS) & (np.minimum(boxes[:, 2:].min(axis=1)[:, None], boxes[:, 2:].min(axis=1)) > 8)
    gone: set[int] = set()
    for a, b in np.argwhere(np.triu((overlap >= min(DOUBLED_SAME, DOUBLED_OTHER)) | close, 1)).tolist():
        first, second = str(things[a]["label"]), str(things[b]["label"])
        if first == second:
            if b not in gone and a not in gone:
                gone.add(b)
                doubled.add(row, f"two boxes of {first} overlap by {overlap[a, b]:.0%}", float(overlap[a, b]), first)
        elif overlap[a, b] >= DOUBLED_OTHER or close[a, b]:
            contrary.add(row, f"{first} and {second} overlap by {overlap[a, b]:.0%}", float(overlap[a, b]), first)
    if gone:
        dropped = {id(things[at]) for at in gone}
        kept = [one for one in row["objects"] if id(one) not in dropped]
        doubled.changes[str(row["id"])] = {"objects": kept}


def _covering(row: Row, things: Sequence[Mapping[str, Any]], found: Marked) -> None:
    area = float(row.get("width") or 0) * float(row.get("height") or 0)
    for one in things:
        share = one["box"][2] * one["box"][3] / area if area else 0.0
        if share >= COVERING:
            found.add(row, f"the box of {one['label']} covers {share:.0%} of the picture", share, str(one["label"]))


def _said(
    total: int,
    side: SideName,
    where: str,
    clipped: Marked,
    tiny: Marked,
    doubled: Marked,
    contrary: Marked,
    input_size: tuple[int, int] | None,
) -> Iterator[Found]:
    if clipped.boxes:
        share = clipped.boxes / max(1, total)
        yield Found(
            "box-outside",
            share_level(share, CLIPPED_WARNING_SHARE),
            f"{_of(clipped.boxes, total)} reach out of their picture or are none: they were clipped to it, or left out",
            where,
            "check the tool that wrote them",
            clipped.marks(side),
            share,
        )
    if tiny.boxes:
        share = tiny.boxes / total
        fed = f" once their picture fits into {input_size[1]} x {input_size[0]}" if input_size else ""
        yield Found(
            "tiny-box",
            share_level(share, TINY_WARNING_SHARE),
            f"{_of(tiny.boxes, total)} are narrower than {TINY_PIXELS:g} pixels{fed}: {tiny.told()}",
            where,
            "take a larger input size, cut the pictures into tiles, or leave these objects out",
            tiny.marks(side),
            share,
        )
    if doubled.boxes:
        share = doubled.boxes / total
        yield Found(
            "doubled-box",
            share_level(share, 0.002),
            f"{_of(doubled.boxes, total)} are drawn around what another box of the same class is drawn around: "
            f"{doubled.told()}",
            where,
            "leave one of the two out: the model is asked to find one thing twice",
            doubled.marks(side),
            share,
            remedy="change",
        )
    if contrary.boxes:
        share = contrary.boxes / total
        yield Found(
            "box-with-two-classes",
            share_level(share, 0.005),
            f"{_of(contrary.boxes, total)} are drawn around what a box of another class is drawn around: "
            f"{contrary.marks(side)[0].note}",
            where,
            "decide for one class",
            contrary.marks(side),
            share,
        )


class _Shapes:
    """Proportions of boxes by class, to find those far from the others of their class."""

    def __init__(self) -> None:
        self.by_class: dict[str, list[tuple[float, str, float, float]]] = {}

    def add(self, row: Row, things: Sequence[Mapping[str, Any]]) -> None:
        """The boxes of a row; one that touches the edge of its picture is cut off and says nothing."""
        width, height = float(row.get("width") or 0), float(row.get("height") or 0)
        name = str(row["id"])
        for one in things:
            x, y, w, h = one["box"]
            if x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1 and min(w, h) > 0:
                self.by_class.setdefault(str(one["label"]), []).append((float(np.log2(w / h)), name, w, h))

    def findings(self, side: SideName, where: str, rows: int) -> Iterator[Found]:
        """Boxes with odd proportions."""
        found, total = Marked(), 0
        for label, known in self.by_class.items():
            total += len(known)
            if len(known) < SHAPE_LEAST:
                continue
            octaves = np.array([one[0] for one in known])
            middle = np.median(octaves)
            spread = max(1.4826 * float(np.median(np.abs(octaves - middle))), SHAPE_FLOOR)
            for at in np.flatnonzero(np.abs(octaves - middle) > SHAPE_SPREADS * spread).tolist():
                _, name, w, h = known[at]
                note = f"{label} of {w:.0f} x {h:.0f}, where {2**middle:.2g} times as wide as high is usual"
                found.add({"id": name}, note, min(1.0, abs(octaves[at] - middle) / (10 * spread)), label)
        if found.boxes:
            yield Found(
                "odd-box-shape",
                share_level(found.boxes / total, 0.02),
                f"{_of(found.boxes, total)} inside their picture have proportions far from those of their class: "
                f"{found.told()}",
                where,
                "look at them: part of the object, or of another one, may have been boxed",
                found.marks(side),
                len(found.notes) / rows,
            )
