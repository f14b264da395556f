"""Folders of pictures and of masks with the same names; what the masks' values mean is declared beside them.

``classes.json`` is ``{"0": "background", "1": "crack"}`` or a list of ``{"id", "name"}`` (for coloured masks with
``"color": [r, g, b]``); ``classes.txt`` has a name a line, the first for value 0, or ``value name``; ``labelmap.txt``
is CVAT's ``name:r,g,b``. Without any, masks of 0 and 255 (or 0 and 1) are background and foreground, and short
palettes name their values. It knows no boxes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tunesmith.data.ahead import ahead
from tunesmith.data.opened import Misfit
from tunesmith.errors import UserError
from tunesmith.pictures.class_masks import IGNORE, MOST_CLASSES, MaskValues, check_size, mask_areas, read_mask_values
from tunesmith.pictures.classes import BACKGROUND, PictureClasses, SourceId, declared
from tunesmith.pictures.files import Look, PictureFault
from tunesmith.pictures.formats.listing import (
    LINK_OUT,
    Listing,
    choose_split,
    key_of,
    pictures_by_key,
    split_of,
)
from tunesmith.pictures.formats.opened import Opened, Request, looker, make_records
from tunesmith.pictures.pairing import Pairing

MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "gt", "ground_truth"),
    *("labelids", "segmentations"),
)
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm")
TABLES = ("classes.json", "classes.txt", "labelmap.txt", "label_map.json", "labels.json", "labels.txt")
PROBED = 64
_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_seg", "_gt", "_segmentation")
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(.+)")


def mask_names(listing: Listing) -> list[str]:
    """The masks of a listing, by the folder that they stand in."""
    return [
        name
        for name in listing.files
        if name.lower().endswith(MASK_SUFFIXES) and _kind_folder(name, MASK_FOLDERS) is not None
    ]


def _kind_folder(name: str, known: Sequence[str]) -> str | None:
    return next((part for part in name.split("/")[:-1] if part.lower() in known), None)


def open_masks(request: Request, listing: Listing) -> Opened:
    """The rows of a folder of pictures and masks.

    Raises:
        UserError: They do not go together, two have one name, or nothing says what the values mean.
    """
    masks = mask_names(listing)
    taken = set(masks)
    pictures = [name for name in listing.pictures() if name not in taken and not _kind_folder(name, MASK_FOLDERS)]
    split = choose_split(_splits(pictures), request.split, request.label, request.notes)
    if split is not None:
        pictures = [name for name in pictures if split_of(name) == split]
        masks = [name for name in masks if split in name.split("/")]
    by_key = pictures_by_key(pictures, request.label)
    paired, orphans = _pair(masks, by_key, request)
    pairing = Pairing(request.label, "mask", fills=False)
    for key, name in by_key.items():
        pairing.add(name, key in paired)
    pairing.add_orphans(orphans)
    request.settle_pairing(pairing)
    pairs = [(name, paired[key]) for key, name in by_key.items() if key in paired]
    if pairing.unlabelled:
        request.notes.append(
            f"{pairing.unlabelled:,} pictures without masks are left out: nothing says what is in them"
        )
    classes, where = _classes(request, listing, [mask for _, mask in pairs])
    request.notes.append(f"{request.label}: masks of {len(classes)} classes, declared by {where}")
    reader = _Reader(request, listing, classes)
    return Opened(
        format="mask-folder",
        records=make_records(
            pairs,
            reader.work,
            reader.row,
            lambda pair: pair[0],
            lambda pair: [listing.folder / name for name in pair],
            lambda: request.notes.extend(reader.notes()),
        ),
        paths=(request.label,),
        notes=request.notes,
        classes=tuple(classes.to_json()),
        root=request.root,
        total=len(pairs),
        pairing=pairing,
    )


def _splits(pictures: Sequence[str]) -> dict[str, int]:
    return dict(Counter(split for name in pictures if (split := split_of(name))))


def _pair(masks: Sequence[str], pictures: Mapping[str, str], request: Request) -> tuple[dict[str, str], list[str]]:
    """Masks by their picture's key, and those that have no picture.

    Raises:
        UserError: Two masks belong to one picture.
    """
    paired: dict[str, str] = {}
    orphans = []
    for name in masks:
        key = key_of(name, MASK_FOLDERS)
        if key not in pictures:
            key = next((key.removesuffix(end) for end in _ENDINGS if key.removesuffix(end) in pictures), key)
        if key not in pictures:
            orphans.append(name)
        elif key in paired:
            raise UserError(
                f"two masks belong to one picture ({pictures[key]}): {paired[key]} and {name}",
                request.label,
                "remove or rename one of the two",
            )
        else:
            paired[key] = name
    return paired, orphans


def _classes(request: Request, listing: Listing, masks: Sequence[str]) -> tuple[PictureClasses, str]:
    """The class table, and what declares it.

    Raises:
        UserError: Nothing does, or it is at fault.
    """
    tables = [name for name in listing.files if PurePosixPath(name).name.lower() in TABLES]
    if tables:
        name = min(tables, key=lambda found: (found.count("/"), TABLES.index(PurePosixPath(found).name.lower())))
        place = f"{request.root_label}/{name}"
        content = (listing.folder / name).read_bytes().decode("utf-8-sig", "replace")
        pairs = _from_json(content, place) if name.lower().endswith(".json") else _from_text(content, place)
        classes = declared(pairs, place)
        if len(classes) > MOST_CLASSES:
            raise UserError(
                f"{len(classes)} classes are declared, and a mask can tell {MOST_CLASSES}", place, "merge some"
            )
        return classes, name
    found = _probe(request, listing, masks)
    if request.names:
        numbers = [0, 255] if len(request.names) == 2 and set(found.values) <= {0, 255} else range(len(request.names))
        return declared(list(zip(request.names, numbers, strict=True)), "the recipe"), "the recipe"
    return _undeclared(request, found)


def _from_json(content: str, place: str) -> list[tuple[str, SourceId]]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise UserError(f"this is not valid JSON: {error}", place, "mend it") from error
    if isinstance(found, dict):
        inner = next(
            (found[key] for key in ("classes", "categories", "labels") if isinstance(found.get(key), (list, dict))),
            None,
        )
        found = found if inner is None else inner
    pairs: list[tuple[str, SourceId]] = []
    if isinstance(found, dict):
        for key, value in found.items():
            number, name = (key, value) if str(key).lstrip("-").isdigit() or str(key).startswith("#") else (value, key)
            pairs.append((str(name), _source_id(number, place)))
        return pairs
    if not isinstance(found, list):
        raise UserError("it holds no classes", place, 'write {"0": "background", "1": "crack"}')
    for number, entry in enumerate(found):
        if isinstance(entry, str):
            pairs.append((entry, number))
        elif isinstance(entry, dict) and isinstance(entry.get("name"), str):
            colour = entry.get("color", entry.get("colour"))
            value = colour if colour is not None else entry.get("id", entry.get("value", number))
            pairs.append((entry["name"], _source_id(value, place)))
        else:
            raise UserError(f"class {number} has no name: {entry!r}", place, 'write {"id": 1, "name": "crack"}')
    return pairs


def _source_id(value: Any, place: str) -> int | str:
    """A value, or a colour as ``#rrggbb``."""
    if isinstance(value, list) and len(value) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in value):
        return "#{:02x}{:02x}{:02x}".format(*value)
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return value.lower()
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{value!r} is no value of a mask", place, "write a whole number, or a colour [r, g, b]"
        ) from error
    if not 0 <= number <= 65535:
        raise UserError(f"{number} is no value of a mask", place, "values are 0 to 255, or to 65535 in 16 bits")
    return number


