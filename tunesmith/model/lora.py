"""The low-rank layer: a frozen linear map with a small trained update beside it.

LoRA (arXiv:2106.09685), rsLoRA (arXiv:2312.03732) and DoRA (arXiv:2402.09353), in as few passes over memory as they
need. It knows one linear layer at a time: nothing of models, names, recipes or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tunesmith.model.autocast import autocast_device
from tunesmith.model.four_bit import FourBitLinear, Layout, unpack


class _LowRankProduct(torch.autograd.Function):
    """``x Wᵀ + bias + scaling (source Aᵀ) Bᵀ`` with no gradient for ``W`` and ``bias``, and one output-sized buffer.

    The update is accumulated into the frozen product in place, and its gradient into the frozen product's gradient:
    plain autograd makes three output-sized temporaries forward and two in the backward pass. A weight in 4 bit comes
    with its scales and is unpacked twice, for each pass: at full size it lives no longer than one product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        constants: Tensor | None,
        layout: Layout | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = _low(rows if source is None else source.reshape(rows.shape), a, scaling)
        dense = _dense(weight, constants, layout, rows.dtype)
        out = rows @ dense.t() if bias is None else torch.addmm(bias, rows, dense.t())
        out.addmm_(low, b.to(out.dtype).t())
        ctx.save_for_backward(x if source is None else source, weight, a, b, low, constants)
        ctx.scaling, ctx.split, ctx.layout = scaling, source is not None, layout
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *saved, constants = ctx.saved_tensors
        return (*_gradients(ctx, grad.reshape(-1, grad.shape[-1]), saved, constants, ctx.layout), None, None)


class _MagnitudeProduct(torch.autograd.Function):
    """DoRA: ``(magnitude / norm) * (x Wᵀ + scaling (source Aᵀ) Bᵀ) + bias``; ``norm`` is a constant (section 4.3)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        source: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        magnitude: Tensor,
        norm: Tensor,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = _low(rows if source is None else source.reshape(rows.shape), a, scaling)
        direction = rows @ weight.t()
        direction.addmm_(low, b.to(direction.dtype).t())
        factor = (magnitude / norm).to(direction.dtype)
        out = direction * factor if bias is None else torch.addcmul(bias, direction, factor)
        ctx.save_for_backward(x if source is None else source, weight, a, b, low, direction, factor, norm)
        ctx.scaling, ctx.split = scaling, source is not None
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *saved, direction, factor, norm = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        magnitude = (rows * direction).sum(0, dtype=norm.dtype) / norm
        return (*_gradients(ctx, rows * factor, saved), magnitude, None)


def _dense(weight: Tensor, constants: Tensor | None, layout: Layout | None, dtype: torch.dtype) -> Tensor:
    """The weight as a matrix: itself, or unpacked."""
    if constants is None or layout is None:
        return weight
    return unpack(weight, constants, layout, dtype)


def _shaped(rows: Tensor, x: Tensor) -> Tensor:
    """Rows of features in the shape of the input.

    Not inside the product: a view that is made there can't be written to in place, as Falcon does.
    """
    return rows.view(*x.shape[:-1], rows.shape[-1])


def _low(source: Tensor, a: Tensor, scaling: float) -> Tensor:
    """The rows in the ``r`` dimensions of the update; the scale rides on the smallest tensor there is."""
    return (source @ a.to(source.dtype).t()).mul_(scaling)


def _gradients(
    ctx: Any,
    grad: Tensor,
    saved: Sequence[Tensor],
    constants: Tensor | None = None,
    layout: Layout | None = None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the seven inputs the two products share, from the gradient of the undirected sum (rows x out)."""
    source, weight, a, b, low = saved
    down, up = a.to(grad.dtype), b.to(grad.dtype)
    inner = (grad @ up).mul_(ctx.scaling)
    grad_x = grad @ _dense(weight, constants, layout, grad.dtype) if ctx.needs_input_grad[0] else None
    grad_source = None
    if ctx.split:
        grad_source = (inner @ down).view(source.shape) if ctx.needs_input_grad[1] else None
    elif grad_x is not None:
        grad_x.addmm_(inner, down)
    learns = ctx.needs_input_grad[4:6]  # neither does in a stage that trains the head alone
    grad_a = (inner.t() @ source.reshape(-1, source.shape[-1])).to(a.dtype) if learns[0] else None
    # (low' grad)' is up to a third faster on a CPU than grad' low.
    grad_b = (low.t() @ grad).t().to(b.dtype) if learns[1] else None
    return (
        None if grad_x is None else grad_x.view(source.shape),
        grad_source,
        None,
        None,
        grad_a,
        grad_b,
        None,
    )


