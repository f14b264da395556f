"""Whether held-out rows are like the training rows: to the task's own network, in their lengths, in their labels.

It tells which rows are like no other, too, and draws the map (`unlike`). It knows no modality.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.features import Features, sampled_features, why_none
from tunesmith.audit.found import Found, Mark, SideName, Skipped, View
from tunesmith.audit.row_texts import reader
from tunesmith.audit.two_samples import Told, tell_kinds, tell_numbers, tell_vectors
from tunesmith.audit.unlike import LEAST_ROWS, map_view, nearness, outlier_findings
from tunesmith.data.row_findings import OUTLIER_TIMES
from tunesmith.data.tally import is_empty

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

SURE = 0.01
"""P-value up to which a difference is told."""
APART_WARNING, APART_NOTE = 0.7, 0.6
"""AUC of telling held-out rows from training rows, from which on it is a warning, a note."""
LENGTHS_WARNING, LENGTHS_NOTE = 0.25, 0.15
LABELS_WARNING, LABELS_NOTE = 0.15, 0.08
TELL_EVERY = 500
SHOWN_KINDS = 5
MOST_KINDS = 1000
MOST_MARKS = 2_000


def drift_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Drift of inputs, lengths and labels; outliers; the map."""
    counted = _count(data)
    yield from _long_rows(data, counted)
    yield from _length_drift(data, counted)
    yield from _label_drift(data, counted)
    features = sampled_features(data)
    if features is None:
        yield Skipped("drift", f"inputs were not compared, nor outliers looked for: {why_none(data)}")
        return
    if not features.whole:
        total = sum(map(len, data.sides.values()))
        seen = len(features.train) + len(features.eval)
        yield Skipped("drift", f"a sample of {seen:,} of {total:,} rows was looked at: {why_none(data)}")
    if not len(features.train):
        return
    told = _told_apart(data, features)
    near = nearness(data, features)
    yield from _input_drift(data, features, told)
    yield from outlier_findings(data, features, near)
    yield map_view(data, features, near, _in_words(told))


# Lengths and labels, of all rows


@dataclass
class _Counted:
    """Of each side: words (or seconds) by row, and rows by label."""

    unit: str
    lengths: dict[SideName, NDArray[np.float64]] = field(default_factory=dict)
    labels: dict[SideName, Counter[str]] = field(default_factory=dict)


def _count(data: AuditData) -> _Counted:
    """One pass over all rows."""
    counted = _Counted("seconds" if data.has("audio") else "words")
    read = reader(data) if data.has("text") else None
    total, done = sum(map(len, data.sides.values())), 0
    for side, rows in data.sides.items():
        lengths, labels = array("d"), Counter[str]()
        for row in rows:
            if data.has("audio"):
                lengths.append(float(row.get("seconds") or 0.0))
            elif read is not None:
                lengths.append(float(sum(len(piece.text.split()) for piece in read(row))))
            if data.label is not None and not is_empty(row.get(data.label)):
                labels[str(row[data.label])] += 1
            done += 1
            if done % TELL_EVERY == 0 or done == total:
                data.progress("counting lengths and labels", done, total)
        counted.lengths[side] = np.frombuffer(lengths, dtype=np.float64)
        counted.labels[side] = labels
    return counted


def _long_rows(data: AuditData, counted: _Counted) -> Iterator[Found]:
    """Rows many times as long as the others, as the findings of every run have it, with all of them."""
    lengths = np.concatenate([*counted.lengths.values()])
    if counted.unit != "words" or not len(lengths) or not lengths.max():
        return
    limit = OUTLIER_TIMES * max(1.0, float(np.median(lengths)))
    marks = [
        Mark(str(data.sides[side][at]["id"]), side, 1.0, f"{own[at]:,.0f} words")
        for side, own in counted.lengths.items()
        for at in np.flatnonzero(own >= limit).tolist()[:MOST_MARKS]
    ]
    count = int((lengths >= limit).sum())
    if count:
        median, high = (float(np.percentile(lengths, share)) for share in (50, 99))
        yield Found(
            "length-outliers",
            "warning",
            f"{count:,} rows are at least {OUTLIER_TIMES} times as long as the median (words per row: half have at "
            f"most {median:,.0f}, 99 % at most {high:,.0f}, the longest {lengths.max():,.0f})",
            data.where("train"),
            "check these rows; a broken quote or a whole document may have become one row",
            sorted(marks, key=lambda mark: -int(mark.note.split()[0].replace(",", ""))),
            count / len(lengths),
        )


