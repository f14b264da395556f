"""What tasks on speech have in common: a row's wave, how it varies, how transcripts are judged, shown and written.

It knows no architecture and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.errors import UserError
from tunesmith.metrics import paired_bootstrap
from tunesmith.speech.audio import AUDIO_RATE, AudioFault, is_audio_name, place_of, read_audio
from tunesmith.speech.augment import Augment, Augmenter, Condition, Preset, at, settings_of
from tunesmith.speech.findings import CODES, sound_findings
from tunesmith.speech.formats import SpeechShape
from tunesmith.speech.inputs import rows_named
from tunesmith.speech.panels import WORDS, speech_panels
from tunesmith.speech.scores import RATES, Errors, errors_of_rows, rate_of, score, tally
from tunesmith.speech.segments import speech_windows
from tunesmith.speech.showing import write_transcripts
from tunesmith.speech.subtitles import Segment, joined, stitch
from tunesmith.task import Task, TaskOptions
from tunesmith.traits import DataReference
from tunesmith.types import Facts, Finding, Preview, Row, Scores

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.model.transcript_fit import Fit

OVERLAP = 5.0
"""Seconds that neighbouring windows of a long recording share."""
HEARD_TOGETHER = 8
"""Windows of long recordings that are transcribed at a time."""
JUDGED_SECONDS = 60.0
"""How much of a recording is enough to judge it: what is longer is at fault, whatever follows."""
HEARD_AHEAD = 64
"""Recordings whose samples are kept at hand, most recent ones first."""


class Heard(BaseModel):
    """A condition under which held-out rows are transcribed once more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset = Field(description="Whose band, codec, room and noise: call-center, meeting or field.")
    snr: float | None = Field(5.0, description="Signal to noise in dB; null: without noise.")


class SpeechOptions(TaskOptions):
    """Settings of every task on speech."""

    language: str | None = Field(
        None, description="Language of rows that name none, as a code (en); null takes that of the rows."
    )
    metric: Literal["wer", "wer_normalized", "cer", "cer_normalized"] = Field(
        "wer_normalized",
        description="What the verdict is about: word or character errors, as written or normalised; all are shown.",
    )
    augment: Augment = Field(
        settings_of("none"),
        description="How recordings vary while the model learns: a preset (none, clean, call-center, meeting, field), "
        "or its groups; never in evaluation.",
    )
    also_under: list[Heard] = Field(
        [], description="Conditions under which base and tuned transcribe the held-out rows once more."
    )


