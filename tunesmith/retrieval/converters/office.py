"""What all Office documents share: their properties, and every text in their XML that a converter left out.

It knows no library's idea of a document: it reads the parts of the archive, so it sees what a library passes over (page
headers, comments, text boxes, diagrams).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

PARTS = {
    r"word/document\.xml": "text", r"word/header\d*\.xml": "page headers", r"word/footer\d*\.xml": "page footers",
    r"word/footnotes\.xml": "footnotes", r"word/endnotes\.xml": "endnotes", r"word/comments\.xml": "comments",
    r"(word|ppt|xl)/diagrams/data\d*\.xml": "diagrams", r"(word|ppt|xl)/charts/chart\d*\.xml": "charts",
    r"ppt/slides/slide\d+\.xml": "slides", r"ppt/notesSlides/notesSlide\d+\.xml": "notes",
    r"ppt/comments/.*\.xml": "comments", r"xl/comments\d*\.xml": "comments", r"xl/comments/.*\.xml": "comments",
    r"xl/threadedComments/.*\.xml": "comments", r"xl/drawings/drawing\d*\.xml": "text boxes",
}  # fmt: skip
"""Parts of the archive that hold what people wrote, and what a person calls them. Templates are not among them."""

_BLOCKS = {"p", "cm", "comment", "threadedComment", "ser"}
_TEXTS = {"t", "text", "v"}
_BREAKS = {"tab", "br", "cr"}


def parser() -> Any:
    """Of XML that someone else wrote: no entities, no network."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True)


def properties(archive: zipfile.ZipFile) -> dict[str, str]:
    """Title, creator and time of the last change, as the document says them."""
    try:
        root = etree.fromstring(archive.read("docProps/core.xml"), parser())
    except (KeyError, etree.XMLSyntaxError):
        return {}
    found = {etree.QName(child).localname: (child.text or "").strip() for child in root if isinstance(child.tag, str)}
    return {name: value for name, value in found.items() if value}


def labels_of(about: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What a search may filter by."""
    return tuple(
        (ours, about[theirs]) for ours, theirs in (("author", "creator"), ("language", "language")) if theirs in about
    )


def with_the_rest(path: Path, text: str) -> tuple[str, tuple[str, ...]]:
    """The text, followed by every paragraph of the file that is not in it, and a note of how many there were.

    Only letters and digits are compared, so that signs of Markdown and spaces don't matter.
    """
    missing: dict[str, list[str]] = {}
    notes: list[str] = []
    held = letters(text)
    place = 0
    for name, paragraph in _paragraphs(path, notes):
        wanted = letters(paragraph)
        # Names and numbers of a chart stand in the cells of a table, not one behind the other.
        if not wanted or (name == "charts" and all(letters(word) in held for word in paragraph.split())):
            continue
        at = held.find(wanted, place)
        if at < 0:
            at = held.find(wanted)
        if at >= 0:
            place = at
        elif paragraph not in missing.setdefault(name, []):
            missing[name].append(paragraph)
    sections = [f"## {name[0].upper()}{name[1:]}\n\n" + "\n\n".join(found) for name, found in missing.items() if found]
    if sections:
        counted = ", ".join(f"{len(found):,} of {name}" for name, found in missing.items() if found)
        notes.append(f"paragraphs that stand beside the text were put behind it: {counted}")
        text = "\n\n".join([text.rstrip(), *sections]) + "\n"
    return text, tuple(notes)


def letters(text: str) -> str:
    """Only its letters and digits."""
    return re.sub(r"[\W_]+", "", text)


def _paragraphs(path: Path, notes: list[str]) -> Iterator[tuple[str, str]]:
    """Each paragraph of each part: what the part is called, and its text."""
    with zipfile.ZipFile(path) as archive:
        for entry in sorted(archive.namelist(), key=_natural):
            name = next((name for pattern, name in PARTS.items() if re.fullmatch(pattern, entry)), "")
            if not name:
                continue
            try:
                root = etree.fromstring(archive.read(entry), parser())
            except (etree.XMLSyntaxError, zipfile.BadZipFile, OSError) as error:
                notes.append(f"its part {entry} is broken ({str(error)[:80]})")
                continue
            if root is None:
                continue
            for block in root.iter():
                if isinstance(block.tag, str) and etree.QName(block).localname in _BLOCKS:
                    yield name, " ".join("".join(_own(block)).split())


def _own(block: Any) -> Iterator[str]:
    """The texts of a paragraph, without those of paragraphs inside it (a text box)."""
    for child in block:
        if not isinstance(child.tag, str):
            continue
        local = etree.QName(child).localname
        if local in _TEXTS and not len(child):
            yield (child.text or "") + (" " if local == "v" else "")
        elif local in _BREAKS:
            yield " "
        elif local not in _BLOCKS and local not in ("del", "Fallback", "instrText"):
            yield from _own(child)


def _natural(name: str) -> list[int | str]:
    """slide2 before slide10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
