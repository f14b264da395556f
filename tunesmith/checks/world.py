"""A task with a few rows and a model that is loaded once: what every check starts from. It knows no modality."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.model.weights import Weights
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Batch, Facts, Row

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tunesmith.data.loader import Address, Loader
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.train.engine import LocalEngine

LEAST_ROWS = 8


class DoesNotApply(Exception):
    """A check has nothing to measure on this task; the message says why, and the report shows it."""


@dataclass(frozen=True)
class Measured:
    """What a check measured: ``holds`` is the verdict on the figure."""

    holds: bool
    measured: float | str
    tolerance: float | str
    detail: str = ""


def within(measured: float, tolerance: float, detail: str = "") -> Measured:
    """A figure that must not pass its tolerance; one that is not finite fails."""
    return Measured(bool(measured <= tolerance), measured, tolerance, detail)


def none_of(faults: Sequence[str], checked: str) -> Measured:
    """A list of faults that must be empty."""
    return Measured(not faults, len(faults), 0, "; ".join(faults) if faults else checked)


@dataclass
class Fitting:
    """A copy of the pretrained model, ready to learn."""

    model: nn.Module
    layers: LayerGroups
    dropout: RowKeys


@dataclass
class World:
    """A task at work on a few rows.

    Args:
        kind: The task.
        rows: With ids; at least eight.
        options: Checked already.
        source: The weights.
        build: Makes the model in place of ``load``.
        folder: Empty; for whatever a check writes.
    """

    kind: type[Task]
    rows: Sequence[Row]
    options: TaskOptions
    source: Weights
    build: Callable[[Task], nn.Module] | None
    folder: Path
    uninterrupted: Any = field(default=None, init=False)
    """The run that both resume checks are held against."""
    _folders: int = field(default=0, init=False)

    @cached_property
    def task(self) -> Task:
        """The task with its facts."""
        task = self.kind(self.options, self.source)
        task.facts = task.survey(self.rows)
        return task

    @cached_property
    def pristine(self) -> nn.Module:
        """The model as it is loaded; checks work on copies."""
        import torch

        torch.manual_seed(0)
        return self.build(self.task) if self.build is not None else self.task.load()

    @cached_property
    def engine(self) -> LocalEngine:
        """One process on the CPU, fp32."""
        from tunesmith.train.engine import LocalEngine

        return LocalEngine("cpu", "fp32")

    def fitting(self, dropout: float | None = None) -> Fitting:
        """A fresh copy of the model; ``dropout`` None keeps the model's own rates."""
        from tunesmith.model.dropout import address_dropout

        model = copy.deepcopy(self.pristine)
        layers = self.task.layers(model)
        return Fitting(model, layers, address_dropout(model, dropout)[0])

    def loader(self, rows: Sequence[Row] | None = None, task: Task | None = None, views: int = 0) -> Loader:
        """Rows as batches, the way a run makes them; ``views``: how many drawn versions of each take turns."""
        from tunesmith.data.loader import Loader

        task = task or self.task
        length = task.length if type(task).length is not Task.length else None
        loader = Loader(
            rows or self.rows,
            task.encode,
            task.collate,
            random=task.random,
            length=length,
            inputs=task.key_columns,
            views=views,
            seeded=task.seeded,
        )
        if task.reference_width:
            loader.extra = {"reference": self._reference(task, loader)}
        return loader

    def _reference(self, task: Task, loader: Loader) -> Tensor:
        """What the model says of every row before it learns."""
        import torch

        with evaluating(self.pristine):
            return torch.cat([task.reference(self.pristine, loader.batch([i])) for i in range(len(loader))])

    @cached_property
    def loaded(self) -> Loader:
        """All rows, encoded once where encoding is not random."""
        return self.loader()

    @cached_property
    def spread(self) -> list[int]:
        """Eight rows, from the shortest to the longest."""
        order = np.argsort(np.asarray(self.loaded.lengths), kind="stable")
        return [int(order[i]) for i in np.linspace(0, len(order) - 1, LEAST_ROWS).round().astype(int)]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Rows as one batch, encoded as for an evaluation."""
        return self.loaded.batch(list(indices))

    def place(self, name: str) -> Path:
        """A folder that no other check has."""
        self._folders += 1
        made = self.folder / f"{name}-{self._folders}"
        made.mkdir()
        return made

    def around(self, fitting: Fitting, address: Address) -> Callable[[np.ndarray], AbstractContextManager[Any]]:
        """The dropout context of rows at an address, as the loop makes it."""
        return lambda rows: fitting.dropout.over(
            [address.digest("dropout", str(self.rows[int(i)]["id"])) for i in rows],
            [self.loaded.lengths[int(i)] for i in rows] if self.task.packed else None,
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients."""
    import torch

    model.eval()
    with torch.no_grad():
        yield


