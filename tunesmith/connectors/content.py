"""What a service gives as bytes or as HTML, as text, by the converter that files go through. It asks no service."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tunesmith.connectors.receipt import Parts
from tunesmith.retrieval.converting import Converter
from tunesmith.retrieval.kinds import TEXT_KINDS
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted, Refused, read_plain
from tunesmith.web.replies import HttpFault

_PICTURE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_SAID = re.compile(r"""\balt\s*=\s*("\s*[^"\s]|'\s*[^'\s]|[^"'\s>])""", re.IGNORECASE)
_EMBEDDED = re.compile(r"<(?:iframe|video|audio|embed|object)\b", re.IGNORECASE)
_DATA = re.compile(r"^\[([^\]\n]+)\]: *<?data:[^>\n]*>?[ \t]*\n?", re.MULTILINE)
_SHOWN = re.compile(r"!\[([^\]\n]*)\](?:\[([^\]\n]+)\]|\(<?data:[^)\n]*\))")
_MARKED_UP = re.compile(r"<[a-zA-Z!/]|&[a-zA-Z#][a-zA-Z0-9]*;")


class Content:
    """Reads contents of documents; the process that converts is started by the first one that needs it.

    Args:
        limits: What one document may cost.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._converter = Converter(limits)

    def read(self, content: bytes, source: str, kind: str) -> Converted:
        """The text of a document.

        Args:
            content: Its bytes.
            source: Where a person finds it.
            kind: What it is, as `tunesmith.retrieval.kinds` has it.

        Raises:
            HttpFault: It gives no text; the sync goes on without it.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"document.{kind}"
            file.write_bytes(content)
            found = read_plain(file, source, kind) if kind in TEXT_KINDS else self._converter.convert(file, kind)
        if isinstance(found, Refused) and kind == "html" and found.reason.startswith("it holds no text"):
            return Converted("")
        if isinstance(found, Refused):
            raise HttpFault(found.reason, source, found.fix, reason="unreadable")
        return found

    def markdown(self, html: str, source: str, parts: Parts) -> str:
        """A fragment of HTML as Markdown; a text without any markup as it is.

        Args:
            html: It.
            source: Where a person finds it.
            parts: Where its pictures are counted: those that it says nothing about stand in no text.

        Raises:
            HttpFault: It can't be converted; the sync goes on without it.
        """
        if not _MARKED_UP.search(html):
            return html.strip()
        for picture in _PICTURE.findall(html):
            parts.see("picture", rendered=bool(_SAID.search(picture)))
        for _ in _EMBEDDED.findall(html):
            parts.see("embedded", rendered=False)
        page = f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>{html}</body></html>'
        return self.read(page.encode("utf-8", "surrogatepass"), source, "html").text.strip()


def without_pictures(markdown: str, parts: Parts) -> str:
    """Markdown as Google exports it, without the bytes of its pictures, which are counted."""
    pictures = set(_DATA.findall(markdown))
    for said, name in _SHOWN.findall(markdown):
        if name in pictures or not name:
            parts.see("picture", rendered=bool(said.strip()))
    text = _SHOWN.sub(lambda found: found[1] if found[2] in pictures or not found[2] else found[0], markdown)
    return _DATA.sub("", text).rstrip() + "\n" if pictures or text != markdown else markdown


def whole(found: Converted) -> str:
    """A text with those that lie inside it, each under its name."""
    texts = [found.text.strip()]
    for name, inner in found.inside:
        said = f"({inner.reason})" if isinstance(inner, Refused) else whole(inner)
        texts.append(f"## {name}\n\n{said}")
    return "\n\n".join(filter(None, texts))
