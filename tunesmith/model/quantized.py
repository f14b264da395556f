"""Models whose blocks lie in 4 bit (QLoRA, arXiv:2305.14314): loaded so, shaped so for the plan, and back again.

What is quantized: the linear layers inside the blocks. Embeddings, norms and the head keep the compute dtype, and
nothing learns until an adapter is put on. It knows no task, no recipe and no adapter file; one layer is ``four_bit``'s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.four_bit import FourBitLinear, library
from tunesmith.model.layers import LayerGroups, blocks_named
from tunesmith.model.pretrained import load_model, quiet
from tunesmith.model.weights import Weights

_HELD = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def quantization(compute: torch.dtype, double: bool = True, skip: Sequence[str] | None = None) -> Any:
    """Settings with which transformers loads weights in nf4.

    Args:
        compute: Dtype of the products.
        double: Whether the scales are quantized too, which saves 0.37 bits a weight.
        skip: Patterns of layers that keep their dtype; None leaves the output layer out, as transformers does.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    library()  # transformers would say so too, at the end of a stack trace
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_use_double_quant=double,
        llm_int8_skip_modules=None if skip is None else list(skip),
    )


def load_quantized(
    auto: Any,
    source: Weights,
    config: Any,
    *,
    compute: torch.dtype = torch.bfloat16,
    double: bool = True,
    blocks: Sequence[str] | None = None,
    **settings: Any,
) -> tuple[Any, frozenset[str]]:
    """A frozen model with its blocks in nf4; each weight is quantized as it is read, so that no whole copy is made.

    Args:
        auto: For example ``AutoModelForCausalLM``.
        source: The weights.
        config: From ``load_config``.
        compute: Dtype of the products and of everything that is not quantized.
        double: Whether the scales are quantized too.
        blocks: Dotted paths of the module lists, where they are not found by themselves.
        settings: More for ``from_pretrained``; ``device_map={"": "cuda"}`` quantizes there, which takes less time.

    Returns:
        The model, and the names of parameters that the weights did not hold, as ``load_model`` gives them.

    Raises:
        UserError: bitsandbytes is missing, the auto class does not fit, or the weights lack a layer of the blocks.
    """
    library()
    trusted = source.remote_code is not None  # that the code is the commit's own was checked with the configuration
    with torch.device("meta"), quiet():
        shape = auto.from_config(config, trust_remote_code=trusted)
    chosen = set(quantized_names(shape, blocks))
    others = [name for name, layer in _linear_layers(shape) if name not in chosen]
    model, fresh = load_model(
        auto,
        source,
        config,
        held=_HELD[compute],
        # Anchored: transformers also takes a pattern for the end of a longer name.
        quantization_config=quantization(compute, double, [f"^{re.escape(name)}$" for name in others]),
        **{"device_map": {"": "cpu"}, **settings},
    )
    for name in sorted(chosen):
        if f"{name}.weight" in fresh:
            raise UserError(
                f"model: {source.name!r} holds no weight for {name}, and a layer in 4 bit can't learn one",
                str(source.folder),
                "write model: {dtype: auto}, or choose weights that are whole",
            )
        model.set_submodule(name, FourBitLinear.adopted(model.get_submodule(name), compute=compute))
    model.save_pretrained = _not_saved
    return model.requires_grad_(False), fresh


def _not_saved(*_: Any, **__: Any) -> NoReturn:
    """In place of ``save_pretrained``, which would write bytes that nothing loads again."""
    raise UserError(
        "a model in 4 bit is not saved",
        "model.dtype: nf4",
        "save its adapter, or merge that into the model at 16 bit",
    )


def quantized_names(model: nn.Module, blocks: Sequence[str] | None = None) -> list[str]:
    """Names of the layers that are quantized: the linear ones inside the blocks, or in the trunk where it has none.

    Without those that the architecture says need precision (T5's ``wo``), which transformers' loader leaves alone too.
    """
    groups = LayerGroups.of(model)
    roots = blocks_named(model, blocks) if blocks is not None else list(groups.blocks or [groups.trunk])
    inside = {id(module) for root in roots for module in root.modules()}
    precise = [f".{part}." for part in getattr(model, "_keep_in_fp32_modules", None) or ()]
    names = [
        name
        for name, layer in _linear_layers(model)
        if id(layer) in inside and not any(part in f".{name}." for part in precise)
    ]
    if not names:
        kind = type(model).__name__
        raise UserError(f"the blocks of {kind} have no linear layers to quantize", kind, "write model: {dtype: auto}")
    return names


