"""How long a run will take, by part: what it computes, counted from shapes, at what this machine or another does.

It loads no weights. What can't be told by shapes alone is left out, and said.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.devices import Device
from tunesmith.forecast.passes import Pass, over, traced
from tunesmith.forecast.pricing import Pricing, measured_pricing, stated_pricing
from tunesmith.forecast.writing import base_seconds, says_otherwise, tokens_written, writes, written_seconds
from tunesmith.machine import available_cores
from tunesmith.prepare import Prepared

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.plan import Plan

HOST_ROWS, ENCODED_TOGETHER, HOST_SECONDS = 64, 8, 1.0
"""At most how many rows are encoded, how many at a time, and for how long, to measure what one takes here."""
STEP_CALLS, BATCH_CALLS = 120, 40
"""What a step does beside the model, in calls (counts, rates, the event), and what a batch of predictions does."""
PARAMETER_CALLS = 2
"""Calls for every tensor that learns: its norm, and its share of the clipping; the optimizer is one for all."""
RANGE_STEPS = 50
"""Steps of a learning-rate range test: most are over a little before their 60."""
PROBED_BATCHES = 6
"""Passes of a few rows that it takes to find and prove a cache's boundary."""
PROBE_ROWS = 4
MANY_BLOCKS = 16
"""From so many blocks on a pass is traced for two sizes of batches only, or planning would take too long."""


