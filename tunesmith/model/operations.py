"""What a pass computes, operation by operation: products with their sizes, bytes moved, calls. It knows no rates.

A pass on the meta device is enough: shapes tell all of it, and nothing is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tunesmith.model.ledger import MetaAnswers

PRODUCT, CONVOLUTION, ATTENTION, FUNCTION, MOVE, VIEW = (
    "product",
    "convolution",
    "attention",
    "function",
    "move",
    "view",
)

_MATRIX = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2), "addmv": (1, 2), "mv": (0, 1)}
_FUNCTIONS = (
    "gelu",
    "silu",
    "softmax",
    "exp",
    "log",
    "tanh",
    "sigmoid",
    "erf",
    "sin",
    "cos",
    "pow",
    "layer_norm",
    "batch_norm",
    "group_norm",
    "mish",
    "hardswish",
    "softplus",
    "rsqrt",
    "linalg",
    "logsumexp",
)
"""What of an operation's name says that every element costs more than its way through memory."""


@dataclass(frozen=True)
class Operation:
    """One kind of operation at one size.

    Args:
        kind: ``product``, ``convolution``, ``attention``, ``function``, ``move``, or ``view``, which touches nothing.
        flops: Multiplications and additions, both counted; of products, convolutions and attention.
        bytes: Read and written, every operand once.
        narrow: The least of a product's three sizes; of a convolution, channels of a group times the window.
        dtype: Type of what comes out: ``fp32``, ``bf16``, ``fp16`` or ``other``.
        batch: How many products of that size one call computes.
    """

    kind: str
    flops: int = 0
    bytes: int = 0
    narrow: int = 0
    dtype: str = "fp32"
    batch: int = 1


Work = Counter[Operation]
"""Operations and how often each runs."""

_TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that run while it is entered, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work: Work = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.work[_operation(func, args, kwargs or {}, out)] += 1
        return out


class StandIns(MetaAnswers):
    """Numbers where code asks a meta tensor for them: zeros, so that what follows in a prediction runs, too."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.is_meta:
            if func in (Tensor.tolist, Tensor.numpy):
                return getattr(torch.zeros(first.shape, dtype=first.dtype), func.__name__)()
            if func is Tensor.cpu:
                return torch.zeros(first.shape, dtype=first.dtype)
            if func in (Tensor.item, Tensor.__int__, Tensor.__float__, Tensor.__index__) and first.dtype != torch.bool:
                return 0.0 if func is Tensor.__float__ or first.is_floating_point() else 0
        return super().__torch_function__(func, types, args, kwargs)


def _operation(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Operation:
    # What is computed in place or into a given tensor costs what it costs otherwise.
    name = func.overloadpacket.__name__
    given = {key: value for key, value in kwargs.items() if key != "out"}
    ins, outs = _tensors((*args, *given.values())), _tensors((out,))
    if not outs or getattr(func, "is_view", False) or _aliases(name, ins, outs):
        return Operation(VIEW)
    if name in ("empty", "empty_like", "new_empty", "empty_strided", "detach"):
        return Operation(VIEW)
    dtype = _TYPES.get(outs[0].dtype, "other")
    # Of a table only the rows that are asked for are read.
    looked_up = name in ("embedding", "index_select", "gather", "index")
    moved = 2 * _bytes(outs) if looked_up else _bytes(ins) + _bytes(outs)
    if name.removesuffix("_") in _MATRIX or name == "linear":
        return _product(name.removesuffix("_"), args, moved, dtype)
    if name in ("convolution", "convolution_backward"):
        return _convolution(name, args, outs, moved, dtype)
    if any(part in name for part in ("scaled_dot_product", "flash_attention", "efficient_attention")):
        return _attention(name, args, moved, dtype)
    return Operation(FUNCTION if any(part in name for part in _FUNCTIONS) else MOVE, bytes=moved, dtype=dtype)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among the arguments of an operation, which may lie in lists; quicker than walking any tree."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _product(name: str, args: Sequence[Any], moved: int, dtype: str) -> Operation:
    """2 x rows x width x outputs, for each product of a batch."""
    if name == "linear":
        rows, sizes = prod(args[0].shape[:-1]), args[1].shape
        return Operation(PRODUCT, 2 * rows * prod(sizes), moved, min(rows, *sizes), dtype)
    a, b = (args[i] for i in _MATRIX[name])
    m, k, n = a.shape[-2] if a.ndim > 1 else 1, a.shape[-1], b.shape[-1] if b.ndim > 1 else 1
    batch = a.shape[0] if a.ndim == 3 else 1
    return Operation(PRODUCT, 2 * batch * m * k * n, moved, min(m, k, n), dtype, batch)


def _aliases(name: str, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> bool:
    """Whether the output is an input seen otherwise; what is written in place (``add_``) is not."""
    if name.endswith("_") or not ins:
        return False
    known = {x.untyped_storage()._cdata for x in ins}
    return all(x.untyped_storage()._cdata in known for x in outs)


def _bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes behind the tensors; what is expanded lies in memory once."""
    return sum(
        prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride) * x.element_size()
        for x in tensors
    )


def _convolution(name: str, args: Sequence[Any], outs: Sequence[Tensor], moved: int, dtype: str) -> Operation:
    """2 x places of the output x weights of one place, and as much for each gradient that is asked for."""
    back = name != "convolution"
    given, weight, out = (args[1], args[2], args[0]) if back else (args[0], args[1], outs[0])
    transposed, groups = (args[7], args[9]) if back else (args[6], args[8])
    times = sum(map(bool, args[10][:2])) if back else 1
    each = prod(weight.shape[1:])
    flops = 2 * times * prod((given if transposed else out).shape) * each
    return Operation(CONVOLUTION, flops, moved, min(each, max(1, weight.shape[0] // groups)), dtype)


def _attention(name: str, args: Sequence[Any], moved: int, dtype: str) -> Operation:
    """Two products forward; five backward, where the weights are made again."""
    back = "backward" in name
    query, key = (args[1], args[2]) if back else (args[0], args[1])
    rows, heads, asked, width = query.shape
    flops = 2 * rows * heads * asked * key.shape[2] * width
    return Operation(ATTENTION, flops * (5 if back else 2), moved, min(asked, width), dtype, rows * heads)


def scaled(work: Work, factor: float) -> dict[Operation, float]:
    """Every count times a factor."""
    return {operation: count * factor for operation, count in work.items()}


def flops_of(work: Work) -> int:
    """Multiplications and additions in all."""
    return sum(operation.flops * count for operation, count in work.items())
