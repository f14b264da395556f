"""What a report shows of transcripts: recordings one can hear, errors by speaker, length and noise, and confusions.

It knows rows, predictions, their errors and waveforms; no model and no page (``report.panels`` says what a panel is).
Sound stands inside the report, small, so that it is one file of a few megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tunesmith.errors import UserError
from tunesmith.speech.clips import RATE, Wave, clip_uri, noise_level
from tunesmith.speech.normalize import language_code, unit_of
from tunesmith.speech.scores import (
    DURATIONS,
    NOISES,
    Errors,
    alignment,
    by_group,
    confusions,
    duration_band,
    noise_band,
    score,
)
from tunesmith.types import Row

Json: TypeAlias = dict[str, Any]
Predictions: TypeAlias = Sequence[Mapping[str, Any]]
WaveOf: TypeAlias = Callable[[Row], Wave]
"""A row's waveform, float32 mono [samples] at 16,000 Hz."""

SHOWN = 8
"""Recordings in a panel."""

BUDGET = 6_000_000
"""Characters that the sound of one report takes at most."""

LONGEST = 60
"""Seconds of a recording that are played; the rest is left out."""

MOST_GROUPS, MOST_PAIRS = 15, 15
"""Lines of a table by group, and of the table of confusions."""

MOST_HEARD = 300
"""Rows whose noise is estimated where the rows don't say it; spread evenly."""

WORDS = {
    "wer_normalized": "WER, normalised",
    "substitutions": "words substituted",
    "deletions": "words left out",
    "insertions": "words put in",
    "wer": "WER, as written",
    "cer_normalized": "CER, normalised",
    "cer": "CER, as written",
    "exact": "rows without an error",
    "hallucinated": "rows with invented text",
    "stopped": "rows that ended by themselves",
}
"""What each rate is called."""

EDGES = (0, 0.001, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5)
"""Error rates of rows between which rows are counted; the last bar holds all above it too."""


def speech_panels(
    rows: Sequence[Row],
    base: Predictions | None,
    tuned: Predictions,
    wave_of: WaveOf,
    errors_base: Sequence[Errors] | None,
    errors_tuned: Sequence[Errors],
    *,
    language: str | None = None,
    seed: int = 0,
    shown: int = SHOWN,
    budget: int = BUDGET,
) -> list[Json]:
    """All panels of transcripts: recordings, kinds of error, rows by error rate, groups, confusions.

    Args:
        rows: The held-out rows, truth under ``text``.
        base, tuned: ``{"text": str, "ended": bool}`` of each row.
        wave_of: Reads a row's waveform; where it raises a UserError the row is shown without its sound.
        errors_base, errors_tuned: From `errors_of_rows`.
        language: Of rows that name none.
        seed: Of the random rows.
        shown: Recordings in each panel.
        budget: Characters that the sound takes at most.
    """
    if not rows:
        return []
    by_character = sum(unit_of(_language(row, language), _truth(row)) == "character" for row in rows) * 2 > len(rows)
    rate = "cer_normalized" if by_character else "wer_normalized"
    sides = {"base": (base, errors_base), "tuned": (tuned, errors_tuned)}
    clips = _Clips(wave_of, budget)
    return [
        *recording_panels(rows, sides, clips, rate, language=language, seed=seed, shown=shown),
        kinds_table(errors_base, errors_tuned, rate),
        rates_panel(errors_base, errors_tuned, rate),
        *group_tables(rows, errors_base, errors_tuned, wave_of, rate, language=language),
        *confusion_table(rows, base, tuned, language=language),
    ]


def _truth(row: Row) -> str:
    return str(row.get("text") or "")


def _language(row: Row, language: str | None) -> str | None:
    return row.get("language") or language


class _Clips:
    """Sound for a report until it holds enough."""

    def __init__(self, wave_of: WaveOf, budget: int) -> None:
        self.wave_of, self.left = wave_of, budget
        self.made: dict[str, str] = {}

    def of(self, row: Row) -> tuple[str | None, str]:
        """A row's sound, and what there is to say where it is cut or absent: ``cut``, ``budget``, or why not read."""
        key = str(row["id"])
        words = ""
        if key not in self.made:
            try:
                wave = self.wave_of(row)
            except UserError as error:
                return None, error.what
            words = "cut" if wave.size > LONGEST * RATE else ""
            self.made[key] = clip_uri(wave[: LONGEST * RATE])
        if len(self.made[key]) > self.left:
            return None, "budget"
        self.left -= len(self.made[key])
        return self.made[key], words


