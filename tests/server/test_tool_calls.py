"""Text and calls of a reply: what a stream says of it, joined, is what the whole answer says, however it is cut."""

from __future__ import annotations

import json
import random
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.test_chat import TOOL, client, messages, openai_client, places
from tunesmith.server.requests import ChatBody, parsed
from tunesmith.server.tool_calls import Saying, said_in, sure_letters

__all__ = ["client", "openai_client", "places"]

CALL = '{"name": "paint", "arguments": {"n": 1}}'
PIECES = [
    CALL, '{"name": "burn", "arguments": {}}', "<tool_call>", "</tool_call>", "```json\n", "```", "\n```\n", "~~~\n",
    "\n", " ", "  ", "paint(n=1)", "paint", "pai", "(n=1)", " (kind='red')", "burn(n=1)", "other.paint(n=1)", "1. ",
    "# a\n", "#", "[TOOL_CALLS]", "<|python_tag|>", "<think>", "</think>", "</th", "<tool", "[", "]", "{", "}", ",",
    "Sure, ", "I paint ", "é", '"```"', "\\\n", "`paint`", "\uff50aint(n=2)", "\ufeff", "\x0c", "\t",
    '{"name": "paint", "arguments": {"kind": "```<x>"}}',
]  # fmt: skip
VALUES = st.recursive(
    st.text(max_size=6) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def body_of(**more: Any) -> ChatBody:
    return parsed({"model": "m", "messages": messages("a"), "tools": [TOOL], **more}, ChatBody)


def streamed(text: str, body: ChatBody, cuts: list[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a stream says before the end of a text that comes in pieces, and all that it says."""
    saying, deltas = Saying(body), []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        if start < end:
            deltas += saying.add(text[start:end])
    early = list(deltas)
    return early, deltas + saying.end(said_in(text, body))


def joined(deltas: list[dict[str, Any]]) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls of deltas, as a client joins them."""
    text, calls = "", list[dict[str, str]]()
    for delta in deltas:
        assert len(delta) == 1
        text += delta.get("content", "")
        for one in delta.get("tool_calls", ()):
            if one["index"] == len(calls):
                assert one["type"] == "function"
                assert one["id"].startswith("call_")
                assert one["function"]["arguments"] == ""
                calls.append({"name": one["function"]["name"], "arguments": ""})
            else:
                assert one.keys() == {"index", "function"}
                assert one["function"].keys() == {"arguments"}
                calls[one["index"]]["arguments"] += one["function"]["arguments"]
    return text, [(call["name"], call["arguments"]) for call in calls]


def whole(text: str, body: ChatBody) -> tuple[str, list[tuple[str, str]]]:
    said = said_in(text, body)
    assert said.content is not None or said.calls
    functions = [call["function"] for call in said.calls]
    return said.content or "", [(one["name"], one["arguments"]) for one in functions]


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("paint it red", "paint it red", []),
        ('{"name": "burn", "arguments": {}}', '{"name": "burn", "arguments": {}}', []),
        (CALL, None, ['{"n": 1}']),
        (f"<tool_call>{CALL}</tool_call>", None, ['{"n": 1}']),
        (f"\n <tool_call>{CALL}", None, ['{"n": 1}']),
        (f"I will.\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "I will.\n", ['{"n": 1}'] * 2),
        (f"Like so:\n```json\n{CALL}\n```\nDone.", "Like so:\n", ['{"n": 1}']),
        ("Like so:\n```python\nprint(1)\n```", "Like so:\n```python\nprint(1)\n```", []),
        (f"<think>It is red.</think>\n{CALL}", "<think>It is red.</think>", ['{"n": 1}']),
        ("paint(n=1, kind='red')", None, ['{"n": 1, "kind": "red"}']),
        ("# as asked\npaint(n=1)", None, ['{"n": 1}']),
        ("paint (n=1) is a call", "paint (n=1) is a call", []),
        # A fence in an argument is none.
        ('{"name": "paint", "arguments": {"kind": "a ```b"}}', None, ['{"kind": "a ```b"}']),
    ],
)
def test_what_a_reply_says(text: str, content: str | None, calls: list[str]) -> None:
    said = said_in(text, body_of())
    assert said.content == content
    assert [call["function"] for call in said.calls] == [{"name": "paint", "arguments": one} for one in calls]
    assert joined(streamed(text, body_of(), list(range(1, len(text))))[1]) == whole(text, body_of())
    one_alone = said_in(text, body_of(parallel_tool_calls=False))
    assert (one_alone.content, len(one_alone.calls)) == (content, min(1, len(calls)))
    for none in (body_of(tool_choice="none"), body_of(tools=None)):
        assert said_in(text, none).content == text


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_a_stream_joins_to_the_whole(pieces: list[str], rng: random.Random) -> None:
    text, body = "".join(pieces), body_of()
    places = range(1, len(text))
    for cuts in (list(places), sorted(rng.sample(places, min(len(places), 4)))):
        early, deltas = streamed(text, body, cuts)
        assert joined(deltas) == whole(text, body)
        # No call is told before it is certain, and no text is taken back.
        assert not any("tool_calls" in delta for delta in early)
        assert all(delta["content"] for delta in early)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(VALUES, st.integers(0, 200), st.sampled_from([None, 1]), st.randoms(use_true_random=False))
def test_arguments_of_a_required_call_come_as_they_are_written(
    value: Any, cut: int, indent: int | None, rng: random.Random
) -> None:
    call = {"name": "paint", "arguments": {"value": value}}
    text = json.dumps(call, indent=indent, ensure_ascii=rng.random() < 0.5)
    body = body_of(tool_choice="required")
    early, deltas = streamed(text, body, list(range(1, len(text))))
    assert joined(deltas) == whole(text, body)
    ((name, arguments),) = joined(deltas)[1]
    assert (name, json.loads(arguments)) == ("paint", {"value": value})
    # All of it before the end, letter by letter.
    assert joined(early) == joined(deltas)
    assert len(early) == 1 + len(arguments)
    # A reply that is cut off is a call from its name on, with what was written of its arguments.
    short = text[: cut % len(text)]
    if short:
        _, deltas = streamed(short, body, sorted(rng.sample(range(1, len(short)), min(len(short) - 1, 3))))
        assert joined(deltas) == whole(short, body)
        begun = short.find('"arguments"') >= 0 and "{" in short[short.find('"arguments"') :]
        assert joined(deltas)[0] == ("" if begun else short)


def test_text_comes_as_it_is_written() -> None:
    body = body_of()
    texts = ("Sure, it is green. I would not paint it.", "1. Green.\n2. Red.", "Painting (it) is fun")
    for text in (*texts, "\u00dcbrigens (so) ist es gr\u00fcn."):
        early, _ = streamed(text, body, list(range(1, len(text))))
        assert joined(early)[0] == text[:-1] or joined(early)[0] == text
        # After the first word nothing waits.
        assert len(early) > len(text) - 12
    tagged = f"It is grey, so I paint it. <tool_call>{CALL}</tool_call>"
    early, deltas = streamed(tagged, body, list(range(1, len(tagged))))
    assert joined(early)[0] == "It is grey, so I paint it. "
    assert [list(delta) for delta in deltas[len(early) :]] == [["tool_calls"], ["tool_calls"]]


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("", 0), ("  ", 0), ("p", 0), ("paint", 0), ("paint ", 0), ("paint (", 0), ("paint i", 7), ("{", 0), ("[", 0),
        ("Hello", 5), ("It is <", 6), ("It is <b", 8), ("It is <tool_call", 6), ("It is ``", 6), ("It is `x", 8),
        ("# He", 0), ("# He\n", 0), ("# He\nIt", 7), ("<think>a", 8), ("<think>a</think>", 16), ("a</think>\n{", 9),
        ("[TOOL_", 0), ("<|python_tag|>It", 16), ("paintbrush", 10), ("f.", 2), ("12", 2), ("é", 0), ("é!", 2),
    ],
)  # fmt: skip
def test_how_much_is_sure(text: str, sure: int) -> None:
    assert sure_letters(text, ["paint"]) == sure


