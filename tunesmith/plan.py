"""The plan: everything automatic, decided once, early and aloud, with its reason; and what memory the run will take.

It loads no weights: the model's shape runs on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tunesmith.errors import UserError
from tunesmith.machine import available_bytes, has_compiler, pick_device, pick_precision
from tunesmith.prepare import Prepared
from tunesmith.recipe import Stage

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.memory import MemoryPlan

MEMORY_SHARE = 0.8
"""Share of the free memory that the plan fills; the rest is for the allocator and for other programs."""


@dataclass
class Plan:
    """What the run will do.

    Args:
        decisions: What was decided, its value, and the reason.
        stages: Per stage: name, steps, learning groups, cache.
        memory: Predicted bytes by part, of the stage that needs most.
        memory_stage: Which one that is.
        device, precision, micro: The decisions that the loop needs.
        held: How frozen weights are held.
    """

    device: str
    precision: str
    micro: int
    resolved: list[Stage]
    held: str = "fp32"
    decisions: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    memory: MemoryPlan | None = None
    memory_stage: int = 0

    def decide(self, what: str, value: Any, reason: str) -> None:
        """Note a decision."""
        self.decisions.append({"what": what, "value": value, "reason": reason})

    def to_json(self) -> dict[str, Any]:
        """The plan as the run directory keeps it."""
        memory = self.memory
        return {
            "decisions": self.decisions,
            "held": self.held,
            "memory": {
                "parts": memory.parts(),
                "allocated_bytes": memory.allocated,
                "resident_bytes": memory.resident,
                "stage": self.memory_stage,
                "traced": memory.traced,
            }
            if memory
            else None,
            "seconds": None,
            "stages": self.stages,
        }


def make_plan(prepared: Prepared, *, world: int = 1) -> Plan:
    """Decide device, precision, micro-batch, stages and cache; predict memory.

    Raises:
        UserError: The device, the precision or a stage can't be had, or the recipe does not fit in memory.
    """
    import torch

    recipe, task = prepared.source.recipe, prepared.task
    device = pick_device(recipe.engine.device)
    precision, why = pick_precision(recipe.engine.precision, device, low=task.low_precision)
    if recipe.engine.compile and not has_compiler():
        raise prepared.source.error(
            ("engine", "compile"),
            "engine.compile: torch.compile finds no C++ compiler here",
            "install g++, or write false",
        )
    task.held, how = pick_held(prepared, precision)
    model, layers, dropout, off = shape_of(prepared)
    stages = recipe.stages or task.stages(len(layers.blocks))
    check_stages(prepared, stages)
    plan = Plan(device, precision, 1, stages, held=task.held)
    plan.decide("device", device, "set in the recipe" if recipe.engine.device != "auto" else "the best one here")
    plan.decide("precision", precision, why)
    if how:
        plan.decide("model.dtype", task.held, how)
    if not recipe.stages:
        plan.decide("stages", len(stages), "the recipe gives none: these are the task's own")
    if task.recomputed and not task.packed and getattr(task.options, "packing", False):
        plan.decide("packing", "off", "blocks that are computed again can't tell texts that lie end to end apart")
    for line in off:
        plan.decide(
            "dropout off", line, "it can't be drawn by row, so it would differ between batch sizes and on resume"
        )
    sets = loaders_of(prepared)
    train = sets["train"]
    if task.reference_width:
        train.extra = {"reference": torch.zeros(len(train), task.reference_width)}
    free = available_bytes()
    budget = int(free * MEMORY_SHARE) if free is not None and device == "cpu" else None
    for index, stage in enumerate(stages):
        _plan_stage(plan, prepared, index, stage, model, layers, dropout, sets)
    _pick_micro(plan, prepared, model, layers, dropout, train, budget, world)
    return plan


def pick_held(prepared: Prepared, precision: str) -> tuple[str, str]:
    """How frozen weights are held, and why; no reason where there was nothing to choose.

    Raises:
        UserError: Weights that learn can't be held so.
    """
    recipe = prepared.source.recipe
    wanted = recipe.model.dtype
    if wanted not in ("auto", *prepared.task.holds):
        raise prepared.source.error(
            ("model", "dtype"),
            f"model.dtype: the task {prepared.task.name} can't hold weights in {wanted}",
            f"write auto, or one of: {', '.join(prepared.task.holds)}",
        )
    if wanted == "auto":
        if recipe.adapter is not None and precision == "bf16" and "bf16" in prepared.task.holds:
            return "bf16", "the frozen weights are held as they are multiplied: half the bytes; what learns is fp32"
        return "fp32", ""
    learns = [s for s in recipe.stages or () if s.train not in ("adapter", "head")]
    if wanted != "fp32" and (recipe.adapter is None or learns):
        raise prepared.source.error(
            ("model", "dtype"),
            f"model.dtype: {wanted} holds weights that do not learn, and here they do: what learns is held in fp32",
            "add adapter: {kind: lora}, or write fp32 and engine: {precision: bf16}",
        )
    return wanted, "set in the recipe"


def loaders_of(prepared: Prepared) -> dict[str, Loader]:
    """The row sets of a run by name: ``train``, ``held_out``, and ``validation`` where there is one."""
    task = prepared.task
    task.pool = prepared.train
    views = task.views if task.random else 0
    sets = {"train": loader_of(prepared, prepared.train, views), "held_out": loader_of(prepared, prepared.held_out)}
    if len(prepared.validation):
        sets["validation"] = loader_of(prepared, prepared.validation)
    if len(samples := task.samples(prepared.held_out)):
        sets["samples"] = loader_of(prepared, samples)
    return sets


def loader_of(prepared: Prepared, rows: Sequence[Any], views: int = 0) -> Loader:
    """Rows as batches, by the prepared task; ``views``: how many drawn versions of each take turns."""
    from tunesmith.data.loader import Loader
    from tunesmith.task import Task

    task = prepared.task
    padded = type(task).length is not Task.length
    return Loader(
        rows,
        task.encode,
        task.collate,
        random=task.random,
        length=task.length if padded else None,
        inputs=task.key_columns,
        workers=prepared.source.recipe.engine.workers,
        encode_many=task.encode_many,
        views=views,
        seed=prepared.source.recipe.run.seed,
        cpu_rows=task.cpu_rows,
        row_length=task.row_length,
        seeded=task.seeded,
    )


def shape_of(prepared: Prepared) -> tuple[nn.Module, LayerGroups, RowKeys, list[str]]:
    """The model on the meta device with its adapter, its groups, its dropout, and what dropout is switched off."""
    from tunesmith.model.dropout import address_dropout

    task = prepared.task
    task.adapted = prepared.source.recipe.adapter is not None
    task.recomputed = prepared.source.recipe.engine.gradient_checkpointing
    model = task.skeleton()
    layers = with_adapter(prepared, model)
    dropout, off = address_dropout(model, prepared.source.recipe.optimizer.dropout)
    return model, layers, dropout, off


def with_adapter(prepared: Prepared, model: nn.Module) -> LayerGroups:
    """Attach the recipe's adapter, if any, and read the layer groups."""
    from tunesmith.model.layers import LayerGroups, blocks_named

    task, recipe = prepared.task, prepared.source.recipe
    layers = task.layers(model)
    if recipe.model.blocks is not None:
        blocks = blocks_named(model, recipe.model.blocks)
        layers = LayerGroups.of(model, trunk=layers.trunk, blocks=blocks, fresh=task.fresh)
    if recipe.adapter is None:
        return layers
    from tunesmith.model.adapters import adapter_parameters, attach

    groups = layers.by_parameter()
    attach(model, layers.adapted_blocks(recipe.adapter.top), recipe.adapter, seed=recipe.run.seed)
    task.check_adapter(model)
    return layers.with_adapter(task.fresh, frozenset(adapter_parameters(model)), groups)


