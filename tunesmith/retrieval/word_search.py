"""BM25 over an index's own words: their postings are read from FTS5 once, kept, and scored all together.

FTS5 looks the length of every chunk up that it scores, which takes most of its time where a word is common; here the
lengths of all chunks are at hand. The formula and so the order are those of FTS5 (see `tunesmith.retrieval.bm25`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.retrieval.bm25 import K1, LEAST_WEIGHT, B
from tunesmith.retrieval.store import Store
from tunesmith.retrieval.words import words_of

KEPT_BYTES = 2**27
"""Of postings in memory; those that were not asked for longest go first."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What words say of all chunks.

    Args:
        total: BM25 by the chunk's id, 0 where no word is shared.
        most: That no chunk can reach: what each word of the query gives where a chunk says nothing else.
    """

    total: NDArray[np.float64]
    most: float

    def best(self, count: int) -> list[tuple[int, float]]:
        """Chunk ids with their BM25, best first; fewer than ``count`` where fewer share a word."""
        # Without the chunks that have none of the words: numpy's partition is slow among many equals.
        hits = np.flatnonzero(self.total > 0)
        # The order in which a sum was made must not decide between equals: the lower id does.
        scores = np.round(self.total[hits], 9)
        if count < len(hits):
            kept = scores >= np.partition(scores, -count)[-count]
            hits, scores = hits[kept], scores[kept]
        order = np.lexsort((hits, -scores))[:count]
        return list(zip(hits[order].tolist(), scores[order].tolist(), strict=True))

    def shares(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """The BM25 of some chunks as a share of ``most``, 0 to 1."""
        return np.asarray(self.total[ids] / self.most if self.most else np.zeros(len(ids)), np.float64)


class WordSearch:
    """The words of an index, ready to be searched.

    Args:
        store: The index file, which may change meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._state: tuple[int, int] | None = None
        self._damping: NDArray[np.float64] = np.zeros(0)
        self._chunks = 0
        self._postings: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._counts: dict[str, int] = {}
        self._bytes = 0

    def scored(self, query: str, labels: Mapping[str, str] | None = None) -> Scored:
        """The BM25 of every chunk.

        Args:
            query: Any text.
            labels: Only of documents that have all of these; all other chunks have 0.
        """
        self._refresh()
        found = [(word, times, self._having(word)) for word, times in Counter(words_of(query)).items()]
        known = [one for one in found if one[2]]
        # What more than half of the chunks have counts a millionth: it decides where there is nothing else.
        telling = [one for one in known if one[2] * 2 < self._chunks] or known
        total, most = np.zeros(len(self._damping), np.float64), 0.0
        for word, times, _ in telling:
            ids, often = self._posting(word)
            weight = max(LEAST_WEIGHT, float(np.log((self._chunks - len(ids) + 0.5) / (len(ids) + 0.5))))
            total[ids] += times * weight * often * (K1 + 1) / (often + self._damping[ids])
            most += times * weight * (K1 + 1)
        if labels:
            allowed = np.zeros(len(total), np.bool_)
            allowed[self.store.chunk_ids(labels)] = True
            total[~allowed] = 0
        return Scored(total, most)

    def best(self, query: str, count: int, labels: Mapping[str, str] | None = None) -> list[tuple[int, float]]:
        """Chunk ids with their BM25, best first; fewer than ``count`` where fewer share a word."""
        return self.scored(query, labels).best(count)

    def _refresh(self) -> None:
        """Forget what was read of an earlier state of the index."""
        if (state := self.store.state()) == self._state:
            return
        listed = np.array(self.store.rows("SELECT id, words FROM chunks"), dtype=np.int64).reshape(-1, 2)
        self._chunks = len(listed)
        lengths = np.zeros(int(listed[:, 0].max(initial=-1)) + 1)
        lengths[listed[:, 0]] = listed[:, 1]
        mean = float(listed[:, 1].mean()) if listed[:, 1].any() else 1.0
        self._damping = K1 * (1 - B + B * lengths / mean)
        self._postings, self._counts, self._bytes, self._state = {}, {}, 0, state

    def _having(self, word: str) -> int:
        """How many chunks have a word."""
        if word not in self._counts:
            found = self.store.rows("SELECT doc FROM temp.word_counts WHERE term = ?", (word,))
            self._counts[word] = int(found[0][0]) if found else 0
        return self._counts[word]

    def _posting(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids of the chunks that have a word, and how often each has it."""
        if word in self._postings:
            self._postings[word] = self._postings.pop(word)
            return self._postings[word]
        # As one text, in the order of the ids: a row a place would take three times as long to fetch.
        ((places,),) = self.store.rows("SELECT group_concat(doc) FROM temp.word_places WHERE term = ?", (word,))
        docs = np.fromstring(places or "", dtype=np.int64, sep=",")
        first = np.flatnonzero(np.diff(docs, prepend=-1))
        ids, often = docs[first], np.diff(np.append(first, len(docs)))
        self._postings[word] = (ids, often.astype(np.float32))
        self._bytes += 12 * len(ids)
        while self._bytes > KEPT_BYTES and len(self._postings) > 1:
            oldest = next(iter(self._postings))
            self._bytes -= 12 * len(self._postings.pop(oldest)[0])
        return ids, self._postings[word][1]
