"""Which column of a row is what: the usual names, and numbers, texts and words in them. It opens no file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.data.opened import Misfit

AUDIO_COLUMNS = (
    *("audio", "audio_filepath", "path", "file", "file_name", "filename", "wav", "wav_filename", "audio_path"),
    *("audio_file", "audio_file_name", "file_path", "filepath", "wav_path", "recording", "clip", "sound", "speech"),
)
TEXT_COLUMNS = (
    *("text", "sentence", "transcription", "transcript", "normalized_text", "normalised_text", "raw_text"),
    *("raw_transcription", "normalized_transcription", "utterance"),
)
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "spk", "spk_id", "speaker_name", "reader")
SESSION_COLUMNS = ("session", "session_id", "chapter", "chapter_id", "recording_id", "meeting_id")
LANGUAGE_COLUMNS = ("language", "lang", "locale", "lang_id")
START_COLUMNS = ("start", "start_time", "offset", "begin", "begin_time", "start_seconds", "segment_start")
END_COLUMNS = ("end", "end_time", "stop", "stop_time", "end_seconds", "segment_end")
DURATION_COLUMNS = ("duration", "duration_seconds")
WORD_COLUMNS = ("words", "word_timestamps")
_WORD_NAMES = ("word", "text", "token")


def first(raw: Mapping[str, Any], names: Sequence[str]) -> tuple[str | None, Any]:
    """The first of several columns that a row has a value in, whatever its case, and the value."""
    for name in names:
        if not absent(raw.get(name)):
            return name, raw[name]
    lower = {str(name).lower(): name for name in raw if not absent(raw[name])}
    found = next((lower[name] for name in names if name in lower), None)
    return (found, raw[found]) if found is not None else (None, None)


def absent(value: Any) -> bool:
    """Whether a cell is empty: null, or the NaN that tables have for it. An empty text is there, and empty."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number_in(raw: Mapping[str, Any], names: Sequence[str]) -> tuple[str | None, float | None]:
    """Seconds in the first of several columns, and the column; both None where there are none.

    Raises:
        Misfit: It is no number.
    """
    column, value = first(raw, names)
    if column is None or (isinstance(value, str) and not value.strip()):
        return None, None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Misfit(f"has {str(value)[:40]!r} in {column}, which is no number of seconds")
    return column, number


def name_in(raw: Mapping[str, Any], names: Sequence[str]) -> tuple[str | None, str]:
    """A name or number in the first of several columns as a text, and the column."""
    column, value = first(raw, names)
    if column is None or isinstance(value, (Mapping, list, tuple, bytes)):
        return None, ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return column, str(value).strip()


def words_of(value: Any) -> list[dict[str, Any]] | None:
    """Words with their times, from a list of mappings, a mapping of lists, or JSON of either; None: it is neither.

    Returns:
        ``{"word", "start", "end"}`` of each, seconds.

    Raises:
        Misfit: Times are no numbers, or run backwards.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, Mapping):
        lists = [list(items) for items in value.values() if isinstance(items, (list, tuple))]
        if len(lists) != len(value) or len({len(items) for items in lists}) != 1:
            return None
        value = [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, Mapping) for item in value):
        return None
    found: list[dict[str, Any]] = []
    for at, item in enumerate(value, 1):
        _, word = name_in(item, _WORD_NAMES)
        start, end = number_in(item, START_COLUMNS)[1], number_in(item, END_COLUMNS)[1]
        if not word or start is None or end is None:
            raise Misfit(f"has a word without word, start and end (number {at} in words)")
        if end < start or start < 0 or (found and start < found[-1]["start"]):
            raise Misfit(f"has words whose times run backwards (number {at}, {word!r}, {start:g} to {end:g} s)")
        found.append({"word": word, "start": start, "end": end})
    return found
