"""A picture with what stands in it, as augmentation takes and gives it. It knows no file and no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from PIL import Image

IGNORE = 255
"""What a mask holds where nothing is known: no class, never learned, never scored."""
GREY = 114
"""Grey level of what lies outside a picture, as YOLOX pads."""

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""
Outline: TypeAlias = tuple[np.ndarray, ...]
"""One object's rings, each float [points, 2] as x, y in pixels."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture and its answers, all in pixels of this picture.

    Coordinates are continuous: 0 is the left edge of the first pixel, the width is the right edge of the last one.

    Args:
        image: uint8 [height, width, 3], RGB.
        boxes: float32 [n, 4] as x1, y1, x2, y2.
        labels: int64 [n]: classes of the boxes, or of the picture.
        mask: uint8 [height, width] of class ids, 255 where nothing is known.
        outlines: Each box's object as polygons, where known; a rotated box is then as tight as its object.
        dropped: How many boxes were left out on the way, because too little of the object remained in the picture.

    Raises:
        ValueError: The parts do not belong together.
    """

    image: np.ndarray
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    mask: np.ndarray | None = None
    outlines: tuple[Outline, ...] | None = None
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8 or not self.image.size:
            raise ValueError(f"a picture is uint8 [height, width, 3], not {self.image.dtype} {self.image.shape}")
        if self.mask is not None and (self.mask.shape != self.image.shape[:2] or self.mask.dtype != np.uint8):
            raise ValueError(f"a mask is uint8 {self.image.shape[:2]}, not {self.mask.dtype} {self.mask.shape}")
        if self.boxes is not None:
            n = len(self.boxes)
            if self.boxes.shape != (n, 4):
                raise ValueError(f"boxes are [n, 4], not {self.boxes.shape}")
            if self.labels is not None and len(self.labels) != n:
                raise ValueError(f"{n} boxes with {len(self.labels)} labels")
            if self.outlines is not None and len(self.outlines) != n:
                raise ValueError(f"{n} boxes with {len(self.outlines)} outlines")
        elif self.outlines is not None:
            raise ValueError("outlines without boxes")

    @property
    def size(self) -> Size:
        """Height and width of the picture."""
        return (int(self.image.shape[0]), int(self.image.shape[1]))

    def with_picture(self, image: np.ndarray) -> Sample:
        """The same with a smaller or larger copy of the picture: boxes, outlines and mask follow its size.

        Args:
            image: uint8 [height, width, 3], the whole picture at another size (a JPEG that was decoded smaller).
        """
        if image.shape[:2] == self.size:
            return replace(self, image=image)
        across, down = image.shape[1] / self.size[1], image.shape[0] / self.size[0]
        factors = np.array([across, down], dtype=np.float32)
        mask = self.mask
        if mask is not None:
            scaled = Image.fromarray(mask).resize((image.shape[1], image.shape[0]), Image.Resampling.NEAREST)
            mask = np.array(scaled)
        outlines = self.outlines and tuple(tuple(ring * factors for ring in rings) for rings in self.outlines)
        boxes = None if self.boxes is None else (self.boxes * np.tile(factors, 2)).astype(np.float32)
        return replace(self, image=image, boxes=boxes, mask=mask, outlines=outlines)


def outline_of(mask: np.ndarray) -> Outline:
    """The outline of one object from its pixels: enough for exact boxes, though not for exact areas.

    Args:
        mask: bool [height, width], true where the object is.

    Returns:
        One ring around the object's rows from their first to their last pixel; no ring where there is no pixel.
    """
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return ()
    first = mask[rows].argmax(1)
    last = mask.shape[1] - mask[rows][:, ::-1].argmax(1)
    edges = np.stack([rows, rows + 1], 1).ravel()
    down = np.stack([np.repeat(first, 2), edges], 1)
    up = np.stack([np.repeat(last, 2), edges], 1)[::-1]
    return (np.concatenate([down, up]).astype(np.float32),)
