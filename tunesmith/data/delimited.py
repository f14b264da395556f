"""CSV and TSV: which delimiter and quoting, and its records one by one. It knows no other format and no limits.

A record whose quoting is wrong costs that record alone: reading goes on at the line after its first.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import TextFile
from tunesmith.errors import UserError

FIELD_CHARACTERS = 16 * 2**20
GIVEN_BACK_CHARACTERS = 2**30
DELIMITERS = ",\t;|"


@dataclass(frozen=True)
class Dialect:
    """How fields are told apart, with a note where it is not the plain way."""

    delimiter: str
    options: tuple[tuple[str, Any], ...] = ()
    note: str = ""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """The records of these lines; raises `csv.Error` at wrong quoting."""
        csv.field_size_limit(max(csv.field_size_limit(), FIELD_CHARACTERS))  # the default stops at 131,072
        return csv.reader(lines, delimiter=self.delimiter, strict=True, **dict(self.options))


def _ways(delimiter: str) -> tuple[Dialect, ...]:
    return (
        Dialect(delimiter),
        Dialect(delimiter, (("quoting", csv.QUOTE_NONE),), "quotes are read as ordinary characters"),
        Dialect(
            delimiter, (("escapechar", "\\"), ("doublequote", False)), "a backslash escapes the quotes inside a field"
        ),
        Dialect(delimiter, (("skipinitialspace", True),), "spaces after a delimiter are skipped"),
    )


def _even(head: str, dialect: Dialect, whole: bool) -> tuple[float, int]:
    """Share of the head's records with as many fields as the first, and that number."""
    fits = records = width = 0
    lines = io.StringIO(head, newline="")
    while True:
        try:
            for fields in dialect.reader(lines):
                if not fields:
                    continue
                width = width or len(fields)
                records += 1
                fits += len(fields) == width
            break
        except csv.Error as error:
            if "unexpected end" in str(error) and not whole:
                break
            records += 1
            if lines.tell() >= len(head):
                break
    return (fits / records if records else 0.0), width


def _strays(head: str, delimiter: str) -> tuple[int, int]:
    """Fields that begin with a quote and do not end with one, and fields wrapped in quotes."""
    stray = wrapped = 0
    for line in head.splitlines():
        for field in line.split(delimiter):
            if field.startswith('"'):
                closed = len(field) > 1 and field.endswith('"')
                wrapped += closed
                stray += not closed
    return stray, wrapped


def detect(file: TextFile, delimiter: str | None = None) -> Dialect:
    """The delimiter and the quoting under which the file's head is most even."""
    head = file.head
    if not file.whole:
        head = head[: head.rfind("\n") + 1] or head
    best, best_score = Dialect(delimiter or ","), (0.0, 0)
    for candidate in delimiter or DELIMITERS:
        plain, *others = _ways(candidate)
        chosen = plain
        share, width = _even(head, plain, file.whole)
        for way in others if share < 1 else ():
            if ("quoting", csv.QUOTE_NONE) in way.options:
                stray, wrapped = _strays(head, candidate)
                if wrapped >= stray:
                    continue
            if ("escapechar", "\\") in way.options and '\\"' not in head:
                continue  # csv is lenient without doubled quotes: this way would look better than it is
            other_share, other_width = _even(head, way, file.whole)
            if other_share > share + 0.002:
                chosen, share, width = way, other_share, other_width
        if width > 1 and (round(share, 2), width) > best_score:
            best, best_score = chosen, (round(share, 2), width)
    return best


class _Lines:
    """Physical lines with their numbers; remembers those of the record that is being read."""

    def __init__(self, text: TextIO, file: TextFile) -> None:
        self._text, self._file = text, file
        self._pending: deque[tuple[int, str]] = deque()
        self._number = 0
        self.record: list[tuple[int, str]] = []
        self.garbage: list[tuple[int, str]] = []
        self.spoiled = False
        self._given_back = 0

    def feed(self) -> Iterator[str]:
        """The lines for a reader; another reader may go on with them after an error."""
        while True:
            if self._pending:
                number, line = self._pending.popleft()
            else:
                line = next(self._text, "")
                if not line:
                    return
                self._number += 1
                number = self._number
            if self._file.dirty and (reason := self._file.garbage(line)):
                self.garbage.append((number, reason))
                self.spoiled = bool(self.record)
                continue
            self.record.append((number, line))
            yield line

    @property
    def start(self) -> int:
        return self.record[0][0] if self.record else self._number

    def give_back(self) -> None:
        """Read all lines of this record but the first once more, as records of their own."""
        self._given_back += sum(len(line) for _, line in self.record[1:])
        if self._given_back > GIVEN_BACK_CHARACTERS:
            raise UserError(
                "quotes open again and again that never close",
                f"{self._file.label}:{self.start}",
                'write a quote inside a quoted field twice ("")',
            )
        self._pending.extendleft(reversed(self.record[1:]))
        self.clear()

    def faults(self) -> Iterator[Record]:
        """The garbage lines since the last record."""
        for number, reason in self.garbage:
            yield number, Fault(reason)
        self.garbage.clear()

    def clear(self) -> None:
        self.record.clear()
        self.spoiled = False


def header_of(fields: list[str], label: str, note: Callable[[str], None]) -> list[str]:
    """The column names of a header record; a nameless column gets its number.

    Raises:
        UserError: where a name occurs twice.
    """
    names = [field.strip() for field in fields]
    for place, name in enumerate(names):
        if not name:
            names[place] = f"column_{place + 1}"
            note(f"{label}: column {place + 1} has no name in the header and is called column_{place + 1}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(
            f"the header names {', '.join(repeated)} more than once",
            f"{label}:1",
            "give every column a name of its own",
        )
    return names


def _complaint(error: csv.Error, record: list[tuple[int, str]]) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quote opens here and never closes"
    if "field larger" in text:
        return f"a field is longer than {FIELD_CHARACTERS:,} characters; a quote may open here and never close"
    last = record[-1][0] if record else 0
    return f"wrong quoting near line {last:,} ({text})"


def read_delimited(
    text: TextIO, file: TextFile, dialect: Dialect, header: Callable[[list[str]], list[str]]
) -> Iterator[Record]:
    """The records below the header: line of the record's start, and values by column or a fault.

    ``header`` is given the first record and returns the column names.
    """
    lines = _Lines(text, file)
    feed = lines.feed()
    names: list[str] = []
    while True:
        try:
            for fields in dialect.reader(feed):
                if lines.garbage:
                    yield from lines.faults()
                start, spoiled = lines.start, lines.spoiled
                last = lines.record[-1][0]
                lines.clear()
                if spoiled or not fields:
                    continue
                if not names:
                    names = header(fields)
                elif len(fields) == len(names):
                    yield start, dict(zip(names, fields, strict=True))
                else:
                    extent = f", lines {start:,} to {last:,}" if last > start else ""
                    yield start, Fault(f"has {len(fields)} fields where the header has {len(names)}{extent}")
            break
        except csv.Error as error:
            yield from lines.faults()
            if not lines.spoiled:
                yield lines.start, Fault(_complaint(error, lines.record))
            lines.give_back()
            feed = lines.feed()
    yield from lines.faults()
