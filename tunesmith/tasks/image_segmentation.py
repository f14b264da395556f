"""Image segmentation: a class for every pixel of a picture. It knows no loop and no file format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.backbone_heads import BackboneSegmenter
from tunesmith.model.layers import LayerGroups
from tunesmith.model.picture_layers import picture_layers
from tunesmith.model.pretrained import absent_parameters, load_config, stored_labels
from tunesmith.model.segmenters import (
    class_layers,
    holds_head,
    load_segmenter,
    renew_classes,
    segment_logits,
    segmentation_counts,
    segmentation_sums,
    segmenter_kind,
)
from tunesmith.pictures.augment import Kind, Placement, Sample
from tunesmith.pictures.class_masks import paint_objects, read_class_mask
from tunesmith.pictures.classes import BACKGROUND, PictureClasses
from tunesmith.pictures.files import PictureFault
from tunesmith.pictures.findings import FINDING_CODES
from tunesmith.pictures.panels import confusion_panel, segmentation_galleries, segmentation_table
from tunesmith.pictures.segmentation_scores import (
    count_masks,
    miou_from,
    pack_mask,
    score_masks,
    tally_masks,
    unpack_mask,
)
from tunesmith.pictures.showing import write_masks
from tunesmith.pictures.task import PictureOptions, PictureTask
from tunesmith.recipe import Stage, Top
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Scores, Sums


class SegmentationOptions(PictureOptions):
    """Settings of image segmentation."""

    labels: list[str] | None = Field(
        None, min_length=2, description="The classes in their order; left out, those of the data."
    )
    head: Literal["auto", "backbone"] = Field(
        "auto",
        description="auto takes the architecture's own segmentation head where it has one; backbone puts a fresh "
        "feature pyramid on the model's backbone.",
    )


class ImageSegmentation(PictureTask):
    """A class for every pixel: SegFormer, UperNet, Mask2Former, or any backbone with a fresh feature pyramid."""

    name = "image-segmentation"
    columns = {"image": str}  # noqa: RUF012
    kind: ClassVar[Kind] = "mask"
    key_columns = ("image", "content", "mask", "objects")
    default_size = 512
    goal = "miou"
    Options = SegmentationOptions
    audited = ("pictures", "masks")
    finding_codes = FINDING_CODES
    pipeline_tag = "image-segmentation"
    exceptions: ClassVar[dict[str, str]] = {
        "columns": "what is learned is a mask file or the row's objects: either column will do, so none is required"
    }
    options: SegmentationOptions

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Classes with their share of the pixels, and how pictures are fed."""
        classes = self._classes_of(rows)
        shares: dict[str, float] = dict.fromkeys(classes.names, 0.0)
        for row in rows:
            parts = row.get("areas") or [{"label": o["label"], "pixels": _area(o)} for o in row.get("objects") or ()]
            for part in parts:
                shares[str(part["label"])] += float(part["pixels"])
        total = sum(shares.values()) or 1.0
        said = ", ".join(f"{name} {share / total:.1%}" for name, share in shares.items())
        values, lines = self.input_facts()
        values |= {"labels": list(classes.names), "classes": classes.to_json()}
        return Facts(values, (f"{len(classes)} classes by share of the pixels: {said}", *lines))

    def _classes_of(self, rows: Sequence[Row]) -> PictureClasses:
        found = PictureClasses.from_json(self.declared) if self.declared else PictureClasses.of_rows(rows)
        if not any("mask" in row for row in rows) and BACKGROUND not in found:
            # Objects leave pixels that are none of them.
            found = PictureClasses((BACKGROUND, *found.names), (None, *found.source_ids))
        if self.options.labels is not None:
            if sorted(self.options.labels) != sorted(found.names):
                raise UserError(
                    f"options.labels are not the classes of the data: {', '.join(found.names)}",
                    "recipe: options.labels",
                    "write the same names, or leave options.labels out",
                )
            order = self.options.labels
        else:
            stored = stored_labels(load_config(self.source))
            order = stored if sorted(stored) == sorted(found.names) else list(found.names)
        if len(order) < 2:
            raise UserError(f"there is one class only ({order[0]})", "mask", "declare at least two classes")
        return PictureClasses(tuple(order), tuple(found.source_of(found.index(name)) for name in order))

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Pictures and masks that can't be used."""
        return self.picture_findings(train, held_out)

    def class_names(self) -> Sequence[str]:
        """The classes."""
        return list(self.facts.values["labels"])

    @cached_property
    def classes(self) -> PictureClasses:
        """The class table."""
        return PictureClasses.from_json(self.facts.values["classes"])

    @property
    def _bare(self) -> int:
        """The class that is not painted."""
        return self.classes.index(BACKGROUND) if BACKGROUND in self.classes else 0

    # The model

    def _config(self) -> Any:
        names = dict(enumerate(self.class_names()))
        return load_config(
            self.source, num_labels=len(names), id2label=names, label2id={v: k for k, v in names.items()}
        )

    @property
    def _known(self) -> bool:
        return stored_labels(load_config(self.source)) == list(self.class_names())

    def load(self) -> nn.Module:
        """The architecture's own segmenter, or a backbone with a feature pyramid."""
        model, fresh = load_segmenter(self.source, self._config(), self.options.head)
        if isinstance(model, BackboneSegmenter):
            self.with_head(model)
            fresh |= self.fresh
        # Outputs for as many other classes fit in shape alone: what they know is about something else.
        self.fresh = fresh if self._known else fresh | renew_classes(model)
        return self.settled(model)

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device."""
        from transformers import AutoModel, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

        config = self._config()
        kind = segmenter_kind(self.source, config, self.options.head)
        model: nn.Module
        if kind == "backbone":
            model = BackboneSegmenter(AutoModel.from_config(config), config.num_labels)
            stored = len(stored_labels(load_config(self.source))) if holds_head(self.source) else 0
            every = frozenset(n for n, _ in model.named_parameters() if not n.startswith("backbone."))
            fresh = every if stored != config.num_labels else frozenset()
        elif kind == "masks":
            # transformers renames its weights, so that their names in files tell nothing.
            model, fresh = AutoModelForUniversalSegmentation.from_config(config), frozenset()
        else:
            model = AutoModelForSemanticSegmentation.from_config(config)
            fresh = absent_parameters(self.source, model)
        self.fresh = fresh if self._known else fresh | class_layers(model)
        return self.settled(model.to("meta"))

    def layers(self, model: nn.Module) -> LayerGroups:
        """Stages, bottom to top; what makes classes of maps is the head."""
        return picture_layers(model, self.fresh)

    def stages(self, blocks: int) -> list[Stage]:
        """The head, then the upper half."""
        if not blocks:
            return [Stage(train="head", epochs=10, lr=1e-3), Stage(train="all", epochs=10, lr=1e-4)]
        top = Top(top=max(1, blocks // 2))
        return [Stage(train="head", epochs=10, lr=1e-3), Stage(train=top, epochs=10, lr=1e-4, layer_decay=0.9)]

    # Rows to sums

    def mask_of(self, row: Row, size: tuple[int, int]) -> np.ndarray:
        """A row's mask, uint8 [height, width] of class numbers, 255 where nobody labelled.

        Raises:
            UserError: It can't be read.
        """
        try:
            if row.get("mask") is None:
                return paint_objects(row["objects"], *size, self.classes, background=self._bare)
            place = self.folder(row) / str(row["mask"])
            if not place.is_file():
                raise UserError(f"there is no mask {row['mask']!r}", f"row {row['id']}", "check the path")
            return read_class_mask(place, self.classes, size=size)
        except PictureFault as fault:
            raise UserError(f"the mask {fault.reason}", f"{row.get('mask')} (row {row['id']})", "mend it") from fault

    def sample(self, row: Row, at_least: tuple[int, int] | None = None) -> Sample:
        """A picture with its mask."""
        image = self.pixels(row)
        labelled = row.get("mask") is not None or row.get("objects") is not None
        return Sample(image, mask=self.mask_of(row, image.shape[:2]) if labelled else None)

    def example(self, row: Row, sample: Sample, placement: Placement | None) -> Example:
        """The picture, and its mask at the model's size."""
        found = dict(super().example(row, sample, placement)) | {"placement": placement}
        if sample.mask is not None:
            found["mask"] = torch.from_numpy(sample.mask)
        return found

    def count(self, batch: Batch) -> Counts:
        """Labelled pixels; of a model that labels masks, those and its queries."""
        return segmentation_counts(self._config(), batch["mask"])

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Cross-entropy summed over labelled pixels, or the terms of mask classification."""
        return segmentation_sums(model, self.numbers(batch), batch["mask"])

    # Answers

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The most probable class of every pixel of the original, packed, and the share of each class."""
        numbers = self.numbers(batch)
        logits = segment_logits(model, numbers, (numbers.shape[-2], numbers.shape[-1]))
        return self._said(logits.argmax(1).to(torch.uint8).cpu().numpy(), batch["placement"])

    def _said(self, masks: np.ndarray, placements: Sequence[Placement]) -> list[Any]:
        names, said = self.class_names(), []
        for mask, placement in zip(masks, placements, strict=True):
            whole = placement.mask_to_original(mask, fill=self._bare)
            counted = np.bincount(whole.reshape(-1), minlength=len(names)) / whole.size
            shares = {name: round(float(share), 6) for name, share in zip(names, counted, strict=True) if share}
            said.append({**pack_mask(whole), "shares": shares})
        return said

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The commonest class everywhere; and the model as it came, where it knows these classes."""
        common = self._commonest(train)

        def everywhere(_model: nn.Module, batch: Batch) -> list[Any]:
            size = self.preprocessing.size
            return self._said(np.full((len(batch["placement"]), *size), common, np.uint8), batch["placement"])

        found: dict[str, Callable[[nn.Module, Batch], list[Any]]] = {f"all {self.class_names()[common]}": everywhere}
        if self._known and not self.fresh:
            found["pretrained segmenter"] = self.predict
        return found

    def _commonest(self, train: Sequence[Row]) -> int:
        pixels: dict[str, float] = {}
        for row in train:
            for part in row.get("areas") or ():
                pixels[str(part["label"])] = pixels.get(str(part["label"]), 0.0) + float(part["pixels"])
        return self.classes.index(max(pixels, key=pixels.__getitem__)) if pixels else self._bare

    # Judging

    def _truth(self, row: Row, size: Sequence[int]) -> np.ndarray:
        return self.mask_of(row, (int(size[0]), int(size[1])))

    def _tally(self, predictions: Sequence[Any], rows: Sequence[Row], *, boundary: bool) -> np.ndarray:
        pairs = ((self._truth(row, p["size"]), unpack_mask(p)) for row, p in zip(rows, predictions, strict=True))
        return tally_masks(pairs, len(self.class_names()), boundary=boundary)

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """mIoU, Dice, pixel accuracy and boundary IoU over the pixels of all pictures."""
        return score_masks(self._tally(predictions, rows, boundary=True))

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Pixels in both, of the truth and of the prediction, by class."""
        return self._tally(predictions, rows, boundary=False)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """Mean IoU of summed tallies."""
        return miou_from(totals)

    def distance(self, one: Any, other: Any) -> float:
        """The share of pixels that have another class."""
        a, b = unpack_mask(one), unpack_mask(other)
        return 1.0 if a.shape != b.shape else float((a != b).mean())

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Galleries of the worst and of random pictures, the table by class, which class is taken for which."""
        names = list(self.class_names())

        def truth(row: Row) -> np.ndarray:
            return self.mask_of(row, self.pixels(row).shape[:2])

        def taken(predictions: Sequence[Any]) -> np.ndarray:
            total = np.zeros((len(names), len(names)), dtype=np.int64)
            for row, one in zip(rows, predictions, strict=True):
                total += count_masks(self._truth(row, one["size"]), unpack_mask(one), len(names))
            return total

        before = self._tally(base, rows, boundary=False) if base is not None else None
        return [
            *segmentation_galleries(rows, base, tuned, names, self.pixels, truth, bare=(self._bare,)),
            segmentation_table(before, self._tally(tuned, rows, boundary=True), names),
            confusion_panel(names, taken(base) if base else None, taken(tuned), unit="pixels", missed=False),
        ]

    # Deployment

    def deployed(self, model: nn.Module, numbers: Tensor) -> dict[str, Tensor]:
        """Classes of pixels, int64 [batch, height, width], and their probabilities."""
        logits = segment_logits(model, numbers, (numbers.shape[-2], numbers.shape[-1])).float()
        probability, label = logits.softmax(1).max(1)
        return {"classes": label, "probabilities": probability}

    def read_deployed(self, outputs: Mapping[str, np.ndarray], placements: Sequence[Placement]) -> list[Any]:
        """Predictions from what a deployed model gives."""
        return self._said(outputs["classes"].astype(np.uint8), placements)

    def postprocessing(self) -> dict[str, Any]:
        """How maps become a mask of the picture."""
        bare = self.class_names()[self._bare]
        text = f"classes, brought back to the picture by nearest pixels; what the input did not show of it is {bare}"
        return {"text": text, "fill": self._bare}

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
        """Masks of class numbers, painted pictures, and JSON with the share of each class."""
        return write_masks(rows, predictions, folder, self.facts.values["classes"], (self._bare,), self.pixels)


def _area(thing: Any) -> float:
    box = thing.get("box") or (0, 0, 0, 0)
    return float(thing.get("area") or box[2] * box[3])