def loss_sums(task: Task, model: nn.Module, batch: Batch) -> dict[str, float]:
    """Loss sums of a batch, evaluated."""
    with evaluating(model):
        return {name: float(value) for name, value in task.loss(model, batch).items()}


def predictions(task: Task, model: nn.Module, batches: Sequence[Batch]) -> list[Any]:
    """Predictions of batches, one after the other, evaluated."""
    with evaluating(model):
        return [prediction for batch in batches for prediction in task.predict(model, batch)]


def through_json(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value, allow_nan=False))


def largest(values: Iterable[float]) -> float:
    """The largest value, 0 of none; infinite where one is not a number, which ``max`` would pass over."""
    found = list(values)
    return max(found, default=0.0) if all(map(np.isfinite, found)) else float(np.inf)


def distance(a: Any, b: Any) -> float:
    """Largest difference of numbers in two JSON-able values; infinite where shape or text differ.

    A text beside numbers may flip between outputs that are equal to rounding: there the numbers tell.
    """
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return 0.0 if a == b else np.inf
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(float(a) - float(b))
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        numbers = [distance(a[k], b[k]) for k in a if not isinstance(a[k], str)]
        texts = [0.0 if a[k] == b[k] or numbers else np.inf for k in a if isinstance(a[k], str)]
        return largest([*numbers, *texts])
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return largest(distance(x, y) for x, y in zip(a, b, strict=True))
    return 0.0 if a == b else np.inf


def apart(task: Any, found: Sequence[Any], other: Sequence[Any]) -> float:
    """How far predictions are apart, as the task counts it, or by their numbers; infinite where some are missing."""
    if len(found) != len(other):
        return float(np.inf)
    own = [task.distance(a, b) for a, b in zip(found, other, strict=True)]
    return largest(distance(a, b) if o is None else o for o, a, b in zip(own, found, other, strict=True))


def same(a: Any, b: Any) -> bool:
    """Whether two encoded values are equal, tensors bit for bit."""
    import torch

    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def weights_distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest difference of two sets of weights, relative to the largest weight."""
    real = [name for name in a if a[name].is_floating_point()]
    worst = largest(float((a[n] - b[n]).abs().max()) for n in real if a[n].numel())
    size = largest(float(a[n].abs().max()) for n in real if a[n].numel())
    return worst / size if np.isfinite(size) and size else float(np.inf)


def changed_tensors(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not bit for bit as before."""
    return [name for name in before if not same(before[name], after[name])]


def checked_rows(rows: Sequence[Row], where: str) -> list[Row]:
    """The rows, each with an id.

    Raises:
        UserError: They are too few.
    """
    if len(rows) < LEAST_ROWS:
        raise UserError(
            f"check_task needs at least {LEAST_ROWS} rows, and {len(rows)} were given",
            where,
            "give it a few more rows, of different length where rows have one",
        )
    return [{"id": str(number), **row} for number, row in enumerate(rows)]


def fresh_facts(facts: Facts) -> Facts:
    """Facts as a stranger reads them from a run."""
    return Facts(through_json(facts.values), tuple(facts.lines))
