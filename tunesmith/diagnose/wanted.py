"""What is wanted of an answer, read off the references: what its content is, which form it has. It judges no output.

A person may say it instead (`read_wanted`'s arguments, or the columns ``json_schema``, ``tools``, ``pattern``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tunesmith.diagnose.found import Item
from tunesmith.diagnose.shapes import (
    CONTENT,
    Traits,
    call_schema,
    line_grammar,
    mined_ends,
    mined_pattern,
    schema_of,
    traits_of,
)
from tunesmith.errors import UserError
from tunesmith.language.answers.json_schema import JsonScorer
from tunesmith.language.answers.json_values import NotJson, given, parse

Content: TypeAlias = Literal["exact", "choice", "number", "set", "json", "call", "sql", "words"]
Form: TypeAlias = Literal["text", "choice", "number", "pattern", "json", "call", "sql"]

NUMBER = re.compile(r"[-+]?[$€£¥]?\s?\d[\d,.\u00a0\u202f' ]*\d%?|[-+]?[$€£¥]?\s?\d%?")
_QUERY = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
MOST_CHOICES, LONGEST_CHOICE, LEAST_OF_CHOICE = 20, 60, 3
"""References that repeat themselves are choices: how many there may be, their characters, and rows for each."""
RARE = 0.03
"""The most of them that may stand there once: slips, and answers that are rare."""
SHORT_WORDS = 12
"""Median words of references from which on one is no longer looked for word by word."""
EXAMPLES = 3


@dataclass(frozen=True)
class Wanted:
    """What answers are judged by.

    Args:
        content: How what is said is compared: ``exact`` looks for the reference in the output, ``choice`` for the one
            choice that is named, ``number``, ``set``, ``json`` field by field, ``call`` by parsed calls, ``sql`` by
            the rows of the query, ``words`` by the facts of a longer text.
        form: How an answer is to be written.
        schema: Of ``json`` and ``set``, where items have none of their own.
        choices: Of ``choice``.
        pattern: A regular expression that the whole answer matches; its group ``content`` is what is compared.
        grammar: Of ``pattern``, where it was read off the references: what constrained decoding follows.
        traits: Of texts.
        instructions: The form in words, for the prompt.
        said: For a person.
    """

    content: Content
    form: Form
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    grammar: str = ""
    traits: Traits | None = None
    instructions: str = ""
    said: str = ""

    def pattern_of(self, item: Item) -> str:
        """The item's own pattern, or the one of all."""
        return str(item.row.get("pattern") or self.pattern)

    def schema_of(self, item: Item) -> Mapping[str, Any] | None:
        """The item's own JSON Schema, or the one of all."""
        own = item.row.get("json_schema")
        found = given(own) if own else self.schema
        return found if isinstance(found, Mapping) else None

    def instructions_of(self, item: Item) -> str:
        """The form in words, for one item."""
        own = self.pattern_of(item) if self.form == "pattern" and not self.instructions else ""
        return f"Write the answer so that it matches the regular expression {own}" if own else self.instructions

    def constraint(self, item: Item) -> dict[str, Any]:
        """What constrained decoding can keep an answer to, as arguments of a `Prompt`; empty where it can't."""
        if self.form == "choice":
            return {"choices": self.choices}
        if self.form == "json":
            schema = self.schema_of(item)
            return {"schema": schema} if schema else {}
        if self.form == "call" and item.row.get("tools"):
            return {"schema": call_schema(given(item.row["tools"]))}
        if self.form == "pattern" and self.grammar and not item.row.get("pattern"):
            return {"grammar": self.grammar}
        if self.form == "number" and all(_is_number(reference) for reference in item.references):
            return {"schema": {"type": "number"}}
        return {}


def read_wanted(
    items: Sequence[Item],
    *,
    content: str | None = None,
    pattern: str | None = None,
    schema: Mapping[str, Any] | None = None,
    instructions: str | None = None,
) -> Wanted:
    """What is wanted of the answers to these items.

    Args:
        items: With their references.
        content: One of `Content`, where the references are not to tell.
        pattern: A regular expression of the whole answer; a group ``content`` says which part is compared.
        schema: A JSON Schema of the answer.
        instructions: The form in words, in place of our own.

    Raises:
        UserError: There is no such kind of content, or the pattern is none or fits no reference.
    """
    if content is not None and content not in get_args(Content):
        raise UserError(
            f"--content {content}: there is no such kind",
            "command line",
            f"write one of {', '.join(get_args(Content))}",
        )
    references = [item.references[0] for item in items]
    found = _given(items, references, content, pattern, schema) or _recognised(items, references, content)
    words = instructions if instructions is not None else found.instructions
    return _with(found, instructions=words, said=_said(found))


