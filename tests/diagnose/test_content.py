"""Content and form, apart: what is right however it is written, and what is written as wanted whatever it says."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.diagnose.content import holds, judge_content, number_in, told_share
from tunesmith.diagnose.form import Judge, form_fault
from tunesmith.diagnose.found import Item
from tunesmith.diagnose.shapes import line_grammar
from tunesmith.diagnose.wanted import read_wanted
from tunesmith.errors import UserError

PEOPLE = ['{"name": "Ada", "age": 36}', '{"name": "Alan", "age": 41, "likes": ["chess"]}']
CITIES = ["Paris", "Rome", "Oslo", "Bonn", "New York"]
TOOL = {"function": {"name": "book", "parameters": {
    "type": "object", "properties": {"seats": {"type": "integer"}}, "required": ["seats"]}}}  # fmt: skip
CALL = '{"name": "book", "arguments": {"seats": 2}}'
TABLE = "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2), (3);"


def items_of(references: list[str], **row: Any) -> list[Item]:
    messages = ({"role": "user", "content": "?"},)
    return [Item(f"i{n}", f"q{n}", (text,), messages=messages, row=row) for n, text in enumerate(references)]


def judged(references: list[str], output: str, **row: Any) -> tuple[bool, bool]:
    """Content and form of an output to the first item."""
    items = items_of(references, **row)
    found = Judge(read_wanted(items))(items[0], output)
    return found.content, found.form


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ("Paris", True, True),
        ("The capital of France is Paris, of course.", True, False),
        ("**Answer:** Paris", True, False),
        ("Parisian life", False, True),
        ("Rome", False, True),
        ("", False, False),
        ("<think>Rome? no.</think>Paris", True, True),
    ],
)
def test_short_answers(output: str, content: bool, form: bool) -> None:
    assert judged(CITIES, output) == (content, form)


def test_scripts_without_blanks_and_accents() -> None:
    towns = ["東京", "京都", "大阪", "札幌", "福岡市"]
    assert judged(towns, "首都は東京です。") == (True, False)
    assert judged(towns, "首都は大阪です。") == (False, False)
    assert judged(["Orléans", "Málaga", "Bonn", "Rome", "Oslo"], "ORLEANS")[0]
    long = "建築許可の手数料は4000円で、審査には三週間かかります。決定は市役所から郵送されます。"
    item = items_of([long])[0]
    assert told_share("手数料は4000円です。審査は三週間、決定は郵送されます。", item.references[0]) >= 0.5
    assert told_share("詳しくは弁護士に相談してください。", item.references[0]) < 0.3


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ("1234.5", True, True),
        ("1,234.50", True, True),
        ("First 3, then 4, so it is $1,234.5.", True, False),
        ("1234.6", False, True),
        ("a lot", False, False),
    ],
)
def test_numbers(output: str, content: bool, form: bool) -> None:
    assert judged(["1234.5", "17", "3", "8", "9"], output) == (content, form)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234),
        ("1 234,5", 1234.5),
        ("-3", -3),
        ("12%", 12),
        ("€40", 40),
        ("3.", 3),
        ("1.2.3", None),
        ("", None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: float | None) -> None:
    assert number_in(text) == value


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ("positive", True, True),
        ("Positive.", True, False),
        ("It is positive: the food was great.", True, False),
        ("positive or negative", True, False),
        ("It is neither positive nor negative", False, False),
        ("negative", False, True),
        ("no idea", False, False),
    ],
)
def test_choices(output: str, content: bool, form: bool) -> None:
    assert judged(["positive", "negative", "positive"] * 5, output) == (content, form)


def test_a_slip_in_a_label_does_not_hide_that_they_are_choices() -> None:
    references = ["yes", "no", "yes"] * 20
    assert read_wanted(items_of([*references, "yess"])).content == "choice"
    assert read_wanted(items_of([*references, *"abcdefghi"])).content == "exact"


def test_a_choice_within_another_is_not_named_twice() -> None:
    references = ["not at all", "at all", "not at all"] * 4
    assert judged(references, "I would say: not at all!") == (True, False)


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ('{"name": "Ada", "age": 36}', True, True),
        ('Sure!\n```json\n{"age": 36.0, "Name": "ada"}\n```', True, False),
        ('Here: {"name": "Ada", "age": "36"} as asked', True, False),
        ("Name: Ada\nAge: 36", True, False),
        ("Ada is 36 years old.", True, False),
        ('{"name": "Ada", "age": 37}', False, True),
        ('{"name": "Ada"}', False, False),
        ("Alan is 36.", False, False),
        ("[" * 5000, False, False),
    ],
)
def test_json_by_its_fields(output: str, content: bool, form: bool) -> None:
    assert judged(PEOPLE, output) == (content, form)


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ('["b", "a"]', True, True),
        ("a, b", True, False),
        ("- a\n- b", True, False),
        ("a and b", True, False),
        ('["a"]', False, True),
        ("a, b, c", False, False),
    ],
)
def test_sets(output: str, content: bool, form: bool) -> None:
    assert judged(['["a", "b"]', '["c"]', '["d", "e"]'], output) == (content, form)


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ("SELECT a FROM t WHERE a > 1", True, True),
        ("SELECT a FROM t WHERE a IN (2, 3);", True, True),
        ("```sql\nSELECT a FROM t WHERE a > 1\n```", True, False),
        ("You can use SELECT a FROM t WHERE a > 1", True, False),
        ("SELECT a FROM t", False, True),
        ("SELECT b FROM t", False, True),
        ("SELECT FROM WHERE", False, False),
        ("SELECT a FROM t; DROP TABLE t", False, False),
    ],
)
def test_queries_by_their_rows(output: str, content: bool, form: bool) -> None:
    assert judged(["SELECT a FROM t WHERE a >= 2"], output, schema=TABLE) == (content, form)


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        (CALL, True, True),
        ("book(seats=2)", True, True),
        (f"I will call {CALL} for you", True, False),
        ("Let me book(seats=2) now", True, False),
        ('{"name": "book", "arguments": {"seats": 3}}', False, True),
        ('{"name": "book", "arguments": {}}', False, False),
        ('{"name": "cancel", "arguments": {"seats": 2}}', False, False),
        ("Done!", False, False),
    ],
)
def test_calls_by_their_arguments(output: str, content: bool, form: bool) -> None:
    assert judged([CALL], output, tools=[TOOL]) == (content, form)


@pytest.mark.parametrize(
    ("output", "content", "form"),
    [
        ("<<PARIS>>", True, True),
        ("<<Paris>>", True, False),
        ("Paris", True, False),
        ("I think <<PARIS>>", True, False),
        ("<<ROME>>", False, True),
    ],
)
def test_a_form_that_all_references_share_is_seen(output: str, content: bool, form: bool) -> None:
    assert judged([f"<<{city.upper()}>>" for city in CITIES], output) == (content, form)


@pytest.mark.parametrize("sign", [*string.punctuation, "\t", "€", "“", "«", "→"])
def test_any_sign_may_stand_in_a_form_that_is_decoded_by_a_grammar(sign: str) -> None:
    """A backslash before < is the edge of a word there, and before a sign beyond ASCII a fault."""
    from llguidance import LLMatcher, LLTokenizer

    from tunesmith.asking.constrained import grammar_of
    from tunesmith.asking.model import Prompt

    ends = (f"{sign}{sign}a{sign} ", f" {sign}b{sign}")
    made = grammar_of(Prompt((), grammar=line_grammar(ends, None)))
    assert made is not None
    bytewise = LLTokenizer("byte")
    for text, follows in ((f"{ends[0]}any thing{ends[1]}", True), (f"x{ends[0]}any{ends[1]}", False)):
        matcher = LLMatcher(bytewise, made)
        tokens = bytewise.tokenize_str(text)
        assert (matcher.validate_tokens(tokens) == len(tokens)) is follows
        if follows:
            assert matcher.consume_tokens(tokens)
            assert matcher.is_accepting()


def test_a_form_of_one_line_can_be_decoded_by_a_grammar() -> None:
    pytest.importorskip("llguidance")
    from tunesmith.asking.constrained import grammar_of
    from tunesmith.asking.model import Prompt

    items = items_of([f"[a/b] = {city.upper()} (x)" for city in CITIES])
    constraint = read_wanted(items).constraint(items[0])
    assert constraint["grammar"] == r"start: /\[a\/b\] = [^\p{Ll}\n]+ \(x\)/"
    assert grammar_of(Prompt((), **constraint))
    own = items_of([f"<<{city}>>" for city in CITIES], pattern="<<(?P<content>.+)>>")
    assert read_wanted(own).constraint(own[0]) == {}


def test_a_pattern_of_a_person_wins() -> None:
    items = items_of([f"capital={city};" for city in CITIES])
    wanted = read_wanted(items, pattern=r"capital=(?P<content>[^;]+);")
    assert judge_content("It is Paris", items[0], wanted).right
    assert form_fault("capital=Rome;", items[0], wanted) == ""
    assert form_fault("It is Paris", items[0], wanted)
    with pytest.raises(UserError, match="does not match the reference"):
        read_wanted(items, pattern=r"\d+")
    with pytest.raises(UserError, match="no regular expression"):
        read_wanted(items, pattern="(")
    with pytest.raises(UserError, match="no such kind"):
        read_wanted(items, content="vibes")


BEGUN = ("A permit", "Your permit", "Each permit", "Any such permit", "The usual permit")
ENDED = ("by letter.", "in writing.", "by post.", "online.", "at the counter.")
LONG = [
    f"{BEGUN[n % 5]} for house {n} costs about {n}00 euros and takes {n + 3} weeks; the building office of the town "
    f"sends the decision {ENDED[n // 5 % 5]}" for n in range(2, 50)
]  # fmt: skip


def test_longer_texts_by_the_facts_that_they_share() -> None:
    wanted = read_wanted(items_of(LONG))
    assert (wanted.content, wanted.form) == ("words", "text")
    item = items_of(LONG)[0]
    loose = "The building office decides by letter. Permit for house 2: it costs 200 euros, 5 weeks."
    assert judge_content(loose, item, wanted).right
    assert not judge_content("Please ask a lawyer, rules differ everywhere.", item, wanted).right
    assert "words" in form_fault("Yes.", item, wanted)
    assert form_fault("# Permit\n\n" + LONG[0], item, wanted)


def test_style_is_judged_where_it_can_be_told_and_only_there() -> None:
    items = items_of(LONG)
    chatty = [f"Great question! I'd love to help, so {text.lower()}" for text in LONG]
    judge = Judge(read_wanted(items))
    assert "tells references from outputs in 100%" in judge.fit_style(items, chatty)
    assert not judge(items[0], chatty[1]).form
    assert judge(items[0], LONG[7]).form
    # The same texts on both sides can't be told apart: then style is no reason to call a form wrong.
    alike = Judge(read_wanted(items))
    assert "not judged" in alike.fit_style(items, LONG[1:] + LONG[:1])
    assert alike(items[0], LONG[1]).form


def test_whether_a_passage_holds_an_answer() -> None:
    city, number = items_of(CITIES), items_of(["40", "17", "3", "8", "9"])
    assert holds("France: its capital is Paris.", city[0], read_wanted(city))
    assert not holds("France is large.", city[0], read_wanted(city))
    assert holds("It costs 40 euros.", number[0], read_wanted(number))
    choice = items_of(["yes", "no", "yes"] * 5)
    assert holds("yes", choice[0], read_wanted(choice)) is None


KINDS = {
    "exact": (CITIES, {}),
    "number": (["1234.5", "17", "3", "8", "9"], {}),
    "choice": (["yes", "no", "yes"] * 5, {}),
    "json": (PEOPLE, {}),
    "set": (['["a", "b"]', '["c"]'], {}),
    "sql": (["SELECT a FROM t WHERE a >= 2"], {"schema": TABLE}),
    "call": ([CALL], {"tools": [TOOL]}),
    "words": (LONG, {}),
}
PIECES = st.sampled_from(
    ['{"name": "Ada", ', "[", "]", "}", "```json\n", "```", "SELECT a FROM t", ";", "--", "book(", "seats=2)",
     "</think>", "answer: ", "\\boxed{", "####", "1,2", "-", "%", "yes", "no", "\n", "\x00", "\ud800", "<tool_call>"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join))
@pytest.mark.parametrize("kind", KINDS)
def test_no_output_breaks_a_judge(kind: str, text: str) -> None:
    references, row = KINDS[kind]
    items = items_of(references, **row)
    judge = JUDGES.setdefault(kind, Judge(read_wanted(items)))
    assert judge.wanted.content == kind
    found = judge(items[0], text)
    assert found.right == (found.content and found.form)
    assert bool(found.why) == (not found.right)
    # The reference itself is always right.
    assert judge(items[0], references[0]).right


JUDGES: dict[str, Judge] = {}


@pytest.mark.parametrize("content", [None, "exact", "set"])
@pytest.mark.parametrize(
    "references",
    [
        ["The answer is blue.", "Blue it is", "Answer: red", "It is green"],
        ["<think>so</think>ok", "fine", "well"],
        ["$40", "12%", "1,234", "-3", "1 234,5"],
        ["+", "-", "+", "-", "+", "-"],
        ['["a", "b"]', '["c"]', "[]"],
        ["The", "A", "an"],
    ],
)
def test_a_reference_is_right_by_itself(references: list[str], content: str | None) -> None:
    items = [Item(str(n), f"q{n}", (reference,)) for n, reference in enumerate(references)]
    wanted = read_wanted(items, content=content)
    assert all(judge_content(item.references[0], item, wanted).right for item in items)
