"""The activation cache: what the frozen part of a model puts out, computed once per row and replayed after.

It knows no task and no loop; rows come as digests of their content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from tunesmith.model.boundary import Boundary, answered_by, at_seam, unread
from tunesmith.model.store import ActivationStore, LeafLayout


class ActivationCache:
    """A boundary with a store: records the seam's output row by row, and replays it.

    Args:
        boundary: Where the frozen part ends.
        store: Where the activations are kept.
    """

    def __init__(self, boundary: Boundary, store: ActivationStore) -> None:
        self.boundary, self.store = boundary, store
        self._packed = any(layout.packed for layout in store.layouts)

    @contextmanager
    def recording(self, keys: Sequence[bytes], lengths: Sequence[int]) -> Iterator[None]:
        """Run the frozen part for real and keep what it puts out for these rows; the forward pass ends there."""

        def keep(output: Any) -> None:
            leaves = tree_flatten(output)[0]
            kept = [x for x, used in zip(leaves, self.boundary.used, strict=True) if used and isinstance(x, Tensor)]
            self.store.append(keys, lengths, kept)

        with at_seam(self.boundary, keep):
            yield

    @contextmanager
    def replaying(self, keys: Sequence[bytes], lengths: Sequence[int], device: torch.device) -> Iterator[None]:
        """Let the seam answer from the store; nothing below it runs."""
        stored = iter(self.store.read(keys, max(lengths)))
        leaves: list[Any] = []
        for leaf, used in zip(self.boundary.leaves, self.boundary.used, strict=True):
            if not isinstance(leaf, Tensor):
                leaves.append(leaf)
            elif used:
                leaves.append(next(stored).to(device=device, dtype=leaf.dtype))
            else:
                rows = 1 if self._packed else len(keys)
                leaves.append(unread(leaf, rows).to(device))
        with answered_by(self.boundary, leaves):
            yield


def leaf_layouts(
    boundary: Boundary, lengths: Sequence[int], dtype: torch.dtype, *, packed: bool = False
) -> list[LeafLayout]:
    """How the used leaves are stored; a leaf is ragged where its second axis is the one along which rows differ.

    Args:
        boundary: With the leaves of a probe batch.
        lengths: Of the probe batch's rows.
        dtype: Stored precision of floating-point leaves.
        packed: Whether the rows lie end to end along the second axis.
    """
    padded = sum(lengths) if packed else max(lengths)
    layouts = []
    for leaf, used in zip(boundary.leaves, boundary.used, strict=True):
        if not (isinstance(leaf, Tensor) and used):
            continue
        ragged = leaf.ndim >= 3 and padded > 1 and leaf.shape[1] == padded
        kind = dtype if leaf.is_floating_point() else leaf.dtype
        tail = tuple(leaf.shape[2 if ragged else 1 :])
        layouts.append(LeafLayout(tail, kind, ragged, packed=packed and ragged))
    return layouts


def predicted_bytes(layouts: Sequence[LeafLayout], lengths: Sequence[int]) -> int:
    """Bytes on disk for rows of these lengths."""
    per_position = sum(leaf.bytes_per_position for leaf in layouts if leaf.ragged)
    per_row = sum(leaf.bytes_per_position for leaf in layouts if not leaf.ragged)
    return per_position * sum(lengths) + per_row * len(lengths)
