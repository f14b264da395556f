"""The server's SQLite file: transactions, rows in the order in which they were written, and its faults as answers.

It knows no route, and of what the rows mean only the tables.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import Page

FILE = "server.sqlite"
FORMAT = 1
WAIT_SECONDS = 30.0
FAULTS = (sqlite3.Error, UnicodeEncodeError, OverflowError)
"""What SQLite raises; the last two for values that a client sent."""
_ALPHABET = string.ascii_letters + string.digits
_TABLES = """
CREATE TABLE file (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, filename TEXT NOT NULL,
  purpose TEXT NOT NULL, bytes INTEGER NOT NULL, data TEXT NOT NULL
);
CREATE TABLE job (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, status TEXT NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX job_status ON job (status, number);
CREATE INDEX job_model ON job (json_extract(data, '$.fine_tuned_model'));
CREATE TABLE event (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, job TEXT NOT NULL,
  level TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, key TEXT, data TEXT NOT NULL, UNIQUE (job, key)
);
CREATE INDEX event_job ON event (job, number);
CREATE TABLE checkpoint (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, job TEXT NOT NULL,
  step INTEGER NOT NULL, model TEXT NOT NULL UNIQUE, folder TEXT NOT NULL, metrics TEXT NOT NULL, UNIQUE (job, step)
);
CREATE TABLE idempotency (
  key TEXT NOT NULL, route TEXT NOT NULL, body_digest TEXT NOT NULL, status INTEGER NOT NULL, response TEXT NOT NULL,
  created INTEGER NOT NULL, PRIMARY KEY (key, route)
) WITHOUT ROWID;
"""
_ADDED = """
CREATE TABLE IF NOT EXISTS upload (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, expires INTEGER NOT NULL,
  status TEXT NOT NULL, filename TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL, data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS upload_status ON upload (status, expires);
CREATE TABLE IF NOT EXISTS upload_part (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, upload TEXT NOT NULL,
  bytes INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS upload_part_upload ON upload_part (upload, number);
"""
"""Tables that format 1 did not always have: an older folder gets them, and an older version passes over them."""


class Database:
    """An open database. Safe to use from several threads; several processes may have it open.

    Args:
        folder: Where the file is; made if need be, for its owner alone.
        clock: Seconds since 1970, for what is written down; nothing is decided by it.

    Raises:
        UserError: The folder can't be written, or its database is none of ours.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.clock = folder, clock
        self._lock = threading.RLock()
        self._depth = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                folder / FILE, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            found = self._prepare()
        except (OSError, sqlite3.Error) as fault:
            fix = "name another folder with --folder, or free some space"
            raise UserError(f"the server can't keep its files here: {fault}", str(folder), fix) from fault
        if found != FORMAT:
            what = f"this folder has format {found} of another version, and format {FORMAT} is read here"
            raise UserError(what, str(folder / FILE), "name a new folder with --folder")

    def _prepare(self) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if not found and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
                found = FORMAT
            if found == FORMAT:
                for statement in _ADDED.split(";"):
                    self._db.execute(statement)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return found

    def close(self) -> None:
        """Let the database go."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written within is kept, or nothing of it. May stand within another; has to stay in one thread.

        Raises:
            ApiFault: 507 where the disk is full, 503 where another process keeps the database too long.
        """
        with self._lock:
            if self._depth:
                yield
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._depth = 1
                yield
                self._db.execute("COMMIT")
            except BaseException as fault:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(fault, FAULTS):
                    raise _fault_of(fault) from fault
                raise
            finally:
                self._depth = 0

    def now(self) -> int:
        """Seconds since 1970, as the clock says."""
        return int(self.clock())

    def _one(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            try:
                row: sqlite3.Row | None = self._db.execute(query, values).fetchone()
            except FAULTS as fault:
                raise _fault_of(fault) from fault
        return row

    def _all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except FAULTS as fault:
                raise _fault_of(fault) from fault

    def _insert(self, table: str, **values: Any) -> None:
        values = {"created": self.now(), **values}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        with self.transaction():
            self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608

    def _page(
        self, table: str, where: Mapping[str, Any], after: str | None, limit: int | None, order: str
    ) -> Page[sqlite3.Row]:
        """Rows of one of our tables; what is put into the query as text is ours, what a client says is bound."""
        where, sign, way = dict(where), *((">", "ASC") if order == "asc" else ("<", "DESC"))
        if after is not None:
            place = self._one(f"SELECT number FROM {table} WHERE id = ?", after)  # noqa: S608
            if place is None:
                what = f"after: there is nothing with the id {after[:100]}"
                raise ApiFault(400, what, param="after", code="invalid_cursor")
            where[f"number {sign} ?"] = place["number"]
        condition = " AND ".join(where) or "1"
        query = f"SELECT * FROM {table} WHERE {condition} ORDER BY number {way} LIMIT ?"  # noqa: S608
        rows = self._all(query, *where.values(), -1 if limit is None else limit + 1)
        return Page(tuple(rows[:limit]), limit is not None and len(rows) > limit)


def as_json(value: Any) -> str:
    """A value as it stands in the database: ASCII, since JSON may hold halves of characters."""
    return json.dumps(value, allow_nan=False)


def _fault_of(fault: Exception) -> ApiFault:
    if not isinstance(fault, sqlite3.Error):
        return ApiFault(400, "a text holds half a character, or a number is too large", code="invalid_value")
    said = str(fault)
    if "full" in said or getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
        fix = "free some space, or start the server with another --folder"
        return ApiFault(507, f"the server's disk takes no more ({said}): {fix}", code="insufficient_storage")
    if "locked" in said or "busy" in said:
        return ApiFault(503, "the server's database is busy: ask again", code="busy", retry_after=1.0)
    return ApiFault(500, f"the server's database can't be used: {said}", code="database")


def sync_folder(folder: Path) -> None:
    """Make names in a folder outlive a loss of power, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def new_id(kind: str, joint: str = "-") -> str:
    """A new id as the hosted API spells them: ``file-...``, ``ftjob-...``, ``ftevent-...``, ``upload_...``."""
    return f"{kind}{joint}{''.join(secrets.choice(_ALPHABET) for _ in range(24))}"
