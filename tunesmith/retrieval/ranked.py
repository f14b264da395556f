"""Which passages come first for a question, by vectors or by words, and how good that order is, question by question.

It knows no model: vectors are handed in. Questions and passages are told apart by their words alone, so that a passage
that answers a question in two rows stands there once, and a question that is asked twice has two right passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.negatives import same
from tunesmith.retrieval.scores import ndcg_at, recall_at, reciprocal_rank
from tunesmith.types import Row

DEPTHS = (1, 5, 10)
"""At which recall is told; the last one is also that of MRR and nDCG."""
NAMES = (*(f"recall_at_{depth}" for depth in DEPTHS), f"mrr_at_{DEPTHS[-1]}", f"ndcg_at_{DEPTHS[-1]}")


@dataclass(frozen=True)
class Candidates:
    """All passages of some rows, each once, and which of them are right for which row.

    Args:
        rows: With ``query`` and ``passages``, the right one first.
    """

    rows: Sequence[Row]

    @cached_property
    def places(self) -> dict[str, int]:
        """Of every passage by its words."""
        keys = (same(text) for row in self.rows for text in row["passages"])
        return {key: place for place, key in enumerate(dict.fromkeys(keys))}

    @cached_property
    def texts(self) -> list[str]:
        """One text of every passage."""
        found: dict[int, str] = {}
        for row in self.rows:
            for text in row["passages"]:
                found.setdefault(self.places[same(text)], text)
        return [found[place] for place in range(len(found))]

    @cached_property
    def right(self) -> list[set[int]]:
        """Places of the passages that are right for each row: its own first one, and those of the same question."""
        found: dict[str, set[int]] = {}
        for row in self.rows:
            found.setdefault(same(row["query"]), set()).add(self.places[same(row["passages"][0])])
        return [found[same(row["query"])] for row in self.rows]

    def by_vectors(self, queries: NDArray[np.float32], passages: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """How good each row's order is by cosine, [rows, names].

        Args:
            queries: Of length 1, [rows, width].
            passages: Of each row's passages, [passages, width] each.
        """
        table = np.zeros((len(self.places), queries.shape[1]), dtype=np.float32)
        for row, vectors in zip(self.rows, passages, strict=True):
            table[[self.places[same(text)] for text in row["passages"]]] = vectors
        return np.stack([_judged(table @ query, right) for query, right in zip(queries, self.right, strict=True)])

    def by_words(self) -> NDArray[np.float64]:
        """The same by BM25."""
        search = Bm25(self.texts)
        return np.stack([_judged(search.scores(r["query"]), of) for r, of in zip(self.rows, self.right, strict=True)])


def _judged(scores: NDArray[np.float32] | NDArray[np.float64], right: set[int]) -> NDArray[np.float64]:
    """Recall at each of ``DEPTHS``, reciprocal rank and nDCG of one question, [names].

    Of passages with equal scores a wrong one stands before a right one: an order by chance is no merit.
    """
    is_right = np.zeros(len(scores), dtype=bool)
    is_right[sorted(right)] = True
    best = np.lexsort((is_right, -scores))[: DEPTHS[-1]].tolist()
    recall = [recall_at(best, right, depth) for depth in DEPTHS]
    return np.array([*recall, reciprocal_rank(best, right, DEPTHS[-1]), ndcg_at(best, right, DEPTHS[-1])])
