"""Rows of long recordings with the times of their words, as several rows that a model hears whole. It opens no folder.

A recording is read once, in pieces, for its levels: one of hours is never held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.opened import Misfit
from tunesmith.speech.audio import AUDIO_RATE, AudioFault, read_audio
from tunesmith.speech.measures import Wave
from tunesmith.speech.segments import Levels, cut_rows

PIECE_SECONDS = 60.0


class LongRows:
    """Cuts rows, and counts what became of them.

    Args:
        longest: Seconds of a row.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.rows = self.parts = 0

    def cut(self, row: Mapping[str, Any], place: Path) -> list[dict[str, Any]]:
        """A shaped row in parts, cut in silences between words; as it is where it is short or has no words.

        Args:
            row: With ``audio``, ``seconds``, ``text``, and ``words`` where their times are known.
            place: Its recording.

        Raises:
            Misfit: It can't be read or cut.
        """
        if row["seconds"] <= self.longest or not row.get("words") or "text" not in row:
            return [dict(row)]
        named = {"id": row["audio"], **row}
        try:
            levels = Levels(_pieces(place, float(row.get("start") or 0.0), float(row["seconds"])), AUDIO_RATE)
        except AudioFault as fault:
            raise Misfit(f"({row['audio']}) {fault.reason}") from fault
        found = cut_rows(named, levels, longest=self.longest)
        if isinstance(found, str):
            why = found.removeprefix(f"row {named['id']}: ")
            seconds = f"{row['seconds']:,.1f} seconds, more than {self.longest:g}"
            raise Misfit(f"({row['audio']}) lasts {seconds}, and can't be cut by its words: {why}")
        self.rows += 1
        self.parts += len(found)
        return found if "id" in row else [{k: v for k, v in one.items() if k != "id"} for one in found]

    def notes(self) -> list[str]:
        """What a person should know."""
        if not self.rows:
            return []
        said = f"{self.rows:,} rows longer than {self.longest:g} seconds were cut in silences between words"
        return [f"{said} into {self.parts:,} rows"]


def _pieces(place: Path, start: float, seconds: float) -> Iterator[Wave]:
    """A part of a recording, a minute at a time."""
    at = 0.0
    while at < seconds:
        stop = min(at + PIECE_SECONDS, seconds)
        if round((stop - at) * AUDIO_RATE):
            yield read_audio(place, start + at, start + stop)
        at = stop
