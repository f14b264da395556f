"""Whether a stage uses the activation cache, and the work of filling it.

Decided once before the stage, aloud, with the reason. It knows no modality; what is cached is derived in the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.data.loader import Loader, sorted_batches
from tunesmith.machine import cache_folder, free_bytes
from tunesmith.model.boundary import Boundary, find_boundary, loss_without_padding, observed
from tunesmith.model.cache import ActivationCache, leaf_layouts, predicted_bytes
from tunesmith.model.layers import LayerGroups
from tunesmith.model.store import ActivationStore, LeafLayout, describe_store
from tunesmith.recipe import CacheSection
from tunesmith.task import Task
from tunesmith.train.engine import Engine
from tunesmith.train.inference import halving
from tunesmith.train.parking import Parked
from tunesmith.train.step import to_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 2e-2}
PROBE_ROWS = 4
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class CacheDecision:
    """Whether a stage uses the cache, and why."""

    use: bool
    reason: str
    bytes: int | None = None
    boundary: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON."""
        return {"use": self.use, "reason": self.reason, "bytes": self.bytes, "boundary": self.boundary}


@dataclass(frozen=True)
class CacheRequest:
    """What the decision depends on.

    Args:
        task, model, layers: With the stage applied.
        sets: Row sets by name; all of them are cached.
        settings: The recipe's section.
        engine: Where forward passes run.
        precision: Name of the engine's precision, part of the key.
        passes: How often the training rows are gone through in this stage, evaluations counted in rows.
        fingerprint: What decides a row's encoding.
        dropout: Context that gives probe rows of these lengths their dropout keys.
    """

    task: Task
    model: nn.Module
    layers: LayerGroups
    sets: Mapping[str, Loader]
    settings: CacheSection
    engine: Engine
    precision: str
    passes: float
    fingerprint: str
    dropout: Callable[[list[int]], AbstractContextManager[Any]]


class StageCache:
    """An opened cache for one stage: contexts for the rows of each set."""

    def __init__(self, request: CacheRequest, cache: ActivationCache, decision: CacheDecision) -> None:
        self.request, self.cache, self.decision = request, cache, decision
        self.parked: Parked | None = None

    def around(self, name: str) -> Callable[[np.ndarray], AbstractContextManager[Any]]:
        """Replay for rows of a set."""
        loader, device = self.request.sets[name], self.request.engine.device

        def replay(rows: np.ndarray) -> AbstractContextManager[Any]:
            keys = [loader.keys[i] for i in rows]
            return self.cache.replaying(keys, [loader.lengths[i] for i in rows], device)

        return replay

    def fill(self, on_progress: Callable[[int, int], None], *, rows: int) -> int:
        """Record every row of every set that the store lacks; how many there were.

        Batches are planned over all rows, whatever is stored already, so that a row's activations do not depend on
        where an earlier run was interrupted.
        """
        engine, store = self.request.engine, self.cache.store
        missing = []
        for name, loader in self.request.sets.items():
            for batch in sorted_batches(loader.lengths, loader.together(rows, engine.device.type)):
                if any(loader.keys[i] not in store for i in batch):
                    missing.append((name, batch))
        # Ranks share out one list: what a slower rank finds in the store may be a faster one's of just now.
        todo = engine.gather(missing)[0]
        total, done = sum(len(batch) for _, batch in todo), 0
        modes = [(module, module.training) for module in self.request.model.modules()]
        self.request.model.eval()
        try:
            for name, batch in todo[engine.rank :: engine.world]:
                halving(batch, partial(self._record, name))
                done += len(batch) * engine.world
                on_progress(min(done, total), total)
        except BaseException:
            store.discard()
            raise
        finally:
            for module, training in modes:
                module.training = training
        store.flush()
        engine.wait()
        store.refresh()
        return total

    def _record(self, name: str, batch: np.ndarray) -> None:
        loader, request = self.request.sets[name], self.request
        keys, lengths = [loader.keys[i] for i in batch], [loader.lengths[i] for i in batch]
        data = to_device(loader.batch(list(batch)), request.engine.device)
        with torch.inference_mode(), self.cache.recording(keys, lengths), request.engine.precision():
            request.task.loss(request.model, data)

    def park(self, warn: Callable[[str], None]) -> int:
        """Let the weights of the blocks below leave memory, now that every row is recorded; how many bytes.

        Where the disk takes no more they stay, and ``warn`` is told.
        """
        above = {id(block) for block in self.cache.boundary.above}
        below = [block for block in self.request.layers.blocks if id(block) not in above]
        try:
            self.parked = Parked(below, self.cache.store.folder)
        except OSError as fault:
            warn(f"the weights below the cache stay in memory: {fault}")
            return 0
        return self.parked.bytes

    def whole(self) -> AbstractContextManager[None]:
        """All weights where the model runs, for predictions that activations can't stand in for."""
        return self.parked.whole(self.request.engine.device) if self.parked is not None else nullcontext()

    def end(self) -> None:
        """All weights back where the model runs, to stay."""
        if self.parked is not None:
            self.parked.restore(self.request.engine.device)
            self.parked = None

    def largest_difference(self, name: str, rows: np.ndarray) -> float:
        """Recompute one batch and replay it: the largest difference of a loss sum, relative to its size."""
        live = _loss_sums(self.request, name, rows, nullcontext())
        replayed = _loss_sums(self.request, name, rows, self.around(name)(rows))
        return max(abs(live[k] - replayed[k]) / max(1.0, abs(live[k])) for k in live)


