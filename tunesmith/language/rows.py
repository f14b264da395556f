"""Rows of every common shape, as rows of one shape. It knows no file, no tokenizer and no template.

A row is recognised by its own columns alone. What it becomes has ``messages`` (and ``tools``, ``chosen``, ``rejected``
where there are any), beside all columns that the conversation was not made of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from tunesmith.data.digest import canonical_json
from tunesmith.data.reading import did_you_mean
from tunesmith.language.columns import (
    Found,
    answer_in,
    asked_in,
    first_given,
    first_there,
    given,
    has_optional,
    history_in,
    optional_columns,
    raw_text,
    text_in,
)
from tunesmith.language.messages import (
    EMPTY_ANSWERS,
    NULL_ARGUMENTS,
    Message,
    Misfit,
    is_messages,
    messages_of,
    tools_of,
)
from tunesmith.language.preference import openai_pair, pair

__all__ = ["ConversationShape", "Kind", "answer_of", "is_text", "prompt_of", "sides_of"]

Kind: TypeAlias = Literal["conversation", "preference"]
_Reader: TypeAlias = "Callable[[Mapping[str, Any], Counter[str]], Found | None]"

_QUESTIONS: dict[str, tuple[str, ...]] = {
    "prompt": ("completion", "response"),
    "question": ("answer",),
    "input": ("output",),
    "query": ("response",),
    "problem": ("solution",),
}
_ANSWERS = ("completion", "response", "answer", "output", "solution")
_FIELD = re.compile(r"\{\{(\w+)\}\}|\{(\w+)\}")
_KNOWN: dict[Kind, str] = {
    "conversation": "messages; conversations; instruction and output; prompt and completion; question and answer; "
    "prompt and response; input and output; text",
    "preference": "prompt, chosen and rejected; chosen and rejected that begin with the same messages; "
    "input, preferred_output and non_preferred_output",
}
_CUT, _WEIGHT, _TOOLS, _UNUSED = "cut", "weight 0", "tools", "context unused"
_SHAPE = "shape: "


class ConversationShape:
    """Raw rows to rows with ``messages``; counts what it met.

    Args:
        kind: ``conversation``, or ``preference`` for rows with a chosen and a rejected answer.
        want_answer: Whether a row must have an answer. Without it, as when a model is to give one, a row may end with a
            user's message, and a text under ``messages`` is one user's message.
        prompt: A text with columns in braces, ``{schema}``, which becomes the user's message instead of what the shape
            would say; a name in double braces stands for itself. The columns that it names stay in the row.
        answer: The column of the answer beside ``prompt``; by default completion, response, answer, output or solution.
        system: What the system says in conversations that do not say it themselves.

    Attributes:
        counts: Rows by shape, and everything else that ``notes`` tells of.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        want_answer: bool = True,
        prompt: str | None = None,
        answer: str | None = None,
        system: str | None = None,
    ) -> None:
        self.kind, self.want_answer = kind, want_answer
        self.prompt, self.answer, self.system = prompt, answer, system
        self.counts: Counter[str] = Counter()

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any] | str:
        """The row in our shape, or why it has none: words that follow its place in a sentence."""
        met: Counter[str] = Counter()
        try:
            shape, used, made = self._recognised(row, met)
            self._settle(row, used, made, met)
        except Misfit as fault:
            return str(fault)
        met[_SHAPE + shape] += 1
        self.counts.update(met)
        return {**{name: value for name, value in row.items() if name not in used}, **made}

    def notes(self) -> list[str]:
        """What a person should know of the rows taken so far, one sentence each."""
        shapes = [(name.removeprefix(_SHAPE), n) for name, n in self.counts.most_common() if name.startswith(_SHAPE)]
        said = [f"{n:,} {name}" if place else f"{n:,} rows are {name}" for place, (name, n) in enumerate(shapes)]
        told = {
            _TOOLS: "rows have tools",
            _WEIGHT: "messages with weight 0 are not learned",
            _CUT: "rows go on after the last answer; what follows it is left out",
            _UNUSED: "rows have a column context that is not in the prompt; a prompt with {context} puts it there",
            EMPTY_ANSWERS: "answers are empty",
            NULL_ARGUMENTS: "tool calls have arguments that are null; Parquet fills gaps that way, JSON text does not",
        }
        counted = [f"{self.counts[name]:,} {sentence}" for name, sentence in told.items() if self.counts[name]]
        return [", ".join(said), *counted] if said else counted

    def _recognised(self, row: Mapping[str, Any], met: Counter[str]) -> Found:
        readers: list[_Reader] = []
        if self.kind == "preference":
            readers += [openai_pair, self._pair]
        if self.kind == "conversation" or not self.want_answer:
            readers += [self._filled, self._chat, self._instruction, self._question, _called, _text]
        for read in readers:
            if found := read(row, met):
                return found
        if self.kind == "conversation" and given(row, "chosen") and given(row, "rejected"):
            raise Misfit(
                "has chosen and rejected, which are a preference; to learn the chosen one alone, let data.columns say "
                "completion: chosen, or messages: chosen where it holds the whole conversation"
            )
        columns = ", ".join(name if row[name] is not None else f"{name} (null)" for name in row if name != "id")
        raise Misfit(f"fits no known shape: its columns are {columns or 'none'}; known are {_KNOWN[self.kind]}")

    # Readers give None where the row lacks their columns, and raise Misfit where these hold something else.

    def _pair(self, row: Mapping[str, Any], met: Counter[str]) -> Found | None:
        return pair(row, self._asked(row) if self.prompt is not None else None, met)

    def _filled(self, row: Mapping[str, Any], met: Counter[str]) -> Found | None:
        """The user's message from the option ``prompt``."""
        if self.prompt is None:
            return None
        names = (self.answer,) if self.answer else _ANSWERS
        answer = first_there(row, names)
        if answer is None and self.want_answer:
            raise Misfit(f"has no answer: none of its columns is {' or '.join(names)}")
        made: dict[str, Any] = {"messages": [self._asked(row), *answer_in(row, answer, met)]}
        if not self.system and not has_optional(row) and not (answer and is_messages(row[answer])):
            made["plain"] = True
        return f"prompt option + {answer or 'no answer'}", _columns(row, answer), made

    def _asked(self, row: Mapping[str, Any]) -> Message:
        def value(match: re.Match[str]) -> str:
            if match[1]:
                return "{" + match[1] + "}"
            if row.get(match[2]) is None:
                raise Misfit(f"has no column '{match[2]}', which the prompt names{did_you_mean(match[2], row)}")
            found = row[match[2]]
            return found if isinstance(found, str) else canonical_json(found).decode()

        return {"role": "user", "content": _FIELD.sub(value, self.prompt or "")}

    def _chat(self, row: Mapping[str, Any], met: Counter[str]) -> Found | None:
        names = ("messages", "conversations", "conversation")
        column = next((c for c in names if row.get(c) is not None and row[c] != ""), None)
        if column is None:
            return None
        value = row[column]
        if not self.want_answer and isinstance(value, str) and not is_messages(value):
            messages: list[Message] = [{"role": "user", "content": value}]
        else:
            messages = raw_text(value) or messages_of(value, column, met)
        if column == "messages":
            return "messages (OpenAI)", _columns(row, column), {"messages": messages}
        return (
            "conversations (ShareGPT)",
            _columns(row, column, "history"),
            {"messages": history_in(row, met) + messages},
        )

    def _instruction(self, row: Mapping[str, Any], met: Counter[str]) -> Found | None:
        if not given(row, "instruction"):
            return None
        answer = first_there(row, ("output", "response", "completion", "answer"))
        if answer is None and self.want_answer:
            return None
        beside = first_given(row, ("input", "context"))
        asked = "\n\n".join(text_in(row, column) for column in ("instruction", beside) if column)
        messages = [*history_in(row, met), {"role": "user", "content": asked}, *answer_in(row, answer, met)]
        return "Alpaca", _columns(row, "instruction", "input", "history", beside, answer), {"messages": messages}

    def _question(self, row: Mapping[str, Any], met: Counter[str]) -> Found | None:
        pairs = [(question, answer) for question in _QUESTIONS for answer in _QUESTIONS[question]]
        asked = [(question, answer) for question, answer in pairs if given(row, question)]
        found = next(((question, answer) for question, answer in asked if row.get(answer) is not None), None)
        if found is None and (self.want_answer or not asked):
            return None
        question, answer = found or (asked[0][0], None)
        made: dict[str, Any] = {"messages": asked_in(row, question, met) + answer_in(row, answer, met)}
        texts = not any(is_messages(row[column]) for column in (question, answer) if column)
        if texts and not self.system and not has_optional(row):
            made["plain"] = True
        met[_UNUSED] += given(row, "context")
        return f"{question} + {answer or 'no answer'}", _columns(row, question, answer), made

    def _settle(self, row: Mapping[str, Any], used: set[str], made: dict[str, Any], met: Counter[str]) -> None:
        """What all shapes share: tools, the system's text, weights, and what no conversation can be."""
        messages: list[Message] = made["messages"]
        if is_text(made):
            return
        column = first_given(row, ("tools", "functions"))
        if column and "tools" not in made and (tools := tools_of(row[column], column)):
            made["tools"] = tools
        said = row["system"] if "system" in used and given(row, "system") else self.system
        if said and messages[0]["role"] not in ("system", "developer"):
            messages.insert(0, {"role": "system", "content": said})
        whole: list[Message | None] = [None, *messages, *made.get("chosen", [])]
        for number, (before, message) in enumerate(pairwise(whole), 1):
            called = before is not None and before["role"] in ("assistant", "tool")
            if message is not None and message["role"] == "tool" and not called:
                raise Misfit(f"message {number} has role 'tool', but no assistant's message before it")
        if self.want_answer and "chosen" not in made:
            _end_with_answer(messages, met)
        met[_TOOLS] += "tools" in made
        met[_WEIGHT] += sum(message.get("weight") == 0 for message in messages)


