"""Training examples in a prompt: what a model can do with them before it learns anything. It knows no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from tunesmith.types import Row


@dataclass(frozen=True)
class Shown:
    """A row that travels with its batch as it is."""

    row: Row


def in_order(train: Sequence[Row], count: int) -> list[Row]:
    """The ``count`` rows with the smallest digests of their ids among the first thousand."""
    among = [train[i] for i in range(min(len(train), 1000))]
    return sorted(among, key=lambda row: blake2b(str(row["id"]).encode(), digest_size=8).digest())[:count]


def with_shots(row: Row, shots: Sequence[Row], count: int) -> dict[str, Any]:
    """The row with ``count`` training conversations between its system message and its own first turn.

    Args:
        row: The row.
        shots: From ``in_order``, one more than ``count``: the row itself is never shown.
        count: How many.
    """
    if not count:
        return dict(row)
    system = [m for m in row["messages"] if m["role"] in ("system", "developer")]
    rest = [m for m in row["messages"] if m["role"] not in ("system", "developer")]
    chosen = [shot for shot in shots if shot["messages"] != row["messages"]][:count]
    turns = [m for shot in chosen for m in shot["messages"] if m["role"] not in ("system", "developer")]
    return {**row, "messages": [*system, *turns, *rest]}
