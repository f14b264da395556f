"""What a speech source is once it is opened: its raw rows, and what there is to say. It knows no layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.data.delimited import detect, header_of, read_delimited
from tunesmith.data.json_rows import read_jsonl
from tunesmith.data.reading import Record
from tunesmith.data.text_file import look_at
from tunesmith.speech.pairing import Pairing


class Misfit(ValueError):
    """Why a row is none of speech, in words that follow its place."""


@dataclass(frozen=True)
class Opened:
    """A speech source, ready to be read once.

    Args:
        format: ``librispeech``, ``common-voice``, ``ljspeech``, ``kaldi``, ``audio-folder``, ``texts-beside`` or
            ``recordings``.
        records: Number of each recording, and its raw row or what is wrong with it. Names of recordings in it start
            from the root.
        paths: What was read, as a person would write it.
        notes: What a person should know; filled while reading.
        root: Folder that relative paths start from: the source itself, or the folder of a file.
        between: What stands between the source's name and a row's number in a place.
        total: How many records there are.
        pairing: Recordings and transcripts, counted.
    """

    format: str
    records: Iterator[Record]
    paths: tuple[str, ...]
    notes: list[str]
    root: Path
    between: str = " recording "
    total: int = 0
    pairing: Pairing | None = None


@dataclass(frozen=True)
class Request:
    """What is asked of a layout.

    Args:
        path: The file or folder.
        label: The source as the person wrote it.
        split: The split that is wanted.
        notes: Takes what was decided.
    """

    path: Path
    label: str
    split: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder that relative paths in the rows start from."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def root_label(self) -> str:
        """Its name."""
        return self.label.rstrip("/") or "/" if self.path.is_dir() else str(Path(self.label).parent)

    def name_of(self, path: Path) -> str:
        """A file as rows name it: relative to the root."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def table(self, name: str) -> list[Record]:
        """The rows of a CSV, TSV or JSONL file below the root, by its name there.

        Raises:
            UserError: It cannot be read.
        """
        place = f"{self.root_label}/{name}"
        file = look_at(self.root / name, place)
        self.notes.extend(file.notes)
        with file.open() as (text, _):
            if name.endswith(".jsonl"):
                return list(read_jsonl(text, file))
            dialect = detect(file, "\t" if name.endswith(".tsv") else None)
            return list(read_delimited(text, file, dialect, lambda fields: header_of(fields, place, self.notes.append)))
