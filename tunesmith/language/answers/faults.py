"""Rows that a scorer can't judge, gathered to one finding a kind. It knows no kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tunesmith.types import Finding, Level, Row

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Fault:
    """Why one row can't be judged.

    Args:
        code: The finding's code.
        what: What such rows have in common, to follow "12 of 90 rows".
        where: The column at fault.
        fix: What to do about it.
        detail: What this row's own case is.
        level: The finding's level.
    """

    code: str
    what: str
    where: str
    fix: str
    detail: str = ""
    level: Level = "error"


def gather(
    rows: Sequence[Row], references: Sequence[str], fault_of: Callable[[Row, str], Fault | None]
) -> Iterator[Finding]:
    """One finding for each kind of fault that ``fault_of`` finds, with the first row's case told."""
    found: dict[str, list[tuple[str, Fault]]] = {}
    for row, reference in zip(rows, references, strict=True):
        fault = fault_of(row, reference)
        if fault is not None:
            found.setdefault(fault.code, []).append((str(row["id"]), fault))
    for cases in found.values():
        first_id, first = cases[0]
        share = len(cases) / len(rows)
        detail = " ".join(first.detail.split())[:SHOWN_CHARACTERS]
        yield Finding(
            first.code,
            first.level,
            f"{len(cases):,} of {len(rows):,} rows ({share:.1%}) {first.what}"
            + (f"; row {first_id}: {detail}" if detail else ""),
            first.where,
            first.fix,
            tuple(row_id for row_id, _ in cases[:SHOWN_ROWS]),
            share,
        )
