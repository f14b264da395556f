"""What heads say of rows that they did not learn from: every row is judged by the others, from features alone.

A head is one linear layer with softmax on standardised features, fitted to its optimum; its penalty is the one with the
least loss on rows left out. It knows no row and no modality beyond the label of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Report = Callable[[int, int], None]

FOLDS, REPEATS = 5, 3
LEAST_ROWS = 5
"""A class with fewer can't be in every fold: its rows are not judged, nor learned from."""
DECAYS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
"""Weights of the penalty ``decay / 2 * |W|^2`` beside the mean loss, strongest first."""
WORSE_IN_A_ROW = 2
MOST_STEPS = 60
SLIGHT = 1e-6
MORE_FEATURES = 1.2
ONCE_NUMBERS = 60_000_000
"""Rows by width by classes from which on one division into folds has to do."""


@dataclass(frozen=True)
class Judged:
    """Rows of both sides, each with what heads say that learned from others.

    Args:
        sides: Side of every row, 0 train, 1 held out, [rows].
        at: Its place in its side, [rows].
        labels: Number of its class, [rows].
        classes: Names.
        probabilities: float32 [rows, classes].
        left_out: Rows of each class that has too few.
        sampled: Whether the rows are a sample.
    """

    sides: Numbers
    at: Numbers
    labels: Numbers
    classes: tuple[str, ...]
    probabilities: Floats
    left_out: dict[str, int]
    sampled: bool = False

    def ids(self, data: AuditData, chosen: Sequence[int] | Numbers) -> list[tuple[SideName, str]]:
        """Side and id of rows, by their numbers here."""
        names: tuple[SideName, SideName] = ("train", "eval")
        said = []
        for i in chosen:
            side = names[int(self.sides[i])]
            said.append((side, str(data.sides[side][int(self.at[i])]["id"])))
        return said


def out_of_fold(data: AuditData, seed: int = 0) -> Floats:
    """Probabilities of the classes for every training row, from heads that learned from other rows.

    Returns:
        float32 [rows, classes], the classes in the task's order; NaN for a row that was not judged.

    Raises:
        LookupError: There are no labels or no features.
    """
    judged = judge(data, seed)
    if judged is None:
        raise LookupError("there are no labels, or no features")
    order = [str(name) for name in data.task.facts.values.get("labels", judged.classes)]
    found = np.full((len(data.sides["train"]), len(order)), np.nan, dtype=np.float32)
    mine = np.flatnonzero(judged.sides == 0)
    found[judged.at[mine]] = 0.0
    for number, name in enumerate(judged.classes):
        found[judged.at[mine], order.index(name)] = judged.probabilities[mine, number]
    return found


def judge(data: AuditData, seed: int = 0) -> Judged | None:
    """Judge the rows of both sides by heads on the network's features; None where there are none, or one class only.

    Rows that the network sees alike, or that are of one group, are in one fold: no head meets a copy of what it judges.
    """
    from tunesmith.audit.features import sampled_features

    column, features = data.label, sampled_features(data)
    if column is None or features is None:
        return None
    group_by = data.prepared.source.recipe.data.group_by
    names: list[str] = []
    groups: list[str] = []
    sides, places = [], []
    for number, side in enumerate(("train", "eval")):
        rows, at = data.sides[side], features.at[side]  # type: ignore[index]
        for i in at:
            row = rows[int(i)]
            names.append(str(row.get(column)))
            groups.append(str(row.get(group_by)) if group_by else "")
        sides.append(np.full(len(at), number))
        places.append(at)
    counts = Counter(names)
    order = [str(name) for name in data.task.facts.values.get("labels", sorted(counts))]
    known = tuple(name for name in order if counts[name] >= LEAST_ROWS)
    if len(known) < 2:
        return None
    index = {name: i for i, name in enumerate(known)}
    labels = np.array([index.get(name, -1) for name in names], dtype=np.int64)
    kept = np.flatnonzero(labels >= 0)
    inputs = np.concatenate([features.train, features.eval])[kept]
    apart = units_of(inputs, [groups[i] for i in kept] if group_by else None)
    said = sifted(inputs, labels[kept], len(known), apart, seed, lambda d, t: data.progress("heads for labels", d, t))
    return Judged(
        np.concatenate(sides)[kept].astype(np.int64),
        np.concatenate(places)[kept].astype(np.int64),
        labels[kept],
        known,
        said,
        {name: count for name, count in counts.items() if name not in index},
        not features.whole,
    )


