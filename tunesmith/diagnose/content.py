"""Whether an output says what is right, whatever its form: found in prose, fences, other notations. It knows no form.

It is lenient on purpose: what is wrong here is not mended by another form. How much a lenient judge gives for nothing
is measured beside it, by the control ``shuffled``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tunesmith.diagnose.found import Item
from tunesmith.diagnose.wanted import NUMBER, Wanted, inner_of
from tunesmith.language.answers import find_scorer
from tunesmith.language.answers.calls import CallScorer
from tunesmith.language.answers.exact import normalised
from tunesmith.language.answers.extract import fences, without_thought
from tunesmith.language.answers.json_schema import json_of
from tunesmith.language.answers.json_values import NotJson, is_deep
from tunesmith.language.answers.sql import SqlScorer
from tunesmith.language.answers.sql_text import query_of
from tunesmith.retrieval.words import UNSPACED, words_of

HALF = 0.5
"""The share of a longer reference's facts that an answer has to have."""
STEM, LEAST_STEM = 5, 4
"""First letters by which words are compared, so that most forms of one are the same; shorter words tell little."""
NEAR = 1e-6
MOST_STARTS = 200
"""Brackets of an output from which JSON is tried to be read."""
_MARKED = re.compile(
    r"(?:\\boxed\{(?P<boxed>[^{}]*)\}|####\s*(?P<hashes>[^\n]+)|"
    r"\b(?:final\s+)?answer(?:\s+is)?\s*[:=]?\s*(?:\*\*)?(?P<answer>[^\n]+))",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_ARTICLES = {"a", "an", "the"}
_SEPARATORS = re.compile(r"[,;\n|]|\s+(?:and|und|et|och|og|y|e)\s+|(?:^|\n)\s*(?:[-*•]|\d+[.)])\s+")
_FIELD_LINE = re.compile(r"^\W*([\w -]{1,60}?)\W*[:=]\s*(.+?)\s*[,;]?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Said:
    """What an output says: whether it is right, what was taken as its content, and why it is wrong."""

    right: bool
    extracted: str
    why: str = ""


def judge_content(output: str, item: Item, wanted: Wanted) -> Said:
    """Judge what an output says against the item's references; one that agrees with any of them is right.

    Args:
        output: As the model wrote it.
        item: With its references.
        wanted: How content is compared.
    """
    text = without_thought(output).strip()
    if not text:
        return Said(False, "", "it says nothing")
    judge = _JUDGES[wanted.content]
    found = [
        judge(text, without_thought(reference).strip() or reference, item, wanted) for reference in item.references
    ]
    return next((one for one in found if one.right), found[0])


def _inner(text: str, item: Item, wanted: Wanted) -> tuple[str, bool]:
    """The part of an output that is its answer, and whether something marks it."""
    pattern = wanted.pattern_of(item)
    if pattern and re.search(pattern, text, re.DOTALL):
        return inner_of(pattern, text).strip(), True
    if marked := list(_MARKED.finditer(text)):
        return next(part for part in marked[-1].groups() if part is not None).strip(" \t*"), True
    return text, False


def plain(text: str) -> list[str]:
    """Words without case, accents, signs and articles, as SQuAD compares them (arXiv:1606.05250)."""
    return [word for word in words_of(text) if word not in _ARTICLES]


def stands_in(part: str, whole: str) -> bool:
    """Whether the words of a text stand in another, one after the other."""
    wanted, words = plain(part), plain(whole)
    if not wanted or UNSPACED.search(part):
        return normalised(part) in normalised(whole)
    size = len(wanted)
    return any(words[i : i + size] == wanted for i in range(len(words) - size + 1))


def _exact(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    answer, _ = _inner(text, item, wanted)
    # A reference may mark its answer as an output does: "The answer is blue."
    inner, _ = _inner(reference, item, wanted)
    right = stands_in(inner, answer) or (answer != text and normalised(answer) == normalised(inner))
    return Said(right, answer, "" if right else f"it does not say {inner!r}")


def _choice(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    answer, _ = _inner(text, item, wanted)
    inner = inner_of(wanted.pattern_of(item), reference)
    named = _named(answer, wanted.choices or (inner,))
    said = ", ".join(named)
    if named == [inner.strip()]:
        return Said(True, said)
    return Said(
        False, said or answer, f"it names {said}" if named else f"it names none of {len(wanted.choices)} choices"
    )


def _named(answer: str, choices: Sequence[str]) -> list[str]:
    """The choice that an answer is or begins with; else all that it names."""
    alike = [choice for choice in choices if plain(choice) == plain(answer)]
    # Signs alone may tell choices apart: "+" and "-".
    alike = [choice for choice in alike if choice == answer.strip()] or alike
    if alike:
        return alike[:1]
    begins = [choice for choice in choices if plain(choice) and plain(answer)[: len(plain(choice))] == plain(choice)]
    if begins:
        return [max(begins, key=len)]
    named = [choice for choice in choices if stands_in(choice, answer)]
    longer = [" ".join(plain(choice)) for choice in named]
    return [c for c in named if not any(" ".join(plain(c)) != other and stands_in(c, other) for other in longer)]


def number_in(text: str) -> float | None:
    """The value of a number as people write it: ``1,234.5``, ``1 234``, ``$40``, ``12%``; None where it is none."""
    digits = re.sub(r"[$€£¥%\s\u00a0\u202f']", "", text).rstrip(".,")
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", digits):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"[-+]?\d+,\d+", digits):
        digits = digits.replace(",", ".")
    try:
        return float(digits)
    except ValueError:
        return None


def _number(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    answer, _ = _inner(text, item, wanted)
    goal = number_in(inner_of(wanted.pattern_of(item), reference))
    found = [value for match in NUMBER.finditer(answer) if (value := number_in(match[0])) is not None]
    if not found:
        return Said(False, answer, "it has no number")
    # The last one: answers that reason give theirs at the end.
    said = found[-1]
    right = goal is not None and _near(said, goal)
    return Said(right, f"{said:g}", "" if right else f"its number is {said:g}")


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= NEAR * max(1.0, abs(one), abs(other))


def _set(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    goal = _parts(_inner(reference, item, wanted)[0])
    found = _parts(_inner(text, item, wanted)[0])
    shown = ", ".join(sorted(found))
    if found == goal:
        return Said(True, shown)
    lacks, more = sorted(goal - found), sorted(found - goal)
    why = " and ".join(part for part in (lacks and f"it lacks {', '.join(lacks[:3])}", more and "it has more") if part)
    return Said(False, shown, why)


def _parts(text: str) -> set[str]:
    value = next(_json_in(text), None) if text.lstrip()[:1] in "[{`" else None
    parts = value if isinstance(value, list) else _SEPARATORS.split(text)
    words = (" ".join(plain(part if isinstance(part, str) else json.dumps(part))) for part in parts if part)
    return {word for word in words if word}


def _json(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    try:
        goal = json_of(reference)
    except NotJson:
        return Said(False, text, "the reference is no JSON")
    shown = ""
    for value in _json_in(text):
        shown = shown or json.dumps(value, ensure_ascii=False)
        if _agrees(value, goal):
            return Said(True, json.dumps(value, ensure_ascii=False))
    if isinstance(goal, Mapping) and not shown:
        lines = {_key(name): value for name, value in _FIELD_LINE.findall(text)}
        if _agrees({name: lines.get(_key(name)) for name in goal}, goal) or _mentions(text, goal):
            return Said(True, text)
    if not shown:
        return Said(False, text, "neither JSON nor the fields' values are found in it")
    return Said(False, shown, _difference(shown, goal))


def _value_of(reference: str) -> Any:
    """The JSON value of a reference; None where it is none, or null."""
    try:
        return json_of(reference)
    except NotJson:
        return None


def _difference(shown: str, goal: Any) -> str:
    value = json.loads(shown)
    if isinstance(value, Mapping) and isinstance(goal, Mapping):
        keys = {_key(name): name for name in value}
        wrong = [n for n in goal if _key(n) not in keys or not _agrees(value[keys[_key(n)]], goal[n])]
        if wrong:
            return f"fields that are wrong or missing: {', '.join(wrong[:5])}"
    return "its values are others"


def _json_in(text: str) -> Iterator[Any]:
    """JSON values of an output, the whole, its fences, then what stands in prose, outermost first."""
    try:
        yield json_of(text)
        return
    except NotJson:
        pass
    decoder = json.JSONDecoder()
    at, tried = 0, 0
    while tried < MOST_STARTS and (start := re.compile(r"[{\[]").search(text, at)):
        tried += 1
        try:
            value, at = decoder.raw_decode(text, start.start())
        except RecursionError:
            return
        except ValueError:
            at = start.start() + 1
            continue
        if not is_deep(value):
            yield value


def _key(name: str) -> str:
    return "".join(_WORD.findall(name.casefold())).replace("_", "")


def _agrees(found: Any, goal: Any) -> bool:
    """Whether a value says the same: texts without case and signs, numbers as texts too, keys in any spelling."""
    if isinstance(goal, Mapping):
        return isinstance(found, Mapping) and _fields_agree(found, goal)
    if isinstance(goal, list):
        return isinstance(found, list) and len(found) == len(goal) and _agree_in_any_order(found, goal)
    if isinstance(goal, bool) or goal is None:
        return found is goal or (isinstance(found, str) and found.casefold() == json.dumps(goal))
    if isinstance(goal, int | float):
        value = number_in(found) if isinstance(found, str) else found
        return isinstance(value, int | float) and not isinstance(value, bool) and _near(float(value), float(goal))
    return found is not None and normalised(str(found)) == normalised(str(goal))


def _fields_agree(found: Mapping[str, Any], goal: Mapping[str, Any]) -> bool:
    values = {_key(str(name)): value for name, value in found.items()}
    return all(_key(name) in values and _agrees(values[_key(name)], value) for name, value in goal.items())


def _agree_in_any_order(found: Sequence[Any], goal: Sequence[Any]) -> bool:
    left = list(found)
    for value in goal:
        at = next((i for i, other in enumerate(left) if _agrees(other, value)), None)
        if at is None:
            return False
        left.pop(at)
    return True


def _mentions(text: str, goal: Mapping[str, Any]) -> bool:
    """Whether prose has every value of a flat object; truth values can't be looked for."""
    values = list(goal.values())
    if not values or any(isinstance(value, dict | list | bool) or value is None for value in values):
        return False
    return all(stands_in(str(value), text) for value in values)


def _call(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    scorer = CallScorer()
    tries = [text, *(json.dumps(value) for value in _json_in(text) if isinstance(value, dict | list))]
    names = "|".join(re.escape(name) for name in tool_names(item))
    tries += [match[0] for match in re.finditer(rf"\b(?:{names})\([^()]*\)", text)] if names else []
    best = "it calls nothing"
    for one in tries:
        scores = scorer.one(one, reference, item.row)
        if scores["call_exact_match"]:
            return Said(True, one)
        if scores["parses"]:
            best = "its arguments are others" if scores["call_name_match"] else "it calls another function"
    return Said(False, text, best)


def tool_names(item: Item) -> list[str]:
    """Names of the functions that an item offers."""
    tools = item.row.get("tools") or []
    tools = json.loads(tools) if isinstance(tools, str) else tools
    return [str((tool.get("function") or tool).get("name")) for tool in tools]


@lru_cache(maxsize=1)
def _sql_scorer() -> SqlScorer:
    scorer = find_scorer("sql")
    assert isinstance(scorer, SqlScorer)
    return scorer


def _sql(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    query = query_of(text)
    if not item.row.get("database") and not item.row.get("schema"):
        right = normalised(query) == normalised(query_of(reference))
        return Said(right, query, "" if right else "its query is another (there is no database to run both)")
    scores = _sql_scorer().one(text, reference, item.row)
    if scores["execution_accuracy"]:
        return Said(True, query)
    return Said(False, query, "its query gives other rows" if scores["runs"] else "its query does not run")


def _words(text: str, reference: str, item: Item, wanted: Wanted) -> Said:
    inner = inner_of(wanted.pattern_of(item), reference)
    share = told_share(text, inner)
    return Said(share >= HALF, text, "" if share >= HALF else f"{share:.0%} of what the reference tells stands in it")


def told_share(text: str, reference: str) -> float:
    """Share of a reference's numbers and telling words that stand in a text, both halves alike where it has both."""
    numbers = {number_in(match[0]) for match in NUMBER.finditer(reference)} - {None}
    stems = {word[:STEM] for word in plain(reference) if _tells(word) and not word.isdigit()}
    found_numbers = {number_in(match[0]) for match in NUMBER.finditer(text)}
    found_stems = {word[:STEM] for word in plain(text) if _tells(word)}
    shares = [len(part & found) / len(part) for part, found in ((numbers, found_numbers), (stems, found_stems)) if part]
    if not shares:
        return float(stands_in(reference, text))
    return sum(shares) / len(shares)


def _tells(word: str) -> bool:
    return len(word) >= LEAST_STEM or bool(UNSPACED.search(word))


def holds(text: str, item: Item, wanted: Wanted) -> bool | None:
    """Whether a passage holds the answer to an item; None where that can't be seen (choices, queries, calls)."""
    reference = inner_of(wanted.pattern_of(item), item.references[0])
    if wanted.content == "exact":
        return stands_in(reference, text)
    if wanted.content == "number":
        goal = number_in(reference)
        found = [number_in(match[0]) for match in NUMBER.finditer(text)]
        return goal is not None and any(value is not None and _near(value, goal) for value in found)
    if wanted.content == "words":
        return told_share(text, reference) >= HALF
    if wanted.content == "set":
        return all(stands_in(part, text) for part in _parts(reference))
    if wanted.content == "json":
        goal_value = _value_of(reference)
        return _mentions(text, goal_value) if isinstance(goal_value, Mapping) else None
    return None


def bare(text: str) -> bool:
    """Whether a text has no code fence."""
    return not any(True for _ in fences(text))


_JUDGES = {
    "exact": _exact,
    "choice": _choice,
    "number": _number,
    "set": _set,
    "json": _json,
    "call": _call,
    "sql": _sql,
    "words": _words,
}
