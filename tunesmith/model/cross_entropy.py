"""Cross-entropy of a linear output over a large vocabulary, in pieces, so that the logits never exist as a whole.

It knows hidden states, a weight and targets; no model, no text and no mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tunesmith.model.autocast import autocast_device

CHUNK_BYTES = 32 << 20
"""What one piece of logits may take in fp32: it should stay in the processor's cache."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    softcap: float | None = None,
    scale: float = 1.0,
    rows: Tensor | None = None,
    ids: Tensor | None = None,
    right: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood in nats of each target under ``softmax(hidden weightᵀ + bias)``, fp32 [n].

    The gradient for ``hidden`` is made with the loss, piece by piece, while a piece's logits are at hand (after Cut
    Cross-Entropy, arXiv:2411.09009, and Liger's fused linear cross-entropy, arXiv:2410.10989). Where ``weight`` or
    ``bias`` learn, the pieces are computed a second time going back.

    Args:
        hidden: [n, width]; products run in its dtype, sums in fp32.
        weight: [vocabulary, width].
        targets: int64 [n].
        bias: [vocabulary].
        softcap: Logits are squashed to ± this by a tanh (Gemma 2).
        scale: Factor on the logits (Cohere; Granite divides).
        rows: [k, width], which stand in for some rows of a weight that does not learn.
        ids: Which ones, int64 [k].
        right: Filled with which targets are the likeliest of all, bool [n].
    """
    weight = weight.to(hidden.dtype)
    bias = None if bias is None else bias.to(hidden.dtype)
    rows = None if rows is None else rows.to(hidden.dtype)
    # Every operand has its dtype already; autocast would make a copy of the weight a piece.
    with torch.autocast(autocast_device(hidden), enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, bias, softcap, scale, rows, ids, right)  # type: ignore[no-any-return,no-untyped-call]


def summed_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    softcap: float | None = None,
    scale: float = 1.0,
    rows: Tensor | None = None,
    ids: Tensor | None = None,
    right: Tensor | None = None,
) -> Tensor:
    """The sum of ``linear_cross_entropy``, on CUDA by Liger's fused kernel where that is installed.

    That kernel does not fill ``right``, so where it stands in there is none to be given (``fused_kernel``).
    """
    fused = fused_kernel() if hidden.device.type == "cuda" and rows is None else None
    if fused is None:
        more: dict[str, Any] = {"softcap": softcap, "scale": scale, "rows": rows, "ids": ids, "right": right}
        return linear_cross_entropy(hidden, weight, targets, bias, **more).sum()
    # It knows no factor on the logits, and they are linear in the states.
    states = hidden if scale == 1.0 else hidden * scale
    shifted = None if bias is None else bias.to(hidden.dtype) * scale
    loss: Tensor = fused(states, weight.to(hidden.dtype), targets, bias=shifted, reduction="sum", softcap=softcap)
    return loss


def fused_kernel() -> Any:
    """Liger's ``liger_fused_linear_cross_entropy``; None where it is not installed."""
    if find_spec("liger_kernel") is None:
        return None
    return import_module("liger_kernel.transformers.functional").liger_fused_linear_cross_entropy


@dataclass(frozen=True)
class _Room:
    """Memory for one piece, taken once for all of them: fresh pages for each would cost as much as the products."""

    low: Tensor
    wide: Tensor

    def narrow(self, slope: Tensor) -> Tensor:
        """A piece's slope in the type of the weight."""
        if self.low.dtype == slope.dtype:
            return slope
        return self.low[: len(slope)].copy_(slope)


