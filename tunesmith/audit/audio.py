"""What is wrong with recordings, every one of them, and what they are made of as a whole.

What every run finds comes with all its rows; hum, cuts, dead channels and the like are added. It knows no formats of
sound and no network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.audio_views import audio_views, drift_said
from tunesmith.audit.found import Found, Mark, Remedy, SideName, Skipped, View, share_level
from tunesmith.audit.near_repeats import NearRepeats
from tunesmith.audit.sounds import Made, made_of, remember_sounds
from tunesmith.speech.findings import CLIPPED_SAMPLES, HeardSides, heard_sides, traced_findings
from tunesmith.speech.heard import Place, Side, Traced
from tunesmith.speech.measures import Measures

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

REMEDIES: Mapping[str, Remedy] = dict.fromkeys(
    (
        "unreadable-audio", "silent", "too-short", "too-long", "label-too-long", "empty-text", "repeated-audio",
        "near-repeated-audio", "audio-in-both-splits", "near-audio-leak",
    ),
    "drop",
)  # fmt: skip
OFFSET = 0.01
HUM_BELOW_SPEECH_DB = 35.0
CUT_DB, CUT_LEAST_RANGE_DB = 10.0, 25.0
"""Speech that begins within 10 dB of its loud parts has lost its beginning; in steady sound nobody can tell."""
PAUSE_SECONDS = 3.0
DEAD_DB, DEAD_BELOW_DB = -60.0, 30.0
CANCEL_DB = 15.0
QUIET_DB = -45.0
OUTLIER_LEAST_ROWS, DURATION_OUTLIER, RATE_OUTLIER = 30, 6.0, 4.5
LEAST_SPREAD = 0.15
RATE_LEAST_SECONDS = 1.5


def audio_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Everything that recordings are at fault with, and views of durations, noise, rooms, rates and voices."""
    remember_sounds(data.kept)
    task: Any = data.task
    near = NearRepeats()
    sides = heard_sides(
        data.sides["train"],
        data.sides["eval"],
        task.beginning,
        source=data.where("train"),
        held_out_source=data.where("eval"),
        on_progress=lambda done, total: data.progress("hearing recordings", done, total),
        on_print=near.add,
    )
    longest = 30.0
    limits: dict[str, Any] = {"most_label_tokens": None}
    if data.has_weights and task.facts.values:
        longest = task.hears
        limits |= task.limits(chain(*data.sides.values()))
    found: dict[tuple[str, SideName], Found] = {}
    for traced in chain(traced_findings(sides, longest=longest, **limits), near.findings(sides.learned)):
        one = found_of(traced, sides)
        found[one.code, one.marks[0].side] = one
    for side, name in _named(sides):
        _add_broken(data, name, side, found)
    yield from found.values()
    told = {(mark.side, mark.row) for (code, _), one in found.items() if code in _ODD_LENGTH for mark in one.marks}
    made: dict[SideName, list[Made]] = {}
    for side, name in _named(sides):
        made[name] = list(made_of(data, side.rows, f"recordings of {name}: hum, cuts, channels"))
        yield from _deep(side, name, made[name], told)
    yield from _mixed_rates(sides)
    yield from drift_said(data, sides, made)
    yield from audio_views(data, sides, made)
    if near.left_out:
        yield Skipped("near-repeated-audio", "there are more than 180 hours: only those of the first were compared")


_ODD_LENGTH = frozenset(("too-short", "too-long", "silent", "speaking-rate", "unreadable-audio", "empty-text"))


def _named(sides: HeardSides) -> list[tuple[Side, SideName]]:
    both: list[tuple[Side, SideName]] = [(sides.learned, "train"), (sides.judged, "eval")]
    return [(side, name) for side, name in both if side.rows]


