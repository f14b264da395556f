"""English around words and numbers: articles, plurals, lists, verbs. It knows no schema and no SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_AN = re.compile(r"(?!uni|use|eu|one)[aeiou]|hour|honou?r", re.IGNORECASE)
_THIRD = {"have": "has", "are": "is", "were": "was"}
_SAME = ("species", "series", "quarters")


def a(phrase: str) -> str:
    """A phrase with its article."""
    return f"{'an' if _AN.match(phrase) else 'a'} {phrase}"


def many(phrase: str) -> str:
    """The plural; of ``number of pages`` the first word is what changes."""
    head, of, rest = phrase.partition(" of ")
    if of:
        return f"{many(head)} of {rest}"
    if phrase.endswith(_SAME):
        return phrase
    if re.search(r"[^aeiou]y$", phrase):
        return f"{phrase[:-1]}ies"
    return phrase + ("es" if re.search(r"(s|x|z|ch|sh)$", phrase) else "s")


def third(verb: str) -> str:
    """A verb as one does it."""
    return _THIRD.get(verb) or many(verb)


def doing(verb: str) -> str:
    """A verb as a participle."""
    return f"{verb.removesuffix('e')}ing"


def listed(items: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def sentence(words: str) -> str:
    """A sentence without the gaps that empty parts leave, and with a capital."""
    words = re.sub(r"\s+([.?,:])", r"\1", re.sub(r"\s+", " ", words)).strip()
    return words[:1].upper() + words[1:]