def _pieces(hidden: Tensor, weight: Tensor) -> Iterator[tuple[slice, _Room]]:
    n, vocabulary = len(hidden), len(weight)
    size = min(n, max(1, CHUNK_BYTES // (4 * vocabulary)))
    low = hidden.new_empty(size, vocabulary)
    wide = torch.empty(size, vocabulary, dtype=torch.float32, device=hidden.device)
    for start in range(0, n, max(1, size)):
        yield slice(start, min(start + size, n)), _Room(low, wide)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        scale: float,
        rows: Tensor | None,
        ids: Tensor | None,
        right: Tensor | None,
    ) -> Tensor:
        learns = any(x is not None and x.requires_grad for x in (weight, bias, rows))
        if rows is not None:
            assert ids is not None
            # The rows in their places: a copy of the weight, which lives as long as this call.
            weight = weight.index_copy(0, ids, rows)
        ctx.settings, ctx.learns = (softcap, scale), learns
        made = torch.empty_like(hidden) if hidden.requires_grad and not learns else None
        loss = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for piece, room in _pieces(hidden, weight):
            logits, squashed = _logits(hidden[piece], weight, bias, softcap, scale, room)
            shares, nats, likeliest = _shares(logits, targets[piece], room)
            loss[piece] = nats
            if right is not None:
                torch.eq(likeliest, targets[piece], out=right[piece])
            if made is not None:
                slope = _slope(shares, targets[piece], squashed, scale)
                torch.mm(room.narrow(slope), weight, out=made[piece])
        if learns:
            ctx.save_for_backward(hidden, weight, targets, bias, ids)
        else:
            ctx.save_for_backward(made)
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.learns:
            (made,) = ctx.saved_tensors
            return None if made is None else made * grad[:, None].to(made.dtype), *[None] * 8
        hidden, weight, targets, bias, ids = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # In fp32: sums over many pieces would lose what a piece adds.
        wide = torch.float32
        of_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and ctx.needs_input_grad[3] else None
        of_rows = weight.new_zeros(len(ids), weight.shape[1], dtype=wide) if ctx.needs_input_grad[6] else None
        softcap, scale = ctx.settings
        for piece, room in _pieces(hidden, weight):
            logits, squashed = _logits(hidden[piece], weight, bias, softcap, scale, room)
            shares, _, _ = _shares(logits, targets[piece], room)
            slope = _slope(shares, targets[piece], squashed, scale)
            slope = room.narrow(slope.mul_(grad[piece, None]))
            if of_hidden is not None:
                torch.mm(slope, weight, out=of_hidden[piece])
            if of_weight is not None:
                of_weight += slope.t() @ hidden[piece]
            if of_bias is not None:
                of_bias += slope.sum(0)
            if of_rows is not None:
                of_rows += slope[:, ids].t() @ hidden[piece]
        narrow = [None if x is None else x.to(weight.dtype) for x in (of_weight, of_bias, of_rows)]
        return of_hidden, narrow[0], None, narrow[1], None, None, narrow[2], None, None


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None, scale: float, room: _Room
) -> tuple[Tensor, Tensor | None]:
    """Logits of a piece [piece, vocabulary], in fp32 where more is done to them, and what the tanh gave."""
    raw = torch.mm(hidden, weight.t(), out=room.low[: len(hidden)])
    if bias is not None:
        raw += bias
    if scale == 1.0 and softcap is None:
        return raw, None
    wide = raw.float() * scale
    if softcap is None:
        return wide, None
    squashed = (wide / softcap).tanh_()
    return squashed * softcap, squashed


def _shares(logits: Tensor, targets: Tensor, room: _Room) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax of a piece in fp32, the negative log-likelihood of its targets, and the likeliest ones, [piece] each.

    The normalizer is read off the largest logit, whose share can't vanish, so that a target's own may.
    """
    largest, place = logits.max(-1)
    told = logits.gather(1, targets[:, None])[:, 0].float()
    shares = torch.softmax(logits, -1, dtype=torch.float32, out=room.wide[: len(logits)])
    return shares, largest.float() - shares.gather(1, place[:, None])[:, 0].log() - told, place


def _slope(shares: Tensor, targets: Tensor, squashed: Tensor | None, scale: float) -> Tensor:
    """Gradient of the summed loss for the raw products; takes the shares' memory."""
    shares[torch.arange(len(targets), device=shares.device), targets] -= 1
    if squashed is not None:
        shares *= 1 - squashed * squashed
    return shares.mul_(scale) if scale != 1.0 else shares
