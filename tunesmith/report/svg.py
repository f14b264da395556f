"""Drawing: lines, intervals, ladders and bars as inline SVG that takes its colours from the page's style sheet.

It knows no run and no file, only numbers and words; every word is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from tunesmith.report import figures

WIDTH, HEIGHT = 380, 214
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line or cloud of a chart.

    Args:
        name: Its words in the legend; empty leaves it out of the legend.
        points: ``(x, y)`` pairs; those with a value that is not finite are left out and break the line.
        colour: Index into the page's palette, or a CSS colour.
        style: ``line``, ``raw`` (thin and pale), ``dots`` or ``stepped``.
        best: Index of the point to ring, if any.
    """

    name: str
    points: Sequence[Point]
    colour: int | str = 0
    style: str = "line"
    best: int | None = None

    @property
    def paint(self) -> str:
        """The CSS colour."""
        return self.colour if isinstance(self.colour, str) else f"var(--s{self.colour % 6})"


@dataclass(frozen=True)
class Chart:
    """A drawing with its caption, ready for the page."""

    title: str
    picture: Markup
    note: str = ""
    legend: tuple[tuple[str, str, str], ...] = field(default=())


def tag(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One SVG element; ``class_`` and ``stroke_width`` style names become ``class`` and ``stroke-width``."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)  # noqa: S704  (names are our own literals)


def picture(words: str, height: float, *children: Markup, width: float = WIDTH) -> Markup:
    """The SVG around ``children``; ``words`` tell a screen reader what is drawn."""
    size = f"0 0 {width:g} {height:g}"
    return tag("svg", *children, viewBox=size, role="img", aria_label=words, width=width, height=height)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About ``wanted`` round values that lie within ``low`` to ``high``."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Axis:
    """Maps values to places on the paper, evenly or by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of ``value``."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = math.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values along the axis; powers of ten, thinned to ``wanted``, where it is logarithmic."""
        if not self.log:
            return ticks(self.low, self.high, wanted)
        low, high = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if high - low < 1:
            return [self.low, self.high]
        every = max(1, math.ceil((high - low) / wanted))
        return [10.0**power for power in range(low, high + 1, every)]


def axis(values: Sequence[float], start: float, end: float, *, log: bool = False, pad: float = 0.0) -> Axis:
    """An axis around ``values``, widened by the share ``pad`` at each end; a single value gets room of its own."""
    good = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(good), max(good)) if good else (1.0, 10.0) if log else (0.0, 1.0)
    if log:
        return Axis(low, high, start, end, log=True) if high > low else Axis(low / 2, high * 2, start, end, log=True)
    if high == low:
        room = abs(low) * 0.1 or 1.0
        return Axis(low - room, high + room, start, end)
    return Axis(low - pad * (high - low), high + pad * (high - low), start, end)


def tick_labels(marks: Sequence[float], *, log: bool = False) -> list[str]:
    """The ticks' figures, all in one spelling, with as many decimals as the step between them needs."""
    largest = max(map(abs, marks), default=0.0)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    if log or largest < 0.01 or len(marks) == 1:
        return [figures.rate(mark) for mark in marks]
    if largest >= 1e5:
        return [figures.parameters(mark) for mark in marks]
    needed = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step * 10**needed, 6) % 1:
        needed += 1
    return [figures.score(mark, needed) for mark in marks]


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def levels(up: Axis, marks: Sequence[float], labels: Sequence[str], start: float, end: float) -> list[Markup]:
    """Level lines from ``start`` to ``end``, each with its figure before it."""
    drawn = []
    for mark, label in zip(marks, labels, strict=True):
        y = up(mark)
        drawn.append(tag("line", x1=start, x2=end, y1=y, y2=y, class_="grid"))
        drawn.append(tag("text", label, x=start - 7, y=y + 4, class_="tick end"))
    return drawn


