"""Tables and lines as text for a terminal. It knows no run and no plan, only cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80
"""Columns of the narrowest terminal that text is made for."""


def text_of(*tables: Table | str) -> str:
    """Rich tables as plain text, as wide as the terminal where there is one, and at least 80 columns."""
    from rich.console import Console

    out = StringIO()
    console = Console(file=out, width=max(WIDTH, Console().width), highlight=False, no_color=True)
    for number, table in enumerate(tables):
        if isinstance(table, str):
            # Whoever copies a line wants it whole, so that only tables are folded.
            console.print(table, markup=False, soft_wrap=True)
        else:
            if number:
                console.print()
            console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def table_of(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = (), fold: Sequence[int] = ()
) -> Table:
    """A table in which only the columns of ``fold`` go on in the next line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for i, name in enumerate(columns):
        table.add_column(
            name, justify="right" if i in right else "left", overflow="fold", no_wrap=bool(fold) and i not in fold
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
