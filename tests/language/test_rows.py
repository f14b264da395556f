"""Rows of every common shape: each becomes the one shape, or says in words why it can't."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tunesmith.data.source import read_rows
from tunesmith.language.rows import ConversationShape, Kind, answer_of, is_text, prompt_of, sides_of

USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "today's",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "default": None}}},
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}


def shaped(row: dict[str, Any], kind: Kind = "conversation", **options: Any) -> dict[str, Any]:
    shape = ConversationShape(kind, **options)
    made = shape(row)
    assert isinstance(made, dict), made
    assert shape(made) == made or options, "a row in our shape is taken as it is"
    return made


def refused(row: dict[str, Any], kind: Kind = "conversation", **options: Any) -> str:
    shape = ConversationShape(kind, **options)
    reason = shape(row)
    assert isinstance(reason, str)
    assert not shape.counts, "a refused row counts for nothing"
    return reason


def messages(row: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shaped(row, **options)["messages"]
    return found


def test_messages_keep_what_has_a_meaning_and_the_row_its_other_columns() -> None:
    row = {
        "id": "7",
        "database": "shop.sqlite",
        "messages": [
            {"role": "developer", "content": "be kind", "refusal": None},
            {
                "role": "user",
                "content": [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}],
                "name": "Ada",
            },
            {"role": "assistant", "content": "no", "weight": 0},
            USER,
            {"role": "assistant", "content": "yes", "weight": 1.0, "reasoning_content": "hm", "annotations": []},
        ],
        "tests": ["a"],
    }
    assert shaped(row) == {
        "id": "7",
        "database": "shop.sqlite",
        "tests": ["a"],
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": "hello", "name": "Ada"},
            {"role": "assistant", "content": "no", "weight": 0},
            USER,
            {"role": "assistant", "content": "yes", "reasoning_content": "hm", "weight": 1},
        ],
    }


def test_tool_calls_become_objects_however_they_are_written() -> None:
    written = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [written]},
            {"role": "tool", "tool_call_id": "c1", "content": {"degrees": 3}},
            {"role": "assistant", "content": "cold"},
        ],
        "tools": json.dumps([WEATHER]),
    }
    made = shaped(row)
    assert made["messages"][1:3] == [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "content": '{"degrees": 3}', "tool_call_id": "c1"},
    ]
    parameters = {"type": "object", "properties": {"city": {"type": "string", "default": None}}}
    assert made["tools"][0]["function"]["parameters"] == parameters
    legacy = {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "weather", "arguments": '{"city": "Oslo"}'},
            },
            {"role": "function", "name": "weather", "content": "3"},
            ANSWER,
        ],
        "functions": [WEATHER["function"]],
    }
    made = shaped(legacy)
    assert made["tools"] == [WEATHER]
    assert made["messages"][1]["tool_calls"] == [CALL]
    assert made["messages"][2] == {"role": "tool", "content": "3", "name": "weather"}
    assert "functions" not in made
    bare = [USER, {"role": "assistant", "tool_calls": [{"name": "weather", "parameters": {"city": "Oslo"}}]}]
    assert messages({"messages": bare})[1]["tool_calls"] == [CALL]
    empty = [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "now", "arguments": ""}}]}]
    assert messages({"messages": empty})[1]["tool_calls"][0]["function"] == {"name": "now", "arguments": {}}


def test_members_that_arrow_fills_with_null_are_left_out_of_tools_and_messages() -> None:
    properties = {"city": {"type": "string", "enum": None}, "unit": None}
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"properties": properties}}}
    user = {**USER, "tool_calls": None, "name": None, "weight": None}
    made = shaped({"messages": [user, ANSWER], "tools": [tool], "conversations": None})
    assert made["messages"][0] == USER
    assert made["tools"][0]["function"]["parameters"] == {"properties": {"city": {"type": "string"}}}
    shape = ConversationShape("conversation")
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo", "unit": None}}}
    shape({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]})
    assert any("arguments that are null" in note for note in shape.notes())


def test_alpaca_with_input_system_history_and_a_dolly_context() -> None:
    row = {"id": "1", "instruction": "add", "input": "1 2", "output": "3", "system": "be short", "topic": "sums"}
    assert shaped(row) == {
        "id": "1",
        "topic": "sums",
        "messages": [
            {"role": "system", "content": "be short"},
            {"role": "user", "content": "add\n\n1 2"},
            {"role": "assistant", "content": "3"},
        ],
    }
    row = {"instruction": "and 4?", "input": "", "output": "7", "history": [["add 1 2", "3"]]}
    assert [m["content"] for m in messages(row)] == ["add 1 2", "3", "and 4?", "7"]
    assert messages({"instruction": "sum up", "context": "a text", "response": "b"})[0]["content"] == "sum up\n\na text"


def test_sharegpt_with_calls_and_a_system_column() -> None:
    row = {
        "system": "be kind",
        "tools": json.dumps([WEATHER["function"]]),
        "conversations": [
            {"from": "human", "value": "weather?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "cold"},
        ],
    }
    made = shaped(row)
    assert [m["role"] for m in made["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert made["messages"][2]["tool_calls"] == [CALL]
    assert made["tools"] == [WEATHER]
    assert messages({"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    assert messages({"conversation": [USER, ANSWER]}) == [USER, ANSWER]


@pytest.mark.parametrize(
    ("question", "answer"),
    [("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("input", "output"),
     ("query", "response"), ("problem", "solution")],
)  # fmt: skip
def test_prompt_and_completion_under_all_their_names(question: str, answer: str) -> None:
    made = shaped({"id": "1", question: "hello", answer: "hi", "level": 3})
    assert made == {"id": "1", "level": 3, "messages": [USER, ANSWER], "plain": True}
    made = shaped({question: [{"role": "system", "content": "s"}, USER], answer: [ANSWER]})
    assert [m["role"] for m in made["messages"]] == ["system", "user", "assistant"]
    assert "plain" not in made
    assert "plain" not in shaped({question: "hello", answer: "hi", "system": "be kind"})


def test_an_answer_that_is_json_of_another_kind_stays_text() -> None:
    for text in ('[{"name": "weather"}]', "[1, 2]", "[not json", '{"role": "user"}'):
        assert messages({"prompt": "x", "completion": text})[1]["content"] == text


def test_a_query_with_tools_is_answered_by_calls() -> None:
    row = {"query": "weather?", "answers": '[{"name": "weather", "arguments": {"city": "Oslo"}}]', "tools": [WEATHER]}
    made = shaped(row)
    assert made["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}


def test_raw_text() -> None:
    made = shaped({"id": "1", "text": "Once upon a time", "source": "book"})
    assert made == {"id": "1", "source": "book", "messages": [{"role": "text", "content": "Once upon a time"}]}
    assert is_text(made)
    assert (answer_of(made), prompt_of(made)) == ("Once upon a time", [])


def test_a_column_of_json_text_is_read_as_what_it_says() -> None:
    assert messages({"messages": json.dumps([USER, ANSWER]), "text": "", "prompt": None}) == [USER, ANSWER]
    assert messages({"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}) == [USER, ANSWER]
    call = json.dumps([{"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}])
    row = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": call}]}
    assert messages(row)[1]["tool_calls"] == [CALL]


def test_the_prompt_option_is_filled_and_its_columns_stay() -> None:
    row = {
        "id": "1",
        "schema": "CREATE TABLE t (n INT)",
        "question": "how many?",
        "answer": "SELECT 1",
        "limits": [1, 2],
    }
    made = shaped(row, prompt="{schema}\n{question} {{raw}} {limits}")
    assert made["messages"][0]["content"] == "CREATE TABLE t (n INT)\nhow many? {raw} [1,2]"
    assert made["messages"][1]["content"] == "SELECT 1"
    assert (made["schema"], made["question"], "answer" in made, made["plain"]) == (
        row["schema"],
        "how many?",
        False,
        True,
    )
    made = shaped({"q": "a", "sql": "b"}, prompt="{q}", answer="sql", system="be short")
    assert [m["content"] for m in made["messages"]] == ["be short", "a", "b"]
    assert "plain" not in made
    assert refused({"shema": "a", "answer": "b"}, prompt="{schema}") == (
        "has no column 'schema', which the prompt names (did you mean 'shema'?)"
    )
    assert "has no answer: none of its columns is sql" in refused({"q": "a", "answer": "b"}, prompt="{q}", answer="sql")
    assert messages({"q": "a"}, prompt="{q}", want_answer=False) == [{"role": "user", "content": "a"}]


def test_a_system_of_ones_own_is_said_once() -> None:
    assert messages({"messages": [USER, ANSWER]}, system="be kind")[0] == {"role": "system", "content": "be kind"}
    own = {"role": "system", "content": "be short"}
    assert messages({"messages": [own, USER, ANSWER]}, system="be kind") == [own, USER, ANSWER]


def test_without_an_answer_a_row_may_wait_for_one() -> None:
    for row in (
        {"messages": "hello"},
        {"messages": [USER]},
        {"prompt": "hello"},
        {"question": "hello", "answer": None},
        {"instruction": "hello"},
    ):
        made = ConversationShape("conversation", want_answer=False)(row)
        assert isinstance(made, dict)
        assert made["messages"] == [USER]
        assert (answer_of(made), prompt_of(made)) == ("", [USER])
    made = shaped({"messages": [USER, ANSWER, USER]}, want_answer=False)
    assert prompt_of(made) == [USER, ANSWER, USER]
    assert messages({"messages": json.dumps([USER])}, want_answer=False) == [USER]
    assert ConversationShape("preference", want_answer=False)({"prompt": "hello"}) == {
        "messages": [USER],
        "plain": True,
    }


def test_what_follows_the_last_answer_is_left_out() -> None:
    shape = ConversationShape("conversation")
    made = shape({"messages": [USER, ANSWER, USER]})
    assert isinstance(made, dict)
    assert made["messages"] == [USER, ANSWER]
    assert "1 rows go on after the last answer; what follows it is left out" in shape.notes()


# Preferences

PAIR = {"messages": [USER], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "go away"}]}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hello", "chosen": "hi", "rejected": "go away"},
        {"question": "hello", "chosen": "hi", "rejected": "go away"},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": PAIR["rejected"]},
        {"prompt": json.dumps([USER]), "chosen": json.dumps([ANSWER]), "rejected": "go away"},
        {"chosen": [USER, ANSWER], "rejected": [USER, *PAIR["rejected"]]},
        {
            "prompt": "hello",
            "chosen": [USER, ANSWER],
            "rejected": [USER, *PAIR["rejected"]],
            "messages": [USER, ANSWER],
        },
        {"chosen": "\n\nHuman: hello\n\nAssistant: hi", "rejected": "\n\nHuman: hello\n\nAssistant: go away"},
        {"prompt": "\n\nHuman: hello\n\nAssistant:", "chosen": "hi", "rejected": "go away"},
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": PAIR["rejected"]},
        PAIR,
    ],
)
def test_preferences_of_every_shape(row: dict[str, Any]) -> None:
    made = shaped({"id": "1", "margin": 2, **row}, "preference")
    assert {name: made[name] for name in PAIR} == PAIR
    assert (made["id"], made["margin"]) == ("1", 2)
    whole = set(made) - {"id", "margin", "plain"}
    assert whole == set(PAIR)
    assert made.get("plain", False) is (
        isinstance(row.get("chosen"), str) and "Human" not in str(row) and "role" not in str(row)
    )


def test_a_preference_of_several_turns_parts_where_the_sides_part() -> None:
    start = [USER, ANSWER, {"role": "user", "content": "more"}]
    good, bad = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}
    made = shaped({"chosen": [*start, good], "rejected": [*start, bad, USER, bad]}, "preference")
    assert made["messages"] == start
    assert (made["chosen"], made["rejected"]) == ([good], [bad, USER, bad])
    other = {"role": "user", "content": "less"}
    made = shaped({"chosen": [*start, good], "rejected": [*start[:2], other, bad]}, "preference")
    assert made["messages"] == [USER]
    assert (made["chosen"], made["rejected"]) == ([ANSWER, start[2], good], [ANSWER, other, bad])
    row = {
        "prompt": [{"role": "system", "content": "s"}, USER],
        "chosen": [ANSWER, USER, good],
        "rejected": [ANSWER, USER, bad],
    }
    made = shaped(row, "preference")
    assert [m["role"] for m in made["messages"]] == ["system", "user", "assistant", "user"]
    chosen, rejected = sides_of(made)
    assert chosen["messages"] == [*made["messages"][:2], {**ANSWER, "weight": 0}, USER, good]
    assert rejected["messages"][-1] == bad
    assert "chosen" not in chosen
    assert (answer_of(made), prompt_of(made)) == ("yes", made["messages"])


def test_openai_preferences_bring_their_tools_and_instructions_their_input() -> None:
    asked = {"messages": [USER], "tools": [WEATHER], "parallel_tool_calls": True}
    row = {"input": asked, "preferred_output": [ANSWER], "non_preferred_output": PAIR["rejected"]}
    assert shaped(row, "preference")["tools"] == [WEATHER]
    row = {"instruction": "add", "input": "1 2", "chosen": "3", "rejected": "4", "system": "s"}
    made = shaped(row, "preference")
    assert [m["content"] for m in made["messages"]] == ["s", "add\n\n1 2"]
    assert made["chosen"] == [{"role": "assistant", "content": "3"}]
    made = shaped({"q": "a", "chosen": "b", "rejected": "c"}, "preference", prompt="say {q}")
    assert made["messages"] == [{"role": "user", "content": "say a"}]


# Refusals

KNOWN = "known are messages; conversations; instruction and output"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "1", "a": 1, "b": None}, f"fits no known shape: its columns are a, b (null); {KNOWN}"),
        ({"id": "1"}, "its columns are none"),
        ({"prompt": "a", "completion": None}, "its columns are prompt, completion (null)"),
        ({"messages": []}, "messages is empty"),
        ({"messages": 3}, "messages is a number, not a list of messages"),
        ({"messages": True}, "messages is a truth value, not a list of messages"),
        ({"messages": {"role": "user"}}, "messages is an object, not a list of messages"),
        ({"messages": "[]"}, "messages is empty"),
        ({"messages": "hello"}, "messages is text that is not JSON ("),
        ({"messages": "[" * 100_000}, "messages is JSON that is nested too deeply"),
        ({"messages": "[{'role': 'user'}]"}, "text in Python's notation, not JSON: write it with json.dumps"),
        ({"messages": [USER]}, "has no assistant message"),
        ({"messages": [ANSWER]}, "has nothing before the assistant's message"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "has no assistant message to learn: all have weight 0"),
        ({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "message 2 has weight 0.5: only 0 and 1 have a meaning"),
        ({"messages": [USER, "hi"]}, "message 2 is a text, not an object with role and content"),
        ({"messages": [USER, {"content": "hi"}]}, "message 2 has no role; its keys are content"),
        ({"messages": [USER, ANSWER, {"role": "bot"}]}, "message 3 has role 'bot' (did you mean 'assistant'?)"),
        ({"messages": [{"role": "usr", "content": "x"}, ANSWER]}, "message 1 has role 'usr' (did you mean 'user'?)"),
        ({"messages": [{"role": "zzz", "content": "x"}, ANSWER]}, "roles are system, developer, user, assistant, tool"),
        ({"messages": [{"role": 3, "content": "x"}, ANSWER]}, "message 1 has role '3'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "message 2 has no content"),
        ({"messages": [{"role": "user", "content": 3}, ANSWER]}, "the content of message 1 is a number, not a text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]}, "a part of the type 'image_"),
        ({"messages": [{"role": "user", "content": {"a": 1}}, ANSWER]}, "the content of message 1 is an object"),
        ({"messages": [USER, {"role": "tool", "content": "x"}, ANSWER]}, "message 2 has role 'tool', but no "),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "2 has no function name"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": 3}]}, "the tool calls of message 2 are a number"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "the argument object of 'f' in message 2 is text that is not JSON",
        ),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}]},
            "the arguments of 'f' in message 2 are a list, not an object",
        ),
        ({"messages": [USER, ANSWER], "tools": {"name": "f"}}, "tools is an object, not a list of tools"),
        ({"messages": [USER, ANSWER], "tools": [{"type": "function"}]}, "tool 1 has no name"),
        ({"messages": [USER, ANSWER], "tools": [3]}, "tool 1 is a number, not an object"),
        ({"conversations": [{"from": "function_call", "value": "x"}]}, "message 1 of conversations is text that"),
        ({"instruction": 3, "output": "a"}, "instruction is a number, not a text"),
        ({"prompt": "a", "completion": 3}, "completion is a number, not a text"),
        ({"instruction": "a", "output": "b", "history": ["x"]}, "history is no list of pairs of texts"),
        ({"text": " "}, "text is empty"),
        ({"text": 3}, "text is a number, not a text"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "which are a preference"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_conversation_says_why(row: dict[str, Any], reason: str) -> None:
    assert reason in refused(row)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": "a", "chosen": "b"},
            "fits no known shape: its columns are prompt, chosen; known are prompt, chosen",
        ),
        ({"chosen": "a", "rejected": "b"}, "has chosen and rejected, but no prompt before them"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "chosen is a number, not a list of messages"),
        ({"prompt": "a", "chosen": [], "rejected": "b"}, "chosen is empty"),
        (
            {"chosen": [USER, ANSWER], "rejected": [{"role": "user", "content": "other"}, ANSWER]},
            "chosen begins with a message of role 'user' that the other side lacks",
        ),
        (
            {"prompt": "a", "chosen": [ANSWER, USER], "rejected": "b"},
            "chosen does not end with the assistant's message",
        ),
        (
            {"prompt": [USER, ANSWER], "chosen": "a", "rejected": "b"},
            "after an assistant's message, not after a user's",
        ),
        ({"input": "a", "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}, "but no input with messages"),
    ],
)
def test_a_row_that_is_no_preference_says_why(row: dict[str, Any], reason: str) -> None:
    assert reason in refused(row, "preference")


def test_notes_say_what_was_met() -> None:
    shape = ConversationShape("conversation")
    for _ in range(1200):
        shape({"messages": [USER, ANSWER]})
    shape({"messages": [USER, {**ANSWER, "weight": 0}, USER, ANSWER], "tools": [WEATHER]})
    shape({"instruction": "a", "output": ""})
    shape({"question": "a", "context": "b", "answer": "c"})
    shape({"nothing": 1})
    assert shape.notes() == [
        "1,201 rows are messages (OpenAI), 1 Alpaca, 1 question + answer",
        "1 rows have tools",
        "1 messages with weight 0 are not learned",
        "1 rows have a column context that is not in the prompt; a prompt with {context} puts it there",
        "1 answers are empty",
    ]
    assert ConversationShape("conversation").notes() == []


def test_tool_calls_are_answered_by_canonical_json() -> None:
    call = {"function": {"name": "weather", "arguments": {"unit": "C", "city": "Oslo"}}}
    made = shaped({"messages": [USER, {"role": "assistant", "content": "let me see", "tool_calls": [call]}]})
    assert answer_of(made) == '[{"arguments":{"city":"Oslo","unit":"C"},"name":"weather"}]'
    assert prompt_of(made) == [USER]


def test_rows_of_mixed_shapes_are_read_from_one_source() -> None:
    rows = [
        {"id": "1", "messages": [USER, ANSWER]},
        {"id": "2", "instruction": "a", "output": "b"},
        {"id": "3", "messages": [{"role": "bot", "content": "x"}]},
    ]
    store = read_rows(rows, shape=ConversationShape("conversation"), broken_rows=0.5)
    assert [row["id"] for row in store] == ["1", "2"]
    assert store.report.broken == (("rows row 3", "message 1 has role 'bot' (did you mean 'assistant'?)"),)
    assert "1 rows are messages (OpenAI), 1 Alpaca" in store.report.notes


def test_rows_and_templates_are_read_without_torch_and_transformers() -> None:
    program = (
        "import sys, tunesmith.language.rows, tunesmith.language.template, tunesmith.language.serving\n"
        "assert not {'torch', 'transformers', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
