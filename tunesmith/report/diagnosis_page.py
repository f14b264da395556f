"""The diagnosis's page: its JSON in, one self-contained HTML file out that opens offline.

It knows what stands where on the page; what the words say was written by whoever decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tunesmith.report import figures, svg
from tunesmith.report.audit_page import printable
from tunesmith.report.page import filled, write_whole
from tunesmith.report.sections import Section

Json = Mapping[str, Any]

BADGES = {
    "verdict": ("better", "Verdict"),
    "inconclusive": ("same", "Inconclusive"),
    "labels": ("worse", "Labels first"),
}
NAMES = {
    "none": "nothing that was tested",
    "as-is": "as it is",
    "larger-model": "a larger model",
    "fine-tune": "fine-tuning",
    "all-together": "all of them together",
}
"""Rungs and causes whose name is no word for a reader."""
ASPECTS = {"content": "what it says", "form": "how it is written", "right": "both"}
CELLS = (("both", "m0"), ("content", "m5"), ("form", "m4"), ("neither", "frozen"))
"""Of a 2x2 table, with their colours."""
CELL_WORDS = {
    "both": "right in both",
    "content": "content right, form wrong",
    "form": "form right, content wrong",
    "neither": "wrong in both",
}
SHOWN_CAUSES = 8
"""Bars of causes; what has fewer items is counted together."""
SCALE, HIGH, MIDDLE = 200.0, 16, 8
"""Of the small drawing of an interval: points -100 to 100, and its height."""


def write_diagnosis_page(report: Json, file: Path) -> Path:
    """Writes a diagnosis as one HTML page that opens offline, whole or not at all.

    Args:
        report: As `tunesmith.diagnose.said.diagnosis_json` has it.
        file: Where the page goes.

    Raises:
        UserError: The file can't be written.
    """
    return write_whole(file, render_diagnosis(report))


def render_diagnosis(report: Json) -> str:
    """The page's HTML."""
    causes = _causes(report)
    built = [
        Section("do", "What to do", {"advice": list(report["advice"])} if report["advice"] else None, ""),
        Section("causes", "Causes", causes, ""),
        Section("cures", "Cures tested", _tests(report), ""),
        Section("probes", "Content and form", _probes(report), ""),
        Section("evidence", "Evidence", _evidence(causes), ""),
        Section("why", "Why", _why(report), ""),
        Section("cost", "Cost of a call", _costs(report), ""),
        Section("skipped", "Not tested", _skipped(report), ""),
    ]
    styles = ("page.css", "audit.css", "diagnosis.css")
    return printable(filled("diagnosis_page.html", styles=styles, head=headline(report), sections=built))


def name_of(rung: str) -> str:
    """A rung or a cause for a reader; of several, all of them."""
    return " + ".join(NAMES.get(part, part) for part in rung.split(" + "))


def headline(report: Json) -> dict[str, Any]:
    """The verdict in a sentence, its effect, and the figures under it."""
    verdict = report["verdict"]
    style, badge = BADGES[verdict["kind"]]
    return {
        "sentence": verdict["said"],
        "style": style,
        "badge": badge,
        "against": verdict["against_fine_tuning"],
        "effect": _effect(report),
        "figures": _key_figures(report),
    }


def _effect(report: Json) -> dict[str, Any] | None:
    """What the cures together bring, drawn with its interval."""
    effect = report["effect"]
    before = _rates(report, "as-is")
    if effect is None or before is None:
        return None
    low, high = (100 * end for end in effect["interval"])
    gain = 100 * effect["gain"]
    style = "better" if low > 0 else "worse" if high < 0 else "same"
    shown = svg.interval(
        gain, (low, high), "right answers", higher_is_better=True, verdict=style, names=("cured", "as it is")
    )
    return {
        "style": style,
        "before": figures.percent(before["right"]["share"]),
        "after": figures.percent(before["right"]["share"] + effect["gain"]),
        "gain": figures.signed(gain, 0),
        "low": figures.signed(low, 0),
        "high": figures.signed(high, 0),
        "cure": report["verdict"]["cure"],
        "composed": effect["probe"].startswith("content of"),
        "probe": effect["probe"],
        "drawn": shown,
    }


def _rates(report: Json, name: str) -> Json | None:
    return next((probe["rates"] for probe in report["probes"] if probe["name"] == name), None)


def _key_figures(report: Json) -> list[tuple[str, str, str]]:
    """``(figure, what it is, small print)`` for the strip under the headline."""
    rates = _rates(report, "as-is")
    out = [(figures.number(report["items"]), "items", "" if report["items"] >= 100 else "at least 100 are wanted")]
    if rates is not None:
        for aspect, words in (("right", "right as it is"), ("content", "content right"), ("form", "form right")):
            one = rates[aspect]
            small = f"{figures.percent(one['low'])} to {figures.percent(one['high'])}"
            out.append((figures.percent(one["share"]), words, small))
    if report["facts"] is not None:
        unknown, asked = report["facts"]["unknown"], report["facts"]["asked"]
        out.append((figures.percent(unknown / asked if asked else 0.0), "of facts unknown", f"{unknown} of {asked}"))
    if report["verdict"]["more_items"]:
        out.append((figures.number(report["verdict"]["more_items"]), "more items", "about, to decide it"))
    return out


