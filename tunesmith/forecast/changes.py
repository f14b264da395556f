"""The changes that save memory, what each sets and what it costs: from those that cost time to those that see less.

Each is made from a recipe as it is by then; whether it helps is for the ladder to find out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tunesmith.forecast.replan import Patch, Replanner
from tunesmith.machine import pick_precision
from tunesmith.recipe import Recipe, Stage

if TYPE_CHECKING:
    from tunesmith.devices import Device
    from tunesmith.model.memory import MemoryPlan

RANK = 16
SAME_NUMBERS = "the numbers stay the same"


@dataclass(frozen=True)
class Change:
    """Settings that save memory together, and what they cost."""

    what: str
    patch: Patch
    costs: str


@dataclass(frozen=True)
class Here:
    """What a change is made from.

    Args:
        planner: With the recipe as it was.
        patch: What is changed so far.
        memory: What is needed so far.
        device: The GPU that is planned for; None: this machine's.
    """

    planner: Replanner
    patch: Patch
    memory: MemoryPlan
    device: Device | None

    @property
    def recipe(self) -> Recipe:
        """The recipe so far."""
        return self.planner.recipe(self.patch)

    @property
    def precision(self) -> str:
        """What products are computed in so far."""
        return str(self.patch.get("engine.precision", self.planner.plan.precision))


def _halves(number: int, least: int = 1) -> list[int]:
    found = []
    while (number := number // 2) >= least:
        found.append(number)
    return found


def _micro(here: Here) -> list[Change]:
    costs = f"more passes a step, which is slower; {SAME_NUMBERS}"
    return [
        Change(f"{n} row{'s' if n > 1 else ''} a pass", {"batch.micro": n}, costs)
        for n in _halves(here.planner.plan.micro)
    ]


def _evaluation(here: Here) -> list[Change]:
    if here.memory.evaluation <= here.memory.step:
        return []
    costs = f"evaluation is slower; {SAME_NUMBERS}"
    found = []
    for n in _halves(here.recipe.batch.eval_rows):
        found.append(Change(f"{n} row{'s' if n > 1 else ''} a pass in evaluation", {"batch.eval_rows": n}, costs))
        if n * here.memory.evaluation <= here.recipe.batch.eval_rows * here.memory.step / 2:
            break  # fewer would not be seen: the step needs more
    return found


def _checkpointing(here: Here) -> list[Change]:
    if here.recipe.engine.gradient_checkpointing or not here.planner.blocks:
        return []
    costs = f"about a third more time; {SAME_NUMBERS}"
    if getattr(here.planner.prepared.task.options, "packing", False):
        costs += "; rows are padded, where they lay end to end"
    return [Change("gradient checkpointing", {"engine.gradient_checkpointing": True}, costs)]


def _bf16(here: Here) -> list[Change]:
    plan = here.planner.plan
    units = here.device.has("bf16") if here.device else pick_precision("auto", plan.device, low=True)[0] == "bf16"
    if here.precision != "fp32" or not units:
        return []
    return [Change("products in bf16", {"engine.precision": "bf16"}, "products are rounded to 8 bits; mostly faster")]


def _eight_bit(here: Here) -> list[Change]:
    if here.recipe.optimizer.name != "adamw":
        return []
    costs = "the optimizer's averages are rounded to 8 bits; a step takes longer on a CPU"
    return [Change("optimizer in 8 bits", {"optimizer.name": "adamw-8bit"}, costs)]


def _average(here: Here) -> list[Change]:
    if here.recipe.optimizer.ema is None:
        return []
    return [Change("no moving average", {"optimizer.ema": None}, "the weights themselves are saved, not their average")]


def _stages(here: Here, anew: Callable[[Stage], Any]) -> dict[str, Any]:
    """A patch under which what stages train is ``anew`` of them; of the task's own stages, written out."""
    own = here.planner.plan.resolved
    given = here.recipe.stages
    if given is not None:
        changes = {f"stages.{i}.train": anew(stage) for i, stage in enumerate(given)}
        return {
            key: value for (key, value), stage in zip(changes.items(), given, strict=True) if value != _train(stage)
        }
    written = [stage.model_dump(mode="json", exclude_defaults=True) | {"train": anew(stage)} for stage in own]
    return {"stages": written} if any(one["train"] != _train(s) for one, s in zip(written, own, strict=True)) else {}