def check_stages(prepared: Prepared, stages: Sequence[Stage]) -> None:
    """Stages and adapter must belong together.

    Raises:
        UserError: A stage trains an adapter that is not there, or frozen weights under one that is.
    """
    adapter = prepared.source.recipe.adapter
    for index, stage in enumerate(stages):
        if adapter is not None and stage.train not in ("head", "adapter"):
            raise prepared.source.error(
                ("stages", index, "train"),
                f"stages.{index}: an adapter keeps the pretrained weights as they are, so no stage can train them",
                "write train: adapter or train: head, or remove the adapter",
            )
        if adapter is None and stage.train == "adapter":
            raise prepared.source.error(
                ("stages", index, "train"), f"stages.{index}: there is no adapter to train", "add adapter: {kind: lora}"
            )


def _pick_micro(
    plan: Plan,
    prepared: Prepared,
    model: nn.Module,
    layers: LayerGroups,
    dropout: RowKeys,
    train: Loader,
    budget: int | None,
    world: int,
) -> None:
    from tunesmith.forecast.memory import worst_stage

    recipe = prepared.source.recipe
    micro = -(-recipe.batch.rows // world) if recipe.batch.micro == "auto" else int(recipe.batch.micro)
    while True:
        plan.memory, plan.memory_stage = worst_stage(plan, prepared, model, layers, dropout, train, micro)
        fits = budget is None or plan.memory.resident <= budget
        if fits or recipe.batch.micro != "auto" or micro == 1:
            break
        micro //= 2
    need = f"{plan.memory.resident / 1e6:,.0f} MB"
    room = "memory is not limited here" if budget is None else f"{budget / 1e6:,.0f} MB may be used"
    if not fits:
        raise UserError(
            f"plan: stage {plan.memory_stage + 1} needs {need} with {micro} rows per pass, and {room}",
            prepared.source.where("batch"),
            "lower batch.micro, set engine.gradient_checkpointing: true, train fewer blocks, or shorten the rows",
        )
    plan.micro = micro
    chosen = "set in the recipe" if recipe.batch.micro != "auto" else f"the most that fits: {need} predicted, {room}"
    plan.decide("batch.micro", micro, chosen)


class _MetaEngine:
    """An engine on which shapes run and nothing is computed."""

    rank, world, main, scales = 0, 1, True, False

    def __init__(self) -> None:
        import torch

        self.device: torch.device = torch.device("meta")

    def precision(self) -> Any:
        """Nothing: shapes do not depend on it."""
        return nullcontext()


def _plan_stage(
    plan: Plan,
    prepared: Prepared,
    index: int,
    stage: Stage,
    model: nn.Module,
    layers: LayerGroups,
    dropout: RowKeys,
    sets: Mapping[str, Loader],
) -> None:
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
