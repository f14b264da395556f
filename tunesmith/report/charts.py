"""From a run's record to drawings: curves, the ladder of stages, layer groups.

It knows the shapes of events and plans and draws through ``svg``; it knows no HTML and no task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tunesmith.report import figures, svg
from tunesmith.report.read import Events, RunRecord
from tunesmith.report.svg import Chart, Part, Point, Series

Json = dict[str, Any]

MOST_POINTS = 500
"""Points of a raw line; a longer one is thinned to the lowest and highest of each stretch, so that no spike is lost."""


MOST_TOGETHER = 5
"""Scores beside the headline that share a chart."""


def smoothed(points: Sequence[Point], window: int) -> list[Point]:
    """A running average with exponential weights over about ``window`` points, unbiased at its beginning."""
    keep = 1 - 2 / (window + 1)
    total = weight = 0.0
    out = []
    for x, y in points:
        if not math.isfinite(y):
            continue
        total, weight = keep * total + (1 - keep) * y, keep * weight + (1 - keep)
        out.append((x, total / weight))
    return out


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """The same line with at most about ``most`` points: the lowest and the highest of each stretch, in order."""
    if len(points) <= most:
        return list(points)
    length = math.ceil(len(points) / (most / 2))
    out: list[Point] = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        chosen = {
            min(range(len(stretch)), key=lambda n: stretch[n][1]),
            max(range(len(stretch)), key=lambda n: stretch[n][1]),
        }
        out.extend(stretch[n] for n in sorted(chosen))
    return out


def points_of(entries: Sequence[Json], key: str) -> list[Point]:
    """``(step, value)`` of every entry that has a figure under ``key``; one that is not finite stays, as NaN."""
    out = []
    for entry in entries:
        step, value = entry.get("step"), entry.get(key)
        if isinstance(step, int) and isinstance(value, int | float) and not isinstance(value, bool):
            out.append((float(step), float(value)))
    return out


def stage_order(record: RunRecord) -> list[int]:
    """The stages that the plan or the events name, in order."""
    events = record.events or Events()
    seen = {entry["stage"] for entry in (*events.steps, *events.evals) if isinstance(entry.get("stage"), int)}
    return sorted(seen | set(range(len((record.plan or {}).get("stages") or []))))


def stage_name(record: RunRecord, index: int) -> str:
    """A stage's name out of the plan, the scores or the events; its number where none has it."""
    for source in (record.plan, record.scores):
        stages = (source or {}).get("stages") or []
        if index < len(stages) and stages[index].get("name"):
            return str(stages[index]["name"])
    for event in (record.events or Events()).stages:
        if event.get("stage") == index and event.get("name"):
            return str(event["name"])
    return f"stage {index + 1}"


def stage_curves(record: RunRecord, index: int) -> list[Chart]:
    """The charts of one stage: loss, its terms, evaluation, learning rate, gradient norm, as far as they were told."""
    events = record.events or Events()
    steps = [entry for entry in events.steps if entry.get("stage") == index]
    evals = [entry for entry in events.evals if entry.get("stage") == index]
    finders = [entry for entry in events.finders if entry.get("stage") == index]
    resumes = _resumes(events, steps)
    # one span of steps for all charts of a stage, so that they can be read against each other
    span = [float(one["step"]) for one in (*steps, *evals) if isinstance(one.get("step"), int)]
    losses, rest = [_loss(steps, evals, resumes, span), _terms(steps, span)], [_rates(steps, span), _norms(steps, span)]
    drawn = [*losses, *_scores(record, evals, span), *rest, *map(_finder, finders)]
    return [chart for chart in drawn if chart is not None]


def _resumes(events: Events, steps: Sequence[Json]) -> list[tuple[float, str]]:
    inside = {entry.get("step") for entry in steps}
    return [(float(one["step"]), "resumed") for one in events.resumes if one.get("step") in inside]


