"""AdamW whose two moments lie in 8 bits, block by block: a quarter of the state's bytes, the same recipe of a step.

Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861: 256 values share one scale, their
largest, and each is kept as one of 256 numbers that lie denser towards zero. Plain torch, so that it runs on a CPU, on
CUDA and on MPS. It knows no model, no stage and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, overload

import torch
from torch import Tensor

BLOCK = 256
"""Values that share one scale."""

SMALLEST = 4096
"""A tensor of fewer values (a norm, a bias) keeps its moments in fp32: it costs next to nothing."""

SLICE_VALUES = {"cpu": 1 << 18}
"""Values that a step takes in hand at once, by device; each costs about ``SLICE_BYTES`` in passing."""

SLICE_ELSEWHERE = 1 << 22
"""The same on a GPU, where a small slice is mostly the wait for its kernels to start."""

SLICE_BYTES = 32
"""Temporaries of a step, in bytes a value of one slice."""

MOMENTS = (("exp_avg", True), ("exp_avg_sq", False))
"""The two averages, and whether they may be negative."""


def dynamic_map(signed: bool) -> Tensor:
    """The 256 numbers of the dynamic 8-bit type in rising order, fp32 [256]: seven decades, finer in each one up.

    Args:
        signed: From about -1 to 1, else from 0 to 1.
    """
    numbers = [torch.zeros(1), torch.ones(1)]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2 ** (decade + (0 if signed else 1)) + 1)
        means = 10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2
        numbers += [means, -means] if signed else [means]
    return torch.cat(numbers).sort().values


@cache
def _tables(signed: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """The map, and to every half-precision number, by its 16 bits, the nearest entry of the map."""
    numbers = dynamic_map(signed)
    halves = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.float16).float()
    codes = torch.bucketize(halves.nan_to_num(0.0), (numbers[1:] + numbers[:-1]) / 2)
    if not signed:
        # A second moment that is not zero must never become zero: the next step would divide by epsilon alone.
        codes = codes.clamp(min=1)
    return numbers.to(device), codes.to(torch.uint8).to(device)


def quantize(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Values as codes and scales.

    Args:
        values: fp32 [n].
        signed: Which of the two maps.

    Returns:
        Codes, uint8 [n], and the largest magnitude of each block, fp32 [blocks].
    """
    whole = values if values.numel() % BLOCK == 0 else torch.nn.functional.pad(values, (0, -values.numel() % BLOCK))
    blocks = whole.view(-1, BLOCK)
    scale = blocks.abs().amax(1)
    # 2**15: from the bits of a half, read as a signed number, to a place in the table.
    halves = (blocks / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).to(torch.float16)
    places = halves.view(-1)[: values.numel()].view(torch.int16).to(torch.int32).add_(1 << 15)
    return _tables(signed, values.device)[1].index_select(0, places), scale


def dequantize(codes: Tensor, scale: Tensor, signed: bool) -> Tensor:
    """The values (fp32 [n]) that codes (uint8 [n]) and scales (fp32 [blocks]) stand for."""
    values = _tables(signed, codes.device)[0].index_select(0, codes.to(torch.int32))
    whole = values.numel() // BLOCK
    values[: whole * BLOCK].view(-1, BLOCK).mul_(scale[:whole, None])
    values[whole * BLOCK :].mul_(scale[-1])
    return values


def state_bytes(parameters: Iterable[Tensor]) -> int:
    """Bytes of the moments of these parameters; meta tensors will do. Scalars of the step count not among them."""
    sizes = [parameter.numel() for parameter in parameters]
    return sum(2 * (n + 4 * -(-n // BLOCK)) if n >= SMALLEST else 8 * n for n in sizes)


class AdamW8bit(torch.optim.Optimizer):
    """AdamW (arXiv:1711.05101) with block-wise quantized moments (arXiv:2110.02861).

    A step takes each tensor in slices, so that only a slice's moments ever stand in fp32.

    Args:
        params: Parameters or groups, as of ``torch.optim.AdamW``.
        lr: Rate.
        betas: Averaging factors of the gradient and of its square.
        eps: Denominator offset.
        weight_decay: Decoupled: weights shrink by ``lr`` times it.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; the loss where a closure computes it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave; torch turns codes into the weights' type, and they are turned back."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for slot, _ in MOMENTS:
                if f"{slot}_scale" in state:
                    state[slot] = state[slot].to(torch.uint8)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if gradient.is_sparse:
            raise RuntimeError("AdamW8bit takes no sparse gradient: write sparse=False in the embedding")
        state = self.state[parameter]
        if not state:
            _begin(state, parameter)
        state["step"] += 1
        # Row by row, however the tensor lies in memory: the blocks are then the same in every process.
        weights, slopes = parameter.reshape(-1), gradient.reshape(-1)
        count = SLICE_VALUES.get(parameter.device.type, SLICE_ELSEWHERE)
        for start in range(0, weights.numel(), count):
            part = slice(start, start + count)
            _step_slice(weights[part], slopes[part], state, part, group)
        if weights.data_ptr() != parameter.data_ptr():
            parameter.copy_(weights.view(parameter.shape))


def _begin(state: dict[str, Any], parameter: Tensor) -> None:
    """Moments of zero."""
    n, device = parameter.numel(), parameter.device
    # On the CPU: a step that asks a GPU for a number waits for it.
    state["step"] = torch.zeros((), dtype=torch.float32)
    for slot, signed in MOMENTS:
        if n < SMALLEST:
            state[slot] = torch.zeros(parameter.shape, dtype=torch.float32, device=device)
        else:
            state[slot], state[f"{slot}_scale"] = quantize(torch.zeros(n, device=device), signed)


def _step_slice(weights: Tensor, slopes: Tensor, state: dict[str, Any], part: slice, group: dict[str, Any]) -> None:
    """One slice's step in fp32; ``weights`` is changed in place, and so is the state."""
    (beta1, beta2), rate, taken = group["betas"], group["lr"], float(state["step"])
    blocks = slice(part.start // BLOCK, -(-part.stop // BLOCK))
    gradient = slopes.float()
    mean = _moment(state, "exp_avg", part, blocks, True).lerp_(gradient, 1 - beta1)
    square = _moment(state, "exp_avg_sq", part, blocks, False).mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    # The step is taken with what was computed, not with what is kept of it.
    _keep(state, "exp_avg", part, blocks, mean, True)
    _keep(state, "exp_avg_sq", part, blocks, square, False)
    under = square.div_(1 - beta2**taken).sqrt_().add_(group["eps"])
    weights.mul_(1 - rate * group["weight_decay"])
    weights.add_(mean.div_(under).mul_(-rate / (1 - beta1**taken)))


def _moment(state: dict[str, Any], slot: str, part: slice, blocks: slice, signed: bool) -> Tensor:
    if f"{slot}_scale" not in state:
        return state[slot].reshape(-1)[part].clone()  # type: ignore[no-any-return]
    return dequantize(state[slot][part], state[f"{slot}_scale"][blocks], signed)


def _keep(state: dict[str, Any], slot: str, part: slice, blocks: slice, values: Tensor, signed: bool) -> None:
    if f"{slot}_scale" not in state:
        state[slot].view(-1)[part] = values
        return
    state[slot][part], state[f"{slot}_scale"][blocks] = quantize(values, signed)