def _columns(row: Mapping[str, Any], *names: str | None) -> set[str]:
    return {name for name in names if name} | optional_columns(row)


def _called(row: Mapping[str, Any], met: Counter[str]) -> Found | None:
    """A question that is answered by tool calls alone."""
    if not given(row, "query") or not given(row, "answers") or not given(row, "tools"):
        return None
    call = messages_of([{"role": "function_call", "content": row["answers"]}], "answers", met)
    return "query + tool calls", _columns(row, "query", "answers"), {"messages": [*asked_in(row, "query", met), *call]}


def _text(row: Mapping[str, Any], _met: Counter[str]) -> Found | None:
    if row.get("text") is None:
        return None
    text = text_in(row, "text")
    if not text.strip():
        raise Misfit("text is empty")
    return "raw text", {"text"}, {"messages": [{"role": "text", "content": text}]}


def _end_with_answer(messages: list[Message], met: Counter[str]) -> None:
    answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise Misfit("has no assistant message")
    if answers[-1] == 0:
        raise Misfit("has nothing before the assistant's message")
    if all(messages[place].get("weight") == 0 for place in answers):
        raise Misfit("has no assistant message to learn: all have weight 0")
    if answers[-1] < len(messages) - 1:
        del messages[answers[-1] + 1 :]
        met[_CUT] += 1