def found_of(traced: Traced, sides: HeardSides) -> Found:
    """A finding of every run as the audit has it: all rows, the surest first.

    Args:
        traced: With its places.
        sides: That the places are of.
    """
    name: Callable[[Side], SideName] = lambda side: "train" if side is sides.learned else "eval"  # noqa: E731
    marks = []
    for place in traced.places:
        score, note = _told(traced.finding.code, place)
        twin = f"{name(place.twin[0])}:{place.twin[0].id(place.twin[1])}" if place.twin else None
        marks.append(Mark(place.side.id(place.number), name(place.side), score, place.note or note, twin))
    marks.sort(key=lambda mark: -mark.score)
    plain = Found.of(traced.finding)
    return replace(plain, marks=marks, remedy=REMEDIES.get(plain.code), rows=())


def _told(code: str, place: Place) -> tuple[float, str]:
    """How sure a finding is of a row, and its measure in words."""
    side, row = place.side, place.side.rows[place.number]
    measured = side.measures[place.number]
    if measured is None:
        return 1.0, ""
    seconds = side.seconds(place.number)
    snr = measured.snr_db or 0.0
    said: dict[str, tuple[float, str]] = {
        "clipped": (min(1.0, 0.5 + 10 * measured.clipped), f"{measured.clipped:.2%} of samples at full scale"),
        "noisy": (min(1.0, max(0.0, (10 - snr) / 15)), f"about {snr:.0f} dB of speech above noise"),
        "narrow-band": (0.9, f"no sound above {measured.bandwidth:,.0f} Hz"),
        "low-rate": (1.0, f"{int(row.get('rate') or 0):,} Hz"),
        "silent": (1.0, f"{seconds:.1f} s without sound, {measured.rms_db:.0f} dB"),
        "speaking-rate": (0.8, f"{seconds:.1f} s for {len(str(row.get('text') or '')):,} characters"),
        "too-short": (1.0, f"{seconds:.2f} s"),
        "too-long": (1.0, f"{seconds:,.1f} s"),
    }
    return said.get(code, (1.0, ""))


def _add_broken(data: AuditData, name: SideName, side: Side, found: dict[tuple[str, SideName], Found]) -> None:
    """Files that reading has left out already are unreadable, too; of many it names the first."""
    report = data.prepared.reports.get(name if name == "train" or data.explicit_eval else "")
    if report is None or not report.broken_count:
        return
    marks = [_broken(place, reason, name) for place, reason in report.broken]
    before = found.get(("unreadable-audio", name))
    count = report.broken_count + (len(before.marks) if before else 0)
    total = len(side.rows) + report.broken_count
    shown = "; ".join(f"{mark.row}: {mark.note}" for mark in marks[:3])
    found["unreadable-audio", name] = Found(
        "unreadable-audio",
        "error",
        f"{count:,} of {total:,} recordings ({count / total:.1%}) cannot be read: {shown}",
        data.where(name),
        "mend these files, or leave their rows out",
        [*marks, *(before.marks if before else ())],
        count / total,
        remedy="drop",
    )


def _broken(place: str, reason: str, side: SideName) -> Mark:
    """A row that reading left out; its reason begins with the recording's name, by which other rows are known."""
    named = re.fullmatch(r"\((.+?)\) (.+)", reason, re.DOTALL)
    return Mark(named[1], side, 1.0, named[2]) if named else Mark(place, side, 1.0, reason)


@dataclass(frozen=True)
class _Rule:
    """A fault that one recording has by itself."""

    code: str
    holds: Callable[[Measures, Made], bool]
    note: Callable[[Measures, Made], str]
    what: str
    fix: str
    warning_share: float
    remedy: Remedy | None = None


def _cut(measured: Measures, made: Made) -> str:
    if made.conditions is None or measured.silence >= 1:
        return ""
    if made.conditions.range_db < CUT_LEAST_RANGE_DB:
        return ""
    ends = (("begins", made.conditions.start_db), ("ends", made.conditions.end_db))
    cut = [f"{word} {below:.0f} dB below its loud parts" for word, below in ends if below < CUT_DB]
    return " and ".join(cut)


