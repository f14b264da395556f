"""The metrics room: scores, calibration and intervals as pure functions on numpy arrays.

It knows no model, no task, no file and no torch. Classes are integers from 0; their names are the task's affair.

A score that is a function of sums over rows is written as a *tally* (one vector of numbers a row) and a *value* (totals
to score), so that ten thousand bootstrap resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunesmith.errors import UserError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Verdict: TypeAlias = Literal["better", "worse", "no difference shown"]

CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one class (0 where a ratio has no denominator) and its number of true rows."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Rows whose confidence lies in (low, high]: their mean confidence, share correct and number."""

    low: float
    high: float
    confidence: float
    accuracy: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        """The bin as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Interval:
    """A difference tuned minus base with its interval.

    Args:
        difference: Tuned score minus base score, on all rows.
        low: Lower end of the interval of the difference.
        high: Upper end.
        base: Score of the base model on all rows.
        tuned: Score of the tuned model on all rows.
        level: Coverage aimed at, 0.95 for a 95 % interval.
        units: Rows, or groups where groups were resampled.
        differing: Units on which the two models' tallies are not the same; all units where that is not known.
        undefined: Resamples on which the score had no value; they are left out of the interval.
    """

    difference: float
    low: float
    high: float
    base: float
    tuned: float
    level: float = 0.95
    units: int = 0
    differing: int = 0
    undefined: int = 0


def confusion(true: ArrayLike, predicted: ArrayLike, classes: int) -> Ints:
    """Counts of rows by true class (first axis) and predicted class: int64 [classes, classes].

    Args:
        true: True class of each row, integers in [0, classes), [rows].
        predicted: Predicted class of each row, likewise.
        classes: Number of classes.

    Raises:
        ValueError: Unequal lengths, no integers, or a class outside the range.
    """
    t, p = _labels(true, "true", classes), _labels(predicted, "predicted", classes)
    if t.shape != p.shape:
        raise ValueError(f"{t.size} true classes stand beside {p.size} predicted ones")
    return np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(matrix: ArrayLike) -> float:
    """Share of rows on the diagonal of a confusion matrix [classes, classes]."""
    counts = _square(matrix)
    return float(np.trace(counts) / counts.sum())


def macro_f1(matrix: ArrayLike) -> float:
    """Mean F1 over the classes that occur as true or predicted, as scikit-learn's ``f1_score(average="macro")``.

    A known class that no row has and no prediction names is left out, so that a wider label table changes nothing.
    """
    counts = _square(matrix)
    return float(macro_f1_from(np.concatenate([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)])))


def per_class(matrix: ArrayLike) -> list[ClassScores]:
    """Precision, recall, F1 and support of every known class, occurring or not; a ratio without denominator is 0."""
    counts = _square(matrix)
    hits, support, named = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    columns = (_ratio(hits, named), _ratio(hits, support), _ratio(2 * hits, support + named))
    return [ClassScores(float(p), float(r), float(f), int(s)) for p, r, f, s in zip(*columns, support, strict=True)]


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[Bin]:
    """Confidence against accuracy in equally wide bins (arXiv:1706.04599, Guo et al. 2017), empty bins left out.

    Args:
        confidence: Probability given to the predicted class, in [0, 1], [rows].
        correct: Whether the prediction is right, [rows].
        bins: Number of bins over [0, 1]; each holds its upper edge, the first also 0.
    """
    trust = np.asarray(confidence, dtype=np.float64).ravel()
    right = np.asarray(correct, dtype=np.float64).ravel()
    if trust.size == 0 or trust.shape != right.shape:
        raise ValueError(f"{trust.size} confidences stand beside {right.size} outcomes")
    _finite(trust, "confidence")
    # A softmax in float32 may sum to a little over 1; anything further off is no probability.
    if trust.min() < -1e-6 or trust.max() > 1 + 1e-6:
        raise ValueError(f"a confidence lies outside [0, 1]: {trust.min():g} to {trust.max():g}")
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, trust, side="left") - 1, 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    trusts, rights = (np.bincount(place, weights=v, minlength=bins) for v in (trust, right))
    return [
        Bin(float(edges[b]), float(edges[b + 1]), float(trusts[b] / rows[b]), float(rights[b] / rows[b]), int(rows[b]))
        for b in np.flatnonzero(rows)
    ]


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over the bins of `reliability`, weighted by rows (0 to 1)."""
    found = reliability(confidence, correct, bins)
    return sum(b.rows * abs(b.accuracy - b.confidence) for b in found) / sum(b.rows for b in found)


