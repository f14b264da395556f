"""Empty and constant columns, classes, and how much data there is: with every row concerned. It compares no rows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Mark, SideName, View
from tunesmith.data.column_findings import EMPTY_ERROR_SHARE
from tunesmith.data.digest import canonical_json, digest_number
from tunesmith.data.label_findings import RARE_ROWS
from tunesmith.data.tally import LABELS_KEPT, fits, is_empty, share_of
from tunesmith.types import Row

MOST_MARKS = 100_000
MOST_BARS = 40
TOLD_EVERY = 1000


@dataclass
class _Column:
    """What one column of one side holds; ``empty`` and ``wrong`` are row numbers."""

    empty: array[int] = field(default_factory=lambda: array("q"))
    wrong: array[int] = field(default_factory=lambda: array("q"))
    first: int | None = None
    constant: bool = True
    there: int = 0


@dataclass
class _Side:
    name: SideName
    rows: Sequence[Row]
    columns: dict[str, _Column] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Row numbers of classes that are rare so far."""

    def ids(self, numbers: Sequence[int]) -> list[str]:
        return [str(self.rows[number]["id"]) for number in numbers[:MOST_MARKS]]


def column_findings(data: AuditData) -> Iterator[Found | View]:
    """Empty values, constant columns, rare and unknown classes, class balance, and the amount of data."""
    sides = [_Side(name, rows) for name, rows in data.sides.items()]
    label, done, total = data.label, 0, sum(map(len, data.sides.values()))
    for side in sides:
        for number, row in enumerate(side.rows):
            _take(side, number, row, label, data.task.columns)
            done += 1
            if done % TOLD_EVERY == 0 or done == total:
                data.progress("reading columns", done, total)
    train, held = sides
    yield from _broken_rows(data)
    for side in sides:
        yield from _broken(data, side, label)
    yield from _idle(data, train)
    if label is not None and len(train.labels) < LABELS_KEPT:
        yield from _classes(data, train, held, label)
    yield from _amount(data)


