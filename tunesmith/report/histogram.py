"""Histograms: how often values of each kind occur, several sets side by side, as inline SVG.

It knows numbers and words, and draws through ``svg``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.report import figures
from tunesmith.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, levels, picture, tag

MOST_LABELS = 9
"""Edges that carry their figure; of more, every second, third, ... does."""

LETTERS = 54
"""Letters of figures that fit along the axis."""


def histogram(
    edges: Sequence[float],
    series: Sequence[tuple[str, Sequence[float]]],
    x_label: str,
    unit: str = "rows",
    spell: Callable[[float], str] = figures.number,
) -> Chart:
    """Bars of equal width between ``edges``, whatever their distance; each set's bars are shares of that set.

    Args:
        edges: Where the bins begin and end, rising: one more than there are bins.
        series: Names of the sets, and how many fall into each bin.
        x_label: What is counted by.
        unit: What is counted.
        spell: How an edge is written.
    """
    bins = len(edges) - 1
    totals = [sum(counts) for _, counts in series]
    shares = [[c / total if total else 0.0 for c in counts] for (_, counts), total in zip(series, totals, strict=True)]
    top = max((share for one in shares for share in one), default=0.0) or 1.0
    start, end = LEFT + 6.0, float(WIDTH - RIGHT)
    up, step = Axis(0.0, top * 1.06, HEIGHT - BOTTOM, TOP), (end - start) / bins
    marks = up.ticks(4)
    drawn = levels(up, marks, [figures.percent(mark) for mark in marks], start, end)
    width = step * (0.86 if bins > 1 else 0.4) / max(1, len(series))
    for number, ((name, counts), total) in enumerate(zip(series, totals, strict=True)):
        for at, count in enumerate(counts):
            share = shares[number][at]
            x = start + (at + 0.5) * step + (number - len(series) / 2) * width
            reach = f"{spell(edges[at])} to {spell(edges[at + 1])}"
            words = f"{name}: {figures.number(count)} of {figures.number(total)} {unit} ({figures.percent(share)})"
            shape = {"x": x, "y": up(share), "width": width, "height": up.start - up(share)}
            drawn.append(tag("rect", tag("title", f"{words}, {reach}"), **shape, class_=f"column m{number % 6}"))
    labels = [spell(edge) for edge in edges]
    fitting = MOST_LABELS if spell is figures.number else min(MOST_LABELS, LETTERS // max(map(len, labels)))
    every = -(-len(edges) // max(2, fitting))
    for at in range(len(edges)):
        x = start + at * step
        drawn.append(tag("line", x1=x, x2=x, y1=up.start, y2=up.start + 4, class_="axis"))
        if at % every == 0:
            drawn.append(tag("text", labels[at], x=x, y=up.start + 16, class_="tick mid"))
    drawn.append(tag("line", x1=start, x2=end, y1=up.start, y2=up.start, class_="axis"))
    drawn.append(tag("text", x_label, x=end, y=up.start + 30, class_="label end"))
    names = ", ".join(name for name, _ in series)
    legend = tuple(
        (f"{name}: {figures.number(total)} {unit}", f"var(--s{number % 6})", "box")
        for number, ((name, _), total) in enumerate(zip(series, totals, strict=True))
    )
    return Chart("", picture(f"Histogram over {x_label}, for {names}", HEIGHT, *drawn), "", legend)
