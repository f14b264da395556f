"""Stage by stage: what learns, whether the cache serves it, how many rows travel in a pass. Shapes only, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tunesmith.errors import UserError
from tunesmith.prepare import Prepared
from tunesmith.recipe import Stage

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.plan import Plan


@dataclass(frozen=True)
class Shape:
    """What is planned on: the model on the meta device, its groups, its dropout, and the training rows."""

    model: nn.Module
    layers: LayerGroups
    dropout: RowKeys
    train: Loader


def pick_micro(plan: Plan, prepared: Prepared, shape: Shape, world: int, strict: bool) -> None:
    """Decide how many rows travel in a pass, and keep what memory that takes.

    Raises:
        UserError: It does not fit, and ``strict`` says that it must.
    """
    recipe, room = prepared.source.recipe, plan.room
    whole = -(-recipe.batch.rows // world) if recipe.batch.micro == "auto" else int(recipe.batch.micro)
    micro = whole
    need = _resident(plan, prepared, shape, micro)
    if recipe.batch.micro == "auto" and room is not None and need > room and micro > 1:
        # Memory is a straight line over the rows of a pass: two points tell where to look.
        least = _resident(plan, prepared, shape, 1)
        slope = (need - least) / (micro - 1)
        while micro > 1 and least + slope * (micro - 1) > room:
            micro //= 2
        while (need := _resident(plan, prepared, shape, micro)) > room and micro > 1:
            micro //= 2
    needed = f"{need / 1e6:,.0f} MB"
    said = "memory is not limited here" if room is None else f"{room / 1e6:,.0f} MB may be used"
    if strict and not plan.fits:
        raise UserError(
            f"plan: stage {plan.memory_stage + 1} needs {needed} with {micro} rows per pass, and {said}",
            prepared.source.where("batch"),
            "see `tunesmith plan` for what would make it fit; else lower batch.micro, set "
            "engine.gradient_checkpointing: true, train fewer blocks, or shorten the rows",
        )
    plan.micro = micro
    chosen = "set in the recipe" if recipe.batch.micro != "auto" else f"the most that fits: {needed} predicted, {said}"
    if not plan.fits:
        chosen = f"does not fit: {needed} predicted, {said}"
    plan.decide("batch.micro", micro, chosen)


def _resident(plan: Plan, prepared: Prepared, shape: Shape, micro: int) -> int:
    """What the stage that needs most takes with so many rows a pass; the plan keeps it."""
    from tunesmith.forecast.memory import stage_memories

    plan.memories = stage_memories(plan, prepared, shape.model, shape.layers, shape.dropout, shape.train, micro)
    return plan.memories[plan.memory_stage].resident


class _MetaEngine:
    """An engine on which shapes run and nothing is computed."""

    rank, world, main, scales = 0, 1, True, False

    def __init__(self) -> None:
        import torch

        self.device: torch.device = torch.device("meta")

    def precision(self) -> Any:
        """Nothing: shapes do not depend on it."""
        return nullcontext()


def plan_stage(
    plan: Plan,
    prepared: Prepared,
    index: int,
    stage: Stage,
    model: nn.Module,
    layers: LayerGroups,
    dropout: RowKeys,
    sets: Mapping[str, Loader],
) -> None:
    """Note what a stage does, and whether the activation cache serves it."""
    from tunesmith.model.memory import MetaAnswers
    from tunesmith.model.stages import learning_groups, stage_name
    from tunesmith.train.caching import CacheDecision, CacheRequest, decide, recorded_sets
    from tunesmith.train.engine import Engine
    from tunesmith.train.job import steps_of

    recipe = prepared.source.recipe
    groups = learning_groups(layers, stage)
    layers.apply([g.group for g in groups if g.trains], stage.within)
    steps, per_epoch = steps_of(stage, len(sets["train"]), recipe)
    request = CacheRequest(
        task=prepared.task,
        model=model,
        layers=layers,
        sets=recorded_sets(prepared.task, sets),
        settings=recipe.cache,
        engine=cast(Engine, _MetaEngine()),
        precision=plan.precision,
        passes=steps / per_epoch,
        fingerprint="",
        dropout=lambda lengths: dropout.over(range(1, len(lengths) + 1), lengths if prepared.task.packed else None),
    )
    try:
        with MetaAnswers():
            _, cache = decide(request)
    except (RuntimeError, NotImplementedError, TypeError) as fault:
        # A model that computes with its own numbers has no shape without them: the stage itself decides then.
        cache = CacheDecision(False, f"decided when the stage starts: the shape alone does not run ({fault})"[:200])
    rate = None if stage.lr == "auto" else float(stage.lr)
    plan.stages.append(
        {
            "name": stage_name(stage),
            "train": stage.model_dump(mode="json")["train"],
            "epochs": round(steps / per_epoch, 3),
            "steps": steps,
            "lr": stage.lr,
            "groups": [g.to_json(rate) for g in groups],
            "trainable": sum(g.parameters for g in groups if g.trains),
            "cache": cache.to_json(),
        }
    )
    plan.decide(f"cache in stage {index + 1} ({stage_name(stage)})", "on" if cache.use else "off", cache.reason)
