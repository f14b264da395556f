"""Image classification: the saved folder in other hands, parity of preprocessing, known labels, cache, resume."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fixtures import picture_runs, pictures
from tunesmith.errors import Interrupted
from tunesmith.journey import Hooks
from tunesmith.model.frozen_norm import moving_norms, statistics
from tunesmith.model.weights import resolve
from tunesmith.pictures.augment import Sample, fit
from tunesmith.pictures.augment.augmenter import FITS
from tunesmith.pictures.files import read_picture
from tunesmith.pictures.preprocess import FILE, Preprocessing, as_bytes
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.tasks.image_classification import ImageClassification, ImageOptions
from tunesmith.types import Facts

TASK = "image-classification"
LABELS = list(pictures.LABELS)
HEAD = "[{train: head, epochs: 3, lr: 1e-2}]"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return picture_runs.data_for(TASK, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_runs.classifier_folder(tmp_path_factory.mktemp("resnet"), "resnet")


def task_of(folder: Path, rows: list[dict[str, Any]], **options: Any) -> ImageClassification:
    task = ImageClassification(ImageOptions(**options), resolve(ModelSection(name=str(folder))))
    task.facts = task.survey(rows)
    return task


def rows_of(labels: list[str], count: int = 12) -> list[dict[str, Any]]:
    return [{"id": str(i), "image": f"{i}.png", "label": labels[i % len(labels)]} for i in range(count)]


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "convnext", "vit", "dinov2"])
def test_two_stages_and_the_folder_in_plain_transformers(tmp_path: Path, data: Any, family: str) -> None:
    """Pictures through transformers' own processor and model give what ``predict`` gives."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = picture_runs.classifier_folder(tmp_path / "model", family)
    stages = "[{train: head, epochs: 4, lr: 1e-2}, {train: {top: 1}, epochs: 2, lr: 3e-4}]"
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, stages=stages)
    assert picture_runs.broken_receipts(run) == []
    found = picture_runs.losses_of(run, 0)
    assert np.mean(found[-3:]) < np.mean(found[:3])
    assert len(picture_runs.losses_of(run, 1)) == 6
    theirs = AutoModelForImageClassification.from_pretrained(run.model).eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    places = sorted(data[1].rglob("*.png"))[::3]
    processor = AutoImageProcessor.from_pretrained(run.model)
    fed = processor([Image.open(place) for place in places], return_tensors="pt")["pixel_values"]
    task = load_task(run)
    ours = task.numbers(task.collate([task.encode({"id": str(p), "image": str(p)}) for p in places]))
    assert float((fed - ours).abs().mean()) < 0.01
    with torch.no_grad():
        assert torch.allclose(theirs(ours).logits, load_model(run, task).eval()(ours).logits, atol=1e-5)
        likely = theirs(pixel_values=fed).logits.softmax(-1)
    # Fifty layers of random weights make much of a difference of one grey level.
    allowed = 0.1 if family == "mobilenet_v2" else 0.02
    for row, one in zip(likely, predict(run, [str(place) for place in places]), strict=True):
        assert list(one["prediction"]["probabilities"].values()) == pytest.approx(row.tolist(), abs=allowed)


SIZES = [(64, 64), (48, 80), (200, 131), (90, 61), (301, 300), (700, 500)]
FILES: dict[str, dict[str, Any]] = {
    **picture_runs.PREPROCESSORS,
    "vit as older files have it": {"feature_extractor_type": "ViTFeatureExtractor", "size": 64},
    "convnext as older files have it": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 64,
                                        "crop_pct": 0.875},
    "convnext that stretches": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384},
                                "crop_pct": 1.0},
    "bit that stretches": {"image_processor_type": "BitImageProcessor", "do_center_crop": False},
    "values as they are": {"image_processor_type": "ViTImageProcessor", "do_normalize": False},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_pictures_are_fed_as_transformers_feeds_them(tmp_path: Path, name: str) -> None:
    """By the model's own file, and by the file that is written beside a tuned model."""
    from transformers import AutoImageProcessor

    kind = str(FILES[name].get("image_processor_type", FILES[name].get("feature_extractor_type")))
    kind = kind.replace("FeatureExtractor", "ImageProcessor")
    (tmp_path / FILE).write_text(json.dumps(picture_runs.COMMON | FILES[name]), encoding="utf-8")
    ours = Preprocessing.read(tmp_path, FITS["label"], 224)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / FILE).write_text(json.dumps(ours.to_json(kind)), encoding="utf-8")
    assert Preprocessing.read(tmp_path / "saved", FITS["label"], 224) == ours
    theirs = [AutoImageProcessor.from_pretrained(folder) for folder in (tmp_path, tmp_path / "saved")]
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        sample, _ = fit(
            Sample(np.array(picture)), ours.size, ours.fit, shorter=ours.shorter, resample=ours.filter
        )  # fmt: skip
        numbers = ours.numbers(as_bytes(sample.image)[None])
        for processor in theirs:
            fed = processor(picture, return_tensors="pt")["pixel_values"]
            assert fed.shape == numbers.shape
            assert float((fed - numbers).abs().mean()) < 0.02, (name, height, width)


