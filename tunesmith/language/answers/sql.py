"""SQL: an answer is right when its query gives the rows that the gold query gives. It knows no dialect but SQLite's.

Queries run in a process of their own that can only read, with limits of time, rows and memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tunesmith.language.answers.exact import exact_match
from tunesmith.language.answers.faults import Fault, gather
from tunesmith.language.answers.sql_process import Database, Result, SqlProcess
from tunesmith.language.answers.sql_rows import same_rows
from tunesmith.language.answers.sql_text import is_ordered, query_of
from tunesmith.types import Finding, Row

MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True)
class SqlScorer:
    """Judges by what queries give.

    A row names its database in ``database``, a SQLite file, or holds the script that makes one in ``schema``.

    Args:
        folder: Where relative paths of databases start.
        seconds: Most time of a query, and of building a database.
        rows: Most rows of a result.
        memory_bytes: Most memory of all queries and of databases made by scripts.
    """

    folder: Path = Path()
    seconds: float = 5.0
    rows: int = 100_000
    memory_bytes: int = 2**29
    name: ClassVar[str] = "sql"
    goal: ClassVar[str] = "execution_accuracy"
    codes: ClassVar[tuple[str, ...]] = (
        "no-database",
        "gold-sql-fails",
        "gold-sql-unstable",
        "gold-sql-empty",
    )

    @cached_property
    def _process(self) -> SqlProcess:
        return SqlProcess(self.seconds, self.rows, self.memory_bytes)

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``execution_accuracy``; ``runs``: the query is one statement that runs; ``exact_match`` of the two queries.

        A row that has no usable database or gold query scores zero: the audit has said so.
        """
        query, gold = query_of(answer), query_of(reference)
        database = self._database(row)
        found = wanted = Result(None)
        if isinstance(database, Database):
            found = self._process.run(query, database)
            wanted = found if query == gold or found.rows is None else self._process.run(gold, database)
        right = (
            found.rows is not None and wanted.rows is not None and same_rows(found.rows, wanted.rows, is_ordered(gold))
        )
        return {
            "execution_accuracy": float(right),
            "runs": float(found.rows is not None),
            "exact_match": exact_match(query, gold),
        }

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """Rows without a database, and gold queries that don't run, give other rows each time, or give none."""
        return gather(rows, references, self._fault)

    def _fault(self, row: Row, reference: str) -> Fault | None:
        database = self._database(row)
        if isinstance(database, Fault):
            return database
        gold = query_of(reference)
        first = self._process.run(gold, database)
        if first.no_database:
            return _no_database(first.fault, "schema" if database.file is None else "database")
        if first.rows is None:
            return Fault(
                "gold-sql-fails",
                "have a gold query that does not run",
                "the reference",
                "mend these queries (one reading statement in SQLite's dialect), or leave the rows out",
                f"{first.fault}: {gold}",
            )
        again = self._process.run(gold, database)
        if again.rows is None or not same_rows(again.rows, first.rows, is_ordered(gold)):
            return Fault(
                "gold-sql-unstable",
                "have a gold query that gives other rows when it is run again",
                "the reference",
                "take random() and the current time out of these queries, or leave the rows out",
                gold,
            )
        if not first.rows:
            return Fault(
                "gold-sql-empty",
                "have a gold query that gives no rows, so that every query without rows is right",
                "the reference",
                "put rows into their databases that the query finds",
                gold,
                "warning",
            )
        return None

    def _database(self, row: Row) -> Database | Fault:
        """Where a row's database is, or why it has none."""
        file, script = row.get("database"), row.get("schema")
        if file:
            path = self.folder / str(file)
            reason = _why_no_database(path)
            return _no_database(f"{file} {reason}", "database") if reason else Database(file=path)
        if script:
            return Database(script=str(script))
        return _no_database("it has neither 'database' nor 'schema'", "database, schema")


def _why_no_database(path: Path) -> str | None:
    """What keeps a file from being read as a SQLite database."""
    try:
        if not path.is_file():
            return f"is not there (looked for {path.absolute()})"
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return "is no SQLite database"
        log = path.with_name(f"{path.name}-wal")
        if log.is_file() and log.stat().st_size:
            # Read-only and immutable, SQLite would silently leave these changes out.
            return f"has changes that are still in {log.name}: run PRAGMA wal_checkpoint(TRUNCATE) on it"
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return None


def _no_database(detail: str, where: str) -> Fault:
    return Fault(
        "no-database",
        "have no database that can be used",
        f"column {where}",
        "give the path of a SQLite file in 'database', relative to the data, or a script in 'schema' "
        "(CREATE TABLE and INSERT in SQLite's dialect)",
        detail,
    )
