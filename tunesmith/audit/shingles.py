"""Texts as numbers that are alike where the texts are: hashes of the whole, of words left out, of runs of characters.

Everything is computed for thousands of texts at once, on one array of their characters, and is the same in every
process. It knows no rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

RUN = 5
"""Characters of a shingle (after Broder 1997): words and their neighbours, little touched by an edit elsewhere."""
BANDS, BAND_ROWS = 20, 4
"""Of 80 minima, 20 groups of 4: two texts with 70 % of their shingles in common share a group in 99.6 % of cases."""
LEAST_CHARACTERS = 24
"""Shorter texts are alike by chance."""
DENSE_RUNS, THINNED = 2048, 8
"""Of texts with more shingles every eighth is looked at, chosen by its hash and so alike in like texts."""
LEAST_WORDS, MOST_WORDS = 7, 64
"""How many words a text has that is compared with one of them left out; in longer ones a word changes few shingles."""

_WORDS = re.compile(r"[^\W_]+")
_FACTOR, _WORD_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SPACE, _END = 32, 10
_rng = np.random.default_rng(20_250_101)
_MULTIPLIERS = (_rng.integers(1, 2**63, BANDS * BAND_ROWS, dtype=np.uint64) << np.uint64(1)) | np.uint64(1)
_BAND_MIX = _rng.integers(1, 2**63, BAND_ROWS, dtype=np.uint64) | np.uint64(1)
_POWERS = np.cumprod(np.full(256, _WORD_FACTOR, dtype=np.uint64), dtype=np.uint64)
NO_BAND = np.uint32(0)


def plain_words(text: str) -> str:
    """A text as it is compared: words in lower case with one space between; signs and blanks do not count."""
    return " ".join(_WORDS.findall(text.lower().replace("'", "").replace("\u2019", "")))


def mixed(values: Hashes) -> Hashes:
    """Numbers well spread over 64 bits (the finaliser of SplitMix64)."""
    found = values ^ (values >> np.uint64(30))
    found = found * np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(27)
    found *= np.uint64(0x94D049BB133111EB)
    found ^= found >> np.uint64(31)
    return found


class Block:
    """Some texts, which went through `plain_words`, as one array of characters.

    Args:
        texts: A few thousand.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
        joined = "\n".join([*texts, ""])
        self.characters = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        self.starts = np.concatenate(([0], np.cumsum(self.lengths + 1)[:-1])).astype(np.int64)

    def runs(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of all shingles, text after text, and how many each text has."""
        counts = np.maximum(self.lengths - RUN + 1, 0)
        size = len(self.characters) - RUN + 1
        if size <= 0 or not counts.any():
            return np.zeros(0, np.uint64), counts
        sums = np.zeros(size, dtype=np.uint64)
        for at in range(RUN):
            sums = sums * _FACTOR + self.characters[at : at + size]
        inside = np.repeat(self.starts, counts) + _counted(counts)
        return mixed(sums[inside]), counts

    def words(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of all words, text after text, and how many each text has."""
        characters = self.characters
        divides = (characters == _SPACE) | (characters == _END)
        letters = np.flatnonzero(~divides)
        if not len(letters):
            return np.zeros(0, np.uint64), np.zeros(len(self.lengths), np.int64)
        first = np.diff(letters, prepend=-2) > 1
        begins = letters[first]
        within = letters - begins[np.cumsum(first) - 1]
        values = (characters[letters] + np.uint64(1)) * _POWERS[np.minimum(within, len(_POWERS) - 1)]
        found = mixed(np.add.reduceat(values, np.flatnonzero(first)))
        ends = np.concatenate((self.starts[1:], [len(characters)]))
        counts = np.searchsorted(begins, ends) - np.searchsorted(begins, self.starts)
        return found, counts.astype(np.int64)


def _counted(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... within each of the groups of these sizes."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def whole_hashes(words: Hashes, counts: NDArray[np.int64]) -> Hashes:
    """A hash of each text's words in their order; 0 where there are none, uint64 [texts]."""
    placed = words * _power_at(counts)
    found = np.zeros(len(counts), dtype=np.uint64)
    has = np.flatnonzero(counts)
    if len(has):
        found[has] = mixed(np.add.reduceat(placed, (np.cumsum(counts) - counts)[has]) + np.uint64(1))
    return found


def _power_at(counts: NDArray[np.int64]) -> Hashes:
    at = _counted(counts)
    table = np.cumprod(np.full(int(counts.max(initial=0)) + 1, _FACTOR, dtype=np.uint64), dtype=np.uint64)
    return np.asarray(table[at], dtype=np.uint64)


def bands(runs: Hashes, counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """MinHash in bands (Broder 1997; Leskovec et al. 2014, chapter 3): texts with an equal band are likely alike.

    Returns:
        uint32 [texts, `BANDS`], 0 where a text has too few shingles.
    """
    texts = np.repeat(np.arange(len(counts)), counts)
    dense = counts <= DENSE_RUNS
    if not dense.all():
        kept = dense[texts] | (runs % np.uint64(THINNED) == 0)
        runs, texts = runs[kept], texts[kept]
        counts = np.bincount(texts, minlength=len(counts))
    found = np.zeros((len(counts), BANDS), dtype=np.uint32)
    has = np.flatnonzero(counts >= LEAST_CHARACTERS - RUN + 1)
    if not len(has):
        return found
    chosen = np.isin(texts, has) if len(has) < len(counts) else slice(None)
    runs = runs[chosen]
    starts = np.cumsum(counts[has]) - counts[has]
    held = np.empty(len(runs), dtype=np.uint64)
    for band in range(BANDS):
        key = np.full(len(has), band + 1, dtype=np.uint64)
        for row in range(BAND_ROWS):
            np.multiply(runs, _MULTIPLIERS[band * BAND_ROWS + row], out=held)
            key = (key ^ np.minimum.reduceat(held, starts)) * _BAND_MIX[row]
        found[has, band] = np.maximum(mixed(key) >> np.uint64(32), 1).astype(np.uint32)
    return found


def left_out(words: Hashes, counts: NDArray[np.int64]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of texts with one word left out or unknown, so that texts which differ in one word share one.

    A text of n words has 2 n + 1 of them: whole (as one that lacks a word of a longer text), with each word gone, and
    with each word another. Only texts of `LEAST_WORDS` to `MOST_WORDS` words have any.

    Returns:
        uint64 [hashes] and the number of the text of each, int64 [hashes].
    """
    chosen = np.flatnonzero((counts >= LEAST_WORDS - 1) & (counts <= MOST_WORDS))
    if not len(chosen):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    starts = np.cumsum(counts) - counts
    own = counts[chosen]
    at = _counted(own)
    values = words[np.repeat(starts[chosen], own) + at]
    powers = np.concatenate(([np.uint64(1)], _POWERS))
    here, before = values * powers[at + 1], values * powers[at]
    first = np.cumsum(own) - own
    totals, lower = np.add.reduceat(here, first), np.add.reduceat(before, first)
    # Sums before each word, and, moved down by a place, behind it.
    ahead = np.cumsum(here, dtype=np.uint64) - here
    ahead -= np.repeat(ahead[first], own)
    behind = np.cumsum(before, dtype=np.uint64)
    behind -= np.repeat(behind[first] - before[first], own)
    gone = ahead + np.repeat(lower, own) - behind
    length = np.repeat(own, own)
    another = np.repeat(totals, own) - here
    numbers = np.repeat(chosen, own)
    long = length >= LEAST_WORDS
    whole = mixed(totals + own.astype(np.uint64) * _FACTOR)
    lacking = mixed(gone + (length - 1).astype(np.uint64) * _FACTOR)
    unknown = mixed(another ^ ((at + 1).astype(np.uint64) * _WORD_FACTOR) ^ (length.astype(np.uint64) << np.uint64(40)))
    return (
        np.concatenate((whole, lacking[long], unknown[long])),
        np.concatenate((chosen, numbers[long], numbers[long])),
    )
