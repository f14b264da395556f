"""A source that the rows' shape knows as a whole (pictures and their labels), once it is opened. It knows no format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.data.reading import Record


class Misfit(ValueError):
    """Why a row or a label does not fit, in words that follow its place."""


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A source, ready to be read once.

    Args:
        format: The name of its layout.
        records: Number of each row, and the row or what is wrong with it.
        paths: What was read, as a person would write it.
        notes: What a person should know; filled while reading.
        root: Folder that relative paths in the rows start from: the source itself, or the folder of a file.
        between: What stands between the source's name and a row's number in a place.
        total: How many records there are.
    """

    format: str
    records: Iterator[Record]
    paths: tuple[str, ...]
    notes: list[str]
    root: Path
    between: str = " row "
    total: int = 0


class NamedPlace:
    """A file or folder as a person wrote it, and how files below it are named."""

    path: Path
    label: str

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