def tally_classification(true: ArrayLike, predicted: ArrayLike, classes: int) -> Floats:
    """One row of hits, true class and predicted class, each one-hot: float64 [rows, 3 * classes].

    The totals over any rows give `accuracy_from` and `macro_f1_from`. Takes 24 bytes a row and class.
    """
    t, p = _labels(true, "true", classes), _labels(predicted, "predicted", classes)
    if t.shape != p.shape:
        raise ValueError(f"{t.size} true classes stand beside {p.size} predicted ones")
    tally, at = np.zeros((t.size, 3 * classes)), np.arange(t.size)
    tally[at, t] = t == p
    tally[at, classes + t] = 1
    tally[at, 2 * classes + p] = 1
    return tally


def accuracy_from(totals: Floats) -> Floats:
    """Accuracy of totals of `tally_classification`: [..., 3 * classes] to [...]."""
    hits, support, _ = np.split(totals, 3, axis=-1)
    return _ratio(hits.sum(axis=-1), support.sum(axis=-1), np.nan)


def macro_f1_from(totals: Floats) -> Floats:
    """Macro-F1 over the occurring classes of totals of `tally_classification`: [..., 3 * classes] to [...]."""
    hits, support, named = np.split(np.asarray(totals, dtype=np.float64), 3, axis=-1)
    return _ratio(_ratio(2 * hits, support + named).sum(axis=-1), (support + named > 0).sum(axis=-1), np.nan)


def paired_bootstrap(
    base: ArrayLike,
    tuned: ArrayLike,
    value: Callable[[Floats], Floats],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[Any] | NDArray[Any] | None = None,
) -> Interval:
    """Percentile interval of tuned minus base when the same rows are drawn for both (Efron 1979; Koehn 2004).

    The result depends on the set of rows and the seed, not on the order of the rows.

    Args:
        base: The base model's tally, [rows, k].
        tuned: The tuned model's tally of the same rows in the same order, [rows, k].
        value: Totals [resamples, k] to scores [resamples]; NaN where the score is undefined.
        resamples: Number of resamples.
        seed: Seed of the resampling.
        level: Coverage aimed at.
        groups: A group for each row; whole groups are then drawn (speakers, videos, patients), since rows of one group
            say less than as many independent rows.

    Raises:
        UserError: A tally holds NaN or infinity, or the score is undefined on all rows or most resamples.
        ValueError: The tallies do not match, or there are no rows.
    """
    b, t = np.atleast_2d(np.asarray(base, np.float64)), np.atleast_2d(np.asarray(tuned, np.float64))
    if b.shape != t.shape or b.shape[0] == 0:
        raise ValueError(f"tallies of shape {b.shape} and {t.shape} are no pair")
    _finite(b, "base tally")
    _finite(t, "tuned tally")
    if groups is not None:
        b, t = (_sum_groups(tally, _group_index(groups, b.shape[0])) for tally in (b, t))
    units = b.shape[0]
    b, t, copies = _collapse(b, t)
    differing = int(copies[(b != t).any(axis=1)].sum())
    total = np.stack([copies @ b, copies @ t])
    points = value(total)
    rng = np.random.default_rng(seed)
    draws = [(value(weights @ b), value(weights @ t)) for weights in _weights(rng, copies, units, resamples)]
    drawn = np.concatenate([tuned_score - base_score for base_score, tuned_score in draws])
    return _interval((float(points[0]), float(points[1])), drawn, level, units, differing)


def paired_bootstrap_scores(
    base: Callable[[Ints], float],
    tuned: Callable[[Ints], float],
    rows: int,
    *,
    resamples: int = 1_000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[Any] | NDArray[Any] | None = None,
) -> Interval:
    """`paired_bootstrap` for a score that is no function of sums (mean average precision): resampling by index.

    Args:
        base: Row indices (with repeats, [any]) to the base model's score on those rows.
        tuned: The same of the tuned model.
        rows: Number of rows.
        resamples: Number of resamples; each calls both functions once.
        seed: Seed of the resampling.
        level: Coverage aimed at.
        groups: As in `paired_bootstrap`.
    """
    if rows < 1:
        raise ValueError("there are no rows to resample")
    every = np.arange(rows)
    index = every if groups is None else _group_index(groups, rows)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        chosen = np.concatenate([members[unit] for unit in rng.integers(0, len(members), len(members))])
        drawn[i] = tuned(chosen) - base(chosen)
    return _interval((base(every), tuned(every)), drawn, level, len(members), len(members))


def verdict(interval: Interval, higher_is_better: bool = True) -> Verdict:
    """What the interval shows of the tuned model.

    An interval that touches zero shows nothing. Neither do too few differing units, whatever the interval: when m units
    differ and all in one direction, a sign test still gives p = 2 * 0.5**m, and the percentile interval of so few is
    known to be too narrow. At 95 % the least m is 6.
    """
    enough = 2 * 0.5**interval.differing <= 1 - interval.level + 1e-12
    if not enough or interval.low <= 0 <= interval.high:
        return "no difference shown"
    return "better" if (interval.low > 0) == higher_is_better else "worse"


