"""Boxes, outlines and masks move exactly with the picture: a drawn box is warped and held against the warped box."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from tunesmith.data.draws import Draws
from tunesmith.pictures.augment import IGNORE, Sample, Viewpoint, fit, outline_of, place
from tunesmith.pictures.augment.geometry import (
    about,
    from_corners,
    map_points,
    move_boxes,
    quarter_turns,
    rotation,
    scaling,
    translation,
)
from tunesmith.pictures.augment.viewpoint import draw_view
from tunesmith.pictures.augment.warp import move

VIEWS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "flip": {"flip": 1.0},
    "vertical_flip": {"vertical_flip": 1.0},
    "quarter_turn": {"quarter_turn": 1.0},
    "rotate": {"rotate": 30.0},
    "scale": {"scale": (0.5, 1.6)},
    "crop": {"crop": (0.3, 0.9), "aspect": (0.7, 1.4)},
    "perspective": {"perspective": 0.12},
    "translate": {"translate": 0.3},
    "everything": {
        "flip": 0.5, "vertical_flip": 0.5, "quarter_turn": 0.5, "rotate": 45.0, "scale": (0.7, 1.4),
        "perspective": 0.06, "translate": 0.1,
    },
}  # fmt: skip
FITS = ("stretch", "letterbox", "resize-crop")
SIZE = (144, 160)


def boxed(size: tuple[int, int] = (200, 260), box: tuple[int, int, int, int] = (70, 60, 190, 130)) -> Sample:
    """White on black: a filled box in the picture, and as class 1 in the mask."""
    x1, y1, x2, y2 = box
    mask = np.zeros(size, dtype=np.uint8)
    mask[y1:y2, x1:x2] = 1
    return Sample(
        np.repeat(mask[..., None] * np.uint8(255), 3, 2),
        np.array([box], dtype=np.float32),
        np.array([1]),
        mask,
    )


def pixels_box(seen: np.ndarray) -> np.ndarray:
    """The bounding box of true pixels, as x1, y1, x2, y2."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)


def view(settings: dict[str, Any], sample: Sample, how: str, seed: int) -> np.ndarray:
    placed = partial(place_matrix, how=how)
    return draw_view(Viewpoint(**settings), sample.size, SIZE, placed, Draws(np.random.default_rng(seed)))


def place_matrix(source: tuple[int, int], how: Any) -> np.ndarray:
    return place(source, SIZE, how).matrix


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("name", VIEWS)
def test_a_drawn_box_lies_where_its_box_says(name: str, how: str) -> None:
    sample, errors = boxed(), []
    for seed in range(12):
        moved = move(sample, view(VIEWS[name], sample, how, seed), SIZE, fill=0)
        assert moved.boxes is not None
        assert moved.mask is not None
        if not len(moved.boxes):
            assert not (moved.mask == 1).any()
            continue
        by_picture = pixels_box(moved.image[..., 0] > 90)
        by_mask = pixels_box(moved.mask == 1)
        assert np.abs(by_picture - moved.boxes[0]).max() <= 1.0, (seed, by_picture, moved.boxes)
        assert np.abs(by_mask - moved.boxes[0]).max() <= 1.0, (seed, by_mask, moved.boxes)
        errors.append([by_picture - moved.boxes[0], by_mask - moved.boxes[0]])
    # Half a pixel to one side, in the picture or in its mask, would be a wrong convention.
    mean = np.mean(errors, 0)
    assert np.abs(mean[:, :2] + mean[:, 2:]).max() / 2 < 0.25


def test_a_pixel_convention_that_is_off_by_one_half_is_found() -> None:
    sample = boxed()
    matrix = about(rotation(30), (80, 70))
    wrong = translation(-0.5, -0.5) @ matrix @ translation(0.5, 0.5) @ translation(1.2, 0)
    picture = move(sample, matrix, SIZE, fill=0).image[..., 0]
    boxes, _, _ = move_boxes(wrong, np.asarray(sample.boxes), SIZE)
    assert np.abs(pixels_box(picture > 90) - boxes[0]).max() > 1.0


