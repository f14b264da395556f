"""Image segmentation: families end to end, classes, masks and objects, the saved folder, cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fixtures import picture_runs, pictures
from tunesmith.errors import UserError
from tunesmith.model.weights import resolve
from tunesmith.pictures.segmentation_scores import pack_mask, unpack_mask
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import ModelSection
from tunesmith.registry import find_task
from tunesmith.tasks.image_segmentation import ImageSegmentation, SegmentationOptions

TASK = "image-segmentation"
LABELS = ["background", *pictures.LABELS]
HEAD = "[{train: head, epochs: 2, lr: 1e-2}]"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return picture_runs.data_for(TASK, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return picture_runs.rows_for(TASK, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_runs.segmenter_folder(tmp_path_factory.mktemp("segformer"), "segformer")


def task_of(folder: Path, rows: list[dict[str, Any]], **options: Any) -> ImageSegmentation:
    task = ImageSegmentation(SegmentationOptions(**{"size": 64} | options), resolve(ModelSection(name=str(folder))))
    task.facts = task.survey(rows)
    return task


@pytest.mark.heavy
@pytest.mark.parametrize("family", ["segformer", "upernet", "mask2former", "resnet", "convnext", "vit"])
def test_two_stages_from_masks_to_a_proven_model(tmp_path: Path, data: Any, family: str) -> None:
    model = picture_runs.segmenter_folder(tmp_path / "model", family)
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, options="{size: 64}")
    assert picture_runs.broken_receipts(run) == []
    found = picture_runs.losses_of(run)
    assert np.mean(found[-2:]) < np.mean(found[:2])
    assert picture_runs.losses_of(run, 1)
    table = run.read_json("facts.json")["values"]["classes"]
    assert [(row["name"], row["source_id"]) for row in table] == [(name, i) for i, name in enumerate(LABELS)]
    task = load_task(run)
    batch = task.collate([task.encode(row) for row in picture_runs.rows_for(TASK, tmp_path / "more")])
    tuned, again = load_model(run, task).eval(), task_again(run, task)
    with torch.no_grad():
        assert task.predict(tuned, batch) == task.predict(again, batch)
    said = predict(run, [str(place) for place in sorted((data[1] / "images").glob("*.png"))[:2]])
    for one in said:
        mask = unpack_mask(one["prediction"])
        assert mask.shape == (64, 64)
        assert sum(one["prediction"]["shares"].values()) == pytest.approx(1, abs=1e-4)


def task_again(run: Any, task: Any) -> Any:
    """The model of a stranger, from the saved folder and the facts alone."""
    stranger = find_task(TASK)(task.options, resolve(ModelSection(name=str(run.model))), task.facts)
    model = stranger.load().eval()
    assert stranger.fresh == frozenset()
    return model


def test_the_folder_of_segformer_in_plain_transformers(tmp_path: Path, data: Any, segformer: Path) -> None:
    from transformers import AutoModelForSemanticSegmentation

    run = picture_runs.fine_tuned(tmp_path, TASK, segformer, data, options="{size: 64}", stages=HEAD)
    theirs = AutoModelForSemanticSegmentation.from_pretrained(run.model).eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    ours = load_model(run, load_task(run)).eval()
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(theirs(pixel_values=picture).logits, ours(pixel_values=picture).logits)


# Classes


def test_a_segmenter_of_the_same_classes_is_the_base(tmp_path: Path, data: Any, rows: list[dict[str, Any]]) -> None:
    turned = LABELS[::-1]
    model = picture_runs.segmenter_folder(tmp_path / "model", "segformer", turned)
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, options="{size: 64}", stages=HEAD)
    first = json.loads((run.folder / "base.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first["candidates"]) == {"all background", "pretrained segmenter"}
    task = task_of(model, rows)
    assert list(task.class_names()) == turned
    assert [row["source_id"] for row in task.facts.values["classes"]] == [3, 2, 1, 0]
    task.load()
    assert task.fresh == frozenset()


@pytest.mark.parametrize("labels", [["a", "b", "c", "d"], ["a", "b"]])
@pytest.mark.parametrize("family", ["segformer", "upernet", "mask2former"])
def test_a_segmenter_of_other_classes_says_nothing_of_these(
    tmp_path: Path, rows: list[dict[str, Any]], family: str, labels: list[str]
) -> None:
    """Also of as many: its outputs fit in shape alone."""
    task = task_of(picture_runs.segmenter_folder(tmp_path, family, labels), rows)
    model = task.load()
    assert task.fresh
    assert list(task.bases(model, rows)) == ["all background"]
    seen = task.fresh
    task.skeleton()
    assert task.fresh == seen


def test_a_backbone_with_our_head_is_gone_on_with(tmp_path: Path, data: Any, rows: list[dict[str, Any]]) -> None:
    """By the same classes with all of its head, by as many others with fresh outputs, by fewer with a fresh head."""
    model = picture_runs.segmenter_folder(tmp_path / "model", "resnet")
    run = picture_runs.fine_tuned(tmp_path, TASK, model, data, options="{size: 64}", stages=HEAD)
    renamed = [{**row, "areas": [{**a, "label": f"new {a['label']}"} for a in row["areas"]]} for row in rows]
    fewer = [{**row, "areas": [a for a in row["areas"] if a["label"] != "disc"]} for row in rows]
    for given, expected in ((rows, 0), (renamed, 2), (fewer, 22)):
        task = task_of(run.model, given)
        task.load()
        assert len(task.fresh) == expected
        seen = task.fresh
        task.skeleton()
        assert task.fresh == seen


def test_labels_of_the_recipe_order_the_classes(segformer: Path, rows: list[dict[str, Any]]) -> None:
    order = ["disc", "background", "triangle", "square"]
    task = task_of(segformer, rows, labels=order)
    assert list(task.class_names()) == order
    mask = task.encode(rows[0])["mask"].numpy()
    plain = task_of(segformer, rows).encode(rows[0])["mask"].numpy()
    assert np.array_equal(np.array([LABELS.index(name) for name in order])[mask], plain)
    with pytest.raises(UserError, match=r"options.labels are not the classes of the data"):
        task_of(segformer, rows, labels=["disc", "background"])


# Rows


@pytest.mark.parametrize("how", ["rle", "polygon"])
def test_objects_of_coco_are_the_masks_of_their_pictures(
    tmp_path: Path, segformer: Path, rows: list[dict[str, Any]], how: str
) -> None:
    file = pictures.coco(tmp_path / "coco", count=12, size=(64, 64), segmentation=how)
    shape: Any = find_task(TASK).row_shape(SegmentationOptions())
    opened = shape.open(file.parent, "coco")
    found = [dict(shape(values)) for _, values in opened.records]
    task = ImageSegmentation(SegmentationOptions(size=64), resolve(ModelSection(name=str(segformer))))
    task.declared, task.folders = tuple(opened.classes), (file.parent,)
    task.facts = task.survey(found)
    assert list(task.class_names()) == LABELS
    assert [row["source_id"] for row in task.facts.values["classes"]][1:] == list(pictures.SOURCE_IDS.values())
    masks = task_of(segformer, rows)
    for mine, theirs in zip(found, rows, strict=True):
        same = (task.encode(mine)["mask"] == masks.encode(theirs)["mask"]).float().mean()
        assert same == 1 if how == "rle" else same > 0.9


def test_a_perfect_answer_scores_one_at_any_size_and_fit(tmp_path: Path, segformer: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for index, size in enumerate(((96, 64), (50, 130))):
        pixels, shapes = pictures.scene(rng, size)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        for shape in shapes:
            mask[shape.seen] = LABELS.index(shape.label) + 0
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / f"{index}-mask.png")
        areas = [{"label": name, "pixels": int((mask == i).sum()), "source_id": i} for i, name in enumerate(LABELS)]
        rows.append({"id": str(index), "image": str(tmp_path / f"{index}.png"),
                     "mask": str(tmp_path / f"{index}-mask.png"), "areas": areas})  # fmt: skip
    for how in ("stretch", "letterbox"):
        task = task_of(segformer, rows, fit=how, size=256)
        examples = [task.encode(row) for row in rows]
        said = task._said(
            np.stack([np.where(e["mask"] == 255, 0, e["mask"]).astype(np.uint8) for e in examples]),
            [e["placement"] for e in examples],
        )
        for row, one in zip(rows, said, strict=True):
            truth = np.asarray(Image.open(row["mask"]))
            assert tuple(one["size"]) == truth.shape
            assert (unpack_mask(one) == truth).mean() > 0.99
        exact = [{**pack_mask(np.asarray(Image.open(row["mask"]))), "shares": {}} for row in rows]
        assert task.score(exact, rows)["miou"] == pytest.approx(1)
        assert task.score(exact, rows)["boundary_iou"] == pytest.approx(1)


def test_weights_of_a_classifier_do_not_crop_what_is_segmented(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Its file says how pictures are cropped for a label; every pixel is wanted here."""
    for family in ("convnext", "mobilenet_v2", "dinov2"):
        folder = picture_runs.classifier_folder(tmp_path / family, family)
        task = task_of(folder, rows)
        assert (task.preprocessing.fit, task.preprocessing.size) == ("stretch", (64, 64))
        assert task.encode(rows[0])["placement"].shift == (0.0, 0.0)


