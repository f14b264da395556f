"""Transcripts with times as subtitles (SRT, WebVTT) and JSON, and windows of a long recording joined into one.

It knows segments of text and seconds; no model and no sound. What is written always plays: times rise and never
overlap, lines are short, and no text can be taken for a time or for markup.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from tunesmith.speech.normalize import normalize, unit_of

COLUMNS, LINES = 42, 2
"""Columns of a line and lines of a cue; a Han character or a kana takes two columns."""

READ = 15
"""Characters read in a second: how long a segment is shown that has no end."""

SLACK = 1.0
"""Seconds by which the times of the same word may differ between two windows."""

_TIME = re.compile(
    r"^\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
)
_TAG = re.compile(r"<[^<>]*>")
_SRT_TAG = re.compile(r"</?(?:b|i|u|s|font)\b[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True)
class Segment:
    """What is said in one stretch of a recording.

    Args:
        start: Seconds from the recording's beginning.
        end: Seconds; after ``start``.
        text: The words.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class _Cue:
    """A segment as it is shown: milliseconds, and at most ``LINES`` lines."""

    start: int
    end: int
    lines: tuple[str, ...]


def to_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues with a comma before the milliseconds; long segments become several cues.

    Args:
        segments: In any order; blank ones are left out, times that overlap or go backwards are set right.
    """
    blocks = []
    for number, cue in enumerate(_cues(segments), start=1):
        # SubRip has no way to write an arrow as text.
        lines = [line.replace("-->", "→") for line in cue.lines]
        times = f"{_clock(cue.start, ',', True)} --> {_clock(cue.end, ',', True)}"
        blocks.append("\n".join([str(number), times, *lines]) + "\n")
    return "\n".join(blocks)


def to_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT, as browsers play it: hours stand only where there are any, ``&``, ``<`` and ``>`` are escaped.

    Args:
        segments: As for `to_srt`.
    """
    blocks = ["WEBVTT\n"]
    for cue in _cues(segments):
        times = f"{_clock(cue.start, '.', False)} --> {_clock(cue.end, '.', False)}"
        blocks.append("\n".join([times, *(html.escape(line, quote=False) for line in cue.lines)]) + "\n")
    return "\n".join(blocks)


def to_json(segments: Sequence[Segment], **more: Any) -> str:
    """The whole text and its segments as JSON, segments uncut and in order of time.

    Args:
        segments: As for `to_srt`.
        more: JSON-able values that stand beside them (``language``, ``audio``).
    """
    whole = [Segment(start / 1000, end / 1000, text) for start, end, text in _in_order(segments)]
    told = {**more, "text": joined([one.text for one in whole]), "segments": [asdict(one) for one in whole]}
    return json.dumps(told, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def joined(texts: Sequence[str]) -> str:
    """Texts that follow one another as one, with spaces between them where their script has any."""
    return ("" if unit_of(None, "".join(texts)) == "character" else " ").join(texts)


def _clock(milliseconds: int, mark: str, hours: bool) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    whole, minutes = divmod(minutes, 60)
    hour = f"{whole:02d}:" if hours or whole else ""
    return f"{hour}{minutes:02d}:{seconds:02d}{mark}{rest:03d}"


def _in_order(segments: Sequence[Segment]) -> list[tuple[int, int, str]]:
    """Segments with text in milliseconds: starts rise, nothing overlaps, nothing is shorter than one millisecond."""
    kept = []
    for one in segments:
        text = " ".join("".join(c if c.isprintable() else " " for c in one.text).split())
        if text:
            kept.append((one.start if math.isfinite(one.start) else math.inf, one.end, text))
    # A segment without a time keeps its place behind those that have one.
    kept.sort(key=lambda entry: entry[0])
    ordered: list[tuple[int, int, str]] = []
    last = 0
    for place, (start, end, text) in enumerate(kept):
        first = max(last, round(1000 * start)) if math.isfinite(start) else last
        until = round(1000 * end) if math.isfinite(end) and end > start else first + 1000 * len(text) // READ
        following = kept[place + 1][0] if place + 1 < len(kept) else math.inf
        if math.isfinite(following) and round(1000 * following) > first:
            until = min(until, round(1000 * following))
        last = max(first + 1, until)
        ordered.append((first, last, text))
    return ordered


def _cues(segments: Sequence[Segment]) -> Iterator[_Cue]:
    """Segments cut into cues of at most ``LINES`` lines; each gets its characters' share of the time."""
    earliest = 0
    for first, last, text in _in_order(segments):
        lines = _wrapped(text)
        shown = [tuple(lines[n : n + LINES]) for n in range(0, len(lines), LINES)]
        lengths = [sum(map(len, part)) for part in shown]
        start = max(first, earliest)
        # Too short a time for as many cues: the last ones run over, and what follows begins later.
        until = max(last, start + len(shown))
        said = 0
        begin = start
        for number, (part, length) in enumerate(zip(shown, lengths, strict=True), start=1):
            said += length
            end = start + round((until - start) * said / sum(lengths))
            end = min(max(end, begin + 1), until - (len(shown) - number))
            yield _Cue(begin, end, part)
            begin = end
        earliest = begin


def _wrapped(text: str) -> list[str]:
    """Lines of at most ``COLUMNS`` columns, broken at spaces, and inside a word only where it is longer."""
    lines = [""]
    for word in text.split():
        for number, piece in enumerate(_pieces(word)):
            longer = f"{lines[-1]} {piece}" if lines[-1] and number == 0 else lines[-1] + piece
            if _columns(longer) <= COLUMNS:
                lines[-1] = longer
            elif lines[-1]:
                lines.append(piece)
            else:
                lines[-1] = piece
    return lines


def _pieces(word: str) -> list[str]:
    """The word whole, or in single characters with their marks where it fits no line or has no letters to keep."""
    if _columns(word) <= COLUMNS and not any(unicodedata.east_asian_width(c) in "WF" for c in word):
        return [word]
    pieces: list[str] = []
    for character in word:
        joins = unicodedata.category(character)[0] == "M" or character == "\u200d"
        # No line begins with a closing mark.
        if pieces and (joins or pieces[-1][-1] == "\u200d" or character in "、。，．！？）」』】》…"):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def read_srt(text: str) -> list[Segment]:
    """The cues of an SRT text; numbers may lack, and lines without a time before them are passed over."""
    return list(_read(text, markup=False))


def read_vtt(text: str) -> list[Segment]:
    """The cues of a WebVTT text without their names, settings and markup; notes and styles are passed over."""
    return list(_read(text, markup=True))


def _read(text: str, *, markup: bool) -> Iterator[Segment]:
    plain = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for block in re.split(r"\n[ \t]*\n", plain):
        lines = block.split("\n")
        place = next((n for n, line in enumerate(lines) if _TIME.match(line)), None)
        if place is None or (markup and lines[0].startswith(("NOTE", "STYLE", "REGION"))):
            continue
        found = _TIME.match(lines[place])
        assert found is not None
        said = " ".join(lines[place + 1 :])
        said = html.unescape(_TAG.sub("", said)) if markup else _SRT_TAG.sub("", said)
        times = found.groups()
        yield Segment(_seconds(times[:4]), _seconds(times[4:]), " ".join(said.split()))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, rest = parts
    whole = 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0)
    return (1000 * whole + int((rest or "0").ljust(3, "0"))) / 1000


