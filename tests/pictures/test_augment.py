"""Augmentation: seeds give the same picture, steps do not disturb each other, each step does what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tunesmith.data.draws import Draws
from tunesmith.errors import UserError
from tunesmith.pictures.augment import (
    IGNORE,
    PRESETS,
    Augmenter,
    AugmentSettings,
    Background,
    Camera,
    Light,
    Sample,
    Viewpoint,
    mixup,
    mosaic,
    settings_of,
)
from tunesmith.pictures.augment.camera import photographed
from tunesmith.pictures.augment.light import relit

SIZE = (72, 96)
ALL_ON = AugmentSettings(
    preset="outdoor",
    viewpoint=Viewpoint(flip=0.5, vertical_flip=0.5, quarter_turn=0.5, rotate=20, scale=(0.7, 1.3), perspective=0.05),
    light=Light(brightness=0.3, contrast=0.3, hue=20, saturation=0.5, gamma=0.5, shadow=1.0),
    background=Background(paste=0.7, blur=0.5, cut_out=1.0),
    camera=Camera(noise=1.0, jpeg=1.0, motion_blur=1.0, resolution=1.0),
    mosaic=0.5,
    mixup=0.5,
)


def scene(seed: int = 0, size: tuple[int, int] = (100, 140)) -> Sample:
    """A smooth picture with two objects, their boxes, outlines and mask."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    image = np.array(small.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    boxes = np.array([[20, 20, 60, 70], [80, 40, 130, 90]], dtype=np.float32)
    mask = np.zeros(size, dtype=np.uint8)
    rings = []
    for label, (x1, y1, x2, y2) in enumerate(boxes.astype(int), 1):
        mask[y1:y2, x1:x2] = label
        image[y1:y2, x1:x2] = (200, 30 * label, 40)
        rings.append((np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32),))
    return Sample(image, boxes, np.array([1, 2]), mask, tuple(rings))


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(a: Sample, b: Sample) -> bool:
    """Whether two samples are equal to the last bit."""
    arrays = [(getattr(a, n), getattr(b, n)) for n in ("image", "boxes", "labels", "mask")]
    return a.dropped == b.dropped and all((x is None) == (y is None) and np.array_equal(x, y) for x, y in arrays)


@pytest.mark.parametrize("kind", ["boxes", "mask"])
def test_a_seed_gives_the_same_picture_always(kind: Any) -> None:
    settings = ALL_ON if kind == "boxes" else ALL_ON.model_copy(update={"mixup": 0.0})
    one, other = Augmenter.of(settings, SIZE, kind), Augmenter.of(settings, SIZE, kind)
    samples = [scene(i) for i in range(5)]
    for seed in range(6):
        assert same(one(samples[0], rng_of(seed)), other(samples[0], rng_of(seed)))
        rng, again = rng_of(seed), rng_of(seed)
        mix = one.plan(rng)
        assert mix == other.plan(again)
        taken = [samples[0], *(samples[i] for i in mix.rows(5))]
        assert same(one.mixed(taken, mix, rng), other.mixed(taken, mix, again))
    assert not same(one(samples[0], rng_of(0)), one(samples[0], rng_of(1)))


def test_the_input_is_left_alone_and_the_result_is_ones_own() -> None:
    sample = scene()
    before = [np.array(x) for x in (sample.image, sample.boxes, sample.mask)]
    for preset in ("none", "product"):
        made = Augmenter.of(preset, SIZE, "mask")(sample, rng_of(1))
        assert made.mask is not None
        made.image[:] = 0
        made.mask[:] = 0
    assert all(np.array_equal(a, b) for a, b in zip(before, (sample.image, sample.boxes, sample.mask), strict=True))


def test_exactly_one_number_is_taken_whatever_the_settings() -> None:
    ends = set()
    for settings in ("none", "outdoor", ALL_ON):
        rng = rng_of(3)
        augmenter = Augmenter.of(settings, SIZE, "boxes")
        augmenter.plan(rng)
        augmenter(scene(), rng)
        ends.add(int(rng.integers(0, 2**63)))
    assert len(ends) == 1