def units_of(inputs: Floats, groups: Sequence[str] | None = None) -> Numbers:
    """Number of the unit of every row, [rows]: rows with the same features, or of the same group, are one."""
    said = (
        [str(i) for i in groups] if groups else [blake2b(row.tobytes(), digest_size=16).hexdigest() for row in inputs]
    )
    return np.asarray(np.unique(said, return_inverse=True)[1].ravel(), dtype=np.int64)


def folds_of(labels: Numbers, units: Numbers, count: int, rng: np.random.Generator) -> Numbers:
    """The fold of every row, [rows]: classes are spread evenly, and a unit is never divided.

    Args:
        labels, units: Numbers by row.
        count: Folds.
        rng: Draws the order.
    """
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    order = rng.permutation(len(first))
    of_unit = labels[first]
    folds = np.empty(len(first), dtype=np.int64)
    turn = 0
    for label in np.unique(of_unit):
        mine = order[of_unit[order] == label]
        # One class goes on where the one before ended, so that folds are of one size, too.
        folds[mine] = (np.arange(len(mine)) + turn) % count
        turn += len(mine)
    return folds[inverse.ravel()]


def cross_fitted(
    inputs: Floats,
    labels: Numbers,
    classes: int,
    units: Numbers,
    seed: int = 0,
    *,
    weights: Floats | None = None,
    repeats: int = REPEATS,
    report: Report = lambda _done, _total: None,
) -> Floats:
    """Probabilities of every row from heads that learned from the other folds, averaged over divisions into folds.

    Args:
        inputs: Features, [rows, width].
        labels: [rows].
        classes: How many.
        units: Rows of one are in one fold, [rows].
        seed: Of the folds.
        weights: How much a row counts when it is learned from, [rows].
        repeats: Divisions; of many numbers one has to do.
        report: Receives how many divisions are done, and of how many.

    Returns:
        float32 [rows, classes].
    """
    rng = np.random.default_rng(seed)
    repeats = 1 if inputs.size * classes > ONCE_NUMBERS else repeats
    total = np.zeros((len(labels), classes))
    decays: tuple[float, ...] = DECAYS
    for done in range(repeats):
        folds = folds_of(labels, units, FOLDS, rng)
        said, decay = _path(inputs, labels, classes, folds, decays, weights)
        total += said
        decays = (decay,)
        report(done + 1, repeats)
    return np.asarray(total / repeats, dtype=np.float32)


def sifted(
    inputs: Floats,
    labels: Numbers,
    classes: int,
    units: Numbers,
    seed: int = 0,
    report: Report = lambda _done, _total: None,
) -> Floats:
    """As ``cross_fitted``, twice: the second time a row counts as much as its label is probably right."""
    from tunesmith.audit.label_noise import doubt

    # One division tells enough of how much each row is to count.
    first = cross_fitted(inputs, labels, classes, units, seed, repeats=1, report=lambda d, t: report(d, 2 * t))
    right = np.asarray(1 - doubt(labels, first).wrong, dtype=np.float32)
    return cross_fitted(
        inputs, labels, classes, units, seed + 1, weights=right, report=lambda d, t: report(t + d, 2 * t)
    )


def chosen_decay(inputs: Floats, labels: Numbers, classes: int, units: Numbers, seed: int = 0) -> float:
    """The penalty with the least loss on rows left out."""
    folds = folds_of(labels, units, FOLDS, np.random.default_rng(seed))
    return _path(inputs, labels, classes, folds, DECAYS, None)[1]


