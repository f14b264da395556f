"""The door for rows: whatever a person names (file, folder, data set, iterable) becomes a row store.

It knows no task: which columns matter, and whether the rows are any good, others say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from tunesmith.data.arrow import ParquetFile, data_set_rows, is_saved_data_set, open_from_hub, open_saved
from tunesmith.data.delimited import detect, header_of, read_delimited
from tunesmith.data.digest import content_digest
from tunesmith.data.folder import FORMATS, list_folder
from tunesmith.data.json_rows import is_jsonl, read_json, read_jsonl
from tunesmith.data.opened import OpenedSource
from tunesmith.data.reading import Fault, Reading, Record, did_you_mean
from tunesmith.data.store import MEMORY_BYTES, ReadReport, RowStore
from tunesmith.data.text_file import TextFile, look_at
from tunesmith.errors import UserError
from tunesmith.types import RowShape

__all__ = ["ReadReport", "RowStore", "content_digest", "read_rows"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_rows(
    source: str | Path | Iterable[Mapping[str, Any]],
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    broken_rows: float = 0.01,
    limit: int | None = None,
    name: str | None = None,
    split: str | None = None,
    relative_to: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    memory_bytes: int = MEMORY_BYTES,
    shape: RowShape | None = None,
) -> RowStore:
    """Read every row of a source, in bounded memory, each with a stable id.

    The id is the row's own ``id`` column where its values are there and unique, else a digest of the row's content
    (16 hexadecimal characters; ``-2``, ``-3`` follow for the second and third row of the same content).

    Args:
        source: A file (CSV, TSV, JSON, JSONL, Parquet), a folder of files of one format, a folder with one subfolder
            of .txt files per class, a folder written by ``datasets.save_to_disk``, a Hugging Face data set id, or
            an iterable of mappings.
        format: auto, csv, tsv, json, jsonl, parquet, folder or dataset.
        columns: Our column name to the source's, where they differ.
        broken_rows: Share of broken rows that is accepted, 0 to 1; they are counted and listed in any case.
        limit: Read only the first this many rows.
        name: Configuration of a Hugging Face data set.
        split: Split of a Hugging Face data set (default: train).
        relative_to: Folder that relative paths start from (default: the working directory).
        on_progress: Told (done, total) now and then: bytes, or rows where the source has no size.
        memory_bytes: Rows move to a temporary file once they are larger than this.
        shape: Turns raw rows into those of a task; a row that fits no shape is a broken one.

    Raises:
        UserError: where the source cannot be read, has no rows, or too many broken ones.
    """
    described = str(source) if isinstance(source, (str, Path)) else "rows"
    reading = Reading(described, dict(columns or {}), broken_rows, limit, on_progress, memory_bytes, shape)
    if not described.strip():
        raise UserError("no source is named", "data.train", "name a file, a folder or a data set id")
    start = relative_to or Path()
    try:
        if isinstance(source, (str, Path)):
            _read_named(reading, start / Path(source).expanduser(), format, name, split)
        else:
            _read_iterable(reading, source)
    except PermissionError as error:
        raise UserError(
            "no permission to read it", str(error.filename or described), "change its permissions"
        ) from error
    return reading.finish()


def _read_named(reading: Reading, path: Path, format: str, name: str | None, split: str | None) -> None:
    opener = getattr(reading.shape, "open", None)
    opened = opener(path, reading.name, split) if opener and format in ("auto", "folder") and path.exists() else None
    if opened is not None:
        _read_opened(reading, opened)
    elif path.is_dir():
        _read_folder(reading, path, format, split)
    elif path.is_file():
        if format in ("folder", "dataset"):
            raise UserError(
                f"data.format: {format} was asked for, but this is a file", reading.name, "set data.format: auto"
            )
        _read_file(reading, path, reading.name, None if format == "auto" else format)
        reading.paths.append(reading.name)
    elif format == "dataset" or (format == "auto" and _could_be_hub_id(reading.name)):
        detected_by = "recipe" if format == "dataset" else "data set id"
        _read_data_set(reading, open_from_hub(reading.name, name, split), detected_by)
    else:
        raise _missing(path, reading.name)


def _read_opened(reading: Reading, opened: OpenedSource) -> None:
    """A source that the rows' shape knows as a whole: pictures and their labels."""
    reading.format, reading.detected_by = opened.format, "folder content"
    reading.paths.extend(opened.paths)
    reading.take(
        reading.name, opened.records, between=opened.between, progress=lambda done: (done, max(opened.total, 1))
    )