def _causes(report: Json) -> dict[str, Any] | None:
    """Failing items by what fixes them, as bars, the longest first."""
    if not report["causes"]:
        return None
    ordered = sorted(report["causes"], key=lambda cause: -cause["items"])
    causes, others = ordered[:SHOWN_CAUSES], ordered[SHOWN_CAUSES:]
    most, total = causes[0]["items"], sum(cause["items"] for cause in ordered)
    cures = set(report["verdict"]["cures"])
    advised = cures | ({"retrieval"} if cures & {"retriever", "reader"} else set())
    rows = [
        {
            "anchor": f"cause-{number}",
            "name": name_of(cause["cause"]),
            "cure": cause["cure"],
            "count": cause["items"],
            "share": cause["items"] / total,
            "length": f"{cause['items'] / most:.4f}",
            "shown": cause["shown"],
            "advised": set(cause["cause"].split(" + ")) <= advised,
        }
        for number, cause in enumerate(causes, 1)
    ]
    return {
        "rows": rows,
        "total": total,
        "others": sum(cause["items"] for cause in others),
        "other_causes": len(others),
    }


def _tests(report: Json) -> dict[str, Any] | None:
    tests = report["tests"]
    if not tests:
        return None
    rows = [
        {
            "rung": name_of(test["rung"]),
            "probe": test["probe"],
            "aspect": test["aspect"],
            "against": name_of(test["against"]),
            "gained": test["gained"],
            "lost": test["lost"],
            "gain": figures.signed(100 * test["gain"], 0),
            "low": figures.signed(100 * test["interval"][0], 0),
            "high": figures.signed(100 * test["interval"][1], 0),
            "p": figures.rate(float(f"{test['adjusted']:.2g}")),
            "counts": test["counts"],
            "why": test["why"],
            "drawn": _drawn(test, report["least_gain"]),
        }
        for test in tests
    ]
    groups = [
        {"aspect": aspect, "words": words, "rows": [row for row in rows if row["aspect"] == aspect]}
        for aspect, words in ASPECTS.items()
    ]
    return {
        "groups": [group for group in groups if group["rows"]],
        "least": f"{100 * report['least_gain']:.0f}",
        "level": f"{report['level']:g}",
    }


def _drawn(test: Json, least: float) -> Markup:
    """An interval on the scale that all rows share, with zero and the least gain."""
    low, high = test["interval"]
    style = "better" if test["counts"] else "worse" if high < 0 else "same"

    def at(share: float) -> float:
        return SCALE * (share + 1) / 2

    drawn = [
        svg.tag("rect", x=at(0), y=1, width=at(least) - at(0), height=HIGH - 2, class_="least"),
        svg.tag("line", x1=at(0), x2=at(0), y1=1, y2=HIGH - 1, class_="zero"),
        svg.tag("line", x1=at(low), x2=at(high), y1=MIDDLE, y2=MIDDLE, class_=f"reach {style}"),
        svg.tag("circle", cx=at(test["gain"]), cy=MIDDLE, r=4, class_=f"centre {style}"),
    ]
    words = f"gain {100 * test['gain']:+.0f} points, 95 % interval {100 * low:+.0f} to {100 * high:+.0f}"
    return svg.picture(words, HIGH, *drawn, width=SCALE)


def _probes(report: Json) -> dict[str, Any]:
    """Each probe's 2x2 table, and all of them as bars."""
    rows, bars = [], []
    for probe in report["probes"]:
        table = probe["table"]
        parts = [
            svg.Part(name, float(table[name]), style, f"{CELL_WORDS[name]}: {table[name]}") for name, style in CELLS
        ]
        right = figures.percent(probe["rates"]["right"]["share"])
        bars.append((f"{probe['name']}: {right} right", parts))
        rows.append({**probe, "shares": _shares(table), "told": _told(probe)})
    legend = [(CELL_WORDS[name], style) for name, style in CELLS]
    return {"chart": svg.bars("All probes", bars), "rows": rows, "legend": legend, "wanted": report["wanted"]}


def _shares(table: Mapping[str, int]) -> dict[str, float]:
    total = sum(table.values()) or 1
    return {name: count / total for name, count in table.items()}


def _told(probe: Json) -> str:
    """What a probe says of itself, beside its counts."""
    extra = probe["extra"]
    said = []
    if "recalled" in extra:
        said.append(f"passages hold what is needed for {extra['recalled']} of {extra['recall_of']}")
    if "rows" in extra:
        said.append(f"tuned on {figures.number(extra['rows'])} rows")
    if extra.get("too_long"):
        said.append("some prompts were too long")
    return "; ".join(said)


def _evidence(causes: Json | None) -> dict[str, Any] | None:
    rows = [row for row in causes["rows"] if row["shown"]] if causes else []
    return {"rows": rows} if rows else None


def _why(report: Json) -> dict[str, Any] | None:
    verdict = report["verdict"]
    labels = [f"{name}: {why}" for name, why in report["labels"]["contradicting"].items()]
    if not (verdict["why"] or verdict["overturns"] or report["notes"] or labels):
        return None
    return {
        "why": verdict["why"],
        "overturns": verdict["overturns"],
        "notes": report["notes"],
        "labels": labels,
        "slices": report["slices"],
    }


def _costs(report: Json) -> dict[str, Any] | None:
    costs = report["costs"]
    if not costs["each"]:
        return None
    rows: Sequence[Json] = costs["each"]
    return {
        "rows": rows,
        "priced": any(row["price"] is not None for row in rows),
        "currency": costs["currency"],
        "tuning": costs["tuning_seconds"],
        "tuning_price": costs["tuning_price"],
        "tuned_rows": costs["tuned_rows"],
        "unpriced": ", ".join(map(name_of, costs["unpriced"])),
    }


def _skipped(report: Json) -> dict[str, Any] | None:
    rows = [(str(one["probe"]), str(one["reason"])) for one in report["not_tested"]]
    return {"rows": rows} if rows else None
