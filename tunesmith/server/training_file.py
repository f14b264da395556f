"""An uploaded training file, read as a job will read it: each line JSON, each row of one known shape.

It knows no route and no job; rows are recognised by the language room alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.json_rows import read_jsonl
from tunesmith.data.reading import Fault
from tunesmith.data.text_file import look_at
from tunesmith.errors import UserError
from tunesmith.language.rows import ConversationShape, Kind
from tunesmith.server.faults import ApiFault

SHOWN_FAULTS = 5
"""Lines at fault that are named; reading ends with the last of them, so that a wrong file is refused soon."""


@dataclass(frozen=True)
class Checked:
    """A file without faults.

    Args:
        kind: ``conversation`` rows are for the method supervised, ``preference`` rows for dpo.
        rows: How many.
        notes: What a person should know of them.
    """

    kind: Kind
    rows: int
    notes: tuple[str, ...]


def check_rows(path: Path, filename: str, *, kind: Kind | None = None, param: str = "file") -> Checked:
    """Read a whole training file.

    Args:
        path: It.
        filename: Its name for the person.
        kind: That all rows have to be of; by default the kind of the first good row.
        param: The field of the request that named the file.

    Raises:
        ApiFault: 400 ``invalid_file_format`` with the lines at fault.
    """
    shape = ConversationShape(kind) if kind else None
    faults: list[str] = []
    rows = 0
    try:
        for number, row in _rows(path, filename):
            if isinstance(row, Fault):
                said: dict[str, Any] | str = row.reason
            else:
                shape = shape or ConversationShape(_kind_of(row))
                said = shape(row)
            if isinstance(said, str):
                faults.append(f"line {number:,} {said}")
                if len(faults) == SHOWN_FAULTS:
                    break
            rows += 1
    except UserError as fault:
        raise _refused(f"{fault.what}. Fix: {fault.fix}", filename, param) from fault
    if faults:
        more = "; there may be more" if len(faults) == SHOWN_FAULTS else ""
        raise _refused("; ".join(faults) + more, filename, param)
    if shape is None:
        raise _refused("it has no rows", filename, param)
    return Checked(shape.kind, rows, tuple(shape.notes()))


def _rows(path: Path, filename: str) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    file = look_at(path, filename)
    with file.open() as (text, _):
        yield from read_jsonl(text, file)


def _kind_of(row: dict[str, Any]) -> Kind:
    return "conversation" if isinstance(ConversationShape("preference")(row), str) else "preference"


def _refused(what: str, filename: str, param: str) -> ApiFault:
    text = f"Invalid file format: {filename}: {what}. Every line has to be one JSON object: a conversation"
    text += " with messages, or input, preferred_output and non_preferred_output"
    return ApiFault(400, text, param=param, code="invalid_file_format")
