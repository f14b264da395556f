"""Picture files: every kind of pixels becomes RGB as a person sees it, and every fault is named before it costs."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.fixtures.picture_sources import png_of_size, save, save_turned
from tunesmith.data.ahead import ahead
from tunesmith.pictures.files import PictureFault, find_picture, look_at_picture, read_picture
from tunesmith.pictures.orientation import TURNS, orientation_of, turn_pixels, turn_points


def fault(path: Path, **options: int) -> str:
    with pytest.raises(PictureFault) as caught:
        read_picture(path, **options)
    return caught.value.reason


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif", "webp", "jp2"])
def test_formats_without_loss_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    if suffix == "gif":
        pixels = (pixels // 128 * 255).astype(np.uint8)
    options = {"lossless": True} if suffix == "webp" else {"irreversible": False} if suffix == "jp2" else {}
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **options)
    found = read_picture(tmp_path / f"a.{suffix}")
    assert found.dtype == np.uint8
    assert found.flags.writeable
    np.testing.assert_array_equal(found, pixels)
    look = look_at_picture(tmp_path / f"a.{suffix}")
    assert (look.width, look.height, look.orientation, look.deep) == (17, 12, 1, False)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png").rename(tmp_path / "a.JPG")
    assert look_at_picture(tmp_path / "a.JPG").format == "PNG"
    assert read_picture(tmp_path / "a.JPG").shape == (30, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_read_as_it_is_shown(tmp_path: Path, orientation: int) -> None:
    path = save_turned(tmp_path / "a.jpg", 3, orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_picture(path), expected)
    look = look_at_picture(path)
    assert (look.height, look.width) == expected.shape[:2]
    assert look.stored_size == (40, 30)
    assert look.orientation == orientation


def test_a_png_with_its_orientation_behind_the_pixels_is_turned_too(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.png").read_bytes()
    turned = save(tmp_path / "b.png", exif=_exif(6)).read_bytes()
    at = turned.index(b"eXIf") - 4
    length = int.from_bytes(turned[at : at + 4], "big") + 12
    end = plain.index(b"IEND") - 4
    (tmp_path / "c.png").write_bytes(plain[:end] + turned[at : at + length] + plain[end:])
    np.testing.assert_array_equal(read_picture(tmp_path / "c.png"), read_picture(tmp_path / "b.png"))
    assert read_picture(tmp_path / "c.png").shape == (40, 30, 3)


def test_a_turned_tiff_is_turned_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    expected = np.rot90(read_picture(tmp_path / "a.png"), -1)
    look = look_at_picture(tmp_path / "a.tif")
    assert (look.height, look.width) == expected.shape[:2]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), expected)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def test_damaged_exif_is_no_orientation() -> None:
    whole = _exif(6)
    assert orientation_of(whole) == 6
    assert orientation_of(b"") == orientation_of(b"Exif\0\0") == orientation_of(whole[:12]) == 1
    assert orientation_of(b"II*\0\xff\xff\xff\xff") == 1
    assert orientation_of(_exif(9)) == 1
    assert orientation_of(b"garbage" * 9) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_and_arrays_turn_with_the_picture(orientation: int) -> None:
    stored = np.arange(6 * 9).reshape(6, 9)
    shown = turn_pixels(stored, orientation)
    turn = TURNS.get(orientation)
    image = Image.fromarray(stored.astype(np.uint8))
    np.testing.assert_array_equal(shown, np.asarray(image.transpose(turn) if turn is not None else image))
    for y, x in ((0, 0), (2, 7), (5, 8)):
        ((u, v),) = turn_points(np.array([[x + 0.5, y + 0.5]]), orientation, 9, 6)
        assert shown[int(v), int(u)] == stored[y, x]


def test_sixteen_bits_scale_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 257], [32768, 65000, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    assert look_at_picture(tmp_path / "a.png").deep
    np.testing.assert_array_equal(found[..., 0], [[0, 0, 1], [128, 253, 255]])
    assert (found == found[..., :1]).all()


def test_floating_point_needs_a_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.5], [0.25, 1]], dtype=np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif")[..., 1], [[0, 128], [64, 255]])
    Image.fromarray(np.array([[0, 700.0]], dtype=np.float32)).save(tmp_path / "b.tif")
    assert "from 0 to 700" in fault(tmp_path / "b.tif")
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "c.tif")
    assert "no numbers" in fault(tmp_path / "c.tif")


def test_cmyk_palette_grey_and_one_bit_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.tif")
    assert look_at_picture(tmp_path / "cmyk.tif").mode == "CMYK"
    assert read_picture(tmp_path / "cmyk.tif")[0, 0].tolist() == [255, 0, 0]
    save(tmp_path / "cmyk.jpg", mode="CMYK")
    assert read_picture(tmp_path / "cmyk.jpg").shape == (30, 40, 3)
    red.convert("P").save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png")[0, 0].tolist() == [255, 0, 0]
    Image.new("1", (4, 4), 1).save(tmp_path / "one.png")
    assert read_picture(tmp_path / "one.png").min() == 255
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.png")
    assert set(read_picture(tmp_path / "grey.png").ravel().tolist()) == {77}


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255]]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], [200, 0, 0]]
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    indexed.putdata([0, 1])
    indexed.save(tmp_path / "b.png", transparency=0)
    assert read_picture(tmp_path / "b.png")[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    indexed.save(tmp_path / "c.png", transparency=b"\x00\xff")  # bytes: where Pillow itself would warn
    assert read_picture(tmp_path / "c.png")[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    assert look_at_picture(tmp_path / f"a.{suffix}").animated
    assert read_picture(tmp_path / f"a.{suffix}")[0, 0].tolist() == [255, 0, 0]


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of_size(60_000, 60_000))
    assert (tmp_path / "bomb.png").stat().st_size < 200
    began = time.perf_counter()
    reason = fault(tmp_path / "bomb.png")
    assert "60,000 x 60,000" in reason
    assert time.perf_counter() - began < 2
    (tmp_path / "big.png").write_bytes(png_of_size(400, 300))
    assert "more than 100,000 are not decoded" in fault(tmp_path / "big.png", most_pixels=100_000)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_a_truncated_picture_is_no_grey_half(tmp_path: Path, suffix: str) -> None:
    whole = save(tmp_path / f"a.{suffix}", size=(90, 70)).read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: len(whole) * 6 // 10])
    assert fault(tmp_path / f"b.{suffix}")
    if suffix in ("jpg", "png"):
        assert fault(tmp_path / f"b.{suffix}") == "is truncated: the file ends before the picture does"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 500, "holds zeros only"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"<svg xmlns='x'>", "is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture of a known format"),
        (b"hello", "no picture of a known format"),
        (b"\xff\xd8\xff\xe0junk", "cannot be decoded|truncated"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    import re

    (tmp_path / "a.jpg").write_bytes(content)
    assert re.search(said, fault(tmp_path / "a.jpg"))


def test_missing_folder_and_closed_files(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.jpg") == "is not there"
    assert fault(tmp_path) == "is a folder"
    if os.geteuid() != 0:
        save(tmp_path / "a.jpg").chmod(0)
        assert "permissions" in fault(tmp_path / "a.jpg")


def test_a_large_jpeg_is_decoded_smaller_but_never_too_small(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.jpg", 1, 6, (400, 320))
    small = read_picture(path, at_least=(90, 70))
    assert small.shape == (100, 80, 3)
    assert read_picture(path, at_least=(101, 70)).shape == (200, 160, 3)
    assert read_picture(path, at_least=(500, 500)).shape == (400, 320, 3)
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270).resize((80, 100)), dtype=int)
    assert np.abs(small - expected).mean() < 6


def test_pictures_are_found_in_the_first_folder_that_has_them(tmp_path: Path) -> None:
    save(tmp_path / "b" / "x.jpg")
    save(tmp_path / "c" / "x.jpg")
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    assert find_picture("x.jpg", folders) == tmp_path / "b" / "x.jpg"
    assert find_picture(str(tmp_path / "c" / "x.jpg"), folders) == tmp_path / "c" / "x.jpg"
    assert find_picture("y.jpg", folders) is None


def test_work_ahead_keeps_order_and_stops_with_its_reader() -> None:
    began: list[int] = []

    def work(number: int) -> int:
        began.append(number)
        time.sleep(0.001 * (number % 3))
        return number * 2

    assert list(ahead(work, range(200), threads=4)) == [number * 2 for number in range(200)]
    began.clear()
    some = ahead(work, range(10_000), threads=2)
    assert [next(some) for _ in range(3)] == [0, 2, 4]
    some.close()
    assert len(began) < 200

    def fail(number: int) -> int:
        raise PictureFault(f"is {number}")

    with pytest.raises(PictureFault, match="is 0"):
        list(ahead(fail, range(5)))
