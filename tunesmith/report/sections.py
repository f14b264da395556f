"""The sections of the page: from a run's record to what each part of it shows, and why a part is left out.

It knows the run's files and the order on the page; it knows no HTML, and draws through ``charts`` and ``panels``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunesmith.report import charts, figures, panels, plan_charts, svg
from tunesmith.report.read import Events, RunRecord

Json = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: Anchor and template macro.
        title: Its heading.
        view: What the macro draws; None leaves the section out.
        absence: The line that says why it is left out.
    """

    name: str
    title: str
    view: Json | None
    absence: str


STATES = {
    "running": ("Unfinished", "The run was still going when this page was written."),
    "interrupted": ("Unfinished", "The run was interrupted; the same command takes it up where it stopped."),
    "failed": ("Failed", "The run ended with an error."),
    "unknown": ("Unfinished", "The run left no state.json, so how it ended is not known."),
}


def headline(record: RunRecord) -> Json:
    """The headline: the verdict with its figures, or why there is none yet."""
    environment = record.environment or {}
    model = ((record.recipe or {}).get("values") or {}).get("model")
    wanted = model.get("name") if isinstance(model, dict) else model
    state = STATES.get(record.status)
    unfinished = None
    if state:
        unfinished = {"title": state[0], "words": state[1], "message": (record.state or {}).get("message") or ""}
    return {
        "task": record.task,
        "model": str((environment.get("base") or {}).get("name") or wanted or ""),
        "started": figures.moment(environment.get("started") or ""),
        "unfinished": unfinished,
        "verdict": verdict(record),
        "figures": _key_figures(record),
    }


VERDICTS = {
    "better": ("Better", "The tuned model is better than the base."),
    "worse": ("Worse", "The tuned model is worse than the base."),
    "no difference shown": ("No difference shown", "No difference is shown on these rows."),
}


def verdict(record: RunRecord) -> Json | None:
    """The headline's figures as words and a drawing; None without scores."""
    scores = record.scores
    if scores is None:
        return None
    low, high = (figures.as_number(end) for end in scores["interval"])
    difference = figures.as_number(scores["difference"])
    decimals = 3 if low is None or high is None else figures.decimals_for(high - low)
    kind, upward = str(scores["verdict"]), bool(scores.get("higher_is_better", True))
    drawn = None
    if low is not None and high is not None and difference is not None:
        metric = figures.words(scores["metric"])
        drawn = svg.interval(difference, (low, high), metric, higher_is_better=upward, verdict=kind)
    badge, sentence = VERDICTS.get(kind, (kind, kind))
    metrics = scores.get("all") or {}
    before, after = metrics.get("base") or {}, metrics.get("tuned") or {}
    return {
        "badge": badge,
        "sentence": sentence,
        "style": svg.verdict_class(kind),
        "metric": scores["metric"],
        "base": figures.score(scores["base"], decimals),
        "base_name": str(scores.get("base_name") or "base model"),
        "tuned": figures.score(scores["tuned"], decimals),
        "difference": figures.signed(scores["difference"], decimals),
        "low": figures.signed(low, decimals),
        "high": figures.signed(high, decimals),
        "rows": figures.number(scores["rows"]),
        "direction": "higher is better" if upward else "lower is better",
        "drawn": drawn,
        "all": [
            {
                "name": name,
                "base": before.get(name),
                "tuned": after.get(name),
                "difference": _minus(after, before, name),
            }
            for name in dict.fromkeys((*after, *before))
        ],
    }


def _minus(after: Json, before: Json, name: str) -> float | None:
    one, other = figures.as_number(after.get(name)), figures.as_number(before.get(name))
    return None if one is None or other is None else one - other


