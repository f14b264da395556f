"""What a person sees of boxes and masks: drawn on a picture, in colours that stay with their class.

It knows pictures, boxes and masks; no model, no score and no page. The colours are those of Okabe and Ito, told apart
by every common kind of colour vision, then the same lighter and darker; a box carries its class in words as well, since
colour never stands alone.
"""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

Colour = tuple[int, int, int]

WIDEST, HIGHEST = 480, 640
"""Most pixels of a picture in a report."""

LEAST = 240
"""Pixels of the longer side that a smaller picture is enlarged to, so that words on it are legible."""

QUALITY = 80
"""Of its compression, 0 to 100."""

IGNORED = 255
_IGNORED_COLOUR: Colour = (128, 128, 128)
_CYCLE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_LIGHTNESS = (0.0, 0.45, -0.4)
"""What each further round of the cycle does: as it is, nearer to white, nearer to black."""


def colour_of(number: int) -> Colour:
    """The colour of class ``number`` as red, green and blue, 0 to 255; the same in every picture and report."""
    base = _CYCLE[number % len(_CYCLE)]
    share = _LIGHTNESS[number // len(_CYCLE) % len(_LIGHTNESS)]
    parts = [int(base[n : n + 2], 16) for n in (1, 3, 5)]
    # A class beyond the 21st is turned a little, so that neighbours in the table still differ.
    turn = number // (len(_CYCLE) * len(_LIGHTNESS)) * 0.045
    hue, light, depth = colorsys.rgb_to_hls(*(part / 255 for part in parts))
    light += share * (1 - light if share > 0 else light)
    red, green, blue = colorsys.hls_to_rgb((hue + turn) % 1, light, depth)
    return round(red * 255), round(green * 255), round(blue * 255)


def hex_of(number: int) -> str:
    """`colour_of` as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(number))


def fitted(picture: Image.Image, widest: int = WIDEST, highest: int = HIGHEST) -> Image.Image:
    """The picture in RGB at the size of a report: reduced where it is larger, and enlarged where it is tiny."""
    scale = min(1.0, widest / picture.width, highest / picture.height)
    if max(picture.size) < LEAST:
        scale = min(LEAST / max(picture.size), widest / picture.width, highest / picture.height)
    rgb = picture.convert("RGB")
    if scale == 1.0:
        return rgb
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def draw_boxes(
    picture: Image.Image,
    boxes: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    scale: float = 1.0,
) -> Image.Image:
    """A copy of the picture with boxes, each with its class and, where it has one, its score.

    Args:
        picture: RGB; reduced beforehand where it is to be small, so that lines and words stay legible.
        boxes: ``{"box": [x, y, width, height], "label": name, "score": ...}``; a crowd is drawn thin.
        classes: Names by number; a class that is not among them is drawn in grey.
        scale: Pixels of the picture to one of the boxes' (0.5 for a picture reduced to half).
    """
    out = picture.convert("RGB")
    out = out.copy() if out is picture else out
    index = {name: number for number, name in enumerate(classes)}
    pen = ImageDraw.Draw(out)
    thick = max(2, round(max(out.size) / 240))
    font = _font(max(12, round(max(out.size) / 32)))
    # Large boxes first, so that small ones lie above them; words last, so that no line crosses them.
    ordered = sorted(boxes, key=lambda one: -float(one["box"][2]) * float(one["box"][3]))
    for one in ordered:
        colour = _colour(index.get(str(one["label"])))
        corners = _corners(one["box"], scale, out.size)
        line = 1 if one.get("crowd") else thick
        pen.rectangle(_wider(corners, 1), outline=_words_on(colour), width=line + 2)
        pen.rectangle(corners, outline=colour, width=line)
    for one in ordered:
        number = index.get(str(one["label"]))
        _tag(pen, _words(one, number), _corners(one["box"], scale, out.size), _colour(number), font, out.size)
    return out


def draw_mask(
    picture: Image.Image, mask: NDArray[np.uint8], *, bare: Collection[int] = (), share: float = 0.6
) -> Image.Image:
    """A copy of the picture under the colours of its mask, regions outlined; pixels that do not count are grey.

    Args:
        picture: RGB, of any size; the mask is brought to it.
        mask: Class numbers, 255 for pixels that do not count, [height, width].
        bare: Classes that are not painted (the background).
        share: How much of a painted pixel is colour.
    """
    rgb = picture.convert("RGB")
    fitted = Image.fromarray(mask)
    if fitted.size != rgb.size:
        fitted = fitted.resize(rgb.size, Image.Resampling.NEAREST)
    numbers = np.asarray(fitted)
    colours = np.array([_colour(None if n == IGNORED else n) for n in range(256)], dtype=np.float32)
    painted = ~np.isin(numbers, list(bare))
    # Over the grey of the picture, so that a class has one colour on any ground.
    grey = np.asarray(rgb.convert("L"), dtype=np.float32)[..., None]
    mixed = np.where(painted[..., None], grey + share * (colours[numbers] - grey), np.asarray(rgb, dtype=np.float32))
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    edge[1:, :] |= numbers[1:, :] != numbers[:-1, :]
    # A light line with a dark one beside it is seen on any ground.
    mixed[edge] = 255
    dark = np.zeros_like(edge)
    dark[:, :-1] |= edge[:, 1:]
    dark[:-1, :] |= edge[1:, :]
    mixed[dark & ~edge] *= 0.35
    return Image.fromarray(mixed.round().astype(np.uint8))


def data_uri(picture: Image.Image, quality: int = QUALITY) -> str:
    """The picture inside an address, ``data:image/webp;base64,...``, as a self-contained page takes it.

    WebP where Pillow was built with it, else JPEG. Whatever else the picture's file held (place, camera) is not in it.
    """
    kind = "webp" if features.check("webp") else "jpeg"
    stream = io.BytesIO()
    clean = Image.frombytes("RGB", picture.size, picture.convert("RGB").tobytes())
    clean.save(stream, kind.upper(), quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _colour(number: int | None) -> Colour:
    return _IGNORED_COLOUR if number is None else colour_of(number)


def _corners(box: Sequence[float], scale: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box on the paper, cut at its edges and at least a pixel wide and high."""
    x, y, width, height = (float(v) * scale for v in box)
    left, top = min(max(x, 0), size[0] - 2), min(max(y, 0), size[1] - 2)
    right, bottom = min(max(x + width, left + 1), size[0] - 1), min(max(y + height, top + 1), size[1] - 1)
    return left, top, right, bottom


def _wider(corners: tuple[float, float, float, float], by: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = corners
    return left - by, top - by, right + by, bottom + by


def _words(one: Mapping[str, Any], number: int | None) -> str:
    label = str(one["label"])
    # Pillow's own font has no letters beyond Latin: a number, which a caption can name, is better than empty squares.
    if not all(letter.isprintable() and ord(letter) < 256 for letter in label):
        label = "?" if number is None else f"#{number}"
    label = label if len(label) <= 24 else f"{label[:23]}."
    return label if one.get("score") is None else f"{label} {float(one['score']):.2f}"


def _tag(
    pen: ImageDraw.ImageDraw,
    words: str,
    corners: tuple[float, float, float, float],
    colour: Colour,
    font: Any,
    size: tuple[int, int],
) -> None:
    """Words on a ground of the class's colour, above the box or, where there is no room, inside it."""
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    width, height = right - left + 6, bottom - top + 4
    x = max(0.0, min(corners[0] - 1, size[0] - width))
    y = corners[1] - height if corners[1] >= height else corners[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 3 - left, y + 2 - top), words, fill=_words_on(colour), font=font)


def _words_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out more, by the luminance of WCAG."""
    parts = [v / 255 for v in colour]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else (255, 255, 255)


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