_RULES = (
    _Rule(
        "dc-offset",
        lambda m, made: (
            made.conditions is not None and abs(made.conditions.offset) >= OFFSET and m.clipped < CLIPPED_SAMPLES
        ),
        lambda m, made: f"mean {made.conditions.offset:+.3f} of full scale" if made.conditions else "",
        f"have a mean beyond {OFFSET:g} of full scale: direct current came in with the sound",
        "subtract the mean from each, and do the same with recordings to come",
        0.05,
    ),
    _Rule(
        "mains-hum",
        lambda m, made: (
            made.conditions is not None
            and made.conditions.hum_hz > 0
            and made.conditions.hum_db > m.rms_db - HUM_BELOW_SPEECH_DB
        ),
        lambda m, made: (
            f"{made.conditions.hum_hz:.0f} Hz at {made.conditions.hum_db:.0f} dB" if made.conditions else ""
        ),
        "hum at 50 or 60 Hz and its multiples, as the mains do",
        "filter below 150 Hz, or record on other wiring; nothing to do where recordings to come hum, too",
        0.1,
    ),
    _Rule(
        "cut-speech",
        lambda m, made: bool(_cut(m, made)),
        _cut,
        "begin or end in the midst of sound: a first or last word may be cut",
        "cut with some silence around; compare first and last words with the transcripts",
        0.05,
    ),
    _Rule(
        "long-pause",
        lambda m, made: made.conditions is not None and made.conditions.pause >= PAUSE_SECONDS and m.silence < 1,
        lambda m, made: (
            f"{made.conditions.pause:.1f} s of silence from {made.conditions.pause_at:.1f} s" if made.conditions else ""
        ),
        f"hold a silence of {PAUSE_SECONDS:g} seconds or more between sounds",
        "cut them there; a model may learn to make words up in silence",
        0.05,
    ),
    _Rule(
        "dead-channel",
        lambda m, made: (
            len(made.channels) > 1
            and min(made.channels) < DEAD_DB
            and max(made.channels) > min(made.channels) + DEAD_BELOW_DB
        ),
        lambda m, made: "channels at " + ", ".join(f"{level:.0f}" for level in made.channels) + " dB",
        "have a channel without sound: the mean of all channels is quieter than the one that was recorded",
        "keep the channel that holds the sound",
        0.05,
    ),
    _Rule(
        "cancelling-channels",
        lambda m, made: (
            len(made.channels) > 1 and max(made.channels) > DEAD_DB and made.mixed < max(made.channels) - CANCEL_DB
        ),
        lambda m, made: f"channels at {max(made.channels):.0f} dB, their mean at {made.mixed:.0f} dB",
        "have channels of opposite sign: their mean, which a model hears, is nearly silent",
        "keep one channel",
        0.01,
    ),
    _Rule(
        "too-quiet",
        lambda m, made: m.silence < 1 and m.rms_db < QUIET_DB,
        lambda m, made: f"{m.rms_db:.0f} dB",
        f"are quieter than {QUIET_DB:g} dB of full scale, though not silent",
        "record at a higher level; nothing to do where recordings to come are as quiet",
        0.05,
    ),
)


def _deep(side: Side, name: SideName, made: Sequence[Made], told: set[tuple[SideName, str]]) -> Iterator[Found]:
    for rule in _RULES:
        marks = [
            Mark(side.id(n), name, 0.9, rule.note(m, made[n]))
            for n, m in enumerate(side.measures)
            if m is not None and rule.holds(m, made[n])
        ]
        if marks:
            yield _found(side, rule.code, marks, rule.what, rule.fix, rule.warning_share, rule.remedy)
    free = np.array([m is not None and (name, side.id(n)) not in told for n, m in enumerate(side.measures)])
    seconds = np.array([side.seconds(n) for n in range(len(side.rows))])
    yield from _outliers(
        side, name, "duration-outlier", seconds, free & (seconds > 0), DURATION_OUTLIER, "s",
        "are far shorter or longer than the rest",
        "listen to these: they may have been cut in the wrong places, or hold several",
    )  # fmt: skip
    yield from _outliers(
        side, name, "speaking-rate-outlier", spoken_rates(side), free & (seconds >= RATE_LEAST_SECONDS), RATE_OUTLIER,
        "letters a second", "are spoken far faster or slower than the rest",
        "listen to these: the transcript may be cut, too long, or of another recording",
    )  # fmt: skip