@pytest.mark.parametrize("name", ["rotate", "perspective", "everything"])
def test_an_outline_gives_the_tight_box(name: str) -> None:
    ring = np.array([[130, 40], [200, 100], [130, 160], [60, 100]], dtype=np.float32)
    rows, columns = np.indices((200, 260)) + 0.5
    seen = ((np.abs(columns - 130) / 70 + np.abs(rows - 100) / 60) < 1).astype(np.uint8) * np.uint8(255)
    plain = Sample(np.repeat(seen[..., None], 3, 2), np.array([[60, 40, 200, 160]], dtype=np.float32))
    outlined = Sample(plain.image, plain.boxes, outlines=((ring,),))
    smaller = []
    for seed in range(8):
        matrix = view(VIEWS[name], plain, "stretch", seed)
        tight, loose = move(outlined, matrix, SIZE, fill=0), move(plain, matrix, SIZE, fill=0)
        assert tight.boxes is not None
        assert loose.boxes is not None
        assert tight.outlines is not None
        assert np.abs(pixels_box(tight.image[..., 0] > 60) - tight.boxes[0]).max() <= 1.2
        assert np.allclose(np.concatenate([tight.outlines[0][0].min(0), tight.outlines[0][0].max(0)]), tight.boxes[0])
        smaller.append(
            (tight.boxes[0, 2:] - tight.boxes[0, :2]).prod() / (loose.boxes[0, 2:] - loose.boxes[0, :2]).prod()
        )
    assert max(smaller) <= 1.0 + 1e-6
    assert min(smaller) < 0.9


def test_an_outline_read_from_pixels_keeps_the_box() -> None:
    rows, columns = np.indices((60, 80))
    blob = (columns - 40) ** 2 / 900 + (rows - 30) ** 2 / 225 < 1
    (ring,) = outline_of(blob)
    assert (*ring.min(0), *ring.max(0)) == tuple(pixels_box(blob))
    matrix = about(rotation(45), (40, 30))
    sample = Sample(np.zeros((60, 80, 3), np.uint8), np.array([pixels_box(blob)], np.float32), outlines=((ring,),))
    moved = move(sample, matrix, (60, 80))
    turned = move(Sample(sample.image, mask=blob.astype(np.uint8)), matrix, (60, 80)).mask
    assert moved.boxes is not None
    assert turned is not None
    assert np.abs(pixels_box(turned == 1) - moved.boxes[0]).max() <= 1.0
    assert outline_of(np.zeros((3, 3), bool)) == ()


def test_what_is_cut_away_is_counted_as_a_share_of_the_object() -> None:
    box = np.array([[10, 10, 50, 30]], dtype=np.float32)
    for shift, share, left in [(-30, 0.5, [0, 10, 20, 30]), (-40, 0.25, [0, 10, 10, 30]), (-51, 0.0, [0, 0, 0, 0])]:
        boxes, shares, _ = move_boxes(translation(shift, 0), box, (40, 60))
        assert shares[0] == pytest.approx(share)
        assert boxes[0].tolist() == left
    # A square on its tip, cut in the middle: half of it is left, and its box is that of the half.
    square = np.array([[20, 20, 40, 40]], dtype=np.float32)
    boxes, shares, _ = move_boxes(translation(-30, 0) @ about(rotation(45), (30, 30)), square, (60, 60))
    assert shares[0] == pytest.approx(0.5)
    reach = 10 * 2**0.5
    assert boxes[0] == pytest.approx([0, 30 - reach, reach, 30 + reach], abs=1e-4)


def test_objects_with_too_little_left_are_dropped_and_counted() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    sample = Sample(
        image, np.array([[10, 10, 50, 30], [0, 0, 20, 20], [55, 5, 60, 9]], np.float32), np.array([3, 4, 5])
    )
    for least, labels in [(0.0, [3, 5]), (0.5, [3, 5]), (0.51, [5]), (1.0, [5])]:
        moved = move(sample, translation(-30, 0), (40, 60), min_visible=least)
        assert moved.labels is not None
        assert moved.boxes is not None
        assert moved.labels.tolist() == labels
        assert (len(moved.boxes), moved.dropped) == (len(labels), 3 - len(labels))
    again = move(moved, translation(-30, 0), (40, 60))
    assert again.dropped == 3
    thin = move(sample, scaling(0.2, 0.2), (8, 12), least_side=1.0)
    assert thin.dropped == 1
    assert thin.labels is not None
    assert thin.labels.tolist() == [3, 4]


