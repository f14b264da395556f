"""A prompt with a chosen and a rejected answer, in the shapes that such rows have. It knows no file and no template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tunesmith.language.columns import (
    Found,
    asked_in,
    first_given,
    given,
    has_optional,
    optional_columns,
    spoken_turns,
    text_in,
)
from tunesmith.language.messages import Message, Misfit, is_messages, messages_of, tools_of

_SIDES = ("chosen", "rejected")
_OPENAI_SIDES = ("preferred_output", "non_preferred_output")


def openai_pair(row: Mapping[str, Any], met: Counter[str]) -> Found | None:
    """OpenAI's shape: ``input`` with messages and tools, ``preferred_output`` and ``non_preferred_output``.

    Raises:
        Misfit: The row has its columns, and they hold something else.
    """
    if any(row.get(name) is None for name in _OPENAI_SIDES):
        return None
    asked = row.get("input")
    if not isinstance(asked, Mapping) or not given(asked, "messages"):
        raise Misfit("has preferred_output, but no input with messages")
    chosen, rejected = (messages_of(row[name], name, met) for name in _OPENAI_SIDES)
    made = {"messages": messages_of(asked["messages"], "input.messages", met)} | _both(chosen, rejected)
    if given(asked, "tools"):
        made["tools"] = tools_of(asked["tools"], "input.tools")
    return "preferences (OpenAI)", {"input", *_OPENAI_SIDES}, made


def pair(row: Mapping[str, Any], filled: Message | None, met: Counter[str]) -> Found | None:
    """``chosen`` and ``rejected``: texts or messages, after a prompt of their own or with it inside.

    Args:
        row: The raw row.
        filled: The user's message where the recipe says what it is.
        met: Counts what a person should hear of.

    Raises:
        Misfit: The row has these columns, and they hold something else.
    """
    if any(row.get(name) is None for name in _SIDES):
        return None
    chosen, rejected = (_side(row, name, met) for name in _SIDES)
    column = None if filled else _prompt_column(row)
    asked = [filled] if filled else _asked(row, column, met)
    shared = _shared(chosen, rejected)
    sides = _both(chosen[len(shared) :], rejected[len(shared) :])
    # Sides that begin with the question hold the whole conversation; a prompt beside them says it once more.
    messages = shared if shared and shared[0]["role"] != "assistant" else asked + shared
    if not messages:
        raise Misfit("has chosen and rejected, but no prompt before them")
    if messages[-1]["role"] == "assistant":
        raise Misfit("has chosen and rejected after an assistant's message, not after a user's")
    made: dict[str, Any] = {"messages": messages} | sides
    texts = [row[name] for name in (column, *_SIDES) if name]
    if not shared and column != "instruction" and not has_optional(row) and all(map(_is_plain, texts)):
        made["plain"] = True
    used = {*_SIDES, "messages", *([column] if column else []), *(["input"] if column == "instruction" else [])}
    return "preferences (chosen, rejected)", used | optional_columns(row), made


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) and not is_messages(value) and spoken_turns(value) is None


def _prompt_column(row: Mapping[str, Any]) -> str | None:
    if is_messages(row.get("messages")) and messages_of(row["messages"], "messages", Counter())[-1]["role"] != (
        "assistant"
    ):
        return "messages"
    return first_given(row, ("prompt", "question", "instruction", "input"))


def _asked(row: Mapping[str, Any], column: str | None, met: Counter[str]) -> list[Message]:
    if column is None:
        return []
    if isinstance(row[column], str) and (turns := spoken_turns(row[column])):
        return turns
    asked = asked_in(row, column, met)
    if column == "instruction" and given(row, "input"):
        asked[-1]["content"] += "\n\n" + text_in(row, "input")
    return asked


def _side(row: Mapping[str, Any], name: str, met: Counter[str]) -> list[Message]:
    """One side: a text, a text of several turns, or messages."""
    value = row[name]
    if is_messages(value) or not isinstance(value, str):
        return messages_of(value, name, met)
    return spoken_turns(value) or [{"role": "assistant", "content": value}]


def _shared(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """What both sides begin with, up to where both still have an answer of the assistant's."""
    length = 0
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    while length and not (chosen[length]["role"] == rejected[length]["role"] == "assistant"):
        length -= 1
    return chosen[:length]


def _both(chosen: list[Message], rejected: list[Message]) -> dict[str, Any]:
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if side[0]["role"] != "assistant":
            raise Misfit(f"{name} begins with a message of role '{side[0]['role']}' that the other side lacks")
        if side[-1]["role"] != "assistant":
            raise Misfit(f"{name} does not end with the assistant's message")
    return {"chosen": chosen, "rejected": rejected}
