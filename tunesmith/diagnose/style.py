"""A classifier of style: whether a longer text is written as the references are. It knows nothing of what they say.

It sees how words are shaped and which common words, signs and line breaks follow each other; rarer words, which carry
what is said, are replaced by their shape. A ridge regression tells references from what the model writes as it is.
Every item is judged by a classifier that saw neither its reference nor its output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tunesmith.diagnose.found import Item

FOLDS, WIDTH, RIDGE = 5, 512, 1.0
LEAST_TEXTS = 40
"""Items from which on a classifier is worth fitting."""
LEAST_RIGHT = 0.75
"""The balanced share that it has to get right on items that it did not see; else the styles are not told apart."""
COMMON_WORDS = 100
_PIECE = re.compile(r"\w+|[^\w\s]|\n")


@dataclass
class Style:
    """A classifier for each fold of the items.

    Args:
        common: Words that are kept as they are.
        weights: By fold, float64 [folds, width + 1].
        middle: By fold, the score from which on a text is in style.
    """

    common: frozenset[str]
    weights: NDArray[np.float64]
    middle: NDArray[np.float64]
    _kept: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def fitted(
        cls, items: Sequence[Item], outputs: Sequence[str], further: Sequence[str] = ()
    ) -> tuple[Style | None, str]:
        """A classifier of references against outputs, or None where it can't tell them apart; and a sentence of it.

        Args:
            items: The items.
            outputs: By item.
            further: More texts in the wanted style.
        """
        if len(items) < LEAST_TEXTS:
            return None, f"style is not judged: {len(items)} items are fewer than the {LEAST_TEXTS} that it is told by"
        references = [item.references[0] for item in items]
        counts = Counter(
            w for text in [*references, *outputs] for w in set(_PIECE.findall(text.lower())) if w.isalpha()
        )
        common = frozenset(word for word, _ in counts.most_common(COMMON_WORDS))
        style = cls(common, np.zeros((FOLDS, WIDTH + 1)), np.zeros(FOLDS))
        folds = np.array([fold_of(item.id) for item in items])
        wanted, had, more = (style._all(texts) for texts in (references, outputs, further))
        for fold in range(FOLDS):
            seen = folds != fold
            inputs = np.concatenate([wanted[seen], more, had[seen]])
            goals = np.concatenate([np.ones(seen.sum() + len(more)), -np.ones(seen.sum())])
            style.weights[fold], style.middle[fold] = _ridge(inputs, goals)
        right = [np.mean([style.score(i.id, t) > 0 for i, t in zip(items, references, strict=True)])]
        right.append(np.mean([style.score(i.id, t) <= 0 for i, t in zip(items, outputs, strict=True)]))
        share = float(np.mean(right))
        if share < LEAST_RIGHT:
            return None, f"style is not judged: references and outputs are told apart in {share:.0%} of cases only"
        return style, f"style is judged by a classifier that tells references from outputs in {share:.0%} of cases"

    def score(self, item_id: str, text: str) -> float:
        """Above 0: in style; by the classifier that did not see the item."""
        fold = fold_of(item_id)
        return float(self._of(text) @ self.weights[fold] - self.middle[fold])

    def fault(self, item_id: str, text: str) -> str:
        """Why a text is not in style; empty where it is."""
        return "" if self.score(item_id, text) > 0 else "its style is not that of the references"

    def _of(self, text: str) -> NDArray[np.float64]:
        if text not in self._kept:
            found = np.zeros(WIDTH + 1)
            for at, count in Counter(_place(one) for one in self._features(text)).items():
                found[at] = np.sqrt(count)
            found /= max(float(np.linalg.norm(found)), 1e-12)
            found[WIDTH] = 1.0
            self._kept[text] = found
        return self._kept[text]

    def _all(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([self._of(text) for text in texts]).reshape(len(texts), WIDTH + 1)

    def _features(self, text: str) -> list[str]:
        pieces = ["^", *map(self._shape, _PIECE.findall(text)), "$"]
        pairs = [f"{a} {b}" for a, b in pairwise(pieces)]
        # How long it is, coarsely.
        return [*pieces, *pairs, f"length {int(np.log2(1 + len(pieces)))}"]

    def _shape(self, piece: str) -> str:
        if piece.lower() in self.common or not piece[0].isalnum():
            return piece
        if piece[0].isdigit():
            return "9"
        return "X" if piece.isupper() else "Xx" if piece[0].isupper() else "x"


def _place(feature: str) -> int:
    """Where a feature is counted, the same in every process."""
    return int.from_bytes(blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % WIDTH


def fold_of(item_id: str) -> int:
    """The fold of an item, by its id alone."""
    return blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=2).digest()[0] % FOLDS


def _ridge(inputs: NDArray[np.float64], goals: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Weights of the least squares with both sides weighed alike, and the middle between the means of their scores."""
    share = np.where(goals > 0, 0.5 / max(1, (goals > 0).sum()), 0.5 / max(1, (goals < 0).sum())) * len(goals)
    weighed = inputs * share[:, None]
    weights = np.linalg.solve(inputs.T @ weighed + RIDGE * np.eye(inputs.shape[1]), weighed.T @ goals)
    scores = inputs @ weights
    return weights, float(scores[goals > 0].mean() + scores[goals < 0].mean()) / 2