@dataclass
class Forecast:
    """Seconds by part as they are added up, and what could not be told."""

    prepared: Prepared
    plan: Plan
    model: nn.Module
    layers: LayerGroups
    dropout: RowKeys
    sets: Mapping[str, Loader]
    pricing: Pricing
    parts: dict[str, float] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    row_seconds: float = 0.0
    row_bytes: int = 1
    largest: tuple[float, float] = (0.0, 0.0)
    read: dict[tuple[int, int], float | None] = field(default_factory=dict)
    _forward: dict[Any, float | None] = field(default_factory=dict)
    _loaders: list[Loader] = field(default_factory=list)

    def add(self, part: str, seconds: float | None) -> float:
        """Add to a part; None makes it one that is not known. Returns what was added."""
        if seconds is None:
            if part not in self.unknown:
                self.unknown.append(part)
            return 0.0
        self.parts[part] = self.parts.get(part, 0.0) + seconds
        return seconds

    # Batches

    def size(self, loader: Loader) -> Callable[[np.ndarray], float]:
        """Positions of a batch: all of them where rows lie end to end, else as far as the longest reaches."""
        lengths = np.asarray(loader.lengths, dtype=float)
        if self.prepared.task.packed:
            return lambda rows: float(lengths[rows].sum())
        return lambda rows: float(len(rows) * lengths[rows].max())

    def passed(
        self,
        loader: Loader,
        rows: np.ndarray,
        run: Callable[[Any], Any],
        *,
        training: bool = False,
        seam: str | None = None,
        repeats: int | None = None,
    ) -> Pass | None:
        """The operations of one batch. Where rows are padded to the longest, it stands for all, and is encoded once."""
        import torch

        from tunesmith.train.step import to_device

        if not self.prepared.task.packed:
            rows = np.full(len(rows), rows[int(np.argmax(np.asarray(loader.lengths)[rows]))])
        batch = to_device(loader.batch(rows), torch.device("meta"))
        lengths = [int(loader.lengths[i]) for i in rows] if self.prepared.task.packed else None

        def within() -> Any:
            with self.dropout.over(range(1, len(rows) + 1), lengths):
                return run(batch)

        precision, blocks = self.plan.precision, self.layers.blocks
        how: dict[str, Any] = {"precision": precision, "seam": seam, "repeats": repeats, "blocks": blocks}
        return traced(self.model, within, training=training, **how)

    def forward(
        self,
        loader: Loader,
        predict: Callable[..., Any],
        *,
        seam: str | None = None,
        below: bool = False,
        base: bool = False,
    ) -> float | None:
        """Seconds of predictions for all rows, or of recording what lies below a boundary.

        What is frozen makes no difference to it, so that each is traced once for all stages.
        """
        tokens = tokens_written(self.prepared.task.facts.values, base=base)
        known = (id(loader), getattr(predict, "__func__", predict), seam, below, tokens)
        if known not in self._forward:
            self._forward[known] = self._all_forward(loader, predict, seam, below, tokens)
            self._loaders.append(loader)
        return self._forward[known]

    def _all_forward(
        self, loader: Loader, predict: Callable[..., Any], seam: str | None, below: bool, tokens: int | None
    ) -> float | None:
        from tunesmith.data.loader import sorted_batches

        most = loader.together(self.prepared.source.recipe.batch.eval_rows, self.plan.device.partition(":")[0])
        batches = sorted_batches(loader.lengths, most)

        def cost(rows: np.ndarray) -> float | None:
            found = self.passed(loader, rows, lambda batch: predict(self.model, batch), seam=seam, repeats=tokens)
            if found is None:
                return None
            work = found.below if below else found.work(cached=seam is not None)
            return self.pricing.seconds(work)

        computed = over(batches, self.size(loader), cost, typical=2)
        return None if computed is None else computed + self.host(loader, len(batches), sum(map(len, batches)))

    def host(self, loader: Loader, batches: int, rows: int, *, drawn: bool = False) -> float:
        """Seconds of putting batches together; of encoding, too, where rows are drawn anew or too large to be kept."""
        from tunesmith.data.loader import MEMO_BYTES

        places = len(loader.rows) * max(1, loader.views)
        again = 1.0 if drawn else max(0.0, 1 - MEMO_BYTES / (places * self.row_bytes))
        workers = min(max(1, loader.workers), available_cores())
        return BATCH_CALLS * self.pricing.unit.call_seconds * batches + again * rows * self.row_seconds / workers

    # Parts

    def predicted(self, loader: Loader, predict: Callable[..., Any], seam: str | None = None) -> float | None:
        """Seconds of predictions for all rows; by writing where they are no single pass."""
        task = self.prepared.task
        if writes(task) and (predict == task.predict or not says_otherwise(task)):
            return written_seconds(self, loader, base=False)
        return self.forward(loader, predict, seam=seam)

    def prepare(self, spent: float) -> None:
        """Reading, checking and encoding the rows, and loading the weights.

        Args:
            spent: What reading and planning took until now: a run begins with the same.
        """
        loader, task = self.sets["train"], self.prepared.task
        rows = [loader.rows[i] for i in range(0, len(loader.rows), max(1, len(loader.rows) // HOST_ROWS))][:HOST_ROWS]
        began, examples = time.perf_counter(), []
        for start in range(0, len(rows), ENCODED_TOGETHER):
            some = rows[start : start + ENCODED_TOGETHER]
            drawn = [task.encode(row, np.random.default_rng(start)) for row in some] if task.random else None
            examples += drawn if drawn is not None else task.encode_many(some)
            if time.perf_counter() - began > HOST_SECONDS:
                break
        self.row_seconds = (time.perf_counter() - began) / max(1, len(examples))
        self.row_bytes = max(1, sum(getattr(x, "nbytes", 0) for x in examples[0].values())) if examples else 1
        self.add("reading and planning", spent)
        kept = [one for one in self.sets.values() if one is not loader or not task.random or one.views]
        count = sum(len(one.rows) * max(1, one.views) for one in kept)
        self.add("encoding the rows", count * self.row_seconds)
        self.add("loading the model", sum(t.nbytes for t in self.model.parameters()) / self.pricing.disk[1])

    def bases(self) -> None:
        """Scoring what one has without training: the candidates on training rows, the chosen one on held-out rows."""
        try:
            seconds = base_seconds(self)
        except (RuntimeError, NotImplementedError):
            # A candidate that is made from the weights themselves.
            seconds = None
        self.add("scoring the base", seconds)
        self.add("scoring the base", self._probes())

    def _probes(self) -> float | None:
        from tunesmith.plan import loader_of

        found, held = 0.0, self.sets["held_out"]
        known = set(held.ids)
        for rows in self.prepared.task.probes(self.prepared.held_out).values():
            # The held-out rows under other conditions are as long as they were, and costly to encode.
            same = len(rows) > 0 and all(str(row["id"]) in known for row in rows)
            loader = held if same else loader_of(self.prepared, rows)
            one = self.predicted(loader, self.prepared.task.validate)
            if one is None:
                return None
            found += one * (len(rows) / max(1, len(held)) if same else 1.0)
        return found

    def stage(self, index: int) -> float:
        """One stage: recording, steps, evaluations between, and scoring at its end."""
        from tunesmith.model.stages import learning_groups
        from tunesmith.train.recompute import recompute_blocks

        stage, recipe, task = self.plan.resolved[index], self.prepared.source.recipe, self.prepared.task
        groups = learning_groups(self.layers, stage)
        self.layers.apply([g.group for g in groups if g.trains], stage.within)
        if recipe.engine.gradient_checkpointing:
            recompute_blocks(self.layers)
        cache = self.plan.stages[index]["cache"]
        seam = cache["boundary"] if cache["use"] else None
        total = sum(self._record(seam, cache["bytes"])) if seam is not None else 0.0
        steps = self.plan.stages[index]["steps"]
        total += self.add("steps", self._steps(index, steps, seam))
        total += self.add("rehearsal", self._rehearsed(seam))
        epochs = -(-steps // max(1, -(-len(self.sets["train"]) // recipe.batch.rows)))
        if "validation" in self.sets:
            one = self.predicted(self.sets["validation"], task.validate, seam)
            total += self.add("evaluations", None if one is None else one * epochs)
        if "samples" in self.sets and not task.one_pass:
            self.add("samples", None)
        replayed = seam if task.one_pass else None
        return total + self.add("evaluations", self.predicted(self.sets["held_out"], task.predict, replayed))

    def _record(self, seam: str | None, size: int) -> Sequence[float]:
        from tunesmith.train.caching import recorded_sets

        task, part = self.prepared.task, "filling the cache"
        found = []
        for loader in recorded_sets(task, self.sets).values():
            found.append(self.add(part, self.forward(loader, task.loss, seam=seam, below=True)))
        middle = np.argsort(self.sets["train"].lengths, kind="stable")[len(self.sets["train"]) // 2 :][:PROBE_ROWS]
        probe = self.passed(self.sets["train"], middle, lambda batch: task.loss(self.model, batch))
        if probe is not None:
            found.append(self.add(part, PROBED_BATCHES * self.pricing.seconds(probe.work())))
        found.append(self.add(part, size / self.pricing.disk[0]))
        return found

    def _steps(self, index: int, steps: int, seam: str | None) -> float | None:
        from tunesmith.data.loader import Address
        from tunesmith.train.step import pieces_of

        recipe, task, loader = self.prepared.source.recipe, self.prepared.task, self.sets["train"]
        address = Address(recipe.run.seed, index, 0)
        order = loader.epoch_steps(recipe.batch.rows, address, buckets=recipe.batch.buckets)[:steps]
        pieces = [piece.rows for rows in order for piece in pieces_of(rows, self.plan.micro, 0, 1)]

        def cost(rows: np.ndarray) -> float | None:
            found = self.passed(loader, rows, lambda batch: task.loss(self.model, batch), training=True, seam=seam)
            if found is None:
                return None
            seconds = self.pricing.seconds(found.work(cached=seam is not None), training=True)
            self.largest = max(self.largest, (self.size(loader)(rows), seconds))
            return seconds

        self.largest = (0.0, 0.0)
        computed = over(pieces, self.size(loader), cost, typical=2 if len(self.layers.blocks) > MANY_BLOCKS else 3)
        if computed is None:
            return None
        computed += self.host(loader, len(pieces), sum(map(len, pieces)), drawn=task.random and not loader.views)
        if seam is not None:
            computed += self._replayed(index, pieces)
        each = computed / len(order) + self._update()
        return each * (steps + (RANGE_STEPS if self.plan.resolved[index].lr == "auto" else 0))

    def _rehearsed(self, seam: str | None) -> float | None:
        """The longest rows forward and back before the first step, and those that are judged, where all of it runs."""
        from tunesmith.data.loader import sorted_batches

        loader, recipe, task = self.sets["train"], self.prepared.source.recipe, self.prepared.task
        size, seconds = self.largest
        if not size:
            return None
        found = seconds * self.size(loader)(longest(loader, self.plan.micro)) / size
        found *= min(2, -(-min(recipe.batch.rows, len(loader)) // self.plan.micro))
        judged = self.sets.get("validation", self.sets["held_out"])
        if seam is None and (task.one_pass or task.validation_goal is not None):
            count = judged.together(recipe.batch.eval_rows, self.plan.device.partition(":")[0])
            batches, whole = sorted_batches(judged.lengths, count), self.forward(judged, task.validate)
            share = self.size(judged)(batches[0]) / sum(map(self.size(judged), batches))
            found += (whole or 0.0) * share
        return found

    def _replayed(self, index: int, pieces: Sequence[np.ndarray]) -> float:
        """Reading activations from the mapped store: row by row, each once through memory."""
        from tunesmith.model.operations import MOVE, Operation

        rows = sum(map(len, pieces))
        held = sum(len(loader) for loader in self.sets.values())
        one = Operation(MOVE, bytes=2 * self.plan.stages[index]["cache"]["bytes"] // max(1, held))
        return self.pricing.seconds({one: rows})

    def _update(self) -> float:
        """Seconds of the optimizer, the gradient's norm and the moving average, and of what a step does beside."""
        from tunesmith.forecast.closed_form import STATE_BYTES
        from tunesmith.model.operations import MOVE, Operation

        optimizer = self.prepared.source.recipe.optimizer
        # Read and written: weight, gradient and state; the gradient for its norm, and for the clipping.
        passes = 3 + STATE_BYTES[optimizer.name] / 2 + 1 + (2 if optimizer.clip is not None else 0)
        passes += 3 if optimizer.ema is not None else 0
        learning = [p.numel() * 4 for p in self.model.parameters() if p.requires_grad]
        work: Counter[Operation] = Counter(Operation(MOVE, bytes=size) for size in learning)
        unit = self.pricing.unit.call_seconds
        moved = passes * sum(self.pricing.one(operation) * count for operation, count in work.items())
        return moved + unit * (STEP_CALLS + PARAMETER_CALLS * len(learning))

    def proof(self) -> None:
        """Scoring the tuned model in memory where its predictions are not at hand, and again as saved."""
        from tunesmith.task import Task

        part, task = "closing proof", self.prepared.task
        last = self.plan.stages[-1]["cache"]["use"] if self.plan.stages else False
        again = 1 + int((last and task.one_pass) or "validation" in self.sets)
        one = self.predicted(self.sets["held_out"], task.predict)
        self.add(part, None if one is None else again * one)
        self.add(part, self._probes())
        if type(task).calibrate is not Task.calibrate:
            judged = "validation" if "validation" in self.sets else "train"
            self.add(part, self.predicted(self.sets[judged], task.predict))
        size = sum(t.nbytes for t in self.model.parameters())
        self.add(part, size / self.pricing.disk[0] + size / self.pricing.disk[1])


def longest(loader: Loader, count: int) -> np.ndarray:
    """The longest rows of a set, as many as that."""
    return np.argsort(np.asarray(loader.lengths), kind="stable")[::-1][:count]


def predict_time(
    plan: Plan,
    prepared: Prepared,
    model: nn.Module,
    layers: LayerGroups,
    dropout: RowKeys,
    sets: Mapping[str, Loader],
    *,
    device: Device | None = None,
    spent: float = 0.0,
) -> dict[str, Any] | None:
    """How long the run takes: the plan's ``time``.

    Args:
        plan: With its stages, caches and micro-batch decided.
        prepared: The recipe's rows and task.
        model: On the meta device.
        layers: Its groups.
        dropout: Its dropout.
        sets: The row sets of the run.
        device: Another device than this machine's, by its maker's rates.
        spent: Seconds that reading and planning took until now; a run begins with the same.

    Returns:
        ``seconds``, ``parts`` (seconds by part), ``stages`` (seconds of each) and ``basis``: where the rates come from
        and what is not counted. None where no rates are at hand: none were measured here for this kind of device.
    """
    from tunesmith.rates import stored

    kept = stored() if device is None else None
    pricing = stated_pricing(device) if device is not None else None
    if kept is not None:
        pricing = measured_pricing(kept, plan.device.partition(":")[0])
    if pricing is None:
        return None
    forecast = Forecast(prepared, plan, model, layers, dropout, sets, pricing)
    forecast.prepare(spent)
    forecast.bases()
    stages = [forecast.stage(index) for index in range(len(plan.stages))]
    forecast.proof()
    basis = pricing.basis
    if forecast.unknown:
        basis += f"; not counted, since shapes alone do not tell: {', '.join(forecast.unknown)}"
    return {
        "seconds": float(sum(forecast.parts.values())),
        "parts": {name: float(seconds) for name, seconds in forecast.parts.items() if seconds},
        "stages": [float(seconds) for seconds in stages],
        "basis": basis,
    }