class SpeechTask(Task):
    """A task on speech. Abstract: it has neither model nor loss."""

    columns = {"audio": str, "text": str}  # noqa: RUF012
    target = "text"
    identity: ClassVar[tuple[str, ...]] = ("content", "start", "end")
    higher_is_better = False
    file_columns: ClassVar[tuple[str, ...]] = ("audio",)
    reads_files: ClassVar[bool] = True
    low_precision: ClassVar[bool] = True
    cpu_rows: ClassVar[int | None] = 8
    base_rows: ClassVar[int] = 24
    key_columns = ("audio", "content", "start", "end", "text", "language", "under")
    pipeline_tag = "automatic-speech-recognition"
    unit: ClassVar[str] = "hours"
    references: ClassVar[Sequence[DataReference]] = (DataReference("Whisper", 50),)
    audited = ("audio", "transcripts")
    finding_codes = CODES
    longest: ClassVar[float] = 30.0
    """Seconds that a model hears at once, and that rows are cut to."""
    options: SpeechOptions

    def __init__(self, options: Any, source: Any, facts: Facts | None = None) -> None:
        self.goal = options.metric
        super().__init__(options, source, facts)
        augment = settings_of(options.augment)
        self.random = Augmenter.of(augment).random
        self.views = augment.views or 0
        self._waves: dict[tuple[Any, ...], np.ndarray] = {}

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> SpeechShape:
        """Recordings with transcripts in every common layout."""
        return SpeechShape(answered=answered, longest=cls.longest)

    @classmethod
    def class_column(cls) -> None:
        """A transcript is no class."""
        return

    @cached_property
    def augmenter(self) -> Augmenter:
        """Recordings as they vary while the model learns."""
        return Augmenter.of(self.options.augment, self._backgrounds(settings_of(self.options.augment).noise.folder))

    @cached_property
    def _steady(self) -> Augmenter:
        """The same at the speed of the recording, for what would become too long."""
        settings = self.augmenter.settings
        return replace(
            self.augmenter,
            settings=settings.model_copy(update={"speed": settings.speed.model_copy(update={"probability": 0.0})}),
        )

    @property
    def hears(self) -> float:
        """Seconds that this model hears at once."""
        return self.longest

    @cached_property
    def conditions(self) -> dict[str, Condition]:
        """What held-out rows are heard under once more, by label."""
        found = [at(one.preset, one.snr) for one in self.options.also_under]
        return {one.label: one for one in found}

    def _backgrounds(self, named: str | None) -> list[np.ndarray]:
        """Noises to mix in.

        Raises:
            UserError: There is no such folder, or no recording in it.
        """
        if named is None:
            return []
        place = next((folder / named for folder in self.folders if (folder / named).is_dir()), Path(named).expanduser())
        found: list[np.ndarray] = []
        for file in sorted(place.rglob("*")) if place.is_dir() else ():
            if not is_audio_name(file.name) or not file.is_file():
                continue
            try:
                found.append(read_audio(file))
            except AudioFault as fault:
                raise UserError(f"the noise {fault.reason}", str(file), "mend or remove it") from fault
        if not found:
            what = f"options.augment.noise.folder: {named} holds no recording"
            raise UserError(what, "recipe: options.augment.noise.folder", "name a folder of noises, or null")
        return found

    def language_of(self, row: Row) -> str | None:
        """The language of a row."""
        found = row.get("language") or self.options.language or self.facts.values.get("language")
        return None if found is None else str(found)

    def language_heard(self, model: nn.Module, row: Row) -> str | None:
        """The language of a row; where nobody named it what the model hears, or None where it does not matter."""
        return self.language_of(row)

    # A row's sound

    def wave(self, row: Row) -> np.ndarray:
        """A row's sound, float32 mono [samples] at 16 kHz, as it was recorded.

        Raises:
            UserError: It can't be read.
        """
        key = (row.get("audio"), row.get("content"), row.get("start"), row.get("end"))
        if key in self._waves:
            return self._waves[key]
        place = place_of(row, self.folders)
        if place is None:
            folders = ", ".join(str(folder) or "." for folder in self.folders)
            raise UserError(f"there is no recording {row['audio']!r}", f"row {row['id']}", f"looked in: {folders}")
        try:
            found = read_audio(place, row.get("start"), row.get("end"), AUDIO_RATE)
        except AudioFault as fault:
            what = f"the recording {fault.reason}"
            raise UserError(what, f"{place} (row {row['id']})", "mend or remove it") from fault
        while len(self._waves) >= HEARD_AHEAD:
            # Recordings are read by several threads at once.
            with suppress(KeyError, StopIteration, RuntimeError):
                self._waves.pop(next(iter(self._waves)))
        if len(found) <= AUDIO_RATE * self.hears:
            self._waves[key] = found
        return found

    def heard(self, row: Row, rng: np.random.Generator | None) -> np.ndarray:
        """A row's sound as it is learned (with ``rng``) or judged, under its condition if it has one."""
        found = self.wave(row)
        if rng is not None and self.random:
            same, most = deepcopy(rng), AUDIO_RATE * self.hears
            varied = self.augmenter(found, rng).wave
            # What is slowed down beyond what the model hears would lose its end, and the transcript would not.
            return varied if len(varied) <= max(most, len(found)) else self._steady(found, same).wave
        if row.get("under"):
            draws = np.random.default_rng([0, *str(row["id"]).encode()])
            return self.conditions[str(row["under"])].apply(found, draws)
        return found

    # Facts and findings

    def amount(self, rows: Sequence[Row]) -> float:
        """Hours of recordings."""
        return sum(float(row.get("seconds") or 0.0) for row in rows) / 3600

    def speech_facts(self, rows: Sequence[Row]) -> tuple[dict[str, Any], list[str]]:
        """Languages, hours and how recordings vary, for the facts and for a person."""
        seconds = [float(row.get("seconds") or 0.0) for row in rows]
        languages = sorted({str(row["language"]) for row in rows if row.get("language")})
        own = languages[0] if len(languages) == 1 else None
        lines = [
            f"{len(rows):,} recordings, {sum(seconds) / 60:,.1f} minutes; the longest {max(seconds, default=0):.1f} s",
            *(f"augmentation: {line}" for line in self.augmenter.describe()),
        ]
        return {"language": self.options.language or own, "languages": languages}, lines

    def speech_findings(
        self,
        train: Sequence[Row],
        held_out: Sequence[Row],
        *,
        hypotheses: Mapping[str, float] | None = None,
    ) -> Iterator[Finding]:
        """What recordings and transcripts are at fault."""
        limits = {"most_label_tokens": None, **self.limits(chain(train, held_out))}
        yield from sound_findings(train, held_out, self.beginning, hypotheses=hypotheses, longest=self.hears, **limits)

    def limits(self, rows: Iterable[Row]) -> dict[str, Any]:
        """What the model takes of transcripts, as `sound_findings` wants it."""
        return {}

    def fits(self, model: nn.Module, row: Row, texts: Sequence[str]) -> list[Fit]:
        """How well each of some texts fits a row's recording, to weights that never saw this data; none: can't tell.

        Args:
            model: As ``load`` gives it, on any device.
            row: Its recording is no longer than the model hears.
            texts: Its own transcript, and others.
        """
        return []

    def hypotheses(self, rows: Sequence[Row]) -> dict[str, float]:
        """Word error rate of the model's transcript before it learned anything, by row."""
        model, found = self.load().eval(), {}
        for start in range(0, len(rows), HEARD_TOGETHER):
            some = [row for row in rows[start : start + HEARD_TOGETHER] if self.readable(row)]
            for row, one in zip(some, self._errors(self.transcripts(model, some), some), strict=True):
                words = one.words_normalized
                found[str(row["id"])] = words.errors / max(1, words.reference)
        return found

    def transcripts(self, model: nn.Module, rows: Sequence[Row]) -> list[Any]:
        """What a model writes of some rows' recordings, which are ``readable``."""
        import torch

        if not rows:
            return []
        batch = self.collate([self.encode({**row, "text": None}) for row in rows])
        device = next(model.parameters()).device
        moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        with torch.inference_mode():
            return self.predict(model, moved)

    def oversized(self, row: Row) -> bool:
        """Told by a recording's header: hours are not decoded."""
        return float(row.get("seconds") or 0.0) > self.hears + 1

    def readable(self, row: Row) -> bool:
        """Whether a row's recording can be read and is no longer than the model hears at once."""
        if self.oversized(row):
            return False
        try:
            return 0 < len(self.wave(row)) <= AUDIO_RATE * self.hears
        except UserError:
            return False

    def beginning(self, row: Row) -> np.ndarray:
        """A row's sound, of one of hours the first minute."""
        start, seconds = float(row.get("start") or 0.0), float(row.get("seconds") or 0.0)
        return self.wave({**row, "start": start, "end": start + JUDGED_SECONDS} if seconds > JUDGED_SECONDS else row)

    def probes(self, held_out: Sequence[Row]) -> dict[str, list[Row]]:
        """The held-out rows under other conditions."""
        return {label: [{**row, "under": label} for row in held_out] for label in self.conditions}

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """Recordings with what is learned of them."""
        found = []
        for row in rows:
            note = f"{float(row.get('seconds') or 0):.1f} s"
            found.append(Preview(str(row["id"]), tuple(self.spans(row)), f"{note}; {row['audio']}"))
        return found

    def spans(self, row: Row) -> list[tuple[str, bool]]:
        """Pieces of what the model writes, and whether each is learned."""
        return [(str(row.get("text") or ""), True)]

    def can_judge(self, row: Row) -> bool:
        """Whether there is a transcript."""
        return row.get("text") is not None

    # Judging

    def _errors(self, predictions: Sequence[Any], rows: Sequence[Row]) -> list[Errors]:
        named = [{**row, "language": self.language_of(row)} for row in rows]
        return errors_of_rows(named, predictions)

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Word and character errors, as written and normalised; kinds of error; invented and unended transcripts."""
        return score(self._errors(predictions, rows))

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Counts by row."""
        return tally(self._errors(predictions, rows))

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """The rate of summed counts."""
        return np.asarray(rate_of(totals, self.goal))

    def distance(self, one: Any, other: Any) -> float:
        """Nought where the texts are the same."""
        return float(one["text"] != other["text"])

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Rates with their intervals; recordings to listen to; groups; confusions."""
        after = self._errors(tuned, rows)
        before = self._errors(base, rows) if base is not None else None
        named = [{**row, "language": self.language_of(row)} for row in rows]
        panels = speech_panels(named, base, tuned, lambda row: self.heard(row, None), before, after)
        return [*([self._rates(before, after)] if before is not None else []), *panels]

    def _rates(self, before: Sequence[Errors], after: Sequence[Errors]) -> dict[str, Any]:
        of_base, of_tuned = tally(before), tally(after)
        lines: list[list[Any]] = []
        for name in RATES:
            found = paired_bootstrap(of_base, of_tuned, partial(rate_of, name=name), seed=0)
            was, now = float(rate_of(of_base.sum(0), name)), float(rate_of(of_tuned.sum(0), name))
            if np.isfinite(was) and np.isfinite(now):
                lines.append([WORDS.get(name, name), was, now, f"[{found.low:+.4f}, {found.high:+.4f}]"])
        columns = ["rate", "base", "tuned", "95 % interval of the difference"]
        note = "Sums over all held-out rows: errors by the words or characters of the truth."
        return {"kind": "table", "title": "All rates", "columns": columns, "rows": lines, "note": note}

    # Use

    def in_windows(
        self, wave: np.ndarray, hear: Callable[[Sequence[np.ndarray]], list[dict[str, Any]]]
    ) -> dict[str, Any]:
        """The transcript of a recording that is longer than the model hears at once: windows, joined by their words.

        Args:
            wave: Float32 [samples] at 16 kHz.
            hear: Transcribes some windows: ``text``, ``ended`` and perhaps ``segments`` of each.
        """
        overlap = min(OVERLAP, self.hears / 6)
        spans = speech_windows(wave, AUDIO_RATE, self.hears, overlap)
        heard: list[tuple[float, list[Segment]]] = []
        ended = True
        for first in range(0, len(spans), HEARD_TOGETHER):
            some = spans[first : first + HEARD_TOGETHER]
            said = hear([wave[round(a * AUDIO_RATE) : round(b * AUDIO_RATE)] for a, b in some])
            for (a, b), one in zip(some, said, strict=True):
                ended = ended and one["ended"]
                whole = [{"start": 0.0, "end": b - a, "text": one["text"]}] if one["text"] else []
                parts = one.get("segments") or whole
                heard.append((a, [Segment(p["start"], min(p["end"], b - a), p["text"]) for p in parts]))
        joint = stitch(heard, overlap)
        return {
            "text": joined([part.text for part in joint]),
            "ended": ended,
            "segments": [{"start": round(p.start, 2), "end": round(p.end, 2), "text": p.text} for p in joint],
        }

    def inputs_of(self, given: str, columns: Mapping[str, str]) -> list[Row] | None:
        """Recordings named as a file, a folder or a pattern, or by a file of rows."""
        return rows_named(given, columns, self.row_shape(self.options, answered=False))

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
        """A text, subtitles (SRT, VTT) and JSON for each recording."""
        return write_transcripts(rows, predictions, folder)