@pytest.mark.parametrize("off", ["viewpoint", "light", "background", "camera"])
def test_a_group_that_is_off_changes_nothing_that_the_others_draw(off: str) -> None:
    plain = {"viewpoint": Viewpoint(), "light": Light(), "background": Background(), "camera": Camera()}
    settings = AugmentSettings(
        viewpoint=Viewpoint(flip=0.5, rotate=10, translate=0.1, min_visible=0),
        light=Light(brightness=0.1),
        background=Background(cut_out=0.9, cut_out_size=(0.2, 0.4)),
        camera=Camera(jpeg=0.5),
    )
    without = settings.model_copy(update={off: plain[off]})
    sample = replace(scene(), outlines=None)
    for seed in range(5):
        full = Augmenter.of(settings, SIZE, "mask")(sample, rng_of(seed))
        less = Augmenter.of(without, SIZE, "mask")(sample, rng_of(seed))
        assert full.mask is not None
        assert less.mask is not None
        if off in ("light", "camera"):
            assert np.array_equal(full.boxes, less.boxes)
            assert np.array_equal(full.mask, less.mask)
        if off == "viewpoint":
            # Where the rectangle lies does not depend on where the picture does.
            hole = less.mask == IGNORE
            assert (full.mask[hole] == IGNORE).all()
        if off == "background":
            known = full.mask != IGNORE
            assert np.array_equal(full.mask[known], less.mask[known])


def test_a_step_draws_what_it_draws_whichever_others_run() -> None:
    draws = Draws(rng_of(0))
    first = draws.of("a").random(3)
    draws.of("b").random(100)
    assert (draws.of("a").random(3) == first).all()
    assert (Draws(rng_of(0)).of("a").random(3) == first).all()
    assert (draws.of("b").random(3) != first).any()
    assert draws.happens("a", 0.0) is None
    assert draws.happens("a", 1.0) is not None
    hits = sum(Draws(rng_of(i)).happens("a", 0.3) is not None for i in range(1000))
    assert 240 < hits < 360


@pytest.mark.parametrize("kind", ["label", "boxes", "mask"])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_takes_every_picture(preset: Any, kind: Any) -> None:
    augmenter = Augmenter.of(preset, SIZE, kind)
    none = np.zeros((0, 4), np.float32)
    for size in [(100, 140), (1, 1), (3, 400), (400, 3)]:
        image = np.full((*size, 3), 90, np.uint8)
        samples = [
            Sample(image),
            Sample(image, labels=np.array([2])),
            Sample(image, none, np.zeros(0, np.int64), outlines=()),
            Sample(image, np.array([[0, 0, size[1], size[0]]], np.float32), np.array([0]), np.ones(size, np.uint8)),
        ]
        for seed, sample in enumerate(samples):
            made = augmenter(sample, rng_of(seed))
            assert made.size == SIZE
            assert made.image.flags.writeable
            assert (made.boxes is None) == (sample.boxes is None)
            if made.boxes is not None:
                assert made.labels is not None
                assert len(made.boxes) == len(made.labels)
                assert (made.boxes >= 0).all()
                assert (made.boxes <= [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]).all()
    assert augmenter.random == (preset != "none")
    assert not Augmenter.of(AugmentSettings(viewpoint=Viewpoint(min_visible=0.5)), SIZE, kind).random


def test_none_is_the_way_pictures_are_evaluated() -> None:
    from tunesmith.pictures.augment import fit

    for kind, how in (("label", "resize-crop"), ("boxes", "letterbox"), ("mask", "stretch")):
        made = Augmenter.of("none", SIZE, kind)(scene(), rng_of(0))  # type: ignore[arg-type]
        assert same(made, fit(scene(), SIZE, how)[0])  # type: ignore[arg-type]


# Light


def lit(image: np.ndarray, settings: Light, seed: int = 0) -> np.ndarray:
    return np.asarray(relit(Image.fromarray(image), settings, Draws(rng_of(seed)))).astype(int)


def test_light_keeps_greys_grey_and_levels_in_order() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2).repeat(20, 0)
    for seed in range(8):
        colours = lit(ramp, Light(hue=180, saturation=1.0), seed)
        assert np.abs(colours - ramp).max() <= 1
        tones = lit(ramp, Light(brightness=0.5, contrast=0.5, gamma=1.0), seed)
        assert (np.diff(tones[0, :, 0]) >= 0).all()
        assert (tones[..., 0] == tones[..., 2]).all()


