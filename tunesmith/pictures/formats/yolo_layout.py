"""Where the parts of a YOLO data set are: data.yaml or classes.txt, folders of pictures, label files.

It reads no label.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses, SourceId, declared
from tunesmith.pictures.files import is_picture_name
from tunesmith.pictures.formats.listing import (
    Listing,
    choose_split,
    list_files,
    pictures_by_key,
    split_family,
    split_of,
)
from tunesmith.pictures.formats.opened import Request

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "names.txt")
_NO_LABELS = (*CLASS_FILES, "notes.txt", "requirements.txt", "license.txt")
MOST_YAML_BYTES = 2**20


@dataclass(frozen=True)
class Found:
    """A picture and its label file.

    Args:
        name: As rows name it.
        inside: Its name in the listing.
        listing: The listing it stands in.
        labels: Its label file, where there is one.
    """

    name: str
    inside: str
    listing: Listing
    labels: Path | None


@dataclass
class Layout:
    """The parts of one split.

    Args:
        request: What was asked.
        classes: From data.yaml or a list of classes.
        declared_in: Where they stand.
        folders: Folders of pictures, with the names that count where a list of pictures says so.
        paths: What is read, for a person.
    """

    request: Request
    classes: PictureClasses
    declared_in: str
    folders: list[tuple[Listing, frozenset[str] | None]]
    paths: tuple[str, ...]
    used: set[Path] = field(default_factory=set)

    def pairs(self) -> list[Found]:
        """Every picture with its label file.

        Raises:
            UserError: Two pictures have one name.
        """
        pairs = []
        for listing, wanted in self.folders:
            names = [name for name in listing.pictures() if wanted is None or name in wanted]
            pictures_by_key(names, self.request.label, dropped=())
            for name in names:
                labels = self._labels_of(listing.folder, name)
                if labels is not None:
                    self.used.add(labels)
                pairs.append(Found(self.request.name_of(listing.folder / name), name, listing, labels))
        return pairs

    def _labels_of(self, folder: Path, name: str) -> Path | None:
        return next((place for place in label_places(folder / name, self.request.root) if place.is_file()), None)

    def orphans(self) -> list[str]:
        """Label files in the same places that no picture has."""
        found: list[str] = []
        for folder in self._label_folders:
            for name in list_files(folder, str(folder)).ending(".txt"):
                path = folder / name
                if path not in self.used and not _is_no_label(name):
                    found.append(self.request.name_of(path))
        return sorted(set(found))

    @cached_property
    def _label_folders(self) -> list[Path]:
        """Folders that mirror those of pictures; not those where only a list of pictures says which count."""
        whole = [listing for listing, wanted in self.folders if wanted is None]
        mirrored = [folder for listing in whole if (folder := _mirrored(listing.folder, self.request.root)) is not None]
        beside = [listing.folder for listing in whole if _mirrored(listing.folder, self.request.root) is None]
        return [folder for folder in [*mirrored, *beside] if folder.is_dir()]


def _is_no_label(name: str) -> bool:
    base = PurePosixPath(name).name.lower()
    stem = PurePosixPath(base).stem
    return base in _NO_LABELS or base.startswith("readme") or bool(split_family(stem))


def label_places(picture: Path, root: Path) -> list[Path]:
    """Where the labels of a picture may be: in the mirrored folder labels, else beside it."""
    beside = picture.with_suffix(".txt")
    mirrored = _mirrored(picture.parent, root)
    return [beside] if mirrored is None else [mirrored / beside.name, beside]


def _mirrored(folder: Path, root: Path) -> Path | None:
    """``.../labels/train`` of ``.../images/train``: the last folder called images, at or below the root, exchanged."""
    parts = list(folder.parts)
    for at in range(len(parts) - 1, max(0, len(root.parts) - 2), -1):
        if name := {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}.get(parts[at]):
            return Path(*parts[:at], name, *parts[at + 1 :])
    return None


def label_names(files: Sequence[str]) -> list[str]:
    """Text files in a listing that are YOLO labels by where they stand."""
    texts = [name for name in files if name.lower().endswith(".txt") and not _is_no_label(name)]
    below = [name for name in texts if "labels" in map(str.lower, name.split("/")[:-1])]
    if below:
        return below
    if not any(PurePosixPath(name).name.lower() in CLASS_FILES for name in files):
        return []
    stems = {str(PurePosixPath(name).with_suffix("")) for name in files if is_picture_name(name)}
    return [name for name in texts if str(PurePosixPath(name).with_suffix("")) in stems]


def find_layout(request: Request) -> Layout:
    """The parts of the wanted split.

    Raises:
        UserError: They cannot be found, or what declares them is at fault.
    """
    if request.path.is_file():
        return _of_yaml(request, request.path)
    for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"):
        if (request.path / name).is_file():
            return _of_yaml(request, request.path / name)
    others = sorted(path for path in request.path.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    named = [path for path in others if may_be_data_yaml(path)]
    if len(named) == 1:
        return _of_yaml(request, named[0])
    return _of_folder(request)


def may_be_data_yaml(path: Path) -> bool:
    """Whether a YAML file declares names and pictures."""
    if path.stat().st_size > MOST_YAML_BYTES:
        return False
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    keys = {line.split(":")[0].strip() for line in lines if ":" in line and not line.startswith((" ", "#", "-"))}
    return "names" in keys and bool(keys & {"train", "val", "test", "path", "nc"})


def _of_yaml(request: Request, path: Path) -> Layout:
    place = request.label if path == request.path else f"{request.root_label}/{path.name}"
    content = _read_yaml(path, place)
    classes = _yaml_classes(content, place)
    start = _start(content, path, request)
    folders: dict[str, list[Path]] = {}
    for key, value in content.items():
        if isinstance(key, str) and split_family(key) and value:
            named = [value] if isinstance(value, str) else value
            if not isinstance(named, list) or not all(isinstance(item, str) for item in named):
                raise UserError(f"{key} is no path and no list of paths: {value!r}", place, "name a folder of pictures")
            folders[key] = [_resolved(item, start, path.parent, f"{place}, {key}") for item in named]
    if not folders:
        raise UserError("it names no pictures", place, "add train: images/train and val: images/val")
    counts = {key: sum(map(_count, places)) for key, places in folders.items()}
    split = choose_split(counts, request.split, request.label, request.notes)
    places = folders[split or "train"]
    found = [_pictures_at(item, request) for item in places]
    return Layout(request, classes, place, found, tuple([place, *map(request.name_of, places)]))


def _read_yaml(path: Path, place: str) -> Mapping[Any, Any]:
    if path.stat().st_size > MOST_YAML_BYTES:
        raise UserError("it is too large for a data.yaml", place, "give the file that names classes and pictures")
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
        raise UserError(
            f"this is not valid YAML: {getattr(error, 'problem', error)}", where, "mend it there"
        ) from error
    if not isinstance(content, dict):
        raise UserError("this YAML holds no settings", place, "it needs names, train and val")
    return content


def _yaml_classes(content: Mapping[Any, Any], place: str) -> PictureClasses:
    names, count = content.get("names"), content.get("nc")
    pairs: list[tuple[str, SourceId]]
    if isinstance(names, list):
        pairs = [(str(name), number) for number, name in enumerate(names)]
    elif isinstance(names, dict) and all(isinstance(key, int) and key >= 0 for key in names):
        pairs = [(str(name), number) for number, name in names.items()]
    else:
        raise UserError(
            "it declares no names", f"{place}, names", "add names: [cat, dog], or names: {0: cat, 1: dog}, in id order"
        )
    if isinstance(count, int) and count != len(pairs):
        raise UserError(f"nc says {count} classes, but names has {len(pairs)}", f"{place}, nc", "make them agree")
    return declared(pairs, f"{place}, names")


def _start(content: Mapping[Any, Any], path: Path, request: Request) -> Path:
    """The folder that paths in the file start from: its ``path`` where that exists, else its own folder."""
    named = content.get("path")
    if not isinstance(named, str) or not named.strip():
        return path.parent
    start = (path.parent / Path(named).expanduser()).resolve()
    if start.is_dir():
        if not start.is_relative_to(path.parent.resolve()):
            request.notes.append(f"path in {path.name} leads to {start}")
        return start if start != path.parent.resolve() else path.parent
    request.notes.append(f"path in {path.name} ({named}) is not there; its own folder is taken instead")
    return path.parent


def _resolved(name: str, start: Path, beside: Path, place: str) -> Path:
    """A folder or list that the file names; some exports write ``../train/images`` for ``train/images`` beside it."""
    written = Path(name)
    while written.parts[:1] == ("..",):
        written = Path(*written.parts[1:])
    tail = Path(*Path(name).parts[-2:])
    for found in (start / name, beside / name, start / written, beside / written, beside / tail):
        if found.exists():
            return Path(os.path.normpath(found))
    raise UserError(f"there is no {name}", place, "name a folder of pictures, relative to the file")


def _count(place: Path) -> int:
    if place.is_file():
        return sum(bool(line.strip()) for line in place.read_text("utf-8", "replace").splitlines())
    return sum(is_picture_name(name) for _, _, names in os.walk(place) for name in names)


def _pictures_at(place: Path, request: Request) -> tuple[Listing, frozenset[str] | None]:
    """The pictures of a folder, or of a text file that lists them."""
    root = request.root if place.is_relative_to(request.root) else place
    if place.is_dir():
        return list_files(place, request.name_of(place), within=root), None
    lines = [line.strip() for line in place.read_text("utf-8", "replace").splitlines() if line.strip()]
    folder = place.parent
    wanted = frozenset(os.path.normpath(folder / line) for line in lines)
    listing = list_files(folder, request.name_of(folder))
    names = {os.path.normpath(folder / name): name for name in listing.files}
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UserError(
            f"{len(missing):,} pictures that it lists are not there: {os.path.relpath(sorted(missing)[0], folder)}",
            request.name_of(place),
            "list pictures by their path relative to this file",
        )
    return listing, frozenset(names[name] for name in wanted)


def _of_folder(request: Request) -> Layout:
    """A folder without data.yaml: classes by a list of names, or by the recipe."""
    listing = list_files(request.path, request.root_label)
    classes, place = _listed_classes(request, listing)
    counts: dict[str, int] = {}
    for name in listing.pictures():
        if split := split_of(name):
            counts[split] = counts.get(split, 0) + 1
    split = choose_split(counts, request.split, request.label, request.notes)
    folder = request.path
    if split is not None:
        candidates = [folder / "images" / split, folder / split / "images", folder / split]
        folder = next(place for place in candidates if place.is_dir())
    elif (folder / "images").is_dir():
        folder = folder / "images"
    pictures = list_files(folder, request.name_of(folder), within=request.path)
    return Layout(request, classes, place, [(pictures, None)], (request.label,))


def _listed_classes(request: Request, listing: Listing) -> tuple[PictureClasses, str]:
    lists = [name for name in listing.files if PurePosixPath(name).name.lower() in CLASS_FILES]
    if not lists and request.names:
        return declared([(name, number) for number, name in enumerate(request.names)], "the recipe"), "the recipe"
    if not lists:
        raise UserError(
            "there are YOLO labels, but nothing says what their classes are called",
            request.label,
            "add data.yaml with names: [cat, dog], or classes.txt with a name a line, in the order of their ids",
        )
    name = min(lists, key=lambda found: (found.count("/"), found))
    lines = (listing.folder / name).read_bytes().decode("utf-8-sig", "replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    place = f"{request.root_label}/{name}"
    return declared([(line.strip(), number) for number, line in enumerate(lines)], place), place
