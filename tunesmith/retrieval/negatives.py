"""Hard negatives: passages that share a question's words and do not answer it, found by BM25 (arXiv:2004.04906).

It knows rows with a query and passages, the first of which is right; no file, no model and no training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.words import words_of
from tunesmith.types import Row


def with_negatives(
    rows: Sequence[Row], count: int, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> list[dict[str, Any]]:
    """The rows, each with up to ``count`` wrong passages behind its right one.

    Those that a row has already stay, and only what lacks is added. A passage that is right for the same question in
    another row, or has the words of a right one, is never taken.

    Args:
        rows: With ``query`` and ``passages``; the right passages of all rows are what is searched.
        count: Most wrong passages of a row.
        progress: Hears how many rows are done, and of how many.
    """
    texts = list({same(row["passages"][0]): str(row["passages"][0]) for row in rows}.values())
    right: dict[str, set[str]] = {}
    for row in rows:
        right.setdefault(same(row["query"]), set()).add(same(row["passages"][0]))
    search, found = Bm25(texts), []
    for done, row in enumerate(rows, 1):
        known = {same(text) for text in row["passages"]} | right[same(row["query"])]
        lacking = max(0, count + 1 - len(row["passages"]))
        # What is left out below can't be more than this, so that enough are looked at.
        near = search.best(row["query"], lacking + len(known)) if lacking else []
        others = [texts[place] for place in near if same(texts[place]) not in known]
        found.append({**row, "passages": [*row["passages"], *others[:lacking]]})
        progress(done, len(rows))
    return found


def same(text: str) -> str:
    """What two texts share that differ in case, accents, blanks and punctuation alone."""
    return " ".join(words_of(text)) or text.strip()
