"""Pascal VOC: an XML file a picture, boxes in pixels counted from 1, corners inside. It knows no other format.

The XML is read by a parser that stops at any declaration of a document type, so that no entity is ever expanded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

from tunesmith.data.opened import Misfit
from tunesmith.errors import UserError
from tunesmith.pictures.files import Look
from tunesmith.pictures.formats.listing import (
    IMAGE_FOLDERS,
    Listing,
    choose_split,
    key_of,
    pictures_by_key,
    split_family,
    split_of,
)
from tunesmith.pictures.formats.objects import ObjectChecker, frame_of, look_normalised, turn_objects
from tunesmith.pictures.formats.opened import Opened, Request, looker, make_records
from tunesmith.pictures.pairing import Pairing

MOST_XML_BYTES = 16 * 2**20
MOST_DEPTH = 16
_LABEL_FOLDERS = ("annotations", "labels", "xmls", "xml")
_SETS = "imagesets"


@dataclass
class Node:
    """One element of an XML file: its name, its text, the line it begins in, and what it holds."""

    name: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        """The first element of this name."""
        return next((node for node in self.children if node.name == name), None)

    def text_of(self, name: str) -> str:
        """The text of the first element of this name, without space around it."""
        node = self.child(name)
        return node.text.strip() if node else ""


def parse_xml(content: bytes, place: str) -> Node:
    """The tree of an XML file.

    Args:
        content: Of the file.
        place: Its name.

    Raises:
        Misfit: It is no XML, declares a document type, or is too deep or too large.
    """
    if len(content) > MOST_XML_BYTES:
        raise Misfit(f"({place}) is {len(content):,} bytes long; no picture's labels are")
    parser = expat.ParserCreate()

    def here() -> str:
        return f"({place}:{parser.CurrentLineNumber}:{parser.CurrentColumnNumber + 1})"

    top = Node("", 0)
    open_nodes = [top]

    def start(name: str, _attributes: dict[str, str]) -> None:
        if len(open_nodes) > MOST_DEPTH:
            raise Misfit(f"{here()} is nested deeper than {MOST_DEPTH} elements")
        node = Node(name, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(_name: str) -> None:
        open_nodes.pop()

    def text(found: str) -> None:
        open_nodes[-1].text += found

    def doctype(*_: object) -> None:
        raise Misfit(f"{here()} declares a document type (<!DOCTYPE>), which could expand entities: it is not read")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        said = expat.ErrorString(error.code)
        raise Misfit(f"({place}:{error.lineno}:{error.offset + 1}) is not valid XML ({said})") from error
    except (ValueError, LookupError) as error:
        if isinstance(error, Misfit):
            raise
        raise Misfit(f"({place}) is not valid XML ({error})") from error
    return top.children[0]


def label_files(listing: Listing) -> list[str]:
    """The XML files of a listing."""
    return listing.ending(".xml")


def may_be_voc(path: Path) -> bool:
    """Whether an XML file is VOC's."""
    with path.open("rb") as file:
        return b"<annotation" in file.read(4096).lower()


def open_voc(request: Request, listing: Listing) -> Opened:
    """The rows of a VOC folder.

    Raises:
        UserError: Pictures and labels do not go together, two pictures have one name, or the split is not there.
    """
    labels = {key_of(name, _LABEL_FOLDERS): name for name in label_files(listing)}
    pictures = [name for name in listing.pictures() if not _is_mask(name)]
    chosen = _of_split(request, listing, pictures, labels)
    by_key = pictures_by_key(chosen, request.label)
    pairing = Pairing(request.label, "XML file")
    for key, name in by_key.items():
        pairing.add(name, key in labels)
    everything = {key_of(name, IMAGE_FOLDERS) for name in pictures}
    wanted_split = {split_of(name) for name in chosen}
    pairing.add_orphans(
        name
        for key, name in labels.items()
        if key not in everything and (split_of(name) in wanted_split or None in wanted_split)
    )
    request.settle_pairing(pairing)
    names = [name for key, name in by_key.items() if key in labels or pairing.fills]
    reader = _Reader(request, listing, {name: labels.get(key) for key, name in by_key.items()})
    request.notes.append(f"{request.label}: Pascal VOC; boxes are counted from 1 and moved to 0")
    return Opened(
        format="voc",
        records=make_records(
            names,
            looker(request, listing),
            reader.row,
            str,
            lambda name: [listing.folder / name],
            lambda: request.notes.extend(reader.notes()),
        ),
        paths=(request.label,),
        notes=request.notes,
        classes=None,
        root=request.root,
        total=len(names),
        pairing=pairing,
    )


def _is_mask(name: str) -> bool:
    return any(part.lower().startswith("segmentation") for part in name.split("/")[:-1])


