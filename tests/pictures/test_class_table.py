"""The class table, the pairing table, and masks read by the one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import save, save_mask
from tunesmith.errors import UserError
from tunesmith.pictures.class_masks import IGNORE, read_class_mask, read_mask_values
from tunesmith.pictures.classes import PictureClasses, declared, with_background
from tunesmith.pictures.files import PictureFault
from tunesmith.pictures.pairing import Pairing


@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 2, 3), (3, 17, 90), (90, 3, 17)])
def test_source_ids_round_trip_whatever_they_begin_with(numbers: tuple[int, ...]) -> None:
    names = ("cat", "dog", "eel")
    classes = declared(list(zip(names, numbers, strict=True)), "here")
    assert sorted(classes.source_ids) == list(classes.source_ids)  # type: ignore[type-var]
    for name, number in zip(names, numbers, strict=True):
        index = classes.of_source(number)
        assert index is not None
        assert classes.index(name) == index
        assert classes.source_of(index) == number
    again = PictureClasses.from_json(json.loads(json.dumps(classes.to_json())))
    assert again == classes
    assert [row["id"] for row in classes.to_json()] == [0, 1, 2]
    assert classes.of_source(99) is None
    assert "dog" in classes
    assert "cow" not in classes


def test_a_table_from_rows_has_the_order_of_ids_or_names() -> None:
    rows = [{"objects": [{"label": "b", "source_id": 9}, {"label": "a", "source_id": 12}]}, {"objects": []}]
    assert PictureClasses.of_rows(rows) == PictureClasses(("b", "a"), (9, 12))
    named = [{"label": "z"}, {"label": "a"}, {"label": "z"}]
    assert PictureClasses.of_rows(named) == PictureClasses(("a", "z"), (None, None))
    clash = [{"objects": [{"label": "b", "source_id": 1}, {"label": "a", "source_id": 1}]}]
    assert PictureClasses.of_rows(clash) == PictureClasses(("a", "b"), (None, None))
    masks = [{"areas": [{"label": "crack", "source_id": 255}, {"label": "none", "source_id": 0}]}]
    assert PictureClasses.of_rows(masks).names == ("none", "crack")


def test_tables_at_fault_are_named() -> None:
    for pairs, said in (
        ([], "no classes are declared"),
        ([("a", 1), ("a", 2)], "two classes are called 'a'"),
        ([("a", 1), ("b", 1)], "two classes have the id 1"),
        ([(" ", 1)], "empty name"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            declared(pairs, "classes.txt")
        assert caught.value.where == "classes.txt"
    with pytest.raises(LookupError, match="did you mean 'cat'"):
        PictureClasses(("cat",), (1,)).index("cart")
    assert with_background(PictureClasses(("cat",), (1,))).to_json()[0]["name"] == "background"


def test_the_pairing_table_has_counts_and_five_examples() -> None:
    pairing = Pairing("data/x", "label file")
    for number in range(7):
        pairing.add(f"{number}.jpg", number < 6)
    pairing.add("e.jpg", True, empty=True)
    lines = pairing.lines()
    assert lines[0].split() == ["pictures", "in", "data/x", "8"]
    assert "6  0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ..." in lines[1]
    assert "nothing here" in lines[2]
    assert "1  6.jpg" in lines[3]
    assert lines[4].endswith("0")
    found = json.loads(json.dumps(pairing.to_json()))
    assert (found["pictures"], found["with_labels"], found["without_labels"]) == (8, 6, 1)
    assert found["examples"]["labelled"] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_pairing_stops_where_it_must() -> None:
    half = Pairing("data", "label file", labelled=5, unlabelled=5, examples={"unlabelled": ["a.jpg"]})
    with pytest.raises(UserError, match=r"5 of 10 pictures \(50.0%\) have no label file") as caught:
        half.check(0.0)
    assert "options.background: 0.53" in caught.value.fix
    half.check(0.53)
    orphan = Pairing("data", "mask", labelled=5, orphans=1, examples={"orphans": ["x.png"]})
    with pytest.raises(UserError, match=r"1 masks have no picture: x\.png"):
        orphan.check(1.0)
    with pytest.raises(UserError, match="none of 3 pictures has a mask"):
        Pairing("data", "mask", unlabelled=3).check(1.0)
    with pytest.raises(UserError, match="no pictures"):
        Pairing("data").check(1.0)


CLASSES = PictureClasses(("ground", "crack", "patch"), (0, 7, 40))


def test_values_become_class_numbers(tmp_path: Path) -> None:
    values = np.array([[0, 7], [40, 255]])
    path = save_mask(tmp_path / "a.png", values)
    assert read_class_mask(path, CLASSES).tolist() == [[0, 1], [2, IGNORE]]
    assert read_class_mask(path, CLASSES, size=(2, 2)).dtype == np.uint8
    with pytest.raises(PictureFault, match="has 2 x 2 pixels, but its picture has 5 x 2"):
        read_class_mask(path, CLASSES, size=(2, 5))
    deep = np.array([[0, 7], [40, 40]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png")
    assert read_class_mask(tmp_path / "b.png", CLASSES).tolist() == [[0, 1], [2, 2]]


def test_undeclared_values_are_named_with_their_pixels(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "a.png", np.array([[0, 3, 3], [9, 0, 3]]))
    with pytest.raises(PictureFault, match=r"value 3 in 3 pixels; value 9 in 1 pixels .*declared: 0 ground, 7 crack"):
        read_class_mask(path, CLASSES)
    wide = save_mask(tmp_path / "b.png", np.array([[0, 0, 0], [0, 0, 0]]))
    with pytest.raises(PictureFault, match="before the EXIF turn"):
        read_class_mask(wide, CLASSES, size=(3, 2))


def test_palettes_colours_and_bits(tmp_path: Path) -> None:
    values = np.array([[0, 7], [40, 7]])
    palette = [value for number in range(41) for value in (number, 0, 255 - number)]
    path = save_mask(tmp_path / "p.png", values, palette)
    assert read_mask_values(path).palette[7] == "#0700f8"
    assert read_class_mask(path, CLASSES).tolist() == [[0, 1], [2, 1]]
    coloured = PictureClasses(("ground", "crack", "patch"), ("#0000ff", "#0700f8", "#2800d7"))
    assert read_class_mask(path, coloured).tolist() == [[0, 1], [2, 1]]
    with Image.open(path) as image:
        image.convert("RGB").save(tmp_path / "rgb.png")
    assert read_class_mask(tmp_path / "rgb.png", coloured).tolist() == [[0, 1], [2, 1]]
    with pytest.raises(PictureFault, match="colour #0000ff in 1 pixels"):
        read_class_mask(tmp_path / "rgb.png", PictureClasses(("crack",), ("#0700f8",)))
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "one.png")
    for ids in ((0, 1), (0, 255)):
        assert read_class_mask(tmp_path / "one.png", PictureClasses(("a", "b"), ids)).tolist() == [[0, 1]]
    with pytest.raises(PictureFault, match="JPEG"):
        read_mask_values(save(tmp_path / "a.jpg", mode="L"))
    with pytest.raises(PictureFault, match="mode CMYK"):
        read_mask_values(save(tmp_path / "c.tif", mode="CMYK"))
