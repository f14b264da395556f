"""What tasks on pictures have in common: reading a row's picture, augmentation, what the model's input looks like.

It knows no loss and no architecture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.frozen_norm import still_norms
from tunesmith.model.pretrained import processor_class
from tunesmith.pictures.augment import Augment, Augmenter, Fit, Kind, Placement, Sample, contact_sheet, fit, settings_of
from tunesmith.pictures.augment.augmenter import FITS
from tunesmith.pictures.files import PictureFault, folder_of, read_picture
from tunesmith.pictures.findings import picture_findings
from tunesmith.pictures.formats import PictureShape
from tunesmith.pictures.inputs import rows_named
from tunesmith.pictures.preprocess import FILE, Preprocessing, as_bytes
from tunesmith.task import Task, TaskOptions
from tunesmith.traits import DataReference
from tunesmith.types import Batch, Example, Facts, Finding, Row

SHEET = "contact-sheet.jpg"
SHEET_ROWS, SHEET_VIEWS = 6, 4
MOST_FOUND = 1_000_000
"""Pictures whose folders are kept in mind: a server is brought new ones without end."""
Side = Annotated[int, Field(ge=32, le=4096)]


class PictureOptions(TaskOptions):
    """Settings of every task on pictures."""

    size: Side | tuple[Side, Side] | Literal["auto"] = Field(
        "auto", description="Height and width of the model's input in pixels, or one number for both; auto: its own."
    )
    fit: Fit | Literal["auto"] = Field(
        "auto",
        description="How a picture lies in the input: stretch, letterbox (proportions kept, padded), or resize-crop "
        "(its centre); auto takes what the model's preprocessor_config.json says.",
    )
    augment: Augment = Field(
        settings_of("none"),
        description="How pictures vary while the model learns: a preset (outdoor, product, document, aerial, none), or "
        "its groups; never in evaluation.",
    )
    batch_norm: Literal["still", "moving"] = Field(
        "still",
        description="Statistics of pretrained batch norms: still keeps them, so that a picture's result depends on no "
        "other picture of its batch; moving follows the batches, as pretraining did.",
    )
    background: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of pictures without labels that is accepted as showing nothing but background."
    )


class PictureTask(Task):
    """A task on pictures. Abstract: it has neither model nor loss."""

    kind: ClassVar[Kind]
    """What is learned of a picture: ``label``, ``boxes`` or ``mask``."""
    default_size: ClassVar[int] = 224
    exports: ClassVar[Mapping[str, str]] = {"onnx": ".onnx"}
    file_columns: ClassVar[tuple[str, ...]] = ("image", "mask")
    reads_files: ClassVar[bool] = True
    cpu_rows: ClassVar[int | None] = 8
    unit: ClassVar[str] = "pictures"
    references: ClassVar[Sequence[DataReference]] = (DataReference("YOLO, a detector", 100),)
    key_columns: tuple[str, ...] = ("image", "content")
    identity: ClassVar[tuple[str, ...]] = ("content",)
    options: PictureOptions

    def __init__(self, options: Any, source: Any, facts: Facts | None = None) -> None:
        super().__init__(options, source, facts)
        augment = settings_of(options.augment)
        # What is asked of an augmenter here does not depend on the size.
        self.random = Augmenter.of(augment, (32, 32), self.kind).random
        self.views = augment.views or 0
        self._found: dict[tuple[Any, ...], Path] = {}

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How the model wants pictures."""
        kept = self.facts.values.get("input")
        folder = Path(self.source.folder)
        found = Preprocessing.read(folder, FITS[self.kind], self.default_size, self.unwritten())
        if kept:
            return found.sized(tuple(kept["size"]), kept["fit"])
        return found.sized(self.options.size, self.options.fit)

    def unwritten(self) -> Preprocessing | None:
        """How the model wants pictures where its folder has no file that says so; None: as ImageNet's models."""
        return None

    @cached_property
    def augmenter(self) -> Augmenter:
        """Pictures as they vary while the model learns."""
        wanted = self.preprocessing
        settings = settings_of(self.options.augment)
        backgrounds: list[np.ndarray] = []
        if settings.background.folder is not None and settings.background.paste:
            backgrounds = _pictures_of(settings.background.folder, self.folders)
        return Augmenter.of(
            settings,
            wanted.size,
            self.kind,
            fit=wanted.fit,
            shorter=wanted.shorter,
            resample=wanted.filter,
            backgrounds=backgrounds,
        )

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> PictureShape:
        """Folders of pictures in every common layout, and rows that name pictures."""
        names = getattr(options, "labels", None) or ()
        form: Any = getattr(options, "boxes", "xywh")
        return PictureShape(cls.kind, answered=answered, background=options.background, names=names, box_form=form)

    def table(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """The class table that is stored with the model: number, name, and what the source calls it."""
        known = {str(entry["name"]): entry.get("source_id") for entry in self.declared}
        return [{"id": i, "name": label, "source_id": known.get(label)} for i, label in enumerate(labels)]

    def picture_findings(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterator[Finding]:
        """Pictures that can't be read, that are on both sides, that are odd."""
        return picture_findings(
            train,
            held_out,
            self.folders,
            source="image",
            held_out_source="image",
            input_size=self.preprocessing.size,
        )

    def input_facts(self) -> tuple[dict[str, Any], list[str]]:
        """How pictures are fed, for the facts, and lines for a person."""
        wanted = self.preprocessing
        height, width = wanted.size
        lines = [f"pictures are fed at {height} x {width} pixels ({wanted.fit}, {wanted.filter})"]
        lines += [f"augmentation: {line}" for line in self.augmenter.describe()]
        if self.options.batch_norm == "moving":
            lines.append("statistics of batch norms follow the batches: a picture's loss depends on what is beside it")
        return {"input": {"size": [height, width], "fit": wanted.fit}}, lines

    # A row's picture

    def place(self, row: Row) -> Path:
        """Where a row's picture lies.

        Raises:
            UserError: It is not there.
        """
        return self.folder(row) / str(row["image"])

    def folder(self, row: Row) -> Path:
        """The folder that a row's files lie in.

        Raises:
            UserError: Its picture is in none.
        """
        key = (str(row["image"]), row.get("content"), self.folders)
        if key not in self._found:
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            found = folder_of(row, self.folders)
            if found is None:
                folders = ", ".join(str(folder) or "." for folder in self.folders)
                raise UserError(f"there is no picture {row['image']!r}", f"row {row['id']}", f"looked in: {folders}")
            self._found[key] = found
        return self._found[key]

    def pixels(self, row: Row, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """A row's picture, uint8 [height, width, 3].

        Raises:
            UserError: It can't be read.
        """
        place = self.place(row)
        try:
            return read_picture(place, at_least=at_least)
        except PictureFault as fault:
            raise UserError(f"the picture {fault.reason}", f"{place} (row {row['id']})", "mend or remove it") from fault

    def sample(self, row: Row, at_least: tuple[int, int] | None = None) -> Sample:
        """A row's picture with what is to be learned of it; a JPEG may be decoded smaller, not below ``at_least``."""
        return Sample(self.pixels(row, at_least))

    def fitted(self, row: Row) -> tuple[Sample, Placement]:
        """A row as it is evaluated, and where it lies on the canvas."""
        wanted = self.preprocessing
        return fit(self.sample(row), wanted.size, wanted.fit, shorter=wanted.shorter, resample=wanted.filter)

    def drawn(self, row: Row, rng: np.random.Generator) -> Sample:
        """A row as it varies, possibly put together with others."""
        augmenter = self.augmenter
        enough = augmenter.enough
        plan = augmenter.plan(rng, self.stage_share) if augmenter.settings.mosaic or augmenter.settings.mixup else None
        if plan is None or not plan.others or not len(self.pool):
            return augmenter(self.sample(row, enough), rng)
        others = [self.pool[i] for i in plan.rows(len(self.pool))]
        return augmenter.mixed([self.sample(one, enough) for one in (row, *others)], plan, rng)

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """The picture as bytes [3, height, width], and what is learned of it."""
        if rng is not None and self.random:
            return self.example(row, self.drawn(row, rng), None)
        sample, placement = self.fitted(row)
        return self.example(row, sample, placement)

    def example(self, row: Row, sample: Sample, placement: Placement | None) -> Example:
        """A sample at the model's size as an example; ``placement`` where it is evaluated."""
        return {"pixels": as_bytes(sample.image)}

    def numbers(self, batch: Batch) -> Tensor:
        """The batch's pictures as the network takes them, float32 [batch, 3, height, width]."""
        pixels: Tensor = batch["pixels"]
        return self.preprocessing.numbers(pixels) if not pixels.is_meta else pixels.float()

    # For a person

    def settled(self, model: nn.Module) -> nn.Module:
        """The model with its batch norms as the recipe wants them; to be called once ``fresh`` is known.

        Its convolutions lie channels last, which their kernels read in one piece: the same numbers, up to 1.7 times as
        fast on a CPU.
        """
        if self.options.batch_norm == "still":
            still_norms(model, self.fresh)
        for module in model.modules():
            momentum = getattr(module, "momentum", None)
            if isinstance(module, nn.BatchNorm2d) and momentum is not None and momentum > 0.5:
                # transformers' MobileNets hold one minus it, as TensorFlow counts: a batch would replace all of them.
                module.momentum = 1 - momentum
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def class_names(self) -> Sequence[str]:
        """Names of the classes by number."""
        return ()

    def write_previews(self, rows: Sequence[Row], folder: Path) -> list[Path]:
        """The contact sheet: some rows beside what the model will see of them in the first epochs."""
        step = max(1, len(rows) // SHEET_ROWS)
        chosen = [rows[i] for i in range(0, len(rows), step)][:SHEET_ROWS]
        lines = []
        for row in chosen:
            rngs = [np.random.default_rng([view, *str(row["id"]).encode()]) for view in range(SHEET_VIEWS)]
            seen = [self.drawn(row, rng) for rng in rngs] if self.random else [self.fitted(row)[0]]
            lines.append([self.sample(row), *seen])
        sheet = contact_sheet(lines, [str(row["image"]) for row in chosen], list(self.class_names()))
        sheet.save(folder / SHEET, quality=88)
        return [folder / SHEET]

    # Use

    def inputs_of(self, given: str, columns: Mapping[str, str]) -> list[Row] | None:
        """Pictures that are named as a file, a folder or a pattern, or by a file of rows."""
        return rows_named(given, columns, self.row_shape(self.options, answered=False))

    def deployed(self, model: nn.Module, numbers: Tensor) -> dict[str, Tensor]:
        """What an exported file puts out, by name (``model.deployable.OUTPUTS``).

        Args:
            model: The trained model.
            numbers: As ``numbers`` gives them.
        """
        raise LookupError(f"{type(self).__name__} has no export")

    def read_deployed(self, outputs: Mapping[str, np.ndarray], placements: Sequence[Placement]) -> list[Any]:
        """Predictions from what an exported file puts out, and where each picture lay in the input."""
        raise LookupError(f"{type(self).__name__} has no export")

    def postprocessing(self) -> dict[str, Any]:
        """What ``read_deployed`` does, for those who do it elsewhere."""
        return {}

    def export(self, format: str, model: nn.Module, rows: Sequence[Row], file: Path) -> dict[str, Any]:
        """Write the model as an ONNX file with preprocessing and names inside, and hold it against the model."""
        from tunesmith.pictures.deployment import export_pictures

        return export_pictures(self, model, rows, file)

    def save_processor(self, folder: Path) -> None:
        """How pictures must be fed, as transformers reads it."""
        kind = processor_class(self.source) or ("ViTImageProcessor" if self.kind == "label" else None)
        text = json.dumps(self.preprocessing.to_json(kind), indent=2)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def _pictures_of(named: str, folders: Sequence[Path]) -> list[np.ndarray]:
    """Backgrounds to paste on.

    Raises:
        UserError: There is no such folder, or no picture in it.
    """
    place = next((folder / named for folder in folders if (folder / named).is_dir()), Path(named).expanduser())
    found: list[np.ndarray] = []
    for file in sorted(place.rglob("*")) if place.is_dir() else ():
        if len(found) == 200:
            break
        try:
            found.append(read_picture(file, at_least=(512, 512)))
        except (PictureFault, IsADirectoryError):
            continue
    if not found:
        what = f"options.augment.background.folder: {named} holds no picture to paste on"
        raise UserError(what, "recipe: options.augment.background.folder", "name a folder of photographs, or null")
    return found