# Over HTTP


def collected(stream: Any) -> tuple[list[dict[str, Any]], str | None, list[Any]]:
    deltas, finish, noted = [], None, []
    for chunk in stream:
        choice = chunk.choices[0]
        delta = {name: value for name, value in choice.delta.to_dict().items() if name in ("content", "tool_calls")}
        deltas += [delta] if any(delta.values()) else []
        noted += choice.logprobs.content or [] if choice.logprobs else []
        finish = choice.finish_reason or finish
    return deltas, finish, noted


def test_a_text_is_streamed_where_tools_are_offered(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tuned-1", "messages": messages("tell me the colour of coal (4)"), "max_tokens": 24, "tools": [TOOL],
        "seed": 3, "logprobs": True,
    }  # fmt: skip
    answer = openai_client.chat.completions.create(**asked).choices[0]
    deltas, finish, noted = collected(openai_client.chat.completions.create(**asked, stream=True))
    assert answer.message.tool_calls is None
    assert joined(deltas) == (answer.message.content, [])
    assert len(deltas) > 4
    assert finish == answer.finish_reason
    assert answer.logprobs is not None
    assert [one.token for one in noted] == [one.token for one in answer.logprobs.content or []]


@pytest.mark.parametrize("most", [200, 36])
def test_a_required_call_is_streamed_and_a_cut_one_too(openai_client: openai.OpenAI, most: int) -> None:
    chosen = {"type": "function", "function": {"name": "paint"}}
    asked: dict[str, Any] = {"model": "tuned-2", "messages": messages("paint"), "max_tokens": most, "seed": 1,
                             "tools": [TOOL], "tool_choice": chosen}  # fmt: skip
    answer = openai_client.chat.completions.create(**asked).choices[0]
    deltas, finish, _ = collected(openai_client.chat.completions.create(**asked, stream=True))
    assert answer.message.tool_calls is not None
    function = answer.message.tool_calls[0].function  # type: ignore[union-attr]
    assert joined(deltas) == ("", [("paint", function.arguments)])
    assert len(deltas) > 4
    assert finish == answer.finish_reason == ("tool_calls" if most == 200 else "length")
    if most == 200:
        assert set(json.loads(function.arguments)) == {"kind", "n"}
        with openai_client.chat.completions.stream(**asked) as events:
            told = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
            last = events.get_final_completion().choices[0]
        assert len(told) > 3
        assert last.message.tool_calls
        assert last.message.tool_calls[0].function.arguments == function.arguments
