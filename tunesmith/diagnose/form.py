"""Whether an output is written as wanted, whatever it says. It knows no reference but for what all of them share."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from tunesmith.diagnose.content import bare, judge_content
from tunesmith.diagnose.found import Item, Judged
from tunesmith.diagnose.style import Style
from tunesmith.diagnose.wanted import NUMBER, Wanted, inner_of
from tunesmith.language.answers.call_text import calls_in
from tunesmith.language.answers.extract import without_thought
from tunesmith.language.answers.json_schema import JsonScorer
from tunesmith.language.answers.json_values import NotJson, given, parse
from tunesmith.language.answers.sql_text import query_of

_TAGS = re.compile(r"<tool_call>.*?</tool_call>", re.DOTALL)
# What SQLite says of a query that it can't even parse; names that are not there come later.
_UNPARSED = ("syntax error", "incomplete input", "unrecognized token", "one statement at a time")


@dataclass
class Judge:
    """Judges outputs by content and form, each output of an item once.

    Args:
        wanted: What is wanted.
        style: A classifier of style for longer texts, fitted once the model was asked as it is; None: none tells.
    """

    wanted: Wanted
    style: Style | None = None
    _kept: dict[tuple[str, str], Judged] = field(default_factory=dict)

    def __call__(self, item: Item, output: str) -> Judged:
        """Judge one output."""
        key = (item.id, output)
        if key not in self._kept:
            said = judge_content(output, item, self.wanted)
            fault = form_fault(output, item, self.wanted) or (self.style.fault(item.id, output) if self.style else "")
            why = "; ".join(part for part in (said.why, fault) if part)
            self._kept[key] = Judged(said.right, not fault, said.extracted, why)
        return self._kept[key]

    def fit_style(self, items: Sequence[Item], outputs: Sequence[str], further: Sequence[str] = ()) -> str:
        """Learn what tells references of longer texts from these outputs; what was found, in a sentence.

        Args:
            items: The items.
            outputs: What the model says as it is, by item.
            further: More texts in the wanted style: answers of training rows.
        """
        if self.wanted.content != "words":
            return ""
        self.style, said = Style.fitted(items, outputs, further)
        self._kept.clear()
        return said


def form_fault(output: str, item: Item, wanted: Wanted) -> str:
    """Why an output is not written as wanted; empty where it is."""
    text = without_thought(output).strip()
    if not text:
        return "it is empty"
    return _FAULTS[wanted.form](text, item, wanted)


def _text(text: str, item: Item, wanted: Wanted) -> str:
    return wanted.traits.missed_by(text) if wanted.traits else ""


def _choice(text: str, item: Item, wanted: Wanted) -> str:
    return "" if text in wanted.choices else "it is not one of the choices alone"


def _number(text: str, item: Item, wanted: Wanted) -> str:
    return "" if NUMBER.fullmatch(text) else "it is not a number alone"


def _pattern(text: str, item: Item, wanted: Wanted) -> str:
    pattern = wanted.pattern_of(item)
    if not re.fullmatch(pattern, text, re.DOTALL):
        return f"it does not match {pattern}"
    return wanted.traits.missed_by(inner_of(pattern, text)) if wanted.traits else ""


def _json(text: str, item: Item, wanted: Wanted) -> str:
    try:
        parse(text)
    except NotJson:
        return "it is not JSON alone" if bare(text) else "its JSON is in a code fence"
    schema = wanted.schema_of(item)
    if schema is None:
        return ""
    valid = JsonScorer().one(text, text, {"json_schema": schema})["schema_valid"]
    return "" if valid else "its JSON breaks the schema"


def _call(text: str, item: Item, wanted: Wanted) -> str:
    tools = given(item.row["tools"]) if item.row.get("tools") else None
    if item.row.get("tool_calls") == []:
        return ""
    if not bare(text) or (_TAGS.search(text) and _TAGS.sub("", text).strip()):
        return "other text stands around its calls"
    try:
        calls = calls_in(text)
    except NotJson:
        return "it is not a call alone"
    signatures = {(t.get("function") or t)["name"]: (t.get("function") or t).get("parameters") for t in tools or ()}
    for call in calls if tools else ():
        if call.name not in signatures:
            return f"there is no function {call.name!r}"
        schema = signatures[call.name]
        said = {**call.arguments}
        if (
            schema
            and not JsonScorer().one(json.dumps(said, ensure_ascii=False), "{}", {"json_schema": schema})[
                "schema_valid"
            ]
        ):
            return f"the arguments of {call.name!r} break its signature"
    return ""


def _sql(text: str, item: Item, wanted: Wanted) -> str:
    if not bare(text):
        return "its query is in a code fence"
    query = query_of(text)
    if text.rstrip("; \n\t") != query.rstrip("; \n\t"):
        return "other text stands around its query"
    # EXPLAIN runs nothing; on an empty database a query that parses fails for its tables at most.
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(f"EXPLAIN {query}")
        except sqlite3.Error as fault:
            if any(sign in str(fault) for sign in _UNPARSED):
                return f"its query does not parse: {fault}"
        except (ValueError, OverflowError, sqlite3.Warning) as fault:
            return f"its query does not parse: {fault}"
    return ""


_FAULTS: dict[str, Callable[[str, Item, Wanted], str]] = {
    "text": _text,
    "choice": _choice,
    "number": _number,
    "pattern": _pattern,
    "json": _json,
    "call": _call,
    "sql": _sql,
}
