"""One folder of pictures for each class, with or without folders of splits above; and pictures without labels.

It knows no boxes and no masks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.formats.listing import IMAGE_FOLDERS, Listing, choose_split, split_family
from tunesmith.pictures.formats.opened import Opened, Request, looker, make_records
from tunesmith.pictures.pairing import Pairing

SHOWN_CLASSES = 12


def has_class_folders(listing: Listing) -> bool:
    """Whether pictures lie in folders that could be classes: not merely ``images`` or ``train``."""
    pictures = listing.pictures()
    base = _wrapper(pictures)
    splits = _splits(_by_top(pictures, base), base)
    for name in pictures:
        folders = name[len(base) :].split("/")[:-1]
        if folders and folders[0] in splits:
            folders = folders[1:]
        if folders and folders[0].lower() not in IMAGE_FOLDERS and not split_family(folders[0]):
            return True
    return False


def open_image_folder(request: Request, listing: Listing) -> Opened:
    """Pictures whose folder is their label.

    Raises:
        UserError: There are no class folders, empty ones, or the split is not there.
    """
    pictures = listing.pictures()
    base = _wrapper(pictures)
    if base:
        request.notes.append(f"all pictures of {request.label} lie in {base.rstrip('/')}; the classes are its folders")
    tops = _by_top(pictures, base)
    splits = _splits(tops, base)
    split = choose_split(splits, request.split, request.label, request.notes)
    if split is not None:
        others = [top for top in tops if top and top not in splits]
        if others:
            request.notes.append(f"folders beside the splits of {request.label} were left alone: {', '.join(others)}")
        base = f"{base}{split}/"
    chosen = [name for name in pictures if name.startswith(base)]
    pairing = Pairing(request.label, "class folder", fills=False)
    counts: Counter[str] = Counter()
    for name in chosen:
        folder, inside, _ = name[len(base) :].partition("/")
        pairing.add(name, bool(inside))
        if inside:
            counts[folder] += 1
    pairing.add_orphans(f"{base}{name}/" for name in _empty_folders(request.path / base, counts))
    if chosen and not counts:
        raise UserError(
            f"none of {len(chosen):,} pictures lies in a folder of its class",
            request.label,
            "make a folder for each class and put its pictures into it, or give rows (CSV, JSONL) with image and label",
        )
    request.settle_pairing(pairing)
    _tell(request, counts, chosen, base)
    names = sorted(counts)
    labelled = [name for name in chosen if "/" in name[len(base) :]]
    return Opened(
        format="image-folder",
        records=make_records(
            labelled,
            looker(request, listing),
            lambda name, _: {"id": name, "image": name, "label": name[len(base) :].partition("/")[0]},
            str,
            lambda name: [listing.folder / name],
        ),
        paths=(f"{request.root_label}/{base}".rstrip("/"),),
        notes=request.notes,
        classes=tuple(PictureClasses(tuple(names), (None,) * len(names)).to_json()),
        root=request.root,
        total=len(labelled),
        pairing=pairing,
    )


def _wrapper(pictures: list[str]) -> str:
    """The folder that all pictures lie in and that is no class: it holds folders only, two or more, or splits."""
    base = ""
    while True:
        rest = [name[len(base) :] for name in pictures]
        tops = {name.partition("/")[0] for name in rest}
        if len(tops) != 1 or not all(name.count("/") >= 2 for name in rest):
            return base
        (top,) = tops
        inner = {name.split("/")[1] for name in rest}
        if split_family(top) or (len(inner) < 2 and not any(map(split_family, inner))):
            return base
        base += f"{top}/"


def _by_top(pictures: list[str], base: str) -> dict[str, list[str]]:
    tops: dict[str, list[str]] = {}
    for name in pictures:
        folder, inside, rest = name[len(base) :].partition("/")
        tops.setdefault(folder if inside else "", []).append(rest)
    return tops


def _splits(tops: dict[str, list[str]], base: str) -> dict[str, int]:
    """Folders that are splits, with their pictures; none where they are classes that are merely called so."""
    named = {top: inside for top, inside in tops.items() if top and split_family(top)}
    classes = any("/" in name for inside in named.values() for name in inside)
    has_training = any(split_family(top) == "train" for top in named)
    if not classes or not (has_training or len(named) == len(tops)):
        return {}
    return {top: len(inside) for top, inside in named.items()}


def _empty_folders(folder: Path, counts: Counter[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted(
            entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )
    yield from (name for name in found if name not in counts and not name.startswith("__"))


def _tell(request: Request, counts: Counter[str], chosen: list[str], base: str) -> None:
    shown = ", ".join(f"{name} ({counts[name]:,})" for name in sorted(counts)[:SHOWN_CLASSES])
    more = f" and {len(counts) - SHOWN_CLASSES:,} more" if len(counts) > SHOWN_CLASSES else ""
    request.notes.append(f"{len(counts):,} {'class' if len(counts) == 1 else 'classes'} by folder: {shown}{more}")
    deep = sum(name[len(base) :].count("/") > 1 for name in chosen)
    if deep:
        request.notes.append(f"{deep:,} pictures lie deeper: the topmost folder is their class")


def open_pictures_alone(request: Request, listing: Listing | None) -> Opened:
    """Pictures without labels, as they are given to a model: one file, or all below a folder.

    Raises:
        UserError: There are none.
    """
    if listing is None:
        listing = Listing(request.path.parent, request.root_label, (request.path.name,))
    names = listing.pictures() if request.path.is_dir() else list(listing.files)
    if not names:
        raise UserError(
            f"the folder holds no pictures: it has {listing.kinds()}",
            request.label,
            "name a picture or a folder of them",
        )
    return Opened(
        format="pictures",
        records=make_records(
            names,
            looker(request, listing),
            lambda name, look: {"id": name, "image": name, "width": look.width, "height": look.height},
            str,
            lambda name: [listing.folder / name],
        ),
        paths=(request.label,),
        notes=request.notes,
        classes=None,
        root=request.root,
        total=len(names),
    )
