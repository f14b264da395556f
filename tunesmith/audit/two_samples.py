"""Whether two sets come from the same source, and by how much they differ. It knows no rows.

Vectors are told apart by a classifier (Lopez-Paz and Oquab 2017, arXiv:1610.06545), numbers by the largest distance of
their distributions (Kolmogorov, Smirnov), kinds by half the sum of the differences of their shares. The p-value is the
share of random divisions that differ as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIVISIONS = 200
FOLDS = 5
MOST_EACH = 1000
MOST_WIDTH = 64
PENALTY = 1.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """How far two sets are apart.

    Args:
        effect: AUC of the classifier (0.5: alike), or a distance of distributions (0: alike).
        p: Share of random divisions with at least this effect, never 0.
        scores: Of the second set, how unlike the first each looks, float64 [rows]; empty where there are none.
        at: Places in the second set that the scores belong to.
    """

    effect: float
    p: float
    scores: Floats
    at: NDArray[np.int64]


NOTHING: Floats = np.zeros(0)
NOWHERE: NDArray[np.int64] = np.zeros(0, dtype=np.int64)


def tell_vectors(first: NDArray[np.float32], second: NDArray[np.float32], seed: int) -> Told:
    """Try to tell vectors [rows, width] of the two sets apart, as many of each, in five folds."""
    rng = np.random.default_rng(seed)
    each = min(len(first), len(second), MOST_EACH)
    taken = [np.sort(rng.choice(len(rows), each, replace=False)) for rows in (first, second)]
    values = _standard(np.concatenate([rows[at] for rows, at in zip((first, second), taken, strict=True)]))
    truth = np.repeat([0.0, 1.0], each)
    # The prediction of a held-out row is linear in the labels of the others: all divisions are one product.
    fold = rng.permutation(2 * each) % FOLDS
    labels = np.stack([truth, *(rng.permutation(truth) for _ in range(DIVISIONS))], axis=1)
    said = np.zeros(labels.shape)
    for held in range(FOLDS):
        train, test = values[fold != held], values[fold == held]
        weights = np.linalg.solve(train.T @ train + PENALTY * len(train) / each * np.eye(train.shape[1]), train.T)
        said[fold == held] = test @ (weights @ (labels[fold != held] - labels[fold != held].mean(0)))
    areas = np.array(
        [area(said[labels[:, at] == 0, at], said[labels[:, at] == 1, at]) for at in range(labels.shape[1])]
    )
    p = (1 + int((areas[1:] >= areas[0]).sum())) / (1 + DIVISIONS)
    return Told(float(areas[0]), p, said[each:, 0], taken[1])


def _standard(values: NDArray[np.float32]) -> Floats:
    """Vectors in the directions of their largest spread, of spread 1 in the mean, float64 [rows, at most 64]."""
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(MOST_WIDTH, max(1, len(values) // 10), int((spread > spread[0] * 1e-4).sum()) or 1)
    found = centred @ directions[:kept].T
    return np.asarray(found / max(float(np.sqrt((found**2).mean())), 1e-12))


def area(low: Floats, high: Floats) -> float:
    """The chance that one of ``high`` is above one of ``low``, a tie counting half."""
    order = np.sort(low)
    below = np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")
    return float(below.sum()) / (2 * len(low) * len(high))


def tell_numbers(first: Floats, second: Floats) -> Told:
    """The largest distance between the distributions of two sets of numbers."""
    points = np.unique(np.concatenate((first, second)))
    shares = [np.searchsorted(np.sort(part), points, "right") / len(part) for part in (first, second)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    return Told(distance, _kolmogorov(distance, len(first), len(second)), NOTHING, NOWHERE)


def _kolmogorov(distance: float, first: int, second: int) -> float:
    """The chance of such a distance between samples of one source (its asymptotic series)."""
    root = np.sqrt(first * second / (first + second))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:
        return 1.0
    at = np.arange(1, 101)
    return float(min(1.0, max(1e-12, 2 * ((-1.0) ** (at - 1) * np.exp(-2 * (at * scaled) ** 2)).sum())))


def tell_kinds(first: NDArray[np.int64], second: NDArray[np.int64], seed: int) -> Told:
    """Half the sum of the differences of shares, of counts by kind [kinds] in the two sets."""
    rng = np.random.default_rng(seed)
    total = first + second

    def apart(one: NDArray[np.int64]) -> Floats:
        other = total - one
        return np.asarray(np.abs(one / one.sum(-1, keepdims=True) - other / other.sum(-1, keepdims=True)).sum(-1) / 2)

    drawn = rng.multivariate_hypergeometric(total, int(first.sum()), size=5 * DIVISIONS, method="marginals")
    distance = float(apart(first))
    p = (1 + int((apart(drawn) >= distance - 1e-12).sum())) / (1 + len(drawn))
    return Told(distance, p, NOTHING, NOWHERE)
