"""The audit's findings on pictures: the same picture on both sides, exactly or nearly, and all that cannot be seen."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.fixtures.picture_sources import save, save_turned
from tunesmith.pictures.findings import FINDING_CODES, picture_findings
from tunesmith.pictures.likeness import are_near, difference_hash, near_pairs, see
from tunesmith.types import Finding


def rows_of(folder: Path, names: Sequence[str], **values: Any) -> list[dict[str, Any]]:
    return [{"id": name, "image": name, **values} for name in names]


def findings(train: Any, held_out: Any, folder: Path, **options: Any) -> dict[str, Finding]:
    found = list(picture_findings(train, held_out, [folder], source="train", held_out_source="eval", **options))
    assert {finding.code for finding in found} <= set(FINDING_CODES)
    return {finding.code: finding for finding in found}


def many(folder: Path, first: int, count: int, prefix: str) -> list[dict[str, Any]]:
    for number in range(first, first + count):
        save(folder / f"{prefix}{number}.jpg", number, (120, 90), quality=95)
    return rows_of(folder, [f"{prefix}{number}.jpg" for number in range(first, first + count)])


def test_different_pictures_find_nothing(tmp_path: Path) -> None:
    assert findings(many(tmp_path, 0, 30, "a"), many(tmp_path, 100, 15, "b"), tmp_path) == {}


def test_a_picture_on_both_sides_is_found_by_file_and_by_pixels(tmp_path: Path) -> None:
    train, held = many(tmp_path, 0, 20, "a"), many(tmp_path, 100, 8, "b")
    shutil.copy(tmp_path / "a3.jpg", tmp_path / "copy.jpg")
    with Image.open(tmp_path / "a5.jpg") as image:
        image.save(tmp_path / "same.png")
    with Image.open(tmp_path / "same.png") as image:
        image.save(tmp_path / "again.bmp")
    train += rows_of(tmp_path, ["same.png"])
    found = findings(train, [*held, *rows_of(tmp_path, ["copy.jpg", "again.bmp"])], tmp_path)
    assert set(found) == {"picture-leak"}
    leak = found["picture-leak"]
    assert leak.level == "error"
    assert leak.rows == ("copy.jpg", "again.bmp")
    assert leak.share == pytest.approx(0.2)
    assert "copy.jpg is a3.jpg" in leak.what
    assert leak.where == "eval"


@pytest.mark.parametrize("change", ["quality", "size", "brightness", "format", "turned"])
def test_a_picture_that_is_nearly_the_same_is_found(tmp_path: Path, change: str) -> None:
    train, held = many(tmp_path, 0, 12, "a"), many(tmp_path, 100, 12, "b")
    with Image.open(tmp_path / "a4.jpg") as image:
        if change == "quality":
            image.save(tmp_path / "near.jpg", quality=60)
        elif change == "size":
            image.resize((90, 68), Image.Resampling.BICUBIC).save(tmp_path / "near.jpg", quality=90)
        elif change == "brightness":
            image.point(lambda value: min(255, value + 2)).save(tmp_path / "near.jpg", quality=90)
        elif change == "format":
            image.convert("L").save(tmp_path / "near.png")
        else:
            exif = Image.Exif()
            exif[0x0112] = 6
            turned = image.transpose(Image.Transpose.ROTATE_90)
            turned.save(tmp_path / "near.jpg", quality=90, exif=exif.tobytes())
    name = "near.png" if change == "format" else "near.jpg"
    found = findings(train, [*held, *rows_of(tmp_path, [name])], tmp_path)
    assert set(found) - {"odd-picture"} == {"near-picture-leak"}
    assert found["near-picture-leak"].rows == (name,)
    assert "near" in found["near-picture-leak"].what
    assert found["near-picture-leak"].level == "error"  # 1 of 13


def test_one_scene_with_another_object_is_no_near_picture(tmp_path: Path) -> None:
    save(tmp_path / "background.png", 1, (120, 90))
    for number, place in enumerate(((5, 5, 45, 45), (70, 40, 110, 80))):
        with Image.open(tmp_path / "background.png") as image:
            ImageDraw.Draw(image).ellipse(place, fill=(250, 10 + number, 20))
            image.save(tmp_path / f"{number}.png")
    assert findings(rows_of(tmp_path, ["0.png"]), rows_of(tmp_path, ["1.png"]), tmp_path) == {}


def test_flat_pictures_are_not_all_the_same(tmp_path: Path) -> None:
    for number, grey in enumerate((10, 90, 200, 12)):
        Image.new("L", (50, 50), grey).save(tmp_path / f"{number}.png")
    assert see(tmp_path / "0.png").bits == see(tmp_path / "1.png").bits == 0
    assert findings(rows_of(tmp_path, ["0.png", "1.png"]), rows_of(tmp_path, ["2.png", "3.png"]), tmp_path) == {}


def test_hashes_two_bits_apart_are_compared_and_three_are_not() -> None:
    rng = np.random.default_rng(0)
    thumbnail = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    assert are_near(thumbnail, thumbnail)
    sight = see_of(thumbnail, 0b1011 << 40)
    known = [see_of(thumbnail, (0b1011 << 40) ^ change) for change in (0b111, 1 | 1 << 63, 1 << 50)]
    assert list(near_pairs(known[:1], [sight])) == []
    assert list(near_pairs(known, [sight])) in ([(0, 1, False)], [(0, 2, False)])
    assert list(near_pairs(known[1:2], [sight])) == [(0, 0, False)]


def see_of(thumbnail: np.ndarray, bits: int) -> Any:
    from tunesmith.pictures.files import Look
    from tunesmith.pictures.likeness import Sight

    return Sight(Look("PNG", 1, 1), bits, bits, thumbnail)


def test_the_difference_hash_says_where_it_gets_brighter() -> None:
    across = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))
    assert difference_hash(across) == 2**64 - 1
    assert difference_hash(across[:, ::-1].copy()) == 0
    assert difference_hash(np.full((32, 32), 9, dtype=np.uint8)) == 0


def test_unreadable_pictures_are_an_error_with_their_reason(tmp_path: Path) -> None:
    rows = many(tmp_path, 0, 4, "a")
    whole = (tmp_path / "a1.jpg").read_bytes()
    (tmp_path / "a1.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a2.jpg").unlink()
    found = findings(rows, many(tmp_path, 100, 2, "b"), tmp_path, most_pixels=120 * 90)
    assert found["unreadable-picture"].level == "error"
    assert "2 of 4 pictures (50.0%) cannot be read: a1.jpg is truncated" in found["unreadable-picture"].what
    assert "a2.jpg is not there" in found["unreadable-picture"].what
    assert found["unreadable-picture"].rows == ("a1.jpg", "a2.jpg")
    found = findings(rows_of(tmp_path, ["a0.jpg"]), rows_of(tmp_path, ["b100.jpg"]), tmp_path, most_pixels=100)
    assert "more than 100 are not decoded" in found["unreadable-picture"].what


def test_odd_pictures_are_noted_by_kind(tmp_path: Path) -> None:
    save(tmp_path / "cmyk.jpg", 1, mode="CMYK")
    save_turned(tmp_path / "turned.jpg", 2, 6)
    Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (9, 9), dtype=np.uint16)).save(tmp_path / "deep.png")
    save(tmp_path / "clear.png", 3, mode="RGBA")
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    names = ["cmyk.jpg", "turned.jpg", "deep.png", "clear.png", "moves.gif"]
    found = findings(rows_of(tmp_path, names), many(tmp_path, 100, 1, "b"), tmp_path)
    assert set(found) == {"odd-picture"}
    odd = found["odd-picture"]
    assert odd.level == "note"
    for words in ("1 CMYK", "1 more than 8 bits", "1 animated", "1 turned by EXIF", "1 transparent"):
        assert words in odd.what


def test_repeated_pictures_with_two_labels_contradict(tmp_path: Path) -> None:
    train = many(tmp_path, 0, 6, "a")
    for name in ("c1.jpg", "c2.jpg"):
        shutil.copy(tmp_path / "a0.jpg", tmp_path / name)
    labelled = [{**row, "label": "cat"} for row in train]
    labelled += rows_of(tmp_path, ["c1.jpg"], label="cat") + rows_of(tmp_path, ["c2.jpg"], label="dog")
    found = findings(labelled, many(tmp_path, 100, 2, "b"), tmp_path)
    assert set(found) == {"repeated-picture", "contradictory-pictures"}
    assert "2 of 8 pictures (25.0%) repeat another exactly (c1.jpg is a0.jpg)" in found["repeated-picture"].what
    assert "different label" in found["contradictory-pictures"].what


def test_boxes_too_small_to_see_and_clipped_ones(tmp_path: Path) -> None:
    train = many(tmp_path, 0, 3, "a")
    objects = [{"box": [1, 1, 3, 30], "label": "wire"}, {"box": [1, 1, 50, 50], "label": "cat", "clipped": True}]
    for row in train:
        row.update(width=120, height=90, objects=objects)
    held = many(tmp_path, 100, 1, "b")
    assert set(findings(train, held, tmp_path)) == {"box-outside"}
    found = findings(train, held, tmp_path, input_size=(90, 120))
    assert "3 of 6 boxes (50.0%) are narrower than 4 pixels once their picture fits into 120 x 90: wire (3)" in (
        found["tiny-box"].what
    )
    assert found["tiny-box"].level == "warning"
    assert "3 of 6 boxes (50.0%) reach out" in found["box-outside"].what
    assert "tiny-box" not in findings(train, held, tmp_path, input_size=(180, 240))


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    train, held = many(tmp_path, 0, 3, "a"), many(tmp_path, 100, 2, "b")
    findings(train, held, tmp_path, on_progress=lambda done, total: told.append((done, total)), threads=2)
    assert told == [(number, 5) for number in range(1, 6)]


def test_bits_are_counted_with_and_without_numpy_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.pictures import likeness

    values = np.random.default_rng(0).integers(0, 2**63, (5, 7), dtype=np.uint64)
    expected = [[int(value).bit_count() for value in row] for row in values.tolist()]
    assert likeness._bit_counts(values).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert likeness._bit_counts(values).tolist() == expected