def _key_figures(record: RunRecord) -> list[tuple[str, str, str]]:
    """``(figure, what it is, small print)`` for the strip under the headline."""
    out = []
    rows = (record.audit or {}).get("rows") or {}
    if rows.get("train") is not None:
        out.append((figures.number(rows["train"]), "rows trained on", f"{figures.number(rows.get('eval'))} held out"))
    stages = (record.plan or {}).get("stages") or []
    most = max((figures.as_number(stage.get("trainable")) or 0 for stage in stages), default=0)
    whole = ((record.environment or {}).get("base") or {}).get("parameters")
    if most:
        share = f"of {figures.parameters(whole)}, in {len(stages)} stage{'s' * (len(stages) != 1)}"
        out.append((figures.parameters(most), "parameters trained", share))
    measured = record.measured or {}
    if measured.get("seconds") is not None:
        device = str(((record.environment or {}).get("machine") or {}).get("device") or "")
        out.append((figures.duration(measured["seconds"]), "from start to end", f"on {device}" if device else ""))
    peak, before = figures.as_number(measured.get("peak_bytes")), figures.as_number(measured.get("baseline_bytes"))
    if peak is not None and before is not None:
        predicted = ((record.plan or {}).get("memory") or {}).get("resident_bytes")
        small = f"{figures.size(predicted)} predicted" if predicted is not None else ""
        out.append((figures.size(peak - before), "peak memory above the start", small))
    if record.receipts:
        held = sum(bool(one.get("holds")) for one in record.receipts)
        small = "every promise held" if held == len(record.receipts) else f"{len(record.receipts) - held} did not hold"
        out.append((f"{held} of {len(record.receipts)}", "receipts hold", small))
    return out


def _stages(record: RunRecord) -> Json | None:
    chart = charts.ladder(record)
    if record.scores is None or chart is None:
        return None
    planned = (record.plan or {}).get("stages") or []
    took = (record.measured or {}).get("stages") or []
    rows, before = [], figures.as_number(record.scores["base"])
    entries = record.scores.get("stages") or []
    names = list(dict.fromkeys(name for entry in entries for name in entry.get("scores") or {}))
    names = [name for name in names if name != record.scores["metric"]]
    for number, entry in enumerate(entries):
        now = figures.as_number(entry.get("score"))
        gain = None if now is None or before is None else now - before
        plan, time = (part[number] if number < len(part) else {} for part in (planned, took))
        others = [(entry.get("scores") or {}).get(name) for name in names]
        rows.append({"entry": entry, "gain": gain, "plan": plan, "time": time, "others": others})
        before = now if now is not None else before
    everything = (record.scores.get("all") or {}).get("base") or {}
    start = record.scores["base"]
    return {
        "chart": chart,
        "start": start,
        "rows": rows,
        "names": names,
        "base": [everything.get(name) for name in names],
        "kept": _kept(record),
    }


def _kept(record: RunRecord) -> str:
    """Which step's weights were saved, and why those."""
    kept = (record.scores or {}).get("kept")
    if not kept:
        return "The weights of the last step are the ones saved: there are no validation rows to choose by."
    stage = charts.stage_name(record, int(kept["stage"]))
    return (
        f"The weights of step {figures.number(kept['step'])} (stage {stage}) are the ones saved: the best on the "
        f"validation rows ({figures.score(kept['score'])}), which the held-out rows took no part in."
    )


def _curves(record: RunRecord) -> Json | None:
    stages = [
        {"number": n + 1, "name": charts.stage_name(record, n), "charts": charts.stage_curves(record, n)}
        for n in charts.stage_order(record)
    ]
    stages = [stage for stage in stages if stage["charts"]]
    return {"stages": stages, "replaced": (record.events or Events()).replaced} if stages else None


def _trained(record: RunRecord) -> Json | None:
    stages = (record.plan or {}).get("stages") or []
    heads = [charts.stage_name(record, n) for n in range(len(stages))]
    chart = charts.group_bars(stages, heads)
    if chart is None:
        return None
    by_stage = [{str(group.get("group")): group for group in stage.get("groups") or []} for stage in stages]
    names = list(dict.fromkeys(name for groups in by_stage for name in groups))
    rows = []
    for name in reversed(names):
        cells = [groups.get(name) for groups in by_stage]
        known = [cell for cell in cells if cell is not None]
        rows.append({"name": name, "parameters": known[0].get("parameters"), "cells": cells})
    return {"chart": chart, "rows": rows, "stages": heads, "plans": stages}


