"""COCO JSON: one file with ``images``, ``annotations`` and ``categories``. It knows no other format.

https://cocodataset.org/#format-data. Category ids are kept as source ids, whatever they begin with.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.opened import Misfit
from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses, declared, with_background
from tunesmith.pictures.files import Look, PictureFault, look_at_picture
from tunesmith.pictures.formats.coco_files import picture_folder
from tunesmith.pictures.formats.listing import LINK_OUT, leads_out
from tunesmith.pictures.formats.objects import (
    ObjectChecker,
    frame_of,
    look_like_corners,
    look_normalised,
    turn_objects,
)
from tunesmith.pictures.formats.opened import Opened, Request, make_records
from tunesmith.pictures.pairing import Pairing
from tunesmith.pictures.regions import RegionFault, box_of, points_of, runs_of


@dataclass
class _Image:
    """One entry of ``images`` with its annotations."""

    number: Any
    name: str
    path: Path
    size: tuple[float, float] | None
    annotations: list[Mapping[str, Any]]


def open_coco(request: Request, path: Path) -> Opened:
    """The rows of a COCO file: boxes, or regions for masks.

    Raises:
        UserError: It is not valid, its pictures are not found, or all of its boxes are of another kind.
    """
    place = _place(request, path)
    content = _read(path, place)
    classes, parents = _categories(content, place)
    by_image = _annotations(content, place)
    images, folder = _images(content, by_image, request, path, place)
    used = {str(item.get("category_id")) for found in by_image.values() for item in found}
    classes = _without_parents(classes, parents, used, request)
    _check_boxes(images, classes, place)
    pairing = _paired(request, images, by_image, place)
    request.settle_pairing(pairing)
    request.notes.append(f"{place}: COCO with {len(classes)} categories; its pictures are in {request.name_of(folder)}")
    reader = _Reader(request, classes)
    table = with_background(classes) if request.kind == "mask" else classes
    images = [image for image in images if image.path.is_file()]
    return Opened(
        format="coco",
        records=make_records(
            images,
            lambda image: _look(image, request, folder),
            reader.row,
            lambda image: image.name,
            lambda image: [image.path],
            lambda: request.notes.extend(reader.checker.notes()),
        ),
        paths=(place,),
        notes=request.notes,
        classes=tuple(table.to_json()),
        root=request.root,
        total=len(images),
        pairing=pairing,
    )


def _place(request: Request, path: Path) -> str:
    return request.label if path == request.path else f"{request.root_label}/{request.name_of(path)}"


def _read(path: Path, place: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise UserError(
            f"this is not valid JSON: {error.msg}", f"{place}:{error.lineno}:{error.colno}", "mend the file there"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"this JSON cannot be read ({error})", place, "write it anew as UTF-8") from error
    if not isinstance(content, dict):
        raise UserError("this JSON is a list, not COCO", place, "COCO is an object with images and annotations")
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(
                f"COCO needs a list of objects under {key!r}, which this file does not have",
                place,
                "export it anew, with images, annotations and categories",
            )
    return content


def _categories(content: Mapping[str, Any], place: str) -> tuple[PictureClasses, set[str]]:
    pairs: list[tuple[str, int | str | None]] = []
    for number, entry in enumerate(content["categories"], 1):
        identity = entry.get("id")
        if not isinstance(identity, int) or isinstance(identity, bool) or not isinstance(entry.get("name"), str):
            raise UserError(f"category {number} has no whole number id and name: {entry}", place, "mend it")
        pairs.append((entry["name"], identity))
    parents = {str(entry["supercategory"]) for entry in content["categories"] if entry.get("supercategory")}
    return declared(pairs, f"{place}, categories"), parents


def _without_parents(classes: PictureClasses, parents: set[str], used: set[str], request: Request) -> PictureClasses:
    """Leave out categories that only stand above others, as some exports write them, aloud."""
    idle = [
        name
        for name, number in zip(classes.names, classes.source_ids, strict=True)
        if number == 0 and str(number) not in used and name in parents and len(classes) > 1
    ]
    if not idle:
        return classes
    request.notes.append(f"category 0 ({idle[0]}) only stands above the others and has no objects: it is no class")
    kept = [at for at, name in enumerate(classes.names) if name not in idle]
    return PictureClasses(tuple(classes.names[at] for at in kept), tuple(classes.source_ids[at] for at in kept))


def _annotations(content: Mapping[str, Any], place: str) -> dict[Any, list[Mapping[str, Any]]]:
    by_image: dict[Any, list[Mapping[str, Any]]] = {}
    for number, item in enumerate(content["annotations"], 1):
        image = item.get("image_id")
        if not isinstance(image, (int, str)):
            raise UserError(f"annotation {item.get('id', number)} has no image_id", place, "mend it, or remove it")
        by_image.setdefault(image, []).append(item)
    return by_image


def _images(
    content: Mapping[str, Any],
    by_image: Mapping[Any, list[Mapping[str, Any]]],
    request: Request,
    path: Path,
    place: str,
) -> tuple[list[_Image], Path]:
    entries = content["images"]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry.get("file_name"), str) or not isinstance(entry.get("id"), (int, str)):
            raise UserError(f"image {entry.get('id', number)} has no id and file_name", place, "mend it, or remove it")
    for key, what in (("id", "the id"), ("file_name", "the file_name")):
        counts = Counter(entry[key] for entry in entries)
        repeated = [value for value, count in counts.items() if count > 1]
        if repeated:
            raise UserError(
                f"{len(repeated):,} images share {what} of another: {', '.join(map(str, repeated[:5]))}",
                place,
                "give each picture one entry, and put its annotations under it",
            )
    folder = picture_folder(entries, request, path, place)
    images = []
    for entry in entries:
        name = entry["file_name"]
        file = folder / name
        if "\\" in name and not file.is_file():
            file = folder / name.replace("\\", "/")
        images.append(_Image(entry["id"], name, file, _size(entry), by_image.get(entry["id"], [])))
    return images, folder


def _size(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Width and height that an image says it has."""
    width, height = entry.get("width"), entry.get("height")
    if not isinstance(width, (int, float)) or not isinstance(height, (int, float)) or width <= 0 or height <= 0:
        return None
    return float(width), float(height)


