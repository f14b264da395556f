"""What stops a run: numbers that are not finite, a request from outside, a batch that does not fit in memory.

It knows no modality; everything is said with the rows, the step and the last good checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.train.job import Job
from tunesmith.train.step import StepResult, accumulate, pieces_of, to_device

if TYPE_CHECKING:
    from tunesmith.train.loop import Loop

ROWS_NAMED = 8


def check_finite(job: Job, result: StepResult, rows: np.ndarray, step: int) -> None:
    """Stop at a loss or gradient that is not finite; the step was not applied.

    Raises:
        UserError: With the step, its rows and the last good checkpoint.
    """
    if np.isfinite(result.loss) and (np.isfinite(result.norm) or job.engine.scales):
        return
    what = "loss" if not np.isfinite(result.loss) else "gradient"
    raise UserError(
        f"the {what} is not finite at step {step} (loss {result.loss:g}, gradient norm {result.norm:g}); "
        "the step was not applied",
        named_rows(job, rows),
        "lower the stage's lr, look at these rows, or use engine.precision: fp32",
    )


def named_rows(job: Job, rows: np.ndarray) -> str:
    """The rows of a step and the last good checkpoint, for a person."""
    ids = [job.sets["train"].ids[i] for i in rows[:ROWS_NAMED]]
    return f"rows {', '.join(ids)}{' ...' if len(rows) > ROWS_NAMED else ''}; {last_checkpoint(job)}"


def last_checkpoint(job: Job) -> str:
    """Where the last good state lies, in words."""
    newest = sorted(job.checkpoints.glob("step-*"))
    return f"last good checkpoint: {newest[-1]}" if newest else "no checkpoint had been saved yet"


def stop_asked(job: Job) -> int | None:
    """The signal that any rank received; every rank gets the same answer."""
    if job.engine.world == 1:
        return job.stop.asked
    # One slot a rank: a sum of signal numbers would be another signal's number.
    slots = torch.zeros(job.engine.world, dtype=torch.int64)
    slots[job.engine.rank] = job.stop.asked or 0
    return int(job.engine.sum(slots).max().item()) or None


def rehearse(loop: Loop, objective: nn.Module) -> None:
    """Run the epoch's worst micro-batch forward and backward before step 1, and leave no trace of it.

    Out of memory halves the micro-batch, aloud: the numbers do not change, because they are sums.
    """
    job = loop.job
    lengths = np.asarray(job.sets["train"].lengths)
    worst = np.argsort(lengths, kind="stable")[::-1][: job.recipe.batch.rows]
    loader, address = job.sets["train"], loop.address(0)
    while True:
        piece = pieces_of(worst, loop.micro, job.engine.rank, job.engine.world)[0]
        try:
            with untouched_buffers(job.model):
                batch = to_device(loader.batch(list(piece.rows), address), job.engine.device)
                accumulate(objective, job.task, job.engine, [(piece, batch)], loop.around(address))
            break
        except (torch.OutOfMemoryError, MemoryError) as fault:
            if loop.micro == 1:
                raise UserError(
                    "not even one row fits in memory",
                    f"row {loader.ids[int(worst[0])]} of length {lengths[worst[0]]}",
                    "shorten the rows, train fewer layers, or set engine.gradient_checkpointing: true",
                ) from fault
            loop.micro = max(1, loop.micro // 2)
            loop.emit({"kind": "warning", "text": f"out of memory: the micro-batch is now {loop.micro} rows"})
        finally:
            for parameter in job.model.parameters():
                parameter.grad = None


@contextmanager
def untouched_buffers(model: nn.Module) -> Iterator[None]:
    """Put every buffer back afterwards: a forward pass in training mode moves running statistics."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
