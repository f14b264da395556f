"""The three picture tasks from a folder of pictures to a proven model, at a small size of real architectures."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import picture_runs
from tunesmith import check_task, fine_tune
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.model.weights import resolve
from tunesmith.model.yolox import Yolox, YoloxConfig
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.registry import find_task
from tunesmith.train.signals import StopRequest  # noqa: F401  loaded before threads start

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _fixture(name: str) -> Any:
    spec = spec_from_file_location(name, FIXTURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    import sys

    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


drawn, small = _fixture("pictures"), _fixture("small_vision")
LABELS = list(drawn.LABELS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def classifier(folder: Path, family: str) -> Path:
    small.lively(small.classifier_of(family), 1.0).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 64, "width": 64}}))
    return folder


def detector(folder: Path, family: str) -> Path:
    if family == "yolox":
        torch.manual_seed(0)
        model = small.lively(Yolox(YoloxConfig(2, 0.33, 0.125, False, (64, 64), ("a", "b"))), 1.0)
    else:
        model = small.detector_of(family)
    model.save_pretrained(folder)
    return folder


def segmenter(folder: Path, family: str) -> Path:
    model = classifier(folder, "resnet") if family == "backbone" else None
    if model is None:
        small.segmenter_of(family, 4).save_pretrained(folder)
    return folder


def data_of(task: str, folder: Path) -> Path:
    if task == "image-classification":
        return drawn.image_folder(folder / "data", per_class=10, size=64)
    if task == "object-detection":
        return drawn.coco(folder / "data", count=24, size=(64, 64), ids={LABELS[0]: 3, LABELS[1]: 7, LABELS[2]: 40})
    return drawn.mask_folder(folder / "data", count=24, size=(64, 64))


def tuned(task: str, folder: Path, model: Path, *settings: str) -> Any:
    data = data_of(task, folder)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: {task}\nmodel: {model}\ndata: {{train: {data}, eval: 0.25, validation: 0}}\noptions: {{size: 64}}\n"
        "batch: {rows: 6}\nengine: {device: cpu, precision: fp32}\n"
        "audit: {accept: {few-rows: a test, near-picture-leak: drawn, repeated-picture: drawn}}\n"
        f"run: {{folder: {folder / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    return fine_tune(recipe, settings)


def broken(run: Any) -> list[str]:
    found = run.read_json("receipts.json")
    return [r["promise"] for r in found if not r["holds"] and r["promise"] != "memory was predicted"]


def panels(run: Any) -> dict[str, dict[str, Any]]:
    """What the report shows, by title; and that a person could see before what the model was going to see."""
    assert (run.folder / "contact-sheet.jpg").stat().st_size > 5_000
    return {panel["title"]: panel for panel in json.loads(run.panels.read_text(encoding="utf-8"))}


def losses(run: Any) -> list[float]:
    return [event["loss"] for event in run.read_events()[0] if event["kind"] == "step"]


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "convnext", "vit", "dinov2"])
def test_every_classifier_learns_and_loads_in_transformers(tmp_path: Path, family: str) -> None:
    stages = "stages=[{train: head, epochs: 8, lr: 3e-3}, {train: {top: 1}, epochs: 2, lr: 1e-4}]"
    run = tuned("image-classification", tmp_path, classifier(tmp_path / "model", family), stages, "cache.use=on")
    assert broken(run) == []
    found = losses(run)
    assert np.mean(found[-4:]) < np.mean(found[:4])
    shown = panels(run)
    assert {"Pictures at random", "Confusion matrix"} <= shown.keys()
    assert {"base", "tuned"} <= shown["Confusion matrix"].keys()
    from transformers import AutoModelForImageClassification

    theirs = AutoModelForImageClassification.from_pretrained(run.model).eval()
    ours = load_model(run, load_task(run)).eval()
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(pixel_values=picture).logits, theirs(pixel_values=picture).logits, atol=1e-5)


@pytest.mark.parametrize("family", ["yolox", "yolos", "rt_detr", "rt_detr_v2", "d_fine"])
def test_every_detector_learns_and_keeps_the_ids_of_its_source(tmp_path: Path, family: str) -> None:
    stages = "stages=[{train: all, epochs: 12, lr: 1e-3}]"
    run = tuned("object-detection", tmp_path, detector(tmp_path / "model", family), stages)
    assert broken(run) == []
    task, rows = load_task(run), picture_runs.rows_for("object-detection", tmp_path / "rows", 24)
    torch.manual_seed(0)
    before = picture_runs.detection_loss(task, picture_runs.untuned(task, tmp_path / "model"), rows)
    assert picture_runs.detection_loss(task, load_model(run, task), rows) < 0.95 * before
    table = run.read_json("facts.json")["values"]["classes"]
    assert [(entry["name"], entry["source_id"]) for entry in table] == list(zip(LABELS, (3, 7, 40), strict=True))
    scores = run.read_json("scores.json")
    assert scores["metric"] == "ap"
    assert scores["interval"][0] <= scores["difference"] <= scores["interval"][1]
    assert "thresholds" in run.read_json("facts.json")["values"]
    shown = panels(run)
    assert {"Pictures at random", "Precision and recall", "By class", "Object sizes"} <= shown.keys()
    # Beside who is taken for whom: what was missed, and what was seen where nothing is.
    assert shown["Confusion matrix"]["missed"]
    assert all(set(item) >= {"pictures"} for item in shown["Pictures at random"]["items"])
    lines = (run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    for line in map(json.loads, lines):
        for box in line["tuned"]:
            x, y, width, height = box["box"]
            assert x >= 0
            assert y >= 0
            assert x + width <= 64.01
            assert y + height <= 64.01


@pytest.mark.parametrize("family", ["segformer", "mask2former", "upernet", "backbone"])
def test_every_segmenter_learns(tmp_path: Path, family: str) -> None:
    stages = "stages=[{train: all, epochs: 8, lr: 3e-3}]"
    run = tuned("image-segmentation", tmp_path, segmenter(tmp_path / "model", family), stages)
    assert broken(run) == []
    found = losses(run)
    assert np.mean(found[-3:]) < np.mean(found[:3])
    scores = run.read_json("scores.json")
    assert 0 <= scores["tuned"] <= 1
    assert {"miou", "dice", "boundary_iou"} <= set(scores["all"]["tuned"])
    assert {"Pictures at random", "Confusion matrix"} <= panels(run).keys()


def test_the_cache_below_a_head_gives_the_losses_of_none(tmp_path: Path) -> None:
    stages = "stages=[{train: head, epochs: 3, lr: 1e-2}]"
    runs = []
    for use in ("on", "off"):
        folder = tmp_path / use
        folder.mkdir()
        model = classifier(folder / "model", "resnet")
        runs.append(tuned("image-classification", folder, model, stages, f"cache.use={use}"))
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), abs=1e-5)


def test_recorded_views_keep_the_cache_on_and_differ(tmp_path: Path) -> None:
    stages = "stages=[{train: head, epochs: 4, lr: 1e-2}]"
    model = classifier(tmp_path / "model", "resnet")
    run = tuned("image-classification", tmp_path, model, stages, "options.augment={preset: outdoor, views: 2}")
    assert run.read_json("plan.json")["stages"][0]["cache"]["use"]
    assert broken(run) == []
    loader = load_task(run)
    assert loader.views == 2


def test_fresh_augmentation_turns_the_cache_off_and_repeats_with_its_seed(tmp_path: Path) -> None:
    stages = "stages=[{train: head, epochs: 2, lr: 1e-2}]"
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        model = classifier(folder / "model", "vit")
        run = tuned("image-classification", folder, model, stages, "options.augment=outdoor")
        assert not run.read_json("plan.json")["stages"][0]["cache"]["use"]
        found.append(losses(run))
    assert found[0] == found[1]


def test_statistics_of_frozen_batch_norms_stay_bit_for_bit(tmp_path: Path) -> None:
    model = classifier(tmp_path / "model", "resnet")
    run = tuned("image-classification", tmp_path, model, "stages=[{train: {top: 1}, epochs: 2, lr: 1e-2}]")
    from safetensors.torch import load_file

    before, after = load_file(model / "model.safetensors"), load_file(run.model / "model.safetensors")
    moved = [name for name in before if "running" in name and not torch.equal(before[name], after[name])]
    assert moved == []
    promise = next(r for r in run.read_json("receipts.json") if r["promise"] == "frozen weights are unchanged")
    assert promise["holds"]


def test_pictures_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    train = drawn.image_folder(tmp_path / "train", per_class=6, size=64)
    held_out = drawn.image_folder(tmp_path / "eval", per_class=3, size=64, seed=9)
    shape = find_task("image-classification").row_shape(find_task("image-classification").Options())
    rows = list(read_rows(str(held_out), shape=shape))
    task = find_task("image-classification")(
        find_task("image-classification").Options(size=64),
        resolve(ModelSection(name=str(classifier(tmp_path / "model", "vit")))),
    )
    task.folders = (train, held_out)
    assert all(task.place(row).is_relative_to(held_out) for row in rows)


WORLDS = [
    ("image-classification", "vit", {"class_weights": "balanced"}),
    ("image-classification", "resnet", {}),
    ("object-detection", "yolos", {}),
    ("image-segmentation", "segformer", {}),
]


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "family", "options"), WORLDS, ids=[f"{w[0]}-{w[1]}" for w in WORLDS])
def test_the_contract_holds(tmp_path: Path, name: str, family: str, options: dict[str, Any]) -> None:
    kind = find_task(name)
    make = {"image-classification": classifier, "object-detection": detector, "image-segmentation": segmenter}[name]
    source = resolve(ModelSection(name=str(make(tmp_path / "model", family))))
    data = data_of(name, tmp_path)
    checked = kind.Options(size=64, **options)
    shape = kind.row_shape(checked)
    rows = [dict(row) for row in read_rows(str(data), shape=shape)][:12]
    root = shape.folders[0]
    for row in rows:
        row["image"] = str(root / row["image"])
        if "mask" in row:
            row["mask"] = str(root / row["mask"])
    report = check_task(kind, rows, source=source, options={"size": 64, **options})
    report.raise_failures()


def test_a_folder_with_one_class_and_an_empty_one_are_said(tmp_path: Path) -> None:
    model = classifier(tmp_path / "model", "vit")
    one = drawn.image_folder(tmp_path / "one", per_class=8, size=64, labels=LABELS[:1])
    (tmp_path / "none").mkdir()
    for place, words in ((one, "one-class"), (tmp_path / "none", "empty")):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            f"task: image-classification\nmodel: {model}\ndata: {{train: {place}, eval: 0.25}}\n"
            f"run: {{folder: {tmp_path / 'runs'}}}\n",
            encoding="utf-8",
        )
        with pytest.raises(UserError, match=words):
            fine_tune(recipe)


def test_settings_and_classes_that_would_be_passed_over_are_said(tmp_path: Path) -> None:
    stages = "stages=[{train: head, epochs: 1}]"
    with pytest.raises(UserError, match=r"options\.dropout"):
        tuned("image-classification", tmp_path, classifier(tmp_path / "a", "vit"), stages, "options.dropout=0.2")
    kind = find_task("object-detection")
    data = drawn.coco(tmp_path / "data2", count=4, size=(64, 64))
    shape = kind.row_shape(kind.Options())
    row = dict(next(iter(read_rows(str(data), shape=shape))))
    task = kind(kind.Options(size=64), resolve(ModelSection(name=str(detector(tmp_path / "b", "yolos")))))
    task.folders = shape.folders
    task.facts.values["labels"] = ["something else", "and another"]
    with pytest.raises(UserError, match="does not know the class"):
        task.encode(row)
