"""Texts that are nearly the same: but for case and signs, but for one word, or in most of their shingles.

Candidates come from hashes (`shingles`), and every pair that is told was compared in full. Memory: about 130 bytes a
text, and 10 a word of texts that are not long. It knows no rows and no sides.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.shingles import (
    BANDS,
    LEAST_CHARACTERS,
    LEAST_WORDS,
    Block,
    bands,
    left_out,
    plain_words,
    whole_hashes,
)

TOGETHER = 4096
"""Texts that are hashed at a time."""
LEAST_ALIKE = 0.7
"""The share of shingles that two texts have in common, of those that either has."""
MOST_PAIRS = 4_000_000
AROUND = 3
"""Neighbours that a text is compared with in a large bucket; in another of the 20 groups it has other neighbours."""
VERIFIED_TOGETHER = 2048
PARTS = 8
CELLS, _CELL = 1 << 22, np.uint64(42)
"""Shingles are counted by their hash's first 22 bits."""
LEAST_COMMON, COMMON_SHARE = 20, 0.005
"""How often a shingle stands in the texts before it is a form that all share (a prompt, a schema), and says nothing."""
LEAST_OWN, LEAST_OF_FORM = 20, 0.9
"""Shingles of their own that two texts have, and how alike they must be where they have fewer."""
PIECE = "\x1f"
"""Stands between the pieces of a text (question, answer), each of which has to be nearly the same."""
SAME_WORDS = 0.999
Pairs = NDArray[np.int64]
Text = Callable[[int], str]
Report = Callable[[int, int], None]
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class NearPairs:
    """Pairs of texts.

    Args:
        first, second: Their numbers, int64 [pairs]; ``first`` is the lower one.
        alike: From 0 to 1, float32 [pairs].
        how: ``words`` (the same words), ``word`` (all but one) or ``runs``, one letter each: ``s``, ``o``, ``r``.
    """

    first: Pairs
    second: Pairs
    alike: NDArray[np.float32]
    how: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, kept: NDArray[np.bool_]) -> NearPairs:
        """Some of them, bool [pairs]."""
        return NearPairs(self.first[kept], self.second[kept], self.alike[kept], self.how[kept])


