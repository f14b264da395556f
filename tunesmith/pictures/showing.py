"""Predictions of pictures as files: drawn boxes, painted masks, masks of class numbers, and JSON. It knows no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from tunesmith.pictures.draw import draw_boxes, draw_mask
from tunesmith.pictures.segmentation_scores import unpack_mask
from tunesmith.types import Row

PREDICTIONS, CLASSES = "predictions.json", "classes.json"
DRAWN, MASKS = "pictures", "masks"
"""Folders for what a person looks at, and for masks of class numbers."""
QUALITY = 90

Pixels = Callable[[Row], np.ndarray]


def distinct_names(rows: Sequence[Row]) -> list[str]:
    """A file's name without its ending for each row: the picture's own, with ``-2``, ``-3`` where it was taken."""
    taken: set[str] = set()
    names = []
    for row in rows:
        stem = PurePath(str(row["image"])).stem or "picture"
        name, number = stem, 1
        # Some systems take names that differ in case for one.
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def image_ids(rows: Sequence[Row]) -> list[int]:
    """The numbers that the source gave the pictures, where each has one of its own; else 1, 2, 3..."""
    known = [row.get("image_id") for row in rows]
    numbers = [number for number in known if isinstance(number, int)]
    return numbers if len(set(numbers)) == len(rows) else list(range(1, len(rows) + 1))


def category_ids(classes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Numbers of classes by name, as the training data numbered them; the model's own where they had none."""
    source = [entry.get("source_id") for entry in classes]
    known = all(isinstance(number, int) for number in source)
    return {str(entry["name"]): int(entry["source_id"] if known else entry["id"]) for entry in classes}


def write_labels(rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
    """``predictions.json``: file name, label and probabilities."""
    found = [{"file_name": _name(row), **one} for row, one in zip(rows, predictions, strict=True)]
    return _write(folder, found)


def write_boxes(
    rows: Sequence[Row],
    predictions: Sequence[Any],
    folder: Path,
    classes: Sequence[Mapping[str, Any]],
    thresholds: Mapping[str, float],
    pixels: Pixels,
) -> bool:
    """COCO results of every detection, and pictures with those that are sure enough.

    Args:
        rows: Of the pictures.
        predictions: Boxes x, y, width, height with score and label.
        folder: Where the files go.
        classes: The class table.
        thresholds: From which score on a box is drawn, by class.
        pixels: Reads a row's picture.
    """
    numbers = category_ids(classes)
    results = []
    for row, found, name, image_id in zip(rows, predictions, distinct_names(rows), image_ids(rows), strict=True):
        results += [
            {
                "image_id": image_id,
                "category_id": numbers[one["label"]],
                "bbox": one["box"],
                "score": one["score"],
                "label": one["label"],
                "file_name": _name(row),
            }
            for one in found
        ]
        sure = [one for one in found if one["score"] >= thresholds[one["label"]]]
        drawn = draw_boxes(Image.fromarray(pixels(row)), sure, list(numbers))
        _draw(drawn, folder, name)
    return _write(folder, results)


def write_masks(
    rows: Sequence[Row],
    predictions: Sequence[Any],
    folder: Path,
    classes: Sequence[Mapping[str, Any]],
    bare: Collection[int],
    pixels: Pixels,
) -> bool:
    """Masks as grey PNGs of class numbers, painted pictures, the share of each class, and ``classes.json``.

    Args:
        rows: Of the pictures.
        predictions: Packed masks with the shares of classes.
        folder: Where the files go.
        classes: The class table.
        bare: Classes that are not painted.
        pixels: Reads a row's picture.
    """
    told = []
    (folder / MASKS).mkdir(exist_ok=True)
    for row, one, name in zip(rows, predictions, distinct_names(rows), strict=True):
        mask = unpack_mask(one)
        Image.fromarray(mask).save(folder / MASKS / f"{name}.png")
        _draw(draw_mask(Image.fromarray(pixels(row)), mask, bare=bare), folder, name)
        told.append({"file_name": _name(row), "mask": f"{MASKS}/{name}.png", "shares": one["shares"]})
    return _write(folder, told) and _write(folder, list(classes), CLASSES)


def _name(row: Row) -> str:
    return str(row.get("file_name", row["image"]))


def _draw(picture: Image.Image, folder: Path, name: str) -> None:
    (folder / DRAWN).mkdir(exist_ok=True)
    picture.save(folder / DRAWN / f"{name}.jpg", quality=QUALITY)


def _write(folder: Path, value: Any, name: str = PREDICTIONS) -> bool:
    (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return True
