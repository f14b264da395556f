"""The contact sheet shows each picture beside what was made of it, the same on every machine and every time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tunesmith.pictures.augment import Augmenter, Sample, contact_sheet
from tunesmith.pictures.draw import colour_of, draw_mask

CLASSES = ["background", "cup", "a cat with a very long name that fits nowhere at all"]


def rows(kind: str = "boxes") -> list[list[Sample]]:
    image = np.full((60, 120, 3), 128, np.uint8)
    mask = np.zeros((60, 120), np.uint8)
    mask[10:50, 20:80] = 1
    boxes = np.array([[20, 10, 80, 50], [90, 5, 118, 55]], np.float32)
    if kind == "boxes":
        sample = Sample(image, boxes, np.array([1, 2]))
    elif kind == "mask":
        sample = Sample(image, mask=mask)
    else:
        sample = Sample(image, labels=np.array([2]))
    augmenter = Augmenter.of("outdoor", (64, 64), kind)  # type: ignore[arg-type]
    return [[sample, *(augmenter(sample, np.random.default_rng([r, i])) for i in range(3))] for r in range(2)]


def share_of(sheet: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((np.asarray(sheet) == colour).all(2).mean())


def test_boxes_are_drawn_in_their_colours_with_a_legend() -> None:
    sheet = contact_sheet(rows(), ["one", "two"], CLASSES, cell=160)
    assert sheet.size == (2 * 16 + 4 * 160 + 3 * 10, sheet.height)
    assert sheet.height > 2 * 160
    assert share_of(sheet, colour_of(1)) > 0.003
    assert share_of(sheet, colour_of(2)) > 0.003
    original = np.asarray(sheet)[:, 16 : 16 + 160]
    assert (original == (128, 128, 128)).all(2).sum() > 4000
    again = contact_sheet(rows(), ["one", "two"], CLASSES, cell=160)
    assert sheet.tobytes() == again.tobytes()


def test_masks_are_painted_but_for_the_background() -> None:
    bare = contact_sheet(rows("mask"), ["one", "two"], CLASSES, cell=120)
    full = contact_sheet(rows("mask"), ["one", "two"], CLASSES, cell=120, background_id=None)
    grey = Image.new("RGB", (4, 4), (128, 128, 128))
    tint = np.asarray(draw_mask(grey, np.zeros((4, 4), np.uint8)))[0, 0].tolist()
    assert share_of(bare, tuple(tint)) == 0
    assert share_of(full, tuple(tint)) > 0.02
    assert share_of(bare, colour_of(1)) > 0  # the legend's chip
    assert share_of(bare, colour_of(0)) == 0


def test_rows_may_differ_in_length_and_names_may_be_long() -> None:
    few = [rows("label")[0][:1], rows("label")[1]]
    sheet = contact_sheet(few, ["x" * 500, ""], CLASSES, cell=90)
    right = np.asarray(sheet)[:, -16:]
    assert (right == 255).all()
    unknown = [[Sample(np.zeros((9, 9, 3), np.uint8), np.array([[1, 1, 5, 5]], np.float32), np.array([7]))]]
    assert contact_sheet(unknown, ["?"], CLASSES).size[0] == 224 + 32


def test_a_sheet_of_nothing_is_refused() -> None:
    for samples, names in (([], []), ([[]], ["one"]), (rows(), ["one"])):
        with pytest.raises(ValueError, match="contact sheet"):
            contact_sheet(samples, names, CLASSES)