class NearTexts:
    """Takes texts in their order, then tells which are nearly the same."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._wholes = array("Q")
        self._bands: list[NDArray[np.uint32]] = []
        self._left: list[NDArray[np.uint64]] = []
        self._left_of: list[NDArray[np.uint32]] = []
        self._count = 0
        self._often = np.zeros(CELLS, dtype=np.uint32)
        self.left_out = 0
        """Candidates that were not compared, for there were too many."""

    def add(self, text: str) -> None:
        """The next text; its number is how many there were before it."""
        self._held.append(plain_words(text))
        if len(self._held) >= TOGETHER:
            self._hash()

    def _hash(self) -> None:
        if not self._held:
            return
        block = Block(self._held)
        words, counts = block.words()
        runs, of = block.runs()
        self._often += np.bincount((runs >> _CELL).astype(np.int64), minlength=CELLS).astype(np.uint32)
        self._wholes.frombytes(whole_hashes(words, counts).tobytes())
        self._bands.append(bands(runs, of))
        keys, numbers = left_out(words, counts)
        self._left.append(keys)
        self._left_of.append((numbers + self._count).astype(np.uint32))
        self._count += len(self._held)
        self._held = []

    def wholes(self) -> NDArray[np.uint64]:
        """A hash of each text's words; 0 where it has none, uint64 [texts]."""
        self._hash()
        return np.frombuffer(self._wholes, dtype=np.uint64)

    def pairs(
        self,
        text: Text,
        side: NDArray[np.int8],
        content: NDArray[np.uint64],
        report: Report = lambda _done, _total: None,
    ) -> NearPairs:
        """All pairs that are nearly the same, compared in full; those with the same content are left out.

        Args:
            text: A text by its number, read again.
            side: Of each text, int8 [texts]: of texts with the same words one a side is compared further.
            content: A digest of what each stands for, uint64 [texts].
            report: Receives how many candidates were compared, and of how many.
        """
        wholes = self.wholes()
        asked = np.flatnonzero(wholes != 0)
        repeats = _linked(content, asked, side)
        seen = wholes == 0
        seen[repeats[:, 1]] = True
        same = _linked(wholes, np.flatnonzero(~seen), side)
        seen[same[:, 1]] = True
        across = _across(wholes, np.flatnonzero(~seen), side)
        same = np.concatenate((same, across))
        same = same[content[same[:, 0]] != content[same[:, 1]]]
        one_word = self._one_word(seen)
        likely = self._likely(seen, one_word)
        found = np.concatenate((one_word, likely))
        by_word = np.arange(len(found)) < len(one_word)
        # Texts of the same words on both sides are told already.
        new = wholes[found[:, 0]] != wholes[found[:, 1]]
        common = self._often > max(LEAST_COMMON, COMMON_SHARE * len(wholes))
        pairs, alike, how = _verified(text, found[new], by_word[new], common, report)
        return NearPairs(
            np.concatenate((same[:, 0], pairs[:, 0])),
            np.concatenate((same[:, 1], pairs[:, 1])),
            np.concatenate((np.full(len(same), SAME_WORDS, np.float32), alike)),
            np.concatenate((np.full(len(same), "s"), how)),
        )

    def _one_word(self, seen: NDArray[np.bool_]) -> Pairs:
        """Pairs that share a hash of all words but one; a part of the hashes at a time, to sort little at once."""
        found = [np.zeros((0, 2), dtype=np.int64)]
        for part in range(PARTS):
            chosen = [np.flatnonzero((keys % np.uint64(PARTS)) == part) for keys in self._left]
            keys = _joined(self._left, chosen, np.uint64)
            numbers = _joined(self._left_of, chosen, np.uint32)
            kept = ~seen[numbers]
            keys, numbers = keys[kept], numbers[kept]
            order = np.argsort(keys, kind="stable")
            found.append(_neighbours(keys[order], numbers[order].astype(np.int64)))
        self._left, self._left_of = [], []
        return _unique(np.concatenate(found))

    def _likely(self, seen: NDArray[np.bool_], known: Pairs) -> Pairs:
        """Pairs that share a band of minima and are not known yet."""
        if not self._bands:
            return np.zeros((0, 2), dtype=np.int64)
        table = np.concatenate(self._bands)
        self._bands = []
        numbers = np.flatnonzero(~seen & (table[:, 0] != 0))
        found, total = [np.zeros((0, 2), dtype=np.int64)], 0
        for band in range(BANDS):
            # Within a band by the next one, so that the likest stand side by side in a large bucket.
            keys = (table[numbers, band].astype(np.uint64) << np.uint64(32)) | table[numbers, (band + 1) % BANDS]
            order = np.argsort(keys, kind="stable")
            found.append(_neighbours(keys[order] >> np.uint64(32), numbers[order]))
            total += len(found[-1])
            if total > 2 * MOST_PAIRS:
                found, total = [_unique(np.concatenate(found))], 0
        pairs = _unique(np.concatenate(found))
        codes = known[:, 0] << 32 | known[:, 1]
        pairs = pairs[~np.isin(pairs[:, 0] << 32 | pairs[:, 1], codes)]
        self.left_out = max(0, len(pairs) - MOST_PAIRS)
        return pairs[:MOST_PAIRS]


