"""One message and one tool, of every common spelling, in one spelling. It knows no row and no file.

The spelling is OpenAI's with two differences that chat templates want: a content is one text, and the arguments of a
tool call are an object, not JSON text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tunesmith.data.reading import did_you_mean

Message: TypeAlias = dict[str, Any]
"""``role``, ``content`` (a text, empty beside tool calls), and where there are any: ``tool_calls``, ``tool_call_id``,
``name``, ``weight``, and a reasoning model's ``reasoning_content`` or ``thinking``."""

ROLES = ("system", "developer", "user", "assistant", "tool")
_SPELLED = {
    **{role: role for role in ROLES},
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "ipython": "tool",
}
_CALLS = ("function_call", "tool_call")
_MEANT = {"bot": "assistant", "model": "assistant", "ai": "assistant", "agent": "assistant", "chatgpt": "assistant",
          "prompter": "user", "customer": "user", "instruction": "user", "context": "system"}  # fmt: skip
_KEPT = ("name", "tool_call_id", "reasoning_content", "reasoning", "thinking")
_TEXT_PARTS = ("text", "input_text", "output_text")
_MAY_BE_NULL = ("default", "const", "example")
_PYTHON = re.compile(r"[\s\[({]+'")

NULL_ARGUMENTS = "null arguments"
EMPTY_ANSWERS = "empty answers"


class Misfit(Exception):
    """Why something is no conversation, to follow its place in a sentence."""


def kind_of(value: Any) -> str:
    """What a value is, for a sentence."""
    if isinstance(value, bool):
        return "a truth value"
    for types, name in (((int, float), "a number"), (str, "a text"), (Mapping, "an object"), (Sequence, "a list")):
        if isinstance(value, types):
            return name
    return "null" if value is None else f"of type {type(value).__name__}"


def parsed(value: Any, what: str) -> Any:
    """What JSON text says; any other value as it is.

    Raises:
        Misfit: The text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except RecursionError as error:
        raise Misfit(f"{what} is JSON that is nested too deeply") from error
    except ValueError as error:
        if _PYTHON.match(value):
            raise Misfit(f"{what} is text in Python's notation, not JSON: write it with json.dumps") from error
        raise Misfit(f"{what} is text that is not JSON ({error})") from error


def is_messages(value: Any) -> bool:
    """Whether a value is a list of messages, or JSON text of one; a text that only looks like JSON is a text."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return False
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(entry, Mapping) and ("role" in entry or "from" in entry) for entry in value)
    )


def messages_of(value: Any, what: str, met: Counter[str]) -> list[Message]:
    """A list of messages, or JSON text of one, in our spelling.

    Args:
        value: The list.
        what: Its name in a sentence.
        met: Counts what a person should hear of: null arguments, empty answers.

    Raises:
        Misfit: It is no list of messages.
    """
    entries = parsed(value, what)
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise Misfit(f"{what} is {kind_of(entries)}, not a list of messages")
    if not entries:
        raise Misfit(f"{what} is empty")
    whole = "" if what == "messages" else f" of {what}"
    return [_message(entry, f"message {number}{whole}", met) for number, entry in enumerate(entries, 1)]


def _message(entry: Any, place: str, met: Counter[str]) -> Message:
    if not isinstance(entry, Mapping):
        raise Misfit(f"{place} is {kind_of(entry)}, not an object with role and content")
    spelled = entry.get("role") if entry.get("role") is not None else entry.get("from")
    role = _role(spelled, entry, place)
    content = entry.get("content") if entry.get("content") is not None else entry.get("value")
    message: Message = {"role": role}
    calls: list[dict[str, Any]] = []
    if spelled in _CALLS:
        calls, content = _called(parsed(content, f"the call in {place}"), place, met), None
    elif role == "assistant":
        calls = _tool_calls(entry, place, met)
    if content is None and not calls:
        raise Misfit(f"{place} has no content")
    message["content"] = text_of(content, place, any_value=role == "tool")
    if calls:
        message["tool_calls"] = calls
    message |= {key: entry[key] for key in _KEPT if entry.get(key) is not None}
    if role == "assistant" and entry.get("weight") is not None:
        if entry["weight"] not in (0, 1):
            raise Misfit(f"{place} has weight {entry['weight']!r}: only 0 and 1 have a meaning")
        message["weight"] = int(entry["weight"])
    if role == "assistant" and not calls and not message["content"].strip():
        met[EMPTY_ANSWERS] += 1
    return message


