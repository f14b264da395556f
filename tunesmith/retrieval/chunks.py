"""A document cut into chunks that fit a prompt, by its structure. It reads no file and knows no tokenizer.

A chunk begins and ends where the text has a seam: a section first, then a paragraph, a row or a sentence. Sections that
are too short stand together with their neighbours, those that are too long are parted evenly. Chunks do not overlap,
and all of the text but the space between them lies in one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tunesmith.retrieval.blocks import Block, Kind, blocks_of, part_at, shortened
from tunesmith.retrieval.document import Chunk, Document

LEAST_TOKENS, MOST_TOKENS = 200, 400
CHARACTERS_A_TOKEN = 16
"""A text counts as at least a token each so many characters: a tokenizer calls a word of any length one unknown."""

Tokens = Callable[[str], int]

_WORD = re.compile(r"\d+|[^\W\d_]+|[^\s\w]|_")
LONG_WORD = 7
"""Letters of a word that is still one token, as most English words are."""
IDEOGRAPHS = "\u2e80"
"""From here on a letter is about a token."""
_SEAMS: dict[Kind, tuple[re.Pattern[str], ...]] = {
    "heading": (re.compile(r"\s+"),),
    "paragraph": (
        re.compile(r"\n(?=[ \t]*(?:[-*+]|\d+[.)])[ \t])"),
        re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])"),
        re.compile(r"\n"),
        re.compile(r"\s+"),
    ),
    "code": (re.compile(r"\n[ \t]*\n"), re.compile(r"\n"), re.compile(r"\s+")),
    "row": (re.compile(r"\n"), re.compile(r"(?<=[|,;\t])"), re.compile(r"\s+")),
    "record": (re.compile(r"\n"), re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])"), re.compile(r"\s+")),
}


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, without a model: by the lengths of its words, and signs one each.

    Of MiniLM's count it is 0.9 to 1.1 times on English prose, code, tables and Chinese, and 0.8 times on German.
    """
    count = 0.0
    for match in _WORD.finditer(text):
        word = match[0]
        if word[0].isdigit():
            count += math.ceil(len(word) / 2)
        elif word.isascii():
            count += 1 + max(0, len(word) - LONG_WORD) / 3
        else:
            count += len(word) if word[0] >= IDEOGRAPHS else 1 + max(0, len(word) - 2) / 2
    return math.ceil(count)


@dataclass(frozen=True)
class _Piece:
    """What is not parted further.

    Args:
        start: Its first character.
        end: Behind its last one.
        tokens: How many.
        block: That it comes from.
        whole: Whether it begins that block.
    """

    start: int
    end: int
    tokens: int
    block: Block
    whole: bool = True

    @property
    def heading(self) -> bool:
        return self.block.kind == "heading"


def chunks_of(document: Document, tokens: Tokens, least: int = LEAST_TOKENS, most: int = MOST_TOKENS) -> list[Chunk]:
    """The chunks of a document in the order of its text.

    Args:
        document: Any; an empty text has no chunk.
        tokens: Counts a text's tokens, such as a tokenizer's; `estimated_tokens` needs no model.
        least: Chunks that would be shorter are joined with their neighbours where these fit.
        most: No chunk is longer.

    Raises:
        ValueError: ``least`` is above ``most``, or ``most`` is below 1.
    """
    if most < 1 or least > most:
        raise ValueError(f"chunks of {least} to {most} tokens are impossible")
    places = _Bytes(document.text)
    parts = [(places.character(start), name) for start, name in document.parts]
    records = [start for start, _ in parts] if document.kind in ("json", "jsonl") else []
    cutter = _Cutter(document.text, tokens, most)
    pieces = [piece for block in blocks_of(document.text, document.kind, records) for piece in cutter.pieces(block)]
    groups = [fit for group in _packed(_sections(pieces), least, most) for fit in cutter.fitting(group)]
    chunks: list[Chunk] = []
    for group in groups:
        start, end = cutter.trimmed(group[0].start, group[-1].end)
        text = document.text[start:end]
        chunks.append(
            Chunk(
                document=document.id,
                version=document.version,
                number=len(chunks),
                start=places.byte(start),
                end=places.byte(end),
                path=_path(document, group, part_at(parts, start)),
                text=text,
                tokens=tokens(text),
            )
        )
    return chunks


def _path(document: Document, group: Sequence[_Piece], part: str) -> tuple[str, ...]:
    """The title, the headings that all of the chunk stands under, the page or record, and the header of its table."""
    content = [piece.block.path for piece in group if not piece.heading] or [piece.block.path for piece in group]
    title = shortened(document.title)
    names = [name for name, *others in zip(*content, strict=False) if all(name == other for other in others)]
    path = names if names[:1] == [title] or not title else [title, *names]
    first = group[0]
    return (*path, *filter(None, (part, first.block.header)))


