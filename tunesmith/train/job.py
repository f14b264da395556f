"""What a fit is made from, and where it is: the nouns of the loop. It knows no modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.data.loader import Loader
from tunesmith.model.dropout import RowKeys
from tunesmith.model.layers import LayerGroups
from tunesmith.recipe import Recipe, Stage
from tunesmith.task import Task
from tunesmith.train.engine import LocalEngine
from tunesmith.train.optim import MovingAverage
from tunesmith.train.signals import StopRequest
from tunesmith.train.step import StepResult
from tunesmith.train.watch import Watcher


@dataclass
class Job:
    """Everything a fit is made from.

    Args:
        recipe: Resolved.
        task, model, layers: Loaded; the model has its adapters, if any.
        dropout: The rows in flight, for dropout with an address.
        stages: What learns, in order.
        sets: Row sets: ``train``, ``held_out``, and ``validation`` where there is one.
        engine: Where steps run.
        precision: Its name.
        micro: Rows per forward pass and rank.
        checkpoints: Folder for checkpoints.
        watchers: Who sees the events; they may ask to stop, save or evaluate.
        watched: The row set that is scored after every epoch; only ``validation`` picks the best weights.
    """

    recipe: Recipe
    task: Task
    model: nn.Module
    layers: LayerGroups
    dropout: RowKeys
    stages: Sequence[Stage]
    sets: Mapping[str, Loader]
    engine: LocalEngine
    precision: str
    micro: int
    checkpoints: Path
    watchers: Sequence[Watcher] = ()
    watched: str = "validation"
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    stop: StopRequest = field(default_factory=StopRequest)


DEFAULT_EPOCHS = 3.0


def steps_of(stage: Stage, rows: int, recipe: Recipe) -> tuple[int, int]:
    """Optimizer steps of a stage, and steps per epoch."""
    per_epoch = -(-rows // recipe.batch.rows)
    return stage.steps or max(1, round((stage.epochs or DEFAULT_EPOCHS) * per_epoch)), per_epoch


@dataclass
class Position:
    """Where the run is; JSON-able, and all that a resume needs beside tensors.

    ``over``: a watcher has asked to end the present stage.
    """

    stage: int = 0
    stage_step: int = 0
    step: int = 0
    rate: float | None = None
    over: bool = False
    best: dict[str, Any] | None = None
    stage_scores: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)


class Swapped:
    """Averaged weights in place while the context lasts."""

    def __init__(self, average: MovingAverage) -> None:
        self.average = average

    def __enter__(self) -> None:
        self.average.swap()

    def __exit__(self, *_: object) -> None:
        self.average.swap()


class Both:
    """Two contexts as one; cheaper than an ExitStack in every micro-batch."""

    def __init__(self, first: AbstractContextManager[Any], second: AbstractContextManager[Any]) -> None:
        self.first, self.second = first, second

    def __enter__(self) -> None:
        self.first.__enter__()
        self.second.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self.second.__exit__(*raised)
        self.first.__exit__(*raised)


def step_event(
    at: Position, per_epoch: int, result: StepResult, rates: Mapping[str, float], seconds: float, rows: int
) -> dict[str, Any]:
    """What ``events.jsonl`` keeps of a step."""
    return {
        "kind": "step",
        "stage": at.stage,
        "step": at.step,
        "epoch": round(at.stage_step / per_epoch, 4),
        "loss": result.loss,
        "terms": result.terms,
        "counts": result.counts,
        "lr": dict(rates),
        "norm": result.norm,
        "seconds": seconds,
        "rows_per_second": rows / max(seconds, 1e-9),
        **({"noted": result.noted} if result.noted else {}),
    }


@torch.no_grad()
def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy named tensors into a model's parameters and buffers."""
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, value in tensors.items():
        if name in places:
            places[name].copy_(value)