def _from_text(content: str, place: str) -> list[tuple[str, SourceId]]:
    lines = [line.strip() for line in content.splitlines() if line.strip() and not line.startswith("#")]
    coloured = [re.fullmatch(r"([^:]+):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?", line) for line in lines]
    if lines and all(coloured):
        parts = [match.groups() for match in coloured if match]
        return [(name.strip(), _source_id([int(r), int(g), int(b)], place)) for name, r, g, b, _ in parts]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return [(match[2].strip(), _source_id(match[1], place)) for match in numbered if match]
    return [(line, number) for number, line in enumerate(lines)]


@dataclass
class _Probe:
    """What some of the masks hold: pixels by value, palettes, kinds."""

    values: Counter[int] = field(default_factory=Counter)
    palettes: set[tuple[str, ...]] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)


def _probe(request: Request, listing: Listing, masks: Sequence[str]) -> _Probe:
    probe = _Probe()
    for found in ahead(lambda name: _values(listing, name, request), masks[:: max(1, len(masks) // PROBED)]):
        if found is not None:
            probe.kinds.add(found.kind)
            probe.palettes.add(found.palette)
            probe.values.update(found.counts())
    return probe


def _undeclared(request: Request, probe: _Probe) -> tuple[PictureClasses, str]:
    """Classes from the masks themselves, where their values leave no doubt.

    Raises:
        UserError: They do; the values found are named.
    """
    values, palettes = probe.values, probe.palettes
    if probe.kinds == {"colours"}:
        raise UserError(
            "the masks are coloured (RGB), and nothing says what the colours mean",
            request.label,
            'add classes.json: [{"name": "background", "color": [0, 0, 0]}, ...], or CVAT\'s labelmap.txt',
        )
    palette = max(palettes, default=(), key=len)
    if len(palettes) == 1 and 2 <= len(palette) < MOST_CLASSES and len(set(palette)) == len(palette):
        names = [BACKGROUND if number == 0 else f"class {number}" for number in range(len(palette))]
        return PictureClasses(tuple(names), tuple(range(len(names)))), f"the palette of {len(palette)} colours"
    for high in (255, 1):
        if values and set(values) <= {0, high}:
            return PictureClasses((BACKGROUND, "foreground"), (0, high)), f"their values, 0 and {high}"
    shown = ", ".join(str(value) for value in sorted(values)[:12]) + (", ..." if len(values) > 12 else "")
    example = json.dumps({str(value): BACKGROUND if value == 0 else f"name of {value}" for value in sorted(values)[:3]})
    raise UserError(
        f"nothing says what the masks' values mean; they are {shown}",
        request.label,
        f"add classes.json ({example}), or classes.txt with a name a line, the first for value 0",
    )


def _values(listing: Listing, name: str, request: Request) -> MaskValues | None:
    try:
        return (
            None
            if name in listing.outside
            else read_mask_values(listing.folder / name, most_pixels=request.most_pixels)
        )
    except PictureFault:
        return None  # said of its row, where it is counted


class _Reader:
    """Makes rows of pictures with their masks, each decoded and checked."""

    def __init__(self, request: Request, listing: Listing, classes: PictureClasses) -> None:
        self.request, self.listing, self.classes = request, listing, classes
        self.look = looker(request, listing)
        self.pixels: Counter[str] = Counter()
        self.ignored = 0

    def work(self, pair: tuple[str, str]) -> tuple[Look, list[dict[str, Any]], int]:
        """Look at the picture and count the pixels of each class in its mask.

        Raises:
            PictureFault: The picture is at fault.
            Misfit: The mask is.
        """
        name, mask = pair
        look = self.look(name)
        try:
            if mask in self.listing.outside:
                raise PictureFault(LINK_OUT.format(target=self.listing.outside[mask]))
            found = read_mask_values(self.listing.folder / mask, most_pixels=self.request.most_pixels)
            check_size(found, (look.height, look.width))
            return look, *mask_areas(found, self.classes)
        except PictureFault as fault:
            raise Misfit(f"({mask}) {fault.reason}") from fault

    def row(self, pair: tuple[str, str], found: tuple[Look, list[dict[str, Any]], int]) -> dict[str, Any]:
        """The row of one picture; ``areas`` are the pixels of each class in it."""
        name, mask = pair
        look, areas, ignored = found
        self.ignored += ignored
        self.pixels.update({area["label"]: area["pixels"] for area in areas})
        return {"id": name, "image": name, "mask": mask, "width": look.width, "height": look.height, "areas": areas}

    def notes(self) -> list[str]:
        """Which share of the pixels each class has, and what is left out."""
        total = sum(self.pixels.values()) + self.ignored
        if not total:
            return []
        shares = ", ".join(f"{name} {count / total:.1%}" for name, count in self.pixels.most_common(12))
        told = [f"pixels of the masks: {shares}"]
        if self.ignored:
            told.append(f"{self.ignored / total:.1%} of all pixels are {IGNORE}, which no class has: they are left out")
        absent = [name for name in self.classes.names if name not in self.pixels]
        if absent:
            told.append(f"no mask has {', '.join(absent[:8])}")
        return told
