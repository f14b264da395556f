"""Speech beside transformers: the decoder of Whisper on a frozen encoder, log-mel features, and memory on a GPU.

    python benchmarks/speech.py [--quick] [--json] [--cases decoder/whisper-base,decoder/cache,features,...]

``decoder/whisper-base``: 40 drawn clips of a few seconds, five epochs of the decoder on a frozen encoder, beside
``Seq2SeqTrainer`` with the same weights, rows, batch and rate, in fp32. Inside our clock: reading, features, recording
the activation cache, every step, scoring held-out rows and the checkpoint. Outside the peer's: its features are made in
advance and lie in memory. ``decoder/cache``: the same beside our own run without the cache, and how far their losses
are apart. ``features``: log-mel spectrograms of those clips, and of whole windows of 30 seconds, beside
``WhisperFeatureExtractor``. ``memory/...``: the most that tensors hold while an adapter on every linear layer of a
Whisper-medium or -large-v3 with random weights learns from batches of eight clips of 30 seconds, on a GPU in bf16: the
rehearsal, forward and backward passes and AdamW, not the transcripts that are written when the run ends.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, absent, against, command, in_turn, seconds_of, within
from benchmarks.image_generation_sides import peak_bytes, settle
from benchmarks.vision import scratch
from tests.fixtures import small_whisper, sounds

VERSIONS = ("torch", "transformers", "accelerate", "numpy", "soundfile", "soxr")
CLIPS, HELD_OUT, EPOCHS, BATCH, RATE = 40, 4, 5, 8, 1e-5
CODES = ("few-rows", "near-audio-leak", "noisy", "narrow-band", "speaking-rate")
"""What the audit finds in drawn sound."""
RECOMPUTED = True
"""Whether an adapter's run computes blocks again going back: what is kept of 48 or 64 is many times the goal else."""


@dataclass(frozen=True)
class Shape:
    """A Whisper's size.

    Args:
        width, heads, layers: Of its encoder and of its decoder; what is between its layers is four times as wide.
        mels: Bands that it hears.
        words: Of its tokenizer.
        seconds: That it hears at once, and that its clips are long.
    """

    width: int
    heads: int
    layers: int
    mels: int = 80
    words: int = 51865
    seconds: int = 30

    @property
    def config(self) -> dict[str, Any]:
        """Its settings in transformers' names."""
        sides = ("encoder", "decoder")
        return {
            "d_model": self.width, "num_mel_bins": self.mels, "vocab_size": self.words, "init_std": 0.02,
            "max_source_positions": 50 * self.seconds, "max_target_positions": 448,
            **{f"{side}_layers": self.layers for side in sides},
            **{f"{side}_attention_heads": self.heads for side in sides},
            **{f"{side}_ffn_dim": 4 * self.width for side in sides},
        }  # fmt: skip


MEDIUM = Shape(width=1024, heads=16, layers=24)
LARGE = Shape(width=1280, heads=20, layers=32, mels=128, words=51866)
"""The third version of it."""


def loop_from(recipe: Mapping[str, Any], folder: Path, see: Callable[[dict[str, Any]], None]) -> tuple[Any, Any, Any]:
    """Our loop for a recipe, ready to run; its run, and its plan. ``see`` gets every event once it is on disk."""
    from tunesmith.journey import loop_of
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest

    shutil.rmtree(folder / "runs", ignore_errors=True)
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    ready = prepare(read_recipe(file))
    ready.raise_errors()
    plan, run = make_plan(ready), Run.open(folder / "runs" / "ours", create=True)

    def emit(event: dict[str, Any]) -> None:
        run.append_event(event)
        see(event)

    return loop_of(ready, plan, StopRequest(), checkpoints=run.checkpoints, emit=emit), run, plan


def loop_for(folder: Path, epochs: int, cache: str) -> tuple[Any, Any]:
    """Our loop on the drawn clips, ready to run, and its run."""
    recipe = {
        "task": "speech-to-text",
        "model": "starter:whisper-base",
        "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0.0},
        "stages": [{"train": {"top": 6}, "epochs": epochs, "lr": RATE}],
        "batch": {"rows": BATCH},
        "engine": {"device": "cpu", "precision": "fp32"},
        "cache": {"use": cache},
        "options": {"language": "en"},
        "audit": {"accept": dict.fromkeys(CODES, "drawn")},
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }
    loop, run, _ = loop_from(recipe, folder, lambda _event: None)
    return loop, run


def ours(folder: Path, epochs: int, last: list[Any], cache: str = "on") -> float:
    """Seconds of a run; the loop and the run are left in ``last``."""
    shutil.rmtree(folder / "cache" / "activations", ignore_errors=True)
    loop, run = loop_for(folder, epochs, cache)
    last[:] = [loop, run]
    gc.collect()
    return seconds_of(loop.fit)


