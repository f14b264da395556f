"""What a fault in the rows does to a result: a head on the network's features with the rows as they are, and without.

It knows no fault: whoever found one names the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith import metrics
from tunesmith.audit.found import Effect
from tunesmith.audit.heads import Floats, Head, Numbers
from tunesmith.audit.out_of_fold import LEAST_ROWS, chosen_decay, units_of

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

REPEATS, RESAMPLES = 5, 2000
LEAST_HELD_OUT = 20
CHUNK_NUMBERS = 8_000_000


def effect_without(
    data: AuditData, drop: Collection[str], drop_eval: Collection[str] = (), seed: int | None = None
) -> Effect | None:
    """How a head scores with all rows, and without some.

    The score is that of the task (macro-F1 or accuracy) on the held-out rows. The interval is of the difference:
    held-out rows are resampled, the same for both heads, and training rows too, `REPEATS` times.

    Args:
        data: Rows with class labels.
        drop: Ids of training rows that the second head does not learn from.
        drop_eval: Ids of held-out rows that the second head is not scored on.
        seed: Of the resamples; by default the recipe's.

    Returns:
        None where there is no effect to measure: no labels, no features, too few rows, or nothing to leave out.
    """
    from tunesmith.audit.features import sampled_features

    features = sampled_features(data)
    if data.label is None or features is None or not (drop or drop_eval):
        return None
    (train, keep), (held, keep_held) = _labels(data, "train", features.at["train"], drop), _labels(
        data, "eval", features.at["eval"], drop_eval
    )  # fmt: skip
    known = [name for name in dict.fromkeys(train) if _many(train, keep, name)]
    index = {name: i for i, name in enumerate(known)}
    mine = np.array([name in index for name in train], dtype=bool)
    judged = np.array([name in index for name in held], dtype=bool)
    if len(known) < 2 or judged.sum() < LEAST_HELD_OUT or (keep[mine].all() and keep_held[judged].all()):
        return None
    labels = np.array([index[name] for name in train if name in index], dtype=np.int64)
    truth = np.array([index[name] for name in held if name in index], dtype=np.int64)
    start = data.prepared.source.recipe.run.seed if seed is None else seed
    pairs = _tallies(features.train[mine], labels, keep[mine], features.eval[judged], truth, len(known), start)
    goal = "accuracy" if data.task.goal == "accuracy" else "macro_f1"
    return _effect(pairs, keep_held[judged], goal, int((~keep[mine]).sum()), start)


def _labels(data: AuditData, side: str, at: Numbers, drop: Collection[str]) -> tuple[list[str], NDArray[np.bool_]]:
    names, keep, without = [], np.ones(len(at), dtype=bool), frozenset(drop)
    rows = data.sides[side]  # type: ignore[index]
    for number, place in enumerate(at):
        row = rows[int(place)]
        names.append(str(row.get(str(data.label))))
        keep[number] = str(row["id"]) not in without
    return names, keep


def _many(names: list[str], keep: NDArray[np.bool_], name: str) -> bool:
    return sum(one == name and bool(kept) for one, kept in zip(names, keep, strict=True)) >= LEAST_ROWS


def _tallies(
    inputs: Floats, labels: Numbers, keep: NDArray[np.bool_], held: Floats, truth: Numbers, classes: int, seed: int
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Tallies of held-out rows with all training rows and without some, for all rows and for resamples of them."""
    rng = np.random.default_rng(seed)
    arms = []
    for kept in (np.ones(len(keep), dtype=bool), keep):
        decay = chosen_decay(inputs[kept], labels[kept], classes, units_of(inputs[kept]), seed)
        arms.append((kept, decay))
    pairs = []
    for repeat in range(REPEATS):
        weights = np.ones(len(labels)) if repeat == 0 else rng.poisson(1.0, len(labels)).astype(np.float64)
        found = []
        for kept, decay in arms:
            head = Head(inputs[kept], labels[kept], classes, np.asarray(weights[kept], dtype=np.float32))
            said = head.fit(decay).probabilities(held).argmax(1)
            found.append(metrics.tally_classification(truth, said, classes).astype(np.float64))
        pairs.append((found[0], found[1]))
    return pairs


def _effect(
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    keep: NDArray[np.bool_],
    goal: str,
    dropped: int,
    seed: int,
) -> Effect:
    score = metrics.accuracy_from if goal == "accuracy" else metrics.macro_f1_from
    every = np.ones((1, len(keep)))
    points = [(float(score(every @ found)[0]), float(score((every * keep) @ mended)[0])) for found, mended in pairs]
    moved = [mended - found for found, mended in points]
    rng, drawn = np.random.default_rng(seed), []
    each = RESAMPLES // len(pairs)
    chunk = max(1, CHUNK_NUMBERS // max(1, len(keep)))
    for (found, mended), point in zip(pairs, moved, strict=True):
        for start in range(0, each, chunk):
            size = min(chunk, each - start)
            weights = rng.multinomial(len(keep), np.full(len(keep), 1 / len(keep)), size=size).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                there = score((weights * keep) @ mended) - score(weights @ found)
            # About the one estimate: what resampled held-out rows change, and what resampled training rows change.
            drawn.append(there - point + moved[0] + point - float(np.mean(moved)))
    low, high = np.nanquantile(np.concatenate(drawn), [0.025, 0.975]).tolist()
    before, after = points[0]
    name = goal.replace("_", "-").replace("f1", "F1")
    told = "which may be chance" if low <= 0 <= high else "more than chance explains"
    gone = f"{int((~keep).sum()):,} held-out rows" if not dropped else f"{dropped:,} training rows"
    said = (
        f"{name} of a head on frozen features {before:.3f} with these rows, {after:.3f} without {gone}: "
        f"{after - before:+.3f} ({low:+.3f} to {high:+.3f}), {told}"
    )
    return Effect(goal, round(before, 4), round(after, 4), round(low, 4), round(high, 4), said)
