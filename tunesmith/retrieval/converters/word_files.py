"""DOCX to Markdown: mammoth to HTML, then as a page. What mammoth passes over is put behind. It writes no picture."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import mammoth

from tunesmith.retrieval.converters.office import labels_of, properties, with_the_rest
from tunesmith.retrieval.converters.web_pages import page
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted

STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
"""


def convert(path: Path, limits: Limits) -> Converted:
    """A document's text with headings, lists, tables, notes; pictures by their descriptions."""
    pictures = [0]

    def picture(_image: Any) -> dict[str, str]:
        pictures[0] += 1
        return {"src": ""}

    html = mammoth.convert_to_html(
        io.BytesIO(path.read_bytes()), style_map=STYLES, convert_image=mammoth.images.img_element(picture)
    ).value
    with zipfile.ZipFile(path) as archive:
        about = properties(archive)
    text, notes = with_the_rest(path, page(html).text)
    if pictures[0]:
        notes = (*notes, f"pictures that stand by their descriptions only: {pictures[0]:,}")
    return Converted(text, about.get("title", ""), notes, labels=labels_of(about), changed=about.get("modified", ""))
