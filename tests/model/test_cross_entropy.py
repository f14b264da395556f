"""The loss in pieces is the plain formula in float64, with its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.model import cross_entropy
from tunesmith.model.cross_entropy import linear_cross_entropy


def _plain(h: Tensor, w: Tensor, y: Tensor, b: Tensor | None, cap: float | None, scale: float) -> Tensor:
    logits = (h.double() @ w.double().t() + (0 if b is None else b.double())) * scale
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return F.cross_entropy(logits, y, reduction="none")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", 4 * 97 * 5)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("learns", ["states", "all"])
def test_loss_and_gradients_are_the_formula(cap: float | None, scale: float, learns: str) -> None:
    torch.manual_seed(0)
    h = torch.randn(23, 16, requires_grad=True)
    w = torch.randn(97, 16, requires_grad=learns == "all")
    b = torch.randn(97, requires_grad=True) if learns == "all" else None
    y, weights = torch.randint(0, 97, (23,)), torch.rand(23)
    ours = linear_cross_entropy(h, w, y, b, softcap=cap, scale=scale)
    plain = _plain(h, w, y, b, cap, scale)
    assert torch.allclose(ours.double(), plain, atol=1e-5)
    inputs: list[Any] = [h, w, b] if learns == "all" else [h]
    mine = torch.autograd.grad((ours * weights).sum(), inputs)
    other = torch.autograd.grad((plain * weights).sum(), inputs)
    for a, c in zip(mine, other, strict=True):
        assert torch.allclose(a, c, atol=1e-5)


def test_no_targets_are_no_loss_but_a_gradient() -> None:
    h = torch.randn(0, 16, requires_grad=True)
    loss = linear_cross_entropy(h, torch.randn(97, 16), torch.zeros(0, dtype=torch.int64)).sum()
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert h.grad is not None


def test_logits_never_exist_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cross_entropy._logits

    def watched(hidden: Tensor, *rest: Any) -> Any:
        seen.append(len(hidden))
        return real(hidden, *rest)

    monkeypatch.setattr(cross_entropy, "_logits", watched)
    linear_cross_entropy(torch.randn(23, 16), torch.randn(97, 16), torch.randint(0, 97, (23,)))
    assert max(seen) == 5
    assert sum(seen) == 23


def test_the_sum_is_the_fused_kernels_on_cuda_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liger runs on a GPU alone: here its function's own signature, on a tensor that claims to be there."""
    asked: dict[str, Any] = {}

    def liger(
        input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None, ce_weight: Any = None,
        ignore_index: int = -100, lse_square_scale: float = 0.0, label_smoothing: float = 0.0,
        reduction: str = "mean", softcap: float | None = None, return_z_loss: bool = False,
    ) -> Tensor:  # fmt: skip
        asked.update(reduction=reduction, softcap=softcap)
        return F.cross_entropy(F.linear(input, weight, bias), target, reduction=reduction)

    class OnCuda(Tensor):
        device = torch.device("cuda")  # type: ignore[assignment]

    monkeypatch.setattr(cross_entropy, "fused_kernel", lambda: liger)
    torch.manual_seed(0)
    h, w, b, y = torch.randn(23, 16), torch.randn(97, 16), torch.randn(97), torch.randint(0, 97, (23,))
    there = h.as_subclass(OnCuda)
    found = cross_entropy.summed_cross_entropy(there, w, y, b, scale=0.25)
    assert asked == {"reduction": "sum", "softcap": None}
    assert float(found) == pytest.approx(float(_plain(h, w, y, b, None, 0.25).sum()), rel=1e-5)
    assert float(cross_entropy.summed_cross_entropy(h, w, y, b, scale=0.25)) == pytest.approx(float(found), rel=1e-5)


def test_in_bf16_it_is_the_formula_to_its_precision() -> None:
    torch.manual_seed(0)
    h, w = torch.randn(23, 16).bfloat16(), torch.randn(97, 16).bfloat16()
    y = torch.randint(0, 97, (23,))
    ours = linear_cross_entropy(h, w, y)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), _plain(h, w, y, None, None, 1.0), atol=0.05)


@pytest.mark.parametrize("cap", [None, 3.0])
def test_which_targets_are_the_likeliest(cap: float | None) -> None:
    """Over several pieces, and without a change of the loss."""
    generator = torch.Generator().manual_seed(3)
    hidden, weight = torch.randn(23, 8, generator=generator), torch.randn(97, 8, generator=generator)
    likeliest = (hidden @ weight.t()).argmax(-1)
    targets = torch.where(torch.arange(23) % 3 == 0, likeliest, (likeliest + 1) % 97)
    right = torch.empty(23, dtype=torch.bool)
    told = linear_cross_entropy(hidden, weight, targets, softcap=cap, right=right)
    assert right.tolist() == [i % 3 == 0 for i in range(23)]
    assert torch.equal(told, linear_cross_entropy(hidden, weight, targets, softcap=cap))
