"""What the audit says: findings with all their rows, views of the data, what was not looked at. It knows no check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from tunesmith.types import Finding, Level

SideName: TypeAlias = Literal["train", "eval"]
Remedy: TypeAlias = Literal["drop", "change"]
SHOWN_ROWS = 5
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Mark:
    """One row that a finding is about: the one that ``--fix`` would leave out or change.

    Args:
        row: Its id.
        side: Where it stands.
        score: How sure this is, 0 to 1; the surest come first.
        note: What is the matter with this row, for a person.
        twin: ``side:id`` of the row it stands beside (its double, its neighbour), else None.
        change: Columns with the value that would be right; None where nobody can tell.
        place: ``file:line`` of a row whose id is made from its content; else empty.
        twin_place: The same of its twin.
    """

    row: str
    side: SideName
    score: float = 1.0
    note: str = ""
    twin: str | None = None
    change: Mapping[str, Any] | None = None
    place: str = ""
    twin_place: str = ""


@dataclass(frozen=True)
class Effect:
    """What a fault does to a result, measured: the metric with the rows as they are, and with the fault taken away.

    Args:
        metric: Name of the metric.
        found: With the rows as they are.
        mended: Without the fault.
        low, high: 95 % interval of ``mended - found``.
        said: The same in words.
    """

    metric: str
    found: float
    mended: float
    low: float
    high: float
    said: str


@dataclass(frozen=True)
class Found:
    """A finding with every row it is about.

    Args:
        code: In kebab-case; one of `tunesmith.data.deep_codes.DEEP_CODES`, or of the findings in every run.
        level: ``error``, ``warning`` or ``note``.
        what: What is the matter, with the count.
        where: The source, with the column where it is one.
        fix: What to do about it.
        marks: The rows, the surest first; none for a finding about the data as a whole.
        share: Of the rows of that side, 0 to 1.
        effect: What it does to a result, where that was measured.
        remedy: What ``--fix`` does with the marked rows; None: nothing, a person must.
        rows: Places to show where there are no marks.
    """

    code: str
    level: Level
    what: str
    where: str
    fix: str
    marks: Sequence[Mark] = ()
    share: float | None = None
    effect: Effect | None = None
    remedy: Remedy | None = None
    rows: tuple[str, ...] = ()

    @classmethod
    def of(cls, finding: Finding) -> Found:
        """A finding of the checks in every run."""
        return cls(
            finding.code,
            finding.level,
            finding.what,
            finding.where,
            finding.fix,
            share=finding.share,
            rows=finding.rows,
        )

    @property
    def finding(self) -> Finding:
        """The same with a handful of rows."""
        shown = tuple(mark.place or mark.row for mark in self.marks[:SHOWN_ROWS]) or self.rows
        return Finding(self.code, self.level, self.what, self.where, self.fix, shown, self.share)

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-able values."""
        return {
            **self.finding.to_json(),
            "marks": [asdict(mark) for mark in self.marks],
            "effect": asdict(self.effect) if self.effect else None,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class View:
    """A picture of the data as a whole: what it is made of, and what is missing in it.

    Args:
        name: In kebab-case, unique.
        title: For a person.
        kind: ``histogram`` (``edges`` [n + 1], ``counts`` {side: [n]}),
            ``bars`` (``names`` [n], ``counts`` {side: [n]}; ``shares`` false: amounts that add up to nothing),
            ``map`` (``points`` [[x, y, side, label or None, row id]], a sample), ``heat`` (``cells`` [rows][columns],
            ``across``, ``down``: what the axes are) or ``matrix`` (``names`` [n], ``cells`` [n][n]).
        data: What ``kind`` says.
        unit: Of the horizontal axis.
        said: What it means, one sentence each: above all what is missing.
    """

    name: str
    title: str
    kind: Literal["histogram", "bars", "map", "heat", "matrix"]
    data: Mapping[str, Any]
    unit: str = ""
    said: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """The view as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A check that did not run, or not on all rows, with the reason and what would let it."""

    check: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return asdict(self)


@dataclass
class AuditReport:
    """All that an audit found.

    Args:
        rows: Rows by side.
        findings: Errors first; what is accepted is a note.
        views: Pictures of the data.
        skipped: What was not looked at.
        seconds: By check.
        name: Of what was judged.
        accepted: Code to reason.
        proof: Training on the mended copy beside the rows as they are, where it was asked for.
    """

    name: str
    rows: Mapping[str, int]
    findings: list[Found] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return {
            "name": self.name,
            "rows": dict(self.rows),
            "findings": [found.to_json() for found in self.findings],
            "views": [view.to_json() for view in self.views],
            "skipped": [one.to_json() for one in self.skipped],
            "seconds": dict(self.seconds),
            "accepted": dict(self.accepted),
            "proof": self.proof,
        }


def share_level(share: float, warning: float, error: float | None = None) -> Level:
    """The level of a fault that concerns so great a share of the rows."""
    return "error" if error is not None and share >= error else "warning" if share >= warning else "note"
