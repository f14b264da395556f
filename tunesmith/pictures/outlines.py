"""Objects' outlines for augmentation, from what a row says of their regions. It reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.pictures.augment import Outline, outline_of
from tunesmith.pictures.regions import RegionFault, mask_of, points_of


def outline_from(segmentation: Any, box: Sequence[float], height: int, width: int) -> Outline:
    """An object's rings: of its polygons or run lengths, else of its box.

    Args:
        segmentation: Polygons, COCO run lengths, or None.
        box: x, y, width, height in pixels.
        height, width: Of the picture.
    """
    try:
        if isinstance(segmentation, Mapping):
            return outline_of(mask_of(segmentation, height, width).astype(bool))
        if segmentation:
            several = [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation
            return tuple(points_of(polygon).astype(np.float32) for polygon in several)
    except RegionFault:
        pass  # the reader has named it; the box remains
    x, y, w, h = box
    return (np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], dtype=np.float32),)
