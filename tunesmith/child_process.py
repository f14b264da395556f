"""A process of its own that answers one line with one line: asked, waited for, killed, started anew. It knows no work.

What it is asked to do may hang or fill the memory; then that process ends, not the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

END_SECONDS = 5.0
"""That a process which closed its end has to be gone."""


@dataclass(frozen=True)
class Answer:
    """What a process said.

    Args:
        line: Its answer, with the end of the line; empty where it was killed or died.
        late: Whether it took longer than it had, and was killed for it.
        code: With which it ended, if it has; negative is the signal that ended it.
    """

    line: bytes
    late: bool = False
    code: int | None = None


class ChildProcess:
    """A process that answers one request after the other; started by the first one, and again after a violent end.

    Args:
        arguments: Of the Python interpreter that it is.
        imports: Whether it finds this package, whatever folder it is started from.
        most: Requests, after which it is started anew: what it leaks does not add up. None sets no limit.
    """

    def __init__(self, arguments: Sequence[str], *, imports: bool = False, most: int | None = None) -> None:
        self._arguments, self._imports, self._most = tuple(arguments), imports, most
        self._child: subprocess.Popen[bytes] | None = None
        self._ends: weakref.finalize[..., object] | None = None
        self._owner = self._asked = 0

    def ask(self, request: bytes, seconds: float) -> Answer:
        """One line for one line.

        Args:
            request: The line, with its end.
            seconds: On the wall; then the process is killed.
        """
        child = self._living()
        try:
            line, late = _exchange(child, request, seconds)
        except BaseException:
            self.stop()  # An answer that nobody heard would be taken for that of the next request.
            raise
        self._asked += 1
        whole = line.endswith(b"\n")
        if whole and not late and (self._most is None or self._asked < self._most):
            return Answer(line)
        if not whole:
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_SECONDS)
        code = child.poll()
        self.stop()
        return Answer(line if whole else b"", late, code)

    def stop(self) -> None:
        """End the process; the next request starts another."""
        if self._ends is not None:
            self._ends()
        self._ends = self._child = None
        self._asked = 0

    def _living(self) -> subprocess.Popen[bytes]:
        # A forked process shares the pipes of its parent, and would take its answers.
        if self._child is None or self._child.poll() is not None or self._owner != os.getpid():
            self.stop()
            self._child = subprocess.Popen(
                [sys.executable, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": _import_path()} if self._imports else None,
            )
            self._owner = os.getpid()
            self._ends = weakref.finalize(self, _end, self._child)
        return self._child


def _exchange(child: subprocess.Popen[bytes], request: bytes, seconds: float) -> tuple[bytes, bool]:
    """What came before the end of a line or of the process, and whether the clock ended it."""
    assert child.stdin is not None
    assert child.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    killer = threading.Timer(seconds, end)
    killer.daemon = True
    killer.start()
    try:
        child.stdin.write(request)
        child.stdin.flush()
        line = child.stdout.readline()
    except OSError:
        line = b""
    finally:
        killer.cancel()
    return line, late.is_set()


def _import_path() -> str:
    """Where the process finds this package."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH", "")])])


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            # It may still hold what was to be written to a process that is gone.
            with suppress(OSError):
                stream.close()
    child.wait()
