"""Finished picture runs in use: predictions of files, folders and patterns, and ONNX files that say the same."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tunesmith import fine_tune
from tunesmith.errors import UserError
from tunesmith.export import export
from tunesmith.model.onnx_file import read_metadata, run_onnx
from tunesmith.model.yolox import Yolox, YoloxConfig
from tunesmith.pictures import deployment
from tunesmith.pictures.segmentation_scores import unpack_mask
from tunesmith.pictures.showing import category_ids, distinct_names, image_ids
from tunesmith.predict import predict
from tunesmith.prove import load_model, load_task
from tunesmith.train.signals import StopRequest  # noqa: F401  loaded before threads start

pytest.importorskip("onnxruntime")
FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCE_IDS = {"disc": 3, "square": 7, "triangle": 40}
TASKS = {"label": "image-classification", "boxes": "object-detection", "mask": "image-segmentation"}


def _fixture(name: str) -> Any:
    spec = spec_from_file_location(name, FIXTURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


drawn, small = _fixture("pictures"), _fixture("small_vision")


def model_of(kind: str, folder: Path) -> None:
    torch.manual_seed(0)
    if kind == "label":
        small.classifier_of("vit").save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 64, "width": 64}}))
    elif kind == "boxes":
        small.lively(Yolox(YoloxConfig(2, 0.33, 0.125, False, (64, 64), ("a", "b"))), 1.0).save_pretrained(folder)
    else:
        small.segmenter_of("segformer", 4).save_pretrained(folder)


def trained(kind: str, folder: Path, *settings: str) -> Any:
    """A run on drawn pictures, whose recipe names its data relative to the folder."""
    if kind == "label":
        drawn.image_folder(folder / "data", per_class=8, size=64)
    elif kind == "boxes":
        drawn.coco(folder / "data", count=20, size=(80, 60), ids=SOURCE_IDS)
    else:
        drawn.mask_folder(folder / "data", count=20, size=(80, 60))
    model_of(kind, folder / "weights")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"task: {TASKS[kind]}\nmodel: {folder / 'weights'}\ndata: {{train: ./data, eval: 0.25, validation: 0}}\n"
        "options: {size: 64}\nbatch: {rows: 8}\nengine: {device: cpu, precision: fp32}\n"
        "audit: {accept: {few-rows: a test, near-picture-leak: drawn, repeated-picture: drawn}}\n"
        f"run: {{folder: {folder / 'runs'}, name: here}}\n",
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        epochs = 25 if kind == "boxes" else 3
        return fine_tune(recipe, settings or [f"stages=[{{train: all, epochs: {epochs}, lr: 3e-3}}]"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of each task."""
    return {kind: trained(kind, tmp_path_factory.mktemp(kind)) for kind in TASKS}


