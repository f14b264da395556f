"""A frozen linear layer whose weight lies in 4-bit NormalFloat (QLoRA, arXiv:2305.14314), as bitsandbytes packs it.

The numbers are bitsandbytes': its quantizer makes them and its kernel unpacks them, on a CPU and on CUDA. The layer is
ours, since ``bitsandbytes.nn.Linear4bit`` rewrites its own bytes: on a CPU with bf16 units the first pass without a
gradient lays the weight out anew, after which it answers differently, its digest is another one, ``model.to(device)``
moves nonsense (https://github.com/bitsandbytes-foundation/bitsandbytes/issues/2078) and rows shorter than a block fail.
It knows one linear layer at a time: nothing of models, adapters, names or files.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tunesmith.errors import UserError
from tunesmith.model.autocast import autocast_device

BLOCK = 64
"""Values that share one scale."""
GROUP = 256
"""Scales that share one scale of their own, with double quantization."""
_MAP_BYTES = 256 * 4
_INSTALL = "pip install 'tunesmith[quantized]'"


class Layout(NamedTuple):
    """What the bytes of a packed weight mean: a matrix of ``rows`` outputs, and how its scales are kept."""

    rows: int
    columns: int
    block: int = BLOCK
    double: bool = True

    @property
    def cut(self) -> int:
        """Length of the rows that the kernel is told: with AVX-512 it is wrong where blocks cross their ends."""
        width = self.columns if self.columns % self.block == 0 else self.block
        total = self.rows * self.columns
        return width if total % width == 0 else total

    @property
    def packed_bytes(self) -> int:
        """Bytes of the values, two in each."""
        return (self.rows * self.columns + 1) // 2

    @property
    def scales(self) -> int:
        """Number of blocks."""
        return -(-self.rows * self.columns // self.block)

    @property
    def constant_bytes(self) -> int:
        """Bytes of the scales: fp32; or one byte each, with an offset, a table of values and the scales of groups."""
        if not self.double:
            return self.scales * 4
        return 4 + _MAP_BYTES + -(-self.scales // GROUP) * 4 + self.scales


def library() -> Any:
    """Give bitsandbytes' functions.

    Raises:
        UserError: It is not installed.
    """
    try:
        if "bitsandbytes" not in sys.modules:
            with _nothing_fetched():
                import bitsandbytes
        import bitsandbytes.functional
    except ImportError as fault:
        raise UserError(
            f"weights in 4 bit need the package bitsandbytes, which can't be imported here ({fault})",
            "recipe: model.dtype",
            _INSTALL,
        ) from fault
    return bitsandbytes.functional


@contextmanager
def _nothing_fetched() -> Iterator[None]:
    """Keep bitsandbytes from its kernel hub.

    Where a CPU has bf16 units, importing it downloads compiled code through the package ``kernels``, or warns that this
    one is missing. What it would load serves the layer that is not used here.
    """
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    kernels, disabled = sys.modules.get("kernels"), log.disabled
    sys.modules["kernels"] = None  # type: ignore[assignment]  # an import of it fails
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = disabled
        del sys.modules["kernels"]
        if kernels is not None:
            sys.modules["kernels"] = kernels


def pack(weight: Tensor, *, double: bool = True) -> tuple[Tensor, Tensor, Layout]:
    """A matrix (rows x columns) in 4 bit: its values, its scales, and what their bytes mean."""
    rows, columns = weight.shape
    if weight.is_meta:
        layout = Layout(rows, columns, double=double)
        return (*_empty(layout), layout)
    packed, state = library().quantize_4bit(
        weight.detach().contiguous(), blocksize=BLOCK, compress_statistics=double, quant_type="nf4"
    )
    return (packed, *_constants(state))


def unpack(packed: Tensor, constants: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    """The matrix again (rows x columns), in a floating dtype of choice."""
    if packed.is_meta:
        return torch.empty(layout.rows, layout.columns, dtype=dtype, device="meta")
    functions = library()
    scales: dict[str, Any] = {"absmax": constants.view(torch.float32)} if not layout.double else {}
    if layout.double:
        table, groups, absmax = 4, 4 + _MAP_BYTES, layout.constant_bytes - layout.scales
        scales = {
            "absmax": constants[absmax:],
            "offset": constants[:table].view(torch.float32)[0],
            "state2": functions.QuantState(
                absmax=constants[groups:absmax].view(torch.float32),
                code=constants[table:groups].view(torch.float32),
                blocksize=GROUP,
                dtype=torch.float32,
            ),
        }
    shape = torch.Size((layout.rows * layout.columns // layout.cut, layout.cut))
    state = functions.QuantState(shape=shape, blocksize=layout.block, quant_type="nf4", dtype=dtype, **scales)
    # What is one byte long comes back turned round.
    return cast(Tensor, functions.dequantize_4bit(packed, state)).reshape(layout.rows, layout.columns)


def _empty(layout: Layout) -> tuple[Tensor, Tensor]:
    """Values and scales without numbers."""
    packed = torch.empty(layout.packed_bytes, 1, dtype=torch.uint8, device="meta")
    return packed, torch.empty(layout.constant_bytes, dtype=torch.uint8, device="meta")


def _constants(state: Any) -> tuple[Tensor, Layout]:
    """The scales of a bitsandbytes state as plain bytes, which no cast of the model to another dtype touches."""
    rows, columns = state.shape
    layout = Layout(rows, columns, state.blocksize, bool(state.nested))
    absmax = state.absmax.contiguous().view(torch.uint8)
    if not layout.double:
        return absmax, layout
    inner = state.state2
    wide = (state.offset.reshape(1), inner.code, inner.absmax)
    parts = [part.to(torch.float32).contiguous().view(torch.uint8) for part in wide]
    return torch.cat([*parts, absmax]), layout


class _FrozenProduct(torch.autograd.Function):
    """``x Wᵀ + bias`` that keeps the 4-bit weight for the backward pass, not the unpacked one, and not ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, constants: Tensor, bias: Tensor | None, layout: Layout) -> Tensor:
        ctx.save_for_backward(packed, constants)
        ctx.layout = layout
        return nn.functional.linear(x, unpack(packed, constants, layout, x.dtype), bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        packed, constants = ctx.saved_tensors
        grad_x = grad @ unpack(packed, constants, ctx.layout, grad.dtype) if ctx.needs_input_grad[0] else None
        grad_bias = grad.reshape(-1, grad.shape[-1]).sum(0) if ctx.needs_input_grad[3] else None
        return grad_x, None, None, grad_bias, None


class FourBitLinear(nn.Linear):
    """``x Wᵀ + bias`` with ``W`` in 4 bit, unpacked where a product needs it and dropped after it.

    ``weight`` holds the packed values and ``constants`` their scales, both as bytes that never learn. Products run in
    ``compute``, or in autocast's dtype.

    Args:
        packed, constants, layout: As ``pack`` gives them.
        bias: Of any dtype, or None.
        compute: Dtype of the products.
    """

    def __init__(
        self, packed: Tensor, constants: Tensor, layout: Layout, bias: Tensor | None, compute: torch.dtype
    ) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make a weight at full size
        self.in_features, self.out_features = layout.columns, layout.rows
        self.layout, self.compute = layout, compute
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.constants = nn.Parameter(constants, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(compute), requires_grad=False)  # type: ignore[assignment]

    @classmethod
    def of(cls, layer: nn.Module, *, compute: torch.dtype, double: bool = True) -> FourBitLinear:
        """From an ``nn.Linear`` or transformers' ``Conv1D``, which stores its weight the other way round."""
        weight = cast(Tensor, layer.weight)
        rows = weight if isinstance(layer, nn.Linear) else weight.t()
        return cls(*pack(rows, double=double), cast("Tensor | None", layer.bias), compute)

    @classmethod
    def adopted(cls, layer: Any, *, compute: torch.dtype) -> FourBitLinear:
        """From a ``bitsandbytes.nn.Linear4bit`` that never ran, sharing its packed values."""
        return cls(layer.weight.data, *_constants(layer.weight.quant_state), layer.bias, compute)

    def accept(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The input in the dtype of the products.

        Raises:
            UserError: The model's own code has cast it to the dtype of ``weight``, which here are bytes.
        """
        if not x.is_floating_point():
            what = f"this model casts the input of a layer to the dtype of its weight, which in 4 bit is {x.dtype}"
            raise UserError(what, "recipe: model.dtype", "write model: {dtype: bf16}")
        return x.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        device = autocast_device(x)
        casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if casts else self.compute
        bias = None if self.bias is None else self.bias.to(dtype)
        inputs = (self.accept(x, dtype), self.weight, self.constants, bias, self.layout)
        return cast(Tensor, _FrozenProduct.apply(*inputs))  # type: ignore[no-untyped-call]

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weight (out x in) as numbers."""
        return unpack(self.weight.detach(), self.constants.detach(), self.layout, dtype)

    def extra_repr(self) -> str:
        """Sizes and kind, for ``print(model)``."""
        double = ", double quantization" if self.layout.double else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, nf4{double}, {self.compute}"
