"""Pictures at fault, by the command line: an exit code, one error that names the fault and its place, no stack trace.

The readers' own words are tested in tests/pictures; here that a run stops with them, before weights are loaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import picture_runs, pictures
from tests.fixtures.picture_sources import png_of_size, save, save_mask, yolo
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_FINDINGS

Build = Callable[[Path], Path]
GOOD = "0 0.5 0.5 0.4 0.4"
CLASSES = '[{"id": 0, "name": "background", "source_id": 0}, {"id": 1, "name": "disc", "source_id": 1}]'


def labels_of(text: str, changes: str = "names: [cat, dog]") -> Build:
    """A YOLO folder in which the file of the last picture says this."""
    return lambda folder: yolo(folder, {**{f"p{i}": GOOD for i in range(11)}, "odd": text}, changes)


def coco_of(box: list[float]) -> Build:
    """A COCO file in which the first box is this."""

    def build(folder: Path) -> Path:
        file = pictures.coco(folder, count=12, size=(64, 64))
        content = json.loads(file.read_text(encoding="utf-8"))
        content["annotations"][0]["bbox"] = box
        for one in content["annotations"]:
            one.pop("segmentation")
        file.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return build


def normalised(folder: Path) -> Path:
    """A COCO file whose boxes are shares of the picture."""
    file = pictures.coco(folder, count=12, size=(64, 64), segmentation="none")
    content = json.loads(file.read_text(encoding="utf-8"))
    for one in content["annotations"]:
        one["bbox"] = [number / 64 for number in one["bbox"]]
    file.write_text(json.dumps(content), encoding="utf-8")
    return folder


def masks_of(values: np.ndarray) -> Build:
    """Pictures with masks of which one is this."""

    def build(folder: Path) -> Path:
        pictures.mask_folder(folder, count=10, size=(64, 64))
        save_mask(folder / "masks" / "scene-03.png", values)
        return folder

    return build


def folder_with(change: Callable[[Path], Any], **settings: Any) -> Build:
    """A folder of pictures in which something was changed."""

    def build(folder: Path) -> Path:
        made = pictures.image_folder(folder, **{"per_class": 6, "size": 64} | settings)
        change(made)
        return made

    return build


def bomb(folder: Path) -> None:
    (folder / "disc" / "bomb.png").write_bytes(png_of_size(60_000, 60_000))


def way_out(folder: Path) -> None:
    elsewhere = folder.parent / "secret.png"
    Image.new("RGB", (64, 64)).save(elsewhere)
    (folder / "disc" / "link.png").symlink_to(elsewhere)


def in_both(folder: Path) -> None:
    """The same picture to learn from and to judge by."""
    for part in ("train", "test"):
        (folder / part).mkdir()
    for label in pictures.LABELS:
        shutil.copytree(folder / label, folder / "test" / label)
        shutil.move(folder / label, folder / "train" / label)


def nearly_in_both(folder: Path) -> Path:
    """To judge by: smaller copies, of lesser quality, of what is learned from."""
    for label in ("cat", "dog"):
        for number in range(8):
            place = save(folder / "train" / label / f"{number}.png", number + (20 if label == "dog" else 0), (96, 80))
            (folder / "test" / label).mkdir(parents=True, exist_ok=True)
            with Image.open(place) as picture:
                picture.resize((72, 60)).save(folder / "test" / label / f"copy-{number}.jpg", quality=85)
    return folder


def two_of_one_name(folder: Path) -> Path:
    pictures.mask_folder(folder, count=10, size=(64, 64))
    Image.new("RGB", (64, 64)).save(folder / "images" / "scene-03.jpg")
    return folder


def half_unlabelled(folder: Path) -> Path:
    yolo(folder, {f"p{i}": GOOD if i % 2 else None for i in range(12)})
    return folder


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


DETECT, SEGMENT, CLASSIFY = "object-detection", "image-segmentation", "image-classification"
WRONG = np.full((64, 64), 9)
SMALL = np.ones((20, 20))
FAULTS: dict[str, tuple[str, Build, str, str]] = {
    # The task, the data, words of the message, and of its place.
    "class id out of range": (DETECT, labels_of("7 0.5 0.5 0.2 0.2"), "has the class id 7", "odd.txt:1:1"),
    "YOLO box in pixels": (DETECT, labels_of("0 20 15 10 10"), "no share of the picture", "odd.txt:1:3"),
    "YOLO box without area": (DETECT, labels_of("0 0.5 0.5 0 0.2"), "zero area", "odd.txt:1:11"),
    "box outside": (DETECT, coco_of([500, 500, 10, 10]), "outside the picture", "scene-00.png, annotation 1"),
    "box inverted": (DETECT, coco_of([20, 20, -10, 10]), "inverted", "scene-00.png, annotation 1"),
    "box without area": (DETECT, coco_of([20, 20, 0, 10]), "zero area", "scene-00.png, annotation 1"),
    "boxes normalised": (DETECT, normalised, "shares of the picture", "_annotations.coco.json"),
    "mask with undeclared values": (SEGMENT, masks_of(WRONG), "value 9 in 4,096 pixels", "masks/scene-03.png"),
    "mask of another size": (
        SEGMENT,
        masks_of(SMALL),
        "20 x 20 pixels, but its picture has 64 x 64",
        "masks/scene-03.png",
    ),
    "two pictures of one name": (SEGMENT, two_of_one_name, "two pictures have one name", "images/scene-03.jpg"),
    "a picture in both splits": (CLASSIFY, folder_with(in_both), "audit: leak: 18 of 18", "data/test"),
    "nearly a picture in both": (CLASSIFY, nearly_in_both, "audit: near-picture-leak", "copy-0.jpg"),
    "one class": (CLASSIFY, folder_with(lambda _: None, labels=("disc",), per_class=12), "audit: one-class", "data"),
    "half unlabelled": (DETECT, half_unlabelled, "6 of 12 pictures (50.0%) have no label", "images/train/p0.jpg"),
    "empty folder": (CLASSIFY, empty, "the folder is empty", "--> /data"),
    "PNG bomb": (CLASSIFY, folder_with(bomb), "60,000 x 60,000 pixels", "disc/bomb.png"),
    "link that leads out": (CLASSIFY, folder_with(way_out), "leads out of the data folder", "disc/link.png"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        CLASSIFY: picture_runs.classifier_folder(root / "classifier", "vit"),
        DETECT: picture_runs.detector_folder(root / "detector", "yolos"),
        SEGMENT: picture_runs.segmenter_folder(root / "segmenter", "segformer"),
    }


@pytest.mark.parametrize(("task", "build", "words", "place"), FAULTS.values(), ids=FAULTS)
def test_a_run_stops_with_what_is_wrong_and_where(
    task: str,
    build: Build,
    words: str,
    place: str,
    models: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tunesmith.cli import main

    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    source = build(tmp_path / "data")
    share = "0.25" if not (source / "test").is_dir() else str(source / "test")
    train = source / "train" if (source / "test").is_dir() else source
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: {task}\nmodel: {models[task]}\ndata: {{train: {train}, eval: {share}, validation: 0}}\n"
        f"options: {{size: 64}}\nstages: [{{train: head, epochs: 1}}]\n"
        f"audit: {{accept: {{few-rows: a test}}}}\nrun: {{folder: {tmp_path / 'runs'}}}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("sys.argv", ["tunesmith", "train", str(recipe)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr().err
    assert done.value.code in (EXIT_COULD_NOT_RUN, EXIT_FINDINGS), said
    assert "Traceback" not in said
    error = said[said.rindex("error: ") :].replace(str(tmp_path), "")
    assert words in error
    assert place in error
    assert "fix: " in error
    assert not list((tmp_path / "runs").rglob("model.safetensors"))
