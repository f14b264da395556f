"""Stacked bars on one scale with a limit drawn through them, as SVG that stretches while its words keep their size.

It knows no plan and no run, only amounts and words. Places are shares of the width in percent, so that nothing is
distorted on a narrow page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tunesmith.report import figures, svg
from tunesmith.report.svg import Chart, Part, tag

LEAST = 0.7
"""Width of the smallest piece that is drawn, in percent of the paper."""

HEIGHT, THIN = 22, 6
"""Heights in CSS pixels: of a bar, and of the thin bar under it."""


@dataclass(frozen=True)
class Row:
    """One bar.

    Args:
        words: The words above it; empty for none.
        parts: Its pieces from left to right.
        under: Pieces of a thinner bar right under it, on the same scale.
    """

    words: str
    parts: Sequence[Part]
    under: Sequence[Part] = ()

    @property
    def total(self) -> float:
        """Where the longer of both bars ends."""
        return max(sum(part.amount for part in parts) for parts in (self.parts, self.under))


@dataclass(frozen=True)
class Limit:
    """An amount that no bar should pass, and its words."""

    amount: float
    words: str


def widths(amounts: Sequence[float], scale: float, least: float = LEAST) -> list[float]:
    """Widths in percent of ``scale``; small pieces are widened at the cost of large ones, so that the sum stays true.

    A bar too short for that keeps its true widths.
    """
    wide = [100.0 * max(0.0, amount) / scale for amount in amounts]
    lacking = sum(least - one for one in wide if 0 < one < least)
    spare = sum(one - least for one in wide if one > least)
    if lacking > spare / 2:
        return wide
    keep = 1 - lacking / spare if spare else 1.0
    return [0.0 if one == 0 else least if one < least else least + (one - least) * keep for one in wide]


def stacked(
    title: str,
    rows: Sequence[Row],
    *,
    limit: Limit | None = None,
    scale: float | None = None,
    spell: Callable[[object], str] | None = figures.size,
    note: str = "",
) -> Chart:
    """Bars under each other on one scale, the limit as a line through all of them, and round figures along the foot.

    Args:
        title: What is drawn.
        rows: The bars, from the top down.
        limit: Drawn as a line; what lies within it has a pale ground.
        scale: What the whole width stands for; the longest bar or the limit, whichever is more, where it is None.
        spell: How amounts along the foot are written; None draws no foot.
        note: A sentence beside the title.
    """
    whole = scale or max([row.total for row in rows] + ([limit.amount] if limit else []), default=0.0) or 1.0
    drawn: list[Markup] = []
    if limit is not None and limit.amount <= whole:
        drawn.append(_sign(limit, whole))
    for row in rows:
        if row.words:
            drawn.append(tag("p", row.words, class_="above"))
        drawn.append(bar(row, whole, limit))
    if spell is not None:
        drawn.append(_foot(whole, spell))
    return Chart(title, Markup("").join(drawn), note)


def bar(row: Row, scale: float, limit: Limit | None = None) -> Markup:
    """One bar as an SVG of its own, with the limit's line through it; its words say every piece."""
    inside = [] if limit is None else [_rect(0, 100 * min(1.0, limit.amount / scale), 0, HEIGHT, "track")]
    inside += _pieces(row.parts, scale, 0, HEIGHT)
    inside += _pieces(row.under, scale, HEIGHT + 2, THIN)
    height = HEIGHT + (THIN + 2 if row.under else 0)
    if limit is not None and limit.amount <= scale:
        place = _percent(100 * limit.amount / scale)
        words = tag("title", limit.words)
        inside += _line(place, -3, height + 3, words)
    told = [part.words or part.name for part in (*row.parts, *row.under) if part.amount > 0 and part.name]
    label = ": ".join(filter(None, [row.words, ", ".join(told)])) + (f"; {limit.words}" if limit else "")
    return _strip(inside, height, label)


