"""YOLO text labels: a line an object, ``class x y width height`` or ``class x1 y1 x2 y2 ...``, in shares.

Where the pictures and classes are, ``yolo_layout`` says. It knows no other format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.opened import Misfit
from tunesmith.errors import UserError
from tunesmith.pictures.classes import PictureClasses, with_background
from tunesmith.pictures.files import Look
from tunesmith.pictures.formats.objects import ObjectChecker, frame_of
from tunesmith.pictures.formats.opened import Opened, Request, looker, make_records
from tunesmith.pictures.formats.yolo_layout import Found, Layout, find_layout, label_names
from tunesmith.pictures.pairing import Pairing
from tunesmith.pictures.regions import RegionFault, box_of, points_of

LEAST_SHARE, MOST_SHARE = -0.5, 1.5
"""A coordinate beyond these is no share of a picture; between them and 0 to 1 the box reaches out of it."""
PROBED = 50


def open_yolo(request: Request, layout: Layout | None = None) -> Opened:
    """The rows of a YOLO folder or data.yaml.

    Raises:
        UserError: The yaml is not valid, classes are not declared, labels are in pixels, or pictures and labels
            do not go together.
    """
    layout = layout or find_layout(request)
    pairs = layout.pairs()
    pairing = Pairing(request.label, "label file")
    empty = {found.name for found in pairs if found.labels is not None and found.labels.stat().st_size < 2}
    for found in pairs:
        pairing.add(found.name, found.labels is not None, empty=found.name in empty)
    pairing.add_orphans(layout.orphans())
    request.settle_pairing(pairing)
    classes = layout.classes
    request.notes.append(f"{request.label}: YOLO with {len(classes)} classes from {layout.declared_in}")
    _probe(pairs, request)
    reader = _Reader(request, classes, layout.declared_in)
    lookers = {id(found.listing): looker(request, found.listing) for found in pairs}
    kept = [found for found in pairs if found.labels is not None or request.kind == "boxes" or pairing.fills]
    table = with_background(classes) if request.kind == "mask" else classes
    return Opened(
        format="yolo",
        records=make_records(
            kept,
            lambda found: lookers[id(found.listing)](found.inside),
            reader.row,
            lambda found: found.name,
            lambda found: [found.listing.folder / found.inside],
            lambda: request.notes.extend(reader.checker.notes()),
        ),
        paths=layout.paths,
        notes=request.notes,
        classes=tuple(table.to_json()),
        root=request.root,
        total=len(kept),
        pairing=pairing,
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that hold anything, with their numbers.

    Raises:
        UnicodeDecodeError: It is no text.
    """
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line


def _probe(pairs: Sequence[Found], request: Request) -> None:
    """Stop where the first labels are in pixels: then all of them are.

    Raises:
        UserError: It is so.
    """
    pixels = total = 0
    example = ""
    for found in [found for found in pairs if found.labels is not None][:PROBED]:
        assert found.labels is not None
        try:
            for number, line in _lines(found.labels):
                values = [abs(float(word)) for word in line.split()[1:]]
                total += 1
                if values and max(values) > 2:
                    pixels += 1
                    example = example or f"{request.name_of(found.labels)}:{number} ({line.strip()})"
        except ValueError:
            continue
    if pixels and pixels * 2 > total:
        raise UserError(
            f"the labels are in pixels, but YOLO's are shares of the picture from 0 to 1: {example}",
            request.label,
            "divide x and width by the picture's width, y and height by its height",
        )


