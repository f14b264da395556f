"""The probe: what frozen features are worth to a task, told by the head that learns to read them.

Everything below the head runs over each row once. Where the head is one linear layer on one vector a row, it is fitted
to its optimum by L-BFGS, so that no learning rate favours a network or a number of rows; any other head is trained by
the project's own loop on recorded activations. The loss and the predictions are the task's own in both. It knows no
learning curve and no rival network.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.machine import pick_device, pick_precision
from tunesmith.plan import Plan, loader_of, shape_of, with_adapter
from tunesmith.prepare import Prepared
from tunesmith.recipe import Stage

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.task import Task
    from tunesmith.train.engine import LocalEngine

Progress = Callable[[str, int, int], None]

RESAMPLES, RESAMPLES_BY_SCORE = 2000, 200
CHUNK_BYTES = 64 << 20
TIMED_ROWS = 64
BY_TRAINING = "train on half of the rows and on all of them, judged by the same data.eval, and compare the scores"


class Probe(ABC):
    """A frozen network with a head that learns anew whenever it is asked.

    Args:
        prepared: Rows and task; numbers of rows count in ``prepared.learning``.
        parameters: Of the whole model, the head among them.
        rows_per_second: Forward passes without gradients, as measured here.
    """

    how: str

    def __init__(self, prepared: Prepared, parameters: int) -> None:
        self.prepared, self.parameters = prepared, parameters
        self.rows_per_second = float("nan")

    @abstractmethod
    def predictions(self, rows: Sequence[int], judging: Sequence[int], seed: int) -> list[Any]:
        """What a head that learned from ``rows`` says of every held-out row.

        Args:
            rows: To learn from.
            judging: Rows that pick the penalty, or the best weights; may be empty.
            seed: Of everything random.
        """


def open_probe(prepared: Prepared, *, progress: Progress = lambda _what, _done, _total: None) -> Probe:
    """Load the network, and compute its features where the head is linear.

    Rows are read as in evaluation: nothing is augmented. An adapter of the recipe is left out.

    Raises:
        UserError: The recipe trains no new head on a frozen network, or the weights can't be read.
    """
    import torch

    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.features import NoLinearHead, linear_head

    frozen = frozen_of(prepared)
    recipe, task = frozen.source.recipe, frozen.task
    stage = _head_stage(frozen)
    device = pick_device(recipe.engine.device)
    precision, _ = pick_precision(recipe.engine.precision, device, low=task.low_precision)
    engine = LocalEngine(device, precision)
    torch.manual_seed(recipe.run.seed)
    model = task.load()
    layers = with_adapter(frozen, model)
    model.eval().to(engine.device)
    try:
        return LinearProbe(frozen, model, linear_head(model, layers.names("head")), engine, progress)
    except NoLinearHead:
        return TrainedProbe(frozen, model, stage, engine, precision, progress)


def frozen_of(prepared: Prepared) -> Prepared:
    """The same without adapter and augmentation; the task is a copy."""
    task = copy(prepared.task)
    task.random, task.views, task.held, task.adapted = False, 0, "fp32", False
    task.recomputed = False
    source = prepared.source
    changed: dict[str, Any] = {"adapter": None}
    # The options that go with the recipe's weights stay; how frozen weights are held is no matter for a probe.
    changed["model"] = source.recipe.model.model_copy(update={"dtype": "fp32"})
    changed["engine"] = source.recipe.engine.model_copy(update={"gradient_checkpointing": False, "compile": False})
    return replace(prepared, task=task, source=replace(source, recipe=source.recipe.model_copy(update=changed)))


def _head_stage(prepared: Prepared) -> Stage:
    """The stage that trains the head, as the recipe or the task has it.

    Raises:
        UserError: Neither has one, and the weights held every layer: there is no new head.
    """
    task, recipe = prepared.task, prepared.source.recipe
    _, layers, _, _ = shape_of(prepared)
    stages = recipe.stages or task.stages(len(layers.blocks))
    known = next((stage for stage in stages if stage.train == "head"), None)
    fresh = set(layers.names("head")) & task.fresh
    if not layers.names("head") or not (known or fresh) or not task.one_pass:
        raise UserError(
            f"{task.name} trains no new head on a frozen network here, so nothing can be learned from features that "
            "are computed once: every point would be a training of its own",
            prepared.source.where("stages" if recipe.stages else "task"),
            BY_TRAINING,
        )
    return known or Stage(train="head", epochs=10)


class LinearProbe(Probe):
    """A head that is one linear layer: features once, then a fit for each set of rows.

    Args:
        prepared: From ``open_probe``.
        model: On the engine's device, in ``eval`` mode; not kept.
        head: Its linear layer.
        engine: Where the network runs; heads are fitted on the CPU.
        progress: Receives how far the features are.

    Raises:
        NoLinearHead: The head reads more than a vector a row, or what it says is not what the model says.
        UserError: Some features are not finite.
    """

    how = "linear"

    def __init__(
        self, prepared: Prepared, model: nn.Module, head: nn.Linear, engine: LocalEngine, progress: Progress
    ) -> None:
        from tunesmith.train.features import Recorder
        from tunesmith.train.linear_head import LinearFit

        super().__init__(prepared, sum(p.numel() for p in model.parameters()))
        recorder = Recorder(prepared.task, model, head, engine, prepared.source.recipe.batch.eval_rows)
        learning, held_out = (loader_of(prepared, rows) for rows in (prepared.learning, prepared.held_out))
        self._answers = recorder.check(learning)
        features = recorder.record(learning, "features of training rows", progress)
        self.held_out = recorder.record(held_out, "features of held-out rows", progress)
        self.rows_per_second = (len(learning) + len(held_out)) / max(recorder.seconds, 1e-9)
        self.fit = LinearFit(prepared.task, self._answers, features, head.out_features, head.bias is not None)

    def predictions(self, rows: Sequence[int], judging: Sequence[int], seed: int) -> list[Any]:
        """As ``Probe`` says; nothing here is random but which rows pick the penalty where none are given."""
        import torch

        outputs = self.fit.head_of(rows, judging, seed)(self.held_out.inputs)
        with torch.inference_mode():
            return list(self.prepared.task.predict(self._answers.saying(outputs), self.held_out.batch))


class TrainedProbe(Probe):
    """Any other head: trained by the loop on recorded activations, as long for few rows as for many.

    Args:
        prepared: From ``open_probe``.
        model: Measured for its speed; every fit loads its own, with a head drawn anew.
        stage: That trains the head; its number of steps on all training rows is that of every fit.
        engine: Where it runs.
        precision: Its name.
        progress: Receives what a fit is doing.
    """

    how = "trained"

    def __init__(
        self,
        prepared: Prepared,
        model: nn.Module,
        stage: Stage,
        engine: LocalEngine,
        precision: str,
        progress: Progress,
    ) -> None:
        from tunesmith.train.job import steps_of

        super().__init__(prepared, sum(p.numel() for p in model.parameters()))
        recipe = prepared.source.recipe
        steps, _ = steps_of(stage, len(prepared.train), recipe)
        changed = {"train": "head", "steps": steps, "epochs": None, "patience": None, "within": None}
        self._stage = stage.model_copy(update=changed)
        self._engine, self._precision, self._progress = engine, precision, progress
        self._held_out = loader_of(prepared, prepared.held_out)
        self._time(model)

    def _time(self, model: nn.Module) -> None:
        import torch

        from tunesmith.train.step import to_device

        rows = list(range(min(TIMED_ROWS, len(self._held_out))))
        batch = to_device(self._held_out.batch(rows), self._engine.device)
        with torch.inference_mode(), self._engine.precision():
            began = time.perf_counter()
            self.prepared.task.predict(model, batch)
        self.rows_per_second = len(rows) / max(time.perf_counter() - began, 1e-9)

    def predictions(self, rows: Sequence[int], judging: Sequence[int], seed: int) -> list[Any]:
        """As ``Probe`` says; ``judging`` picks the best weights after an epoch.

        Raises:
            UserError: What lies below the head can't be recorded.
        """
        from tunesmith.journey import loop_of
        from tunesmith.train.head_loop import HeadLoop
        from tunesmith.train.signals import StopRequest

        recipe, learning = self.prepared.source.recipe, self.prepared.learning
        changed = {
            "run": recipe.run.model_copy(update={"seed": seed, "checkpoint_seconds": 1e9, "checkpoint_steps": None}),
            "cache": recipe.cache.model_copy(update={"use": "on"}),
            "stages": [self._stage],
        }
        source = replace(self.prepared.source, recipe=recipe.model_copy(update=changed))
        train, validation = ([learning[int(i)] for i in chosen] for chosen in (rows, judging))
        prepared = replace(self.prepared, source=source, train=train, validation=validation, further=())
        plan = Plan(self._engine.device.type, self._precision, recipe.batch.rows, [self._stage])
        with TemporaryDirectory() as folder:
            job = loop_of(
                prepared, plan, StopRequest(), engine=self._engine, checkpoints=Path(folder, "checkpoints"),
                progress=self._progress,
            ).job  # fmt: skip
            sets = {name: one for name, one in job.sets.items() if name != "samples"} | {"held_out": self._held_out}
            loop = HeadLoop(replace(job, sets=sets), lambda _event: None)
            try:
                loop.fit()
            except UserError as fault:
                if not fault.what.startswith("cache.use: on"):
                    raise
                what = fault.what.partition("can't use it: ")[2]
                raise UserError(
                    f"what lies below the head can't be computed once and kept: {what}",
                    self.prepared.source.where("model"),
                    BY_TRAINING,
                ) from fault
            return loop.said


def resampled_scores(
    task: Task, found: Sequence[Sequence[Any]], rows: Sequence[Any], *, seed: int, groups: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The goal metric of several sets of predictions, on all rows and on resamples that all of them share.

    Args:
        task: Scores.
        found: Predictions for ``rows``, one list a fit.
        rows: The held-out rows.
        seed: Of the resampling.
        groups: Group of every row, where whole groups are drawn.

    Returns:
        Scores float64 [fits], and float64 [fits, resamples]; NaN where the score is undefined on a resample.
    """
    points = np.array([task.score(predictions, rows)[task.goal] for predictions in found], dtype=np.float64)
    rng = np.random.default_rng(seed)
    unit = np.arange(len(rows)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    units = int(unit.max()) + 1
    tallies = [task.tally(predictions, rows) for predictions in found]
    known = [np.asarray(tally, dtype=np.float64) for tally in tallies if tally is not None]
    if len(known) == len(tallies):
        sums = np.zeros((len(known), units, known[0].shape[1]))
        for total, tally in zip(sums, known, strict=True):
            np.add.at(total, unit, tally)
        chunk = max(1, CHUNK_BYTES // (8 * units))
        drawn = []
        for start in range(0, RESAMPLES, chunk):
            size = min(chunk, RESAMPLES - start)
            weights = rng.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float64)
            drawn.append(np.stack([task.goal_of(weights @ total) for total in sums]))
        return points, np.concatenate(drawn, axis=1)
    members = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    scorers = [_scorer(task, predictions, rows) for predictions in found]
    by_score = np.empty((len(found), RESAMPLES_BY_SCORE))
    for i in range(RESAMPLES_BY_SCORE):
        chosen = np.concatenate([members[one] for one in rng.integers(0, units, units)])
        by_score[:, i] = [score(chosen) for score in scorers]
    return points, by_score


def _scorer(task: Task, predictions: Sequence[Any], rows: Sequence[Any]) -> Callable[[np.ndarray], float]:
    ready = task.resampler(predictions, rows)
    if ready is not None:
        return ready
    return lambda chosen: task.score([predictions[i] for i in chosen], [rows[i] for i in chosen])[task.goal]


def groups_of(prepared: Prepared) -> list[Any] | None:
    """The group of every held-out row, where the recipe names groups."""
    column = prepared.source.recipe.data.group_by
    return [row.get(column) for row in prepared.held_out] if column else None
