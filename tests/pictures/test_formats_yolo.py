"""YOLO folders: where tools put their parts, and each fault with its file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.picture_sources import HEIGHT, WIDTH, read, save, save_turned, yolo
from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.regions import mask_of


def refused(path: Path, kind: Any = "boxes", **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path, kind, **options)
    assert caught.value.fix
    return caught.value


def test_yolo_boxes(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.5 0.5 0.25 0.4\r\n\r\n1 0.1 0.1 0.2 0.2\r\n", "b": "\ufeff1\t0.5 0.5  1 1"})
    found = read(tmp_path, "boxes")
    assert found.opened.format == "yolo"
    assert found.rows[0] == {
        "id": "images/train/a.jpg",
        "image": "images/train/a.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "objects": [
            {"box": [15.0, 9.0, 10.0, 12.0], "label": "cat", "source_id": 0, "crowd": False},
            {"box": [0.0, 0.0, 8.0, 6.0], "label": "dog", "source_id": 1, "crowd": False},
        ],
    }
    assert found.rows[1]["objects"][0]["box"] == [0.0, 0.0, 40.0, 30.0]
    assert "YOLO with 2 classes from data/data.yaml" in found.notes
    by_file = read(tmp_path / "data.yaml", "boxes", label="data/data.yaml")
    assert by_file.rows == found.rows


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: {0: cat, 1: dog}", (0, 1)),
        ("names: {0: cat, 1: dog, 7: eel}\nnc: 3", (0, 1, 7)),
        ("nc: 2\nnames:\n- cat\n- dog", (0, 1)),
    ],
)
def test_yolo_names_as_lists_and_mappings_with_gaps(tmp_path: Path, names: str, expected: tuple[int, ...]) -> None:
    yolo(tmp_path, {"a": f"{expected[-1]} 0.5 0.5 0.2 0.2"}, names)
    found = read(tmp_path, "boxes")
    classes = PictureClasses.from_json(found.opened.classes or ())
    assert classes.source_ids == expected
    assert classes.of_source(found.rows[0]["objects"][0]["source_id"]) == len(expected) - 1


def test_yolo_polygons_are_boxes_or_regions(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "1 0.25 0.2 0.75 0.2 0.75 0.6 0.25 0.6"})
    assert read(tmp_path, "boxes").rows[0]["objects"] == [
        {"box": [10.0, 6.0, 20.0, 12.0], "label": "dog", "source_id": 1, "crowd": False}
    ]
    found = read(tmp_path, "mask")
    (item,) = found.rows[0]["objects"]
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[6:18, 10:30] = True
    np.testing.assert_array_equal(mask_of(item["segmentation"], HEIGHT, WIDTH), expected)
    assert [row["name"] for row in found.opened.classes or ()] == ["background", "cat", "dog"]
    yolo(tmp_path, {"a": "1 0.5 0.5 0.2 0.2"})
    assert read(tmp_path, "mask").broken == [
        "(labels/train/a.txt:1:1) is a box; a mask needs a polygon: class x1 y1 x2 y2 x3 y3 ..."
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7 0.5 0.5 0.2 0.2", "(labels/train/a.txt:2:1) has the class id 7; data/data.yaml names 0 to 1"),
        ("  -1 0.5 0.5 0.2 0.2", "(labels/train/a.txt:2:3) has the class id -1; data/data.yaml names 0 to 1"),
        ("cat 0.5 0.5 0.2 0.2", "(labels/train/a.txt:2:1) begins with 'cat', which is no class id"),
        ("0 0.5 oops 0.2 0.2", "(labels/train/a.txt:2:7) has 'oops' where a number from 0 to 1 is expected"),
        ("0 0.5 nan 0.2 0.2", "(labels/train/a.txt:2:7) has 'nan' where a number"),
        ("0 0.5 0.5 20 0.2", "(labels/train/a.txt:2:11) has 20, which is no share of the picture"),
        ("0 0.5 0.5 0.2 0", "(labels/train/a.txt:2:11) has a box of zero area: width 0.2, height 0"),
        ("0 0.5 0.5 -0.2 0.1", "(labels/train/a.txt:2:11) has an inverted box"),
        ("0 1.4 0.5 0.1 0.2", "(labels/train/a.txt:2:1) has a box outside the picture"),
        ("0 0.5 0.5 0.2", "(labels/train/a.txt:2:1) has 4 values; a box takes 5"),
        ("0 0.5 0.5 0.2 0.2 0.9", "is the sixth a confidence?"),
    ],
)
def test_yolo_lines_at_fault_break_their_row(tmp_path: Path, line: str, said: str) -> None:
    yolo(tmp_path, {"a": f"0 0.5 0.5 0.2 0.2\n{line}\n", "b": "0 0.5 0.5 0.2 0.2"})
    found = read(tmp_path, "boxes")
    assert [row["image"] for row in found.rows] == ["images/train/b.jpg"]
    assert said in found.broken[0]
    assert found.broken[0].startswith("(labels/train/a.txt:2:")


def test_yolo_boxes_over_the_edge_are_clipped_and_repeats_dropped(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.05 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2"})
    found = read(tmp_path, "boxes")
    assert [item["box"] for item in found.rows[0]["objects"]] == [[0.0, 12.0, 6.0, 6.0], [16.0, 12.0, 8.0, 6.0]]
    assert "1 boxes reach out of their picture and were clipped to it" in found.notes
    assert "1 objects that repeat another of their picture exactly were left out" in found.notes


def test_yolo_in_pixels_is_refused_as_a_whole(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 15 9 10 12", "b": "1 20 10 8 6"})
    fault = refused(tmp_path)
    assert "the labels are in pixels, but YOLO's are shares" in fault.what
    assert "labels/train/a.txt:1 (0 15 9 10 12)" in fault.what


def test_yolo_pictures_without_labels_and_labels_without_pictures(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.5 0.5 0.2 0.2", "b": None})
    fault = refused(tmp_path)
    assert "1 of 2 pictures (50.0%) have no label file, and 0.0% may have none: images/train/b.jpg" in fault.what
    assert fault.fix == "label them, or allow them as background with options.background: 0.53"
    found = read(tmp_path, "boxes", background=0.53)
    assert [len(row["objects"]) for row in found.rows] == [1, 0]
    assert "without label files" in found.notes
    (tmp_path / "labels" / "train" / "b.txt").write_text("")
    explicit = read(tmp_path, "boxes")
    assert [len(row["objects"]) for row in explicit.rows] == [1, 0]
    assert "with a label file that says: nothing here" in explicit.notes
    (tmp_path / "labels" / "train" / "ghost.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert "1 label files have no picture: labels/train/ghost.txt" in refused(tmp_path, background=1.0).what


def test_yolo_two_pictures_of_one_name(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.5 0.5 0.2 0.2"})
    save(tmp_path / "images" / "train" / "a.png")
    fault = refused(tmp_path)
    assert "two pictures have one name, so that their label could belong to either: a.jpg and a.png" in fault.what


def test_yolo_splits_and_odd_paths(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.5 0.5 0.2 0.2"})
    yolo(tmp_path, {"b": "1 0.5 0.5 0.2 0.2", "c": "1 0.5 0.5 0.2 0.2"}, "", "val")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: [images/val]\ntest:\nnames: [cat, dog]\n")
    found = read(tmp_path, "boxes")
    assert [row["image"] for row in found.rows] == ["images/train/a.jpg"]
    assert "split 'train' of data is read (1 pictures); left alone: val (2)" in found.notes
    assert len(read(tmp_path, "boxes", split="valid").rows) == 2
    assert "no split 'test'" in refused(tmp_path, split="test").what
    # As Roboflow writes them: relative to a folder that the export no longer has, and a path that was elsewhere.
    (tmp_path / "data.yaml").write_text(
        "path: /content/x\ntrain: ../images/train\nval: ../images/val\nnames: [cat, dog]\n"
    )
    found = read(tmp_path, "boxes")
    assert len(found.rows) == 1
    assert "path in data.yaml (/content/x) is not there" in found.notes
    (tmp_path / "data.yaml").write_text("train: images/nowhere\nnames: [cat, dog]\n")
    fault = refused(tmp_path)
    assert (fault.what, fault.where) == ("there is no images/nowhere", "data/data.yaml, train")


def test_yolo_split_folders_first_and_lists_of_pictures(tmp_path: Path) -> None:
    save(tmp_path / "train" / "images" / "a.jpg")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nnames: [cat]\n")
    assert read(tmp_path, "boxes").rows[0]["image"] == "train/images/a.jpg"
    save(tmp_path / "train" / "images" / "b.jpg")
    (tmp_path / "train.txt").write_text("./train/images/a.jpg\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    assert [row["image"] for row in read(tmp_path, "boxes").rows] == ["train/images/a.jpg"]
    (tmp_path / "train.txt").write_text("./train/images/c.jpg\n")
    assert "1 pictures that it lists are not there: train/images/c.jpg" in refused(tmp_path).what


def test_yolo_without_yaml_takes_a_list_of_classes(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "1 0.5 0.5 0.2 0.2"}, names="")
    assert "nothing says what their classes are called" in refused(tmp_path).what
    assert read(tmp_path, "boxes", names=("x", "y")).rows[0]["objects"][0]["label"] == "y"
    (tmp_path / "labels" / "classes.txt").write_text("cat\r\ndog\r\n")
    found = read(tmp_path, "boxes")
    assert found.rows[0]["objects"][0]["label"] == "dog"
    flat = tmp_path / "flat"
    save(flat / "a.jpg")
    (flat / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (flat / "classes.txt").write_text("cat\ndog\n")
    assert read(flat, "boxes").rows[0]["objects"][0]["label"] == "cat"


def test_yolo_faults_of_the_yaml(tmp_path: Path) -> None:
    for names, said in (
        ("names: [cat, dog]\nnc: 3", "nc says 3 classes, but names has 2"),
        ("names: 5", "it declares no names"),
        ("names: [cat, cat]", "two classes are called 'cat'"),
        ("names: []", "no classes are declared"),
    ):
        yolo(tmp_path, {"a": "0 0.5 0.5 0.2 0.2"}, names)
        assert said in refused(tmp_path).what
    (tmp_path / "data.yaml").write_text("names: [cat\ntrain: {")
    fault = refused(tmp_path / "data.yaml", label="d.yaml")
    assert "not valid YAML" in fault.what
    assert fault.where.startswith("d.yaml:2:")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    assert "it names no pictures" in refused(tmp_path / "data.yaml", label="d.yaml").what


def test_yolo_of_a_turned_picture_is_of_the_shown_one(tmp_path: Path) -> None:
    yolo(tmp_path, {"a": "0 0.5 0.25 0.2 0.5"})
    save_turned(tmp_path / "images" / "train" / "a.jpg", 1, 6)
    found = read(tmp_path, "boxes")
    assert (found.rows[0]["width"], found.rows[0]["height"]) == (30, 40)
    assert found.rows[0]["objects"][0]["box"] == [12.0, 0.0, 6.0, 20.0]
    assert "1 pictures are stored turned (EXIF), and their labels are taken to be" in found.notes