def _could_be_hub_id(text: str) -> bool:
    known = FORMATS.keys() | {".txt", ".gz", ".zip", ".xlsx", ".xls"}
    return bool(_HUB_ID.fullmatch(text)) and Path(text).suffix.lower() not in known


def _missing(path: Path, label: str) -> UserError:
    parent = path.parent
    there = [item.name for item in parent.iterdir()] if parent.is_dir() else []
    fix = (
        "check the path"
        if there or parent.is_dir()
        else f"there is no folder {Path(label).parent} either; check the path"
    )
    return UserError(f"there is no file or folder '{path.name}'{did_you_mean(path.name, there)}", label, fix)


def _read_iterable(reading: Reading, source: Any) -> None:
    if not isinstance(source, Iterable) or isinstance(source, (Mapping, bytes)) or hasattr(source, "iterrows"):
        fix = (
            "give data_frame.to_dict('records')"
            if hasattr(source, "iterrows")
            else "give a list of {column: value} mappings"
        )
        raise UserError(f"an object of type {type(source).__name__} is not an iterable of rows", "the rows", fix)
    reading.format, reading.detected_by = "rows", "Python iterable"
    reading.paths.append("rows")
    total = len(source) if isinstance(source, Sized) else 0

    def records() -> Iterator[Record]:
        for number, row in enumerate(source, 1):
            yield number, dict(row) if isinstance(row, Mapping) else Fault(f"is a {type(row).__name__}, not a mapping")

    reading.take("rows", records(), between=" row ", progress=lambda done: (done, total), typed=True)


def _read_data_set(reading: Reading, data_set: Any, detected_by: str) -> None:
    reading.format, reading.detected_by = "dataset", detected_by
    reading.paths.append(reading.name)
    reading.header(reading.name, data_set.column_names)
    total = len(data_set)
    records = data_set_rows(data_set, reading.notes.append, decode=not getattr(reading.shape, "makes_json", False))
    reading.take(reading.name, records, between=" row ", progress=lambda done: (done, total), typed=True)


def _read_folder(reading: Reading, folder: Path, format: str, split: str | None) -> None:
    label = reading.name.rstrip("/") or "/"
    if format in ("auto", "folder", "dataset") and is_saved_data_set(folder):
        _read_data_set(reading, open_saved(folder, label, split), "folder content")
        return
    if format == "dataset":
        raise UserError("datasets.save_to_disk did not write this folder", label, "set data.format: auto")
    wanted = None if format in ("auto", "folder") else format
    found = list_folder(folder, label, wanted)
    files = found.files
    if found.format != "text-folder":
        files = _of_split(reading, files, label, split)
    if found.others:
        names = ", ".join(str(file.relative_to(folder)) for file in found.others[:5])
        reading.notes.append(f"{len(found.others):,} other files in {label} were not read: {names}")
    for file in files:
        if reading.full:
            break
        place = f"{label}/{file.relative_to(folder).as_posix()}"
        if found.format == "text-folder":
            _read_text(reading, file, place)
        else:
            _read_file(reading, file, place, found.format)
        if found.format != "text-folder" or len(reading.paths) < 5:
            reading.paths.append(place)
    if found.format == "text-folder":
        reading.notes.append(f"each of {len(found.files):,} .txt files is a row; its folder is the label")
        reading.encoding = reading.encoding or "utf-8"
    reading.format, reading.detected_by = found.format, "recipe" if wanted else "folder content"


_SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev|eval)(?=[-_.]|$)", re.IGNORECASE)


def _of_split(reading: Reading, files: tuple[Path, ...], label: str, split: str | None) -> tuple[Path, ...]:
    """Where the files are named by split (``train-00000.parquet``, ``test.csv``), those of one of them, aloud.

    Raises:
        UserError: There are no files of the split that was asked for.
    """
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = _SPLIT_NAME.match(file.name)
        splits.setdefault(match[1].lower() if match else "", []).append(file)
    if len(splits) < 2 and split is None:
        return files
    wanted = split or "train"
    if wanted not in splits:
        known = ", ".join(name or "files without a split name" for name in splits)
        raise UserError(
            f"the folder has no files of split '{wanted}'", label, f"it holds: {known}; name the file itself"
        )
    left = ", ".join(f"{len(found)} of {name or 'no split'}" for name, found in splits.items() if name != wanted)
    if left:
        reading.notes.append(f"only the files of split '{wanted}' in {label} are read; left alone: {left}")
    return tuple(splits[wanted])