@dataclass(frozen=True)
class CacheSite:
    """Where a stage would cache, and how its activations are laid out."""

    boundary: Boundary
    layouts: tuple[LeafLayout, ...]


def recorded_sets(task: Task, sets: Mapping[str, Loader]) -> dict[str, Loader]:
    """The row sets that activations are replayed for: not those that are only predicted, where that is no one pass."""
    names = ("train", "validation", *(("held_out",) if task.one_pass else ()))
    return {name: sets[name] for name in names if name in sets}


def decide(request: CacheRequest) -> tuple[CacheSite | None, CacheDecision]:
    """Whether the stage is to use the cache; works on the meta device too, for the plan."""
    refusal = _refusal(request)
    if refusal:
        return None, CacheDecision(False, refusal)
    loader = request.sets["train"]
    rows = _probe_rows(loader)
    boundary = find_boundary(request.layers, lambda: _probe_loss(request, rows))
    if isinstance(boundary, str):
        return None, CacheDecision(False, boundary)
    leaves = [leaf for leaf, used in zip(boundary.leaves, boundary.used, strict=True) if used]
    lengths = [loader.lengths[i] for i in rows]
    batch = (1, sum(lengths)) if request.task.packed else (len(rows),)
    if any(isinstance(leaf, Tensor) and tuple(leaf.shape[: len(batch)]) != batch for leaf in leaves):
        return None, CacheDecision(False, f"{boundary.name} puts out a tensor without a batch axis")
    dtype = DTYPES[request.settings.dtype]
    layouts = by_row(request, boundary, leaf_layouts(boundary, lengths, dtype, packed=request.task.packed))
    if isinstance(layouts, str):
        return None, CacheDecision(False, f"{boundary.name}: {layouts}")
    decision = _affordable(request, boundary, layouts)
    return (CacheSite(boundary, tuple(layouts)) if decision.use else None), decision


