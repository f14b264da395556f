"""Which rows make which step, and how they become batches. Randomness has an address: (seed, stage, epoch, row).

The order of an epoch is a pure function of its address, so a resumed run, another number of workers and two ranks see
the same rows in the same steps. It knows no model and no optimizer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from tunesmith.data.digest import canonical_json
from tunesmith.types import Batch, Example, Row

BUCKET_WINDOW = 50
MEMO_BYTES = 512 << 20
ENCODED_AT_ONCE = 256


@dataclass(frozen=True)
class Address:
    """Where in a run something random happens; epochs count from 0 within their stage."""

    seed: int
    stage: int
    epoch: int

    def digest(self, purpose: str, row_id: str = "") -> int:
        """64 bits that depend on nothing but the address, the purpose and the row."""
        text = f"{purpose}\0{self.seed}\0{self.stage}\0{self.epoch}\0{row_id}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def rng(self, purpose: str, row_id: str = "") -> np.random.Generator:
        """A generator of one's own at this address."""
        return np.random.Generator(np.random.PCG64(self.digest(purpose, row_id)))


def epoch_steps(lengths: Sequence[int], rows: int, address: Address, *, buckets: bool) -> list[np.ndarray]:
    """The rows of each step of one epoch: every row exactly once, the last step possibly smaller.

    With ``buckets``, rows are shuffled, sorted by length within windows of 50 steps, cut into steps, and the steps
    shuffled: rows of like length travel together, and every epoch groups them differently.

    Args:
        lengths: Length of each row along the padded axis.
        rows: Rows per step.
        address: Seed, stage and epoch.
        buckets: Whether to group by length.
    """
    rng = address.rng("order")
    order = rng.permutation(len(lengths))
    if buckets and len(set(lengths)) > 1:
        sizes = np.asarray(lengths)
        window = rows * BUCKET_WINDOW
        parts = [order[i : i + window] for i in range(0, len(order), window)]
        order = np.concatenate([part[np.argsort(sizes[part], kind="stable")] for part in parts])
        steps = [order[i : i + rows] for i in range(0, len(order), rows)]
        return [steps[i] for i in rng.permutation(len(steps))]
    return [order[i : i + rows] for i in range(0, len(order), rows)]


def sorted_batches(lengths: Sequence[int], rows: int) -> list[np.ndarray]:
    """All rows once, longest first: little padding, and a batch that does not fit in memory fails at once."""
    order = np.argsort(np.asarray(lengths), kind="stable")[::-1]
    return [order[i : i + rows] for i in range(0, len(order), rows)]


