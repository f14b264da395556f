"""What a person names to be predicted, as rows: a file, a folder, a pattern, or a file of rows.

It knows no kind of file. A row whose file can't be used says why in ``fault``, so that the others are predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from tunesmith.data.folder_listing import LINK_OUT, list_files
from tunesmith.data.store import RowStore
from tunesmith.errors import UserError
from tunesmith.types import Row


@dataclass(frozen=True)
class FileKind:
    """A kind of file that rows name.

    Args:
        word: What one is called, with its article: ``a picture``.
        ways: What may be named, for a fix.
        is_name: Whether a file's name ends as one's.
        is_content: Whether a file is one by its content.
        row: The row of a file, by its place, its name, and what is wrong with it.
        rows: The rows of a file that is none: a file of rows, by its place and as it was written.
    """

    word: str
    ways: str
    is_name: Callable[[str], bool]
    is_content: Callable[[Path], bool]
    row: Callable[[Path, str, str | None], Row]
    rows: Callable[[Path, str], Iterator[Row]]


def rows_of(given: str, kind: FileKind) -> list[Row]:
    """A row for every file that is named; ``id`` and ``file_name`` say it as its source does.

    A folder is read with all folders in it, in sorted order; hidden files are left out.

    Raises:
        UserError: It names nothing, or no file of the kind.
    """
    place = Path(given).expanduser()
    try:
        found = list(_found(place, given, kind))
    except OSError as fault:
        raise UserError(f"{given[:100]!r} can't be read: {fault.strerror}", "INPUT", kind.ways) from fault
    if not found:
        raise UserError(f"{given!r} holds no {_noun(kind)}", "INPUT", kind.ways)
    return found


def broken_rows(store: RowStore, place: Path, row: Callable[[Path, str, str | None], Row]) -> Iterator[Row]:
    """A row with its fault for every row of a file that could not be read; reasons are kept of the first ones."""
    told = store.report.broken
    yield from (row(Path(where), where, reason) for where, reason in told)
    for number in range(len(told), store.report.broken_count):
        yield row(place, f"{place}, broken row {number + 1}", "is broken as well")


def _noun(kind: FileKind) -> str:
    return kind.word.partition(" ")[2]


def _found(place: Path, given: str, kind: FileKind) -> Iterator[Row]:
    if given.strip() and place.is_dir():
        yield from _of_folder(place, given, kind)
    elif given.strip() and place.is_file():
        if kind.is_name(place.name) or kind.is_content(place):
            yield kind.row(place, given, None)
        else:
            yield from kind.rows(place, given)
    elif has_magic(given):
        yield from _matched(str(place), given, kind)
    else:
        what = f"there is no {_noun(kind)}, folder or file {given!r}"
        raise UserError(what, "INPUT", f"check the path; {kind.ways}")


def _of_folder(place: Path, given: str, kind: FileKind) -> Iterator[Row]:
    listing = list_files(place, given)
    names = [name for name in listing.files if kind.is_name(name)]
    if not names:
        what = f"the folder {given} holds no {_noun(kind)}; it holds {listing.kinds()}"
        raise UserError(what, given, kind.ways)
    for name in names:
        outside = listing.outside.get(name)
        yield kind.row(place / name, name, None if outside is None else LINK_OUT.format(target=outside))


def _matched(pattern: str, given: str, kind: FileKind) -> Iterator[Row]:
    # Path.glob takes no pattern that starts at the root.
    places = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207
    files = [place for place in places if place.is_file() and kind.is_name(place.name)]
    for folder in (place for place in places if place.is_dir()):
        listing = list_files(folder, str(folder))
        files += [folder / name for name in listing.files if kind.is_name(name) and name not in listing.outside]
    if not files:
        what = f"the pattern {given!r} matches {len(places):,} files, none of them {kind.word}"
        raise UserError(what if places else f"nothing matches the pattern {given!r}", "INPUT", f"check it; {kind.ways}")
    yield from (kind.row(place, place.as_posix(), None) for place in sorted(set(files)))