class _Reader:
    """Makes rows of pictures with their label files, and counts what it mended."""

    def __init__(self, request: Request, classes: PictureClasses, declared_in: str) -> None:
        self.request, self.classes, self.declared_in = request, classes, declared_in
        self.checker = ObjectChecker()

    def row(self, found: Found, look: Look) -> dict[str, Any]:
        """The row of one picture.

        Raises:
            Misfit: A line is at fault; the message begins with ``(file:line:column)``.
        """
        frame_of(look, None, self.checker.counts)
        objects: list[dict[str, Any]] = []
        if found.labels is not None:
            name = self.request.name_of(found.labels)
            try:
                for number, line in _lines(found.labels):
                    objects.append(self._object(line, f"{name}:{number}", look))
            except UnicodeDecodeError as fault:
                raise Misfit(f"({name}) is no text in UTF-8") from fault
        return {
            "id": found.name,
            "image": found.name,
            "width": look.width,
            "height": look.height,
            "objects": self.checker.settle(objects, (look.width, look.height)),
        }

    def _object(self, line: str, place: str, look: Look) -> dict[str, Any]:
        words = line.split()
        columns = _columns(line, words)
        number = self._class(words[0], f"{place}:{columns[0]}")
        index = self.classes.of_source(number)
        assert index is not None
        shares = [_share(word, f"{place}:{column}") for word, column in zip(words[1:], columns[1:], strict=True)]
        found: dict[str, Any] = {
            "place": f"{place}:1",
            "label": self.classes.names[index],
            "source_id": number,
            "crowd": False,
        }
        if len(shares) == 4:
            if self.request.kind == "mask":
                raise Misfit(f"({place}:1) is a box; a mask needs a polygon: class x1 y1 x2 y2 x3 y3 ...")
            x, y, w, h = shares
            if w <= 0 or h <= 0:
                kind = "an inverted box" if w < 0 or h < 0 else "a box of zero area"
                raise Misfit(f"({place}:{columns[3]}) has {kind}: width {w:g}, height {h:g}")
            found["corners"] = _rounded([x - w / 2, y - h / 2, x + w / 2, y + h / 2], look)
        elif len(shares) >= 6 and len(shares) % 2 == 0:
            found.update(self._polygon(shares, place, look))
        else:
            extra = "; is the sixth a confidence? labels have none" if len(shares) == 5 else ""
            raise Misfit(
                f"({place}:1) has {len(words)} values; a box takes 5 (class x y width height), a polygon 7 or more, "
                f"an odd number{extra}"
            )
        return found

    def _class(self, word: str, place: str) -> int:
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not number.is_integer():
            raise Misfit(f"({place}) begins with {word!r}, which is no class id; a line is: class x y width height")
        if self.classes.of_source(int(number)) is None:
            known = [value for value in self.classes.source_ids if isinstance(value, int)]
            span = f"{min(known)} to {max(known)}" if len(known) > 1 else f"only {known[0]}"
            raise Misfit(f"({place}) has the class id {int(number)}; {self.declared_in} names {span}")
        return int(number)

    def _polygon(self, shares: list[float], place: str, look: Look) -> dict[str, Any]:
        flat = _rounded(shares, look)
        try:
            points_of(flat)
            x, y, w, h = box_of([flat]) or (0.0, 0.0, 0.0, 0.0)
        except RegionFault as fault:
            raise Misfit(f"({place}:1) {fault}") from fault
        return {
            "corners": [x, y, x + w, y + h],
            **({"segmentation": [flat]} if self.request.kind == "mask" else {}),
        }


def _columns(line: str, words: Sequence[str]) -> list[int]:
    """The column, from 1, at which each word begins."""
    columns, start = [], 0
    for word in words:
        start = line.index(word, start)
        columns.append(start + 1)
        start += len(word)
    return columns


def _share(word: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Misfit(f"({place}) has {word!r} where a number from 0 to 1 is expected")
    if not LEAST_SHARE <= value <= MOST_SHARE:
        raise Misfit(f"({place}) has {word}, which is no share of the picture (0 to 1): YOLO's labels are no pixels")
    return value


def _rounded(shares: Sequence[float], look: Look) -> list[float]:
    """Shares x, y, x, y, ... as pixels, to a ten-thousandth: what is written as shares is no more exact."""
    sides = (look.width, look.height)
    return [round(value * sides[at % 2], 4) for at, value in enumerate(shares)]


def folder_has_labels(listing_files: Sequence[str]) -> bool:
    """Whether a folder has YOLO's text labels: in a folder labels, or beside the pictures with a list of classes."""
    return any(name.lower().endswith(".txt") for name in label_names(listing_files))
