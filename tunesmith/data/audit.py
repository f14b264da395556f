"""Is this data good enough to learn from and to be judged by? Counts, shares, the rows, and the fix for each fault.

It knows no task: which columns matter and which one is the label is told to it. No model is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.data.column_findings import columns_findings
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.data.label_findings import label_findings
from tunesmith.data.reading import did_you_mean
from tunesmith.data.row_findings import amount_findings, comparison_findings, length_findings
from tunesmith.data.tally import ColumnTally, Side, SourceTally, Tally
from tunesmith.errors import UserError
from tunesmith.types import Finding, Row

KNOWN_CODES = (
    "missing-column",
    "empty-value",
    "wrong-type",
    "constant-column",
    "label-missing",
    "mixed-label-types",
    "too-many-labels",
    "one-class",
    "rare-class",
    "label-only-in-eval",
    "imbalance",
    "duplicate-rows",
    "contradictory-labels",
    "leak",
    "few-rows",
    "length-outliers",
)
NEVER_ACCEPTED = ("missing-column", "wrong-type", "label-missing")
"""Codes of rows that no model can be fed with; a reason does not change that."""
BEFORE_WEIGHTS = (*NEVER_ACCEPTED, "too-many-labels", "one-class", "label-only-in-eval", "mixed-label-types")
"""Codes of errors that leave a task without classes to count: what a network tells of such rows is not asked for."""


def audit_rows(
    train: Sequence[Row],
    held_out: Sequence[Row],
    *,
    columns: Mapping[str, Any],
    target: str | None,
    source: str,
    held_out_source: str,
    explicit_eval: bool,
    length: Callable[[Row], int] | None = None,
    identity: Sequence[str] = (),
) -> list[Finding]:
    """Judge the rows of both sides in one pass over them; about 32 bytes of memory a row.

    Args:
        train: Rows to learn from.
        held_out: Rows to be judged on.
        columns: Column to the type that its values must have; the label's column may be among them.
        target: The column of class labels, or None where rows have no classes.
        source: Name of the training source, for ``where``.
        held_out_source: Name of the held-out source.
        explicit_eval: Whether the held-out rows are a source of their own, not a share of ``source``.
        length: Row to its length, in any unit; by default the words of all input texts.
        identity: Columns that make two rows the same, where those are not the inputs (a picture's content).

    Returns:
        Findings, errors first, then warnings, then notes.
    """
    wanted = {**columns, **({target: object} if target and target not in columns else {})}
    tally = Tally(wanted, target, length, tuple(identity))
    first = SourceTally(source, {name: ColumnTally(kind) for name, kind in wanted.items()})
    second = first
    if explicit_eval:
        second = SourceTally(held_out_source, {name: ColumnTally(kind) for name, kind in wanted.items()})
    sides = (Side("train", train, first), Side("held out", held_out, second))
    for side in sides:
        tally.add(side)
    findings: list[Finding] = []
    for judged in (first, second) if explicit_eval else (first,):
        findings += columns_findings(judged, target)
    labelled = target is not None and not any(side.source.lacks(target) for side in sides)
    if labelled:
        findings += label_findings(tally, source, held_out_source, explicit_eval)
    findings += comparison_findings(sides, source, held_out_source, explicit_eval, labelled)
    findings += amount_findings(sides, source, held_out_source)
    if any(not first.lacks(name) for name in tally.inputs) and not identity:
        findings += length_findings(sides, source, "words" if length is None else "units")
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda finding: order[finding.level])


def apply_accept(
    findings: Sequence[Finding], accept: Mapping[str, str], known: Iterable[str] = ()
) -> tuple[list[Finding], list[str]]:
    """Turn the errors and warnings that a person accepts into notes with the reason.

    Args:
        findings: Of the audit, the task's own included.
        accept: Finding code to reason.
        known: Codes beyond `KNOWN_CODES` that a task may find.

    Returns:
        All findings, and the accepted codes that matched none of them.

    Raises:
        UserError: for a code that does not exist, that has no reason, or that cannot be accepted.
    """
    codes = sorted({*KNOWN_CODES, *DEEP_CODES, *known, *(finding.code for finding in findings)})
    for code, reason in accept.items():
        where = f"audit.accept.{code}"
        if code not in codes:
            raise UserError(
                f"there is no finding '{code}'{did_you_mean(code, codes)}", where, f"use one of: {', '.join(codes)}"
            )
        if code in NEVER_ACCEPTED:
            raise UserError(f"'{code}' cannot be accepted: such rows cannot be learned from", where, "mend the rows")
        if not reason.strip():
            raise UserError(f"'{code}' is accepted without a reason", where, "say in a few words why it is all right")
    settled = [
        replace(finding, level="note", what=f"{finding.what} (accepted: {accept[finding.code]})")
        if finding.code in accept and finding.level != "note"
        else finding
        for finding in findings
    ]
    seen = {finding.code for finding in findings}
    # What only `tunesmith audit` looks for can't be found here, so that its absence says nothing.
    return settled, [code for code in accept if code not in seen and code not in DEEP_CODES]
