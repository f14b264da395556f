"""What the task's own network sees in a row, as one vector: computed once a row, and kept by its content.

Where the head is one linear layer on one vector a row, that vector is taken; else the output of the highest block that
reads the input, averaged over positions. It knows no modality and judges nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.digest import canonical_json
from tunesmith.errors import UserError
from tunesmith.machine import cache_folder, pick_device, pick_precision
from tunesmith.types import Facts

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName
    from tunesmith.audit.states import Reader
    from tunesmith.data.loader import Loader
    from tunesmith.model.store import ActivationStore
    from tunesmith.types import Row

Places = Mapping["SideName", NDArray[np.int64]]

ALWAYS_ROWS = 20_000
"""So many rows of a head, which label checks need, are computed whatever it takes; all else within `MOST_SECONDS`."""
MOST_SECONDS = 120.0
SAMPLE_SECONDS, SAMPLE_ROWS, LEAST_SAMPLE = 60.0, 5_000, 64
TIMED_ROWS, TIMED_FILES = 32, 16
CHUNK_ROWS = 512
"""Rows that are sorted by length and kept together: what Ctrl-C loses at most."""
REASON = "features"
VERSION = 1
OF_TARGETS = ("labels", "label_counts", "class_weights", "classes", "sizes", "shares", "vocabulary", "max_new_tokens")
OF_ROWS = ("learned_share", "truncated_share", "languages", "subject", "stop")
"""Facts that change with every row and say nothing about how its input is encoded."""


@dataclass(frozen=True)
class Features:
    """What the network sees in rows.

    Args:
        train: float32 [rows, width], in the order of the side; 0 for a row that is too large for the network.
        eval: The same of held-out rows.
        kind: ``head`` (what a linear head reads) or ``block`` (the highest block, averaged over positions).
        seconds: That computing them took now; 0 where all were kept.
        at: The places in their side that the rows stand at: all that can be read, or a sample of them.
        whole: Whether they are no sample.
    """

    train: NDArray[np.float32]
    eval: NDArray[np.float32]
    kind: str
    seconds: float
    at: Places
    whole: bool = True

    def of(self, side: SideName) -> NDArray[np.float32]:
        """The features of a side, [rows, width]."""
        return self.train if side == "train" else self.eval

    def unit(self, side: SideName) -> NDArray[np.float32]:
        """A copy of length 1 each (0 where a vector is 0), [rows, width]."""
        return unit(self.of(side))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [rows, width] divided by their length; zero stays zero."""
    length = np.sqrt(np.einsum("nw,nw->n", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / np.where(length > 0, length, 1.0)[:, None], dtype=np.float32)


def features_of(data: AuditData) -> Features | None:
    """The features of all rows; None where there are no weights or it would take too long (see ``why_none``)."""
    return _features(data, None)


def sampled_features(data: AuditData) -> Features | None:
    """The features of all rows where they are to be had, else those of a sample; None where there are none at all."""
    return data.some_features


def features_of_sample(data: AuditData) -> Features | None:
    """Those of a sample, computed now; None where there are none for another reason than that all take too long."""
    return _features(data, SAMPLE_ROWS) if data.reasons.get(REASON, "").startswith(SLOW) else None


def why_none(data: AuditData) -> str:
    """Why there are no features of all rows; empty where there are."""
    return data.reasons.get(REASON, "") if data.features is None else ""


SLOW = "too slow: "


def _features(data: AuditData, sample: int | None) -> Features | None:
    if not data.has_weights:
        data.reasons[REASON] = "the model's weights are not at hand"
        return None
    try:
        return Computation(data).run(sample)
    except UserError as fault:
        data.reasons[REASON] = f"{fault.what} ({fault.where})"
    except (RuntimeError, LookupError, NotImplementedError, MemoryError) as fault:
        # A network that can't be run here (too large, an operation that is not there) is no fault of the data.
        data.reasons[REASON] = f"the network can't be run here: {(str(fault) or type(fault).__name__).splitlines()[0]}"
    return None


class Computation:
    """One pass over the rows whose features are not kept yet."""

    def __init__(self, data: AuditData) -> None:
        from tunesmith.linear_probe import frozen_of

        self.data, self.prepared = data, frozen_of(data.prepared)
        self.task = self.prepared.task
        self.seconds, self._what = 0.0, ""
        self._store: ActivationStore | None = None

    def run(self, sample: int | None) -> Features:
        """The features of all rows, or of about so many.

        Raises:
            UserError: All rows would take too long, the weights can't be read, or a row can't.
        """
        sides = self.data.sides
        total = sum(map(len, sides.values()))
        if sample is None and (total > ALWAYS_ROWS or self._about()["kind"] != "head"):
            self._refuse_if_slow(total)
        at = self._places(sample)
        whole = all(len(at[side]) == len(rows) for side, rows in sides.items())
        read, parts = dict(at), {}
        for side, rows in sides.items():
            read[side], parts[side] = self._of_readable(side, rows, at[side])
        kind = str(self._about()["kind"])
        return Features(parts["train"], parts["eval"], kind, self.seconds, read, whole)

    def _places(self, sample: int | None) -> Places:
        sides, rng = self.data.sides, np.random.default_rng(self.prepared.source.recipe.run.seed)
        total = sum(map(len, sides.values()))
        if sample is None or total <= sample:
            return {side: np.arange(len(rows)) for side, rows in sides.items()}
        most = max(LEAST_SAMPLE, min(sample, int(self.rows_per_second * SAMPLE_SECONDS)))
        # Held-out rows are fewer: half of the sample may be theirs.
        held = min(len(sides["eval"]), max(most // 2, most * len(sides["eval"]) // total))
        counts: dict[SideName, int] = {"train": min(len(sides["train"]), most - held), "eval": held}
        return {side: np.sort(rng.choice(len(sides[side]), counts[side], replace=False)) for side in sides}

    def _refuse_if_slow(self, total: int) -> None:
        limit = self.data.wishes.most_seconds or MOST_SECONDS
        kept = len(self._opened()) if self._known() else 0
        if kept >= total:
            return
        seconds = (total - kept) / self.rows_per_second
        if seconds > limit:
            raise UserError(
                f"{SLOW}features of {total:,} rows would take about {seconds / 60:,.0f} minutes here",
                "features",
                "take a smaller network, or fewer rows (data.limit)",
            )

    # Rows to vectors

    def _of_readable(
        self, side: SideName, rows: Sequence[Row], at: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The places of rows that can be read, and their features: a broken file is a finding, and stops no other."""
        try:
            return at, self._of_rows(side, rows, at)
        except UserError:
            reads = np.array([self._reads(rows[int(i)]) for i in at], dtype=bool)
            if reads.all() or not reads.any():
                raise
            return at[reads], self._of_rows(side, rows, at[reads])

    def _reads(self, row: Row) -> bool:
        try:
            self.task.encode(row, None)
        except UserError:
            return False
        return True

    def use(self, task: Any) -> None:
        """Let rows be encoded by another copy of the task; what the network reads of a row must name what differs."""
        self.task = task
        self.prepared = replace(self.prepared, task=task)

    def of(self, side: SideName, rows: Sequence[Row], what: str) -> NDArray[np.float32]:
        """The features of rows that are not the side's own but made of them, [rows, width].

        Raises:
            UserError: A row or the weights can't be read.
        """
        self._what = what
        return self._of_rows(side, rows, np.arange(len(rows)))

    def seconds_for(self, sides: Mapping[SideName, Sequence[Row]], times: int) -> float:
        """About how long so many passes over the rows take, as far as they are not kept; 0 where the first one is."""
        store = self._opened() if self._known() else None
        rows = [row for some in sides.values() for row in some]
        missing = sum(1 for row in rows if store is None or self._key(row) not in store)
        return missing * times / self.rows_per_second if missing else 0.0

    def _of_rows(self, side: SideName, rows: Sequence[Row], at: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(at):
            return np.zeros((0, int(self._about().get("width", 0))), dtype=np.float32)
        given = [int(i) for i in at]
        fit = np.array([not self.task.oversized(rows[i]) for i in given])
        if not fit.all():
            found = np.zeros((len(at), int(self._about()["width"])), dtype=np.float32)
            found[fit] = self._of_rows(side, rows, at[fit])
            return found
        keys = [self._key(rows[i]) for i in given]
        store = self._opened()
        first = {key: number for number, key in reversed(list(enumerate(keys))) if key not in store}
        missing = sorted(first.values())
        what = self._what or ("features of training rows" if side == "train" else "features of held-out rows")
        for start in range(0, len(missing), CHUNK_ROWS):
            some = missing[start : start + CHUNK_ROWS]
            loader = self._loader([rows[int(at[i])] for i in some])
            done = len(keys) - len(missing) + start
            began = time.perf_counter()

            def tell(n: int, done: int = done) -> None:
                self.data.progress(what, done + n, len(keys))

            vectors = self.reader.vectors(loader, tell)
            self.seconds += time.perf_counter() - began
            store.append([keys[i] for i in some], [1] * len(some), [vectors])
            store.flush()
        if not missing:
            self.data.progress(what, len(keys), len(keys))
        (vectors,) = store.read(keys, 1)
        return np.asarray(vectors.numpy(), dtype=np.float32)

    def _key(self, row: Row) -> bytes:
        """Sixteen bytes that name what the network reads of a row; a file is named by its content where it is known."""
        spared = () if row.get("content") is None else self.task.file_columns
        names = [name for name in self._columns if name not in spared]
        values = {name: row.get(name) for name in names}
        return blake2b(canonical_json(values), digest_size=16).digest()

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """A head reads inputs alone; a block is listened to while the loss is computed, which may read the target."""
        more = () if self._about().get("kind") == "head" else tuple(self.task.columns)
        return tuple(dict.fromkeys((*self.task.key_columns, *more, "content")))

    # The network

    @cached_property
    def reader(self) -> Reader:
        """The network, loaded when the first row is not kept."""
        import torch

        from tunesmith.audit.states import Reader
        from tunesmith.plan import with_adapter
        from tunesmith.train.engine import LocalEngine

        recipe = self.prepared.source.recipe
        device = pick_device(recipe.engine.device)
        precision, _ = pick_precision(recipe.engine.precision, device, low=self.task.low_precision)
        engine = LocalEngine(device, precision)
        torch.manual_seed(recipe.run.seed)
        model = self.task.load()
        layers = with_adapter(self.prepared, model)
        model.eval().requires_grad_(False).to(engine.device)
        return Reader(self.task, model, layers, engine, recipe.batch.eval_rows, self._loader(self._some_rows()))

    @cached_property
    def rows_per_second(self) -> float:
        """As measured on rows from all over the training side."""
        rows = self._some_rows()
        self.reader.vectors(self._loader(rows[:4]))  # the first pass is slower
        loader = self._loader(rows)
        began = time.perf_counter()
        self.reader.vectors(loader)
        return len(loader) / max(time.perf_counter() - began, 1e-9)

    def _some_rows(self) -> list[Row]:
        """From all over the training side; of files, of which each takes long, fewer."""
        rows, most = self.data.sides["train"], TIMED_FILES if self.task.reads_files else TIMED_ROWS
        step = max(1, len(rows) // most)
        some = (rows[i] for i in range(0, len(rows), step))
        return [row for row in some if not self.task.oversized(row) and self._reads(row)][:most]

    def _loader(self, rows: Sequence[Row]) -> Loader:
        from tunesmith.plan import loader_of

        return loader_of(self.prepared, rows)

    # What is kept

    @cached_property
    def _folder(self) -> Path:
        from tunesmith.model.weights import weights_digest
        from tunesmith.train.caching import encoding_fingerprint

        task = copy(self.task)
        facts = {name: one for name, one in task.facts.values.items() if name not in (*OF_TARGETS, *OF_ROWS)}
        task.facts = Facts(facts)
        blocks = self.prepared.source.recipe.model.blocks
        said = [VERSION, task.name, weights_digest(task.source), encoding_fingerprint(task), blocks]
        key = blake2b(json.dumps(said, default=str).encode(), digest_size=16).hexdigest()
        return cache_folder("audit", "features", key)

    def _known(self) -> dict[str, Any] | None:
        """What the folder holds, where an earlier audit wrote it."""
        try:
            found: dict[str, Any] = json.loads((self._folder / "about.json").read_text(encoding="utf-8"))
            return found if isinstance(found.get("width"), int) else None
        except (OSError, ValueError):
            return None

    def _about(self) -> dict[str, Any]:
        known = self._known()
        if known is None:
            known = {"kind": self.reader.kind, "width": self.reader.width, "model": self.task.source.name}
            (self._folder / "about.json").write_text(json.dumps(known), encoding="utf-8")
        return known

    def _opened(self) -> ActivationStore:
        if self._store is None:
            import torch

            from tunesmith.model.store import ActivationStore, LeafLayout

            layout = LeafLayout((int(self._about()["width"]),), torch.float32, ragged=False)
            self._store = ActivationStore(self._folder, [layout])
        return self._store
