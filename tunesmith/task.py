"""The one seam between a modality and everything else, and how a task is found by its name.

A task turns rows into sums and a model's outputs into JSON. It knows no loop, no optimizer, no device and no run.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tunesmith.errors import UserError
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Scores, Sums

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.weights import Weights
    from tunesmith.recipe import Stage

ENTRY_POINTS = "tunesmith.tasks"
HEAD_FILE = "head.safetensors"
"""What the default ``save`` writes beside a pretrained part that saves itself: all other tensors of the model."""
SCORED_BY_NAME = ("accuracy", "mean_absolute_error", "r2")
"""Goals that a task has a score for without writing one."""

Predictor = "Callable[[nn.Module, Batch], list[Any]]"


class TaskOptions(BaseModel):
    """A task's own settings. Unknown ones are errors; every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """What a modality must say. One level of inheritance: nobody subclasses a concrete task.

    Four methods are required: ``load``, ``encode``, ``loss`` and ``predict``; and ``score``, unless ``goal`` is
    ``accuracy``, ``mean_absolute_error`` or ``r2``. The rest have defaults.

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
    adapter_type: ClassVar[str | None] = None
    """peft's name of the task (``SEQ_CLS``), which a saved adapter carries so that peft builds the right model."""
    pipeline_tag: ClassVar[str | None] = None
    """The Hugging Face name of the task, for the model card."""

    def __init__(self, options: TaskOptions, source: Weights, facts: Facts | None = None) -> None:
        if type(self).score is Task.score and self.goal not in SCORED_BY_NAME:
            raise TypeError(
                f"{type(self).__name__} has no score for its goal {self.goal!r}: "
                f"write one, or take one of {', '.join(SCORED_BY_NAME)}"
            )
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

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        """Many rows at once, as ``encode`` does without rng; override it where a batch is cheaper than its rows."""
        return [self.encode(row, None) for row in rows]

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Loss sums by unit, never means; the keys' units are the keys of ``count``."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """One JSON-able prediction per row of the batch."""

    # What follows has a default.

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Metrics of predictions against rows, ``goal`` among them.

        By default every prediction is held against its row's ``target``: ``accuracy`` of equal texts, or
        ``mean_absolute_error`` and ``r2`` of numbers.
        """
        true = [row[self.target] for row in rows] if self.target else []
        if self.goal == "accuracy":
            return {"accuracy": sum(str(p) == str(t) for p, t in zip(predictions, true, strict=True)) / len(true)}
        return _number_scores([float(p) for p in predictions], [float(t) for t in true])

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer in the source's folder, for tasks that read or write text."""
        from tunesmith.model.pretrained import load_tokenizer

        return load_tokenizer(self.source)

    def tokens(self, text: str, length: int) -> dict[str, list[int]]:
        """A text as what a transformers model takes, cut or padded to exactly ``length`` tokens."""
        found = self.tokenizer(str(text), padding="max_length", truncation=True, max_length=length)
        return dict(found)

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

        return LayerGroups.of(model, trunk=_trunk_beside_head(model, self.fresh), fresh=self.fresh)

    def with_head(self, model: nn.Module) -> nn.Module:
        """A model of one's own around a pretrained part, for ``load``: its head as saved before, else declared fresh.

        The pretrained part is the module that has ``save_pretrained``; every other tensor is the head. The default
        ``save`` writes both, so ``load`` on that folder finds both. A model without such a part sets ``fresh`` itself.

        Raises:
            TypeError: There are several pretrained parts: such a task writes ``save`` itself.
        """
        from safetensors.torch import load_file

        prefix, _ = _pretrained_part(model)
        own = _own_tensors(model, prefix)
        file = Path(self.source.folder) / HEAD_FILE
        kept = load_file(file) if file.is_file() else {}
        if {n: t.shape for n, t in kept.items()} == {n: t.shape for n, t in own.items()}:
            model.load_state_dict(kept, strict=False)
            self.fresh = frozenset()
        elif prefix is not None:
            self.fresh = frozenset(name for name, _ in model.named_parameters() if name in own)
        return model

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
        """Examples as one batch: tensors of equal shape, numbers, and lists of as many numbers become one tensor.

        Everything else becomes a list. A key that some example lacks (a label) is left out.
        """
        shared = [key for key in examples[0] if all(key in example for example in examples)]
        return {key: _stacked([example[key] for example in examples]) for key in shared}

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
        """Write the tuned model in its ecosystem's own layout, so that ``load`` on that folder gives it back.

        By default through the model's ``save_pretrained``; a model without it is written as its pretrained part and a
        file of all its other tensors, which ``with_head`` reads.
        """
        from tunesmith.model.pretrained import quiet

        prefix, part = _pretrained_part(model)
        if part is not None:
            with quiet():
                part.save_pretrained(folder)  # type: ignore[operator]
        own = _own_tensors(model, prefix)
        if own:
            from safetensors.torch import save_file

            # Copies, because tensors that share memory can't be written.
            save_file({name: t.detach().cpu().contiguous().clone() for name, t in own.items()}, folder / HEAD_FILE)
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:
        """Write what turns raw input into tensors beside the weights; by default the source's own files, copied."""
        found = (f for pattern in _PROCESSOR_FILES for f in Path(self.source.folder).glob(pattern) if f.is_file())
        for file in found:
            if not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)

    def load_snippet(self, folder: str) -> str | None:
        """Python that loads the saved model with its own library, for the model card."""
        return None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that are not the target."""
        return tuple(name for name in self.columns if name != self.target)


_PROCESSOR_FILES = (
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.spm",
    "*.jinja",
    "*processor_config.json",
)


def _pretrained_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost parts that save themselves, by dotted name; "" is the whole model."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if hasattr(module, "save_pretrained") and not inside:
            found[name] = module
    return found


def _pretrained_part(model: nn.Module) -> tuple[str | None, nn.Module | None]:
    """The one part that saves itself, None where there is none."""
    found = _pretrained_parts(model)
    if len(found) > 1:
        raise TypeError(
            f"{type(model).__name__} has several pretrained parts ({', '.join(found)}): write save yourself"
        )
    return next(iter(found.items()), (None, None))


def _own_tensors(model: nn.Module, pretrained: str | None) -> dict[str, Tensor]:
    """The state of a model outside its pretrained part."""
    if pretrained == "":
        return {}
    state = model.state_dict()
    return {name: t for name, t in state.items() if pretrained is None or not name.startswith(f"{pretrained}.")}


def _trunk_beside_head(model: nn.Module, fresh: frozenset[str]) -> nn.Module | None:
    """The part that saves itself, or the child that holds every parameter that is not fresh.

    None where the model itself says what its trunk is, or where there is no such part.
    """
    if getattr(model, "base_model_prefix", ""):
        return None
    parts = _pretrained_parts(model)
    if len(parts) == 1:
        return next(iter(parts.values()))
    old = {name.split(".")[0] for name, _ in model.named_parameters() if name not in fresh}
    if not fresh or len(old) != 1 or any(name.split(".")[0] in old for name in fresh):
        return None
    return dict(model.named_children()).get(old.pop())


def _stacked(values: list[Any]) -> Any:
    import torch

    first = values[0]
    if isinstance(first, torch.Tensor):
        return torch.stack(values) if all(v.shape == first.shape for v in values) else values
    lists = [v if isinstance(v, (list, tuple)) else [v] for v in values]
    alike = len({(len(v), v is value) for v, value in zip(lists, values, strict=True)}) == 1 and lists[0]
    return torch.tensor(values) if alike and all(isinstance(x, (int, float)) for v in lists for x in v) else values


def _number_scores(found: Sequence[float], true: Sequence[float]) -> Scores:
    """Mean absolute error, and the share of the variance that is explained; of constant truth 1 or 0, as in sklearn."""
    mean = sum(true) / len(true)
    left = sum((f - t) ** 2 for f, t in zip(found, true, strict=True))
    spread = sum((t - mean) ** 2 for t in true)
    r2 = 1 - left / spread if spread else float(left == 0)
    return {"mean_absolute_error": sum(abs(f - t) for f, t in zip(found, true, strict=True)) / len(true), "r2": r2}


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
