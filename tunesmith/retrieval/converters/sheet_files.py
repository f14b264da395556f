"""XLSX to Markdown: a heading and a table a sheet, values as they are stored. It rounds no number."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from itertools import zip_longest
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from tunesmith.retrieval.converters.choose import SPLIT, Unreadable
from tunesmith.retrieval.converters.office import labels_of, properties, with_the_rest
from tunesmith.retrieval.converters.web_pages import tidy
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted

Cells = tuple[Any, ...]


def convert(path: Path, limits: Limits) -> Converted:
    """All sheets, hidden ones too."""
    # Twice: a file that no spreadsheet program has computed holds formulas without values.
    values = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    formulas = load_workbook(path, read_only=True, data_only=False, keep_links=False)
    blocks: list[str] = []
    counts = {"formula": 0}
    hidden = [sheet.title for sheet in values.worksheets if sheet.sheet_state != "visible"]
    length = 0
    for sheet, other in zip(values.worksheets, formulas.worksheets, strict=True):
        rows = list(_filled(_rows(sheet, other, counts, limits.text_characters)))
        blocks += [f"## {sheet.title}", table(rows)] if rows else [f"## {sheet.title}"]
        length += len(blocks[-1])
        if length > limits.text_characters:
            raise Unreadable(f"its text has more than {limits.text_characters:,} characters", SPLIT)
    text, notes = with_the_rest(path, tidy("\n\n".join(blocks)))
    if counts["formula"]:
        notes = (*notes, f"formulas without a stored value stand as they are written: {counts['formula']:,}")
    if hidden:
        notes = (*notes, f"hidden sheets were read: {', '.join(hidden[:5])}")
    with zipfile.ZipFile(path) as archive:
        about = properties(archive)
    return Converted(text, about.get("title", ""), notes, labels=labels_of(about), changed=about.get("modified", ""))


def _rows(values: Any, formulas: Any, counts: dict[str, int], most: int) -> Iterator[list[str]]:
    """The rows of a sheet as texts, up to a length that is too long anyway."""
    length = 0
    for row, other in zip_longest(
        values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), fillvalue=()
    ):
        texts = []
        for value, formula in zip_longest(row, other):
            if value is None and formula is not None:
                counts["formula"] += 1
            texts.append(said(formula if value is None else value))
        length += sum(map(len, texts))
        yield texts
        if length > most:
            return


def _filled(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows that hold something, without the empty cells at their ends."""
    for row in rows:
        while row and not row[-1]:
            row.pop()
        if row:
            yield row


def said(value: Any) -> str:
    """A cell's value as text: whole numbers without a point, dates in ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    # A formula of an array is an object that holds its text; a date, a time and a span of time say themselves.
    return str(getattr(value, "text", None) or value)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; its first row is the header."""
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(_cell(cell) for cell in (*row, *[""] * (width - len(row)))) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
