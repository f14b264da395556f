"""A mailbox file taken apart into messages, one after the other. It parses no message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_ID = re.compile(rb"^Message-ID:\s*<?([^>\s]+)", re.IGNORECASE | re.MULTILINE)


def messages(path: Path, most_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    """The name and the bytes of each message; no bytes where it has more than ``most_bytes``.

    A name is the message's own id where it has one, else its number from 1; the second of a name ends in ``-2``.
    A line that begins with ``From `` after an empty one begins a message; ``>From `` in its text is ``From ``.
    """
    seen: dict[str, int] = {}
    for number, content in enumerate(_contents(path, most_bytes), 1):
        name = str(number)
        if content is not None and (match := _ID.search(content.split(b"\n\n", 1)[0])):
            name = match[1].decode("ascii", "replace").replace("#", "_")
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), content


def _contents(path: Path, most_bytes: int) -> Iterator[bytes | None]:
    lines: list[bytes] = []
    held = 0
    began, empty = False, True
    with path.open("rb") as file:
        # A line is read in parts where it is very long, so that memory stays bounded.
        while line := file.readline(2**16):
            if empty and line.startswith(b"From "):
                if began:
                    yield _whole(lines) if held <= most_bytes else None
                lines, held, began = [], 0, True
            elif began:
                held += len(line)
                if held <= most_bytes:
                    line = line.replace(b"\r\n", b"\n")
                    lines.append(line[1:] if re.match(rb">+From ", line) else line)
            empty = line in (b"\n", b"\r\n")
    if began:
        yield _whole(lines) if held <= most_bytes else None


def _whole(lines: list[bytes]) -> bytes:
    """A message without the empty lines behind it, which come and go with the message that follows."""
    return b"".join(lines).rstrip(b"\n") + b"\n"
