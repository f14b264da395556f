"""Masks of classes: the values in a mask file, and the class numbers they stand for, checked. It knows no layout.

A value that the class table does not have is an error with its count of pixels, never a class of its own. The one
exception is 255 where no class has it: pixels that nobody labelled (``IGNORE``), as in Pascal VOC and Cityscapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.pictures.classes import PictureClasses, SourceId
from tunesmith.pictures.files import MOST_PIXELS, PictureFault, open_picture
from tunesmith.pictures.regions import RegionFault, mask_of

IGNORE = 255
MOST_CLASSES = 255
_SHOWN = 5


@dataclass(frozen=True)
class MaskValues:
    """A mask file as it is.

    Args:
        values: [height, width] of uint8 or int32; a colour is ``red << 16 | green << 8 | blue``.
        kind: ``values`` (grey or indexed), ``bits`` (one bit a pixel: 0 and 1) or ``colours``.
        palette: Colours ``#rrggbb`` of an indexed file, by value.
    """

    values: NDArray[Any]
    kind: str
    palette: tuple[str, ...] = ()

    def counts(self) -> dict[int, int]:
        """Pixels by value."""
        if self.values.dtype == np.uint8:
            counted = np.bincount(self.values.reshape(-1), minlength=256)
            return {int(value): int(counted[value]) for value in np.flatnonzero(counted)}
        found, counts = np.unique(self.values, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


def colour_name(value: int) -> str:
    """``#rrggbb`` of a colour's number."""
    return f"#{value:06x}"


def read_mask_values(path: Path, *, most_pixels: int = MOST_PIXELS) -> MaskValues:
    """The values of a mask file, never its colours on a screen.

    Raises:
        PictureFault: It cannot be read, or is of a kind that is no mask.
    """
    with open_picture(path, most_pixels=most_pixels) as (image, look):
        image.load()
        mode = image.mode
        if mode == "1":
            return MaskValues(np.asarray(image).astype(np.uint8), "bits")
        if mode in ("L", "P"):
            if look.format == "JPEG":
                raise PictureFault("is a JPEG, whose values are not exact: save masks as PNG")
            colours = image.getpalette("RGB") if mode == "P" else None
            steps = range(0, len(colours or ()), 3)
            palette = tuple("#{:02x}{:02x}{:02x}".format(*colours[at : at + 3]) for at in steps) if colours else ()
            return MaskValues(np.array(image, dtype=np.uint8), "values", palette)
        if mode[0] == "I":
            return MaskValues(np.array(image).astype(np.int32), "values")
        if mode in ("RGB", "RGBA"):
            if look.format == "JPEG":
                raise PictureFault("is a JPEG, whose colours are not exact: save masks as PNG")
            parts = np.array(image.convert("RGB"), dtype=np.int32)
            return MaskValues(parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2], "colours")
    raise PictureFault(f"is of mode {mode}; a mask is an indexed or grey PNG, or has the colours that are declared")


def read_class_mask(
    path: Path,
    classes: PictureClasses,
    *,
    size: tuple[int, int] | None = None,
    most_pixels: int = MOST_PIXELS,
) -> NDArray[np.uint8]:
    """A mask file as class numbers, uint8 [height, width]; 255 where nobody labelled.

    Args:
        path: The mask.
        classes: Their source ids are the values in the file, or colours ``#rrggbb``.
        size: Height and width that it must have.
        most_pixels: A larger mask is refused before it is decoded.

    Raises:
        PictureFault: It cannot be read, has another size, or values that are not declared.
    """
    found = read_mask_values(path, most_pixels=most_pixels)
    check_size(found, size)
    table, _ = class_table(found, classes)
    if found.values.dtype == np.uint8:
        lookup = np.full(256, IGNORE, dtype=np.uint8)
        for value, index in table.items():
            lookup[value] = index
        return np.asarray(lookup[found.values])
    known = np.array(sorted(table), dtype=np.int64)
    numbers = np.array([table[value] for value in known.tolist()], dtype=np.uint8)
    return np.asarray(numbers[np.searchsorted(known, found.values)])


