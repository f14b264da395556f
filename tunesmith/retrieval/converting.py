"""The other end of the process that converts documents: asks, waits, kills it and starts it anew. It parses none.

A converter may hang or fill the memory on a file that someone made for that; then its process ends, not the run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted, Refused

PROGRAM = "tunesmith.retrieval.converters.child"
WAITS = 10
"""How many times its own clock a process may take by that on the wall: a busy machine is no fault of a document."""
GRACE_SECONDS = 5.0
"""That a process which closed its end has to be gone."""
FILES_A_PROCESS = 500
"""Then it is started anew: what a converter leaks does not add up."""


class Converter:
    """A process that converts one document after the other; started by the first one, and again after a violent end."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: subprocess.Popen[bytes] | None = None
        self._ends: weakref.finalize[..., object] | None = None
        self._done = 0

    def __enter__(self) -> Converter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def convert(self, path: Path, kind: str) -> Converted | Refused:
        """The text of a document, as Markdown.

        Args:
            path: The file.
            kind: ``html``, ``pdf``, ``docx``, ``pptx``, ``xlsx`` or ``eml``.
        """
        limits = self.limits
        ask = {
            "path": str(path.absolute()),
            "kind": kind,
            "file_bytes": limits.file_bytes,
            "unpacked_bytes": limits.unpacked_bytes,
            "ratio": limits.ratio,
            "text_characters": limits.text_characters,
            "seconds": limits.seconds,
        }
        try:
            reply, late = self._ask(json.dumps(ask).encode() + b"\n")
        except BaseException:
            self.stop()  # An answer that nobody heard would be taken for that of the next document.
            raise
        if not reply:
            why = (
                f"converting it takes longer than {limits.seconds:g} seconds"
                if late
                else f"converting it needs more than {limits.memory_bytes:,} bytes of memory, or crashes the converter"
            )
            return Refused(why, "save it anew by the program that made it, split it, or give it as text")
        return heard(json.loads(reply))

    def _ask(self, request: bytes) -> tuple[bytes, bool]:
        """One line for one line, and whether the clock ended it; nothing where the process was killed or died."""
        child = self._living()
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        killer = threading.Timer(WAITS * self.limits.seconds, end)
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
        self._done += 1
        if reply.endswith(b"\n") and not late.is_set() and self._done < FILES_A_PROCESS:
            return reply, False
        whole = reply.endswith(b"\n")
        if not whole:
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
        too_long = late.is_set() or child.poll() == -signal.SIGPROF
        self.stop()
        return (reply if whole else b""), too_long

    def stop(self) -> None:
        """End the process; the next document starts another."""
        if self._ends is not None:
            self._ends()
        self._ends = self._child = None
        self._done = 0

    def _living(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.stop()
            self._child = subprocess.Popen(
                [sys.executable, "-B", "-X", "utf8", "-m", PROGRAM, str(self.limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": _import_path()},
            )
            self._ends = weakref.finalize(self, _end, self._child)
        return self._child


def heard(answer: dict[str, Any]) -> Converted | Refused:
    """What the process said, as it was there."""
    if "reason" in answer:
        return Refused(answer["reason"], answer["fix"])
    return Converted(
        text=answer["text"],
        title=answer["title"],
        notes=tuple(answer["notes"]),
        parts=tuple((int(start), str(name)) for start, name in answer["parts"]),
        labels=tuple((str(name), str(value)) for name, value in answer["labels"]),
        changed=answer["changed"],
        inside=tuple((name, heard(document)) for name, document in answer["inside"]),
    )


def _import_path() -> str:
    """Where the process finds this package, whatever folder it is started from."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH", "")])])


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            # It may still hold what was to be written to a process that is gone.
            with suppress(OSError):
                stream.close()
    child.wait()
