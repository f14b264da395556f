"""What stops a run: numbers that are not finite, a request from outside.

It knows no modality; everything is said with the rows, the step and the last good checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.train.job import Job
from tunesmith.train.step import StepResult

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
