"""What can be told of one picture by its pixels: light, colour, sharpness, content, border. It knows no rows.

A picture is decoded once, a JPEG at 1/2, 1/4 or 1/8 of its size where that is enough, and measured at a longer side of
at most `SIDE` pixels: what can't be seen there can't be seen by a network either.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.audit.picture_damage import damage_of, missing_below
from tunesmith.audit.picture_exif import shot_of
from tunesmith.pictures.files import Look, PictureFault, open_picture, to_rgb
from tunesmith.pictures.likeness import SIDE as THUMB_SIDE
from tunesmith.pictures.likeness import Sight, difference_hash
from tunesmith.pictures.orientation import swaps_sides, turn_pixels

NAME = "picture-quality-1"
"""Of the measures in `Kept`; a change of any measure needs another one."""

SIDE = 512
REACH = 6
"""Pixels that an edge is looked for in."""
LEAST_STEP = 0.05
STRONGEST = 0.01
SHARPEST_QUARTER = 0.75
BORDER = 1 / 8
NEUTRAL = (0.08, 0.92)
Grey = NDArray[Any]


def measure_picture(path: Path) -> dict[str, Any]:
    """The measures of a file; ``{"fault": why}`` where it can't be read, with ``"decodes": True`` if it is but damaged.

    Returns:
        JSON-able: ``width``, ``height``, ``turn`` (EXIF), ``format``, ``p1`` ... ``p99`` (grey, 0 to 1), ``light``
        (mean grey), ``contrast`` (its deviation), ``white`` and ``black`` (share of pixels at the limit),
        ``white_edge`` and ``black_edge`` (the same of the outermost pixels), ``warmth`` (log2 of red by blue),
        ``colour`` (mean distance of the channels), ``entropy`` (bits), ``sharp`` and ``sharp_least`` (`sharpness`,
        None without an edge), ``laplacian`` (variance), ``border`` and ``border_light`` (deviation and mean of the
        outer eighth), ``hour``, ``month``, ``retold`` (EXIF's size is the turned one), ``digest`` and ``thumb``
        (32 x 32, base64).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return {"fault": "is not there" if isinstance(error, FileNotFoundError) else str(error.strerror)}
    damage = damage_of(content)
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    del content
    try:
        with open_picture(path) as (image, look):
            exif = image.info.get("exif")
            reduced = _reduce(image, look)
            pixels = np.asarray(to_rgb(image))
        missing = missing_below(pixels, max(1, 8 // reduced)) if look.format == "JPEG" else 0.0
        if missing and damage is None:
            damage = f"is cut off: its lower {missing:.0%} are the grey of missing data"
        small = _small(pixels)
    except PictureFault as fault:
        return {"fault": fault.reason, "digest": digest}
    if damage is not None:
        return {"fault": damage, "decodes": True, "digest": digest}
    shown = np.ascontiguousarray(turn_pixels(small, look.orientation))
    shot = shot_of(exif) if isinstance(exif, bytes) else shot_of(b"")
    stored = look.stored_size
    retold = swaps_sides(look.orientation) and shot.size is not None and shot.size[0] != shot.size[1]
    return {
        "width": look.width,
        "height": look.height,
        "turn": look.orientation,
        "format": look.format,
        "retold": bool(retold and shot.size is not None and shot.size == stored[::-1]),
        "hour": shot.hour,
        "month": shot.month,
        "digest": digest,
        **_of_pixels(shown),
    }


def sight_of(measures: dict[str, Any]) -> Sight:
    """The glance that near pictures are found by, from kept measures."""
    thumb = np.frombuffer(base64.b64decode(measures["thumb"]), np.uint8).reshape(THUMB_SIDE, THUMB_SIDE)
    look = Look(measures["format"], measures["width"], measures["height"])
    return Sight(look, int(measures["digest"], 16), difference_hash(thumb), thumb)


def _reduce(image: Image.Image, look: Look) -> int:
    """Have a JPEG decoded at a fraction of its size that is still no smaller than `SIDE`; by what it was divided."""
    width, height = image.size
    if look.format != "JPEG" or max(width, height) < 2 * SIDE:
        return 1
    scale = SIDE / max(width, height)
    image.draft(None, (max(1, round(width * scale)), max(1, round(height * scale))))
    return max(1, round(width / image.size[0]))


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= SIDE:
        return pixels
    size = max(1, round(width * SIDE / longer)), max(1, round(height * SIDE / longer))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _of_pixels(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """Measures of uint8 [height, width, 3]."""
    grey8 = np.asarray(Image.fromarray(pixels).convert("L"))
    counts = np.bincount(grey8.reshape(-1), minlength=256)
    grey = grey8.astype(np.float32) / np.float32(255)
    levels = np.searchsorted(np.cumsum(counts), np.array([0.01, 0.05, 0.5, 0.95, 0.99]) * grey.size) / 255
    present = counts[counts > 0] / grey.size
    red, green, blue = (np.ascontiguousarray(pixels[..., channel]) for channel in range(3))
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    edge = np.zeros(grey.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    down, across = max(1, round(len(grey) * BORDER)), max(1, round(grey.shape[1] * BORDER))
    outer = np.concatenate([part.reshape(-1) for part in _frame(grey, down, across)])
    middle = (grey > NEUTRAL[0]) & (grey < NEUTRAL[1])
    warm, cool = (float(part[middle].mean()) if middle.any() else 1.0 for part in (red, blue))
    sharp, least = sharpness(grey)
    thumb = np.asarray(Image.fromarray(grey8).resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX))
    found = {
        **dict(zip(("p1", "p5", "p50", "p95", "p99"), levels.tolist(), strict=True)),
        "light": float(grey.mean()),
        "contrast": float(grey.std()),
        "white": float((lowest >= 254).mean()),
        "black": float((highest <= 1).mean()),
        "white_edge": float((lowest[edge] >= 250).mean()),
        "black_edge": float((highest[edge] <= 5).mean()),
        "warmth": float(np.log2((warm + 1) / (cool + 1))),
        "colour": float((highest - lowest).mean() / 255),
        "entropy": float(-(present * np.log2(present)).sum()),
        "laplacian": laplacian_variance(grey),
        "border": float(outer.std()),
        "border_light": float(outer.mean()),
    }
    rounded = {name: round(value, 5) for name, value in found.items()}
    return {
        **rounded,
        "sharp": None if sharp is None else round(sharp, 4),
        "sharp_least": None if least is None else round(least, 4),
        "thumb": base64.b64encode(np.ascontiguousarray(thumb).tobytes()).decode("ascii"),
    }


def _frame(grey: Grey, down: int, across: int) -> tuple[Grey, Grey, Grey, Grey]:
    inside = grey[down:-down] if len(grey) > 2 * down else grey[:0]
    return grey[:down], grey[-down:], inside[:, :across], inside[:, -across:]


def laplacian_variance(grey: Grey) -> float:
    """Variance of the Laplacian, of grey from 0 to 255: how much fine detail there is, which depends on the content."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    found = 4 * inner - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(found.var() * 255**2)


def sharpness(grey: Grey) -> tuple[float | None, float | None]:
    """How steep the strongest edges are, of both directions the better and the worse one; None without any edge.

    An edge is a step of grey over `REACH` pixels. What share of it lies between two neighbouring pixels says how
    sharp it is, whatever the picture shows: 1 is a step from one pixel to the next, 1/6 a slope. The sharpest quarter
    of the strongest edges counts, since what lies behind the subject may well be out of focus.
    """
    found = [value for value in (_steepness(grey), _steepness(grey.T)) if value is not None]
    return (max(found), min(found)) if found else (None, None)


def _steepness(grey: Grey) -> float | None:
    """The same along the rows."""
    width = grey.shape[1] - REACH
    if width < 1:
        return None
    steps = np.abs(np.diff(grey, axis=1))
    over = np.abs(grey[:, REACH:] - grey[:, :-REACH])
    floor = max(0.7 * float(np.quantile(over[::2, ::2], 1 - STRONGEST)), LEAST_STEP)
    rows, columns = np.nonzero(over > floor)
    if len(rows) < 10:
        return None
    steepest = steps[rows, columns]
    for further in range(1, REACH):
        np.maximum(steepest, steps[rows, columns + further], out=steepest)
    return float(np.quantile(steepest / over[rows, columns], SHARPEST_QUARTER))