def _panels(record: RunRecord) -> Json | None:
    return {"panels": panels.prepare(record.panels)} if record.panels else None


def _data(record: RunRecord) -> Json | None:
    sources = (record.environment or {}).get("data") or {}
    if not sources and record.facts is None and record.audit is None:
        return None
    audit = record.audit or {}
    order = {"error": 0, "warning": 1, "note": 2}
    findings = sorted(audit.get("findings") or [], key=lambda one: order.get(str(one.get("level")), 3))
    tables = [(name, source) for name, source in sources.items() if isinstance(source, dict)]
    return {
        "sources": tables,
        "split": [str(line) for line in sources.get("split") or []],
        "facts": [str(line) for line in (record.facts or {}).get("lines") or []],
        "audited": record.audit is not None,
        "findings": findings,
        "accepted": audit.get("accepted") or {},
        "rows": audit.get("rows") or {},
    }


def _plan(record: RunRecord) -> Json | None:
    if record.plan is None:
        return None
    measured = record.measured or {}
    names = [charts.stage_name(record, number) for number in range(len(record.plan["stages"]))]
    forecast = (record.plan.get("time") or {}).get("stages") or []
    caches = (record.events or Events()).caches
    stages = []
    for number, stage in enumerate(record.plan["stages"]):
        took = measured.get("stages") or []
        recorded = [event for event in caches if event.get("stage") == number]
        time = took[number] if number < len(took) else {}
        guess = forecast[number] if number < len(forecast) else None
        stages.append({"name": names[number], "plan": stage, "cached": recorded, "time": time, "guess": guess})
    return {
        "memory": plan_charts.memory_view(record.plan.get("memory") or {}, names, _measured_bytes(record)),
        "compared": _compared(record),
        "decisions": record.plan.get("decisions") or [],
        "stages": stages,
        "timed": bool(forecast),
        "measured": record.measured is not None,
    }


MEASURED_BYTES = (
    ("allocated_peak_bytes", "measured: most that tensors held"),
    ("peak_bytes", "measured peak above the start"),
)
"""What a run measures of memory, by its key in ``measured.json``."""


def _measured_bytes(record: RunRecord) -> list[tuple[str, float]]:
    """``(words, bytes)``. Like is set beside like: a plan predicts what the run adds to the process."""
    measured = record.measured or {}
    before = figures.as_number(measured.get("baseline_bytes")) or 0.0
    told = []
    for key, words in MEASURED_BYTES:
        value = figures.as_number(measured.get(key))
        if value is not None:
            told.append((words, value - before if key == "peak_bytes" else value))
    return told