def row_rates(errors: Sequence[Errors], rate: str) -> np.ndarray:
    """Each row's own error rate, float64 [rows]; of a row in which nothing is spoken 0 or 1."""
    counts = [one.characters_normalized if rate.startswith("cer") else one.words_normalized for one in errors]
    return np.array([min(1, c.errors) if not c.reference else c.errors / c.reference for c in counts])


def recording_panels(
    rows: Sequence[Row],
    sides: Mapping[str, tuple[Predictions | None, Sequence[Errors] | None]],
    clips: _Clips,
    rate: str,
    *,
    language: str | None = None,
    seed: int = 0,
    shown: int = SHOWN,
) -> list[Json]:
    """The rows that the tuned model gets most wrong, and rows at random, each with its sound.

    Args:
        rows: The held-out rows.
        sides: Predictions and errors of ``base`` and ``tuned``.
        clips: Gives a row's sound.
        rate: By which rows are judged, a key of ``RATES``.
        language: Of rows that name none.
        seed: Of the random rows.
        shown: Recordings in each panel.
    """
    errors = sides["tuned"][1] or ()
    counts = np.array([one.words_normalized.errors + one.characters_normalized.errors for one in errors])
    quality = np.minimum(row_rates(errors, rate), 1)
    # Of rows that are wholly wrong the longest come first: one word missed tells little.
    order = np.lexsort((-counts, -quality))
    worst = [int(n) for n in order if counts[n]][:shown]
    drawn = [int(n) for n in np.random.default_rng(seed).permutation(len(rows))[:shown]]
    panels = []
    for title, chosen, words in (
        ("Worst recordings, tuned", worst, f"by {rate[:3].upper()}, the worst first"),
        ("Recordings at random", drawn, "whatever came of them"),
    ):
        items, told = [], []
        for number in chosen:
            sound, reason = clips.of(rows[number])
            items.append(_item(rows[number], number, sound, sides, rate, language))
            told += [reason] if reason else []
        if items:
            note = f"{len(items)} of {len(rows)} held-out rows, {words}. Struck through: spoken and not written; "
            note += "underlined: written and not spoken." + _left_out(told)
            panels.append({"kind": "audio", "title": title, "note": note, "items": items})
    return panels


def _left_out(told: Sequence[str]) -> str:
    words = ""
    if full := told.count("budget"):
        words += f" {full} are without sound, since a report holds at most {BUDGET // 1_000_000} MB of it."
    if cut := told.count("cut"):
        words += f" Of {cut} only the first {LONGEST} s are played."
    unread = [reason for reason in told if reason not in ("budget", "cut")]
    return words + (f" {len(unread)} could not be read: {unread[0]}." if unread else "")


def _item(
    row: Row,
    number: int,
    sound: str | None,
    sides: Mapping[str, tuple[Predictions | None, Sequence[Errors] | None]],
    rate: str,
    language: str | None,
) -> Json:
    own, truth = _language(row, language), _truth(row)
    between = "" if unit_of(own, truth) == "character" else " "
    item: Json = {"id": str(row["id"]), "seconds": row.get("seconds"), "expected": truth, "audio": sound}
    for name, (predictions, errors) in sides.items():
        if predictions is None or errors is None:
            continue
        steps = alignment(truth, str(predictions[number]["text"]), own)
        of_row = score([errors[number]])
        told = [("", rate), ("as written ", rate[:3])]
        figures = [f"{words}{100 * of_row[key]:.0f} %" for words, key in told if np.isfinite(of_row[key])]
        words = [f"{rate[:3].upper()} {', '.join(figures)}"] if figures else []
        words += [] if errors[number].ended else ["cut off"]
        words += ["invented text"] if errors[number].hallucinated else []
        note = "; ".join(filter(None, words))
        item[name] = {"steps": [list(step) for step in steps], "between": between, "note": note}
    return item


def kinds_table(base: Sequence[Errors] | None, tuned: Sequence[Errors], rate: str) -> Json:
    """Every rate over all rows, base against tuned; the one to read stands first."""
    after, before = score(tuned), score(base) if base is not None else {}
    names = sorted(WORDS, key=lambda name: name != rate)
    rows = [[WORDS[name], _known(before.get(name)), _known(after[name])] for name in names]
    columns = ["rate", "base", "tuned"]
    if base is None:
        columns, rows = ["rate", "tuned"], [[row[0], row[2]] for row in rows]
    note = "Errors over all words (or characters) of the held-out rows. Kinds of error are shares of the spoken words."
    if rate.startswith("cer"):
        note += " The script has no spaces between words: the CER is the one to read."
    return {"kind": "table", "title": "Kinds of error", "note": note, "columns": columns, "rows": rows}


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def rates_panel(base: Sequence[Errors] | None, tuned: Sequence[Errors], rate: str) -> Json:
    """How many rows have which error rate, base against tuned."""
    series = []
    for name, errors in (("tuned", tuned), ("base", base)):
        if errors is not None:
            counts = np.histogram(np.minimum(row_rates(errors, rate), EDGES[-1]), EDGES)[0]
            series.append({"name": name, "counts": [int(count) for count in counts]})
    note = "The first bar holds the rows without an error, the last one all from its beginning on."
    head = {"kind": "histogram", "title": "Rows by error rate", "note": note, "x": f"{rate[:3].upper()} of a row"}
    return head | {"edges": list(EDGES), "series": series}


