"""The learning curve as a drawing and as text for a terminal. It knows no run and no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.report import figures, svg
from tunesmith.report.tables import table_of, text_of

Json = Mapping[str, Any]

DRAWN = 80
"""Points of the fitted line."""


def learning_curve_chart(curve: Json) -> svg.Chart:
    """Scores over training rows with their intervals, the power law through them, and the next doubling."""
    points, twice, fit = curve["points"], curve["doubling"], curve["fit"]
    known = [(float(point["rows"]), float(point["mean"])) for point in points]
    first, last = known[0][0], float(twice["rows"])
    along = [first * (last / first) ** (step / (DRAWN - 1)) for step in range(DRAWN)]
    law = [(rows, _score(fit, rows, curve["higher_is_better"])) for rows in along]
    better = 1 if curve["higher_is_better"] else -1
    start = twice["expected"] - better * twice["gain"]
    most = float("inf") if fit["top"] is None else float(fit["top"])
    low, high = (min(most, start + better * float(twice[end])) for end in ("low", "high"))
    series = [
        svg.Series("power law", law, "var(--quiet)", "line"),
        *(_reach(point["rows"], point["low"], point["high"], 0) for point in points),
        svg.Series("measured", known, 0, "dots"),
        _reach(last, low, high, 1),
        svg.Series("twice the rows", [(last, float(twice["expected"]))], 1, "dots"),
    ]
    note = f"{figures.words(curve['metric'])} on {curve.get('held_out', 0):,} held-out rows; bars are 95 % intervals"
    return svg.lines("Learning curve", series, "training rows", note=note, span=[0.0])


def _reach(rows: float, low: float, high: float, colour: int) -> svg.Series:
    """An interval, upright."""
    return svg.Series("", [(float(rows), float(low)), (float(rows), float(high))], colour, "stepped")


def _score(fit: Json, rows: float, higher: bool) -> float:
    error = float(fit["a"] + fit["b"] * rows ** -fit["c"])
    return float(fit["top"] or 0) - error if higher else error


def curve_text(curve: Json) -> str:
    """The points, the forecasts and what they say."""
    rows = [
        [f"{point['share']:.1%}", f"{point['rows']:,}", f"{point['mean']:.4f}", _interval(point), len(point["repeats"])]
        for point in curve["points"]
    ]
    better = 1 if curve["higher_is_better"] else -1
    for name, key in (("twice", "doubling"), ("four times", "quadruple")):
        ahead = curve[key]
        low, high = sorted((better * ahead["low"], better * ahead["high"]))
        gain = f"{better * ahead['gain']:+.4f} [{low:+.4f}, {high:+.4f}]"
        rows.append([name, f"{ahead['rows']:,}", f"{ahead['expected']:.4f}", gain, "forecast"])
    names = ["share", "rows", curve["metric"], "95 % interval", "repeats"]
    fit = curve["fit"]
    how = "fitted to its optimum" if curve["probe"] == "linear" else "trained by the loop"
    return text_of(
        table_of(names, rows, right=(0, 1, 2, 4)),
        f"learning curve: {curve['said']}",
        f"a head on the frozen network, {how}; error = {fit['a']:.3f} + {fit['b']:.3g} * rows^-{fit['c']:.2f}; "
        f"{curve['seconds']:.1f} s",
    )


def _interval(value: Json) -> str:
    return f"[{value['low']:.4f}, {value['high']:.4f}]"
