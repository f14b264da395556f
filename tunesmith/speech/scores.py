"""Error rates of transcripts: words and characters, as written and normalised, counted by row and rated by corpus.

It knows texts and counts; no model, no sound. Alignments are those of ``alignments``, of least cost. A rate is always
 the sum of errors over the sum of words, never a mean of rows, so that long rows weigh what they should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith.speech.alignments import Kind, alignment, chunks, confusions
from tunesmith.speech.normalize import normalize, unit_of
from tunesmith.types import Row

Floats: TypeAlias = NDArray[np.float64]

__all__ = [
    "DURATIONS",
    "NOISES",
    "RATES",
    "Counts",
    "Errors",
    "alignment",
    "by_group",
    "confusions",
    "duration_band",
    "errors_of",
    "errors_of_rows",
    "noise_band",
    "rate_of",
    "score",
    "tally",
]

KEPT_PAIRS = 1 << 15
"""Pairs of truth and text whose errors are remembered."""

INSERTED = 0.5
"""Insertions by reference words from which on a row counts as hallucinated."""

LONGEST_LOOP, FEWEST_TURNS = 12, 4
"""Words of the longest n-gram that is looked for, and how often in a row it is said where the model is in a loop."""

RATES = {
    "wer": ((0,), 1),
    "wer_normalized": ((2, 3, 4), 5),
    "cer": ((6,), 7),
    "cer_normalized": ((8,), 9),
    "substitutions": ((2,), 5),
    "insertions": ((3,), 5),
    "deletions": ((4,), 5),
    "hallucinated": ((10,), 13),
    "stopped": ((11,), 13),
    "exact": ((12,), 13),
}
"""Each rate as columns of a tally: those that are summed, and the one that they are divided by."""


@dataclass(frozen=True)
class Counts:
    """What it takes to make the truth of what was said: hits and errors, of words or of characters."""

    hits: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def reference(self) -> int:
        """How many the truth has."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """How many are wrong: substituted, inserted or deleted."""
        return self.substitutions + self.insertions + self.deletions


@dataclass(frozen=True)
class Errors:
    """What one transcript gets wrong.

    Args:
        words: As written, parted by white space.
        words_normalized: The same of the normal forms.
        characters: As written, spaces among them.
        characters_normalized: Of the normal forms; without spaces where the script has none between words.
        hallucinated: The text is invented: said where nothing is, half as long again as the truth, or a loop.
        ended: The model ended the text by itself and was not cut off.
    """

    words: Counts
    words_normalized: Counts
    characters: Counts
    characters_normalized: Counts
    hallucinated: bool = False
    ended: bool = True

    @property
    def exact(self) -> bool:
        """Whether the normal forms are the same."""
        return not self.characters_normalized.errors

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON-able values."""
        return asdict(self) | {"exact": self.exact}


def errors_of(truth: str, said: str, language: str | None = None, *, ended: bool = True) -> Errors:
    """What a transcript gets wrong.

    Args:
        truth: What was spoken; empty where nothing was.
        said: What the model wrote.
        language: A code or an English name; it decides how both are normalised.
        ended: Whether the model ended the text by itself.

    Raises:
        UserError: jiwer is not installed.
    """
    found = _errors_of(truth, said, language)
    return found if ended else replace(found, ended=False)


def errors_of_rows(
    rows: Sequence[Row], predictions: Sequence[Mapping[str, Any]], language: str | None = None
) -> list[Errors]:
    """What each row's transcript gets wrong.

    Args:
        rows: With the truth under ``text``; a row's own ``language`` goes before the one for all.
        predictions: ``{"text": str, "ended": bool}`` of each row.
        language: Of rows that name none.
    """
    return [
        errors_of(
            str(row.get("text") or ""),
            str(one["text"]),
            row.get("language") or language,
            ended=bool(one.get("ended", True)),
        )
        for row, one in zip(rows, predictions, strict=True)
    ]


@lru_cache(maxsize=KEPT_PAIRS)
def _errors_of(truth: str, said: str, language: str | None) -> Errors:
    by_character = unit_of(language, truth or said) == "character"
    true, heard = normalize(truth, language), normalize(said, language)
    words = _counts(true.split(), heard.split())
    if by_character:
        true, heard = ("".join(text.split()) for text in (true, heard))
    characters = _counts(list(true), list(heard))
    spoken, units = (list(true), list(heard)) if by_character else (true.split(), heard.split())
    judged = characters if by_character else words
    invented = bool(units) and (
        judged.insertions >= max(INSERTED * judged.reference, 1) or _loops(units) > max(_loops(spoken), 1)
    )
    return Errors(
        words=_counts(truth.split(), said.split()),
        words_normalized=words,
        characters=_counts(list(" ".join(truth.split())), list(" ".join(said.split()))),
        characters_normalized=characters,
        hallucinated=invented,
    )


