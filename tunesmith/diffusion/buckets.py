"""Aspect-ratio buckets: sizes of about equal area that pictures of any proportions are learned at, none dropped.

Each picture goes to the bucket nearest to its proportions, is resized to cover it, and what sticks out is cropped
(SDXL, arXiv:2307.01952, appendix I). Every crop is a value that can be counted, described and drawn. It knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.errors import UserError
from tunesmith.pictures.files import open_picture, read_picture, to_rgb
from tunesmith.pictures.orientation import TURNS, swaps_sides

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""
Picture: TypeAlias = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

MOST_PIXELS = 150_000_000
"""The largest picture that is decoded, a little more than 12,000 x 12,000: 600 MB, unless it is a JPEG."""
MANY_PIXELS = 16_000_000
"""From here on a picture is made smaller while it is read."""
BYTES_PER_PIXEL = 4
"""Of Pillow, while it decodes to RGB."""
LEAST_AREA_SHARE = 0.9
"""Least area of a bucket as a share of the square's; with it, 1024 and 64 give SDXL's own table."""
STEPS = 16
SHOWN_WORST, SHOWN_BUCKETS = 5, 12
_WHERE = "recipe: options.size"


def buckets_for(size: int, multiple: int, most: float) -> tuple[Size, ...]:
    """All sizes of about the area ``size`` x ``size``, never more, from the tallest to the widest; the square is one.

    Args:
        size: Side of the square bucket, pixels.
        multiple: What both sides are multiples of: 8 for most autoencoders, 64 where the denoiser halves three times.
            Sides differ by a sixteenth of ``size`` at least, so that small multiples do not give hundreds of buckets.
        most: The largest ratio of the longer side to the shorter one, 1 or more; 1 gives the square alone.

    Raises:
        UserError: The size is no multiple.
        ValueError: A number makes no sense.
    """
    if size < 1 or multiple < 1 or not most >= 1:
        raise ValueError(f"buckets of size {size}, multiple {multiple}, ratio {most}")
    if size % multiple:
        near = max(multiple, round(size / multiple) * multiple)
        raise UserError(
            f"{size} pixels is no multiple of {multiple}, which the model's autoencoder and denoiser need",
            _WHERE,
            f"write {near}",
        )
    step = max(multiple, size // STEPS // multiple * multiple)
    longest = math.floor(size * math.sqrt(most / LEAST_AREA_SHARE))
    # A grid that the square's side is on.
    sides = range(size % step or step, longest + 1, step)
    found = [
        (height, width)
        for height in sides
        for width in sides
        if LEAST_AREA_SHARE * size * size <= height * width <= size * size
        and max(height, width) <= most * min(height, width)
    ]
    return tuple(sorted(found, key=lambda bucket: (bucket[1] / bucket[0], bucket[1])))


def choose(height: int, width: int, buckets: Sequence[Size]) -> Size:
    """The bucket whose proportions are nearest, so that least is cropped; of equal ones the larger.

    Args:
        height: Of the picture as a person sees it.
        width: The same.
        buckets: As `buckets_for` gives them; not empty.
    """
    ratio = math.log(width / height)
    return min(buckets, key=lambda bucket: (abs(math.log(bucket[1] / bucket[0]) - ratio), -bucket[0] * bucket[1]))


@dataclass(frozen=True)
class Crop:
    """What is taken of a picture, and at what scale.

    Args:
        original: Height and width of the picture as a person sees it.
        size: Height and width of the bucket.
        resized: Height and width of the whole picture once it covers the bucket.
        top: First row of the resized picture that is taken.
        left: First column.
    """

    original: Size
    size: Size
    resized: Size
    top: int
    left: int

    @property
    def scale(self) -> float:
        """Pixels of the bucket for one of the picture; more than 1 where it is enlarged."""
        return max(self.resized[0] / self.original[0], self.resized[1] / self.original[1])

    @property
    def cut(self) -> float:
        """The share of the picture that is cut away, 0 to 1."""
        return 1 - (self.size[0] * self.size[1]) / (self.resized[0] * self.resized[1])

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is taken, in pixels of the original."""
        down, across = self.original[0] / self.resized[0], self.original[1] / self.resized[1]
        right, bottom = (self.left + self.size[1]) * across, (self.top + self.size[0]) * down
        return self.left * across, self.top * down, right, bottom

    @property
    def conditioning(self) -> tuple[int, int, int, int, int, int]:
        """SDXL's ``add_time_ids``: original height and width, top and left of the crop, target height and width.

        arXiv:2307.01952, section 2.2. The crop is told in pixels of the resized picture.
        """
        return (*self.original, self.top, self.left, *self.size)

    def to_json(self) -> dict[str, Any]:
        """The crop as JSON-able values."""
        return {
            "original": list(self.original),
            "size": list(self.size),
            "scale": self.scale,
            "top": self.top,
            "left": self.left,
            "cut": self.cut,
        }


def crop_for(original: Size, bucket: Size, rng: np.random.Generator | None = None) -> Crop:
    """What would be taken of a picture of this size: the centre, or with ``rng`` a place of equal chance."""
    (height, width), (down, across) = original, bucket
    factor = max(down / height, across / width)
    resized = max(down, round(height * factor)), max(across, round(width * factor))
    spare = resized[0] - down, resized[1] - across
    if rng is None:
        top, left = spare[0] // 2, spare[1] // 2
    else:
        top, left = int(rng.integers(0, spare[0] + 1)), int(rng.integers(0, spare[1] + 1))
    return Crop(original, bucket, resized, top, left)


