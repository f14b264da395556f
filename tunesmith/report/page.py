"""The page: a run directory in, ``report.html`` out, one file that opens offline and asks nothing of the network.

It knows the templates and how to write a file; what stands on the page is decided in ``sections``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.report import figures, sections
from tunesmith.report.read import RunRecord, read_run

FILTERS = [
    "score",
    "signed",
    "number",
    "rate",
    "percent",
    "size",
    "parameters",
    "duration",
    "plain",
    "cell",
    "words",
    "trains",
]
"""The spellings of ``figures`` that the templates use."""


def write_report(run_folder: Path) -> Path:
    """Writes ``report.html`` into the run directory, whole or not at all, and returns its path.

    Raises:
        UserError: The folder holds no run, a file of it is damaged, or it can't be written to.
    """
    text = render(read_run(run_folder))
    return write_whole(run_folder / "report.html", text)


def write_whole(path: Path, text: str) -> Path:
    """Writes beside ``path`` and renames, so that a reader never meets half a file.

    Raises:
        UserError: The folder can't be written to.
    """
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(beside).chmod(0o644)
            Path(beside).replace(path)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        what = f"cannot write {path.name}: {error.strerror}"
        raise UserError(what, str(path.parent), "free some space or give yourself write permission there") from error
    return path


def render(record: RunRecord) -> str:
    """The page's HTML."""
    return filled("page.html", record=record, head=sections.headline(record), sections=sections.build(record))


def filled(template: str, *, styles: Sequence[str] = ("page.css",), **values: object) -> str:
    """A template of this folder with its values; ``styles`` are the style sheets that are written into it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tunesmith.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in FILTERS:
        environment.filters[name] = getattr(figures, name)
    folder = resources.files("tunesmith.report")
    style = "\n".join((folder / name).read_text(encoding="utf-8") for name in styles)
    return environment.get_template(template).render(style=style, **values)
