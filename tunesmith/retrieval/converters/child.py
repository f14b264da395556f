"""The process that converts documents, one line of JSON a document. It opens no connection and starts no program.

``python -m tunesmith.retrieval.converters.child MEMORY_BYTES`` is what `tunesmith.retrieval.converting` starts.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.retrieval.converters.choose import converted
from tunesmith.retrieval.limits import Limits

FORBIDDEN = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
)
DEPTH = 20_000


def _refuse(event: str, _arguments: Any) -> None:
    if event in FORBIDDEN:
        raise PermissionError(f"a converter does not do this: {event}")


def shut_in(memory_bytes: int) -> None:
    """What a document is not to make a converter do: fill the memory, connect, start programs, leave a core file."""
    for kind, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        # A system that does not know a limit (macOS: memory) has none.
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (least, least))
    sys.addaudithook(_refuse)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """What a document gave, or why it gave nothing."""
    limits = Limits(
        file_bytes=asked["file_bytes"],
        unpacked_bytes=asked["unpacked_bytes"],
        ratio=asked["ratio"],
        text_characters=asked["text_characters"],
    )
    # Its signal ends the process, whatever a library is busy with.
    signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
    found = asdict(converted(Path(asked["path"]), asked["kind"], limits))
    signal.setitimer(signal.ITIMER_PROF, 0)
    return found


def main(memory_bytes: int) -> None:
    """Answer until there is nothing more to read."""
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.close(silent)
    warnings.simplefilter("ignore")
    logging.disable()
    sys.setrecursionlimit(DEPTH)
    shut_in(memory_bytes)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
