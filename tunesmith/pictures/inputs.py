"""What a person names to be predicted, as rows: a picture, a folder, a pattern, or a file of rows.

It knows no model. A row whose picture can't be used says why in ``fault``, so that the others are predicted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.pictures.files import PictureFault, find_picture, is_picture_name, look_at_picture
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.formats.coco_files import may_be_coco, picture_folder
from tunesmith.pictures.formats.listing import LINK_OUT, list_files
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
    place = Path(given).expanduser()
    try:
        found = list(_found(place, given, columns, shape))
    except OSError as fault:
        raise UserError(f"{given[:100]!r} can't be read: {fault.strerror}", "INPUT", WAYS) from fault
    if not found:
        raise UserError(f"{given!r} holds no picture", "INPUT", WAYS)
    return found


def _found(place: Path, given: str, columns: Mapping[str, str], shape: PictureShape) -> Iterator[Row]:
    if given.strip() and place.is_dir():
        yield from _of_folder(place, given)
    elif given.strip() and place.is_file():
        if _is_picture(place):
            yield _row(place, given)
        elif place.suffix.lower() == ".json" and may_be_coco(place):
            yield from _of_coco(place, given, shape)
        else:
            yield from _of_rows(place, columns, shape)
    elif has_magic(given):
        yield from _matched(str(place), given)
    else:
        raise UserError(f"there is no picture, folder or file {given!r}", "INPUT", f"check the path; {WAYS}")


def _row(place: Path, name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "image": str(place), "file_name": name, **more}


def _is_picture(place: Path) -> bool:
    """By name, else by content."""
    if is_picture_name(place.name):
        return True
    try:
        look_at_picture(place)
    except PictureFault:
        return False
    return True


def _of_folder(place: Path, given: str) -> Iterator[Row]:
    listing = list_files(place, given)
    names = listing.pictures()
    if not names:
        what = f"the folder {given} holds no picture; it holds {listing.kinds()}"
        raise UserError(what, given, WAYS)
    for name in names:
        outside = listing.outside.get(name)
        more = {} if outside is None else {"fault": LINK_OUT.format(target=outside)}
        yield _row(place / name, name, **more)


def _matched(pattern: str, given: str) -> Iterator[Row]:
    # Path.glob takes no pattern that starts at the root.
    places = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207
    files = [place for place in places if place.is_file() and is_picture_name(place.name)]
    for folder in (place for place in places if place.is_dir()):
        listing = list_files(folder, str(folder))
        files += [folder / name for name in listing.pictures() if name not in listing.outside]
    if not files:
        what = f"the pattern {given!r} matches {len(places):,} files, none of them a picture"
        raise UserError(what if places else f"nothing matches the pattern {given!r}", "INPUT", f"check it; {WAYS}")
    yield from (_row(place, place.as_posix()) for place in sorted(set(files)))


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
        missing = {} if file.is_file() else {"fault": "is not there"}
        yield _row(file, entry["file_name"], **missing) | {"image_id": entry["image_id"]}


def _of_rows(place: Path, columns: Mapping[str, str], shape: PictureShape) -> Iterator[Row]:
    store = read_rows(place, columns=columns, broken_rows=1.0, shape=shape)
    for row in store:
        name = str(row["image"])
        file = find_picture(name, shape.folders)
        fault = {} if file is not None else {"fault": "is not there"}
        yield {"id": row["id"], "image": str(file or name), "file_name": name, **fault}
    told = store.report.broken
    yield from (_row(Path(where), where, fault=reason) for where, reason in told)
    for number in range(len(told), store.report.broken_count):
        yield _row(place, f"{place}, broken row {number + 1}", fault="is broken as well")