def test_light_stays_within_its_ranges() -> None:
    flat = np.full((32, 32, 3), 100, np.uint8)
    bright = [lit(flat, Light(brightness=0.4), seed).mean() for seed in range(40)]
    assert 60 - 1 <= min(bright) < 75
    assert 125 < max(bright) <= 140 + 1
    halves = np.concatenate([flat, flat + np.uint8(50)])
    apart = [np.ptp(lit(halves, Light(contrast=0.4), seed)) for seed in range(40)]
    assert 29 <= min(apart) < 38
    assert 62 < max(apart) <= 71
    assert [lit(halves, Light(contrast=0.4), seed).mean() for seed in range(9)] == pytest.approx([125] * 9, abs=1.5)
    red = np.full((8, 8, 3), (180, 60, 60), np.uint8)
    pale = [np.ptp(lit(red, Light(saturation=1.0), seed)[0, 0]) for seed in range(40)]
    assert min(pale) < 20
    assert 200 < max(pale) <= 245
    assert all(lit(red, Light(hue=60), seed)[0, 0].argmax() == 0 for seed in range(9))
    assert {int(lit(red, Light(hue=180), seed)[0, 0].argmax()) for seed in range(30)} == {0, 1, 2}


def test_a_shadow_only_darkens_and_has_no_hard_edge() -> None:
    flat = np.full((120, 160, 3), 200, np.uint8)
    fell = 0
    for seed in range(12):
        dark = lit(flat, Light(shadow=1.0, shadow_depth=(0.5, 0.5)), seed)[..., 0]
        assert dark.max() <= 200
        assert dark.min() >= 99
        fell += dark.min() < 110
        assert max(np.abs(np.diff(dark, axis=0)).max(), np.abs(np.diff(dark, axis=1)).max()) <= 50
    assert fell >= 9


# Camera


def shot(image: np.ndarray, settings: Camera, seed: int = 0) -> np.ndarray:
    return np.asarray(photographed(Image.fromarray(image), settings, Draws(rng_of(seed)))).astype(int)


def test_noise_has_the_level_it_says() -> None:
    flat = np.full((100, 100, 3), 128, np.uint8)
    for level in (2.0, 10.0, 30.0):
        noisy = shot(flat, Camera(noise=1.0, noise_level=(level, level)))
        assert noisy.std() == pytest.approx(level, rel=0.05)
        assert noisy.mean() == pytest.approx(128, abs=1)


def test_motion_blur_moves_nothing() -> None:
    dot = np.zeros((61, 61, 3), np.uint8)
    dot[30, 30] = 255
    wide = []
    for seed in range(12):
        seen = shot(dot, Camera(motion_blur=1.0, motion_length=(0.13, 0.13)), seed)[..., 0]
        rows, columns = np.nonzero(seen)
        weights = seen[rows, columns]
        assert abs(np.average(rows, weights=weights) - 30) <= 0.6
        assert abs(np.average(columns, weights=weights) - 30) <= 0.6
        wide.append(max(np.ptp(rows), np.ptp(columns)))
    assert min(wide) >= 4
    assert max(wide) <= 9
    bright = np.full((40, 40, 3), 250, np.uint8)
    assert (shot(bright, Camera(motion_blur=1.0, motion_length=(0.2, 0.2))) >= 248).all()


