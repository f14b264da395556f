"""A row's words as a page shows them: what a finding points at marked, what is invisible made visible, the rest cut.

It knows texts, notes and changes; no row store, no picture and no page. A piece of text is ``[words, kind]``, its kind
empty, ``mark`` (what the finding is about), ``del`` and ``ins`` (what a change takes away and puts in), or ``odd`` (a
character that can't be seen).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, TypeAlias

from tunesmith.data.digest import canonical_json

Piece: TypeAlias = list[str]

LONGEST = 500
"""Characters of a text that are shown; the stretch around the first marked piece."""
LEAD = 120
"""Characters before the first marked piece."""
MOST_TEXTS = 6
"""Texts of one row, the turns of a conversation: those with a marked piece, then the last ones."""
LIKE = 0.5
"""Texts that are less alike than this, 0 to 1, are not compared word by word: nearly all of them would be marked."""
MOST_PAIRS = 1_000_000
"""Words of one text times those of the other up to which they are compared word by word."""
MOST_QUOTES = 8
HINT = 3
"""Letters of what is hidden."""

_QUOTED = re.compile(
    r"(?<!\w)'(?P<a>[^\n]{1,200}?)'(?!\w)|\"(?P<b>[^\"\n]{1,200})\"|“(?P<c>[^”\n]{1,200})”|`(?P<d>[^`\n]{1,200})`"
)
_HIDDEN = re.compile(r"…|\*{3,}")
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_UNSEEN = {0xFFFD, 0x200B, 0xFEFF, 0x00AD, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def texts_of(value: Any, name: str) -> dict[str, str]:
    """A column's value as texts by name: itself, or the turns of a conversation by who speaks."""
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(_is_turn(one) for one in value):
        found: dict[str, str] = {}
        for turn in value:
            said = turn.get("content")
            calls = turn.get("tool_calls")
            text = canonical_json(calls).decode() if calls else said if isinstance(said, str) else _json(said)
            who = str(turn["role"]) if name == "messages" else f"{name}, {turn['role']}"
            times = sum(1 for key in found if key == who or key.startswith(f"{who} ")) + 1
            found[who if times == 1 else f"{who} {times}"] = text
        return found
    return {name: value if isinstance(value, str) else _json(value)}


def _is_turn(one: Any) -> bool:
    return isinstance(one, Mapping) and "role" in one


def _json(value: Any) -> str:
    return "" if value is None else canonical_json(value).decode()


def chosen(texts: Mapping[str, list[Piece]]) -> dict[str, list[Piece]]:
    """The texts of a row that are shown, in their order; the last name says how many are not."""
    names = list(texts)
    if len(names) <= MOST_TEXTS:
        return dict(texts)
    told = [name for name in names if any(kind not in ("", "more") for _, kind in texts[name])]
    kept = set(dict.fromkeys([*told[: MOST_TEXTS - 1], *reversed(names)][:MOST_TEXTS]))
    shown = {name: texts[name] for name in names if name in kept}
    return {**shown, "": [[f"{len(names) - len(shown)} more are not shown", "more"]]}


def marked(
    text: str, note: str = "", *, beside: str | None = None, changed: str | None = None, hidden: bool = False
) -> list[Piece]:
    """A text in pieces, at most about `LONGEST` characters of it.

    Args:
        text: As the row has it.
        note: What is the matter with the row: what it quotes (``'...'``, ``"..."``) is marked, or itself where it
            stands in the text. A quotation that hides its middle (``'sk-1…9f'``) hides it in the text, too.
        beside: The text of the row's twin: the words that differ are marked.
        changed: The text as it would be right: what goes is struck out, what comes is inserted.
        hidden: Whether only the first letters of what goes are shown.
    """
    if changed is not None and changed != text:
        pieces = _compared(text, changed, insert=True)
        if hidden:
            pieces = [[f"{words[:HINT]}…" if kind == "del" else words, kind] for words, kind in pieces]
    else:
        pieces = _quoted(text, note)
        if beside is not None and beside != text and len(pieces) == 1:
            pieces = _compared(text, beside, insert=False)
    return _visible(_cut(pieces))


