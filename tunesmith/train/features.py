"""Features: what a head reads of rows, recorded in one pass in memory, and a stand-in that answers for the network.

For heads that are one linear layer on one vector a row. It knows no modality, no fit and no store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from tunesmith.data.loader import Loader, sorted_batches
from tunesmith.errors import UserError
from tunesmith.train.step import to_device

if TYPE_CHECKING:
    from tunesmith.task import Task
    from tunesmith.train.engine import LocalEngine
    from tunesmith.types import Batch, Sums

Progress = Callable[[str, int, int], None]

LARGE_BYTES = 4096
"""Bytes of a row from which on a tensor of a batch is taken for the network's input alone."""
SAME_LOSS = 1e-4
"""Largest relative difference between the model's loss and its stand-in's."""


@dataclass(frozen=True)
class Features:
    """What the head reads of rows.

    Args:
        inputs: float32 [rows, width].
        batch: All rows as one batch, without what the network alone reads.
    """

    inputs: Tensor
    batch: Batch


class NoLinearHead(Exception):
    """The head is not one linear layer on one vector a row."""


def linear_head(model: nn.Module, names: Sequence[str]) -> nn.Linear:
    """The linear layer that is the whole head.

    Args:
        model: Of any kind.
        names: The head's parameters.

    Raises:
        NoLinearHead: The head is something else.
    """
    for path, module in model.named_modules():
        own = {f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
        if type(module) is nn.Linear and own == set(names):
            return module
    raise NoLinearHead


class Recorder:
    """Runs the network over rows and keeps what its head reads.

    Args:
        task: Its ``loss`` runs the model.
        model: On the engine's device, in ``eval`` mode.
        head: The linear layer that is its whole head.
        engine: Device and precision.
        rows: Rows per forward pass.
    """

    def __init__(self, task: Task, model: nn.Module, head: nn.Linear, engine: LocalEngine, rows: int) -> None:
        self.task, self.model, self.head, self.engine, self._rows = task, model, head, engine, rows
        self._inputs: frozenset[str] = frozenset()
        self.seconds = 0.0
        """Spent in forward passes so far."""

    def check(self, loader: Loader) -> Answers:
        """See on two batches that recorded features give the loss that the model gives; the stand-in for the model.

        Raises:
            NoLinearHead: They do not: the head reads more than a vector a row, or the loss reads more than the head.
            UserError: Some features are not finite.
        """
        count = min(len(loader), 4)
        for indices in (range(count), range(len(loader) - count, len(loader))):
            batch = loader.batch(list(indices))
            given = to_device(batch, self.engine.device)
            features, said, output, passed, live = self._watched(given)
            check_finite(features, [loader.ids[i] for i in indices])
            large = {k for k, v in given.items() if isinstance(v, Tensor) and v.nbytes > LARGE_BYTES * count}
            self._inputs |= {k for k, v in given.items() if id(v) in passed} | large
            answers = Answers(output, said)
            with torch.no_grad():
                logits = self.head(features.to(self.engine.device)).cpu()
                replayed = _sum(self.task.loss(answers.saying(logits), self._stripped(batch, count)))
            if not abs(replayed - live) <= SAME_LOSS * max(1.0, abs(live)):
                raise NoLinearHead
        return answers

    def record(self, loader: Loader, what: str, progress: Progress) -> Features:
        """The features of all rows, in their order.

        Raises:
            UserError: Some are not finite.
        """
        found = torch.empty(len(loader), self.head.in_features)
        order, parts = [], []
        for indices in sorted_batches(loader.lengths, loader.together(self._rows, self.engine.device.type)):
            batch = loader.batch(indices)
            began = time.perf_counter()
            features, *_ = self._watched(to_device(batch, self.engine.device))
            # A copy: the order is a view with a negative stride, which torch does not take.
            found[indices.copy()] = features
            self.seconds += time.perf_counter() - began
            parts.append(self._stripped(batch, len(indices)))
            order.extend(indices.tolist())
            progress(what, len(order), len(loader))
        check_finite(found, loader.ids)
        return Features(found, taken(_joined(parts), np.argsort(order)))

    def _watched(self, batch: Batch) -> tuple[Tensor, Tensor, Any, set[int], float]:
        """What the head read and said, what the model said, which tensors it was given, and the loss."""
        seen: list[tuple[Tensor, Tensor]] = []
        outputs: list[Any] = []
        passed: set[int] = set()

        def of_model(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            passed.update(id(value) for value in tree_flatten((args, kwargs))[0])
            outputs.append(output)

        hooks = [
            self.head.register_forward_hook(lambda _m, args, output: seen.append((args[0], output))),
            self.model.register_forward_hook(of_model, with_kwargs=True),
        ]
        try:
            with torch.no_grad(), self.engine.precision():
                loss = _sum(self.task.loss(self.model, batch))
        finally:
            for hook in hooks:
                hook.remove()
        if len(seen) != 1 or len(outputs) != 1:
            raise NoLinearHead
        features, said = _one_a_row(*seen[0], outputs[0])
        return features.float().cpu(), said, outputs[0], passed, loss

    def _stripped(self, batch: Batch, rows: int) -> Batch:
        """A batch without the network's inputs: of these only the shape's beginning is left."""
        kept: Batch = {}
        for name, value in batch.items():
            if not isinstance(value, (Tensor, list)) or len(value) != rows:
                raise NoLinearHead
            if isinstance(value, Tensor) and name in self._inputs:
                # Pictures keep their channels, which are normalised in place.
                channels = value.shape[1:2] if value.ndim == 4 else (1,) * min(1, value.ndim - 1)
                value = value.new_zeros(rows, *channels, *(1,) * (value.ndim - 2))  # noqa: PLW2901
            kept[name] = value
        return kept


def _one_a_row(features: Tensor, said: Tensor, output: Any) -> tuple[Tensor, Tensor]:
    """What the head read and said, a vector a row.

    A decoder's head runs on every token, [rows, tokens, ...], and the model puts out what it says of one of them.
    """
    if features.ndim == 2:
        return features, said
    for leaf in tree_flatten(output)[0] if features.ndim == 3 else ():
        if isinstance(leaf, Tensor) and leaf.shape == (said.shape[0], said.shape[2]):
            same = (said == leaf[:, None]).all(-1)
            if same.any(1).all():
                rows, at = torch.arange(len(same), device=same.device), same.to(torch.uint8).argmax(1)
                return features[rows, at], said[rows, at]
    raise NoLinearHead


class Answers(nn.Module):
    """Says of any input what the model would say, given what its head puts out.

    Args:
        output: What the model put out for a batch.
        said: What its head put out for the same.

    Raises:
        NoLinearHead: The model puts out something else.
    """

    outputs: Tensor

    def __init__(self, output: Any, said: Tensor) -> None:
        super().__init__()
        leaves, self._spec = tree_flatten(output)
        flat = said.flatten()
        alike = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and torch.equal(x.flatten(), flat)]
        if not alike:
            raise NoLinearHead
        self._at, self._tail = alike[0], leaves[alike[0]].shape[1:]
        # NaN in place of what is not known, so that a task that reads it could not pass unseen.
        self._leaves = [torch.full((), torch.nan) if isinstance(x, Tensor) else x for x in leaves]
        self.eval()

    def saying(self, outputs: Tensor) -> Answers:
        """The same, from now on with these outputs of the head, [rows, outputs]."""
        self.outputs = outputs
        return self

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """The model's output."""
        leaves = list(self._leaves)
        leaves[self._at] = self.outputs.reshape(len(self.outputs), *self._tail)
        return tree_unflatten(leaves, self._spec)


def _sum(sums: Sums) -> float:
    return sum(float(value) for value in sums.values())


def _joined(parts: Sequence[Batch]) -> Batch:
    """Batches one after the other."""
    joined: Batch = {}
    for name in parts[0]:
        values = [part[name] for part in parts if name in part]
        if len(values) != len(parts):
            raise NoLinearHead
        if isinstance(values[0], list):
            joined[name] = [one for value in values for one in value]
            continue
        if len({value.shape[1:] for value in values}) > 1:
            raise NoLinearHead
        joined[name] = torch.cat(values)
    return joined


def taken(batch: Batch, rows: Sequence[int] | np.ndarray) -> Batch:
    """Rows of a batch."""
    at = [int(i) for i in rows]
    return {k: [v[i] for i in at] if isinstance(v, list) else v[at] for k, v in batch.items()}


def check_finite(inputs: Tensor, ids: Sequence[str]) -> None:
    """See that features, [rows, width], are numbers.

    Raises:
        UserError: With the first row whose features are not.
    """
    bad = (~inputs.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"the network's features of {len(bad)} of {len(inputs)} rows are not finite",
            f"row {ids[bad[0]]}",
            "look at that row, or write engine: {precision: fp32}",
        )
