"""What becomes of each row in a mended copy: it stays, it goes, or some of its values change. It writes no file."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith.audit.found import AuditReport, Found, Mark, SideName
from tunesmith.data.digest import canonical_json, digest_number
from tunesmith.types import Row

DERIVED = ("content", "areas", "rate", "channels", "seconds", "source_id", "clipped")
"""What reading makes of a file; it is made anew."""
MEDIA = ("image", "mask", "audio")
"""Columns that name a file."""
SLACK = 3.1e-4
"""Pixels beside the rounding to a thousandth, so that no usual value stands on its edge."""


@dataclass(frozen=True)
class Decision:
    """What happens to a row, by the first finding that says so.

    Args:
        code: The finding.
        mark: What it says of the row.
        change: The new values; None: the row is left out.
        also: Other findings that would leave it out or change it, too.
    """

    code: str
    mark: Mark
    change: Mapping[str, Any] | None
    also: tuple[str, ...] = ()


@dataclass
class Decisions:
    """Decisions by side and row id."""

    by_row: dict[SideName, dict[str, Decision]] = field(default_factory=lambda: {"train": {}, "eval": {}})


def decide(report: AuditReport, codes: Sequence[str] = (), *, relabel: bool = False) -> Decisions:
    """What the findings ask for; a row that one of them leaves out is out, whatever others would change.

    A likely label is given to training rows only: whoever judges must not take a model's word for it.

    Args:
        report: With its findings.
        codes: Act on these alone; empty: on all with a remedy that nobody accepted.
        relabel: Change labels to the likely one, instead of leaving the rows out.
    """
    found = Decisions()
    for finding in report.findings:
        if finding.remedy is None or (finding.code not in codes if codes else finding.code in report.accepted):
            continue
        for mark in finding.marks:
            verdict = _verdict(finding, mark, relabel)
            if verdict is not None:
                _settle(found.by_row[mark.side], verdict)
    return found


def _verdict(finding: Found, mark: Mark, relabel: bool) -> Decision | None:
    if finding.remedy == "change":
        return Decision(finding.code, mark, dict(mark.change)) if mark.change else None
    if relabel and mark.change and mark.side == "train":
        return Decision(finding.code, mark, dict(mark.change))
    return Decision(finding.code, mark, None)


def _settle(rows: dict[str, Decision], new: Decision) -> None:
    old = rows.get(new.mark.row)
    if old is None:
        rows[new.mark.row] = new
    elif old.change is None or new.change is None:
        stays, other = (new, old) if old.change is not None and new.change is None else (old, new)
        also = tuple(code for code in dict.fromkeys((*old.also, *new.also, other.code)) if code != stays.code)
        rows[new.mark.row] = Decision(stays.code, stays.mark, None, also)
    else:
        also = tuple(code for code in dict.fromkeys((*old.also, new.code)) if code != old.code)
        rows[new.mark.row] = Decision(old.code, old.mark, {**new.change, **old.change}, also)


@dataclass(frozen=True)
class MendedSide:
    """One side of the data with what becomes of its rows.

    Args:
        name: ``train`` or ``eval``.
        rows: As they are.
        decisions: By row id.
    """

    name: SideName
    rows: Sequence[Row]
    decisions: Mapping[str, Decision]

    def all(self) -> Iterator[tuple[Row, dict[str, Any] | None, Decision | None]]:
        """Every row, what it becomes (None: it goes), and why, in order."""
        for row in self.rows:
            decision = self.decisions.get(str(row["id"]))
            if decision is None:
                yield row, dict(row), None
            else:
                yield row, None if decision.change is None else {**row, **decision.change}, decision

    def kept(self) -> Iterator[dict[str, Any]]:
        """The rows that stay, changed where they are."""
        return (row for _, row, _ in self.all() if row is not None)

    def counts(self) -> tuple[int, Counter[str], Counter[str]]:
        """How many rows stay, and how many go and change, by finding."""
        gone: Counter[str] = Counter()
        changed: Counter[str] = Counter()
        for _, row, decision in self.all() if self.decisions else ():
            if decision is not None:
                (gone if row is None else changed)[decision.code] += 1
        return len(self.rows) - sum(gone.values()), gone, changed

    @property
    def changes(self) -> bool:
        """Whether any row changes."""
        return any(one.change is not None for one in self.decisions.values())


def prints(rows: Iterator[Any] | Sequence[Row], columns: Sequence[str] | None) -> np.ndarray:
    """What rows hold, as sorted 64-bit numbers: equal exactly where the rows are, in any order (but for chance).

    Args:
        rows: Rows as read.
        columns: Those that count; None: all but the id and what reading makes of files.
    """
    found = array("Q")
    for row in rows:
        names = [name for name in (row if columns is None else columns) if name in row]
        values = {name: _plain(name, row[name]) for name in names if name not in ("id", *DERIVED[1:], *MEDIA)}
        found.append(digest_number(canonical_json(values)))
    return np.sort(np.frombuffer(found, dtype=np.uint64)) if found else np.empty(0, np.uint64)


def _plain(name: str, value: Any) -> Any:
    if name != "objects" or not isinstance(value, list):
        return value
    kept = [{key: item for key, item in one.items() if key not in DERIVED} for one in value]
    for one in kept:
        one["box"] = [round(float(side) + SLACK, 3) + 0.0 for side in one.get("box", ())]
        one["crowd"] = bool(one.get("crowd"))
    return sorted(kept, key=canonical_json)
