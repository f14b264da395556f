"""Pictures at fault are found, all of them and no others; a second audit decodes nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.fixtures.picture_audits import class_folders, findings, jpeg, mark_of, read, rows_of, sharp
from tunesmith.audit import picture_measures, picture_table
from tunesmith.audit.bursts import natural_order
from tunesmith.audit.picture_damage import damage_of, missing_below
from tunesmith.audit.picture_exif import shot_of
from tunesmith.audit.picture_measures import measure_picture, sharpness
from tunesmith.audit.pictures import picture_findings
from tunesmith.audit.watermarks import find_templates, signs_of
from tunesmith.data.deep_codes import DEEP_CODES

COUNT = 40


def scaled(share: float, above: float = 0.0) -> object:
    return lambda picture: picture.point(lambda value: above + value * share)


def blurred(radius: float) -> object:
    return lambda picture: picture.filter(ImageFilter.GaussianBlur(radius))


def flat(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(120, 1, (picture.height, picture.width, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def strip(picture: Image.Image) -> Image.Image:
    return picture.crop((0, 40, 96, 54))


PLANTED = {
    "dark-picture": {3: scaled(0.1), 4: scaled(0.25)},
    "bright-picture": {7: scaled(0.12, 225), 8: scaled(0.08, 234)},
    "blurred-picture": {11: blurred(2.5), 12: blurred(5)},
    "empty-picture": {15: flat},
    "odd-aspect": {19: strip},
    "odd-size": {23: lambda picture: picture.resize((12, 12))},
    "grey-among-colours": {27: lambda picture: picture.convert("L")},
}


def test_each_fault_is_found_and_no_other(tmp_path: Path) -> None:
    changes = {at: change for planted in PLANTED.values() for at, change in planted.items()}
    names = class_folders(tmp_path, COUNT, changes)
    class_folders(tmp_path, 10, side="eval")
    said = list(picture_findings(read(tmp_path)))
    found = findings(said)
    wrong = {code: {names[at] for at in planted} for code, planted in PLANTED.items()}
    # Twelve pixels hold no sharp edge either.
    assert {code: rows_of(one) - wrong["odd-size"] | wrong.get(code, set()) for code, one in found.items()} == wrong
    for code, rows in wrong.items():
        assert rows <= rows_of(found[code])
        assert found[code].share == pytest.approx(len(found[code].marks) / COUNT)
    assert found["empty-picture"].remedy == "drop"
    assert found["dark-picture"].remedy is None
    assert not findings(said, "eval")
    assert set(found) <= set(DEEP_CODES)


def test_a_white_background_is_no_fault(tmp_path: Path) -> None:
    def on_white(picture: Image.Image) -> Image.Image:
        white = Image.new("RGB", (96, 96), "white")
        white.paste(picture.resize((50, 50)), (23, 23))
        return white

    class_folders(tmp_path, 20, {at: on_white for at in range(0, 20, 2)})
    class_folders(tmp_path, 4, side="eval")
    assert not {"bright-picture", "clipped-picture"} & set(findings(picture_findings(read(tmp_path))))


def test_damaged_files(tmp_path: Path) -> None:
    names = class_folders(tmp_path, COUNT)
    class_folders(tmp_path, 4, side="eval")
    # Photographs have noise; a file of some length is to lose its end and a block of a disk.
    noise = np.random.default_rng(3).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    whole = jpeg(Image.fromarray(noise))
    assert len(whole) > 12_000
    broken = {
        "half": whole[: len(whole) // 2],
        "end": whole[: len(whole) // 2] + b"\xff\xd9",
        "zeros": whole[: len(whole) // 2] + bytes(len(whole) // 2),
        "sector": whole[:5120] + bytes(4096) + whole[9216:],
        "empty": b"",
        "page": b"<html><body>404</body></html>",
    }
    for name, content in broken.items():
        (tmp_path / "train" / "a" / f"{name}.jpg").write_bytes(content)
    (tmp_path / "train" / "a" / "whole.jpg").write_bytes(whole)
    png = bytearray((tmp_path / "train" / names[0]).read_bytes())
    png[png.index(b"IDAT") + 40] ^= 0xFF
    (tmp_path / "train" / "a" / "flipped.png").write_bytes(bytes(png))
    found = findings(picture_findings(read(tmp_path)))["unreadable-picture"]
    assert rows_of(found) == {f"a/{name}.jpg" for name in broken} | {"a/flipped.png"}
    assert found.level == "error"
    assert found.remedy == "drop"
    assert "grey" in mark_of(found, "a/end.jpg").note
    assert "zeros" in mark_of(found, "a/zeros.jpg").note
    assert "4,096 bytes" in mark_of(found, "a/sector.jpg").note


def test_whole_files_are_not_damaged() -> None:
    smooth = Image.radial_gradient("L").resize((300, 300)).convert("RGB")
    for picture in (smooth, sharp(1, (300, 200)), Image.new("RGB", (2000, 2000), (128, 128, 128))):
        for options in ({}, {"optimize": True}, {"progressive": True}):
            assert damage_of(jpeg(picture, **options)) is None
    assert damage_of(jpeg(smooth) + bytes(500)) is None
    assert missing_below(np.full((64, 64, 3), 128, np.uint8)) == 0


def test_a_second_audit_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path, 12, {5: scaled(0.1)})
    class_folders(tmp_path, 4, side="eval")
    first = findings(picture_findings(read(tmp_path)))

    def never(path: Path) -> object:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(picture_table, "measure_picture", never)
    assert findings(picture_findings(read(tmp_path))) == first


def test_runs_of_frames(tmp_path: Path) -> None:
    frame = np.asarray(sharp(99, (110, 96)))

    def moved(by: int) -> object:
        return lambda _picture: Image.fromarray(np.ascontiguousarray(frame[:, by : by + 96]))

    names = class_folders(tmp_path, 30, {10: moved(0), 12: moved(1), 14: moved(2), 16: moved(3), 21: moved(0)})
    class_folders(tmp_path, 4, side="eval")
    found = findings(picture_findings(read(tmp_path)))["burst"]
    assert rows_of(found) == {names[at] for at in (12, 14, 16)}
    assert {mark.twin for mark in found.marks} == {f"train:{names[10]}"}
    assert "1 runs" in found.what
    assert [["x9", "x10", "x1"][at] for at in natural_order(["x9", "x10", "x1"])] == ["x1", "x9", "x10"]


def test_watermarks_and_the_class_that_has_them(tmp_path: Path) -> None:
    def marked(picture: Image.Image) -> Image.Image:
        drawn = picture.resize((280, 280))
        ImageDraw.Draw(drawn).text((180, 250), "SAMPLE 07", fill=(255, 255, 255), font_size=18)
        return drawn

    plain = {at: (lambda picture: picture.resize((280, 280))) for at in range(1, 60, 2)}
    names = class_folders(tmp_path, 60, {**plain, **{at: marked for at in range(0, 60, 2)}})
    class_folders(tmp_path, 6, {at: marked for at in range(2)}, side="eval")
    said = list(picture_findings(read(tmp_path)))
    found = findings(said)["watermark"]
    own = rows_of(found)
    assert own <= set(names[::2])
    assert len(own) >= 27
    assert "lower right" in found.what
    assert "of class 'a'" in found.what
    assert len(findings(said, "eval")["watermark"].marks) == 2


def test_no_watermark_where_there_is_none(tmp_path: Path) -> None:
    sample = []
    for number in range(60):
        sharp(number, (280, 280)).save(tmp_path / f"{number}.png")
        sample.append(signs_of(tmp_path / f"{number}.png"))
    assert find_templates(sample) == []


def exif_of(orientation: int, size: tuple[int, int], taken: str = "2024:05:01 14:30:00") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({0xA002: size[0], 0xA003: size[1], 0x9003: taken})
    return exif.tobytes()


def test_pictures_turned_twice(tmp_path: Path) -> None:
    """The pixels were turned, the tag that asks for it stayed: stored upright, said to have been landscape."""
    class_folders(tmp_path, 8)
    class_folders(tmp_path, 4, side="eval")
    sharp(50, (80, 120)).save(tmp_path / "train/a/twice.jpg", exif=exif_of(6, (120, 80)))
    sharp(51, (120, 80)).save(tmp_path / "train/a/once.jpg", exif=exif_of(6, (120, 80)))
    found = findings(picture_findings(read(tmp_path)))["turned-picture"]
    assert rows_of(found) == {"a/twice.jpg"}


def test_exif_of_damaged_blocks() -> None:
    whole = exif_of(1, (120, 80))
    told = shot_of(whole)
    assert (told.hour, told.month, told.size) == (14, 5, (120, 80))
    for cut in range(len(whole)):
        shot_of(whole[:cut])
    assert shot_of(b"II*\0" + struct.pack("<I", 8) + b"\xff\xff") == shot_of(b"")


def test_sharpness_falls_with_blur_whatever_the_picture_shows() -> None:
    for seed in range(5):
        picture = sharp(seed, (200, 200)).filter(ImageFilter.GaussianBlur(0.4))
        values = []
        for radius in (0, 1, 2, 4):
            grey = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)).convert("L"), np.float32) / 255
            values.append(sharpness(grey)[0] or 0.0)
        assert values == sorted(values, reverse=True)
        assert values[0] > 0.45
        assert values[2] < picture_measures.LEAST_STEP or values[2] < 0.36


def test_large_jpegs_are_measured_small(tmp_path: Path) -> None:
    small = sharp(3, (600, 400))
    small.save(tmp_path / "small.png")
    small.resize((2400, 1600), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    one, other = measure_picture(tmp_path / "small.png"), measure_picture(tmp_path / "large.jpg")
    assert (other["width"], other["height"]) == (2400, 1600)
    for name in ("light", "contrast", "p5", "p95", "colour", "border_light"):
        assert other[name] == pytest.approx(one[name], abs=0.03)
