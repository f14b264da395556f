"""The one seam between a modality and everything else.

A task turns rows into sums and a model's outputs into JSON. It knows no loop, no optimizer, no device and no run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from tunesmith.types import Batch, Counts, Example, Facts, Finding, Preview, Row, RowShape, Scores, Sums

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.weights import Weights
    from tunesmith.recipe import AdapterSection, Stage

HEAD_FILE = "head.safetensors"
"""What the default ``save`` writes beside a pretrained part that saves itself: all other tensors of the model."""
SCORED_BY_NAME = ("accuracy", "mean_absolute_error", "r2")
"""Goals that a task has a score for without writing one."""


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
    identity: ClassVar[tuple[str, ...]] = ()
    """The columns that make two rows the same, where those are not the inputs."""
    goal: str
    """The metric of ``score`` that the verdict is about."""
    higher_is_better: bool = True
    random: bool = False
    """Whether ``encode`` draws from its rng (augmentation); then examples and activations are not kept."""
    views: int = 0
    """How many drawn versions of each training row take turns from epoch to epoch; 0: a new one every epoch."""
    packed: bool = False
    """Whether ``collate`` puts examples end to end along the second axis of a batch of one, with no padding."""
    not_by_row: ClassVar[tuple[str, ...]] = ()
    """Names of tensors in a batch that do not hold one entry a row."""
    one_pass: bool = True
    """Whether ``predict`` is one forward pass over the batch, so that recorded activations can stand in below."""
    cpu_rows: ClassVar[int | None] = None
    """Most rows in one forward pass without gradients on a CPU, whose caches hold no more; None: ``eval_rows``."""
    validation_goal: str | None = None
    """The metric of what ``validate`` predicts, which picks the best weights; None: ``goal``."""
    validation_higher: bool = True
    """Whether more of ``validation_goal`` is better."""
    base_rows: ClassVar[int] = 500
    """On how many training rows the candidates for the base are compared."""
    low_precision: ClassVar[bool] = False
    """Whether ``precision: auto`` may take bf16 on a CPU that has bf16 units; on a GPU it always may."""
    holds: ClassVar[tuple[str, ...]] = ("fp32",)
    """How the task's ``load`` can hold frozen weights."""
    reference_width: int = 0
    """How many numbers a row ``reference`` gives; 0: there is no reference."""
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    exceptions: ClassVar[Mapping[str, str]] = {}
    """Checks of ``check_task`` that this task cannot pass, each with the reason; shown in its docs."""
    finding_codes: ClassVar[Sequence[str]] = ()
    """Codes that the task's own ``audit`` may find, so that a recipe can accept them."""
    adapter_type: ClassVar[str | None] = None
    """peft's name of the task (``SEQ_CLS``), which a saved adapter carries so that peft builds the right model."""
    pipeline_tag: ClassVar[str | None] = None
    """The Hugging Face name of the task, for the model card."""
    exports: ClassVar[Mapping[str, str]] = {}
    """Formats that ``export`` can write, each with how its file's name ends; a folder where that is empty."""
    reads_files: ClassVar[bool] = False
    """Whether a row names a file: one that can't be read is named, and the others are predicted."""

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
        self.declared: tuple[Mapping[str, Any], ...] = ()
        """The classes that the training source itself declares, where it does."""
        self.pool: Sequence[Row] = ()
        """The training rows, for augmentation that puts several together."""
        self.stage_share = 0.0
        """How much of the stage is done, 0 to 1, as an epoch begins."""
        self.folders: tuple[Path, ...] = (Path(),)
        """Where relative paths inside rows start from, tried in turn."""
        self.adapted = False
        """Whether an adapter will be attached; set before ``load``."""
        self.held = "fp32"
        """How frozen weights are held: fp32, bf16, fp16 or nf4; set before ``load``. What learns is always fp32."""
        self.saved: Path | None = None
        """The folder of a run's adapter, whose processor stands in for that of the weights beneath."""
        self.recomputed = self.for_person = False
        """Whether blocks are computed again going back (set before ``load``); whether no answer is scored."""

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

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> RowShape | None:
        """How raw rows of several shapes become rows with this task's columns; None where they have them already.

        Args:
            options: Checked.
            answered: Whether rows must hold what is to be learned; not so when they are to be predicted.
        """
        return None

    @classmethod
    def class_column(cls) -> str | None:
        """The column of class labels; None where the target is a number or a list, which is no class of its row."""
        return None if cls.target is None or cls.columns.get(cls.target) in (float, list) else cls.target

    @classmethod
    def default_adapter(cls, options: Any) -> AdapterSection | None:
        """The adapter of a recipe that names neither adapter nor stages."""
        return None

    def validate(self, model: nn.Module, batch: Batch) -> list[Any]:
        """What is predicted for validation rows between epochs, where ``predict`` would take too long for that."""
        return self.predict(model, batch)

    def reference(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the model says about each row before it learns, [rows, ``reference_width``].

        It is recorded once and comes back in every batch as ``batch["reference"]``.
        """
        raise LookupError(f"{type(self).__name__} has a reference_width but no reference")

    def probes(self, held_out: Sequence[Row]) -> dict[str, list[Row]]:
        """Rows by name on which ``validate`` compares base and tuned, too: of other kinds, or judged otherwise."""
        return {}

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """What the model will read of these rows and what it will learn from them, for a person."""
        return []

    def can_judge(self, row: Row) -> bool:
        """Whether a prediction for this row can be right or wrong."""
        return True

    def evaluation_bytes(self, model: nn.Module) -> int:
        """About how much memory a batch of predictions takes beside the weights; 0 where it is less than a step's.

        Args:
            model: On the meta device.
        """
        return 0

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Metrics of predictions against rows, ``goal`` among them.

        By default each is held against its ``target``: ``accuracy`` of texts, ``mean_absolute_error`` of numbers.
        """
        true = [row[self.target] for row in rows] if self.target else []
        from tunesmith.metrics import simple_scores

        return simple_scores(self.goal, predictions, true)

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
        from tunesmith.model.pretrained_part import trunk_beside_head

        return LayerGroups.of(model, trunk=trunk_beside_head(model, self.fresh), fresh=self.fresh)

    def with_head(self, model: nn.Module) -> nn.Module:
        """A model of one's own around a pretrained part, for ``load``: its head as saved before, else declared fresh.

        The pretrained part is the module that has ``save_pretrained``; every other tensor is the head. The default
        ``save`` writes both, so ``load`` on that folder finds both. A model without such a part sets ``fresh`` itself.

        Raises:
            TypeError: There are several pretrained parts: such a task writes ``save`` itself.
        """
        from safetensors.torch import load_file

        from tunesmith.model.pretrained_part import own_tensors, pretrained_part

        prefix, _ = pretrained_part(model)
        own = own_tensors(model, prefix)
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

    def row_length(self, row: Row) -> int | None:
        """The ``length`` of a row's example where it can be told without encoding it; else None."""
        return None

    def length(self, example: Example) -> int:
        """How long an example is along the axis that ``collate`` pads; 1 where nothing is padded."""
        return 1

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Examples as one batch: tensors of equal shape, numbers, and lists of as many numbers become one tensor.

        Everything else becomes a list. A key that some example lacks (a label) is left out.
        """
        from tunesmith.data.loader import stacked

        shared = [key for key in examples[0] if all(key in example for example in examples)]
        return {key: stacked([example[key] for example in examples]) for key in shared}

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

    def resampler(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Callable[[np.ndarray], float] | None:
        """Numbers of rows, with repeats, to ``goal``: prepared once, for a goal that is no function of sums.

        None where there is none: ``score`` is called for every resample.
        """
        return None

    def distance(self, one: Any, other: Any) -> float | None:
        """How far two predictions of a row are apart; None: the largest difference of any number at the same place."""
        return None

    def calibrate(self, predictions: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
        """What is learned from the tuned model's predictions on rows that judge nothing; it goes into the facts."""
        return {}

    def write_previews(self, rows: Sequence[Row], folder: Path) -> list[Path]:
        """Write what a person should see before the first step (a contact sheet), and return the files."""
        return []

    def inputs_of(self, given: str, columns: Mapping[str, str]) -> list[Row] | None:
        """Rows that an input of ``predict`` names, where the task reads it itself; ``fault`` in one says why it can't.

        None where it is a file of rows or a plain value, which needs no task. ``columns`` is the recipe's.
        """
        return None

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
        """Write predictions as others want them (drawn pictures, a known format); False: plain JSON will do."""
        return False

    def export(self, format: str, model: nn.Module, rows: Sequence[Row], file: Path) -> dict[str, Any]:
        """Write a trained model in one of ``exports``, hold it against the model on rows; what was measured."""
        raise LookupError(f"{type(self).__name__} has no export")

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """The goal metric of summed tallies: float64 [resamples, k] to [resamples]."""
        raise LookupError(f"{type(self).__name__} has tallies but no goal_of")

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Panels for the report: gallery, confusion, histogram, table, examples and others (see ``report.panels``)."""
        return []

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the tuned model in its ecosystem's own layout, so that ``load`` on that folder gives it back.

        By default through the model's ``save_pretrained``; a model without it is written as its pretrained part and a
        file of all its other tensors, which ``with_head`` reads.
        """
        from tunesmith.model.pretrained import quiet
        from tunesmith.model.pretrained_part import own_tensors, pretrained_part

        prefix, part = pretrained_part(model)
        if part is not None:
            with quiet():
                part.save_pretrained(folder)  # type: ignore[operator]
        own = own_tensors(model, prefix)
        if own:
            from safetensors.torch import save_file

            # Copies, because tensors that share memory can't be written.
            save_file({name: t.detach().cpu().contiguous().clone() for name, t in own.items()}, folder / HEAD_FILE)
        self.save_processor(folder)

    def save_processor(self, folder: Path) -> None:
        """Write what turns raw input into tensors beside the weights; by default the source's own files, copied."""
        from tunesmith.model.pretrained import copy_processor

        copy_processor(self.source, folder)

    def load_snippet(self, folder: str) -> str | None:
        """Python that loads the saved model with its own library, for the model card."""
        return None

    @property
    def validation_metric(self) -> tuple[str, bool]:
        """The metric that picks the best weights, and whether more of it is better."""
        if self.validation_goal is None:
            return self.goal, self.higher_is_better
        return self.validation_goal, self.validation_higher

    def of_validation(self) -> Task:
        """The same task, judging by its validation metric."""
        other = copy(self)
        other.goal, other.higher_is_better = self.validation_metric
        return other

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that are not the target."""
        return tuple(name for name in self.columns if name != self.target)

    key_columns = inputs
    """The columns that decide what the model reads of a row; they name it in the caches."""
