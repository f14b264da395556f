"""Lean norms compute what a model's own norms do, forward and backward, and keep less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from tunesmith.model.lean_norm import lean_norms


def _kept(norm: Any, x: torch.Tensor) -> int:
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = norm(x)
    out.sum().backward()
    return sum(sizes.values())


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lean_norm_is_the_norm(kind: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain, lean = kind(32).to(dtype), kind(32).to(dtype)
    with torch.no_grad():
        plain.weight.normal_()
        lean.weight.copy_(plain.weight)
    assert lean_norms(lean) == 1
    x, g = torch.randn(5, 7, 32, dtype=dtype), torch.randn(5, 7, 32, dtype=dtype)
    found = []
    for norm in (plain, lean):
        inside = x.clone().requires_grad_()
        out = norm(inside)
        out.backward(g)
        found.append((out, inside.grad, norm.weight.grad))
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype
        assert torch.allclose(a, b, atol=tolerance, rtol=tolerance)


def test_it_keeps_less_than_half() -> None:
    plain, lean = LlamaRMSNorm(64).bfloat16(), LlamaRMSNorm(64).bfloat16()
    lean_norms(lean)
    x = torch.randn(256, 64).bfloat16().requires_grad_()
    assert _kept(lean, x) < 0.5 * _kept(plain, x)


def test_a_norm_of_another_formula_is_left_alone() -> None:
    class OddRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) + 1

    assert lean_norms(OddRMSNorm(8)) == 0
    assert lean_norms(GemmaRMSNorm(8)) == 0
