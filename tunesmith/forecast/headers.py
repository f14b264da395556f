"""The plan in half a second, from config.json, headers of weights and the recipe, with a list of what they can't tell.

It loads no torch, no tokenizer and no task; `tunesmith plan` without --fast does, and is right where this is not.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from tunesmith.devices import Device
from tunesmith.forecast.classic import classic_bytes
from tunesmith.forecast.closed_form import HELD, Load, activation_bytes, learning_parameters, stage_memory
from tunesmith.forecast.counted_rows import BYTES_PER_TOKEN, Counted, count_rows
from tunesmith.forecast.found_model import PIPELINE, find_folder, picture_side, shape_of_folder
from tunesmith.forecast.shapes import Shape
from tunesmith.machine import available_bytes
from tunesmith.recipe import Recipe, Source, Stage, Top

MEMORY_SHARE = 0.8
"""Share of a CPU's free memory that a plan fills."""
ASSUMED_TOKENS = 256
"""Tokens of a row where neither recipe nor file tells."""
ASSUMED_WORDS = 64
"""Tokens of what is said in a recording."""
LATENT = 8
"""Pixels of a picture to one of a diffusion model's latents."""
_ALWAYS = (
    "what evaluation takes beyond a step",
    "whether recorded activations stand in for frozen blocks, and their bytes",
    "time, host memory and disk",
)


def fast_plan(source: Source, *, device: Device | None = None) -> dict[str, Any]:
    """The plan's JSON from headers alone, in half a second; ``unknown`` lists what it could not know.

    Args:
        source: The recipe.
        device: The GPU to plan for; None: this machine's memory.

    Raises:
        UserError: The model is not there, or a file of it is at fault.
    """
    recipe, unknown = source.recipe, list(_ALWAYS)
    folder = find_folder(recipe.model, source.where("model"))
    shape = shape_of_folder(folder, source.where("model"))
    unknown += shape.unknown
    if recipe.adapter is None and recipe.stages is None:
        unknown.append("stages and adapter: the recipe gives none, and the task's own are not read; all weights learn")
    if not shape.head and not shape.vocabulary:
        unknown.append("the head that the task puts on the model: its size follows from the rows")
    if any(stage.within for stage in recipe.stages or ()):
        unknown.append("stages.within: all of what a stage trains is counted")
    counted = count_rows(recipe.data.train, source.path.parent)
    unknown += [counted.said] if counted.said else []
    load, told = assumed_load(recipe, folder, shape, counted)
    unknown += told
    precision, held, why = _numbers(recipe, device)
    unknown += [why] if why else []
    room = _room(device)
    stages = recipe.stages or [Stage(train="adapter" if recipe.adapter else "all")]
    memories, micro = _fitting(recipe, stages, shape, load, room, held=held, precision=precision)
    worst = max(range(len(stages)), key=lambda i: sum(memories[i].values()))
    load = replace(load, rows=micro)
    activations = activation_bytes(stages[worst], shape, recipe, load, precision, held=held)
    memory = _memory(memories, worst, room, device) | {
        "activations": activations,
        "classic_bytes": list(classic_bytes(shape.parameters, HELD[held])),
    }
    return {
        "decisions": _decisions(recipe, shape, micro, load, precision, device),
        "held": held,
        "stages": [_stage(stage, recipe, shape, counted.rows) for stage in stages],
        "memory": memory,
        "host": None,
        "disk": None,
        "time": None,
        "options": [],
        "data": None if counted.rows is None else {"rows": counted.rows, "references": []},
        "learning_curve": None,
        "model": {"parameters": shape.parameters, "groups": shape.groups(), "stored": shape.dtypes, "from": shape.said},
        "unknown": list(dict.fromkeys(unknown)),
    }