def check_size(found: MaskValues, size: tuple[int, int] | None) -> None:
    """Stop where a mask has not this height and width.

    Raises:
        PictureFault: It has another size.
    """
    height, width = found.values.shape
    if size is not None and (height, width) != size:
        turned = ", which is its size before the EXIF turn" if (width, height) == size else ""
        raise PictureFault(f"has {width} x {height} pixels, but its picture has {size[1]} x {size[0]}{turned}")


def class_table(found: MaskValues, classes: PictureClasses) -> tuple[dict[int, int], dict[int, int]]:
    """Class numbers by the values that occur in a mask, and the pixels of each value.

    Raises:
        PictureFault: A value is not declared.
    """
    counts = found.counts()
    table = {value: _class_of(value, found, classes) for value in counts}
    strange = [value for value, index in table.items() if index is None]
    if strange:
        coloured = found.kind == "colours"
        shown = "; ".join(
            f"{'colour ' + colour_name(value) if coloured else f'value {value}'} in {counts[value]:,} pixels"
            for value in sorted(strange, key=lambda value: -counts[value])[:_SHOWN]
        )
        more = f" and {len(strange) - _SHOWN:,} more" if len(strange) > _SHOWN else ""
        raise PictureFault(f"holds what no class has: {shown}{more} (declared: {_declared(classes)})")
    return {value: index for value, index in table.items() if index is not None}, counts


def mask_areas(found: MaskValues, classes: PictureClasses) -> tuple[list[dict[str, Any]], int]:
    """The pixels of each class in a mask (label, source_id, pixels), and how many nobody labelled.

    Raises:
        PictureFault: A value is not declared.
    """
    table, counts = class_table(found, classes)
    areas: dict[int, int] = {}
    for value, index in table.items():
        areas[index] = areas.get(index, 0) + counts[value]
    ignored = areas.pop(IGNORE, 0)
    return [
        {"label": classes.names[index], "source_id": classes.source_ids[index], "pixels": areas[index]}
        for index in sorted(areas)
    ], ignored


def _class_of(value: int, found: MaskValues, classes: PictureClasses) -> int | None:
    """The class number of a value, `IGNORE` for what nobody labelled, None where it is undeclared."""
    names: list[SourceId] = [colour_name(value)] if found.kind == "colours" else [value]
    if found.kind == "bits" and value == 1 and classes.of_source(1) is None:
        names.append(255)
    if value < len(found.palette):
        names.append(found.palette[value])
    for name in names:
        index = classes.of_source(name)
        if index is not None:
            return index
    return IGNORE if value == IGNORE and found.kind == "values" else None


def _declared(classes: PictureClasses) -> str:
    shown = [f"{number} {name}" for name, number in zip(classes.names, classes.source_ids, strict=True)]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8:,} more" if len(shown) > 8 else "")


def paint_objects(
    objects: Sequence[Mapping[str, Any]], height: int, width: int, classes: PictureClasses, *, background: int
) -> NDArray[np.uint8]:
    """Objects with a ``segmentation`` as one mask of class numbers, the smaller over the larger.

    Args:
        objects: Each with ``label`` and ``segmentation``.
        height: Of the picture.
        width: Of the picture.
        classes: Must have every label.
        background: The number of pixels that no object covers; `IGNORE` to leave them out.

    Raises:
        PictureFault: A segmentation is none.
        LookupError: A label is not in the table.
    """
    painted = np.full((height, width), background, dtype=np.uint8)
    masks = []
    for number, item in enumerate(objects, 1):
        try:
            mask = mask_of(item.get("segmentation"), height, width)
        except RegionFault as fault:
            raise PictureFault(f"(object {number}, {item['label']}) {fault}") from fault
        masks.append((int(mask.sum()), number, mask, classes.index(str(item["label"]))))
    for _, _, mask, index in sorted(masks, key=lambda made: (-made[0], made[1])):
        painted[mask] = index
    return painted