def _grid(across: Axis, up: Axis, x_label: str) -> list[Markup]:
    marks = up.ticks(4)
    drawn = levels(up, marks, tick_labels(marks, log=up.log), across.start, across.end)
    along = across.ticks(5)
    for mark, label in zip(along, tick_labels(along, log=across.log), strict=True):
        x = across(mark)
        drawn.append(tag("line", x1=x, x2=x, y1=up.start, y2=up.start + 4, class_="axis"))
        drawn.append(tag("text", label, x=x, y=up.start + 16, class_="tick mid"))
    drawn.append(tag("line", x1=across.start, x2=across.end, y1=up.start, y2=up.start, class_="axis"))
    drawn.append(tag("text", x_label, x=across.end, y=up.start + 29, class_="label end"))
    return drawn


def path(points: Sequence[Point], across: Axis, up: Axis, *, stepped: bool = False) -> str:
    """The path of a line; a value that is not finite lifts the pen."""
    commands, pen = [], False
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)) or (across.log and x <= 0) or (up.log and y <= 0):
            pen = False
            continue
        place_x, place_y = across(x), up(y)
        if pen and stepped:
            commands.append(f"H{place_x:.1f}V{place_y:.1f}")
        else:
            commands.append(f"{'L' if pen else 'M'}{place_x:.1f} {place_y:.1f}")
        pen = True
    return "".join(commands)


def _draw(series: Series, across: Axis, up: Axis) -> list[Markup]:
    style = f"--c:{series.paint}"
    drawn = []
    if series.style != "dots":
        line = path(series.points, across, up, stepped=series.style == "stepped")
        drawn.append(tag("path", d=line, class_=f"line {series.style}", style=style))
    if series.style == "dots" or (series.style == "line" and len(series.points) <= 40):
        for index, (x, y) in enumerate(series.points):
            if math.isfinite(x) and math.isfinite(y):
                words = tag("title", f"{series.name}: {figures.number(y)} at {figures.number(x)}")
                best = index == series.best
                radius = 5 if best else 3
                dot = tag(
                    "circle", words, cx=across(x), cy=up(y), r=radius, class_="best" if best else "dot", style=style
                )
                drawn.append(dot)
    return drawn


def lines(
    title: str,
    series: Sequence[Series],
    x_label: str,
    *,
    note: str = "",
    log_x: bool = False,
    log_y: bool = False,
    from_zero: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    span: Sequence[float] = (),
    rise: Sequence[float] = (),
    legend: Sequence[tuple[str, str, str]] | None = None,
) -> Chart:
    """A line chart.

    Args:
        title: What is drawn up the page.
        series: Lines and clouds, drawn in this order.
        x_label: What is drawn along the page.
        note: A sentence under the title.
        log_x: Powers of ten along.
        log_y: Powers of ten up.
        from_zero: Whether the upward axis begins at zero.
        marks: ``(x, words)``: upright dashed lines.
        span: Values that the axis along has to reach, beyond those of the series.
        rise: The same for the upward axis, which then ends there without further room.
        legend: ``(words, CSS colour, style)`` in place of one entry a named series.
    """
    xs = [x for one in series for x, _ in one.points] + [x for x, _ in marks] + list(span)
    ys = [y for one in series for _, y in one.points] + ([0.0] if from_zero else []) + list(rise)
    across = axis(xs, LEFT, WIDTH - RIGHT, log=log_x)
    up = axis(ys, HEIGHT - BOTTOM, TOP, log=log_y, pad=0.0 if rise else 0.06)
    if from_zero and up.low < 0 <= min((y for y in ys if math.isfinite(y)), default=0.0):
        up = Axis(0.0, up.high, up.start, up.end)
    drawn = _grid(across, up, x_label)
    for x, words in marks:
        place = across(x)
        drawn.append(tag("line", tag("title", words), x1=place, x2=place, y1=up.end, y2=up.start, class_="mark"))
        side = "end" if place > WIDTH * 0.6 else "start"
        drawn.append(tag("text", words, x=place + (-5 if side == "end" else 5), y=up.end + 9, class_=f"tick {side}"))
    for one in series:
        drawn.extend(_draw(one, across, up))
    named = [(one.name, one.paint, one.style) for one in series if one.name] if legend is None else list(legend)
    words = f"{title} over {x_label}" + (f", for {', '.join(name for name, _, _ in named[:8])}" if named else "")
    return Chart(title, picture(words, HEIGHT, *drawn), note, tuple(named) if len(named) > 1 else ())


