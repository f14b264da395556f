"""What the data is made of, drawn: histograms and bars by side, heat maps, matrices and the map of the embedding.

It knows the shapes of an audit's views and draws through ``svg``; it knows no check and no row. Training rows are blue
and filled, held-out rows orange and hollow, so that colour never stands alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from tunesmith.report import figures, panels
from tunesmith.report.histogram import histogram
from tunesmith.report.svg import WIDTH, Chart, picture, tag

Json = Mapping[str, Any]

SIDES = {"train": "train", "eval": "held out"}
"""Sides in their order, as a person calls them."""

MOST_BARS, FIRST_BARS, LAST_BARS = 40, 25, 10
"""Bars that are all shown; of more, those with most rows and those with fewest."""

MOST_POINTS = 1_500
"""Points of a map; of more, every second, third, ... is drawn."""

MAP_LABELS = 5
"""Labels with a colour of their own on a map; the others are grey."""

MOST_CELLS = 48
"""Rows and columns of a heat map; more are added up in pairs until they fit."""

FLAT = 0.2
"""A heat map whose least cell has more than this of its most is drawn from that least on."""

MAP_SIDE = 360.0


def view_of(view: Json) -> dict[str, Any]:
    """A view ready for the page: ``macro`` draws ``view``; one of a shape that can't be drawn says so by name."""
    kind, title = str(view.get("kind")), str(view.get("title") or view.get("name"))
    said = [str(line) for line in view.get("said") or []]
    try:
        macro, drawn = VIEWS[kind](view.get("data") or {}, str(view.get("unit") or ""), title)
    except KeyError as error:
        macro, drawn = "unknown", {"words": f"This '{kind}' view can't be drawn: {error} is not there."}
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        words = f"This '{kind}' view has another shape than the page knows ({type(error).__name__}: {error})."
        macro, drawn = "unknown", {"words": words}
    wide = macro in ("matrix", "bars") or len(drawn.get("charts", ())) > 1
    return {"macro": macro, "title": title, "said": said, "view": drawn, "name": str(view.get("name")), "wide": wide}


def by_side(counts: Json) -> list[tuple[str, list[float]]]:
    """Counts by side, training rows first; a side that only held-out rows have keeps its colour."""
    return [
        (words, [float(n) for n in counts.get(side) or [0] * len(next(iter(counts.values())))])
        for side, words in SIDES.items()
        if side in counts or (side == "train" and counts)
    ]


def _histogram(data: Json, unit: str, title: str) -> tuple[str, dict[str, Any]]:
    edges = [float(edge) for edge in data["edges"]]
    series = by_side(data["counts"])
    if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
        raise ValueError("edges do not rise")
    if any(len(counts) != len(edges) - 1 for _, counts in series):
        raise ValueError(f"a side has not {len(edges) - 1} counts")
    shown = [one for one in series if sum(one[1])] or series
    kept = series if shown and shown[0][0] != SIDES["train"] else shown
    return "charts", {"charts": [histogram(edges, kept, unit or title.lower(), spell=short)]}


def short(value: float) -> str:
    """A figure in few letters: a small whole number, else three digits, thousands as ``12 k``."""
    rounded = value if value == int(value) and abs(value) < 1e4 else float(f"{value:.3g}")
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= max(scale, 1e4):
            return f"{rounded / scale:g}\u00a0{unit}".replace("-", "\u2212")
    return figures.number(int(rounded) if rounded == int(rounded) else rounded)


def _bars(data: Json, unit: str, _title: str) -> tuple[str, dict[str, Any]]:
    names, series = [str(name) for name in data["names"]], by_side(data["counts"])
    if any(len(counts) != len(names) for _, counts in series):
        raise ValueError(f"a side has not {len(names)} counts")
    parts = bool(data.get("shares", True))
    totals = {name: sum(counts) if parts else max(counts, default=0.0) for name, counts in series}
    most = max((c / (totals[name] or 1) for name, counts in series for c in counts), default=0.0) or 1.0
    order = list(range(len(names)))
    cut = 0
    if len(names) > MOST_BARS:
        order.sort(key=lambda at: -sum(counts[at] for _, counts in series))
        cut = len(order) - FIRST_BARS - LAST_BARS
        order = [*order[:FIRST_BARS], *order[-LAST_BARS:]]
    kept = [(name, number, counts) for number, (name, counts) in enumerate(series) if totals[name]]
    rows = [
        {
            "name": names[at] or "(empty)",
            "sides": [
                {
                    "side": name,
                    "paint": number,
                    "share": f"{counts[at] / totals[name] / most:.4f}",
                    "words": _amount(counts[at], totals[name] if parts else None, unit),
                }
                for name, number, counts in kept
            ],
        }
        for at in order
    ]
    legend = [(f"{name}: {figures.number(_whole(totals[name]))} {unit or 'rows'}", number) for name, number, _ in kept]
    if not parts:
        legend = []
    return "bars", {"rows": rows, "cut": cut, "after": FIRST_BARS, "legend": legend}


