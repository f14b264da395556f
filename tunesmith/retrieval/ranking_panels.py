"""What a report shows of a tuned encoder: BM25, base and tuned side by side, and questions mended and broken.

It knows rows and how good each order is; no model and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.retrieval.ranked import NAMES, Candidates
from tunesmith.types import Row

SHOWN = 8
FIRST = NAMES.index("mrr_at_10")


def ranking_panels(
    rows: Sequence[Row], base: NDArray[np.float64] | None, tuned: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Panels for the report.

    Args:
        rows: The held-out rows.
        base, tuned: How good each row's order is, [rows, names].
    """
    candidates = Candidates(rows)
    orders = {"BM25": candidates.by_words()} | ({} if base is None else {"base": base}) | {"tuned": tuned}
    table = {
        "kind": "table",
        "title": "Finding the passage",
        "columns": ["by", *(name.replace("_at_", " at ").replace("_", " ") for name in NAMES)],
        "rows": [[name, *(round(float(mean), 4) for mean in of.mean(0))] for name, of in orders.items()],
        "note": f"{len(rows)} questions, {len(candidates.texts)} passages to choose from: those of the held-out rows.",
    }
    if base is None:
        return [table]
    moved = tuned[:, FIRST] - base[:, FIRST]
    chosen = [i for i in np.argsort(-np.abs(moved), kind="stable")[:SHOWN] if moved[i]]
    items = [
        {
            "id": rows[i]["id"],
            "input": rows[i]["query"],
            "expected": rows[i]["passages"][0],
            "base": _place(base[i, FIRST]),
            "tuned": _place(tuned[i, FIRST]),
            "base_ok": bool(base[i, FIRST] == 1),
            "tuned_ok": bool(tuned[i, FIRST] == 1),
        }
        for i in chosen
    ]
    note = f"{int((moved > 0).sum())} questions find their passage earlier than before, {int((moved < 0).sum())} later."
    return [table, {"kind": "examples", "title": "What changed most", "note": note, "items": items}]


def _place(reciprocal: float) -> str:
    return f"place {round(1 / reciprocal)}" if reciprocal else "not among the first ten"
