"""The audit's page: a report's JSON and the evidence for it in, one self-contained HTML file out.

It knows what stands where on the page; views are drawn in ``audit_views``, rows are prepared in ``audit_rows``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.report import figures, svg
from tunesmith.report.audit_rows import entry_of, left_out
from tunesmith.report.audit_views import SIDES, view_of
from tunesmith.report.page import filled, write_whole
from tunesmith.report.sections import Section

Json = Mapping[str, Any]
Evidence = Mapping[str, Sequence[Json]]

LEVELS = ("error", "warning", "note")
FIRST_FIXES = 3
"""Things to do first, under the headline."""
SHOWN_ENTRIES = 6
"""Rows of a finding that are not folded."""
MOST_IDS = 500
"""Ids of a finding that stand on the page, for each side."""

REMEDIES = {"drop": "--fix leaves these rows out", "change": "--fix changes these rows"}


def write_audit_page(report: Json, evidence: Evidence, file: Path) -> Path:
    """Writes an audit as one HTML page that opens offline, whole or not at all.

    Args:
        report: `tunesmith.audit.found.AuditReport.to_json()`.
        evidence: Code to rows, `tunesmith.audit.evidence.evidence`; may be empty.
        file: Where the page goes.

    Raises:
        UserError: The file can't be written.
    """
    return write_whole(file, render_audit(report, evidence))


def render_audit(report: Json, evidence: Evidence) -> str:
    """The page's HTML."""
    findings = [_finding(number, one, report, evidence) for number, one in enumerate(_ordered(report), 1)]
    built = [
        Section("findings", "Findings", {"findings": findings} if findings else None, ""),
        Section("proof", "Proof", _proof(report), ""),
        Section("evidence", "Evidence", _evidence(findings, evidence), ""),
        Section("views", "The data", _views(report), ""),
        Section("skipped", "Not looked at", _skipped(report), ""),
        Section("time", "Time", _time(report), ""),
    ]
    head = headline(report, findings)
    styles = ("page.css", "audit.css")
    page = filled("audit_page.html", styles=styles, name=str(report.get("name")), head=head, sections=built)
    return printable(page)


def printable(page: str) -> str:
    """The page without what no file can hold (half a character), and what a browser would read otherwise."""
    return (
        page.translate(dict.fromkeys((*range(9), 11, 12, *range(14, 32)), "\ufffd"))
        .encode("utf-8", "replace")
        .decode("utf-8")
    )


def _ordered(report: Json) -> list[Json]:
    """Findings as they should be mended: by level, those with a measured effect first, then by share."""

    def rank(one: Json) -> tuple[int, bool, float]:
        level = LEVELS.index(one["level"]) if one.get("level") in LEVELS else len(LEVELS)
        return level, one.get("effect") is None, -(figures.as_number(one.get("share")) or 0.0)

    return sorted(report.get("findings") or [], key=rank)


def headline(report: Json, findings: Sequence[Json]) -> dict[str, Any]:
    """How many findings of which level, what to do first, and the figures under that."""
    counts = {level: sum(one["level"] == level for one in findings) for level in LEVELS}
    said = [_times(counts[level], level) for level in LEVELS if counts[level]]
    worst = next((level for level in LEVELS if counts[level]), None)
    style, badge, sentence = {
        "error": ("worse", "Mend first", f"{_and(said[:2])} in this data."),
        "warning": ("worse", "Look first", f"{_and(said[:2])} in this data; no errors."),
        "note": ("better", "Nothing in the way", f"No errors and no warnings; {said[0] if said else ''}."),
        None: ("better", "Clean", "Nothing was found."),
    }[worst]
    return {
        "kicker": f"Audit of {report.get('name')}",
        "style": style,
        "badge": badge,
        "sentence": sentence[0].upper() + sentence[1:],
        "first": [one for one in findings if one["level"] in LEVELS[:2]][:FIRST_FIXES],
        "figures": _key_figures(report),
    }


def _times(count: int, word: str) -> str:
    return f"{figures.number(count)} {word}{'s' * (count != 1)}"


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)


def _key_figures(report: Json) -> list[tuple[str, str, str]]:
    """``(figure, what it is, small print)`` for the strip under the headline."""
    rows = report.get("rows") or {}
    out = [(figures.number(rows.get("train")), "training rows", f"{figures.number(rows.get('eval'))} held out")]
    for remedy, words in (("drop", "left out by --fix"), ("change", "changed by --fix")):
        touched = {
            (mark.get("side"), mark.get("row"))
            for one in report.get("findings") or []
            if one.get("remedy") == remedy
            for mark in one.get("marks") or []
        }
        if touched:
            out.append((figures.number(len(touched)), f"rows {words}", ""))
    seconds, skipped = report.get("seconds") or {}, report.get("skipped") or []
    small = f"{len(skipped)} left out or cut short" if skipped else ""
    out.append((figures.number(len(seconds)), f"check{'s' * (len(seconds) != 1)} ran", small))
    out.append((figures.duration(sum(map(float, seconds.values()))), "of looking", ""))
    return out


