"""What picture classification is scored by beside accuracy and F1: whether the truth is among the likeliest few.

It knows predictions with a probability for every label; no model and no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.types import Row


def top_accuracy(predictions: Sequence[Any], rows: Sequence[Row], k: int = 5) -> float:
    """Share of rows whose true label is among the ``k`` likeliest; NaN of no rows.

    A label that is exactly as likely as the truth stands before it, so that a model that says nothing scores nothing.

    Args:
        predictions: ``{"probabilities": {label: probability}}`` of each row.
        rows: Their truth under ``"label"``.
        k: How many labels a model may name.
    """
    hits = 0
    for prediction, row in zip(predictions, rows, strict=True):
        shares = prediction["probabilities"]
        own = shares.get(str(row["label"]))
        hits += own is not None and sum(share >= own for share in shares.values()) <= k
    return hits / len(rows) if rows else float("nan")
