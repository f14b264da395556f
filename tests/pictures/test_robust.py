"""Damaged pictures and labels, at random: whatever is wrong becomes a named fault and never a stack trace."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.picture_sources import coco, mask_folder, read, save, save_turned, voc, yolo
from tunesmith.errors import UserError
from tunesmith.pictures.class_masks import read_mask_values
from tunesmith.pictures.files import PictureFault, look_at_picture, read_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.likeness import see

STRANGE = [None, 1, -1, 1e308, float("inf"), "x", [], {}, True, [None], "", {"a": 1}, 0.5, [1, 2, 3], 10**30]
POLYGON = [[3, 4, 20, 4, 20, 9, 3, 9]]


def torn(rng: np.random.Generator, content: bytes, letters: bytes | None = None) -> bytes:
    """Bytes with some exchanged, removed, added or cut off; the first few hundred more often."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, max(1, min(len(found), 200) if rng.random() < 0.6 else len(found))))
        drawn = bytes(rng.choice(list(letters or bytes(range(256))), int(rng.integers(1, 9))).astype(np.uint8))
        match int(rng.integers(0, 4)):
            case 0:
                found[at : at + 1] = drawn[:1]
            case 1:
                del found[at : at + int(rng.integers(1, 30))]
            case 2:
                found[at:at] = drawn
            case _:
                found = found[: max(1, at)] if letters is None else found
    return bytes(found)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all that a JSON value holds."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*before, key)
        yield from places(item, (*before, key))


def changed(rng: np.random.Generator, value: Any) -> Any:
    """A JSON value of which one place holds something strange, or nothing."""
    made = copy.deepcopy(value)
    found = list(places(made))
    *way, last = found[int(rng.integers(len(found)))]
    inner = made
    for key in way:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])
    return made


def is_read_or_refused(path: Path, kind: Any) -> bool:
    try:
        read(path, kind, background=1.0)
    except UserError:
        return False
    return True


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
def test_damaged_pictures_are_read_or_named(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(len(suffix))
    whole = [save(tmp_path / f"a.{suffix}", 1, (60, 50)).read_bytes()]
    if suffix == "jpg":
        whole += [
            save_turned(tmp_path / "b.jpg", 2, 6).read_bytes(),
            save(tmp_path / "c.jpg", mode="CMYK").read_bytes(),
        ]
    named = 0
    for number in range(120):
        path = tmp_path / "torn"
        path.write_bytes(torn(rng, whole[number % len(whole)]))
        for work in (look_at_picture, read_picture, see, read_mask_values):
            try:
                with warnings.catch_warnings(action="ignore"):
                    work(path, most_pixels=10**6)  # type: ignore[operator]
            except PictureFault:
                named += 1
    assert named > 50


def test_strange_coco_is_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = {"a.jpg": [(1, (3, 4, 17, 5)), (2, (5, 5, 5, 5))], "b.jpg": [(1, (2, 2, 9, 9))]}
    path = coco(tmp_path, boxes, segmentation=POLYGON)
    whole = json.loads(path.read_text())
    whole["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": [100, 20, 1080]}
    done = []
    for _ in range(150):
        path.write_text(json.dumps(changed(rng, whole)))
        done += [is_read_or_refused(path, kind) for kind in ("boxes", "mask")]
    assert 0 < sum(done) < len(done)


def test_strange_lines_yaml_and_xml_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = yolo(tmp_path / "lines", {"a": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.9 0.1 0.9 0.9", "b": "1 0.5 0.5 0.1 0.1"})
    trees = voc(tmp_path / "trees", {"a": [("cat", (1, 1, 9, 9)), ("dog", (2, 2, 8, 8))], "b": [("cat", (1, 1, 9, 9))]})
    done = []
    for file, root, kinds in (
        (lines / "labels" / "train" / "a.txt", lines, ("boxes", "mask")),
        (lines / "data.yaml", lines, ("boxes",)),
        (trees / "Annotations" / "a.xml", trees, ("boxes",)),
    ):
        whole = file.read_bytes()
        for _ in range(100):
            file.write_bytes(torn(rng, whole, b" \n\t.-0129e5:[]{}'\"#,&*!|><%@\x00\xff"))
            done += [is_read_or_refused(root, kind) for kind in kinds]
        file.write_bytes(whole)
    assert 0 < sum(done) < len(done)


def test_strange_tables_and_rows_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    root = mask_folder(tmp_path / "masks", {"a": np.zeros((30, 40)), "b": np.ones((30, 40))}, "{}")
    tables: list[Any] = [{"0": "g", "1": "c"}, [{"id": 0, "name": "g", "color": [0, 0, 0]}, {"id": 1, "name": "c"}]]
    done = []
    for number in range(100):
        (root / "classes.json").write_text(json.dumps(changed(rng, tables[number % 2])))
        done.append(is_read_or_refused(root, "mask"))
    save(tmp_path / "a.jpg")
    objects = {"bbox": [[1, 2, 10, 8], [3, 3, 4, 4]], "category": ["x", "y"], "segmentation": [POLYGON, POLYGON]}
    runs = {"bbox": [1, 2, 3, 4], "label": "x", "segmentation": {"size": [30, 40], "counts": [100, 20, 1080]}}
    rows: list[Any] = [
        {"image": "a.jpg", "objects": objects, "width": 40, "height": 30},
        {"image": "a.jpg", "objects": [runs]},
        {"image": "a.jpg", "boxes": [[1, 2, 3, 4]], "labels": ["x"]},
        {"image": "a.jpg", "label": "x"},
    ]
    (tmp_path / "rows.csv").touch()
    for number in range(300):
        for kind in ("label", "boxes", "mask"):
            shape = PictureShape(kind)  # type: ignore[arg-type]
            shape.open(tmp_path / "rows.csv", "rows.csv")
            row = shape(changed(rng, rows[number % 4]))
            assert row
            json.dumps(row)
            done.append(isinstance(row, dict))
    assert 0 < sum(done) < len(done)
