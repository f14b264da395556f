"""Speech beside transformers: the decoder of Whisper on a frozen encoder, and log-mel features.

    python benchmarks/speech.py [--quick] [--json] [--cases decoder/whisper-base,decoder/cache,features]

``decoder/whisper-base``: 40 drawn clips of a few seconds, five epochs of the decoder on a frozen encoder, beside
``Seq2SeqTrainer`` with the same weights, rows, batch and rate, in fp32. Inside our clock: reading, features, recording
the activation cache, every step, scoring held-out rows and the checkpoint. Outside the peer's: its features are made in
advance and lie in memory. ``decoder/cache``: the same beside our own run without the cache, and how far their losses
are apart. ``features``: log-mel spectrograms of those clips, and of whole windows of 30 seconds, beside
``WhisperFeatureExtractor``.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, against, command, in_turn, seconds_of, within
from benchmarks.vision import scratch
from tests.fixtures import sounds

VERSIONS = ("torch", "transformers", "accelerate", "numpy", "soundfile", "soxr")
CLIPS, HELD_OUT, EPOCHS, BATCH, RATE = 40, 4, 5, 8, 1e-5


def loop_for(folder: Path, epochs: int, cache: str) -> Any:
    """Our loop on the drawn clips, ready to run."""
    from tunesmith.journey import loop_of
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest

    shutil.rmtree(folder / "runs", ignore_errors=True)
    codes = ("few-rows", "near-audio-leak", "noisy", "narrow-band", "speaking-rate")
    recipe = {
        "task": "speech-to-text",
        "model": "starter:whisper-base",
        "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0.0},
        "stages": [{"train": {"top": 6}, "epochs": epochs, "lr": RATE}],
        "batch": {"rows": BATCH},
        "engine": {"device": "cpu", "precision": "fp32"},
        "cache": {"use": cache},
        "options": {"language": "en"},
        "audit": {"accept": dict.fromkeys(codes, "drawn")},
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    ready = prepare(read_recipe(file))
    ready.raise_errors()
    run = Run.open(folder / "runs" / "ours", create=True)
    return loop_of(ready, make_plan(ready), StopRequest(), checkpoints=run.checkpoints, emit=run.append_event), run


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


CASES: dict[str, Case] = {"decoder/whisper-base": decoder, "decoder/cache": cached, "features": features}

if __name__ == "__main__":
    command("speech", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