def _with(wanted: Wanted, **changes: Any) -> Wanted:
    return Wanted(**{name: changes.get(name, getattr(wanted, name)) for name in Wanted.__dataclass_fields__})


def _given(
    items: Sequence[Item],
    references: Sequence[str],
    content: str | None,
    pattern: str | None,
    schema: Mapping[str, Any] | None,
) -> Wanted | None:
    """What a person said, on the command line or in columns."""
    own = [str(item.row["pattern"]) for item in items if item.row.get("pattern")]
    for one in dict.fromkeys([pattern] if pattern else own):
        _check_pattern(one, references if pattern else [])
    if pattern or len(own) == len(items):
        inner = [inner_of(pattern or own[i], reference) for i, reference in enumerate(references)]
        kind = content or _text_content(inner)
        written = f"Write the answer so that it matches the regular expression {pattern}" if pattern else ""
        return Wanted(kind, "pattern", choices=_choices(inner), pattern=pattern or "", instructions=written)  # type: ignore[arg-type]
    if schema is not None:
        _check_schema(schema, items, references)
    if schema is not None or all(item.row.get("json_schema") for item in items):
        return _json(items, content, schema)
    return None


def _check_pattern(pattern: str, references: Sequence[str]) -> None:
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as fault:
        raise UserError(f"{pattern!r} is no regular expression: {fault}", "pattern", "mend it") from fault
    wrong = next((reference for reference in references if not compiled.fullmatch(reference.strip())), None)
    if wrong is not None:
        raise UserError(
            f"the pattern does not match the reference {wrong[:60]!r}", "pattern", "let it match every whole reference"
        )


def _check_schema(schema: Mapping[str, Any], items: Sequence[Item], references: Sequence[str]) -> None:
    rows = [{"id": item.id, "json_schema": schema} for item in items]
    fault = next(iter(JsonScorer().findings(rows, references)), None)
    if fault is not None:
        line = next((f", line {item.line}" for item in items if item.id in fault.rows), "")
        raise UserError(f"--schema: {fault.what}", f"--items{line}", "mend the schema, or the references")


def inner_of(pattern: str, text: str) -> str:
    """The part of a text that a pattern says is its content; the whole text where it says nothing."""
    match = re.search(pattern, text.strip(), re.DOTALL) if pattern else None
    if match is None:
        return text
    return match.group("content") if "content" in match.re.groupindex else match.group(0)


def _recognised(items: Sequence[Item], references: Sequence[str], content: str | None) -> Wanted:
    """The most telling kind that all references are of."""
    if content == "call" or all(item.row.get("tools") or item.row.get("tool_calls") is not None for item in items):
        words = "Answer with the function call alone, as JSON with name and arguments, and nothing else."
        return Wanted("call", "call", instructions=words)
    if content == "sql" or all(_QUERY.match(reference) for reference in references):
        return Wanted(
            "sql", "sql", instructions="Answer with one SQL query alone: no explanation, no code fence, nothing else."
        )
    if content in (None, "json", "set") and all(_is_json(reference) for reference in references):
        return _json(items, content, None)
    return _text(references, content)


def _text(references: Sequence[str], content: str | None) -> Wanted:
    """References that are texts: a number each, one of few, in a set pattern, or free."""
    kind = content or _text_content(references)
    if kind == "number":
        return Wanted("number", "number", instructions="Answer with the number alone, and nothing else.")
    if kind == "choice" and (choices := _choices(references) or _named_choices(references)):
        words = f"Answer with one of these alone, written exactly so, and nothing else: {', '.join(choices)}."
        return Wanted("choice", "choice", choices=choices, instructions=words)
    pattern = mined_pattern(references)
    inner = [inner_of(pattern, reference) for reference in references]
    traits = traits_of(inner)
    if pattern:
        kind = content or _text_content(inner)
        shown = re.sub(r"\s+", " ", references[0].strip().replace(inner[0].strip(), "ANSWER", 1))
        said = traits.said(of="ANSWER")
        words = f"Write the answer exactly in this form and nothing else: {shown}" + (f" ({said})" if said else "")
        one_line = traits.one_line and "\n" not in "".join(mined_ends(references))
        return Wanted(
            kind,  # type: ignore[arg-type]
            "pattern",
            choices=_choices(inner),
            pattern=pattern,
            grammar=line_grammar(mined_ends(references), traits) if one_line else "",
            traits=traits,
            instructions=words,
        )
    words = f"Answer {traits.said() or 'with the answer alone'}, and nothing else."
    return Wanted(kind, "text", traits=traits, instructions=words)  # type: ignore[arg-type]


