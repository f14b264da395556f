"""One optimizer step, however it is cut into micro-batches: sums in, one division, gradients out.

It knows no modality, no stage and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.data.loader import share_of
from tunesmith.task import Task
from tunesmith.train.company import with_company
from tunesmith.train.engine import Engine
from tunesmith.types import Batch, Sums


class Objective(nn.Module):
    """Model and task as one module, so that a wrapper sees the whole step whatever parts the task calls."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Batch) -> Sums:
        """The task's loss sums."""
        return self.task.loss(self.model, batch)


@dataclass(frozen=True)
class Piece:
    """One rank's part of one micro-batch.

    Args:
        rows: Row numbers.
        weight: 0 where this rank has no row left and only keeps the others company, else 1.
    """

    rows: np.ndarray
    weight: float


@dataclass(frozen=True)
class StepResult:
    """What a step was: the loss by term and in all, what it was divided by, the gradient's norm before clipping.

    ``noted`` is what the task tells beside its loss.
    """

    loss: float
    terms: dict[str, float]
    counts: dict[str, float]
    norm: float
    noted: dict[str, float] = field(default_factory=dict)


def pieces_of(rows: np.ndarray, micro: int, rank: int, world: int) -> list[Piece]:
    """Cut a step's rows into this rank's micro-batches of at most ``micro`` rows."""
    out = []
    for start in range(0, len(rows), micro * world):
        piece = rows[start : start + micro * world]
        mine = share_of(piece, rank, world)
        out.append(Piece(mine, 1.0) if len(mine) else Piece(piece[:1], 0.0))
    return out


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in nested lists, tuples and dicts, moved."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v, device) for v in value)
    return value


Around = Callable[[np.ndarray], AbstractContextManager[Any]]
"""A context for the rows of one micro-batch: their dropout keys, their cached activations."""


class UnknownUnit(ValueError):
    """A loss term names a unit that ``count`` does not give."""


def divided(sums: Sums, counts: dict[str, float]) -> dict[str, Tensor]:
    """Each loss sum over the count of its unit; the unit is what follows the slash, or the whole name."""
    out = {}
    for name, value in sums.items():
        unit = name.rsplit("/", 1)[-1]
        if unit not in counts:
            raise UnknownUnit(f"loss gives {name!r}, but count knows only {', '.join(counts)}")
        out[name] = value / max(counts[unit], 1e-12)
    return out


def accumulate(
    objective: nn.Module, task: Task, engine: Engine, micro: Sequence[tuple[Piece, Batch]], around: Around
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    """Gradients of one step over its micro-batches; the same however they are cut.

    With a mean per micro-batch, accumulation is wrong whenever the micro-batches differ in size; here the counts of
    the whole step are known first, and every sum is divided by them.

    Returns:
        Loss by term summed over this rank's micro-batches, what the task noted beside it, and the counts over all
        ranks.
    """
    counts = engine.total([{k: v * p.weight for k, v in task.count(batch).items()} for p, batch in micro])
    if task.company:
        micro = with_company(task, objective.model, engine, micro, around)  # type: ignore[arg-type]
    seen: dict[str, Tensor] = {}
    noted: dict[str, Tensor] = {}
    for i, (piece, batch) in enumerate(micro):
        # The backward pass stays inside: recomputed blocks draw the same dropout.
        with around(piece.rows):
            with engine.precision():
                terms = divided(objective(batch), counts)
            loss = torch.stack([term.float() for term in terms.values()]).sum() * piece.weight * engine.world
            engine.backward(objective, loss, sync=i == len(micro) - 1)
        told, task.noted = divided(task.noted, counts), {}
        for found, into in ((terms, seen), (told, noted)):
            for name, term in found.items():
                value = term.detach().float() * piece.weight
                into[name] = into[name] + value if name in into else value
    return seen, noted, counts


def optimizer_step(
    objective: nn.Module,
    task: Task,
    engine: Engine,
    optimizer: torch.optim.Optimizer,
    micro: Sequence[tuple[Piece, Batch]],
    around: Around,
    clip: float | None,
) -> StepResult:
    """Accumulate, clip, step. A gradient that is not finite is not applied: the caller sees it in the result."""
    seen, noted, counts = accumulate(objective, task, engine, micro, around)
    norm = engine.clip(optimizer, clip)
    totals = engine.sum(torch.stack([*seen.values(), *noted.values()])).tolist()
    terms = dict(zip(seen, totals, strict=False))
    beside = {name.split("/", 1)[0]: value for name, value in zip(noted, totals[len(seen) :], strict=True)}
    result = StepResult(sum(terms.values()), terms, counts, norm, beside)
    # With loss scaling the scaler itself skips a step whose gradient overflowed; a bad loss is never one of those.
    if np.isfinite(result.loss) and (np.isfinite(norm) or engine.scales):
        engine.step(optimizer)
    else:
        optimizer.zero_grad(set_to_none=True)
    return result


def grouped(batches: Iterator[Batch], pieces: Sequence[Sequence[Piece]]) -> Iterator[list[tuple[Piece, Batch]]]:
    """Put batches that arrive one by one back into steps."""
    for step in pieces:
        yield [(piece, next(batches)) for piece in step]
