"""A journey: what the chapters of a run hand on to each other, and the loop that stands in its middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.plan import Plan, loader_of, loaders_of, with_adapter
from tunesmith.prepare import Prepared
from tunesmith.recipe import Recipe
from tunesmith.run import Run
from tunesmith.types import Row

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.task import Task
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.job import Job
    from tunesmith.train.loop import Loop
    from tunesmith.train.watch import Watcher


@dataclass
class Hooks:
    """How a run speaks to a person; all silent by default.

    Args:
        say: Receives lines.
        watcher: Sees the events (a progress bar).
        progress: Receives what is being done beside steps, how much is done, and of how much.
        watchers: Makes further watchers for a journey; when they see an event, its ``job`` and ``loop`` are there.
        watch_held_out: Score the held-out rows after every epoch where there are no validation rows. They are shown,
            and choose nothing.
    """

    say: Callable[[str], None] = lambda _line: None
    watcher: Watcher | None = None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    watchers: Callable[[Journey], Sequence[Watcher]] = lambda _journey: ()
    watch_held_out: bool = False


@dataclass
class Journey:
    """What the chapters hand on to each other."""

    run: Run
    prepared: Prepared
    plan: Plan
    engine: LocalEngine
    hooks: Hooks
    job: Job = field(init=False)
    loop: Loop = field(init=False)
    base_name: str = ""
    base: list[Any] = field(default_factory=list)
    shown: dict[str, float] = field(default_factory=dict)
    """The goal metric on the held-out rows of every base that is shown, by its name."""
    probed: dict[str, list[Any]] = field(default_factory=dict)
    """What the untrained model says of the task's probes."""
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe, resolved."""
        return self.prepared.source.recipe


def loop_of(
    prepared: Prepared,
    plan: Plan,
    stop: Any,
    *,
    engine: LocalEngine | None = None,
    checkpoints: Path = Path(),
    watchers: Sequence[Watcher] = (),
    watch_held_out: bool = False,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
    emit: Callable[[dict[str, Any]], None] = lambda _event: None,
) -> Loop:
    """Load the model and put together a loop, ready to run."""
    import torch

    from tunesmith.model.dropout import address_dropout
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.job import Job
    from tunesmith.train.loop import Loop

    recipe, task = prepared.source.recipe, prepared.task
    # The only global seed: new layers are drawn here; from now on everything random has an address.
    torch.manual_seed(recipe.run.seed)
    task.adapted, task.recomputed = recipe.adapter is not None, recipe.engine.gradient_checkpointing
    model = task.load()
    layers = with_adapter(prepared, model)
    dropout, _ = address_dropout(model, recipe.optimizer.dropout)
    if recipe.engine.compile:
        for block in layers.blocks:
            block.compile(dynamic=True)
    sets = loaders_of(prepared)
    job = Job(
        recipe=recipe,
        task=task,
        model=model,
        layers=layers,
        dropout=dropout,
        stages=plan.resolved,
        sets=sets,
        engine=engine or LocalEngine(plan.device, plan.precision),
        precision=plan.precision,
        micro=plan.micro,
        checkpoints=checkpoints,
        watchers=watchers,
        watched="held_out" if watch_held_out and "validation" not in sets else "validation",
        progress=progress,
        stop=stop,
    )
    return Loop(job, emit)


def probed(journey: Journey, task: Task, model: nn.Module) -> dict[str, list[Any]]:
    """What a model says of every probe of its task."""
    return {
        name: predicted(journey, task.validate, loader_of(journey.prepared, rows), f"probing {name}", model)
        for name, rows in task.probes(journey.prepared.held_out).items()
    }


def frozen_digests(journey: Journey, layers: Any) -> dict[str, str]:
    """Digest of every group that no stage trains."""
    from tunesmith.model.stages import learning_groups
    from tunesmith.train.caching import tensors_digest

    learned = {g.group for stage in journey.plan.resolved for g in learning_groups(layers, stage) if g.trains}
    return {
        group: tensors_digest(layers.tensors(group))
        for group in layers.groups
        if group not in learned and layers.groups[group]
    }


def predicted(journey: Journey, predict: Any, loader: Loader, what: str, model: nn.Module | None = None) -> list[Any]:
    """Predictions of a predictor for all rows of a loader, with progress; by default from the model in training."""
    from tunesmith.train.inference import predict_rows

    return predict_rows(
        model if model is not None else journey.job.model,
        predict,
        loader,
        loader.lengths,
        journey.engine,
        rows=journey.recipe.batch.eval_rows,
        slow=not journey.prepared.task.one_pass,
        on_progress=lambda done, total: journey.hooks.progress(what, done, total),
    )


def make_further(prepared: Prepared, engine: LocalEngine, progress: Callable[[str, int, int], None]) -> None:
    """Let the task make its further rows with the model as it came (main rank)."""
    from tunesmith.train.inference import predict_rows

    task, rows_at_once = prepared.task, prepared.source.recipe.batch.eval_rows
    loaded: list[nn.Module] = []

    def said(rows: Sequence[Row]) -> list[Any]:
        if not loaded:
            loaded.append(task.load().to(engine.device))
        loader = loader_of(prepared, rows)
        return predict_rows(
            loaded[0],
            task.predict,
            loader,
            loader.lengths,
            engine.alone(),
            rows=rows_at_once,
            slow=not task.one_pass,
            on_progress=lambda done, total: progress("making further rows", done, total),
        )

    if engine.main:
        task.make_further(prepared.further, said)
    engine.wait()