def _amount(value: float, of: float | None, unit: str) -> str:
    said = figures.number(_whole(value))
    return f"{said} {unit}".rstrip() if of is None else f"{said} ({figures.percent(value / of)})"


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _heat(data: Json, unit: str, title: str) -> tuple[str, dict[str, Any]]:
    cells = [[float(value) for value in row] for row in data["cells"]]
    if not cells or not cells[0] or any(len(row) != len(cells[0]) for row in cells):
        raise ValueError("its rows are not of one length")
    across, down = (data.get(key) or "" for key in ("across", "down"))
    if isinstance(across, str) and isinstance(down, str):
        cells = _fewer(cells)
    most, least = max(map(max, cells)), min(map(min, cells))
    # Values that all lie close together are told apart from their least, not from zero.
    low = least if least > FLAT * most else 0.0
    side = min(300.0 / len(cells[0]), 300.0 / len(cells), 44.0)
    left, top = _room(down), 18.0
    drawn = []
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            told = f"{_at(across, x, len(row))}, {_at(down, y, len(cells))}: {figures.number(value)}"
            share = max(0.0, value - low) / (most - low) if most > low else 0.0
            fill = f"fill-opacity:{0.06 + 0.94 * (share if low else math.sqrt(share)):.2f}"
            place = {"x": left + x * side, "y": top + y * side, "width": side, "height": side}
            drawn.append(tag("rect", tag("title", told), **place, class_="heat", style=fill))
    bottom = top + len(cells) * side
    drawn += _axis_words(across, down, left, top, side, bottom, len(cells[0]))
    words = f"{title}: {len(cells)} by {len(cells[0])} cells, the most {figures.number(most)}"
    named = not isinstance(across, str)
    width, height = left + len(cells[0]) * side + (70.0 if named else 6.0), bottom + (92.0 if named else 10.0)
    reach = f"{figures.number(_whole(low))} to " if low else "at most "
    note = f"the deeper the more; {reach}{figures.number(_whole(most))}" + (f" {unit}" if unit else "")
    return "charts", {"charts": [Chart("", picture(words, height, *drawn, width=max(width, float(WIDTH))), note)]}


