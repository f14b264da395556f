"""Rows of CSV, JSONL and data sets as rows of picture tasks, and `PictureShape` as the data room uses it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import HEIGHT, WIDTH, coco, image_folder, save, save_mask, save_turned
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.pictures.files import read_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.kept import PictureStore


def without_content(row: dict[str, Any] | str) -> dict[str, Any]:
    """A shaped row without the digest of its picture, which it must have."""
    assert isinstance(row, dict), row
    assert re.fullmatch("[0-9a-f]{16}", row["content"])
    return {name: value for name, value in row.items() if name != "content"}


def shape_for(folder: Path, kind: Any, **options: Any) -> PictureShape:
    """A shape that was told of a folder of rows."""
    options.setdefault("store", PictureStore(folder / "kept"))
    shape = PictureShape(kind, **options)
    (folder / "rows.csv").touch()
    assert shape.open(folder / "rows.csv", "rows.csv") is None
    return shape


@pytest.mark.parametrize("column", ["image", "file_name", "filename", "path", "file", "Image_Path"])
@pytest.mark.parametrize("label", ["label", "class", "category"])
def test_columns_by_their_usual_names(tmp_path: Path, column: str, label: str) -> None:
    save(tmp_path / "a b.jpg")
    shape = shape_for(tmp_path, "label")
    assert without_content(shape({"id": "7", column: "a b.jpg", label: "cat", "who": "me"})) == {
        "id": "7",
        "who": "me",
        "image": "a b.jpg",
        "label": "cat",
    }
    assert shape.notes() == [f"pictures are named by column {column} (1)"]


def test_a_csv_through_the_door(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    save(tmp_path / "b.jpg", 2)
    (tmp_path / "rows.csv").write_text("image,label\na.jpg,cat\nb.jpg,dog\nc.jpg,dog\n")
    shape = PictureShape("label")
    shape.open(tmp_path / "rows.csv", "rows.csv")
    store = read_rows(tmp_path / "rows.csv", shape=shape, broken_rows=0.5)
    assert [(row["image"], row["label"]) for row in store] == [("a.jpg", "cat"), ("b.jpg", "dog")]
    assert store.report.broken[0][1] == "names the picture c.jpg, which is not there"
    with pytest.raises(UserError, match=r"rows.csv:4 names the picture c.jpg, which is not there"):
        read_rows(tmp_path / "rows.csv", shape=shape)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "none.jpg", "label": "x"}, "names the picture none.jpg, which is not there"),
        ({"image": "web.jpg", "label": "x"}, "is a web page"),
        ({"image": "a.jpg", "text": "x"}, "has no label: beside the picture it has text; label is expected"),
        ({"text": "x"}, "names no picture: it has the columns text; image is expected"),
        ({"image": 5, "label": "x"}, "names no picture: '5'"),
        ({"image": "a.jpg", "label": ["x", "y"]}, "has a list as its label; one class a picture is expected"),
        ({"image": "out.jpg", "label": "x"}, "is a link that leads out of the data folder"),
        ({"image": "gone.jpg", "label": "x"}, "is a broken link"),
    ],
)
def test_rows_at_fault_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    data = tmp_path / "data"
    save(data / "a.jpg")
    (data / "web.jpg").write_bytes(b"<html>")
    (data / "out.jpg").symlink_to(save(tmp_path / "elsewhere.jpg"))
    (data / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    found = shape_for(data, "label")(row)
    assert isinstance(found, str)
    assert said in found


def test_a_path_that_says_it_leads_elsewhere_is_the_person_s_word(tmp_path: Path) -> None:
    path = save(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "data").mkdir()
    shape = shape_for(tmp_path / "data", "label")
    for name in (str(path), "../elsewhere/a.jpg"):
        row = shape({"image": name, "label": "x"})
        assert isinstance(row, dict)
        assert row["image"] == name


BOXES = [[1, 2, 10, 8], [20, 10, 5, 5]]


@pytest.mark.parametrize(
    "row",
    [
        {"objects": {"bbox": BOXES, "category": ["cat", "dog"], "area": [80, 25]}},
        {"objects": [{"bbox": BOXES[0], "category": "cat"}, {"box": BOXES[1], "label": "dog"}]},
        {"boxes": BOXES, "labels": ["cat", "dog"]},
        {"bbox": json.dumps(BOXES), "labels": '["cat", "dog"]'},
        {
            "objects": [
                {"xmin": 1, "ymin": 2, "xmax": 11, "ymax": 10, "class": "cat"},
                {"bbox": {"x": 20, "y": 10, "width": 5, "height": 5}, "name": "dog"},
            ]
        },
    ],
)
def test_boxes_in_every_usual_shape(tmp_path: Path, row: dict[str, Any]) -> None:
    save(tmp_path / "a.jpg")
    shape = shape_for(tmp_path, "boxes")
    found = shape({"image": "a.jpg", **row})
    assert isinstance(found, dict), found
    assert [item["box"] for item in found["objects"]] == BOXES
    assert [item["label"] for item in found["objects"]] == ["cat", "dog"]
    assert (found["width"], found["height"]) == (WIDTH, HEIGHT)
    assert set(without_content(found)) == {"image", "width", "height", "objects"}


def test_boxes_as_corners_or_centres(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "boxes": [[10, 10, 30, 20]], "labels": ["cat"]}
    for form, expected in (("xywh", [10, 10, 30, 20]), ("xyxy", [10, 10, 20, 10]), ("cxcywh", [-5, 0, 30, 20])):
        found = shape_for(tmp_path, "boxes", box_form=form)(row)
        assert isinstance(found, dict)
        assert found["objects"][0]["box"] == (expected if form != "cxcywh" else [0, 0, 25, 20])
    found = shape_for(tmp_path, "boxes")({**row, "boxes": [[30, 20, 38, 29]]})
    assert isinstance(found, str)
    assert "as corners x1, y1, x2, y2 they would fit: is options.boxes: xyxy meant?" in found


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"objects": [{"bbox": [0.1, 0.1, 0.5, 0.5], "label": "x"}]}, "between 0 and 1, shares of the picture"),
        ({"objects": [{"bbox": [1, 2, 3], "label": "x"}]}, "has a box that is not four numbers"),
        ({"objects": [{"bbox": [1, 2, 3, 4]}]}, "(object 1) has no label: it has bbox"),
        ({"objects": [{"label": "x"}]}, "(object 1) has no box"),
        ({"objects": {"bbox": BOXES, "label": ["x"]}}, "lists of different lengths in objects: bbox 2, label 1"),
        ({"objects": "[[1"}, "has a text in objects that is no JSON"),
        (
            {"xmin": 1, "ymin": 1, "xmax": 3, "ymax": 4, "label": "x"},
            "is one box of a picture (xmin, ymin, xmax, ymax)",
        ),
        ({"label": "x"}, "has no objects: it has the columns image, label"),
        ({"objects": [], "width": 7, "height": 9}, "has width and height 7 x 9, but the picture has 40 x 30"),
    ],
)
def test_boxes_at_fault_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    save(tmp_path / "a.jpg")
    found = shape_for(tmp_path, "boxes")({"image": "a.jpg", **row})
    assert isinstance(found, str)
    assert said in found


def test_boxes_of_a_picture_stored_turned(tmp_path: Path) -> None:
    save_turned(tmp_path / "a.jpg", 1, 6)
    row = {"image": "a.jpg", "width": WIDTH, "height": HEIGHT, "objects": [{"bbox": [4, 2, 10, 8], "label": "x"}]}
    shape = shape_for(tmp_path, "boxes")
    found = shape(row)
    assert isinstance(found, dict)
    assert (found["width"], found["height"]) == (HEIGHT, WIDTH)
    assert found["objects"][0]["box"] == [20, 4, 8, 10]
    assert any("labels were turned with them" in note for note in shape.notes())


def test_pictures_inside_rows_are_written_once(tmp_path: Path) -> None:
    held = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    picture.save(held, "PNG")
    shape = shape_for(tmp_path, "label")
    rows = [
        {"image": held.getvalue(), "label": 1},
        {"image": {"bytes": held.getvalue(), "path": "x.png"}, "label": 1},
        {"image": picture, "label": 1},
    ]
    found = [shape(row) for row in rows]
    json.dumps(found)
    names = [row["image"] for row in found if isinstance(row, dict)]
    assert len(names) == 3
    assert names[0] == names[1]
    for name in names:
        np.testing.assert_array_equal(read_picture(shape.store.folder / name), np.asarray(picture))
    assert len(list(shape.store.folder.rglob("*.png"))) == len(set(names))
    fault = shape({"image": b"no picture", "label": 1})
    assert isinstance(fault, str)
    assert "no picture of a known format" in fault


def test_a_store_that_takes_no_more_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="written to files"):
        PictureStore(tmp_path / "file").take(b"\xff\xd8\xff")


def test_masks_and_regions_in_rows(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    save_mask(tmp_path / "m.png", np.repeat([[0], [1]], [20, 10], axis=0) * np.ones((1, WIDTH)))
    row = {"image": "a.jpg", "mask": "m.png"}
    found = shape_for(tmp_path, "mask", names=("ground", "crack"))(row)
    assert isinstance(found, dict)
    assert found["mask"] == "m.png"
    assert [area["pixels"] for area in found["areas"]] == [800, 400]
    fault = shape_for(tmp_path, "mask")(row)
    assert isinstance(fault, str)
    assert "name them in options.labels" in fault
    fault = shape_for(tmp_path, "mask", names=("ground",))(row)
    assert isinstance(fault, str)
    assert "has a mask (m.png) that holds what no class has: value 1 in 400 pixels" in fault
    polygon = {"label": "cat", "segmentation": [[1, 1, 9, 1, 9, 9]]}
    found = shape_for(tmp_path, "mask")({"image": "a.jpg", "objects": [polygon]})
    assert isinstance(found, dict)
    assert found["objects"][0]["box"] == [1, 1, 8, 8]
    assert found["objects"][0]["segmentation"] == [[1, 1, 9, 1, 9, 9]]


def test_numbers_of_classes_get_the_recipe_s_names(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "objects": {"bbox": BOXES, "category": [1, 0]}}
    found = shape_for(tmp_path, "boxes", names=("cat", "dog"))(row)
    assert isinstance(found, dict)
    assert [(item["label"], item["source_id"]) for item in found["objects"]] == [("dog", 1), ("cat", 0)]
    plain = shape_for(tmp_path, "boxes")(row)
    assert isinstance(plain, dict)
    assert [(item["label"], item["source_id"]) for item in plain["objects"]] == [("1", 1), ("0", 0)]
    fault = shape_for(tmp_path, "boxes", names=("cat",))(row)
    assert isinstance(fault, str)
    assert "has the class id 1; the recipe names 0 to 0" in fault


def test_without_answers_a_row_needs_a_picture_only(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    for kind in ("label", "boxes", "mask"):
        found = shape_for(tmp_path, kind, answered=False)({"image": "a.jpg"})
        assert isinstance(found, dict)
        assert found["image"] == "a.jpg"


def test_a_shape_hands_folders_on_and_tells_classes_and_notes(tmp_path: Path) -> None:
    image_folder(tmp_path / "classes", {"cats": 2, "dogs": 1})
    shape = PictureShape("label")
    opened = shape.open(tmp_path / "classes", "classes")
    assert opened is not None
    rows = [shape(values) for _, values in opened.records if isinstance(values, dict)]
    assert [row["label"] for row in rows if isinstance(row, dict)] == ["cats", "cats", "dogs"]
    assert [row["name"] for row in shape.classes or ()] == ["cats", "dogs"]
    assert shape.pairing is not None
    assert shape.pairing.to_json()["pictures"] == 3
    assert any("pictures in classes" in note for note in shape.notes())


def test_notes_are_whole_where_reading_stops_early(tmp_path: Path) -> None:
    coco(tmp_path, {f"{n}.jpg": [(1, (-1, 1, 5, 5))] for n in range(5)})
    shape = PictureShape("boxes")
    opened = shape.open(tmp_path, "data")
    assert opened is not None
    next(opened.records)
    assert any("1 boxes reach out of their picture" in note for note in shape.notes())


def test_two_classes_may_stand_as_0_and_255(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    for name, high in (("none", 0), ("full", 255), ("one", 1)):
        save_mask(tmp_path / f"{name}.png", np.repeat([[0], [high]], [20, 10], axis=0) * np.ones((1, WIDTH)))
    shape = shape_for(tmp_path, "mask", names=("ground", "crack"))
    areas = [shape({"image": "a.jpg", "mask": f"{name}.png"}) for name in ("none", "full")]
    assert [[area["pixels"] for area in row["areas"]] for row in areas if isinstance(row, dict)] == [[1200], [800, 400]]
    assert areas[1]["areas"][1] == {"label": "crack", "source_id": 255, "pixels": 400}  # type: ignore[index]
    assert [entry["source_id"] for entry in shape.classes or ()] == [0, 255]
    mixed = shape({"image": "a.jpg", "mask": "one.png"})
    assert isinstance(mixed, str)
    assert "value 1 in 400 pixels" in mixed


def test_other_columns_stay_as_far_as_they_are_json(tmp_path: Path) -> None:
    import datetime as dt

    save(tmp_path / "a.jpg")
    shape = shape_for(tmp_path, "label")
    row = {"image": "a.jpg", "label": np.int64(3), "day": dt.date(2024, 1, 2), "raw": b"x", "size": np.zeros(3)}
    assert without_content(shape(row)) == {"image": "a.jpg", "label": 3, "day": "2024-01-02"}
    assert "columns that hold bytes, pictures or arrays were left out: raw, size" in shape.notes()


def test_arrays_are_boxes_and_pictures_too(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    shape = shape_for(tmp_path, "boxes")
    assert shape.folders == (tmp_path, Path())
    row = shape({"image": pixels, "objects": {"bbox": np.array(BOXES), "label": np.array(["cat", "dog"])}})
    assert isinstance(row, dict)
    json.dumps(row)
    assert [item["box"] for item in row["objects"]] == BOXES
    assert shape.folders == (tmp_path, Path(), shape.store.folder)
    np.testing.assert_array_equal(read_picture(shape.store.folder / row["image"]), pixels)


def test_another_picture_under_the_same_name_is_another_row(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    shape = shape_for(tmp_path, "label")
    first, again = (shape({"image": "a.png", "label": "x"}) for _ in range(2))
    save(tmp_path / "a.png", 2)
    other = shape({"image": "a.png", "label": "x"})
    assert first == again
    assert isinstance(first, dict)
    assert isinstance(other, dict)
    assert first["content"] != other["content"]
    assert without_content(first) == without_content(other)
