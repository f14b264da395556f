"""Runs of pictures that follow each other by name and are nearly the same: bursts, film. It knows no row."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.picture_table import PictureSide

LEAST_RUN = 3
STRUCTURE = 0.85
"""Correlation of two thumbnails from which on they are the same scene a moment later."""
DIFFERENCE = 12.0
"""Mean difference of two thumbnails, of 255, up to which they are."""
LEAST_CONTRAST = 6.0
_DIGITS = re.compile(r"(\d+)")


def natural_order(names: list[str]) -> list[int]:
    """Places of names as a person orders files: ``frame-9`` before ``frame-10``."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = _DIGITS.split(name)
        return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]

    return sorted(range(len(names)), key=lambda at: key(names[at]))


def near_frames(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether thumbnails at the same place, uint8 [n, 32, 32], show the same scene."""
    a, b = one.reshape(len(one), -1).astype(np.float32), other.reshape(len(other), -1).astype(np.float32)
    difference = np.abs(a - b).mean(axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    lengths = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    alike = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a), np.float32), where=lengths > 0)
    seen = np.minimum(a.std(axis=1), b.std(axis=1)) >= LEAST_CONTRAST
    return np.asarray((difference <= DIFFERENCE) & (alike >= STRUCTURE) & seen)


def runs_of(pictures: PictureSide) -> list[list[int]]:
    """Places of pictures, in order of their files, in runs of `LEAST_RUN` and more."""
    order = [at for at in natural_order(pictures.names) if pictures.readable[at]]
    if len(order) < LEAST_RUN:
        return []
    thumbs = pictures.thumbs(order)
    near = near_frames(thumbs[:-1], thumbs[1:])
    runs: list[list[int]] = []
    start = 0
    for at in range(1, len(order) + 1):
        if at == len(order) or not near[at - 1]:
            if at - start >= LEAST_RUN:
                runs.append(order[start:at])
            start = at
    return runs