def _fewer(cells: list[list[float]]) -> list[list[float]]:
    while len(cells) > MOST_CELLS:
        cells = [
            [a + b for a, b in zip(one, two, strict=True)]
            for one, two in zip(cells[::2], [*cells[1::2], [0.0] * len(cells[0])][: (len(cells) + 1) // 2], strict=True)
        ]
    while len(cells[0]) > MOST_CELLS:
        cells = [[sum(row[at : at + 2]) for at in range(0, len(row), 2)] for row in cells]
    return cells


def _room(down: Any) -> float:
    """Left of a heat map: for the axis's words, or for the longest name."""
    return 20.0 if isinstance(down, str) else 12.0 + 6.2 * max((len(_cut(name, 18)) for name in down), default=0)


def _at(axis: Any, at: int, of: int) -> str:
    if isinstance(axis, str):
        return f"{axis or 'cell'} {figures.percent(at / of)} to {figures.percent((at + 1) / of)}"
    return str(axis[at])


def _axis_words(
    across: Any, down: Any, left: float, top: float, side: float, bottom: float, columns: int
) -> list[Markup]:
    """What the axes are: words along them, or the names of rows and columns."""
    drawn: list[Markup] = []
    if isinstance(across, str):
        drawn.append(tag("text", f"{across} →" if across else "", x=left, y=top - 6, class_="label"))
    else:
        for at, name in enumerate(across):
            x = left + (at + 0.5) * side
            turn = f"rotate(40 {x:.1f} {bottom + 12:.1f})"
            drawn.append(tag("text", tag("title", str(name)), _cut(name, 16), x=x, y=bottom + 12, transform=turn))
    if isinstance(down, str):
        y = top
        words = f"← {down}" if down else ""
        drawn.append(tag("text", words, x=left - 7, y=y, class_="label end", transform=f"rotate(-90 {left - 7} {y})"))
    else:
        for at, name in enumerate(down):
            y = top + (at + 0.5) * side + 4
            drawn.append(tag("text", tag("title", str(name)), _cut(name, 18), x=left - 6, y=y, class_="end"))
    return drawn


def _cut(name: Any, most: int) -> str:
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _matrix(data: Json, unit: str, _title: str) -> tuple[str, dict[str, Any]]:
    names = [str(name) for name in data["names"]]
    view = panels.confusion({"labels": names, "tuned": data["cells"], "unit": unit or "rows"})
    down, across = str(data.get("down") or "given"), str(data.get("across") or "likely")
    for name, row in zip(names, view["matrices"][0]["rows"], strict=True):
        for other, cell in zip(names, row["cells"], strict=True):
            cell["words"] = f"{down} {name}, {across} {other}: {cell['count']} of {row['total']}"
    return "matrix", {**view, "down": down, "across": across}


def _map(data: Json, _unit: str, title: str) -> tuple[str, dict[str, Any]]:
    points = [tuple(point) for point in data["points"]]
    every = max(1, -(-len(points) // MOST_POINTS))
    shown = [point for point in points[::every] if math.isfinite(float(point[0]) + float(point[1]))]
    if not shown:
        raise ValueError("no point can be drawn")
    note = f"every {_nth(every)} of {figures.number(len(points))} points" if every > 1 else ""
    charts = [_scatter("by side", title, shown, _by_side(shown), note)]
    labels = Counter(str(point[3]) for point in shown if point[3] is not None)
    if labels:
        charts.append(_scatter("by label", title, shown, _by_label(labels), note))
    return "charts", {"charts": charts}


def _nth(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


Paint = tuple[Callable[[Sequence[Any]], int], list[tuple[str, str, str]]]


def _by_side(points: Sequence[Sequence[Any]]) -> Paint:
    """Which colour a point has by its side, and the legend."""
    counts = Counter(str(point[2]) for point in points)
    legend = [
        (f"{words}: {figures.number(counts[side])}", f"var(--s{number})", "dots" if side == "train" else "ring")
        for number, (side, words) in enumerate(SIDES.items())
        if counts[side]
    ]
    return (lambda point: 0 if point[2] == "train" else 1), legend


def _by_label(labels: Counter[str]) -> Paint:
    most = [name for name, _ in labels.most_common(MAP_LABELS)]
    paint = {name: number for number, name in enumerate((*most,), 2)}
    # The colours of the sides come last: a label is no side.
    legend = [
        (f"{_cut(name, 40)}: {figures.number(labels[name])}", f"var(--s{paint[name] % 6})", "dots") for name in most
    ]
    others = sum(labels.values()) - sum(labels[name] for name in most)
    if others:
        legend.append((f"{len(labels) - len(most)} other labels: {figures.number(others)}", "var(--rule)", "dots"))
    return (lambda point: paint[str(point[3])] % 6 if str(point[3]) in paint else -1), legend


def _scatter(name: str, title: str, points: Sequence[Sequence[Any]], paint: Paint, note: str) -> Chart:
    """The map, square; a held-out row is a ring, in front of the training rows."""
    colour, legend = paint
    xs, ys = ([float(point[axis]) for point in points] for axis in (0, 1))
    low_x, low_y = min(xs), min(ys)
    span_x, span_y = (max(xs) - low_x) or 1.0, (max(ys) - low_y) or 1.0
    room = MAP_SIDE - 16
    drawn: list[Markup] = [tag("rect", x=0.5, y=0.5, width=MAP_SIDE - 1, height=MAP_SIDE - 1, class_="ground")]
    for point in sorted(points, key=lambda one: (str(one[2]) == "eval", colour(one) >= 0)):
        number = colour(point)
        side = str(point[2])
        told = [_cut(point[4], 60), SIDES.get(side, side), *([] if point[3] is None else [_cut(point[3], 60)])]
        place = {
            "cx": 8 + room * (float(point[0]) - low_x) / span_x,
            "cy": MAP_SIDE - 8 - room * (float(point[1]) - low_y) / span_y,
        }
        style = f"spot {'held' if side == 'eval' else 'own'} {f'm{number}' if number >= 0 else 'other'}"
        drawn.append(
            tag("circle", tag("title", " · ".join(told)), **place, r=3 if side == "eval" else 2.5, class_=style)
        )
    words = f"{title}, {name}: {len(points)} rows as points; rows that are alike lie close together"
    return Chart(name, picture(words, MAP_SIDE, *drawn, width=MAP_SIDE), note, tuple(legend))


VIEWS: dict[str, Callable[[Json, str, str], tuple[str, dict[str, Any]]]] = {
    "histogram": _histogram,
    "bars": _bars,
    "heat": _heat,
    "matrix": _matrix,
    "map": _map,
}
"""Kind of view to what draws it: the name of a macro, and what that is given."""


def wave(peaks: Sequence[float]) -> Markup:
    """A recording's outline, for the eye: silence, clipping and where the sound is can be seen before it is heard."""
    middle, reach = 20.0, 19.0
    bars = []
    for at, peak in enumerate(peaks):
        height = max(0.6, min(1.0, float(peak)) * reach)
        style = "loud" if float(peak) >= 0.99 else "own"
        bars.append(tag("rect", x=at * 2, y=middle - height, width=1.4, height=2 * height, class_=style))
    most = max(map(float, peaks), default=0.0)
    level = "silence" if most <= 1e-4 else f"the loudest {20 * math.log10(most):.0f} dB of full scale"
    shape = {"viewBox": f"0 0 {max(1, 2 * len(peaks))} 40", "preserveAspectRatio": "none", "height": 40}
    return tag("svg", *bars, **shape, role="img", class_="wave", aria_label=f"outline of the sound: {level}")
