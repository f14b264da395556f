"""Rows by number, with bounded memory: in memory while they are few, in a temporary file from then on.

It knows no file format; what it is given it gives back.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import threading
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, overload

from tunesmith.data.digest import bytes_in_memory, canonical_json, canonical_texts, digest_number, ordered_json
from tunesmith.errors import UserError
from tunesmith.types import Row

MEMORY_BYTES = 64 * 2**20
PINNED_BYTES = 4 * 2**30
WRITTEN_TOGETHER = 64


@dataclass(frozen=True)
class ReadReport:
    """How a source was read.

    Args:
        format: csv, tsv, json, jsonl, parquet, text-folder, dataset or rows (a Python iterable).
        detected_by: What told so: ``file name``, ``content``, ``recipe``, ...
        paths: Files read, as a person would write them.
        encoding: Of text files.
        delimiter: Between fields, of CSV and TSV.
        rows: Rows that were read whole.
        broken: Place and reason of the first broken rows.
        broken_count: How many rows were broken in all.
        columns: Columns in order, renamed already; without the row id unless the source has one.
        bytes: Size of the source on disk; 0 where it has none.
        notes: Everything else a person should know, one sentence each.
    """

    format: str
    detected_by: str
    paths: tuple[str, ...]
    encoding: str | None
    delimiter: str | None
    rows: int
    broken: tuple[tuple[str, str], ...]
    broken_count: int
    columns: tuple[str, ...]
    bytes: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)

    def lines(self) -> tuple[str, ...]:
        """The report for a person, one sentence each."""
        name = self.paths[0] if len(self.paths) == 1 else f"{len(self.paths):,} files"
        details = [f"{self.format} by {self.detected_by}"]
        if self.encoding:
            details.append(self.encoding)
        if self.delimiter:
            details.append(
                {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}.get(self.delimiter, self.delimiter)
            )
        said = [f"{name}: {self.rows:,} rows ({', '.join(details)}), columns {', '.join(self.columns)}"]
        if self.broken_count:
            shown = "; ".join(f"{place} {reason}" for place, reason in self.broken[:3])
            said.append(f"{self.broken_count:,} broken rows left out: {shown}")
        return (*said, *self.notes)


class _Spool:
    """Bytes that are appended once and read at any place; a file takes over when memory is used up."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory = bytearray()
        self._memory_bytes = memory_bytes
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def append(self, content: bytes) -> None:
        try:
            if self._file is not None:
                self._file.write(content)
                return
            self._memory += content
            if len(self._memory) > self._memory_bytes:
                self._move_to_disk()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            raise UserError(
                f"the rows do not fit into memory, and the temporary folder takes no more ({error.strerror})",
                tempfile.gettempdir(),
                "make space there, or set the environment variable TMPDIR to a folder with more",
            ) from error

    def _move_to_disk(self) -> None:
        file = tempfile.TemporaryFile(prefix="tunesmith-rows-")  # noqa: SIM115  closed by the finalizer
        weakref.finalize(self, file.close)
        file.write(self._memory)
        self._file = file
        self._memory = bytearray()

    def seal(self) -> None:
        """Make everything appended so far readable."""
        if self._file is not None:
            self._file.flush()

    def read(self, start: int, end: int) -> bytes:
        if self._file is None:
            return bytes(memoryview(self._memory)[start:end])
        if hasattr(os, "pread"):  # no shared file position: threads and forked workers read at once
            return os.pread(self._file.fileno(), end - start, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)


