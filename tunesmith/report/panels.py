"""Panels: what a task wants shown, one preparation a kind, each with a template macro of the same name.

It knows the shapes of panels and no task. A new kind is one function here, one line in ``PANELS`` and one macro in
``panels.html``, unless another kind's macro draws it (``DRAWN_AS``). Each function's words say which keys its kind has;
every kind may have ``title`` and ``note``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tunesmith.report import figures, svg
from tunesmith.report.audio_panel import audio
from tunesmith.report.histogram import histogram as draw_histogram

Json = dict[str, Any]

LONGEST_TEXT = 1200
"""Characters of one input that an example card shows; the rest is counted on the card."""

LARGEST_MATRIX = 40
"""Labels up to which a confusion matrix is drawn whole; above it, its most frequent confusions are listed."""

LARGEST_COUNT = 100_000
"""A matrix that holds as much has all its counts written short (1.2 M), since pixels are many."""

_PICTURE = re.compile(r"data:image/(jpeg|png|webp);base64,([A-Za-z0-9+/]+={0,2})")
_BEGINNINGS = {"jpeg": rb"\xff\xd8\xff", "png": rb"\x89PNG\r\n\x1a\n", "webp": rb"RIFF....WEBP"}
_COLOUR = re.compile(r"#[0-9a-f]{6}")


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
        if self.macro in ("calibration", "lines", "histogram"):
            return "narrow"
        slim = self.macro == "table" and len(self.view["columns"]) <= 6 and not self.view.get("wide")
        return "middle" if slim else "whole"


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
        return Panel(DRAWN_AS.get(kind, kind), title, note, renderer(panel))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        words = f"This '{kind}' panel has another shape than the report knows ({type(error).__name__}: {error})."
        return Panel("unknown", title, note, {"words": words})


def confusion(panel: Json) -> Json:
    """Matrices, base first; each cell with its count and its share of the true class's rows.

    ``labels``; ``tuned`` and, where there is one, ``base``: counts by true and predicted label. ``unit`` is what is
    counted, rows where left out. With ``missed`` true the matrices have one column more, what was missed, and one row
    more, what is false: found where nothing is.
    """
    labels = [str(label) for label in panel["labels"]]
    extra = bool(panel.get("missed"))
    size = len(labels) + extra
    matrices = []
    for name in ("base", "tuned"):
        counts = panel.get(name)
        if counts is None:
            continue
        if len(counts) != size or any(len(row) != size for row in counts):
            raise ValueError(f"{name} is not {size} by {size}")
        matrices.append({"name": name, "rows": _matrix_rows(labels, counts), "pairs": _pairs(labels, counts)})
    view = {"labels": labels, "matrices": matrices, "drawn": len(labels) <= LARGEST_MATRIX, "pairs": len(labels) > 4}
    # Names above the columns stand upright where they would make the matrix wider than its place.
    upright = len(labels) > 6 or sum(map(len, labels)) > 48
    stacked = len(labels) > 8 or len(matrices) == 1
    return view | {"missed": extra, "unit": str(panel.get("unit") or "rows"), "upright": upright, "stacked": stacked}


def _matrix_rows(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> list[Json]:
    rows, spell = [], _spelling(counts)
    for truth, row in enumerate(counts):
        total = sum(row)
        cells = []
        for guess, count in enumerate(row):
            share = count / total if total else 0.0
            there = f"true {labels[truth]}" if truth < len(labels) else "nothing there"
            said = f"predicted {labels[guess]}" if guess < len(labels) else "missed"
            words = f"{there}, {said}: {count:g} of {total:g}"
            cell = {"count": spell(count), "share": share, "hit": truth == guess, "words": words}
            cells.append(cell | {"extra": guess == len(labels), "void": truth == guess == len(labels)})
        name = labels[truth] if truth < len(labels) else "false"
        rows.append({"label": name, "cells": cells, "total": spell(total), "extra": truth == len(labels)})
    return rows


def _spelling(counts: Sequence[Sequence[float]]) -> Callable[[object], str]:
    return figures.number if max(map(max, counts), default=0) < LARGEST_COUNT else figures.parameters


def _pairs(labels: Sequence[str], counts: Sequence[Sequence[float]]) -> list[Json]:
    wrong = [
        (count, truth, guess)
        for truth, row in enumerate(counts)
        for guess, count in enumerate(row)
        if truth != guess and count > 0
    ]
    wrong.sort(key=lambda entry: -entry[0])
    spell = _spelling(counts)
    true, said = [*labels, "nothing there"], [*labels, "missed"]
    return [{"truth": true[t], "guess": said[g], "count": spell(c)} for c, t, g in wrong[:8]]


def table(panel: Json) -> Json:
    """A table whose columns of figures stand right-aligned: ``columns``, and ``rows`` of as many cells."""
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
    """Cards of rows with what the base and the tuned model said.

    ``items``: each an ``input``, and where known ``id``, ``expected``, ``base``, ``tuned``, ``base_ok``, ``tuned_ok``,
    and ``detail``, figures and words by name.
    """
    return {"items": [_example(item) for item in panel["items"]]}


def gallery(panel: Json) -> Json:
    """Cards of pictures side by side: the truth, what the base found, what the tuned model found.

    ``items``: each ``pictures``, of which every one has an ``image``, and where known ``name``, ``caption``, ``ok``,
    ``width`` and ``height`` in pixels; beside them whatever an example has but the input. ``legend``: ``name`` and
    ``colour`` (``#rrggbb``) of what is painted. ``strip`` true sets a card's pictures small, as many as fit on a line.
    An image is a JPEG, PNG or WebP inside the page, as ``data:image/webp;base64,...``; a panel with any other address
    is refused, since a report loads nothing.
    """
    items = []
    for item in panel["items"]:
        shown = [_picture(one) for one in item["pictures"]]
        if not shown:
            raise ValueError("an item has no pictures")
        items.append({**_example({**item, "input": ""}), "pictures": shown})
    legend = [{"name": str(one["name"]), "colour": checked_colour(one["colour"])} for one in panel.get("legend") or []]
    alone, strip = all(len(item["pictures"]) == 1 for item in items), bool(panel.get("strip"))
    return {"items": items, "legend": legend, "alone": alone, "strip": strip}


def checked_image(image: object) -> str:
    """An address that holds its picture.

    Raises:
        ValueError: It is another, or holds something else.
    """
    found = _PICTURE.fullmatch(image) if isinstance(image, str) else None
    if found is None:
        raise ValueError("an image is no JPEG, PNG or WebP inside the page")
    if not re.match(_BEGINNINGS[found[1]], base64.b64decode(found[2][:24]), re.DOTALL):
        raise ValueError(f"an image says that it is a {found[1]} and is none")
    return found[0]


def _picture(one: Json) -> Json:
    image = checked_image(one["image"])
    name, caption = str(one.get("name") or ""), str(one.get("caption") or "")
    sizes = {key: int(one[key]) for key in ("width", "height") if one.get(key) is not None}
    words = ": ".join(filter(None, (name, caption))) or "picture"
    return {"image": image, "name": name, "caption": caption, "ok": one.get("ok"), "sizes": sizes, "words": words}


def checked_colour(value: object) -> str:
    """A colour as ``#rrggbb``.

    Raises:
        ValueError: It is written otherwise.
    """
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise ValueError("a colour is not #rrggbb")
    return value


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
    """A reliability diagram with the expected calibration error in its note.

    ``bins``: each ``confidence``, ``accuracy`` and ``rows``; and ``error``.
    """
    bins = [(float(one["confidence"]), float(one["accuracy"]), float(one["rows"])) for one in panel["bins"]]
    error = panel.get("error")
    note = "" if error is None else f"expected calibration error {figures.score(error)}"
    # the panel's own heading stands above the drawing
    chart = svg.reliability(str(panel.get("title") or "Calibration"), bins, note)
    return {"chart": replace(chart, title="")}


def lines(panel: Json) -> Json:
    """A line chart of the task's own.

    ``x`` and ``y`` name the axes; ``series``: each a ``name`` and ``points``. ``x_span`` and ``y_span`` are values that
    an axis has to reach, beyond those of the series.
    """
    series = [
        svg.Series(str(one["name"]), [(float(x), float(y)) for x, y in one["points"]], number)
        for number, one in enumerate(panel["series"])
    ]
    span, rise = (panel.get(key) or () for key in ("x_span", "y_span"))
    return {"chart": svg.lines(str(panel["y"]), series, str(panel["x"]), span=span, rise=rise)}


def histogram(panel: Json) -> Json:
    """Bars of how often values occur in one or more sets, each set as shares of its own.

    ``x`` names the values and ``unit`` what is counted (rows where left out); ``edges`` rise; ``series``: each a
    ``name`` and ``counts``, one less than there are edges.
    """
    edges = [float(edge) for edge in panel["edges"]]
    series = [(str(one["name"]), [float(count) for count in one["counts"]]) for one in panel["series"]]
    if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
        raise ValueError("edges do not rise")
    if any(len(counts) != len(edges) - 1 for _, counts in series):
        raise ValueError(f"a series has not {len(edges) - 1} counts")
    return {"chart": draw_histogram(edges, series, str(panel["x"]), str(panel.get("unit") or "rows"))}


def spans(panel: Json) -> Json:
    """Rows as the model reads them, what is learned marked: ``items``, each ``row``, ``spans`` and ``note``."""
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
    "gallery": (gallery, ("items",)),
    "audio": (audio, ("items",)),
    "calibration": (calibration, ("bins",)),
    "lines": (lines, ("x", "y", "series")),
    "histogram": (histogram, ("x", "edges", "series")),
    "spans": (spans, ("items",)),
}
"""Kind of panel: the function that prepares it, and the keys that it can't do without."""

DRAWN_AS = {"audio": "table"}
"""Kinds that another kind's macro draws."""
