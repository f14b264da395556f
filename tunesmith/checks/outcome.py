"""Checks of what a model says and what is kept of it: predictions, scores, the saved folder. It knows no modality."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.checks.world import (
    DoesNotApply,
    Measured,
    World,
    apart,
    fresh_facts,
    largest,
    loss_sums,
    none_of,
    predictions,
    through_json,
    within,
)
from tunesmith.model.weights import resolve
from tunesmith.recipe import ModelSection

if TYPE_CHECKING:
    from torch import nn

NOISE = 0.2


def predictions_are_json(world: World) -> Measured:
    """There is one prediction a row, and each comes back from JSON as it was."""
    found = predictions(world.task, world.fitting().model, [world.batch(world.spread)])
    faults = [] if len(found) == len(world.spread) else [f"{len(found)} predictions for {len(world.spread)} rows"]
    for row, prediction in zip(world.spread, found, strict=False):
        try:
            back = through_json(prediction)
        except (TypeError, ValueError) as fault:
            faults.append(f"row {world.rows[row]['id']}: {type(prediction).__name__} is not JSON-able: {fault}")
            break
        if back != prediction:
            faults.append(f"row {world.rows[row]['id']}: {prediction!r} comes back as {back!r}"[:200])
            break
    return none_of(faults, f"{len(found)} predictions for {len(world.spread)} rows")


def predictions_do_not_depend_on_the_batch(world: World) -> Measured:
    """A row's prediction is the same alone, among longer rows, and in another order."""
    task, model = world.task, world.fitting().model
    together = predictions(task, model, [world.batch(world.spread)])
    alone = predictions(task, model, [world.batch([i]) for i in world.spread])
    backward = predictions(task, model, [world.batch(world.spread[::-1])])[::-1]
    worst = largest([apart(task, together, alone), apart(task, together, backward)])
    return within(worst, 1e-5, "largest difference of any number: eight rows at once, one by one, in reverse")


def scores(world: World) -> Measured:
    """``score`` of predictions read back from a file gives finite numbers, the goal among them."""
    found, rows = _predicted(world)
    told = world.task.score(found, rows)
    faults = [] if world.task.goal in told else [f"the goal {world.task.goal!r} is not among {', '.join(told)}"]
    faults += [f"{name} is {value!r}" for name, value in told.items() if not _is_finite(value)]
    return none_of(faults, ", ".join(f"{name} {value:.4g}" for name, value in told.items() if _is_finite(value)))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _predicted(world: World) -> tuple[list[Any], list[Any]]:
    rows = [world.rows[i] for i in world.spread]
    return through_json(predictions(world.task, world.fitting().model, [world.batch(world.spread)])), rows


def tallies(world: World) -> Measured:
    """``goal_of`` summed tallies is the goal that ``score`` gives, on resampled rows too."""
    task = world.task
    found, rows = _predicted(world)
    tally = task.tally(found, rows)
    if tally is None:
        raise DoesNotApply("the task has no tally: score is called for each bootstrap resample")
    if tally.ndim != 2 or len(tally) != len(rows):
        return Measured(False, f"shape {tally.shape}", f"[{len(rows)}, k]", "one line of statistics a row")
    off = []
    rng = np.random.default_rng(0)
    samples = [list(range(len(rows))), *(rng.integers(0, len(rows), len(rows)).tolist() for _ in range(5))]
    for sample in samples:
        told = task.score([found[i] for i in sample], [rows[i] for i in sample])[task.goal]
        summed = float(task.goal_of(tally[sample].sum(0)[None])[0])
        off.append(abs(told - summed))
    return within(largest(off), 1e-9, f"all rows and {len(samples) - 1} resamples of them")


def saving(world: World) -> Measured:
    """A changed model, saved and loaded by a new task from that folder alone, gives the same predictions and losses."""
    task, model = world.task, copy.deepcopy(world.pristine)
    # What a stage never trains (a VAE) is copied from the source when it is saved.
    still = {id(p) for module in task.layers(model).helpers for p in module.parameters()}
    _disturb(model, still)
    batch = world.batch(world.spread)
    before, loss = predictions(task, model, [batch]), loss_sums(task, model, batch)
    folder = world.place("saved")
    task.save(model, folder)
    source = resolve(ModelSection(name=str(folder)))
    stranger = world.kind(world.options, source, fresh_facts(task.facts))
    again = stranger.load()
    reread = world.loader(task=stranger).batch(world.spread)
    told, told_loss = predictions(stranger, again, [reread]), loss_sums(stranger, again, reread)
    worst = apart(task, before, told)
    losses = largest(abs(loss[k] - told_loss.get(k, np.inf)) / max(1.0, abs(loss[k])) for k in loss)
    detail = f"all weights changed at random first; predictions differ by {worst:.1e}, losses by {losses:.1e}"
    return within(largest([worst, losses]), 1e-5, detail)


def _disturb(model: nn.Module, still: Container[int]) -> None:
    """Change every weight that may learn, so that no tensor that is lost could go unnoticed."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if id(parameter) in still:
                continue
            size = float(parameter.std()) if parameter.numel() > 1 else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.add_(NOISE * (size or 0.1) * noise.to(parameter.dtype))
