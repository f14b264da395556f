"""What words find and what vectors find, made one order. It knows no index, no encoder and no text.

Two ways: the sum of what both say, on scales that do not depend on what else was found (the default), and reciprocal
rank fusion, which knows ranks alone. Bruch, Gai and Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, 2023
(arXiv:2210.11934), find sums of normalised scores ahead of ranks, for ranks lose how much better one is than the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = 3.0
"""Standard deviations of cosine that a chunk gains which says all words of the query. Chosen on one half of the
questions of ``benchmarks/retrieval.py``, which tells the other half apart; from 2 to 4 little changes."""
LEAST_DEVIATION = 0.02
"""Of the cosines in an index: where all vectors are alike, their differences are noise."""

FUSED = 10
"""Added to a rank before it is inverted (Cormack, Clarke and Büttcher, Reciprocal Rank Fusion, 2009). With their 60, a
chunk that both methods have at place 60 would equal one that either has first."""
WEIGHTS, STRANGE = (2.0, 1.0), (0.1, 0.3)
"""What ranks by vectors count beside those by BM25: twice as much where the encoder knows the query's language, as much
where it hardly does; `Encoder.unfamiliar` of the query says which, and between the two values it is between."""

AGAIN, LEAST = 0.8, 0.5
"""What each further chunk of one section counts of its score, and the least: five passages of one section tell less
than the best of several."""

Sections = Callable[[Sequence[int]], Mapping[int, Hashable]]


def summed(
    products: NDArray[np.floating[Any]], usual: NDArray[np.floating[Any]], shares: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """How many standard deviations a chunk is nearer to the query than chunks are, and `WORDS` more for all its words.

    Args:
        products: Cosines of the chunks with the query, [chunks].
        usual: Cosines of many chunks of the index, taken without regard to the query, [some].
        shares: What BM25 says of the chunks, as a share of the most that it could say for this query, [chunks].
    """
    deviation = max(LEAST_DEVIATION, float(usual.std()))
    # Rounded, so that the order in which a product was summed does not decide between equals.
    scores = np.asarray(products - float(usual.mean()), np.float64) / deviation + WORDS * np.asarray(shares, np.float64)
    return np.round(scores, 5)


def fuse(ranked: Mapping[str, Sequence[int]], weights: Mapping[str, float] | None = None) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: ids with their scores, best first; of equals the one that comes first in a list.

    Args:
        ranked: Ids by method, best first.
        weights: Of methods; one that is not named counts 1.
    """
    scores: dict[int, float] = {}
    for method, ids in ranked.items():
        weight = (weights or {}).get(method, 1.0)
        for rank, at in enumerate(ids, 1):
            scores[at] = scores.get(at, 0.0) + weight / (FUSED + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


def spread(order: Sequence[tuple[int, float]], sections: Mapping[int, Hashable]) -> list[tuple[int, float]]:
    """The same ids, those of a section that came before with less of their score, where they have any.

    Args:
        order: Ids with their scores, best first.
        sections: Of each id.
    """
    before: Counter[Hashable] = Counter()
    found = []
    for at, score in order:
        found.append((at, score * max(LEAST, AGAIN ** before[sections[at]]) if score > 0 else score))
        before[sections[at]] += 1
    return sorted(found, key=lambda pair: -pair[1])


def best_spread(order: Sequence[tuple[int, float]], count: int, sections: Sections) -> list[tuple[int, float]]:
    """The first ``count`` of `spread`, with the sections of few ids looked up.

    Args:
        order: Ids with their scores, best first.
        count: How many.
        sections: Gives those of some ids.
    """
    seen = 0
    known: dict[int, Hashable] = {}
    found: list[tuple[int, float]] = []
    while seen < len(order):
        more = [at for at, _ in order[seen : max(2 * count, 2 * seen)]]
        known |= sections(more)
        seen += len(more)
        found = spread(order[:seen], known)
        # No score grows, so that none of those behind can come before.
        if seen < len(order) and found[count - 1][1] >= order[seen][1]:
            break
    return found[:count]