@pytest.mark.parametrize("changes", [{"fit": "resize-crop"}, {"fit": "stretch"}, {"size": (64, 96), "fit": "stretch"}])
@pytest.mark.parametrize("family", ["vit", "convnext", "mobilenet_v2"])
def test_what_the_recipe_changes_reaches_the_saved_file(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    from transformers import AutoImageProcessor

    model = picture_runs.classifier_folder(tmp_path / "model", family)
    task = task_of(model, rows_of(LABELS), **changes)
    task.save_processor(tmp_path)
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    coarse.resize((131, 200), Image.Resampling.BICUBIC).save(tmp_path / "picture.png")
    ours = task.numbers(task.collate([task.encode({"id": "1", "image": str(tmp_path / "picture.png")})]))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    fed = processor(Image.open(tmp_path / "picture.png"), return_tensors="pt")["pixel_values"]
    assert fed.shape == ours.shape
    assert float((fed - ours).abs().mean()) < 0.02


# Labels


def test_a_backbone_without_a_classifier_of_its_own_gets_a_head(tmp_path: Path, data: Any) -> None:
    """DINOv3: the family has none in transformers. The backbone is saved as transformers saves it, the head beside."""
    from transformers import AutoModel

    model = picture_runs.segmenter_folder(tmp_path / "model", "dinov3_vit")
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, stages="[{train: head, epochs: 8, lr: 1e-2}]")
    assert picture_runs.broken_receipts(run) == []
    found = picture_runs.losses_of(run)
    assert np.mean(found[-3:]) < np.mean(found[:3])
    task = load_task(run)
    ours = load_model(run, task).eval()
    theirs = AutoModel.from_pretrained(run.model).eval()
    fed = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        pooled = theirs(pixel_values=fed).pooler_output
        assert torch.allclose(ours.backbone(pixel_values=fed).pooler_output, pooled, atol=1e-5)
        assert ours(fed).shape == (2, len(LABELS))


