"""How good a search and an answer are, without a judge: by what is known to be right. It searches and asks nothing.

Each function judges one question; whoever asks averages. They are those of the field: recall, reciprocal rank (MRR when
averaged), nDCG (Järvelin and Kekäläinen 2002, gains as they are, discount log2), precision and recall of citations, and
exact match and F1 of answers with the rules of SQuAD (arXiv:1606.05250).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

Id = TypeVar("Id", str, int)

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def recall_at(found: Sequence[Id], right: Collection[Id], k: int) -> float:
    """Share of the right passages among the first ``k`` found; 1 where none is right and there is nothing to find."""
    return len(set(found[:k]) & set(right)) / len(set(right)) if right else 1.0


def hit_at(found: Sequence[Id], right: Collection[Id], k: int) -> float:
    """Whether any right passage is among the first ``k`` found."""
    return float(any(one in right for one in found[:k]))


def reciprocal_rank(found: Sequence[Id], right: Collection[Id], k: int | None = None) -> float:
    """One by the rank of the first right passage; 0 where none is among the first ``k``."""
    return next((1 / rank for rank, one in enumerate(found[:k], 1) if one in right), 0.0)


def ndcg_at(found: Sequence[Id], gains: Mapping[Id, float] | Collection[Id], k: int = 10) -> float:
    """Discounted gain of the first ``k`` found by that of the best order there is.

    Args:
        found: Best first; one that comes twice counts once.
        gains: Of each right passage; of a collection each is 1.
        k: How many count.
    """
    table: Mapping[Id, float] = gains if isinstance(gains, Mapping) else dict.fromkeys(gains, 1.0)
    order = list(dict.fromkeys(found))
    best = _discounted(sorted(table.values(), reverse=True)[:k])
    return _discounted([table.get(one, 0.0) for one in order[:k]]) / best if best else 1.0


def citation_scores(cited: Collection[Id], right: Collection[Id]) -> tuple[float, float]:
    """Precision and recall of citations: share of the cited that are right, and share of the right that are cited.

    An answer that cites nothing has a precision of 1 only where nothing is right.
    """
    both = len(set(cited) & set(right))
    precision = both / len(set(cited)) if cited else float(not right)
    return precision, both / len(set(right)) if right else 1.0


def normalised_answer(text: str) -> str:
    """A text by SQuAD's rules: small letters, no punctuation, no English articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answer_exact(answer: str, references: Iterable[str]) -> float:
    """Whether an answer is one of the references by SQuAD's rules; no reference means that there is no answer."""
    return max((float(normalised_answer(answer) == normalised_answer(one)) for one in _or_none(references)), default=0)


def answer_f1(answer: str, references: Iterable[str]) -> float:
    """Overlap of words with the reference that fits best, by SQuAD's rules."""
    return max((_f1(answer, one) for one in _or_none(references)), default=0.0)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score; a question that lacks one is left out of it."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: math.fsum(numbers) / len(numbers) for name, numbers in values.items()}


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _or_none(references: Iterable[str]) -> list[str]:
    return [one for one in references if normalised_answer(one)] or [""]


def _f1(answer: str, reference: str) -> float:
    said, wanted = normalised_answer(answer).split(), normalised_answer(reference).split()
    if not said or not wanted:
        # No answer is right where there is none, and only there.
        return float(said == wanted)
    both = sum((Counter(said) & Counter(wanted)).values())
    return 2 * both / (len(said) + len(wanted)) if both else 0.0
