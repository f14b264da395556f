"""Randomness by name: every step draws from a generator of its own, so that no step changes another's draws."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


class Draws:
    """Generators for the steps of one row, from one number that is drawn from the row's generator.

    Switching a step off, or letting it draw more, leaves what all the others draw as it is.

    Args:
        rng: The row's generator; exactly one number is taken from it.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._seed = int(rng.integers(0, 2**63))

    def of(self, step: str) -> np.random.Generator:
        """The generator of one step; the same name gives the same numbers anew."""
        digest = blake2b(f"{self._seed}\0{step}".encode(), digest_size=8).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))

    def happens(self, step: str, share: float) -> np.random.Generator | None:
        """The step's generator where the step happens to this row, which it does with probability ``share``."""
        if not share:
            return None
        rng = self.of(step)
        return rng if rng.random() < share else None


def between(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A number drawn evenly from a range."""
    return float(rng.uniform(ends[0], ends[1]))


def factor_between(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A factor drawn evenly on a logarithmic scale: halving is as likely as doubling."""
    return float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]))))
