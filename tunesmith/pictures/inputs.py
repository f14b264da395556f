"""What a person names to be predicted, as rows: a picture, a folder, a pattern, or a file of rows.

It knows no model. A row whose picture can't be used says why in ``fault``, so that the others are predicted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.named import FileKind, broken_rows, rows_of
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.pictures.files import PictureFault, find_picture, is_picture_name, look_at_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.formats.coco_files import may_be_coco, picture_folder
from tunesmith.pictures.formats.opened import Request
from tunesmith.types import Row

WAYS = "give a picture, a folder, a pattern in quotes ('photos/*.jpg'), or a file of rows with a column image"


def rows_named(given: str, columns: Mapping[str, str], shape: PictureShape) -> list[Row]:
    """Rows with ``id``, ``image`` (a path from here), ``file_name`` (as its source names it), perhaps ``fault``.

    A folder is read with all folders in it, in sorted order; hidden files are left out. What a file of rows says
    beside the picture and its id (labels, objects, masks) is left out, too.

    Args:
        given: What was named.
        columns: Our column name to that of a file of rows, where they differ.
        shape: How a file of rows is read.

    Raises:
        UserError: It names nothing, or no picture.
    """

    def rows(place: Path, label: str) -> Iterator[Row]:
        if place.suffix.lower() == ".json" and may_be_coco(place):
            return _of_coco(place, label, shape)
        return _of_rows(place, columns, shape)

    return rows_of(given, FileKind("a picture", WAYS, is_picture_name, _is_picture, _row, rows))


def _row(place: Path, name: str, fault: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"id": name, "image": str(place), "file_name": name}
    return row if fault is None else {**row, "fault": fault}


def _is_picture(place: Path) -> bool:
    try:
        look_at_picture(place)
    except PictureFault:
        return False
    return True


def _of_coco(place: Path, given: str, shape: PictureShape) -> Iterator[Row]:
    """The pictures of a COCO file with their numbers; it need not have annotations."""
    try:
        images = json.loads(place.read_text(encoding="utf-8"))["images"]
        entries = [{"file_name": str(image["file_name"]), "image_id": image.get("id")} for image in images]
    except (ValueError, LookupError, TypeError) as fault:
        what = f"it can't be read as COCO: {type(fault).__name__}: {fault}"
        raise UserError(what, given, "it needs images, each with id and file_name") from fault
    folder = picture_folder(entries, Request(place, shape.kind, given), place, given) if entries else place.parent
    for entry in entries:
        file = folder / entry["file_name"].replace("\\", "/")
        yield _row(file, entry["file_name"], None if file.is_file() else "is not there") | {
            "image_id": entry["image_id"]
        }


def _of_rows(place: Path, columns: Mapping[str, str], shape: PictureShape) -> Iterator[Row]:
    store = read_rows(place, columns=columns, broken_rows=1.0, shape=shape)
    for row in store:
        name = str(row["image"])
        file = find_picture(name, shape.folders)
        fault = {} if file is not None else {"fault": "is not there"}
        yield {"id": row["id"], "image": str(file or name), "file_name": name, **fault}
    yield from broken_rows(store, place, _row)