def _of_split(request: Request, listing: Listing, pictures: Sequence[str], labels: dict[str, str]) -> list[str]:
    """The pictures of the wanted split: by folder, or by the lists in ImageSets/Main."""
    lists = {
        PurePosixPath(name).stem: name
        for name in listing.ending(".txt")
        if _SETS in map(str.lower, name.split("/")) and name.split("/")[-2].lower() == "main"
    }
    lists = {stem: name for stem, name in lists.items() if split_family(stem) or stem == "trainval"}
    if lists and (request.split or "train" in lists):
        stems = {split: _listed(listing.folder / name) for split, name in lists.items()}
        split = choose_split(
            {name: len(found) for name, found in stems.items()}, request.split, request.label, request.notes
        )
        wanted = stems[split or "train"]
        found = [name for name in pictures if PurePosixPath(name).stem in wanted]
        missing = wanted - {PurePosixPath(name).stem for name in found}
        if missing:
            raise UserError(
                f"{len(missing):,} pictures that {lists[split or 'train']} lists are not there: {sorted(missing)[0]}",
                request.label,
                "add them, or take them off the list",
            )
        return found
    counts: dict[str, int] = {}
    for name in pictures:
        if folder := split_of(name):
            counts[folder] = counts.get(folder, 0) + 1
    split = choose_split(counts, request.split, request.label, request.notes)
    return [name for name in pictures if split is None or split_of(name) == split]


def _listed(path: Path) -> set[str]:
    lines = path.read_text("utf-8", "replace").splitlines()
    return {line.split()[0] for line in lines if line.strip()}


class _Reader:
    """Makes rows of pictures with their XML, and counts what it mended."""

    def __init__(self, request: Request, listing: Listing, labels: dict[str, str | None]) -> None:
        self.request, self.listing, self.labels = request, listing, labels
        self.checker, self.difficult, self.empty = ObjectChecker(), 0, 0

    def notes(self) -> list[str]:
        """What was counted."""
        told = [f"{self.difficult:,} objects are marked difficult"] if self.difficult else []
        if self.empty:
            told.append(f"{self.empty:,} XML files hold no object: their pictures are background")
        return [*self.checker.notes(), *told]

    def row(self, name: str, look: Look) -> dict[str, Any]:
        """The row of one picture.

        Raises:
            Misfit: The XML or an object is at fault; the message begins with ``(file:line)``.
        """
        file = self.labels[name]
        objects: list[dict[str, Any]] = []
        if file is not None:
            objects = self._objects(parse_xml((self.listing.folder / file).read_bytes(), file), file, look)
        return {
            "id": name,
            "image": name,
            "width": look.width,
            "height": look.height,
            "objects": self.checker.settle(objects, (look.width, look.height)),
        }

    def _objects(self, tree: Node, file: str, look: Look) -> list[dict[str, Any]]:
        objects = [self._object(node, file) for node in tree.children if node.name == "object"]
        self.empty += not objects
        corners = [item["corners"] for item in objects]
        if look_normalised(corners) and max(look.width, look.height) > 4:
            raise Misfit(
                f"({objects[0]['place']}) has boxes between 0 and 1, shares of the picture where pixels are expected"
            )
        for item in objects:
            self._count_from_zero(item)
        try:
            if frame_of(look, _size(tree), self.checker.counts, where="has a <size> of"):
                turn_objects(objects, look)
        except Misfit as fault:
            raise Misfit(f"({file}) {fault}") from fault
        return objects

    def _object(self, node: Node, file: str) -> dict[str, Any]:
        place = f"{file}:{node.line}"
        box, label = node.child("bndbox"), node.text_of("name")
        if not label:
            raise Misfit(f"({place}) has an object without a <name>")
        if box is None:
            held = ", ".join(child.name for child in node.children)
            raise Misfit(f"({place}) has an object without a <bndbox> (it has {held})")
        corners = []
        for side in ("xmin", "ymin", "xmax", "ymax"):
            try:
                corners.append(float(box.text_of(side)))
            except ValueError as fault:
                raise Misfit(
                    f"({file}:{box.line}) has {box.text_of(side)!r} as <{side}>, which is no number"
                ) from fault
        place = f"{file}:{box.line}"
        if not all(map(math.isfinite, corners)):
            raise Misfit(f"({place}) has a box with a coordinate that is no number")
        if corners[2] < corners[0] or corners[3] < corners[1]:
            raise Misfit(f"({place}) has an inverted box: xmin, ymin, xmax, ymax are {_numbers(corners)}")
        if corners[2] == corners[0] or corners[3] == corners[1]:
            raise Misfit(f"({place}) has a box of zero area: xmin, ymin, xmax, ymax are {_numbers(corners)}")
        difficult = node.text_of("difficult") in ("1", "true")
        self.difficult += difficult
        found: dict[str, Any] = {"place": place, "label": label, "source_id": None, "crowd": False, "corners": corners}
        return {**found, "difficult": True} if difficult else found

    def _count_from_zero(self, item: dict[str, Any]) -> None:
        """Corners that count pixels from 1 and lie inside, as edges that count from 0."""
        x1, y1, x2, y2 = item["corners"]
        self.checker.counts["zero"] += x1 == 0 or y1 == 0
        item["corners"] = [max(0.0, x1 - 1) if x1 >= 0 else x1 - 1, max(0.0, y1 - 1) if y1 >= 0 else y1 - 1, x2, y2]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _size(tree: Node) -> tuple[float, float] | None:
    """Width and height that the file declares; None where it has none, or zeros as some tools write."""
    size = tree.child("size")
    if size is None:
        return None
    try:
        width, height = float(size.text_of("width")), float(size.text_of("height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
