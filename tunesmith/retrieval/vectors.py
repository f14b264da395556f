"""The vector file of an index: float16 rows of length 1, mapped into memory and searched exactly.

A slot is a row's place. The file only grows: what is deleted keeps its slot until the file is written anew under
another number. It knows no document and no encoder.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 2e-3
"""Twice the most by which a product of float16 vectors of length 1 may be off: the query's rounding, 5e-4, and the
result's, 2.5e-4. All that could still be among the best is computed again in float32."""

BLOCK = 64
"""Products of which one maximum is taken, to find a bound that the best reach: a tenth of the time of sorting all."""


class VectorFile:
    """The vectors of an index.

    Args:
        folder: Of the index.
        generation: Number of the file, which the index's facts name.
        width: Numbers in a vector.
    """

    def __init__(self, folder: Path, generation: int, width: int) -> None:
        self.generation, self.width = generation, width
        self.path = folder / f"vectors-{generation}.f16"
        self._rows: NDArray[np.float16] | None = None
        self._tensor: Tensor | None = None

    def write(self, slot: int, vectors: NDArray[np.float32]) -> None:
        """Put vectors [rows, width] from a slot on, and bring them to the disk; what stood there is overwritten.

        Raises:
            UserError: The disk is full, or the file can't be written.
        """
        if not len(vectors):
            return
        from tunesmith.run import refusal

        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                data = np.ascontiguousarray(vectors, dtype=np.float16).tobytes()
                at, done = slot * self.width * 2, 0
                while done < len(data):
                    done += os.pwrite(descriptor, data[done:], at + done)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as fault:
            raise refusal(fault, self.path) from fault
        self._rows = self._tensor = None

    def rows(self, count: int) -> NDArray[np.float16]:
        """The first ``count`` vectors, [count, width], mapped and not read.

        Raises:
            UserError: The file lacks some of them.
        """
        if self._rows is None or len(self._rows) < count:
            have = self.path.stat().st_size // (2 * self.width) if self.path.is_file() else 0
            if have < count:
                what = f"the vector file holds {have:,} of {count:,} vectors"
                raise UserError(what, str(self.path), "make them again: tunesmith index --into FOLDER --rebuild")
            # Copy on write, so that torch takes it without a warning; nothing here writes to it.
            mapped = np.memmap(self.path, np.float16, "c", shape=(have, self.width)) if have else None
            # As a plain array: a memory map costs more at every look at a part of it.
            self._rows = np.zeros((0, self.width), np.float16) if mapped is None else np.asarray(mapped)
            self._tensor = None
        return self._rows[:count]

    def best(
        self, query: NDArray[np.float32], k: int, count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Slots of the nearest vectors and their products with the query, best first; exact.

        Args:
            query: Of length 1, [width].
            k: How many.
            count: Slots in use.
            allowed: Which slots may be found, [count]; None is all.
        """
        import torch

        rows = self.rows(count)
        if self._tensor is None:
            self._tensor = torch.from_numpy(self._rows)
        # Half the bytes to read is half the time: this product is bound by memory.
        rough = (self._tensor[:count] @ torch.from_numpy(query.astype(np.float16))).float()
        if allowed is not None:
            rough[torch.from_numpy(~allowed)] = -torch.inf
        k = min(k, count if allowed is None else int(allowed.sum()))
        if not k:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        slots = torch.nonzero(rough >= _at_most(rough, k) - MARGIN)[:, 0].numpy()
        return ordered(rows, slots, query, k)

    def products(self, query: NDArray[np.float32], slots: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """Products of some vectors with the query, in float32.

        Args:
            query: Of length 1, [width].
            slots: Whose, [some].
            count: Slots in use.
        """
        return np.asarray(self.rows(count)[slots].astype(np.float32) @ query, np.float32)

    def remove_others(self) -> None:
        """Delete vector files of other generations: what an earlier writing left."""
        for file in self.path.parent.glob("vectors-*.f16"):
            if file != self.path:
                file.unlink(missing_ok=True)


def _at_most(rough: Tensor, k: int) -> float:
    """What at least ``k`` of the products reach: the k-th best of the best ones of blocks, each of which is another."""
    blocks = len(rough) // BLOCK
    if blocks >= 2 * k:
        found = float(rough[: blocks * BLOCK].view(blocks, BLOCK).amax(1).topk(k, sorted=True).values[-1])
        if found > -math.inf:
            return found
    # Few vectors, or few that may be found.
    return float(rough.topk(k, sorted=True).values[-1])


def ordered(
    rows: NDArray[np.float16], slots: NDArray[np.int64], query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best ``k`` of some slots by the product in float32, best first; of equals the lower slot."""
    products: NDArray[Any] = rows[slots].astype(np.float32) @ query.astype(np.float32)
    order = np.lexsort((slots, -products))[:k]
    return slots[order], np.asarray(products[order], dtype=np.float32)
