"""Pictures, masks and boxes through one 3x3 matrix, each resampled once. It knows no chance and no setting.

A picture that only scales, shifts or is mirrored is resized with a filter as wide as the scale asks for; any other is
averaged over whole pixels first where it shrinks (``reduce``), then interpolated once. Both leave no aliasing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from tunesmith.pictures.augment.geometry import is_affine, is_upright, map_points, move_boxes, scaling, translation
from tunesmith.pictures.augment.sample import GREY, IGNORE, Sample, Size

Filter: TypeAlias = Literal["bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_WHOLE = 1e-4
"""Distance in pixels below which an edge counts as lying between two pixels."""
_GAP = 3.0
"""How much larger than wanted a picture stays when whole pixels are averaged before the filter."""


def move(
    sample: Sample,
    matrix: np.ndarray,
    size: Size,
    *,
    resample: Filter = "bilinear",
    min_visible: float = 0.0,
    least_side: float = 0.0,
    fill: int = GREY,
) -> Sample:
    """A sample through one matrix: picture, mask, boxes and outlines alike.

    Args:
        sample: What is moved.
        matrix: float [3, 3] from the sample's pixels to the result's.
        size: Of the result.
        resample: How the picture is interpolated; masks take the nearest pixel.
        min_visible: Boxes of which a smaller share is left are dropped and counted.
        least_side: Boxes with a shorter side than this, in pixels of the result, are dropped and counted.
        fill: Grey level outside the picture.
    """
    image = move_picture(Image.fromarray(sample.image), matrix, size, resample=resample, fill=fill)
    mask = None if sample.mask is None else move_mask(sample.mask, matrix, size)
    moved = Sample(np.array(image), labels=sample.labels, mask=mask, dropped=sample.dropped)
    if sample.boxes is None:
        return moved
    boxes, shares, outlines = move_boxes(matrix, sample.boxes, size, sample.outlines)
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    # A share that is one but for rounding is one.
    keep = (shares > 0) & (shares >= min_visible - 1e-9) & (sides > 0) & (sides >= least_side)
    return kept(replace(moved, boxes=boxes, outlines=outlines), keep)


def kept(sample: Sample, keep: np.ndarray) -> Sample:
    """A sample with those of its boxes for which ``keep`` [n] is true; the others are counted as dropped."""
    if sample.boxes is None or keep.all():
        return sample
    outlines = sample.outlines and tuple(o for o, stays in zip(sample.outlines, keep, strict=True) if stays)
    labels = None if sample.labels is None else sample.labels[keep]
    dropped = sample.dropped + int((~keep).sum())
    return replace(sample, boxes=sample.boxes[keep], labels=labels, outlines=outlines, dropped=dropped)


def move_picture(
    image: Image.Image, matrix: np.ndarray, size: Size, *, resample: Filter = "bilinear", fill: int = GREY
) -> Image.Image:
    """A picture through a matrix, resampled once without aliasing, on a canvas of one grey."""
    if is_upright(matrix) and (found := _resized(image, matrix, size, _FILTERS[resample], fill)) is not None:
        return found
    height, width = size
    back = np.linalg.inv(matrix)
    part, offset = _reduced(image, matrix, back, size)
    if part is None:
        return Image.new("RGB", (width, height), (fill,) * 3)
    # Lanczos is a filter for resizing; the nearest that interpolates freely is bicubic.
    how = Image.Resampling.BILINEAR if resample == "bilinear" else Image.Resampling.BICUBIC
    return _transformed(part, np.linalg.inv(offset) @ back, size, how, (fill,) * 3)


def move_mask(mask: np.ndarray, matrix: np.ndarray, size: Size, fill: int = IGNORE) -> np.ndarray:
    """A mask uint8 [height, width] through a matrix by nearest pixels; ``fill`` outside."""
    return np.array(_transformed(Image.fromarray(mask), np.linalg.inv(matrix), size, Image.Resampling.NEAREST, fill))


def _transformed(
    image: Image.Image, back: np.ndarray, size: Size, how: Image.Resampling, fill: int | tuple[int, ...]
) -> Image.Image:
    """One interpolation; ``back`` maps the result's pixels to the picture's."""
    numbers = (back / back[2, 2]).ravel().tolist()
    affine = is_affine(back)
    method = Image.Transform.AFFINE if affine else Image.Transform.PERSPECTIVE
    data = numbers[:6] if affine else numbers[:8]
    return image.transform((size[1], size[0]), method, data, how, fillcolor=fill)


def _resized(
    image: Image.Image, matrix: np.ndarray, size: Size, how: Image.Resampling, fill: int
) -> Image.Image | None:
    """The picture by ``resize``, where what shows of it fills whole pixels; else None."""
    scale = matrix[[0, 1], [0, 1]] / matrix[2, 2]
    shift = matrix[:2, 2] / matrix[2, 2]
    source, target = np.array([image.width, image.height]), np.array([size[1], size[0]])
    ends = np.sort(np.stack([shift, shift + scale * source]), 0)
    low, high = np.maximum(ends[0], 0), np.minimum(ends[1], target)
    first, last = np.rint(low).astype(int), np.rint(high).astype(int)
    if (last <= first).any() or np.abs(np.concatenate([low - first, high - last])).max() > _WHOLE:
        return None
    box = np.sort(np.stack([(first - shift) / scale, (last - shift) / scale]), 0)
    box = np.clip(box, 0, source).ravel().tolist()
    wanted = tuple((last - first).tolist())
    whole = image.size == wanted and box == [0, 0, *image.size]
    found = image if whole else image.resize(wanted, how, box=tuple(box), reducing_gap=_GAP)
    if scale[0] < 0:
        found = found.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if scale[1] < 0:
        found = found.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if found.size == tuple(target.tolist()):
        return found
    canvas = Image.new("RGB", tuple(target.tolist()), (fill,) * 3)
    canvas.paste(found, tuple(first.tolist()))
    return canvas


def _reduced(
    image: Image.Image, matrix: np.ndarray, back: np.ndarray, size: Size
) -> tuple[Image.Image, np.ndarray] | tuple[None, np.ndarray]:
    """The part of a picture that shows, whole pixels averaged where it shrinks; and the map from it to the picture.

    The picture is None where none of it shows.
    """
    height, width = size
    frame = map_points(back, np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]))
    x0, y0 = np.maximum(np.floor(frame.min(0)) - 2, 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(frame.max(0)) + 2, image.size).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return None, np.eye(3)
    # How many pixels of the result one pixel of the source becomes, along each of its axes, in the middle.
    middle = map_points(back, np.array([width / 2, height / 2]))
    lift = matrix @ np.append(middle, 1.0)
    slope = (matrix[:2, :2] - np.outer(lift[:2] / lift[2], matrix[2, :2])) / lift[2]
    across, down = (max(1, int(1 / length + 0.5)) for length in np.maximum(np.linalg.norm(slope, axis=0), 1e-3))
    if across == down == 1:
        return image, np.eye(3)
    return image.reduce((across, down), box=(x0, y0, x1, y1)), translation(x0, y0) @ scaling(across, down)
