"""Tables beside recordings: Hugging Face's audio folders (``metadata.csv``) and Common Voice (``train.tsv``).

Each row keeps the columns that it has. It reads no other file of rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.folder_listing import LINK_OUT, choose_split, split_family
from tunesmith.data.reading import Fault, Record
from tunesmith.speech.formats.columns import AUDIO_COLUMNS, WORD_COLUMNS
from tunesmith.speech.formats.listing import Listing, folder_part
from tunesmith.speech.formats.opened import Opened, Request
from tunesmith.speech.pairing import Pairing

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
TIMED = (".csv", ".tsv", ".jsonl")
"""Files of rows whose long rows can become several."""
HEAD_BYTES = 2**16


@dataclass(frozen=True)
class _Line:
    """A row of a table: the table's name, its place there, its values, and its recording's name from the root."""

    table: str
    number: int
    values: dict[str, Any] | Fault
    name: str | None = None


def metadata_files(listing: Listing) -> list[str]:
    """The metadata files of a folder that has recordings too."""
    found = [name for name in listing.files if PurePosixPath(name).name in METADATA]
    return found if listing.recordings() else []


def open_metadata(request: Request, listing: Listing, files: Sequence[str]) -> Opened:
    """The rows of metadata files, of one split.

    Raises:
        UserError: Recordings and rows do not go together, or a file cannot be read.
    """
    splits = {name.split("/")[0]: name for name in files if "/" in name and split_family(name.split("/")[0])}
    counts = {split: sum(name.startswith(f"{split}/") for name in listing.recordings()) for split in splits}
    split = choose_split(counts, request.split, request.label, request.notes, "recordings")
    chosen = [name for name in files if split is None or name == splits[split]]
    lines = [line for name in chosen for line in _read(request, name, folder_part(name))]
    request.notes.append(f"{request.label}: recordings with {' and '.join(chosen)}")
    pairing = _paired(request, listing, lines)
    near = tuple(map(folder_part, chosen))
    named = {line.name for line in lines}
    if any(line.name for line in lines):
        for name in listing.recordings():
            if name not in named and name.startswith(near):
                pairing.add(name, False)
        pairing.settle(request.notes)
    return _opened("audio-folder", request, listing, lines, chosen, pairing)


def has_word_times(path: Path) -> bool:
    """Whether a file of rows (CSV, TSV, JSONL) has a column of words with their times."""
    names = [f'"{name}"' if path.suffix == ".jsonl" else name for name in WORD_COLUMNS]
    with path.open("rb") as stream:
        for line in stream if path.suffix == ".jsonl" else [stream.readline()]:
            if any(name.encode() in line for name in names):
                return True
    return False


def open_timed_rows(request: Request, name: str) -> Opened:
    """A file of rows with the times of words. Other files of rows are others' matter, whose rows stay one each.

    Raises:
        UserError: It cannot be read.
    """
    records = request.table(name)
    place = request.label if request.path.is_file() else f"{request.root_label}/{name}"
    return Opened(
        format=PurePosixPath(name).suffix[1:],
        records=iter(records),
        paths=(place,),
        notes=request.notes,
        root=request.root,
        between=":" if request.path.is_file() else f"/{name}:",
        total=len(records),
        table=True,
    )


def common_voice_files(listing: Listing) -> dict[str, str]:
    """Tables of Common Voice by their names without ending, where the folder has such beside ``clips``."""
    found: dict[str, str] = {}
    for name in listing.ending(".tsv"):
        clips = f"{folder_part(name)}clips/"
        if any(other.startswith(clips) for other in listing.files):
            with (listing.folder / name).open("rb") as stream:
                header = stream.read(HEAD_BYTES).partition(b"\n")[0].decode("utf-8", "replace").strip().split("\t")
            if {"path", "sentence"} <= set(header):
                found[PurePosixPath(name).stem] = name
    return found


def open_common_voice(request: Request, listing: Listing, files: Mapping[str, str]) -> Opened:
    """The rows of one of Common Voice's tables.

    Raises:
        UserError: The split is not there, or clips are missing.
    """
    counts = {split: _rows_in(listing, name) for split, name in files.items()}
    split = choose_split(counts, request.split, request.label, request.notes, "rows")
    name = files[str(split)]
    lines = _read(request, name, f"{folder_part(name)}clips/")
    request.notes.append(f"{request.label}: Common Voice, {name}")
    pairing = _paired(request, listing, lines)
    pairing.settle(request.notes)
    return _opened("common-voice", request, listing, lines, [name], pairing)


def _rows_in(listing: Listing, name: str) -> int:
    with (listing.folder / name).open("rb") as stream:
        return max(0, sum(bool(line.strip()) for line in stream) - 1)


def _read(request: Request, table: str, start: str) -> list[_Line]:
    """The rows of a table, names of recordings in it made to start from the root."""
    lines = []
    for number, values in request.table(table):
        if isinstance(values, Fault):
            lines.append(_Line(table, number, values))
            continue
        column = next((name for name in ("file_name", *AUDIO_COLUMNS) if isinstance(values.get(name), str)), None)
        if column is None or not values[column].strip():
            lines.append(_Line(table, number, values))
            continue
        name = os.path.normpath(start + values[column].strip().replace("\\", "/"))
        lines.append(_Line(table, number, {**values, column: name}, name))
    return lines


def _paired(request: Request, listing: Listing, lines: Sequence[_Line]) -> Pairing:
    pairing = Pairing(request.label, "row")
    seen: set[str] = set()
    for line in lines:
        if line.name is None or line.name in seen:
            continue
        seen.add(line.name)
        # What leads out of the folder is its row's fault, and no missing recording.
        if line.name in listing.names or line.name.startswith(("/", "..")):
            pairing.add(line.name, True)
        else:
            pairing.add_orphans([f"{line.name} ({line.table}:{line.number})"])
    return pairing


def _opened(
    format: str, request: Request, listing: Listing, lines: Sequence[_Line], tables: Sequence[str], pairing: Pairing
) -> Opened:
    times = Counter(line.name for line in lines)
    there = [line for line in lines if line.name is None or line.name in listing.names or _leads_out(line.name)]

    def records() -> Iterator[Record]:
        for number, line in enumerate(there, 1):
            place = f"({line.table}:{line.number})"
            if isinstance(line.values, Fault):
                yield number, Fault(f"{place} {line.values.reason}")
            elif line.name is not None and line.name in listing.outside:
                yield (
                    number,
                    Fault(f"{place} names {line.name}, which {LINK_OUT.format(target=listing.outside[line.name])}"),
                )
            elif line.name and "id" not in line.values and times[line.name] == 1:
                yield number, {"id": line.name, **line.values}
            else:
                yield number, line.values

    return Opened(
        format=format,
        records=records(),
        paths=tuple(f"{request.root_label}/{name}" for name in tables),
        notes=request.notes,
        root=request.root,
        total=len(there),
        pairing=pairing,
    )


def _leads_out(name: str) -> bool:
    return name.startswith(("/", ".."))
