"""What a layout of a mended copy is given and gives back. It knows no layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tunesmith.audit.data import AuditData
from tunesmith.audit.mended import Decision, MendedSide
from tunesmith.data.opened import Misfit
from tunesmith.data.store import ReadReport, RowStore
from tunesmith.types import Row

__all__ = ["CopyJob", "Layout", "Misfit", "Placed"]

TOLD_EVERY = 200


@dataclass(frozen=True)
class CopyJob:
    """One side to be written.

    Args:
        data: As it was judged.
        side: Its rows, and what becomes of them.
        folder: Where the copy is made.
        raw: Records of sources as they stand there, once they were read: both sides may be of one.
    """

    data: AuditData
    side: MendedSide
    folder: Path
    raw: dict[str, RowStore] = field(default_factory=dict)

    @property
    def report(self) -> ReadReport:
        """How the source of this side was read."""
        explicit = self.side.name == "eval" and self.data.explicit_eval
        return self.data.prepared.reports["eval" if explicit else "train"]

    @property
    def place(self) -> Path:
        """A folder for this side."""
        found = self.folder / self.side.name
        found.mkdir()
        return found

    def all(self) -> Iterator[tuple[Row, dict[str, Any] | None, Decision | None]]:
        """Every row with what becomes of it, counted for the progress bar."""
        total = len(self.side.rows)
        for done, found in enumerate(self.side.all(), 1):
            if done % TOLD_EVERY == 0 or done == total:
                self.data.progress(f"writing {self.side.name} rows", done, total)
            yield found

    def kept(self) -> Iterator[dict[str, Any]]:
        """The rows that stay, changed where they are."""
        return (row for _, row, _ in self.all() if row is not None)


@dataclass(frozen=True)
class Placed:
    """A side, written.

    Args:
        name: Its file or folder, from the copy's folder.
        layout: What it is, for a person.
        options: Options of the task that must change with it.
        keeps_columns: Whether the recipe's names of columns hold as before.
        columns: Those that must come back as they were; None: all.
    """

    name: str
    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keeps_columns: bool = False
    columns: tuple[str, ...] | None = None


Layout: TypeAlias = Callable[[CopyJob], Placed]
"""Writes a side, or raises `Misfit` where it can't hold the rows."""
