"""The other end of the process that converts documents: what it is asked, and what its answer means. It parses none.

A converter may hang or fill the memory on a file that someone made for that; then its process ends, not the run.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

from tunesmith.child_process import ChildProcess
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted, Refused

PROGRAM = "tunesmith.retrieval.converters.child"
WAITS = 10
"""How many times its own clock a process may take by that on the wall: a busy machine is no fault of a document."""
FILES_A_PROCESS = 500
"""Then it is started anew: what a converter leaks does not add up."""


class Converter(ChildProcess):
    """A process that converts one document after the other; started by the first one, and again after a violent end."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        arguments = ["-B", "-X", "utf8", "-m", PROGRAM, str(self.limits.memory_bytes)]
        super().__init__(arguments, imports=True, most=FILES_A_PROCESS)

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
        request = {
            "path": str(path.absolute()),
            "kind": kind,
            "file_bytes": limits.file_bytes,
            "unpacked_bytes": limits.unpacked_bytes,
            "ratio": limits.ratio,
            "text_characters": limits.text_characters,
            "seconds": limits.seconds,
        }
        answer = self.ask(json.dumps(request).encode() + b"\n", WAITS * limits.seconds)
        if not answer.line:
            why = (
                f"converting it takes longer than {limits.seconds:g} seconds"
                if answer.late or answer.code == -signal.SIGPROF
                else f"converting it needs more than {limits.memory_bytes:,} bytes of memory, or crashes the converter"
            )
            return Refused(why, "save it anew by the program that made it, split it, or give it as text")
        return heard(json.loads(answer.line))


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
