"""A diagnosis as text for a terminal. It reads plain values and knows no probe and no rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.report import figures
from tunesmith.report.tables import table_of, text_of

Json = Mapping[str, Any]

BAR = 24
"""Signs of the longest bar."""
SHOWN_CAUSES = 8
TOLD = 6
"""Sentences of why that are told."""
COLOURS = {"verdict": "32", "inconclusive": "33", "labels": "31"}


def diagnosis_text(report: Json, *, colour: bool = False) -> str:
    """The verdict, the causes as bars, every probe and test as tables, costs, and what was not tested.

    Args:
        report: As `tunesmith.diagnose.said.diagnosis_json` has it.
        colour: Whether the terminal shows colours.
    """
    parts: list[Any] = [_probes(report)]
    if report["tests"]:
        parts.append(_tests(report["tests"]))
    if report["costs"]["each"]:
        parts.append(_costs(report["costs"]))
        parts += (
            [f"no price is known of: {', '.join(report['costs']['unpriced'])}"] if report["costs"]["unpriced"] else []
        )
    parts.append("")
    if report["causes"]:
        parts += ["what fixes the failing items, by the cheapest that does:", *_bars(report["causes"]), ""]
    parts += [f"not tested: {', '.join(names)}: {reason}" for reason, names in _skipped(report["not_tested"]).items()]
    parts += [f"note: {note}" for note in report["notes"]]
    parts += list(_verdict(report, colour))
    return text_of(*parts)


def _probes(report: Json) -> Any:
    rows = []
    for probe in report["probes"]:
        table = probe["table"]
        share = probe["rates"]["right"]["share"]
        cells = [table["both"], table["content"], table["form"], table["neither"]]
        rows.append([probe["name"], "" if share is None else f"{share:.0%}", *(f"{cell:,}" for cell in cells)])
    names = ["probe", "right", "both", "content only", "form only", "neither"]
    return table_of(names, rows, right=(1, 2, 3, 4, 5))


def _tests(tests: Sequence[Json]) -> Any:
    rows = []
    for test in tests:
        low, high = test["interval"]
        rows.append(
            [
                test["rung"],
                test["aspect"],
                test["against"],
                f"{test['gain'] * 100:+.0f}",
                f"{low * 100:+.0f} to {high * 100:+.0f}",
                f"{test['adjusted']:.2g}",
                "counts" if test["counts"] else "",
            ]
        )
    return table_of(["cure", "of", "against", "points", "95 %", "p, Holm", ""], rows, right=(3, 4, 5))


def _costs(costs: Json) -> Any:
    rows = []
    for one in costs["each"]:
        price = "" if one["price"] is None else f"{costs['currency']}{one['price']:.2g}"
        even = "" if one["break_even"] is None else f"{one['break_even']:,} ({one['of']})"
        seconds = f"{one['seconds']:.2g}"
        rows.append([one["probe"], f"{one['prompt_tokens']:.0f}", f"{one['reply_tokens']:.0f}", seconds, price, even])
    names = ["cost a call", "tokens in", "tokens out", "seconds", "price", "tuning pays after"]
    return table_of(names, rows, right=(1, 2, 3, 4, 5))


def _skipped(not_tested: Sequence[Json]) -> dict[str, list[str]]:
    """Probes that were not asked, by the reason."""
    found: dict[str, list[str]] = {}
    for one in not_tested:
        found.setdefault(one["reason"], []).append(one["probe"])
    return found


def _bars(causes: Sequence[Json]) -> Iterator[str]:
    ordered = sorted(causes, key=lambda cause: -cause["items"])
    shown, others = ordered[:SHOWN_CAUSES], ordered[SHOWN_CAUSES:]
    most, wide = shown[0]["items"], max(len(cause["cause"]) for cause in shown)
    for cause in shown:
        bar = "█" * max(1, round(BAR * cause["items"] / most))
        yield f"  {cause['cause']:<{wide}}  {bar} {cause['items']:,}"
    if others:
        yield f"  and {sum(cause['items'] for cause in others):,} items with {len(others)} other causes"


def _verdict(report: Json, colour: bool) -> Iterator[str]:
    verdict = report["verdict"]
    yield from (f"why: {line}" for line in verdict["why"][:TOLD])
    yield from (f"this would overturn it: {line}" for line in verdict["overturns"])
    for one in report["advice"]:
        yield f"to do: {one['title']}: {one['text']}"
        yield from (f"  {command}" for command in one["commands"])
        yield from (f"  file: {name}" for name in one["files"])
    kind = verdict["kind"]
    said = figures.plain(verdict["said"])
    said = said.removeprefix("Inconclusive: ") if kind == "inconclusive" else said
    yield f"\033[1;{COLOURS[kind]}m{kind}\033[0m: {said}" if colour else f"{kind}: {said}"
