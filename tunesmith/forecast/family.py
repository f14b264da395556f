"""Model x method x GPU: what of a family fits where, from configs and headers alone. It loads no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tunesmith.devices import DEVICES, Device
from tunesmith.errors import UserError
from tunesmith.forecast.classic import classic_bytes
from tunesmith.forecast.closed_form import HELD, Load, stage_memory
from tunesmith.forecast.config_values import Config
from tunesmith.forecast.counted_rows import count_rows
from tunesmith.forecast.found_model import by_formula, find_folder, shape_of_folder
from tunesmith.forecast.headers import assumed_load
from tunesmith.forecast.shapes import Shape
from tunesmith.recipe import AdapterSection, ModelSection, Recipe, Source, Stage

_BUILT_IN = Path(__file__).with_name("public_configs.json")
FITS, TIGHT, NOT = "fits", "micro 1 and checkpointing", "does not fit"


@dataclass(frozen=True)
class Method:
    """A way to train: what learns, how the rest is held, what the pass computes in where the GPU can."""

    name: str
    train: str
    held: str
    precision: str


METHODS = (
    Method("all, fp32", "all", "fp32", "fp32"),
    Method("LoRA, bf16", "adapter", "bf16", "bf16"),
    Method("LoRA, 4 bit", "adapter", "nf4", "bf16"),
    Method("head only", "head", "fp32", "fp32"),
)


def built_in() -> dict[str, Config]:
    """Configs that come along, by ``family-size``: numbers that their makers published."""
    table = json.loads(_BUILT_IN.read_text(encoding="utf-8"))
    table.pop("said")
    return {
        f"{family}-{size}": Config(sizes["common"] | values)
        for family, sizes in table.items()
        for size, values in sizes.items()
        if size != "common"
    }


def named_shapes(name: str, where: str = "") -> list[tuple[str, Shape, bool]]:
    """The models that a name stands for: a family that comes along, one of its sizes, or a model.

    Returns:
        Name, shape, and whether its numbers came along.

    Raises:
        UserError: There is no such family and no such model.
    """
    known = built_in()
    families = list(dict.fromkeys(one.rpartition("-")[0] for one in known))
    wanted = [one for one in known if name.lower() in (one.lower(), one.rpartition("-")[0])]
    # A folder of this name wins, as it does everywhere.
    if wanted and not Path(name).expanduser().is_dir():
        shapes = [(one, by_formula(known[one])[0]) for one in wanted]
        return [(one, shape, True) for one, shape in shapes if shape is not None]
    if "/" not in name and ":" not in name and not Path(name).expanduser().exists():
        near = get_close_matches(name.lower(), [*families, *known], n=2)
        fix = f"write {' or '.join(near or families)}, a hub id (org/name) or a folder"
        raise UserError(f"there is no family or model {name!r}", where or "--models", fix)
    folder = find_folder(ModelSection(name=name), where or "--models")
    return [(name, shape_of_folder(folder, where), False)]


def family_table(
    source: Source, names: Sequence[str] = (), devices: Sequence[Device] | None = None
) -> list[dict[str, Any]]:
    """What fits where: an entry for each model, method and GPU.

    Args:
        source: The recipe, whose rows, batch, optimizer and adapter count.
        names: Models, families that come along (``llama``, ``qwen2.5``) or one of their sizes (``llama-8B``); the
            recipe's own model where there are none.
        devices: GPUs; all that are known where None.

    Raises:
        UserError: A name leads nowhere, or a model's files are at fault.
    """
    recipe = source.recipe
    counted = count_rows(recipe.data.train, source.path.parent)
    shapes: list[tuple[str, Shape, bool]] = []
    if not names:
        folder = find_folder(recipe.model, source.where("model"))
        shapes.append((recipe.model.name, shape_of_folder(folder, source.where("model")), False))
    for name in names:
        shapes += named_shapes(name)
    found = []
    for name, shape, public in shapes:
        load = assumed_load(recipe, None, shape, counted)[0]
        for method in METHODS:
            for device in DEVICES.values() if devices is None else devices:
                told = {"model": name, "parameters": shape.parameters, "public_numbers": public}
                found.append(told | _entry(recipe, shape, method, device, load))
    return found


def _entry(recipe: Recipe, shape: Shape, method: Method, device: Device, load: Load) -> dict[str, Any]:
    precision = method.precision if method.precision == "fp32" or device.has(method.precision) else "fp16"
    plain = with_method(recipe, method, checkpointing=recipe.engine.gradient_checkpointing)
    needed = asked = _needed(plain, shape, method, load, precision)
    answer = FITS if needed <= device.usable_bytes else NOT
    if answer == NOT:
        least = with_method(recipe, method, checkpointing=True)
        tight = _needed(least, shape, method, replace(load, rows=1), precision)
        if tight <= device.usable_bytes:
            needed, answer = tight, TIGHT
    return {
        "method": method.name,
        "device": device.name,
        "memory_bytes": device.memory_bytes,
        "rows_asked": load.rows,
        "rows": 1 if answer == TIGHT else load.rows,
        "tokens": load.tokens,
        "bytes": needed,
        "bytes_asked": asked,
        "classic_bytes": list(classic_bytes(shape.parameters, HELD[method.held])),
        "answer": answer,
    }


def _needed(recipe: Recipe, shape: Shape, method: Method, load: Load, precision: str) -> int:
    assert recipe.stages is not None
    parts = stage_memory(recipe.stages[0], shape, recipe, load, held=method.held, precision=precision)
    return sum(parts.values())


def with_method(recipe: Recipe, method: Method, *, checkpointing: bool) -> Recipe:
    """The recipe with another method in place of its own."""
    adapter = (recipe.adapter or AdapterSection()) if method.train == "adapter" else None
    engine = recipe.engine.model_copy(update={"gradient_checkpointing": checkpointing})
    stage = Stage.model_validate({"train": method.train, "epochs": 1})
    optimizer = recipe.optimizer.model_copy(update={"name": "adamw"})
    more = {"adapter": adapter, "engine": engine, "stages": [stage], "optimizer": optimizer}
    return recipe.model_copy(update=more)
