"""The shape that texts and JSON values have in common: a set beginning and end, traits, a schema. It knows no item."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONTENT = "content"
LEAST_TEXTS = 5
LEAST_FORM = 2
"""Characters that all texts begin and end with, together, before they are a form."""
USUAL = 0.97
"""The share of texts that have a trait before it is one of all; references have slips, too."""
LONGER, SHORTER, LEAST_ROOM = 1.5, 0.5, 2
"""How much longer and shorter than all references an answer may be, and by how many words at least."""
_MARKUP = re.compile(r"^\s*(?:#{1,6} |[-*+] |\d+[.)] |```|>)|\*\*|`", re.MULTILINE)
_FINAL = tuple(".!?\u3002\uff01\uff1f")
_WORD_END = re.compile(r"\w+$")
_WORD_START = re.compile(r"^\w+")


@dataclass(frozen=True)
class Traits:
    """What texts of one form have in common.

    Args:
        words: Fewest and most words.
        one_line: Whether none has a line break.
        stopped: Whether they end with a full stop, question or exclamation mark; None: some do.
        case: ``upper``, ``lower``, ``capital`` (the first letter is upper case); empty: no one way.
        plain: Whether none has Markdown.
    """

    words: tuple[int, int]
    one_line: bool = False
    stopped: bool | None = None
    case: str = ""
    plain: bool = False

    def missed_by(self, text: str) -> str:
        """Why a text has not these traits; empty where it has."""
        count = len(text.split())
        low, high = self.words
        letters = [letter for letter in text if letter.isalpha()]
        wrong_case = bool(letters) and (
            (self.case == "upper" and any(letter.islower() for letter in letters))
            or (self.case == "lower" and any(letter.isupper() for letter in letters))
            or (self.case == "capital" and letters[0].islower())
        )
        faults = {
            "it is empty": not text.strip(),
            f"it has {count} words, where {low} to {high} are usual": not low <= count <= high,
            "it has several lines": self.one_line and "\n" in text.strip(),
            "it has Markdown": self.plain and bool(_MARKUP.search(text)),
            "it ends with a stop": self.stopped is False and text.rstrip().endswith(_FINAL),
            "it does not end with a stop": self.stopped is True and not text.rstrip().endswith(_FINAL),
            f"it is not in {self.case} case": wrong_case,
        }
        return next((said for said, holds in faults.items() if holds), "")

    def said(self, of: str = "") -> str:
        """The traits in words, as an instruction."""
        low, high = self.words
        most = f"in at most {high} word{'s' if high > 1 else ''}"
        parts = [f"in {low} to {high} words" if low > 3 else most]
        parts += ["on one line"] if self.one_line else []
        parts += ["without Markdown"] if self.plain and not self.one_line else []
        parts += {True: ["ending with a full stop"], False: ["without a final full stop"], None: []}[self.stopped]
        cases = {"upper": "in capital letters", "lower": "in lower case", "capital": "beginning with a capital letter"}
        parts += [cases[self.case]] if self.case else []
        return f"{of} {', '.join(parts)}".strip()


def traits_of(texts: Sequence[str]) -> Traits:
    """What texts, at least one, have in common."""
    counts = sorted(len(text.split()) for text in texts)
    usual = counts[min(len(counts) - 1, math.ceil(USUAL * len(counts)) - 1)]
    least = counts[len(counts) - min(len(counts), math.ceil(USUAL * len(counts)))]
    high = max(math.ceil(usual * LONGER), usual + LEAST_ROOM)
    low = max(1, min(math.floor(least * SHORTER), least - LEAST_ROOM))

    def share(holds: Any) -> float:
        return sum(map(bool, map(holds, texts))) / len(texts)

    stopped = share(lambda text: text.rstrip().endswith(_FINAL))
    cased = [text for text in texts if any(letter.isalpha() for letter in text)]
    case = next((name for name, holds in _CASES.items() if cased and sum(map(holds, cased)) >= USUAL * len(cased)), "")
    return Traits(
        words=(low, high),
        one_line=share(lambda text: "\n" not in text.strip()) >= USUAL,
        stopped=True if stopped >= USUAL else False if stopped <= 1 - USUAL else None,
        case=case,
        plain=share(lambda text: not _MARKUP.search(text)) >= USUAL,
    )


def _first_letter(text: str) -> str:
    return next((letter for letter in text if letter.isalpha()), "")


_CASES = {
    "upper": str.isupper,
    "lower": str.islower,
    "capital": lambda text: _first_letter(text).isupper(),
}


def mined_pattern(texts: Sequence[str]) -> str:
    """The regular expression of what all texts begin and end with, see `mined_ends`; empty where that is nothing."""
    before, after = mined_ends(texts)
    return f"{re.escape(before)}(?P<{CONTENT}>.+?){re.escape(after)}" if before or after else ""


def line_grammar(ends: tuple[str, str], traits: Traits | None) -> str:
    """A Lark grammar of one line between a beginning and an end, as llguidance reads it."""
    case = traits.case if traits is not None else ""
    middle = {"upper": r"[^\p{Ll}\n]+", "lower": r"[^\p{Lu}\n]+"}.get(case, r"[^\n]+")
    # No other sign is escaped: there, a backslash before < or > is the edge of a word, and before most others a fault.
    before, after = (re.sub(r"([\\.+*?()|\[\]{}^$/])", r"\\\1", end).replace("\n", r"\n") for end in ends)
    return f"start: /{before}{middle}{after}/"


def mined_ends(texts: Sequence[str]) -> tuple[str, str]:
    """What all texts begin and end with; two empty texts where that is nothing to speak of.

    Words are never cut, a lone full stop is no form, and what stands between has to differ.
    """
    stripped = [text.strip() for text in texts]
    if len(stripped) < LEAST_TEXTS or len(set(stripped)) < 2:
        return "", ""
    before = _beginning(stripped)
    left = [text[len(before) :] for text in stripped]
    after = _beginning([text[::-1] for text in left])[::-1]
    # Where all that begins with a letter goes on with one, the beginning cuts words.
    if any(text[len(before) : len(before) + 1].isalnum() for text in stripped):
        before = _WORD_END.sub("", before)
    if any(text[: len(text) - len(after)][-1:].isalnum() for text in stripped):
        after = _WORD_START.sub("", after)
    signs = [sign for sign in before + after if not sign.isspace()]
    return (before, after) if len(signs) >= LEAST_FORM else ("", "")


def _beginning(texts: Sequence[str]) -> str:
    """What all begin with: the first and the last in order differ soonest."""
    first, last = min(texts), max(texts)
    end = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:end]


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON Schema that all values keep: kinds, the fields that all objects have, and no others than there are."""
    kinds = sorted({_kind(value) for value in values})
    if kinds == ["integer", "number"]:
        kinds = ["number"]
    schema: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    objects = [value for value in values if isinstance(value, Mapping)]
    if objects:
        names = dict.fromkeys(name for value in objects for name in value)
        schema["properties"] = {name: schema_of([v[name] for v in objects if name in v]) for name in names}
        schema["required"] = [name for name in names if all(name in value for value in objects)]
        schema["additionalProperties"] = False
    parts = [part for value in values if isinstance(value, list) for part in value]
    if parts:
        schema["items"] = schema_of(parts)
    return schema


def _kind(value: Any) -> str:
    for types, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, types):
            return name
    return "null" if value is None else "object"


def call_schema(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON Schema of one call of one of these tools (OpenAI's shape, or bare functions)."""
    functions = [tool.get("function") or tool for tool in tools]
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": function.get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}
