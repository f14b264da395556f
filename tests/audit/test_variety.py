"""What pictures are made of, and what is missing in them, said only where the numbers say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_audits import class_folders, coco, read, sharp, views
from tunesmith.audit.object_variety import FIELDS, gather, object_views
from tunesmith.audit.picture_table import picture_table
from tunesmith.audit.spread import APART, End, classes_apart, histogram, missing_ends
from tunesmith.audit.variety import mirror_likeness, shared_layout, variety_views


def said_of(tmp_path: Path, changes: dict[int, Any], count: int = 40, **more: Any) -> dict[str, Any]:
    class_folders(tmp_path, count, changes)
    class_folders(tmp_path, 6, side="eval")
    data = read(tmp_path, **more)
    return views(variety_views(data, picture_table(data)))


def test_the_ends_of_a_span_that_are_empty() -> None:
    values = np.linspace(0.3, 0.9, 200)
    low, high = End(0.2, "are dark: add some"), End(0.7, "are bright: add some")
    assert missing_ends(values, low, high) == ["none of 200 pictures are dark: add some"]
    assert missing_ends(np.append(values, 0.1), low, None) == ["only 1 of 201 pictures are dark: add some"]
    assert missing_ends(np.append(values, [0.1] * 5), low, high) == []
    assert missing_ends(values[:5], low, high) == []
    assert missing_ends(np.full(50, np.nan), low, high) == []


def test_bins_hold_every_known_value() -> None:
    values = {"train": np.array([-1.0, 0.0, 0.5, 1.0, 9.0, np.nan]), "eval": np.array([])}
    view = histogram("x", "X", values, [0, 0.5, 1], unit="u", labels=["a", "a", "b", "b", None, "a"])
    assert view.data["counts"] == {"train": [2, 3], "eval": [0, 0]}
    assert view.data["classes"] == {"a": [2, 0], "b": [0, 2]}


def test_a_class_that_stands_apart_is_named() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 40), rng.normal(3, 1, 40), rng.normal(0, 1, 40)])
    labels = ["a"] * 40 + ["b"] * 40 + ["c"] * 40
    (words,) = classes_apart(values, labels, "darker", "brighter")
    assert words.startswith("'b' is brighter than the others")
    assert classes_apart(rng.normal(0, 1, 120), labels, "darker", "brighter") == []
    assert classes_apart(np.zeros(120), labels, "darker", "brighter") == []
    assert 0.5 < APART < 1


def test_light_and_background_of_ordinary_pictures(tmp_path: Path) -> None:
    found = said_of(tmp_path, {})
    assert found["light"].said[0].startswith("none of 40 pictures have a mean below 20 %")
    assert sum(found["light"].data["counts"]["train"]) == 40
    assert sum(found["light"].data["counts"]["eval"]) == 6
    assert found["picture-size"].said[0].startswith("all pictures have a longer side of 96 pixels")
    assert sum(found["background"].data["counts"]["train"]) == 40
    assert "can't be told" in found["layout"].said[0]
    assert "hour" not in found


def test_a_class_that_is_darker_is_named(tmp_path: Path) -> None:
    dimmed = {at: (lambda picture: picture.point(lambda value: value * 0.3)) for at in range(0, 40, 2)}
    found = said_of(tmp_path, dimmed)
    assert any("'a' is darker than the others" in words for words in found["light"].said)
    assert not any("have a mean below 20 %" in words for words in found["light"].said)


def test_one_camera_at_one_place(tmp_path: Path) -> None:
    room = np.asarray(sharp(500, (96, 96)), np.float32)

    def filmed(picture: Image.Image) -> Image.Image:
        return Image.fromarray((0.9 * room + 0.1 * np.asarray(picture)).astype(np.uint8))

    found = said_of(tmp_path, {at: filmed for at in range(40)})
    assert "one camera at one place" in found["layout"].said[0]


def test_hours_of_the_day(tmp_path: Path) -> None:
    exif = Image.Exif()
    class_folders(tmp_path, 4)
    class_folders(tmp_path, 4, side="eval")
    for number in range(20):
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 {9 + number % 5:02d}:30:00"
        sharp(number + 50).save(tmp_path / "train" / "a" / f"shot-{number}.jpg", exif=exif.tobytes())
    data = read(tmp_path)
    view = views(variety_views(data, picture_table(data)))["hour"]
    assert view.data["counts"]["train"][9:14] == [4] * 5
    assert any("between 21 and 6" in words for words in view.said)


def test_shared_layouts_and_mirrors() -> None:
    rng = np.random.default_rng(0)
    apart = rng.normal(100, 20, (50, 16, 16)).astype(np.float32)
    assert shared_layout(apart) < 0.02
    common = rng.normal(0, 20, (16, 16))
    assert shared_layout((apart + common).astype(np.float32)) == pytest.approx(0.5, abs=0.08)
    assert np.abs(mirror_likeness(apart)).mean() < 0.2
    assert mirror_likeness((apart + apart[:, :, ::-1]) / 2) == pytest.approx(1, abs=1e-4)
    assert mirror_likeness(np.full((2, 16, 16), 7, np.float32)).tolist() == [0, 0]


def boxed(count: int, draw: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": str(number), "image": "x", "width": 400, "height": 300,
            "objects": [{"label": "ab"[number % 2], "box": draw(number), "crowd": False}],
        }
        for number in range(count)
    ]  # fmt: skip


def test_where_objects_lie_and_how_large_they_are(tmp_path: Path) -> None:
    class_of = {"sides": {"train": boxed(60, lambda number: [180 + number % 9, 130, 40, 40 + number % 5]), "eval": []}}
    data: Any = type("Data", (), class_of)()
    found = views(object_views(data))
    assert found["object-position"].said == [
        "100% of the objects lie in the middle of their picture: add some at the edges"
    ]
    heat = np.array(found["object-position"].data["cells"])
    assert heat.shape == (FIELDS, FIELDS)
    assert heat.sum() == heat[5:7, 5:8].sum() == 60
    assert any("cover less than 1 %" in words for words in found["object-scale"].said)
    assert any("exactly one object" in words for words in found["objects-per-picture"].said)
    assert found["objects-per-picture"].data["counts"]["train"] == [0, 60, 0, 0, 0, 0]


def test_objects_all_over_have_nothing_missing() -> None:
    rng = np.random.default_rng(1)

    def anywhere(_number: int) -> list[float]:
        w, h = 400 * rng.uniform(0.02, 0.9), 300 * rng.uniform(0.02, 0.9)
        return [rng.uniform(0, 400 - w), rng.uniform(0, 300 - h), w, h]

    data: Any = type("Data", (), {"sides": {"train": boxed(400, anywhere), "eval": []}})()
    found = views(object_views(data))
    assert not found["object-scale"].said
    assert not found["object-position"].said


def test_crowds_and_pictures_without_objects() -> None:
    rows = boxed(2, lambda _n: [0, 0, 40, 30])
    rows[0]["objects"][0]["crowd"] = True
    found = gather([*rows, {"id": "9", "width": 10, "height": 10, "objects": []}])
    assert found.counts == [2, 1, 0, 0, 0, 0]
    assert list(found.share) == [pytest.approx(0.01)]


def test_views_of_a_detection_set(tmp_path: Path) -> None:
    for side in ("train", "eval"):
        things = {f"{n}.png": (sharp(n), [{"label": "disc", "box": [10, 10, 30, 30]}]) for n in range(8)}
        coco(tmp_path, things, side)
    data = read(tmp_path, "object-detection")
    assert {"object-scale", "object-position", "light"} <= set(views(variety_views(data, picture_table(data))))