def _role(spelled: Any, entry: Mapping[str, Any], place: str) -> str:
    if spelled is None:
        raise Misfit(f"{place} has no role; its keys are {', '.join(map(str, entry)) or 'none'}")
    role = _SPELLED.get(spelled) if isinstance(spelled, str) else None
    if role is None:
        meant = _MEANT.get(str(spelled).lower())
        hint = f" (did you mean '{meant}'?)" if meant else did_you_mean(str(spelled), _SPELLED)
        raise Misfit(f"{place} has role {str(spelled)!r}{hint or '; roles are ' + ', '.join(ROLES)}")
    return role


def text_of(content: Any, place: str, *, any_value: bool = False) -> str:
    """A content as one text; nothing is an empty one.

    Args:
        content: A text, or a list of texts and of parts of the type text.
        place: Where it stands.
        any_value: Whether any other JSON value is taken too and written as JSON (a tool's result).

    Raises:
        Misfit: It holds anything but text.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(p, str) or _is_part(p) for p in content):
        return "".join(_part(part, place) for part in content)
    if any_value:
        return json.dumps(content, ensure_ascii=False)
    raise Misfit(f"the content of {place} is {kind_of(content)}, not a text")


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("type"), str)


def _part(part: Any, place: str) -> str:
    if isinstance(part, str):
        return part
    if part["type"] not in _TEXT_PARTS or not isinstance(part.get("text"), str):
        raise Misfit(f"{place} holds a part of the type {part['type']!r}; only text is taken")
    return str(part["text"])


def _tool_calls(entry: Mapping[str, Any], place: str, met: Counter[str]) -> list[dict[str, Any]]:
    """The calls of an assistant's message, in today's spelling or in the one before it."""
    calls = parsed(entry.get("tool_calls"), f"tool_calls of {place}")
    if not calls and entry.get("function_call") is not None:
        calls = [parsed(entry["function_call"], f"function_call of {place}")]
    return _called(calls, place, met) if calls else []


def _called(calls: Any, place: str, met: Counter[str]) -> list[dict[str, Any]]:
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise Misfit(f"the tool calls of {place} are {kind_of(calls)}, not a list")
    return [_call(parsed(call, f"a tool call of {place}"), place, met) for call in calls]


def _call(call: Any, place: str, met: Counter[str]) -> dict[str, Any]:
    inner = call.get("function") if isinstance(call, Mapping) and call.get("function") is not None else call
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise Misfit(f"a tool call of {place} has no function name")
    given = inner.get("arguments")
    if given is None:
        given = inner.get("parameters")
    arguments = {} if given in (None, "") else parsed(given, f"the argument object of {inner['name']!r} in {place}")
    if not isinstance(arguments, Mapping):
        raise Misfit(f"the arguments of {inner['name']!r} in {place} are {kind_of(arguments)}, not an object")
    if isinstance(given, Mapping) and any(value is None for value in given.values()):
        met[NULL_ARGUMENTS] += 1
    identity = {"id": call["id"]} if call.get("id") is not None else {}
    return {**identity, "type": "function", "function": {"name": inner["name"], "arguments": dict(arguments)}}


def tools_of(value: Any, what: str) -> list[dict[str, Any]]:
    """Tools as a chat template takes them, from a list of them or of bare functions, or from JSON text of it.

    Raises:
        Misfit: It is no such list.
    """
    entries = parsed(value, what)
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise Misfit(f"{what} is {kind_of(entries)}, not a list of tools")
    return [_tool(parsed(entry, f"tool {number}"), f"tool {number}") for number, entry in enumerate(entries, 1)]


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise Misfit(f"{place} is {kind_of(tool)}, not an object")
    whole = tool if tool.get("function") is not None else {"type": "function", "function": tool}
    function = parsed(whole["function"], place)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Misfit(f"{place} has no name")
    return dict(_without_nulls({**whole, "function": function}))


def _without_nulls(value: Any) -> Any:
    """A schema without members that are null: Arrow gives every object the members of all others that way."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None or key in _MAY_BE_NULL}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nulls(inner) for inner in value]
    return value
