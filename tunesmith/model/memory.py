"""Memory of a training step by part, from the model's shape alone: nothing is loaded and nothing is computed.

Counted exactly: weights, gradients, optimizer state, and every tensor that autograd keeps for the backward pass, found
by running the step on the meta device. Estimated: the libraries' workspace. It knows no task.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WORKSPACE_BYTES = 64 << 20
"""Scratch of the matrix library and the allocator's slack on a CPU in fp32."""

STATE_SLOTS = {"adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted bytes of one stage's step, by part."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    cached: int
    workspace: int
    traced: bool
    evaluation: int = 0

    @property
    def allocated(self) -> int:
        """What tensors hold at the peak: the end of a step's forward pass, or the evaluation between steps."""
        state = self.weights + self.optimizer + self.average
        return state + max(self.activations + self.gradients, self.evaluation)

    @property
    def resident(self) -> int:
        """The same with mapped activations and the libraries' workspace: what the process grows by."""
        return self.allocated + self.cached + self.workspace

    def parts(self) -> dict[str, int]:
        """Bytes by part, for the plan."""
        found = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "moving average": self.average,
            "activations": self.activations,
            "evaluation, beyond a step": max(0, self.evaluation - self.activations - self.gradients),
            "activation cache, mapped": self.cached,
            "workspace": self.workspace,
        }
        return {name: size for name, size in found.items() if size}


class MetaAnswers(TorchFunctionMode):
    """Answers False when code asks a meta tensor for its truth: the general path, with masks, is the larger one.

    Attention keeps what the fused kernels keep, which have no matrix of all pairs; torch's own meta path would keep it.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.__bool__ and isinstance(args[0], Tensor) and args[0].is_meta:
            return False
        if func is torch.Tensor.item and args[0].is_meta and args[0].dtype is torch.bool:
            return True
        if func is nn.functional.scaled_dot_product_attention and args[0].is_meta:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention on the meta device, by the kernel that torch would take: the fused one wherever it can."""
    fused = query.dim() == 4 and query.shape[:2] == key.shape[:2] and query.shape[-1] == value.shape[-1]
    if attn_mask is not None:
        fused &= attn_mask.dim() in (2, 4) and not attn_mask.requires_grad
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros(attn_mask.shape, dtype=query.dtype, device=query.device)
    if not fused or dropout_p:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    kernel: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = kernel(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out


def saved_bytes(model: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps during ``run``, every storage once, parameters and buffers not counted."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    living = _Living(own)
    with saved_tensors_hooks(pack, lambda tensor: tensor), MetaAnswers(), living:
        run()
    # Going back through a convolution, its input, its output's gradient and its input's are laid out anew.
    return int(sum(storage.nbytes() for storage in kept.values()) + 2 * living.widest)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations make and somebody still holds, and the most of them at once."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known, self.now, self.most, self.widest = known, 0, 0, 0
        self.seen: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        for tensor in made:
            self._take(tensor)
        if func.name().startswith("aten::convolution"):
            # The library lays pictures out in its own way, and the result back: both stand twice for a while.
            twice = sum(t.numel() * t.element_size() for t in (*made, args[0]))
            self.widest = max(self.widest, twice)
            self.most = max(self.most, self.now + sum(t.nbytes for t in made))
        return out

    def _take(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known or key in self.seen:
            return
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        # A tensor object stands for its storage: views that outlive it are few and short-lived.
        self.seen[key] = weakref.finalize(tensor, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        if self.seen.pop(key, None) is not None:
            self.now -= size


def passing_bytes(model: nn.Module, run: Callable[[], Any]) -> int:
    """The most bytes that tensors hold at once in a pass that keeps nothing for going back, on the meta device.

    Parameters and buffers are not counted. 0 where the shape alone does not run.
    """
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    living = _Living(own)
    try:
        with torch.no_grad(), MetaAnswers(), living:
            run()
    except (RuntimeError, NotImplementedError, TypeError):
        return 0
    return int(living.most)


@contextmanager
def _computed_in(model: nn.Module, precision: str) -> Iterator[int]:
    """Parameters of the type that autocast computes in, which has no say on the meta device; the bytes of its copies.

    Autocast keeps a copy of every weight that learns until the backward pass is done.
    """
    if precision == "fp32":
        yield 0
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    wide = [p for p in model.parameters() if p.dtype == torch.float32]
    kept = [p.data for p in wide]
    try:
        for parameter in wide:
            parameter.data = parameter.data.to(dtype)
        yield sum(p.numel() * dtype.itemsize for p in wide if p.requires_grad)
    finally:
        for parameter, data in zip(wide, kept, strict=True):
            parameter.data = data


def plan_memory(
    model: nn.Module,
    run: Callable[[], Any],
    *,
    optimizer: str,
    average: bool,
    cached: int,
    estimate: int,
    precision: str = "fp32",
    evaluation: int = 0,
) -> MemoryPlan:
    """Predict the memory of one step.

    Args:
        model: On the meta device, with the stage's freezing applied.
        run: One micro-batch's loss on that model.
        optimizer: ``adamw`` or ``sgd``.
        average: Whether a moving average of the weights is kept.
        cached: Bytes of cached activations that are mapped while the stage runs.
        estimate: Bytes of activations to assume when the model can't run on the meta device.
        precision: ``fp32``, or what autocast computes in.
        evaluation: Bytes that predictions take beside the weights.
    """
    learning = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    try:
        with _computed_in(model, precision) as copies:
            activations, traced = saved_bytes(model, run) + copies, True
    except (RuntimeError, NotImplementedError, TypeError):
        activations, traced = estimate, False
    return MemoryPlan(
        weights=weights,
        gradients=learning,
        optimizer=learning * STATE_SLOTS[optimizer],
        average=learning if average else 0,
        activations=activations,
        cached=cached,
        workspace=WORKSPACE_BYTES,
        traced=traced,
        evaluation=evaluation,
    )


def block_estimate(tokens: int, width: int, blocks: int) -> int:
    """Activations of transformer blocks in fp32: about 34 values of 2 bytes per token and unit, doubled for fp32.

    After Korthikanti et al., arXiv:2205.05198, without the attention matrices that a fused kernel does not keep.
    """
    return 68 * tokens * width * blocks
