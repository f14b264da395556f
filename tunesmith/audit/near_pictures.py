"""Pictures that are nearly the same: saved anew, resized, brighter, or cropped by up to a seventh of a side.

Each picture is kept as a small one of 64 x 64 in colour. Candidates are the nearest by their coarsest pixels; each is
then laid over the other at many places and sizes, and what counts is how well the fine structure agrees there. It
knows no labels and no sides.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.audit.near_texts import NearPairs
from tunesmith.audit.neighbours import Report, nearest
from tunesmith.data.ahead import ahead
from tunesmith.pictures.files import MOST_PIXELS, PictureFault, content_of, folder_of, open_picture, to_rgb
from tunesmith.pictures.orientation import turn_pixels

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

NAME = "picture-likeness-1"
"""Of the measure in `Kept`."""
SIDE, COARSE = 64, 8
NEIGHBOURS = 6
"""How many of the nearest pictures are looked at closely."""
LEAST_COARSE = 0.75
"""Correlation of the coarsest pixels from which on two pictures are looked at closely; a crop by a seventh has 0.8."""
SCALES, LEAST_SHARE = (1.0, 0.95, 0.9, 0.85), 0.8
"""Shares of a side that a crop leaves: those that are looked for, and the least."""
LEAST_PART = 0.85
"""The same of a part of the one and all of the other."""
MOST_COMPARED = 2_000_000_000
LEAST_ON_GRID = 0.8
STEPS, MOST_STEP, LEAST_STEP, LEAST_GAIN = 10, 0.05, 0.2, 1e-4
LEAST_ALIKE, LEAST_EITHER = 0.89, 0.78
"""Mean of the correlations of all pixels and of the fine structure, and the lower one, of pictures that are alike."""
LEAST_CONTRAST = 3.0
"""Deviation of pixels, of 255, below which a picture shows nothing that could be compared."""
SAME_PIXELS = 1.0
"""Mean difference, of 255."""
Small = NDArray[np.float32]
"""float32 [64, 64, 3]."""


def near_pictures(data: AuditData, content: NDArray[np.uint64]) -> NearPairs:
    """All pairs of pictures that are nearly the same; those of rows with the same content are left out.

    Args:
        data: Rows with ``image``.
        content: A digest of what each row stands for, training rows first, uint64 [rows].
    """
    table = _Table(data)
    first, second = candidates(table.coarse, lambda n, of: data.progress("comparing pictures", n, of))
    found: list[tuple[int, int, float, str]] = []
    for at, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        one, other = (int(table.numbers[n]) for n in (a, b))
        if content[one] != content[other] and (said := alike(table.small(a), table.small(b))) is not None:
            found.append((min(one, other), max(one, other), *said))
        if at % 200 == 0:
            data.progress("laying pictures over each other", at, len(first))
    found.sort()
    return NearPairs(
        np.array([one[0] for one in found], dtype=np.int64),
        np.array([one[1] for one in found], dtype=np.int64),
        np.array([one[2] for one in found], dtype=np.float32),
        np.array([one[3] for one in found], dtype="<U1"),
    )


def candidates(coarse: NDArray[np.float32], report: Report) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of pictures that may be alike, each once, the lower number first.

    Args:
        coarse: Of `coarse_of`, float32 [pictures, 1 + parts, 192].
        report: Receives how many pictures are compared, and of how many.
    """
    count, parts = coarse.shape[:2]
    whole = np.ascontiguousarray(coarse[:, 0])
    # Parts of pictures are looked for among whole ones while that takes minutes, not hours.
    used = int(min(parts, max(1, MOST_COMPARED // max(1, count * count))))
    found = []
    for part in range(used):
        done = part * count

        def tell(n: int, _of: int, done: int = done) -> None:
            report(done + n, used * count)

        values, places = nearest(np.ascontiguousarray(coarse[:, part]), whole, NEIGHBOURS, same=True, report=tell)
        kept = values >= (LEAST_COARSE if part == 0 else LEAST_PART)
        rows = np.repeat(np.arange(count), places.shape[1]).reshape(places.shape)
        found.append(np.sort(np.stack((rows[kept], places[kept]), axis=1), axis=1))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)
    return pairs[:, 0], pairs[:, 1]


class _Table:
    """Small pictures of all rows that have one which can be read."""

    def __init__(self, data: AuditData) -> None:
        paths: list[Path] = []
        keys: list[str] = []
        numbers: list[int] = []
        for number, row in enumerate(row for rows in data.sides.values() for row in rows):
            folder = folder_of(row, data.task.folders) if row.get("image") else None
            if folder is not None:
                path = folder / str(row["image"])
                key = _content(row.get("content"), path)
                if key:
                    paths.append(path)
                    keys.append(key)
                    numbers.append(number)

        def measure(positions: Sequence[int]) -> Iterator[Any]:
            return ahead(lambda at: small_picture(paths[at]), positions)

        kept = data.kept.measured(NAME, keys, measure, lambda n, of: data.progress("looking at pictures", n, of))
        readable = [at for at, value in enumerate(kept) if value]
        self._kept = [base64.b64decode(kept[at]) for at in readable]
        self.numbers = np.array([numbers[at] for at in readable], dtype=np.int64)
        """Of the rows they belong to."""
        coarse = [coarse_of(self.small(at)) for at in range(len(self._kept))]
        self.coarse = np.stack(coarse) if coarse else np.zeros((0, 1, 3 * COARSE**2), np.float32)
        """float32 [pictures, 1 + parts, 192]"""

    def small(self, at: int) -> Small:
        """One small picture."""
        with Image.open(io.BytesIO(self._kept[at]), formats=["JPEG"]) as opened:
            return np.asarray(opened, dtype=np.float32)


def _content(known: Any, path: Path) -> str | None:
    if isinstance(known, str) and known:
        return known
    try:
        return content_of(path)
    except PictureFault:
        return None


def small_picture(path: Path) -> str | None:
    """A picture at 64 x 64 in colour, upright, as JPEG in base64; None where it can't be read."""
    try:
        with open_picture(path, most_pixels=MOST_PIXELS) as (image, look):
            if look.format == "JPEG":
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = to_rgb(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    except PictureFault:
        return None
    shown = np.ascontiguousarray(turn_pixels(np.asarray(small), look.orientation))
    held = io.BytesIO()
    Image.fromarray(shown).save(held, "JPEG", quality=95, subsampling=0)
    return base64.b64encode(held.getvalue()).decode()


def coarse_of(picture: Small) -> NDArray[np.float32]:
    """The coarsest pixels of a picture and of parts of it, of mean 0 and length 1, float32 [1 + parts, 192].

    What shows nothing is 0.
    """
    fields = np.stack([np.tensordot(c, np.tensordot(r, picture, (1, 0)), (1, 1)).ravel() for r, c in _COARSE])
    fields -= fields.mean(1, keepdims=True)
    length = np.linalg.norm(fields, axis=1, keepdims=True)
    return np.asarray(np.where(length > LEAST_CONTRAST, fields / np.maximum(length, 1e-6), 0), dtype=np.float32)


def alike(first: Small, second: Small) -> tuple[float, str] | None:
    """How alike two pictures are, 0 to 1, and how: ``p`` (the same pixels), ``n`` (nearly), ``c`` (one is cropped).

    None where they are not nearly the same.
    """
    if min(first.std(), second.std()) < LEAST_CONTRAST:
        return None
    whole = _agreement(first, second)
    if whole >= LEAST_ALIKE:
        return whole, "p" if np.abs(first - second).mean() < SAME_PIXELS else "n"
    quarters = _reduced(first, 4), _reduced(second, 4)
    (one, window), (other, turned) = _on_grid(*quarters), _on_grid(*quarters[::-1])
    if max(one, other) < LEAST_ON_GRID:
        return None
    picture, part, window = (first, second, window) if one >= other else (second, first, turned)
    found = _agreement(_cut(picture, _refined(picture, part, window)), part)
    return (found, "c") if found >= LEAST_ALIKE else None


def _agreement(first: Small, second: Small) -> float:
    """The mean of the correlations of all pixels and of the fine structure; 0 where one of them is low."""
    coarse = correlation(first, second)
    if coarse < LEAST_EITHER:
        return 0.0
    fine = correlation(_fine(first), _fine(second))
    return (coarse + fine) / 2 if fine >= LEAST_EITHER else 0.0


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of all pixels and channels together, so that a picture in other colours is another one."""
    a, b = first.ravel() - first.mean(), second.ravel() - second.mean()
    length = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def _fine(picture: Small) -> Small:
    """What is left of a picture without its coarse light and dark."""
    return np.asarray(picture - np.tensordot(_BLUR, np.tensordot(_BLUR, picture, (1, 0)), (1, 1)).transpose(1, 0, 2))


def _blur(side: int, step: int) -> NDArray[np.float32]:
    """A matrix [side, side] that averages over ``step`` pixels around each."""
    distance = np.abs(np.arange(side)[:, None] - np.arange(side))
    near = (distance <= step // 2).astype(np.float32)
    return np.asarray(near / near.sum(1, keepdims=True))


_BLUR = _blur(SIDE, SIDE // COARSE)


def _reduced(picture: Small, by: int) -> Small:
    """A picture at a fraction of its size."""
    side = SIDE // by
    return np.asarray(picture.reshape(side, by, side, by, 3).mean((1, 3)))


Window = tuple[float, float, float, float]
"""A part of a picture, as shares of its sides: top, height, left, width."""


def _line(start: float, share: float, side: int) -> NDArray[np.float32]:
    """The matrix [side, side] that stretches a part of a line to the whole, between its pixels."""
    at = np.clip(start * side + (np.arange(side) + 0.5) * share - 0.5, 0, side - 1)
    low = np.minimum(at.astype(np.int64), side - 2)
    found = np.zeros((side, side), dtype=np.float32)
    found[np.arange(side), low] = 1 - (at - low)
    found[np.arange(side), low + 1] += at - low
    return found


def _averaging(start: float, share: float) -> NDArray[np.float32]:
    """The matrix [8, 64] from a part of a line to its coarsest pixels."""
    return np.asarray(_line(start, share, SIDE).reshape(COARSE, SIDE // COARSE, SIDE).mean(1))


_COARSE = [
    (_averaging(top, height), _averaging(left, width))
    for top, height, left, width in (
        (0, 1, 0, 1), (0.06, 0.88, 0.06, 0.88),
        (0, 0.87, 0, 0.87), (0, 0.87, 0.13, 0.87), (0.13, 0.87, 0, 0.87), (0.13, 0.87, 0.13, 0.87),
    )
]  # fmt: skip
_PARTS = [(start, share) for share in SCALES for start in np.linspace(0, 1 - share, 1 if share == 1 else 3).tolist()]
_GRID = np.stack([_line(start, share, SIDE // 4) for start, share in _PARTS])


def _on_grid(picture: Small, part: Small) -> tuple[float, Window]:
    """How well ``part`` agrees with ``picture`` at the best place of a grid, and that place; both at a quarter."""
    rows = np.tensordot(_GRID, picture, (2, 0))
    cut = np.tensordot(rows, _GRID, (2, 2)).transpose(0, 3, 1, 4, 2).reshape(len(_PARTS) ** 2, -1)
    cut -= cut.mean(1, keepdims=True)
    wanted = part.ravel() - part.mean()
    found = (cut @ wanted) / np.maximum(np.linalg.norm(cut, axis=1) * np.linalg.norm(wanted), 1e-6)
    best = int(found.argmax())
    (top, height), (left, width) = _PARTS[best // len(_PARTS)], _PARTS[best % len(_PARTS)]
    return float(found[best]), (top, height, left, width)


def _refined(picture: Small, part: Small, window: Window) -> Window:
    """The window moved and stretched until ``part`` agrees best with it (Lucas and Kanade 1981), coarse to fine."""
    for by in (2, 1):
        large, wanted = _reduced(picture, by), _reduced(part, by)
        cut, share = _cut(large, window), 1.0
        best = correlation(cut, wanted)
        for _ in range(STEPS):
            tried = _stepped(cut, wanted, window, share)
            moved = _cut(large, tried)
            if (value := correlation(moved, wanted)) > best + LEAST_GAIN:
                best, window, cut, share = value, tried, moved, 1.0
            elif (share := share / 2) < LEAST_STEP:
                break
    return window


def _stepped(cut: Small, wanted: Small, window: Window, share: float) -> Window:
    """The window after a share of a step of least squares in its place and size, and in the pixels' gain and offset."""
    side = len(cut)
    top, height, left, width = window
    down, right = np.gradient(cut, axis=0) / height, np.gradient(cut, axis=1) / width
    places = np.arange(side, dtype=np.float32) + 0.5
    columns = (
        cut, np.ones_like(cut), down * side, down * places[:, None, None], right * side, right * places[:, None],
    )  # fmt: skip
    table = np.stack([column.ravel() for column in columns], axis=1)
    gain, _, *steps = np.linalg.lstsq(table.T @ table, table.T @ wanted.ravel(), rcond=1e-7)[0].tolist()
    if gain < LEAST_GAIN:
        return window
    dy, dh, dx, dw = (float(np.clip(share * step / gain, -MOST_STEP, MOST_STEP)) for step in steps)
    height, width = (min(1.0, max(LEAST_SHARE, size)) for size in (height + dh, width + dw))
    return min(max(0.0, top + dy), 1 - height), height, min(max(0.0, left + dx), 1 - width), width


def _cut(picture: Small, window: Window) -> Small:
    """A part of a picture at the picture's own size."""
    side = len(picture)
    rows, columns = _line(window[0], window[1], side), _line(window[2], window[3], side)
    return np.asarray(np.tensordot(columns, np.tensordot(rows, picture, (1, 0)), (1, 1)).transpose(1, 0, 2))