def _look(image: _Image, request: Request, folder: Path) -> Look:
    within = Path(os.path.commonpath([folder.absolute(), request.root.absolute()]))
    file = Path(os.path.normpath(image.path.absolute()))
    if not file.is_relative_to(within):
        raise PictureFault(
            "lies outside the data folder; give pictures elsewhere as rows (CSV, JSONL) with their paths"
        )
    if target := leads_out(file, within):
        raise PictureFault(LINK_OUT.format(target=target))
    return look_at_picture(image.path, most_pixels=request.most_pixels)


def _check_boxes(images: list[_Image], classes: PictureClasses, place: str) -> None:
    """Stop where all boxes of the file are shares or corners.

    Raises:
        UserError: It is so.
    """
    boxes = [(box, image) for image in images for item in image.annotations if (box := _plain_box(item)) is not None]
    if look_normalised(box for box, _ in boxes):
        raise UserError(
            f"all {len(boxes):,} boxes lie between 0 and 1: they are shares of the picture, but COCO's are pixels",
            place,
            "multiply x and width by the picture's width, y and height by its height",
        )
    sized = [(box, *image.size) for box, image in boxes if image.size is not None]
    if look_like_corners(sized):
        raise UserError(
            "the boxes look like corners (left, top, right, bottom), but COCO's are x, y, width, height: read so, "
            "many would leave their pictures",
            place,
            "write width and height instead of right and bottom",
        )


