"""Marks by code and side as a pass over the rows meets them, and the findings they become. It looks at no row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Mark, Remedy, SideName, share_level
from tunesmith.data.tally import share_of

MOST_MARKS = 100_000


@dataclass(frozen=True)
class Fault:
    """What a code means: the sentence, the levels, the way out.

    Args:
        what: Follows the count of rows: ``hold ...``.
        fix: What to do.
        warning: Share of the rows from which it is a warning; below it is a note.
        error: Share from which it is an error; None: never.
        remedy: What ``--fix`` does.
    """

    what: str
    fix: str
    warning: float = 0.0
    error: float | None = None
    remedy: Remedy | None = None


@dataclass
class Gathered:
    """Marks of both sides.

    Args:
        data: What is judged.
        faults: Code to what it means.
    """

    data: AuditData
    faults: Mapping[str, Fault]
    marks: dict[tuple[str, SideName], list[Mark]] = field(default_factory=dict)
    counts: dict[tuple[str, SideName], int] = field(default_factory=dict)

    def add(
        self,
        code: str,
        side: SideName,
        row: str,
        note: str,
        score: float = 1.0,
        change: Mapping[str, Any] | None = None,
        twin: str | None = None,
    ) -> None:
        """One more row; call it once a row and code."""
        key = (code, side)
        self.counts[key] = self.counts.get(key, 0) + 1
        kept = self.marks.setdefault(key, [])
        if len(kept) < MOST_MARKS:
            kept.append(Mark(row, side, score, note, twin, change or None))

    def count(self, code: str) -> int:
        """Rows of both sides with this code."""
        return sum(n for (name, _), n in self.counts.items() if name == code)

    def findings(self, said: Mapping[str, str] | None = None, only: SideName | None = None) -> Iterator[Found]:
        """A finding for each code, one a source.

        Args:
            said: Code to words that stand after the sentence.
            only: The side whose rows alone can be at fault.
        """
        sides = self.data.sides
        apart: list[tuple[SideName, ...]] = [("train",), ("eval",)] if self.data.explicit_eval else [("train", "eval")]
        apart = [(only,)] if only else apart
        for code, fault in self.faults.items():
            for together in apart:
                count = sum(self.counts.get((code, side), 0) for side in together)
                if not count:
                    continue
                rows = sum(len(sides[side]) for side in together)
                marks = [mark for side in together for mark in self.marks.get((code, side), ())]
                marks.sort(key=lambda mark: -mark.score)
                more = (said or {}).get(code, "")
                yield Found(
                    code,
                    share_level(count / rows, fault.warning, fault.error),
                    f"{share_of(count, rows)} {fault.what}{_example(marks)}{more}",
                    self.data.where(together[0]),
                    fault.fix,
                    marks[:MOST_MARKS],
                    count / rows,
                    remedy=fault.remedy,
                )


def _example(marks: list[Mark]) -> str:
    return f" (row {marks[0].row}: {marks[0].note})" if marks and marks[0].note else ""
