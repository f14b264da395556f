"""Labels, boxes and masks that are wrong: planted in drawn data, found by heads on the features of small networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.fixtures import picture_runs, pictures
from tests.fixtures.small_models import rows_of, write_model
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.effects import effect_without
from tunesmith.audit.found import Found, Skipped, View
from tunesmith.audit.heads import Head, Heads, Turned
from tunesmith.audit.kept import Kept
from tunesmith.audit.label_boxes import _better_place, _summed, cells_of_boxes
from tunesmith.audit.label_masks import cells_of_mask
from tunesmith.audit.labels import label_findings
from tunesmith.audit.out_of_fold import out_of_fold
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


def opened(
    folder: Path, model: Path, task: str, rows: list[Row] | None = None, effects: bool = True, **data: Any
) -> AuditData:
    of_pictures = () if task == "text-classification" else ("near-picture-leak", "tiny-box", "repeated-picture")
    accept = dict.fromkeys(("few-rows", "leak", *of_pictures), "a test")
    sections = {
        "task": task,
        "model": str(model),
        "data": {"train": "rows", "eval": 0.25, "validation": 0, **data},
        "batch": {"rows": 8},
        "audit": {"accept": accept},
        "engine": {"device": "cpu", "precision": "fp32"},
    }
    source = read_recipe(folder / "recipe.yaml", text=yaml.safe_dump(sections))
    return AuditData(prepare(source, rows=rows), Kept(folder / "kept.sqlite"), Wishes(effects=effects))


def texts(count: int, flips: int) -> tuple[list[Row], set[str]]:
    """Rows of two labels, of which some are told the other."""
    rows = [{**row, "id": f"r{i}"} for i, row in enumerate(rows_of(count))]
    wrong = np.random.default_rng(1).permutation(count)[:flips]
    for i in wrong:
        rows[i]["label"] = {"good": "bad", "bad": "good"}[rows[i]["label"]]
    return rows, {f"r{i}" for i in wrong}


def of_code(said: list[Any], code: str) -> list[Found]:
    return [one for one in said if isinstance(one, Found) and one.code == code]


def test_flipped_labels_are_marked_with_what_they_look_like(tmp_path: Path, bert: Path) -> None:
    rows, wrong = texts(320, 16)
    data = opened(tmp_path, bert, "text-classification", rows)
    said = list(label_findings(data))
    found = of_code(said, "label-errors")
    marks = [mark for one in found for mark in one.marks]
    hits = {mark.row for mark in marks} & wrong
    assert len(hits) >= 0.8 * len(wrong)
    assert len(hits) >= 0.6 * len(marks)
    labels = {row["id"]: row["label"] for row in rows}
    assert all(mark.change == {"label": {"good": "bad", "bad": "good"}[labels[mark.row]]} for mark in marks)
    assert all(f"said to be {labels[mark.row]} (p=" in mark.note for mark in marks)
    train = next(one for one in found if one.remedy)
    assert [mark.score for mark in train.marks] == sorted((mark.score for mark in train.marks), reverse=True)
    assert all(mark.side == "train" for mark in train.marks)
    assert train.remedy == "drop"
    assert train.effect is not None
    assert train.effect.low <= train.effect.mended - train.effect.found <= train.effect.high
    assert all(one.remedy is None for one in found if one is not train), "held-out rows are for a person"
    view = next(one for one in said if isinstance(one, View))
    assert view.data["names"] == data.task.labels
    assert {one.code for one in said if isinstance(one, Found)} <= DEEP_CODES.keys()


def test_right_labels_are_left_alone(tmp_path: Path, bert: Path) -> None:
    rows, _ = texts(320, 0)
    said = list(label_findings(opened(tmp_path, bert, "text-classification", rows)))
    assert sum(len(one.marks) for one in of_code(said, "label-errors")) <= 3


def test_rare_classes_and_few_rows_are_named_as_left_out(tmp_path: Path, bert: Path) -> None:
    rows, _ = texts(120, 0)
    for i in (0, 1):
        rows[i]["label"] = "odd"
    skipped = [
        one for one in label_findings(opened(tmp_path, bert, "text-classification", rows)) if isinstance(one, Skipped)
    ]
    assert any("2 rows of 1 classes with fewer than 5 rows (odd)" in one.reason for one in skipped)
    (few,) = label_findings(opened(tmp_path, bert, "text-classification", rows[10:34]))
    assert isinstance(few, Skipped)
    assert "24 rows are too few" in few.reason


def test_without_weights_labels_are_said_to_be_left_out(tmp_path: Path, bert: Path) -> None:
    data = opened(tmp_path, bert, "text-classification", texts(120, 0)[0])
    data.has_weights = False
    (said,) = label_findings(data)
    assert isinstance(said, Skipped)
    assert "weights are not at hand" in said.reason


def test_out_of_fold_probabilities_are_of_training_rows_in_the_tasks_order(tmp_path: Path, bert: Path) -> None:
    data = opened(tmp_path, bert, "text-classification", texts(200, 0)[0])
    found = out_of_fold(data)
    assert found.shape == (len(data.sides["train"]), 2)
    assert np.allclose(found.sum(1), 1, atol=1e-4)
    truth = [data.task.labels.index(row["label"]) for row in data.sides["train"]]
    assert (found.argmax(1) == truth).mean() > 0.9


def test_a_head_is_sklearns_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    for rows, width in ((200, 12), (40, 90)):
        inputs = rng.normal(size=(rows, width)).astype(np.float32)
        labels = (inputs[:, :3] + rng.normal(size=(rows, 3))).argmax(1)
        weights = rng.uniform(0.2, 1, rows).astype(np.float32)
        head = Head(inputs, labels, 3, weights).fit(0.05)
        scaled = (inputs - inputs.mean(0)) / inputs.std(0)
        reference = linear_model.LogisticRegression(C=1 / (0.05 * weights.sum()), tol=1e-8, max_iter=5000)
        wanted = reference.fit(scaled, labels, weights).predict_proba(scaled)
        assert np.abs(head.probabilities(inputs) - wanted).max() < 5e-3


@pytest.mark.parametrize(("rows", "width"), [(150, 8), (40, 90)])
def test_heads_side_by_side_are_each_their_own(rows: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    inputs = (rng.normal(size=(rows, width)) * np.geomspace(1, 30, width)).astype(np.float32)
    labels = (inputs[:, :3] / inputs[:, :3].std(0) + rng.normal(size=(rows, 3))).argmax(1)
    weights = rng.uniform(0, 1, (5, rows)).astype(np.float32) * (np.arange(rows) % 5 != np.arange(5)[:, None])
    turned = Turned.of(inputs)

    def said(heads: Heads, count: int) -> Any:
        return [heads.probabilities(number, turned.rows) for number in range(count)]

    together = said(Heads(turned, labels, 3, weights).fit(0.03), 5)
    alone = [said(Heads(turned, labels, 3, one[None]).fit(0.03), 1)[0] for one in weights]
    assert np.abs(np.array(together) - np.array(alone)).max() < 5e-3
    # Of many rows and classes a few heads are computed at a time.
    monkeypatch.setattr("tunesmith.audit.heads.TOGETHER_NUMBERS", 2 * 3 * rows)
    in_parts = said(Heads(turned, labels, 3, weights).fit(0.03), 5)
    assert np.abs(np.array(together) - np.array(in_parts)).max() < 1e-3


def test_the_effect_of_rows_that_teach_the_opposite_is_measured(tmp_path: Path, bert: Path) -> None:
    rows, _ = texts(240, 0)
    bad = [
        {**row, "id": f"x{i}", "label": {"good": "bad", "bad": "good"}[row["label"]], "text": row["text"] + " n"}
        for i, row in enumerate(rows_of(110))
    ]
    data = opened(tmp_path, bert, "text-classification", [*rows, *bad])
    planted = {row["id"] for row in bad}
    held = {str(row["id"]) for row in data.sides["eval"]} & planted
    effect = effect_without(data, planted, held)
    assert effect is not None
    assert effect.mended - effect.found > 0.1
    assert 0 < effect.low <= effect.high
    assert "more than chance explains" in effect.said
    assert effect_without(data, ()) is None
    assert effect_without(data, {"nobody"}) is None


def damaged_boxes(folder: Path) -> dict[str, set[str]]:
    """Some boxes given another class, moved by their width, or left out; the pictures by kind."""
    file = pictures.coco(folder, count=60, size=(96, 96), seed=3)
    found = json.loads(file.read_text(encoding="utf-8"))
    names = {one["id"]: one["file_name"] for one in found["images"]}
    by_picture: dict[int, list[Row]] = {}
    for one in found["annotations"]:
        one.pop("segmentation", None)
        by_picture.setdefault(one["image_id"], []).append(one)
    wrong: dict[str, set[str]] = {"class": set(), "place": set(), "missing": set()}
    ids = sorted(by_picture)
    for number in ids[:6]:
        one = by_picture[number][0]
        one["category_id"] = {3: 7, 7: 12, 12: 3}[one["category_id"]]
        wrong["class"].add(names[number])
    for number in ids[6:12]:
        box = by_picture[number][0]["bbox"]
        box[0] += box[2] * 0.7 if box[0] + box[2] < 48 else -box[2] * 0.7
        box[0] = min(max(0.0, box[0]), 96 - box[2])
        wrong["place"].add(names[number])
    for number in [n for n in ids[12:] if len(by_picture[n]) > 1][:6]:
        gone = max(by_picture[number], key=lambda one: one["area"])
        found["annotations"].remove(gone)
        wrong["missing"].add(names[number])
    file.write_text(json.dumps(found), encoding="utf-8")
    return wrong


def test_swapped_moved_and_missing_boxes_are_found(tmp_path: Path) -> None:
    wrong = damaged_boxes(tmp_path / "train")
    pictures.coco(tmp_path / "eval", count=8, size=(96, 96), seed=100)
    model = picture_runs.detector_folder(tmp_path / "model", "yolox", pictures.LABELS)
    where = {"train": str(tmp_path / "train"), "eval": str(tmp_path / "eval")}
    said = list(label_findings(opened(tmp_path, model, "object-detection", **where)))
    (found,) = of_code(said, "box-errors")
    for kind, least in (("class", 5), ("missing", 4), ("place", 3)):
        rows = {mark.row for mark in found.marks if mark.note.startswith(kind)}
        assert len(rows & wrong[kind]) >= least, kind
        # A class is told of whole objects: next to no right one is taken for another.
        assert kind != "class" or len(rows - wrong[kind]) <= 1
    planted = set().union(*wrong.values())
    assert len({mark.row for mark in found.marks} & planted) >= 0.6 * len({mark.row for mark in found.marks})
    swap = next(mark for mark in found.marks if mark.note.startswith("class") and mark.row in wrong["class"])
    assert swap.change is not None
    assert f"looks like {swap.change['objects'][0]['label']}" in swap.note


def test_masks_with_a_class_swapped_or_left_out_are_found(tmp_path: Path) -> None:
    folder = pictures.mask_folder(tmp_path / "train", count=60, size=(64, 64), seed=3)
    pictures.mask_folder(tmp_path / "eval", count=8, size=(64, 64), seed=100)
    wrong = set()
    for number in range(8):
        file = folder / "masks" / f"scene-{number:02d}.png"
        with Image.open(file) as image:
            palette, mask = image.getpalette(), np.array(image)
        first = int(mask[mask > 0][0])
        mask[mask == first] = first % 3 + 1 if number % 2 else 0
        made = Image.fromarray(mask).convert("P")
        made.putpalette(palette or [])
        made.save(file)
        wrong.add(f"scene-{number:02d}.png")
    model = picture_runs.segmenter_folder(tmp_path / "model", "resnet")
    where = {"train": str(tmp_path / "train"), "eval": str(tmp_path / "eval")}
    said = list(label_findings(opened(tmp_path, model, "image-segmentation", **where)))
    (found,) = of_code(said, "mask-errors")
    rows = {Path(mark.row).name for mark in found.marks}
    assert len(rows & wrong) >= 6
    assert len(rows & wrong) >= 0.6 * len(rows)
    assert found.remedy == "drop"


def test_cells_have_the_class_of_the_smallest_box_around_them() -> None:
    torch = pytest.importorskip("torch")
    batch = {
        "pixels": torch.zeros(1, 3, 80, 80),
        "boxes": [torch.tensor([[0.0, 0.0, 80.0, 80.0], [30.0, 30.0, 50.0, 50.0], [0.0, 60.0, 20.0, 80.0]])],
        "labels": [torch.tensor([0, 1, 1])],
        "crowd": [torch.tensor([False, False, True])],
    }
    grid = cells_of_boxes(batch, (8, 8))
    assert grid[4, 4] == 2
    assert grid[4, 1] == 1
    assert grid[0, 0] == -1, "the corner of a box says nothing"
    assert grid[7, 0] == -1, "nor does a crowd"


def test_a_better_place_is_looked_for_around_a_box() -> None:
    thing = np.zeros((20, 20))
    thing[5:11, 8:14] = 1
    beside, on = np.array([4.0, 5.0, 10.0, 11.0]), np.array([8.0, 5.0, 14.0, 11.0])
    gain, overlap = _better_place(beside, _summed(thing), np.zeros((0, 4)), (20, 20))
    assert gain > 0.5
    assert overlap < 0.4
    assert _better_place(on, _summed(thing), np.zeros((0, 4)), (20, 20))[0] < 0.05
    assert _better_place(beside, _summed(thing), on[None], (20, 20))[0] < 0.3, "that object has a box of its own"


def test_cells_of_masks_are_those_of_most_pixels() -> None:
    torch = pytest.importorskip("torch")
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mask[0, :4, 4:] = 2
    mask[0, 4:, :2] = 1
    mask[0, 4:, 4:] = 255
    assert cells_of_mask({"mask": mask}, (2, 2)).tolist() == [[0, 2], [-1, -1]]
