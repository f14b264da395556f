"""A contact sheet of crops: thumbnails of whole pictures with what is taken of each. It decides no crop itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tunesmith.diffusion.buckets import Crop
from tunesmith.pictures.augment.sheet import CELL, INK, PAPER, QUIET
from tunesmith.pictures.draw import Colour, colour_of

FRAME: Colour = colour_of(0)
_MARGIN, _GAP, _LINE = 16, 10, 18
_LETTERS, _SMALL = 13, 11
_SHADE = 0.4
"""How much of a pixel's light is left where it is cut away."""


def draw_crops(
    pictures: Sequence[tuple[str, NDArray[np.uint8], Crop]], *, cell: int = 224, columns: int = 5
) -> Image.Image:
    """Thumbnails in rows, each whole, with a frame around what is taken; what is cut away is dark.

    Args:
        pictures: Name, pixels uint8 [height, width, 3] (the whole picture at any size), and what is taken of it.
        cell: Pixels of a thumbnail's longer side.
        columns: Most thumbnails beside each other.

    Raises:
        ValueError: There is nothing to show.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = cell + 3 * _LINE + _GAP
    width = columns * (cell + _GAP) - _GAP
    sheet = Image.new("RGB", (width + 2 * _MARGIN, rows * height + 2 * _MARGIN - _GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, (name, image, crop) in enumerate(pictures):
        x, y = _MARGIN + at % columns * (cell + _GAP), _MARGIN + at // columns * height
        pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=CELL)
        drawn = _thumbnail(image, crop, cell)
        sheet.paste(drawn, (x + (cell - drawn.width) // 2, y + (cell - drawn.height) // 2))
        (down, across), (h, w) = crop.original, crop.size
        _write(pen, (x, y + cell + 2), name, cell, _LETTERS, INK)
        _write(pen, (x, y + cell + _LINE), f"{across} x {down} to {w} x {h}", cell, _SMALL, QUIET)
        told = f"{crop.cut:.1%} cut away, scale {crop.scale:.2g}"
        _write(pen, (x, y + cell + 2 * _LINE - 2), told, cell, _SMALL, QUIET)
    return sheet


def _thumbnail(image: NDArray[np.uint8], crop: Crop, cell: int) -> Image.Image:
    """The whole picture within the cell, dark where it is cut away, framed where it is taken."""
    factor = cell / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    across, down = size[0] / crop.original[1], size[1] / crop.original[0]
    left, top, right, bottom = crop.rectangle
    box = round(left * across), round(top * down), round(right * across), round(bottom * down)
    shaded = Image.fromarray((np.asarray(small) * _SHADE).astype(np.uint8))
    if box[2] > box[0] and box[3] > box[1]:
        shaded.paste(small.crop(box), box[:2])
    pen = ImageDraw.Draw(shaded)
    corners = box[0], box[1], max(box[0], box[2] - 1), max(box[1], box[3] - 1)
    # A dark line beside the frame's own colour is seen on any ground.
    pen.rectangle(corners, outline=INK, width=3)
    pen.rectangle(corners, outline=FRAME, width=2)
    return shaded


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int, colour: Colour) -> None:
    """A text, with dots in the place of its beginning where it is too wide: the end of a path tells more."""
    font = _font(size)
    if font.getlength(text) > width:
        while text and font.getlength(f"...{text}") > width:
            text = text[1:]
        text = f"...{text}"
    pen.text(at, text, font=font, fill=colour)
