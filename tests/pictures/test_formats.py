"""Formats of picture data sets: what each gives, how it says what it chose, and every fault by its name and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.picture_sources import HEIGHT, WIDTH, coco, image_folder, read, save, save_mask, save_turned
from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.formats import open_pictures
from tunesmith.pictures.regions import mask_of, rle_of_mask


def refused(path: Path, kind: Any, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path, kind, **options)
    assert caught.value.fix
    assert caught.value.where
    return caught.value


# Folders of classes


def test_class_folders(tmp_path: Path) -> None:
    image_folder(tmp_path, {"dogs": 2, "cats": 3})
    found = read(tmp_path, "label")
    assert found.opened.format == "image-folder"
    assert found.rows[0] == {"id": "cats/0.jpg", "image": "cats/0.jpg", "label": "cats"}
    assert [row["label"] for row in found.rows] == ["cats"] * 3 + ["dogs"] * 2
    assert found.opened.classes == (
        {"id": 0, "name": "cats", "source_id": None},
        {"id": 1, "name": "dogs", "source_id": None},
    )
    assert "2 classes by folder: cats (3), dogs (2)" in found.notes
    assert all((found.opened.root / row["image"]).is_file() for row in found.rows)


def test_hidden_files_upper_case_endings_and_other_letters(tmp_path: Path) -> None:
    save(tmp_path / "Köter" / "größe 1.JPG")
    save(tmp_path / "貓" / "二.PnG")
    save(tmp_path / "貓" / ".hidden.png")
    (tmp_path / "貓" / "._二.png").write_bytes(b"resource fork")
    (tmp_path / "貓" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "貓" / "notes.txt").write_text("x")
    save(tmp_path / ".git" / "a.png")
    save(tmp_path / "__MACOSX" / "a.png")
    found = read(tmp_path, "label")
    assert [(row["image"], row["label"]) for row in found.rows] == [("Köter/größe 1.JPG", "Köter"), ("貓/二.PnG", "貓")]
    assert not found.broken


def test_splits_are_chosen_aloud(tmp_path: Path) -> None:
    image_folder(tmp_path, {"train/cats": 3, "train/dogs": 2, "valid/cats": 1, "valid/dogs": 1, "extra": 1})
    found = read(tmp_path, "label")
    assert {row["image"].split("/")[0] for row in found.rows} == {"train"}
    assert [row["label"] for row in found.rows] == ["cats"] * 3 + ["dogs"] * 2
    assert "split 'train' of data is read (5 pictures); left alone: valid (2)" in found.notes
    assert "folders beside the splits of data were left alone: extra" in found.notes
    assert len(read(tmp_path, "label", split="val").rows) == 2
    fault = refused(tmp_path, "label", split="test")
    assert "no split 'test'" in fault.what
    assert fault.fix == "set data.split (data.eval_split for held-out rows) to one of: train, valid"


def test_a_split_that_is_asked_for_must_exist(tmp_path: Path) -> None:
    image_folder(tmp_path, {"a": 1, "b": 1})
    assert "there are no splits" in refused(tmp_path, "label", split="test").what


def test_classes_may_be_called_as_splits_are(tmp_path: Path) -> None:
    image_folder(tmp_path, {"test": 2, "control": 2})
    assert {row["label"] for row in read(tmp_path, "label").rows} == {"test", "control"}


def test_a_wrapping_folder_is_no_class_and_deep_folders_are_said(tmp_path: Path) -> None:
    image_folder(tmp_path, {"pets-v2/cats/a": 1, "pets-v2/cats/b": 1, "pets-v2/dogs": 2})
    found = read(tmp_path, "label")
    assert {row["label"] for row in found.rows} == {"cats", "dogs"}
    assert "all pictures of data lie in pets-v2" in found.notes
    assert "2 pictures lie deeper: the topmost folder is their class" in found.notes


def test_one_class_is_read_and_left_to_the_audit(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cats": 3})
    found = read(tmp_path, "label")
    assert {row["label"] for row in found.rows} == {"cats"}
    assert "1 class by folder" in found.notes


def test_pictures_beside_class_folders_have_no_label(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cats": 1, "dogs": 1})
    save(tmp_path / "stray.png")
    fault = refused(tmp_path, "label")
    assert "1 of 3 pictures (33.3%) have no class folder" in fault.what
    assert "stray.png" in fault.what
    assert len(read(tmp_path, "label", background=0.5).rows) == 2


def test_an_empty_class_folder_is_a_label_without_pictures(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "eels").mkdir()
    assert "1 class folders have no picture: eels/" in refused(tmp_path, "label").what


def test_empty_and_unlabelled_folders_say_what_is_wanted(tmp_path: Path) -> None:
    for kind in ("label", "boxes", "mask"):
        assert "the folder is empty" in refused(tmp_path, kind).what
    save(tmp_path / "a.jpg")
    fault = refused(tmp_path, "boxes")
    assert "1 pictures, and nothing that labels them" in fault.what
    assert "COCO JSON, YOLO" in fault.fix
    assert "a folder for each class" in refused(tmp_path, "label").fix
    assert "one picture, without a label" in refused(tmp_path / "a.jpg", "label").what


def test_broken_pictures_are_broken_rows_with_their_names(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cats": 2, "dogs": 1})
    (tmp_path / "cats" / "web.jpg").write_bytes(b"<!doctype html>")
    (tmp_path / "cats" / "empty.png").write_bytes(b"")
    found = read(tmp_path, "label")
    assert len(found.rows) == 3
    assert found.broken[0] == "(cats/empty.png) is empty (0 bytes)"
    assert found.broken[1].startswith("(cats/web.jpg) is a web page")


def test_links_that_lead_out_are_refused_by_name(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    image_folder(data, {"cats": 1, "dogs": 1})
    save(elsewhere / "secret.jpg")
    (data / "cats" / "link.jpg").symlink_to(elsewhere / "secret.jpg")
    (data / "cats" / "near.jpg").symlink_to(data / "dogs" / "0.jpg")
    found = read(data, "label")
    assert [row["image"] for row in found.rows] == ["cats/0.jpg", "cats/near.jpg", "dogs/0.jpg"]
    assert found.broken == [
        f"(cats/link.jpg) is a link that leads out of the data folder (to {elsewhere / 'secret.jpg'}); "
        "it is not followed"
    ]
    (data / "birds").symlink_to(elsewhere)
    fault = refused(data, "label")
    assert f"the folder birds is a link that leads out of the data folder (to {elsewhere})" in fault.what
    (data / "birds").unlink()
    (data / "hounds").symlink_to(data / "dogs")  # inside: what it leads to is listed already
    assert len(read(data, "label").rows) == 3
    (tmp_path / "other-name").symlink_to(data)  # the source itself may be a link
    assert len(read(tmp_path / "other-name", "label").rows) == 3


def test_folders_of_rows_are_left_to_others(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels.csv").write_text("image,label\nimages/a.jpg,cat\n")
    assert open_pictures(tmp_path, "label", label="data") is None
    assert open_pictures(tmp_path / "labels.csv", "label", label="data") is None
    (tmp_path / "rows.json").write_text('[{"image": "a.jpg", "label": "x"}]')
    assert open_pictures(tmp_path / "rows.json", "boxes", label="data") is None
    (tmp_path / "objects.json").write_text('{"data": [{"image": "a.jpg", "annotations": []}]}')
    assert open_pictures(tmp_path / "objects.json", "boxes", label="data") is None


def test_formats_of_another_task_say_which(tmp_path: Path) -> None:
    coco(tmp_path / "coco", {"a.jpg": [(1, (1, 1, 5, 5))]})
    fault = refused(tmp_path / "coco", "label")
    assert (
        "COCO JSON, which is for task: object-detection or image-segmentation, not image-classification" in fault.what
    )
    image_folder(tmp_path / "classes", {"cats": 1, "dogs": 1})
    assert "task: image-classification" in refused(tmp_path / "classes", "boxes").what
    save(tmp_path / "masks" / "images" / "a.jpg")
    save_mask(tmp_path / "masks" / "masks" / "a.png", np.zeros((HEIGHT, WIDTH)))
    assert "task: image-segmentation" in refused(tmp_path / "masks", "boxes").what


def test_without_answers_any_folder_gives_its_pictures(tmp_path: Path) -> None:
    coco(tmp_path, {"a.jpg": [(1, (1, 1, 5, 5))], "b/c.jpg": []})
    (tmp_path / "b" / "broken.jpg").write_bytes(b"")
    found = read(tmp_path, "boxes", answered=False)
    assert found.rows[1] == {"id": "b/c.jpg", "image": "b/c.jpg", "width": WIDTH, "height": HEIGHT}
    assert found.broken == ["(b/broken.jpg) is empty (0 bytes)"]
    one = read(tmp_path / "a.jpg", "label", answered=False)
    assert [row["image"] for row in one.rows] == ["a.jpg"]
    assert one.opened.root == tmp_path


# Hugging Face metadata


def test_metadata_beside_pictures(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        rows = [{"file_name": f"{number}.png", "label": "cat", "note": "x"} for number in range(count)]
        for row in rows:
            save(tmp_path / split / row["file_name"])
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / split / "metadata.jsonl").write_text(lines)
    found = read(tmp_path, "label")
    assert found.opened.format == "image-folder-metadata"
    assert found.rows[0] == {"id": "train/0.png", "image": "train/0.png", "label": "cat", "note": "x"}
    assert "split 'train' of data is read (2 pictures); left alone: test (1)" in found.notes
    assert len(read(tmp_path, "label", split="test").rows) == 1


def test_metadata_with_objects_as_data_sets_have_them(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    row = {"file_name": "a.png", "objects": {"bbox": [[1, 2, 10, 8], [30, 20, 15, 5]], "categories": ["cat", "dog"]}}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    found = read(tmp_path, "boxes")
    assert [item["box"] for item in found.rows[0]["objects"]] == [[1.0, 2.0, 10.0, 8.0], [30.0, 20.0, 10.0, 5.0]]
    assert [item["label"] for item in found.rows[0]["objects"]] == ["cat", "dog"]
    assert "1 boxes reach out of their picture" in found.notes


def test_metadata_faults_have_their_line(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\n")
    assert "1 of 2 pictures (50.0%) have no metadata row" in refused(tmp_path, "label").what
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\nc.png,cat\n")
    assert "1 metadata rows have no picture: c.png (metadata.csv:3)" in refused(tmp_path, "label").what
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\na.png,dog\nb.png,cat\n")
    fault = refused(tmp_path, "label")
    assert fault.what == "two rows name the picture a.png (lines 2 and 3)"
    assert fault.where == "data/metadata.csv:3"
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,cat\nb.png,dog\n")
    assert read(tmp_path, "label").broken[0].startswith("(metadata.csv:2) has no label: beside the picture it has text")


# COCO


def test_coco_boxes_with_gappy_ids(tmp_path: Path) -> None:
    boxes = {"a.jpg": [(17, (1.5, 2, 10, 8.25)), (90, (0, 0, 40, 30))], "b.jpg": [(3, (5, 5, 2, 2))]}
    coco(tmp_path, boxes, {17: "cat", 90: "brush", 3: "car"}, iscrowd=1)
    found = read(tmp_path, "boxes")
    assert found.opened.format == "coco"
    assert found.rows[0] == {
        "id": "a.jpg",
        "image": "a.jpg",
        "image_id": 1,
        "width": WIDTH,
        "height": HEIGHT,
        "objects": [
            {"box": [1.5, 2.0, 10.0, 8.25], "label": "cat", "source_id": 17, "crowd": True},
            {"box": [0.0, 0.0, 40.0, 30.0], "label": "brush", "source_id": 90, "crowd": True},
        ],
    }
    classes = PictureClasses.from_json(found.opened.classes or ())
    assert classes.source_ids == (3, 17, 90)
    for row in found.rows:
        for item in row["objects"]:
            index = classes.of_source(item["source_id"])
            assert index is not None
            assert classes.names[index] == item["label"]
    assert "pictures in data/_annotations.coco.json" in found.notes


@pytest.mark.parametrize(
    ("file", "pictures"),
    [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train.json", "images/train"),
        ("annotations/labels.json", "images"),
        ("labels.json", "images"),
        ("labels.json", ""),
        ("labels.json", "data"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_coco_pictures_are_found_where_tools_put_them(tmp_path: Path, file: str, pictures: str) -> None:
    path = coco(tmp_path, {"a.jpg": [(1, (1, 1, 5, 5))]}, file=file, pictures=pictures)
    by_folder = read(tmp_path, "boxes")
    by_file = read(path, "boxes", label="set.json")
    assert (by_folder.opened.root / by_folder.rows[0]["image"]).is_file()
    assert (by_file.opened.root / by_file.rows[0]["image"]).is_file()
    assert by_file.opened.root == path.parent
    assert not by_folder.broken + by_file.broken


def test_coco_splits(tmp_path: Path) -> None:
    for split, names in (("train", ("a.jpg", "b.jpg")), ("valid", ("c.jpg",))):
        coco(
            tmp_path,
            {name: [(1, (1, 1, 5, 5))] for name in names},
            file=f"{split}/_annotations.coco.json",
            pictures=split,
        )
    found = read(tmp_path, "boxes")
    assert [row["image"] for row in found.rows] == ["train/a.jpg", "train/b.jpg"]
    assert "split 'train' of data is read (1 COCO files); left alone: valid (1)" in found.notes
    assert [row["image"] for row in read(tmp_path, "boxes", split="val").rows] == ["valid/c.jpg"]
    coco(tmp_path, {"a.jpg": []}, file="train/other.json", pictures="train")
    assert "several COCO files could be meant" in refused(tmp_path, "boxes").what


def test_coco_regions_as_polygons_and_run_lengths(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[4:9, 3:20] = True
    for segmentation in (rle_of_mask(mask), rle_of_mask(mask, compressed=False), [[3, 4, 20, 4, 20, 9, 3, 9]]):
        coco(tmp_path, {"a.jpg": [(1, (3, 4, 17, 5))]}, segmentation=segmentation)
        found = read(tmp_path, "mask")
        (item,) = found.rows[0]["objects"]
        np.testing.assert_array_equal(mask_of(item["segmentation"], HEIGHT, WIDTH), mask)
        assert [row["name"] for row in found.opened.classes or ()] == ["background", "cat", "dog"]
    coco(tmp_path, {"a.jpg": [(1, (3, 4, 17, 5))]}, segmentation={"size": [9, 9], "counts": [81]})
    assert "run lengths of size [9, 9], but the picture is [30, 40]" in read(tmp_path, "mask").broken[0]
    coco(tmp_path, {"a.jpg": [(1, (3, 4, 17, 5))]}, segmentation=[])
    assert "(a.jpg, annotation 1) has no segmentation" in read(tmp_path, "mask").broken[0]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((50, 5, 5, 5), "has a box outside the picture: 50, 5, 55, 10 (left, top, right, bottom) in 40 x 30"),
        ((35, 5, 50, 5), "has a box of which 10% is inside the picture"),
        ((5, 5, -3, 5), "has an inverted box: 5, 5, 2, 10"),
        ((5, 5, 0, 5), "has a box of zero area"),
        ((0.1, 0.1, 0.5, 0.5), "has a bbox between 0 and 1, a share of the picture where pixels are expected"),
        ((1, 2, 3), "has a bbox that is not x, y, width, height: [1, 2, 3]"),
        (("1", 2, 3, 4), "has a bbox that is not x, y, width, height"),
    ],
)
def test_coco_boxes_at_fault_break_their_row(tmp_path: Path, box: Any, said: str) -> None:
    coco(tmp_path, {"a.jpg": [(1, (1, 1, 5, 5)), (2, box)], "b.jpg": [(1, (2, 2, 9, 9))]})
    found = read(tmp_path, "boxes")
    assert [row["image"] for row in found.rows] == ["b.jpg"]
    assert found.broken[0].startswith(f"(a.jpg, annotation 2) {said}")


def test_coco_boxes_a_little_outside_are_clipped_and_counted(tmp_path: Path) -> None:
    coco(tmp_path, {"a.jpg": [(1, (-2, 5, 10, 5)), (2, (30, 20, 12, 12)), (1, (0, 0, 40, 30.0004)), (1, (1, 1, 2, 2))]})
    found = read(tmp_path, "boxes")
    assert [item["box"] for item in found.rows[0]["objects"]] == [
        [0.0, 5.0, 8.0, 5.0],
        [30.0, 20.0, 10.0, 10.0],
        [0.0, 0.0, 40.0, 30.0],
        [1.0, 1.0, 2.0, 2.0],
    ]
    assert [item.get("clipped", False) for item in found.rows[0]["objects"]] == [True, True, False, False]
    assert "2 boxes reach out of their picture and were clipped to it" in found.notes


def test_coco_of_shares_or_corners_is_refused_as_a_whole(tmp_path: Path) -> None:
    coco(tmp_path, {"a.jpg": [(1, (0.1, 0.2, 0.3, 0.4))], "b.jpg": [(1, (0.5, 0.5, 0.5, 0.5))]})
    assert "all 2 boxes lie between 0 and 1" in refused(tmp_path, "boxes").what
    coco(tmp_path, {"a.jpg": [(1, (20, 15, 35, 28))], "b.jpg": [(1, (2, 3, 9, 9))]})
    assert "the boxes look like corners" in refused(tmp_path, "boxes").what


def test_coco_faults_of_the_file(tmp_path: Path) -> None:
    boxes: dict[str, Any] = {"a.jpg": [(1, (1, 1, 5, 5))], "b.jpg": [(9, (1, 1, 5, 5))]}
    coco(tmp_path, boxes)
    assert read(tmp_path, "boxes").broken == [
        "(b.jpg, annotation 2) has the category_id 9, which is not declared (there are 1, 2)"
    ]
    coco(tmp_path, boxes, changes={"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]})
    assert "two classes have the id 1" in refused(tmp_path, "boxes").what
    coco(tmp_path, boxes, changes={"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}]})
    assert "1 images share the file_name of another: a.jpg" in refused(tmp_path, "boxes").what
    coco(tmp_path, boxes, changes={"images": [{"id": 1, "file_name": "a.jpg"}]})
    assert "1 annotations have no picture: annotation 2 (image_id 2)" in refused(tmp_path, "boxes").what
    coco(tmp_path, boxes)
    (tmp_path / "b.jpg").unlink()
    assert "1 annotations have no picture: b.jpg (not there)" in refused(tmp_path, "boxes").what
    (tmp_path / "a.jpg").unlink()
    assert "pictures that this file names are not found: a.jpg" in refused(tmp_path, "boxes").what
    path = coco(tmp_path, boxes)
    path.write_text(path.read_text()[:60])
    assert refused(path, "boxes", label="x.json").where.startswith("x.json:1:")
    path.write_text('{"images": []}')
    assert "needs a list of objects under 'annotations'" in refused(path, "boxes").what


def test_coco_half_unlabelled_needs_a_share_of_background(tmp_path: Path) -> None:
    coco(tmp_path, {"a.jpg": [(1, (1, 1, 5, 5))], "b.jpg": []})
    fault = refused(tmp_path, "boxes")
    assert "1 of 2 pictures (50.0%) have no annotation, and 0.0% may have none: b.jpg" in fault.what
    assert "options.background: 0.53" in fault.fix
    found = read(tmp_path, "boxes", background=0.5)
    assert found.rows[1]["objects"] == []


def test_coco_parents_of_categories_are_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    coco(tmp_path, {"a.jpg": [(1, (1, 1, 5, 5))]}, changes={"categories": categories})
    found = read(tmp_path, "boxes")
    assert [row["name"] for row in found.opened.classes or ()] == ["cat", "dog"]
    assert "category 0 (pets) only stands above the others" in found.notes


def test_coco_boxes_of_a_picture_stored_turned_are_turned_with_it(tmp_path: Path) -> None:
    for number, orientation in enumerate((6, 8, 5, 7), 1):
        root = tmp_path / str(orientation)
        save_turned(root / "a.jpg", number, orientation)  # stored 40 x 30, shown 30 x 40
        segmentation = [[4, 2, 14, 2, 14, 10, 4, 10]]
        coco(root, {"a.jpg": [(1, (4, 2, 10, 8))]}, segmentation=segmentation)
        found = read(root, "mask")
        row = found.rows[0]
        assert (row["width"], row["height"]) == (30, 40)
        assert "1 pictures are stored turned (EXIF) and labelled as stored" in found.notes
        (item,) = row["objects"]
        x, y, w, h = item["box"]
        assert (w, h) == (8, 10)
        expected = {6: (20, 4), 8: (2, 26), 5: (2, 4), 7: (20, 26)}[orientation]
        assert (x, y) == expected
        mask = mask_of(item["segmentation"], 40, 30)
        assert mask[int(y) : int(y + h), int(x) : int(x + w)].all()
        assert mask.sum() == 80


def test_coco_of_the_shown_picture_stays_and_another_size_is_named(tmp_path: Path) -> None:
    save_turned(tmp_path / "a.jpg", 1, 6, (HEIGHT, WIDTH))  # shown 40 x 30, as the file says
    coco(tmp_path, {"a.jpg": [(1, (4, 2, 10, 8))]})
    found = read(tmp_path, "boxes")
    assert found.rows[0]["objects"][0]["box"] == [4.0, 2.0, 10.0, 8.0]
    assert "turned" not in found.notes
    save_turned(tmp_path / "a.jpg", 1, 3)
    assert "taken to be for the picture as shown" in read(tmp_path, "boxes").notes
    save(tmp_path / "a.jpg", size=(80, 60))
    assert read(tmp_path, "boxes").broken == ["(a.jpg) is said to have 40 x 30, but the picture has 80 x 60"]


def test_coco_names_may_not_lead_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    save(tmp_path / "secret.jpg")
    coco(data, {"a.jpg": [(1, (1, 1, 5, 5))], "../secret.jpg": [(1, (1, 1, 5, 5))], "link.jpg": [(1, (1, 1, 5, 5))]})
    (data / "link.jpg").unlink()
    (data / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    found = read(data, "boxes")
    assert [row["image"] for row in found.rows] == ["a.jpg"]
    assert "(../secret.jpg) lies outside the data folder" in found.broken[0]
    assert "(link.jpg) is a link that leads out of the data folder" in found.broken[1]
