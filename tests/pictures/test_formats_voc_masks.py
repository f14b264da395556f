"""Pascal VOC and folders of masks: what they give, what they say, what they refuse and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import HEIGHT, WIDTH, mask_folder, read, save, save_mask, save_turned, voc
from tunesmith.errors import UserError
from tunesmith.pictures.class_masks import read_class_mask
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.formats import open_pictures


def refused(path: Path, kind: Any, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path, kind, **options)
    assert caught.value.fix
    return caught.value


# Pascal VOC


def test_voc_counts_from_one(tmp_path: Path) -> None:
    voc(tmp_path, {"a": [("cat", (1, 1, 40, 30)), ("dog", (5, 7, 5.5, 9))], "b": []})
    found = read(tmp_path, "boxes")
    assert found.opened.format == "voc"
    assert found.rows[0] == {
        "id": "JPEGImages/a.jpg",
        "image": "JPEGImages/a.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "objects": [
            {"box": [0.0, 0.0, 40.0, 30.0], "label": "cat", "source_id": None, "crowd": False},
            {"box": [4.0, 6.0, 1.5, 3.0], "label": "dog", "source_id": None, "crowd": False},
        ],
    }
    assert found.rows[1]["objects"] == []
    assert "Pascal VOC; boxes are counted from 1" in found.notes
    assert "1 XML files hold no object" in found.notes
    assert PictureClasses.of_rows(found.rows).names == ("cat", "dog")


def test_voc_from_zero_is_the_edge_and_a_little_outside_is_clipped(tmp_path: Path) -> None:
    voc(tmp_path, {"a": [("cat", (0, 5, 10, 10)), ("dog", (30, 20, 45, 31))]}, size=False)
    found = read(tmp_path, "boxes")
    assert [item["box"] for item in found.rows[0]["objects"]] == [[0.0, 4.0, 10.0, 6.0], [29.0, 19.0, 11.0, 11.0]]
    assert "1 boxes begin at 0 although this format counts from 1" in found.notes
    assert "1 boxes reach out of their picture" in found.notes


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((20, 5, 10, 10), "(Annotations/a.xml:6) has an inverted box: xmin, ymin, xmax, ymax are 20, 5, 10, 10"),
        ((20, 5, 20, 10), "(Annotations/a.xml:6) has a box of zero area"),
        ((60, 5, 70, 10), "(Annotations/a.xml:6) has a box outside the picture"),
        (("x", 5, 70, 10), "(Annotations/a.xml:6) has 'x' as <xmin>, which is no number"),
        ((0.2, 0.1, 0.9, 0.8), "shares of the picture where pixels are expected"),
    ],
)
def test_voc_boxes_at_fault_have_file_and_line(tmp_path: Path, box: Any, said: str) -> None:
    voc(tmp_path, {"a": [("cat", box)], "b": [("cat", (1, 1, 9, 9))]})
    found = read(tmp_path, "boxes")
    assert len(found.rows) == 1
    assert said in found.broken[0]


def test_voc_size_must_be_the_picture_s(tmp_path: Path) -> None:
    voc(tmp_path, {"a": [("cat", (1, 1, 9, 9))]})
    save(tmp_path / "JPEGImages" / "a.jpg", size=(80, 60))
    assert read(tmp_path, "boxes").broken == [
        "(Annotations/a.xml) has a <size> of 40 x 30, but the picture has 80 x 60"
    ]
    save_turned(tmp_path / "JPEGImages" / "a.jpg", 1, 6)
    found = read(tmp_path, "boxes")
    assert found.rows[0]["objects"][0]["box"] == [21.0, 0.0, 9.0, 9.0]
    assert "labelled as stored: their labels were turned with them" in found.notes


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "(Annotations/a.xml:2:16) declares a document type"),
        ("<annotation><object></annotation>", "(Annotations/a.xml:1:23) is not valid XML (mismatched tag)"),
        ("<annotation><object>" + "<a>" * 50, "nested deeper"),
        ("", "is not valid XML"),
        ("<annotation><object><bndbox/></object></annotation>", "(Annotations/a.xml:1) has an object without a <name>"),
        (
            "<annotation>\n<object><name>x</name><robndbox/></object></annotation>",
            "(Annotations/a.xml:2) has an object without a <bndbox> (it has name, robndbox)",
        ),
    ],
)
def test_voc_xml_at_fault_is_named_and_never_expanded(tmp_path: Path, content: str, said: str) -> None:
    voc(tmp_path, {"a": [], "b": [("cat", (1, 1, 9, 9))]})
    (tmp_path / "Annotations" / "a.xml").write_text(content)
    found = read(tmp_path, "boxes")
    assert len(found.rows) == 1
    assert said in found.broken[0]
    assert "Annotations/a.xml" in found.broken[0]


def test_voc_splits_by_list_and_pairing(tmp_path: Path) -> None:
    boxes = [("cat", (1, 1, 9, 9))]
    voc(tmp_path, {"a": boxes, "b": boxes, "c": boxes})
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\nb\n")
    (sets / "val.txt").write_text("c\n")
    (sets / "cat_train.txt").write_text("a  1\n")
    assert [row["image"][-5:] for row in read(tmp_path, "boxes").rows] == ["a.jpg", "b.jpg"]
    assert [row["image"][-5:] for row in read(tmp_path, "boxes", split="val").rows] == ["c.jpg"]
    (sets / "train.txt").write_text("a\nz\n")
    assert "1 pictures that ImageSets/Main/train.txt lists are not there: z" in refused(tmp_path, "boxes").what


def test_voc_pairing_faults(tmp_path: Path) -> None:
    voc(tmp_path, {"a": [("cat", (1, 1, 9, 9))], "b": None})
    assert "1 of 2 pictures (50.0%) have no XML file" in refused(tmp_path, "boxes").what
    assert [len(row["objects"]) for row in read(tmp_path, "boxes", background=0.6).rows] == [1, 0]
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    (tmp_path / "Annotations" / "ghost.xml").write_text("<annotation></annotation>")
    assert "1 XML files have no picture: Annotations/ghost.xml" in refused(tmp_path, "boxes").what
    (tmp_path / "Annotations" / "ghost.xml").unlink()
    save(tmp_path / "JPEGImages" / "a.PNG")
    assert "JPEGImages/a.PNG and JPEGImages/a.jpg" in refused(tmp_path, "boxes").what


def test_voc_beside_the_pictures_and_difficult(tmp_path: Path) -> None:
    save(tmp_path / "train" / "a.jpg")
    inner = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox><difficult>1</difficult>"
    (tmp_path / "train" / "a.xml").write_text(f"<annotation><object><name>x</name>{inner}</object></annotation>")
    found = read(tmp_path, "boxes")
    assert found.rows[0]["objects"][0]["difficult"] is True
    assert "1 objects are marked difficult" in found.notes


# Masks


def values(*shown: int) -> np.ndarray:
    """A mask whose rows hold these values in turn."""
    return np.repeat(np.resize(np.array(shown), HEIGHT)[:, None], WIDTH, axis=1)


def test_masks_with_declared_values(tmp_path: Path) -> None:
    mask_folder(tmp_path, {"a": values(0, 7), "b": values(0, 0, 255)}, '{"0": "ground", "7": "crack", "40": "patch"}')
    found = read(tmp_path, "mask")
    assert found.opened.format == "mask-folder"
    assert found.rows[0] == {
        "id": "images/a.jpg",
        "image": "images/a.jpg",
        "mask": "masks/a.png",
        "width": WIDTH,
        "height": HEIGHT,
        "areas": [
            {"label": "ground", "source_id": 0, "pixels": 600},
            {"label": "crack", "source_id": 7, "pixels": 600},
        ],
    }
    classes = PictureClasses.from_json(found.opened.classes or ())
    assert classes.source_ids == (0, 7, 40)
    path = found.opened.root / found.rows[0]["mask"]
    assert set(read_class_mask(path, classes, size=(HEIGHT, WIDTH)).ravel().tolist()) == {0, 1}
    assert "pixels of the masks: ground 58.3%, crack 25.0%" in found.notes
    assert "16.7% of all pixels are 255, which no class has" in found.notes
    assert "no mask has patch" in found.notes


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.json", '["ground", "crack"]'),
        ("classes.json", '{"classes": [{"id": 1, "name": "crack"}, {"id": 0, "name": "ground"}]}'),
        ("label_map.json", '{"ground": 0, "crack": 1}'),
        ("classes.txt", "ground\ncrack\n"),
        ("classes.txt", "0: ground\r\n1: crack\r\n"),
        ("masks/classes.txt", "1 crack\n0 ground\n"),
    ],
)
def test_masks_declare_their_classes_in_many_ways(tmp_path: Path, file: str, text: str) -> None:
    mask_folder(tmp_path, {"a": values(0, 1)})
    (tmp_path / file).write_text(text)
    found = read(tmp_path, "mask")
    assert [(row["name"], row["source_id"]) for row in found.opened.classes or ()] == [("ground", 0), ("crack", 1)]


def test_masks_of_palette_and_colours(tmp_path: Path) -> None:
    palette = [0, 0, 0, 200, 10, 10]
    save(tmp_path / "JPEGImages" / "a.jpg")
    path = save_mask(tmp_path / "SegmentationClass" / "a.png", values(0, 1), palette)
    found = read(tmp_path, "mask")
    assert [row["name"] for row in found.opened.classes or ()] == ["background", "class 1"]
    assert "declared by the palette of 2 colours" in found.notes
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nground:0,0,0::\ncrack:200,10,10::\n")
    found = read(tmp_path, "mask")
    expected = [("ground", "#000000"), ("crack", "#c80a0a")]
    assert [(row["name"], row["source_id"]) for row in found.opened.classes or ()] == expected
    with Image.open(path) as image:
        image.convert("RGB").save(path)
    again = read(tmp_path, "mask")
    assert again.rows == found.rows
    (tmp_path / "labelmap.txt").unlink()
    assert "the masks are coloured (RGB), and nothing says" in refused(tmp_path, "mask").what


def test_masks_of_two_values_need_no_table(tmp_path: Path) -> None:
    for high in (255, 1):
        root = mask_folder(tmp_path / str(high), {"a": values(0, high), "b": values(0)})
        found = read(root, "mask")
        assert [(row["name"], row["source_id"]) for row in found.opened.classes or ()] == [
            ("background", 0),
            ("foreground", high),
        ]
    mask_folder(tmp_path / "many", {"a": values(0, 3, 9)})
    fault = refused(tmp_path / "many", "mask")
    assert "nothing says what the masks' values mean; they are 0, 3, 9" in fault.what
    assert 'classes.json ({"0": "background", "3": "name of 3", "9": "name of 9"})' in fault.fix


def test_masks_at_fault_break_their_row(tmp_path: Path) -> None:
    masks = {"a": values(0, 3, 3), "b": values(0, 1), "c": values(0), "d": values(0)}
    mask_folder(tmp_path, masks, '["ground", "crack"]')
    save(tmp_path / "images" / "c.jpg", size=(20, 10))
    save_turned(tmp_path / "images" / "d.jpg", 1, 6)
    found = read(tmp_path, "mask")
    assert [row["image"] for row in found.rows] == ["images/b.jpg"]
    assert (
        found.broken[0] == "(masks/a.png) holds what no class has: value 3 in 800 pixels (declared: 0 ground, 1 crack)"
    )
    assert found.broken[1] == "(masks/c.png) has 40 x 30 pixels, but its picture has 20 x 10"
    assert found.broken[2].endswith("but its picture has 30 x 40, which is its size before the EXIF turn")


def test_masks_pairing(tmp_path: Path) -> None:
    mask_folder(tmp_path, {"a": values(0, 1), "b": values(0, 1)})
    (tmp_path / "masks" / "b.png").rename(tmp_path / "masks" / "b_mask.png")
    assert [row["mask"] for row in read(tmp_path, "mask").rows] == ["masks/a.png", "masks/b_mask.png"]
    save(tmp_path / "images" / "c.jpg")
    assert "1 of 3 pictures (33.3%) have no mask" in refused(tmp_path, "mask").what
    found = read(tmp_path, "mask", background=0.5)
    assert len(found.rows) == 2
    assert "1 pictures without masks are left out" in found.notes
    save_mask(tmp_path / "masks" / "ghost.png", values(0))
    assert "1 masks have no picture: masks/ghost.png" in refused(tmp_path, "mask", background=1.0).what
    (tmp_path / "masks" / "ghost.png").unlink()
    save_mask(tmp_path / "masks" / "b.png", values(0))
    assert "two masks belong to one picture (images/b.jpg)" in refused(tmp_path, "mask", background=1.0).what


def test_masks_by_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "images" / split / "a.jpg")
        save_mask(tmp_path / "masks" / split / "a.png", values(0, 1))
        save(tmp_path / "other" / split / "images" / "a.jpg")
        save_mask(tmp_path / "other" / split / "masks" / "a.png", values(0, 1))
    assert [row["mask"] for row in read(tmp_path / "other", "mask", split="val").rows] == ["val/masks/a.png"]
    import shutil

    shutil.rmtree(tmp_path / "other")
    found = read(tmp_path, "mask")
    assert [row["image"] for row in found.rows] == ["images/train/a.jpg"]
    assert "left alone: val (1)" in found.notes


def test_the_recipe_s_names_serve_masks_that_nothing_else_declares(tmp_path: Path) -> None:
    mask_folder(tmp_path / "two", {"a": values(0, 255)})
    found = read(tmp_path / "two", "mask", names=("ground", "crack"))
    assert [(row["name"], row["source_id"]) for row in found.opened.classes or ()] == [("ground", 0), ("crack", 255)]
    mask_folder(tmp_path / "many", {"a": values(0, 2)})
    found = read(tmp_path / "many", "mask", names=("ground", "crack", "patch"))
    assert [area["label"] for area in found.rows[0]["areas"]] == ["ground", "patch"]
    (tmp_path / "many" / "classes.txt").write_text("x\ny\nz\n")
    found = read(tmp_path / "many", "mask", names=("z", "y", "x"))
    assert [area["label"] for area in found.rows[0]["areas"]] == ["x", "z"]


def test_a_changed_mask_is_another_row(tmp_path: Path) -> None:
    mask_folder(tmp_path, {"a": values(0, 1)})

    def content() -> str:
        opened = open_pictures(tmp_path, "mask", label="data")
        assert opened is not None
        ((_, row),) = opened.records
        assert isinstance(row, dict)
        return str(row["content"])

    first = content()
    assert content() == first
    save_mask(tmp_path / "masks" / "a.png", values(1, 0))
    assert content() != first
