"""The plan: everything automatic, decided once, early and aloud, with its reason; and what memory the run will take.

It loads no weights: the model's shape runs on the meta device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.forecast.classic import classic_bytes
from tunesmith.forecast.stages import Shape, pick_micro, plan_stage
from tunesmith.machine import available_bytes, has_compiler, pick_device, pick_precision
from tunesmith.prepare import Prepared
from tunesmith.recipe import Stage

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.devices import Device
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.memory import MemoryPlan

OUTLOOK = ("host", "disk", "time", "options", "data", "learning_curve", "unknown")
BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "nf4": 0.5}
MEMORY_SHARE = 0.8
"""Share of the free memory that the plan fills; the rest is for the allocator and for other programs."""


@dataclass
class Plan:
    """What the run will do.

    Args:
        decisions: What was decided, its value, and the reason.
        stages: Per stage: name, steps, learning groups, cache.
        memories: Predicted bytes by part, stage by stage.
        device, precision, micro: The decisions that the loop needs.
        held: How frozen weights are held.
        target: The device that is planned for, where it is not the one here.
        room: Bytes that may be used there; None: memory is not limited.
        evaluations: What a batch of evaluation takes, as far as it was looked at.
        encoded: What encoded rows take, by the settings that decide how a row is encoded.
        outlook: What is foreseen beside memory, by the names of `OUTLOOK`.
    """

    device: str
    precision: str
    micro: int
    resolved: list[Stage]
    held: str = "fp32"
    decisions: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    memories: list[MemoryPlan] = field(default_factory=list)
    target: Device | None = None
    room: int | None = None
    parameters: int = 0
    outlook: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[tuple[Any, ...], int] = field(default_factory=dict)
    encoded: dict[tuple[Any, ...], int] = field(default_factory=dict)

    @property
    def memory_stage(self) -> int:
        """The stage that needs the most memory."""
        return max(range(len(self.memories)), key=lambda i: self.memories[i].resident, default=0)

    @property
    def memory(self) -> MemoryPlan | None:
        """Its memory."""
        return self.memories[self.memory_stage] if self.memories else None

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
                "stages": [one.to_json() for one in self.memories],
                "activations": dict(memory.groups),
                "classic_bytes": list(classic_bytes(self.parameters, BYTES[self.held])),
                "room_bytes": self.room,
                "fits": self.fits,
                "device": self._device_json(),
            }
            if memory
            else None,
            "stages": self.stages,
            **{name: self.outlook.get(name) for name in OUTLOOK},
        }

    @property
    def fits(self) -> bool:
        """Whether the stage that needs the most memory has room."""
        return self.room is None or self.memory is None or self.memory.resident <= self.room

    def _device_json(self) -> dict[str, Any]:
        if self.target is None:
            return {"name": self.device, "memory_bytes": self.room, "count": 1}
        return {"name": self.target.name, "memory_bytes": self.target.memory_bytes, "count": self.target.count}


def make_plan(
    prepared: Prepared,
    *,
    world: int = 1,
    target: Device | None = None,
    room: int | None = None,
    strict: bool = True,
    ahead: bool = False,
    began: float | None = None,
) -> Plan:
    """Decide device, precision, micro-batch, stages and cache; predict memory.

    Args:
        prepared: The recipe's rows and task.
        world: Processes that train together, each with its share of the rows.
        target: Plan for this device, whatever is here.
        room: Bytes that may be used; by default what is free.
        strict: Refuse what does not fit; else the plan says so.
        ahead: Foresee disk, host memory, time and rows, too, which takes a while of its own.
        began: When reading the rows began, by ``time.perf_counter``: with ``ahead``, a run begins with the same.

    Raises:
        UserError: The device, the precision or a stage can't be had, or the recipe does not fit in memory.
    """
    import torch

    recipe, task = prepared.source.recipe, prepared.task
    device = pick_device(recipe.engine.device) if target is None else "cuda"
    precision, why = _precision(prepared, device, target)
    if recipe.engine.compile and target is None and not has_compiler():
        raise prepared.source.error(
            ("engine", "compile"),
            "engine.compile: torch.compile finds no C++ compiler here",
            "install g++, or write false",
        )
    task.held, how = pick_held(prepared, precision)
    model, layers, dropout, off = shape_of(prepared)
    stages = recipe.stages or task.stages(len(layers.blocks))
    check_stages(prepared, stages)
    plan = Plan(device, precision, 1, stages, held=task.held, target=target)
    plan.parameters = sum(p.numel() for p in model.parameters())
    if target is not None:
        plan.decide("device", target.name, "asked for")
    else:
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
    plan.room = room if room is not None else _room(device, target)
    for index, stage in enumerate(stages):
        plan_stage(plan, prepared, index, stage, model, layers, dropout, sets)
    shape = Shape(model, layers, dropout, train)
    pick_micro(plan, prepared, shape, world if target is None else target.count, strict)
    if ahead:
        _look_ahead(plan, prepared, shape, sets, 0.0 if began is None else time.perf_counter() - began)
    return plan


def _look_ahead(plan: Plan, prepared: Prepared, shape: Shape, sets: dict[str, Loader], spent: float) -> None:
    """What is foreseen beside memory on the device."""
    from tunesmith.forecast.amount import data_needs
    from tunesmith.forecast.ladder import options_of
    from tunesmith.forecast.storage import predict_disk, predict_host
    from tunesmith.forecast.time import predict_time

    model, layers = shape.model, shape.layers
    ahead = predict_time(plan, prepared, model, layers, shape.dropout, sets, device=plan.target, spent=spent)
    plan.outlook |= {
        "time": ahead,
        "disk": predict_disk(plan, prepared, model, layers, seconds=ahead["stages"] if ahead else None),
        "host": predict_host(plan, prepared, model, layers, sets),
        "data": data_needs(prepared),
        "options": options_of(prepared, plan),
        "unknown": [] if ahead else ["how long the run takes: `tunesmith doctor --measure` measures this machine once"],
    }


def _precision(prepared: Prepared, device: str, target: Device | None) -> tuple[str, str]:
    wanted, low = prepared.source.recipe.engine.precision, prepared.task.low_precision
    if target is None:
        return pick_precision(wanted, device, low=low)
    if wanted != "auto":
        return wanted, "set in the recipe"
    if "bf16" in target.flops:
        return "bf16", f"{target.name} has bf16 units: half the bytes, the range of fp32"
    return "fp32", f"{target.name} has no bf16 units"


def _room(device: str, target: Device | None) -> int | None:
    """Bytes that may be used on a device; None where nothing tells."""
    if target is not None:
        return target.usable_bytes
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    free = available_bytes()
    return int(free * MEMORY_SHARE) if free is not None and device == "cpu" else None


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
