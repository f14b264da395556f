"""Boxes scored beside both reference libraries, on awkward pictures: ties, crowds, all sizes, absent classes."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tunesmith import metrics
from tunesmith.errors import UserError
from tunesmith.pictures.detection_scores import (
    DetectionTally,
    best_thresholds,
    confusion_of_boxes,
    passing,
    picture_f1,
)

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALLS = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")

Boxes = list[list[dict[str, Any]]]
Rows = list[dict[str, Any]]


def pictures(
    seed: int,
    count: int = 12,
    classes: int = 4,
    *,
    grid: float = 4.0,
    crowds: float = 0.15,
    area: bool = False,
    ties: bool = True,
) -> tuple[Boxes, Rows, list[str]]:
    """Objects, and boxes near most of them; a coarse grid and few scores make equal overlaps and equal scores common.

    Without ``ties`` scores are equal in different pictures only.
    """
    rng = np.random.default_rng(seed)
    names = [f"kind {n}" for n in range(classes + 1)]  # the last never occurs in the rows
    predictions, rows = [], []

    def box(scale: float) -> list[float]:
        size = np.exp(rng.normal(np.log(scale), 0.7, 2))
        return [float(v) for v in np.round(np.concatenate([rng.uniform(0, 300, 2), size]) / grid + 1) * grid]

    for number in range(count):
        objects = []
        for _ in range(rng.integers(0, 7)):
            one: dict[str, Any] = {"box": box(rng.choice([15, 60, 150])), "label": str(rng.choice(names[:classes]))}
            one["crowd"] = bool(rng.random() < crowds)
            if area:
                one["area"] = float(one["box"][2] * one["box"][3] * rng.uniform(0.3, 1))
            objects += [one] * (1 + int(rng.random() < 0.1))
        found = []
        for one in objects:
            for _ in range(rng.integers(0, 4)):
                moved = np.array(one["box"]) + np.round(rng.normal(0, 6, 4) / grid) * grid
                label = one["label"] if rng.random() < 0.8 else str(rng.choice(names))
                found.append({"box": np.maximum(moved, grid).tolist(), "label": label})
        found += [{"box": box(50), "label": str(rng.choice(names))} for _ in range(rng.integers(0, 5))]
        for place, one in enumerate(found):
            one["score"] = float(np.round(rng.random(), 1)) + (0.0 if ties else place / 1000)
        rng.shuffle(found)  # type: ignore[arg-type]
        predictions.append(found)
        rows.append({"id": f"r{number}", "objects": objects})
    return predictions, rows, names


def reference(library: str, predictions: Boxes, rows: Rows, names: list[str]) -> tuple[dict[str, float], np.ndarray]:
    """The twelve numbers, and average precision by class, through pycocotools or faster-coco-eval."""
    if library == "pycocotools":
        coco_module = pytest.importorskip("pycocotools.coco")
        evaluator: Any = pytest.importorskip("pycocotools.cocoeval").COCOeval
    else:
        coco_module = pytest.importorskip("faster_coco_eval")
        evaluator = coco_module.COCOeval_faster
    truth = coco_module.COCO()
    annotations = [
        {
            "id": 0,
            "image_id": image,
            "category_id": names.index(one["label"]) + 1,
            "bbox": one["box"],
            "area": one.get("area", one["box"][2] * one["box"][3]),
            "iscrowd": int(one["crowd"]),
        }
        for image, row in enumerate(rows, start=1)
        for one in row["objects"]
    ]
    for number, one in enumerate(annotations, start=1):
        one["id"] = number
    truth.dataset = {
        "info": {},
        "images": [{"id": n, "width": 900, "height": 900} for n in range(1, len(rows) + 1)],
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
    }
    truth.createIndex()
    results = [
        {
            "image_id": image,
            "category_id": names.index(one["label"]) + 1,
            "bbox": list(one["box"]),
            "score": one["score"],
        }
        for image, found in enumerate(predictions, start=1)
        for one in found
    ]
    evaluation = evaluator(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = dict(zip(NAMES + RECALLS, evaluation.stats[:12], strict=True))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = np.where((precision > -1).all(axis=(0, 1)), precision.mean(axis=(0, 1)), np.nan)
    return {name: float(value) for name, value in stats.items() if value > -1}, by_class


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize(
    ("seed", "shape"),
    [
        (0, {}),
        (1, {"classes": 1}),
        (2, {"crowds": 0.6}),
        (3, {"classes": 25, "count": 20}),
        (4, {"grid": 16.0}),
        (5, {"grid": 0.01, "area": True}),
        (6, {"count": 1}),
        (7, {"count": 40, "classes": 2}),
    ],
)
def test_all_twelve_numbers_equal_the_reference(library: str, seed: int, shape: dict[str, Any]) -> None:
    predictions, rows, names = pictures(seed, **shape)
    expected, by_class = reference(library, predictions, rows, names)
    tally = DetectionTally.of(predictions, rows, names)
    found = tally.scores()
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-9)
    ours = np.array([np.nan if one.ap is None else one.ap for one in tally.by_class()])
    np.testing.assert_allclose(ours, by_class, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_equals_the_reference_on_copied_pictures(seed: int) -> None:
    predictions, rows, names = pictures(20 + seed, count=9, ties=False)
    index = np.sort(np.random.default_rng(seed).integers(0, 9, 9))
    expected, _ = reference("pycocotools", [predictions[i] for i in index], [rows[i] for i in index], names)
    tally = DetectionTally.of(predictions, rows, names)
    assert tally.scores(index) == pytest.approx(expected, abs=1e-9)
    assert tally(index) == pytest.approx(expected["ap"], abs=1e-9)
    assert tally(np.flip(index)) == tally(index)


def test_more_than_a_hundred_boxes_are_cut_as_the_reference_cuts_them() -> None:
    predictions, rows, names = pictures(9, count=3, classes=1)
    rng = np.random.default_rng(0)
    for found in predictions:
        found += [{"box": [*rng.uniform(0, 300, 2), 20.0, 20.0], "label": names[0], "score": 0.55} for _ in range(120)]
    expected, _ = reference("pycocotools", predictions, rows, names)
    assert DetectionTally.of(predictions, rows, names).scores() == pytest.approx(expected, abs=1e-9)


OBJECT = {"box": [10.0, 10.0, 40.0, 40.0], "label": "cat", "crowd": False}
HIT = {"box": [10.0, 10.0, 40.0, 40.0], "label": "cat", "score": 0.9}


def test_nothing_found_nothing_there_and_one_of_each() -> None:
    nothing_found = DetectionTally.of([[]], [{"id": "a", "objects": [OBJECT]}], ["cat"])
    assert nothing_found.scores()["ap"] == 0
    assert nothing_found.scores()["ar100"] == 0
    assert nothing_found.best_thresholds() == {}
    nothing_there = DetectionTally.of([[HIT]], [{"id": "a", "objects": []}], ["cat"])
    assert np.isnan(nothing_there.scores()["ap"])
    assert set(nothing_there.scores()) == {"ap"}
    assert nothing_there.curve() == []
    assert nothing_there.by_class()[0].ap is None
    assert np.isnan(DetectionTally.of([], [], ["cat"]).scores()["ap"])
    perfect = DetectionTally.of([[HIT]], [{"id": "a", "objects": [OBJECT]}], ["cat"])
    assert perfect.scores()["ap"] == pytest.approx(1, abs=1e-12)
    assert "ap_large" not in perfect.scores()


def test_classes_that_only_the_base_model_knows_are_left_out() -> None:
    rows = [{"id": "a", "objects": [OBJECT]}]
    strange = HIT | {"label": "zebra", "score": 0.99}
    assert DetectionTally.of([[strange, HIT]], rows, ["cat"]).scores()["ap"] == pytest.approx(1)
    with pytest.raises(UserError, match="class table lacks"):
        DetectionTally.of([[HIT]], rows, ["dog"])


@pytest.mark.parametrize("bad", [{"score": float("nan")}, {"box": [0.0, 0.0, float("inf"), 1.0]}])
def test_a_box_that_is_no_number_is_named(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no finite number") as caught:
        DetectionTally.of([[HIT | bad]], [{"id": "photo-7", "objects": [OBJECT]}], ["cat"])
    assert "photo-7" in caught.value.where


def test_the_bootstrap_sees_a_better_model_and_repeats_itself() -> None:
    predictions, rows, names = pictures(31, count=60)
    worse = [[one | {"box": [v + 9 for v in one["box"]]} for one in found] for found in predictions]
    tuned, base = (DetectionTally.of(p, rows, names) for p in (predictions, worse))
    shared = {"resamples": 200, "seed": 3}
    found = metrics.paired_bootstrap_scores(base, tuned, len(rows), **shared)  # type: ignore[arg-type]
    assert found.low > 0
    assert (found.base, found.tuned) == (base.scores()["ap"], tuned.scores()["ap"])
    assert found == metrics.paired_bootstrap_scores(base, tuned, len(rows), **shared)  # type: ignore[arg-type]
    same = metrics.paired_bootstrap_scores(tuned, tuned, len(rows), **shared)  # type: ignore[arg-type]
    assert (same.low, same.high) == (0, 0)


def test_a_resample_is_much_cheaper_than_matching_anew() -> None:
    predictions, rows, names = pictures(8, count=150, classes=5)
    every = np.arange(len(rows))
    start = time.perf_counter()
    tally = DetectionTally.of(predictions, rows, names)
    matching = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(5):
        tally(every)
    assert (time.perf_counter() - start) / 5 < matching / 5


def test_best_threshold_against_trying_all() -> None:
    predictions, rows, names = pictures(12, count=30, crowds=0.0)
    found = best_thresholds(predictions, rows, names)
    assert set(found) >= set(names[:3])
    for label, best in found.items():
        only = [{"id": row["id"], "objects": [o for o in row["objects"] if o["label"] == label]} for row in rows]

        def tried(cut: float, label: str = label, only: Rows = only) -> tuple[float, float, float]:
            kept = [[one for one in p if one["label"] == label and one["score"] >= cut] for p in predictions]
            counts = confusion_of_boxes(kept, only, [label], 0.0)
            hits, there, boxes = counts[0, 0], counts[0].sum(), counts[:, 0].sum()
            return 2 * hits / (there + boxes), hits / max(1, boxes), hits / there

        # scores are tenths: between them lies every way to cut
        assert best.f1 == pytest.approx(max(tried(n / 10 - 0.05)[0] for n in range(11)))
        assert (best.f1, best.precision, best.recall) == pytest.approx(tried(best.score))


def test_curves_fall_and_average_the_classes() -> None:
    predictions, rows, names = pictures(12, count=30)
    tally = DetectionTally.of(predictions, rows, names)
    whole = tally.curve()
    assert [x for x, _ in whole] == pytest.approx([n / 100 for n in range(101)])
    assert all(a[1] >= b[1] for a, b in pairwise(whole))
    assert np.mean([y for _, y in whole]) == pytest.approx(tally.scores()["ap50"])
    each = [tally.curve(one.label) for one in tally.by_class() if one.objects]
    np.testing.assert_allclose(np.mean(each, axis=0), whole)
    assert tally.curve(names[-1]) == []


def box(x: float, label: str, score: float | None = None) -> dict[str, Any]:
    one: dict[str, Any] = {"box": [x, 0.0, 20.0, 20.0], "label": label}
    return one | ({"crowd": False} if score is None else {"score": score})


def test_confusion_has_missed_and_false() -> None:
    rows = [
        {"id": "a", "objects": [box(0, "cat"), box(50, "dog"), box(100, "dog"), box(200, "cat")]},
        {"id": "b", "objects": [box(0, "dog") | {"crowd": True}]},
    ]
    found = [
        # the surer box of another class leaves the cat to the box of its own class
        [box(1, "dog", 0.95), box(0, "cat", 0.6), box(50, "cat", 0.8), box(300, "dog", 0.7), box(100, "dog", 0.2)],
        [box(2, "dog", 0.9), box(3, "dog", 0.9), box(400, "cat", 0.9)],
    ]
    counts = confusion_of_boxes(found, rows, ["cat", "dog"], {"cat": 0.5})
    #                                cat dog missed
    np.testing.assert_array_equal(counts, [[1, 0, 1], [1, 0, 1], [1, 2, 0]])
    assert picture_f1(found, rows, ["cat", "dog"])[1] == 0
    assert picture_f1([[], []], [{"id": "a", "objects": []}, rows[0]], ["cat", "dog"]) == [1.0, 0.0]
    assert [one["score"] for one in passing(found[0], {"cat": 0.7, "dog": 0.1})] == [0.95, 0.8, 0.7, 0.2]
