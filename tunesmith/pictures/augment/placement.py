"""A picture at a model's size without chance, and the exact way back to the picture as it was. It knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tunesmith.pictures.augment.geometry import scaling, translation
from tunesmith.pictures.augment.sample import GREY, IGNORE, Sample, Size
from tunesmith.pictures.augment.warp import Filter, move, move_mask

Fit: TypeAlias = Literal["stretch", "letterbox", "resize-crop"]

CROP_SHARE = 0.875
"""Side of the centre crop as a share of the resized shorter side: 224 of 256, as pictures of ImageNet are evaluated."""


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on a model's canvas.

    Args:
        original: Height and width of the picture as it was.
        size: Height and width of the canvas.
        scale: Pixels of the canvas for one of the original, across and down.
        shift: Where the original's upper left corner lies on the canvas, x and y.
    """

    original: Size
    size: Size
    scale: tuple[float, float]
    shift: tuple[float, float]

    @property
    def matrix(self) -> np.ndarray:
        """float64 [3, 3] from the original's pixels to the canvas's."""
        found: np.ndarray = translation(*self.shift) @ scaling(*self.scale)
        return found

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [n, 4] of the original as they lie on the canvas, not cut at its edges."""
        found: np.ndarray = boxes * np.tile(self.scale, 2) + np.tile(self.shift, 2)
        return found.astype(np.float32)

    def to_original(self, boxes: np.ndarray, *, clip: bool = True) -> np.ndarray:
        """Boxes [n, 4] on the canvas as pixels of the original, float32; cut at its edges unless ``clip`` is false."""
        found: np.ndarray = (boxes.astype(np.float64) - np.tile(self.shift, 2)) / np.tile(self.scale, 2)
        if clip:
            height, width = self.original
            found = np.clip(found, 0.0, [width, height, width, height])
        return found.astype(np.float32)

    def mask_to_original(self, mask: np.ndarray, size: Size | None = None, fill: int = IGNORE) -> np.ndarray:
        """A mask over the canvas as one over the original, by nearest pixels.

        Args:
            mask: uint8 [h, w] over the whole canvas, at any resolution (a model may predict at a quarter).
            size: Height and width that are wanted (default: the original's own).
            fill: What stands where the canvas showed nothing of the original (beside a centre crop).
        """
        wanted = size or self.original
        to_mask = scaling(mask.shape[1] / self.size[1], mask.shape[0] / self.size[0]) @ self.matrix
        from_wanted = scaling(self.original[1] / wanted[1], self.original[0] / wanted[0])
        return move_mask(mask, np.linalg.inv(to_mask @ from_wanted), wanted, fill)


def place(original: Size, size: Size, mode: Fit, shorter: int | None = None) -> Placement:
    """Where a picture comes to lie.

    Args:
        original: Height and width of the picture.
        size: Height and width of the canvas.
        mode: ``stretch`` fills the canvas and gives up the picture's proportions. ``letterbox`` keeps them and all of
            the picture, at the upper left (as YOLOX, arXiv:2107.08430). ``resize-crop`` keeps them, scales the shorter
            side to ``shorter`` and shows the centre (as ImageNet is evaluated).
        shorter: For ``resize-crop``, in pixels; default: the canvas's longer side / 0.875.
    """
    (height, width), (h, w) = original, size
    if mode == "stretch":
        return Placement(original, size, (w / width, h / height), (0.0, 0.0))
    if mode == "letterbox":
        factor = min(h / height, w / width)
        # The next whole pixel below, as YOLOX does; a side that fits exactly must not lose a pixel to rounding.
        across, down = (max(1, int(side * factor + 1e-6)) for side in (width, height))
        return Placement(original, size, (across / width, down / height), (0.0, 0.0))
    wanted = shorter or round(max(size) / CROP_SHARE)
    # A canvas that is longer than the resized picture would show what is not there.
    factor = max(wanted / min(original), h / height, w / width)
    across, down = max(w, int(width * factor + 1e-6)), max(h, int(height * factor + 1e-6))
    # The half pixel goes where transformers puts it.
    left, top = (across - w) // 2, (down - h) // 2
    return Placement(original, size, (across / width, down / height), (float(-left), float(-top)))


def fit(
    sample: Sample,
    size: Size,
    mode: Fit,
    *,
    shorter: int | None = None,
    resample: Filter = "bilinear",
    fill: int = GREY,
) -> tuple[Sample, Placement]:
    """A sample at a model's size, as it is evaluated: no chance, every box kept of which anything shows.

    Args:
        sample: The picture as it was read.
        size: Height and width of the canvas.
        mode: See ``place``.
        shorter: See ``place``.
        resample: The filter.
        fill: Grey level beside a letterboxed picture; masks hold 255 there.

    Returns:
        The sample on the canvas, and where it lies, which maps predictions back.
    """
    placement = place(sample.size, size, mode, shorter)
    return move(sample, placement.matrix, size, resample=resample, fill=fill), placement
