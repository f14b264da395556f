"""Cross-entropy of a small map of logits against a large mask, summed over pixels, in bands of rows.

The map is enlarged to the mask band by band, so that logits at the mask's size never exist as a whole. It knows logits
and masks; no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORED = 255
"""What a mask holds where nothing is to be learned."""
BAND_BYTES = 32 << 20
"""What one band of enlarged logits may take in fp32."""


def pixel_cross_entropy(logits: Tensor, masks: Tensor, ignored: int = IGNORED) -> Tensor:
    """Negative log-likelihood in nats, summed over the pixels that are not ignored, fp32 [].

    The same as enlarging ``logits`` bilinearly to the masks and summing the cross-entropy there. The gradient is made
    with the loss, band by band, while a band's logits are at hand.

    Args:
        logits: [batch, classes, height, width], at any size.
        masks: Class ids, integers [batch, rows, columns].
        ignored: The id of pixels that do not count.
    """
    masks = masks.to(torch.int64)
    if logits.is_meta or not torch.is_grad_enabled() or not logits.requires_grad:
        return torch.stack([_band(logits.float(), masks, rows, ignored) for rows in _bands(logits, masks)]).sum()
    return _PixelCrossEntropy.apply(logits, masks, ignored)  # type: ignore[no-any-return,no-untyped-call]


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits [batch, classes, height, width] at another height and width, bilinearly."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class _PixelCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, masks: Tensor, ignored: int) -> Tensor:
        wide = logits.detach().float()
        slope, total = torch.zeros_like(wide), wide.new_zeros(())
        height = logits.shape[2]
        with torch.enable_grad():
            for rows in _bands(logits, masks):
                low, high, _ = _sources(rows, masks.shape[1], height, wide.device)
                first, last = int(low[0]), int(high[-1]) + 1
                part = wide[:, :, first:last].requires_grad_(True)
                loss = _band(part, masks, rows, ignored, first=first, height=height)
                (found,) = torch.autograd.grad(loss, part)
                slope[:, :, first:last] += found
                total += loss.detach()
        ctx.save_for_backward(slope.to(logits.dtype))
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad.to(slope.dtype), None, None


def _bands(logits: Tensor, masks: Tensor) -> Iterator[slice]:
    batch, classes = logits.shape[:2]
    rows, columns = masks.shape[1:]
    step = max(1, min(rows, BAND_BYTES // max(1, 4 * batch * classes * columns)))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _sources(rows: slice, total: int, height: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Between which two rows of the small map each row of a band lies, and how near to the second."""
    place = (torch.arange(rows.start, rows.stop, device=device) + 0.5) * (height / total) - 0.5
    place = place.clamp(min=0)
    low = place.floor().long().clamp(max=height - 1)
    return low, (low + 1).clamp(max=height - 1), place - low


def _band(
    logits: Tensor, masks: Tensor, rows: slice, ignored: int, *, first: int = 0, height: int | None = None
) -> Tensor:
    """The loss of a band; ``logits`` start at row ``first`` of a map of ``height`` rows."""
    height = height if height is not None else logits.shape[2]
    low, high, near = _sources(rows, masks.shape[1], height, logits.device)
    upper, lower = logits[:, :, low - first], logits[:, :, high - first]
    tall = torch.lerp(upper, lower, near[None, None, :, None].to(logits.dtype))
    wide = enlarged(tall, (rows.stop - rows.start, masks.shape[2]))
    return F.cross_entropy(wide, masks[:, rows], ignore_index=ignored, reduction="sum")
