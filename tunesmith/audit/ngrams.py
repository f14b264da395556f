"""Sequences of words as numbers, many texts at a time, and the places where two collections share them.

A sequence of n words is a polynomial of its words' hashes modulo 2^64, computed for whole blocks of words at once.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORDS = 13
"""Words in a sequence, as in GPT-3's decontamination (Brown et al. 2020, appendix C)."""
LEAST_WHOLE = 5
"""Words from which a text shorter than a sequence is compared as a whole."""
BLOCK_WORDS = 1_000_000
_FACTOR = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_WORD = re.compile(r"\w+")


@dataclass
class Sequences:
    """Word sequences of texts, each with the number of the text's row.

    Args:
        hashes: uint64 [sequences].
        rows: int64 [sequences], the row of each.
        words: uint8 [sequences], how long each is.
        counts: Row number to how many sequences it has, in ascending order of rows: int64 [rows, 2].
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[np.int64]
    words: NDArray[np.uint8]
    counts: NDArray[np.int64]


@dataclass
class Block:
    """Texts that are waiting to become sequences.

    Args:
        words: A hash for each word.
        starts: Where each text begins in ``words``.
        rows: The row of each text.
    """

    words: array[int] = field(default_factory=lambda: array("Q"))
    starts: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("q"))

    @property
    def full(self) -> bool:
        """Whether it is time to take the sequences out."""
        return len(self.words) >= BLOCK_WORDS

    def add(self, row: int, text: str) -> None:
        """One text; case, punctuation and blanks do not count, and no sequence goes on past an empty line.

        So a question is compared by itself, where the context above it stands in other rows, too.
        """
        for part in text.lower().split("\n\n"):
            self.starts.append(len(self.words))
            self.rows.append(row)
            self.words.extend([hash(word) & _MASK for word in _WORD.findall(part)])

    def take(self) -> Sequences:
        """The sequences of all texts that were added, each row's once; the block is empty then."""
        import numpy as np

        words = np.frombuffer(self.words, np.uint64).copy()
        starts, rows = (np.frombuffer(of, np.int64).copy() for of in (self.starts, self.rows))
        self.words, self.starts, self.rows = array("Q"), array("q"), array("q")
        lengths = np.diff(np.append(starts, len(words)))
        hashes, owners, widths = [], [], []
        long = np.flatnonzero(lengths >= WORDS)
        if len(long):
            rolled = _rolled(words, WORDS)
            number = lengths[long] - WORDS + 1
            texts = np.repeat(long, number)
            offsets = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
            hashes.append(rolled[starts[texts] + offsets])
            owners.append(rows[texts])
            widths.append(np.full(len(texts), WORDS, np.uint8))
        # Texts of the same length that are shorter than a sequence are one, told apart by their length.
        for length in range(LEAST_WHOLE, WORDS):
            texts = np.flatnonzero(lengths == length)
            if len(texts):
                hashes.append(_rolled(words, length)[starts[texts]] * np.uint64(2 * length + 1))
                owners.append(rows[texts])
                widths.append(np.full(len(texts), length, np.uint8))
        return _each_once(hashes, owners, widths)


def _rolled(words: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """The hash of ``width`` words from every place on: uint64 [places]."""
    import numpy as np

    number = len(words) - width + 1
    total = np.zeros(max(0, number), np.uint64)
    for place in range(width):
        total *= np.uint64(_FACTOR)
        total += words[place : place + number]
    return total ^ (total >> np.uint64(29))


def _each_once(
    hashes: list[NDArray[np.uint64]], owners: list[NDArray[np.int64]], widths: list[NDArray[np.uint8]]
) -> Sequences:
    import numpy as np

    if not hashes:
        empty = np.empty(0, np.int64)
        return Sequences(np.empty(0, np.uint64), empty, np.empty(0, np.uint8), np.empty((0, 2), np.int64))
    numbers, rows, words = np.concatenate(hashes), np.concatenate(owners), np.concatenate(widths)
    order = np.lexsort((numbers, rows))
    numbers, rows, words = numbers[order], rows[order], words[order]
    fresh = np.concatenate([[True], (numbers[1:] != numbers[:-1]) | (rows[1:] != rows[:-1])])
    numbers, rows, words = numbers[fresh], rows[fresh], words[fresh]
    found, counts = np.unique(rows, return_counts=True)
    return Sequences(numbers, rows, words, np.stack([found, counts], axis=1))


@dataclass
class Shared:
    """Sequences that training rows and rows of a reference both have, once for every pair of rows.

    Args:
        rows, others: int64 [shared], training row and row of the reference.
        hashes: uint64 [shared].
        words: uint8 [shared], how long each is.
        counts: Training row to how many of its sequences tell something.
    """

    rows: NDArray[np.int64]
    others: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    words: NDArray[np.uint8]
    counts: dict[int, int]


class Reference:
    """The sequences that training rows must not have, with a filter that lets next to nothing else through.

    Args:
        parts: What `Block.take` gave.
        most_rows: Sequences of more rows than this are everybody's (a licence, an instruction, a context that several
            questions are about): they tell nothing.

    Attributes:
        counts: Row to how many of its sequences tell something.
    """

    def __init__(self, parts: list[Sequences], most_rows: int) -> None:
        import numpy as np

        hashes = np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)])
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
        order = np.argsort(hashes, kind="stable")
        hashes, rows = hashes[order], rows[order]
        found, counts = np.unique(hashes, return_counts=True)
        kept = np.repeat(counts <= most_rows, counts)
        self._common = found[counts > most_rows]
        self._hashes, self._rows = hashes[kept], rows[kept]
        self.counts = _counted(self._rows)
        self._bits = max(16, len(self._hashes).bit_length() + 4)
        self._there = np.zeros(2**self._bits, bool)
        self._there[self._slots(self._hashes)] = True

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        import numpy as np

        return hashes >> np.uint64(64 - self._bits)

    def shared(self, found: Sequences) -> Shared | None:
        """What these training rows share with rows of the reference; None where it is nothing."""
        import numpy as np

        maybe = np.flatnonzero(self._there[self._slots(found.hashes)])
        hashes, rows, words = found.hashes[maybe], found.rows[maybe], found.words[maybe]
        low, high = (np.searchsorted(self._hashes, hashes, side=side) for side in ("left", "right"))
        number = high - low
        if not number.sum():
            return None
        which = np.repeat(low, number) + np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        rows, hashes, words = np.repeat(rows, number), np.repeat(hashes, number), np.repeat(words, number)
        own = np.isin(found.rows, rows)
        telling = own & ~np.isin(found.hashes, self._common, assume_unique=False)
        return Shared(rows, self._rows[which], hashes, words, _counted(found.rows[telling]))


def _counted(rows: NDArray[np.int64]) -> dict[int, int]:
    import numpy as np

    found, counts = np.unique(rows, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