def _read_text(reading: Reading, path: Path, label: str) -> None:
    """One text file as one row: text, and its folder's name as the label."""

    def records() -> Iterator[Record]:
        if not path.stat().st_size:
            yield 0, {"text": "", "label": path.parent.name, "file": path.name}
            return
        try:
            file = look_at(path, label)
        except UserError as error:
            yield 0, Fault(error.what)
            return
        reading.notes.extend(file.notes)
        reading.size += file.size
        with file.open() as (text, _):
            yield 0, {"text": text.read(), "label": path.parent.name, "file": path.name}

    reading.take(label, records(), between="")


def _read_file(reading: Reading, path: Path, label: str, format: str | None) -> None:
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    by_name = FORMATS.get(path.suffix.lower())
    reading.detected_by = "recipe" if format else "file name" if by_name else "content"
    if format == "parquet" or (is_parquet and format is None):
        _read_parquet(reading, path, label, "file name" if by_name == "parquet" else "content", format)
        return
    if by_name == "parquet" and format is None:
        raise UserError(
            "the name ends as Parquet, but the content is not", label, "name its data.format, or write it anew"
        )
    text = look_at(path, label)
    detected = format or _detected(text, by_name)
    if format is None and by_name is not None and detected != by_name:
        reading.detected_by = "content"
        reading.notes.append(f"{label} is named {by_name}, but its content is {detected}")
    reading.format, reading.encoding = detected, text.encoding
    reading.notes.extend(text.notes)
    _read_text_table(reading, text, detected)


def _read_parquet(reading: Reading, path: Path, label: str, detected_by: str, format: str | None) -> None:
    parquet = ParquetFile(path, label)
    reading.format, reading.detected_by = "parquet", "recipe" if format else detected_by
    before = reading.size
    reading.size += path.stat().st_size
    reading.header(label, parquet.columns)
    reading.notes.extend(parquet.notes)
    reading.take(
        label,
        parquet.rows(),
        between=" row ",
        progress=lambda done: (before + parquet.bytes_of(done), reading.size),
        typed=True,
    )


def _detected(text: TextFile, by_name: str | None) -> str:
    """The format that the content has, where it speaks clearly; else what the name says, else by the delimiter.

    Raises:
        UserError: where neither tells.
    """
    first = text.head.lstrip()[:1]
    if by_name in ("csv", "tsv", "jsonl"):
        return by_name
    if first == "{":
        return "jsonl" if is_jsonl(text.head if text.whole else text.head.rpartition("\n")[0] or text.head) else "json"
    if first == "[":
        return "json"
    if by_name is not None:
        return by_name
    dialect = detect(text)
    header = text.head.partition("\n")[0]
    if dialect.delimiter not in header:
        raise UserError(
            "the format cannot be told: no known ending, no JSON, and no delimiter in the first line",
            text.label,
            "set data.format to csv, tsv, json, jsonl or parquet",
        )
    return "tsv" if dialect.delimiter == "\t" else "csv"


def _read_text_table(reading: Reading, file: TextFile, format: str) -> None:
    before = reading.size
    reading.size += file.size
    with file.open() as (text, raw):
        if format == "json":
            records = read_json(text, file)
        elif format == "jsonl":
            records = read_jsonl(text, file)
        else:
            dialect = detect(file, "\t" if format == "tsv" and "\t" in file.head.partition("\n")[0] else None)
            reading.delimiter = dialect.delimiter
            if dialect.note:
                reading.notes.append(f"{file.label}: {dialect.note}")

            def header(fields: list[str]) -> list[str]:
                names = header_of(fields, file.label, reading.notes.append)
                reading.header(file.label, names)
                return names

            records = read_delimited(text, file, dialect, header)
        is_table = format in ("csv", "tsv")
        reading.take(file.label, records, progress=lambda _: (before + raw.tell(), reading.size), texts=is_table)
