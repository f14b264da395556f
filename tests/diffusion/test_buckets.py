"""Buckets hold pictures of all proportions, every crop is told as it is, and huge pictures need little memory."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.picture_sources import save, save_turned
from tunesmith.diffusion.buckets import (
    LEAST_AREA_SHARE,
    Crop,
    buckets_for,
    choose,
    crop_for,
    describe,
    fit_to,
    plan_crops,
    read_for,
)
from tunesmith.diffusion.crop_sheet import FRAME, draw_crops
from tunesmith.errors import UserError
from tunesmith.pictures.files import read_picture

# Portrait half of the table in SDXL's paper (arXiv:2307.01952, appendix I), height and width.
SDXL = (
    *((2048, 512), (1984, 512), (1920, 512), (1856, 512), (1792, 576), (1728, 576), (1664, 576), (1600, 640)),
    *((1536, 640), (1472, 704), (1408, 704), (1344, 704), (1344, 768), (1280, 768), (1216, 832), (1152, 832)),
    *((1152, 896), (1088, 896), (1088, 960), (1024, 960)),
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def test_buckets_are_those_of_sdxl() -> None:
    wide = tuple((w, h) for h, w in reversed(SDXL))
    assert buckets_for(1024, 64, 4.0) == (*SDXL, (1024, 1024), *wide)


@pytest.mark.parametrize(
    ("size", "multiple", "most"), [(512, 64, 2), (512, 8, 3), (768, 8, 2), (32, 8, 4), (520, 8, 2), (64, 64, 4)]
)
def test_buckets_have_about_one_area_and_the_square_is_there(size: int, multiple: int, most: float) -> None:
    found = buckets_for(size, multiple, most)
    assert (size, size) in found
    assert len(set(found)) == len(found) <= 60
    assert set(found) == {(w, h) for h, w in found}
    for height, width in found:
        assert height % multiple == width % multiple == 0
        assert LEAST_AREA_SHARE * size**2 <= height * width <= size**2
        assert max(height, width) <= most * min(height, width)


def test_one_square_and_sizes_that_do_not_fit() -> None:
    assert buckets_for(512, 64, 1) == ((512, 512),)
    with pytest.raises(UserError, match="500 pixels is no multiple of 64") as found:
        buckets_for(500, 64, 2)
    assert found.value.fix == "write 512"
    for wrong in ((0, 8, 2), (64, 0, 2), (64, 8, 0.5), (64, 8, math.nan)):
        with pytest.raises(ValueError, match="buckets of size"):
            buckets_for(*wrong)


def test_the_nearest_bucket_cuts_least() -> None:
    buckets = buckets_for(512, 64, 2)
    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 4000, (200, 2)).tolist():
        crops = [crop_for((height, width), bucket) for bucket in buckets]
        chosen = crop_for((height, width), choose(height, width, buckets))
        assert chosen.cut <= min(crop.cut for crop in crops) + 0.02  # a pixel of rounding in a small picture
    assert choose(100, 100, buckets) == (512, 512)
    assert choose(10, 10_000, buckets) == (384, 640)
    assert choose(100, 100, ((8, 8), (16, 16))) == (16, 16)


@pytest.mark.parametrize(
    ("original", "bucket"),
    [((480, 640), (448, 576)), ((999, 333), (640, 384)), ((50, 50), (64, 64)), ((3, 700), (8, 8))],
)
def test_a_crop_is_told_as_it_is(original: tuple[int, int], bucket: tuple[int, int]) -> None:
    image = noise(*original)
    taken, crop = fit_to(image, bucket)
    assert taken.shape == (*bucket, 3)
    assert crop == crop_for(original, bucket)
    height, width = crop.resized
    assert height >= bucket[0]
    assert width >= bucket[1]
    assert height == bucket[0] or width == bucket[1]
    assert (crop.top, crop.left) == ((height - bucket[0]) // 2, (width - bucket[1]) // 2)
    whole = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    expected = whole[crop.top : crop.top + bucket[0], crop.left : crop.left + bucket[1]]
    assert np.abs(taken.astype(int) - expected).max() <= 2
    assert crop.cut == pytest.approx(1 - bucket[0] * bucket[1] / (height * width))
    left, top, right, bottom = crop.rectangle
    assert (right - left) * (bottom - top) / (original[0] * original[1]) == pytest.approx(1 - crop.cut)
    assert 0 <= left < right <= original[1] + 1e-6
    assert 0 <= top < bottom <= original[0] + 1e-6
    assert crop.conditioning == (*original, crop.top, crop.left, *bucket)
    assert crop.to_json()["cut"] == crop.cut


def test_nothing_is_changed_where_nothing_has_to_be() -> None:
    image = noise(64, 48)
    taken, crop = fit_to(image, (64, 48))
    assert (taken == image).all()
    assert (crop.scale, crop.cut, crop.top, crop.left) == (1, 0, 0, 0)


def test_a_random_crop_comes_from_its_generator_and_reaches_both_ends() -> None:
    image = noise(40, 100)
    crops = [fit_to(image, (32, 32), np.random.default_rng([7, n]))[1] for n in range(300)]
    assert crops == [crop_for((40, 100), (32, 32), np.random.default_rng([7, n])) for n in range(300)]
    assert {crop.top for crop in crops} == {0}
    assert (min(crop.left for crop in crops), max(crop.left for crop in crops)) == (0, crops[0].resized[1] - 32)


def test_a_smaller_copy_gives_the_crop_of_the_whole() -> None:
    image = noise(900, 1200)
    small = np.array(Image.fromarray(image).resize((300, 225), Image.Resampling.BOX))
    whole, crop = fit_to(image, (64, 64), np.random.default_rng(3))
    again, same = fit_to(small, (64, 64), np.random.default_rng(3), original=(900, 1200))
    assert crop == same
    assert np.abs(whole.astype(int) - again).mean() < 1.5


def test_a_strip_is_no_bomb() -> None:
    taken, crop = fit_to(np.full((2, 60_000, 3), 9, np.uint8), (512, 512))
    assert crop.resized == (512, 15_360_000)  # 23 GB, were it made
    assert (taken == 9).all()


def test_a_picture_is_read_upright_and_no_smaller_than_its_bucket_needs(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.jpg", 1, 6, (800, 640))
    bucket = (96, 64)
    image = read_for(path, (800, 640), bucket)
    assert image.shape == (100, 80, 3)
    resized = crop_for((800, 640), bucket).resized
    assert image.shape[0] >= resized[0]
    assert image.shape[1] >= resized[1]
    taken, crop = fit_to(image, bucket, original=(800, 640))
    exact, same = fit_to(read_picture(path), bucket)
    assert crop == same
    assert np.abs(taken.astype(int) - exact).mean() < 2
    png = save(tmp_path / "a.png", 1, (80, 64))
    assert read_for(png, (64, 80), (32, 32)).shape == (64, 80, 3)


def test_a_picture_of_12_000_pixels_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    Image.new("L", (12_000, 12_000), 77).save(path, quality=60)
    assert _memory(path, (1024, 1024, 3)) < 100e6  # the whole of it would be 576 MB


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_that_is_no_jpeg_is_made_smaller_before_it_is_copied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "large.png"
    stored = Image.fromarray(noise(60, 100)).resize((5000, 3400), Image.Resampling.BILINEAR)
    stored.save(path, compress_level=0, exif=exif.tobytes())
    original = (5000, 3400) if orientation == 6 else (3400, 5000)
    assert read_picture(path).shape[:2] == original
    image = read_for(path, original, (64, 64))
    assert min(image.shape[:2]) == 128
    exact = fit_to(read_picture(path), (64, 64))[0]
    assert np.abs(fit_to(image, (64, 64), original=original)[0].astype(int) - exact).max() <= 3
    # A few copies of 17 million pixels would be more.
    assert _memory(path, image.shape, original, (64, 64), 255) < 110e6


def _memory(
    path: Path,
    shape: tuple[int, ...],
    original: tuple[int, int] = (12_000, 12_000),
    bucket: tuple[int, int] = (512, 512),
    most: int = 3,
) -> int:
    """Bytes that reading and fitting a picture adds to a process at most."""
    code = f"""