def quantized_shape(
    model: nn.Module,
    blocks: Sequence[str] | None = None,
    *,
    compute: torch.dtype = torch.bfloat16,
    double: bool = True,
) -> list[str]:
    """Give a model on the meta device the bytes that ``load_quantized`` would give it; it is frozen too.

    Returns:
        The names of the layers that are in 4 bit now.
    """
    names = quantized_names(model, blocks)
    layers = {name: FourBitLinear.of(model.get_submodule(name), compute=compute, double=double) for name in names}
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    for parameter in model.requires_grad_(False).parameters():
        if parameter.is_floating_point():  # buffers keep their dtype, as in a model that is loaded
            parameter.data = parameter.data.to(compute)
    return names


def dequantized(layer: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weight (out x in) that a layer in 4 bit computes with, ours or bitsandbytes' own."""
    if isinstance(layer, FourBitLinear):
        return layer.unpacked(dtype)
    return FourBitLinear.adopted(layer, compute=dtype).unpacked(dtype)


def dequantize(model: nn.Module, dtype: torch.dtype) -> list[str]:
    """Give each layer in 4 bit an ordinary weight of the same numbers, in place; adapters stay where they are.

    What ``adapters.merge`` then makes of the model answers as the tuned one did; merged into the weights as they were
    before quantization (load them with ``load_model``) it answers a little differently, by what ``weight_difference``
    says.

    Returns:
        The layers' names.
    """
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, FourBitLinear)]
    for name, layer in found:
        with torch.device("meta"):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.weight = nn.Parameter(layer.unpacked(dtype), requires_grad=False)
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        model.set_submodule(name, plain.train(layer.training))
    return [name for name, _ in found]


@dataclass(frozen=True)
class WeightDifference:
    """How far weights in 4 bit are from those they were made of.

    Args:
        layers: How many were compared.
        largest: The largest absolute difference of a weight.
        relative: Norm of all differences over the norm of all weights.
    """

    layers: int
    largest: float
    relative: float


def weight_difference(model: nn.Module, original: nn.Module) -> WeightDifference:
    """Compare each layer in 4 bit with the one of its name in the original; either may carry adapters.

    Raises:
        UserError: The original has no such layer.
    """
    plain = {name.replace(".base_layer", ""): layer for name, layer in _linear_layers(original)}
    largest, squares, total, count = 0.0, 0.0, 0.0, 0
    for name, layer in model.named_modules():
        if not isinstance(layer, FourBitLinear):
            continue
        own = name.replace(".base_layer", "")
        before = plain.get(own)
        weight = None if before is None else _rows(before).detach().float()
        if weight is None or tuple(weight.shape) != (layer.out_features, layer.in_features):
            kind = type(original).__name__
            raise UserError(f"the original model has no layer {own} of this size", kind, "load what was quantized")
        difference = layer.unpacked(torch.float32).to(weight.device) - weight
        largest = max(largest, float(difference.abs().max()))
        squares += float(difference.square().sum())
        total += float(weight.square().sum())
        count += 1
    return WeightDifference(count, largest, math.sqrt(squares / total) if total else 0.0)


_ALIKE = ("FalconLinear",)
"""Classes of their own that compute what ``nn.Linear`` computes."""


def _linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers that bitsandbytes' loader can replace: exactly these classes, and those that compute the same."""
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if type(module) is nn.Linear or isinstance(module, Conv1D) or type(module).__name__ in _ALIKE:
            yield name, module


def _rows(layer: nn.Module) -> Tensor:
    weight = cast(Tensor, layer.weight)
    return weight if isinstance(layer, nn.Linear) else weight.t()