def _finding(number: int, one: Json, report: Json, evidence: Evidence) -> dict[str, Any]:
    """A finding as the table and the gallery show it."""
    code, what = str(one.get("code")), str(one.get("what") or "")
    reason = (report.get("accepted") or {}).get(code)
    if reason is not None:
        what = what.removesuffix(f" (accepted: {reason})")
    marks = one.get("marks") or []
    same = sum(other.get("code") == code for other in report.get("findings") or []) > 1
    places = [] if marks else [str(row) for row in one.get("rows") or []]
    mine = {(mark.get("side"), mark.get("row")) for mark in marks}
    entries = [
        entry_of(entry)
        for entry in evidence.get(code) or []
        if not same or (entry.get("side"), entry.get("row")) in mine or entry.get("row") in places
    ]
    ids = _ids(marks)
    effect = _effect(one.get("effect"))
    return {
        "anchor": f"finding-{number}",
        "code": code,
        "level": str(one.get("level")),
        "what": what,
        "where": str(one.get("where") or ""),
        "fix": str(one.get("fix") or ""),
        "share": figures.as_number(one.get("share")),
        "repeat": "%" not in what,
        "rows": len(marks) or None,
        "places": places,
        "remedy": REMEDIES.get(str(one.get("remedy")), ""),
        "effect": effect,
        "accepted": None if reason is None else str(reason),
        "entries": entries[:SHOWN_ENTRIES],
        "more": entries[SHOWN_ENTRIES:],
        "paired": any(entry["twin"] or entry["suggested"] for entry in entries),
        "ids": ids,
        "told": bool(entries or ids or effect or places),
    }


def _ids(marks: Sequence[Json]) -> list[dict[str, Any]]:
    """All rows of a finding by side, to copy."""
    out = []
    for side, words in SIDES.items():
        rows = list(dict.fromkeys(str(mark.get("row")) for mark in marks if mark.get("side") == side))
        if rows:
            out.append({"side": words, "rows": rows[:MOST_IDS], "all": len(rows)})
    return out


def _effect(effect: Json | None) -> dict[str, Any] | None:
    """A measured effect in words, and drawn with its interval."""
    if not effect:
        return None
    found, mended, low, high = (figures.as_number(effect.get(name)) for name in ("found", "mended", "low", "high"))
    if found is None or mended is None or low is None or high is None:
        return None
    metric, decimals, upward = figures.words(effect.get("metric")), figures.decimals_for(high - low), effect.get("up")
    style = svg.verdict_class(str(effect.get("verdict")))
    names = ("mended", "before") if upward is not None else ("without it", "with it")
    return {
        "metric": metric,
        "found": figures.score(found),
        "mended": figures.score(mended),
        "difference": figures.signed(mended - found, decimals),
        "low": figures.signed(low, decimals),
        "high": figures.signed(high, decimals),
        "sure": not low <= 0 <= high,
        "said": str(effect.get("said") or ""),
        "style": style,
        "drawn": svg.interval(mended - found, (low, high), metric, higher_is_better=upward, verdict=style, names=names),
    }


def _proof(report: Json) -> dict[str, Any] | None:
    """Training on the mended copy beside training on the rows as they are."""
    proof = report.get("proof")
    if not proof:
        return None
    scores = {name: (proof.get(name) or {}).get("score") for name in ("found", "mended")}
    low, high = proof.get("interval") or (None, None)
    upward = bool(proof.get("higher_is_better", True))
    effect = _effect({**proof, **scores, "low": low, "high": high, "up": upward})
    if effect is not None:
        effect["badge"] = {"better": "Better", "worse": "Worse"}.get(effect["style"], "No measurable difference")
        effect["direction"] = "higher is better" if upward else "lower is better"
        effect["rows"] = figures.number(proof["rows"]) if proof.get("rows") else ""
    return {"effect": effect, "said": str(proof.get("said") or "")}


def _evidence(findings: Sequence[dict[str, Any]], evidence: Evidence) -> dict[str, Any] | None:
    told = [one for one in findings if one["told"]]
    if not told:
        return None
    return {"findings": told, "left_out": left_out(evidence)}


def _views(report: Json) -> dict[str, Any] | None:
    views = [view_of(view) for view in report.get("views") or []]
    return {"views": views} if views else None


def _skipped(report: Json) -> dict[str, Any] | None:
    skipped = report.get("skipped") or []
    return {"rows": [(str(one.get("check")), str(one.get("reason"))) for one in skipped]} if skipped else None


def _time(report: Json) -> dict[str, Any] | None:
    seconds = {str(name): float(value) for name, value in (report.get("seconds") or {}).items()}
    if not seconds:
        return None
    most = max(seconds.values()) or 1.0
    ordered = sorted(seconds.items(), key=lambda pair: -pair[1])
    return {"rows": [(name, f"{value / most:.4f}", figures.duration(value)) for name, value in ordered]}