def group_tables(
    rows: Sequence[Row],
    base: Sequence[Errors] | None,
    tuned: Sequence[Errors],
    wave_of: WaveOf,
    rate: str,
    *,
    language: str | None = None,
) -> list[Json]:
    """Error rates by speaker, language, length and noise; a table of one group is left out.

    Args:
        rows: The held-out rows; ``speaker``, ``language``, ``seconds`` and ``snr`` (dB) where known.
        base, tuned: Their errors.
        wave_of: Reads a row's waveform, from which its noise is estimated where no row has ``snr``.
        rate: A key of ``RATES``.
        language: Of rows that name none.
    """
    speakers = [None if row.get("speaker") in (None, "") else str(row["speaker"]) for row in rows]
    languages = [language_code(_language(row, language)) or None for row in rows]
    noises, words = _noises(rows, wave_of)
    tables = [
        ("speaker", speakers, (), ""),
        ("language", languages, (), ""),
        ("length", [duration_band(row.get("seconds")) for row in rows], DURATIONS, ""),
        ("noise", noises, NOISES, words),
    ]
    panels = []
    for name, groups, order, source in tables:
        # Rows that nobody listened to are no group; rows without a speaker are.
        known = [number for number, group in enumerate(groups) if group is not None or name != "noise"]
        if len({groups[number] for number in known}) < 2:
            continue
        found = by_group(
            [tuned[n] for n in known],
            [groups[n] for n in known],
            [base[n] for n in known] if base is not None else None,
            rate=rate,
            order=order,
        )
        kept = found[:MOST_GROUPS]
        note = source if len(kept) == len(found) else f"{source} The {len(kept)} of {len(found)} with the most words."
        columns = [name, "rows", "words", f"{rate[:3].upper()} base", f"{rate[:3].upper()} tuned"]
        if base is None:
            columns, kept = [*columns[:3], columns[4]], [[*line[:3], line[4]] for line in kept]
        panels.append({"kind": "table", "title": f"By {name}", "note": note.strip(), "columns": columns, "rows": kept})
    return panels


def _noises(rows: Sequence[Row], wave_of: WaveOf) -> tuple[list[str | None], str]:
    """Each row's band of noise, and where it comes from."""
    words = "How far speech stands above noise"
    if any(row.get("snr") is not None for row in rows):
        return [noise_band(row.get("snr")) for row in rows], f"{words}, as the data says it."
    bands: list[str | None] = [None] * len(rows)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_HEARD)).astype(int))
    for number in chosen:
        try:
            bands[number] = noise_band(noise_level(wave_of(rows[number])))
        except UserError:
            continue
    words += ", estimated from the loudest and quietest parts"
    return bands, words + (f" of {len(chosen)} rows." if len(chosen) < len(rows) else ".")


def confusion_table(
    rows: Sequence[Row], base: Predictions | None, tuned: Predictions, *, language: str | None = None
) -> list[Json]:
    """The words most often heard as another, with how often each model did so; no panel where there are none.

    Args:
        rows: The held-out rows.
        base, tuned: ``{"text": str}`` of each row.
        language: Of rows that name none.
    """
    truths, languages = [_truth(row) for row in rows], [_language(row, language) for row in rows]
    after = confusions(truths, [str(one["text"]) for one in tuned], languages)
    before = confusions(truths, [str(one["text"]) for one in base], languages) if base is not None else None
    pairs = sorted(
        {*after, *(before or ())}, key=lambda pair: (-after[pair], -(before[pair] if before is not None else 0), pair)
    )
    if not pairs:
        return []
    note = f"Normalised; {min(len(pairs), MOST_PAIRS)} of {len(pairs)} pairs, those most frequent with the tuned model."
    columns = ["spoken", "written", *(["times, base"] if before is not None else []), "times, tuned"]
    lines = [[*pair, *([before[pair]] if before is not None else []), after[pair]] for pair in pairs[:MOST_PAIRS]]
    return [{"kind": "table", "title": "Most frequent confusions", "note": note, "columns": columns, "rows": lines}]