import resource, sys
from pathlib import Path
from PIL import Image
import numpy as np
from tunesmith.diffusion.buckets import fit_to, read_for
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_for(Path(sys.argv[1]), {original}, {bucket})
taken, crop = fit_to(image, {bucket}, original={original})
assert image.shape == {shape}, image.shape
assert abs(taken.astype(int) - 77).max() <= {most} and crop.original == {original}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_a_person_reads_what_is_cut(tmp_path: Path) -> None:
    rows = [
        {"image": "wide.jpg", "height": 400, "width": 1200},
        {"image": "square.jpg", "height": 600, "width": 600},
        {"image": "tiny.jpg", "height": 50, "width": 50},
        {"image": "", "text": "a prompt"},
    ]
    crops = plan_crops(rows, buckets_for(512, 64, 2))
    assert [name for name, _ in crops] == ["wide.jpg", "square.jpg", "tiny.jpg"]
    lines = describe(crops)
    cut = crops[0][1].cut
    assert cut == pytest.approx(1 - (640 / 384) / 3, abs=0.01)
    assert lines == [
        "3 pictures in 2 buckets (width x height): 512 x 512: 2; 640 x 384: 1",
        f"{cut / 3:.1%} of a picture is cut away on average, {cut:.1%} at most: wide.jpg ({cut:.1%})",
        "1 of them are smaller than their bucket and enlarged: tiny.jpg (10 times)",
    ]
    assert describe(crops[1:2]) == [
        "1 picture in 1 bucket (width x height): 512 x 512: 1",
        "nothing is cut away",
    ]
    assert describe([]) == []


def test_the_sheet_shows_the_whole_picture_and_frames_what_is_taken() -> None:
    image = np.full((100, 200, 3), 200, np.uint8)
    crop = crop_for((100, 200), (64, 64))
    sheet = np.asarray(draw_crops([("a.jpg", image, crop)], cell=200))
    assert sheet.shape[1] == 200 + 32
    picture = sheet[16 + 50 : 16 + 150, 16:216]
    light = (picture == 200).all(2)
    dark = (picture == 80).all(2)
    assert light.mean() == pytest.approx(0.5, abs=0.1)
    assert dark[:, :48].all()
    assert dark[:, -48:].all()
    assert (picture == FRAME).all(2).sum() > 200
    left, _, right, _ = crop.rectangle
    assert light[50, round(left) + 4 : round(right) - 4].all()


def test_many_pictures_stand_in_rows_and_long_names_keep_their_end() -> None:
    named = [(f"{'folder/' * 20}{n}.jpg", noise(30 + n, 40), crop_for((30 + n, 40), (32, 32))) for n in range(7)]
    sheet = draw_crops(named, cell=96, columns=3)
    assert sheet.width == 32 + 3 * 96 + 2 * 10
    assert sheet.height > 3 * 96
    assert (np.asarray(sheet)[:, -16:] == 255).all()
    assert sheet.tobytes() == draw_crops(named, cell=96, columns=3).tobytes()
    extreme = Crop((2, 4000), (8, 8), (8, 16_000), 0, 7996)
    draw_crops([("strip", np.zeros((2, 4000, 3), np.uint8), extreme)], cell=64)
    with pytest.raises(ValueError, match="contact sheet"):
        draw_crops([])