# Cache and augmentation


@pytest.mark.parametrize("family", ["segformer", "convnext"])
def test_the_cache_gives_the_losses_of_none(tmp_path: Path, data: Any, family: str) -> None:
    model = picture_runs.segmenter_folder(tmp_path / "model", family)
    losses = []
    for use in ("on", "off"):
        run = picture_runs.fine_tuned(
            tmp_path / use, TASK, model, data, f"cache.use={use}", options="{size: 64}", stages=HEAD
        )
        assert [event["use"] for event in picture_runs.events_of(run, "cache")] == [use == "on"]
        losses.append(picture_runs.losses_of(run))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_masks_move_with_their_pictures(segformer: Path, rows: list[dict[str, Any]]) -> None:
    task = task_of(segformer, rows, augment={"viewpoint": {"flip": 1.0, "rotate": 20, "scale": [0.7, 1.3]}})
    colours = {LABELS.index(name): np.array(colour) for name, colour in pictures.COLOURS.items()}
    for row in rows[:6]:
        sample = task.drawn(row, np.random.default_rng(int(row["image"][-6:-4])))
        assert sample.mask is not None
        for number, colour in colours.items():
            inside = (sample.mask == number) & (np.roll(sample.mask, 2, 0) == number)
            inside &= (np.roll(sample.mask, 2, 1) == number) & (np.roll(sample.mask, -2, (0, 1)) == number)
            if inside.sum() > 20:
                middle = np.median(sample.image[inside], axis=0)
                assert np.abs(middle - colour).max() < 40, (row["id"], LABELS[number])
