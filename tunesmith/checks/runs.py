"""Checks through the real loop: resume, the activation cache, frozen layers. It knows no modality."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.checks.world import (
    DoesNotApply,
    Measured,
    World,
    changed_tensors,
    largest,
    snapshot,
    weights_distance,
    within,
)
from tunesmith.model.layers import HEAD
from tunesmith.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunesmith.train.loop import Loop

STEP_ROWS = 4
SAVE_STEPS = 3
RATE = 0.02
STAGE = {"lr": RATE, "warmup": 0, "schedule": "constant"}


@dataclass
class Ran:
    """What a run through the loop left."""

    loop: Loop
    weights: dict[str, Tensor]
    events: list[dict[str, Any]]

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [event["loss"] for event in self.events if event["kind"] == "step"]


def _run(
    world: World,
    stages: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    optimizer: str = "sgd",
    cache: str = "off",
    save_every: int | None = None,
    resume_from: Path | None = None,
) -> Ran:
    """Run stages on seven rows, four a step, from the start or from a checkpoint."""
    from tunesmith.train.checkpoint import Checkpoint, read_checkpoint
    from tunesmith.train.job import Job
    from tunesmith.train.loop import Loop

    recipe = Recipe.model_validate(
        {
            "task": world.kind.name,
            "model": world.source.name,
            "data": {"train": "rows"},
            "stages": list(stages),
            "batch": {"rows": STEP_ROWS, "micro": 2, "eval_rows": 4},
            "optimizer": {"name": optimizer},
            "cache": {"use": cache},
            "run": {"checkpoint_seconds": 1e9, "checkpoint_steps": save_every, "keep": 100},
        }
    )
    fitting = world.fitting()
    # Seven rows: the last step of an epoch is a smaller one.
    rows = [world.rows[i] for i in world.spread][:-1]
    views = world.task.views if world.task.random else 0
    sets = {"train": world.loader(rows, views=views), "held_out": world.loader(rows[::2])}
    events: list[dict[str, Any]] = []
    job = Job(
        recipe=recipe,
        task=world.task,
        model=fitting.model,
        layers=fitting.layers,
        dropout=fitting.dropout,
        stages=recipe.stages or [],
        sets=sets,
        engine=world.engine,
        precision="fp32",
        micro=2,
        checkpoints=folder / "checkpoints",
    )
    loop = Loop(job, events.append)
    if resume_from is not None:
        found = read_checkpoint(resume_from)
        if not isinstance(found, Checkpoint):
            raise ValueError(f"checkpoint {resume_from.name}: {found}")
        loop.resume(found)
    with _own_cache(folder):
        loop.fit()
    return Ran(loop, snapshot(fitting.model), events)


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Keep activations in a folder that goes away with the check."""
    before = os.environ.get("TUNESMITH_CACHE")
    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["TUNESMITH_CACHE"]
        else:
            os.environ["TUNESMITH_CACHE"] = before


def resume_in_mid_epoch(world: World) -> Measured:
    """A run resumed in the middle of an epoch ends in the same weights, bit for bit."""
    return _resume(world, SAVE_STEPS, "in the middle of the second stage's first epoch")


def resume_between_epochs(world: World) -> Measured:
    """A run resumed between two epochs ends in the same weights, bit for bit."""
    return _resume(world, 2 * SAVE_STEPS, "between the second stage's second and third epoch")


def _resume(world: World, step: int, where: str) -> Measured:
    # Two steps an epoch: the head's one, then three of all layers, so steps 3 and 6 lie within and between epochs.
    stages = [{"train": _first_stage(world), "epochs": 1, **STAGE}, {"train": "all", "epochs": 3, **STAGE, "lr": 1e-3}]
    folder = world.folder / "resumable"
    if world.uninterrupted is None:
        world.uninterrupted = _run(world, stages, folder, optimizer="adamw", save_every=SAVE_STEPS)
    whole: Ran = world.uninterrupted
    checkpoint = folder / "checkpoints" / f"step-{step:09d}"
    again = _run(world, stages, world.place("resumed"), optimizer="adamw", resume_from=checkpoint)
    differing = changed_tensors(whole.weights, again.weights)
    done = len(whole.losses) - len(again.losses)
    detail = f"resumed {where}, {len(again.losses)} of {len(whole.losses)} steps run again"
    if done != step:
        return Measured(False, f"{done} steps skipped", step, detail)
    shown = f"; differing: {', '.join(differing[:5])}" if differing else ""
    return Measured(not differing, f"{len(differing)} of {len(whole.weights)} tensors differ", "0", detail + shown)


def cache_of_the_head(world: World) -> Measured:
    """Training the head with and without the activation cache gives the same losses and weights."""
    if not world.fitting().layers.names(HEAD):
        raise DoesNotApply("the model has no head of its own: all its layers are pretrained")
    return _cache(world, "head")


def _first_stage(world: World) -> Any:
    """The head, or the top block where all layers are pretrained."""
    return "head" if world.fitting().layers.names(HEAD) else {"top": 1}


def cache_of_the_top(world: World) -> Measured:
    """Training the top blocks with and without the activation cache gives the same losses and weights."""
    return _cache(world, {"top": _half_of_the_blocks(world)})


def _half_of_the_blocks(world: World) -> int:
    blocks = len(world.fitting().layers.blocks)
    if blocks < 2:
        raise DoesNotApply(f"the model has {blocks} blocks, so no stage trains a part of them")
    return blocks // 2


def _cache(world: World, train: Any) -> Measured:
    stages = [{"train": train, "epochs": 3, **STAGE}]
    with_cache = _run(world, stages, world.place("cache"), cache="auto")
    decision = next(event for event in with_cache.events if event["kind"] == "cache")
    if not decision["use"]:
        raise DoesNotApply(f"the loop uses no cache here: {decision['reason']}")
    without = _run(world, stages, world.place("no-cache"), cache="off")
    losses = largest(abs(a - b) / max(1.0, abs(b)) for a, b in zip(with_cache.losses, without.losses, strict=True))
    weights = weights_distance(without.weights, with_cache.weights)
    detail = f"{len(without.losses)} steps above {decision['boundary']}: losses {losses:.1e}, weights {weights:.1e}"
    return within(largest([losses, weights]), 1e-5, detail)


def frozen(world: World) -> Measured:
    """What a stage does not train, parameters and buffers, is bit for bit as it was loaded."""
    stages: list[Any] = [_first_stage(world)]
    if len(world.fitting().layers.blocks) >= 2:
        stages.append({"top": _half_of_the_blocks(world)})
    before, moved, kept = snapshot(world.pristine), [], 0
    for train in stages:
        ran = _run(world, [{"train": train, "epochs": 2, **STAGE}], world.place("frozen"))
        still = _still(ran.loop.job.model, before)
        kept = max(kept, len(still))
        moved += [name for name in changed_tensors(still, ran.weights) if name not in moved]
    if not kept:
        raise DoesNotApply("the head is the whole model: nothing is ever frozen")
    shown = f"; changed: {', '.join(moved[:5])}" if moved else ""
    return Measured(not moved, f"{len(moved)} of {kept} tensors changed", "0", f"stages {stages}{shown}")


def _still(model: nn.Module, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that must not move: frozen parameters, and buffers of modules in which nothing learns."""
    moving = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    for name, module in model.named_modules():
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            moving |= {f"{name}.{buffer}".lstrip(".") for buffer, _ in module.named_buffers(recurse=False)}
    return {name: tensor for name, tensor in before.items() if name not in moving}
