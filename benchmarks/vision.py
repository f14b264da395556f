"""Pictures beside transformers: head training on a frozen backbone, a detection step, and whether data keeps up.

    python benchmarks/vision.py [--quick] [--json] [--cases head/mobilenet-v2,head/resnet-50,detection-step,data]

``head/...``: 500 drawn pictures of 224 pixels, ten epochs of a new head on a frozen backbone, beside ``Trainer`` with
the same model, rows, batch and rate. Inside our clock: decoding, recording the activation cache, every step, scoring
held-out rows and the checkpoint. Outside the peer's: its pictures are decoded and normalised in advance, and lie in
memory. ``detection-step``: RT-DETR with an r18 backbone and random weights, forward, loss, backward and AdamW, beside
the same with transformers' own labelled forward pass, as its example trains. ``data``: the share of a training epoch of
MobileNetV2 (all layers, augmented) that waits for pictures.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import Case, against, command, in_turn, seconds_of, within

VERSIONS = ("torch", "transformers", "accelerate", "numpy", "Pillow")
BATCH, RATE, EPOCHS, CLASSES, HELD_OUT = 32, 1e-3, 10, 10, 20


def draw(folder: Path, count: int, side: int, seed: int = 0) -> None:
    """Class folders of JPEGs: blurred noise with a disc whose colour is the class."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFilter

    rng = np.random.default_rng([seed, 7])
    for index in range(count):
        label = index % CLASSES
        noise = rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((side * 5 // 4, side)).filter(ImageFilter.GaussianBlur(2))
        x, y = (int(v) for v in rng.integers(0, side // 2, 2))
        colour = tuple(int(v) for v in np.random.default_rng(label).integers(0, 255, 3))
        ImageDraw.Draw(picture).ellipse((x, y, x + side // 3, y + side // 3), fill=colour)
        place = folder / f"class-{label}"
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{index:04d}.jpg", quality=90)


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, which is the cache folder, too, while the context lasts."""
    import os

    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    before = os.environ.get("TUNESMITH_CACHE")
    try:
        yield folder
    finally:
        if before is None:
            os.environ.pop("TUNESMITH_CACHE", None)
        else:
            os.environ["TUNESMITH_CACHE"] = before
        shutil.rmtree(folder)


def weights(name: str, folder: Path, quick: bool) -> str:
    """A model's name or folder: the starter, or a ResNet-50 shape with random weights."""
    if name == "mobilenet-v2":
        return "starter:mobilenet-v2"
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    place = folder / "resnet"
    if not place.exists():
        torch.manual_seed(0)
        small = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128], "embedding_size": 16} if quick else {}
        ResNetForImageClassification(ResNetConfig(**small)).save_pretrained(place)
    return str(place)


def loop_for(folder: Path, model: str, train: Any, epochs: int, **more: Any) -> Any:
    """Our loop on the drawn pictures, ready to run."""
    from tunesmith.journey import loop_of
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest

    shutil.rmtree(folder / "runs", ignore_errors=True)
    recipe = {
        "task": "image-classification",
        "model": model,
        "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "validation": 0.0},
        "stages": [{"train": train, "epochs": epochs, "lr": RATE}],
        "batch": {"rows": BATCH},
        "engine": {"device": "cpu", "precision": "fp32", **more.pop("engine", {})},
        "options": {"size": 224, **more},
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    ready = prepare(read_recipe(file))
    ready.raise_errors()
    run = Run.open(folder / "runs" / "ours", create=True)
    return loop_of(ready, make_plan(ready), StopRequest(), checkpoints=run.checkpoints, emit=run.append_event)


def head(name: str, goal: float) -> Case:
    """Ten epochs of a head."""

    def case(quick: bool) -> list[dict[str, Any]]:
        import os

        from tunesmith.machine import package_versions

        count, side, epochs = (40, 96, 3) if quick else (500, 256, EPOCHS)
        with scratch() as folder:
            draw(folder / "train", count, side)
            draw(folder / "eval", HELD_OUT, side, seed=1)
            model = weights(name, folder, quick)
            last: list[Any] = []

            def ours() -> float:
                os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
                shutil.rmtree(folder / "cache" / "activations", ignore_errors=True)
                from tunesmith.model.starter import locate

                if model.startswith("starter:"):
                    locate(model)  # converted once, outside the clock
                loop = loop_for(folder, model, "head", epochs)
                last[:] = [loop]
                gc.collect()
                return seconds_of(loop.fit)

            ours()
            mine, theirs = in_turn(1, ours, lambda: trainer(folder, last[0], epochs))
            decision = last[0].decisions[0].reason
        size = {"pictures": count, "epochs": epochs, "batch": BATCH, "cache": decision}
        peer = f"transformers Trainer {package_versions(['transformers'])['transformers']}"
        return [against(f"head/{name}", mine, theirs, peer_name=peer, goal=goal, size=size)]

    return case


def trainer(folder: Path, loop: Any, epochs: int) -> float:
    """``Trainer`` with the same frozen backbone, its pictures decoded and normalised in advance."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments, logging

    logging.set_verbosity_error()
    job = loop.job
    learning = {n for n, parameter in job.model.named_parameters() if parameter.requires_grad}
    # As a user has it: ours lays convolutions out channels last.
    model = job.task.load().to(memory_format=torch.contiguous_format)
    for n, parameter in model.named_parameters():
        parameter.requires_grad_(n in learning)
    train = job.sets["train"]
    rows = []
    for i in range(len(train)):
        example = train.example(i)
        pixels = job.task.preprocessing.numbers(example["pixels"][None])[0]
        rows.append({"pixel_values": pixels, "labels": int(example["label"])})

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pixel_values": torch.stack([one["pixel_values"] for one in batch]),
            "labels": torch.tensor([one["labels"] for one in batch]),
        }

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), num_train_epochs=epochs, per_device_train_batch_size=BATCH,
        learning_rate=RATE, use_cpu=True, eval_strategy="no", save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, seed=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        made.remove_callback(PrinterCallback)
        gc.collect()
        return seconds_of(made.train)


def detection_step(quick: bool) -> list[dict[str, Any]]:
    """Steps of RT-DETR: ours, and transformers' labelled forward pass."""
    import torch
    from transformers import RTDetrConfig, RTDetrForObjectDetection

    from tunesmith.model.detectors import detection_counts, detection_sums, detector_outputs
    from tunesmith.model.frozen_norm import sound_norms

    side, rows, rounds = (96, 2, 2) if quick else (320, 4, 7)
    backbone = {
        "model_type": "rt_detr_resnet", "layer_type": "basic", "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512], "embedding_size": 64, "out_features": ["stage2", "stage3", "stage4"],
    }  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[128, 256, 512], num_labels=4, decoder_layers=3,
        anchor_image_size=None, num_queries=30 if quick else 300,
    )  # fmt: skip
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(1)
    pixels = torch.rand(rows, 3, side, side, generator=draws)
    corners = torch.rand(rows, 5, 2, generator=draws) * side / 2
    sizes = torch.rand(rows, 5, 2, generator=draws) * side / 3 + 8
    labels = torch.randint(0, 4, (rows, 5), generator=draws)
    boxes = torch.cat([corners, corners + sizes], -1)
    targets = [{"boxes": b, "labels": x} for b, x in zip(boxes, labels, strict=True)]
    own = [
        {"class_labels": x, "boxes": torch.cat([(c + s / 2) / side, s / side], -1)}
        for x, c, s in zip(labels, corners, sizes, strict=True)
    ]

    def side_of(step: Any, prepare: Any = lambda model: model) -> Any:
        torch.manual_seed(0)
        model = prepare(RTDetrForObjectDetection(config)).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def work() -> None:
            optimizer.zero_grad()
            step(model).backward()
            optimizer.step()

        return lambda: seconds_of(work)

    def ours(model: Any) -> Any:
        outputs = detector_outputs(model, pixels, targets=targets, seeds=list(range(rows)))
        counts = detection_counts(config, targets)
        sums = detection_sums(model, outputs, targets)
        return torch.stack([value / counts[name.rsplit("/", 1)[-1]] for name, value in sums.items()]).sum()

    def as_loaded(model: Any) -> Any:
        return sound_norms(model).to(memory_format=torch.channels_last)

    sides = side_of(ours, as_loaded), side_of(lambda model: model(pixel_values=pixels, labels=own).loss)
    in_turn(1, *sides)
    mine, theirs = in_turn(rounds, *sides)
    size = {"pictures": rows, "pixels": side, "objects": 5}
    return [against("detection-step", mine, theirs, peer_name="transformers, labelled forward", goal=1.0, size=size)]


def data(quick: bool) -> list[dict[str, Any]]:
    """The share of an epoch that waits for decoded and augmented pictures."""
    import os

    count, side = (32, 96) if quick else (256, 256)
    with scratch() as folder:
        draw(folder / "train", count, side * 2)
        draw(folder / "eval", HELD_OUT, side, seed=1)
        os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
        loop = loop_for(folder, "starter:mobilenet-v2", "all", 1, augment="outdoor", engine={"workers": 2})
        loader = loop.job.sets["train"]
        real, waited = loader.ahead, [0.0]

        def timed(plan: Any, address: Any = None) -> Iterator[Any]:
            batches = real(plan, address)
            while True:
                began = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                waited[0] += time.perf_counter() - began
                yield batch

        loader.ahead = timed
        total = seconds_of(loop.fit)
    share = waited[0] / total
    return [within("data", [share], unit="share", goal=0.1, size={"pictures": count, "pixels": 224, "workers": 2})]


CASES: dict[str, Case] = {
    "head/mobilenet-v2": head("mobilenet-v2", 8.0),
    "head/resnet-50": head("resnet-50", 8.0),
    "detection-step": detection_step,
    "data": data,
}

if __name__ == "__main__":
    command("vision", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
