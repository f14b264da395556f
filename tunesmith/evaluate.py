"""Did it help? Base against tuned on the same rows by the same code, with an interval; and the receipts of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith import metrics
from tunesmith.task import Task
from tunesmith.types import Batch, Receipt, Row

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.train.checkpoint import Checkpoint

RESAMPLES_BY_SCORE = 500


def compare(
    task: Task,
    rows: Sequence[Row],
    base: Sequence[Any],
    tuned: Sequence[Any],
    *,
    base_name: str,
    seed: int,
    groups: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """Scores of both, their difference with a paired 95 % bootstrap interval, and the verdict, as ``scores.json``.

    Args:
        task: Scores.
        rows: The held-out rows.
        base, tuned: Predictions for them, in order.
        base_name: What the base is.
        seed: Of the resampling.
        groups: Group of every row, where whole groups are to be resampled.
    """
    before, after = task.score(base, rows), task.score(tuned, rows)
    interval = _interval(task, rows, base, tuned, seed, groups)
    return {
        "metric": task.goal,
        "higher_is_better": task.higher_is_better,
        "base": before[task.goal],
        "base_name": base_name,
        "tuned": after[task.goal],
        "difference": after[task.goal] - before[task.goal],
        "interval": [interval.low, interval.high],
        "verdict": metrics.verdict(interval, task.higher_is_better),
        "rows": len(rows),
        "all": {"base": before, "tuned": after},
    }


def _interval(
    task: Task, rows: Sequence[Row], base: Sequence[Any], tuned: Sequence[Any], seed: int, groups: Sequence[Any] | None
) -> metrics.Interval:
    of_base, of_tuned = task.tally(base, rows), task.tally(tuned, rows)
    if of_base is not None and of_tuned is not None:
        return metrics.paired_bootstrap(of_base, of_tuned, task.goal_of, seed=seed, groups=groups)

    def score(predictions: Sequence[Any]) -> Callable[[Any], float]:
        prepared = task.resampler(predictions, rows)
        if prepared is not None:
            return prepared
        return lambda index: task.score([predictions[i] for i in index], [rows[i] for i in index])[task.goal]

    return metrics.paired_bootstrap_scores(
        score(base), score(tuned), len(rows), resamples=RESAMPLES_BY_SCORE, seed=seed, groups=groups
    )


Predict = Callable[["nn.Module", Batch], list[Any]]


def strongest_base(
    task: Task, model: nn.Module, train: Sequence[Row], run: Callable[[Predict, Sequence[Row]], list[Any]]
) -> tuple[str, Predict, dict[str, float]]:
    """The best of what one has without training, chosen on training rows, so that the held-out rows choose nothing.

    Args:
        task: Names the candidates.
        model: Untrained.
        train: Training rows; at most ``task.base_rows`` of them, spread evenly, are scored.
        run: Predicts rows.

    Returns:
        Its name, its predictor, and every candidate's goal metric on those rows.
    """
    candidates = task.bases(model, train)
    if len(candidates) == 1:
        # Nothing to choose from: predictions of training rows would cost much and say nothing.
        return *next(iter(candidates.items())), {}
    step = max(1, len(train) // task.base_rows)
    sample = [train[i] for i in range(0, len(train), step)]
    sample = [row for row in sample if task.can_judge(row)][: task.base_rows]
    if not sample:
        # Nothing to choose by.
        return *next(iter(candidates.items())), {}
    found = {name: task.score(run(predict, sample), sample)[task.goal] for name, predict in candidates.items()}
    sign = 1 if task.higher_is_better else -1
    # Of equal ones the last, which was given the most.
    best = max(reversed(found), key=lambda name: sign * found[name])
    return best, candidates[best], found


def frozen_receipt(before: Mapping[str, str], after: Mapping[str, str]) -> Receipt:
    """Weights that no stage trained have the digest they were loaded with."""
    changed = [group for group in before if before[group] != after.get(group)]
    return Receipt(
        "frozen weights are unchanged",
        not changed,
        f"{len(changed)} of {len(before)} groups changed",
        "0",
        f"digests of {', '.join(before) or 'nothing: every group learned'}"
        + (f"; changed: {', '.join(changed)}" if changed else ""),
    )


def reload_receipt(
    task: Task, memory: Sequence[Any], reloaded: Sequence[Any], rows: Sequence[Row], base: Sequence[Any] = ()
) -> Receipt:
    """The saved model, loaded anew, predicts what the trained one predicted.

    Where training changed little, that may be so of the untrained one, too: what is the base's to the bit, while the
    trained model said something else, is no reload, however small the difference.
    """
    apart = (
        _distance(a, b) if (own := task.distance(a, b)) is None else own for a, b in zip(memory, reloaded, strict=True)
    )
    worst = max(apart, default=0.0)
    undone = bool(base) and list(reloaded) == list(base) and list(memory) != list(base)
    told = f"largest difference of any number in the predictions of {len(rows)} held-out rows"
    return Receipt(
        "the saved model reloads to the same outputs",
        worst <= RELOAD_TOLERANCE and not undone,
        worst,
        RELOAD_TOLERANCE,
        f"{told}; they are those of the base: what was saved does nothing" if undone else told,
    )


RELOAD_TOLERANCE = 1e-4


def _distance(a: Any, b: Any) -> float:
    """Largest difference of numbers in two JSON-able values; infinite where their shape or text differs."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(float(a) - float(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        # A label may flip between two outputs that are equal to rounding; the numbers beside it tell.
        numbers = [_distance(a[k], b[k]) for k in a if not isinstance(a[k], str)]
        texts = [0.0 if a[k] == b[k] else (0.0 if numbers else np.inf) for k in a if isinstance(a[k], str)]
        return max([*numbers, *texts], default=0.0)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return max((_distance(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return 0.0 if a == b else np.inf


def cache_receipts(differences: Sequence[tuple[str, float]], tolerance: float) -> list[Receipt]:
    """Replayed activations give the loss that recomputing gives, per stage that used the cache."""
    return [
        Receipt(
            f"the cache equals no cache (stage {name})",
            difference <= tolerance,
            difference,
            tolerance,
            "one batch replayed and recomputed after the stage: relative difference of its loss",
        )
        for name, difference in differences
    ]


def checkpoint_receipt(found: Checkpoint | str | None, missing: Sequence[str]) -> Receipt:
    """The last checkpoint is whole and holds everything a resume needs."""
    whole = found is not None and not isinstance(found, str)
    problem = found if isinstance(found, str) else ", ".join(missing)
    return Receipt(
        "the last checkpoint can be resumed",
        whole and not missing,
        problem or "whole: weights, optimizer, random state, position",
        "all digests match",
        "files read back, digests compared, tensors compared with those in memory",
    )


def data_receipt(digests: Mapping[str, str], rows: Mapping[str, int], read: int) -> Receipt:
    """Every row that was read is accounted for, and the data has a digest."""
    placed = sum(rows.values())
    return Receipt(
        "every row is accounted for",
        placed == read,
        f"{placed} of {read} rows",
        str(read),
        ", ".join(f"{n} {name}" for name, n in rows.items())
        + "; digest "
        + ", ".join(f"{name} {digest[:16]}" for name, digest in digests.items()),
    )


MEMORY_TOLERANCE = 0.35
REHEARSAL_TOLERANCE = 0.15
REHEARSAL_SLACK_BYTES = 16_000_000
MEMORY_SLACK_BYTES = 100_000_000
"""What the libraries' own scratch may take beside a small model, whatever the model."""


def rehearsal_receipt(predicted: int, measured: int, *, exact: bool) -> Receipt:
    """What a step was foreseen to hold, against what the rehearsed one held.

    Args:
        predicted, measured: Bytes of tensors, of the stage that held most.
        exact: Whether the plan saw the same step; with the activation cache on, a step holds less than the plan's.
    """
    ratio = predicted / max(measured, 1)
    near = abs(predicted - measured) <= REHEARSAL_SLACK_BYTES
    holds = near or (ratio >= 1 - REHEARSAL_TOLERANCE and (not exact or ratio <= 1 + REHEARSAL_TOLERANCE))
    tolerance = f"1 ± {REHEARSAL_TOLERANCE}" if exact else f"at least {1 - REHEARSAL_TOLERANCE}: the cache spares some"
    return Receipt("the rehearsed step held what was planned", holds, round(ratio, 3), tolerance)


def memory_receipt(predicted: int, measured: int) -> Receipt:
    """Predicted against measured growth of resident memory."""
    ratio = predicted / max(measured, 1)
    return Receipt(
        "memory was predicted",
        abs(ratio - 1) <= MEMORY_TOLERANCE or abs(predicted - measured) <= MEMORY_SLACK_BYTES,
        round(ratio, 3),
        f"1 ± {MEMORY_TOLERANCE}, or {MEMORY_SLACK_BYTES / 1e6:,.0f} MB",
        f"predicted {predicted / 1e6:,.0f} MB, measured {measured / 1e6:,.0f} MB above what the process held before",
    )
