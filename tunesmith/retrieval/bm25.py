"""BM25 over texts in memory: what a search by words alone finds. It knows no index, no file and no model.

The formula is the one of SQLite's FTS5, so that BM25 is the same thing here and in an index (Robertson and Zaragoza,
The Probabilistic Relevance Framework, 2009; ``k1`` 1.2, ``b`` 0.75).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunesmith.retrieval.words import words_of

K1, B = 1.2, 0.75
LEAST_WEIGHT = 1e-6
"""Of a word that more than half of the texts have, as in FTS5: it hardly counts, and never against a text."""


class Bm25:
    """Texts, ready to be searched by their words.

    Args:
        texts: What is searched; a text without a word is never found.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words_of(text)) for text in texts]
        lengths = np.array([sum(one.values()) for one in counts], dtype=np.float64)
        self.texts = len(counts)
        mean = float(lengths.mean()) if len(lengths) and lengths.any() else 1.0
        self._damping = K1 * (1 - B + B * lengths / mean)
        found: dict[str, tuple[list[int], list[int]]] = {}
        for place, words in enumerate(counts):
            for word, times in words.items():
                places, often = found.setdefault(word, ([], []))
                places.append(place)
                often.append(times)
        self._postings = {w: (np.array(places), np.array(often, float)) for w, (places, often) in found.items()}

    def scores(self, query: str) -> NDArray[np.float64]:
        """How well every text fits a query, [texts]; 0 where no word is shared."""
        total = np.zeros(self.texts)
        for word, times in Counter(words_of(query)).items():
            if word not in self._postings:
                continue
            places, often = self._postings[word]
            having = len(places)
            weight = max(LEAST_WEIGHT, float(np.log((self.texts - having + 0.5) / (having + 0.5))))
            total[places] += times * weight * often * (K1 + 1) / (often + self._damping[places])
        return total

    def best(self, query: str, count: int) -> list[int]:
        """Places of the ``count`` texts that fit best, best first; fewer where fewer share a word."""
        scores = self.scores(query)
        found = np.flatnonzero(scores)
        if len(found) > count > 0:
            # Of many texts only the best are sorted; of equal ones the first stay, whatever their number.
            least = np.partition(scores[found], -count)[-count]
            found = found[scores[found] >= least]
        order = found[np.argsort(-scores[found], kind="stable")]
        return [int(place) for place in order[:count]]