def _length_drift(data: AuditData, counted: _Counted) -> Iterator[Found]:
    first, second = (counted.lengths[side] for side in ("train", "eval"))
    if min(len(first), len(second)) < LEAST_ROWS:
        return
    told = tell_numbers(first, second)
    if told.p > SURE or told.effect < LENGTHS_NOTE:
        return
    one, other = float(np.median(first)), float(np.median(second))
    more = "longer" if other > one else "shorter"
    yield Found(
        "length-drift",
        "warning" if told.effect >= LENGTHS_WARNING else "note",
        f"held-out rows are {more} than training rows: half have at most {other:,.4g} {counted.unit}, half of the "
        f"training rows at most {one:,.4g} (their distributions are up to {told.effect:.0%} apart, {_by_chance(told)})",
        data.where("eval"),
        "where rows to come are like the held-out ones, add such rows to learn from; else hold out others",
    )


def _label_drift(data: AuditData, counted: _Counted) -> Iterator[Found]:
    first, second = (counted.labels[side] for side in ("train", "eval"))
    kinds = sorted(first | second)
    if min(first.total(), second.total()) < LEAST_ROWS or not 2 <= len(kinds) <= MOST_KINDS:
        return
    counts = [np.array([labels[kind] for kind in kinds], dtype=np.int64) for labels in (first, second)]
    told = tell_kinds(counts[0], counts[1], data.prepared.source.recipe.run.seed)
    if told.p > SURE or told.effect < LABELS_NOTE:
        return
    shares = [count / count.sum() for count in counts]
    widest = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")[:SHOWN_KINDS].tolist()
    said = ", ".join(f"{kinds[n]} {shares[1][n]:.0%} against {shares[0][n]:.0%}" for n in widest)
    yield Found(
        "label-drift",
        "warning" if told.effect >= LABELS_WARNING else "note",
        f"labels are shared out otherwise in the held-out rows than in the training rows: {said} "
        f"({told.effect:.0%} of them would have to change, {_by_chance(told)})",
        data.where("eval"),
        "hold out rows as the model will meet them, and say so; or divide one source (data.eval: 0.2)",
    )


def _by_chance(told: Told) -> str:
    return f"by chance in {max(told.p, 0.0001):.2%} of divisions at most"


# Inputs, as the network sees them


def _told_apart(data: AuditData, features: Features) -> Told | None:
    if min(len(features.train), len(features.eval)) < LEAST_ROWS:
        return None
    seed = data.prepared.source.recipe.run.seed
    return tell_vectors(features.unit("train"), features.unit("eval"), seed)


def _input_drift(data: AuditData, features: Features, told: Told | None) -> Iterator[Found]:
    if told is None or told.p > SURE or told.effect < APART_NOTE:
        return
    rows = data.sides["eval"]
    places = features.at["eval"][told.at]
    low, high = float(told.scores.min()), float(told.scores.max())
    order = np.argsort(-told.scores, kind="stable")[: max(1, len(places) // 10)]
    marks = [
        Mark(
            str(rows[int(places[n])]["id"]),
            "eval",
            round(float((told.scores[n] - low) / max(high - low, 1e-9)), 4),
            "among the least like the training rows",
        )
        for n in order.tolist()[:MOST_MARKS]
    ]
    yield Found(
        "drift",
        "warning" if told.effect >= APART_WARNING else "note",
        "held-out rows are unlike the training rows: the network's features tell which of two rows is the held-out "
        f"one in {told.effect:.0%} of cases (50 % where they are alike; {_by_chance(told)})",
        data.where("eval"),
        "where rows to come are like the held-out ones, add such rows to learn from; where not, hold out rows of the "
        "training source (data.eval: 0.2)",
        marks,
        None,
    )


def _in_words(told: Told | None) -> list[str]:
    if told is None:
        return []
    if told.p > SURE or told.effect < APART_NOTE:
        return ["held-out rows are like the training rows"]
    return [f"held-out rows are told from training rows in {told.effect:.0%} of cases (50 % where they are alike)"]
