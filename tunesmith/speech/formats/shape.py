"""Any source of a speech task as rows of one shape: what the data room asks, and hands folders and rows to.

It knows no model and no loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.data.ahead import ahead
from tunesmith.data.arrow import is_saved_data_set
from tunesmith.data.folder import FORMATS
from tunesmith.data.opened import Misfit
from tunesmith.data.reading import Fault, Record
from tunesmith.speech.audio import place_of
from tunesmith.speech.formats.listing import list_files
from tunesmith.speech.formats.long_rows import LongRows
from tunesmith.speech.formats.opened import Opened
from tunesmith.speech.formats.opening import open_speech
from tunesmith.speech.formats.rows import RowReader
from tunesmith.speech.kept import RecordingStore
from tunesmith.speech.pairing import Pairing

__all__ = ["SpeechShape"]

MOST_FOLDERS = 20


class SpeechShape:
    """Raw rows to rows with ``audio``, ``text`` and what is known of them (a `tunesmith.types.RowShape`).

    Each row has ``content`` (a digest of the recording's bytes), ``seconds`` (of its part), ``rate`` (Hz) and
    ``channels``; where the source says so ``start`` and ``end`` (seconds), ``speaker``, ``session``, ``language`` and
    ``words``. ``open`` is asked first; its records are raw rows as those of other readers.

    Args:
        answered: Whether rows must hold a transcript; not so when it is to be predicted.
        elsewhere: Whether a file of rows may name recordings outside of its folder and of the working directory.
        store: Where recordings that stand inside rows are written to; ``folders`` names it then.
        longest: Seconds of a row: longer ones with the times of their words become several, where ``open`` gives the
            records. None: they stay.

    Attributes:
        opened: The speech source, where ``open`` found one.
    """

    makes_json = True
    """Whether rows are JSON once they are shaped, whatever stood in them: bytes and samples were written to files."""
    classes = None
    """Speech has no table of classes."""

    def __init__(
        self,
        *,
        answered: bool = True,
        elsewhere: bool = False,
        store: RecordingStore | None = None,
        longest: float | None = None,
    ) -> None:
        self.answered, self.elsewhere, self.store = answered, elsewhere, store or RecordingStore()
        self.opened: Opened | None = None
        self._long = None if longest is None or not answered else LongRows(longest)
        self._parts: deque[dict[str, Any]] = deque()
        self._folders: list[Path] = [Path()]
        self._reader = self._new_reader("the rows", elsewhere=True)

    def _new_reader(self, source: str, *, elsewhere: bool) -> RowReader:
        return RowReader(self._folders, answered=self.answered, elsewhere=elsewhere, store=self.store, source=source)

    def open(self, path: Path, label: str, split: str | None = None) -> Opened | None:
        """The source where it is a folder or file of recordings; None where it is rows that others read.

        Raises:
            UserError: It is a speech source at fault.
        """
        self._folders = [path if path.is_dir() else path.parent, Path()]
        opened = open_speech(path, label=label, split=split, answered=self.answered)
        if (opened is None or opened.table) and path.is_dir():
            tables = [name for name in list_files(path, label).files if Path(name).suffix.lower() in FORMATS]
            self._folders[1:1] = list(dict.fromkeys((path / name).parent for name in tables))[:MOST_FOLDERS]
        # What datasets saved without bytes names files by whole paths: it wrote these itself.
        self._reader = self._new_reader(label, elsewhere=self.elsewhere or is_saved_data_set(path))
        self.opened = replace(opened, records=self._repeated(opened.records)) if opened is not None else None
        return self.opened

    def _repeated(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records; one that became several rows comes again for each of these, which ``__call__`` then gives."""
        looked_at = self._looked_at(records)
        try:
            for record in looked_at:
                yield record
                while self._parts:
                    yield record
        finally:
            looked_at.close()

    def _looked_at(self, records: Iterator[Record]) -> Generator[Record]:
        """The records, their recordings looked at in threads a little ahead of where they are read."""
        reader = self._reader

        def look(record: Record) -> Record:
            if not isinstance(record[1], Fault):
                reader.look_ahead(record[1])
            return record

        yield from ahead(look, records)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any] | str:
        """The row in our columns, or why it has none: words that follow its place in a sentence."""
        if self._parts:
            return self._parts.popleft()
        try:
            made = self._reader.row(row)
            if self._long is None or self.opened is None:
                return made
            place = place_of(made, self._folders)
            first, *others = [made] if place is None else self._long.cut(made, place)
        except Misfit as fault:
            return str(fault)
        self._parts.extend(others)
        return first

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where paths in rows start from: the source, and where recordings inside rows were written to."""
        return tuple(dict.fromkeys([*self._folders, *([self.store.folder] if self.store.used else [])]))

    def notes(self) -> list[str]:
        """What a person should know once the rows were read: the layout, the split, the pairing table."""
        if self.opened is None:
            return self._reader.notes()
        if hasattr(self.opened.records, "close"):
            self.opened.records.close()
        cut = self._long.notes() if self._long is not None else []
        return [*self.opened.notes, *self._reader.notes(columns=self.opened.table), *cut]

    @property
    def pairing(self) -> Pairing:
        """Recordings and transcripts, counted."""
        known = self.opened.pairing if self.opened is not None else None
        return known or self._reader.pairing