def spoken_rates(side: Side) -> NDArray[np.float64]:
    """Letters that each transcript has for a second of sound, [rows]; NaN where either is missing."""
    found = np.full(len(side.rows), np.nan)
    for number, measured in enumerate(side.measures):
        if measured is None or measured.silence >= 1 or side.seconds(number) > measured.seconds + 1:
            continue
        letters = sum(map(str.isalnum, str(side.rows[number].get("text") or "")))
        spoken = measured.seconds - measured.leading - measured.trailing
        if letters and spoken > 0:
            found[number] = letters / spoken
    return found


def _outliers(
    side: Side,
    name: SideName,
    code: str,
    values: NDArray[np.float64],
    fit: NDArray[np.bool_],
    far: float,
    unit: str,
    what: str,
    fix: str,
) -> Iterator[Found]:
    """Rows whose value lies far from the median on a logarithmic scale, in robust standard deviations."""
    fit = fit & np.isfinite(values) & (values > 0)
    if np.count_nonzero(fit) < OUTLIER_LEAST_ROWS:
        return
    logs = np.log(np.where(fit, values, 1.0))
    middle = float(np.median(logs[fit]))
    spread = max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs[fit] - middle))))
    away = np.where(fit, np.abs(logs - middle) / spread, 0.0)
    order = [int(n) for n in np.argsort(-away, kind="stable") if away[n] > far]
    if order:
        marks = [Mark(side.id(n), name, min(1.0, away[n] / (2 * far)), f"{values[n]:.3g} {unit}") for n in order]
        said = f"{what} (half have {np.exp(middle):.3g} {unit} and more; {marks[0].row}: {marks[0].note})"
        yield _found(side, code, marks, said, fix, 0.02)


def _found(
    side: Side,
    code: str,
    marks: Sequence[Mark],
    what: str,
    fix: str,
    warning_share: float,
    remedy: Remedy | None = None,
) -> Found:
    share = len(marks) / len(side.rows)
    text = f"{len(marks):,} of {len(side.rows):,} recordings ({share:.1%}) {what}"
    return Found(code, share_level(share, warning_share), text, side.name, fix, marks, share, remedy=remedy)


def _mixed_rates(sides: HeardSides) -> Iterator[Found]:
    """Recordings of several rates; those of a rate that is not the usual one."""
    rates = {name: [int(row.get("rate") or 0) for row in side.rows] for side, name in _named(sides)}
    counts: dict[int, int] = {}
    for rate in chain(*rates.values()):
        counts[rate] = counts.get(rate, 0) + bool(rate)
    known = sum(counts.values())
    if len([rate for rate, count in counts.items() if count]) < 2:
        return
    usual = max(counts, key=lambda rate: counts[rate])
    marks = [
        Mark(side.id(n), name, 1.0, f"{rate:,} Hz")
        for side, name in _named(sides)
        for n, rate in enumerate(rates[name])
        if rate not in (0, usual)
    ]
    said = ", ".join(
        f"{count:,} of {rate:,} Hz" for rate, count in sorted(counts.items(), key=lambda p: -p[1]) if count
    )
    yield Found(
        "mixed-rates",
        "note",
        f"recordings have {len([c for c in counts.values() if c])} sampling rates: {said}",
        "rate",
        "nothing to do where recordings to come vary as much; else see that no label, voice or side goes with a rate",
        marks,
        len(marks) / max(1, known),
    )
