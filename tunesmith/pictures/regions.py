"""Regions of a picture: polygons and COCO's run lengths, to and from masks and boxes. It knows no classes and no files.

A mask is [height, width] of bool. A polygon is a flat list ``[x1, y1, x2, y2, ...]`` in pixels, 0 at the upper left
edge; a pixel is inside where its centre is. Run lengths go down the columns and begin with those outside, as the COCO
API defines them (https://cocodataset.org/#format-data); compressed, they are text of 5 bits a character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith.pictures.orientation import turn_pixels, turn_points

Mask: TypeAlias = NDArray[np.bool_]
MOST_PIXELS = 2**28
_FIRST_CHARACTER, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


class RegionFault(ValueError):
    """Why a region is none, in words that follow its name."""


def runs_of_text(text: str) -> NDArray[np.int64]:
    """Run lengths from COCO's compressed text.

    Raises:
        RegionFault: It is cut off or holds other characters.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    except UnicodeEncodeError as error:
        raise RegionFault("has run lengths with characters that COCO's do not have") from error
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() >= 64 or codes[-1] & _MORE:
        raise RegionFault("has run lengths that are cut off or no compressed text")
    ends = np.flatnonzero((codes & _MORE) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if int((ends - starts).max()) > 8:
        raise RegionFault("has a run length beyond any picture")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & 0x1F) << (_BITS * place), starts)
    values -= np.where(codes[ends] & _SIGN, np.int64(1) << (_BITS * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])  # from the fourth on, each is the difference to the one before the last
    values[2::2] = np.cumsum(values[2::2])
    return values


def text_of_runs(runs: Sequence[int]) -> str:
    """COCO's compressed text of run lengths."""
    characters = bytearray()
    for place, run in enumerate(runs):
        value = int(run) - (int(runs[place - 2]) if place > 2 else 0)
        more = True
        while more:
            bits = value & 0x1F
            value >>= _BITS
            more = value != -1 if bits & _SIGN else value != 0
            characters.append((bits | _MORE if more else bits) + _FIRST_CHARACTER)
    return characters.decode("ascii")


def runs_of(rle: Mapping[str, Any]) -> tuple[NDArray[np.int64], int, int]:
    """Run lengths, height and width of ``{"size": [height, width], "counts": text or list}``, checked.

    Raises:
        RegionFault: It is none, or its run lengths do not add up to its size.
    """
    height, width = _size_of(rle)
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        runs = runs_of_text(counts)
    elif isinstance(counts, (list, tuple)) and all(map(_is_length, counts)):
        runs = np.array(counts, dtype=np.int64)
    else:
        raise RegionFault("has counts that are neither text nor a list of whole numbers")
    if len(runs) and runs.min() < 0:
        raise RegionFault("has a negative run length")
    if int(runs.sum()) != height * width:
        raise RegionFault(f"has run lengths of {int(runs.sum()):,} pixels, but its size is {width} x {height}")
    return runs, height, width


def mask_of_rle(rle: Mapping[str, Any]) -> Mask:
    """The mask of ``{"size": [height, width], "counts": text or list}``.

    Raises:
        RegionFault: It is none, or its run lengths do not add up to its size.
    """
    runs, height, width = runs_of(rle)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_PIXELS


