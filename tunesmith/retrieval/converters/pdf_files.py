"""PDF to text by PDFium: lines in their order, paragraphs by the space between, headings by outline or size. No OCR.

A page is a part, so that a chunk can say on which page it begins.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from tunesmith.retrieval.converters.choose import SPLIT, Unreadable
from tunesmith.retrieval.converters.office import letters
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted

HEADING_CHARACTERS = 160
LARGER = 1.15
"""How many times the size of most letters a line's is, if it is a heading."""
MOST_HEADINGS = 0.3
"""Share of the lines; where more are larger than most, size says nothing."""
_HYPHENS = "\x02\xad\ufffe"


@dataclass
class _Line:
    text: str
    size: float
    left: float
    right: float
    bottom: float
    top: float
    depth: int = 0


def convert(path: Path, limits: Limits) -> Converted:
    """The text of all pages."""
    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Unreadable("it is protected by a password", "remove the password and save it again") from error
        raise Unreadable(f"it is no whole PDF ({error})", "save it anew by the program that made it") from error
    with document:
        pages, silent, broken, length = [], [], [], 0
        for number in range(len(document)):
            try:
                lines, pictures = _page(document, number)
            except pypdfium2.PdfiumError:
                broken.append(number + 1)
                lines, pictures = [], False
            pages.append(lines)
            if pictures and not lines:
                silent.append(number + 1)
            length += sum(len(line.text) for line in lines)
            if length > limits.text_characters:
                raise Unreadable(f"its text has more than {limits.text_characters:,} characters", SPLIT)
        _mark_headings(pages, _outline(document))
        about = document.get_metadata_dict()
    notes = []
    if silent:
        notes.append(f"pages without text that hold pictures (scans?): {_ranges(silent)}")
    if broken:
        notes.append(f"pages that can't be opened: {_ranges(broken)}")
    text, parts = _joined(pages)
    labels = (("author", about["Author"]),) if about.get("Author") else ()
    return Converted(text, about.get("Title", "").strip(), tuple(notes), parts, labels, _when(about.get("ModDate", "")))


def _page(document: Any, number: int) -> tuple[list[_Line], bool]:
    """The lines of a page, and whether it holds a picture."""
    page = document[number]
    texts = page.get_textpage()
    try:
        raw = texts.raw
        count = texts.count_chars()
        codes = [pdfium.FPDFText_GetUnicode(raw, index) for index in range(count)]
        lines: list[_Line] = []
        start = 0
        for index in range(count + 1):
            if index == count or codes[index] in (10, 13):
                if line := _line(raw, codes, start, index):
                    lines.append(line)
                start = index + 1
        pictures = not lines and any(True for _ in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3))
        return lines, pictures
    finally:
        texts.close()
        page.close()


def _line(raw: Any, codes: list[int], start: int, end: int) -> _Line | None:
    """A line's text, and where it stands by its first and last letter that has a place."""
    text = _decoded(codes[start:end]).replace("\0", "")
    if not text.strip():
        return None
    boxes = []
    for indexes in (range(start, end), range(end - 1, start - 1, -1)):
        box = next((box for index in indexes if codes[index] > 32 and (box := _box(raw, index))), None)
        if box is None:
            return _Line(text.strip(), 0.0, 0.0, 0.0, 0.0, 0.0)
        boxes.append(box)
    (left, _, bottom, top), (_, right, _, _) = boxes
    return _Line(text.strip(), round(top - bottom, 1), left, right, bottom, top)


def _decoded(codes: list[int]) -> str:
    """Codes are UTF-16 units on some systems and characters on others."""
    text = "".join(map(chr, codes))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _box(raw: Any, index: int) -> tuple[float, float, float, float] | None:
    """Left, right, bottom and top of a letter's cell."""
    box = pdfium.FS_RECTF()
    if not pdfium.FPDFText_GetLooseCharBox(raw, index, ctypes.byref(box)):
        return None
    return box.left, box.right, box.bottom, box.top


def _outline(document: Any) -> dict[int, dict[str, int]]:
    """Depth of each title of the outline, by its page."""
    found: dict[int, dict[str, int]] = {}
    for entry in document.get_toc(max_depth=6):
        target = entry.get_dest()
        page = target.get_index() if target else None
        title = letters(entry.get_title() or "")
        if page is not None and title:
            found.setdefault(page, {})[title] = entry.level + 1
    return found


def _mark_headings(pages: list[list[_Line]], outline: dict[int, dict[str, int]]) -> None:
    """Give headings their depth: by the outline, else by size."""
    for number, lines in enumerate(pages):
        for line in lines:
            line.depth = outline.get(number, {}).get(letters(line.text), 0)
    if any(line.depth for lines in pages for line in lines):
        return
    every = [line for lines in pages for line in lines if line.size > 0]
    weights: Counter[float] = Counter()
    for line in every:
        weights[line.size] += len(line.text)
    if not weights:
        return
    body = weights.most_common(1)[0][0]
    larger = [line for line in every if line.size > body * LARGER and _could_be_heading(line.text)]
    if len(larger) > max(3.0, MOST_HEADINGS * len(every)):
        return
    sizes = sorted({line.size for line in larger}, reverse=True)
    for line in larger:
        line.depth = min(6, 1 + sizes.index(line.size))


def _could_be_heading(text: str) -> bool:
    return len(text) <= HEADING_CHARACTERS and any(letter.isalpha() for letter in text)


def _joined(pages: list[list[_Line]]) -> tuple[str, tuple[tuple[int, str], ...]]:
    """All pages, and the byte at which each begins."""
    texts: list[str] = []
    parts: list[tuple[int, str]] = []
    place = 0
    for number, lines in enumerate(pages, 1):
        text = "".join(_flow(lines))
        parts.append((place, f"page {number}"))
        texts.append(text + "\n\n" if text else "")
        place += len(texts[-1].encode("utf-8", "replace"))
    return "".join(texts), tuple(parts)


def _flow(lines: list[_Line]) -> Iterator[str]:
    """Lines with what stands between them; a word that a hyphen parts is joined."""
    before: _Line | None = None
    for line in lines:
        if before is not None:
            yield _between(before, line)
        text = f"{'#' * line.depth} {line.text}" if line.depth else line.text
        # A hyphen at the end of a line that PDFium knows to part a word; elsewhere it is none.
        text = re.sub(f"[{_HYPHENS}](?=.)", "", text)
        yield text.rstrip(_HYPHENS)
        before = line


def _between(before: _Line, line: _Line) -> str:
    height = max(before.top - before.bottom, 1.0)
    if before.depth or line.depth:
        return "\n" if before.depth == line.depth and abs(before.bottom - line.top) < height / 2 else "\n\n"
    if min(before.top, line.top) - max(before.bottom, line.bottom) > 0.6 * min(height, line.top - line.bottom):
        return " " if line.left >= before.left else "\n"  # the next cell of a table's row
    if before.text[-1] in _HYPHENS:
        return ""
    gap = before.bottom - line.top
    return "\n\n" if gap > 0.45 * height or gap < -2 * height else "\n"


def _when(said: str) -> str:
    """``D:20260304050607+01'00'`` in ISO 8601; empty if it is none."""
    digits = re.sub(r"\D", "", said)[:14]
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").isoformat()
    except ValueError:
        return ""


def _ranges(numbers: list[int]) -> str:
    said = ", ".join(str(number) for number in numbers[:10])
    return said if len(numbers) <= 10 else f"{said} and {len(numbers) - 10:,} more"
