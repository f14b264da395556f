"""One source being read: what its readers report, turned into a row store with its report, or into an error.

It knows no format: readers hand it records.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tunesmith.data.digest import plain
from tunesmith.data.store import MEMORY_BYTES, ReadReport, RowStore, StoreBuilder
from tunesmith.errors import UserError
from tunesmith.types import RowShape

SHOWN_BROKEN, LISTED_BROKEN = 20, 100_000
"""Broken records that are named; all of them, within reason, where whoever reads accepts every one."""
PROGRESS_ROWS = 2_000


@dataclass(frozen=True)
class Fault:
    """Why a record is no row, to follow its place in a sentence."""

    reason: str


Record: TypeAlias = "tuple[int, dict[str, Any] | Fault]"
"""A record's line (or number) in its file, and its values or what is wrong with it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing."""
    names = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.6)
    return f" (did you mean '{names[near[0]]}'?)" if near else ""


@dataclass
class Reading:
    """The state of reading one source.

    Args:
        name: The source as the person wrote it.
        mapping: Our column name to the file's.
        broken_share: Share of broken records that is accepted.
        limit: Rows to stop after.
        on_progress: Told (done, total), in the source's own unit.
        shape: Turns raw rows into those of the task, or says why one is none.
    """

    name: str
    mapping: Mapping[str, str]
    broken_share: float
    limit: int | None
    on_progress: Callable[[int, int], None] | None = None
    memory_bytes: int = MEMORY_BYTES
    shape: RowShape | None = None
    format: str = ""
    detected_by: str = ""
    encoding: str | None = None
    delimiter: str | None = None
    size: int = 0
    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    broken_count: int = 0
    _header: tuple[str, list[str]] | None = None

    def __post_init__(self) -> None:
        self._builder = StoreBuilder(self.memory_bytes)
        self._ours: dict[str, list[str]] = {}
        for ours, theirs in self.mapping.items():
            self._ours.setdefault(theirs, []).append(ours)
        self._met: dict[str, None] = {}
        self._keys: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is not None and len(self._builder) >= self.limit

    def header(self, label: str, names: Sequence[str]) -> None:
        """Check the fixed columns of a file before its rows are read.

        Raises:
            UserError: where they differ from those of the file before, or lack a mapped one.
        """
        if self._header is None:
            self._header = (label, list(names))
            self._met.update(dict.fromkeys(names))
            self._check_mapping(label, names)
            return
        first, before = self._header
        if set(before) != set(names):
            lacks = ", ".join(sorted(set(before) - set(names)))
            more = ", ".join(sorted(set(names) - set(before)))
            said = " and ".join(part for part in (lacks and f"lacks {lacks}", more and f"has {more} besides") if part)
            raise UserError(
                f"its columns differ from those of {first}: it {said}", label, "give all files the same columns"
            )

    def _check_mapping(self, where: str, names: Iterable[str]) -> None:
        known = list(names)
        for ours, theirs in self.mapping.items():
            if theirs not in known:
                raise UserError(
                    f"data.columns.{ours}: there is no column '{theirs}'{did_you_mean(theirs, known)}",
                    where,
                    f"name one of the columns that exist: {', '.join(known)}",
                )

    def take(
        self,
        label: str,
        records: Iterable[Record],
        *,
        between: str = ":",
        progress: Callable[[int], tuple[int, int]] | None = None,
        typed: bool = False,
        texts: bool = False,
    ) -> None:
        """Take a file's records.

        Args:
            label: The file's name in places.
            records: Its records.
            between: What stands between its name and a record's number in a place; nothing: the name alone.
            progress: Records done to (done, total) of all files.
            typed: Whether values may be no JSON (bytes, dates, pictures).
            texts: Whether all values are texts.
        """
        self._builder.open(label, between)
        for count, (line, values) in enumerate(records):
            if isinstance(values, Fault):
                self._add_broken(f"{label}{between}{line}" if between else label, values.reason)
            elif reason := self._add(values, line, typed, texts):
                self._add_broken(f"{label}{between}{line}" if between else label, reason)
            if self.on_progress and progress and count % PROGRESS_ROWS == 0:
                self.on_progress(*progress(count))
            if self.limit is not None and self.full:
                return

    def _add(self, values: dict[str, Any], line: int, typed: bool, texts: bool) -> str | None:
        """Take a row, or say why it is broken."""
        whole = True
        if typed and not getattr(self.shape, "makes_json", False):
            values, whole = plain(values)
        if self.mapping:
            values = self._renamed(values)
        if self.shape is not None:
            shaped = self.shape(values)
            if isinstance(shaped, str):
                return shaped
            values, texts = shaped, False
        try:
            self._builder.append(values, line, is_json=whole, is_text=texts)
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            if 0xDC80 <= code <= 0xDCFF:
                return f"holds the byte 0x{code - 0xDC00:02X}, which is not {self.encoding or 'UTF-8'}"
            return "holds half a character (a lone surrogate)"
        except TypeError as error:
            return f"holds {error}"
        return None

    def _renamed(self, values: dict[str, Any]) -> dict[str, Any]:
        keys = tuple(values)
        if keys != self._keys:
            self._met.update(dict.fromkeys(keys))
            self._keys = keys
        row: dict[str, Any] = {}
        for key, value in values.items():
            for name in self._ours.get(key, () if key in self.mapping else (key,)):
                row[name] = value
        return row

    def _add_broken(self, place: str, reason: str) -> None:
        self.broken_count += 1
        if len(self.broken) < (SHOWN_BROKEN if self.broken_share < 1 else LISTED_BROKEN):
            self.broken.append((place, reason))

    def finish(self) -> RowStore:
        """The store with its report.

        Raises:
            UserError: where there are no rows, too many broken ones, or a mapped column is in none of them.
        """
        rows = len(self._builder)
        share = self.broken_count / (rows + self.broken_count) if self.broken_count else 0.0
        if share > self.broken_share:
            shown = "; ".join(f"{place} {reason}" for place, reason in self.broken[:3])
            raise UserError(
                f"{self.broken_count:,} of {rows + self.broken_count:,} rows are broken ({share:.1%}): {shown}",
                self.broken[0][0],
                f"mend them, or accept them with data.broken_rows: {min(1.0, float(f'{share * 1.05:.2g}')):g}",
            )
        if not rows:
            only = "there is only a header, no row below it" if self._header else "there are no rows"
            raise UserError(only, self.name, "give a source with at least a few rows")
        self._check_mapping(self.name, self._met if self.mapping else ())
        for ours, theirs in self.mapping.items():
            if ours != theirs and ours in self._met and ours not in self._ours:
                self.notes.append(f"data.columns.{ours}: {theirs} stands in for the source's own column {ours}")
        if self.shape is not None:
            self.notes.extend(self.shape.notes())
        if note := self._builder.settle_ids():
            self.notes.append(note)
        if self.limit is not None and self.full:
            self.notes.append(f"only the first {self.limit:,} rows were read (data.limit)")
        if self.on_progress and self.size:
            self.on_progress(self.size, self.size)
        return RowStore(self._builder, self._report(rows))

    def _report(self, rows: int) -> ReadReport:
        return ReadReport(
            format=self.format,
            detected_by=self.detected_by,
            paths=tuple(self.paths),
            encoding=self.encoding,
            delimiter=self.delimiter,
            rows=rows,
            broken=tuple(self.broken),
            broken_count=self.broken_count,
            columns=tuple(self._builder.columns),
            bytes=self.size,
            notes=tuple(self.notes),
        )
