"""Object detection: what is where in a picture. It knows no loop and no file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.detection import STEP, Detector, Found, Target, detector_of, model_type_of, stored_classes
from tunesmith.model.layers import LayerGroups
from tunesmith.model.yolox import YoloxConfig, preprocessor_config
from tunesmith.pictures.augment import Kind, Outline, Placement, Sample
from tunesmith.pictures.classes import PictureClasses
from tunesmith.pictures.detection_scores import DEFAULT_THRESHOLD, DetectionTally, best_thresholds, confusion_of_boxes
from tunesmith.pictures.findings import FINDING_CODES
from tunesmith.pictures.outlines import outline_from
from tunesmith.pictures.panels import (
    confusion_panel,
    curves_panels,
    detection_galleries,
    detection_table,
    object_sizes,
    size_panel,
)
from tunesmith.pictures.preprocess import Preprocessing
from tunesmith.pictures.showing import write_boxes
from tunesmith.pictures.task import PictureOptions, PictureTask
from tunesmith.recipe import Stage, Top
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Row, Scores, Sums


class DetectionOptions(PictureOptions):
    """Settings of object detection."""

    labels: list[str] | None = Field(
        None, min_length=1, description="The classes in their order; left out, those of the data."
    )
    boxes: Literal["xywh", "xyxy", "cxcywh"] = Field(
        "xywh", description="What the four numbers of a box are in rows of CSV, JSONL and data sets, in pixels."
    )
    init: Literal["pretrained", "random"] = Field(
        "pretrained",
        description="Where weights come from: the model, or, to see what pretraining is worth, a random draw.",
    )


class ObjectDetection(PictureTask):
    """Boxes with classes in a picture: YOLOX, RT-DETR (v1, v2), D-FINE, YOLOS, DETR."""

    name = "object-detection"
    columns = {"image": str, "objects": list}  # noqa: RUF012
    target = "objects"
    kind: ClassVar[Kind] = "boxes"
    default_size = 640
    goal = "ap"
    seeded = True
    not_by_row: ClassVar[tuple[str, ...]] = ("boxes", "labels", "crowd")
    Options = DetectionOptions
    audited = ("pictures", "boxes")
    finding_codes = FINDING_CODES
    pipeline_tag = "object-detection"
    exceptions: ClassVar[dict[str, str]] = {
        "learns": "YOLOX's loss is a sum over the points that answer for an object, and the better its boxes overlap, "
        "the more points those are: it may grow while the model learns (of the other families it falls)"
    }
    options: DetectionOptions

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Classes with their counts, sizes of objects, how pictures are fed."""
        counts = Counter(str(thing["label"]) for row in rows for thing in row["objects"])
        labels = self.options.labels or self._order_of(rows)
        if unknown := sorted(set(counts) - set(labels)):
            raise UserError(
                f"options.labels leaves out {len(unknown)} classes of the data: {', '.join(unknown[:5])}",
                "recipe: options.labels",
                "add them, or leave options.labels out",
            )
        if not counts:
            raise UserError("no picture has an object", "objects", "give boxes to at least a few pictures")
        values, lines = self.input_facts()
        if model_type_of(self.source) == "yolox" and any(side % STEP for side in self.preprocessing.size):
            height, width = self.preprocessing.size
            raise UserError(
                f"options.size: YOLOX takes sides that are multiples of {STEP}, not {height} x {width}",
                "recipe: options.size",
                f"write size: {max(STEP, round(height / STEP) * STEP)}",
            )
        empty = sum(not row["objects"] for row in rows)
        said = ", ".join(f"{label} {counts[label]:,}" for label in labels)
        first = f"{len(labels)} classes, {sum(counts.values()):,} objects in {len(rows):,} pictures: {said}"
        more = [f"{empty:,} pictures show nothing but background"] if empty else []
        values |= {"labels": labels, "classes": self.table(labels), "sizes": object_sizes(rows)}
        return Facts(values, (first, *more, *lines))

    def _order_of(self, rows: Sequence[Row]) -> list[str]:
        """As the source declares them; of a base that knows exactly these, in its order, so that its outputs fit."""
        found = [str(entry["name"]) for entry in self.declared] or list(PictureClasses.of_rows(rows).names)
        stored = stored_classes(self.source)
        return stored if sorted(stored) == sorted(found) else found

    def table(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """The class table that is stored with the model."""
        known = {str(entry["name"]): entry.get("source_id") for entry in self.declared}
        if not known and len(self.pool):
            classes = PictureClasses.of_rows(self.pool)
            known = dict(zip(classes.names, classes.source_ids, strict=True))
        return [{"id": i, "name": label, "source_id": known.get(label)} for i, label in enumerate(labels)]

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Pictures and boxes that can't be learned from; held-out classes that the model does not know."""
        known = set(self.class_names())
        for row in held_out:
            if strange := sorted({str(thing["label"]) for thing in row["objects"]} - known):
                raise UserError(
                    f"no training picture shows {', '.join(map(repr, strange))}",
                    f"held-out picture {row['image']}",
                    "add such pictures to the training rows, or name the classes in options.labels",
                )
        yield from self.picture_findings(train, held_out)

    def class_names(self) -> Sequence[str]:
        """The classes."""
        return list(self.facts.values["labels"])

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.class_names())}

    # The model

    def unwritten(self) -> Preprocessing | None:
        """YOLOX takes pictures at the size that its config.json names, as all its weights were trained."""
        if model_type_of(self.source) != "yolox":
            return None
        size = YoloxConfig.read(Path(self.source.folder)).size
        return Preprocessing.of(preprocessor_config(size), "letterbox", self.default_size)

    @cached_property
    def detector(self) -> Detector:
        """The family of the weights."""
        return detector_of(self.source, self.class_names(), random=self.options.init == "random" and not self.trained)

    def load(self) -> nn.Module:
        """The detector with outputs for these classes."""
        model, self.fresh = self.detector.load()
        return self.settled(model)

    def skeleton(self) -> nn.Module:
        """Its shape on the meta device."""
        model, self.fresh = self.detector.skeleton()
        return self.settled(model)

    def layers(self, model: nn.Module) -> LayerGroups:
        """Stages, neck and layers, bottom to top."""
        return self.detector.layers(model, self.fresh)

    def stages(self, blocks: int) -> list[Stage]:
        """The new outputs with the upper half, then everything: box outputs must meet new things, too."""
        first: Literal["head"] | Top = Top(top=max(1, blocks // 2)) if blocks else "head"
        if self.options.init == "random":
            return [Stage(train="all", epochs=40, lr=1e-3)]
        return [Stage(train=first, epochs=5, lr=1e-3), Stage(train="all", epochs=15, lr=2e-4)]

    # Rows to sums

    def sample(self, row: Row, at_least: tuple[int, int] | None = None) -> Sample:
        """A picture with its objects; the number of a class that stands for a crowd is ``-1 - class``."""
        # Boxes are in pixels of the whole picture: without its size in the row it must be read whole.
        image = self.pixels(row, at_least if row.get("height") and row.get("width") else None)
        things = row.get("objects") or []
        height, width = int(row.get("height") or image.shape[0]), int(row.get("width") or image.shape[1])
        corners = [[x, y, x + w, y + h] for x, y, w, h in (thing["box"] for thing in things)]
        if strange := [str(thing["label"]) for thing in things if str(thing["label"]) not in self._index]:
            raise UserError(
                f"the model does not know the class {strange[0]!r}",
                f"row {row['id']}",
                f"leave such objects out, or name them as the model does: {', '.join(self.class_names()[:10])}",
            )
        numbers = [self._index[str(thing["label"])] for thing in things]
        crowd = [-1 - number if thing.get("crowd") else number for number, thing in zip(numbers, things, strict=True)]
        known: tuple[Outline, ...] | None = None
        if any(thing.get("segmentation") for thing in things):
            known = tuple(outline_from(thing.get("segmentation"), thing["box"], height, width) for thing in things)
        boxes = np.array(corners, dtype=np.float32).reshape(-1, 4)
        whole = Sample(
            image if image.shape[:2] == (height, width) else np.zeros((height, width, 3), np.uint8),
            boxes,
            np.array(crowd, dtype=np.int64),
            outlines=known,
        )
        return whole if whole.image is image else whole.with_picture(image)

    def example(self, row: Row, sample: Sample, placement: Placement | None) -> Example:
        """The picture, and its objects in pixels of the model's input."""
        assert sample.boxes is not None
        assert sample.labels is not None
        crowd = sample.labels < 0
        found = dict(super().example(row, sample, placement))
        return found | {
            "boxes": torch.from_numpy(sample.boxes.astype(np.float32)),
            "labels": torch.from_numpy(np.where(crowd, -1 - sample.labels, sample.labels)),
            "crowd": torch.from_numpy(crowd),
            "placement": placement,
        }

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pictures stacked; objects as lists, one entry a picture."""
        batch: Batch = {"pixels": torch.stack([e["pixels"] for e in examples])}
        return batch | {key: [e[key] for e in examples] for key in ("boxes", "labels", "crowd", "placement")}

    def _targets(self, batch: Batch) -> list[Target]:
        return [Target(*one) for one in zip(batch["boxes"], batch["labels"], batch["crowd"], strict=True)]

    def count(self, batch: Batch) -> Counts:
        """Objects, and what else the family's loss is a sum over."""
        return self.detector.counts(self._targets(batch))

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """The family's terms, summed."""
        return self.detector.sums(model, self.numbers(batch), self._targets(batch), batch["seed"])

    # Answers

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Boxes x, y, width, height in pixels of the original, with score and label, the surest first."""
        found = self.detector.found(model, self.numbers(batch))
        return [self._said(one, placement) for one, placement in zip(found, batch["placement"], strict=True)]

    def _said(self, found: Found, placement: Placement) -> list[dict[str, Any]]:
        boxes = placement.to_original(found.boxes.float().cpu().numpy())
        names = self.class_names()
        said = []
        pairs = zip(boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
        for (x1, y1, x2, y2), score, label in pairs:
            if x2 > x1 and y2 > y1:
                box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
                said.append({"box": box, "score": round(float(score), 6), "label": names[label]})
        return said

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The detector as it came: with its own outputs where it knows the classes, else with fresh ones."""
        name = "pretrained detector" if self.detector.known else "pretrained detector, its class outputs fresh"
        return {"random weights" if self.options.init == "random" else name: self.predict}

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """COCO's average precision and recall; ``ap`` is over overlaps 0.50 to 0.95."""
        return {k: v for k, v in self._tally(predictions, rows).scores().items() if v == v}  # noqa: PLR0124

    def _tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> DetectionTally:
        return DetectionTally.of(predictions, rows, list(self.class_names()))

    def resampler(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
        """Matches are made once; a resample is a weighted precision curve."""
        return self._tally(predictions, rows)

    def calibrate(self, predictions: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
        """The score of each class from which on a box is worth showing: where F1 at overlap 0.5 is best."""
        found = best_thresholds(predictions, rows, list(self.class_names()))
        return {"thresholds": {label: one.to_json() for label, one in found.items()}}

    @property
    def thresholds(self) -> dict[str, float]:
        """The chosen score of each class."""
        kept = self.facts.values.get("thresholds", {})
        return {
            label: float(kept[label]["score"]) if label in kept else DEFAULT_THRESHOLD for label in self.class_names()
        }

    def distance(self, one: Any, other: Any) -> float:
        """Of boxes that are sure enough to be shown: scores apart, or boxes apart as a share of their size."""
        return boxes_apart(one, other)

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Galleries, who is taken for whom, precision and recall, the table by class, sizes."""
        names = list(self.class_names())
        after, before = self._tally(tuned, rows), self._tally(base, rows) if base is not None else None
        of_base = None if before is None else {k: t.score for k, t in before.best_thresholds().items()}
        taken = None
        if base is not None and of_base is not None:
            shown = {name: of_base.get(name, DEFAULT_THRESHOLD) for name in names}
            taken = confusion_of_boxes(base, rows, names, shown)
        return [
            *detection_galleries(
                rows, base, tuned, names, self.pixels, thresholds=self.thresholds, base_thresholds=of_base
            ),
            confusion_panel(names, taken, confusion_of_boxes(tuned, rows, names, self.thresholds)),
            *curves_panels(before, after),
            detection_table(before, after, self.thresholds),
            size_panel({"train": self.facts.values["sizes"], "held out": object_sizes(rows)}),
        ]

    # Deployment

    def deployed(self, model: nn.Module, numbers: Tensor) -> dict[str, Tensor]:
        """Candidates: boxes in pixels of the input and scores of the classes."""
        boxes, scores = self.detector.candidates(model, numbers)
        return {"boxes": boxes, "scores": scores}

    def read_deployed(self, outputs: Mapping[str, np.ndarray], placements: Sequence[Placement]) -> list[Any]:
        """Predictions from what a deployed model gives."""
        pairs = zip(torch.from_numpy(outputs["boxes"]), torch.from_numpy(outputs["scores"]), strict=True)
        found = [self.detector.chosen(boxes, scores) for boxes, scores in pairs]
        return [self._said(one, placement) for one, placement in zip(found, placements, strict=True)]

    def postprocessing(self) -> dict[str, Any]:
        """How candidates become detections."""
        return {**self.detector.choosing, "thresholds": self.thresholds}

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
        """COCO results, and pictures with the boxes that are sure enough."""
        return write_boxes(rows, predictions, folder, self.facts.values["classes"], self.thresholds, self.pixels)


SURE = 0.1
ROUNDED = 1.1e-3
"""Pixels that boxes may lie apart because each was rounded to a thousandth."""


def boxes_apart(one: Sequence[Any], other: Sequence[Any]) -> float:
    """How far two lists of detections are apart: the largest difference of a score, or of a box to its own size.

    What scores less than a tenth in either is left out: near the floor a box may be there or not by rounding.
    """
    worst = 0.0
    for mine, theirs in ((one, other), (other, one)):
        for box in (b for b in mine if b["score"] >= SURE):
            alike = [b for b in theirs if b["label"] == box["label"]]
            worst = max(worst, min((_apart(box, b) for b in alike), default=1.0))
    return worst


def _apart(a: Any, b: Any) -> float:
    size = max(1.0, *a["box"][2:])
    moved = max(max(0.0, abs(x - y) - ROUNDED) for x, y in zip(a["box"], b["box"], strict=True)) / size
    return float(max(abs(a["score"] - b["score"]), moved))