def is_text(row: Mapping[str, Any]) -> bool:
    """Whether a row in our shape is raw text, which no template touches."""
    return bool(row["messages"][0]["role"] == "text")


def sides_of(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A preference as two conversations, chosen and rejected, of which only what follows the prompt is learned."""
    asked = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in row["messages"]]
    rest = {name: value for name, value in row.items() if name not in ("chosen", "rejected")}
    return {**rest, "messages": [*asked, *row["chosen"]]}, {**rest, "messages": [*asked, *row["rejected"]]}


def prompt_of(row: Mapping[str, Any]) -> list[Message]:
    """The messages that the answer follows: all of them where there is none yet, none before a raw text."""
    messages: list[Message] = row["messages"]
    answered = "chosen" not in row and messages[-1]["role"] in ("assistant", "text")
    return list(messages[:-1] if answered else messages)


def answer_of(row: Mapping[str, Any]) -> str:
    """The text of the last assistant message, or its tool calls as canonical JSON; empty where there is no answer.

    Of a preference, the chosen answer; of a raw text, the text.
    """
    last = (row.get("chosen") or row["messages"])[-1]
    if last["role"] not in ("assistant", "text"):
        return ""
    if last.get("tool_calls"):
        return canonical_json([call["function"] for call in last["tool_calls"]]).decode()
    return str(last["content"])
