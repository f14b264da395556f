"""Small models of the real architectures, drawn recordings for them, and runs of the engine on both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.fixtures import small_whisper, sounds
from tunesmith import fine_tune
from tunesmith.model.log_mel import LogMel
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe import ModelSection
from tunesmith.types import Row

SECONDS = 4
"""What the small Whispers hear at once."""
DRAWN = "near-audio-leak: drawn, noisy: drawn, narrow-band: drawn, speaking-rate: drawn, few-rows: a test"
"""What the audit finds in drawn sound, and a test accepts."""


@cache
def words() -> Any:
    """Whisper's tokenizer in its real size; nobody changes it."""
    return small_whisper.tokenizer_of()


def whisper(folder: Path, *, seconds: int = SECONDS, unbound: bool = False, **changes: Any) -> Path:
    """A random Whisper of two and two blocks, written with its processor.

    Args:
        folder: Where to.
        seconds: That it hears at once.
        unbound: Whether it may write all tokens; else single letters, spaces and times are suppressed.
        changes: Of its configuration.
    """
    settings: dict[str, Any] = {
        "max_source_positions": 50 * seconds, "max_target_positions": 64, "init_std": 0.02, "d_model": 32,
        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "decoder_layers": 2, "encoder_layers": 2,
    }  # fmt: skip
    model = small_whisper.model_of(words(), **settings | changes)
    if unbound:
        model.generation_config.suppress_tokens = None
    model.save_pretrained(folder)
    words().save_pretrained(folder)
    said = dict(LogMel(80, float(seconds)).to_json())
    (folder / "preprocessor_config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def listener(folder: Path, family: str = "wav2vec2", **more: Any) -> Path:
    """A random encoder of frames of 10 ms, three blocks, written without a processor."""
    from transformers import AutoConfig, AutoModel

    settings: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 4), "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    settings |= more
    settings["num_feat_extract_layers"] = len(settings["conv_dim"])
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(folder)
    return folder


def weights(folder: Path) -> Weights:
    """A folder of weights as a task takes it."""
    return resolve(ModelSection(name=str(folder)))


def rows_of(folder: Path, count: int = 20, *, voices: int = 3) -> list[Row]:
    """Clips of two words with a ``metadata.jsonl``."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = sounds.sentences(count, words=2)
    for i, text in enumerate(texts):
        sounds.spoken(folder / f"clip-{i:02d}.wav", text, seed=i % voices)
    lines = [{"file_name": f"clip-{i:02d}.wav", "text": text} for i, text in enumerate(texts)]
    sounds.write_rows(folder / "metadata.jsonl", lines)
    return lines


def recipe_of(
    folder: Path, task: str, model: Path | str, train: Path, held_out: Path | float = 0.2, *,
    options: str = "{language: en}", accept: str = DRAWN, rows: int = 8, more: Sequence[str] = (),
) -> Path:  # fmt: skip
    """A recipe on the CPU whose run is ``folder/runs/here``; ``more`` are lines of YAML."""
    place = folder / "recipe.yaml"
    lines = [
        f"task: {task}",
        f"model: {model}",
        f"data: {{train: {train}, eval: {held_out}, validation: 0}}",
        f"options: {options}",
        f"batch: {{rows: {rows}}}",
        "engine: {device: cpu, precision: fp32}",
        f"audit: {{accept: {{{accept}}}}}",
        f"run: {{folder: {folder / 'runs'}, name: here}}",
        *more,
    ]
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def tuned(task: str, folder: Path, model: Path, *settings: str, options: str = "{language: en}") -> Any:
    """A run on twenty drawn clips, a fifth of them held out."""
    rows_of(folder / "data")
    return fine_tune(recipe_of(folder, task, model, folder / "data", options=options), settings)


def broken(run: Any) -> list[str]:
    """Promises of the run that its receipts do not show."""
    found = run.read_json("receipts.json")
    return [r["promise"] for r in found if not r["holds"] and r["promise"] != "memory was predicted"]


def losses(run: Any) -> list[float]:
    """The loss of every step."""
    return [event["loss"] for event in run.read_events()[0] if event["kind"] == "step"]