def _path(
    inputs: Floats, labels: Numbers, classes: int, folds: Numbers, decays: Sequence[float], weights: Floats | None
) -> tuple[NDArray[np.float64], float]:
    """Probabilities under the penalty with the least loss on rows left out, and that penalty."""
    heads = [
        Head(inputs[folds != fold], labels[folds != fold], classes, None if weights is None else weights[folds != fold])
        for fold in np.unique(folds)
    ]
    best: tuple[float, NDArray[np.float64], float] | None = None
    worse = 0
    for decay in decays:
        said = np.empty((len(labels), classes))
        for fold, head in zip(np.unique(folds), heads, strict=True):
            said[folds == fold] = head.fit(decay).probabilities(inputs[folds == fold])
        each = -np.log(np.clip(said[np.arange(len(labels)), labels], 1e-12, 1))
        loss = float(each.mean() if weights is None else (each * weights).sum() / weights.sum())
        if best is None or loss < best[0]:
            best, worse = (loss, said, decay), 0
        else:
            worse += 1
            if worse == WORSE_IN_A_ROW:
                break
    assert best is not None
    return best[1], best[2]


class Head:
    """A linear layer with softmax; fitted again it begins where it ended.

    Args:
        inputs: Features to learn from, [rows, width].
        labels: [rows].
        classes: How many.
        weights: How much each row counts, [rows].
    """

    def __init__(self, inputs: Floats, labels: Numbers, classes: int, weights: Floats | None = None) -> None:
        import torch

        given = torch.from_numpy(np.ascontiguousarray(inputs))
        self._mean, spread = given.mean(0), given.std(0, unbiased=False)
        # A feature that never changes says nothing; divided by its rounding it would say a lot.
        small = spread <= 1e-6 * given.abs().amax(0) + 1e-12
        self._spread = torch.where(small, torch.ones_like(spread), spread)
        # With more features than rows the optimum lies in the span of the rows: no more directions are needed.
        self._span: Tensor | None = None
        if given.shape[1] > MORE_FEATURES * given.shape[0]:
            self._span = torch.linalg.qr(self._scaled(given).T)[0]
        self._inputs = self._scaled(given)
        self._labels, self._numbers = torch.from_numpy(labels), torch.arange(len(labels))
        every = torch.ones(len(labels)) if weights is None else torch.from_numpy(weights).float()
        self._weights = every / every.sum()
        self._classes = classes
        # The last column of the inputs, ones, has the bias, which no penalty draws to zero.
        self._inputs = torch.cat([self._inputs, torch.ones(len(labels), 1)], 1)
        self._layer = torch.zeros(self._inputs.shape[1], classes)
        # No curvature of a softmax is above a half of this one (Boehning 1992): with it the search takes few steps.
        self._bound = self._inputs.T @ (self._inputs * (self._weights[:, None] / 4))

    def _scaled(self, inputs: Tensor) -> Tensor:
        scaled = (inputs - self._mean) / self._spread
        return scaled if self._span is None else scaled @ self._span

    def fit(self, decay: float) -> Head:
        """Go to the optimum under a penalty."""
        import torch

        from tunesmith.audit.descent import minimised

        def value(layer: Tensor) -> tuple[float, Tensor]:
            logs = (self._inputs @ layer).log_softmax(1)
            own = logs.gather(1, self._labels[:, None])[:, 0]
            drawn = layer[:-1]
            loss = float(-(own * self._weights).sum() + decay / 2 * drawn.square().sum())
            # By hand: the tape costs as much as the two products.
            slope = logs.exp_()
            slope[self._numbers, self._labels] -= 1
            gradient = self._inputs.T @ slope.mul_(self._weights[:, None])
            gradient[:-1] += decay * drawn
            return loss, gradient

        penalty = torch.full((len(self._layer),), decay)
        penalty[-1] = 0.0
        factor = torch.linalg.cholesky(self._bound + torch.diag(penalty + SLIGHT))
        self._layer = minimised(value, self._layer, MOST_STEPS, lambda slope: torch.cholesky_solve(slope, factor))
        return self

    def probabilities(self, inputs: Floats) -> NDArray[np.float64]:
        """Of the classes, float64 [rows, classes]."""
        import torch

        scaled = self._scaled(torch.from_numpy(np.ascontiguousarray(inputs)))
        logits = scaled @ self._layer[:-1] + self._layer[-1]
        return np.asarray(logits.double().softmax(-1).numpy())
