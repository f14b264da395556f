"""Where a step runs: device, precision, ranks. The only room that imports accelerate.

It knows no task and no stage. One process, or several under torchrun, give the same numbers to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.types import Counts


class Engine(Protocol):
    """What the loop needs of the machine: about ten methods, so that another kind (sharded) can take its place."""

    rank: int
    world: int
    main: bool
    device: torch.device
    scales: bool

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module, on the device and the same on every rank."""

    def precision(self) -> AbstractContextManager[Any]:
        """Context in which forward passes run."""

    def total(self, counts: Sequence[Counts]) -> Counts:
        """Counts of one step, summed over its micro-batches and over all ranks."""

    def backward(self, module: nn.Module, loss: Tensor, *, sync: bool) -> None:
        """Backward pass; gradients are averaged over ranks when ``sync``."""

    def clip(self, optimizer: torch.optim.Optimizer, limit: float | None) -> float:
        """Clip the whole gradient's norm, and return what it was."""

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Apply the gradients and clear them."""

    def sum(self, value: Tensor) -> Tensor:
        """Sum over ranks."""

    def gather(self, values: Sequence[Any]) -> list[list[Any]]:
        """Every rank's list, on every rank."""

    def wait(self) -> None:
        """Let every rank come here."""


class LocalEngine:
    """CPU, CUDA or MPS, one process or several (data parallel), through accelerate.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32``, ``bf16`` or ``fp16``, of forward and backward passes; weights stay fp32.
    """

    def __init__(self, device: str = "cpu", precision: str = "fp32") -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        # accelerate keeps device and precision for the whole process; a second run in it may want others.
        AcceleratorState._reset_state(reset_partial_state=True)
        mixed = {"fp32": "no"}.get(precision, precision)
        self._accelerator = Accelerator(mixed_precision=mixed, cpu=device == "cpu")
        self.rank = self._accelerator.process_index
        self.world = self._accelerator.num_processes
        self.main = self._accelerator.is_main_process
        self.device = self._accelerator.device
        self._scaler = self._accelerator.scaler
        self.scales = self._scaler is not None
        self._trackers = False

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module on its device, the same on every rank."""
        module.to(self.device)
        if self.world > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                torch.distributed.broadcast(tensor.detach(), 0)
        return module

    def precision(self) -> AbstractContextManager[Any]:
        """Autocast for bf16 and fp16, nothing for fp32."""
        return self._accelerator.autocast()  # type: ignore[no-any-return]

    def total(self, counts: Sequence[Counts]) -> Counts:
        """One small all-reduce a step, in float64, so that large counts stay exact."""
        keys = list(counts[0])
        sums = [sum(count[key] for count in counts) for key in keys]
        if self.world == 1:
            return dict(zip(keys, sums, strict=True))
        return dict(zip(keys, self.sum(torch.tensor(sums, dtype=torch.float64)).tolist(), strict=True))

    def backward(self, module: nn.Module, loss: Tensor, *, sync: bool) -> None:
        """Backward pass; loss scaling for fp16. After the step's last one the ranks' gradients are averaged."""
        (self._scaler.scale(loss) if self._scaler is not None else loss).backward()
        if sync and self.world > 1:
            self._average([p for p in module.parameters() if p.requires_grad])

    def _average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average gradients over ranks in buckets.

        DistributedDataParallel wants to be told whether a parameter gets no gradient, and is wrong or warns where it is
        told wrongly; here one small all-reduce finds out. A parameter that no rank has a gradient for keeps None, so
        that the optimizer leaves it alone, as it does in one process.
        """
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=self.device)
        torch.distributed.all_reduce(has, torch.distributed.ReduceOp.MAX)
        gradients = []
        for parameter, wanted in zip(parameters, has.tolist(), strict=True):
            if wanted and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if wanted and parameter.grad is not None:
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            torch.distributed.all_reduce(flat)
            flat /= self.world
            for gradient, part in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def clip(self, optimizer: torch.optim.Optimizer, limit: float | None) -> float:
        """Clip the whole gradient's norm in place; the norm before."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return float(nn.utils.clip_grad_norm_(parameters, limit if limit is not None else float("inf")))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One optimizer step; with fp16 it is skipped when the scaled gradient overflowed."""
        if self._scaler is not None:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over ranks."""
        if self.world == 1:
            return value
        return self._accelerator.reduce(value.to(self.device), reduction="sum")  # type: ignore[no-any-return]

    def gather(self, values: Sequence[Any]) -> list[list[Any]]:
        """Every rank's list, on every rank."""
        if self.world == 1:
            return [list(values)]
        gathered: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(gathered, list(values))
        return gathered

    def wait(self) -> None:
        """Let every rank come here."""
        self._accelerator.wait_for_everyone()

    def scaler_state(self) -> dict[str, Any]:
        """The loss scale's state, JSON-able; empty without fp16."""
        return dict(self._scaler.state_dict()) if self._scaler is not None else {}

    def restore_scaler(self, state: Mapping[str, Any]) -> None:
        """Put the loss scale back."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))

    def alone(self) -> LocalEngine:
        """The same device and precision, for work that one rank does while the others have ended."""
        other = copy(self)
        other.rank, other.world, other.main = 0, 1, True
        return other

    def track(self, names: Iterable[str], run: str, folder: Path, settings: Mapping[str, Any]) -> None:
        """Start trackers by name.

        Raises:
            UserError: A tracker's package is not installed.
        """
        from accelerate.tracking import get_available_trackers

        wanted = list(names)
        if not wanted or not self.main:
            return
        missing = [
            name for name in wanted if name not in {str(getattr(t, "value", t)) for t in get_available_trackers()}
        ]
        if missing:
            raise UserError(
                f"run.track: {missing[0]} is not installed", "recipe: run.track", f"pip install {missing[0]}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        from accelerate import Accelerator

        self._accelerator = Accelerator(
            mixed_precision=self._accelerator.mixed_precision,
            cpu=self.device.type == "cpu",
            log_with=wanted,
            project_dir=str(folder),
        )
        self._accelerator.init_trackers(run, config=dict(settings))
        self._trackers = True

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers to the trackers, if there are any."""
        if self._trackers:
            self._accelerator.log(dict(values), step=step)

    def close(self) -> None:
        """End the trackers."""
        if self._trackers:
            self._accelerator.end_training()
            self._trackers = False
        if self.world > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


BUCKET_ELEMENTS = 1 << 24


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type together, up to a size."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.numel() > BUCKET_ELEMENTS or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