def _counts(truth: Sequence[str], said: Sequence[str]) -> Counts:
    tally = Counter[Kind]()
    for kind, first, last, start, end in chunks(truth, said):
        tally[kind] += end - start if kind == "insert" else last - first
    return Counts(tally["equal"], tally["substitute"], tally["insert"], tally["delete"])


def _loops(words: Sequence[str]) -> int:
    """Words of the longest loop, an n-gram said ``FEWEST_TURNS`` times or more on end; 0 where there is none."""
    longest = 0
    for size in range(1, min(LONGEST_LOOP, len(words) // FEWEST_TURNS) + 1):
        same = (word == words[place + size] for place, word in enumerate(words[:-size]))
        run = max((sum(1 for _ in group) for equal, group in groupby(same) if equal), default=0)
        if run >= size * (FEWEST_TURNS - 1):
            longest = max(longest, run + size)
    return longest


def tally(errors: Sequence[Errors]) -> Floats:
    """Counts whose sums determine every rate, float64 [rows, 14]; see `rate_of`."""
    table = [
        [
            one.words.errors,
            one.words.reference,
            one.words_normalized.substitutions,
            one.words_normalized.insertions,
            one.words_normalized.deletions,
            one.words_normalized.reference,
            one.characters.errors,
            one.characters.reference,
            one.characters_normalized.errors,
            one.characters_normalized.reference,
            one.hallucinated,
            one.ended,
            one.exact,
            1,
        ]
        for one in errors
    ]
    return np.array(table, dtype=np.float64).reshape(len(table), 14)


def rate_of(totals: Floats, name: str) -> Floats:
    """One rate of summed tallies.

    Args:
        totals: [..., 14], sums over rows.
        name: A key of ``RATES``.

    Returns:
        The rates, [...]; NaN where there is nothing to divide by, as in silence alone.
    """
    over, under = RATES[name]
    below = totals[..., under]
    rate = np.full(below.shape, np.nan)
    np.divide(totals[..., list(over)].sum(axis=-1), below, out=rate, where=below > 0)
    return rate


def score(errors: Sequence[Errors]) -> dict[str, float]:
    """Every rate of ``RATES`` over all rows; the kinds of error are shares of the normalised truth's words."""
    totals = tally(errors).sum(axis=0)
    return {name: float(rate_of(totals, name)) for name in RATES}


def by_group(
    tuned: Sequence[Errors],
    names: Sequence[str | None],
    base: Sequence[Errors] | None = None,
    *,
    rate: str = "wer_normalized",
    order: Sequence[str] = (),
) -> list[list[Any]]:
    """Rates by group: speakers, durations, noise.

    Args:
        tuned: The tuned model's errors, a row each.
        names: Each row's group; None where it is not known.
        base: The base model's errors of the same rows.
        rate: A key of ``RATES``.
        order: Names that come first, as they stand; the others follow, those with the most words first.

    Returns:
        A list for each group: its name, rows, words of the truth, rate of the base, rate of the tuned model. A rate is
        None where there is no base or nothing to divide by.
    """
    shown = ["not known" if name is None else str(name) for name in names]
    after = _by_name(tuned, shown)
    before = _by_name(base, shown) if base is not None else {}
    words = {name: int(totals[5]) for name, totals in after.items()}
    known = [name for name in dict.fromkeys(order) if name in after]
    others = sorted(after.keys() - set(known), key=lambda name: (name == "not known", -words[name], name))

    def rated(totals: Floats | None) -> float | None:
        value = float("nan") if totals is None else float(rate_of(totals, rate))
        return None if np.isnan(value) else value

    return [
        [name, int(after[name][13]), words[name], rated(before.get(name)), rated(after[name])]
        for name in [*known, *others]
    ]


def _by_name(errors: Sequence[Errors], names: Sequence[str]) -> dict[str, Floats]:
    sums: dict[str, Floats] = {}
    for name, counts in zip(names, tally(errors), strict=True):
        sums[name] = sums.get(name, 0.0) + counts
    return sums


DURATIONS = ("under 1 s", "1 to 3 s", "3 to 10 s", "10 to 30 s", "30 s and more")
NOISES = ("under 0 dB", "0 to 10 dB", "10 to 20 dB", "20 to 30 dB", "30 dB and more")


def duration_band(seconds: float | None) -> str | None:
    """Which of ``DURATIONS`` a row belongs to; None where its length is not known."""
    return _band(seconds, (1, 3, 10, 30), DURATIONS)


def noise_band(decibels: float | None) -> str | None:
    """Which of ``NOISES`` a row belongs to, by how far speech stands above noise; None where that is not known."""
    return _band(decibels, (0, 10, 20, 30), NOISES)


def _band(value: float | None, edges: Sequence[float], names: Sequence[str]) -> str | None:
    if not isinstance(value, int | float) or np.isnan(value):
        return None
    return names[int(np.searchsorted(edges, value, side="right"))]