class RowStore(Sequence[Row]):
    """Rows of one source, by number; made by a `StoreBuilder`.

    Every row is a fresh dictionary whose first key is ``"id"``. Reading is safe from several threads.

    Attributes:
        report: How the source was read.
        digest: Digest of all rows in their order, 32 hexadecimal characters.
    """

    def __init__(self, builder: StoreBuilder, report: ReadReport) -> None:
        self.report = report
        self.digest = builder.digest()
        self._spool, self._ends, self._lines = builder.spool, builder.ends, builder.lines
        self._pinned, self._segments = builder.pinned, builder.segments
        self._starts = [start for start, _, _ in self._segments]
        self._own_ids = builder.own_ids_hold
        self._numbers = builder.numbers
        self._occurrence = None if self._own_ids else builder.occurrences()
        self._columns = [name for name in builder.columns if name != "id"]
        self._kept_id = builder.kept_id_name
        self._spool.seal()

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def on_disk(self) -> bool:
        """Whether the rows outgrew memory and stand in a temporary file."""
        return self._spool.on_disk

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return RowView(self, range(len(self))[index])
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        values = self._pinned.get(number)
        if values is None:
            start = self._ends[number - 1] if number else 0
            # Text in hand, json need not look which Unicode it is: an eighth of reading a short row.
            values = json.loads(self._spool.read(start, self._ends[number]).decode())
        return self._named(number, values)

    def _named(self, number: int, values: Mapping[str, Any]) -> Row:
        row: dict[str, Any] = {"id": str(values["id"]) if self._own_ids else self._content_id(number)}
        if self._kept_id and "id" in values:
            row[self._kept_id] = values["id"]
        for name in self._columns:
            if name in values:
                row[name] = values[name]
        return row

    def _content_id(self, number: int) -> str:
        name = f"{self._numbers[number]:016x}"
        times = self._occurrence[number] if self._occurrence is not None else 1
        return name if times == 1 else f"{name}-{times}"

    def place(self, index: int) -> str:
        """Where the row stands in its source: ``file:line``, ``file row n``, or the file itself."""
        _, label, between = self._segments[bisect_right(self._starts, index) - 1]
        return f"{label}{between}{self._lines[index]}" if between else label

    def content_ids(self) -> Iterator[str] | None:
        """Every row's id where it is made from its content, in order, no row being read; None where rows have ids."""
        return None if self._own_ids else map(self._content_id, range(len(self)))

    def take(self, indices: Sequence[int]) -> RowView:
        """The rows of these numbers, in this order, read when they are asked for."""
        return RowView(self, indices)

    @property
    def origin(self) -> tuple[RowStore, Sequence[int]]:
        """The store, and the number that each row has in it."""
        return self, range(len(self))


class RowView(Sequence[Row]):
    """Some rows of a store, by number; holds the numbers only."""

    def __init__(self, store: RowStore, indices: Sequence[int]) -> None:
        self._store, self._indices = store, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return RowView(self._store, self._indices[index])
        return self._store[self._indices[index]]

    @property
    def origin(self) -> tuple[RowStore, Sequence[int]]:
        """The store, and the number that each row has in it."""
        return self._store, self._indices

    def content_ids(self) -> Iterator[str] | None:
        """As that of the store, of these rows."""
        return None if self._store.content_ids() is None else map(self._store._content_id, self._indices)

    def place(self, index: int) -> str:
        """Where the row stands in its source."""
        return self._store.place(self._indices[index])


