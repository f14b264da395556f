"""Seeded choices of lengths, angles, colours and noise. It knows addresses and numbers, not what is drawn with them."""

from __future__ import annotations

import colorsys
import hashlib

import numpy as np
from text_to_sql.draw import Draw

STEPS = 1 << 20


class Dice(Draw):
    """A stream of choices that follows from its address alone, for pictures."""

    def between(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return low + (high - low) * self.below(STEPS) / STEPS

    def colour(self, pale: float = 0.0) -> np.ndarray:
        """A colour as float32 [3], 0 to 255, seldom a gaudy one; ``pale`` near 1 gives a light one."""
        hue, saturation = self.between(0, 1), self.between(0.05, 0.6)
        value = self.between(0.2 + 0.5 * pale, 0.85 + 0.13 * pale)
        return np.asarray(colorsys.hsv_to_rgb(hue, saturation * (1 - 0.6 * pale), value), np.float32) * 255

    def noise(self, height: int, width: int) -> np.ndarray:
        """Even noise from 0 to 1 as float32 [height, width], from raw bits that no version of numpy changes."""
        digest = hashlib.blake2b(f"{self._address}#{self._drawn}".encode(), digest_size=16).digest()
        self._drawn += 1
        raw = np.random.PCG64(int.from_bytes(digest, "big")).random_raw(height * width)
        return (np.asarray(raw >> np.uint64(40), np.float32) / (1 << 24)).reshape(height, width)
