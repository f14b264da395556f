"""The texts of a row with who says them, and a row's columns with some of them written anew. It judges no text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.audit.data import AuditData
from tunesmith.types import Row

CONVERSATION = ("messages", "chosen", "rejected")
PLAIN = "plain"


class Piece(NamedTuple):
    """One text of a row.

    Args:
        column: Where it stands.
        number: Of the message in that column; -1 where the column is the text.
        role: Who says it: ``plain`` for a column of text, else a message's role.
        text: It.
    """

    column: str
    number: int
    role: str
    text: str


def is_conversation(data: AuditData) -> bool:
    """Whether rows are messages."""
    return data.task.columns.get("messages") is list


def text_columns(data: AuditData) -> tuple[str, ...]:
    """The columns that hold text or messages; a column of class labels is none."""
    label = data.label
    wanted = CONVERSATION if is_conversation(data) else ()
    columns = data.task.columns
    return tuple(name for name in columns if name != label and (columns[name] is str or name in wanted))


def reader(data: AuditData) -> Callable[[Row], list[Piece]]:
    """What gives the texts of a row, in the order of its columns; an empty text is none."""
    return reader_of(text_columns(data))


def reader_of(columns: Sequence[str]) -> Callable[[Row], list[Piece]]:
    """The same for these columns."""

    def read(row: Row) -> list[Piece]:
        found = []
        for column in columns:
            value = row.get(column)
            if isinstance(value, str):
                if value:
                    found.append(Piece(column, -1, PLAIN, value))
            elif isinstance(value, (list, tuple)):
                found += _of_messages(column, value)
        return found

    return read


def _of_messages(column: str, messages: Sequence[Any]) -> list[Piece]:
    found = []
    for number, message in enumerate(messages):
        if isinstance(message, Mapping) and isinstance(text := message.get("content"), str) and text:
            found.append(Piece(column, number, str(message.get("role", "")), text))
    return found


def rewritten(row: Row, texts: Mapping[tuple[str, int], str]) -> dict[str, Any]:
    """The columns in which texts are replaced, as `Mark.change` has them.

    Args:
        row: The row as it is; it is left so.
        texts: Column and number of a piece, to what it should say.
    """
    changed: dict[str, Any] = {}
    for (column, number), text in texts.items():
        if number < 0:
            changed[column] = text
        else:
            changed.setdefault(column, copy.deepcopy(row[column]))[number]["content"] = text
    return changed


def excerpt(text: str, start: int = 0, end: int | None = None, most: int = 60) -> str:
    """A short part of a text for a note: what stands from ``start`` to ``end``, on one line, cut where it is long."""
    part = " ".join(text[start : start + 4 * most if end is None else end].split())
    return part if len(part) <= most else part[: most - 3] + "..."
