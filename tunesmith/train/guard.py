"""What stops a run: numbers that are not finite, a request from outside, a batch that does not fit in memory.

It knows no modality; everything is said with the rows, the step and the last good checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from tunesmith.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Interrupted, UserError
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
    ids = [job.sets["train"].rows[i]["id"] for i in rows[:ROWS_NAMED]]
    what = "loss" if not np.isfinite(result.loss) else "gradient"
    raise UserError(
        f"the {what} is not finite at step {step} (loss {result.loss:g}, gradient norm {result.norm:g}); "
        "the step was not applied",
        f"rows {', '.join(ids)}{' ...' if len(rows) > ROWS_NAMED else ''}; {last_checkpoint(job)}",
        "lower the stage's lr, look at these rows, or use engine.precision: fp32",
    )


def last_checkpoint(job: Job) -> str:
    """Where the last good state lies, in words."""
    newest = sorted(job.checkpoints.glob("step-*"))
    return f"last good checkpoint: {newest[-1]}" if newest else "no checkpoint had been saved yet"


def stop_asked(job: Job) -> int | None:
    """The signal that any rank received; every rank gets the same answer."""
    asked = job.stop.asked
    if job.engine.world > 1:
        asked = int(job.engine.sum(torch.tensor(asked or 0)).item()) or None
    return asked


def stopped(job: Job, asked: int, step: int) -> Interrupted:
    """The error that ends a run which was asked to stop."""
    name, code = ("SIGTERM", EXIT_TERMINATED) if asked == job.stop.TERMINATE else ("Ctrl-C", EXIT_INTERRUPTED)
    return Interrupted(
        f"stopped by {name} after step {step}; everything up to it is saved",
        str(job.checkpoints.parent),
        "run the same command again to go on from there",
        code=code,
    )


def rehearse(loop: Loop, objective: nn.Module) -> None:
    """Run the epoch's worst micro-batch forward and backward before step 1, and leave no trace of it.

    Out of memory halves the micro-batch, aloud: the numbers do not change, because they are sums.
    """
    job = loop.job
    lengths = np.asarray(job.sets["train"].lengths)
    worst = np.argsort(lengths, kind="stable")[::-1][: job.recipe.batch.rows]
    kept = {name: buffer.clone() for name, buffer in job.model.named_buffers()}
    address = loop.address(0)
    while True:
        try:
            pieces = pieces_of(worst, loop.micro, job.engine.rank, job.engine.world)[:1]
            loader = job.sets["train"]
            batch = to_device(loader.batch(list(pieces[0].rows), address), job.engine.device)
            accumulate(objective, job.task, job.engine, [(pieces[0], batch)], loop.around(address))
            break
        except (torch.OutOfMemoryError, MemoryError) as fault:
            if loop.micro == 1:
                raise UserError(
                    "not even one row fits in memory",
                    f"row {loader.rows[int(worst[0])]['id']} of length {lengths[worst[0]]}",
                    "shorten the rows, train fewer layers, or set engine.gradient_checkpointing: true",
                ) from fault
            loop.micro = max(1, loop.micro // 2)
            loop.emit({"kind": "warning", "text": f"out of memory: the micro-batch is now {loop.micro} rows"})
    for parameter in job.model.parameters():
        parameter.grad = None
    with torch.no_grad():
        for name, buffer in job.model.named_buffers():
            buffer.copy_(kept[name])
