"""What heads say of rows that they did not learn from: every row is judged by the others, from features alone.

A head is one linear layer with softmax on standardised features, fitted to its optimum; its penalty is the one with the
least loss on rows left out. Features are standardised over all rows, labels left aside. It knows no row and no modality
beyond the label of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.heads import Floats, Heads, Numbers, Turned

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

Report = Callable[[int, int], None]

FOLDS, REPEATS = 5, 3
LEAST_ROWS = 5
"""A class with fewer can't be in every fold: its rows are not judged, nor learned from."""
DECAYS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
"""Weights of the penalty ``decay / 2 * |W|^2`` beside the mean loss, strongest first."""
WORSE_IN_A_ROW = 2
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
    repeats = 1 if inputs.size * classes > ONCE_NUMBERS else repeats
    fitting = _Fitting(Turned.of(inputs), labels, classes, units)
    return fitting.averaged(seed, weights, repeats, None, report)[0]


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

    repeats = 1 if inputs.size * classes > ONCE_NUMBERS else REPEATS
    fitting = _Fitting(Turned.of(inputs), labels, classes, units)
    # One division tells enough of how much each row is to count, and about how strong the penalty is to be.
    first, decay = fitting.averaged(seed, None, 1, None, lambda d, _t: report(d, 1 + repeats))
    right = np.asarray(1 - doubt(labels, first).wrong, dtype=np.float32)
    return fitting.averaged(seed + 1, right, repeats, decay, lambda d, _t: report(1 + d, 1 + repeats))[0]


def chosen_decay(inputs: Floats, labels: Numbers, classes: int, units: Numbers, seed: int = 0) -> float:
    """The penalty with the least loss on rows left out."""
    fitting = _Fitting(Turned.of(inputs), labels, classes, units)
    folds = folds_of(labels, units, FOLDS, np.random.default_rng(seed))
    return fitting.best(folds, None, None)[1]


@dataclass(frozen=True)
class _Fitting:
    """Rows with labels, and heads over folds of them. The heads of all folds read the same standardised rows."""

    turned: Turned
    labels: Numbers
    classes: int
    units: Numbers

    def averaged(
        self, seed: int, weights: Floats | None, repeats: int, near: float | None, report: Report
    ) -> tuple[Floats, float]:
        """Probabilities averaged over divisions, float32 [rows, classes], and the penalty that the first one chose."""
        rng = np.random.default_rng(seed)
        total, decay = self.best(folds_of(self.labels, self.units, FOLDS, rng), weights, near)
        report(1, repeats)
        for done in range(1, repeats):
            folds = folds_of(self.labels, self.units, FOLDS, rng)
            total = total + self._said(self._heads(folds, weights).fit(decay), folds)
            report(done + 1, repeats)
        return np.asarray(total / repeats, dtype=np.float32), decay

    def best(self, folds: Numbers, weights: Floats | None, near: float | None) -> tuple[NDArray[np.float64], float]:
        """Probabilities under the penalty with the least loss on rows left out, and that penalty.

        Args:
            folds: Of every row, [rows].
            weights: How much a row counts, [rows].
            near: The penalty that is best for other weights: the search begins there. None: with the strongest.
        """
        heads = self._heads(folds, weights)
        found: dict[float, tuple[float, NDArray[np.float64]]] = {}

        def loss(decay: float) -> float:
            said = self._said(heads.fit(decay), folds)
            each = -np.log(np.clip(said[np.arange(len(said)), self.labels], 1e-12, 1))
            found[decay] = float(each.mean() if weights is None else (each * weights).sum() / weights.sum()), said
            return found[decay][0]

        start = 0 if near is None else DECAYS.index(near)
        _downhill(DECAYS[start:], loss)
        if near is not None and min(found, key=lambda one: found[one][0]) == near:
            _downhill(DECAYS[:start][::-1], loss, found[near][0])
        decay = min(found, key=lambda one: found[one][0])
        return found[decay][1], decay

    def _heads(self, folds: Numbers, weights: Floats | None) -> Heads:
        """A head for each fold, that learns from the others."""
        others = (folds != np.unique(folds)[:, None]).astype(np.float32)
        return Heads(self.turned, self.labels, self.classes, others if weights is None else others * weights)

    def _said(self, heads: Heads, folds: Numbers) -> NDArray[np.float64]:
        """What the head of each fold says of its rows, [rows, classes]."""
        said = np.empty((len(folds), self.classes))
        for number, fold in enumerate(np.unique(folds)):
            said[folds == fold] = heads.probabilities(number, self.turned.rows[folds == fold])
        return said


def _downhill(decays: Sequence[float], loss: Callable[[float], float], best: float = np.inf) -> None:
    """Try one after the other until it gets worse twice in a row."""
    worse = 0
    for decay in decays:
        one = loss(decay)
        best, worse = (one, 0) if one < best else (best, worse + 1)
        if worse == WORSE_IN_A_ROW:
            break