def test_points_beyond_the_horizon_do_not_come_back() -> None:
    # Seen so askew that the right part of the picture lies behind the viewer.
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0], [-0.008, 0, 1.0]])
    sample = boxed((100, 200), (60, 20, 180, 60))
    moved = move(sample, matrix, (100, 200), fill=0)
    assert moved.boxes is not None
    assert np.isfinite(moved.boxes).all()
    assert np.abs(pixels_box(moved.image[..., 0] > 90) - moved.boxes[0]).max() <= 1.0
    behind, shares, _ = move_boxes(matrix, np.array([[150, 20, 180, 60]], np.float32), (100, 200))
    assert shares.tolist() == [0.0]
    assert not behind.any()


def test_four_corners_go_where_they_are_sent() -> None:
    source = np.array([[0.0, 0], [10, 1], [9, 8], [1, 9]])
    target = np.array([[3.0, 2], [20, 0], [22, 30], [1, 25]])
    assert map_points(from_corners(source, target), source) == pytest.approx(target)


def test_quarter_turns_take_pixels_to_pixels() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    for turns in range(4):
        matrix, size = quarter_turns(turns, (5, 7))
        moved = move(Sample(image, mask=image[..., 0]), matrix, size)
        assert moved.mask is not None
        assert (moved.image == np.rot90(image, -turns)).all()
        assert (moved.mask == np.rot90(image[..., 0], -turns)).all()


@pytest.mark.parametrize("degrees", [0.0, 7.0])
@pytest.mark.parametrize("scale", [0.45, 0.24, 0.1])
def test_what_shrinks_does_not_alias(degrees: float, scale: float) -> None:
    rows, columns = np.indices((400, 400))
    checks = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    side = int(400 * scale)
    matrix = about(rotation(degrees), (side / 2, side / 2)) @ scaling(side / 400, side / 400)
    inside = move(Sample(checks), matrix, (side, side)).image[side // 4 : -side // 4, side // 4 : -side // 4]
    assert inside.std() < 20  # taking pixels without a filter leaves about 127
    assert abs(float(inside.mean()) - 127.5) < 3


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "lanczos"])
def test_placing_is_the_same_picture_by_either_way_of_resampling(how: Any, resample: Any) -> None:
    rows, columns = np.indices((90, 130))
    smooth = np.stack([rows * 2, columns, 255 - columns], 2).astype(np.uint8)
    sample = Sample(smooth)
    placed, placement = fit(sample, (64, 64), how, resample=resample)
    # A turn too small to see takes the other way.
    other = move(sample, about(rotation(1e-4), (32, 32)) @ placement.matrix, (64, 64), resample=resample)
    shown = slice(2, int(placement.scale[1] * 90) - 2 if how == "letterbox" else 62)
    difference = placed.image[shown, 2:62].astype(int) - other.image[shown, 2:62]
    assert np.abs(difference).max() <= 3


def test_fits_lay_pictures_where_they_say() -> None:
    assert place((400, 500), (224, 224), "stretch").scale == (224 / 500, 224 / 400)
    letter = place((400, 500), (416, 416), "letterbox")
    assert letter.scale == (416 / 500, 332 / 400)  # 332.8 becomes 332, as YOLOX has it
    assert letter.shift == (0, 0)
    crop = place((400, 500), (224, 224), "resize-crop")
    assert crop.scale == (320 / 500, 256 / 400)
    assert crop.shift == (-48, -16)
    assert place((400, 500), (224, 224), "resize-crop", shorter=224).shift == (-28, 0)
    # A canvas longer than the resized picture is still full.
    wide = place((400, 500), (100, 400), "resize-crop", shorter=100)
    assert (wide.scale[0] * 500, wide.scale[1] * 400) == (400, 320)
    sample = boxed((100, 50), (0, 0, 50, 100))
    placed, _ = fit(sample, (64, 64), "letterbox")
    assert placed.mask is not None
    assert (placed.image[:, 32:] == 114).all()
    assert (placed.image[:, :32] == 255).all()
    assert (placed.mask[:, 32:] == IGNORE).all()
    assert (placed.mask[:, :32] == 1).all()


