"""Recordings heard once: measured and printed in threads, and kept for the next time. It judges nothing.

It knows no files: a function that is handed in reads a row's waveform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from tunesmith.data.ahead import ahead
from tunesmith.errors import UserError
from tunesmith.speech.likeness import SoundPrint, sound_print
from tunesmith.speech.measures import Measures, Wave, measure
from tunesmith.types import Finding, Row

RATE = 16_000
THREADS = 2
KEPT_BYTES = 256 << 20
UNKNOWN_END = 1e9

Part: TypeAlias = tuple[str, float, float]
"""What a row is a recording of: the file's digest (or its path), and the seconds that it begins and ends at."""


@dataclass(frozen=True)
class Heard:
    """What one recording sounds like.

    Args:
        measures: Of the row's part.
        print: Of it.
    """

    measures: Measures
    print: SoundPrint


class Memory(Protocol):
    """What was heard in other processes; it is asked and told from one thread only."""

    def get(self, part: Part) -> Heard | None:
        """What was heard of a part; None where nothing was."""

    def put(self, part: Part, heard: Heard) -> None:
        """Keep it."""

    def flush(self) -> None:
        """All that was put is there to stay."""


@dataclass
class Kept:
    """What was heard before, by the part of a recording; it takes no more once it holds `most_bytes` of prints.

    What a process has not heard is looked for in ``memory``, where there is one.
    """

    most_bytes: int = KEPT_BYTES
    bytes: int = 0
    heard: dict[Part, Heard] = field(default_factory=dict)
    memory: Memory | None = None

    def get(self, part: Part) -> Heard | None:
        """What was heard of a part; None where nothing was."""
        if part not in self.heard and self.memory is not None:
            return self.memory.get(part)
        return self.heard.get(part)

    def add(self, part: Part, heard: Heard) -> None:
        """Keep one, where there is room."""
        if part in self.heard:
            return
        size = heard.print.nbytes + 500
        if self.bytes + size <= self.most_bytes:
            self.heard[part] = heard
            self.bytes += size
        if self.memory is not None:
            self.memory.put(part, heard)


KEPT = Kept()
"""What this process has heard."""


@dataclass
class Side:
    """The rows of one side, each with what was heard of it, or why it could not be read.

    Args:
        rows: As shaped.
        name: The name of their source, for ``where``.
        measures: One a row, None where it could not be read.
        faults: Numbers of rows that could not be read, each with the reason.
    """

    rows: Sequence[Row]
    name: str
    measures: list[Measures | None] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def id(self, number: int) -> str:
        """The id of a row."""
        return str(self.rows[number]["id"])

    def seconds(self, number: int) -> float:
        """How long a row's part is: as its header says, or else as it was heard; 0 where nobody knows."""
        known = self.rows[number].get("seconds")
        measured = self.measures[number]
        return float(known) if known is not None else measured.seconds if measured else 0.0

    def add(self, number: int, heard: Heard | str) -> None:
        """Take in what was heard of the next row."""
        if isinstance(heard, str):
            self.measures.append(None)
            self.faults.append((number, heard))
        else:
            self.measures.append(heard.measures)

    def silent(self, number: int) -> bool:
        """Whether a row was read and holds no sound."""
        measured = self.measures[number]
        return measured is not None and measured.silence >= 1


class Place(NamedTuple):
    """A row that a finding is about."""

    side: Side
    number: int
    note: str = ""
    twin: tuple[Side, int] | None = None


@dataclass(frozen=True)
class Traced:
    """A finding with every row that it is about, of which it names a handful itself.

    Args:
        finding: For whoever wants words.
        places: The rows; of a leak the training rows, of a repeat the later ones.
    """

    finding: Finding
    places: Sequence[Place]


def part_of(row: Row) -> Part:
    """What a row is a recording of; where its end is unknown, it is `UNKNOWN_END`."""
    start = float(row.get("start") or 0.0)
    end = row.get("end")
    if end is None:
        end = start + float(row["seconds"]) if row.get("seconds") is not None else UNKNOWN_END
    return str(row.get("content") or row.get("audio")), round(start, 2), round(float(end), 2)


def hear(
    rows: Sequence[Row], read: Callable[[Row], Wave], *, kept: Kept | None = None, threads: int = THREADS
) -> Iterator[Heard | str]:
    """Read, measure and print every row's recording, in order, a few ahead of the reader.

    Args:
        rows: With what ``read`` needs; ``content`` says that a recording was heard before.
        read: The row's waveform, float32 mono [samples] at `RATE`; raises UserError where it cannot be read.
        kept: What was heard before, and where to keep it.
        threads: How many read at once.

    Yields:
        What was heard of each row, or why it cannot be read.
    """
    store = KEPT if kept is None else kept

    def known() -> Iterator[tuple[Row, Part | None, Heard | None]]:
        for row in rows:
            part = part_of(row) if row.get("content") else None
            yield row, part, store.get(part) if part is not None else None

    def one(asked: tuple[Row, Part | None, Heard | None]) -> tuple[Part | None, Heard | str, bool]:
        row, part, before = asked
        if before is not None:
            return part, before, False
        try:
            wave = read(row)
        except UserError as error:
            return part, error.what, False
        if not np.isfinite(wave).all():
            return part, "holds samples that are no finite numbers", False
        return part, Heard(measure(wave, RATE), sound_print(wave, RATE)), True

    try:
        for part, heard, fresh in ahead(one, known(), threads=threads):
            if fresh and part is not None and isinstance(heard, Heard):
                store.add(part, heard)
            yield heard
    finally:
        if store.memory is not None:
            store.memory.flush()