def interval(
    difference: float,
    reach: tuple[float, float],
    metric: str,
    *,
    higher_is_better: bool | None,
    verdict: str,
    names: tuple[str, str] = ("tuned", "base"),
) -> Markup:
    """A difference with its interval on an axis that shows zero; ``names``: of what is compared, and with what.

    Where nobody can say that more is better, ``higher_is_better`` is None, and neither side is called so.
    """
    (low, high), middle, bottom = reach, 34.0, 62.0
    across = axis([0.0, low, high, difference], 16, WIDTH - 16, pad=0.14)
    decimals = figures.decimals_for(high - low)
    drawn = []
    marks = across.ticks(5)
    for mark, label in zip(marks, tick_labels(marks), strict=True):
        drawn.append(tag("line", x1=across(mark), x2=across(mark), y1=bottom, y2=bottom + 4, class_="axis"))
        drawn.append(tag("text", label, x=across(mark), y=bottom + 17, class_="tick mid"))
    drawn.append(tag("line", x1=16, x2=WIDTH - 16, y1=bottom, y2=bottom, class_="axis"))
    zero = across(0.0)
    drawn.append(tag("line", x1=zero, x2=zero, y1=6, y2=bottom, class_="zero"))
    judged = () if higher_is_better is None else (("end", higher_is_better), ("start", not higher_is_better))
    for side, is_better in judged:
        words = ("better" if is_better else "worse") + f" than {names[1]}"
        room = (WIDTH - 16 - zero) if side == "end" else zero - 16
        if room > 90:
            text = f"{words} →" if side == "end" else f"← {words}"
            place = zero + 6 if side == "end" else zero - 6
            anchor = "start" if side == "end" else "end"
            drawn.append(tag("text", text, x=place, y=14, class_=f"label {anchor}"))
    kind = verdict_class(verdict)
    drawn.append(tag("line", x1=across(low), x2=across(high), y1=middle, y2=middle, class_=f"reach {kind}"))
    for end in (low, high):
        drawn.append(tag("line", x1=across(end), x2=across(end), y1=middle - 7, y2=middle + 7, class_=f"cap {kind}"))
    drawn.append(tag("circle", cx=across(difference), cy=middle, r=6, class_=f"centre {kind}"))
    words = (
        f"Difference in {metric}, {names[0]} minus {names[1]}: {figures.signed(difference, decimals)}, 95 % interval "
        f"{figures.signed(low, decimals)} to {figures.signed(high, decimals)}; zero is marked"
    )
    return picture(words, 84, *drawn)


def verdict_class(verdict: str) -> str:
    """The style of a verdict: ``better``, ``worse`` or ``same``."""
    return verdict if verdict in ("better", "worse") else "same"


def ladder(metric: str, rungs: Sequence[tuple[str, float]]) -> Chart:
    """The score after the base and after each stage, in order; the first rung is the base."""
    width = max(WIDTH, LEFT + RIGHT + 74 * len(rungs))
    up = axis([value for _, value in rungs], HEIGHT - BOTTOM, TOP + 18, pad=0.14)
    marks = up.ticks(4)
    places = [LEFT + 34 + (width - LEFT - RIGHT - 68) * index / max(1, len(rungs) - 1) for index in range(len(rungs))]
    drawn = levels(up, marks, tick_labels(marks, log=up.log), LEFT, width - RIGHT)
    if rungs:
        floor = up(rungs[0][1])
        drawn.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=floor, y2=floor, class_="zero"))
    way = "".join(f"{'L' if n else 'M'}{places[n]:.1f} {up(value):.1f}" for n, (_, value) in enumerate(rungs))
    drawn.append(tag("path", d=way, class_="line", style="--c:var(--s0)"))
    for index, (name, value) in enumerate(rungs):
        last = index == len(rungs) - 1
        style = "--c:var(--quiet)" if index == 0 else "--c:var(--s0)"
        drawn.append(tag("circle", cx=places[index], cy=up(value), r=6 if last else 4.5, class_="rung", style=style))
        # a figure above its dot, or below where the line leaves the first dot upwards through it
        below = index == 0 and len(rungs) > 1 and rungs[1][1] > value
        place = up(value) + (19 if below else -11)
        drawn.append(tag("text", figures.score(value), x=places[index], y=place, class_="value mid"))
        short = name if len(name) <= 13 else name[:12] + "…"
        drawn.append(tag("text", tag("title", name), short, x=places[index], y=HEIGHT - 12, class_="tick mid"))
    words = f"{metric}: " + ", ".join(f"{name} {figures.score(value)}" for name, value in rungs)
    return Chart(f"{metric} after each stage", picture(words, HEIGHT, *drawn, width=width))


