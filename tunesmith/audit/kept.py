"""What was measured of rows and files, kept from one audit to the next by content. It knows no row and no measure."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.machine import cache_folder

TOGETHER = 500
"""Keys that are asked for, and values that are written, at a time."""


class Kept:
    """A table of measures in one SQLite file. One that can't be opened or written costs time, never a result.

    Args:
        file: Where it lies; by default in the cache folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or cache_folder("audit") / "measures.sqlite"
        try:
            self._open()
        except sqlite3.DatabaseError:
            self._start_anew()

    def _open(self) -> None:
        self._table = sqlite3.connect(self.file, timeout=30.0)
        self._table.execute("PRAGMA journal_mode=WAL")
        self._table.execute("PRAGMA synchronous=NORMAL")
        self._table.execute(
            "CREATE TABLE IF NOT EXISTS measure "
            "(what TEXT, key TEXT, value TEXT, PRIMARY KEY (what, key)) WITHOUT ROWID"
        )

    def _start_anew(self) -> None:
        """A file that is no table, or a damaged one, is replaced; with no file at all the table is in memory."""
        try:
            self.file.unlink(missing_ok=True)
            self._open()
        except (OSError, sqlite3.DatabaseError):
            self.file = Path(":memory:")
            self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._table.close()

    def measured(
        self,
        what: str,
        keys: Sequence[str],
        measure: Callable[[Sequence[int]], Iterable[Any]],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[Any]:
        """The value of every key: as kept, else measured now and kept, batch by batch, so that Ctrl-C loses little.

        Args:
            what: Name of the measure with its version, ``picture-quality-1``: another name measures anew.
            keys: Content digests, in the order of the rows.
            measure: Positions in ``keys`` that are not known to one JSON-able value each, in that order.
            progress: Receives how many are known, and of how many.
        """
        found: dict[str, Any] = {}
        for start in range(0, len(keys), TOGETHER):
            some = list(dict.fromkeys(keys[start : start + TOGETHER]))
            marks = ",".join("?" * len(some))
            rows = self._table.execute(
                f"SELECT key, value FROM measure WHERE what = ? AND key IN ({marks})",  # noqa: S608
                (what, *some),
            )
            found.update((key, json.loads(value)) for key, value in rows)
        first = {key: at for at, key in reversed(list(enumerate(keys))) if key not in found}
        missing = sorted(first.values())
        progress(len(keys) - len(missing), len(keys))
        pending: list[tuple[str, str, str]] = []
        for done, (at, value) in enumerate(zip(missing, measure(missing), strict=True), 1):
            found[keys[at]] = value
            pending.append((what, keys[at], json.dumps(value)))
            if len(pending) == TOGETHER or done == len(missing):
                self._write(pending)
                pending = []
            progress(len(keys) - len(missing) + done, len(keys))
        return [found[key] for key in keys]

    def get(self, what: str, key: str) -> Any | None:
        """One value; None where none is kept."""
        try:
            found = self._table.execute("SELECT value FROM measure WHERE what = ? AND key = ?", (what, key)).fetchone()
        except sqlite3.DatabaseError:
            # Closed, or used from another thread: what was kept costs time when it is missing, never a result.
            return None
        return json.loads(found[0]) if found else None

    def put(self, what: str, values: Mapping[str, Any]) -> None:
        """Keep some values by their keys."""
        self._write([(what, key, json.dumps(value)) for key, value in values.items()])

    def _write(self, rows: Sequence[tuple[str, str, str]]) -> None:
        try:
            with self._table:
                self._table.executemany("INSERT OR REPLACE INTO measure VALUES (?, ?, ?)", rows)
        except sqlite3.DatabaseError:
            # A full disk, or one that is read-only: what was measured is here all the same.
            return