def _text_content(texts: Sequence[str]) -> Content:
    if all(NUMBER.fullmatch(text.strip()) for text in texts):
        return "number"
    if _choices(texts):
        return "choice"
    lengths = sorted(len(text.split()) for text in texts)
    return "exact" if lengths[len(lengths) // 2] <= SHORT_WORDS else "words"


def _choices(texts: Sequence[str]) -> tuple[str, ...]:
    """The few answers that there are; none where they do not repeat themselves, or are numbers."""
    counts = Counter(text.strip() for text in texts)
    few = 2 <= len(counts) <= min(MOST_CHOICES, len(texts) // LEAST_OF_CHOICE)
    once = sum(count == 1 for count in counts.values())
    if not few or max(map(len, counts)) > LONGEST_CHOICE or once > RARE * len(texts):
        return ()
    return tuple(text for text, _ in counts.most_common())


def _named_choices(texts: Sequence[str]) -> tuple[str, ...]:
    """All answers that there are, where a person says that they are choices.

    Raises:
        UserError: They are too many, or too long, to choose from.
    """
    counts = Counter(text.strip() for text in texts)
    if not 2 <= len(counts) <= MOST_CHOICES or max(map(len, counts)) > LONGEST_CHOICE:
        raise UserError(
            f"--content choice: the references are {len(counts):,} different answers",
            "command line",
            f"let them be 2 to {MOST_CHOICES} choices of at most {LONGEST_CHOICE} characters, or leave it out",
        )
    return tuple(text for text, _ in counts.most_common())


def _is_json(text: str) -> bool:
    try:
        return isinstance(parse(text), dict | list)
    except NotJson:
        return False


def _is_number(text: str) -> bool:
    try:
        return isinstance(parse(text), int | float)
    except NotJson:
        return False


def _json(items: Sequence[Item], content: str | None, schema: Mapping[str, Any] | None) -> Wanted:
    values = [parse(item.references[0]) for item in items if _is_json(item.references[0])]
    own = all(item.row.get("json_schema") for item in items)
    schema = schema or (None if own else schema_of(values))
    flat = bool(values) and all(
        isinstance(value, list) and not any(isinstance(part, dict | list) for part in value) for value in values
    )
    shown = json.dumps(schema, ensure_ascii=False) if schema is not None else ""
    words = "Answer with JSON alone: no explanation, no code fence, nothing else." + (
        f" It has to keep this JSON Schema: {shown}" if shown else ""
    )
    kind = content or ("set" if flat else "json")
    return Wanted(kind, "json", schema=schema, instructions=words)  # type: ignore[arg-type]


def _said(wanted: Wanted) -> str:
    """What is judged, in a sentence."""
    contents = {
        "exact": "the reference has to stand in the answer",
        "choice": f"of {len(wanted.choices)} choices the right one alone has to be named",
        "number": "the number has to be the reference's",
        "set": "the parts have to be the reference's, in any order",
        "json": "every field has to say what the reference's says",
        "call": "the calls have to be the reference's",
        "sql": "the query has to give the rows that the reference gives",
        "words": "at least half of the reference's numbers and telling words have to stand in the answer",
    }
    traits = wanted.traits.said() if wanted.traits else ""
    forms = {
        "text": f"the answer stands alone ({traits})" if traits else "the answer stands alone",
        "choice": "one of the choices, written exactly so, and nothing else",
        "number": "the number and nothing else",
        "pattern": f"all of it matches {wanted.pattern or 'the pattern of its item'}",
        "json": "JSON that keeps the schema, and nothing else",
        "call": "calls that keep the tools' signatures, and nothing else",
        "sql": "one query that parses, and nothing else",
    }
    return f"content: {contents[wanted.content]}; form: {forms[wanted.form]}"


__all__ = ["CONTENT", "NUMBER", "Content", "Form", "Wanted", "inner_of", "read_wanted"]
