"""The one seam between a modality and everything else, and how a task is found by its name.

A task turns rows into sums and a model's outputs into JSON. It knows no loop, no optimizer, no device and no run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tunesmith.errors import UserError
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Scores, Sums

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.weights import Weights
    from tunesmith.recipe import Stage

ENTRY_POINTS = "tunesmith.tasks"

Predictor = "Callable[[nn.Module, Batch], list[Any]]"


class TaskOptions(BaseModel):
    """A task's own settings. Unknown ones are errors; every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """What a modality must say. One level of inheritance: nobody subclasses a concrete task.

    Five methods are required: ``load``, ``encode``, ``loss``, ``predict`` and ``score``. The rest have defaults.

    Args:
        options: The recipe's ``options``, checked against ``Options``.
        source: The resolved pretrained weights (``source.folder`` holds the files).
        facts: What ``survey`` learned; given when a run is resumed, evaluated or used.
    """

    name: ClassVar[str]
    """The recipe's ``task:``, in kebab-case."""
    columns: ClassVar[Mapping[str, type]]
    """Our column names and the type each value must have (``object``: any scalar)."""
    target: ClassVar[str | None] = None
    """The column that is to be predicted; the others are inputs."""
    goal: ClassVar[str]
    """The metric of ``score`` that the verdict is about."""
    higher_is_better: ClassVar[bool] = True
    random: bool = False
    """Whether ``encode`` draws from its rng (augmentation); then examples and activations are not kept."""
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    exceptions: ClassVar[Mapping[str, str]] = {}
    """Checks of ``check_task`` that this task cannot pass, each with the reason; shown in its docs."""
    finding_codes: ClassVar[Sequence[str]] = ()
    """Codes that the task's own ``audit`` may find, so that a recipe can accept them."""
    pipeline_tag: ClassVar[str | None] = None
    """The Hugging Face name of the task, for the model card."""

    def __init__(self, options: TaskOptions, source: Weights, facts: Facts | None = None) -> None:
        self.options = options
        self.source = source
        self.facts = facts or Facts()
        self.fresh: frozenset[str] = frozenset()
        self.adapted = False
        """Whether an adapter will be attached; set before ``load``."""

    @abstractmethod
    def load(self) -> nn.Module:
        """The model with its pretrained weights, in fp32 on the CPU.

        Sets ``self.fresh`` to the names of parameters that the weights did not hold (a new head).
        """

    @abstractmethod
    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """One row as tensors without a batch axis. ``rng`` is None when evaluating: no augmentation then."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Loss sums by unit, never means; the keys' units are the keys of ``count``."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """One JSON-able prediction per row of the batch."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Metrics of predictions against rows, ``goal`` among them."""

    # What follows has a default.

    def survey(self, rows: Sequence[Row]) -> Facts:
        """What must be learned from the training rows before the model is built (labels, lengths)."""
        return Facts()

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Findings beyond those that the engine makes for every task."""
        return ()

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device, for the plan; override it to load no weights."""
        return self.load().to("meta")

    def layers(self, model: nn.Module) -> LayerGroups:
        """The model as layer groups, bottom to top."""
        from tunesmith.model.layers import LayerGroups

        return LayerGroups.of(model, fresh=self.fresh)

    def stages(self, blocks: int) -> list[Stage]:
        """The stages when the recipe gives none. ``blocks``: how many the model has."""
        from tunesmith.recipe import Stage, Top

        head = Stage(train="head", epochs=5, lr=1e-3)
        if not blocks:
            return [head, Stage(train="all", epochs=3, lr=1e-4)]
        return [head, Stage(train=Top(top=max(1, blocks // 3)), epochs=3, lr=1e-4, layer_decay=0.8)]

    def length(self, example: Example) -> int:
        """How long an example is along the axis that ``collate`` pads; 1 where nothing is padded."""
        return 1

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Examples as one batch: tensors of equal shape are stacked, everything else becomes a list."""
        import torch

        batch: Batch = {}
        for key, first in examples[0].items():
            values = [example[key] for example in examples]
            stackable = isinstance(first, torch.Tensor) and all(v.shape == first.shape for v in values)
            batch[key] = torch.stack(values) if stackable else values
        return batch

    def count(self, batch: Batch) -> Counts:
        """How many of each unit the batch's loss sums over, known before the forward pass."""
        return {"examples": float(len(next(iter(batch.values()))))}

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """What one has without training, by name; the strongest on training rows becomes the base of the verdict."""
        return {"pretrained model": self.predict}

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray | None:
        """Statistics by row, float64 [rows, k], whose sums determine ``goal``; None where there are none.

        With them ten thousand bootstrap resamples are one matrix product; without, ``score`` is called for each.
        """
        return None

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """The goal metric of summed tallies: float64 [resamples, k] to [resamples]."""
        raise LookupError(f"{type(self).__name__} has tallies but no goal_of")

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Panels for the report: confusion, table, examples, calibration, lines (see ``report.panels``)."""
        return []

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the tuned model in its ecosystem's own layout, so that ``load`` on that folder gives it back."""
        model.save_pretrained(folder)  # type: ignore[operator]
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:  # noqa: B027 (nothing to write is a good default)
        """Write what turns raw input into tensors (tokenizer, image processor) beside the weights."""

    def load_snippet(self, folder: str) -> str | None:
        """Python that loads the saved model with its own library, for the model card."""
        return None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that are not the target."""
        return tuple(name for name in self.columns if name != self.target)


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def task_names() -> list[str]:
    """Names of all installed tasks, ours and other people's."""
    return sorted(_installed())


def find_task(name: str, where: str = "recipe: task") -> type[Task]:
    """The task class called ``name``.

    Raises:
        UserError: No installed package brings it, or its package does not load.
    """
    installed = _installed()
    if name not in installed:
        near = get_close_matches(name, installed, n=1)
        known = ", ".join(sorted(installed))
        fix = f"write '{near[0]}'" if near else f"write one of: {known}; or install the package that brings it"
        raise UserError(f"task: no task is called {name!r}", where, fix)
    try:
        found = installed[name].load()
    except (ImportError, AttributeError) as fault:
        package = installed[name].dist
        raise UserError(
            f"task {name!r} does not load: {fault}",
            installed[name].value,
            f"reinstall or update {package.name if package else 'the package that brings it'}",
        ) from fault
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"task {name!r} is no subclass of tunesmith.task.Task", installed[name].value, "mend its entry point"
        )
    return found
