"""How good masks are: mean IoU, Dice, pixel accuracy and boundary IoU, as sums over pictures; and masks as JSON.

It knows masks of class numbers, uint8 [height, width] with 255 for pixels that do not count; no model, file or page.

A picture is counted once and forgotten; what is kept of it are a few numbers a class. A class that neither the truth
nor the prediction of the scored pictures shows is left out of every mean over classes, so that a wider class table
changes nothing; one that is predicted where it never is counts with 0.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.errors import UserError
from tunesmith.types import Scores

Mask: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

IGNORED = 255
"""Value of pixels that do not count."""

BOUNDARY_SHARE = 0.02
"""How wide the band along a boundary is, of the picture's diagonal."""

COLUMNS = 5
"""Numbers a class in a tally: pixels hit, true, predicted, and hit or any pixels of the two boundary bands."""


@dataclass(frozen=True)
class ClassMasks:
    """One class over all pictures; ratios are None where their denominator is 0.

    Args:
        label: Its name.
        pixels: True pixels.
        iou: Intersection over union.
        dice: Twice the intersection over the sum of both.
        boundary_iou: IoU of the bands along the boundaries.
        precision: Share of the predicted pixels that are right.
        recall: Share of the true pixels that were found.
    """

    label: str
    pixels: int
    iou: float | None
    dice: float | None
    boundary_iou: float | None
    precision: float | None
    recall: float | None


def count_masks(true: Mask, predicted: Mask, classes: int) -> Ints:
    """Pixels of one picture by true class (first axis) and predicted class: int64 [classes, classes].

    Raises:
        ValueError: The masks are of different size, or hold a class outside the range; 255 is allowed in ``true`` only.
    """
    if true.shape != predicted.shape or true.ndim != 2:
        raise ValueError(f"a true mask of shape {true.shape} stands beside a predicted one of {predicted.shape}")
    counted = true != IGNORED
    t, p = true[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if t.size and max(t.max(), p.max()) >= classes:
        raise ValueError(f"a mask holds class {max(t.max(), p.max())}; classes are 0 to {classes - 1}")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def boundary_band(inside: Bools, reach: int) -> Bools:
    """The part of a region that lies at most ``reach`` pixels (in rows or columns) from its outside, [height, width].

    The picture's edge is an outside too.
    """
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    band = np.zeros_like(inside)
    if rows.size:
        place = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        band[place] = inside[place] & ~_eroded(inside[place], reach)
    return band


def _eroded(inside: Bools, reach: int) -> Bools:
    """Pixels whose square of ``2 * reach + 1`` lies inside whole, through running sums: the cost knows no reach."""
    for axis in (0, 1):
        length = inside.shape[axis]
        sums = np.concatenate([np.zeros_like(inside.take([0], axis), np.int32), inside.cumsum(axis, np.int32)], axis)
        at = np.arange(length)
        high, low = np.minimum(at + reach + 1, length), np.maximum(at - reach, 0)
        inside = sums.take(high, axis) - sums.take(low, axis) == 2 * reach + 1
    return inside


def boundary_counts(true: Mask, predicted: Mask, classes: int) -> Ints:
    """Pixels in both and in either of the two bands along a class's boundary: int64 [classes, 2].

    Boundary IoU of arXiv:2103.16562 (Cheng et al. 2021): the bands are 2 % of the diagonal wide, at least 1 pixel.
    """
    height, width = true.shape
    reach = max(1, round(BOUNDARY_SHARE * math.hypot(height, width)))
    # What does not count is cut out of both alike, so that its edge is a boundary of both.
    cut = np.where(true == IGNORED, np.uint8(IGNORED), predicted)
    counts = np.zeros((classes, 2), dtype=np.int64)
    shown = np.bincount(true.ravel(), minlength=256) + np.bincount(cut.ravel(), minlength=256)
    for label in np.flatnonzero(shown[:classes]):
        a, b = boundary_band(true == label, reach), boundary_band(cut == label, reach)
        counts[label] = (a & b).sum(), (a | b).sum()
    return counts


def tally_masks(pairs: Iterable[tuple[Mask, Mask]], classes: int, *, boundary: bool = True) -> Floats:
    """One row of sums a picture, float64 [pictures, 5 * classes]; totals over any pictures give every score below.

    Args:
        pairs: True and predicted mask of each picture; one pair is held at a time.
        classes: Number of classes.
        boundary: Whether boundaries are counted, which takes most of the time; without, their sums are 0.
    """
    out = []
    for true, predicted in pairs:
        matrix = count_masks(true, predicted, classes)
        edges = boundary_counts(true, predicted, classes) if boundary else np.zeros((classes, 2), dtype=np.int64)
        out.append(np.concatenate([np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0), *edges.T]))
    return np.array(out, dtype=np.float64).reshape(-1, COLUMNS * classes)


