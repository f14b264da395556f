"""Where objects lie in pictures, how large they are there, and how many a picture has. It reads no picture."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import View
from tunesmith.audit.spread import End, classes_apart, histogram, missing_ends
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

FIELDS = 12
LEAST_OBJECTS = 20
MIDDLE_MANY, STARVED_THIRD = 0.85, 0.02
SCALE_EDGES = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
LARGE, LARGE_MANY = 0.4, 0.98
SMALLER = End(0.01, "cover less than 1 % of their picture: add distant ones, if these may come")
LARGER = End(0.3, "cover more than 30 % of their picture: add close ones, if these may come")
COUNTS = ("0", "1", "2", "3 to 5", "6 to 10", "more than 10")


@dataclass
class Objects:
    """All boxes of one side, as shares of their picture."""

    across: array[float] = field(default_factory=lambda: array("d"))
    down: array[float] = field(default_factory=lambda: array("d"))
    share: array[float] = field(default_factory=lambda: array("d"))
    labels: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))

    def heat(self) -> NDArray[np.int64]:
        """How many centres lie in each field, [12, 12]."""
        columns = np.clip((np.asarray(self.across) * FIELDS).astype(int), 0, FIELDS - 1)
        rows = np.clip((np.asarray(self.down) * FIELDS).astype(int), 0, FIELDS - 1)
        return np.bincount(rows * FIELDS + columns, minlength=FIELDS**2).reshape(FIELDS, FIELDS)


def gather(rows: Sequence[Row]) -> Objects:
    """The boxes of rows with ``objects``, ``width`` and ``height``; crowds are left out."""
    found = Objects()
    names: dict[str, str] = {}
    for row in rows:
        things = [one for one in row.get("objects") or () if not one.get("crowd")]
        if row.get("objects") is not None:
            found.counts[_bin(len(things))] += 1
        width, height = float(row.get("width") or 0), float(row.get("height") or 0)
        if width <= 0 or height <= 0:
            continue
        for one in things:
            x, y, w, h = one["box"]
            found.across.append((x + w / 2) / width)
            found.down.append((y + h / 2) / height)
            found.share.append(w * h / (width * height))
            label = str(one["label"])
            found.labels.append(names.setdefault(label, label))
    return found


def _bin(count: int) -> int:
    return count if count <= 2 else 3 if count <= 5 else 4 if count <= 10 else 5


def object_views(data: AuditData) -> Iterator[View]:
    """Position, scale and number of objects."""
    found = {side: gather(rows) for side, rows in data.sides.items()}
    train = found["train"]
    if not len(train.share):
        return
    shares = {side: np.asarray(objects.share, dtype=np.float64) for side, objects in found.items()}
    yield histogram(
        "object-scale",
        "How much of their picture objects cover",
        shares,
        SCALE_EDGES,
        unit="share of the picture's area, by the box",
        said=_scale_words(shares["train"], train.labels),
        labels=train.labels,
    )
    heat = train.heat()
    yield View(
        "object-position",
        "Where objects lie",
        "heat",
        {"cells": heat.tolist(), "across": "left to right", "down": "top to bottom"},
        "centres of boxes",
        _position_words(train),
    )
    counts = {side: objects.counts for side, objects in found.items()}
    bars = {"names": list(COUNTS), "counts": counts}
    said = _count_words(train.counts)
    yield View("objects-per-picture", "Objects in a picture", "bars", bars, "objects", said)


def _scale_words(shares: NDArray[np.float64], labels: Sequence[str]) -> list[str]:
    if len(shares) < LEAST_OBJECTS:
        return []
    said = missing_ends(shares, SMALLER, LARGER, "objects")
    if (shares > LARGE).mean() >= LARGE_MANY:
        said.append(
            f"{(shares > LARGE).mean():.0%} of the objects fill more than {LARGE:.0%} of their picture: the model will "
            "hardly find small ones"
        )
    return [*said, *classes_apart(shares, labels, "smaller", "larger")]


def _position_words(objects: Objects) -> list[str]:
    across, down = np.asarray(objects.across), np.asarray(objects.down)
    if len(across) < LEAST_OBJECTS:
        return []
    said = []
    middle = (np.abs(across - 0.5) < 1 / 6) & (np.abs(down - 0.5) < 1 / 6)
    if middle.mean() >= MIDDLE_MANY:
        said.append(f"{middle.mean():.0%} of the objects lie in the middle of their picture: add some at the edges")
        return said
    thirds = {
        "left": across < 1 / 3,
        "right": across > 2 / 3,
        "upper": down < 1 / 3,
        "lower": down > 2 / 3,
    }
    empty = [name for name, there in thirds.items() if there.mean() < STARVED_THIRD]
    if empty:
        said.append(f"hardly any object lies in the {' or '.join(empty)} third of its picture: add some there")
    said += classes_apart(down, objects.labels, "higher up", "lower down")
    return said


def _count_words(counts: Sequence[int]) -> list[str]:
    total = sum(counts)
    if total < LEAST_OBJECTS:
        return []
    said = []
    if not counts[0]:
        said.append("every picture has an object: add some without, or what lies around will be taken for one")
    if counts[1] == total:
        said.append("every picture has exactly one object: add some with several, if these may come")
    return said
