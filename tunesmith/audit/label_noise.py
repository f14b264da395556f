"""Which labels are wrong, told from probabilities that heads gave who did not see them: no row, no feature, no network.

Confident learning (Northcutt, Jiang, Chuang 2021, https://arxiv.org/abs/1911.00068) counts, for each pair of classes,
the rows that carry one label and surely look like another. A head that errs often makes such pairs, too, so that these
counts are an upper bound. How probable it is that a label is wrong is told by a model of the labels: the true class has
the head's probability, sharpened; each true class is written down as another with a rate of its own; both are fitted to
the labels by expectation-maximisation. A head that errs where it is unsure explains its errors by that; a label that
stands against a sure head is explained by the rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

SHARPNESS = tuple(np.exp(np.linspace(np.log(0.4), np.log(4.0), 16)).tolist())
ROUNDS = 60
PRIOR_ROWS = 2.0
"""Weight of the prior of each true class's rates: as so many rows that are written down as any other class alike."""
PRIOR_RATE = 0.02
LEAST = 1e-9


@dataclass(frozen=True)
class ConfidentJoint:
    """Rows by the label they carry and the class they surely look like.

    Args:
        counts: int64 [carried, looks like]; rows that surely look like no class are in none.
        joint: The same as shares of all rows, after the carried labels have their own shares again.
        thresholds: Mean probability of a class among the rows that carry it; from there on a row looks like it.
        issues: Whether a row stands off the diagonal, [rows].
    """

    counts: Numbers
    joint: Floats
    thresholds: Floats
    issues: NDArray[np.bool_]

    @property
    def noise(self) -> float:
        """Share of rows off the diagonal."""
        return float(1 - np.trace(self.joint))


def confident_joint(labels: Numbers, probabilities: Probabilities) -> ConfidentJoint:
    """Count as confident learning does.

    Args:
        labels: [rows]; every class has some.
        probabilities: Out of fold, [rows, classes].
    """
    classes = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    thresholds = np.bincount(labels, own, minlength=classes) / np.maximum(sizes, 1)
    above = probabilities >= thresholds - 1e-9
    looks = np.where(above, probabilities, -1.0).argmax(1)
    sure = above.any(1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels[sure], looks[sure]), 1)
    # A class of which no row is sure is taken at its word.
    shares = np.where(counts.sum(1, keepdims=True) > 0, counts, np.eye(classes))
    joint = shares / shares.sum(1, keepdims=True) * sizes[:, None] / max(1, len(labels))
    return ConfidentJoint(counts, joint, thresholds, sure & (looks != labels))


def normalized_margin(labels: Numbers, probabilities: Probabilities) -> Floats:
    """The probability of the label less that of the likeliest other class, [rows], -1 to 1."""
    others = probabilities.astype(np.float64)
    own = others[np.arange(len(labels)), labels].copy()
    others[np.arange(len(labels)), labels] = -1.0
    return np.asarray(own - others.max(1))


@dataclass(frozen=True)
class Doubt:
    """How probable it is that each label is wrong.

    Args:
        wrong: Probability that the true class is another, [rows].
        looks: The likeliest other class, [rows].
        rates: Share of each true class that is written down as each class, [true, carried].
        noise: Estimated share of all rows with a wrong label.
        sharpness: By which the head's log-probabilities are multiplied.
    """

    wrong: Floats
    looks: Numbers
    rates: Floats
    noise: float
    sharpness: float


def doubt(labels: Numbers, probabilities: Probabilities) -> Doubt:
    """Fit the rates of wrong labels, and tell how probable it is that each label is one.

    Args:
        labels: [rows].
        probabilities: Out of fold, [rows, classes].
    """
    logs = np.log(np.clip(probabilities.astype(np.float64), LEAST, 1))
    best = max((_fitted(labels, logs, sharpness) for sharpness in SHARPNESS), key=lambda one: one[0])
    _, rates, sharpness = best
    clean = _sharpened(logs, sharpness)
    truth = clean * rates[:, labels].T
    truth /= truth.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    wrong = 1 - truth[rows, labels]
    truth[rows, labels] = -1.0
    return Doubt(wrong, truth.argmax(1), rates, float(wrong.mean()), sharpness)


def _sharpened(logs: Floats, sharpness: float) -> Floats:
    scaled = logs * sharpness
    found = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(found / found.sum(1, keepdims=True))


def _fitted(labels: Numbers, logs: Floats, sharpness: float) -> tuple[float, Floats, float]:
    """Log posterior of the labels, the rates that have it, and the sharpness."""
    classes = logs.shape[1]
    clean = _sharpened(logs, sharpness)
    prior = np.full((classes, classes), PRIOR_RATE / max(1, classes - 1))
    np.fill_diagonal(prior, 1 - PRIOR_RATE)
    rates = prior.copy()
    carried = np.eye(classes)[labels]
    for _ in range(ROUNDS):
        truth = clean * rates[:, labels].T
        truth /= truth.sum(1, keepdims=True)
        counts = truth.T @ carried + PRIOR_ROWS * prior
        new = counts / counts.sum(1, keepdims=True)
        moved = float(np.abs(new - rates).max())
        rates = new
        if moved < 1e-5:
            break
    said = float(np.log((clean * rates[:, labels].T).sum(1)).sum())
    return said + float((PRIOR_ROWS * prior * np.log(rates)).sum()), rates, sharpness
