"""Masks against plain loops, and pictures whose scores one can count."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from tunesmith import metrics
from tunesmith.errors import UserError
from tunesmith.pictures.classification_scores import top_accuracy
from tunesmith.pictures.segmentation_scores import (
    boundary_band,
    boundary_counts,
    count_masks,
    masks_by_class,
    miou_from,
    pack_mask,
    score_masks,
    tally_masks,
    unpack_mask,
)


def blobs(seed: int, shape: tuple[int, int] = (23, 31), classes: int = 4, ignored: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, dtype=np.uint8)
    for _ in range(6):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[y : y + rng.integers(2, 14), x : x + rng.integers(2, 14)] = rng.integers(0, classes)
    mask[rng.random(shape) < ignored] = 255
    return mask


def slow_counts(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    for t, p in zip(true.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if t != 255:
            counts[t, p] += 1
    return counts


def slow_band(inside: np.ndarray, reach: int) -> np.ndarray:
    out = np.zeros_like(inside)
    wide = np.pad(inside, reach)
    for y, x in zip(*np.nonzero(inside), strict=True):
        out[y, x] = not wide[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all()
    return out


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("reach", [1, 2, 5, 40])
def test_boundary_band_equals_the_slow_one(seed: int, reach: int) -> None:
    mask = blobs(seed)
    for label in range(4):
        np.testing.assert_array_equal(boundary_band(mask == label, reach), slow_band(mask == label, reach))


@pytest.mark.parametrize("seed", range(6))
def test_all_scores_equal_plain_loops(seed: int) -> None:
    pairs = [(blobs(10 * seed + n), blobs(10 * seed + n + 1, ignored=0)) for n in range(3)]
    tally = tally_masks(iter(pairs), 6)
    total = sum(slow_counts(t, p, 6) for t, p in pairs)
    ious, dices, edges = [], [], []
    for label in range(6):
        hit, true, found = total[label, label], total[label].sum(), total[:, label].sum()
        both = either = 0
        for t, p in pairs:
            reach = max(1, round(0.02 * math.hypot(*t.shape)))
            a, b = slow_band(t == label, reach), slow_band((p == label) & (t != 255), reach)
            both, either = both + (a & b).sum(), either + (a | b).sum()
        if true + found:
            ious.append(hit / (true + found - hit))
            dices.append(2 * hit / (true + found))
            edges.append(both / either)
    assert len(ious) < 6
    expected = {"miou": np.mean(ious), "dice": np.mean(dices), "boundary_iou": np.mean(edges)}
    expected["pixel_accuracy"] = np.trace(total) / total.sum()
    assert score_masks(tally) == pytest.approx(expected, abs=1e-12)
    assert "boundary_iou" not in score_masks(tally_masks(pairs, 6, boundary=False))
    by_class = masks_by_class(tally, list("abcdef"))
    assert [one.iou for one in by_class if one.iou is not None] == pytest.approx(ious)
    assert [one.pixels for one in by_class] == total.sum(axis=1).tolist()
    assert by_class[5].iou is by_class[5].recall is None


def test_every_picture_has_its_own_score_and_the_bootstrap_is_of_sums() -> None:
    truth = [blobs(n, ignored=0) for n in range(12)]
    base = tally_masks([(t, np.zeros_like(t)) for t in truth], 4)
    tuned = tally_masks([(t, np.where(t == 1, 2, t).astype(np.uint8)) for t in truth], 4)
    own = [float(miou_from(tally_masks([(t, np.zeros_like(t))], 4)[0])) for t in truth]
    assert miou_from(base).tolist() == pytest.approx(own)
    found = metrics.paired_bootstrap(base, tuned, miou_from, resamples=300)
    assert found.tuned == pytest.approx(score_masks(tuned)["miou"])
    assert found.low > 0


def test_a_perfect_mask_scores_one_whatever_is_ignored() -> None:
    true = blobs(3, ignored=0.3)
    filled = np.where(true == 255, 0, true).astype(np.uint8)
    assert set(score_masks(tally_masks([(true, filled)], 4)).values()) == {1.0}
    nothing = np.full((4, 5), 255, dtype=np.uint8)
    assert math.isnan(score_masks(tally_masks([(nothing, np.zeros_like(nothing))], 4))["miou"])
    assert tally_masks([], 3).shape == (0, 15)


def test_boundaries_count_what_area_hides() -> None:
    true = np.zeros((200, 200), dtype=np.uint8)
    true[20:180, 20:180] = 1
    near = np.zeros_like(true)
    near[23:183, 20:180] = 1
    scores = score_masks(tally_masks([(true, near)], 2))
    assert scores["miou"] > 0.93
    assert scores["boundary_iou"] < 0.75
    assert boundary_counts(true, true, 2)[:, 0].tolist() == boundary_counts(true, true, 2)[:, 1].tolist()


@pytest.mark.parametrize(
    ("true", "predicted", "words"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), r"\(2, 2\)"),
        (np.full((2, 2), 7), np.zeros((2, 2)), "class 7"),
        (np.zeros((2, 2)), np.full((2, 2), 255), "class 255"),
    ],
)
def test_masks_that_do_not_fit_are_refused(true: np.ndarray, predicted: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        count_masks(true.astype(np.uint8), predicted.astype(np.uint8), 3)


@pytest.mark.parametrize("shape", [(1, 1), (480, 640), (3, 700)])
def test_a_packed_mask_comes_back_bit_for_bit(shape: tuple[int, int]) -> None:
    mask = blobs(5, shape, classes=200)
    text = json.dumps(pack_mask(mask))
    back = unpack_mask(json.loads(text))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, mask)


def test_a_packed_mask_is_small() -> None:
    mask = np.zeros((480, 640), dtype=np.uint8)
    y, x = np.mgrid[:480, :640]
    for label in range(1, 6):
        mask[(y - 80 * label) ** 2 + (x - 100 * label) ** 2 < 55**2] = label
    assert len(json.dumps(pack_mask(mask))) < 8000


@pytest.mark.parametrize(
    "change", [{"png": "no base 64!"}, {"png": "aGVsbG8="}, {"size": [9, 9]}, {"png": 7}, {"png": None}]
)
def test_a_damaged_mask_is_named(change: dict[str, object]) -> None:
    packed = pack_mask(blobs(1)) | change
    with pytest.raises(UserError, match="can't be read"):
        unpack_mask(packed)


def test_a_cut_mask_and_a_coloured_one_are_named() -> None:
    packed = pack_mask(blobs(1, (60, 60)))
    with pytest.raises(UserError, match="can't be read"):
        unpack_mask(packed | {"png": packed["png"][: len(packed["png"]) // 8 * 4]})
    with pytest.raises(ValueError, match="uint8"):
        pack_mask(np.zeros((2, 2), dtype=np.int64))
    with pytest.raises(UserError):
        unpack_mask({"size": [4, 4]})
    assert Image.MAX_IMAGE_PIXELS


def test_top_five_counts_ties_against_the_model() -> None:
    labels = [f"c{n}" for n in range(10)]
    falling = {"probabilities": {label: 1 - n / 10 for n, label in enumerate(labels)}}
    rows = [{"id": str(n), "label": label} for n, label in enumerate(labels)]
    assert top_accuracy([falling] * 10, rows) == 0.5
    assert top_accuracy([falling] * 10, rows, k=1) == 0.1
    assert top_accuracy([{"probabilities": dict.fromkeys(labels, 0.1)}] * 10, rows) == 0
    assert top_accuracy([falling], [{"id": "x", "label": "strange"}]) == 0
    assert math.isnan(top_accuracy([], []))