def assumed_load(recipe: Recipe, folder: Path | None, shape: Shape, counted: Counted) -> tuple[Load, list[str]]:
    """How much goes through the model at once, and what of it is assumed; no folder: pictures of 224 pixels."""
    unknown: list[str] = []
    rows = recipe.batch.rows if recipe.batch.micro == "auto" else int(recipe.batch.micro)
    wanted = recipe.options.get("max_length")
    along = {block.along for block in shape.blocks}
    tokens = 0
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        tokens = wanted
    elif "sounds" in along and "tokens" in along:
        tokens = ASSUMED_WORDS
        unknown.append(f"how long transcripts are: {tokens} tokens are assumed")
    elif "tokens" in along:
        tokens = -(-counted.longest_bytes // BYTES_PER_TOKEN) or ASSUMED_TOKENS
        tokens = min(tokens, shape.longest or tokens)
        how = f"the longest line has {counted.longest_bytes:,} bytes" if counted.longest_bytes else "nothing tells"
        unknown.append(f"how many tokens the longest row has: {tokens:,} are assumed ({how})")
    pixels = 0
    if "map" in along:
        side, how = picture_side(folder, recipe.options) if folder is not None else (224, "assumed")
        unknown.append(f"what maps keep: a rule of thumb, at {side} x {side} pixels ({how})")
        pixels = (side // LATENT) ** 2 if folder is not None and (folder / PIPELINE).is_file() else side**2
    return Load(rows, tokens, pixels), unknown


def _numbers(recipe: Recipe, device: Device | None) -> tuple[str, str, str]:
    """Precision of the pass, how frozen weights are held, and what of that is assumed."""
    precision, why = recipe.engine.precision, ""
    if precision == "auto":
        on_gpu = device.has("bf16") if device is not None else recipe.engine.device == "cuda"
        precision = "bf16" if on_gpu else "fp32"
        if device is None:
            why = f"the precision that 'auto' takes on this machine: {precision} is assumed"
    held = recipe.model.dtype
    if held == "auto":
        held = "bf16" if recipe.adapter is not None and precision == "bf16" else "fp32"
    return precision, held, why


def _room(device: Device | None) -> int | None:
    if device is not None:
        return device.usable_bytes
    free = available_bytes()
    return None if free is None else int(free * MEMORY_SHARE)


def _fitting(
    recipe: Recipe,
    stages: list[Stage],
    shape: Shape,
    load: Load,
    room: int | None,
    *,
    held: str,
    precision: str,
) -> tuple[list[dict[str, int]], int]:
    """Memory of every stage, and the rows a pass with which it is that: halved until they fit, where that is auto."""
    micro = load.rows
    while True:
        now = replace(load, rows=micro)
        found = [stage_memory(stage, shape, recipe, now, held=held, precision=precision) for stage in stages]
        most = max(sum(parts.values()) for parts in found)
        if room is None or most <= room or micro == 1 or recipe.batch.micro != "auto":
            return found, micro
        micro //= 2


def _memory(memories: list[dict[str, int]], worst: int, room: int | None, device: Device | None) -> dict[str, Any]:
    def stage(parts: dict[str, int]) -> dict[str, Any]:
        resident = sum(parts.values())
        allocated = resident - parts.get("workspace", 0)
        return {"parts": parts, "allocated_bytes": allocated, "resident_bytes": resident}

    here = {"name": "this machine's memory", "memory_bytes": room, "count": 1}
    on = here if device is None else {"name": device.name, "memory_bytes": device.memory_bytes, "count": device.count}
    most = sum(memories[worst].values())
    return stage(memories[worst]) | {
        "stage": worst,
        "traced": False,
        "stages": [stage(parts) for parts in memories],
        "room_bytes": room,
        "fits": room is None or most <= room,
        "device": on,
    }


def _stage(stage: Stage, recipe: Recipe, shape: Shape, rows: int | None) -> dict[str, Any]:
    """A stage as the plan shows it; ``steps`` None where the rows are not known."""
    name = f"top {stage.train.top}" if isinstance(stage.train, Top) else str(stage.train)
    steps = stage.steps
    if steps is None and rows is not None and stage.epochs is not None:
        share = 1 - (recipe.data.eval if isinstance(recipe.data.eval, float) else 0)
        learned = max(1, round(rows * share * (1 - recipe.data.validation)))
        steps = ceil(learned / recipe.batch.rows * stage.epochs)
    return {
        "name": name,
        "train": stage.model_dump(mode="json")["train"],
        "epochs": stage.epochs,
        "steps": steps,
        "lr": stage.lr,
        "groups": [],
        "trainable": learning_parameters(stage, shape, recipe),
        "cache": {"use": False, "reason": "not known from headers", "bytes": None},
    }


def _decisions(
    recipe: Recipe, shape: Shape, micro: int, load: Load, precision: str, device: Device | None
) -> list[dict[str, Any]]:
    found = [
        ("device", device.name if device else recipe.engine.device, "named" if device else "the recipe's"),
        ("precision", precision, "set in the recipe" if recipe.engine.precision != "auto" else "assumed"),
        ("batch.micro", micro, "set in the recipe" if recipe.batch.micro != "auto" else "the most that fits"),
        ("parameters", f"{shape.parameters:,}", f"from {_FROM[shape.said]}"),
    ]
    if load.tokens:
        found.append(("tokens of a row", f"{load.tokens:,}", "recipe" if "max_length" in recipe.options else "assumed"))
    return [{"what": what, "value": value, "reason": reason} for what, value, reason in found]


_FROM = {
    "headers": "the headers of its weights",
    "config": "its config.json, by the formula of its family",
    "index": "its safetensors index",
}
