"""The structure of a text: headings, paragraphs, code, rows of tables, each a span. It counts no tokens.

Blocks lie end to end from the first character to the last, so that whatever is made of them leaves nothing out.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "paragraph", "code", "row", "record"]

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_UNDERLINE = re.compile(r"([=~^\"*+#-])\1{2,}[ \t]*")
_DELIMITER = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_NUMBERED = re.compile(
    r"(?:(\d+(?:\.\d+)+)\.?|(?:Chapter|Appendix|Part|Kapitel|Anhang|Kapitola|Chapitre) [\dA-Z]+\.?)[ \t]+\S"
)
_UNDERLINES = '=-~^"*+#'
PATH_CHARACTERS = 120
"""Most characters of a heading in a path; the heading itself stands in the text in full."""


@dataclass(frozen=True)
class Block:
    """A part of a text that is one thing.

    Args:
        start: Its first character.
        end: Behind its last one; the next block begins there.
        kind: What it is. A record is whole where it fits, and nothing else shares its sentence.
        path: Headings above it from the outermost down; a heading's own is the last.
        header: The header line of the table that a row stands in; empty for the first row, which holds it.
        depth: Of a heading, 1 the outermost.
    """

    start: int
    end: int
    kind: Kind
    path: tuple[str, ...] = ()
    header: str = ""
    depth: int = 0


class _Path:
    """Headings that are open."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, depth: int, name: str) -> None:
        while self._open and self._open[-1][0] >= depth:
            self._open.pop()
        if name:
            self._open.append((depth, shortened(name)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for _, name in self._open)


def shortened(name: str) -> str:
    """A heading as paths say it: on one line, at most 120 characters."""
    name = " ".join(name.split())
    return name if len(name) <= PATH_CHARACTERS else name[: PATH_CHARACTERS - 3].rstrip() + "..."


def blocks_of(text: str, kind: str, records: Sequence[int] = ()) -> list[Block]:
    """All of a text, as blocks.

    Args:
        text: Any.
        kind: Of the document: ``csv`` and ``tsv`` are rows, ``text`` has no Markdown in it, all else is Markdown.
        records: Characters where records begin, where the text is nothing but records.
    """
    if records:
        starts = sorted({0, *records})
        return [Block(a, b, "record") for a, b in zip(starts, [*starts[1:], len(text)], strict=True) if a < b]
    if kind in ("csv", "tsv"):
        return list(_delimited(text))
    return list(_prose(text, markdown=kind != "text"))


def _lines(text: str) -> list[tuple[int, str]]:
    """Each line with the place where it begins; the line's end belongs to it."""
    lines: list[tuple[int, str]] = []
    place = 0
    # Not splitlines(): it also cuts at characters that end no line in Markdown, such as a form feed.
    for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", text):
        lines.append((place, line))
        place += len(line)
    return lines


def _delimited(text: str) -> Iterator[Block]:
    """A block a record; a quoted field may go over lines. The first block is the header and the first row."""
    starts: list[int] = []
    quotes = 0
    for place, line in _lines(text):
        if quotes % 2 == 0 and (line.strip() or not starts):
            starts.append(place)
        quotes += line.count('"')
    if not starts:
        return
    header = text[starts[0] : starts[1]] if len(starts) > 1 else ""
    starts = [starts[0], *starts[2:]]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
        yield Block(start, end, "row", header=shortened(header) if number else "")


def _prose(text: str, *, markdown: bool) -> Iterator[Block]:
    lines = _lines(text)
    path = _Path()
    number = 0
    while number < len(lines):
        start = lines[number][0]
        after, kind, depth, name = _one(lines, number, markdown)
        while after < len(lines) and not lines[after][1].strip():
            after += 1
        end = lines[after][0] if after < len(lines) else len(text)
        if kind == "heading":
            path.enter(depth, name)
        if kind == "row":
            yield from _table(lines, number, end, path.names)
        else:
            yield Block(start, end, kind, path.names, depth=depth)
        number = after


def _one(lines: Sequence[tuple[int, str]], number: int, markdown: bool) -> tuple[int, Kind, int, str]:
    """Of the block that begins at a line: the line behind it, its kind, and a heading's depth and name."""
    line = lines[number][1].rstrip("\r\n")
    if markdown and (fence := _FENCE.fullmatch(line)) and not (fence[1][0] == "`" and "`" in fence[2]):
        return _behind_fence(lines, number, fence[1]), "code", 0, ""
    if markdown and (atx := _ATX.fullmatch(line)):
        return number + 1, "heading", len(atx[1]), atx[2] or ""
    if markdown and _is_table(lines, number):
        return _behind_table(lines, number), "row", 0, ""
    after = number
    while after < len(lines) and lines[after][1].strip():
        if after > number and _interrupts(lines, after, markdown):
            return after, "paragraph", 0, ""
        after += 1
    depth = 0
    if after == number + 2:
        depth = _underlined(lines, number, markdown)
    elif after == number + 1 and not markdown and (match := _NUMBERED.match(line)) and len(line) <= 80:
        depth = 1 + (match[1] or "").count(".")
    return max(after, number + 1), "heading" if depth else "paragraph", depth, line


def _underlined(lines: Sequence[tuple[int, str]], number: int, markdown: bool) -> int:
    """The depth of a heading that is underlined; 0 if it is none. In plain text the line has to be as long."""
    title, under = lines[number][1].rstrip(), lines[number + 1][1].strip()
    if not _UNDERLINE.fullmatch(under) or (markdown and under[0] not in "=-"):
        return 0
    if title.lstrip().startswith(("-", "*", ">", "|")) or (not markdown and len(under) < len(title.strip())):
        return 0
    return 1 + _UNDERLINES.index(under[0])


def _interrupts(lines: Sequence[tuple[int, str]], number: int, markdown: bool) -> bool:
    """Whether a line ends the paragraph before it although no empty line stands between."""
    line = lines[number][1].rstrip("\r\n")
    return markdown and bool(_ATX.fullmatch(line) or _FENCE.fullmatch(line) or _is_table(lines, number))


def _behind_fence(lines: Sequence[tuple[int, str]], number: int, fence: str) -> int:
    for after in range(number + 1, len(lines)):
        closing = lines[after][1].strip()
        if closing and set(closing) == {fence[0]} and len(closing) >= len(fence):
            return after + 1
    return len(lines)


def _is_table(lines: Sequence[tuple[int, str]], number: int) -> bool:
    if number + 1 >= len(lines) or "|" not in lines[number][1]:
        return False
    under = lines[number + 1][1].rstrip("\r\n")
    return "|" in under and bool(_DELIMITER.fullmatch(under))


def _behind_table(lines: Sequence[tuple[int, str]], number: int) -> int:
    after = number + 2
    while after < len(lines) and "|" in lines[after][1]:
        after += 1
    return after


def _table(lines: Sequence[tuple[int, str]], number: int, end: int, path: tuple[str, ...]) -> Iterator[Block]:
    """A block a row; the header and its rule stand in the first row's block."""
    cells = (cell.strip() for cell in lines[number][1].strip().strip("|").split("|"))
    header = shortened(" | ".join(cells))
    starts = [lines[number][0]]
    row = number + 3
    while row < len(lines) and lines[row][0] < end and lines[row][1].strip():
        starts.append(lines[row][0])
        row += 1
    for place, (start, behind) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        yield Block(start, behind, "row", path, header if place else "")


def part_at(parts: Sequence[tuple[int, str]], place: int) -> str:
    """The name of the page or record that a place lies in; empty before the first."""
    index = bisect_right([start for start, _ in parts], place) - 1
    return parts[index][1] if index >= 0 else ""
