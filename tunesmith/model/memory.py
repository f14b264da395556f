"""Memory of a training step by part, from the model's shape alone: nothing is loaded and nothing is computed.

Counted exactly: weights, optimizer state, and every tensor that forward and backward pass hold at their worst moment,
found by running both on the meta device. Estimated: what libraries and the allocator take beside them.
It knows no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tunesmith.model.depth import by_depth
from tunesmith.model.ledger import (
    BACKWARD,
    GRADIENTS,
    Held,
    MetaAnswers,
    held_by_depth,
    own_storages,
    pass_held,
    step_held,
)

__all__ = ["MemoryPlan", "MetaAnswers", "block_estimate", "passing_bytes", "plan_memory", "saved_bytes"]

HEAP_SHARE, HEAP_LEAST, HEAP_LEAST_SHARE = 0.2, 32 << 20, 0.15
"""What a CPU's heap holds beyond what a step's tensors do: holes between them, and scratch of the libraries."""
LAID_OUT_SHARE = 0.5
"""How much of what a convolution's library lays out anew stands beside the tensors at the worst moment."""
RECOMPUTED_SHARE = 0.55
"""Share of all that is made going forward that a CPU's heap keeps, though blocks are computed again going back.

Tensors of a few megabytes that come and go between those that stay leave holes, which the heap seldom gives back.
"""
LIBRARY_BYTES = 12 << 20
"""What a first step brings into memory, whatever the model: code of the libraries, and their and Python's objects.

Measured on models of less than a megabyte; as much again where the library of convolutions comes in.
"""
GPU_BYTES, GPU_SHARE = 64 << 20, 0.05
"""The same on a GPU, whose caching allocator keeps whole blocks: the libraries' workspace, and what does not fit."""

OUTSIDE = ("head", "other")
"""Labels of the ledger that are no layer of the trunk: the head, the loss and what lies between."""


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted bytes of one stage, by part, at its worst moment: within a step, or in an evaluation between steps.

    Args:
        weights, optimizer, average: What stands all the time.
        gradients, activations, logits, backward: What a step holds at its worst moment: gradients made so far; what
            layers keep for going back; head and loss; what the backward pass has made and not yet used.
        cached: Activations read from the cache's file, and weights parked beside them, mapped.
        workspace: Of the libraries and the allocator, estimated.
        encoded: Rows as the model reads them, where they stand in the same memory: on a CPU.
        traced: Whether the step ran on the meta device; else activations are an estimate.
        evaluation: What a pass over rows that nothing is learned from holds.
        groups: Activations by layer group.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    cached: int
    workspace: int
    traced: bool
    evaluation: int = 0
    logits: int = 0
    backward: int = 0
    encoded: int = 0
    groups: Mapping[str, int] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """What a step holds beyond what stands all the time."""
        return self.activations + self.logits + self.gradients + self.backward

    @property
    def allocated(self) -> int:
        """What tensors hold at the worst moment."""
        return self.weights + self.optimizer + self.average + max(self.step, self.evaluation)

    @property
    def resident(self) -> int:
        """The same with mapped activations, encoded rows and the workspace: what the process grows by."""
        return self.allocated + self.cached + self.encoded + self.workspace

    def parts(self) -> dict[str, int]:
        """Bytes by part, for the plan; together they are `resident`."""
        found = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "moving average": self.average,
            "activations": self.activations,
            "logits and loss": self.logits,
            "backward pass": self.backward,
            "evaluation, beyond a step": max(0, self.evaluation - self.step),
            "activation cache, mapped": self.cached,
            "encoded rows": self.encoded,
            "workspace": self.workspace,
        }
        return {name: size for name, size in found.items() if size}

    def to_json(self) -> dict[str, Any]:
        """The stage's memory as the plan keeps it."""
        return {"parts": self.parts(), "allocated_bytes": self.allocated, "resident_bytes": self.resident}


