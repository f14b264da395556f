"""What a reply says where tools are offered: text, calls, or text and then calls; whole, and while it is written.

Both go by one rule, so that a stream's pieces join to the whole answer: what stands before the first call is content.
It knows no model.
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.language.answers.call_text import calls_in
from tunesmith.language.answers.json_values import NotJson
from tunesmith.server.requests import ChatBody, NamedTool

TAG, FENCES, END_OF_THOUGHT = "<tool_call>", ("```", "~~~"), "</think>"
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL)
_BLANKS = " \t\f"
Delta = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What a reply says.

    Args:
        content: Its text; None where it has none but calls.
        calls: As the API has them.
    """

    content: str | None
    calls: list[dict[str, Any]] = field(default_factory=list)


def offered(body: ChatBody) -> list[dict[str, Any]]:
    """The tools that may be called."""
    if not body.tools or body.tool_choice == "none":
        return []
    return [tool.model_dump(exclude_none=True) for tool in body.tools]


def has_to_call(body: ChatBody) -> bool:
    """Whether the reply is held to be a call, and nothing but one."""
    return body.tool_choice == "required" or isinstance(body.tool_choice, NamedTool)


def said_in(text: str, body: ChatBody) -> Said:
    """What a whole reply says.

    A reply that has to be a call is one from its name on, a cut one too: its arguments are what was written of them.
    Any other is one where all that could be a call is, and of a tool that was offered; else it is a text.
    """
    names = _names(body)
    if not names:
        return Said(text)
    if has_to_call(body):
        arguments = _Arguments()
        arguments.add(text)
        if arguments.name in names:
            return Said(None, [call_object(str(arguments.name), arguments.text)])
        return Said(text)
    try:
        calls = calls_in(text)
    except NotJson:
        return Said(text)
    if any(call.name not in names for call in calls):
        return Said(text)
    if body.parallel_tool_calls is False:
        calls = calls[:1]
    before = text[: _first_call(text, names)]
    found = [call_object(call.name, json.dumps(call.arguments, ensure_ascii=False)) for call in calls]
    return Said(before if before.strip() else None, found)


def call_object(name: str, arguments: str) -> dict[str, Any]:
    """A call as the API has it, with an id of its own."""
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


class Saying:
    """The deltas of a reply that is being written.

    Text comes as soon as no call can begin before it. The arguments of a call come as they are written where the reply
    has to be one; any other call is told at the end, for only the end shows that all of it is calls.

    Args:
        body: The request's.
    """

    def __init__(self, body: ChatBody) -> None:
        self._body, self._names = body, _names(body)
        self._text, self._said, self._told = "", 0, 0
        self._arguments = _Arguments() if self._names and has_to_call(body) else None
        self._call: dict[str, Any] | None = None

    def add(self, text: str) -> list[Delta]:
        """What more of the text makes certain."""
        if self._arguments is not None:
            self._arguments.add(text)
            return self._more_of_call()
        self._text += text
        end = sure_letters(self._text, self._names) if self._names else len(self._text)
        if end <= self._said:
            return []
        found, self._said = self._text[self._said : end], end
        return [{"content": found}]

    def end(self, said: Said) -> list[Delta]:
        """What is left, once it is known what the whole reply says."""
        content = (said.content or "")[self._said :]
        deltas: list[Delta] = [{"content": content}] if content else []
        for index, call in enumerate(said.calls):
            function, told = call["function"], 0
            if index == 0 and self._call is not None:
                told = self._told
            else:
                deltas.append(_first_delta(index, call))
            if rest := function["arguments"][told:]:
                deltas.append(_later_delta(index, rest))
        return deltas

    def _more_of_call(self) -> list[Delta]:
        arguments = self._arguments
        assert arguments is not None
        if arguments.name not in self._names:
            return []
        deltas = []
        if self._call is None:
            self._call = call_object(str(arguments.name), "")
            deltas.append(_first_delta(0, self._call))
        if more := arguments.text[self._told :]:
            self._told += len(more)
            deltas.append(_later_delta(0, more))
        return deltas