def _train(stage: Stage) -> Any:
    return stage.model_dump(mode="json")["train"]


def _adapter(here: Here) -> list[Change]:
    if here.recipe.adapter is not None or not here.planner.blocks:
        return []
    stages = _stages(here, lambda stage: "head" if stage.train == "head" else "adapter")
    if not stages:
        return []
    costs = "only low-rank updates learn, often a little worse; they want about ten times the rate (stages.lr)"
    patch = {"adapter.kind": "lora", "adapter.r": RANK, **stages}
    return [Change(f"LoRA of rank {RANK} in place of the weights", patch, costs)]


def _held(here: Here, dtype: str, what: str, costs: str) -> list[Change]:
    task, dtypes = here.planner.prepared.task, ("fp32", "bf16", "nf4")
    now = here.recipe.model.dtype
    if now == "auto":
        now = "bf16" if here.precision == "bf16" and "bf16" in task.holds else "fp32"
    if here.recipe.adapter is None or dtype not in task.holds or now not in dtypes[: dtypes.index(dtype)]:
        return []
    return [Change(what, {"model.dtype": dtype}, costs)]


def _held_bf16(here: Here) -> list[Change]:
    return _held(here, "bf16", "frozen weights in bf16", "frozen weights are rounded to 8 bits of mantissa")


def _held_nf4(here: Here) -> list[Change]:
    costs = "frozen weights are rounded to 4 bits: the model starts a little worse, passes may be slower"
    if find_spec("bitsandbytes") is None:
        costs += "; needs pip install 'tunesmith[quantized]'"
    return _held(here, "nf4", "frozen weights in 4 bits (QLoRA)", costs)


def _fewer(here: Here) -> list[Change]:
    adapter = here.recipe.adapter
    costs = "what lies below stays as it is: less is learned"
    if adapter is not None:
        tops = _halves(min(adapter.top or here.planner.blocks, here.planner.blocks))
        return [Change(f"the adapter on the top {n} of the blocks", {"adapter.top": n}, costs) for n in tops]
    found = []
    for n in _halves(here.planner.blocks):
        patch = _stages(here, lambda stage, n=n: _top(stage, n))  # type: ignore[misc]
        if patch:
            found.append(
                Change(f"only the top {n} block{'s' if n > 1 else ''} learn{'' if n > 1 else 's'}", patch, costs)
            )
    return found


def _top(stage: Stage, most: int) -> Any:
    now = getattr(stage.train, "top", None)
    if stage.train != "all" and now is None:
        return stage.train
    return {"top": most if now is None else min(now, most)}


def _shorter(here: Here) -> list[Change]:
    """A task's own limit, where it has one: ``max_length`` of its texts, or ``size`` of its pictures."""
    task = here.planner.prepared.task
    values, options = task.facts.values, type(task.options).model_fields
    if "max_length" in options and isinstance(values.get("max_length"), int):
        lengths = here.planner.lengths["train"]
        found = []
        for n in _halves(values["max_length"], 16)[:4]:
            cut = sum(length > n for length in lengths) / max(1, len(lengths))
            if cut > 0:
                costs = f"{cut:.1%} of the training rows lose their end"
                found.append(Change(f"at most {n} tokens a row", {"options.max_length": n}, costs))
        return found
    size = values.get("input", {}).get("size") or values.get("size")
    if "size" not in options or not size:
        return []
    sides = [int(side) for side in size] if isinstance(size, list | tuple) else [int(size)] * 2
    smaller = []
    for share in (0.75, 0.5):
        height, width = (max(32, math.floor(side * share / 32) * 32) for side in sides)
        smaller.append((f"{height} x {width}", height if height == width else [height, width]))
    costs = "pictures are seen in less detail"
    return [Change(f"pictures of {said} pixels", {"options.size": new}, costs) for said, new in smaller]


STEPS: tuple[Callable[[Here], list[Change]], ...] = (
    _evaluation,
    _micro,
    _evaluation,
    _checkpointing,
    _bf16,
    _eight_bit,
    _average,
    _adapter,
    _held_bf16,
    _held_nf4,
    _fewer,
    _shorter,
)
"""Every change, from those that cost time alone to those that learn less and those that see less.

Evaluation stands twice: where it needs the most, a smaller step is not seen; with a smaller step it may need the most.
"""