def _labels(values: ArrayLike, name: str, classes: int) -> Ints:
    labels = np.asarray(values).ravel()
    if labels.size == 0:
        raise ValueError(f"there are no {name} classes")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name} classes are integers, not {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"a {name} class lies outside 0 to {classes - 1}: {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)


def _square(matrix: ArrayLike) -> Ints:
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() == 0:
        raise ValueError(f"no confusion matrix of at least one row: shape {counts.shape}, {counts.sum()} rows")
    return counts


def _ratio(over: NDArray[Any], under: NDArray[Any], empty: float = 0.0) -> Floats:
    ratio = np.full(np.shape(over), empty)
    np.divide(over, under, out=ratio, where=np.asarray(under) > 0)
    return ratio


def _finite(values: Floats, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values.reshape(values.shape[0], -1)).all(axis=1))
    if bad.size:
        raise UserError(
            f"the {name} of {bad.size} of {values.shape[0]} rows is not a finite number",
            f"held-out row {bad[0]} (counted from 0)",
            "look at that row and at the model's output for it; a model that gives NaN has diverged: lower the rate",
        )


def _group_index(groups: Sequence[Any] | NDArray[Any], rows: int) -> Ints:
    index = np.unique(np.asarray(groups), return_inverse=True)[1].ravel().astype(np.int64)
    if index.size != rows:
        raise ValueError(f"{index.size} groups stand beside {rows} rows")
    return index


def _sum_groups(tally: Floats, index: Ints) -> Floats:
    sums = np.zeros((int(index.max()) + 1, tally.shape[1]))
    np.add.at(sums, index, tally)
    return sums


def _collapse(base: Floats, tuned: Floats) -> tuple[Floats, Floats, Floats]:
    """Pairs that stand for the same outcome once, with their number: a classifier has few, whatever the rows."""
    both = np.ascontiguousarray(np.hstack([base, tuned]))
    as_bytes = both.view(np.dtype((np.void, both.shape[1] * both.itemsize))).ravel()
    _, first, copies = np.unique(as_bytes, return_index=True, return_counts=True)
    return base[first], tuned[first], copies.astype(np.float64)


def _weights(rng: np.random.Generator, copies: Floats, units: int, resamples: int) -> Iterator[Floats]:
    """How often each distinct pair is drawn, [chunk, pairs], in chunks of bounded memory."""
    pairs = copies.size
    # One binomial a pair costs about ten times one drawn index a unit, hence the two ways to the same distribution.
    few = pairs * 10 < units
    chunk = max(1, CHUNK_BYTES // (8 * (pairs if few else 3 * units)))
    owner = np.repeat(np.arange(pairs), copies.astype(np.int64))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        if few:
            yield rng.multinomial(units, copies / units, size=size).astype(np.float64)
        else:
            drawn = owner[rng.integers(0, units, size=(size, units))] + np.arange(size)[:, None] * pairs
            yield np.bincount(drawn.ravel(), minlength=size * pairs).reshape(size, pairs).astype(np.float64)


def _interval(points: tuple[float, float], drawn: Floats, level: float, units: int, differing: int) -> Interval:
    base, tuned = points
    known = drawn[np.isfinite(drawn)]
    undefined = drawn.size - known.size
    if not (np.isfinite(base) and np.isfinite(tuned)) or known.size * 2 < drawn.size:
        raise UserError(
            f"the score has no value (base {base}, tuned {tuned}; undefined on {undefined} of {drawn.size} resamples)",
            f"{units} held-out rows or groups",
            "hold out more rows, or look for NaN in the model's outputs",
        )
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(tuned - base, float(low), float(high), base, tuned, level, units, differing, undefined)


def number_scores(found: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Mean absolute error, and the share of the variance that is explained; of constant truth 1 or 0, as in sklearn."""
    mean = sum(true) / len(true)
    left = sum((f - t) ** 2 for f, t in zip(found, true, strict=True))
    spread = sum((t - mean) ** 2 for t in true)
    r2 = 1 - left / spread if spread else float(left == 0)
    return {"mean_absolute_error": sum(abs(f - t) for f, t in zip(found, true, strict=True)) / len(true), "r2": r2}


def simple_scores(goal: str, predictions: Sequence[object], true: Sequence[object]) -> dict[str, float]:
    """``accuracy`` of equal texts, or what ``number_scores`` says of numbers."""
    if goal == "accuracy":
        return {"accuracy": sum(str(p) == str(t) for p, t in zip(predictions, true, strict=True)) / len(true)}
    return number_scores([float(str(p)) for p in predictions], [float(str(t)) for t in true])
