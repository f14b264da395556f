"""Heads: linear layers with softmax on standardised features, fitted to their optimum, several on one set of rows.

Rows are turned into their principal axes once. There the curvature is nearly diagonal, whatever the penalty, and heads
that differ in how much each row counts (those of all folds) share every product. It knows no fold and no kind of row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.descent import Each, Points, minimised

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

MOST_STEPS = 60
SLIGHT = 1e-6
MORE_FEATURES = 1.2
TOGETHER_NUMBERS = 4_000_000
"""Logits that are held at a time: of many rows and classes the heads are gone through in parts."""


@dataclass(frozen=True)
class Turned:
    """Rows as heads read them: standardised, in their principal axes, with a last column of ones for the bias.

    Args:
        rows: float32 [rows, axes + 1].
        mean, spread: Of the features, float32 [width].
        axes: Orthonormal, float32 [width, axes]. With more features than rows they span the rows alone: the optimum
            lies there.
        moments: Mean square along each axis, float32 [axes].
    """

    rows: Floats
    mean: Floats
    spread: Floats
    axes: Floats
    moments: Floats

    @classmethod
    def of(cls, inputs: Floats) -> Turned:
        """Turn features, [rows, width]."""
        given = np.asarray(inputs, dtype=np.float32)
        mean, spread = given.mean(0), given.std(0)
        # A feature that never changes says nothing; divided by its rounding it would say a lot.
        small = spread <= 1e-6 * np.abs(given).max(0) + 1e-12
        spread = np.where(small, np.float32(1), spread).astype(np.float32)
        scaled = (given - mean) / spread
        span = None
        if given.shape[1] > MORE_FEATURES * len(given):
            span = np.linalg.qr(scaled.T)[0]
            scaled = scaled @ span
        moments, axes = np.linalg.eigh(scaled.T @ scaled / np.float32(len(given)))
        rows = np.empty((len(given), len(moments) + 1), dtype=np.float32)
        np.matmul(scaled, axes, out=rows[:, :-1])
        rows[:, -1] = 1
        axes = axes if span is None else span @ axes
        return cls(rows, mean, spread, axes, np.maximum(moments, 0))

    def turn(self, inputs: Floats) -> Floats:
        """Other rows in the same way, [rows, axes + 1]."""
        turned = ((inputs - self.mean) / self.spread) @ self.axes
        return np.concatenate([turned, np.ones((len(turned), 1), dtype=np.float32)], 1)


class Heads:
    """Linear layers with softmax on the same rows; fitted again they begin where they ended.

    Args:
        turned: Rows to learn from.
        labels: [rows].
        classes: How many.
        weights: How much each row counts for each head, [heads, rows].
    """

    def __init__(self, turned: Turned, labels: Numbers, classes: int, weights: Floats) -> None:
        self._turned, self._labels, self._numbers = turned, labels, np.arange(len(labels))
        self._weights = np.asarray(weights / weights.sum(1, keepdims=True, dtype=np.float64), dtype=np.float32)
        self._layers: Points = np.zeros((len(weights), classes, turned.rows.shape[1]), dtype=np.float32)
        self._part = max(1, TOGETHER_NUMBERS // max(1, classes * len(labels)))

    def fit(self, decay: float) -> Heads:
        """Go to the optimum of the mean loss and the penalty ``decay / 2 * |W|^2``, which draws no bias."""
        penalty = np.full(self._layers.shape[2], decay, dtype=np.float32)
        penalty[-1] = 0
        # No curvature of a softmax is above a half of this one (Boehning 1992): with it the search takes few steps.
        bound = np.append(self._turned.moments, np.float32(1)) / 4 + penalty + np.float32(SLIGHT)

        def value(layers: Points, which: Numbers) -> tuple[Each, Points]:
            loss, gradient = np.empty(len(which)), np.empty_like(layers)
            for start in range(0, len(which), self._part):
                some = slice(start, start + self._part)
                loss[some], gradient[some] = self._sums(layers[some], self._weights[which[some]])
            drawn = layers * penalty
            loss += np.einsum("hcw,hcw->h", drawn, layers) / 2
            gradient += drawn
            return loss, gradient

        self._layers = minimised(value, self._layers, MOST_STEPS, lambda slope: np.asarray(slope / bound, np.float32))
        return self

    def _sums(self, layers: Points, weights: Floats) -> tuple[Each, Points]:
        """Losses [heads] and their gradients [heads, classes, axes + 1]."""
        rows, (heads, classes, width) = self._turned.rows, layers.shape
        logits = (layers.reshape(-1, width) @ rows.T).reshape(heads, classes, -1)
        logits -= logits.max(1, keepdims=True)
        own = logits[:, self._labels, self._numbers]
        np.exp(logits, out=logits)
        total = logits.sum(1)
        loss: Each = np.einsum("hr,hr->h", np.log(total) - own, weights).astype(np.float64)
        logits *= (weights / total)[:, None]
        logits[:, self._labels, self._numbers] -= weights
        gradient = np.empty(layers.shape, dtype=np.float32)
        np.matmul(logits.reshape(heads * classes, -1), rows, out=gradient.reshape(-1, width))
        return loss, gradient

    def probabilities(self, head: int, rows: Floats) -> NDArray[np.float64]:
        """Of the classes, by one of the heads, for turned rows: float64 [rows, classes]."""
        logits = (rows @ self._layers[head].T).astype(np.float64)
        found = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(found / found.sum(1, keepdims=True))


class Head:
    """One head, with rows of its own.

    Args:
        inputs: Features to learn from, [rows, width].
        labels: [rows].
        classes: How many.
        weights: How much each row counts, [rows].
    """

    def __init__(self, inputs: Floats, labels: Numbers, classes: int, weights: Floats | None = None) -> None:
        every = np.ones(len(labels), dtype=np.float32) if weights is None else weights
        self._turned = Turned.of(inputs)
        self._heads = Heads(self._turned, labels, classes, every[None])

    def fit(self, decay: float) -> Head:
        """Go to the optimum under a penalty."""
        self._heads.fit(decay)
        return self

    def probabilities(self, inputs: Floats) -> NDArray[np.float64]:
        """Of the classes, float64 [rows, classes]."""
        return self._heads.probabilities(0, self._turned.turn(inputs))