def by_row(request: CacheRequest, boundary: Boundary, layouts: list[LeafLayout]) -> list[LeafLayout] | str:
    """The layouts with the side on which rows are padded, or why a row's activations can't be kept by themselves.

    They can where a row puts out the same alone and padded in a batch. Models that mix positions without regard to the
    mask (FNet, ConvBERT) do not, nor do those that pool positions (Funnel) or pad to a window (Longformer).
    """
    loader = request.sets["train"]
    order = np.argsort(np.asarray(loader.lengths), kind="stable")
    short, longer, longest = (int(order[i]) for i in (0, (len(order) + 1) // 2 if len(order) > 1 else 0, -1))
    odd = next((int(i) for i in order[::-1] if loader.lengths[i] % 2), longest)
    # On the meta device there are only shapes to look at, and one odd length shows those that do not follow.
    meta = request.engine.device.type == "meta"
    # What no row is longer in than another is told by one row alone and two together.
    ragged = any(layout.ragged for layout in layouts)
    probes = [[odd]] if meta else [[short], [short, longer], *([row] for row in {longest, odd} if ragged)]
    whole = [_observed(request, boundary, rows) for rows in probes]
    seen = [_stored_leaves(boundary, leaves) for leaves in whole]
    for rows, leaves in zip(probes, seen, strict=True):
        lengths = [loader.lengths[i] for i in rows]
        for leaf, layout in zip(leaves, layouts, strict=True):
            if tuple(leaf.shape) != layout.batch_shape(lengths):
                return f"the shape of its output does not follow the rows ({tuple(leaf.shape)} for lengths {lengths})"
    if meta:
        return layouts
    alone, pair = seen[0], seen[1]
    tolerance = BY_ROW_TOLERANCE[request.precision]
    lengths = [loader.lengths[i] for i in probes[1]]
    for left in (False,) if request.task.packed else (False, True):
        sided = [replace(layout, left=left) for layout in layouts]
        parts = [
            (layout.row_of(a, 0, lengths[:1]), layout.row_of(p, 0, lengths))
            for a, p, layout in zip(alone, pair, sided, strict=True)
        ]
        if all(_alike(a, b, tolerance) for a, b in parts):
            padded = ragged and not request.task.packed
            if padded and not _reads_no_padding(request, boundary, whole[1], [short, longer], left):
                return "what lies above it reads padded positions, which are not kept"
            return sided
    return "a row's activations depend on how far it is padded, so replaying would change the numbers"


BY_ROW_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 1e-2}
"""Largest difference between a row alone and the same row in a batch, relative to its largest activation."""


def _alike(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    a, b = a.float(), b.float()
    return bool((a - b).abs().max() <= tolerance * a.abs().max())


def _observed(request: CacheRequest, boundary: Boundary, rows: list[int]) -> list[Any]:
    return observed(boundary, lambda: _probe_loss(request, np.asarray(rows)))


def _stored_leaves(boundary: Boundary, leaves: list[Any]) -> list[Tensor]:
    return [x for x, used in zip(leaves, boundary.used, strict=True) if used and isinstance(x, Tensor)]


def _reads_no_padding(
    request: CacheRequest, boundary: Boundary, leaves: list[Any], rows: list[int], left: bool
) -> bool:
    def run() -> Tensor:
        return _probe_loss(request, np.asarray(rows))

    with torch.no_grad():
        live = float(run())
    lengths = [request.sets["train"].lengths[i] for i in rows]
    without = float(loss_without_padding(boundary, leaves, lengths, left=left, run=run))
    return abs(live - without) <= TOLERANCE["fp32"] * max(1.0, abs(live))


def open_cache(request: CacheRequest) -> tuple[StageCache | None, CacheDecision]:
    """Decide, and open the store where the decision is to use it."""
    site, decision = decide(request)
    if site is None:
        return None, decision
    folder = cache_folder("activations", _key(request, site))
    about = {"task": request.task.name, "model": request.task.source.name, "boundary": site.boundary.name}
    describe_store(folder, about)
    store = ActivationStore(folder, site.layouts)
    return StageCache(request, ActivationCache(site.boundary, store), decision), decision


def _refusal(request: CacheRequest) -> str | None:
    if request.settings.use == "off":
        return "the recipe says cache.use: off"
    if request.task.random and not request.task.views:
        return "rows are augmented anew every epoch"
    if request.passes < 2 and request.settings.use == "auto":
        return f"the rows are gone through {request.passes:.1f} times in this stage: too few to repay the recording"
    return None


def _affordable(request: CacheRequest, boundary: Boundary, layouts: list[LeafLayout]) -> CacheDecision:
    need = sum(predicted_bytes(layouts, loader.lengths) for loader in request.sets.values())
    room = min(request.settings.max_gb * 1e9, free_bytes(cache_folder()) * 0.8)
    blocks = len(request.layers.blocks)
    frozen = blocks - len(boundary.above)
    size = f"{need / 1e6:,.1f} MB"
    if need > room:
        reason = f"it would take {size}, and {room / 1e9:,.1f} GB are allowed or free"
        return CacheDecision(False, reason, need, boundary.name)
    # A helper (a VAE) costs more than its number says.
    above = {id(block) for block in boundary.above}
    helps = any(id(one) not in above for one in request.layers.helpers)
    if blocks and frozen / blocks < LEAST_SHARE and not helps and request.settings.use == "auto":
        return CacheDecision(
            False, f"only {frozen} of {blocks} blocks lie below the lowest learning one", need, boundary.name
        )
    what = f"{frozen} of {blocks} blocks" if blocks else boundary.name
    return CacheDecision(
        True,
        f"{what} are frozen and the rows are gone through {request.passes:.1f} times; {size} on disk",
        need,
        boundary.name,
    )


def _key(request: CacheRequest, site: CacheSite) -> str:
    about = {
        "boundary": site.boundary.name,
        "used": site.boundary.used,
        "layouts": [(leaf.tail, str(leaf.dtype), leaf.ragged, leaf.left, leaf.packed) for leaf in site.layouts],
        "encoding": request.fingerprint,
        "precision": request.precision,
        "device": request.engine.device.type,
        "torch": torch.__version__,
        "weights": tensors_digest(site.boundary.tensors(request.model)),
    }
    return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b over names, shapes and bytes of tensors, in the order of their names."""
    digest = blake2b(digest_size=16)
    for name in sorted(tensors):
        data = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(data.shape)}{data.dtype}".encode())
        digest.update(data.view(-1).view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def encoding_fingerprint(task: Task) -> str:
    """What decides how a row is encoded: the task's options, its facts, and the tokenizer or processor files."""
    digest = blake2b(f"{task.name}\0{task.options.model_dump_json()}".encode(), digest_size=16)
    digest.update(json.dumps(task.facts.values, sort_keys=True, default=str).encode())
    folder = Path(task.source.folder)
    # The tokenizers of a pipeline lie in folders of their own.
    for file in sorted([*folder.glob("*"), *folder.glob("tokenizer*/*")]):
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".jinja") and file.stat().st_size < 64 << 20:
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def _probe_rows(loader: Loader) -> np.ndarray:
    """A few rows of middling length: long enough for the padded axis to show, short enough to cost nothing."""
    order = np.argsort(np.asarray(loader.lengths), kind="stable")
    middle = len(order) // 2
    start = max(0, min(middle - PROBE_ROWS // 2, len(order) - PROBE_ROWS))
    return order[start : start + PROBE_ROWS]


def _probe_loss(request: CacheRequest, rows: np.ndarray) -> Tensor:
    batch = to_device(request.sets["train"].batch(list(rows)), request.engine.device)
    lengths = [request.sets["train"].lengths[i] for i in rows]
    with request.dropout(lengths), request.engine.precision():
        sums = request.task.loss(request.model, batch)
    return torch.stack([value.float() for value in sums.values()]).sum()


def _loss_sums(
    request: CacheRequest, name: str, rows: np.ndarray, around: AbstractContextManager[Any]
) -> dict[str, float]:
    batch = to_device(request.sets[name].batch(list(rows)), request.engine.device)
    lengths = [request.sets[name].lengths[i] for i in rows]
    with torch.no_grad(), request.dropout(lengths), around, request.engine.precision():
        return {k: float(v) for k, v in request.task.loss(request.model, batch).items()}
