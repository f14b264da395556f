"""One pass over the rows for the audit: counts, and a few bytes a row. It judges nothing."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.data.digest import canonical_json, content_number, digest_number
from tunesmith.types import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_ROWS = 5
LABELS_KEPT = 100_000

_KINDS = {bool: "truth value", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}


def share_of(count: int, rows: int) -> str:
    """A count with its share, for a sentence."""
    return f"{count:,} of {rows:,} rows ({count / rows:.1%})"


def kind_of(value: Any) -> str:
    """The value's kind in a person's words; whole and decimal numbers are one kind."""
    return next((name for kind, name in _KINDS.items() if isinstance(value, kind)), type(value).__name__)


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, blank text, NaN, an empty list."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, (list, dict, bytes)) and not value


def fits(value: Any, expected: Any) -> bool:
    """Whether a value is of the expected type; a number may stand as text, as all values of a CSV file do."""
    if isinstance(value, bool) and expected in (int, float):
        return False
    if isinstance(value, expected) or (expected is float and isinstance(value, int)):
        return True
    if expected in (int, float) and isinstance(value, str):
        try:
            expected(value)
        except ValueError:
            return False
        return True
    return False


@dataclass
class Cases:
    """How often something was seen, and where at first."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: Callable[[], str]) -> None:
        """One more."""
        self.count += 1
        if len(self.places) < SHOWN_ROWS:
            self.places.append(place())


@dataclass
class ColumnTally:
    """What one column of one source holds."""

    expected: Any
    absent: int = 0
    empty: Cases = field(default_factory=Cases)
    wrong: Cases = field(default_factory=Cases)
    wrong_kinds: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    constant: bool = True


@dataclass
class SourceTally:
    """What the rows of one source hold, column by column; two sides of a split share one."""

    name: str
    columns: dict[str, ColumnTally]
    rows: int = 0
    seen: dict[str, None] = field(default_factory=dict)

    def lacks(self, column: str) -> bool:
        """Whether no row has this column."""
        return self.rows > 0 and self.columns[column].absent == self.rows


@dataclass
class Label:
    """One label: its value, how often it stands on either side, and where at first."""

    value: Any
    kind: str
    counts: dict[str, int] = field(default_factory=lambda: {"train": 0, "held out": 0})
    places: dict[str, list[str]] = field(default_factory=lambda: {"train": [], "held out": []})


@dataclass
class Side:
    """One side of the split: per row the digests of inputs and label, and the length; 8 bytes each.

    A row that lacks an input is not ``compared`` with others.
    """

    name: str
    rows: Sequence[Row]
    source: SourceTally
    inputs: array[int] = field(default_factory=lambda: array("Q"))
    labels: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    compared: bytearray = field(default_factory=bytearray)

    def place(self, index: int) -> str:
        """Where a row stands, or its id where it was read from nowhere."""
        place = getattr(self.rows, "place", None)
        return str(place(index)) if place is not None else str(self.rows[index]["id"])

    def arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
        """Digests of inputs, digests of labels, and which rows are compared."""
        import numpy as np

        return (
            np.frombuffer(self.inputs, dtype=np.uint64),
            np.frombuffer(self.labels, dtype=np.uint64),
            np.frombuffer(self.compared, dtype=np.bool_),
        )


@dataclass
class Tally:
    """All that one pass over both sides told.

    Args:
        columns: Column to expected type, inputs and target alike.
        target: The label's column.
        length: Row to its length; the default counts the words of its texts.
    """

    columns: Mapping[str, Any]
    target: str | None
    length: Callable[[Row], int] | None
    identity: tuple[str, ...] = ()
    labels: dict[int, Label] = field(default_factory=dict)
    too_many_labels: bool = False
    missing_labels: dict[str, Cases] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs = [name for name in self.columns if name != self.target]

    def add(self, side: Side) -> None:
        """Go through the rows of one side."""
        source = side.source
        keys: tuple[str, ...] = ()
        for index, row in enumerate(side.rows):
            source.rows += 1
            if tuple(row) != keys:
                keys = tuple(row)
                source.seen.update(dict.fromkeys(keys))
            whole = True
            for name in self.inputs:
                whole &= self._add_value(side, index, row, name)
            side.compared.append(whole and bool(self.inputs))
            alike = self.identity if all(name in row for name in self.identity) else ()
            side.inputs.append(content_number(row, alike or self.inputs))
            side.labels.append(self._add_label(side, index, row) if self.target else 0)
            side.lengths.append(self._length(row))

    def _length(self, row: Row) -> int:
        if self.length is not None:
            return self.length(row)
        values = (row.get(name) for name in self.inputs)
        return sum(len(value.split()) for value in values if isinstance(value, str))

    def _add_value(self, side: Side, index: int, row: Row, name: str) -> bool:
        tally = side.source.columns[name]
        if name not in row:
            tally.absent += 1
        value = row.get(name)
        if is_empty(value):
            tally.empty.add(lambda: side.place(index))
            tally.constant = False
            return False
        if not fits(value, tally.expected):
            tally.wrong.add(lambda: side.place(index))
            tally.wrong_kinds[kind_of(value)] += 1
        if tally.constant:
            digest = digest_number(canonical_json(value))
            tally.first = digest if tally.first is None else tally.first
            tally.constant = digest == tally.first
        return True

    def _add_label(self, side: Side, index: int, row: Row) -> int:
        assert self.target is not None
        tally = side.source.columns[self.target]
        if self.target not in row:
            tally.absent += 1
        value = row.get(self.target)
        if is_empty(value):
            self.missing_labels.setdefault(side.source.name, Cases()).add(lambda: side.place(index))
            return 0
        kind = kind_of(value)
        if kind not in ("text", "number", "truth value") and not fits(value, tally.expected):
            tally.wrong.add(lambda: side.place(index))
            tally.wrong_kinds[kind] += 1
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 1 and 1.0 are one label
        digest = digest_number(canonical_json(value))
        label = self.labels.get(digest)
        if label is None:
            if len(self.labels) >= LABELS_KEPT:
                self.too_many_labels = True
                return digest
            label = self.labels[digest] = Label(value, kind)
        label.counts[side.name] += 1
        if len(label.places[side.name]) < SHOWN_ROWS:
            label.places[side.name].append(side.place(index))
        return digest
