"""The other end of the process that queries run in: what it is asked, and what its answer means. No scores.

It knows where a database is, and no answer or reference.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.child_process import ChildProcess

PROGRAM = Path(__file__).with_name("sqlite_child.py")
GRACE_SECONDS = 2.0
"""How much longer than its own clock allows the process may take before it is killed."""


@dataclass(frozen=True)
class Result:
    """What a query gave.

    Args:
        rows: Its rows; None where it did not run.
        fault: Why it did not.
        no_database: Whether the database was at fault, not the query.
    """

    rows: list[list[Any]] | None
    fault: str = ""
    no_database: bool = False


@dataclass(frozen=True)
class Database:
    """Where the rows are: a file, or a script that makes them."""

    file: Path | None = None
    script: str | None = None


class SqlProcess(ChildProcess):
    """A process that runs queries one after the other; started by the first one, and again after a violent end.

    Args:
        seconds: Most time of a query, and of building a database.
        rows: Most rows of a result.
        memory_bytes: Most memory of SQLite in the process.
    """

    def __init__(self, seconds: float, rows: int, memory_bytes: int) -> None:
        super().__init__(["-I", "-S", "-B", "-X", "utf8", str(PROGRAM), str(memory_bytes)])
        self.seconds = seconds
        self.rows = rows
        self._lock = threading.Lock()

    def run(self, query: str, database: Database) -> Result:
        """A query's rows, or what is at fault."""
        request = {
            "database": None if database.file is None else str(database.file.absolute()),
            "schema": database.script,
            "query": query,
            "seconds": self.seconds,
            "rows": self.rows,
        }
        with self._lock:
            reply = self.ask(json.dumps(request).encode() + b"\n", 2 * self.seconds + GRACE_SECONDS).line
        if not reply:
            return Result(None, f"it was killed: it ran longer than {self.seconds:g} s or needed too much memory")
        answer = json.loads(reply, object_hook=lambda blob: bytes.fromhex(blob["hex"]) if "hex" in blob else blob)
        if "no_database" in answer:
            return Result(None, answer["no_database"], no_database=True)
        return Result(answer.get("rows"), answer.get("fault", ""))
