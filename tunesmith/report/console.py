"""Results as text for a terminal: tables and findings. It reads plain values and knows no run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.report.tables import table_of, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from tunesmith.machine import Check
    from tunesmith.run import RunSummary
    from tunesmith.types import Finding, Preview


def result_table(scores: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]]) -> str:
    """Base, tuned, difference, interval and verdict, then the stages and the receipts."""
    low, high = scores["interval"]
    headline = [
        scores["metric"],
        f"{scores['base']:.4f}",
        f"{scores['tuned']:.4f}",
        f"{scores['difference']:+.4f}",
        f"[{low:+.4f}, {high:+.4f}]",
        scores["verdict"],
    ]
    columns = ["metric", "base", "tuned", "difference", "95 % interval", "verdict"]
    parts: list[Table | str] = [table_of(columns, [headline], right=(1, 2, 3, 4))]
    parts.append(f"base: {scores['base_name']}; {scores['rows']:,} held-out rows, the same for both")
    others = {name: value for name, value in (scores.get("bases") or {}).items() if name != scores["base_name"]}
    if others:
        parts.append("also without training: " + ", ".join(f"{name} {value:.4f}" for name, value in others.items()))
    for name, probe in (scores.get("probes") or {}).items():
        low, high = probe["interval"]
        parts.append(
            f"{name}: {probe['metric']} {probe['base']:.4f} -> {probe['tuned']:.4f} on {probe['rows']} rows, "
            f"difference [{low:+.4f}, {high:+.4f}]"
        )
    if scores.get("stages"):
        ladder = [("base", scores["base"]), *((f"after {s['name']}", s["score"]) for s in scores["stages"])]
        parts.append("stages: " + "  →  ".join(f"{name} {value:.4f}" for name, value in ladder))
    if receipts:
        broken = [r for r in receipts if not r["holds"]]
        parts.append(f"receipts: {len(receipts) - len(broken)} of {len(receipts)} promises hold")
        parts += [f"  broken: {r['promise']}: measured {r['measured']}, tolerance {r['tolerance']}" for r in broken]
    return text_of(*parts)


def findings_text(findings: Sequence[Finding]) -> str:
    """Findings by level, each with its rows and its fix."""
    if not findings:
        return "audit: nothing to complain about"
    lines = []
    for f in findings:
        lines.append(f"{f.level}: {f.code}: {f.what}")
        lines.append(f"  --> {f.where}" + (f": {', '.join(f.rows)}" if f.rows else ""))
        if f.fix:
            lines.append(f"  fix: {f.fix}")
    levels = [sum(f.level == level for f in findings) for level in ("error", "warning", "note")]
    lines.append("audit: {} errors, {} warnings, {} notes".format(*levels))
    return "\n".join(lines)


def previews_text(previews: Sequence[Preview], *, colour: bool) -> str:
    """Rows as the model reads them; what is learned in green, or between guillemets where there is no colour."""
    before, after = ("\x1b[32m", "\x1b[0m") if colour else ("«", "»")
    lines = []
    for one in previews:
        lines.append(f"row {one.row}: {one.note}")
        text = "".join(f"{before}{piece}{after}" if learned else piece for piece, learned in one.spans)
        lines += [f"  {line}" for line in text.splitlines()]
    learned = "in green" if colour else "between « and »"
    return "\n".join([*lines, f"what is learned stands {learned}"]) if previews else ""


def predictions_text(found: Sequence[Mapping[str, Any]]) -> str:
    """One line per row: what it is, what was predicted."""
    rows = []
    for item in found:
        shown = [str(value) for key, value in item.items() if key not in ("id", "prediction", "fault")]
        rows.append([item["id"], " | ".join(shown)[:300], _brief(item)])
    if all(shown.endswith(name) for name, shown, _ in rows):
        # The id is the input's own name.
        return text_of(table_of(["input", "prediction"], [[name, said] for name, _, said in rows], fold=(0, 1)))
    return text_of(table_of(["id", "input", "prediction"], rows, fold=(1,)))


BRIEFLY = 4
"""Parts of a prediction that a table shows."""


def _brief(item: Mapping[str, Any]) -> Any:
    """A prediction as a cell of a table."""
    said = item["prediction"]
    if "fault" in item:
        return "can't be read"
    if isinstance(said, Mapping) and "label" in said:
        sure = said.get("probabilities", {}).get(said["label"])
        return said["label"] + (f" ({sure:.3f})" if sure is not None else "")
    if isinstance(said, Mapping) and "shares" in said:
        shares = sorted(said["shares"].items(), key=lambda pair: -pair[1])
        return _some([f"{name} {share:.1%}" for name, share in shares])
    if isinstance(said, list) and all(isinstance(one, Mapping) and {"label", "score"} <= one.keys() for one in said):
        return _some([f"{one['label']} {one['score']:.2f}" for one in said]) or "nothing"
    return said


def _some(parts: Sequence[str]) -> str:
    more = [f"and {len(parts) - BRIEFLY:,} more"] if len(parts) > BRIEFLY else []
    return ", ".join([*parts[:BRIEFLY], *more])


def runs_text(found: Sequence[RunSummary], folder: Path) -> str:
    """All runs of a folder: the verdict of those that are finished, how far the others came and why."""
    if not found:
        return f"no runs in {folder}"

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    rows = [
        [r.name, r.verdict or r.status, r.metric or "", number(r.base), number(r.tuned), _minute(r.started)]
        for r in found
    ]
    messages = [f"{r.name}: {r.message}" for r in found if r.message and r.status != "finished"]
    return text_of(table_of(["run", "outcome", "metric", "base", "tuned", "started"], rows, right=(3, 4)), *messages)


def _minute(moment: str | None) -> str:
    return (moment or "").replace("T", " ")[:16]


def doctor_text(checks: Sequence[Check]) -> str:
    """What works here and what does not, with the fix."""
    rows = []
    for check in checks:
        rows.append(["yes" if check.works else "no", check.name, check.detail])
        if check.fix:
            rows.append(["", "", f"fix: {check.fix}"])
    return text_of(table_of(["works", "what", "detail"], rows, fold=(2,)))
