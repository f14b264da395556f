"""The shapes that tests of picture tasks draw: their boxes, masks and outlines are those of the pixels."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture(scope="module")
def shapes() -> Any:
    spec = spec_from_file_location("pictures_of_shapes", Path(__file__).parents[1] / "fixtures" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pixels_of(run_lengths: dict[str, Any]) -> np.ndarray:
    """The mask of run lengths, decoded apart from the code that wrote them."""
    height, width = run_lengths["size"]
    values = np.arange(len(run_lengths["counts"])) % 2 == 1
    return np.repeat(values, run_lengths["counts"]).reshape(width, height).T


def test_drawn_shapes_have_the_boxes_they_say(shapes: Any, tmp_path: Path) -> None:
    file = shapes.coco(tmp_path / "coco", count=8, empty=2)
    found = json.loads(file.read_text(encoding="utf-8"))
    shapes.mask_folder(tmp_path / "masks", count=8)
    names = {one["id"]: one["name"] for one in found["categories"]}
    assert len(found["images"]) == 10
    for image in found["images"]:
        here = [one for one in found["annotations"] if one["image_id"] == image["id"]]
        expected = np.zeros((48, 64), np.uint8)
        for one in here:
            pixels = pixels_of(one["segmentation"])
            rows, columns = np.nonzero(pixels)
            assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            expected[pixels] = shapes.LABELS.index(names[one["category_id"]]) + 1
        if here:
            with Image.open(tmp_path / "masks" / "masks" / image["file_name"]) as mask:
                assert np.array_equal(np.asarray(mask), expected)
            theirs = (tmp_path / "masks" / "images" / image["file_name"]).read_bytes()
            assert theirs == (tmp_path / "coco" / image["file_name"]).read_bytes()
    assert len(found["annotations"]) > 8
    folder = shapes.image_folder(tmp_path / "folder", per_class=2, size=32)
    assert sorted(path.name for path in folder.iterdir()) == ["disc", "square", "triangle"]
    assert len(list(folder.rglob("*.png"))) == 6


def test_outlines_are_near_the_pixels(shapes: Any, tmp_path: Path) -> None:
    outlines, runs = (
        json.loads(shapes.coco(tmp_path / kind, count=8, size=(80, 80), segmentation=kind).read_text("utf-8"))
        for kind in ("polygon", "rle")
    )
    names = {one["id"]: one["name"] for one in runs["categories"]}
    for outline, one in zip(outlines["annotations"], runs["annotations"], strict=True):
        assert outline["bbox"] == one["bbox"]
        pixels = pixels_of(one["segmentation"])
        large = Image.new("1", (800, 800))
        ImageDraw.Draw(large).polygon([10 * number for number in outline["segmentation"][0]], fill=1)
        inside = np.asarray(large)[5::10, 5::10]
        union = (inside | pixels).sum()
        assert (inside & pixels).sum() >= (1.0 if names[one["category_id"]] == "square" else 0.85) * union


def test_a_seed_gives_the_same_pictures(shapes: Any, tmp_path: Path) -> None:
    files = [shapes.coco(tmp_path / name, count=3, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert texts[0] == texts[1] != texts[2]
    pictures = [(file.parent / "scene-00.png").read_bytes() for file in files]
    assert pictures[0] == pictures[1] != pictures[2]
