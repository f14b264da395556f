"""What is wrong with masks: values that no class has, another size, nothing in them, specks. It sees no picture.

A speck is a patch of one class, no larger than 9 x 9 pixels, inside another: what a careless brush leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Found, Mark, SideName, View, share_level
from tunesmith.data.ahead import ahead
from tunesmith.pictures.class_masks import IGNORE, read_mask_values
from tunesmith.pictures.classes import BACKGROUND
from tunesmith.pictures.files import PictureFault

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

MEASURE = "mask-specks-1"
REACH = 4
LEAST_SPECKS, SPECKS_FACTOR = 8, 4.0
EMPTY_USUAL = 0.5
FIELDS = 12
MOST_MARKS = 100_000
OF_MASKS = ("has ", "holds what", "is a JPEG", "is of mode")
"""How reasons begin that are about a mask's size or values; what can't be opened at all is told as pictures are."""


def mask_findings(data: AuditData, side: SideName, refused: Sequence[tuple[str, str]]) -> Iterator[Found | View]:
    """Look at all masks of one side."""
    rows, where = data.sides[side], data.where(side)
    yield from _refused(refused, side, where, len(rows))
    names: list[str] = []
    empty: list[str] = []
    keys: list[str] = []
    files: list[Path] = []
    for row in rows:
        if row.get("mask") is None:
            continue
        names.append(str(row["id"]))
        labels = {str(area["label"]) for area in row.get("areas") or ()}
        if not labels - {BACKGROUND}:
            empty.append(str(row["id"]))
        keys.append(str(row.get("content")))
        files.append(data.task.folder(row) / str(row["mask"]))  # type: ignore[attr-defined]
    if not names:
        return
    if empty and len(empty) < EMPTY_USUAL * len(names):
        share = len(empty) / len(names)
        yield Found(
            "empty-mask",
            share_level(share, 0.05),
            f"{len(empty):,} of {len(names):,} masks ({share:.1%}) show nothing but background",
            where,
            "nothing, if their pictures show none of the classes; else draw what is missing",
            [Mark(name, side, 0.5, "the mask is all background") for name in empty[:MOST_MARKS]],
            share,
        )
    background = _value_of_background(data)

    def measure(positions: Sequence[int]) -> Iterator[Any]:
        return ahead(lambda at: _measured(files[at], background), positions)

    def tell(done: int, total: int) -> None:
        data.progress(f"looking at masks of {side}", done, total)

    found = data.kept.measured(f"{MEASURE}-{background}", keys, measure, tell)
    yield from _specks(names, found, side, where)
    if side == "train":
        yield from _coverage(found)


def _refused(refused: Sequence[tuple[str, str]], side: SideName, where: str, rows: int) -> Iterator[Found]:
    """Masks that reading refused: of another size, with values that no class has."""
    bad = [(name, why) for name, why in refused if why.startswith(OF_MASKS) and "box" not in why]
    if bad:
        yield Found(
            "unusable-mask",
            "error",
            f"{len(bad):,} of {rows + len(bad):,} masks can't be used: {bad[0][0]} {bad[0][1]}",
            where,
            "declare every value in classes.json (255 is what nobody labelled), and draw masks at their picture's size",
            [Mark(name, side, 1.0, why) for name, why in bad[:MOST_MARKS]],
            len(bad) / (rows + len(bad)),
            remedy="drop",
        )


def _value_of_background(data: AuditData) -> int:
    """The value of pixels that no object covers."""
    declared: Sequence[Mapping[str, Any]] = data.task.declared
    source = next((one.get("source_id") for one in declared if one["name"] == BACKGROUND), 0)
    if isinstance(source, str):
        return int(source.lstrip("#"), 16)
    return int(source or 0)


def _measured(file: Path, background: int) -> dict[str, Any]:
    try:
        values = read_mask_values(file).values
    except PictureFault:
        return {"specks": 0, "fields": []}
    count, largest = specks_of(values)
    return {"specks": count, "largest": largest, "fields": _fields(values, background)}


def _fields(values: NDArray[Any], background: int) -> list[float]:
    """The share of each of 12 x 12 fields that objects cover."""
    covered = ((values != background) & (values != IGNORE)).astype(np.float64)
    rows, columns = (np.linspace(0, side, FIELDS + 1).astype(int)[:-1] for side in covered.shape)
    if min(covered.shape) < FIELDS:
        return []
    sums = np.add.reduceat(np.add.reduceat(covered, rows, axis=0), columns, axis=1)
    sizes = np.diff([*rows, covered.shape[0]])[:, None] * np.diff([*columns, covered.shape[1]])[None]
    return [round(float(value), 3) for value in (sums / sizes).reshape(-1)]


def specks_of(values: NDArray[Any]) -> tuple[int, int]:
    """How many specks a mask has, and the pixels of the largest.

    Args:
        values: [height, width]; 255 (nobody labelled) is no speck, since outlines are often left out so.
    """
    found = np.zeros(values.shape, dtype=bool)
    for value in np.unique(values):
        if value == IGNORE:
            continue
        own = values == value
        found |= own & _alone(own)
    return _count(found, values)


def _alone(own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels around which a ring of pixels, `REACH` away, holds none of the class; not at the mask's edge."""
    height, width = own.shape
    if min(height, width) < 2 * REACH + 3:
        return np.zeros_like(own)
    sums = np.zeros((height + 1, width + 1), dtype=np.int32)
    np.cumsum(np.cumsum(own, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])

    def window(reach: int) -> NDArray[np.int32]:
        size, cut = 2 * reach + 1, REACH - reach
        inner = sums[cut : height + 1 - cut, cut : width + 1 - cut]
        return np.asarray(inner[size:, size:] - inner[:-size, size:] - inner[size:, :-size] + inner[:-size, :-size])

    alone = np.zeros_like(own)
    alone[REACH : height - REACH, REACH : width - REACH] = window(REACH) == window(REACH - 1)
    return alone