def test_resolution_and_jpeg_lose_detail_and_keep_the_size() -> None:
    rows, columns = np.indices((64, 80))
    fine = np.repeat((((rows // 2 + columns // 2) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    blurred = shot(fine, Camera(resolution=1.0, resolution_scale=(0.3, 0.3)))
    assert blurred.shape == fine.shape
    assert blurred.std() < 60
    photo = scene().image
    lost = [np.abs(shot(photo, Camera(jpeg=1.0, jpeg_quality=(q, q))) - photo).mean() for q in (5, 40, 95)]
    assert lost[0] > lost[1] > lost[2] > 0


# Background


def behind(settings: Background, sample: Sample, seed: int, **more: Any) -> Sample:
    return Augmenter.of(AugmentSettings(background=settings), sample.size, "mask", **more)(sample, rng_of(seed))


@pytest.mark.parametrize("known", ["mask", "outlines"])
def test_another_background_leaves_the_object_as_it_is(known: str) -> None:
    sample = scene()
    mask = sample.mask
    assert mask is not None
    sample = replace(sample, outlines=None) if known == "mask" else replace(sample, mask=None)
    inside = np.zeros(mask.shape, bool)
    for x1, y1, x2, y2 in np.asarray(sample.boxes).astype(int):
        inside[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] = True
    changed = []
    for seed in range(6):
        made = behind(Background(paste=1.0), sample, seed)
        assert np.abs(made.image.astype(int) - sample.image)[inside].max() <= 1
        changed.append((made.image != sample.image)[mask == 0].mean())
        assert np.array_equal(made.boxes, sample.boxes)
    assert min(changed) > 0.7
    blurred = behind(Background(blur=1.0, blur_radius=(0.1, 0.1)), sample, 0).image
    assert np.array_equal(blurred[inside], sample.image[inside])
    assert (blurred != sample.image)[mask == 0].mean() > 0.5


def test_backgrounds_are_taken_from_the_pictures_given_and_cover_the_canvas() -> None:
    green, blue = np.zeros((30, 50, 3), np.uint8), np.zeros((300, 80, 3), np.uint8)
    green[..., 1], blue[..., 2] = 255, 255
    settings = AugmentSettings(viewpoint=Viewpoint(rotate=40, scale=(0.5, 0.7)), background=Background(paste=1.0))
    augmenter = Augmenter.of(settings, SIZE, "mask", backgrounds=[green, blue])
    colours = set()
    for seed in range(12):
        made = augmenter(scene(), rng_of(seed))
        assert made.mask is not None
        # The canvas beyond the picture is background now, and known to be.
        assert not (made.mask == IGNORE).any()
        pixels = made.image[made.mask == 0]
        share = {"green": (pixels[:, 1] > 250).mean(), "blue": (pixels[:, 2] > 250).mean()}
        assert max(share.values()) == 1.0
        colours.add(max(share, key=lambda name: share[name]))
    assert colours == {"green", "blue"}


def test_without_mask_or_outlines_the_background_stays() -> None:
    bare = replace(scene(), mask=None, outlines=None)
    assert same(behind(Background(paste=1.0, blur=1.0), bare, 0), bare)
    # One object whose outline is not known would be pasted over.
    half = replace(scene(), mask=None)
    assert half.outlines is not None
    half = replace(half, outlines=(half.outlines[0], ()))
    assert np.array_equal(behind(Background(paste=1.0), half, 0).image, half.image)


def test_a_covered_rectangle_is_unknown_and_hides_objects() -> None:
    sample = scene()
    hidden = 0
    for seed in range(20):
        made = behind(Background(cut_out=1.0, cut_out_size=(0.5, 0.6)), sample, seed)
        assert made.mask is not None
        hole = made.mask == IGNORE
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)
        assert 0.24 < hole.mean() < 0.37
        assert len(np.unique(made.image[hole], axis=0)) == 1
        assert np.array_equal(made.image[~hole], sample.image[~hole])
        assert sample.mask is not None
        left = [((sample.mask == label) & ~hole).sum() / (sample.mask == label).sum() for label in (1, 2)]
        assert made.labels is not None
        assert made.labels.tolist() == [label for label, share in zip((1, 2), left, strict=True) if share >= 0.25]
        hidden += made.dropped
    assert hidden > 0


# Several pictures as one

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def coloured(i: int, size: tuple[int, int] = (90, 120)) -> Sample:
    """One box of the picture's own colour on black."""
    image, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    image[30:70, 40:90] = COLOURS[i]
    mask[30:70, 40:90] = i + 1
    return Sample(image, np.array([[40, 30, 90, 70]], np.float32), np.array([i]), mask)


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_and_masks_of_a_mosaic_lie_on_their_objects(turned: bool) -> None:
    samples = [coloured(i, (90, 120) if i % 2 else (150, 100)) for i in range(4)]
    view = Viewpoint(flip=0.5, rotate=20, scale=(0.8, 1.2)) if turned else Viewpoint()
    augmenter = Augmenter.of(
        AugmentSettings(viewpoint=view.model_copy(update={"min_visible": 0.0}), mosaic=1.0), (200, 240), "boxes"
    )
    met = 0
    for seed in range(8):
        if turned:
            rng = rng_of(seed)
            made = augmenter.mixed(samples, augmenter.plan(rng), rng)
        else:
            made = mosaic(samples, (200, 240), rng_of(seed))
        assert made.size == (200, 240)
        assert made.boxes is not None
        assert made.labels is not None
        assert made.mask is not None
        assert len(made.boxes) + made.dropped == 4
        for box, label in zip(made.boxes, made.labels, strict=True):
            apart = np.abs(made.image.astype(int) - COLOURS[label]).sum(2)
            if (box[2:] - box[:2]).min() < 4:
                continue
            for seen in (apart < 130, made.mask == label + 1):
                rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
                found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                inwards = (found - box) * [1, 1, -1, -1]
                # A turned box that is cut has a tip too sharp for any pixel's centre.
                assert inwards.min() >= -1.0, (seed, label, found, box)
                assert inwards.max() <= (2.5 if turned else 1.0), (seed, label, found, box)
            met += 1
    assert met > 15


def test_a_mosaic_has_all_four_and_nothing_of_a_fifth() -> None:
    full = [Sample(np.full((60, 60, 3), COLOURS[i], np.uint8), mask=np.full((60, 60), i, np.uint8)) for i in range(4)]
    made = mosaic(full, (100, 100), rng_of(2), scale=(1.0, 1.0))
    assert made.mask is not None
    assert made.boxes is None
    assert (made.mask[0, 0], made.mask[0, -1], made.mask[-1, 0], made.mask[-1, -1]) == (0, 1, 2, 3)
    assert (made.image == np.array(COLOURS, np.uint8)[made.mask]).all()
    # They meet with their inner corners: each shows the quarter that lies there.
    quarters = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((30, 30), np.uint8))
    four = [Sample(np.zeros((60, 60, 3), np.uint8), mask=quarters + np.uint8(10 * i)) for i in range(4)]
    for seed in range(5):
        met = mosaic(four, (100, 100), rng_of(seed), scale=(1.0, 1.0)).mask
        assert met is not None
        y, x = np.flatnonzero(met[:, 0] >= 20)[0], np.flatnonzero(met[0] >= 10)[0]
        assert met[y - 1 : y + 1, x - 1 : x + 1].tolist() == [[3, 12], [21, 30]]
    with pytest.raises(ValueError, match="4 pictures, not 3"):
        mosaic(full[:3], (100, 100), rng_of(0))


def test_mixup_keeps_the_boxes_of_both() -> None:
    a, b = coloured(0), coloured(2)
    made = mixup(a, replace(b, dropped=2), rng_of(0))
    assert made.labels is not None
    assert made.labels.tolist() == [0, 2]
    assert (made.mask, made.dropped) == (None, 2)
    red, _, blue = made.image[50, 60].tolist()
    assert red + blue == pytest.approx(255, abs=1)
    assert 80 < red < 175
    with pytest.raises(ValueError, match="can't be blended"):
        mixup(a, coloured(1, (91, 120)), rng_of(0))


def test_the_plan_says_how_many_others_are_needed_and_ends_with_the_close_out() -> None:
    settings = AugmentSettings(mosaic=0.5, mixup=0.25, close_out=0.2)
    augmenter = Augmenter.of(settings, SIZE, "boxes")
    plans = [augmenter.plan(rng_of(i), 0.5) for i in range(400)]
    assert 150 < sum(p.mosaic for p in plans) < 250
    assert 70 < sum(p.mixup for p in plans) < 130
    assert {p.others for p in plans} == {0, 1, 3, 4}
    assert all(len(p.rows(7)) == p.others and set(p.rows(7)) <= set(range(7)) for p in plans)
    assert {augmenter.plan(rng_of(i), 0.8).others for i in range(50)} == {0}
    assert {augmenter.plan(rng_of(i), 0.79).others for i in range(50)} > {0}
    with pytest.raises(ValueError, match="4 pictures are needed, and 1 are given"):
        augmenter.mixed([scene()], next(p for p in plans if p.others == 3), rng_of(0))
    alone = next(p for p in plans if not p.others)
    assert same(augmenter.mixed([scene()], alone, rng_of(0)), augmenter(scene(), rng_of(0)))


@pytest.mark.parametrize(("kind", "step"), [("label", "mosaic"), ("label", "mixup"), ("mask", "mixup")])
def test_what_can_not_be_put_together_is_said(kind: Any, step: str) -> None:
    with pytest.raises(UserError) as caught:
        Augmenter.of(AugmentSettings(**{step: 0.5}), SIZE, kind)
    assert caught.value.where == f"recipe: options.augment.{step}"
    assert caught.value.fix


def test_a_decoder_is_told_how_small_a_picture_may_be() -> None:
    assert Augmenter.of("none", (224, 224), "boxes").enough == (225, 225)
    assert Augmenter.of("none", (224, 224), "label").enough == (257, 257)
    crop = AugmentSettings(viewpoint=Viewpoint(crop=(0.25, 1.0)))
    assert Augmenter.of(crop, (100, 200), "boxes").enough == (201, 401)
    assert settings_of("aerial").viewpoint.quarter_turn
    assert min(Augmenter.of("aerial", (100, 200), "boxes").enough) > 200
