"""What the audit found, as text for a terminal. It reads plain values and knows no check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.report.tables import table_of, text_of

SHOWN = 5
"""Rows that are named of each finding."""
LEVELS = ("error", "warning", "note")


def audit_text(report: Mapping[str, Any]) -> str:
    """The findings as a table and one by one, what the data lacks, what was not looked at, and what was mended.

    Args:
        report: As ``AuditReport.to_json`` has it; ``fixed`` is the log of the copy, where one was written.
    """
    findings: Sequence[Mapping[str, Any]] = report["findings"]
    parts: list[Any] = []
    if findings:
        parts.append(_table(findings))
        parts.append("")
    parts += [line for found in findings for line in _said(found)]
    parts += list(_views(report["views"]))
    parts += [f"not looked at: {one['check']}: {one['reason']}" for one in report["skipped"]]
    parts += list(_fixed(report.get("fixed")))
    parts += list(_proof(report.get("proof")))
    rows = ", ".join(f"{count:,} {side}" for side, count in report["rows"].items())
    parts.append(f"{rows} rows; {len(report['seconds'])} checks in {sum(report['seconds'].values()):.1f} s")
    levels = [sum(found["level"] == level for found in findings) for level in LEVELS]
    parts.append("audit: {} errors, {} warnings, {} notes".format(*levels))
    return text_of(*parts)


def _table(findings: Sequence[Mapping[str, Any]]) -> Any:
    rows = []
    for found in findings:
        share, marks = found["share"], found["marks"]
        rows.append(
            [
                found["level"],
                found["code"],
                f"{len(marks):,}" if marks else "",
                "" if share is None else f"{share:.1%}",
                {"drop": "leave out", "change": "change", None: ""}[found["remedy"]],
            ]
        )
    return table_of(["level", "finding", "rows", "share", "--fix"], rows, right=(2, 3))


def _said(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['level']}: {found['code']}: {found['what']}"
    rows = found["rows"]
    marked = found["marks"]
    shown = [_place(mark) for mark in marked[:SHOWN]] or list(rows)
    more = f" and {len(marked) - SHOWN:,} more" if len(marked) > SHOWN else ""
    yield f"  --> {found['where']}" + (f": {', '.join(shown)}{more}" if shown else "")
    if effect := found["effect"]:
        yield f"  effect: {effect['said']}"
    if found["fix"]:
        yield f"  fix: {found['fix']}"


def _place(mark: Mapping[str, Any]) -> str:
    """A marked row with the one beside it."""
    twin = f" ({mark.get('twin_place') or mark['twin']})" if mark["twin"] else ""
    held = "eval:" if mark["side"] == "eval" else ""
    return f"{held}{mark.get('place') or mark['row']}{twin}"


def _views(views: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for view in views:
        for line in view["said"]:
            yield f"{view['title']}: {line}"


def _fixed(log: Mapping[str, Any] | None) -> Iterator[str]:
    if log is None:
        return
    yield f"mended copy: {log['folder']}: {log['said']}"
    yield f"  what was done: {log['folder']}/removed.jsonl, {log['folder']}/changed.jsonl"
    yield f"  train on it: tunesmith train {log['recipe']}"


def _proof(proof: Mapping[str, Any] | None) -> Iterator[str]:
    if proof is None:
        return
    yield f"proof: {proof['said']}"
    yield f"  as they are: {proof['found']['run']}"
    yield f"  mended:      {proof['mended']['run']}"