class StoreBuilder:
    """Takes rows one by one, then gives the store.

    Args:
        memory_bytes: Rows move to a temporary file once their JSON is larger than this.
        pinned_bytes: Most bytes of rows that cannot go to that file, because they hold bytes, arrays or pictures.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, pinned_bytes: int = PINNED_BYTES) -> None:
        self.spool = _Spool(memory_bytes)
        self.ends, self.lines = array("q"), array("q")
        self.numbers = array("Q")
        self.pinned: dict[int, dict[str, Any]] = {}
        self.segments: list[tuple[int, str, str]] = []
        self.columns: dict[str, None] = {}
        self.own_ids_hold = False
        self.kept_id_name: str | None = None
        self._id_numbers = array("Q")
        self._written: list[bytes] = []
        self._digested: list[bytes] = []
        self._end = 0
        self._pinned_bytes, self._pinned_limit = 0, pinned_bytes
        self._keys: tuple[str, ...] = ()
        self._all = hashlib.blake2b(digest_size=16)

    def __len__(self) -> int:
        return len(self.ends)

    def open(self, label: str, between: str = ":") -> None:
        """From here on, rows come from this file; ``between`` stands between its name and a row's number."""
        self.segments.append((len(self.ends), label, between))

    def append(self, values: dict[str, Any], line: int, *, is_json: bool = True, is_text: bool = False) -> None:
        """Take a row; one that is not all JSON stays in memory, one that is all text goes faster.

        Raises:
            UnicodeEncodeError: where a text holds half a character.
            TypeError: where a value has no content that could be compared.
            UserError: where pictures, bytes or arrays outgrow memory.
        """
        content = canonical_texts(values) if is_text else canonical_json(values)
        if is_json or is_text:
            # What is nested keeps the order of its keys: a tool's description is read as it was written.
            nested = not is_text and any(isinstance(value, (dict, list)) for value in values.values())
            kept = ordered_json(values) if nested else content
            self._written.append(kept)
            self._digested.append(content)
            self._end += len(kept)
            if len(self._written) >= WRITTEN_TOGETHER:
                self.flush()
        else:
            self._pin(values, bytes_in_memory(values))
            self.flush()
            self._all.update(content)
        keys = tuple(values)
        if keys != self._keys:
            self.columns.update(dict.fromkeys(keys))
            self._keys = keys
        identity = values.get("id")
        if isinstance(identity, (str, int, float)) and identity != "":
            self._id_numbers.append(digest_number(str(identity).encode()))
        self.numbers.append(digest_number(content))
        self.ends.append(self._end)
        self.lines.append(line)

    def flush(self) -> None:
        """Hand the rows taken so far to the spool."""
        together = b"".join(self._written)
        self._all.update(b"".join(self._digested))
        self._written.clear()
        self._digested.clear()
        self.spool.append(together)

    def _pin(self, values: dict[str, Any], size: int) -> None:
        if self._pinned_bytes + size > self._pinned_limit:
            raise UserError(
                f"bytes, arrays or pictures inside the rows take more than {self._pinned_limit:,} bytes of memory",
                self.segments[-1][1] if self.segments else "",
                "store them as files and give their paths in the rows, or set data.limit",
            )
        self._pinned_bytes += size
        self.pinned[len(self.ends)] = values

    def digest(self) -> str:
        """Digest of all rows so far, in their order: of their JSON, whose objects end by themselves."""
        self.flush()
        return self._all.hexdigest()

    def settle_ids(self) -> str | None:
        """Decide where row ids come from; a sentence for the report where an id column cannot give them."""
        if "id" not in self.columns:
            return None
        import numpy as np

        lacking = len(self) - len(self._id_numbers)
        ordered = np.sort(np.frombuffer(self._id_numbers, dtype=np.uint64)) if self._id_numbers else np.empty(0)
        repeats = int((ordered[1:] == ordered[:-1]).sum())
        self.own_ids_hold = not lacking and not repeats
        if self.own_ids_hold:
            return None
        self.kept_id_name = next(
            name for name in ("original_id", *(f"original_id_{n}" for n in range(2, 99))) if name not in self.columns
        )
        fault = f"{repeats:,} values are repeated" if repeats else f"{lacking:,} rows have none"
        kept = f"the column is kept as {self.kept_id_name}"
        return f"the column id cannot name the rows ({fault}): content digests do, and {kept}"

    def occurrences(self) -> array[int] | None:
        """For each row, the how-many-th row of exactly this content it is; None where all differ."""
        import numpy as np

        if not len(self):
            return None
        numbers = np.frombuffer(self.numbers, dtype=np.uint64)
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        fresh = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        if fresh.all():
            return None
        position = np.arange(len(ordered))
        times = np.empty(len(ordered), dtype=np.int32)
        times[order] = position - np.maximum.accumulate(np.where(fresh, position, 0)) + 1
        return array("i", times.tobytes())
