"""The rehearsal: the epoch's worst micro-batch, forward, backward and in evaluation, before step 1; it leaves no trace.

What does not fit is found out now and not hours in, and what was held at the worst moment is measured. It knows no
modality.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.heap import KEPT_ANYWAY, keep_freed
from tunesmith.model.ledger import Ledger, own_storages
from tunesmith.task import Task
from tunesmith.train.guard import untouched_buffers
from tunesmith.train.optim import optimizer_bytes, optimizer_tensors
from tunesmith.train.step import accumulate, pieces_of, to_device

if TYPE_CHECKING:
    from tunesmith.train.loop import Loop

OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def rehearse(loop: Loop, objective: nn.Module) -> None:
    """Run what a step and an evaluation between steps run, on the rows that need most, and emit what they held.

    Optimizer state that the first step will make is stood in for by as many bytes, so that the worst moment of later
    steps is met, too. Out of memory halves the micro-batch, aloud: the numbers do not change, because they are sums.

    Raises:
        UserError: Not even one row fits.
    """
    peak = _Peak(loop)
    with _state_to_come(loop) as standing:
        peak.standing = standing
        _step(loop, objective, peak)
        _evaluation(loop, peak)
    if peak.largest > KEPT_ANYWAY:
        # Only then is there a gain; where blocks are smaller, keeping them makes holes and no step faster.
        keep_freed()
    if peak.bytes is not None:
        loop.emit({"kind": "rehearsal", "stage": loop.at.stage, "micro": loop.micro, "peak_bytes": peak.bytes})


def _step(loop: Loop, objective: nn.Module, peak: _Peak) -> None:
    job = loop.job
    loader, address = job.sets["train"], loop.address(0)
    lengths = np.asarray(loader.lengths)
    worst = np.argsort(lengths, kind="stable")[::-1][: job.recipe.batch.rows]
    while True:
        # Where there are several, the second one runs beside the gradients of the first.
        pieces = pieces_of(worst, loop.micro, job.engine.rank, job.engine.world)[:2]
        try:
            with untouched_buffers(job.model), peak.watched():
                for piece in pieces:
                    batch = to_device(loader.batch(list(piece.rows), address), job.engine.device)
                    accumulate(objective, job.task, job.engine, [(piece, batch)], loop.around(address))
            return
        except OUT_OF_MEMORY as fault:
            if loop.micro == 1:
                raise UserError(
                    "not even one row fits in memory",
                    f"row {loader.ids[int(worst[0])]} of length {lengths[worst[0]]}",
                    "shorten the rows, train fewer layers, or set engine.gradient_checkpointing: true; "
                    "`tunesmith plan` lists what each would save",
                ) from fault
            loop.micro = max(1, loop.micro // 2)
            loop.emit({"kind": "warning", "text": f"out of memory: the micro-batch is now {loop.micro} rows"})
        finally:
            for parameter in job.model.parameters():
                parameter.grad = None


def _evaluation(loop: Loop, peak: _Peak) -> None:
    """The longest rows together as they are judged between steps, where that is one forward pass."""
    job = loop.job
    task = job.task
    if loop.cache is not None or not (task.one_pass or type(task).validate is not Task.validate):
        return
    loader = job.sets.get("validation", job.sets["held_out"])
    count = loader.together(job.recipe.batch.eval_rows, job.engine.device.type)
    rows = np.argsort(np.asarray(loader.lengths), kind="stable")[::-1][:count]
    modes = [(module, module.training) for module in job.model.modules()]
    job.model.eval()
    try:
        with untouched_buffers(job.model), torch.inference_mode(), peak.watched(), job.engine.precision():
            task.validate(job.model, to_device(loader.batch(list(rows)), job.engine.device))
    except OUT_OF_MEMORY:
        # Nothing to decide: a batch of predictions that does not fit is halved whenever it is met.
        text = f"out of memory with {len(rows)} rows in an evaluation: they will be halved there; lower batch.eval_rows"
        loop.emit({"kind": "warning", "text": text})
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _state_to_come(loop: Loop) -> Iterator[int]:
    """As many bytes as the optimizer's state will take that its first step has not made yet."""
    assert loop.optimizer is not None
    missing = [p for group in loop.optimizer.param_groups for p in group["params"] if p not in loop.optimizer.state]
    sizes = [optimizer_bytes(loop.job.recipe.optimizer.name, [parameter]) for parameter in missing]
    try:
        kept = [torch.empty(n, dtype=torch.uint8, device=p.device) for n, p in zip(sizes, missing, strict=True)]
    except OUT_OF_MEMORY as fault:
        raise UserError(
            f"the optimizer's state ({sum(sizes) / 1e6:,.0f} MB) does not fit in memory beside the weights",
            "stages",
            "set optimizer: {name: adamw-8bit}, train fewer layers or an adapter; `tunesmith plan` lists what each "
            "would save",
        ) from fault
    yield sum(sizes)
    del kept


class _Peak:
    """The most bytes that tensors held while something ran, weights and optimizer state among them.

    From the allocator on a GPU; elsewhere by following every storage. None where neither can tell.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop, self.standing = loop, 0
        self.bytes: int | None = None
        self.largest = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        job = self.loop.job
        device = job.engine.device
        with ExitStack() as stack:
            ledger = None
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            elif not job.recipe.engine.compile:
                cache = self.loop.cache
                # What is read of the cache's file is planned and measured as mapped, not as held.
                mapped = cache.cache.store.mapped() if cache is not None else set()
                ledger = stack.enter_context(Ledger(own_storages(job.model) | mapped))
            yield
        if device.type == "cuda":
            self._see(int(torch.cuda.max_memory_allocated(device)))
        elif ledger is not None:
            held = ledger.close()
            self.largest = max(self.largest, held.largest if device.type == "cpu" else 0)
            self._see(held.most + self._always())

    def _see(self, seen: int) -> None:
        self.bytes = max(self.bytes or 0, seen)

    def _always(self) -> int:
        """Bytes of what stands all the time: weights, optimizer state (made or stood in for), moving average."""
        loop = self.loop
        assert loop.optimizer is not None
        state = optimizer_tensors(loop.optimizer).values()
        average = loop.average.shadow.values() if loop.average is not None else ()
        return self.standing + _bytes((*loop.job.model.parameters(), *loop.job.model.buffers(), *state, *average))


def _bytes(tensors: Any) -> int:
    """Bytes of tensors, each storage once."""
    found: dict[int, int] = {}
    for tensor in (t for t in tensors if isinstance(t, Tensor)):
        found[tensor.untyped_storage()._cdata] = tensor.numel() * tensor.element_size()
    return sum(found.values())