@dataclass(frozen=True)
class Part:
    """A piece of a stacked bar: its words, its amount, its style class, and the words of its tooltip."""

    name: str
    amount: float
    style: str
    words: str = ""


def bars(title: str, rows: Sequence[tuple[str, Sequence[Part]]], *, least: float = 0.0, note: str = "") -> Chart:
    """Stacked bars under each other on one scale; they stretch to any width, their words stay as they are.

    Args:
        title: What is drawn.
        rows: The words above a bar, and its pieces from left to right.
        least: Width of the smallest visible piece, of ``WIDTH`` for the longest bar.
        note: A sentence beside the title.
    """
    total = max((sum(part.amount for part in parts) for _, parts in rows), default=0.0) or 1.0
    drawn = []
    for name, parts in rows:
        wanted = [max(least, WIDTH * part.amount / total) if part.amount > 0 else 0.0 for part in parts]
        shrink = min(1.0, WIDTH / (sum(wanted) or 1.0))
        x, pieces = 0.0, []
        for part, wide in zip(parts, wanted, strict=True):
            if wide > 0:
                words = tag("title", part.words or part.name)
                pieces.append(tag("rect", words, x=x, y=0, width=wide * shrink, height=18, class_=part.style))
                x += wide * shrink
        shape = {"viewBox": f"0 0 {WIDTH} 18", "preserveAspectRatio": "none", "height": 22, "role": "img"}
        words_of_all = ", ".join(part.words or part.name for part in parts)
        drawn.append(tag("p", name, class_="above"))
        drawn.append(tag("svg", *pieces, **shape, class_="bar", aria_label=f"{name}: {words_of_all}"))
    return Chart(title, Markup("").join(drawn), note)


def reliability(title: str, bins: Sequence[tuple[float, float, float]], note: str) -> Chart:
    """Confidence against accuracy, ``(confidence, accuracy, rows)`` a bin; a dot's area follows its rows."""
    across, up = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT), Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    most = max((rows for _, _, rows in bins), default=0.0) or 1.0
    drawn = _grid(across, up, "confidence")
    drawn.append(tag("line", x1=across(0), x2=across(1), y1=up(0), y2=up(1), class_="zero"))
    used = [(sure, right, rows) for sure, right, rows in bins if rows > 0 and math.isfinite(sure + right)]
    for sure, right, _ in used:
        drawn.append(tag("line", x1=across(sure), x2=across(sure), y1=up(sure), y2=up(right), class_="gap"))
    way = path([(sure, right) for sure, right, _ in used], across, up)
    drawn.append(tag("path", d=way, class_="line", style="--c:var(--s0)"))
    for sure, right, rows in used:
        words = tag("title", f"confidence {sure:.2f}, accuracy {right:.2f}, {rows:.0f} rows")
        radius = 2.5 + 6.0 * math.sqrt(rows / most)
        drawn.append(tag("circle", words, cx=across(sure), cy=up(right), r=radius, class_="bubble"))
    return Chart(title, picture(f"{title}: confidence against accuracy, {len(used)} bins", HEIGHT, *drawn), note)
