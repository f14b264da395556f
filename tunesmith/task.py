"""The one seam between a modality and everything else.

A task turns rows into sums and a model's outputs into JSON. It knows no loop, no optimizer, no device and no run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.traits import TaskOptions, Traits
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Preview, Row, RowShape, Scores, Sums

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.weights import Weights
    from tunesmith.recipe import AdapterSection, Stage

__all__ = ["SCORED_BY_NAME", "Task", "TaskOptions"]

SCORED_BY_NAME = ("accuracy", "mean_absolute_error", "r2")
"""Goals that a task has a score for without writing one."""


class Task(Traits, ABC):
    """What a modality must say. One level of inheritance: nobody subclasses a concrete task.

    Four methods are required: ``load``, ``encode``, ``loss`` and ``predict``; and ``score``, unless ``goal`` is
    ``accuracy``, ``mean_absolute_error`` or ``r2``. The rest have defaults.

    Args:
        options: The recipe's ``options``, checked against ``Options``.
        source: The resolved pretrained weights (``source.folder`` holds the files).
        facts: What ``survey`` learned; given when a run is resumed, evaluated or used.
    """

    def __init__(self, options: TaskOptions, source: Weights, facts: Facts | None = None) -> None:
        if type(self).score is Task.score and self.goal not in SCORED_BY_NAME:
            what = f"{type(self).__name__} has no score for its goal {self.goal!r}"
            raise TypeError(f"{what}: write one, or take one of {', '.join(SCORED_BY_NAME)}")
        self.options = options
        self.source = source
        self.facts = facts or Facts()
        self.fresh: frozenset[str] = frozenset()
        self.declared: tuple[Mapping[str, Any], ...] = ()
        """The classes that the training source itself declares, where it does."""
        self.noted: Sums = {}
        """What the last ``loss`` tells a person beside itself: sums by name and unit (``token_accuracy/tokens``)."""
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
        self.trained = False
        """Whether the weights are those of a finished run: nothing is to be made anew, whatever the options say."""
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

    def check_adapter(self, model: nn.Module) -> None:
        """See that an adapter, once attached, is where the settings say; works on the meta device, for the plan.

        Raises:
            UserError: It is not, or it can't be saved there.
        """

    def validate(self, model: nn.Module, batch: Batch) -> list[Any]:
        """What is predicted for validation rows between epochs, where ``predict`` would take too long for that."""
        return self.predict(model, batch)

    def reference(self, model: nn.Module, batch: Batch) -> Tensor:
        """What the model says about each row before it learns, [rows, ``reference_width``].

        It is recorded once and comes back in every batch as ``batch["reference"]``.
        """
        raise LookupError(f"{type(self).__name__} has a reference_width but no reference")

    def share(self, model: nn.Module, batch: Batch) -> dict[str, Any]:
        """What the rows of a batch tell the other rows of their step, without gradients, where ``company`` is set.

        ``loss`` finds it in ``batch["company"]``. It must give the value of the batch's own rows, and the gradient that
        the loss of the whole step has with respect to them.
        """
        raise LookupError(f"{type(self).__name__} sets company but shares nothing")

    def probes(self, held_out: Sequence[Row]) -> dict[str, list[Row]]:
        """Rows by name on which ``validate`` compares base and tuned, too: of other kinds, or judged otherwise."""
        return {}

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """What the model will read of these rows and what it will learn from them, for a person."""
        return []

    def samples(self, held_out: Sequence[Row]) -> Sequence[Row]:
        """Rows that are predicted before the first step and after every ``sample_epochs``, for a person to watch."""
        return ()

    def show_samples(self, rows: Sequence[Row], taken: Sequence[tuple[int, Sequence[Any]]]) -> list[dict[str, Any]]:
        """Panels of predictions for ``samples``, (step, predictions) each."""
        return []

    def further_rows(self) -> list[Row]:
        """Rows that the task makes for itself and learns from with the others, once its facts are known."""
        return []

    def make_further(self, rows: Sequence[Row], predicted: Callable[[Sequence[Row]], list[Any]]) -> None:
        """Make what ``further_rows`` name, before the run begins, where the untrained model is needed for it."""
        raise LookupError(f"{type(self).__name__} names further rows and does not make them")

    def can_judge(self, row: Row) -> bool:
        """Whether a prediction for this row can be right or wrong."""
        return True

    def evaluation_bytes(self, model: nn.Module, rows: int) -> int:
        """About how much memory a batch of predictions takes beside the weights; 0 where it is less than a step's.

        Args:
            model: On the meta device.
            rows: The most that are predicted together.
        """
        return 0

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Metrics of predictions against rows, ``goal`` among them.

        By default each is held against its ``target``: ``accuracy`` of texts, ``mean_absolute_error`` of numbers.
        """
        from tunesmith.metrics import simple_scores

        return simple_scores(self.goal, predictions, [row[self.target] for row in rows] if self.target else [])

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer in the source's folder, for tasks that read or write text."""
        from tunesmith.model.pretrained import load_tokenizer

        return load_tokenizer(self.source)

    def tokens(self, text: str, length: int) -> dict[str, list[int]]:
        """A text as what a transformers model takes, cut or padded to exactly ``length`` tokens."""
        return dict(self.tokenizer(str(text), padding="max_length", truncation=True, max_length=length))

    def survey(self, rows: Sequence[Row]) -> Facts:
        """What must be learned from the training rows before the model is built (labels, lengths)."""
        return Facts()

    def amount(self, rows: Sequence[Row]) -> float:
        """How much data rows are, in ``unit``: their number, unless the task counts in something else."""
        return float(len(rows))

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
        from tunesmith.model.pretrained_part import read_head

        fresh = read_head(model, Path(self.source.folder))
        self.fresh = self.fresh if fresh is None else fresh
        return model

    def stages(self, blocks: int) -> list[Stage]:
        """The stages when the recipe gives none. ``blocks``: how many the model has."""
        from tunesmith.recipe import Stage, Top

        rest = Stage(train=Top(top=max(1, blocks // 3)), epochs=3, lr=1e-4, layer_decay=0.8)
        return [Stage(train="head", epochs=5, lr=1e-3), rest if blocks else Stage(train="all", epochs=3, lr=1e-4)]

    def oversized(self, row: Row) -> bool:
        """Whether a row is far more than the model takes at once, as far as that is told without reading it."""
        return False

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

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool | list[str]:
        """Write predictions as others want them; False: plain JSON will do; names: of files that stand for them."""
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

        By default through ``save_pretrained`` of its pretrained part, and all other tensors in a file that
        ``with_head`` reads.
        """
        from tunesmith.model.pretrained_part import write_parts

        write_parts(model, folder)
        self.save_processor(folder)

    def save_adapter(self, model: nn.Module, folder: Path) -> list[Path]:
        """Write an adapter, whose peft files lie in the folder already, in another layout, too; the files."""
        return []

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
