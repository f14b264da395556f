"""Transcripts as others want them: text, subtitles and JSON beside each other, a file each. It knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.speech.subtitles import Segment, to_json, to_srt, to_vtt
from tunesmith.types import Row


def segments_of(prediction: Mapping[str, Any], row: Row) -> list[Segment]:
    """The parts of a transcript with their times; one over the whole recording where it has none."""
    given = prediction.get("segments")
    if given:
        return [Segment(float(one["start"]), float(one["end"]), str(one["text"])) for one in given]
    text = str(prediction["text"])
    return [Segment(0.0, float(row.get("seconds") or 0.0), text)] if text else []


def write_transcripts(rows: Sequence[Row], predictions: Sequence[Mapping[str, Any]], folder: Path) -> bool:
    """Write ``NAME.txt``, ``.srt``, ``.vtt`` and ``.json`` for every row; True.

    Args:
        rows: As named by ``predict``.
        predictions: ``{"text", "ended"}``, perhaps with ``segments``.
        folder: Made where it is missing. Recordings of one name get numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: dict[str, int] = {}
    for row, one in zip(rows, predictions, strict=True):
        stem = Path(str(row.get("file_name") or row["audio"])).stem
        taken[stem] = taken.get(stem, 0) + 1
        name = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
        parts = segments_of(one, row)
        written = {
            "txt": str(one["text"]).strip() + "\n",
            "srt": to_srt(parts),
            "vtt": to_vtt(parts),
            "json": to_json(parts, audio=str(row["audio"]), text=str(one["text"]), ended=bool(one.get("ended", True))),
        }
        for ending, text in written.items():
            (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")
    return True
