"""The loop: stages in, steps out. It knows no modality and no cluster.

Its state is a position and counters; everything random has an address, so a run that was killed and resumed ends in the
same weights, bit for bit, as one that never was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tunesmith.data.loader import Address
from tunesmith.errors import UserError
from tunesmith.heap import give_back
from tunesmith.machine import cache_folder
from tunesmith.model.stages import LearningGroup, learning_groups, stage_name
from tunesmith.recipe import Stage
from tunesmith.run import refusal
from tunesmith.train.caching import (
    CacheDecision,
    CacheRequest,
    StageCache,
    encoding_fingerprint,
    open_cache,
    recorded_sets,
)
from tunesmith.train.checkpoint import Checkpoint
from tunesmith.train.guard import check_finite, named_rows, stop_asked, untouched_buffers
from tunesmith.train.job import Both, Job, Position, Swapped, step_event, steps_of
from tunesmith.train.looking import evaluate, look, predicted
from tunesmith.train.optim import (
    MovingAverage,
    build_optimizer,
    carry_state,
    parameter_groups,
    restore_optimizer,
    set_rates,
)
from tunesmith.train.recompute import recompute_blocks
from tunesmith.train.rehearsal import rehearse
from tunesmith.train.saving import differences, put_best, resume, save, widen_best
from tunesmith.train.signals import stopped
from tunesmith.train.step import Objective, grouped, optimizer_step, pieces_of, to_device

if TYPE_CHECKING:
    from tunesmith.train.range_test import RangeTest


class Loop:
    """Runs the stages of a job.

    Args:
        job: What to do.
        emit: Receives every event, on the main rank.
    """

    def __init__(self, job: Job, emit: Callable[[dict[str, Any]], None]) -> None:
        self.job, self._emit = job, emit
        self.at = Position()
        self.micro = job.micro
        self.cache: StageCache | None = None
        self.decisions: list[CacheDecision] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self.average: MovingAverage | None = None
        self.learned: set[str] = set()
        self.judged: list[Any] | None = None
        """Predictions for the held-out rows by the weights as they are; None once they have moved on."""
        self.logged = 0
        """Events in the run's log up to now; a resumed run cuts the log back to what its checkpoint knew."""
        self._resumed: Checkpoint | None = None
        self._saved_at = time.monotonic()
        self.wanted: set[str] = set()

    # State

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: The best weights that the checkpoint speaks of can't be read.
        """
        resume(self, checkpoint)
        self._resumed = checkpoint
        self.emit({"kind": "resume", "step": self.at.step})

    def save(self) -> Checkpoint | None:
        """Write a checkpoint of this moment (main rank)."""
        self._saved_at = time.monotonic()
        return save(self)

    def differences(self, checkpoint: Checkpoint) -> list[str]:
        """Names of tensors that a checkpoint lacks or holds with another value than the loop had at its end."""
        return differences(self, checkpoint)

    def release(self) -> None:
        """Give back the memory of weights, optimizer and average once all is saved; shapes and names stay."""
        self.optimizer, self.average = None, None
        self.job.model.to("meta")
        give_back()

    def emit(self, event: dict[str, Any]) -> None:
        """Hand an event to the run and to the watchers, and note what they ask for."""
        self._log(event)
        for watcher in self.job.watchers:
            ask = watcher.see(event)
            if ask is not None and ask.kind == "stop":
                self.at.over = True
                self.emit({"kind": "warning", "text": ask.reason})
            elif ask is not None:
                self.wanted.add(ask.kind)

    def _log(self, event: dict[str, Any]) -> None:
        if self.job.engine.main:
            self._emit(event)
            self.logged += 1

    # Stages

    def fit(self) -> None:
        """Run all stages that are left, then put the best weights in place."""
        if self.job.recipe.optimizer.ema is not None:
            self.average = MovingAverage((), self.job.recipe.optimizer.ema)
            if self._resumed:
                self.average.restore(self._resumed.tensors("average"), self._resumed.state["average_updates"])
                self.average.watch((n, p) for n, p in self.job.model.named_parameters() if n in self.learned)
        look(self, 0)
        for index in range(self.at.stage, len(self.job.stages)):
            self._stage(index)
        if put_best(self):
            self.judged = None

    def _stage(self, index: int) -> None:
        self.judged = None
        stage, started = self.job.stages[index], time.monotonic()
        learning = self._enter(stage)
        total, per_epoch = self._steps_of(stage)
        self.emit(
            {
                "kind": "stage",
                "event": "start",
                "stage": index,
                "name": stage_name(stage),
                "step": self.at.step,
                "steps": total,
                "done": self.at.stage_step,
                "groups": [g.to_json(None) for g in learning],
            }
        )
        # Before weights are parked: it brings all of them to the device.
        objective = self.job.engine.prepare(Objective(self.job.task, self.job.model))
        self.cache = self._open_cache(stage, total / per_epoch)
        # What scoring, recording or the stage before has freed would stand beside this stage's worst moment.
        give_back()
        rehearse(self, objective)
        if self.at.rate is None:
            self.at.rate = self._peak_rate(stage, objective, learning)
        self._run_steps(index, stage, objective, total, per_epoch)
        self._leave(index, stage, started)

    def _enter(self, stage: Stage) -> list[LearningGroup]:
        """Freeze, rebuild the optimizer's groups, and keep the state of what goes on learning."""
        job = self.job
        learning = learning_groups(job.layers, stage)
        job.layers.apply([g.group for g in learning if g.trains], stage.within)
        if job.recipe.engine.gradient_checkpointing:
            recompute_blocks(job.layers)
        # Before anything is copied from them: the average and the optimizer live where the weights do.
        job.model.to(job.engine.device)
        names = {n for n, p in job.model.named_parameters() if p.requires_grad}
        widen_best(self, names)
        self.learned |= names
        if self.average is not None:
            self.average.watch((n, p) for n, p in job.model.named_parameters() if p.requires_grad)
        fresh = build_optimizer(
            parameter_groups(job.layers, learning, job.recipe.optimizer.weight_decay), job.recipe.optimizer
        )
        carry_state(self.optimizer, fresh)
        if self._resumed is not None:
            # On a stage's first step the checkpoint still holds the moments of the stage before.
            restore_optimizer(fresh, self._resumed.tensors("optimizer"), partly=self.at.stage_step == 0)
            self._resumed = None
        self.optimizer = fresh
        return learning

    def _leave(self, index: int, stage: Stage, started: float) -> None:
        """Score the stage on the held-out rows, and close it with a checkpoint."""
        name = stage_name(stage)
        with self.averaged():
            found = predicted(self, "held_out", self.job.task.predict)
        scores = self.job.task.score(found, self.job.sets["held_out"].rows)
        # What was computed without the cache is what the weights at the end of the stage say, to the bit.
        self.judged = found if self.cache is None or not self.job.task.one_pass else None
        self.at.stage_scores.append({"name": name, "train": stage.model_dump(mode="json")["train"], "scores": scores})
        if self.cache is not None:
            self.cache.end()
            rows = np.arange(min(4, len(self.job.sets["train"])))
            with untouched_buffers(self.job.model):
                difference = self.cache.largest_difference("train", rows)
            self.at.ended.append({"stage": name, "difference": difference})
        self.cache = None
        self.at.stage, self.at.stage_step, self.at.rate, self.at.over = index + 1, 0, None, False
        seconds = time.monotonic() - started
        self.emit(
            {"kind": "stage", "event": "end", "stage": index, "name": name, "step": self.at.step, "seconds": seconds,
             "scores": scores}
        )  # fmt: skip
        self.save()

    def _open_cache(self, stage: Stage, epochs: float) -> StageCache | None:
        job = self.job
        request = CacheRequest(
            task=job.task,
            model=job.model,
            layers=job.layers,
            sets=recorded_sets(job.task, job.sets),
            settings=job.recipe.cache,
            engine=job.engine,
            precision=job.precision,
            passes=epochs,
            fingerprint=encoding_fingerprint(job.task),
            dropout=lambda lengths: job.dropout.over(range(1, len(lengths) + 1), lengths if job.task.packed else None),
        )
        with untouched_buffers(job.model):
            opened, decision = open_cache(request)
        self.decisions.append(decision)
        if opened is None and job.recipe.cache.use == "on":
            raise UserError(
                f"cache.use: on, but stage {stage_name(stage)!r} can't use it: {decision.reason}",
                "recipe: cache.use",
                "write cache: {use: auto}, or change what stands in the way",
            )
        started = time.monotonic()

        def told(done: int, total: int) -> None:
            job.progress(f"recording activations below {decision.boundary}", done, total)
            self.meet_request()

        try:
            rows = opened.fill(told, rows=job.recipe.batch.eval_rows) if opened else 0
        except OSError as fault:
            raise refusal(fault, cache_folder("activations")) from fault
        parked = opened.park(lambda text: self.emit({"kind": "warning", "text": text})) if opened else 0
        self.emit(
            {"kind": "cache", "stage": self.at.stage, **decision.to_json(), "rows": rows, "parked_bytes": parked,
             "seconds": time.monotonic() - started}
        )  # fmt: skip
        return opened

    def _peak_rate(self, stage: Stage, objective: nn.Module, learning: Sequence[LearningGroup]) -> float:
        if stage.lr != "auto":
            return float(stage.lr)
        from tunesmith.train.range_test import range_test

        found = range_test(self, objective, learning)
        self.emit({"kind": "lr-finder", "stage": self.at.stage, **found.to_json()})
        return found.picked

    def try_rates(self, index: int) -> RangeTest:
        """The range test of a stage as the weights are now; the run's state stays as it was."""
        from tunesmith.train.range_test import range_test

        stage = self.job.stages[index]
        self.at = Position(stage=index)
        learning = self._enter(stage)
        total, per_epoch = self._steps_of(stage)
        self.cache = self._open_cache(stage, total / per_epoch)
        objective = self.job.engine.prepare(Objective(self.job.task, self.job.model))
        return range_test(self, objective, learning)

    # Steps

    def address(self, epoch: int) -> Address:
        """Where the randomness of an epoch of the present stage comes from."""
        return Address(self.job.recipe.run.seed, self.at.stage, epoch)

    def _steps_of(self, stage: Stage) -> tuple[int, int]:
        return steps_of(stage, len(self.job.sets["train"]), self.job.recipe)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The rows of every step of an epoch."""
        batch = self.job.recipe.batch
        return self.job.sets["train"].epoch_steps(batch.rows, self.address(epoch), buckets=batch.buckets)

    def around(self, address: Address) -> Callable[[np.ndarray], AbstractContextManager[Any]]:
        """Context for the rows of a micro-batch: their dropout keys, and their cached activations."""
        loader, task = self.job.sets["train"], self.job.task
        replay = self.cache.around("train") if self.cache else None

        def context(rows: np.ndarray) -> AbstractContextManager[Any]:
            keys = [address.digest("dropout", loader.ids[i]) for i in rows]
            lengths = [loader.lengths[i] for i in rows] if task.packed else None
            return Both(self.job.dropout.over(keys, lengths), replay(rows) if replay else nullcontext())

        return context

    def micro_batches(self, steps: Sequence[np.ndarray], address: Address) -> Iterator[list[Any]]:
        """Every step's micro-batches of this rank, encoded ahead."""
        engine, loader = self.job.engine, self.job.sets["train"]
        total, per_epoch = self._steps_of(self.job.stages[self.at.stage])
        self.job.task.stage_share = min(1.0, address.epoch * per_epoch / total)
        pieces = [pieces_of(rows, self.micro, engine.rank, engine.world) for rows in steps]
        batches = loader.ahead([p.rows for step in pieces for p in step], address)
        moved = (to_device(batch, engine.device) for batch in batches)
        yield from grouped(moved, pieces)

    def _run_steps(self, index: int, stage: Stage, objective: nn.Module, total: int, per_epoch: int) -> None:
        optimizer, at = self.optimizer, self.at
        assert optimizer is not None
        assert at.rate is not None
        while at.stage_step < total and not self._stage_is_over():
            epoch, done = divmod(at.stage_step, per_epoch)
            address = self.address(epoch)
            rows = self.order(epoch)[done : done + total - at.stage_step]
            for step_rows, micro in zip(rows, self.micro_batches(rows, address), strict=True):
                began = time.perf_counter()
                rates = set_rates(optimizer, stage, at.rate, at.stage_step, total)
                result = optimizer_step(
                    objective,
                    self.job.task,
                    self.job.engine,
                    optimizer,
                    micro,
                    self.around(address),
                    self.job.recipe.optimizer.clip,
                )
                check_finite(self.job, result, step_rows, self.at.step + 1)
                if self.average is not None:
                    self.average.update()
                at.step, at.stage_step = at.step + 1, at.stage_step + 1
                seconds = time.perf_counter() - began
                self._tell(step_event(at, per_epoch, result, rates, seconds, len(step_rows)), step_rows)
                due = at.stage_step % per_epoch == 0 or at.stage_step == total
                if due or "evaluate" in self.wanted:
                    evaluate(self, index, at.stage_step / per_epoch)
                if due:
                    look(self, -(-at.stage_step // per_epoch), last=at.stage_step == total)
                self._save_if_due()
                self._check_stop()
                if self._stage_is_over():
                    break

    def _tell(self, event: dict[str, Any], rows: np.ndarray) -> None:
        """Emit a step; a watcher that ends the run there does not know the rows, so they are added."""
        try:
            self.emit(event)
        except UserError as fault:
            raise UserError(fault.what, f"{fault.where}: {named_rows(self.job, rows)}", fault.fix) from fault

    def _stage_is_over(self) -> bool:
        """Whether a watcher has asked to end the stage."""
        return self.at.over

    # Between steps

    def averaged(self) -> AbstractContextManager[None]:
        """Averaged weights in place, where there are any."""
        return Swapped(self.average) if self.average is not None else nullcontext()

    def _save_if_due(self) -> None:
        run = self.job.recipe.run
        by_steps = run.checkpoint_steps is not None and self.at.step % run.checkpoint_steps == 0
        by_time = time.monotonic() - self._saved_at >= run.checkpoint_seconds
        if by_steps or by_time or "save" in self.wanted:
            self.wanted.discard("save")
            self.save()

    def _check_stop(self) -> None:
        asked = stop_asked(self.job)
        if asked is not None:
            self.save()
            raise stopped(asked, self.job.checkpoints.parent, self.at.step)

    def meet_request(self) -> None:
        """Between steps, where ranks do not walk side by side: stop if this process was asked to.

        Nothing is saved: the last checkpoint holds all that was done.
        """
        if self.job.stop.asked is not None:
            raise stopped(self.job.stop.asked, self.job.checkpoints.parent, self.at.step)
