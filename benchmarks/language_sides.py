"""One side of the language benchmark in a process of its own: LoRA on the same rows, then one line of JSON.

    python benchmarks/language_sides.py SIDE --rows rows.jsonl --model FOLDER --epochs N [--top N] [--cache on|off]

Sides: ours, trl-default, trl-packing, hf-bf16. Inside the clock: training alone (with ours also the rehearsal, what is
recorded for the cache, scoring the held-out rows and the checkpoint at the end). Outside: imports, reading, tokenizing,
loading. Peak memory is the process's own, above what it held once everything was imported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

RANK, BATCH, RATE = 16, 8, 2e-4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def peak_bytes() -> int:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def now_bytes() -> int:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def ours(given: argparse.Namespace) -> dict[str, Any]:
    """Our loop, from the recipe a person would write."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    import tunesmith.model.decoder
    import tunesmith.train.engine  # noqa: F401
    from tunesmith.data.source import read_rows
    from tunesmith.journey import loop_of
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe
    from tunesmith.run import Run
    from tunesmith.tasks.causal_lm import CausalLM, LanguageOptions
    from tunesmith.train.signals import StopRequest

    base = now_bytes()
    with tempfile.TemporaryDirectory() as place:
        os.environ["TUNESMITH_CACHE"] = str(Path(place) / "cache")
        stage = {"train": "adapter", "epochs": given.epochs, "lr": RATE, "schedule": "linear", "warmup": 0}
        recipe = {
            "task": "causal-lm",
            "model": given.model,
            "data": {"train": "rows", "validation": 0.0},
            "stages": [stage],
            "adapter": {"kind": "lora", "r": RANK} | ({"top": given.top} if given.top else {}),
            "batch": {"rows": BATCH},
            "optimizer": {"weight_decay": 0.0},
            "engine": {"device": "cpu"},
            "cache": {"use": given.cache} | ({"dtype": "bf16"} if given.cache == "on" else {}),
            "options": {"metric": "perplexity", "forgetting": None},
            "audit": {"accept": {"few-rows": "a benchmark", "leak": "a benchmark", "duplicate-rows": "a benchmark"}},
            "run": {"folder": str(Path(place) / "runs"), "name": "ours"},
        }
        file = Path(place) / "recipe.yaml"
        file.write_text(json.dumps(recipe), encoding="utf-8")
        rows = list(read_rows(given.rows, shape=CausalLM.row_shape(LanguageOptions())))
        ready = prepare(read_recipe(file), rows=rows, held_out=rows[:BATCH])
        ready.raise_errors()
        run = Run.open(Path(place) / "runs" / "ours", create=True)
        losses: list[float] = []
        counts: list[float] = []

        def emit(event: dict[str, Any]) -> None:
            run.append_event(event)
            if event["kind"] == "step":
                losses.append(event["loss"])
                counts.append(event["counts"]["tokens"])

        loop = loop_of(ready, make_plan(ready), StopRequest(), checkpoints=run.checkpoints, emit=emit)
        assert len(loop.job.sets["train"].lengths) == len(rows)
        tokens = sum(loop.job.sets["train"].lengths) * given.epochs
        began = time.perf_counter()
        loop.fit()
        seconds = time.perf_counter() - began
        decision = loop.decisions[0]
        run.close()
    return {
        "seconds": seconds, "tokens": tokens, "trained": sum(counts), "losses": losses, "base_bytes": base,
        "cache": decision.to_json(),
    }  # fmt: skip


def _peer_rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in Path(given.rows).read_text(encoding="utf-8").splitlines()]
    return [{"prompt": r["messages"][:-1], "completion": r["messages"][-1:]} for r in rows]


def _tokens(given: argparse.Namespace) -> tuple[int, int]:
    """All tokens of the rows, and those of their answers, as a server's template makes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    every = trained = 0
    for row in _peer_rows(given):
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        every, trained = every + len(whole), trained + len(whole) - len(asked)
    return every * given.epochs, trained * given.epochs


def trl(given: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    """TRL's SFTTrainer as its documentation shows it; ``use_cpu`` is the one thing it can't do without here."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    base = now_bytes()
    with tempfile.TemporaryDirectory() as place:
        arguments = SFTConfig(
            output_dir=place,
            per_device_train_batch_size=BATCH,
            num_train_epochs=given.epochs,
            learning_rate=RATE,
            max_length=512,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **settings,
        )
        trainer = SFTTrainer(
            model=given.model,
            args=arguments,
            train_dataset=Dataset.from_list(_peer_rows(given)),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=LINEAR, task_type="CAUSAL_LM"),
        )
        return _trained(trainer, base, given)


def hugging_face(given: argparse.Namespace) -> dict[str, Any]:
    """Trainer with peft and bf16 autocast, rows tokenized in advance, padded by batch: the peers' best setting."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    base = now_bytes()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    examples = []
    for row in _peer_rows(given):
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
        examples.append({"input_ids": whole, "labels": [-100] * len(asked) + whole[len(asked) :]})

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(e["input_ids"]) for e in batch)
        pad = [longest - len(e["input_ids"]) for e in batch]
        return {
            "input_ids": torch.tensor([e["input_ids"] + [0] * n for e, n in zip(batch, pad, strict=True)]),
            "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in pad]),
            "labels": torch.tensor([e["labels"] + [-100] * n for e, n in zip(batch, pad, strict=True)]),
        }

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32),
        LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=LINEAR, task_type="CAUSAL_LM"),
    )
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(
            output_dir=place,
            per_device_train_batch_size=BATCH,
            num_train_epochs=given.epochs,
            learning_rate=RATE,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, data_collator=collate)
        return _trained(trainer, base, given)


def _trained(trainer: Any, base: int, given: argparse.Namespace) -> dict[str, Any]:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    every, trained = _tokens(given)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": seconds, "tokens": every, "trained": trained, "losses": losses, "base_bytes": base}


SIDES: dict[str, Any] = {
    "ours": ours,
    "trl-default": trl,
    "trl-packing": lambda given: trl(given, packing=True),
    "hf-bf16": hugging_face,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--cache", default="off")
    chosen = parser.parse_args()
    with warnings.catch_warnings():
        # A peer's warnings are its own affair, and would stand in the way of the one line that is read.
        warnings.simplefilter("ignore")
        found = SIDES[chosen.side](chosen)
    sys.stdout.write(json.dumps(found | {"peak_bytes": peak_bytes() - found["base_bytes"]}) + "\n")
