"""The other end of the process that queries run in: asks, waits no longer than it must, and starts it anew. No scores.

It knows where a database is, and no answer or reference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class SqlProcess:
    """A process that runs queries one after the other; started by the first one, and again after a violent end.

    Args:
        seconds: Most time of a query, and of building a database.
        rows: Most rows of a result.
        memory_bytes: Most memory of SQLite in the process.
    """

    def __init__(self, seconds: float, rows: int, memory_bytes: int) -> None:
        self.seconds = seconds
        self.rows = rows
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._ends: weakref.finalize[..., object] | None = None
        self._owner = 0

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
            reply = self._ask(json.dumps(request).encode() + b"\n")
        if not reply:
            return Result(None, f"it was killed: it ran longer than {self.seconds:g} s or needed too much memory")
        answer = json.loads(reply, object_hook=lambda blob: bytes.fromhex(blob["hex"]) if "hex" in blob else blob)
        if "no_database" in answer:
            return Result(None, answer["no_database"], no_database=True)
        return Result(answer.get("rows"), answer.get("fault", ""))

    def _ask(self, request: bytes) -> bytes:
        """One line for one line; nothing where the process had to be killed or died."""
        child = self._living()
        assert child.stdin is not None
        assert child.stdout is not None
        killer = threading.Timer(2 * self.seconds + GRACE_SECONDS, child.kill)
        killer.daemon = True
        killer.start()
        try:
            child.stdin.write(request)
            child.stdin.flush()
            reply = child.stdout.readline()
        except OSError:
            reply = b""
        finally:
            killer.cancel()
        if reply.endswith(b"\n"):
            return reply
        self.stop()
        return b""

    def stop(self) -> None:
        """End the process; the next query starts another."""
        if self._ends is not None:
            self._ends()
        self._ends = self._child = None

    def _living(self) -> subprocess.Popen[bytes]:
        # A forked process shares the pipes of its parent, and would take its answers.
        if self._child is None or self._child.poll() is not None or self._owner != os.getpid():
            self.stop()
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(PROGRAM), str(self.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._owner = os.getpid()
            self._ends = weakref.finalize(self, _end, self._child)
        return self._child


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            # It may still hold what was to be written to a process that is gone.
            with suppress(OSError):
                stream.close()
    child.wait()
