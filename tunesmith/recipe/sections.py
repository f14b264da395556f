"""What may stand in a recipe: nested sections, at most twelve fields each, every field described once.

The descriptions feed ``tunesmith explain``, the JSON Schema, the docs and the errors. It knows no file and no line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


@dataclass(frozen=True)
class Wants:
    """What a field wants, in plain words, where its type alone does not say it."""

    words: str


class Section(BaseModel):
    """A part of the recipe: unknown settings are errors, values are frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Group = TypeVar("Group", bound=Section)


def overlaid(below: Group, above: Group) -> Group:
    """The values of ``below`` with those in their place that were written in ``above``; every value counts as written.

    Sections inside are overlaid in the same way.
    """
    values = {}
    for name in type(below).model_fields:
        value = getattr(below, name)
        if name in above.model_fields_set:
            written = getattr(above, name)
            value = overlaid(value, written) if isinstance(value, Section) else written
        elif isinstance(value, Section):
            value = overlaid(value, type(value)())
        values[name] = value
    return type(below)(**values)


class ModelSection(Section):
    """The pretrained weights to start from. A plain string is short for ``{name: ...}``."""

    name: str = Field(
        min_length=1,
        description="A hub id (org/name), a local folder, or starter:NAME for weights an installed package carries.",
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a hub id.")
    allow_pickle: bool = Field(
        default=False,
        description="Read a .bin or .pt checkpoint where no safetensors exist (always with weights_only).",
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16", "nf4"] = Field(
        default="auto",
        description="How frozen weights are held; nf4 is 4 bit (QLoRA, arXiv:2305.14314). What learns is fp32. auto: "
        "bf16 under an adapter where steps run in bf16, else fp32.",
    )
    blocks: list[str] | None = Field(
        default=None,
        description="Dotted paths of the model's module lists, bottom to top, where none is found: [encoder.layer].",
    )
    remote_code: Annotated[str | None, Wants("a commit: 7 to 40 hexadecimal digits, in quotes")] = Field(
        default=None,
        description="Commit whose Python code from the model's own repository may run. Off unless named; recorded.",
        pattern=r"^[0-9a-f]{7,40}$",
    )


class DataSection(Section):
    """The rows: where they are, what is held out, what the columns are called."""

    train: str = Field(
        min_length=1,
        description="Training rows: a file (CSV, TSV, JSON, JSONL, Parquet), a folder, or a Hugging Face data set id.",
    )
    eval: Annotated[float, Field(gt=0, lt=1)] | str = Field(
        default=0.2,
        description="Held-out rows: a share of train between 0 and 1, or a source of their own, used as it is.",
    )
    validation: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of the training rows that picks the best weights and ends a stage on a plateau; the "
        "held-out rows never do. 0: no choice is made, the last weights are kept.",
    )
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "folder", "dataset"] = Field(
        default="auto", description="How to read the source; auto detects it, says so and records it."
    )
    columns: dict[str, str] = Field(
        default={}, description="Our column name to yours, where they differ: {text: body}."
    )
    group_by: str | None = Field(
        default=None, description="A column whose values never straddle the split (speaker, video, patient)."
    )
    stratify: bool = Field(
        default=True, description="Keep the label shares equal in train and held-out rows, where rows have labels."
    )
    broken_rows: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of unreadable rows that is accepted; they are counted and listed in any case.",
    )
    limit: int | None = Field(
        default=None, gt=0, description="Use only the first this many rows of each source (a quick trial)."
    )
    name: str | None = Field(default=None, description="Configuration name of a Hugging Face data set.")
    split: str | None = Field(
        default=None, description="Split of a data set or of a folder of split files to train on (default: train)."
    )
    eval_split: str | None = Field(
        default=None, description="Split that is held out, where data.eval names such a source (default: test)."
    )


class Top(Section):
    """The head and the top ``top`` blocks."""

    top: int = Field(gt=0, description="How many blocks, counted from the head downward, learn together with the head.")


class Stage(Section):
    """One stage of the training: what learns, how long, at what rate."""

    train: Literal["head", "all", "adapter"] | Top = Field(
        description="What learns: head, {top: n} for the head and the top n blocks, all, or adapter (with the head)."
    )
    epochs: float | None = Field(
        default=None, gt=0, description="Passes over the training rows. Give epochs or steps, not both."
    )
    steps: int | None = Field(default=None, gt=0, description="Optimizer steps. Give epochs or steps, not both.")
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        default=1e-3, description="Peak learning rate of the head; auto finds one by a range test before the stage."
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Each block below the head learns at this factor of the rate of the one above it.",
    )
    warmup: float = Field(
        default=0.06,
        ge=0,
        description="Steps of linear warm-up: below 1 a share of the stage's steps, from 1 on a number.",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How the rate falls after the warm-up: to zero as a cosine or a line, or not at all.",
    )
    patience: int | None = Field(
        default=None, gt=0, description="End the stage after this many evaluations without a better score (plateau)."
    )
    within: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Of what learns, only what lies in modules of these names (denoiser, decoder); null: all of it.",
    )


