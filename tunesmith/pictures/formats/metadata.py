"""A metadata file beside pictures, as Hugging Face's image folders have it: ``metadata.csv`` or ``metadata.jsonl``.

Its column ``file_name`` names pictures relative to it; ``label``, ``objects`` or ``mask`` say what is in them. It reads
no other file of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from tunesmith.data.delimited import detect, header_of, read_delimited
from tunesmith.data.json_rows import read_jsonl
from tunesmith.data.opened import Misfit
from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import look_at
from tunesmith.errors import UserError
from tunesmith.pictures.files import PictureFault
from tunesmith.pictures.formats.listing import Listing, choose_split, split_family
from tunesmith.pictures.formats.opened import Opened, Request
from tunesmith.pictures.formats.rows import IMAGE_COLUMNS, RowReader
from tunesmith.pictures.pairing import Pairing

METADATA = ("metadata.csv", "metadata.jsonl")


def metadata_files(listing: Listing) -> list[str]:
    """The metadata files of a folder that has pictures too."""
    found = [name for name in listing.files if PurePosixPath(name).name in METADATA]
    return found if listing.pictures() else []


def open_metadata(request: Request, listing: Listing, files: Sequence[str]) -> Opened:
    """The rows of metadata files, of one split.

    Raises:
        UserError: Pictures and rows do not go together, or a file cannot be read.
    """
    splits = {name.split("/")[0]: name for name in files if "/" in name and split_family(name.split("/")[0])}
    counts = {split: sum(name.startswith(f"{split}/") for name in listing.pictures()) for split in splits}
    split = choose_split(counts, request.split, request.label, request.notes)
    chosen = [name for name in files if split is None or name == splits[split]]
    rows: list[tuple[str, int, dict[str, Any] | Fault]] = []
    for name in chosen:
        rows += [(name, line, values) for line, values in _read(request, listing, name)]
    pairing = _paired(request, listing, chosen, rows)
    request.settle_pairing(pairing)
    return Opened(
        format="image-folder-metadata",
        records=_records(request, listing, rows),
        paths=tuple(f"{request.root_label}/{name}" for name in chosen),
        notes=request.notes,
        classes=None,
        root=request.root,
        total=len(rows),
        pairing=pairing,
    )


def _read(request: Request, listing: Listing, name: str) -> list[Record]:
    place = f"{request.root_label}/{name}"
    file = look_at(listing.folder / name, place)
    request.notes.extend(file.notes)
    with file.open() as (text, _):
        if name.endswith(".jsonl"):
            return list(read_jsonl(text, file))
        dialect = detect(file)
        return list(read_delimited(text, file, dialect, lambda fields: header_of(fields, place, request.notes.append)))


def _named(values: dict[str, Any]) -> str | None:
    return next((str(values[column]) for column in ("file_name", *IMAGE_COLUMNS) if values.get(column)), None)


def _paired(
    request: Request, listing: Listing, files: Sequence[str], rows: Sequence[tuple[str, int, dict[str, Any] | Fault]]
) -> Pairing:
    pairing = Pairing(request.label, "metadata row")
    known = set(listing.files)
    folders = {name: name[: -len(PurePosixPath(name).name)] for name in files}
    seen: dict[str, int] = {}
    masks: set[str] = set()
    for name, line, values in rows:
        if isinstance(values, Fault) or (picture := _named(values)) is None:
            continue
        inside = str(PurePosixPath(folders[name] + picture))
        if inside in seen:
            raise UserError(
                f"two rows name the picture {picture} (lines {seen[inside]} and {line})",
                f"{request.root_label}/{name}:{line}",
                "give each picture one row, with all of its labels",
            )
        seen[inside] = line
        masks.update(
            str(PurePosixPath(folders[name] + str(value)))
            for column, value in values.items()
            if "mask" in str(column) and isinstance(value, str)
        )
        if inside in known:
            pairing.add(inside, True)
        else:
            pairing.add_orphans([f"{picture} ({name}:{line})"])
    for picture in listing.pictures():
        near = any(picture.startswith(folder) for folder in folders.values())
        if near and picture not in seen and picture not in masks:
            pairing.add(picture, False)
    pairing.fills = False
    return pairing


def _records(
    request: Request, listing: Listing, rows: Sequence[tuple[str, int, dict[str, Any] | Fault]]
) -> Iterator[Record]:
    readers: dict[str, RowReader] = {}
    try:
        for number, (name, line, values) in enumerate(rows, 1):
            place = f"({name}:{line})"
            if isinstance(values, Fault):
                yield number, Fault(f"{place} {values.reason}")
                continue
            folder = (listing.folder / name).parent
            if name not in readers:
                readers[name] = RowReader(request.kind, [folder], names=request.names, most_pixels=request.most_pixels)
            try:
                row = readers[name].row(values)
            except PictureFault as fault:
                yield number, Fault(f"{place} {fault.reason}")
            except Misfit as fault:
                yield number, Fault(f"{place} {fault}")
            else:
                for column in ("image", "mask"):
                    if column in row:
                        row[column] = request.name_of(folder / row[column])
                yield number, {"id": row["image"], **row}
    finally:
        for reader in readers.values():
            request.notes.extend(reader.notes())
