"""SQL as text: which part of an answer is the query, and whether its rows have an order. It knows no database."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunesmith.language.answers.extract import fenced, without_thought

_LANGUAGES = ("sql", "sqlite", "sqlite3")
_PIECE = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|`[^`]*(?:`|\Z)|\[[^\]]*(?:\]|\Z)|\w+|\s+|.", re.DOTALL
)
# WITH is also a word of prose, so it counts only before the name of a table expression and AS.
_START = re.compile(r"\bSELECT\b|\bWITH\s+(?:RECURSIVE\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?AS\b", re.IGNORECASE)
_COMMENTS_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)


def query_of(answer: str) -> str:
    """The query in an answer: its SQL fence, else the text from the first SELECT or WITH up to a semicolon.

    An answer with neither is returned whole: the database says what is wrong with it.
    """
    text = without_thought(answer)
    inside = fenced(text, _LANGUAGES)
    if inside is not None:
        return inside.strip().rstrip("; \n\t")
    body = text[_end_of(_COMMENTS_BEFORE.match(text)) :]
    start = _START.search(body)
    if start is None:
        return body.strip()
    query = []
    for piece in pieces(body[start.start() :]):
        if piece == ";":
            break
        query.append(piece)
    return "".join(query).strip()


def is_ordered(query: str) -> bool:
    """Whether a query says the order of its own rows: ORDER BY outside every parenthesis."""
    depth, before = 0, ""
    for piece in pieces(query):
        if piece.isspace() or piece.startswith(("--", "/*")):
            continue
        depth += (piece == "(") - (piece == ")")
        word = piece.upper()
        if depth == 0 and (before, word) == ("ORDER", "BY"):
            return True
        before = word
    return False


def pieces(text: str) -> Iterator[str]:
    """A text cut into words, quoted parts, comments, blanks and single characters; joined they are the text."""
    return (found[0] for found in _PIECE.finditer(text))


def _end_of(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