def test_a_classifier_of_the_same_labels_is_the_base(tmp_path: Path, data: Any) -> None:
    turned = LABELS[::-1]
    model = picture_runs.classifier_folder(tmp_path / "model", "vit", turned)
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, stages=HEAD)
    first = json.loads((run.folder / "base.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first["candidates"]) == {"majority class", "pretrained classifier"}
    task = load_task(run)
    assert task.class_names() == turned, "the head's order, not the alphabet's"


@pytest.mark.parametrize("labels", [["x", "y", "z"], ["x", "y"]])
def test_a_classifier_of_other_labels_gets_a_new_head(tmp_path: Path, labels: list[str]) -> None:
    model = picture_runs.classifier_folder(tmp_path, "resnet", labels)
    task = task_of(model, rows_of(LABELS))
    loaded = task.load()
    assert task.fresh == {"classifier.1.weight", "classifier.1.bias"}
    assert "pretrained classifier" not in task.bases(loaded, rows_of(LABELS))
    seen = task.fresh
    task.skeleton()
    assert task.fresh == seen


def test_source_ids_with_gaps_stay_in_the_facts(resnet: Path) -> None:
    ids = {"disc": 3, "square": 7, "triangle": 40}
    task = ImageClassification(ImageOptions(), resolve(ModelSection(name=str(resnet))))
    task.declared = tuple({"id": i, "name": name, "source_id": number} for i, (name, number) in enumerate(ids.items()))
    table = task.survey(rows_of(LABELS)).values["classes"]
    assert [(row["id"], row["name"], row["source_id"]) for row in table] == [
        (0, "disc", 3), (1, "square", 7), (2, "triangle", 40)
    ]  # fmt: skip


def test_balanced_weights_are_the_inverse_shares(resnet: Path, data: Any) -> None:
    rows = [{"id": str(p), "image": str(p), "label": p.parent.name} for p in sorted(data[0].rglob("*.png"))]
    rows = [row for i, row in enumerate(rows) if row["label"] != "disc" or i % 3 == 0]
    task = task_of(resnet, rows, class_weights="balanced")
    model = task.load().eval()
    batch = task.collate([task.encode(row) for row in rows])
    with torch.no_grad():
        mean = float(task.loss(model, batch)["examples"]) / task.count(batch)["examples"]
        logits = model(pixel_values=task.numbers(batch)).logits
    counts = np.bincount(batch["label"].numpy(), minlength=3)
    weights = torch.tensor(len(rows) / (3 * counts), dtype=torch.float32)
    assert mean == pytest.approx(float(torch.nn.functional.cross_entropy(logits, batch["label"], weights)), rel=1e-5)


# Cache, augmentation, resume


def test_recorded_views_keep_the_cache_on_and_say_so(tmp_path: Path, data: Any, resnet: Path) -> None:
    lines: list[str] = []
    losses = []
    for use in ("on", "off"):
        run = picture_runs.fine_tuned(
            tmp_path / use, TASK, resnet, data, f"cache.use={use}", stages=HEAD,
            options="{augment: {preset: outdoor, views: 2}}", hooks=Hooks(say=lines.append),
        )  # fmt: skip
        losses.append(picture_runs.losses_of(run))
        assert [event["use"] for event in picture_runs.events_of(run, "cache")] == [use == "on"]
    assert any("2 views of each picture are drawn once and recorded" in line for line in lines)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # Epochs 1 and 3 see the first view, epoch 2 the second.
    assert len(losses[0]) == 9


class _StopAt:
    """Asks a run to stop after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def see(self, event: dict[str, Any]) -> None:
        if event["kind"] == "step" and event["step"] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


@pytest.mark.heavy
@pytest.mark.parametrize("options", ["{}", "{augment: outdoor}"])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path, data: Any, resnet: Path, options: str) -> None:
    from safetensors.torch import load_file

    whole = picture_runs.fine_tuned(tmp_path / "whole", TASK, resnet, data, options=options)
    with pytest.raises(Interrupted):
        picture_runs.fine_tuned(tmp_path / "cut", TASK, resnet, data, options=options, hooks=Hooks(watcher=_StopAt(8)))
    cut = picture_runs.fine_tuned(tmp_path / "cut", TASK, resnet, data, options=options)
    assert picture_runs.events_of(cut, "resume")
    assert picture_runs.losses_of(cut) == picture_runs.losses_of(whole)
    ours, theirs = (load_file(run.model / "model.safetensors") for run in (whole, cut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# Batch norms


@pytest.mark.parametrize(("moves", "count"), [("still", 0), ("moving", 52)])
def test_batch_norms_of_mobilenet_move_slowly_if_at_all(tmp_path: Path, moves: str, count: int) -> None:
    """transformers holds 0.997 for them, with which one batch would replace nearly all statistics."""
    model = picture_runs.classifier_folder(tmp_path, "mobilenet_v2")
    task = task_of(model, rows_of(LABELS), batch_norm=moves)
    loaded = task.load()
    assert len(moving_norms(loaded)) == count
    momenta = {m.momentum for m in loaded.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert all(momentum is not None and momentum <= 0.1 for momentum in momenta)
    before = {name: value.clone() for name, value in statistics(loaded).items()}
    loaded.train()(torch.randn(2, 3, 64, 64))
    after = statistics(loaded)
    moved = [name for name in before if "running" in name and not torch.equal(before[name], after[name])]
    assert bool(moved) == (moves == "moving")
    said = any("statistics of batch norms follow the batches" in line for line in task.facts.lines)
    assert said == (moves == "moving")


def test_a_head_stage_leaves_moving_statistics_bit_for_bit(tmp_path: Path, data: Any, resnet: Path) -> None:
    from safetensors.torch import load_file

    options = "{batch_norm: moving}"
    run = picture_runs.fine_tuned(tmp_path / "head", TASK, resnet, data, options=options, stages=HEAD)
    before, after = (load_file(folder / "model.safetensors") for folder in (resnet, run.model))
    names = [name for name in before if "running" in name]
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)
    stages = "[{train: all, epochs: 1, lr: 1e-3}]"
    run = picture_runs.fine_tuned(tmp_path / "all", TASK, resnet, data, options=options, stages=stages)
    after = load_file(run.model / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in names), "or the above would say nothing"


def test_a_turned_photograph_is_fed_as_a_person_sees_it(tmp_path: Path, resnet: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    task = task_of(resnet, rows_of(LABELS))
    task.facts = Facts(task.facts.values, task.facts.lines)
    fed = [task.encode({"id": "1", "image": str(tmp_path / name)})["pixels"] for name in ("turned.png", "upright.png")]
    assert torch.equal(*fed)
    assert read_picture(tmp_path / "turned.png").shape == (90, 60, 3)
