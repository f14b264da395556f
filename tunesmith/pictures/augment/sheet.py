"""A contact sheet: originals beside what the model will see of them, with boxes and masks. It knows no chance.

The caller brings the samples, so that the sheet shows what was really made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tunesmith.pictures.augment.placement import fit
from tunesmith.pictures.augment.sample import IGNORE, Sample
from tunesmith.pictures.draw import Colour, colour_of, draw_boxes, draw_mask

PAPER: Colour = (255, 255, 255)
CELL: Colour = (236, 236, 232)
INK: Colour = (23, 25, 28)
QUIET: Colour = (88, 93, 100)
_MARGIN, _GAP, _LINE = 16, 10, 18
_LETTERS, _SMALL = 13, 11
_MOST_CLASSES = 40
_CHIP = 18


def contact_sheet(
    rows_of_samples: Sequence[Sequence[Sample]],
    names: Sequence[str],
    classes: Sequence[str],
    *,
    cell: int = 224,
    background_id: int | None = 0,
) -> Image.Image:
    """Rows of samples as one picture: the original at the left, what was made of it beside.

    Args:
        rows_of_samples: Each row: the original first, then its augmented versions.
        names: What stands above each row (its id), one a row.
        classes: Names of the classes by number.
        cell: Pixels of a cell's sides; samples are scaled to it with their proportions.
        background_id: The class of masks that is not painted; None paints them all.

    Raises:
        ValueError: There is nothing to show, or not one name a row.
    """
    if not rows_of_samples or not all(rows_of_samples) or len(names) != len(rows_of_samples):
        raise ValueError("a contact sheet needs rows of at least one sample, and one name a row")
    columns = max(map(len, rows_of_samples))
    inner = columns * cell + (columns - 1) * _GAP
    used = _used(rows_of_samples, background_id)[:_MOST_CLASSES]
    legend = _laid_out([_name(number, classes) for number in used], inner)
    top = _MARGIN + _LINE + _LINE * (legend[-1][1] + 1 if legend else 0) + _GAP
    height = cell + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, top + len(names) * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for j in range(columns):
        text = f"as the model sees it, {j}" if j else "original"
        _write(pen, (_MARGIN + j * (cell + _GAP), _MARGIN - 4), text, cell, _LETTERS, QUIET)
    for number, (left, line) in zip(used, legend, strict=True):
        x, y = _MARGIN + left, _MARGIN + _LINE * (line + 1)
        pen.rectangle((x, y + 2, x + 10, y + 12), fill=colour_of(number))
        _write(pen, (x + _CHIP - 3, y), _name(number, classes), inner, _SMALL, INK)
    for i, (row, name) in enumerate(zip(rows_of_samples, names, strict=True)):
        y = top + i * height
        _write(pen, (_MARGIN, y), name, inner, _LETTERS, INK)
        for j, sample in enumerate(row):
            x = _MARGIN + j * (cell + _GAP)
            sheet.paste(_picture(sample, classes, cell, background_id), (x, y + _LINE))
            _write(pen, (x, y + _LINE + cell + 1), _caption(sample, classes), cell, _SMALL, QUIET)
    return sheet


def _picture(sample: Sample, classes: Sequence[str], cell: int, background_id: int | None) -> Image.Image:
    """One sample in its cell, with its mask and its boxes."""
    factor = cell / max(sample.size)
    height, width = (max(1, round(side * factor)) for side in sample.size)
    placed, placement = fit(sample, (height, width), "stretch")
    picture = Image.fromarray(placed.image)
    if placed.mask is not None:
        picture = draw_mask(picture, placed.mask, bare=() if background_id is None else (background_id,))
    if sample.boxes is not None:
        boxes = placement.to_canvas(sample.boxes)
        boxes[:, 2:] -= boxes[:, :2]
        labels = np.zeros(len(boxes), dtype=np.int64) if sample.labels is None else sample.labels
        drawn = [
            {"box": box, "label": _name(int(label), classes)} for box, label in zip(boxes.tolist(), labels, strict=True)
        ]
        picture = draw_boxes(picture, drawn, classes)
    canvas = Image.new("RGB", (cell, cell), CELL)
    canvas.paste(picture, ((cell - width) // 2, (cell - height) // 2))
    return canvas


def _caption(sample: Sample, classes: Sequence[str]) -> str:
    size = f"{sample.size[1]} x {sample.size[0]}"
    if sample.boxes is None:
        named = [] if sample.labels is None else [_name(int(label), classes) for label in sample.labels]
        return ", ".join([*named, size])
    objects = f"{len(sample.boxes)} object{'' if len(sample.boxes) == 1 else 's'}"
    return ", ".join([objects, *([f"{sample.dropped} dropped"] if sample.dropped else []), size])


def _used(rows: Sequence[Sequence[Sample]], background_id: int | None) -> list[int]:
    """The classes that are drawn on the sheet, in order."""
    found: set[int] = set()
    for sample in (sample for row in rows for sample in row):
        if sample.boxes is not None and sample.labels is not None:
            found.update(int(label) for label in sample.labels)
        if sample.mask is not None:
            found.update(int(number) for number in np.unique(sample.mask) if number not in (IGNORE, background_id))
    return sorted(found)


def _laid_out(words: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Where words stand that follow each other in lines: left edge in pixels, and line."""
    places, left, line = [], 0, 0
    for word in words:
        wide = int(_font(_SMALL).getlength(word)) + _CHIP + 12
        if left and left + wide > width:
            left, line = 0, line + 1
        places.append((left, line))
        left += wide
    return places


def _name(number: int, classes: Sequence[str]) -> str:
    return classes[number] if 0 <= number < len(classes) else f"#{number}"


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # The font that PIL carries: the same letters on every machine.
    return ImageFont.load_default(size)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int, colour: Colour) -> None:
    """A text, with dots in the place of its end where it is wider than so many pixels."""
    font = _font(size)
    if font.getlength(text) > width:
        while text and font.getlength(text + "...") > width:
            text = text[:-1]
        text += "..."
    pen.text(at, text, font=font, fill=colour)
