"""LoRA over weights in 4 bit (nf4), beside peft over bitsandbytes' own layer, and beside the same weights in bf16.

    python benchmarks/four_bit.py [--quick] [--json]

SmolLM2-135M with an adapter of rank 16 on every linear layer of its blocks. A step is forward, backward and AdamW on
the adapter; the head of the vocabulary is left out, which is the same for all. The figures: what 4 bit costs in time,
what it saves in memory, and what it does to perplexity.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, against, command, in_turn, seconds_of

ROOT = Path(__file__).resolve().parent.parent
RANK = 16
STARTER = "starter:smollm2-135m"


def base(kind: str) -> Any:
    """The whole model: ``bf16``, ``nf4`` (ours) or ``bitsandbytes`` (transformers')."""
    import torch
    from transformers import AutoModelForCausalLM

    from tunesmith.model.pretrained import load_config, load_model
    from tunesmith.model.quantized import load_quantized, quantization
    from tunesmith.model.weights import resolve
    from tunesmith.recipe.sections import ModelSection

    source = resolve(ModelSection(name=STARTER))
    config = load_config(source)
    config.use_cache = False
    if kind == "nf4":
        return load_quantized(AutoModelForCausalLM, source, config)[0]
    settings = {"quantization_config": quantization(torch.bfloat16)} if kind == "bitsandbytes" else {}
    model, _ = load_model(AutoModelForCausalLM, source, config, held="bf16", **settings)
    return model.requires_grad_(False)


def adapted(kind: str) -> Any:
    """The blocks of the model with an adapter: ours, or peft's over bitsandbytes' layers."""
    from tunesmith.model import adapters
    from tunesmith.recipe.sections import AdapterSection

    blocks = base(kind).model
    if kind == "bitsandbytes":
        import peft

        config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
        return peft.get_peft_model(blocks, config, autocast_adapter_dtype=True)
    adapters.attach(blocks, list(blocks.layers), AdapterSection(r=RANK), seed=0)
    return blocks


def _ids(rows: int, length: int) -> Any:
    import torch

    return torch.randint(17, 49152, (rows, length), generator=torch.Generator().manual_seed(1))


def stepper(model: Any, ids: Any) -> Callable[[], float]:
    """A step of this model, giving its seconds."""
    import torch

    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-4, fused=True)
    model.train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            out = model(input_ids=ids).last_hidden_state
        out.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return lambda: seconds_of(step)


def kept_mib(model: Any, ids: Any) -> float:
    """MiB that the graph keeps between the forward and the backward pass."""
    import torch

    from tunesmith.model.memory import saved_bytes

    def run() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model(input_ids=ids).last_hidden_state

    return saved_bytes(model.train(), run) / 2**20


def beside(kind: str, peer_name: str, quick: bool) -> list[dict[str, Any]]:
    """Seconds of a step, and MiB kept for its backward pass."""
    ids = _ids(2, 32) if quick else _ids(4, 128)
    mine, theirs = adapted("nf4"), adapted(kind)
    sides = stepper(mine, ids), stepper(theirs, ids)
    in_turn(1, *sides)
    seconds = in_turn(2 if quick else 7, *sides)
    size = {"size": {"rows": len(ids), "tokens": ids.shape[1], "rank": RANK}}
    return [
        against(f"step beside {kind}", *seconds, peer_name=peer_name, goal=None, **size),
        against(
            f"kept beside {kind}",
            [kept_mib(mine, ids)],
            [kept_mib(theirs, ids)],
            peer_name=peer_name,
            goal=None,
            unit="MiB",
            **size,
        ),
    ]


def beside_bitsandbytes(quick: bool) -> list[dict[str, Any]]:
    """Ours in 4 bit beside peft over bitsandbytes' Linear4bit."""
    from importlib.metadata import version

    return beside("bitsandbytes", f"peft {version('peft')}, bitsandbytes {version('bitsandbytes')}", quick)


def beside_bf16(quick: bool) -> list[dict[str, Any]]:
    """Ours in 4 bit beside ours in bf16."""
    return beside("bf16", "the same in bf16", quick)


def of_the_base(quick: bool) -> list[dict[str, Any]]:
    """MiB of the weights, perplexity on two texts of this project, and milliseconds of one written token."""
    import torch

    from tunesmith.model.pretrained import load_tokenizer
    from tunesmith.model.weights import resolve
    from tunesmith.recipe.sections import ModelSection

    tokenizer = load_tokenizer(resolve(ModelSection(name=STARTER)))
    texts = [(ROOT / name).read_text(encoding="utf-8")[: 500 if quick else 6000] for name in ("LICENSE", "README.md")]
    pair = [base(kind).eval() for kind in ("nf4", "bf16")]

    def mib(model: Any) -> float:
        return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())) / 2**20

    @torch.inference_mode()
    def perplexity(model: Any) -> float:
        ids = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
        nats = [float(model(input_ids=i, labels=i).loss) for i in ids]
        return float(torch.tensor(nats).mean().exp())

    def written(model: Any) -> float:
        count = 4 if quick else 32
        prompt = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
        settings = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "use_cache": True}
        return 1e3 * seconds_of(lambda: model.generate(prompt, attention_mask=prompt > 0, **settings)) / count

    tokens = in_turn(1 if quick else 5, *(lambda model=model: written(model) for model in pair))
    shared = {"peer_name": "the same in bf16", "goal": None}
    return [
        against("weights", *([mib(model)] for model in pair), unit="MiB", **shared),
        against("perplexity", *([perplexity(model)] for model in pair), unit="", **shared),
        against("a written token", *tokens, unit="ms", **shared),
    ]


CASES: dict[str, Case] = {"bitsandbytes": beside_bitsandbytes, "bf16": beside_bf16, "base": of_the_base}

if __name__ == "__main__":
    versions = ("torch", "transformers", "peft", "bitsandbytes")
    command("four_bit", (__doc__ or "").splitlines()[0], CASES, versions)
