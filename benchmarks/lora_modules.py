"""Seconds of a training step with our low-rank layers and with peft's, on the same weights, step by step in turn.

    python benchmarks/lora_modules.py [--quick] [--json]

Shapes: a Llama decoder (hidden 576, 6 layers, random weights) and a BERT encoder (hidden 384, 6 layers), each with an
adapter of rank 16 on every linear layer of its blocks. A step is forward, backward and AdamW on the adapter. The third
column, the same frozen model without any adapter (forward and backward), is what no adapter can go below.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import Tensor, nn

from tunesmith.model import adapters
from tunesmith.recipe.sections import AdapterSection

RESULTS = Path(__file__).parent / "results" / "lora_modules.json"
VOCABULARY = 1024
RANK = 16


def llama() -> tuple[Any, str, Any]:
    """The model, where its blocks are, and the part that is run (no vocabulary product, which is the same for all)."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=9,
        num_key_value_heads=3,
        bos_token_id=0,
        eos_token_id=1,
    )
    return transformers.LlamaModel(config), "layers", config


def bert() -> tuple[Any, str, Any]:
    """The same for an encoder."""
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertModel(config, add_pooling_layer=False), "encoder.layer", config


SHAPES: dict[str, Callable[[], tuple[Any, str, Any]]] = {"llama 576x6": llama, "bert 384x6": bert}
CASES = [
    (shape, kind, dtype, autocast)
    for shape in SHAPES
    for kind in ("lora", "dora")
    for dtype, autocast in (("fp32", False), ("bf16", False), ("fp32", True))
]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def stepper(model: nn.Module, ids: Tensor, autocast: bool) -> Callable[[], float]:
    """A step of this model, giving its seconds; without anything to train, the forward and the input's backward."""
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-4, fused=True) if learns else None
    model.train()
    embeddings = model.get_submodule(
        next(name for name, module in model.named_modules() if isinstance(module, nn.Embedding))
    )

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            vectors = embeddings(ids)
            if optimizer is None:
                vectors.requires_grad_(True)
            out = model(inputs_embeds=vectors).last_hidden_state
        out.float().square().mean().backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - began

    return step


def models(shape: str, kind: str, dtype: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Ours, peft's and the bare frozen model, with equal weights and equal adapters."""
    torch.manual_seed(0)
    bare, path, _ = SHAPES[shape]()
    bare = bare.to(DTYPES[dtype]).requires_grad_(False)
    ours = copy.deepcopy(bare)
    settings = AdapterSection(r=RANK, dora=kind == "dora")
    layers = adapters.attach(ours, list(ours.get_submodule(path)), settings, seed=0)
    config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers, use_dora=kind == "dora")
    theirs = peft.get_peft_model(copy.deepcopy(bare), config)
    state = theirs.state_dict()
    with torch.no_grad():
        for key, value in adapters.adapter_parameters(ours).items():
            layer, _, part = key.rpartition(".")
            state[f"base_model.model.{layer}.{part}.default.weight"].copy_(value)
    return ours, theirs, bare


class Kept:
    """A tensor in the graph's keeping: it lives as long as the graph wants it."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def kept_bytes(model: nn.Module, ids: Tensor, autocast: bool) -> int:
    """Bytes of activations that the graph holds between the forward and the backward pass."""
    held: weakref.WeakSet[Kept] = weakref.WeakSet()

    def keep(value: Tensor) -> Kept:
        kept = Kept(value)
        held.add(kept)
        return kept

    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.value),
    ):
        out = model(input_ids=ids).last_hidden_state
    assert out.requires_grad
    storages = {kept.value.untyped_storage().data_ptr(): kept.value.untyped_storage().nbytes() for kept in held}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for pointer, size in storages.items() if pointer not in own)


def run(case: tuple[str, str, str, bool], steps: int, rows: int, length: int) -> list[dict[str, Any]]:
    """One case: seconds of each one's fastest step (what else the machine does only adds to it), and bytes kept."""
    shape, kind, dtype, autocast = case
    ids = torch.randint(2, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
    three = models(shape, kind, dtype)
    kept = [kept_bytes(model, ids, autocast) / 2**20 for model in three[:2]]
    run_three = [stepper(model, ids, autocast) for model in three]
    for step in run_three:
        step()
    seconds: list[list[float]] = [[step() for step in run_three] for _ in range(steps)]
    ours, theirs, bare = (min(column) for column in zip(*seconds, strict=True))
    name = f"{shape}, {kind}, {dtype} base{', bf16 autocast' if autocast else ''}, {rows}x{length} tokens"
    shared = {"case": name, "peer_name": f"peft {peft.__version__}", "goal": 1.0}
    return [
        shared
        | {
            "ours": round(ours, 4),
            "peer": round(theirs, 4),
            "unit": "seconds per step",
            "ratio": round(theirs / ours, 2),
            "without_adapter": round(bare, 4),
        },
        shared
        | {
            "ours": round(kept[0], 1),
            "peer": round(kept[1], 1),
            "unit": "MiB kept for the backward pass",
            "ratio": round(kept[1] / kept[0], 2),
        },
    ]


def machine() -> str:
    """The processor and the threads that ran."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    """Run every case, print the table, and keep the result of a full run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few short steps, within a minute; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    steps, rows, length = (3, 4, 64) if arguments.quick else (10, 4, 128)
    results = [result for case in CASES for result in run(case, steps, rows, length)]
    report = {
        "benchmark": "lora_modules",
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{package.__name__: package.__version__ for package in (torch, transformers, peft)},
        },
        "results": results,
    }
    text = json.dumps(report, indent=2)
    if not arguments.quick:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(text + "\n", encoding="utf-8")
    if arguments.json:
        print(text)
        return
    print(f"{'case':<60}{'unit':<32}{'ours':>8}{'peft':>8}{'ratio':>7}{'no adapter':>12}")
    for result in results:
        floor = f"{result['without_adapter']:.3f}" if "without_adapter" in result else ""
        print(
            f"{result['case']:<60}{result['unit']:<32}{result['ours']:>8.3f}{result['peer']:>8.3f}"
            f"{result['ratio']:>7.2f}{floor:>12}"
        )


if __name__ == "__main__":
    main()
