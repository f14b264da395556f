"""Quotes: whether a text stands in its source, and where. It asks no model and reads no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.retrieval.document import Passage

_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Quote:
    """What an answer says that a source says.

    Args:
        source: Number of the source, from 1; 0 where it stands in none.
        text: As it was given.
        found: Whether it stands in its source, blanks and line breaks aside.
        document: Id of the document.
        version: Of the document.
        start: First byte in the document's text.
        end: Behind its last byte.
        named: The number that was given; another one than ``source`` where it stands in another source.
    """

    source: int
    text: str
    found: bool
    document: str = ""
    version: str = ""
    start: int = 0
    end: int = 0
    named: int = 0


def check_quote(text: str, named: int, passages: Sequence[Passage]) -> Quote:
    """A quote held against its source, then against the others.

    Args:
        text: What was quoted.
        named: The number of the source it is said to be from, from 1.
        passages: The sources, in their order.
    """
    numbers = [n for n in (named, *range(1, len(passages) + 1)) if 1 <= n <= len(passages)]
    for number in dict.fromkeys(numbers):
        chunk = passages[number - 1].chunk
        place = find(text, chunk.text)
        if place is not None:
            start = chunk.start + len(chunk.text[: place[0]].encode())
            end = start + len(chunk.text[place[0] : place[1]].encode())
            return Quote(number, text, True, chunk.document, chunk.version, start, end, named)
    return Quote(0, text, False, named=named)


def find(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, as characters; runs of blanks and line breaks count as one blank."""
    words = quote.split()
    if not words:
        return None
    whole = quote.strip()
    place = text.find(whole)
    if place >= 0:
        return place, place + len(whole)
    found = re.search(r"\s+".join(re.escape(word) for word in words), text)
    return found.span() if found else None


def sentences(text: str) -> list[str]:
    """A text in pieces that end with a sentence, a paragraph or a line of a list; joined they are the text."""
    pieces, start = [], 0
    for gap in _SENTENCE.finditer(text):
        # A line that was broken to fit a page goes on in the next one.
        if gap[0] == "\n" and text[gap.end() : gap.end() + 1].islower():
            continue
        pieces.append(text[start : gap.end()])
        start = gap.end()
    return [piece for piece in (*pieces, text[start:]) if piece]


def one_line(text: str) -> str:
    """A text with single blanks."""
    return _BLANKS.sub(" ", text).strip()


def printable(text: str) -> str:
    """A text without what a terminal would obey: control characters, and marks that turn the direction of writing."""
    return _OBEYED.sub("\ufffd", text)
