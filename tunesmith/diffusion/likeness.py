"""How alike pictures are, as arithmetic on their vectors: cosines, diversity, the nearest picture. It knows no encoder.

Vectors are unit vectors, float [n, width]; a cosine of 1 is the same picture to the encoder. Fidelity to a subject is
DreamBooth's (arXiv:2208.12242, Ruiz et al. 2022): the mean cosine to its real pictures, with DINO's or CLIP's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
UnitVectors: TypeAlias = NDArray[Any]


def cosines(one: UnitVectors, other: UnitVectors) -> Floats:
    """The cosine of every pair, float64 [len(one), len(other)]."""
    found: Floats = np.asarray(one, np.float64) @ np.asarray(other, np.float64).T
    return found


def mean_cosine(pictures: UnitVectors, references: UnitVectors) -> Floats:
    """Each picture's mean cosine to all references, float64 [n]."""
    found: Floats = cosines(pictures, references).mean(axis=1)
    return found


def paired_cosine(one: UnitVectors, other: UnitVectors) -> Floats:
    """The cosine of each picture to the vector at the same place, of a picture or a text, float64 [n]."""
    found: Floats = np.einsum("nw,nw->n", np.asarray(one, np.float64), np.asarray(other, np.float64))
    return found


def nearest(pictures: UnitVectors, known: UnitVectors) -> tuple[Floats, Ints]:
    """Each picture's highest cosine to any known picture, float64 [n], and which one that is, int64 [n]."""
    found = cosines(pictures, known)
    at = found.argmax(axis=1)
    return found[np.arange(len(found)), at], at.astype(np.int64)


def among(pictures: UnitVectors) -> float | None:
    """The mean cosine between different pictures of one set; None of fewer than two.

    Of a subject's real pictures it is what a model that makes just such pictures would get as subject fidelity.
    """
    if len(pictures) < 2:
        return None
    return 1 - Diversity(pictures, np.zeros(len(pictures), np.int64)).of(np.arange(len(pictures)))


class Diversity:
    """The mean distance, 1 minus cosine, between pictures of the same group, 0 where all are alike.

    The pairs of all groups count alike. In a resample a picture that was drawn twice makes no pair with itself, so
    that a resample is no less diverse than what it was drawn from.

    Args:
        vectors: Unit vectors of the pictures, [n, width].
        groups: Each picture's group, integers [n].
    """

    def __init__(self, vectors: UnitVectors, groups: Ints) -> None:
        if len(vectors) != len(groups) or not len(vectors):
            raise ValueError(f"{len(groups)} groups stand beside {len(vectors)} pictures")
        self._order = np.argsort(groups, kind="stable")
        self._vectors = np.asarray(vectors, np.float64)[self._order]
        self._squares = np.einsum("nw,nw->n", self._vectors, self._vectors)
        self._starts = np.flatnonzero(np.diff(np.asarray(groups)[self._order], prepend=np.iinfo(np.int64).min))

    def of(self, drawn: Ints) -> float:
        """Of the pictures with these numbers, with repeats; NaN where they make no pair.

        Takes time in proportion to the pictures: all cosines of a group sum to the square of its summed vectors.
        """
        weights = np.bincount(drawn, minlength=len(self._order)).astype(np.float64)[self._order]
        sums = np.add.reduceat(weights[:, None] * self._vectors, self._starts, axis=0)
        alike = float((sums**2).sum() - weights**2 @ self._squares)
        pairs = float((np.add.reduceat(weights, self._starts) ** 2).sum() - weights @ weights)
        return 1 - alike / pairs if pairs > 0.5 else float("nan")


def pair_groups(names: Sequence[str]) -> Ints:
    """Groups of pictures that are compared: those of the same name (prompt); all, where no name stands twice."""
    index = np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].ravel().astype(np.int64)
    return index if len(set(names)) < len(names) else np.zeros_like(index)