def _count(found: NDArray[np.bool_], values: NDArray[Any]) -> tuple[int, int]:
    """Connected patches that hold a marked pixel; a patch is at most as large as the ring around it."""
    left = {(int(row), int(column)) for row, column in np.argwhere(found)}
    height, width = values.shape
    count = largest = 0
    while left:
        start = left.pop()
        value, patch, waiting = values[start], {start}, deque([start])
        while waiting:
            row, column = waiting.popleft()
            for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= place[0] < height and 0 <= place[1] < width
                if inside and place not in patch and values[place] == value:
                    patch.add(place)
                    waiting.append(place)
        left -= patch
        count += 1
        largest = max(largest, len(patch))
    return count, largest


def _specks(names: Sequence[str], found: Sequence[Mapping[str, Any]], side: SideName, where: str) -> Iterator[Found]:
    counts = np.array([one["specks"] for one in found])
    usual = float(np.median(counts))
    bad = np.flatnonzero(counts >= max(LEAST_SPECKS, SPECKS_FACTOR * usual))
    if not len(bad):
        return
    bad = bad[np.argsort(-counts[bad], kind="stable")]
    share = len(bad) / len(names)
    yield Found(
        "mask-specks",
        share_level(share, 0.25),
        f"{len(bad):,} of {len(names):,} masks ({share:.1%}) have specks, patches of a few pixels of one class inside "
        f"another; the worst has {counts[bad[0]]:,}",
        where,
        "clean them with a median filter, or draw anew: each speck is learned as an object",
        [Mark(names[at], side, float(min(1.0, counts[at] / 50)), f"{counts[at]:,} specks") for at in bad[:MOST_MARKS]],
        share,
    )


def _coverage(found: Sequence[Mapping[str, Any]]) -> Iterator[View]:
    """Where objects lie."""
    fields = np.array([one["fields"] for one in found if one["fields"]], dtype=np.float64)
    if not len(fields):
        return
    mean = fields.mean(axis=0).reshape(FIELDS, FIELDS)
    said = []
    edge = np.ones_like(mean, dtype=bool)
    edge[3:-3, 3:-3] = False
    if mean[~edge].mean() > 0 and mean[edge].mean() < 0.05 * mean[~edge].mean():
        said.append("objects lie in the middle of their pictures: add some at the edges")
    thirds = {"left": mean[:, :4], "right": mean[:, -4:], "upper": mean[:4], "lower": mean[-4:]}
    empty = [name for name, part in thirds.items() if part.mean() < 0.02 * mean.max()]
    if empty and not said:
        said.append(f"hardly any object reaches into the {' or '.join(empty)} third of its picture: add some there")
    cells = [[round(float(value), 4) for value in row] for row in mean]
    yield View(
        "object-coverage",
        "Where objects lie",
        "heat",
        {"cells": cells, "across": "left to right", "down": "top to bottom"},
        "share of pictures with an object there",
        said,
    )
