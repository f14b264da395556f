"""PPTX to Markdown: a heading a slide, shapes from top to bottom, tables, charts, notes. It reads no picture."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE

from tunesmith.retrieval.converters.office import labels_of, properties, with_the_rest
from tunesmith.retrieval.converters.sheet_files import table
from tunesmith.retrieval.converters.web_pages import tidy
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted


def convert(path: Path, limits: Limits) -> Converted:
    """The slides in their order."""
    deck = Presentation(str(path))
    pictures = [0]
    blocks: list[str] = []
    hidden = 0
    for number, slide in enumerate(deck.slides, 1):
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None else ""
        blocks.append(f"## Slide {number}" + (f": {heading}" if heading else ""))
        hidden += slide.element.get("show") == "0"
        own = title.shape_id if title is not None else None
        blocks += [
            block for shape in _ordered(slide.shapes) if shape.shape_id != own for block in _shape(shape, pictures)
        ]
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) and frame.text.strip():
            blocks += ["### Notes", "\n\n".join(_paragraphs(frame))]
    text, notes = with_the_rest(path, tidy("\n\n".join(blocks)))
    if pictures[0]:
        notes = (*notes, f"pictures that stand by their descriptions only: {pictures[0]:,}")
    if hidden:
        notes = (*notes, f"slides that the show hides and that were read: {hidden:,}")
    with zipfile.ZipFile(path) as archive:
        about = properties(archive)
    title_said = about.get("title", "")
    # What the program writes into every new file is no title.
    title_said = "" if title_said.lower() == "powerpoint presentation" else title_said
    return Converted(text, title_said, notes, labels=labels_of(about), changed=about.get("modified", ""))


def _ordered(shapes: Any) -> list[Any]:
    """From top to bottom, then from left to right; a shape without a place keeps that of its layout."""
    return sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))


def _shape(shape: Any, pictures: list[int]) -> Iterator[str]:
    if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
        for inner in _ordered(shape.shapes):
            yield from _shape(inner, pictures)
        return
    if getattr(shape, "has_table", False) and shape.has_table:
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False) and shape.has_chart:
        yield from _chart(shape.chart)
    elif shape.has_text_frame:
        if shape.text_frame.text.strip():
            yield "\n\n".join(_paragraphs(shape.text_frame))
    elif shape.shape_type == MSO_SHAPE_TYPE.PICTURE:
        pictures[0] += 1
        if described := shape._element.nvPicPr.cNvPr.get("descr"):
            yield " ".join(described.split())


def _paragraphs(frame: Any) -> list[str]:
    """Lists as bullets, by their level."""
    found = [(paragraph.level, " ".join(paragraph.text.split())) for paragraph in frame.paragraphs]
    found = [(level, text) for level, text in found if text]
    if len(found) < 2:
        return [text for _, text in found]
    return ["\n".join("  " * level + f"- {text}" for level, text in found)]


def _chart(chart: Any) -> Iterator[str]:
    if chart.has_title and chart.chart_title.has_text_frame:
        yield chart.chart_title.text_frame.text
    plots = list(chart.plots)
    series = [line for plot in plots for line in plot.series]
    categories = [str(name) for name in plots[0].categories] if plots else []
    longest = max((len(list(line.values)) for line in series), default=0)
    categories += [str(number) for number in range(len(categories) + 1, longest + 1)]
    rows = [["", *(str(line.name) for line in series)]]
    for number, name in enumerate(categories):
        values = [list(line.values) for line in series]
        rows.append([name, *("" if number >= len(v) or v[number] is None else str(v[number]) for v in values)])
    yield table(rows)