def _first_delta(index: int, call: Mapping[str, Any]) -> Delta:
    function = {"name": call["function"]["name"], "arguments": ""}
    return {"tool_calls": [{"index": index, "id": call["id"], "type": call["type"], "function": function}]}


def _later_delta(index: int, arguments: str) -> Delta:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


class _Arguments:
    """The one call of a reply that is held to be one: its name, and of its arguments what is written so far."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._head, self._pieces = "", list[str]()
        self._deep, self._in_string, self._escaped = 0, False, False

    @property
    def text(self) -> str:
        """The arguments, letter for letter."""
        return "".join(self._pieces)

    def add(self, text: str) -> None:
        """More of the reply."""
        if self.name is None:
            self._head += text
            found = _HEAD.match(self._head)
            if found is None:
                return
            try:
                self.name = str(json.loads(found[1]))
            except ValueError:
                return
            text = self._head[found.end() :]
        elif not self._deep:
            return
        for place, letter in enumerate(text):
            self._see(letter)
            if not self._deep:
                # What closes the call itself is none of its arguments.
                text = text[: place + 1]
                break
        self._pieces.append(text)

    def _see(self, letter: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif letter == "\\":
                self._escaped = True
            elif letter == '"':
                self._in_string = False
        elif letter == '"':
            self._in_string = True
        elif letter in "{[":
            self._deep += 1
        elif letter in "}]":
            self._deep -= 1


def sure_letters(text: str, names: Collection[str]) -> int:
    """How many letters of a reply are content, whatever is still to come.

    Args:
        text: The reply so far.
        names: Tools that may be called.
    """
    # Where another thought ends later, all of this stands before it, and is content.
    end = start = _end_of_thought(text)
    if not _may_be_bare(text[start:], names):
        end += min(_until(text[start:], mark) for mark in (TAG, *FENCES))
    return end if text[:end].strip() else 0


def _until(text: str, mark: str) -> int:
    """Letters before a mark, or before what may become one at the end."""
    found = text.find(mark)
    if found >= 0:
        return found
    return len(text) - next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)


def _first_call(text: str, names: Collection[str]) -> int:
    """Where the first call of a reply that calls begins; a thought before it is content."""
    start = _end_of_thought(text)
    tag = text.find(TAG, start)
    if tag >= 0:
        return tag
    if _may_be_bare(text[start:], names):
        return start
    return min((place for mark in FENCES if (place := text.find(mark, start)) >= 0), default=start)


def _end_of_thought(text: str) -> int:
    found = text.rfind(END_OF_THOUGHT)
    return found + len(END_OF_THOUGHT) if found >= 0 else 0


def _may_be_bare(text: str, names: Collection[str]) -> bool:
    """Whether a text may still become nothing but calls: JSON, or Python's notation."""
    text = text.lstrip()
    if any(mark.startswith(text) for mark in _MARKS):
        return True
    text = next((text.removeprefix(mark) for mark in _MARKS if text.startswith(mark)), text).lstrip()
    while text.startswith("#"):
        # A comment in Python's notation, and a heading anywhere else.
        lines = re.split(r"[\r\n]", text, maxsplit=1)
        if len(lines) == 1:
            return True
        text = lines[1].lstrip()
    if not text or text[0] in "{[(\\\ufeff":
        return True
    word = re.match(r"\w*", text)
    assert word is not None
    return _may_be_called(word[0], text[word.end() :], names)


def _may_be_called(word: str, after: str, names: Collection[str]) -> bool:
    """Whether a word with what stands behind it may be the beginning of ``name(...)``, of a tool that is offered."""
    if not word or not (word.isascii() or word.isidentifier()):
        return False
    if not after:
        return not word.isascii() or any(name.startswith(word) for name in names)
    # As Python reads names.
    if unicodedata.normalize("NFKC", word) not in names:
        return False
    behind = after.lstrip(_BLANKS)
    return not behind or behind[0] in "(\\"


def _names(body: ChatBody) -> Sequence[str]:
    return [str(tool["function"]["name"]) for tool in offered(body)]
