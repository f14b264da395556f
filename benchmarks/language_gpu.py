"""Large decoders with random weights on one GPU: tokens a second, share of the chip's own bf16 rate, peak memory.

Cases of ``language.py``; nothing is downloaded, since speed and memory do not depend on what weights say. An 8 B Llama
shape with LoRA in bf16 at 4,096 tokens; a 7 B and a 40 B shape in 4 bit at 1,024 tokens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import absent, within

RANK = 16


@dataclass(frozen=True)
class Shape:
    """A decoder's size and how it is held."""

    case: str
    config: dict[str, Any]
    held: str
    length: int
    unit: str
    goal: float


LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_7B = LLAMA_8B | {"intermediate_size": 11008, "num_key_value_heads": 32, "vocab_size": 32000}
FALCON_40B = {
    "model_type": "falcon", "hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128,
    "num_kv_heads": 8, "new_decoder_architecture": True, "vocab_size": 65024, "bias": False,
}  # fmt: skip
SHAPES = (
    Shape("gpu/lora-8b", LLAMA_8B, "bf16", 4096, "share of bf16 rate", 0.5),
    Shape("gpu/nf4-7b", LLAMA_7B, "nf4", 1024, "GiB", 8.0),
    Shape("gpu/nf4-40b", FALCON_40B, "nf4", 1024, "GiB", 32.0),
)


def rows(quick: bool) -> list[dict[str, Any]]:
    """A row per shape; each is named with the reason where it can't run here."""
    import torch

    if not torch.cuda.is_available():
        return [absent(s.case, peer_name="", reason="no GPU is at hand", goal=s.goal) for s in SHAPES]
    found = []
    for shape in SHAPES[:1] if quick else SHAPES:
        measured = measure(shape, "cuda", steps=3 if quick else 10)
        if shape.unit == "GiB":
            found.append(within(shape.case, [measured["peak_bytes"] / 2**30], unit="GiB", goal=shape.goal, **measured))
            continue
        share = measured["flops_per_second"] / chip_rate("cuda")
        row = within(shape.case, [share], unit=shape.unit, goal=shape.goal, **measured)
        found.append(row | {"holds": share >= shape.goal})
    return found


def measure(shape: Shape, device: str, *, steps: int) -> dict[str, Any]:
    """Train a random model for some steps of one text of full length.

    Returns:
        Tokens a second, floating-point operations a second (of the model's products, forward and backward, the frozen
        weights' gradients not among them) and peak bytes.
    """
    import torch

    from tunesmith.model.adapters import adapter_parameters, attach
    from tunesmith.model.decoder import collate_tokens, summed_losses
    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.lean_norm import lean_norms
    from tunesmith.model.packing import can_pack
    from tunesmith.recipe import AdapterSection

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = random_model(shape.config, shape.held, device)
    lean_norms(model)
    layers = LayerGroups.of(model)
    attach(model, layers.blocks, AdapterSection(r=RANK), seed=0)
    names = frozenset(adapter_parameters(model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    texts = [torch.randint(0, shape.config["vocab_size"], (shape.length,))]
    batch = collate_tokens(
        texts, [torch.ones(shape.length, dtype=torch.bool)], end_to_end=can_pack(model) is None, pad=0
    )
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    began = 0.0
    for step in range(steps + 2):
        if step == 2:
            began = _now(device)
        (summed_losses(model, batch) / len(batch["targets"])).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds = (_now(device) - began) / steps
    products = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, torch.nn.Linear))
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return {
        "tokens_per_second": shape.length / seconds,
        "flops_per_second": 4 * products * shape.length / seconds,
        "peak_bytes": peak,
    }


def random_model(config: dict[str, Any], held: str, device: str) -> Any:
    """A decoder of a shape with random weights, made layer by layer where it is to run."""
    import torch
    from torch import nn
    from transformers import AutoConfig

    from tunesmith.model.pretrained import decoder_shape

    settings = dict(config)
    made = AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = decoder_shape(made, "bf16")
    four_bit = held == "nf4"
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and four_bit and module is not head:
            _put(model, name, _four_bit(module, device))
        else:
            for key, parameter in list(module._parameters.items()):
                if parameter is not None and parameter.is_meta:
                    data = torch.empty(parameter.shape, dtype=parameter.dtype, device=device).normal_(std=0.02)
                    module._parameters[key] = nn.Parameter(data, requires_grad=False)
            for key, buffer in list(module._buffers.items()):
                if buffer is not None and buffer.is_meta:
                    module._buffers[key] = torch.zeros(buffer.shape, dtype=buffer.dtype, device=device)
    for name, module in list(model.named_modules()):
        if hasattr(module, "compute_default_rope_parameters"):
            # Frequencies are numbers, not weights: they follow from the configuration.
            _put(model, name, type(module)(made).to(device))
    return model.eval()


def _four_bit(module: Any, device: str) -> Any:
    import torch
    from torch import nn

    from tunesmith.model.four_bit import FourBitLinear

    # Falcon's linear layers are a class of their own that computes the same.
    whole = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
    for name, parameter in list(whole.named_parameters()):
        data = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device).normal_(std=0.02)
        setattr(whole, name, nn.Parameter(data, requires_grad=False))
    return FourBitLinear.of(whole, compute=torch.bfloat16)


def _put(model: Any, name: str, module: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def chip_rate(device: str) -> float:
    """Operations a second of a large bf16 product, measured."""
    import torch

    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device=device) for _ in range(2))
    for _ in range(3):
        a @ b
    began = _now(device)
    for _ in range(20):
        a @ b
    return float(20 * 2 * 8192**3 / (_now(device) - began))


def _now(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
