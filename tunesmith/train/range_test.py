"""The learning-rate range test of a stage (arXiv:1506.01186): short, exponential, and without a trace.

It knows no modality; the rule that picks a rate is in ``find_lr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tunesmith.model.stages import LearningGroup
from tunesmith.train.find_lr import exploded, schedule, valley
from tunesmith.train.guard import untouched_buffers
from tunesmith.train.optim import build_optimizer, parameter_groups
from tunesmith.train.step import optimizer_step

if TYPE_CHECKING:
    from tunesmith.train.loop import Loop

LOW, HIGH, STEPS = 1e-6, 1.0, 60
RANGE_EPOCH = 2**31 - 1


@dataclass(frozen=True)
class RangeTest:
    """Rates tried, the losses they gave, and the rate that was picked."""

    rates: list[float]
    losses: list[float]
    picked: float

    def to_json(self) -> dict[str, Any]:
        """The test as JSON."""
        return {"rates": self.rates, "losses": self.losses, "picked": self.picked}


def range_test(loop: Loop, objective: nn.Module, learning: Sequence[LearningGroup]) -> RangeTest:
    """Raise the rate from 1e-6 to 1 over at most 60 steps of the stage's own batches, then undo everything.

    Full batches are used: a rate that is right for a smaller one would be too small.
    """
    job = loop.job
    kept = {n: p.detach().clone() for n, p in job.model.named_parameters() if p.requires_grad}
    scaler = job.engine.scaler_state()
    optimizer = build_optimizer(
        parameter_groups(job.layers, learning, job.recipe.optimizer.weight_decay), job.recipe.optimizer
    )
    address = loop.address(RANGE_EPOCH)
    planned = schedule(LOW, HIGH, STEPS)
    order = [rows for rows in loop.order(RANGE_EPOCH) if len(rows) == job.recipe.batch.rows] or loop.order(RANGE_EPOCH)
    order = [order[i % len(order)] for i in range(len(planned))]
    rates: list[float] = []
    losses: list[float] = []
    try:
        with untouched_buffers(job.model):
            for i, (rate, micro) in enumerate(zip(planned, loop.micro_batches(order, address), strict=True)):
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["rate"]
                result = optimizer_step(
                    objective, job.task, job.engine, optimizer, micro, loop.around(address), job.recipe.optimizer.clip
                )
                rates.append(rate)
                losses.append(result.loss)
                if exploded(losses):
                    break
                loop.meet_request()
                job.progress("finding the learning rate", i + 1, STEPS)
    finally:
        with torch.no_grad():
            for name, parameter in job.model.named_parameters():
                if name in kept:
                    parameter.copy_(kept[name])
        job.engine.restore_scaler(scaler)
    return RangeTest(rates, losses, valley(rates, losses))