class LoraLinear(nn.Module):
    """A linear layer with a low-rank update: ``base_layer(x) + scaling * lora_B lora_A dropout(x)``.

    ``lora_A`` (r x in) and ``lora_B`` (out x r) are fp32 whatever the base layer's dtype; products run in the base
    layer's dtype, or in autocast's. With DoRA ``lora_magnitude_vector`` (out) scales each output row of the summed
    weight; dropout then acts on the update alone. The base layer's parameters are frozen; where a caller makes them
    learn again, they get their gradient by plain autograd.

    Args:
        base_layer: ``nn.Linear``, transformers' ``Conv1D``, or a ``FourBitLinear``.
        r: Rank of the update.
        alpha: Scale numerator: the update is multiplied by ``alpha / r``.
        rslora: Multiply by ``alpha / √r`` instead.
        dropout: Probability of dropping an input feature of the update while training.
        dora: Whether to learn the magnitude of each output row apart.
        generator: A CPU generator that ``lora_A`` is drawn from; ``lora_B`` starts at zero.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        *,
        r: int,
        alpha: float,
        rslora: bool = False,
        dropout: float = 0.0,
        dora: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.transposed = not isinstance(base_layer, nn.Linear)
        self.alpha, self.rslora = alpha, rslora
        self.scaling = alpha / (math.sqrt(r) if rslora else r)
        self.enabled = True
        weight = self.weight
        inputs, outputs = self.in_features, self.out_features
        self.lora_A = nn.Parameter(_kaiming(r, inputs, generator, weight.device))
        self.lora_B = nn.Parameter(torch.zeros(outputs, r, device=weight.device))
        self.lora_dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.lora_magnitude_vector: nn.Parameter | None = None
        self._row_squares: tuple[Tensor, tuple[object, ...], Tensor] | None = None
        if dora:
            self.lora_magnitude_vector = nn.Parameter(self._squares().sqrt())

    @property
    def plain(self) -> bool:
        """Whether the base layer is known to be ``x Wᵀ + b`` over a weight that can be read and written."""
        return self.transposed or type(self.base_layer) is nn.Linear

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as the model's own code may ask for its dtype; in 4 bit its bytes."""
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return cast("Tensor | None", self.base_layer.bias)

    @property
    def in_features(self) -> int:
        """Features of the input."""
        return self.weight.shape[0] if self.transposed else int(cast(nn.Linear, self.base_layer).in_features)

    @property
    def out_features(self) -> int:
        """Features of the output."""
        return self.weight.shape[1] if self.transposed else int(cast(nn.Linear, self.base_layer).out_features)

    @property
    def r(self) -> int:
        """Rank of the update."""
        return self.lora_A.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``, in the base layer's dtype or autocast's."""
        if not self.enabled:
            return cast(Tensor, self.base_layer(x))
        layer = self.base_layer
        packed = layer if isinstance(layer, FourBitLinear) else None
        learns = any(p.requires_grad for p in layer.parameters())
        if learns or not (self.plain or packed):
            return self._composed(x)
        device = autocast_device(x)
        casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        own = self.weight.dtype if packed is None else packed.compute
        dtype = torch.get_autocast_dtype(device) if casts else own
        x = packed.accept(x, dtype) if packed else x.to(dtype) if casts else x
        source = self._dropped(x)
        weight = self.weight if packed else self._rows(self.weight).to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        inputs: tuple[Any, ...] = (x, source, weight, bias, self.lora_A, self.lora_B, self.scaling)
        # Every operand has its dtype already; autocast would make copies of its own.
        with torch.autocast(device, enabled=False) if casts else nullcontext():
            if self.lora_magnitude_vector is None:
                inputs = (*inputs, packed.constants, packed.layout) if packed else (*inputs, None, None)
                return _shaped(_LowRankProduct.apply(*inputs), x)  # type: ignore[no-untyped-call]
            inputs = (*inputs, self.lora_magnitude_vector, self._norm())
            return _shaped(_MagnitudeProduct.apply(*inputs), x)  # type: ignore[no-untyped-call]

    def _dropped(self, x: Tensor) -> Tensor | None:
        """The update's own input where dropout makes it differ from ``x``."""
        if self.training and not isinstance(self.lora_dropout, nn.Identity):
            return cast(Tensor, self.lora_dropout(x))
        return None

    def _composed(self, x: Tensor) -> Tensor:
        """The same from ordinary operations: for a base layer that learns, or whose weight can't be read."""
        out = cast(Tensor, self.base_layer(x))
        dropped = self._dropped(x)
        source = (x if dropped is None else dropped).to(out.dtype)
        update = source @ self.lora_A.to(out.dtype).t() @ self.lora_B.to(out.dtype).t() * self.scaling
        if self.lora_magnitude_vector is None:
            return out + update
        factor = (self.lora_magnitude_vector / self._norm()).to(out.dtype)
        if self.bias is None:
            return (out + update) * factor
        bias = self.bias.to(out.dtype)
        return (out - bias + update) * factor + bias

    def merged_weight(self) -> Tensor:
        """The weight with the update in it, fp32, in the base layer's own orientation."""
        layer = self.base_layer
        with torch.no_grad():
            frozen = (
                layer.unpacked(torch.float32) if isinstance(layer, FourBitLinear) else _wide(self._rows(self.weight))
            )
            weight = frozen + self.scaling * (self.lora_B @ self.lora_A)
            if self.lora_magnitude_vector is not None:
                weight *= (self.lora_magnitude_vector / torch.linalg.vector_norm(weight, dim=1))[:, None]
            return self._rows(weight)

    def _rows(self, weight: Tensor) -> Tensor:
        """One output a row: a ``Conv1D`` stores its weight the other way round."""
        return weight.t() if self.transposed else weight

    def _squares(self) -> Tensor:
        """Squared norm of each row of the frozen weight, fp32, kept until the weight changes."""
        weight = self.weight
        if torch.compiler.is_compiling() or weight.is_inference():  # neither has a version to go by
            return _wide(self._rows(weight.detach())).square().sum(dim=1)
        key = (weight._version, weight.dtype, weight.device)
        if self._row_squares is None or self._row_squares[0] is not weight or self._row_squares[1] != key:
            self._row_squares = (weight, key, _wide(self._rows(weight.detach())).square().sum(dim=1))
        return self._row_squares[2]

    def _norm(self) -> Tensor:
        """Norm of each row of ``W + scaling B A``, fp32, without making that matrix.

        ``|w + s bA|² = |w|² + 2 s b·(A w) + s² b (A Aᵀ) bᵀ``: the products are r wide, where the sum itself is as
        large as the weight. At ``B = 0`` it is the magnitude's start exactly.
        """
        with torch.no_grad():
            a, b = self.lora_A, self.lora_B * self.scaling
            weight = self._rows(self.weight)
            cross = _wide(weight @ a.to(weight.dtype).t()).mul_(b).sum(dim=1)
            squares = self._squares() + 2 * cross + (b @ (a @ a.t())).mul_(b).sum(dim=1)
            # Rounding may take the square of a row that the update cancels below zero.
            return squares.clamp_(min=torch.finfo(squares.dtype).tiny).sqrt_()

    def extra_repr(self) -> str:
        """Rank, scale and kind, for ``print(model)``."""
        return f"r={self.r}, scaling={self.scaling:g}, dora={self.lora_magnitude_vector is not None}"


def _wide(value: Tensor) -> Tensor:
    """At least fp32."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _kaiming(r: int, inputs: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """``lora_A``'s start as in peft: Kaiming uniform with ``a = √5``, drawn on the CPU so devices agree."""
    if device.type == "meta":  # a shape to plan by has no numbers, and those of a large model take seconds
        return torch.empty(r, inputs, device=device)
    return nn.init.kaiming_uniform_(torch.empty(r, inputs), a=math.sqrt(5), generator=generator).to(device)
