"""The cells of the plan's grid: what is trained, how much of it, on how many rows of what length.

Shapes are real architectures with random weights, or starters; rows are of one length, so that a step is what the plan
calls the worst.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import image_generation_sides as diffusion
from benchmarks import speech, vision
from tests.fixtures import picture_runs, pictures, small_decoders

STEPS = 3
RUN = {"checkpoint_seconds": 3600.0}
LEARNS: dict[str, dict[str, Any]] = {
    "all": {"stages": [{"train": "all", "steps": STEPS, "lr": 1e-5}]},
    "head": {"stages": [{"train": "head", "steps": STEPS, "lr": 1e-5}]},
    "top2": {"stages": [{"train": {"top": 2}, "steps": STEPS, "lr": 1e-5}]},
    "lora": {"adapter": {"kind": "lora"}, "stages": [{"train": "adapter", "steps": STEPS, "lr": 1e-5}]},
}


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Args:
        task: A family of `BUILDERS`.
        learns: A key of `LEARNS`.
        rows: Of a step, all in one pass unless ``micro`` says otherwise.
        length: Tokens, pixels a side or seconds, as the task has it.
        more: Settings laid over the recipe.
    """

    task: str
    learns: str
    rows: int
    length: int
    recompute: bool = False
    micro: int | None = None
    precision: str = "fp32"
    ema: float | None = None

    @property
    def name(self) -> str:
        """``text/all/8x128``, with what is unusual about it behind."""
        marks = [
            mark
            for mark, there in (
                ("checkpointing", self.recompute),
                (f"micro {self.micro}", self.micro is not None),
                (self.precision, self.precision != "fp32"),
                ("ema", self.ema is not None),
            )
            if there
        ]
        return "/".join([self.task, self.learns, f"{self.rows}x{self.length}", *marks])

    def recipe(self, folder: Path) -> dict[str, Any]:
        """The recipe, with what it names made in a folder."""
        found = BUILDERS[self.task](self, folder)
        over = found.pop("over", {})
        return {
            **found,
            **LEARNS[self.learns],
            **over,
            "batch": {"rows": self.rows, "micro": self.micro or self.rows, "eval_rows": 2},
            "optimizer": {"ema": self.ema},
            "cache": {"use": "off"},
            "engine": {
                "device": "cpu", "precision": self.precision, "gradient_checkpointing": self.recompute,
            },
            "run": {"folder": str(folder / "runs"), "name": "cell", **RUN},
        }  # fmt: skip


def _words(length: int) -> str:
    return " ".join(["warm"] * length)


