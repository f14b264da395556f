"""A trained Whisper for other programs, and the proof that it writes there what it writes here.

It knows no run; the formats are in ``model``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.speech.audio import AUDIO_RATE
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.tasks.speech_to_text import SpeechToText

CLIPS = 8
"""Held-out recordings that both must write alike."""


def export_whisper(task: SpeechToText, format: str, model: Any, rows: Sequence[Row], out: Path) -> dict[str, Any]:
    """Write the model, let the other program transcribe recordings with it, and compare the texts.

    Args:
        task: With its facts.
        format: ``ctranslate2`` (a folder, for faster-whisper) or ``ggml`` (a file, for whisper.cpp).
        model: On the CPU, adapters merged.
        rows: Recordings that the model did not learn from.
        out: The folder or file; it is gone again where the texts differ.

    Raises:
        UserError: It can't be written, a package is missing, or it writes other texts: with recording and both texts.
    """
    from tunesmith.model.whisper_ct2 import write_ct2
    from tunesmith.model.whisper_ggml import write_ggml
    from tunesmith.model.whisper_runtimes import hold_against, transcribe_ct2, transcribe_ggml

    chosen = [row for row in rows if len(task.wave(row)) <= AUDIO_RATE * task.hears][:CLIPS]
    language = task.prompting.code(task.facts.values.get("language")) or "en"
    job, most = task.options.write, int(task.facts.values["max_new_tokens"])
    waves = [task.wave(row) for row in chosen]
    expected = [task.predict(model.eval(), task.collate([task.encode(row)]))[0]["text"] for row in chosen]
    try:
        if format == "ctranslate2":
            write_ct2(model, task.tokenizer, out)
            found = transcribe_ct2(out, waves, language, job, max_tokens=most)
        else:
            write_ggml(model, task.tokenizer, out)
            found = transcribe_ggml(out, waves, language, job, max_tokens=most)
        told = hold_against(expected, found)
        if told["differ"]:
            one = told["differ"][0]
            raise UserError(
                f"{len(told['differ'])} of {told['clips']} recordings are written otherwise by the exported model, "
                f"the first as {one['found']!r} where the run's model writes {one['expected']!r}",
                f"row {chosen[one['clip']]['id']}",
                "use the run's model as it is, or export it in the other format",
                code=EXIT_FINDINGS,
            )
    except BaseException:
        shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)
        raise
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) if out.is_dir() else out.stat().st_size
    difference = {"output": "text", "largest": 0.0, "tolerance": 0.0, "where": "", "holds": True}
    return {
        "format": format,
        "language": language,
        "task": job,
        "bytes": size,
        "verified": {"recordings": len(chosen), "differences": [difference]},
    }