def drawn(folder: Path, quick: bool) -> int:
    """The clips; how many epochs."""
    count, epochs = (8, 2) if quick else (CLIPS, EPOCHS)
    for side, number, seed in (("train", count, 0), ("eval", HELD_OUT, 1)):
        sounds.audio_folder(folder / side, number, name="metadata.jsonl", seed=seed)
    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
    from tunesmith.model.starter import locate

    locate("starter:whisper-base")
    return epochs


def decoder(quick: bool) -> list[dict[str, Any]]:
    """Five epochs of the decoder, beside the trainer of transformers."""
    from tunesmith.machine import package_versions

    with scratch() as folder:
        epochs = drawn(folder, quick)
        last: list[Any] = []
        ours(folder, epochs, last)
        mine, theirs = in_turn(1, lambda: ours(folder, epochs, last), lambda: trainer(folder, last[0], epochs))
        decision = last[0].decisions[0].reason
    size = {"clips": 8 if quick else CLIPS, "epochs": epochs, "batch": BATCH, "cache": decision}
    peer = f"transformers Seq2SeqTrainer {package_versions(['transformers'])['transformers']}"
    return [against("decoder/whisper-base", mine, theirs, peer_name=peer, goal=2.5, size=size)]


def cached(quick: bool) -> list[dict[str, Any]]:
    """The same with and without the cache, and how far the losses are apart."""
    with scratch() as folder:
        epochs = drawn(folder, quick)
        last: list[Any] = []
        losses: dict[str, list[float]] = {}

        def timed(cache: str) -> float:
            seconds = ours(folder, epochs, last, cache)
            losses[cache] = [e["loss"] for e in last[1].read_events()[0] if e["kind"] == "step"]
            return seconds

        mine, theirs = in_turn(1, lambda: timed("on"), lambda: timed("off"))
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses["on"], losses["off"], strict=True))
    size = {"epochs": epochs, "batch": BATCH}
    return [
        against("decoder/cache", mine, theirs, peer_name="the same without the cache", goal=None, size=size),
        within("decoder/loss-difference", [apart], unit="relative", goal=1e-4, size=size),
    ]


def trainer(folder: Path, loop: Any, epochs: int) -> float:
    """``Seq2SeqTrainer`` with a frozen encoder, its features made in advance."""
    import torch
    from transformers import (
        PrinterCallback,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        WhisperForConditionalGeneration,
        logging,
    )

    logging.set_verbosity_error()
    job = loop.job
    learning = {n for n, parameter in job.model.named_parameters() if parameter.requires_grad}
    model = WhisperForConditionalGeneration.from_pretrained(job.task.source.folder)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    train = job.sets["train"]
    rows = []
    for i in range(len(train)):
        example = train.example(i)
        features = job.task.listener.whole([(example["frames"], example["silence"])])[0]
        rows.append({"input_features": features, "tokens": example["tokens"], "labels": example["targets"]})

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_features": torch.stack([one["input_features"] for one in batch]),
            "decoder_input_ids": pad([one["tokens"] for one in batch], True, job.task.prompting.end),
            "labels": pad([one["labels"] for one in batch], True, -100),
        }

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder / "trainer"), num_train_epochs=epochs, per_device_train_batch_size=BATCH,
        learning_rate=RATE, use_cpu=True, eval_strategy="no", save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, seed=0, remove_unused_columns=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        made.remove_callback(PrinterCallback)
        gc.collect()
        return seconds_of(made.train)


def features(quick: bool) -> list[dict[str, Any]]:
    """Log-mel features of short clips, and of whole windows."""
    import numpy as np
    from transformers import WhisperFeatureExtractor

    from tunesmith.model.log_mel import LogMel

    theirs, listener = WhisperFeatureExtractor(), LogMel()
    found = []
    for name, seconds in (("features/clips", 3.0), ("features/windows", 30.0)):
        rng = np.random.default_rng(0)
        waves = [
            rng.standard_normal(round(seconds * 16_000)).astype(np.float32) * 0.1 for _ in range(4 if quick else 16)
        ]

        def mine(waves: list[Any] = waves) -> Any:
            return listener.whole([listener(wave) for wave in waves])

        def peer(waves: list[Any] = waves) -> Any:
            return theirs(waves, sampling_rate=16_000, return_tensors="pt").input_features

        apart = float((mine() - peer()).abs().max())
        assert apart < 1e-4, apart
        own, other = in_turn(3 if quick else 9, lambda: seconds_of(mine), lambda: seconds_of(peer))
        size = {"clips": len(waves), "seconds": seconds, "largest_difference": apart}
        found.append(against(name, own, other, peer_name="WhisperFeatureExtractor", goal=1.0, size=size))
    return found


