"""Sentences that stand in many rows, counted by hash in bounded memory. It knows no row's meaning.

Every sentence is 12 bytes until there are too many; then those that were seen so rarely that they can't become common
any more are dropped (lossy counting, Manku and Motwani 2002), so that a common one is never missed.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_KEPT = 12_000_000
"""Sentences that are held before the rare ones are dropped: about 150 MB."""
LEAST_CHARACTERS, LEAST_WORDS = 20, 4
MOST_OF_TEXT = 0.8
"""Share of a text above which a sentence is the text: rows that repeat as a whole are another matter."""
_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_MASK = 2**64 - 1


class Repeats:
    """Sentences of rows, met in order.

    Args:
        most_kept: Entries that are held before the rare ones are dropped.
    """

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self.most_kept = most_kept
        self._hashes, self._rows = array("Q"), array("I")
        self._seen = 0

    def add(self, row: int, text: str) -> None:
        """The sentences of one text; a text of a single sentence has none that could be left out."""
        if len(text) < LEAST_CHARACTERS * 1.25:
            return
        parts = _END.split(text)
        if len(parts) == 1:
            return
        most = MOST_OF_TEXT * len(text)
        for part in parts:
            if LEAST_CHARACTERS <= len(part) <= most and part.count(" ") >= LEAST_WORDS - 1:
                self._hashes.append(hash_of(part))
                self._rows.append(row)
        if len(self._hashes) > self.most_kept:
            self._forget_rare()

    def _forget_rare(self) -> None:
        import numpy as np

        hashes, rows = self._arrays()
        self._seen += len(hashes)
        _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        least = 2
        while (kept := counts[inverse] >= least).sum() > self.most_kept // 2:
            least *= 2
        self._hashes, self._rows = array("Q"), array("I")
        self._hashes.frombytes(hashes[kept].tobytes())
        self._rows.frombytes(rows[kept].tobytes())

    def _arrays(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        import numpy as np

        return (
            np.frombuffer(self._hashes, dtype=np.uint64).copy(),
            np.frombuffer(self._rows, dtype=np.uint32).copy(),
        )

    def common(self, least_rows: int) -> list[tuple[int, Any]]:
        """Sentences of at least so many different rows: hash and sorted row numbers (uint32), the commonest first."""
        import numpy as np

        hashes, rows = self._arrays()
        order = np.lexsort((rows, hashes))
        hashes, rows = hashes[order], rows[order]
        fresh = np.ones(len(hashes), dtype=bool)
        fresh[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        hashes, rows = hashes[fresh], rows[fresh]
        found, starts, counts = np.unique(hashes, return_index=True, return_counts=True)
        often = np.flatnonzero(counts >= least_rows)
        often = often[np.lexsort((rows[starts[often]], -counts[often]))]
        return [(int(found[n]), rows[starts[n] : starts[n] + counts[n]]) for n in often]


def hash_of(sentence: str) -> int:
    """A number of 64 bits for a sentence, the same within this process; case and blanks at its ends do not count."""
    return hash(sentence.strip().lower()) & _MASK


def sentence_of(text: str, number: int) -> str | None:
    """The sentence of a text that has this hash."""
    return next((part.strip() for part in _END.split(text) if hash_of(part) == number), None)
