"""Pictures saved anew, resized, brightened and cropped are found beside thousands of others; others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tunesmith.audit import near_pictures
from tunesmith.audit.near_pictures import SIDE, alike, candidates, coarse_of, small_picture


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Coloured discs and bars on a gradient."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    found = np.stack([x * rng.uniform(0, 0.6) + y * rng.uniform(0, 0.6) + rng.uniform(0, 60) for _ in range(3)], -1)
    for _ in range(14):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 40)
        found[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return Image.fromarray(found.clip(0, 255).astype(np.uint8))


def small(picture: Image.Image, folder: Path, **options: object) -> np.ndarray:
    file = folder / "picture.jpg"
    picture.save(file, **({"quality": 92} | options))  # type: ignore[arg-type]
    said = small_picture(file)
    assert said is not None
    import base64
    import io

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(said))), dtype=np.float32)


def cropped(picture: Image.Image, share: float, at: tuple[float, float]) -> Image.Image:
    width, height = (round(side * share) for side in picture.size)
    left, top = round((picture.width - width) * at[0]), round((picture.height - height) * at[1])
    return picture.crop((left, top, left + width, top + height))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_done_to_a_picture_does_not_hide_it(tmp_path: Path, seed: int) -> None:
    picture = scene(seed)
    first = small(picture, tmp_path)
    changed = {
        "quality": (picture, {"quality": 40}, "n"),
        "size": (picture.resize((120, 90), Image.Resampling.LANCZOS), {}, "n"),
        "light": (ImageEnhance.Brightness(picture).enhance(1.2), {}, "n"),
        "crop": (cropped(picture, 0.9, (0.5, 0.5)), {}, "c"),
        "corner": (cropped(picture, 0.86, (0.0, 1.0)), {}, "c"),
    }
    for name, (other, options, how) in changed.items():
        found = alike(first, small(other, tmp_path, **options))
        assert found is not None, name
        assert found[0] >= near_pictures.LEAST_ALIKE
        assert found[1] in (how, "p") if how == "n" else found[1] in ("n", "c"), name


def test_the_same_pixels_are_said_so(tmp_path: Path) -> None:
    one = small(scene(3), tmp_path)
    found = alike(one, one.copy())
    assert found is not None
    assert found[1] == "p"


def test_other_pictures_are_not_alike(tmp_path: Path) -> None:
    pictures = [small(scene(seed), tmp_path) for seed in range(12)]
    assert not [1 for n, one in enumerate(pictures) for other in pictures[:n] if alike(one, other)]


def test_another_colour_is_another_picture(tmp_path: Path) -> None:
    picture = scene(1)
    red = Image.merge("RGB", [picture.getchannel(name) for name in "BGR"])
    assert alike(small(picture, tmp_path), small(red, tmp_path)) is None


def test_plain_pictures_are_not_compared() -> None:
    plain = np.full((SIDE, SIDE, 3), 128, dtype=np.float32)
    assert alike(plain, plain.copy()) is None
    assert not coarse_of(plain).any()


def test_candidates_hold_crops_and_few_others(tmp_path: Path) -> None:
    pictures = [scene(seed) for seed in range(40)]
    corners = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 1.0))
    pictures += [cropped(picture, 0.86, corners[n % 4]) for n, picture in enumerate(pictures)]
    first, second = candidates(np.stack([coarse_of(small(p, tmp_path)) for p in pictures]), lambda _n, _of: None)
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert sum((n, n + 40) in found for n in range(40)) >= 39
    assert all(a < b for a, b in found)


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "page.jpg"
    file.write_text("<html></html>", encoding="utf-8")
    assert small_picture(file) is None
