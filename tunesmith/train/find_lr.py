"""The learning-rate range test, its pure part: which rates to try, when to stop, which one to take, and its picture.

It knows no model, no optimizer and no torch: numbers go in, numbers and an SVG text come out. The test is Smith's
(arXiv:1506.01186): raise the rate step by step over a few dozen batches and watch the loss fall, then explode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, median

from tunesmith.errors import UserError

SMOOTHING = 0.8
WIDTH, HEIGHT, MARGIN, EDGE = 640, 360, 64, 16
# A fall that noise would not make: this share of the first losses, and this many standard errors of it.
LEAST_FALL = 0.002
STANDARD_ERRORS = 3.0


def schedule(low: float = 1e-7, high: float = 1.0, steps: int = 60) -> list[float]:
    """Rates from low to high, each the same factor above the one before."""
    if not 0 < low < high or steps < 2:
        raise ValueError(f"no range of rates: {low} to {high} in {steps} steps")
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float], keep: float = SMOOTHING) -> list[float]:
    """Exponential moving average, corrected for its start at zero (as Adam's, arXiv:1412.6980)."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = keep * mean + (1 - keep) * loss
        smoothed.append(mean / (1 - keep**step))
    return smoothed


def exploded(losses: Sequence[float], times: float = 4.0) -> bool:
    """Whether the test may stop: the last smoothed loss is above ``times`` the best one, or a loss is not finite."""
    if not all(map(math.isfinite, losses)):
        return True
    smoothed = smooth(losses)
    best = min(smoothed, default=0.0)
    return bool(smoothed) and smoothed[-1] > best + (times - 1) * abs(best)


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate two thirds along the longest falling stretch of the smoothed losses.

    The stretch is the longest decreasing subsequence, so that a bump does not end it. The rule is fastai's
    (``fastai.callback.schedule.valley``, from ESRI), whose words say two thirds and whose code takes the middle.

    Args:
        rates: The rates tried, rising.
        losses: The raw loss at each; a tail that is not finite is left out.

    Returns:
        One of the rates.

    Raises:
        UserError: The loss never falls by more than noise: no rate can be picked.
    """
    if len(rates) != len(losses):
        raise ValueError(f"{len(rates)} rates stand beside {len(losses)} losses")
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if finite < 5:
        raise _no_valley(rates, f"the loss is not finite from step {finite + 1} on")
    known, smoothed = losses[:finite], smooth(losses[:finite])
    stretch = _longest_fall(smoothed)
    first, last = stretch[0], stretch[-1]
    window = max(3, finite // 10)
    before, lowest = known[: first + window], known[max(0, last - window + 1) : last + 1]
    fall = fmean(before) - fmean(lowest)
    error = _scatter(known) * math.sqrt(1 / len(before) + 1 / len(lowest))
    if fall < max(LEAST_FALL * abs(fmean(before)), STANDARD_ERRORS * error):
        trend = "only rises" if fmean(known[-window:]) - fmean(before) > STANDARD_ERRORS * error else "is flat"
        raise _no_valley(rates, f"the loss {trend} (it falls by {fall:.2g} of {fmean(before):.3g}, noise {error:.2g})")
    return rates[first + round((last - first) * 2 / 3)]


def draw(rates: Sequence[float], losses: Sequence[float], picked: float | None) -> str:
    """The test as an SVG text: raw losses as dots, the smoothed ones as a line, the picked rate marked, x logarithmic.

    Colours follow the surrounding page (``currentColor``) where the picture stands in one. Losses far above the first
    one are drawn at the upper edge, since an explosion would flatten all that matters.
    """
    known = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    if not known:
        raise ValueError("no finite loss to draw")
    smoothed = smooth([loss for _, loss in known])
    left, right = math.log10(known[0][0]), math.log10(known[-1][0])
    low = min(*smoothed, *(loss for _, loss in known))
    high = smoothed[0] + 1.5 * (smoothed[0] - low) + 1e-9 + 0.02 * abs(smoothed[0])

    def x(rate: float) -> float:
        return MARGIN + (math.log10(rate) - left) / max(right - left, 1e-9) * (WIDTH - MARGIN - EDGE)

    def y(loss: float) -> float:
        return EDGE + (high - min(max(loss, low), high)) / (high - low) * (HEIGHT - MARGIN - EDGE)

    dots = "".join(f'<circle cx="{x(rate):.1f}" cy="{y(loss):.1f}" r="2"/>' for rate, loss in known)
    line = " ".join(f"{x(rate):.1f},{y(loss):.1f}" for (rate, _), loss in zip(known, smoothed, strict=True))
    said = f"picked {picked:.1e}" if picked is not None else "no rate picked"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
        f"<title>Learning-rate range test: loss by learning rate, {said}</title>",
        *_axes((left, right), (low, high), x, y),
        f'<g opacity="0.35">{dots}</g>',
        f'<polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="2"/>',
    ]
    if picked is not None:
        at = x(picked)
        side = "end" if at > WIDTH / 2 else "start"
        parts += [
            f'<path d="M{at:.1f} {EDGE}V{HEIGHT - MARGIN}" stroke="#d55e00" stroke-dasharray="4"/>',
            f'<text x="{at + (-6 if side == "end" else 6):.1f}" y="{EDGE + 12}" text-anchor="{side}">{said}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(
    powers: tuple[float, float], span: tuple[float, float], x: Callable[[float], float], y: Callable[[float], float]
) -> list[str]:
    (left, right), (low, high) = powers, span
    floor = HEIGHT - MARGIN
    parts = [f'<path d="M{MARGIN} {EDGE}V{floor}H{WIDTH - EDGE}" fill="none" stroke="currentColor"/>']
    for power in range(math.ceil(left - 1e-9), math.floor(right + 1e-9) + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {floor}v5" stroke="currentColor"/>')
        parts.append(f'<text x="{at:.1f}" y="{floor + 18}" text-anchor="middle">1e{power}</text>')
    for fifth in range(5):
        loss = low + (high - low) * fifth / 4
        parts.append(f'<text x="{MARGIN - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>')
    middle = (MARGIN + WIDTH - EDGE) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">learning rate (logarithmic)</text>')
    parts.append(f'<text transform="translate(14 {floor / 2:.0f}) rotate(-90)" text-anchor="middle">loss</text>')
    return parts


def _longest_fall(values: Sequence[float]) -> list[int]:
    """Indices of the longest strictly decreasing subsequence; of equally long ones the one that falls furthest."""
    length, fall, before = [1] * len(values), [0.0] * len(values), [-1] * len(values)
    for i, value in enumerate(values):
        for j in range(i):
            reach = (length[j] + 1, fall[j] + values[j] - value)
            if value < values[j] and reach > (length[i], fall[i]):
                (length[i], fall[i]), before[i] = reach, j
    at = max(range(len(values)), key=lambda i: (length[i], fall[i]))
    stretch = [at]
    while before[stretch[-1]] >= 0:
        stretch.append(before[stretch[-1]])
    return stretch[::-1]


def _scatter(losses: Sequence[float]) -> float:
    """Standard deviation of the noise, from the median step between neighbours: trend and explosion barely move it."""
    steps = [abs(after - before) for before, after in pairwise(losses)]
    # The median of |a - b| of two normal draws is 0.954 standard deviations.
    return median(steps) / 0.954


def _no_valley(rates: Sequence[float], why: str) -> UserError:
    return UserError(
        f"no learning rate could be found between {rates[0]:.1e} and {rates[-1]:.1e}: {why}",
        "lr: auto",
        "write a rate (1e-3 for a head, 1e-4 for blocks is a start), and look whether labels fit their inputs",
    )