def _plain_box(item: Mapping[str, Any]) -> list[float] | None:
    box = item.get("bbox")
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    return [float(side) for side in box] if all(_is_number(side) for side in box) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _paired(
    request: Request, images: list[_Image], by_image: Mapping[Any, list[Mapping[str, Any]]], place: str
) -> Pairing:
    pairing = Pairing(place, "annotation")
    known = {image.number for image in images}
    for image in images:
        if image.path.is_file() or image.path.is_symlink():
            pairing.add(image.name, bool(image.annotations))
        else:
            pairing.add_orphans([f"{image.name} (not there)"])
    pairing.add_orphans(
        f"annotation {found[0].get('id', '?')} (image_id {number})"
        for number, found in by_image.items()
        if number not in known
    )
    return pairing


class _Reader:
    """Makes rows of images, and counts what it mended."""

    def __init__(self, request: Request, classes: PictureClasses) -> None:
        self.request, self.classes, self.checker = request, classes, ObjectChecker()

    def row(self, image: _Image, look: Look) -> dict[str, Any]:
        """The row of one picture.

        Raises:
            Misfit: An annotation is at fault.
        """
        try:
            stored = frame_of(look, image.size, self.checker.counts, where="is said to have")
        except Misfit as fault:
            raise Misfit(f"({image.name}) {fault}") from fault
        objects = [self._object(item, image, look, stored) for item in image.annotations]
        if stored:
            turn_objects(objects, look)
        return {
            "id": image.name,
            "image": self.request.name_of(image.path),
            "image_id": image.number,
            "width": look.width,
            "height": look.height,
            "objects": self.checker.settle(objects, (look.width, look.height)),
        }

    def _object(self, item: Mapping[str, Any], image: _Image, look: Look, stored: bool) -> dict[str, Any]:
        place = f"{image.name}, annotation {item.get('id', '?')}"
        number = item.get("category_id")
        index = self.classes.of_source(number) if isinstance(number, int) else None
        if index is None:
            known = ", ".join(map(str, self.classes.source_ids[:12]))
            raise Misfit(f"({place}) has the category_id {number!r}, which is not declared (there are {known})")
        found: dict[str, Any] = {
            "place": place,
            "label": self.classes.names[index],
            "source_id": number,
            "crowd": bool(item.get("iscrowd", 0)),
        }
        self.checker.counts["crowds"] += found["crowd"]
        box = _plain_box(item)
        try:
            if self.request.kind == "mask":
                found["segmentation"] = _region(item, look.stored_size if stored else (look.width, look.height))
            if box is None:
                if item.get("bbox") or not item.get("segmentation"):
                    raise Misfit(f"({place}) has a bbox that is not x, y, width, height: {item.get('bbox')!r}")
                around = box_of(item["segmentation"])
                if around is None:
                    raise RegionFault("has a segmentation without a pixel")
                box = list(around)
        except RegionFault as fault:
            raise Misfit(f"({place}) {fault}") from fault
        if item.get("bbox") and look_normalised([box]) and max(look.width, look.height) > 4:
            raise Misfit(
                f"({place}) has a bbox between 0 and 1, a share of the picture where pixels are expected: {box}"
            )
        x, y, w, h = box
        found["corners"] = [x, y, x + w, y + h]
        return found


def _region(item: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """An annotation's segmentation, checked as far as it can be without painting it.

    Raises:
        RegionFault: It is none, or of another size.
    """
    found = item.get("segmentation")
    if isinstance(found, Mapping):
        width, height = size
        if found.get("size") != [height, width]:
            raise RegionFault(f"has run lengths of size {found.get('size')}, but the picture is [{height}, {width}]")
        runs_of(found)
        return {"size": [height, width], "counts": found["counts"]}
    if not isinstance(found, list) or not found:
        raise RegionFault("has no segmentation; a mask needs polygons or run lengths")
    polygons = [found] if all(_is_number(value) for value in found) else found
    for polygon in polygons:
        points_of(polygon)
    return polygons