def memory(name: str, shape: Shape, goal: float) -> Case:
    """Peak memory of an adapter's steps on a GPU."""

    def case(quick: bool) -> list[dict[str, Any]]:
        import torch

        if not torch.cuda.is_available():
            return [absent(name, peer_name="", reason="no GPU is at hand", goal=goal)]
        return [measured(name, shape, goal, steps=3 if quick else 10, device="cuda")]

    return case


def measured(name: str, shape: Shape, goal: float, *, steps: int, device: str) -> dict[str, Any]:
    """The row of a shape: its peak within the goal, and what it ran on; on a CPU no bytes are counted."""
    ends: list[float] = []
    peaks: list[int] = []

    def see(event: dict[str, Any]) -> None:
        if event["kind"] == "step":
            ends.append(time.perf_counter())
            peaks.append(peak_bytes(device))

    with scratch() as folder:
        os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
        write_whisper(shape, folder / "model")
        write_clips(folder, shape.seconds)
        loop, run, plan = loop_from(adapter_recipe(folder, steps, device), folder, see)
        settle(device)
        loop.fit()
        warnings_seen = [e["text"] for e in run.read_events()[0] if e["kind"] == "warning"]
    learns = [p for p in loop.job.model.parameters() if p.requires_grad]
    size = {
        "clips": BATCH, "seconds": shape.seconds, "steps": len(peaks), "rows_a_pass": loop.micro,
        "tokens": max(loop.job.sets["train"].lengths), "frozen_held_in": plan.held, "recomputed": RECOMPUTED,
        "parameters": sum(p.numel() for p in loop.job.model.parameters()), "learning": sum(p.numel() for p in learns),
        "predicted_gib": float(f"{plan.memory.allocated / 2**30:.4g}"), "traced": plan.memory.traced,
        "warnings": warnings_seen,
        "seconds_a_step": float(f"{(ends[-1] - ends[0]) / (len(ends) - 1):.4g}"),
    }  # fmt: skip
    return within(name, [max(peaks) / 2**30], unit="GiB", goal=goal, size=size)


def adapter_recipe(folder: Path, steps: int, device: str) -> dict[str, Any]:
    """LoRA as it comes, a batch in one pass."""
    return {
        "task": "speech-to-text",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0.0},
        "adapter": {"kind": "lora"},
        "stages": [{"train": "adapter", "steps": steps, "lr": 1e-4}],
        "batch": {"rows": BATCH, "micro": BATCH},
        "engine": {"device": device, "precision": "bf16", "gradient_checkpointing": RECOMPUTED},
        "options": {"language": "en", "max_new_tokens": 4},
        "audit": {"accept": dict.fromkeys(CODES, "drawn")},
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }


def write_whisper(shape: Shape, folder: Path) -> None:
    """A Whisper with random weights in bf16, with its tokenizer and how it hears."""
    import torch

    from tunesmith.model.log_mel import FILE, LogMel
    from tunesmith.model.pretrained import quiet

    tokenizer = small_whisper.tokenizer_of(shape.words)
    with quiet():
        small_whisper.model_of(tokenizer, **shape.config).to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / FILE).write_text(json.dumps(dict(LogMel(shape.mels, float(shape.seconds)).to_json())), encoding="utf-8")


def write_clips(folder: Path, seconds: int) -> None:
    """A batch of clips to learn, as long as the model hears, and a short one that is held out."""
    import numpy as np

    draws = np.random.default_rng(0)
    for number in range(BATCH):
        words, left = list[str](), seconds - 0.2
        while left > 0:
            words.append(str(draws.choice(sounds.WORDS)))
            left -= sounds.LETTER_SECONDS * len(words[-1]) + sounds.GAP_SECONDS
        wave = sounds.speechlike(" ".join(words[:-1]), seed=number)
        # What lacks until the next word would end is silence.
        sounds.save(folder / "train" / f"clip-{number}.wav", np.pad(wave, (0, seconds * sounds.RATE - len(wave))))
        (folder / "train" / f"clip-{number}.txt").write_text(" ".join(words[:-1]), encoding="utf-8")
    sounds.texts_beside(folder / "eval", 1, seed=1)


CASES: dict[str, Case] = {
    "decoder/whisper-base": decoder,
    "decoder/cache": cached,
    "features": features,
    "memory/medium-lora": memory("memory/medium-lora", MEDIUM, 5.0),
    "memory/large-lora": memory("memory/large-lora", LARGE, 10.0),
}

if __name__ == "__main__":
    command("speech", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
