"""Mended copies of files of rows: CSV, TSV, JSON, JSONL, Parquet, and folders of texts. It knows no media.

A record is written as it stood in its source, with its own columns; only what changed is other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.audit.copied import CopyJob, Misfit, Placed
from tunesmith.data.source import read_rows
from tunesmith.data.store import RowStore
from tunesmith.types import Row

TABLES = ("csv", "tsv", "json", "jsonl", "parquet")
TOGETHER = 1024


def as_it_was(job: CopyJob) -> Placed:
    """The source's own records, in its own format.

    Raises:
        Misfit: Records and rows can't be told to belong together.
    """
    format = job.report.format
    shaped = job.data.task.row_shape(job.data.task.options) is not None
    if shaped and job.side.changes:
        raise Misfit("what changed has no column of its own in the source")
    if format == "parquet":
        return _parquet(job)
    file = job.folder / f"{job.side.name}.{format}"
    records = _records(job)
    with file.open("w", encoding="utf-8", newline="") as stream:
        if format in ("csv", "tsv"):
            _delimited(stream, records, job.report.delimiter or ("\t" if format == "tsv" else ","))
        elif format == "jsonl":
            stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            for number, record in enumerate(records):
                stream.write((",\n " if number else "[") + json.dumps(record, ensure_ascii=False))
            stream.write("]\n")
    return Placed(file.name, format.upper(), keeps_columns=True)


def as_lines(job: CopyJob) -> Placed:
    """The rows as the task reads them, one JSON object a line."""
    file = job.folder / f"{job.side.name}.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for row in job.kept():
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    # What the options put into a conversation stands in the rows already.
    written = ("prompt", "answer", "system") if job.data.has("answers") else ()
    options = {name: None for name in written if hasattr(job.data.task.options, name)}
    return Placed(file.name, "JSONL", options)


def as_text_folder(job: CopyJob) -> Placed:
    """One text file a row, in a folder for each label.

    Raises:
        Misfit: A label can't be a folder, or two rows have one name.
    """
    place = job.place
    for row in job.kept():
        label, name = str(row["label"]), str(row.get("file", ""))
        if not name or "/" in label or label.startswith(".") or not label.strip():
            raise Misfit(f"label {label!r} is no name of a folder")
        file = place / label / name
        if file.exists():
            raise Misfit(f"two rows are called {name}")
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(row["text"]), encoding="utf-8", newline="")
    return Placed(job.side.name, "a folder of texts for each label", columns=("text", "label"))


def _records(job: CopyJob) -> Iterator[dict[str, Any]]:
    """Records of the rows that stay, as they stand in the source, with what changed in them.

    Raises:
        Misfit: A row's record is not found where it should be.
    """
    store, numbers = _origin(job)
    raw = _read_again(job)
    own_id, theirs = "id" in raw.report.columns, job.data.prepared.source.recipe.data.columns
    at, before = 0, -1
    for number, (_, mended, decision) in zip(numbers, job.all(), strict=True):
        # Both stores follow the file; the other one has broken rows and the other side's, too.
        for passed in range(before + 1, number + 1):
            place = store.place(passed)
            at += passed > 0
            while at < len(raw) and raw.place(at) != place:
                at += 1
            if at == len(raw):
                raise Misfit(f"{place} is not found again")
        before = number
        if mended is not None:
            changed = decision.change if decision is not None and decision.change else {}
            yield {**_record(raw[at], own_id), **{theirs.get(name, name): value for name, value in changed.items()}}


def _origin(job: CopyJob) -> tuple[RowStore, Any]:
    rows = job.side.rows
    if not hasattr(rows, "origin"):
        raise Misfit("the rows were read from no file")
    store, numbers = rows.origin
    return store, numbers


def _read_again(job: CopyJob) -> RowStore:
    """The records as they stand in the source."""
    data = job.data.prepared.source.recipe.data
    explicit = job.side.name == "eval" and job.data.explicit_eval
    place = str(data.eval) if explicit else data.train
    beside = job.data.prepared.source.path.parent
    start = beside if not Path(place).expanduser().exists() and (beside / place).exists() else None
    split = data.split
    if explicit:
        split = data.eval_split or ("test" if data.eval == data.train else None)
    known = job.raw.get(f"{place} {split}")
    if known is None:
        known = read_rows(place, format=data.format, broken_rows=1.0, name=data.name, split=split, relative_to=start)
        job.raw[f"{place} {split}"] = known
    return known


def _record(row: Row, own_id: bool) -> dict[str, Any]:
    """A row without the id that reading gave it."""
    record = dict(row)
    named = record.pop("id")
    kept = next((name for name in record if name.startswith("original_id")), None)
    if not own_id:
        return record
    if kept is None:
        return {"id": named, **record}
    return {"id": record.pop(kept), **record}


def _delimited(stream: Any, records: Iterator[dict[str, Any]], delimiter: str) -> None:
    writer = None
    for record in records:
        if writer is None:
            writer = csv.DictWriter(stream, list(record), delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
        writer.writerow(record)


def _parquet(job: CopyJob) -> Placed:
    """Parquet of the same schema, whatever stands in it; a file's rows follow each other by their numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, numbers = _origin(job)
    theirs = job.data.prepared.source.recipe.data.columns
    becomes: dict[str, Any] = {}
    for number, (_, row, decision) in zip(numbers, job.all(), strict=True):
        if row is not None:
            changed = decision.change if decision is not None and decision.change else {}
            becomes[store.place(number)] = {theirs.get(name, name): value for name, value in changed.items()}
    if len(job.report.paths) != 1:
        raise Misfit("there are several Parquet files")
    (label,) = job.report.paths
    beside = job.data.prepared.source.path.parent
    path = Path(label).expanduser() if Path(label).expanduser().exists() else beside / label
    source = pq.ParquetFile(path)
    file = job.folder / f"{job.side.name}.parquet"
    done = 0
    with pq.ParquetWriter(file, source.schema_arrow) as writer:
        for batch in source.iter_batches(batch_size=TOGETHER):
            places = [f"{label} row {done + at}" for at in range(1, batch.num_rows + 1)]
            done += batch.num_rows
            staying = [at for at, place in enumerate(places) if place in becomes]
            if not staying:
                continue
            kept = batch.take(pa.array(staying))
            changes = [becomes[places[at]] for at in staying]
            if any(changes):
                rows = [{**row, **change} for row, change in zip(kept.to_pylist(), changes, strict=True)]
                kept = pa.RecordBatch.from_pylist(rows, schema=source.schema_arrow)
            writer.write_batch(kept)
    return Placed(file.name, "Parquet", keeps_columns=True)