def saved_bytes(model: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps during ``run``, every storage once, parameters and buffers not counted."""
    own = own_storages(model)
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), MetaAnswers():
        run()
    return int(sum(storage.nbytes() for storage in kept.values()))


def passing_bytes(
    model: nn.Module, run: Callable[[], Any], precision: str = "fp32", blocks: Sequence[nn.Module] = ()
) -> int:
    """The most bytes that tensors hold at once in a pass that keeps nothing for going back, on the meta device.

    Parameters and buffers are not counted. 0 where the shape alone does not run. Of many alike ``blocks`` a few run.
    """
    try:
        return by_depth(model, blocks, lambda _kept: pass_held(model, run, precision=precision), held_by_depth).most
    except (RuntimeError, NotImplementedError, TypeError):
        return 0


def plan_memory(
    model: nn.Module,
    run: Callable[[], Any],
    *,
    optimizer: Callable[[Sequence[nn.Parameter]], int],
    average: bool,
    cached: int,
    estimate: int,
    precision: str = "fp32",
    evaluation: int = 0,
    encoded: int = 0,
    passes: int = 1,
    groups: Mapping[str, Sequence[nn.Module]] | None = None,
    blocks: Sequence[nn.Module] = (),
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    recomputed: bool = False,
    gpu: bool = False,
) -> MemoryPlan:
    """Predict the memory of one stage.

    Args:
        model: On the meta device, with the stage's freezing applied.
        run: One micro-batch's loss on that model, a scalar.
        optimizer: Bytes of the optimizer's state for parameters that learn.
        average: Whether a moving average of the weights is kept.
        cached: Bytes of the cache's files that are mapped while the stage runs.
        estimate: Bytes of activations to assume when the model can't run on the meta device.
        precision: ``fp32``, or what autocast computes in.
        evaluation: Bytes that predictions take beside the weights.
        encoded: Bytes of encoded rows in main memory; on a GPU they stand elsewhere.
        passes: 1, or 2 where a step has several micro-batches: gradients then stand while the next one runs.
        groups: Modules by layer group, to tell activations apart.
        blocks: The network's blocks; of many alike ones a few are traced.
        around: A context for forward and backward pass together.
        recomputed: Whether blocks are computed again going back.
        gpu: Whether the step runs on a GPU.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    numbers = sum(p.numel() for p in learning)
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    try:
        trace = partial(step_held, model, run, passes=passes, precision=precision, groups=groups, around=around)
        held, traced = by_depth(model, blocks, lambda kept: trace(lower=kept.lower), held_by_depth), True
    except (RuntimeError, NotImplementedError, TypeError):
        held, traced = Held(by={"layers": estimate, GRADIENTS: numbers * 4}), False
    by = dict(held.by)
    gradients, backward = by.pop(GRADIENTS, 0), by.pop(BACKWARD, 0)
    logits = sum(by.pop(name, 0) for name in OUTSIDE)
    return MemoryPlan(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer(learning),
        average=numbers * 4 if average else 0,
        activations=sum(by.values()),
        cached=cached,
        workspace=workspace_bytes(model, held, recomputed=recomputed, gpu=gpu),
        traced=traced,
        evaluation=evaluation,
        logits=logits,
        backward=backward,
        encoded=0 if gpu else encoded,
        groups={name: size for name, size in by.items() if size},
    )


def workspace_bytes(model: nn.Module, held: Held, *, recomputed: bool, gpu: bool) -> int:
    """What stands beside a step's tensors: the libraries' code and scratch, and holes that the allocator leaves.

    Estimated, by shares that were measured on a CPU over the grid of ``benchmarks/plan.py``.
    """
    if gpu:
        return int(GPU_BYTES + GPU_SHARE * held.most)
    libraries = LIBRARY_BYTES + LAID_OUT_SHARE * held.widest
    if held.widest:
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
        filters = [m.weight for m in model.modules() if isinstance(m, kinds)]
        libraries += LIBRARY_BYTES + sum(weight.numel() * weight.element_size() for weight in filters)
    heap = HEAP_SHARE * held.most + min(HEAP_LEAST, HEAP_LEAST_SHARE * held.most)
    if recomputed:
        heap = max(heap, RECOMPUTED_SHARE * held.made - held.most)
    return int(heap + libraries)


def block_estimate(tokens: int, width: int, blocks: int) -> int:
    """Activations of transformer blocks in fp32: about 34 values of 2 bytes per token and unit, doubled for fp32.

    After Korthikanti et al., arXiv:2205.05198, without the attention matrices that a fused kernel does not keep.
    """
    return 68 * tokens * width * blocks