def _loss(
    steps: Sequence[Json], evals: Sequence[Json], marks: Sequence[tuple[float, str]], span: Sequence[float]
) -> Chart | None:
    raw = points_of(steps, "loss")
    if not any(math.isfinite(y) for _, y in raw):
        return None
    window = max(5, len(raw) // 15)
    series = [Series("each step", thinned(raw), 0, "raw"), Series("smoothed", thinned(smoothed(raw, window)), 0)]
    if held := points_of(evals, "loss"):
        series.append(Series("evaluation", held, 1, "line"))
    return svg.lines("Loss", series, "step", note=f"smoothed over about {window} steps", marks=marks, span=span)


def _terms(steps: Sequence[Json], span: Sequence[float]) -> Chart | None:
    names = list(dict.fromkeys(name for entry in steps for name in entry.get("terms") or {}))
    if len(names) < 2:
        return None
    window = max(5, len(steps) // 15)
    series = []
    for number, name in enumerate(names):
        told = [{"step": entry.get("step"), "value": (entry.get("terms") or {}).get(name)} for entry in steps]
        series.append(Series(name, thinned(smoothed(points_of(told, "value"), window)), number))
    return svg.lines("Loss by term", series, "step", note="smoothed", span=span)


def _scores(record: RunRecord, evals: Sequence[Json], span: Sequence[float]) -> list[Chart]:
    """The headline metric by itself, since others may be of another scale, and the others in further charts."""
    names = list(dict.fromkeys(name for entry in evals for name in entry.get("scores") or {}))
    metric = str((record.scores or {}).get("metric") or (names[0] if names else ""))
    others = [name for name in names if name != metric]
    headline, *beside = [_scored(evals, name, number) for number, name in enumerate([metric, *others])]
    drawn = []
    if headline.points:
        note = "the ringed point is the best" if headline.best is not None else ""
        drawn.append(svg.lines(f"Evaluation: {headline.name}", [headline], "step", note=note, span=span))
    shown = [one for one in beside if one.points]
    for start in range(0, len(shown), MOST_TOGETHER):
        together = shown[start : start + MOST_TOGETHER]
        title = "Other scores" if len(together) > 1 else f"Evaluation: {together[0].name}"
        drawn.append(svg.lines(title, together, "step", span=span))
    return drawn


def _scored(evals: Sequence[Json], name: str, number: int) -> Series:
    told = [entry for entry in evals if figures.as_number((entry.get("scores") or {}).get(name)) is not None]
    points = [(float(entry["step"]), float(entry["scores"][name])) for entry in told]
    best = next((n for n in reversed(range(len(told))) if told[n].get("best")), None) if number == 0 else None
    return Series(figures.words(name), points, 1 if number == 0 else 1 + number, best=best)


def _rates(steps: Sequence[Json], span: Sequence[float]) -> Chart | None:
    by_group: dict[str, list[Point]] = {}
    for entry in steps:
        for group, value in (entry.get("lr") or {}).items():
            if isinstance(entry.get("step"), int) and figures.as_number(value) is not None:
                by_group.setdefault(str(group), []).append((float(entry["step"]), float(value)))
    if not by_group:
        return None
    same: dict[tuple[Point, ...], list[str]] = {}
    for group, points in by_group.items():
        same.setdefault(tuple(points), []).append(group)
    series = []
    for number, (line, groups_of_line) in enumerate(same.items()):
        share = round(100 * number / max(1, len(same) - 1))
        colour = number if len(same) <= 4 else f"color-mix(in oklab, var(--s1) {share}%, var(--s0))"
        series.append(Series(_together(groups_of_line), thinned(line), colour, "stepped"))
    legend = None
    if len(series) > 6:
        legend = [(one.name, one.paint, "line") for one in (series[0], series[-1])]
        legend.insert(1, (f"{len(series) - 2} rates between", "var(--rule)", "line"))
    one_line = _together(next(iter(same.values()))) if len(same) == 1 else ""
    title = "Learning rate by layer group"
    return svg.lines(title, series, "step", from_zero=True, legend=legend, note=one_line, span=span)


def _together(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]} ({len(names)} groups)"


def _norms(steps: Sequence[Json], span: Sequence[float]) -> Chart | None:
    points = points_of(steps, "norm")
    if not any(math.isfinite(y) for _, y in points):
        return None
    window = max(5, len(points) // 15)
    series = [Series("", thinned(points), 2, "raw"), Series("", thinned(smoothed(points, window)), 2)]
    return svg.lines("Gradient norm", series, "step", from_zero=True, note="before clipping", span=span)


def _finder(event: Json) -> Chart | None:
    pairs = [
        (float(rate), float(loss))
        for rate, loss in zip(event.get("rates") or [], event.get("losses") or [], strict=False)
        if (figures.as_number(rate) or 0) > 0 and figures.as_number(loss) is not None
    ]
    if not pairs:
        return None
    picked = figures.as_number(event.get("picked"))
    marks = [(picked, f"picked {figures.rate(picked)}")] if picked else []
    return svg.lines("Learning-rate range test", [Series("", pairs, 4)], "learning rate", log_x=True, marks=marks)


def ladder(record: RunRecord) -> Chart | None:
    """Base, then the score after each stage; None without scores."""
    scores = record.scores or {}
    rungs = [("base", scores.get("base"))]
    rungs += [(str(one.get("name")), one.get("score")) for one in scores.get("stages") or []]
    told = [(name, value) for name, raw in rungs if (value := figures.as_number(raw)) is not None]
    return svg.ladder(figures.words(scores.get("metric")), told) if len(told) > 1 else None


def group_bars(stages: Sequence[Json], names: Sequence[str]) -> Chart | None:
    """One bar a stage: every layer group by its parameters, those that train in colour."""
    rows = []
    for index, stage in enumerate(stages):
        parts = []
        for group in stage.get("groups") or []:
            trains, count = bool(group.get("trains")), figures.as_number(group.get("parameters")) or 0.0
            state = f"trains at {figures.rate(group.get('lr'))}" if trains else "frozen"
            words = f"{group.get('group')}: {figures.parameters(count)} parameters, {state}"
            parts.append(Part(str(group.get("group")), count, "part trains" if trains else "part frozen", words))
        rows.append(
            (f"{index + 1} · {names[index]}: {figures.parameters(stage.get('trainable'))} parameters train", parts)
        )
    if not any(parts for _, parts in rows):
        return None
    note = "input on the left, head on the right; the smallest pieces are drawn wider than they are"
    return svg.bars("Layer groups by parameters", rows, least=5.0, note=note)
