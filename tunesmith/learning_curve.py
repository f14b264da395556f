"""The learning curve: what more rows of the same kind would bring, measured on shares of those that are there.

A head learns an eighth, a quarter, half and all of the training rows, several times over, on features that are computed
once; a power law goes through the scores (arXiv:1712.00409, Hestness et al. 2017) and is followed to twice and four
times the rows. The interval comes from a bootstrap over repeats and held-out rows. It says what a head on the frozen
network would gain; it knows no modality, and nothing of what deeper training would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.split import split_rows
from tunesmith.errors import UserError
from tunesmith.linear_probe import groups_of, open_probe, resampled_scores
from tunesmith.prepare import Prepared

if TYPE_CHECKING:
    from tunesmith.linear_probe import Probe

Progress = Callable[[str, int, int], None]
Floats = NDArray[np.float64]

SHARES = (0.125, 0.25, 0.5, 1.0)
REPEATS = {"linear": 8, "trained": 3}
"""How often every share is drawn and learned, by how the head is fitted."""
LEAST_ROWS = 16
"""With fewer training rows an eighth is no sample."""
SLOWEST, FASTEST = 0.05, 2.0
"""Bounds of the exponent c: deep networks' lie between 0.07 and 0.35, theory's up to 1, those of easy tasks above."""
COARSE, FINE = 64, 33
LITTLE = 0.01
"""A gain below this share of the scale is none worth gathering rows for."""
OFTEN = 1 << 20
"""Distance between the seeds of repeats, so that they meet none of a recipe's own."""


def learning_curve(
    prepared: Prepared, *, repeats: int | None = None, progress: Progress = lambda _what, _done, _total: None
) -> dict[str, Any]:
    """Measure the curve, fit it, and say what the next doubling of rows would bring.

    Args:
        prepared: A recipe's rows and task, audited.
        repeats: Draws of every share; None: ``REPEATS``.
        progress: Receives what is being done, how much is done, and of how much.

    Returns:
        ``metric``, ``higher_is_better``, ``points`` (share, rows, mean, low, high, repeats), ``fit`` (a, b, c of
        error = a + b * rows^-c, and ``top``, the score that errors count down from), ``doubling`` and ``quadruple``
        (rows, expected, gain, low, high; a gain above 0 is better), ``said``, ``seconds``, ``probe``, ``held_out``.

    Raises:
        UserError: There are too few rows, or the recipe trains no head on frozen features.
    """
    started = time.monotonic()
    rows = len(prepared.train) - len(prepared.further)
    if rows < LEAST_ROWS or not len(prepared.held_out):
        raise UserError(
            f"{rows} training rows are too few for a learning curve, whose first point is an eighth of them",
            prepared.source.recipe.data.train,
            f"give at least {LEAST_ROWS} training rows",
        )
    probe = open_probe(prepared, progress=progress)
    count = repeats or REPEATS[probe.how]
    sizes, found = _learned(probe, prepared, count, progress)
    flat = [predictions for of_share in found for predictions in of_share]
    scores, drawn = resampled_scores(
        prepared.task, flat, prepared.held_out, seed=prepared.source.recipe.run.seed, groups=groups_of(prepared)
    )
    ends = np.cumsum([len(of_share) for of_share in found])[:-1]
    curve = _summary(prepared, sizes, np.split(scores, ends), np.split(drawn, ends))
    return curve | {
        "probe": probe.how,
        "held_out": len(prepared.held_out),
        "seconds": round(time.monotonic() - started, 3),
    }


def _learned(
    probe: Probe, prepared: Prepared, repeats: int, progress: Progress
) -> tuple[list[int], list[list[list[Any]]]]:
    """Rows of every share, and what the heads that learned them say of the held-out rows, [share][repeat].

    The largest share comes first: it records what the others read.
    """
    seed = prepared.source.recipe.run.seed
    sizes, found, done = [], [], 0
    for share in reversed(SHARES):
        sets = [drawn_rows(prepared, share, seed, repeat) for repeat in range(repeats)]
        # Without rows that judge there is one way only to take all rows.
        alike = probe.how == "linear" and share == 1 and not len(sets[0][1])
        of_share = []
        for repeat, (rows, judging) in enumerate(sets[:1] if alike else sets):
            of_share.append(probe.predictions(rows, judging, (seed + repeat * OFTEN) % 2**32))
            done += 1
            progress("learning shares of the rows", done, len(SHARES) * repeats)
        sizes.append(round(float(np.mean([len(rows) for rows, _ in sets]))))
        found.append(of_share)
    return sizes[::-1], found[::-1]


