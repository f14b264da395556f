"""Documents that are text already: their encoding is told, only JSON is rewritten. It starts no process."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.json_rows import read_json, read_jsonl
from tunesmith.data.reading import Fault
from tunesmith.data.text_file import TextFile, look_at
from tunesmith.errors import UserError

_TITLE = re.compile(r"^ {0,3}#[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
HEAD_CHARACTERS = 20_000


@dataclass(frozen=True)
class Converted:
    """A document's text.

    Args:
        text: Plain text or Markdown.
        title: As the document says it; empty if it does not.
        notes: What was lost or odd, for a person.
        parts: Byte at which each page or record begins, and its name.
        labels: What the document says of itself: author, sender.
        changed: When it says that it was last edited, in ISO 8601; empty if it does not.
        inside: Documents that lie in it: name, and the text or why there is none.
    """

    text: str
    title: str = ""
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[int, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    changed: str = ""
    inside: tuple[tuple[str, Converted | Refused], ...] = ()


@dataclass(frozen=True)
class Refused:
    """Why a document gave no text.

    Args:
        reason: What is wrong.
        fix: What to do.
    """

    reason: str
    fix: str = ""


def read_plain(path: Path, label: str, kind: str) -> Converted | Refused:
    """The text of a file.

    Args:
        path: The file.
        label: Its name in messages.
        kind: One of `TEXT_KINDS`. Records of JSON are written out as lines ``column: value``.
    """
    try:
        file = look_at(path, label)
        if kind in ("json", "jsonl"):
            return _records(file, kind)
        with file.open() as (stream, _):
            text = stream.read()
    except UserError as error:
        return Refused(error.what, "give a text file in UTF-8, or name it by what it is")
    text, notes = printable(text)
    title = markdown_title(text) if kind == "markdown" else ""
    return Converted(text, title, (*_said(file), *notes))


def printable(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without halves of characters and NULs, each put as U+FFFD, and a note that says how many."""
    whole = re.sub(r"[\0\ud800-\udfff]", "�", text)
    damaged = sum(a != b for a, b in zip(text, whole, strict=True)) if whole != text else 0
    return whole, (f"{damaged:,} bytes are no text in its encoding and stand as U+FFFD",) if damaged else ()


def markdown_title(text: str) -> str:
    """The first heading of the outermost kind near the beginning; empty if there is none."""
    match = _TITLE.search(_FENCED.sub("", text[:HEAD_CHARACTERS]))
    return match[1] if match else ""


def title_of(name: str) -> str:
    """A title for a document that names none: its file's name."""
    return PurePosixPath(name).name


def _said(file: TextFile) -> tuple[str, ...]:
    return tuple(note.removeprefix(f"{file.label} ") for note in file.notes)


def _records(file: TextFile, kind: str) -> Converted | Refused:
    """One record after the other, with an empty line between."""
    texts: list[str] = []
    parts: list[tuple[int, str]] = []
    faults: list[str] = []
    place = 0
    with file.open() as (stream, _):
        if kind == "json" and (whole := _one_object(stream.read())) is not None:
            texts, faults = [whole], []
        else:
            stream.seek(0)
            for number, row in read_jsonl(stream, file) if kind == "jsonl" else read_json(stream, file):
                if isinstance(row, Fault):
                    faults.append(f"row {number:,} {row.reason}")
                    continue
                texts.append("\n".join(_lines(row)) + "\n\n")
                parts.append((place, f"row {number:,}"))
                place += len(printable(texts[-1])[0].encode())
    if faults and not texts:
        return Refused(f"{faults[0]}, and no row can be read", "give one JSON object a line (JSONL)")
    text, notes = printable("".join(texts))
    if faults:
        notes = (*notes, f"{len(faults):,} rows could not be read: {'; '.join(faults[:3])}")
    return Converted(text, notes=(*_said(file), *notes), parts=tuple(parts))


def _one_object(text: str) -> str | None:
    """A JSON file that is no list of rows, as text; None where it is one or is broken."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) or not isinstance(value, dict) or any(_is_rows(item) for item in value.values()):
        return None
    return "\n".join(_lines(value))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _lines(record: dict[str, Any]) -> list[str]:
    """A record as lines; a chat as lines of its roles; what is nested deeper as JSON."""
    lines: list[str] = []
    for name, value in record.items():
        if isinstance(value, str):
            lines.append(f"{name}: {value}")
        elif isinstance(value, list) and value and all(_is_message(item) for item in value):
            lines += [f"{item['role']}: {item['content']}" for item in value]
        elif value is not None:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"role", "content"} and isinstance(value["content"], str)