def share_of(piece: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The rows of a micro-batch that one rank computes: every world-th, so that lengths are spread evenly."""
    return piece[rank::world]


class Loader:
    """Rows as batches, encoded once where encoding is not random.

    Args:
        rows: The rows.
        encode: The task's ``encode``.
        collate: The task's ``collate``.
        random: Whether ``encode`` draws from its rng.
        length: Length of an example along the padded axis; None where nothing is padded.
        inputs: Columns that the model reads, which name a row in the activation cache.
        workers: Threads that encode ahead; 0 encodes when asked.
        encode_many: The task's ``encode_many``, for when all rows are encoded at once.
        views: How many drawn versions of each row take turns from epoch to epoch; 0: a new one every epoch. With
            them nothing is random any more: place ``i + len(loader) * v`` holds view ``v`` of row ``i``.
        seed: Of the views.
        cpu_rows: Most rows that a CPU takes in one forward pass without gradients.
        row_length: The task's ``row_length``; where it tells, no row is encoded for its length.
        seeded: Whether every batch gets ``seed``, int64 [rows]: where each row's noise comes from.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        encode: Callable[[Row, np.random.Generator | None], Example],
        collate: Callable[[Sequence[Example]], Batch],
        *,
        random: bool = False,
        length: Callable[[Example], int] | None = None,
        inputs: Sequence[str] = (),
        workers: int = 0,
        encode_many: Callable[[Sequence[Row]], list[Example]] | None = None,
        views: int = 0,
        seed: int = 0,
        cpu_rows: int | None = None,
        row_length: Callable[[Row], int | None] = lambda _row: None,
        seeded: bool = False,
    ) -> None:
        self._encode_many = encode_many if not views else None
        self.views, self._seed, self._cpu_rows = views, seed, cpu_rows
        self.rows, self.random, self.workers, self._seeded = rows, random, workers, seeded
        self._length, self._inputs, self._row_length = length, tuple(inputs), row_length
        self._encode, self._collate = encode, collate
        self._memo: dict[int, Example] = {}
        self._memo_bytes = 0
        self.extra: dict[str, Any] = {}
        """Tensors [rows, ...] by name, of which every batch gets its rows."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> list[int]:
        """Length of every row; encodes all of them once where rows differ in length."""
        places = len(self.rows) * max(1, self.views)
        if self._length is None:
            return [1] * places
        known = [one for row in self.rows if (one := self._row_length(row)) is not None]
        if len(known) == len(self.rows):
            return known * max(1, self.views)
        if self._encode_many is None:
            return [self._length(self.example(i)) for i in range(places)]
        out: list[int] = []
        for start in range(0, len(self.rows), ENCODED_AT_ONCE):
            rows = [self.rows[i] for i in range(start, min(start + ENCODED_AT_ONCE, len(self.rows)))]
            for index, example in enumerate(self._encode_many(rows), start):
                out.append(self._length(example))
                self._keep(index, example)
        return out

    def together(self, rows: int, device: str) -> int:
        """Rows of one forward pass without gradients, of at most ``rows``, on a type of device."""
        return min(rows, self._cpu_rows) if self._cpu_rows and device == "cpu" else rows

    @cached_property
    def ids(self) -> list[str]:
        """The id of every row, read once: a row is parsed anew whenever it is asked for."""
        return [str(row["id"]) for row in self.rows] * max(1, self.views)

    @cached_property
    def keys(self) -> list[bytes]:
        """Sixteen bytes that name each row's input content."""
        inputs = [[row.get(column) for column in self._inputs] for row in self.rows]
        if self.views:
            # What is drawn depends on the row's id and the seed, too.
            drawn = [[i, self._seed] for i in self.ids]
            inputs = [[*one, *drawn[i], view] for view in range(self.views) for i, one in enumerate(inputs)]
        return [blake2b(canonical_json(one), digest_size=16).digest() for one in inputs]

    def epoch_steps(self, rows: int, address: Address, *, buckets: bool) -> list[np.ndarray]:
        """The places of each step of one epoch, as ``epoch_steps`` orders them; with views, of the epoch's view."""
        count = len(self.rows)
        view = address.epoch % self.views if self.views else 0
        found = epoch_steps(self.lengths[:count], rows, address, buckets=buckets)
        return [step + count * view for step in found] if view else found

    def example(self, index: int, address: Address | None = None) -> Example:
        """One encoded row. ``address`` None, or a task that draws nothing: no augmentation, and it is kept."""
        if self.views:
            return self._drawn_view(index)
        if self.random and address is not None:
            row = self.rows[index]
            return self._encode(row, address.rng("row", row["id"]))
        if index in self._memo:
            return self._memo[index]
        example = self._encode(self.rows[index], None)
        self._keep(index, example)
        return example

    def _drawn_view(self, index: int) -> Example:
        if index not in self._memo:
            view, place = divmod(index, len(self.rows))
            row = self.rows[place]
            example = self._encode(row, Address(self._seed, 0, view).rng("view", str(row["id"])))
            self._keep(index, example)
            return example
        return self._memo[index]

    def _keep(self, index: int, example: Example) -> None:
        size = _bytes_of(example)
        if self._memo_bytes + size <= MEMO_BYTES:
            self._memo[index] = example
            self._memo_bytes += size

    def batch(self, indices: Sequence[int] | np.ndarray, address: Address | None = None) -> Batch:
        """Several rows as one batch."""
        batch = self._collate([self.example(int(i), address) for i in indices])
        at = [int(i) for i in indices]
        if self._seeded:
            batch["seed"] = self._seeds(at, address)
        return batch | {name: values[at] for name, values in self.extra.items()}

    def _seeds(self, indices: Sequence[int], address: Address | None) -> Any:
        """Of each row at an address; without one its own, always the same: int64 [rows]."""
        import torch

        ids = [self.ids[i] for i in indices]
        where = address or Address(0, 0, 0)
        purpose = "noise" if address is not None else "fixed noise"
        return torch.tensor([where.digest(purpose, row_id) >> 2 for row_id in ids], dtype=torch.int64)

    def ahead(self, plan: Sequence[Sequence[int] | np.ndarray], address: Address | None = None) -> Iterator[Batch]:
        """The batches of a plan in its order, encoded by threads up to ``workers`` batches ahead.

        Encoding has no state, so the number of workers changes nothing but the time.
        """
        if not self.workers:
            yield from (self.batch(indices, address) for indices in plan)
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="encode") as pool:
            waiting: deque[Future[Batch]] = deque()
            upcoming = iter(plan)
            try:
                for indices in upcoming:
                    waiting.append(pool.submit(self.batch, indices, address))
                    if len(waiting) > self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def _bytes_of(example: Example) -> int:
    total = 0
    for value in example.values():
        total += _size(value)
    return total


def _size(value: Any) -> int:
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, (list, tuple)):
        return 64 + sum(_size(v) for v in value)
    return 64 + (len(value) if isinstance(value, (str, bytes)) else 0)


def stacked(values: list[Any]) -> Any:
    """One entry of several examples as one of a batch: a tensor where they are alike, else a list."""
    import torch

    first = values[0]
    if isinstance(first, torch.Tensor):
        return torch.stack(values) if all(v.shape == first.shape for v in values) else values
    lists = [v if isinstance(v, (list, tuple)) else [v] for v in values]
    alike = len({(len(v), v is value) for v, value in zip(lists, values, strict=True)}) == 1 and lists[0]
    return torch.tensor(values) if alike and all(isinstance(x, (int, float)) for v in lists for x in v) else values