def drawn_rows(prepared: Prepared, share: float, seed: int, repeat: int) -> tuple[list[int], list[int]]:
    """Numbers of rows in ``prepared.learning``: those that a repeat learns, and those that judge.

    The first repeat divides as the run does, every other one anew; groups and equal inputs stay together. Shares are
    drawn without regard to labels: who has fewer rows has fewer of the rare labels, and some of them not at all.
    """
    data, learning = prepared.source.recipe.data, prepared.learning
    judging: list[int] = []
    rows = list(range(len(learning)))
    if len(prepared.validation):
        rows, judging = _split(prepared, rows, data.validation, seed + 1 + repeat * OFTEN, stratify=data.stratify)
    if share < 1:
        rows = _split(prepared, rows, share, seed + 2 + repeat * OFTEN, stratify=False)[1]
    return rows, judging


def _split(
    prepared: Prepared, rows: Sequence[int], share: float, seed: int, *, stratify: bool
) -> tuple[list[int], list[int]]:
    task = prepared.task
    split = split_rows(
        [prepared.learning[i] for i in rows],
        share=share,
        seed=seed,
        inputs=task.identity or task.inputs,
        target=task.class_column(),
        group_by=prepared.source.recipe.data.group_by,
        stratify=stratify,
    )
    return [rows[i] for i in split.train], [rows[i] for i in split.eval]


def _summary(
    prepared: Prepared, sizes: Sequence[int], scores: Sequence[Floats], drawn: Sequence[Floats]
) -> dict[str, Any]:
    """Points, fit and forecasts from scores [share][repeats] and their resamples [share][repeats, resamples]."""
    task = prepared.task
    rng = np.random.default_rng(prepared.source.recipe.run.seed)
    means = np.array([one.mean() for one in scores])
    resampled = np.stack([_mean_of_drawn(one, rng) for one in drawn], axis=1)
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    top = _top(np.concatenate(scores), task.higher_is_better)
    sign, zero = (-1.0, top or 0.0) if task.higher_is_better else (1.0, 0.0)

    def errors(values: Floats) -> Floats:
        return zero + sign * values

    fit = fit_power_law(sizes, errors(means), floor=top is not None or not task.higher_is_better)
    fits = fit_power_law(sizes, errors(resampled), floor=top is not None or not task.higher_is_better)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    forecasts = [_forecast(fit, fits, sizes[-1], times, zero, sign) for times in (2, 4)]
    points = [
        {
            "share": share,
            "rows": size,
            "mean": float(mean),
            "low": float(least),
            "high": float(most),
            "repeats": [float(score) for score in of_share],
        }
        for share, size, mean, least, most, of_share in zip(SHARES, sizes, means, low, high, scores, strict=True)
    ]
    curve = {
        "metric": task.goal,
        "higher_is_better": task.higher_is_better,
        "points": points,
        "fit": {**{name: float(value) for name, value in zip("abc", fit[0], strict=True)}, "top": top},
        "doubling": forecasts[0],
        "quadruple": forecasts[1],
    }
    scale = top if top is not None else abs(float(means[-1])) or 1.0
    return curve | {"said": _said(curve, scale, len(prepared.held_out))}


def _mean_of_drawn(drawn: Floats, rng: np.random.Generator) -> Floats:
    """Mean over repeats, drawn anew for each resample: [repeats, resamples] to [resamples]."""
    repeats, resamples = drawn.shape
    chosen = rng.integers(0, repeats, size=(repeats, resamples))
    return np.asarray(np.take_along_axis(drawn, chosen, axis=0).mean(axis=0), dtype=np.float64)


def _top(scores: Floats, higher: bool) -> float | None:
    """The score without an error: 1, or 100 where scores are in percent; None where there is none."""
    if not higher or scores.max() > 100:
        return None
    return 1.0 if scores.max() <= 1 else 100.0