def _pieces(parts: Sequence[Part], scale: float, top: float, height: float) -> list[Markup]:
    x, drawn = 0.0, []
    for part, wide in zip(parts, widths([part.amount for part in parts], scale), strict=True):
        if wide > 0 and part.name:
            drawn.append(_rect(x, wide, top, height, part.style, part.words or part.name))
        x += wide
    return drawn


def _rect(x: float, wide: float, top: float, height: float, style: str, words: str = "") -> Markup:
    inside = [tag("title", words)] if words else []
    return tag("rect", *inside, x=_percent(x), y=top, width=_percent(wide), height=height, class_=style)


def _line(place: str, top: float, bottom: float, words: Markup | None = None) -> list[Markup]:
    """The limit's line on a pale ground of its own, so that it is seen on a bar of any colour."""
    ground = tag("line", x1=place, x2=place, y1=top, y2=bottom, class_="ground")
    return [ground, tag("line", words or "", x1=place, x2=place, y1=top, y2=bottom, class_="limit")]


def _sign(limit: Limit, scale: float) -> Markup:
    place = 100 * limit.amount / scale
    text = tag("text", limit.words, x=_percent(place), y=12, class_=f"value {_anchor(place)}")
    return _strip([text], 18, limit.words)


def _foot(scale: float, spell: Callable[[object], str]) -> Markup:
    marks = svg.ticks(0.0, scale, 4)
    drawn = []
    for mark in marks:
        place = 100 * mark / scale
        drawn.append(tag("line", x1=_percent(place), x2=_percent(place), y1=2, y2=6, class_="axis"))
        label = "0" if mark == 0 else spell(mark).replace(".0\u00a0", "\u00a0")
        anchor = "start" if mark == 0 else "end" if place > 97 else "mid"
        drawn.append(tag("text", label, x=_percent(place), y=18, class_=f"tick {anchor}"))
    drawn.append(tag("line", x1="0", x2="100%", y1=2, y2=2, class_="axis"))
    return _strip(drawn, 22, f"the whole width is {spell(scale)}")


def _strip(drawn: Sequence[Markup], height: int, label: str) -> Markup:
    """An SVG as wide as the page lets it, ``height`` CSS pixels high."""
    return tag("svg", *drawn, height=height, class_="stack", role="img", aria_label=label, style=f"height:{height}px")


def _anchor(place: float) -> str:
    """Where a word begins whose mark is ``place`` percent along, so that it stays on the paper."""
    return "start" if place < 20 else "end" if place > 80 else "mid"


def _percent(place: float) -> str:
    return f"{place:.3f}".rstrip("0").rstrip(".") + "%"


def dots(title: str, rows: Sequence[tuple[str, float]], own: Limit, *, spell: Callable[[object], str]) -> Chart:
    """Amounts as dots on one axis of powers of ten, with ``own`` as a line through all rows.

    Args:
        title: What is drawn.
        rows: The words above each line and its amount, above zero.
        own: What they are held against, above zero.
        spell: How amounts are written.
    """
    amounts = [amount for _, amount in rows] + [own.amount]
    across = svg.Axis(min(amounts) / 2, max(amounts) * 2, 0.0, 100.0, log=True)
    at = across(own.amount)
    text = tag("text", own.words, x=_percent(at), y=12, class_=f"value {_anchor(at)}")
    drawn = [_strip([text], 18, own.words)]
    for words, amount in rows:
        place = across(amount)
        inside = [tag("line", x1="0", x2="100%", y1=8, y2=8, class_="grid")]
        inside += _line(_percent(at), -3, 19)
        dot = tag("title", words)
        inside.append(tag("circle", dot, cx=_percent(place), cy=8, r=5, class_="rung", style="--c:var(--s0)"))
        label = f"{words}: {spell(amount)}, {own.words}"
        drawn.append(tag("p", words, class_="above"))
        drawn.append(_strip(inside, 16, label))
    return Chart(title, Markup("").join(drawn), "an axis of powers of ten")