def _compared(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """``(what, predicted, measured, measured over predicted)``."""
    plan, measured = record.plan or {}, record.measured or {}
    memory = plan.get("memory") or {}
    peak, before = figures.as_number(measured.get("peak_bytes")), figures.as_number(measured.get("baseline_bytes"))
    above = peak - before if peak is not None and before is not None else None
    steps = sum(stage.get("steps") or 0 for stage in plan.get("stages") or []) or None
    low, high = memory.get("classic_bytes") or (None, None)
    time = (plan.get("time") or {}).get("seconds", plan.get("seconds"))
    classic = plan_charts.CLASSIC.removesuffix("2.5 to 3")
    wanted = [
        ("memory of tensors", memory.get("allocated_bytes"), measured.get("allocated_peak_bytes"), figures.size),
        ("peak memory above the start of the run", memory.get("resident_bytes"), above, figures.size),
        (f"the same by the {classic}2.5", low, above if low else None, figures.size),
        (f"the same by the {classic}3", high, above if high else None, figures.size),
        ("peak memory of the process", None, peak, figures.size),
        ("time", time, measured.get("seconds"), figures.duration),
        ("optimizer steps", steps, measured.get("steps"), figures.number),
    ]
    out = []
    for what, guess, fact, spell in wanted:
        one, other = figures.as_number(guess), figures.as_number(fact)
        if one is not None or other is not None:
            ratio = f"{other / one:.2f} ×" if one and other is not None else figures.NOTHING
            out.append((what, spell(guess), spell(fact), ratio))
    return out


def _receipts(record: RunRecord) -> Json | None:
    return {"receipts": record.receipts} if record.receipts else None


def flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """A nested recipe as ``(dotted name, value)``; lists of plain values stay one value."""
    if isinstance(value, dict) and value:
        return [pair for key, inner in value.items() for pair in flatten(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [pair for number, inner in enumerate(value) for pair in flatten(inner, f"{name}.{number}")]
    return [(name, value)]


def _origin(origins: Json, name: str) -> str:
    """Where a value comes from; a value inside another has the origin of the nearest one around it."""
    while name:
        if name in origins:
            return str(origins[name])
        name = name.rpartition(".")[0]
    return "default"


def _recipe(record: RunRecord) -> Json | None:
    if record.recipe is None and record.recipe_text is None:
        return None
    recipe = record.recipe or {}
    origins = recipe.get("origins") or {}
    rows = [(name, figures.plain(value), _origin(origins, name)) for name, value in flatten(recipe.get("values") or {})]
    rows = [row for row in rows if row[0]]
    given, left = ([row for row in rows if (row[2] == "default") is silent] for silent in (False, True))
    return {"given": given, "defaults": left, "digest": recipe.get("digest"), "text": record.recipe_text}


def _environment(record: RunRecord) -> Json | None:
    environment = record.environment
    if environment is None:
        return None
    machine, start = dict(environment.get("machine") or {}), dict(environment.get("base") or {})
    if "memory_bytes" in machine:
        machine["memory"] = figures.size(machine.pop("memory_bytes"))
    if "parameters" in start:
        start["parameters"] = figures.parameters(start["parameters"])
    snippet = start.pop("load_snippet", None)
    if "license" in start:
        start["license"] = start["license"] or "not recorded"
    plain = ("tunesmith", "python", "platform", "started", "seed")
    run = {name: environment[name] for name in plain if name in environment}
    boxes = (("Run", run), ("Machine", machine), ("Base model", start), ("Packages", environment.get("packages") or {}))
    told = [(title, [(name, figures.plain(value)) for name, value in box.items()]) for title, box in boxes if box]
    return {"boxes": told, "snippet": snippet}


def _log(record: RunRecord) -> Json | None:
    events = record.events
    if events is None:
        return None
    lines = [("warning", str(event.get("text", ""))) for event in events.warnings]
    lines += [("resumed", f"at step {figures.number(event.get('step'))}") for event in events.resumes]
    if events.unreadable:
        at = ", ".join(map(str, events.unreadable[:5]))
        lines.append(("unreadable", f"{len(events.unreadable)} line(s) of events.jsonl can't be read: line {at}"))
    lines += [
        ("unknown", f"{count} event(s) of a kind this page does not know: {k}") for k, count in events.unknown.items()
    ]
    return {"lines": lines} if lines else None


SECTIONS: tuple[tuple[str, str, Callable[[RunRecord], Json | None], str], ...] = (
    ("stages", "Score by stage", _stages, "no scores yet: scores.json is written when the run ends"),
    ("curves", "Curves", _curves, "no step has been taken yet: events.jsonl has none"),
    ("trained", "What trained", _trained, "no layer groups: plan.json is not there or names none"),
    ("results", "Results", _panels, "no panels: panels.json is written when the run ends"),
    ("data", "Data", _data, "nothing about the data: environment.json, facts.json and audit.json are not there"),
    ("plan", "Plan and measurement", _plan, "no plan: plan.json is not there"),
    ("receipts", "Receipts", _receipts, "no receipts yet: receipts.json is written when the run ends"),
    ("recipe", "Recipe", _recipe, "no recipe: recipe.json and recipe.yaml are not there"),
    ("environment", "Environment", _environment, "no environment: environment.json is not there"),
    ("log", "Log", _log, "the run gave no warning and was never resumed"),
)
"""Anchor, heading, what builds it, and the line that stands in its place without its files."""


def build(record: RunRecord) -> list[Section]:
    """Every section of a run's page, in order, those to be left out too."""
    return [Section(name, title, view(record), absence) for name, title, view, absence in SECTIONS]
