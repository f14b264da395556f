"""Regions: run lengths and polygons against masks by hand and, where it is installed, against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunesmith.pictures.class_masks import paint_objects
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.files import PictureFault
from tunesmith.pictures.orientation import turn_pixels
from tunesmith.pictures.regions import (
    RegionFault,
    box_of,
    box_of_mask,
    mask_of,
    mask_of_polygons,
    mask_of_rle,
    rle_of_mask,
    runs_of_text,
    text_of_runs,
    turn_region,
)


def blobs(seed: int, height: int = 23, width: int = 31) -> np.ndarray:
    """A mask with runs of all lengths."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.random((height, width)) < rng.random(), np.ones((1 + seed % 4, 1 + seed % 3))) > 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_round_trip(seed: int, compressed: bool) -> None:
    mask = blobs(seed)
    np.testing.assert_array_equal(mask_of_rle(rle_of_mask(mask, compressed=compressed)), mask)


def test_run_lengths_by_hand() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1]], dtype=bool)
    assert rle_of_mask(mask, compressed=False) == {"size": [2, 3], "counts": [2, 1, 1, 2]}
    assert rle_of_mask(np.ones((2, 2)), compressed=False)["counts"] == [0, 4]
    assert rle_of_mask(np.zeros((2, 2)), compressed=False)["counts"] == [4]
    np.testing.assert_array_equal(mask_of_rle({"size": [2, 3], "counts": "2111"}), mask)  # 2, 1, 1, 2 - 1
    long = [5, 70_000, 3, 100_000, 1, 2, 99_999]
    assert runs_of_text(text_of_runs(long)).tolist() == long


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = blobs(seed)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle_of_mask(mask)["counts"] == theirs["counts"].decode()
    np.testing.assert_array_equal(mask_of_rle(theirs), mask)


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        ({"size": [2, 3], "counts": [2, 1]}, "3 pixels, but its size is 3 x 2"),
        ({"size": [2, 3], "counts": [-1, 7]}, "negative"),
        ({"size": [2], "counts": [6]}, "not .height, width."),
        ({"size": [2, 3]}, "neither text nor a list"),
        ({"size": [2, 3], "counts": [6.5]}, "neither text nor a list"),
        ({"size": [2, 3], "counts": "é"}, "characters"),
        ({"size": [2, 3], "counts": "2P"}, "cut off"),
        ({"size": [2, 3], "counts": "PPPPPPPPPPPPP1"}, "beyond any picture"),
        ({"size": [10**6, 10**6], "counts": "1"}, "more than"),
    ],
)
def test_run_lengths_at_fault_are_named(rle: dict[str, Any], said: str) -> None:
    with pytest.raises(RegionFault, match=said):
        mask_of_rle(rle)


def test_a_polygon_fills_the_pixels_whose_centre_it_holds() -> None:
    mask = mask_of_polygons([[2, 1, 6, 1, 6, 4, 2, 4]], 6, 8)
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(mask, expected)
    beyond = mask_of_polygons([[-5, -5, 3, -5, 3, 3, -5, 3]], 6, 8)
    assert beyond.sum() == 9
    assert beyond[:3, :3].all()
    assert mask_of_polygons([[20, 20, 30, 20, 30, 30]], 6, 8).sum() == 0


def test_polygons_overlap_as_a_union_and_one_crosses_itself() -> None:
    two = mask_of_polygons([[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]], 8, 8)
    assert two.sum() == 16 + 16 - 4
    bow = mask_of_polygons([[0, 0, 8, 8, 8, 0, 0, 8]], 8, 8)
    assert bow[3, 0]
    assert bow[3, 7]
    assert not bow[0, 3]
    assert not bow[7, 3]


@pytest.mark.parametrize("seed", range(6))
def test_a_polygon_s_area_is_that_of_its_corners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turns = np.sort(rng.uniform(0, 2 * np.pi, 12))
    points = np.stack([100 + 80 * np.cos(turns), 90 + 70 * np.sin(turns)], axis=1)
    x, y = points.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    mask = mask_of_polygons([points.ravel().tolist()], 200, 200)
    assert mask.sum() == pytest.approx(area, rel=0.01)
    coco = pytest.importorskip("pycocotools.mask")
    theirs = mask_of_rle(coco.merge(coco.frPyObjects([points.ravel().tolist()], 200, 200)))
    assert (mask & theirs).sum() / (mask | theirs).sum() > 0.97


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        ([1, 2, 3, 4], "2 points"),
        ([1, 2, 3, 4, 5], "pairs"),
        ([1, 2, float("nan"), 4, 5, 6], "no number"),
        ("ab", "list"),
    ],
)
def test_polygons_at_fault_are_named(polygon: Any, said: str) -> None:
    with pytest.raises(RegionFault, match=said):
        mask_of_polygons([polygon], 9, 9)


def test_boxes_of_regions() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:7, 2:9] = True
    assert box_of_mask(mask) == (2.0, 3.0, 7.0, 4.0)
    assert box_of(rle_of_mask(mask)) == (2.0, 3.0, 7.0, 4.0)
    assert box_of([[2, 3, 9, 3, 9, 7, 2, 7]]) == box_of([2, 3, 9, 3, 9, 7, 2, 7]) == (2.0, 3.0, 7.0, 4.0)
    assert box_of_mask(mask & False) is None
    with pytest.raises(RegionFault, match="no segmentation"):
        box_of([])
    with pytest.raises(RegionFault, match="12 x 10 pixels, but the picture has 10 x 12"):
        mask_of(rle_of_mask(mask), 12, 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_turn_with_the_picture(orientation: int) -> None:
    polygon = [[1.0, 2.0, 7.0, 2.0, 7.0, 5.0, 4.0, 9.0]]
    stored = mask_of_polygons(polygon, 11, 14)
    shown = turn_pixels(stored, orientation)
    height, width = shown.shape
    np.testing.assert_array_equal(mask_of(turn_region(rle_of_mask(stored), orientation, 14, 11), height, width), shown)
    turned = mask_of(turn_region(polygon, orientation, 14, 11), height, width)
    assert (turned != shown).sum() <= 2  # a centre on an edge belongs to one side of it, and the side turns too


def test_smaller_objects_are_painted_over_larger_ones() -> None:
    classes = PictureClasses(("background", "cat", "dog"), (None, 3, 7))
    objects = [
        {"label": "dog", "segmentation": [[2, 2, 4, 2, 4, 4, 2, 4]]},
        {"label": "cat", "segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]]},
    ]
    painted = paint_objects(objects, 9, 9, classes, background=0)
    assert painted[3, 3] == 2
    assert painted[0, 0] == 1
    assert painted[8, 8] == 0
    assert paint_objects([], 2, 2, classes, background=255).tolist() == [[255, 255], [255, 255]]
    with pytest.raises(PictureFault, match=r"object 1, cat.*2 points"):
        paint_objects([{"label": "cat", "segmentation": [[0, 0, 1, 1]]}], 4, 4, classes, background=0)
    with pytest.raises(LookupError, match=r"no class 'cta'.*did you mean 'cat'"):
        paint_objects([{"label": "cta", "segmentation": [[0, 0, 1, 1, 2, 0]]}], 4, 4, classes, background=0)