def _text(cell: Cell, folder: Path) -> dict[str, Any]:
    file = folder / "rows.jsonl"
    rows = [{"text": f"n{i} {_words(cell.length)}", "label": "ab"[i % 2]} for i in range(cell.rows * STEPS + 4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": "text-classification",
        "model": "starter:minilm-l6",
        "data": {"train": str(file), "eval": 4 / len(rows), "validation": 0.0},
        "options": {"max_length": cell.length},
    }


def _llama(cell: Cell, folder: Path) -> dict[str, Any]:
    model = folder / "model"
    small_decoders.write_decoder(
        model, "llama", hidden_size=256, intermediate_size=688, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, vocab_size=16384, max_position_embeddings=1024, longest=1024,
    )  # fmt: skip
    return _conversations(cell, folder, str(model))


def _smollm2(cell: Cell, folder: Path) -> dict[str, Any]:
    return _conversations(cell, folder, "starter:smollm2-135m")


def _conversations(cell: Cell, folder: Path, model: str) -> dict[str, Any]:
    file = folder / "rows.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for i in range(cell.rows * STEPS + 2):
            said = [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": _words(cell.length * 2)}]
            out.write(json.dumps({"messages": said}) + "\n")
    return {
        "task": "causal-lm",
        "model": model,
        "data": {"train": str(file), "eval": 2 / (cell.rows * STEPS + 2), "validation": 0.0},
        "options": {"max_length": cell.length, "metric": "perplexity", "forgetting": None},
    }


def _classes(model: str) -> Callable[[Cell, Path], dict[str, Any]]:
    def build(cell: Cell, folder: Path) -> dict[str, Any]:
        for name, count in (("train", max(vision.CLASSES, cell.rows * STEPS)), ("eval", vision.CLASSES)):
            vision.draw(folder / name, count, cell.length, seed=len(name))
        return {
            "task": "image-classification",
            "model": vision.weights(model, folder, False) if model != "vit" else _vit(folder, cell.length),
            "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0.0},
            "options": {"size": cell.length, "augment": {"preset": "none"}},
        }

    return build


def _vit(folder: Path, side: int) -> str:
    """A ViT-tiny, as DeiT has it."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    size = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "image_size": side,
    }
    ViTForImageClassification(ViTConfig(**size)).save_pretrained(folder / "model")
    return str(folder / "model")


def _boxes(cell: Cell, folder: Path) -> dict[str, Any]:
    side = cell.length
    made = [
        pictures.coco(folder / name, count=count, size=(side, side), seed=seed).parent
        for name, count, seed in (("train", cell.rows * STEPS, 0), ("eval", 4, 1))
    ]
    return {
        "task": "object-detection",
        "model": "starter:yolox-tiny",
        "data": {"train": str(made[0]), "eval": str(made[1]), "validation": 0.0},
        "options": {"size": side, "augment": {"preset": "none"}},
    }


def _masks(cell: Cell, folder: Path) -> dict[str, Any]:
    side = cell.length
    made = [
        pictures.mask_folder(folder / name, count=count, size=(side, side), seed=seed)
        for name, count, seed in (("train", cell.rows * STEPS, 0), ("eval", 4, 1))
    ]
    return {
        "task": "image-segmentation",
        "model": str(picture_runs.segmenter_folder(folder / "model", "segformer")),
        "data": {"train": str(made[0]), "eval": str(made[1]), "validation": 0.0},
        "options": {"size": side, "augment": {"preset": "none"}},
    }


def _whisper(cell: Cell, folder: Path) -> dict[str, Any]:
    """Whisper-tiny's width and layers, on windows of as many seconds as the clips are long."""
    shape = speech.Shape(width=384, heads=6, layers=4, seconds=cell.length)
    speech.write_whisper(shape, folder / "model")
    speech.write_clips(folder, cell.length)
    adapted = speech.adapter_recipe(folder, STEPS, "cpu")
    return {name: adapted[name] for name in ("task", "model", "data", "options", "audit")}


def _diffusion(cell: Cell, folder: Path) -> dict[str, Any]:
    learns = "lora" if cell.learns == "lora" else "all"
    work = diffusion.Work(diffusion.EIGHTH, cell.rows * STEPS, cell.rows, STEPS, learns, "cpu", cell.recompute)
    diffusion.written(work, folder)
    found = diffusion.recipe_of(work, folder)
    stages = [{**{k: v for k, v in found["stages"][0].items() if k != "epochs"}, "steps": STEPS}]
    over = {"stages": stages} | ({"adapter": found["adapter"]} if "adapter" in found else {})
    return {name: found[name] for name in ("task", "model", "data", "options")} | {"over": over}


BUILDERS: Mapping[str, Callable[[Cell, Path], dict[str, Any]]] = {
    "text": _text,
    "language": _llama,
    "smollm2": _smollm2,
    "mobilenet": _classes("mobilenet-v2"),
    "resnet": _classes("resnet-50"),
    "vit": _classes("vit"),
    "detection": _boxes,
    "segmentation": _masks,
    "speech": _whisper,
    "diffusion": _diffusion,
}

CELLS = [
    *(Cell("text", learns, rows, length)
      for learns in ("all", "top2", "head", "lora") for rows, length in ((8, 128), (32, 64))),
    Cell("text", "all", 32, 128), Cell("text", "all", 32, 128, recompute=True), Cell("text", "all", 32, 128, micro=8),
    Cell("text", "all", 8, 128, precision="bf16"), Cell("text", "all", 8, 64, ema=0.99),
    *(Cell("language", learns, rows, length)
      for learns in ("all", "lora") for rows, length in ((1, 512), (8, 128), (8, 512))),
    *(Cell("language", learns, 8, 512, recompute=True) for learns in ("all", "lora")),
    *(Cell("language", learns, 8, 512, precision="bf16") for learns in ("all", "lora")),
    Cell("language", "all", 8, 256, micro=2), Cell("language", "top2", 8, 256),
    Cell("smollm2", "lora", 4, 256), Cell("smollm2", "lora", 8, 128, precision="bf16"), Cell("smollm2", "all", 1, 256),
    *(Cell(kind, learns, rows, 160)
      for kind in ("mobilenet", "vit") for learns in ("all", "head") for rows in (8, 32)),
    Cell("resnet", "all", 8, 128), Cell("resnet", "head", 16, 128), Cell("vit", "lora", 16, 224),
    Cell("vit", "all", 16, 224, recompute=True),
    Cell("detection", "all", 4, 256), Cell("detection", "head", 8, 256),
    Cell("segmentation", "all", 8, 128),
    *(Cell("speech", learns, rows, 10) for learns in ("all", "lora") for rows in (2, 8)),
    Cell("speech", "all", 8, 10, recompute=True), Cell("speech", "top2", 8, 10),
    *(Cell("diffusion", learns, rows, 128) for learns in ("all", "lora") for rows in (1, 4)),
    Cell("diffusion", "all", 4, 128, recompute=True),
]  # fmt: skip
