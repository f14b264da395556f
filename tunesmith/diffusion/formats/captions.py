"""What says what a picture shows: columns of captions, files of captions, one prompt for all. It opens no picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tunesmith.data.folder_listing import LINK_OUT
from tunesmith.data.opened import Misfit
from tunesmith.data.text_file import look_at
from tunesmith.errors import UserError
from tunesmith.pictures.formats.listing import Listing

CAPTION_COLUMNS = ("text", "caption", "captions", "prompt")
"""Columns that may hold the caption, the surer ones first, in any case."""
CAPTION_ENDINGS = (".txt", ".caption")
CAPTION_FOLDERS = ("captions", "caption", "texts", "text", "txt", "prompts", "labels")
"""Folders that captions may lie in where pictures lie in one of their own."""
PROMPT_OPTION = "options.prompt"
EXAMPLE_PROMPT = "a photo of sks dog"
MOST_CAPTION_BYTES = 2**20
SHOWN = 5

_NO_CAPTIONS = re.compile(r"(readme|licen[cs]e|copying|changelog|notes|requirements|credits|attribution)\b", re.I)


def check_prompt(prompt: str | None) -> str | None:
    """The prompt of all pictures, without blanks around it.

    Raises:
        UserError: It is blank.
    """
    if prompt is not None and not prompt.strip():
        raise UserError(
            f"{PROMPT_OPTION} is empty",
            f"recipe: {PROMPT_OPTION}",
            f"write what the pictures show ('{EXAMPLE_PROMPT}'), or remove it and give each picture a caption",
        )
    return prompt.strip() if prompt is not None else None


def both_told(prompt: str, captions: str, where: str) -> UserError:
    """The error of pictures that have captions while the recipe has one prompt for all of them.

    Args:
        prompt: The recipe's.
        captions: What else tells, for a sentence: ``12 of 12 pictures have a caption (dog1.txt)``.
        where: The source or file.
    """
    return UserError(
        f"both are given: {PROMPT_OPTION} ({prompt!r}) says what every picture shows, and {captions}",
        where,
        f"remove {PROMPT_OPTION} to learn the captions, or the captions to learn the prompt",
    )


def absent(value: Any) -> bool:
    """Whether a cell is empty: null, the NaN that tables have for it, or a blank text."""
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))


def columns_of(raw: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The row's columns that are among the names, whatever their case, in the order of the names."""
    lower: dict[str, str] = {}
    for name in raw:
        lower.setdefault(str(name).lower(), name)
    return list(dict.fromkeys(name if name in raw else lower[name] for name in names if name in raw or name in lower))


def caption_in(raw: Mapping[str, Any], mend: str) -> tuple[list[str], str | None]:
    """A row's columns of captions, and its caption; None: it has no such column, or a null in it.

    Args:
        raw: The row.
        mend: What to do about two columns that say different things.

    Raises:
        Misfit: The caption is empty, no text, or there are two of them.
    """
    columns = columns_of(raw, CAPTION_COLUMNS)
    found: dict[str, str] = {}
    empty = None
    for name in columns:
        value = raw[name]
        if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
            value = _only(list(value), name)
        if isinstance(value, str) and not value.strip():
            empty = name
        elif not absent(value):
            if not isinstance(value, str):
                raise Misfit(f"has a {type(value).__name__} in {name}; a caption is a text")
            found[name] = " ".join(value.split())
    if len(set(found.values())) > 1:
        first, second = list(found)[:2]
        raise Misfit(
            f"has two captions: {found[first][:40]!r} in {first}, and {found[second][:40]!r} in {second}: {mend}"
        )
    if not found and empty is not None:
        raise Misfit(f"has an empty caption (column {empty})")
    return columns, next(iter(found.values()), None)


def _only(values: list[Any], column: str) -> Any:
    if len(values) > 1:
        raise Misfit(f"has {len(values):,} captions in {column}; one for a picture is expected: give each its own row")
    return values[0] if values else None


# Files of captions


def caption_files(listing: Listing) -> list[str]:
    """Files that may be captions by their names."""
    return [name for name in listing.ending(*CAPTION_ENDINGS) if not _NO_CAPTIONS.match(PurePosixPath(name).name)]


def caption_of(listing: Listing, name: str, told: CaptionNotes) -> str:
    """The caption in a file, its lines joined by spaces.

    Args:
        listing: The folder.
        name: The file.
        told: Takes what a person should know of it.

    Raises:
        Misfit: It is empty, no text, too large, or a link that leads out of the folder.
    """
    if name in listing.outside:
        raise Misfit(f"({name}) " + LINK_OUT.format(target=listing.outside[name]))
    path = listing.folder / name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Misfit(f"({name}) cannot be read ({error.strerror})") from error
    if size > MOST_CAPTION_BYTES:
        raise Misfit(f"({name}) is too large for a caption: {size:,} bytes")
    if not size:
        raise Misfit(f"({name}) is an empty caption")
    try:
        file = look_at(path, name)
    except (UserError, OSError) as error:
        said = error.what if isinstance(error, UserError) else f"cannot be read ({error.strerror})"
        raise Misfit(f"({name}) {'is an empty caption' if 'empty' in said else said}") from error
    with file.open() as (text, _):
        content = text.read()
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise Misfit(f"({name}) is an empty caption")
    if any("\ud800" <= letter <= "\udfff" for letter in content):
        raise Misfit(f"({name}) holds bytes that are not {file.encoding}")
    told.see(name, file.notes, len(lines))
    return " ".join(" ".join(lines).split())


class CaptionNotes:
    """What there is to say of files of captions: another encoding, several lines."""

    def __init__(self) -> None:
        self.odd: list[str] = []
        self.joined: list[str] = []

    def see(self, name: str, notes: Iterable[str], lines: int) -> None:
        """Take one file's notes and how many lines it has."""
        self.odd.extend(notes)
        if lines > 1:
            self.joined.append(name)

    def lines(self) -> list[str]:
        """The same for a person."""
        said = []
        if self.joined:
            some = ", ".join(sorted(self.joined)[:SHOWN])
            said.append(f"{len(self.joined):,} captions have several lines, which were joined: {some}")
        if self.odd:
            said.append(f"{len(self.odd):,} captions are of another encoding than UTF-8: {min(self.odd)}")
        return said


def counted(count: int, what: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def some(names: Sequence[str]) -> str:
    """The first few names, for a sentence."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
