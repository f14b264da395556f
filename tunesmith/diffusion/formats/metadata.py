"""``metadata.jsonl`` or ``metadata.csv`` beside pictures: ``file_name`` and a caption. It reads no other rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from tunesmith.data.delimited import detect, header_of, read_delimited
from tunesmith.data.json_rows import read_jsonl
from tunesmith.data.opened import Misfit
from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import look_at
from tunesmith.diffusion.formats.captions import (
    CAPTION_COLUMNS,
    PROMPT_OPTION,
    absent,
    both_told,
    columns_of,
    counted,
    some,
)
from tunesmith.diffusion.formats.rows import CaptionReader
from tunesmith.errors import UserError
from tunesmith.pictures.files import PictureFault
from tunesmith.pictures.formats.listing import Listing, choose_split, split_family
from tunesmith.pictures.formats.opened import Opened, Request
from tunesmith.pictures.formats.rows import IMAGE_COLUMNS
from tunesmith.pictures.pairing import Pairing

Line: TypeAlias = "tuple[str, int, dict[str, Any] | Fault]"
"""File, line and values of a row."""
_NAMES = ("file_name", *IMAGE_COLUMNS)
_MEND = "remove one of the two columns"


def open_metadata(request: Request, listing: Listing, files: Sequence[str], prompt: str | None) -> Opened:
    """The rows of metadata files, of one split.

    Raises:
        UserError: Pictures and rows do not go together, captions stand beside a prompt, or a file cannot be read.
    """
    splits = {name.split("/")[0]: name for name in files if "/" in name and split_family(name.split("/")[0])}
    counts = {split: sum(name.startswith(f"{split}/") for name in listing.pictures()) for split in splits}
    split = choose_split(counts, request.split, request.label, request.notes)
    chosen = [name for name in files if split is None or name == splits[split]]
    rows = [(name, line, values) for name in chosen for line, values in _read(request, listing, name)]
    _check_columns(request, rows, prompt)
    pairing = _paired(request, listing, chosen, rows)
    request.notes.extend(pairing.lines())
    return Opened(
        format="image-folder-metadata",
        records=_records(request, listing, rows, prompt),
        paths=tuple(f"{request.root_label}/{name}" for name in chosen),
        notes=request.notes,
        classes=None,
        root=request.root,
        total=len(rows),
        pairing=pairing,
    )


def _read(request: Request, listing: Listing, name: str) -> list[Record]:
    place = f"{request.root_label}/{name}"
    if name in listing.outside:
        raise UserError(
            f"it is a link that leads out of the data folder (to {listing.outside[name]})", place, "copy it"
        )
    file = look_at(listing.folder / name, place)
    request.notes.extend(file.notes)
    with file.open() as (text, _):
        if name.endswith(".jsonl"):
            return list(read_jsonl(text, file))
        return list(
            read_delimited(text, file, detect(file), lambda fields: header_of(fields, place, request.notes.append))
        )


def _check_columns(request: Request, rows: Sequence[Line], prompt: str | None) -> None:
    """Captions, or one prompt: not both, and not neither.

    Raises:
        UserError: It is so.
    """
    given = [values for _, _, values in rows if isinstance(values, dict)]
    told = [row for row in given if any(not absent(row[name]) for name in columns_of(row, CAPTION_COLUMNS))]
    where = f"{request.root_label}/{rows[0][0]}" if rows else request.label
    if prompt is not None and told:
        raise both_told(prompt, f"{len(told):,} of {len(rows):,} rows have a caption", where)
    if prompt is None and given and not any(columns_of(row, CAPTION_COLUMNS) for row in given):
        columns = ", ".join(dict.fromkeys(str(name) for row in given[:100] for name in row))
        raise UserError(
            f"no row has a caption: its columns are {columns}",
            where,
            f"name the column of captions text; or set {PROMPT_OPTION}, one prompt for all pictures of one subject",
        )


def _named(values: dict[str, Any]) -> str | None:
    return next((str(values[name]).replace("\\", "/") for name in columns_of(values, _NAMES) if values[name]), None)


def _paired(request: Request, listing: Listing, files: Sequence[str], rows: Sequence[Line]) -> Pairing:
    """Pictures and rows, one for one.

    Raises:
        UserError: A picture has no row or two of them, or a row no picture.
    """
    pairing = Pairing(request.label, "caption", fills=False)
    known = set(listing.files)
    folders = {name: name[: -len(PurePosixPath(name).name)] for name in files}
    seen: dict[str, str] = {}
    lost: list[tuple[str, str]] = []
    for name, line, values in rows:
        if isinstance(values, Fault) or (picture := _named(values)) is None:
            continue
        inside, place = str(PurePosixPath(folders[name] + picture)), f"{request.root_label}/{name}:{line}"
        if inside in seen:
            raise UserError(
                f"two captions for a picture: {picture} is named again (first at {seen[inside]})",
                place,
                "keep one of the two rows",
            )
        seen[inside] = place
        if inside in known:
            pairing.add(inside, True)
        else:
            lost.append((picture, place))
    pairing.add_orphans(f"{picture} ({place})" for picture, place in lost)
    bare = [name for name in listing.pictures() if name not in seen and name.startswith(tuple(folders.values()))]
    for name in bare:
        pairing.add(name, False)
    table = "\n    ".join(pairing.lines())
    if lost:
        raise UserError(
            f"{counted(len(lost), 'caption')} without a picture: {some([picture for picture, _ in lost])}\n    {table}",
            lost[0][1],
            f"add {lost[0][0]}, or remove the row",
        )
    if bare:
        near = next(name for name in files if bare[0].startswith(folders[name]))
        inner = bare[0][len(folders[near]) :]
        row = f'{{"file_name": "{inner}", "text": "..."}}' if near.endswith(".jsonl") else f"{inner} and its caption"
        raise UserError(
            f"{counted(len(bare), 'picture')} without a caption: {some(bare)}\n    {table}",
            f"{request.root_label}/{near}",
            f"add a row to it ({row}), or remove the picture",
        )
    return pairing


def _records(request: Request, listing: Listing, rows: Sequence[Line], prompt: str | None) -> Iterator[Record]:
    readers: dict[str, CaptionReader] = {}
    try:
        for number, (name, line, values) in enumerate(rows, 1):
            place = f"({name}:{line})"
            if isinstance(values, Fault):
                yield number, Fault(f"{place} {values.reason}")
                continue
            folder = (listing.folder / name).parent
            if name not in readers:
                readers[name] = CaptionReader(
                    [folder],
                    prompt=prompt,
                    label=f"{request.root_label}/{name}",
                    beside=len(listing.pictures()),
                    most_pixels=request.most_pixels,
                    mend=_MEND,
                )
            try:
                if _named(values) is None:
                    raise Misfit("names no picture: file_name is expected")
                row = readers[name].row({column: v for column, v in values.items() if v is not None})
            except PictureFault as fault:
                yield number, Fault(f"{place} {fault.reason}")
            except Misfit as fault:
                yield number, Fault(f"{place} {fault}")
            else:
                row["image"] = request.name_of(folder / row["image"])
                yield number, {"id": row["image"], **row}
    finally:
        for reader in readers.values():
            request.notes.extend(reader.notes())