def fit_to(
    image: Picture, bucket: Size, rng: np.random.Generator | None = None, original: Size | None = None
) -> tuple[Picture, Crop]:
    """The picture at the bucket's size: resized to cover it (Lanczos, antialiased), then cropped.

    Only what is taken is computed, so that a strip of 100,000 x 10 pixels needs no more memory than another picture.

    Args:
        image: uint8 [height, width, 3].
        bucket: Height and width.
        rng: Crops at random with it; without, the centre.
        original: The picture's own height and width, where ``image`` is a smaller copy (`read_for`).

    Returns:
        uint8 [*bucket, 3], and the crop, in terms of the original.
    """
    crop = crop_for(original or (image.shape[0], image.shape[1]), bucket, rng)
    down, across = image.shape[0] / crop.resized[0], image.shape[1] / crop.resized[1]
    right, bottom = min(image.shape[1], (crop.left + bucket[1]) * across), (crop.top + bucket[0]) * down
    box = (crop.left * across, crop.top * down, right, min(image.shape[0], bottom))
    taken = Image.fromarray(image).resize((bucket[1], bucket[0]), Image.Resampling.LANCZOS, box=box)
    return np.array(taken), crop


def read_for(path: Path, original: Size, bucket: Size, *, most_pixels: int = MOST_PIXELS) -> Picture:
    """The pixels, uint8 [height, width, 3], at no less than what covers the bucket.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that is enough, so that one of 12,000 pixels needs megabytes.
    Any other large picture is decoded whole, and made smaller before it is copied.

    Args:
        path: The file.
        original: Its height and width as a person sees it.
        bucket: Height and width that it will be fitted to.
        most_pixels: A larger picture is refused before it is decoded.

    Raises:
        PictureFault: It cannot be read.
    """
    wanted = crop_for(original, bucket).resized
    if original[0] * original[1] < MANY_PIXELS:
        return read_picture(path, most_pixels=most_pixels, at_least=wanted)
    with open_picture(path, most_pixels=most_pixels) as (image, look):
        across, down = wanted if swaps_sides(look.orientation) else (wanted[1], wanted[0])
        if look.format == "JPEG":
            image.draft(None, (across, down))
        plain = to_rgb(image)
        # Twice the size is left for the filter that follows, so that it decides how the result looks.
        if plain.width > 2 * across and plain.height > 2 * down:
            plain = plain.resize((2 * across, 2 * down), Image.Resampling.BOX)
    turn = TURNS.get(look.orientation)
    return np.array(plain.transpose(turn) if turn is not None else plain)


def counted(crops: Iterable[tuple[str, Crop]]) -> dict[Size, list[tuple[str, Crop]]]:
    """Named crops by bucket, the fullest first."""
    found: dict[Size, list[tuple[str, Crop]]] = {}
    for name, crop in crops:
        found.setdefault(crop.size, []).append((name, crop))
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def describe(crops: Sequence[tuple[str, Crop]]) -> list[str]:
    """What becomes of pictures, one sentence each: buckets, what is cut away on average and at most, what is enlarged.

    Args:
        crops: Each with its picture's name.
    """
    if not crops:
        return []
    by_bucket = counted(crops)
    shown = [f"{w} x {h}: {len(inside):,}" for (h, w), inside in list(by_bucket.items())[:SHOWN_BUCKETS]]
    more = f"; {len(by_bucket) - SHOWN_BUCKETS:,} more" if len(by_bucket) > SHOWN_BUCKETS else ""
    buckets = f"{len(by_bucket):,} bucket{'' if len(by_bucket) == 1 else 's'}"
    lines = [
        f"{len(crops):,} picture{'' if len(crops) == 1 else 's'} in {buckets} (width x height): "
        f"{'; '.join(shown)}{more}"
    ]
    worst = sorted(crops, key=lambda item: -item[1].cut)
    if worst[0][1].cut < 0.0005:
        lines.append("nothing is cut away")
    else:
        mean = sum(crop.cut for _, crop in crops) / len(crops)
        names = ", ".join(f"{name} ({crop.cut:.1%})" for name, crop in worst[:SHOWN_WORST] if crop.cut >= 0.0005)
        lines.append(f"{mean:.1%} of a picture is cut away on average, {worst[0][1].cut:.1%} at most: {names}")
    large = sorted((item for item in crops if item[1].scale > 1), key=lambda item: -item[1].scale)
    if large:
        names = ", ".join(f"{name} ({crop.scale:.2g} times)" for name, crop in large[:SHOWN_WORST])
        lines.append(f"{len(large):,} of them are smaller than their bucket and enlarged: {names}")
    return lines


def plan_crops(rows: Iterable[Mapping[str, Any]], buckets: Sequence[Size]) -> list[tuple[str, Crop]]:
    """The centre crop of every row that has a picture, with its name; no file is opened.

    Args:
        rows: With ``image``, ``height`` and ``width``.
        buckets: As `buckets_for` gives them.
    """
    found = []
    for row in rows:
        if row["image"]:
            original = int(row["height"]), int(row["width"])
            found.append((str(row["image"]), crop_for(original, choose(*original, buckets))))
    return found
