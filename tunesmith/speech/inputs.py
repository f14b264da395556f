"""What a person names to be transcribed, as rows: a recording, a folder, a pattern, or a file of rows.

It knows no model. A row whose recording can't be used says why in ``fault``, so that the others are transcribed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.named import FileKind, broken_rows, rows_of
from tunesmith.data.source import read_rows
from tunesmith.speech.audio import AudioFault, find_audio, is_audio_name, look_at_audio
from tunesmith.speech.formats import SpeechShape
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

    def rows(place: Path, label: str) -> Iterator[Row]:
        return _of_rows(place, columns, shape)

    return rows_of(given, FileKind("a recording", WAYS, is_audio_name, _is_recording, recording_row, rows))


def recording_row(place: Path, name: str, fault: str | None = None) -> dict[str, Any]:
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
    try:
        look_at_audio(place)
    except AudioFault:
        return False
    return True


def _of_rows(place: Path, columns: Mapping[str, str], shape: SpeechShape) -> Iterator[Row]:
    store = read_rows(place, columns=columns, broken_rows=1.0, shape=shape)
    for row in store:
        name = str(row["audio"])
        file = find_audio(name, shape.folders)
        fault = {} if file is not None else {"fault": "is not there"}
        seen = {column: row[column] for column in (*KEPT, "rate", "channels", "content") if column in row}
        yield {"id": row["id"], "audio": str(file or name), "file_name": name, **seen, **fault}
    yield from broken_rows(store, place, recording_row)
