"""Where the parts of a COCO data set are: its JSON in a folder, of which split, and the pictures that it names.

It reads no annotation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.errors import UserError
from tunesmith.pictures.formats.listing import Listing, choose_split, split_family
from tunesmith.pictures.formats.opened import Request

HEAD_BYTES = 2**16
_KEYS = ('"images"', '"annotations"', '"categories"')
_BEGINNING = re.compile(r'\{\s*"(info|licenses|images|annotations|categories|type)"\s*:')
_OTHER_TASKS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")
TRIED = 50


def may_be_coco(path: Path) -> bool:
    """Whether a JSON file begins as COCO does."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    return bool(_BEGINNING.match(head)) and any(key in head for key in _KEYS)


def find_json(request: Request, listing: Listing) -> Path | None:
    """The COCO file of a folder and of the wanted split; None where there is none.

    Raises:
        UserError: Several could be meant.
    """
    names = [name for name in listing.ending(".json") if name.count("/") <= 2]
    found = [name for name in names if may_be_coco(listing.folder / name)]
    of_task = [name for name in found if not PurePosixPath(name).name.startswith(_OTHER_TASKS)]
    found = of_task or found
    if not found:
        return None
    splits: dict[str, list[str]] = {}
    for name in found:
        splits.setdefault(_split_of_json(name) or "", []).append(name)
    named = {split: len(files) for split, files in splits.items() if split}
    if len(found) == 1 and request.split is None:
        (name,) = found
        if named and split_family(next(iter(named))) != "train":
            request.notes.append(f"{request.label} has one COCO file, {name}")
        return listing.folder / name
    split = choose_split(named, request.split, request.label, request.notes, "COCO files")
    files = splits[split or ""]
    if len(files) > 1:
        raise UserError(
            f"several COCO files could be meant: {', '.join(files[:5])}", request.label, "name the file itself"
        )
    return listing.folder / files[0]


def _split_of_json(name: str) -> str | None:
    """The split that a COCO file is of: its folder's name, or a word in its own."""
    path = PurePosixPath(name)
    for part in path.parts[:-1]:
        if split_family(part):
            return part
    words = path.stem.replace("-", "_").replace(".", "_").split("_")
    return next((word for word in reversed(words) if split_family(word)), None)


def picture_folder(entries: Sequence[Mapping[str, Any]], request: Request, path: Path, place: str) -> Path:
    """Where the pictures lie: the folder near the file that has most of them."""
    here, above = path.parent, path.parent.parent
    split = _split_of_json(path.name) or ""
    words = [word for word in (split, split.rstrip("0123456789"), path.stem) if word]
    places = [here, here / "images", above, above / "images"]
    places += [start / word for word in words for start in (here, above, here / "images", above / "images")]
    places += [here / "JPEGImages", above / "JPEGImages", here / "data", above / "data"]
    tried = list(dict.fromkeys(folder for folder in places if folder.is_dir()))
    step = max(1, len(entries) // TRIED)
    names = [entry["file_name"].replace("\\", "/") for entry in entries[::step]]
    found = [sum((folder / name).is_file() for name in names) for folder in tried]
    if not names or not found or not max(found):
        looked = ", ".join(request.name_of(folder) for folder in tried[:6])
        example = f": {names[0]}" if names else ""
        raise UserError(
            f"the pictures that this file names are not found{example} (looked in {looked})",
            place,
            "put the pictures beside the file, or into a folder images beside it",
        )
    return tried[found.index(max(found))]
