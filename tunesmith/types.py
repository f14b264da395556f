"""The nouns that every room shares.

It knows no modality and imports no torch: tensors are named for the type checker only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Row: TypeAlias = Mapping[str, Any]
"""One raw record, as read; always has a string ``"id"`` that is unique in its source."""

Example: TypeAlias = Mapping[str, Any]
"""One encoded record: tensors without a batch axis."""

Batch: TypeAlias = dict[str, Any]
"""Many examples, stacked: every tensor carries the batch axis first."""

Counts: TypeAlias = dict[str, float]
"""How many of each unit a batch holds, ``{"tokens": 412}``; known before the forward pass."""

Sums: TypeAlias = "dict[str, Tensor]"
"""Loss sums, never means: ``{"tokens": Σ}``, or ``"name/unit"`` where several terms share a unit."""

Scores: TypeAlias = dict[str, float]
"""Metric name to value, of one set of predictions."""

Level: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing the audit has to say about the data.

    Args:
        code: A stable name in kebab-case (``duplicate-rows``); ``audit.accept`` in a recipe silences by it.
        level: ``error`` stops the run before a weight is loaded, ``warning`` and ``note`` do not.
        what: What is the matter, with the count.
        where: File and line, or a column.
        fix: What to do about it.
        rows: Ids (or ``file:line`` places) of rows that show it, at most a handful.
        share: The share of rows it concerns, 0 to 1, where that makes sense.
    """

    code: str
    level: Level
    what: str
    where: str
    fix: str
    rows: tuple[str, ...] = ()
    share: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """What a task learned from the data before a weight is loaded (labels, lengths); stored with the run.

    Args:
        values: JSON-able facts by name; the task alone gives them a meaning.
        lines: The same for a person, one sentence each, shown before the run and in the report.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preview:
    """One row as the model reads it.

    Args:
        row: Its id.
        spans: Pieces of the text in order, each with whether it is learned.
        note: What else a person should know of this row.
    """

    row: str
    spans: tuple[tuple[str, bool], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The preview as JSON-able values."""
        return asdict(self)


class RowShape(Protocol):
    """Turns raw rows of one source, of whatever shape, into rows with a task's columns.

    One that knows whole sources (a folder of pictures with labels in other files) has more: ``open(path, label,
    split)`` gives such a source with its ``records``, or None; ``classes`` is the table that it declares;
    ``makes_json`` says that rows hold no bytes once they are shaped; ``folders`` are where rows' files lie beside it.
    """

    def __call__(self, row: Row) -> dict[str, Any] | str:
        """The row in the task's columns, or why it fits no shape, to follow its place in a sentence."""

    def notes(self) -> list[str]:
        """What was recognised, for a person, once all rows were read."""


@dataclass(frozen=True)
class Receipt:
    """One promise with the figure that was measured: ``holds`` is the verdict, never an assumption."""

    promise: str
    holds: bool
    measured: float | str
    tolerance: float | str
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The receipt as JSON-able values."""
        return asdict(self)
