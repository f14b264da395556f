"""Function calls: every spelling that models use is read, arguments are compared, nothing is evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.language.answers.call_text import Call, calls_in
from tunesmith.language.answers.calls import MOST_CALLS, CallScorer
from tunesmith.language.answers.json_values import MOST_NESTED, NotJson, same

WEATHER = [Call("weather", {"city": "Oslo", "days": 2})]
TWO = [*WEATHER, Call("time", {})]
SCORER = CallScorer()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}', WEATHER),
        ('{"name": "weather", "parameters": {"city": "Oslo", "days": 2}}', WEATHER),
        ('{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\", \\"days\\": 2}"}', WEATHER),
        ('{"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}}', WEATHER),
        ('{"tool_calls": [{"function": {"name": "time", "arguments": ""}}]}', TWO[1:]),
        ('[{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}, {"name": "time"}]', TWO),
        ('[ \n {"name": "time", "arguments": null}]', TWO[1:]),
        ('{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}; {"name": "time", "parameters": {}}', TWO),
        ('{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n{"name": "time"}\n', TWO),
        (
            'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>\n'
            '<tool_call>{"name": "time", "arguments": {}}</tool_call>',
            TWO,
        ),
        ('<think>f(1)?</think>\n<tool_call>{"name": "time"}', TWO[1:]),
        ('Sure:\n```json\n[{"name": "time"}]\n```\nDone.', TWO[1:]),
        ('```python\nweather(city="Oslo", days=2)\n```\n```python\ntime()\n```', TWO),
        ('[TOOL_CALLS] [{"name": "time", "arguments": {}}]', TWO[1:]),
        ('<|python_tag|>{"name": "time", "parameters": {}}', TWO[1:]),
        ("weather(city='Oslo', days=2)", WEATHER),
        ("[weather(city='Oslo', days=2), time()]", TWO),
        ("weather(city='Oslo', days=2)\ntime()", TWO),
        ("api.v1.get(ids=[1, (2, 3)], deep={'a': None, 'b': true}, x=-1.5)",
         [Call("api.v1.get", {"ids": [1, [2, 3]], "deep": {"a": None, "b": True}, "x": -1.5})]),
        ("f('a', 2, k=3)", [Call("f", {"#1": "a", "#2": 2, "k": 3})]),
        (r"f(pattern='\d+')", [Call("f", {"pattern": r"\d+"})]),
    ],
)  # fmt: skip
def test_every_spelling_is_read(answer: str, expected: list[Call]) -> None:
    assert calls_in(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I can't do that.",
        '{"name": "f", "arguments": {"a": 1}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "not json"}',
        '{"name": 3}',
        '{"arguments": {}}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"name": "f"} and more',
        "[]",
        "<tool_call></tool_call>",
        "f(a=g())",
        "f(a=1 + 1)",
        "f(a=x)",
        "f(a=b'1')",
        "f(a={1: 2})",
        "f(**{'a': 1})",
        "f(a=1, a=2)",
        "(lambda: 1)()",
        "x = f(a=1)",
        "f(a=f'{1}')",
        "f(\x00)",
        "f(a=" + "[" * 150 + "]" * 150 + ")",
        "f(a=" + "-" * 100_000 + "1)",
        '{"name": "f", "arguments": ' + '{"a":' * 50_000 + "1" + "}" * 50_001,
        '{"name": "f", "arguments": ' + '{"a":' * (MOST_NESTED + 5) + "1" + "}" * (MOST_NESTED + 6),
        "f(a=" + "9" * 10_000 + ")",
    ],
)
def test_what_is_no_call_is_not_read(answer: str) -> None:
    with pytest.raises(NotJson):
        calls_in(answer)
    assert SCORER.one(answer, "f(a=1)", {"id": "1"}) == {"call_exact_match": 0, "call_name_match": 0, "parses": 0}


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for answer in (
        f"f(a=open({str(trap)!r}, 'w'))",
        f"__import__('pathlib').Path({str(trap)!r}).touch()",
        f"f(a=[open({str(trap)!r}, 'w') for _ in '1'])",
    ):
        assert SCORER.one(answer, "f(a=1)", {"id": "1"})["call_exact_match"] == 0
    assert not trap.exists()


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "names"),
    [
        ("f(b=2, a=1)", '{"name": "f", "arguments": {"a": 1.0, "b": 2}}', 1, 1),
        ("[g(), f(a=1)]", "[f(a=1), g()]", 1, 1),
        ("f(a=[1, 2])", "f(a=[2, 1])", 0, 1),
        ("f(a=True)", "f(a=1)", 0, 1),
        ("f(a='1')", "f(a=1)", 0, 1),
        ("f(a=1, b=None)", "f(a=1)", 0, 1),
        ("f(a=1)\nf(a=1)", "f(a=1)", 0, 0),
        ("[f(a=1), f(a=1)]", "[f(a=1), f(a=2)]", 0, 1),
        ("g(a=1)", "f(a=1)", 0, 0),
    ],
)
def test_arguments_are_compared_as_values(answer: str, reference: str, exact: float, names: float) -> None:
    scores = SCORER.one(answer, reference, {"id": "1"})
    assert scores == {"call_exact_match": exact, "call_name_match": names, "parses": 1}


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1}'])
def test_the_row_s_tool_calls_come_before_the_reference(arguments: Any) -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": arguments}}]
    for given in (calls, json.dumps(calls)):
        row = {"id": "1", "tool_calls": given}
        assert SCORER.one("f(a=1)", "some text", row)["call_exact_match"] == 1
        assert SCORER.one("g(a=1)", "g(a=1)", row)["call_exact_match"] == 0
        assert list(SCORER.findings([row], ["some text"])) == []


@pytest.mark.parametrize("none", [[], "[]"])
def test_where_nothing_is_to_be_called_only_a_call_is_wrong(none: Any) -> None:
    row = {"id": "1", "tool_calls": none}
    assert set(SCORER.one("I can't do that.", "", row).values()) == {1.0}
    assert SCORER.one("f()", "", row) == {"call_exact_match": 0, "call_name_match": 0, "parses": 1}
    assert list(SCORER.findings([row], [""])) == []


def test_references_that_are_no_calls_are_found() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "tool_calls": None},
        {"id": "c", "tool_calls": "[{"},
        {"id": "d", "tool_calls": [{"function": {"arguments": {}}}]},
        {"id": "e", "tool_calls": [{"function": {"name": "f", "arguments": {}}}] * (MOST_CALLS + 1)},
    ]
    (found,) = SCORER.findings(rows, ["f(a=1)", "plain text", "", "", ""])
    assert (found.code, found.level, found.rows) == ("gold-call-unreadable", "error", ("b", "c", "d", "e"))
    assert "4 of 5 rows" in found.what


def test_values_are_the_same_as_json_means_them() -> None:
    assert same({"a": [1, {"b": 2.0}]}, {"a": (1.0, {"b": 2})})
    assert same(2**60, 2**60)
    for one, other in ((True, 1), (0, False), (None, 0), ("1", 1), ([], {}), ([1], [1, 1]), ({"a": 1}, {"b": 1})):
        assert not same(one, other)
