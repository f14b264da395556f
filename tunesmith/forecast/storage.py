"""What a run will take on disk and in the machine's own memory, by part, from shapes and row counts.

It loads no weights. Exports are not counted: nobody has asked for them yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.machine import free_bytes, resident_bytes
from tunesmith.prepare import Prepared

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.model.layers import LayerGroups
    from tunesmith.plan import Plan

STEP_BYTES = 4
"""What AdamW keeps beside its moments for each tensor: how many steps it took."""
HEADER_BYTES = 110
"""Of a tensor in a safetensors file: its name, type, shape and place."""
RANDOM_BYTES = 5128
"""The state of torch's generator, as a file."""
INDEX_BYTES = 24
"""Of a row in the cache's index: its digest and its length."""
EVENT_BYTES = 450
"""Of a step in ``events.jsonl``."""
NOTES_BYTES = 400_000
"""The report, the card, panels, receipts and copies of the recipe."""
PREDICTION_BYTES = 200
"""Of a held-out row in ``base.jsonl`` and ``predictions.jsonl``, beside the row itself."""
SAMPLED_ROWS = 64
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".npz", ".ckpt")
AHEAD = 2
"""Batches that stand ready beside those that workers are at: the one in use, and the next."""
SAMPLED_EXAMPLES = 16
"""Rows that are encoded to tell how large one is."""


def predict_disk(
    plan: Plan, prepared: Prepared, model: nn.Module, layers: LayerGroups, *, seconds: Sequence[float] | None = None
) -> dict[str, Any]:
    """What a run leaves on disk and needs for a while: the plan's ``disk``.

    Args:
        plan: With its stages and caches decided.
        prepared: The recipe's rows and task.
        model: On the meta device, with its adapter.
        layers: Its groups.
        seconds: How long each stage is predicted to take, by which checkpoints in between are counted.

    Returns:
        ``parts`` (bytes by part), ``bytes``, and ``free_bytes`` where runs are written.
    """
    recipe = prepared.source.recipe
    learned, states = _learning(plan, prepared, model, layers)
    parts = {"activation cache": _cache_bytes(plan, prepared, layers, model)}
    kept = _saves(plan, prepared, seconds)[-recipe.run.keep :]
    parts["checkpoints"] = sum(states[stage] for stage in kept)
    if len(prepared.validation):
        parts["best weights so far"] = learned[-1]
    parts["saved model"] = _saved_bytes(prepared, model, layers)
    steps = sum(stage["steps"] for stage in plan.stages)
    rows = _row_bytes(prepared.held_out)
    each = rows + PREDICTION_BYTES
    parts["report and records"] = NOTES_BYTES + steps * EVENT_BYTES + int(each * len(prepared.held_out))
    # A checkpoint and a model are written whole before what they replace is removed.
    parts["room to write a checkpoint"] = max(states, default=0)
    found = {name: int(size) for name, size in parts.items() if size}
    free = free_bytes(Path(recipe.run.folder))
    return {"parts": found, "bytes": sum(found.values()), "free_bytes": free}