def fit_power_law(rows: Sequence[int], errors: Floats, *, floor: bool = True) -> Floats:
    """Least squares of error = a + b * rows^-c, for many curves at once.

    For a given c the law is linear in a and b; c is searched for within ``SLOWEST`` and ``FASTEST``. A point counts by
    its rows, since the law is followed beyond the largest. b may be negative: rows that harm by chance are not made to
    have helped.

    Args:
        rows: Numbers of rows, [points].
        errors: [points] or [curves, points].
        floor: Whether no error lies below 0, and so a does not either.

    Returns:
        a, b and c, float64 [curves, 3].
    """
    values = np.atleast_2d(np.asarray(errors, dtype=np.float64))
    # In units of the largest number, where b and a are of one size.
    sizes = np.asarray(rows, dtype=np.float64) / max(rows)
    grid = np.geomspace(SLOWEST, FASTEST, COARSE)
    best = _best_of(sizes, values, np.broadcast_to(grid, (len(values), COARSE)), floor)
    step = grid[1] / grid[0]
    near = best[:, 2:3] * np.geomspace(1 / step, step, FINE)
    best = _best_of(sizes, values, np.clip(near, SLOWEST, FASTEST), floor)
    best[:, 1] *= float(max(rows)) ** best[:, 2]
    return best


def _best_of(sizes: Floats, values: Floats, exponents: Floats, floor: bool) -> Floats:
    """The best of several exponents a curve, [curves, exponents], with its a and b: [curves, 3]."""
    weights = sizes / sizes.sum()
    middle = (values @ weights)[:, None]
    found = np.empty((*exponents.shape, 3))
    missed = np.empty(exponents.shape)
    for i in range(exponents.shape[1]):
        c = exponents[:, i]
        x = sizes[None, :] ** -c[:, None]
        of_x = (x @ weights)[:, None]
        b = ((x - of_x) * (values - middle)) @ weights / np.maximum((x - of_x) ** 2 @ weights, 1e-300)
        a = middle[:, 0] - b * of_x[:, 0]
        if floor:
            through = (x * values) @ weights / (x * x @ weights)
            a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through, b)
        found[:, i] = np.stack([a, b, c], axis=1)
        missed[:, i] = (values - a[:, None] - b[:, None] * x) ** 2 @ weights
    return np.asarray(found[np.arange(len(found)), missed.argmin(1)], dtype=np.float64)


def error_at(fit: Floats, rows: float) -> Floats:
    """The error that fits [curves, 3] give for a number of rows, [curves]."""
    return np.asarray(fit[:, 0] + fit[:, 1] * float(rows) ** -fit[:, 2], dtype=np.float64)


def _forecast(fit: Floats, fits: Floats, rows: int, times: int, zero: float, sign: float) -> dict[str, Any]:
    """What ``times`` the rows would bring: a gain is a fall of the error, with its 95 % interval."""
    gains = error_at(fits, rows) - error_at(fits, times * rows)
    low, high = np.quantile(gains, [0.025, 0.975])
    then = float(error_at(fit, times * rows)[0])
    return {
        "rows": times * rows,
        "expected": (then - zero) / sign,
        "gain": float(error_at(fit, rows)[0]) - then,
        "low": float(low),
        "high": float(high),
    }


def _said(curve: Mapping[str, Any], scale: float, held_out: int) -> str:
    """The forecast of the next doubling in words."""
    twice, metric = curve["doubling"], str(curve["metric"]).replace("_", " ")
    low, high = twice["low"], twice["high"]
    better = 1 if curve["higher_is_better"] else -1
    ends = sorted((better * low, better * high))
    digits = 3 if ends[1] - ends[0] >= 0.05 else 4
    reach = f"[{ends[0]:+.{digits}f}, {ends[1]:+.{digits}f}]"
    if low > 0:
        brought = (
            f"twice the rows ({twice['rows']:,}) would bring {better * twice['gain']:+.{digits}f} {metric} {reach}"
        )
        little = "; little: other rows or a deeper stage may bring more" if high < LITTLE * scale else ""
        return brought + little
    if high < LITTLE * scale:
        return (
            f"no gain to be seen: twice the rows ({twice['rows']:,}) would bring {reach} {metric}; "
            "more data of this kind is not what is missing"
        )
    return (
        f"not to be told: twice the rows ({twice['rows']:,}) would bring {reach} {metric}; "
        f"the {held_out:,} held-out rows and the rows there are do not show it closer"
    )
