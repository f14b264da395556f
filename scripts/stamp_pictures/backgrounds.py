"""Backgrounds: pieces of photos in changing light, and drawn ones. Those of one side never show up on the other.

It knows neither stamps nor classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from stamp_pictures.dice import Dice

PHOTO_SHARE = 60
"""Percent of the backgrounds that are photos."""
PICTURES = {".png", ".jpg", ".jpeg"}


def smooth(dice: Dice, height: int, width: int, cells: int) -> np.ndarray:
    """Noise without edges, from 0 to 1 as float32 [height, width]; so many cells along the longer side."""
    coarse = dice.noise(max(2, round(cells * height / max(height, width))) + 1,
                        max(2, round(cells * width / max(height, width))) + 1)  # fmt: skip
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32).clip(0, 1)


def clouded(dice: Dice, height: int, width: int, cells: int = 3, octaves: int = 5) -> np.ndarray:
    """Noise coarse and fine, as in clouds and stone: float32 [height, width] around 0.5."""
    layers = [smooth(dice, height, width, cells << octave) / (1 << octave) for octave in range(octaves)]
    return np.asarray(np.sum(layers, axis=0) / sum(1 / (1 << octave) for octave in range(octaves)), np.float32)


def mixed(field: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """From one colour to another as the field goes from 0 to 1: float32 [height, width, 3]."""
    return np.asarray(first + (second - first) * field.clip(0, 1)[..., None], np.float32)


def slope(dice: Dice, height: int, width: int) -> np.ndarray:
    """A plane from 0 to 1 in a drawn direction: float32 [height, width]."""
    angle = dice.between(0, 2 * np.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(angle))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    plane = across + down
    return np.asarray((plane - plane.min()) / max(float(np.ptp(plane)), 1e-6), np.float32)


def clouds(dice: Dice, height: int, width: int) -> np.ndarray:
    """Clouds of two colours, with more or less contrast."""
    field = (clouded(dice, height, width, 2 + dice.below(4)) - 0.5) * dice.between(1.5, 3) + 0.5
    return mixed(field, dice.colour(), dice.colour(dice.between(0, 1)))


def lights(dice: Dice, height: int, width: int) -> np.ndarray:
    """Soft lights out of focus before a plane."""
    canvas = mixed(slope(dice, height, width), dice.colour(), dice.colour())
    down, across = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(8 + dice.below(14)):
        y, x = dice.between(0, height), dice.between(0, width)
        radius = dice.between(0.03, 0.16) * max(height, width)
        inside = (radius - np.hypot(down - y, across - x)).clip(0, 3)[..., None] / 3
        canvas += inside * dice.between(0.2, 0.6) * (dice.colour(1) - canvas)
    blurred = Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    return np.asarray(blurred, np.float32)


def tiles(dice: Dice, height: int, width: int) -> np.ndarray:
    """Tiles with joints, each of another shade."""
    rows, columns = 3 + dice.below(6), 3 + dice.below(6)
    down = np.arange(height) * rows / height
    across = np.arange(width) * columns / width
    shade = dice.noise(rows, columns)[down.astype(int)][:, across.astype(int)]
    wide = dice.between(0.02, 0.06)
    joints = (down % 1 < wide)[:, None] | (across % 1 < wide)[None]
    first, second = dice.colour(), dice.colour()
    canvas = mixed(0.7 * shade + 0.3 * clouded(dice, height, width, 4), first, second)
    canvas[joints] = dice.colour(dice.between(0, 1))
    return canvas


def horizon(dice: Dice, height: int, width: int) -> np.ndarray:
    """A sky above a ground that grows rougher towards the viewer."""
    line = dice.between(0.35, 0.7) + 0.12 * (smooth(dice, 8, width, 3)[0] - 0.5)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    sky = mixed((down / line) + 0.3 * (clouded(dice, height, width, 2) - 0.5), dice.colour(0.6), dice.colour(1))
    rough = clouded(dice, height, width, 12) - 0.5
    ground = mixed(0.5 + rough * (1 + 3 * (down - line).clip(0)), dice.colour(), dice.colour())
    return np.where((down > line)[..., None], ground, sky)


def wood(dice: Dice, height: int, width: int) -> np.ndarray:
    """Boards with grain."""
    boards = 2 + dice.below(4)
    across = np.broadcast_to(np.linspace(0, boards, width, dtype=np.float32, endpoint=False), (height, width))
    bent = smooth(dice, height, width, 3) * 2 + smooth(dice, max(2, height // 16), width, 40).mean(0)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (across * dice.between(3, 7) + bent * dice.between(0.6, 1.5)))
    canvas = mixed(0.7 * grain + 0.3 * dice.noise(1, boards)[0][across.astype(int)], dice.colour(), dice.colour())
    canvas[across % 1 < 0.03] *= 0.5
    return canvas if dice.chance(50) else canvas[:, ::-1]


def marble(dice: Dice, height: int, width: int) -> np.ndarray:
    """Veins through stone."""
    field = clouded(dice, height, width, 3) * dice.between(4, 8) + slope(dice, height, width) * dice.between(2, 6)
    veins = np.abs(np.sin(np.pi * field)) ** dice.between(0.4, 1)
    return mixed(veins, dice.colour(), dice.colour(0.8))


def cloth(dice: Dice, height: int, width: int) -> np.ndarray:
    """Woven checks."""
    down, across = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    period = dice.between(24, 80)
    broad = ((down / period) % 1 < dice.between(0.3, 0.6)).astype(np.float32) * 0.5
    broad = broad + ((across / period) % 1 < dice.between(0.3, 0.6)) * 0.5
    thread = 0.08 * np.sin(down * 2.1) * np.sin(across * 2.1)
    return mixed(broad + thread + 0.2 * (clouded(dice, height, width, 3) - 0.5), dice.colour(), dice.colour(0.5))


Drawing = Callable[[Dice, int, int], np.ndarray]
DRAWN: Mapping[str, tuple[Drawing, ...]] = {"train": (clouds, lights, tiles, horizon), "eval": (wood, marble, cloth)}
"""What can be drawn, apart from each other by side."""


@dataclass(frozen=True)
class Backgrounds:
    """The backgrounds of one side."""

    side: str
    photos: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path, side: str) -> Backgrounds:
        """Those with the photos in ``folder/side``."""
        found = sorted(path for path in (folder / side).iterdir() if path.suffix.lower() in PICTURES)
        return cls(side, tuple(found))

    def draw(self, dice: Dice, height: int, width: int) -> np.ndarray:
        """One background as float32 [height, width, 3], 0 to 255."""
        if dice.chance(PHOTO_SHARE):
            canvas = piece(dice, dice.choice(self.photos), height, width)
        else:
            canvas = dice.choice(DRAWN[self.side])(dice, height, width)
        light = dice.between(0.7, 1.15) * (0.85 + 0.3 * smooth(dice, height, width, 2))
        return np.asarray((canvas * light[..., None]).clip(0, 255), np.float32)


def piece(dice: Dice, path: Path, height: int, width: int) -> np.ndarray:
    """A drawn piece of a photo at the wanted size, mirrored half the time; a grey photo takes two colours."""
    with Image.open(path) as opened:
        photo = opened if opened.mode == "L" else opened.convert("RGB")
        grown = dice.between(0.55, 1) * min(photo.width / width, photo.height / height)
        across, down = round(width * grown), round(height * grown)
        left, top = dice.below(photo.width - across + 1), dice.below(photo.height - down + 1)
        box = (left, top, left + across, top + down)
        cut = photo.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
    if dice.chance(50):
        cut = ImageOps.mirror(cut)
    found = np.asarray(cut, np.float32)
    if found.ndim == 2:
        return mixed(found / 255, dice.colour() * 0.4, dice.colour(1))
    return found
