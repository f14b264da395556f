"""Pastes stamps on a background and knows whose each pixel is. It knows no class and no file format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from stamp_pictures.dice import Dice

SOLID = 127
"""A pixel belongs to a stamp where its alpha is above this."""
FAINT = 8
"""Below this nobody sees anything: the empty rim of a stamp is cut off."""
GROWTH = 2.2
"""How much a stamp may grow; a small one that fills a picture is a blur."""


@dataclass(frozen=True)
class Cut:
    """A stamp turned and scaled: colours float32 [height, width, 3], alpha uint8 [height, width]."""

    colours: np.ndarray
    alpha: np.ndarray

    @property
    def solid(self) -> np.ndarray:
        """Which pixels are the stamp's: bool [height, width]."""
        return self.alpha > SOLID


def without_rim(picture: Image.Image) -> Image.Image:
    """The stamp without what can't be seen around it."""
    bounds = picture.getchannel("A").point(lambda alpha: 255 * (alpha > FAINT)).getbbox()
    return picture.crop(bounds) if bounds else picture


def opened(path: Path) -> Image.Image:
    """A stamp's file as RGBA without its empty rim, whatever mode it is stored in."""
    with Image.open(path) as picture:
        return without_rim(picture.convert("RGBA"))


def cut(dice: Dice, path: Path, longest: float, turn: float, sided: bool) -> Cut:
    """A stamp for one picture.

    Args:
        dice: Where its angle, its light and its side come from.
        path: The stamp's file.
        longest: Pixels of its longer side before it is turned; less where it would have to grow too much.
        turn: The most degrees that it is turned, to either side.
        sided: Whether it must not be mirrored.
    """
    picture = opened(path)
    scale = min(longest / max(picture.size), GROWTH)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    if dice.chance(50) and not sided:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = without_rim(picture.rotate(dice.between(-turn, turn), Image.Resampling.BICUBIC, expand=True))
    pixels = np.asarray(picture)
    light = dice.between(0.8, 1.1) * np.asarray([dice.between(0.94, 1.06) for _ in range(3)], np.float32)
    return Cut((pixels[..., :3] * light).clip(0, 255).astype(np.float32), pixels[..., 3])


@dataclass
class Canvas:
    """A picture in the making: pixels float32 [height, width, 3] and who owns each of them, -1 for nobody."""

    pixels: np.ndarray
    owner: np.ndarray = field(init=False)
    sizes: list[int] = field(default_factory=list)
    """Solid pixels of each stamp, hidden ones and those beyond the border included."""

    def __post_init__(self) -> None:
        self.owner = np.full(self.pixels.shape[:2], -1, np.int16)

    def seen(self, index: int) -> np.ndarray:
        """Where a stamp is seen: bool [height, width]."""
        return np.asarray(self.owner == index)

    def paste(self, stamp: Cut, top: int, left: int, least: float) -> bool:
        """Paste a stamp, if of every stamp at least this share stays to be seen; say whether it was pasted."""
        height, width = self.owner.shape
        rows = slice(max(0, top), min(height, top + stamp.alpha.shape[0]))
        columns = slice(max(0, left), min(width, left + stamp.alpha.shape[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return False
        part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        owner = self.owner.copy()
        owner[rows, columns][stamp.solid[part]] = len(self.sizes)
        sizes = [*self.sizes, int(stamp.solid.sum())]
        counts = np.bincount(owner[owner >= 0], minlength=len(sizes))
        if any(count < max(1, least * size) for count, size in zip(counts, sizes, strict=True)):
            return False
        self.owner, self.sizes = owner, sizes
        share = (stamp.alpha[part] / np.float32(255))[..., None]
        here = self.pixels[rows, columns]
        self.pixels[rows, columns] = here + share * (stamp.colours[part] - here)
        return True

    def picture(self) -> Image.Image:
        """What is seen, as RGB."""
        return Image.fromarray((self.pixels + 0.5).clip(0, 255).astype(np.uint8))


def box_of(seen: np.ndarray) -> list[int]:
    """The smallest box around the true pixels as x, y, width, height."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