@dataclass(frozen=True)
class _Word:
    """A word of a window: its time in the recording, its form for comparing, and where its segment's text holds it."""

    start: float
    end: float
    form: str
    segment: Segment
    first: int
    last: int

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def stitch(windows: Sequence[tuple[float, Sequence[Segment]]], overlap: float) -> list[Segment]:
    """One transcript of a long recording that was transcribed in windows which overlap.

    What two windows both say is said once: they are joined at the longest run of words they have in common, up to
    which the earlier and after which the later one is believed, as a model hears the edges of its window badly. Where
    they have nothing in common each is believed up to the middle of the overlap.

    Args:
        windows: Where each begins in the recording, seconds, and its segments with times from the window's beginning.
        overlap: Seconds that two neighbours have in common; with 0 nothing is taken out.

    Returns:
        Segments in seconds of the recording, each beginning after the one before it has ended or as it ends.
    """
    told: list[_Word] = []
    for offset, segments in sorted(windows, key=lambda window: window[0]):
        new = _words(offset, segments)
        told = _join(told, new, offset, overlap) if told and overlap > 0 else told + new
    whole: list[Segment] = []
    last = 0.0
    for _, group in groupby(told, key=lambda word: id(word.segment)):
        words = list(group)
        start = max(last, round(words[0].start, 3))
        last = max(round(words[-1].end, 3), round(start + 0.001, 3))
        whole.append(Segment(start, last, words[0].segment.text[words[0].first : words[-1].last]))
    return whole


def _words(offset: float, segments: Sequence[Segment]) -> list[_Word]:
    """The words of a window; inside a segment each takes its characters' share of the time."""
    pattern = r"\S" if unit_of(None, "".join(one.text for one in segments)) == "character" else r"\S+"
    words = []
    for one in segments:
        # A copy, since a segment is told from its neighbour by its identity.
        own = Segment(one.start, one.end, one.text)
        start = one.start if math.isfinite(one.start) else 0.0
        length = one.end - start if math.isfinite(one.end) and one.end > start else len(one.text) / READ
        for found in re.finditer(pattern, one.text):
            begin, end = (offset + start + length * place / len(one.text) for place in found.span())
            words.append(_Word(begin, end, normalize(found[0]) or found[0], own, *found.span()))
    return words


def _join(told: list[_Word], new: list[_Word], offset: float, overlap: float) -> list[_Word]:
    """The earlier words and the later ones without what both say."""
    first = next((n for n, word in enumerate(told) if word.end > offset - SLACK), len(told))
    tail = told[first:]
    head = [word for word in new if word.start < offset + overlap + SLACK]
    size, ours, theirs = _common_run(tail, head)
    if size:
        return told[: first + ours + size] + new[theirs + size :]
    middle = offset + overlap / 2
    return [word for word in told if word.middle < middle] + [word for word in new if word.middle >= middle]


def _common_run(tail: Sequence[_Word], head: Sequence[_Word]) -> tuple[int, int, int]:
    """The longest run of the same words, and where it begins in each; of equal ones, the nearest in time.

    A single word is a run only where both windows say it at about the same time.
    """
    best, distance = (0, 0, 0), math.inf
    before = [0] * (len(head) + 1)
    for ours, word in enumerate(tail):
        runs = [0] * (len(head) + 1)
        for theirs, other in enumerate(head):
            if word.form != other.form:
                continue
            size = runs[theirs + 1] = before[theirs] + 1
            apart = abs(word.middle - other.middle)
            longer = (size, -apart) > (best[0], -distance)
            if longer and (size > 1 or apart <= SLACK):
                best, distance = (size, ours - size + 1, theirs - size + 1), apart
        before = runs
    return best