def _quoted(text: str, note: str) -> list[Piece]:
    spans: list[tuple[int, int, str]] = []
    quoted = [next(part for part in found.groups() if part is not None) for found in _QUOTED.finditer(note)]
    for quote in quoted[:MOST_QUOTES] or ([note] if len(note) >= HINT else []):
        words = quote.strip().removesuffix("...")
        kept = [r"\s+".join(map(re.escape, part.split())) for part in _HIDDEN.split(words) if part.strip()]
        if not kept:
            continue
        hides = _HIDDEN.search(words) is not None
        pattern = r"\S*?".join(kept) + (r"\S*" if hides and _HIDDEN.search(words[-3:]) else "")
        for at in re.finditer(pattern, text):
            spans.append((*at.span(), words if hides else at[0]))
    pieces: list[Piece] = []
    end = 0
    for first, last, words in sorted(spans, key=lambda one: (one[0], -one[1])):
        if first < end:
            continue
        pieces += [[text[end:first], ""], [words, "mark"]]
        end = last
    return [piece for piece in [*pieces, [text[end:], ""]] if piece[0]] or [["", ""]]


def _compared(text: str, other: str, *, insert: bool) -> list[Piece]:
    """The pieces of a text beside another one; with ``insert`` those of the other, too."""
    first, second = _WORD.findall(text), _WORD.findall(other)
    # What is the same at both ends costs nothing: a long text with one change is compared where it changes.
    least = min(len(first), len(second))
    head = next((at for at in range(least) if first[at] != second[at]), least)
    tail = next((at for at in range(least - head) if first[-1 - at] != second[-1 - at]), least - head)
    steps = _steps(first[head : len(first) - tail], second[head : len(second) - tail])
    same = head + tail + sum(len(here) for kind, here, _ in steps if kind == "equal")
    if not insert and 2 * same < LIKE * (len(first) + len(second)):
        return [[text, ""]]
    pieces: list[Piece] = [["".join(first[:head]), ""]]
    for kind, here, there in steps:
        if kind == "equal":
            pieces.append(["".join(here), ""])
            continue
        pieces.append(["".join(here), "del" if insert else "mark"])
        if insert:
            pieces.append(["".join(there), "ins"])
    pieces.append(["".join(first[len(first) - tail :]), ""])
    return [piece for piece in pieces if piece[0]]


def _steps(first: list[str], second: list[str]) -> list[tuple[str, list[str], list[str]]]:
    """How one becomes the other: kind, what was there, what comes."""
    if len(first) * len(second) > MOST_PAIRS:
        return [("replace", first, second)]
    codes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return [(kind, first[a:b], second[c:d]) for kind, a, b, c, d in codes]


def _cut(pieces: list[Piece]) -> list[Piece]:
    """At most `LONGEST` characters, begun a little before the first marked piece; an ellipsis says what is missing."""
    whole = sum(len(words) for words, _ in pieces)
    if whole <= LONGEST:
        return pieces
    first = 0
    for words, kind in pieces:
        if kind:
            break
        first += len(words)
    start = max(0, min(first - LEAD, whole - LONGEST)) if first < whole else 0
    out: list[Piece] = [[f"… ({start:,} characters before) … ", "more"]] if start else []
    at = 0
    for words, kind in pieces:
        part = words[max(0, start - at) : max(0, start + LONGEST - at)]
        at += len(words)
        if part:
            out.append([part, kind])
    left = whole - start - LONGEST
    return [*out, [f" … ({left:,} characters more)", "more"]] if left > 0 else out


def _visible(pieces: list[Piece]) -> list[Piece]:
    out: list[Piece] = []
    for words, kind in pieces:
        out += _seen(words, kind)
    return out or [["", ""]]


def _seen(words: str, kind: str) -> Iterator[Piece]:
    """A piece with the characters that can't be seen, or that would turn those around them, as their code."""
    plain = ""
    for letter in words:
        if letter in "\n\t" or not _unseen(letter):
            plain += letter
            continue
        if plain:
            yield [plain, kind]
            plain = ""
        if letter != "\r":
            yield [f"U+{ord(letter):04X}", "odd"]
    if plain:
        yield [plain, kind]


def _unseen(letter: str) -> bool:
    return ord(letter) in _UNSEEN or unicodedata.category(letter) in ("Cc", "Cs", "Co", "Cn")
