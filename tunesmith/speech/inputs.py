"""What a person names to be transcribed, as rows: a recording, a folder, a pattern, or a file of rows.

It knows no model. A row whose recording can't be used says why in ``fault``, so that the others are transcribed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from tunesmith.data.folder_listing import LINK_OUT
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.speech.audio import AudioFault, find_audio, is_audio_name, look_at_audio
from tunesmith.speech.formats import SpeechShape
from tunesmith.speech.formats.listing import list_files
from tunesmith.types import Row

WAYS = "give a recording, a folder, a pattern in quotes ('calls/*.wav'), or a file of rows with a column audio"
KEPT = ("start", "end", "seconds", "language", "speaker", "session")
"""What a file of rows says of a recording that goes with it; its transcript does not."""


def rows_named(given: str, columns: Mapping[str, str], shape: SpeechShape) -> list[Row]:
    """Rows with ``id``, ``audio`` (a path from here), ``file_name`` (as its source names it), perhaps ``fault``.

    Rows that can be used have ``seconds``, ``rate``, ``channels`` and ``content``, too. A folder is read with all
    folders in it, in sorted order; hidden files are left out. Of a file of rows `KEPT` is kept.

    Args:
        given: What was named.
        columns: Our column name to that of a file of rows, where they differ.
        shape: How a file of rows is read.

    Raises:
        UserError: It names nothing, or no recording.
    """
    place = Path(given).expanduser()
    try:
        found = list(_found(place, given, columns, shape))
    except OSError as fault:
        raise UserError(f"{given[:100]!r} can't be read: {fault.strerror}", "INPUT", WAYS) from fault
    if not found:
        raise UserError(f"{given!r} holds no recording", "INPUT", WAYS)
    return found


def _found(place: Path, given: str, columns: Mapping[str, str], shape: SpeechShape) -> Iterator[Row]:
    if given.strip() and place.is_dir():
        yield from _of_folder(place, given)
    elif given.strip() and place.is_file():
        if _is_recording(place):
            yield _row(place, given)
        else:
            yield from _of_rows(place, columns, shape)
    elif has_magic(given):
        yield from _matched(str(place), given)
    else:
        raise UserError(f"there is no recording, folder or file {given!r}", "INPUT", f"check the path; {WAYS}")


def _row(place: Path, name: str, fault: str | None = None) -> dict[str, Any]:
    """A row of a recording that is there; what is wrong with it is its fault."""
    row: dict[str, Any] = {"id": name, "audio": str(place), "file_name": name}
    if fault is not None:
        return {**row, "fault": fault}
    try:
        sound = look_at_audio(place)
    except AudioFault as error:
        return {**row, "fault": error.reason}
    seen = {"seconds": round(sound.seconds, 6), "rate": sound.rate, "channels": sound.channels}
    return {**row, **seen, "content": sound.content}


def _is_recording(place: Path) -> bool:
    """By name, else by content."""
    if is_audio_name(place.name):
        return True
    try:
        look_at_audio(place)
    except AudioFault:
        return False
    return True


def _of_folder(place: Path, given: str) -> Iterator[Row]:
    listing = list_files(place, given)
    names = listing.recordings()
    if not names:
        what = f"the folder {given} holds no recording; it holds {listing.kinds()}"
        raise UserError(what, given, WAYS)
    for name in names:
        outside = listing.outside.get(name)
        yield _row(place / name, name, None if outside is None else LINK_OUT.format(target=outside))


def _matched(pattern: str, given: str) -> Iterator[Row]:
    # Path.glob takes no pattern that starts at the root.
    places = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207
    files = [place for place in places if place.is_file() and is_audio_name(place.name)]
    for folder in (place for place in places if place.is_dir()):
        listing = list_files(folder, str(folder))
        files += [folder / name for name in listing.recordings() if name not in listing.outside]
    if not files:
        what = f"the pattern {given!r} matches {len(places):,} files, none of them a recording"
        raise UserError(what if places else f"nothing matches the pattern {given!r}", "INPUT", f"check it; {WAYS}")
    yield from (_row(place, place.as_posix()) for place in sorted(set(files)))


def _of_rows(place: Path, columns: Mapping[str, str], shape: SpeechShape) -> Iterator[Row]:
    store = read_rows(place, columns=columns, broken_rows=1.0, shape=shape)
    for row in store:
        name = str(row["audio"])
        file = find_audio(name, shape.folders)
        fault = {} if file is not None else {"fault": "is not there"}
        seen = {column: row[column] for column in (*KEPT, "rate", "channels", "content") if column in row}
        yield {"id": row["id"], "audio": str(file or name), "file_name": name, **seen, **fault}
    told = store.report.broken
    for where, reason in told:
        yield {"id": where, "audio": where, "file_name": where, "fault": reason}
    for number in range(len(told), store.report.broken_count):
        name = f"{place}, broken row {number + 1}"
        yield {"id": name, "audio": str(place), "file_name": name, "fault": "is broken as well"}