def _take(side: _Side, number: int, row: Row, label: str | None, types: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if name == "id":
            continue
        column = side.columns.get(name)
        if column is None:
            column = side.columns[name] = _Column()
        column.there += 1
        if is_empty(value):
            column.empty.append(number)
            continue
        if name != label and name in types and not fits(value, types[name]):
            column.wrong.append(number)
        if column.constant:
            digest = digest_number(canonical_json(value))
            column.first = digest if column.first is None else column.first
            column.constant = digest == column.first
    if label is not None and len(side.labels) < LABELS_KEPT and not is_empty(row.get(label)):
        name = str(row[label])
        side.labels[name] += 1
        if side.labels[name] < RARE_ROWS:
            side.numbers.setdefault(name, []).append(number)
        else:
            side.numbers.pop(name, None)


def _broken_rows(data: AuditData) -> Iterator[Found]:
    """Records that are no rows; files that can't be read are the pictures' and the recordings' matter."""
    if data.has("pictures") or data.has("audio"):
        return
    for name, report in data.prepared.reports.items():
        if not report.broken_count:
            continue
        total = report.rows + report.broken_count
        share, accepted = report.broken_count / total, data.prepared.source.recipe.data.broken_rows
        side: SideName = "eval" if name == "eval" else "train"
        yield Found(
            "broken-rows",
            "error" if share > accepted else "warning",
            f"{share_of(report.broken_count, total)} can't be read ({'; '.join(map(' '.join, report.broken[:3]))})",
            data.where(side),
            "mend them in the source, or leave them out" + (" (data.broken_rows)" if share > accepted else ""),
            [Mark(place, side, note=reason) for place, reason in report.broken],
            share,
            remedy="drop",
        )


def _broken(data: AuditData, side: _Side, label: str | None) -> Iterator[Found]:
    """Rows that no model can learn from or be judged by: no label, an empty input, a value of another type."""
    columns = {name: column for name, column in side.columns.items() if name in data.task.columns or name == label}
    where = data.where(side.name)
    unlabelled = columns.pop(label, None) if label is not None else None
    if unlabelled is not None and (missing := _missing(unlabelled, side)):
        yield Found(
            "label-missing",
            "error",
            f"{missing:,} rows have no label in column {label}",
            f"{where}, column {label}",
            "label these rows, or leave them out",
            [Mark(row, side.name, note="no label") for row in side.ids(unlabelled.empty)],
            missing / len(side.rows),
            remedy="drop",
        )
    if "empty-value" not in data.task.spared and (found := _first({n: c.empty for n, c in columns.items()})):
        share = len(found) / len(side.rows)
        names = ", ".join(name for name in columns if name in found.values())
        yield Found(
            "empty-value",
            "error" if share > EMPTY_ERROR_SHARE else "warning",
            f"column {names} is empty in {share_of(len(found), len(side.rows))}",
            f"{where}, column {names}",
            "fill these values in, or leave the rows out",
            _marks(side, found, "is empty"),
            share,
            remedy="drop",
        )
    if found := _first({name: column.wrong for name, column in columns.items()}):
        names = ", ".join(name for name in columns if name in found.values())
        yield Found(
            "wrong-type",
            "error",
            f"column {names} must hold {_types(data, found.values())}, but {share_of(len(found), len(side.rows))} "
            "do not",
            f"{where}, column {names}",
            "mend these values in the source, or leave the rows out",
            _marks(side, found, "is of another type"),
            len(found) / len(side.rows),
            remedy="drop",
        )


def _missing(column: _Column, side: _Side) -> int:
    return len(column.empty) + len(side.rows) - column.there if column.there else 0


def _types(data: AuditData, names: Iterable[str]) -> str:
    kinds = (data.task.columns[name] for name in dict.fromkeys(names))
    return ", ".join(dict.fromkeys(getattr(kind, "__name__", str(kind)) for kind in kinds))


def _first(numbers: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """Row number to the first column that is at fault there, in the order of the rows."""
    found: dict[int, str] = {}
    for name, some in numbers.items():
        for number in some:
            found.setdefault(number, name)
    return dict(sorted(found.items()))


def _marks(side: _Side, found: Mapping[int, str], what: str) -> list[Mark]:
    numbers = list(found)[:MOST_MARKS]
    return [
        Mark(row, side.name, note=f"{found[number]} {what}")
        for number, row in zip(numbers, side.ids(numbers), strict=True)
    ]


def _idle(data: AuditData, train: _Side) -> Iterator[Found]:
    """Columns that the task does not read and that say nothing: as a rule somebody meant to fill them."""
    rows = len(train.rows)
    others = {name: column for name, column in train.columns.items() if name not in data.task.columns}
    empty = [name for name, column in others.items() if len(column.empty) == column.there]
    same = [n for n, c in others.items() if c.constant and c.there == rows and not len(c.empty) and data.has("text")]
    if rows < 2 or not (empty or same):
        return
    told = [f"{', '.join(names)} {said}" for names, said in ((empty, "say nothing"), (same, "never change")) if names]
    yield Found(
        "idle-column",
        "note",
        f"columns that the task does not read: {'; '.join(told)} in {rows:,} training rows",
        data.where("train"),
        "leave them out, or see whether they were meant to be filled",
        share=1.0,
    )


def _classes(data: AuditData, train: _Side, held: _Side, label: str) -> Iterator[Found | View]:
    names = [name for name, _ in (train.labels + held.labels).most_common()]
    if not names:
        return
    yield _bars(names, train, held)
    where = f"{data.where('train')}, column {label}"
    counts = {name: train.labels[name] + (0 if data.explicit_eval else held.labels[name]) for name in train.labels}
    rare = sorted((name for name, count in counts.items() if count < RARE_ROWS), key=lambda name: counts[name])
    if rare and len(train.labels) > 1:
        single = sum(counts[name] < 2 for name in rare)
        told = ", ".join(f"{name!r}: {counts[name]}" for name in rare[:8])
        more = f" and {len(rare) - 8:,} more" if len(rare) > 8 else ""
        marks = [
            Mark(
                row, side.name, score=1 - (counts[name] - 1) / RARE_ROWS, note=f"one of {counts[name]} rows of {name!r}"
            )
            for name in rare
            for side in (train, held)
            for row in side.ids(side.numbers.get(name, []))
        ]
        yield Found(
            "rare-class",
            "error" if single else "warning",
            f"{len(rare):,} of {len(train.labels):,} classes have fewer than {RARE_ROWS} rows"
            + (f", {single:,} of them a single one" if single else "")
            + f" ({told}{more})",
            where,
            "add rows of these classes, merge them into others, or leave them out",
            marks[:MOST_MARKS],
            sum(counts[name] for name in rare) / max(1, sum(counts.values())),
        )
    yield from _unseen(data, train, held, label)


def _unseen(data: AuditData, train: _Side, held: _Side, label: str) -> Iterator[Found]:
    """Classes that stand in the held-out rows only, with these rows."""
    unseen = {name: held.labels[name] for name in held.labels if name not in train.labels}
    if not unseen or not train.labels:
        return
    numbers = [number for number, row in enumerate(held.rows) if str(row.get(label)) in unseen]
    count = sum(unseen.values())
    yield Found(
        "label-only-in-eval",
        "error",
        f"{count:,} held-out rows have a label that no training row has: {', '.join(map(repr, list(unseen)[:8]))}",
        f"{data.where('eval')}, column {label}",
        "add training rows with these labels, mend their spelling, or leave the rows out",
        [Mark(row, "eval", note="no training row has its label") for row in held.ids(numbers)],
        count / max(1, len(held.rows)),
        remedy="drop",
    )


def _bars(names: Sequence[str], train: _Side, held: _Side) -> View:
    """How many rows each class has, with what that means said in words."""
    shown, rest = list(names[:MOST_BARS]), list(names[MOST_BARS:])
    counts = {side.name: [side.labels[name] for name in shown] for side in (train, held)}
    if rest:
        for side in (train, held):
            counts[side.name].append(sum(side.labels[name] for name in rest))
        shown.append(f"{len(rest):,} others")
    said = []
    rows = [count for _, count in train.labels.most_common()]
    if len(rows) > 1:
        most, least = train.labels.most_common()[0], train.labels.most_common()[-1]
        said.append(
            f"{len(rows):,} classes; {most[0]!r} has {most[1]:,} training rows, {least[0]!r} {least[1]:,} "
            f"({most[1] / least[1]:.0f}:1); half of all rows are in {_half(rows)} of them"
        )
    absent = [name for name in train.labels if name not in held.labels]
    if absent:
        more = f" and {len(absent) - 8:,} more" if len(absent) > 8 else ""
        said.append(f"no held-out row tells how well the model knows {', '.join(map(repr, absent[:8]))}{more}")
    return View("classes", "Classes", "bars", {"names": shown, "counts": counts}, "rows", said)


def _half(counts: Sequence[int]) -> int:
    """How many of the largest classes it takes to have half of the rows."""
    total, taken = sum(counts), 0
    for number, count in enumerate(counts, 1):
        taken += count
        if 2 * taken >= total:
            return number
    return len(counts)


def _amount(data: AuditData) -> Iterator[Found | View]:
    """Rows against the references of the plan: a reference, no verdict."""
    if not data.has_weights:
        return
    from tunesmith.forecast.amount import data_needs

    needs = data_needs(data.prepared)
    references = needs["references"]
    names = ["these rows", *(one["what"] for one in references)]
    counts = [needs["amount"], *(one["least"] for one in references)]
    yield View(
        "amount",
        "Amount of data",
        "bars",
        {"names": names, "counts": {"train": counts}, "shares": False},
        needs["unit"],
        [needs["said"]],
    )
    if references and needs["amount"] < references[0]["least"]:
        yield Found(
            "little-data",
            "note",
            needs["said"],
            data.where("train"),
            "add rows, or see with `tunesmith plan --learning-curve` what more would bring",
        )
