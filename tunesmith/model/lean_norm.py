"""Root-mean-square norms that keep their input and one number a row for the backward pass, nothing in fp32.

Written as usual, a norm of bf16 states keeps three fp32 copies of them, which together are the largest part of what a
decoder keeps. It knows norms; no model family and no task.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHECKED_ROWS = 4


class _LeanNorm(torch.autograd.Function):
    """``weight * (x / sqrt(mean(x²) + eps))``, the root in fp32 (arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        rate = (size.square_() / x.shape[-1]).add_(eps).rsqrt_()
        out = torch.empty_like(x)
        torch.mul(x, rate, out=out)
        ctx.save_for_backward(x, weight, rate)
        return out * weight if weight.dtype != x.dtype else out.mul_(weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rate = ctx.saved_tensors
        wide = x.float()
        slope = grad.float() * weight
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (grad.float() * wide * rate).flatten(0, -2).sum(0).to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        inner = (slope * wide).sum(-1, keepdim=True).mul_(rate.square() / x.shape[-1])
        return slope.sub_(wide * inner).mul_(rate).to(x.dtype), of_weight, None


def lean_norms(model: nn.Module) -> int:
    """Let a model's norms compute so, where that gives what they gave before; how many do.

    On the meta device, where nothing can be compared, the name and the settings of a norm must do.
    """
    known: dict[type, bool] = {}
    count = 0
    for module in model.modules():
        if not (type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")):
            continue
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim != 1:
            continue
        if type(module) not in known:
            known[type(module)] = weight.is_meta or _same(module)
        if known[type(module)]:
            module.forward = partial(_forward, module)
            count += 1
    return count


def _forward(module: Any, hidden_states: Tensor) -> Tensor:
    return _LeanNorm.apply(hidden_states, module.weight, module.variance_epsilon)  # type: ignore[no-any-return,no-untyped-call]


@torch.no_grad()
def _same(module: Any) -> bool:
    width = module.weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CHECKED_ROWS, width, generator=generator).to(module.weight)
    ours, theirs = _forward(module, x), module(x)
    tolerance = 1e-5 if x.dtype == torch.float32 else 1e-2
    return ours.dtype == theirs.dtype and bool(torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance))