class AdapterSection(Section):
    """A low-rank adapter (LoRA, arXiv:2106.09685) on the frozen weights."""

    kind: Literal["lora"] = Field(default="lora", description="The kind of adapter.")
    r: int = Field(default=16, gt=0, description="Rank of the update.")
    alpha: float | None = Field(
        default=None, gt=0, description="Scale numerator; the update is multiplied by alpha / r (default: 2 r)."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the adapter's first matrix.")
    targets: str | list[str] = Field(
        default="all-linear",
        description="all-linear (every linear layer of the blocks), or the layer names it goes on, as a list.",
    )
    top: int | None = Field(
        default=None, gt=0, description="Only on this many blocks from the top; what lies below is frozen for good."
    )
    rslora: bool = Field(default=False, description="Scale by alpha / sqrt(r) instead (rsLoRA, arXiv:2312.03732).")
    dora: bool = Field(default=False, description="Learn magnitude and direction apart (DoRA, arXiv:2402.09353).")


class BatchSection(Section):
    """How many rows make a step, and how they travel."""

    rows: int = Field(default=32, gt=0, description="Rows per optimizer step, over all devices and micro-batches.")
    micro: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        default="auto",
        description="Rows per forward pass and device; the numbers do not depend on it. auto: the plan picks it.",
    )
    buckets: bool = Field(
        default=True, description="Put rows of like length into one batch, so that little is padding."
    )
    eval_rows: int = Field(default=64, gt=0, description="Rows per forward pass when evaluating.")


class OptimizerSection(Section):
    """How a gradient becomes an update."""

    name: Literal["adamw", "adamw-8bit", "sgd"] = Field(
        default="adamw",
        description="AdamW (arXiv:1711.05101), the same with its state in 8 bits (arXiv:2110.02861), or SGD with "
        "momentum.",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled weight decay; never on biases and norms.")
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        Wants("a list of two numbers from 0 to below 1, such as [0.9, 0.999]"),
    ] = Field(default=(0.9, 0.999), description="AdamW's averaging factors; SGD's momentum is the first.")
    eps: float = Field(default=1e-8, gt=0, description="AdamW's denominator offset.")
    clip: float | None = Field(default=1.0, gt=0, description="Largest norm of the whole gradient; null does not clip.")
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Keep an exponential moving average of the weights at this decay; it is what is saved.",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout of the layers that learn; null takes the model's own. Drawn per row and epoch.",
    )


class EngineSection(Section):
    """Where and in which precision the step runs."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="auto takes CUDA, then MPS, then the CPU."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Of the forward and backward pass; weights stay fp32. auto: bf16 on a GPU that has it, else fp32.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute the blocks in the backward pass: less memory, about a third more time."
    )
    compile: bool = Field(default=False, description="torch.compile every block (a first step of seconds to minutes).")
    workers: int = Field(
        default=0, ge=0, description="Threads that encode rows ahead of the step; 0 encodes in the loop."
    )


class CacheSection(Section):
    """The activation cache: outputs of everything below the lowest learning layer, computed once."""

    use: Literal["auto", "on", "off"] = Field(
        default="auto", description="auto uses it where it pays, and says why where not."
    )
    dtype: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="Stored precision; fp32 is exact.")
    max_gb: float = Field(default=20.0, gt=0, description="Most gigabytes on disk for this run's share of the cache.")


class AuditSection(Section):
    """What the audit may overlook, with the reason."""

    accept: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="Finding code to the reason why it is accepted: {duplicate-rows: augmented}."
    )


class RunSection(Section):
    """The directory a run leaves, and what it keeps there."""

    name: Annotated[
        str | None, Wants("a name of letters, digits, '.', '_' and '-' that begins with a letter or digit")
    ] = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Run name (default: the recipe's file name)."
    )
    folder: str = Field(default="runs", description="Folder that holds the runs, relative to where the command runs.")
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="Seed of everything random: split, order, head, dropout, augmentation."
    )
    checkpoint_seconds: float = Field(
        default=60.0, ge=0, description="Save a checkpoint at least this often; 0 saves after every step."
    )
    checkpoint_steps: int | None = Field(default=None, gt=0, description="Save a checkpoint every so many steps, too.")
    keep: int = Field(default=2, gt=0, description="Checkpoints to keep beside the best one.")
    track: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = Field(
        default=[], description="Also send losses and rates to these trackers."
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Recipe(Section):
    """Everything a run is made from."""

    task: str = Field(min_length=1, description="What the model learns to do; `tunesmith tasks` lists them.")
    model: Annotated[ModelSection, BeforeValidator(_named), Wants("a name, or {name: ...} with more settings")] = Field(
        description="The pretrained weights to start from."
    )
    data: DataSection = Field(description="The rows to learn from and the rows to be judged on.")
    stages: list[Stage] | None = Field(
        default=None, min_length=1, description="What learns, stage by stage; left out, the task's own stages, printed."
    )
    adapter: AdapterSection | None = Field(default=None, description="A low-rank adapter; a stage must train it.")
    batch: BatchSection = Field(default=BatchSection(), description="Rows per step.")
    optimizer: OptimizerSection = Field(default=OptimizerSection(), description="How a gradient becomes an update.")
    engine: EngineSection = Field(default=EngineSection(), description="Device and precision.")
    cache: CacheSection = Field(default=CacheSection(), description="The activation cache.")
    audit: AuditSection = Field(default=AuditSection(), description="What the audit may overlook.")
    run: RunSection = Field(default=RunSection(), description="Name, seed, checkpoints and trackers of the run.")
    options: dict[str, Any] = Field(default={}, description="The task's own settings, checked by the task.")
