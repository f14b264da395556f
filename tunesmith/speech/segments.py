"""Long recordings in parts that a model hears at once: where to cut, and the rows that come of it.

Cuts lie where it is quietest. It knows no model but how long a part may be, and reads no files. A waveform is float32
mono, [samples]; all times are seconds.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.speech.measures import SILENCE_BELOW_LOUD_DB, SILENCE_DB, Wave, frame_levels_db
from tunesmith.speech.normalize import unit_of
from tunesmith.types import Row

RATE = 16_000
LONGEST, SHORTEST = 30.0, 10.0
FRAME_SECONDS = 0.01
QUIET_SECONDS = 0.3
"""A cut is judged by the level of this long around it, so that the middle of a pause wins over a stop consonant."""
ALIKE_DB = 3.0
"""Places within this of the quietest are as good; the last of them makes the fewest parts."""
PAD_SECONDS = 1.0
"""Silence that is left around the words of a part where nobody speaks for longer."""
START_SLACK, END_SLACK = 0.05, 0.3
"""How far aligners' times may reach out of the recording."""

Span = tuple[float, float]


@dataclass(frozen=True)
class _Word:
    text: str
    start: float
    end: float


class Levels:
    """How loud it is around each moment: dB, smoothed over `QUIET_SECONDS`, a value every 10 ms.

    Args:
        pieces: A recording, float32 [samples] each; all but the last of whole `FRAME_SECONDS`. They are read once, so
            that a recording of hours need not be held.
        rate: Samples a second.
    """

    def __init__(self, pieces: Iterable[Wave], rate: int) -> None:
        samples, found = 0, [np.zeros(0, dtype=np.float32)]
        for piece in pieces:
            samples += len(piece)
            found.append(frame_levels_db(piece, rate, FRAME_SECONDS))
        raw = np.concatenate(found)
        self.seconds = samples / rate
        self.step = max(1, round(FRAME_SECONDS * rate)) / rate
        width = max(1, round(QUIET_SECONDS / self.step)) | 1
        padded = np.pad(10 ** (raw.astype(np.float64) / 10), width // 2, mode="edge")
        sums = np.concatenate(([0.0], np.cumsum(padded)))
        self.smooth: NDArray[np.float64] = 10 * np.log10(np.maximum((sums[width:] - sums[:-width]) / width, 1e-12))
        loud = float(np.percentile(self.smooth, 95)) if len(self.smooth) else SILENCE_DB
        self.silent_below = max(SILENCE_DB, loud - SILENCE_BELOW_LOUD_DB / 2)

    def quietest(self, low: float, high: float) -> tuple[float, float]:
        """Where to cut between two moments, and the level there: the middle of the last stretch that is as quiet."""
        first = min(max(0, math.ceil(low / self.step)), len(self.smooth) - 1)
        last = max(first + 1, min(len(self.smooth), math.floor(high / self.step) + 1))
        levels = self.smooth[first:last]
        least = float(levels.min())
        quiet = np.flatnonzero(levels <= max(least + ALIKE_DB, SILENCE_DB))
        broken = np.flatnonzero(np.diff(quiet) > 1)
        stretch = quiet[int(broken[-1]) + 1 :] if len(broken) else quiet
        at = first + int(stretch[len(stretch) // 2])
        return min(high, max(low, at * self.step)), float(self.smooth[at])


def cut_points(wave: Wave, rate: int, longest: float = LONGEST, shortest: float | None = None) -> list[Span]:
    """Parts of a recording, cut where it is quietest; together they are all of it, and none is longer than ``longest``.

    Args:
        wave: float32 [samples].
        rate: Samples a second.
        longest: Of a part.
        shortest: Of a part, at most half of ``longest`` (default 10, or a third of ``longest`` where that is less).
            Only a whole recording may be shorter.

    Returns:
        Start and end of each part, in order; nothing of an empty recording.
    """
    return [(start, end) for start, end, _ in _cuts(wave, rate, longest, shortest)]


def _cuts(wave: Wave, rate: int, longest: float, shortest: float | None) -> list[tuple[float, float, bool]]:
    """Parts, each with whether its end lies in silence."""
    least = min(SHORTEST, longest / 3) if shortest is None else min(shortest, longest / 2)
    total = len(wave) / rate
    if not total:
        return []
    if total <= longest:
        return [(0.0, total, True)]
    levels = Levels([wave], rate)
    found, start = [], 0.0
    while total - start > longest:
        cut, level = levels.quietest(start + least, min(start + longest, total - least))
        found.append((start, cut, level <= levels.silent_below))
        start = cut
    return [*found, (start, total, True)]


def windows(seconds: float, length: float = LONGEST, overlap: float = 5.0) -> list[Span]:
    """Windows of equal length over a recording; each begins ``overlap`` before the one before it ends.

    Args:
        seconds: How long the recording is.
        length: Of a window; the last one ends with the recording.
        overlap: Less than ``length``.

    Raises:
        ValueError: The overlap is not less than the length.
    """
    if not 0 <= overlap < length:
        raise ValueError(f"an overlap of {overlap:g} does not fit windows of {length:g} seconds")
    found: list[Span] = []
    while seconds > 0 and (not found or found[-1][1] < seconds):
        start = len(found) * (length - overlap)
        found.append((start, min(start + length, seconds)))
    return found


def speech_windows(wave: Wave, rate: int, length: float = LONGEST, overlap: float = 5.0) -> list[Span]:
    """Windows over a recording for transcribing it: cut in silences; where there is none, they overlap.

    Windows that are silent from end to end (`SILENCE_DB`) are left out: models make words up for them.

    Args:
        wave: float32 [samples].
        rate: Samples a second.
        length: The longest window.
        overlap: What two windows share where somebody speaks at the cut.

    Returns:
        Start and end of each window, in order; whoever joins transcripts has overlaps to merge where one begins before
        the other ends.
    """
    total = len(wave) / rate
    parts = [(0.0, total, True)] if total <= length else _cuts(wave, rate, length - overlap, None)
    found: list[Span] = []
    before = True
    for start, end, silent in parts:
        begin = start if before else max(0.0, start - overlap / 2)
        finish = end if silent else min(total, end + overlap / 2)
        before = silent
        levels = frame_levels_db(wave[int(begin * rate) : math.ceil(finish * rate)], rate)
        if len(levels) and float(levels.max()) > SILENCE_DB:
            found.append((begin, finish))
    return found


def cut_rows(
    row: Row, heard: Wave | Levels, *, rate: int = RATE, longest: float = LONGEST, shortest: float | None = None
) -> list[dict[str, Any]] | str:
    """A row of a long recording as several rows, cut between words; a row that is short enough stays as it is.

    New rows have ids ``ID#1``, ``ID#2``, their ``start``, ``end`` and ``seconds``, their ``words`` and ``text``, and
    all other columns of the row. Times count from the beginning of the file. Where nobody speaks for long, the silence
    is in no row.

    Args:
        row: With ``id``, ``text``, ``words`` (each with ``word``, ``start``, ``end``), and ``start`` where the row's
            part does not begin with the file.
        heard: The row's part, float32 [samples], or its levels.
        rate: Samples a second of the former.
        longest: Seconds of a row.
        shortest: Seconds of a row, where words allow it (default as `cut_points`).

    Returns:
        The rows, or why there are none, a sentence that names the row.
    """
    levels = heard if isinstance(heard, Levels) else Levels([heard], rate)
    seconds = levels.seconds
    if seconds <= longest:
        return [dict(row)]
    offset = float(row.get("start") or 0.0)
    named = f"row {row['id']}"
    if not row.get("words"):
        return (
            f"{named} lasts {seconds:,.1f} seconds, more than {longest:g}, and has no times of its words to be cut by "
            "(words: word, start and end of each)"
        )
    words = _words_of(row["words"], offset, seconds)
    if isinstance(words, str):
        return f"{named}: {words}"
    least = min(SHORTEST, longest / 3) if shortest is None else min(shortest, longest / 2)
    parts = _parts(words, levels, (offset, offset + seconds), longest, least)
    if isinstance(parts, str):
        return f"{named}: {parts}"
    texts = _texts(row, words, [(first, last) for first, last, _, _ in parts])
    return [
        {
            **row,
            "id": f"{row['id']}#{number}",
            "start": round(start, 3),
            "end": round(end, 3),
            "seconds": round(end - start, 3),
            "text": text,
            "words": list(row["words"][first : last + 1]),
        }
        for number, ((first, last, start, end), text) in enumerate(zip(parts, texts, strict=True), 1)
    ]


def _words_of(given: Any, offset: float, seconds: float) -> list[_Word] | str:
    """Words with times that hold, or the first that does not."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return "words is no list"
    words: list[_Word] = []
    for number, item in enumerate(given, 1):
        if not isinstance(item, Mapping) or "word" not in item:
            return f"word {number} is no mapping of word, start and end"
        text = str(item["word"]).strip()
        try:
            word = _Word(text, float(item["start"]), float(item["end"]))
        except (KeyError, TypeError, ValueError):
            return f"word {number} {text!r} has no start and end in seconds"
        fault = _fault(word, words[-1].start if words else -math.inf, (offset, offset + seconds))
        if fault:
            return f"word {number} {text!r} {fault}"
        words.append(word)
    return words


def _fault(word: _Word, before: float, bounds: Span) -> str:
    """What is wrong with a word's times, to follow its name in a sentence; nothing where they hold."""
    if not (math.isfinite(word.start) and math.isfinite(word.end)):
        return "has times that are no finite numbers"
    if word.end < word.start:
        return f"ends before it starts ({word.start:g} to {word.end:g})"
    if word.start < before:
        return f"starts at {word.start:g}, before the word before it ({before:g})"
    if word.start < bounds[0] - START_SLACK or word.end > bounds[1] + END_SLACK:
        return f"({word.start:g} to {word.end:g}) lies outside of the recording ({bounds[0]:g} to {bounds[1]:g})"
    return ""


def _parts(
    words: Sequence[_Word], levels: Levels, bounds: Span, longest: float, shortest: float
) -> list[tuple[int, int, float, float]] | str:
    """First and last word of each part with its start and end, cut after the words where it is quietest."""
    offset, finish = bounds
    cuts = []
    for one, other in pairwise(words):
        low, high = min(one.end, other.start), max(one.end, other.start)
        if one.end > other.start:  # words that overlap have no gap between them
            low = high = (low + high) / 2
        at, level = levels.quietest(low - offset, high - offset)
        cuts.append((at + offset, level))
    found: list[tuple[int, int, float, float]] = []
    first, start = 0, max(offset, words[0].start - PAD_SECONDS)
    while True:
        end = min(finish, words[-1].end + PAD_SECONDS)
        if end - start <= longest:
            return [*found, (first, len(words) - 1, start, end)]
        ends = []
        for number in range(first, len(words) - 1):
            if words[number].end - start > longest:
                break
            ends.append((number, min(finish, cuts[number][0], words[number].end + PAD_SECONDS, start + longest)))
        if not ends:
            return f"word {first + 1} {words[first].text!r} cannot be cut off within {longest:g} seconds"
        long = [pair for pair in ends if pair[1] - start >= shortest] or ends[-1:]
        allowed = [pair for pair in long if end - pair[1] >= shortest] or long[:1]
        least = min(cuts[number][1] for number, _ in allowed)
        last, stop = [pair for pair in allowed if cuts[pair[0]][1] <= max(least + ALIKE_DB, SILENCE_DB)][-1]
        found.append((first, last, start, stop))
        first, start = last + 1, max(cuts[last][0], words[last + 1].start - PAD_SECONDS)


def _texts(row: Row, words: Sequence[_Word], spans: Sequence[tuple[int, int]]) -> list[str]:
    """The text of each part: as the row's text has it, where it has the same words; otherwise the words, joined."""
    text = str(row.get("text") or "")
    places = _places(text, words)
    if places is not None:
        ends = [*places[1:], len(text)]
        return [text[0 if not first else places[first] : ends[last]].strip() for first, last in spans]
    plain = " ".join(word.text for word in words)
    language = row.get("language")
    between = "" if unit_of(str(language) if language else None, text or plain) == "character" else " "
    return [between.join(word.text for word in words[first : last + 1] if word.text) for first, last in spans]


def _places(text: str, words: Sequence[_Word]) -> list[int] | None:
    """Where each word begins in a text, with what opens it (a quote, a bracket); None unless all are there in order."""
    plain = text.lower()
    if len(plain) != len(text):
        plain = text
    places, at = [], 0
    for word in words:
        core = _bare(word.text.lower())
        found = plain.find(core, at)
        if found < 0 or any(c.isalnum() for c in text[at:found]):
            return None
        begin = found
        while begin > at and not text[begin - 1].isspace() and _opens(text[begin - 1]):
            begin -= 1
        places.append(begin)
        at = found + len(core)
    return None if any(c.isalnum() for c in text[at:]) else places


def _bare(word: str) -> str:
    """A word without the punctuation and space around it."""
    inside = [at for at, character in enumerate(word) if unicodedata.category(character)[0] not in "PSZC"]
    return word[inside[0] : inside[-1] + 1] if inside else ""


def _opens(character: str) -> bool:
    return character in "\"'¡¿-" or unicodedata.category(character) in ("Ps", "Pi")
