"""What a speech source is once it is opened: its raw rows, and what there is to say. It knows no layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.data.delimited import detect, header_of, read_delimited
from tunesmith.data.json_rows import read_jsonl
from tunesmith.data.opened import NamedPlace, OpenedSource
from tunesmith.data.reading import Record
from tunesmith.data.text_file import look_at
from tunesmith.speech.pairing import Pairing


@dataclass(frozen=True, kw_only=True)
class Opened(OpenedSource):
    """A speech source, ready to be read once; names of recordings in its raw rows start from the root.

    Args:
        format: ``librispeech``, ``common-voice``, ``ljspeech``, ``kaldi``, ``audio-folder``, ``texts-beside``,
            ``recordings``, or that of a file of rows.
        pairing: Recordings and transcripts, counted.
        table: Whether it is a file of rows, which says by its columns what is what.
    """

    between: str = " recording "
    pairing: Pairing | None = None
    table: bool = False


@dataclass(frozen=True)
class Request(NamedPlace):
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
