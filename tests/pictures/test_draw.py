"""Pixels of drawn boxes and masks, and panels made of them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tunesmith.pictures import draw, panels
from tunesmith.pictures.detection_scores import DetectionTally, confusion_of_boxes, picture_f1
from tunesmith.pictures.segmentation_scores import pack_mask, tally_masks
from tunesmith.report import panels as report_panels

GREY = (90, 90, 90)
CLASSES = ["cat", "dog", "猫"]


def grey(width: int = 200, height: int = 120) -> Image.Image:
    return Image.new("RGB", (width, height), GREY)


def seen(colour: tuple[int, int, int]) -> np.ndarray:
    """A colour as each common kind of colour vision tells it, after Machado et al. 2009, beside the full one."""
    kinds = [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
    return np.stack([np.array(kind) @ np.array(colour) for kind in kinds])


def test_colours_stay_with_their_class_and_are_told_apart() -> None:
    first = [draw.colour_of(n) for n in range(7)]
    assert draw.hex_of(0) == "#e69f00"
    assert len({draw.colour_of(n) for n in range(60)}) == 60
    for a in range(7):
        for b in range(a):
            apart = np.linalg.norm(seen(first[a]) - seen(first[b]), axis=1)
            assert apart.min() > 40, (a, b)


def test_a_box_is_drawn_where_it_is_and_nowhere_else() -> None:
    picture = grey()
    out = np.asarray(draw.draw_boxes(picture, [{"box": [40, 50, 60, 40], "label": "cat", "score": 0.5}], CLASSES))
    colour = draw.colour_of(0)
    assert tuple(out[70, 40]) == tuple(out[90, 70]) == tuple(out[50, 99]) == colour
    assert tuple(out[70, 70]) == GREY
    assert (out[95:] == GREY).all()
    assert (out[:, 150:] == GREY).all()
    assert (np.asarray(picture) == GREY).all()


def test_scale_moves_boxes_with_a_reduced_picture() -> None:
    whole = grey(960, 720)
    small = draw.fitted(whole)
    assert small.size == (480, 360)
    out = np.asarray(draw.draw_boxes(small, [{"box": [400, 400, 200, 200], "label": "dog"}], CLASSES, scale=0.5))
    assert tuple(out[250, 200]) == tuple(out[250, 299]) == draw.colour_of(1)
    assert tuple(out[250, 250]) == GREY


@pytest.mark.parametrize(
    "box", [[-50, -50, 500, 500], [199, 119, 50, 50], [10, 10, 0, 0], [500, 500, 9, 9], [0, 0, 1, 1]]
)
@pytest.mark.parametrize(
    "label", ["cat", "猫", "unknown", "a label that is far longer than the picture is wide", "x\ny"]
)
def test_boxes_at_any_place_and_any_words_are_drawn(box: list[float], label: str) -> None:
    out = draw.draw_boxes(grey(), [{"box": box, "label": label, "score": 0.25, "crowd": True}], CLASSES)
    assert out.size == (200, 120)
    assert (np.asarray(out) != GREY).any()


def test_words_have_contrast_with_every_class() -> None:
    for number in range(60):
        ground, words = draw.colour_of(number), draw._words_on(draw.colour_of(number))
        a, b = (luminance(c) for c in (ground, words))
        assert (max(a, b) + 0.05) / (min(a, b) + 0.05) >= 4.5


def luminance(colour: tuple[int, int, int]) -> float:
    linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_mask_colours_its_pixels_and_leaves_the_background() -> None:
    mask = np.zeros((120, 200), dtype=np.uint8)
    mask[20:60, 20:60] = 1
    mask[20:60, 100:140] = 255
    out = np.asarray(draw.draw_mask(grey(), mask, bare={0}, share=0.5))
    expected = (np.array(GREY) + draw.colour_of(1)) / 2
    assert np.abs(out[40, 40] - expected).max() <= 1
    assert tuple(out[40, 120]) == (109, 109, 109)
    assert tuple(out[100, 180]) == GREY
    assert tuple(out[40, 20]) == (255, 255, 255)
    # of another size than the picture, as a network predicts it
    half = np.asarray(draw.draw_mask(grey(), mask[::2, ::2], bare={0}, share=0.5))
    assert np.abs(half[40, 40] - expected).max() <= 1
    everything = np.asarray(draw.draw_mask(grey(), mask, share=1.0))
    assert tuple(everything[100, 180]) == draw.colour_of(0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((960, 720), (480, 360)),
        ((300, 200), (300, 200)),
        ((48, 64), (180, 240)),
        ((100, 4000), (16, 640)),
        ((1, 1), (240, 240)),
    ],
)
def test_pictures_fit_the_report(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw.fitted(Image.new("L", size)).size == expected
    assert draw.fitted(Image.new("L", size)).mode == "RGB"


def test_a_picture_in_a_page_is_small_and_holds_nothing_else() -> None:
    rng = np.random.default_rng(0)
    rough = np.repeat(np.repeat(rng.integers(0, 255, (36, 48, 3)), 10, axis=0), 10, axis=1).astype(np.uint8)
    picture = Image.fromarray(rough)
    picture.info["comment"] = b"taken at home"
    picture.getexif()[0x010F] = "camera"
    uri = draw.data_uri(picture)
    head, data = uri.split(",")
    raw = base64.b64decode(data)
    assert head in ("data:image/webp;base64", "data:image/jpeg;base64")
    assert b"home" not in raw
    assert b"camera" not in raw
    assert len(raw) < 60_000
    assert Image.open(io.BytesIO(raw)).size == (480, 360)
    assert draw.data_uri(picture) == uri


def test_jpeg_stands_in_for_a_missing_webp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw.features, "check", lambda name: False)
    assert draw.data_uri(grey()).startswith("data:image/jpeg;base64,/9j/")


def rows_and_boxes() -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]], list[list[dict[str, Any]]]]:
    """Twelve pictures of one or two objects; the tuned model misses the cat of every third, the base finds no dog."""
    rows, base, tuned = [], [], []
    for n in range(12):
        objects = [
            {"box": [10.0, 10.0, 50.0, 50.0], "label": "cat", "crowd": False},
            {"box": [90.0 + n, 20.0, 80.0, 80.0], "label": "dog", "crowd": False},
        ][: 1 + n % 2]
        rows.append({"id": f"p{n}", "image": f"{n}.png", "width": 200, "height": 120, "objects": objects})
        found = [{"box": o["box"], "label": o["label"], "score": 0.9} for o in objects]
        base.append([o for o in found if o["label"] == "cat"])
        tuned.append([o for o in found if o["label"] != "cat" or n % 3])
    return rows, base, tuned


def read(row: Any) -> np.ndarray:
    return np.asarray(grey())


def prepared(made: list[dict[str, Any]]) -> list[report_panels.Panel]:
    """The panels as the report takes them from a file."""
    ready = report_panels.prepare(json.loads(json.dumps(made, allow_nan=False)))
    assert [one.view.get("words") for one in ready if one.macro == "unknown"] == []
    return ready


def test_detection_panels_are_what_the_report_draws() -> None:
    rows, base, tuned = rows_and_boxes()
    before, after = (DetectionTally.of(found, rows, CLASSES) for found in (base, tuned))
    thresholds = {label: best.score for label, best in after.best_thresholds().items()}
    counts = [confusion_of_boxes(found, rows, CLASSES) for found in (base, tuned)]
    made = [
        *panels.detection_galleries(rows, base, tuned, CLASSES, read, thresholds=thresholds, shown=3),
        panels.confusion_panel(CLASSES, *counts),
        *panels.curves_panels(before, after),
        panels.size_panel({"train": panels.object_sizes(rows), "held-out": panels.object_sizes(rows[:1])}),
        panels.detection_table(before, after, thresholds),
    ]
    worst, drawn, confusion, whole, by_class, sizes, table = prepared(made)
    quality = picture_f1(tuned, rows, CLASSES)
    assert [item["id"] for item in worst.view["items"]] == ["p0", "p6", "p3"]
    assert [quality[n] for n in (0, 6, 3)] == [0.0, 0.0, pytest.approx(2 / 3)]
    first = worst.view["items"][0]["pictures"]
    assert [one["name"] for one in first] == ["truth", "base", "tuned"]
    assert [one["caption"] for one in first] == ["cat", "F1 1.00; cat", "F1 0.00; nothing"]
    assert [one["ok"] for one in first] == [None, True, False]
    assert len(drawn.view["items"]) == 3
    assert (
        panels.detection_galleries(rows, None, tuned, CLASSES, read, shown=3)[1]["items"][0]["id"]
        == drawn.view["items"][0]["id"]
    )
    assert [row["label"] for row in confusion.view["matrices"][1]["rows"]] == [*CLASSES, "false"]
    assert [words for words, _, _ in whole.view["chart"].legend] == ["tuned", "base"]
    assert [words for words, _, _ in by_class.view["chart"].legend] == ["cat", "dog"]
    assert "18 objects" in sizes.view["chart"].legend[0][0]
    assert made[5]["edges"] == [48, 64, 96]
    assert table.view["columns"][0][0] == "class"
    assert made[6]["rows"][2][:2] == ["猫", 0]


def test_no_worst_pictures_where_all_are_right() -> None:
    rows, _, _ = rows_and_boxes()
    perfect = [[{"box": o["box"], "label": o["label"], "score": 0.9} for o in row["objects"]] for row in rows]
    assert [one["title"] for one in panels.detection_galleries(rows, None, perfect, CLASSES, read, shown=2)] == [
        "Pictures at random"
    ]
    assert panels.detection_galleries([], None, [], CLASSES, read) == []
    nothing = DetectionTally.of([], [], CLASSES)
    assert [
        one.macro
        for one in prepared(
            [*panels.curves_panels(None, nothing), panels.size_panel({"train": panels.object_sizes([])})]
        )
    ]


def test_segmentation_panels_are_what_the_report_draws() -> None:
    truth = {f"p{n}": np.zeros((120, 200), dtype=np.uint8) for n in range(6)}
    for n, mask in enumerate(truth.values()):
        mask[10:90, 10:90] = 1
        mask[:5] = 255
        mask[20:30, 100 + n :] = 2
    rows = [{"id": name, "image": f"{name}.png"} for name in truth]
    tuned = [
        np.where(m == 255, 0, np.where((m == 2) & (n == 4), 0, m)).astype(np.uint8)
        for n, m in enumerate(truth.values())
    ]
    base = [np.zeros_like(m) for m in tuned]
    names = ["background", "cat", "dog", "never"]
    packed = [[pack_mask(m) for m in found] for found in (base, tuned)]
    tallies = [tally_masks(zip(truth.values(), found, strict=True), 4) for found in (base, tuned)]
    made = panels.segmentation_galleries(rows, *packed, names, read, lambda row: truth[row["id"]], bare={0}, shown=3)
    worst, drawn, table = prepared([*made, panels.segmentation_table(*tallies, names)])
    assert [item["id"] for item in worst.view["items"]] == ["p4"]
    assert worst.view["items"][0]["pictures"][2]["caption"].startswith("mIoU 0.6")
    assert "dog 0.00" in worst.view["items"][0]["pictures"][2]["caption"]
    assert [one["name"] for one in drawn.view["legend"]] == ["cat", "dog", "does not count"]
    assert drawn.view["legend"][0]["colour"] == draw.hex_of(1)
    assert len(table.view["rows"]) == 4


def test_classification_galleries_show_what_was_said() -> None:
    labels = ["cat", "dog"]
    rows = [{"id": f"p{n}", "image": "x", "label": labels[n % 2]} for n in range(5)]
    sure = [{"label": "cat", "probabilities": {"cat": 0.6 + n / 100, "dog": 0.4 - n / 100}} for n in range(5)]
    worst, drawn = prepared(panels.classification_galleries(rows, None, sure, read, shown=2))
    assert [item["id"] for item in worst.view["items"]] == ["p3", "p1"]
    assert worst.view["items"][0]["expected"] == "dog"
    assert worst.view["items"][0]["said"] == [{"name": "tuned", "text": "cat 0.63", "ok": False}]
    assert worst.view["alone"]
    assert len(drawn.view["items"]) == 2


def test_a_report_of_galleries_stays_a_few_megabytes() -> None:
    rng = np.random.default_rng(1)
    noisy = np.clip(
        rng.normal(128, 40, (90, 120, 3)).repeat(8, 0).repeat(8, 1) + rng.normal(0, 6, (720, 960, 3)), 0, 255
    )
    rows, base, tuned = rows_and_boxes()
    made = panels.detection_galleries(rows, base, tuned, CLASSES, lambda row: noisy.astype(np.uint8), shown=2)
    each = len(json.dumps(made)) / sum(len(item["pictures"]) for panel in made for item in panel["items"])
    assert each * 3 * 2 * panels.SHOWN < 4_000_000


def test_objects_are_counted_by_side_without_crowds() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 31.9, 31.9], [0, 0, 32, 32], [0, 0, 9000, 9000]]
    rows = [
        {"id": "a", "objects": [{"box": b, "label": "cat"} for b in boxes] + [{"box": boxes[0], "crowd": True}]},
        {"id": "b"},
    ]
    counts = dict(zip(panels.SIZE_EDGES, panels.object_sizes(rows), strict=False))
    assert {side: n for side, n in counts.items() if n} == {8: 1, 16: 1, 32: 1, 3072 if 3072 in counts else 2048: 1}
    assert "25 % medium" in panels.size_panel({"train": panels.object_sizes(rows)})["note"]