def predict_host(
    plan: Plan, prepared: Prepared, model: nn.Module, layers: LayerGroups, sets: Mapping[str, Loader]
) -> dict[str, Any]:
    """What a run takes of the machine's own memory beside the memory plan's parts: the plan's ``host``.

    Args:
        plan: With its stages, caches and micro-batch decided.
        prepared: The recipe's rows and task.
        model: On the meta device.
        layers: Its groups.
        sets: The row sets of the run.

    Returns:
        ``parts`` (bytes by part) and ``bytes``.
    """
    from tunesmith.data.loader import MEMO_BYTES
    from tunesmith.data.store import MEMORY_BYTES

    read = sum(report.rows for report in prepared.reports.values())
    per_row = _example_bytes(prepared)
    places = {name: len(loader.rows) * max(1, loader.views) for name, loader in sets.items()}
    drawn = {name for name, loader in sets.items() if name == "train" and prepared.task.random and not loader.views}
    workers = max((loader.workers for loader in sets.values()), default=0)
    parts = {
        "this process with its libraries": resident_bytes(),
        "rows": min(int(read * _row_bytes(prepared.train)), MEMORY_BYTES),
        "encoded rows, kept": sum(
            min(MEMO_BYTES, int(count * per_row)) for name, count in places.items() if name not in drawn
        ),
        "batches ahead": int((workers + AHEAD if workers else 1) * plan.micro * per_row),
        "activation cache, mapped": max(
            (stage["cache"]["bytes"] for stage in plan.stages if stage["cache"]["use"]), default=0
        ),
    }
    if plan.device.partition(":")[0] != "cpu":
        # Weights are read into main memory and moved from there.
        parts["model, before it moves to the device"] = _bytes_of(model.parameters()) + _bytes_of(model.buffers())
    found = {name: size for name, size in parts.items() if size}
    return {"parts": found, "bytes": sum(found.values())}


