"""The process that queries run in: a request a line in, an answer a line out, as JSON; it can write nothing.

It knows no answer, reference or score. It runs as a program of its own (``sql_process`` starts it), so that a query
that eats memory or time can be stopped without stopping a run; hence it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from typing import Any

KEPT_DATABASES = 16
"""Databases built from scripts that are kept open."""
CELL_BYTES = 16 * 2**20
"""Most bytes of one text or blob, in the database or made by a query."""
QUERY_BYTES = 100_000
PATTERN_BYTES = 1_000
"""Longest pattern of LIKE and GLOB: matching is one step of the machine, which no clock interrupts."""
RESULT_BYTES = 32 * 2**20
STEPS = 1_000
"""Steps of SQLite's machine between two looks at the clock."""

READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
TABLES_OF_TABLES = {"sqlite_master", "sqlite_schema"}
REFUSED_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
"""Functions that load code, take a pointer for one, or touch files; most builds lack them."""
KNOWN_FAULTS = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError)


class Stopped(Exception):
    """A limit was reached."""


def only_reads(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    """SQLite's authorizer of queries: reading is all that is permitted."""
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    if action in READS:
        return sqlite3.SQLITE_OK
    # Declaring json_each and full-text tables asks for this; a real UPDATE of that table never passes query_only.
    if action == sqlite3.SQLITE_UPDATE and first in TABLES_OF_TABLES:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first == "data_version":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def only_builds(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    """SQLite's authorizer of scripts: anything in memory, but no other file and no extension.

    A PRAGMA is passed over, since dumps begin with one.
    """
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_IGNORE
    if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def limited(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A connection with its sizes bounded and its temporary tables in memory, where they count."""
    for limit, value in (
        (sqlite3.SQLITE_LIMIT_LENGTH, CELL_BYTES),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.setlimit(limit, value)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    # What a database holds is not always UTF-8, and a query is not at fault for it.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def locked(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A connection that from now on only reads."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, QUERY_BYTES)
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(only_reads)
    return connection


def opened(file: str) -> sqlite3.Connection:
    """A database file, read-only and without a lock or a journal beside it."""
    uri = f"{Path(file).absolute().as_uri()}?mode=ro&immutable=1"
    return locked(limited(sqlite3.connect(uri, uri=True, isolation_level=None)))


def built(script: str, seconds: float) -> sqlite3.Connection:
    """A database in memory, made by a script within a time."""
    connection = limited(sqlite3.connect(":memory:", isolation_level=None))
    try:
        connection.set_authorizer(only_builds)
        with_clock(connection, seconds)
        connection.executescript(script)
        if connection.in_transaction:
            connection.commit()
        connection.set_authorizer(None)
        return locked(connection)
    except BaseException:
        connection.close()
        raise


def with_clock(connection: sqlite3.Connection, seconds: float) -> None:
    """Interrupt what runs on a connection ``seconds`` from now."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)


def rows_of(connection: sqlite3.Connection, query: str, most_rows: int) -> list[tuple[Any, ...]]:
    """All rows of a query, or a fault as soon as they are too many."""
    cursor = connection.cursor()
    try:
        cursor.execute(query)
        if cursor.description is None:
            raise Stopped("it is no query: it gives no rows")
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in cursor:
            size += sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
            if len(rows) == most_rows or size > RESULT_BYTES:
                raise Stopped(f"it gives more than {most_rows:,} rows or {RESULT_BYTES >> 20} MiB")
            rows.append(row)
        return rows
    finally:
        cursor.close()


class Databases:
    """Databases built from scripts, by the digest of the script; those not asked for lately are closed."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, sqlite3.Connection] = OrderedDict()

    def get(self, script: str, seconds: float) -> sqlite3.Connection:
        """The database of a script, built if need be."""
        digest = sha256(script.encode("utf-8", "surrogatepass")).hexdigest()
        connection = self._open.pop(digest, None)
        self._open[digest] = connection = connection or built(script, seconds)
        if len(self._open) > KEPT_DATABASES:
            self._open.popitem(last=False)[1].close()
        return connection

    def clear(self) -> bool:
        """Close all; whether there were any."""
        had = bool(self._open)
        while self._open:
            self._open.popitem()[1].close()
        return had


def answer(request: dict[str, Any], databases: Databases) -> dict[str, Any]:
    """Rows, or what is at fault: the database (``no_database``) or the query."""
    seconds = request["seconds"]
    connection = None
    try:
        try:
            connection = (
                opened(request["database"])
                if request["database"] is not None
                else databases.get(request["schema"], seconds)
            )
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (*KNOWN_FAULTS, MemoryError) as fault:
            return {"no_database": described(fault, seconds)}
        with_clock(connection, seconds)
        return {"rows": rows_of(connection, request["query"], request["rows"])}
    except (*KNOWN_FAULTS, Stopped) as fault:
        return {"fault": described(fault, seconds)}
    finally:
        if connection is not None and request["database"] is not None:
            connection.close()


def described(fault: BaseException, seconds: float) -> str:
    """A fault in a few words."""
    if isinstance(fault, MemoryError):
        return "it needs more memory than it may have"
    if str(fault) == "interrupted":
        return f"it was stopped after {seconds:g} s"
    return str(fault) or type(fault).__name__


def main() -> None:
    """Answer requests until there are no more, with the bytes that SQLite may hold as the only argument."""
    databases = Databases()
    connection = sqlite3.connect(":memory:")
    # Of the whole process: built databases, sorting, temporary tables.
    connection.execute(f"PRAGMA hard_heap_limit = {int(sys.argv[1])}")
    connection.close()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            try:
                reply = answer(request, databases)
            except MemoryError:
                if not databases.clear():
                    raise
                # The memory may have been that of databases that are only kept for speed.
                reply = answer(request, databases)
        except MemoryError as fault:
            databases.clear()
            reply = {"fault": described(fault, request["seconds"])}
        sys.stdout.write(json.dumps(reply, default=lambda raw: {"hex": raw.hex()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