def _size_of(rle: Mapping[str, Any]) -> tuple[int, int]:
    size = rle.get("size")
    if not (isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
        raise RegionFault(f"has a size that is not [height, width]: {size!r}")
    height, width = size
    if height * width > MOST_PIXELS:
        raise RegionFault(f"says it has {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}")
    return height, width


def rle_of_mask(mask: NDArray[Any], *, compressed: bool = True) -> dict[str, Any]:
    """The run lengths of a mask, as compressed text or as a list."""
    flat = np.asarray(mask, dtype=bool).T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if len(flat) and flat[0] else []
    runs = [*first, *np.diff(np.concatenate(([0], changes, [len(flat)]))).tolist()]
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": text_of_runs(runs) if compressed else runs}


def points_of(polygon: Any) -> NDArray[np.float64]:
    """The points [n, 2] of a flat polygon.

    Raises:
        RegionFault: It is not at least three pairs of finite numbers.
    """
    try:
        flat = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RegionFault("has a polygon that is no list of numbers") from error
    if flat.ndim != 1 or len(flat) % 2:
        raise RegionFault("has a polygon that is no flat list of x, y pairs")
    if len(flat) < 6:
        raise RegionFault(f"has a polygon of {len(flat) // 2} points; it takes three")
    if not np.isfinite(flat).all():
        raise RegionFault("has a polygon with a coordinate that is no number")
    return flat.reshape(-1, 2)


def mask_of_polygons(polygons: Sequence[Any], height: int, width: int) -> Mask:
    """The union of polygons, each filled by the even-odd rule at the pixels' centres.

    Raises:
        RegionFault: One of them is none.
    """
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        _fill(mask, points_of(polygon))
    return mask


def _fill(mask: Mask, points: NDArray[np.float64]) -> None:
    """Add a polygon: each edge toggles all pixels to its right, in the rows whose centres it crosses."""
    height, width = mask.shape
    first, second = points, np.roll(points, -1, axis=0)
    down = first[:, 1] <= second[:, 1]
    upper, lower = np.where(down[:, None], first, second), np.where(down[:, None], second, first)
    # Row r is crossed where upper.y <= r + 0.5 < lower.y, so that a corner on a centre counts once.
    begin = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    end = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = np.maximum(end - begin, 0)
    total = int(counts.sum())
    if not total:
        return
    edge = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts) + begin[edge]
    slope = (lower[edge, 0] - upper[edge, 0]) / (lower[edge, 1] - upper[edge, 1])
    crossing = upper[edge, 0] + (rows + 0.5 - upper[edge, 1]) * slope
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    top, left = int(rows.min()), int(columns.min())
    toggles = np.zeros((int(rows.max()) - top + 1, width - left + 1), dtype=np.int32)
    np.add.at(toggles, (rows - top, columns - left), 1)
    inside = np.cumsum(toggles[:, :-1], axis=1) % 2 == 1
    mask[top : top + len(inside), left:] |= inside


def mask_of(segmentation: Any, height: int, width: int) -> Mask:
    """The mask of polygons or of run lengths, of this size.

    Raises:
        RegionFault: It is neither, or of another size.
    """
    if isinstance(segmentation, Mapping):
        mask = mask_of_rle(segmentation)
        if mask.shape != (height, width):
            raise RegionFault(
                f"has run lengths for {mask.shape[1]} x {mask.shape[0]} pixels, but the picture has {width} x {height}"
            )
        return mask
    if isinstance(segmentation, (list, tuple)) and segmentation:
        return mask_of_polygons(_several(segmentation), height, width)
    raise RegionFault("has no segmentation")


def _several(segmentation: Sequence[Any]) -> Sequence[Any]:
    """Polygons; one that stands alone, without its list, is one."""
    return [segmentation] if all(isinstance(value, (int, float)) for value in segmentation) else segmentation


def box_of_mask(mask: NDArray[Any]) -> tuple[float, float, float, float] | None:
    """The box x, y, width, height of a mask's pixels; None where it has none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)


def box_of(segmentation: Any) -> tuple[float, float, float, float] | None:
    """The box x, y, width, height of polygons or run lengths.

    Raises:
        RegionFault: They are none.
    """
    if isinstance(segmentation, Mapping):
        return box_of_mask(mask_of_rle(segmentation))
    if not (isinstance(segmentation, (list, tuple)) and segmentation):
        raise RegionFault("has no segmentation")
    points = np.concatenate([points_of(polygon) for polygon in _several(segmentation)])
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2 - x1, y2 - y1


def turn_region(segmentation: Any, orientation: int, width: int, height: int) -> Any:
    """A region of the stored picture, of this size, as it lies in the picture that a person sees.

    Raises:
        RegionFault: It is none.
    """
    if isinstance(segmentation, Mapping):
        return rle_of_mask(turn_pixels(mask_of(segmentation, height, width), orientation))
    turned = [turn_points(points_of(polygon), orientation, width, height) for polygon in _several(segmentation)]
    return [points.reshape(-1).tolist() for points in turned]