def encoded_bytes(prepared: Prepared, train: Loader, micro: int) -> int:
    """What encoded rows take of the process's memory: those that are kept once they were seen, and batches ahead.

    Args:
        prepared: The recipe's rows and task.
        train: The training rows; a few are encoded, spread evenly over them.
        micro: Rows a pass.
    """
    from tunesmith.data.loader import MEMO_BYTES
    from tunesmith.data.loader import _bytes_of as example_bytes

    count = len(train.rows)
    taken = [train.example(i) for i in range(0, count, max(1, -(-count // SAMPLED_EXAMPLES)))]
    if not taken:
        return 0
    each = sum(map(example_bytes, taken)) / len(taken)
    places = [len(prepared.validation), len(prepared.held_out)]
    if train.views or not prepared.task.random:
        places.append(count * max(1, train.views))
    kept = sum(min(rows * each, MEMO_BYTES) for rows in places)
    return int(kept + (train.workers + 1 if train.workers else 0) * micro * each)


def _learning(plan: Plan, prepared: Prepared, model: nn.Module, layers: LayerGroups) -> tuple[list[int], list[int]]:
    """By stage: bytes of all weights that have learned by its end with the buffers, and of a whole checkpoint then."""
    from tunesmith.forecast.closed_form import STATE_BYTES
    from tunesmith.model.stages import learning_groups

    optimizer = prepared.source.recipe.optimizer
    state = {name for name, _ in model.named_buffers()} & set(model.state_dict())
    kept = {name: buffer for name, buffer in model.named_buffers() if name in state}
    buffers = _file_bytes([b.nbytes for b in kept.values()])
    ever: dict[str, int] = {}
    learned, whole = [], []
    for stage in plan.resolved:
        layers.apply([g.group for g in learning_groups(layers, stage) if g.trains], stage.within)
        # What learns is fp32, however the rest is held.
        now = {name: p.numel() * 4 for name, p in model.named_parameters() if p.requires_grad}
        ever |= now
        learned.append(_file_bytes(ever.values()) + buffers)
        # One tensor a moment; each of at least a byte for every weight.
        each = STATE_BYTES[optimizer.name]
        slots = [int(size / 4 * each / 2) for size in now.values() for _ in range(2)]
        slots += [STEP_BYTES] * len(now) if optimizer.name != "sgd" else []
        average = _file_bytes(ever.values()) if optimizer.ema is not None else 0
        names = sum(len(name) + 8 for name in ever)
        whole.append(learned[-1] + _file_bytes(slots) + average + RANDOM_BYTES + names)
    return learned, whole


def _saves(plan: Plan, prepared: Prepared, seconds: Sequence[float] | None) -> list[int]:
    """The stage of every checkpoint that is written, in order."""
    run, found, done = prepared.source.recipe.run, [], 0
    for index, stage in enumerate(plan.stages):
        between = 0
        if run.checkpoint_steps is not None:
            ends = done + stage["steps"]
            between = ends // run.checkpoint_steps - done // run.checkpoint_steps
            # The one at the stage's last step has the name of the one that ends the stage.
            between -= ends % run.checkpoint_steps == 0
        if seconds is not None:
            by_time = stage["steps"] if run.checkpoint_seconds == 0 else int(seconds[index] / run.checkpoint_seconds)
            between = max(between, min(by_time, stage["steps"] - 1))
        found += [index] * (between + 1)
        done += stage["steps"]
    return found


def _cache_bytes(plan: Plan, prepared: Prepared, layers: LayerGroups, model: nn.Module) -> int:
    """Recorded activations with their index, and the weights that are parked beside them; each boundary once."""
    from tunesmith.model.stages import learning_groups

    rows = len(prepared.train) * max(1, prepared.task.views if prepared.task.random else 1)
    rows += len(prepared.validation) + (len(prepared.held_out) if prepared.task.one_pass else 0)
    found: dict[str, int] = {}
    for index, stage in enumerate(plan.resolved):
        cache = plan.stages[index]["cache"]
        if not cache["use"]:
            continue
        layers.apply([g.group for g in learning_groups(layers, stage) if g.trains], stage.within)
        parked = parked_bytes(model, layers, cache["boundary"])
        found[cache["boundary"]] = max(found.get(cache["boundary"], 0), cache["bytes"] + rows * INDEX_BYTES + parked)
    return sum(found.values())


def parked_bytes(model: nn.Module, layers: LayerGroups, boundary: str) -> int:
    """Bytes of the weights that leave memory for a file where a stage's cache begins at a boundary.

    Args:
        model: On the meta device, with the stage's freezing applied.
        layers: Its groups.
        boundary: Name of the module whose output is recorded.
    """
    seam, blocks = model.get_submodule(boundary), list(layers.blocks)
    # Blocks up to the seam; a seam that is none of them stands above all that do not learn.
    at = next((i + 1 for i, block in enumerate(blocks) if block is seam), len(blocks))
    below = [b for b in blocks[:at] if not any(p.requires_grad for p in b.parameters())]
    return sum(_bytes_of(block.parameters()) for block in below)


def _saved_bytes(prepared: Prepared, model: nn.Module, layers: LayerGroups) -> int:
    """The tuned model, or its adapter and head alone, with the files that turn input into tensors."""
    source = Path(prepared.task.source.folder)
    beside = sum(
        file.stat().st_size
        for file in source.glob("*")
        if file.is_file() and not file.name.endswith((*WEIGHT_FILES, ".index.json")) and file.suffix != ".md"
    )
    if prepared.source.recipe.adapter is None:
        kept = [*model.parameters(), *(b for n, b in model.named_buffers() if n in set(model.state_dict()))]
        return _file_bytes([p.numel() * 4 if p.is_floating_point() else p.nbytes for p in kept]) + beside
    names = {name for group in ("adapter", "head") if group in layers.groups for name in layers.names(group)}
    return _file_bytes([p.numel() * 4 for name, p in model.named_parameters() if name in names]) + beside


def _file_bytes(sizes: Any) -> int:
    """A safetensors file of tensors of these sizes."""
    known: list[int] = list(sizes)
    return sum(known) + HEADER_BYTES * len(known)


def _bytes_of(tensors: Any) -> int:
    return int(sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def _row_bytes(rows: Any) -> float:
    """Of a row as JSON, on average over a few."""
    taken = [rows[i] for i in range(0, len(rows), max(1, len(rows) // SAMPLED_ROWS))]
    return sum(len(json.dumps(dict(row), default=str)) for row in taken) / max(1, len(taken))


def _example_bytes(prepared: Prepared) -> float:
    """Of an encoded row, on average over a few."""
    from tunesmith.data.loader import _bytes_of as example_bytes

    rows = prepared.train
    taken = [rows[i] for i in range(0, len(rows), max(1, len(rows) // SAMPLED_ROWS))]
    examples = prepared.task.encode_many(taken) if taken else []
    return sum(map(example_bytes, examples)) / max(1, len(examples))