def miou_from(totals: Floats) -> Floats:
    """Mean IoU over the classes that occur, of totals of `tally_masks`: [..., 5 * classes] to [...].

    A picture's own row of the tally gives the picture's; NaN where no pixel counts.
    """
    hits, true, predicted, _, _ = _parts(totals)
    return _mean_of(hits, true + predicted - hits)


def dice_from(totals: Floats) -> Floats:
    """Mean Dice over the classes that occur, as `miou_from`."""
    hits, true, predicted, _, _ = _parts(totals)
    return _mean_of(2 * hits, true + predicted)


def boundary_iou_from(totals: Floats) -> Floats:
    """Mean boundary IoU over the classes that occur, as `miou_from`; NaN where boundaries were not counted."""
    _, _, _, hits, either = _parts(totals)
    return _mean_of(hits, either)


def pixel_accuracy_from(totals: Floats) -> Floats:
    """Share of pixels with the right class, as `miou_from`."""
    hits, true, _, _, _ = _parts(totals)
    return _divided(hits.sum(axis=-1), true.sum(axis=-1))


def score_masks(tally: Floats) -> Scores:
    """All scores of pictures: ``miou``, ``dice``, ``pixel_accuracy``, and ``boundary_iou`` where it was counted.

    They are of the pixels of all pictures together, not means of the pictures' own.
    """
    totals = tally.sum(axis=0)
    scores = {"miou": miou_from(totals), "dice": dice_from(totals), "pixel_accuracy": pixel_accuracy_from(totals)}
    edge = boundary_iou_from(totals)
    return {name: float(value) for name, value in (scores | ({} if np.isnan(edge) else {"boundary_iou": edge})).items()}


def masks_by_class(tally: Floats, labels: Sequence[str]) -> list[ClassMasks]:
    """Every class over all pictures, occurring or not."""
    hits, true, predicted, edge_hits, edges = _parts(tally.sum(axis=0))
    ratios = (
        _divided(hits, true + predicted - hits),
        _divided(2 * hits, true + predicted),
        _divided(edge_hits, edges),
        _divided(hits, predicted),
        _divided(hits, true),
    )
    return [
        ClassMasks(label, int(true[n]), *(None if np.isnan(column[n]) else float(column[n]) for column in ratios))
        for n, label in enumerate(labels)
    ]


def _parts(totals: Floats) -> list[Floats]:
    return np.split(np.asarray(totals, dtype=np.float64), COLUMNS, axis=-1)


def _mean_of(over: Floats, under: Floats) -> Floats:
    """Mean of ratios over those that have a denominator."""
    ratios = np.divide(over, under, out=np.zeros_like(over), where=under > 0)
    return _divided(ratios.sum(axis=-1), (under > 0).sum(axis=-1))


def _divided(over: Floats, under: NDArray[Any]) -> Floats:
    out = np.full(np.shape(over), np.nan)
    np.divide(over, under, out=out, where=np.asarray(under) > 0)
    return out


def pack_mask(mask: Mask) -> dict[str, Any]:
    """A mask as JSON-able values, losslessly: its size, and a grey PNG of the class numbers in base64.

    Any image library reads it back; of a mask with few regions it is some hundredths of the pixels' bytes.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 [height, width], not {mask.dtype} {mask.shape}")
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return {"size": [int(n) for n in mask.shape], "png": base64.b64encode(stream.getvalue()).decode("ascii")}


def unpack_mask(packed: Mapping[str, Any]) -> Mask:
    """The mask that `pack_mask` packed, uint8 [height, width].

    Raises:
        UserError: It is damaged, or no mask of that size.
    """
    try:
        data = base64.b64decode(packed["png"], validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            # The size is compared before a pixel is decoded, so that a small file can't claim a huge picture.
            if image.mode != "L" or [image.height, image.width] != list(packed["size"]):
                raise ValueError(f"it is a {image.mode} picture of {image.height} by {image.width}")
            return np.array(image, dtype=np.uint8)
    except (KeyError, TypeError, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as fault:
        what = f"a predicted mask can't be read: {type(fault).__name__}: {fault}"
        raise UserError(what, "predictions", "predict anew; the file was changed or cut") from fault
