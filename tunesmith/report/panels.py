"""Panels: what a task wants shown, one preparation a kind, each with a template macro of the same name.

It knows the shapes of panels and no task. A new kind (pictures, sound) is one function here, one line in
``PANELS`` and one macro in ``panels.html``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.report import figures, svg

Json = dict[str, Any]

LONGEST_TEXT = 1200
"""Characters of one input that an example card shows; the rest is counted on the card."""

LARGEST_MATRIX = 40
"""Labels up to which a confusion matrix is drawn whole; above it, its most frequent confusions are listed."""


@dataclass(frozen=True)
class Panel:
    """A panel ready for the page: ``macro`` draws ``view``."""

    macro: str
    title: str
    note: str
    view: Json

    @property
    def span(self) -> str:
        """How much of the page's width it wants: ``narrow``, ``middle`` or ``whole``."""
        if self.macro in ("calibration", "lines"):
            return "narrow"
        return "middle" if self.macro == "table" and len(self.view["columns"]) <= 6 else "whole"


def prepare(panels: Sequence[Json]) -> list[Panel]:
    """Every panel of a run, in its order; one of a kind or shape that the page can't draw says so by name."""
    return [_prepare(panel) for panel in panels]


def _prepare(panel: Json) -> Panel:
    kind = str(panel.get("kind"))
    title, note = str(panel.get("title") or kind), str(panel.get("note") or "")
    if kind not in PANELS:
        return Panel(
            "unknown", title, note, {"words": f"This version of the report has no picture for '{kind}' panels."}
        )
    renderer, needed = PANELS[kind]
    if missing := [key for key in needed if key not in panel]:
        return Panel("unknown", title, note, {"words": f"This '{kind}' panel lacks {', '.join(missing)}."})
    try:
        return Panel(kind, title, note, renderer(panel))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        words = f"This '{kind}' panel has another shape than the report knows ({type(error).__name__}: {error})."
        return Panel("unknown", title, note, {"words": words})


def confusion(panel: Json) -> Json:
    """Matrices, base first; each cell with its count and its share of the true class's rows."""
    labels = [str(label) for label in panel["labels"]]
    matrices = []
    for name in ("base", "tuned"):
        counts = panel.get(name)
        if counts is None:
            continue
        if len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
            raise ValueError(f"{name} is not {len(labels)} by {len(labels)}")
        matrices.append({"name": name, "rows": _matrix_rows(labels, counts), "pairs": _pairs(labels, counts)})
    drawn = len(labels) <= LARGEST_MATRIX
    return {"labels": labels, "matrices": matrices, "drawn": drawn, "pairs": len(labels) > 4}


def _matrix_rows(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> list[Json]:
    rows = []
    for truth, row in enumerate(counts):
        total = sum(row)
        cells = []
        for guess, count in enumerate(row):
            share = count / total if total else 0.0
            words = f"true {labels[truth]}, predicted {labels[guess]}: {count:g} of {total:g}"
            hit = truth == guess
            cells.append({"count": figures.number(count), "share": share, "hit": hit, "words": words})
        rows.append({"label": labels[truth], "cells": cells, "total": figures.number(total)})
    return rows


def _pairs(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> list[Json]:
    wrong = [
        (count, truth, guess)
        for truth, row in enumerate(counts)
        for guess, count in enumerate(row)
        if truth != guess and count > 0
    ]
    wrong.sort(key=lambda entry: -entry[0])
    return [{"truth": labels[t], "guess": labels[g], "count": figures.number(c)} for c, t, g in wrong[:8]]


def table(panel: Json) -> Json:
    """A table whose columns of figures stand right-aligned."""
    columns = [str(column) for column in panel["columns"]]
    rows = [list(row) for row in panel["rows"]]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a row has not {len(columns)} cells")
    numeric = [
        bool(rows) and all(row[n] is None or isinstance(row[n], int | float) for row in rows)
        for n in range(len(columns))
    ]
    return {
        "columns": list(zip(columns, numeric, strict=True)),
        "rows": [list(zip(map(figures.cell, row), numeric, strict=True)) for row in rows],
    }


def examples(panel: Json) -> Json:
    """Cards of rows with what the base and the tuned model said."""
    return {"items": [_example(item) for item in panel["items"]]}


def _example(item: Json) -> Json:
    text = figures.plain(item["input"])
    said = [
        {"name": name, "text": shorten(figures.plain(item[name])), "ok": item.get(f"{name}_ok")}
        for name in ("base", "tuned")
        if item.get(name) is not None
    ]
    bars, words = [], []
    for name, value in (item.get("detail") or {}).items():
        figure = figures.as_number(value)
        if figure is not None and 0 <= figure <= 1:
            bars.append({"name": str(name), "share": figure, "words": f"{figure:.2f}"})
        else:
            words.append({"name": str(name), "words": figures.cell(value)})
    expected = item.get("expected")
    return {
        "id": str(item.get("id", "")),
        "input": shorten(text),
        "expected": None if expected is None else shorten(figures.plain(expected)),
        "said": said,
        "bars": bars,
        "words": words,
        "ok": item.get("tuned_ok"),
    }


def shorten(text: str) -> str:
    """At most ``LONGEST_TEXT`` characters, and how many more there were."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]} … ({figures.number(len(text) - LONGEST_TEXT)} characters more)"


def calibration(panel: Json) -> Json:
    """A reliability diagram with the expected calibration error in its note."""
    bins = [(float(one["confidence"]), float(one["accuracy"]), float(one["rows"])) for one in panel["bins"]]
    error = panel.get("error")
    note = "" if error is None else f"expected calibration error {figures.score(error)}"
    # the panel's own heading stands above the drawing
    chart = svg.reliability(str(panel.get("title") or "Calibration"), bins, note)
    return {"chart": replace(chart, title="")}


def lines(panel: Json) -> Json:
    """A line chart of the task's own."""
    series = [
        svg.Series(str(one["name"]), [(float(x), float(y)) for x, y in one["points"]], number)
        for number, one in enumerate(panel["series"])
    ]
    return {"chart": svg.lines(str(panel["y"]), series, str(panel["x"]))}


def spans(panel: Json) -> Json:
    """Rows as the model reads them, what is learned marked."""
    items = [
        {
            "id": str(item.get("row", "")),
            "note": str(item.get("note") or ""),
            "spans": [{"text": str(text), "learned": bool(learned)} for text, learned in item["spans"]],
        }
        for item in panel["items"]
    ]
    return {"items": items}


PANELS: dict[str, tuple[Callable[[Json], Json], tuple[str, ...]]] = {
    "confusion": (confusion, ("labels", "tuned")),
    "table": (table, ("columns", "rows")),
    "examples": (examples, ("items",)),
    "calibration": (calibration, ("bins",)),
    "lines": (lines, ("x", "y", "series")),
    "spans": (spans, ("items",)),
}
"""Kind of panel: the function that prepares it, and the keys that it can't do without."""
