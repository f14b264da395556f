"""The files below a folder that may be documents, and those that are not looked at. It opens none.

Hidden ones are left out. A link is followed to a file inside the folder only: a folder that is linked inside is there
already, and what lies outside was not named by anyone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Unread

LEFT_OUT = ("__MACOSX", "Thumbs.db", "desktop.ini", "__pycache__", "node_modules")
INDEX_FILE = "index.sqlite"


@dataclass(frozen=True)
class Found:
    """A file.

    Args:
        id: Its path relative to the folder, or its name.
        path: Where it is.
        source: As a person would write it.
    """

    id: str
    path: Path
    source: str


def found_files(path: Path, name: str) -> list[Found | Unread]:
    """The file, or every file below the folder in the order of the ids.

    Raises:
        UserError: Nothing is there, it can't be read, or the folder holds no file.
    """
    try:
        if path.is_file():
            return [Found(path.name, path, name)]
        if not path.is_dir():
            raise UserError("there is no such file or folder", name, "check the spelling")
        found = sorted(_below(path, "", name, Path(os.path.realpath(path))), key=_order)
    except PermissionError as error:
        raise UserError("no permission to read it", str(error.filename or name), "change its permissions") from error
    if not found:
        raise UserError("the folder holds no file", name, "name a folder of documents; hidden files do not count")
    return found


def _order(found: Found | Unread) -> str:
    return found.source


def _below(folder: Path, before: str, name: str, real: Path) -> Iterator[Found | Unread]:
    with os.scandir(folder) as entries:
        inside = list(entries)
    if before and any(entry.name == INDEX_FILE for entry in inside):
        yield Unread(f"{name}/{before.rstrip('/')}", "it is an index of documents, not documents")
        return
    for entry in inside:
        if entry.name.startswith(".") or entry.name in LEFT_OUT or entry.name.startswith("~$"):
            continue
        id = before + entry.name
        source = f"{name.rstrip('/')}/{id}"
        if entry.is_symlink():
            yield from _linked(entry, id, source, real)
        elif entry.is_dir():
            try:
                yield from _below(Path(entry.path), f"{id}/", name, real)
            except PermissionError:
                yield Unread(source, "no permission to read the folder", "change its permissions")
        elif stat.S_ISREG(entry.stat().st_mode):
            yield Found(id, Path(entry.path), source)
        else:
            yield Unread(source, "it is no file (a pipe, a socket or a device)")


def _linked(entry: os.DirEntry[str], id: str, source: str, real: Path) -> Iterator[Found | Unread]:
    target = Path(os.path.realpath(entry.path))
    if not target.exists():
        yield Unread(source, "it is a link that leads nowhere or to itself", "mend or remove the link")
    elif not target.is_relative_to(real):
        yield Unread(
            source, f"it is a link that leads out of the folder (to {target})", "name that place as a source too"
        )
    elif target.is_file():
        yield Found(id, Path(entry.path), source)
