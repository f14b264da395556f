"""Columns of a raw row as parts of a conversation. It knows no shape."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tunesmith.language.messages import EMPTY_ANSWERS, Message, Misfit, is_messages, kind_of, messages_of, parsed

Found: TypeAlias = tuple[str, set[str], dict[str, Any]]
"""A shape's name, the columns that the conversation is made of, and what they become."""

OPTIONAL = ("system", "tools", "functions")
"""Columns that any shape may have beside its own."""
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def given(row: Mapping[str, Any], column: str) -> bool:
    """Whether a column says anything: files with fixed columns hold empty cells and nulls."""
    value = row.get(column)
    return value is not None and not (isinstance(value, Sequence) and len(value) == 0)


def first_given(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The first of these columns that says anything."""
    return next((column for column in columns if given(row, column)), None)


def first_there(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """The first of these columns that is not null; an empty answer is one."""
    return next((column for column in columns if row.get(column) is not None), None)


def optional_columns(row: Mapping[str, Any]) -> set[str]:
    """Columns that are part of a conversation of any shape; a system that is no text is another matter."""
    return {name for name in OPTIONAL if name != "system" or row.get(name) is None or isinstance(row[name], str)}


def has_optional(row: Mapping[str, Any]) -> bool:
    """Whether a row says more than a prompt and a completion."""
    return any(given(row, name) for name in optional_columns(row))


def text_in(row: Mapping[str, Any], column: str) -> str:
    """A column's text.

    Raises:
        Misfit: It holds something else.
    """
    if not isinstance(row[column], str):
        raise Misfit(f"{column} is {kind_of(row[column])}, not a text")
    return str(row[column])


def asked_in(row: Mapping[str, Any], column: str, met: Counter[str]) -> list[Message]:
    """A prompt: messages, or a text that becomes the user's message."""
    if is_messages(row[column]):
        return messages_of(row[column], column, met)
    return [{"role": "user", "content": text_in(row, column)}]


def answer_in(row: Mapping[str, Any], column: str | None, met: Counter[str]) -> list[Message]:
    """An answer: messages, or a text that becomes the assistant's; nothing where there is no column."""
    if column is None:
        return []
    if is_messages(row[column]):
        return messages_of(row[column], column, met)
    text = text_in(row, column)
    if not text.strip():
        met[EMPTY_ANSWERS] += 1
    return [{"role": "assistant", "content": text}]


def history_in(row: Mapping[str, Any], met: Counter[str]) -> list[Message]:
    """Earlier turns in the column ``history``: pairs of texts, or messages.

    Raises:
        Misfit: It holds something else.
    """
    if not given(row, "history"):
        return []
    history = parsed(row["history"], "history")
    if is_messages(history):
        return messages_of(history, "history", met)
    if not isinstance(history, Sequence) or not all(_is_exchange(turn) for turn in history):
        raise Misfit("history is no list of pairs of texts")
    roles = ("user", "assistant")
    return [{"role": r, "content": text} for turn in history for r, text in zip(roles, turn, strict=True)]


def _is_exchange(turn: Any) -> bool:
    whole = isinstance(turn, Sequence) and not isinstance(turn, str) and len(turn) == 2
    return whole and all(isinstance(text, str) for text in turn)


def raw_text(value: Any) -> list[Message] | None:
    """The messages of a raw text in our own spelling, so that a row can be read again."""
    one = value[0] if isinstance(value, Sequence) and len(value) == 1 else None
    if isinstance(one, Mapping) and one.get("role") == "text" and isinstance(one.get("content"), str):
        return [{"role": "text", "content": one["content"]}]
    return None


def spoken_turns(text: str) -> list[Message] | None:
    """The turns of a text that says ``Human:`` and ``Assistant:`` at the start of paragraphs (Anthropic's)."""
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        return None
    turns = [
        {"role": _SPEAKERS[speaker], "content": said.strip()}
        for speaker, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    # A prompt ends with the word that the answer follows.
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns
