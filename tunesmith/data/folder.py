"""What a folder of rows holds: data files of one format, or class folders of text files. It reads no row of a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UserError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True)
class Folder:
    """The files of a folder that are rows.

    Args:
        files: In sorted order.
        format: Their format, or ``text-folder`` where each file is one row.
        others: Files that are no data.
    """

    files: tuple[Path, ...]
    format: str
    others: tuple[Path, ...]


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, hidden ones left out, in sorted order on every system."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith((".", "_SUCCESS")):
                yield Path(root) / name


def _found(files: list[Path]) -> str:
    kinds = Counter(file.suffix.lower() or "no extension" for file in files)
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(8))


def list_folder(folder: Path, label: str, wanted: str | None = None) -> Folder:
    """The data files of a folder; ``wanted`` names their format where the recipe does.

    Raises:
        UserError: where it is empty, mixes formats, or holds nothing that is rows.
    """
    files = list(_walk(folder))
    if not files:
        raise UserError("the folder is empty", label, "give a folder of CSV, TSV, JSON, JSONL or Parquet files")
    tables = [file for file in files if file.suffix.lower() in FORMATS]
    texts = [file for file in files if file.suffix.lower() == ".txt" and len(file.relative_to(folder).parts) == 2]
    formats = {FORMATS[file.suffix.lower()] for file in tables}
    if wanted is not None:
        tables = [file for file in tables if FORMATS[file.suffix.lower()] == wanted]
        formats = {wanted} if tables else set()
    if len(formats) > 1:
        raise UserError(
            f"the folder mixes formats: {_found(tables)}", label, "set data.format to one of them, or separate them"
        )
    if tables and not texts:
        rest = tuple(file for file in files if file not in set(tables))
        return Folder(tuple(tables), formats.pop(), rest)
    if texts and not tables and wanted is None:
        rest = tuple(sorted(set(files) - set(texts)))
        return Folder(tuple(texts), "text-folder", rest)
    raise UserError(
        f"the folder holds no rows that can be read: it has {_found(files)}",
        label,
        "give CSV, TSV, JSON, JSONL or Parquet files of one format, one subfolder of .txt files per class, "
        "or a folder written by datasets.save_to_disk",
    )
