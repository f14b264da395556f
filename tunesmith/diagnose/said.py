"""A diagnosis as plain JSON: what a page, a terminal and another program read. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tunesmith.diagnose import statistics
from tunesmith.diagnose.advice import Advice
from tunesmith.diagnose.climbing import LEAST_GAIN
from tunesmith.diagnose.costs import Costs, costs_of
from tunesmith.diagnose.found import PROBES, Evidence, Exit, Item, Probe, Test, Verdict
from tunesmith.diagnose.ladder import ways_of
from tunesmith.diagnose.sentences import CURES, cure_words, test_words

SHOWN = 3
"""Items that stand as evidence for each cause."""
LONGEST = 1_500
"""Characters of a text that is shown."""


def diagnosis_json(
    evidence: Evidence, verdict: Verdict, costs: Costs | None = None, advice: Sequence[Advice] = ()
) -> dict[str, Any]:
    """All of a diagnosis that a person may want to see.

    Returns:
        ``verdict`` (kind, cures, sentences), ``effect``, ``tests``, ``causes`` with items, ``probes`` with their 2x2
        tables of content and form, ``slices``, ``costs``, ``advice``, ``not_tested``, ``labels``, ``facts``, ``exit``.
    """
    costs = costs or costs_of(evidence)
    return {
        "verdict": {
            "kind": verdict.kind,
            "cures": list(verdict.cures),
            "cure": cure_words(verdict.cures) if verdict.cures else "",
            "said": verdict.said,
            "why": list(verdict.why),
            "overturns": list(verdict.overturns),
            "more_items": verdict.more_items,
            "against_fine_tuning": verdict.against_fine_tuning,
        },
        "items": len(evidence.items),
        "wanted": evidence.format_wanted,
        "least_gain": LEAST_GAIN,
        "level": statistics.LEVEL,
        "effect": _test(verdict.effect) if verdict.effect is not None else None,
        "tests": [_test(test) for test in verdict.tests],
        "causes": _causes(evidence, verdict),
        "probes": [_probe(probe) for probe in _in_order(evidence.probes)],
        "slices": _slices(evidence),
        "costs": {**asdict(costs), "each": [asdict(one) for one in costs.each], "unpriced": list(costs.unpriced)},
        "advice": [{**asdict(one), "commands": list(one.commands)} for one in advice],
        "not_tested": [{"probe": one.probe, "reason": one.reason} for one in evidence.not_tested],
        "labels": {"compared": evidence.compared, "contradicting": dict(evidence.disagreement)},
        "facts": _facts(evidence),
        "notes": list(evidence.notes),
        "exit": Exit[verdict.kind],
    }


def _test(test: Test) -> dict[str, Any]:
    return {**asdict(test), "interval": list(test.interval), "said": test_words(test)}


def _in_order(probes: Mapping[str, Probe]) -> list[Probe]:
    order = {name: place for place, name in enumerate(PROBES)}
    return sorted(probes.values(), key=lambda probe: order.get(probe.name, len(order)))


def _probe(probe: Probe) -> dict[str, Any]:
    """Its 2x2 table, rates with intervals, and what it cost."""
    judged = list(probe.judged.values())
    table = {
        "both": sum(one.content and one.form for one in judged),
        "content": sum(one.content and not one.form for one in judged),
        "form": sum(one.form and not one.content for one in judged),
        "neither": sum(not one.form and not one.content for one in judged),
    }
    rates = {}
    for aspect in ("content", "form", "right"):
        right = sum(getattr(one, aspect) for one in judged)
        low, high = statistics.share_interval(right, len(judged))
        rates[aspect] = {"right": right, "share": right / len(judged) if judged else None, "low": low, "high": high}
    extra = {name: value for name, value in probe.extra.items() if isinstance(value, str | int | float | bool)}
    recall = probe.extra.get("recall")
    if recall:
        extra["recalled"], extra["recall_of"] = sum(map(bool, recall.values())), len(recall)
    return {
        "name": probe.name,
        "items": len(judged),
        "table": table,
        "rates": rates,
        "calls": probe.calls,
        "prompt_tokens": probe.prompt_tokens,
        "reply_tokens": probe.reply_tokens,
        "seconds": probe.seconds,
        "extra": extra,
    }


def _causes(evidence: Evidence, verdict: Verdict) -> list[dict[str, Any]]:
    items = {item.id: item for item in evidence.items}
    out = []
    for cause, ids in verdict.causes.items():
        named = [CURES[rung] for rung in cause.split(" + ") if rung in CURES]
        out.append(
            {
                "cause": cause,
                "cure": ", and ".join(named) if named else "nothing that was tested fixes these",
                "items": len(ids),
                "ids": list(ids),
                "shown": [_shown(items[name], cause, evidence) for name in ids[:SHOWN] if name in items],
            }
        )
    return out


def _shown(item: Item, cause: str, evidence: Evidence) -> dict[str, Any]:
    """An item with what was answered as it is, and what was answered by what fixes it."""
    before = evidence.probes["as-is"]
    judged = before.judged[item.id]
    after = _fixing(item.id, cause, evidence)
    return {
        "id": item.id,
        "line": item.line,
        "slice": item.slice,
        "input": _cut(item.input),
        "reference": _cut(item.references[0]),
        "gold": _cut(item.gold),
        "output": _cut(before.outputs.get(item.id, "")),
        "why": judged.why,
        "content": judged.content,
        "form": judged.form,
        "labels": evidence.disagreement.get(item.id, ""),
        "after": [
            {
                "probe": probe.name,
                "output": _cut(probe.outputs[item.id]),
                "content": probe.judged[item.id].content,
                "form": probe.judged[item.id].form,
            }
            for probe in after
        ],
    }


def _fixing(name: str, cause: str, evidence: Evidence) -> list[Probe]:
    """The probes of a cause that asked an item, those that get more of it right first, one a rung."""
    measured = ways_of(evidence)
    found: list[Probe] = []
    for rung in cause.split(" + "):
        if rung in ("retriever", "reader"):
            found += [evidence.probes[p] for p in ("retrieved", "gold") if p in evidence.probes]
            continue
        tried = [evidence.probes[way.probe] for way in measured.get(rung, ()) if way.probe in evidence.probes]
        asked = [probe for probe in tried if name in probe.judged]
        found += sorted(asked, key=lambda probe: -_points(probe, name))[:1]
    once = {probe.name: probe for probe in found}
    return [probe for probe in once.values() if name in probe.judged]


def _points(probe: Probe, name: str) -> int:
    judged = probe.judged[name]
    return 2 * judged.right + judged.content + judged.form


def _slices(evidence: Evidence) -> list[dict[str, Any]]:
    """Right answers as they are, by slice, the worst first."""
    groups: dict[str, list[bool]] = {}
    judged = evidence.probes["as-is"].judged
    for item in evidence.items:
        if item.slice and item.id in judged:
            groups.setdefault(item.slice, []).append(judged[item.id].right)
    rows = [{"slice": name, "items": len(some), "right": sum(some)} for name, some in groups.items()]
    return sorted(rows, key=lambda row: row["right"] / row["items"])


def _facts(evidence: Evidence) -> dict[str, Any] | None:
    if evidence.unknown_facts is None:
        return None
    unknown, asked = evidence.unknown_facts
    levels: dict[str, int] = {}
    for level in evidence.facts.values():
        levels[level] = levels.get(level, 0) + 1
    return {"unknown": unknown, "asked": asked, "levels": levels}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