def _joined(arrays: Sequence[NDArray[Any]], chosen: Sequence[NDArray[np.int64]], kind: Any) -> NDArray[Any]:
    parts = [array[at] for array, at in zip(arrays, chosen, strict=True)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def _neighbours(keys: NDArray[np.uint64], numbers: NDArray[np.int64]) -> Pairs:
    """Pairs of numbers whose sorted keys are equal and that stand at most `AROUND` apart; the lower number first."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for step in range(1, AROUND + 1):
        at = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(at):
            break
        found.append(np.stack((numbers[at], numbers[at + step]), axis=1))
    pairs = np.concatenate(found)
    pairs.sort(axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]])


def _unique(pairs: Pairs) -> Pairs:
    codes = np.unique(pairs[:, 0] << 32 | pairs[:, 1])
    return np.stack((codes >> 32, codes & 0xFFFFFFFF), axis=1)


def _linked(keys: NDArray[np.uint64], numbers: NDArray[np.int64], side: NDArray[np.int8]) -> Pairs:
    """The first number with each key beside every other one with it on the same side."""
    order = np.lexsort((numbers, side[numbers], keys[numbers]))
    numbers = numbers[order]
    fresh = np.ones(len(numbers), dtype=bool)
    fresh[1:] = (keys[numbers[1:]] != keys[numbers[:-1]]) | (side[numbers[1:]] != side[numbers[:-1]])
    first = numbers[fresh][np.cumsum(fresh) - 1] if len(numbers) else numbers
    return np.stack((first[~fresh], numbers[~fresh]), axis=1)


def _across(keys: NDArray[np.uint64], numbers: NDArray[np.int64], side: NDArray[np.int8]) -> Pairs:
    """Numbers of different sides with the same key; each side has every key once."""
    numbers = numbers[np.argsort(keys[numbers], kind="stable")]
    at = np.flatnonzero(keys[numbers[1:]] == keys[numbers[:-1]])
    pairs = np.stack((numbers[at], numbers[at + 1]), axis=1)
    pairs.sort(axis=1)
    return np.asarray(pairs[side[pairs[:, 0]] != side[pairs[:, 1]]])


def _verified(
    text: Text, pairs: Pairs, by_word: NDArray[np.bool_], common: NDArray[np.bool_], report: Report
) -> tuple[Pairs, NDArray[np.float32], NDArray[np.str_]]:
    """Those pairs that are nearly the same, how much so, and how; those ``by_word`` share all words but one."""
    how = np.where(by_word, "o", "r")
    alike = np.zeros(len(pairs), dtype=np.float32)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    for start in range(0, len(order), VERIFIED_TOGETHER):
        some = order[start : start + VERIFIED_TOGETHER]
        numbers, places = np.unique(pairs[some], return_inverse=True)
        texts = [[plain_words(piece) for piece in text(int(number)).split(PIECE)] for number in numbers]
        alike[some] = _alike(texts, places.reshape(-1, 2), how[some] == "o", common)
        report(min(start + len(some), len(order)), len(order))
    kept = np.flatnonzero(alike > 0)
    return pairs[kept], alike[kept], how[kept]


def _alike(
    texts: Sequence[Sequence[str]], pairs: Pairs, by_word: NDArray[np.bool_], common: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """How alike the texts of each pair are, given as pieces; 0 where they are not nearly the same, float32 [pairs]."""
    wholes = [" ".join(filter(None, pieces)) for pieces in texts]
    runs, counts = Block(wholes).runs()
    ends = np.cumsum(counts)
    sets = [np.unique(runs[end - count : end]) for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
    own = [some[~common[(some >> _CELL).astype(np.int64)]] for some in sets]
    found = np.zeros(len(pairs), dtype=np.float32)
    for number, (a, b) in enumerate(pairs.tolist()):
        share, _ = _shared(sets[a], sets[b])
        if by_word[number]:
            enough = _one_word_apart(wholes[a], wholes[b])
        elif enough := share >= LEAST_ALIKE:
            # What all rows have in common does not make two of them alike.
            apart, union = _shared(own[a], own[b])
            enough = apart >= LEAST_ALIKE if union >= LEAST_OWN else share >= LEAST_OF_FORM
        if enough and _pieces_alike(texts[a], texts[b]) and not _only_numbers_differ(wholes[a], wholes[b]):
            found[number] = max(share, 0.01)
    return found


def _shared(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> tuple[float, int]:
    """The share of two sets that both have, of what either has, and how much that is."""
    both = len(np.intersect1d(first, second, assume_unique=True))
    union = len(first) + len(second) - both
    return both / max(1, union), union


def _pieces_alike(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether each piece of a text is nearly the same as that of the other: one question with two answers is not."""
    if len(first) != len(second):
        return False
    return len(first) == 1 or all(a == b or _piece_alike(a, b) for a, b in zip(first, second, strict=True))


def _piece_alike(first: str, second: str) -> bool:
    if min(len(first), len(second)) < LEAST_CHARACTERS:
        return False
    if min(first.count(" "), second.count(" ")) >= LEAST_WORDS - 1 and _one_word_apart(first, second):
        return True
    runs, counts = Block([first, second]).runs()
    return _shared(np.unique(runs[: counts[0]]), np.unique(runs[counts[0] :]))[0] >= LEAST_ALIKE


def _one_word_apart(first: str, second: str) -> bool:
    """Whether one word more, less or otherwise is all the difference."""
    a, b = first.split(" "), second.split(" ")
    if abs(len(a) - len(b)) > 1:
        return False
    head = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    tails = zip(reversed(a[head:]), reversed(b[head:]), strict=False)
    tail = next((n for n, (x, y) in enumerate(tails) if x != y), min(len(a), len(b)) - head)
    return max(len(a), len(b)) - head - tail <= 1


def _only_numbers_differ(first: str, second: str) -> bool:
    """Whether texts are the same but for their numbers: two records of one form, not one record twice."""
    return first != second and _DIGITS.sub("0", first) == _DIGITS.sub("0", second)