def pictures(folder: Path) -> Path:
    """Four pictures in two folders, two of one name, with what is no picture beside them."""
    rng = np.random.default_rng(5)
    for name in ("one.png", "b/one.png", "b/two.JPG", "a three.png"):
        pixels, _ = drawn.scene(rng, (72, 56))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    shutil.copy(folder / "one.png", folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


# Predicting


@pytest.mark.parametrize("kind", TASKS)
def test_a_folder_a_file_a_pattern_and_rows_name_the_same_pictures(
    runs: dict[str, Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "photos")
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(runs[kind].folder, moved)
    monkeypatch.chdir(tmp_path)
    whole = predict(moved, ["photos"])
    assert [one["id"] for one in whole] == ["a three.png", "b/one.png", "b/two.JPG", "one.png"]
    assert [one["image"] for one in whole] == [f"photos/{one['id']}" for one in whole]
    single = predict(moved, ["photos/one.png"])
    assert [one["id"] for one in single] == ["photos/one.png"]
    matched = predict(moved, ["photos/**/*.png"])
    assert [one["id"] for one in matched] == ["photos/a three.png", "photos/b/one.png", "photos/one.png"]
    table = Path("photos/rows.csv")
    # What is known of the pictures may stand there, even classes that the model has never heard of.
    table.write_text("image,label,objects,mask\none.png,whale,nonsense,nowhere.png\nb/one.png,,,\n", encoding="utf-8")
    listed = predict(moved, [str(table)])
    assert [one["image"] for one in listed] == ["photos/one.png", "photos/b/one.png"]
    task = load_task(runs[kind])
    for found, place in ((single[0], 3), (matched[0], 0), (listed[0], 3), (listed[1], 1)):
        assert task.distance(found["prediction"], whole[place]["prediction"]) in (None, pytest.approx(0, abs=1e-4))
    if kind == "label":
        assert listed[0]["prediction"]["probabilities"] == pytest.approx(
            whole[3]["prediction"]["probabilities"], abs=1e-5
        )


def test_detections_are_written_as_coco_results_with_the_ids_of_the_source(
    runs: dict[str, Any], tmp_path: Path
) -> None:
    pictures(tmp_path / "photos")
    found = predict(runs["boxes"], [str(tmp_path / "photos")], out=tmp_path / "out")
    results = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert len(results) == sum(len(one["prediction"]) for one in found) > 4
    assert {one["category_id"] for one in results} <= set(SOURCE_IDS.values())
    assert all(SOURCE_IDS[one["label"]] == one["category_id"] for one in results)
    names = {number: one["id"] for number, one in enumerate(found, 1)}
    assert all(names[one["image_id"]] == one["file_name"] for one in results)
    assert results[0]["bbox"] == found[results[0]["image_id"] - 1]["prediction"][0]["box"]
    files = sorted(file.name for file in (tmp_path / "out" / "pictures").iterdir())
    assert files == ["a three.jpg", "one-2.jpg", "one.jpg", "two.jpg"]
    with Image.open(tmp_path / "out" / "pictures" / "two.jpg") as picture:
        assert picture.size == (72, 56)


def test_boxes_are_drawn_from_the_threshold_of_their_class_on(runs: dict[str, Any], tmp_path: Path) -> None:
    task = load_task(runs["boxes"])
    Image.new("RGB", (60, 60), (90, 90, 90)).save(tmp_path / "grey.png")
    rows = task.inputs_of(str(tmp_path / "grey.png"), {})
    changed = []
    for by, folder in ((0.01, tmp_path / "sure"), (-0.01, tmp_path / "unsure")):
        folder.mkdir()
        boxes = [{"box": [10.0, 20.0, 30.0, 30.0], "label": "square", "score": task.thresholds["square"] + by}]
        task.write_predictions(rows, [boxes], folder)
        changed.append(int(np.ptp(np.asarray(Image.open(folder / "pictures" / "grey.jpg")))))
    assert changed[0] > 60
    assert changed[1] < 10


def test_a_coco_file_keeps_the_numbers_of_its_pictures(runs: dict[str, Any], tmp_path: Path) -> None:
    file = drawn.coco(tmp_path / "new", count=3, size=(64, 48), ids=SOURCE_IDS, seed=9)
    predict(runs["boxes"], [str(file)], out=tmp_path / "out")
    results = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert {(one["image_id"], one["file_name"]) for one in results} <= {(100 + i, f"scene-0{i}.png") for i in range(3)}
    assert results


def test_masks_are_written_as_class_numbers_and_painted(runs: dict[str, Any], tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    found = predict(runs["mask"], [str(tmp_path / "photos")], out=tmp_path / "out")
    told = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    table = json.loads((tmp_path / "out" / "classes.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in table] == ["background", *drawn.LABELS]
    for one, entry in zip(found, told, strict=True):
        mask = np.asarray(Image.open(tmp_path / "out" / entry["mask"]))
        assert entry["file_name"] == one["id"]
        assert np.array_equal(mask, unpack_mask(one["prediction"]))
        assert sum(entry["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert len({entry["mask"] for entry in told}) == len(list((tmp_path / "out" / "pictures").iterdir())) == 4


def test_labels_are_written_by_file_name(runs: dict[str, Any], tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    predict(runs["label"], [str(tmp_path / "photos")], out=tmp_path / "out")
    told = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert [one["file_name"] for one in told] == ["a three.png", "b/one.png", "b/two.JPG", "one.png"]
    assert all(one["label"] in drawn.LABELS and len(one["probabilities"]) == 3 for one in told)


@pytest.mark.parametrize("kind", TASKS)
def test_pictures_that_cannot_be_read_are_named_and_the_others_predicted(
    runs: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "photos")
    whole = (folder / "one.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "secret.png").write_bytes(whole)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    found = predict(runs[kind], [str(folder)], rows=3, out=tmp_path / "out")
    faults = {one["id"]: one["fault"] for one in found if "fault" in one}
    assert sorted(faults) == ["cut.png", "link.png", "page.jpg"]
    assert "truncated" in faults["cut.png"]
    assert "web page" in faults["page.jpg"]
    assert "leads out of the data folder" in faults["link.png"]
    assert all(one["prediction"] is None for one in found if one["id"] in faults)
    assert sum(one["prediction"] is not None for one in found) == 4
    assert "cut.png" not in (tmp_path / "out" / "predictions.json").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"none of 1 inputs can be read: .*cut\.png: the picture is truncated"):
        predict(runs[kind], [str(folder / "cut.png")])


def test_rows_whose_picture_is_missing_are_named_too(runs: dict[str, Any], tmp_path: Path) -> None:
    pictures(tmp_path)
    table = tmp_path / "rows.csv"
    table.write_text("image\none.png\nnowhere.png\n", encoding="utf-8")
    found = predict(runs["boxes"], [str(table)])
    assert ["fault" in one for one in found] == [False, True]
    assert "nowhere.png, which is not there" in found[1]["fault"]


def test_inputs_that_name_nothing_are_errors_with_the_way_on(runs: dict[str, Any], tmp_path: Path) -> None:
    run = runs["boxes"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no picture")
    for given, said in (
        ("nowhere.jpg", "there is no picture, folder or file 'nowhere.jpg'"),
        (str(tmp_path / "nothing*.jpg"), "nothing matches the pattern"),
        (str(tmp_path / "texts" / "*"), "matches 1 files, none of them a picture"),
        (str(tmp_path / "empty"), "holds no picture; it holds nothing"),
        (str(tmp_path / "texts"), "holds no picture; it holds 1 .txt"),
        ("", "there is no picture, folder or file ''"),
        ("x" * 5000, "can't be read"),
    ):
        with pytest.raises(UserError) as fault:
            predict(run, [given])
        assert said in fault.value.what
        assert "a pattern in quotes" in fault.value.fix
    with pytest.raises(UserError, match="something is there already"):
        predict(run, [str(pictures(tmp_path / "photos"))], out=tmp_path / "texts")


def test_the_command_shows_counts_and_ends_with_one_where_pictures_are_broken(
    runs: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.cli import main

    folder = pictures(tmp_path / "photos")
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tunesmith", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    code, out, err = command("predict", runs["boxes"].folder, folder, "--out", tmp_path / "out")
    assert code == 1
    assert "can't be read" in out
    assert f"written: {tmp_path / 'out'}" in out.replace("\n", "")
    assert "cut.png: the picture" in err
    assert "1 of 5 inputs can't be read" in err
    code, out, _ = command("predict", runs["mask"].folder, folder / "one.png", "--json")
    assert code == 0
    assert json.loads(out)[0]["prediction"]["size"] == [56, 72]
    code, out, _ = command("export", runs["label"].folder, "--format", "onnx", "--out", tmp_path / "label.onnx")
    assert code == 0
    assert "held against the run's model on 6 held-out rows" in out
    code, _, err = command("export", runs["label"].folder, "--out", tmp_path / "merged")
    assert code == 2
    assert "this run has no adapter" in err
    assert "--format onnx --out FILE.onnx" in err


def test_names_and_numbers_of_results_are_distinct() -> None:
    rows = [{"image": name} for name in ("a.png", "b/A.jpg", "a-2.png", "c/a.png")]
    assert distinct_names(rows) == ["a", "A-2", "a-2-2", "a-3"]
    assert image_ids([{"image_id": 5}, {"image_id": 9}]) == [5, 9]
    assert image_ids([{"image_id": 5}, {"image_id": 5}]) == image_ids([{"image_id": 5}, {}]) == [1, 2]
    table = [{"id": 0, "name": "a", "source_id": 7}, {"id": 1, "name": "b", "source_id": "x"}]
    assert category_ids(table) == {"a": 0, "b": 1}
    assert category_ids(table[:1]) == {"a": 7}


# ONNX


@pytest.mark.parametrize("kind", TASKS)
def test_a_file_predicts_what_the_run_predicts_and_tells_all_one_needs(
    runs: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    made = export(runs[kind], tmp_path / "new" / "model.onnx", format="onnx")
    beside = json.loads((tmp_path / "new" / "model.json").read_text(encoding="utf-8"))
    assert beside["verified"]["pictures"] in (5, 6)
    assert all(one["holds"] for one in beside["verified"]["differences"])
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["model.json", "model.onnx"]
    assert "largest difference" in str(made)
    told = read_metadata(tmp_path / "new" / "model.onnx")
    assert told["task"] == TASKS[kind]
    assert told["classes"] == runs[kind].read_json("facts.json")["values"]["classes"]
    assert told["input_size"] == [64, 64]
    assert {"mean", "std", "scale", "order", "input"} <= told["preprocessing"].keys()
    assert "64" in told["resize"]["text"]
    assert told["postprocessing"]["text"]

    # As somebody does who has the file alone, and pictures at its size.
    task, model = load_task(runs[kind]), load_model(runs[kind], load_task(runs[kind])).eval()
    pixels, _ = drawn.scene(np.random.default_rng(3), (64, 64))
    Image.fromarray(pixels).save(tmp_path / "one.png")
    row = {"id": "1", "image": str(tmp_path / "one.png")}
    sample, placement = task.fitted(row)
    found = run_onnx(tmp_path / "new" / "model.onnx", {"pictures": sample.image[None]})
    with torch.no_grad():
        mine = task.predict(model, task.collate([task.encode(row)]))
    theirs = task.read_deployed(found, [placement])
    if kind == "label":
        assert theirs[0]["probabilities"] == pytest.approx(mine[0]["probabilities"], abs=1e-4)
    elif kind == "boxes":
        assert [one["label"] for one in theirs[0]] == [one["label"] for one in mine[0]]
        assert [one["box"] for one in theirs[0]] == [pytest.approx(one["box"], abs=0.05) for one in mine[0]]
    else:
        assert np.array_equal(unpack_mask(theirs[0]), unpack_mask(mine[0]))


@pytest.mark.parametrize("kind", TASKS)
def test_a_file_that_says_something_else_is_taken_away_and_the_place_is_said(
    runs: dict[str, Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = deployment.pixels_of

    def other(wanted: Any) -> Any:
        pixels = right(wanted)
        return replace(pixels, order="rgb" if pixels.order == "bgr" else "bgr")

    monkeypatch.setattr(deployment, "pixels_of", other)
    with pytest.raises(UserError) as fault:
        export(runs[kind], tmp_path / "model.onnx", format="onnx")
    name = {"label": "scores", "boxes": "scores", "mask": "probabilities"}[kind]
    assert f"{name} differ by" in fault.value.what
    assert "at picture " in fault.value.what
    assert fault.value.code == 1
    assert list(tmp_path.iterdir()) == []


def seen(kind: str, said: Any, read: Any, own: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Differences of one picture that lies in the input as it is."""
    place = SimpleNamespace(to_original=lambda boxes: boxes)
    names = SimpleNamespace(class_names=lambda: ["a", "b"])
    worst = deployment._Worst()
    pair = deployment._Pictures([{"image": "x.png"}], [place], [said], [read], own, file)  # type: ignore[list-item]
    deployment._COMPARED[kind](names, pair, worst)  # type: ignore[arg-type]
    return worst.found


def candidates(*rows: tuple[list[float], list[float]]) -> dict[str, Any]:
    return {"boxes": np.array([[box for box, _ in rows]]), "scores": np.array([[scores for _, scores in rows]])}


def test_a_box_that_moved_by_a_tenth_of_a_pixel_or_changed_its_class_is_seen() -> None:
    box, far = [1.0, 1.0, 11.0, 11.0], [40.0, 40.0, 50.0, 50.0]
    said = [{"box": [1.0, 1.0, 10.0, 10.0], "score": 0.9, "label": "a"}]
    own = candidates((box, [0.9, 0.1]), (far, [0.001, 0.001]))
    swapped = candidates((far, [0.001, 0.001]), (box, [0.9, 0.1]))
    assert all(d.holds for d in seen("boxes", said, said, own, swapped).values())
    moved = seen("boxes", said, said, own, candidates(([1.0, 1.0, 11.1, 11.0], [0.9, 0.1]), (far, [0.001, 0.001])))
    assert moved["scores"].holds
    assert not moved["boxes"].holds
    assert moved["boxes"].where == "picture x.png, a 0.900"
    other = seen("boxes", said, said, own, candidates((box, [0.1, 0.9]), (far, [0.001, 0.001])))
    assert other["scores"].largest == pytest.approx(0.8)
    more = seen("boxes", [], [], own, candidates((box, [0.9, 0.1]), (far, [0.004, 0.001])))
    assert more["scores"].largest == pytest.approx(0.003)
    nan = seen("boxes", [], [], own, candidates((box, [float("nan"), 0.1]), (far, [0.001, 0.001])))
    assert nan["scores"].largest == float("inf")


def test_another_label_is_seen_unless_both_are_equally_likely() -> None:
    def one(label: str, a: float) -> dict[str, Any]:
        return {"label": label, "probabilities": {"a": a, "b": 1 - a}}

    assert not seen("label", one("a", 0.9), one("b", 0.9), {}, {})["label"].holds
    assert seen("label", one("a", 0.50001), one("b", 0.49999), {}, {})["label"].holds
    assert not seen("label", one("a", 0.9), one("a", 0.899), {}, {})["scores"].holds


@pytest.mark.parametrize("kind", TASKS)
def test_runs_that_moved_from_their_data_say_where_to_go(
    runs: dict[str, Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(runs[kind].folder, moved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as fault:
        export(moved, tmp_path / "model.onnx", format="onnx")
    assert "not found from here" in fault.value.what
    assert "in the folder in which the run was trained" in fault.value.fix
    assert not (tmp_path / "model.onnx").exists()
    monkeypatch.chdir(runs[kind].folder.parents[1])
    export(moved, tmp_path / "model.onnx", format="onnx")


def test_wrong_orders_are_refused_before_anything_is_written(runs: dict[str, Any], tmp_path: Path) -> None:
    run = runs["label"]
    (tmp_path / "there.onnx").write_text("mine")
    for out, settings, said in (
        ("model.onnx", {"format": "onnx", "dtype": "fp16"}, "--dtype is for merged adapters"),
        ("model.bin", {"format": "onnx"}, "must end in .onnx"),
        ("there.onnx", {"format": "onnx"}, "something is there already"),
        ("model.gguf", {"format": "gguf"}, "can't be exported as gguf"),
        ("model", {"format": None}, "this run has no adapter"),
        ("model", {"dtype": "fp8"}, "there is no such type"),
    ):
        with pytest.raises(UserError) as fault:
            export(run, tmp_path / out, **settings)  # type: ignore[arg-type]
        assert said in fault.value.what
        assert fault.value.fix
    assert [file.name for file in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_an_adapter_is_merged_into_the_file(tmp_path: Path) -> None:
    stages = "stages=[{train: adapter, epochs: 2, lr: 1e-2}]"
    run = trained("label", tmp_path, stages, "adapter={kind: lora, r: 2}")
    made = export(run, tmp_path / "model.onnx", format="onnx")
    assert all(one["holds"] for one in made.to_json()["verified"]["differences"])
