"""What a task declares of itself: its columns, its goal, how its rows travel, what it can write. It knows no method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class DataReference:
    """The least data that a handbook names for one model: to hold a recipe's rows against, no verdict.

    Args:
        what: The model, and how it was tuned.
        least: In the task's ``unit``.
        parameters: Of that model: of several references the one of nearest size counts. None: of any size.
        source: Who says so.
    """

    what: str
    least: float
    parameters: int | None = None
    source: str = "a handbook of fine-tuning"


class TaskOptions(BaseModel):
    """A task's own settings. Unknown ones are errors; every field carries a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Traits:
    """The declarations of a task, with their defaults; ``Task`` adds what it does."""

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
    seeded: ClassVar[bool] = False
    """Whether a batch has ``seed``, int64 [rows], that noise comes from: of (seed, epoch, row), else of the row."""
    company: bool = False
    """Whether a row's loss reads the other rows of its step: a batch that is not all of it has ``company`` then, a list
    of what ``share`` gave of the others."""
    sample_epochs: float = 1.0
    """How many epochs lie between two looks at ``samples``."""
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
    spared: ClassVar[Sequence[str]] = ()
    """Codes of the engine's own findings that say nothing about this task's rows."""
    audited: ClassVar[tuple[str, ...]] = ("text",)
    """What rows hold, for the checks of ``tunesmith audit``: text, labels, answers, pictures, boxes, masks, captions,
    audio, transcripts."""
    adapter_type: ClassVar[str | None] = None
    """peft's name of the task (``SEQ_CLS``), which a saved adapter carries so that peft builds the right model."""
    pipeline_tag: ClassVar[str | None] = None
    """The Hugging Face name of the task, for the model card."""
    exports: ClassVar[Mapping[str, str]] = {}
    """Formats that ``export`` can write, each with how its file's name ends; a folder where that is empty."""
    adapter_exports: ClassVar[Sequence[str]] = ()
    """Those of them that hold an adapter alone; into all others it is merged."""
    fresh_process: ClassVar[bool] = False
    """Whether the saved model is scored in a process of its own, which knows nothing but the files."""
    unit: ClassVar[str] = "examples"
    """What ``amount`` counts the task's data in."""
    references: ClassVar[Sequence[DataReference]] = ()
    """Least data that handbooks name for models of this kind, in ``unit``."""
    file_columns: ClassVar[tuple[str, ...]] = ()
    """Columns that name a file: where a row's ``content`` is known, the name says nothing more."""
    reads_files: ClassVar[bool] = False
    """Whether a row names a file: one that can't be read is named, and the others are predicted."""