@pytest.mark.parametrize(
    ("how", "size", "original"),
    list(itertools.product(FITS, [(64, 64), (48, 96)], [(61, 133), (200, 77), (16, 16), (1, 9), (500, 3)])),
)
def test_the_way_back_is_exact(how: Any, size: tuple[int, int], original: tuple[int, int]) -> None:
    height, width = original
    rng = np.random.default_rng(0)
    ends = np.sort(rng.random((20, 2, 2)), 1) * (width, height)
    boxes = ends.reshape(20, 4).astype(np.float32)
    sample = Sample(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), boxes)
    placed, placement = fit(sample, size, how)
    assert placed.size == size
    canvas = placement.to_canvas(boxes)
    assert placement.to_original(canvas) == pytest.approx(boxes, abs=2e-4)
    assert placed.boxes is not None
    inside = canvas.clip(0, [size[1], size[0], size[1], size[0]])
    full = ((inside[:, 2:] - inside[:, :2]) > 0).all(1)
    assert placed.boxes == pytest.approx(inside[full], abs=1e-3)
    far = placement.to_original(np.array([[-9e4, -9e4, 9e4, 9e4]], dtype=np.float32))
    assert far.tolist() == [[0, 0, width, height]]
    assert (placement.to_original(np.array([[-9e4, -9e4, 9e4, 9e4]]), clip=False)[0, :2] < 0).all()


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("coarse", [1, 4])
def test_masks_come_back_to_the_original(how: Any, coarse: int) -> None:
    sample = boxed((120, 160), (40, 32, 104, 88))
    placed, placement = fit(sample, (256, 256), how)
    assert placed.mask is not None
    predicted = np.where(placed.mask == IGNORE, 0, placed.mask).astype(np.uint8)[
        coarse // 2 :: coarse, coarse // 2 :: coarse
    ]
    back = placement.mask_to_original(predicted)
    assert back.shape == (120, 160)
    assert np.abs(pixels_box(back == 1) - (40, 32, 104, 88)).max() <= coarse
    if how == "resize-crop":
        shown = placement.to_original(np.array([[0, 0, 256, 256]]))[0]
        assert (back[:, : int(shown[0]) - 1] == IGNORE).all()
        assert (back[:, int(shown[0]) + 1 : int(shown[2]) - 1] != IGNORE).all(1).any()
    else:
        assert (back != IGNORE).all()
    double = placement.mask_to_original(predicted, (240, 320))
    assert double.shape == (240, 320)
    assert np.abs(pixels_box(double == 1) - (80, 64, 208, 176)).max() <= 2 * coarse


def test_a_smaller_decoded_picture_takes_its_boxes_along() -> None:
    sample = boxed()
    ring = np.array([[70, 60], [190, 60], [190, 130]], dtype=np.float32)
    sample = Sample(sample.image, sample.boxes, sample.labels, sample.mask, ((ring,),))
    half = sample.with_picture(np.zeros((100, 130, 3), np.uint8))
    assert half.boxes is not None
    assert half.mask is not None
    assert half.outlines is not None
    assert half.boxes.tolist() == [[35, 30, 95, 65]]
    assert pixels_box(half.mask == 1).tolist() == [35, 30, 95, 65]
    assert half.outlines[0][0].tolist() == [[35, 30], [95, 30], [95, 65]]
    assert sample.with_picture(sample.image).boxes is sample.boxes


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": np.zeros((4, 4), np.uint8)},
        {"image": np.zeros((4, 4, 3), np.float32)},
        {"image": np.zeros((0, 4, 3), np.uint8)},
        {"mask": np.zeros((4, 5), np.uint8)},
        {"mask": np.zeros((4, 4), np.int64)},
        {"boxes": np.zeros((4,), np.float32)},
        {"boxes": np.zeros((2, 4), np.float32), "labels": np.zeros(3, np.int64)},
        {"boxes": np.zeros((2, 4), np.float32), "outlines": ()},
        {"outlines": ((),)},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Sample(**{"image": np.zeros((4, 4, 3), np.uint8), **wrong})