class _Bytes:
    """Characters to bytes and back, for places that are asked for in rising order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ascii = text.isascii()
        self._known = (0, 0)
        self._back = (0, 0)

    def byte(self, character: int) -> int:
        if self._ascii:
            return character
        known, count = self._known
        if character < known:
            known, count = 0, 0
        count += len(self._text[known:character].encode())
        self._known = (character, count)
        return count

    def character(self, byte: int) -> int:
        """Of a byte that begins a character."""
        if self._ascii:
            return byte
        character, count = self._back
        if byte < count:
            character, count = 0, 0
        while count < byte and character < len(self._text):
            # So many characters at least are needed, so this never steps over the byte.
            step = max(1, (byte - count) // 4)
            count += len(self._text[character : character + step].encode())
            character += step
        self._back = (character, count)
        return character


class _Cutter:
    """Parts blocks that are too long."""

    def __init__(self, text: str, tokens: Tokens, most: int) -> None:
        self._text = text
        self._tokens = tokens
        self._most = most
        self._owed = 0  # tokens of headings that stand right above the next block

    def count(self, start: int, end: int) -> int:
        """Tokens of a span; of one that is far too long only that it is."""
        least = math.ceil((end - start) / CHARACTERS_A_TOKEN)
        return least if least > self._most else max(least, self._tokens(self._text[start:end]))

    def trimmed(self, start: int, end: int) -> tuple[int, int]:
        """The span without space at its ends; at the beginning of a line its indent stays, for it means something."""
        text = self._text[start:end]
        kept = text.rstrip()
        lead = len(kept) - len(kept.lstrip())
        indent = re.search(r"[ \t]*\Z", kept[:lead])
        at_line = lead and (start == 0 or "\n" in kept[:lead] or self._text[start - 1] in "\r\n")
        return start + lead - (len(indent[0]) if indent and at_line else 0), start + len(kept)

    def pieces(self, block: Block) -> Iterator[_Piece]:
        """The block as pieces of which each fits a chunk, together with the headings right above the first."""
        start, end = self.trimmed(block.start, block.end)
        if start >= end:
            return
        count = self.count(start, end)
        room = self._most
        if block.kind == "heading":
            self._owed += count
        else:
            room = self._most - self._owed if self._owed * 2 < self._most else self._most
            self._owed = 0
        if count <= room:
            yield _Piece(start, end, count, block)
            return
        for number, (a, b) in enumerate(self._parted(start, end, block.kind, room)):
            yield _Piece(a, b, self.count(a, b), block, whole=number == 0)

    def _parted(self, start: int, end: int, kind: Kind, room: int, seam: int = 0) -> Iterator[tuple[int, int]]:
        """A span as spans that fit, parted at the coarsest seam that does it."""
        start, end = self.trimmed(start, end)
        if start >= end:
            return
        if self.count(start, end) <= room or end - start == 1:
            yield start, end
            return
        if seam == len(_SEAMS[kind]):
            middle = (start + end) // 2
            yield from self._parted(start, middle, kind, room, seam)
            yield from self._parted(middle, end, kind, room, seam)
            return
        cuts = [match.end() for match in _SEAMS[kind][seam].finditer(self._text, start, end) if match.end() < end]
        for a, b in pairwise([start, *cuts, end]):
            yield from self._parted(a, b, kind, room, seam + 1)

    def fitting(self, group: list[_Piece]) -> Iterator[list[_Piece]]:
        """The group, or what is left after its last pieces were put into another: counts of pieces need not add up."""
        while group:
            size = len(group)
            while size > 1 and self.count(group[0].start, group[size - 1].end) > self._most:
                size = size - 1 if size < 8 else size - max(1, size // 8)
            yield group[:size]
            group = group[size:]


def _sections(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces that stand together: a heading begins a section, headings in a row begin one together, a record is one."""
    section: list[_Piece] = []
    for piece in pieces:
        begins = piece.whole and (
            piece.block.kind == "record" or (piece.heading and any(not other.heading for other in section))
        )
        if begins and section:
            yield section
            section = []
        section.append(piece)
    if section:
        yield section


def _packed(sections: Iterator[list[_Piece]], least: int, most: int) -> list[list[_Piece]]:
    """Chunks: short sections joined with what follows, else with what is before; long ones parted evenly."""
    packed: list[list[_Piece]] = []
    held: list[_Piece] = []

    def put() -> None:
        if packed and _tokens(held) < least and _tokens(packed[-1]) + _tokens(held) <= most:
            packed[-1] += held
        elif held:
            packed.append(held)

    for section in sections:
        total = _tokens(section)
        if held and _tokens(held) < least and _tokens(held) + total <= most:
            held += section
            continue
        put()
        *whole, held = _evenly(section, total, least, most)
        packed += whole
    put()
    return packed


def _tokens(pieces: Sequence[_Piece]) -> int:
    return sum(piece.tokens for piece in pieces)


def _evenly(section: list[_Piece], total: int, least: int, most: int) -> list[list[_Piece]]:
    """A section in as few chunks as hold it, of about one length."""
    if total <= most:
        return [section]
    wanted = max(least, total / math.ceil(total / most))
    groups: list[list[_Piece]] = [[]]
    held = 0
    for piece in section:
        full = held + piece.tokens > most or held >= wanted
        if full and any(not other.heading for other in groups[-1]):
            groups.append([])
            held = 0
        groups[-1].append(piece)
        held += piece.tokens
    return groups
