"""Image classification: one of several labels for a picture. It knows no loop and no file format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.classifier import Classifier, ClassifierOptions
from tunesmith.errors import UserError
from tunesmith.model.backbone_heads import BackboneClassifier, load_backbone
from tunesmith.model.layers import LayerGroups
from tunesmith.model.picture_layers import picture_layers
from tunesmith.model.pretrained import absent_parameters, load_config, load_model, renew_output, stored_labels
from tunesmith.pictures.augment import Kind, Placement, Sample
from tunesmith.pictures.classification_scores import top_accuracy
from tunesmith.pictures.findings import FINDING_CODES
from tunesmith.pictures.panels import classification_galleries
from tunesmith.pictures.showing import write_labels
from tunesmith.pictures.task import PictureOptions, PictureTask
from tunesmith.types import Batch, Example, Facts, Finding, Row, Scores


class ImageOptions(PictureOptions, ClassifierOptions):
    """Settings of image classification."""

    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before a fresh head's linear layer.")


class ImageClassification(Classifier, PictureTask):
    """A picture to a label, with any transformers picture classifier or backbone."""

    name = "image-classification"
    columns = {"image": str, "label": object}  # noqa: RUF012
    kind: ClassVar[Kind] = "label"
    Options = ImageOptions
    audited = ("pictures", "labels")
    finding_codes = ("similar-labels", *FINDING_CODES)
    pipeline_tag = "image-classification"
    options: ImageOptions

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Labels with their counts, and how pictures are fed."""
        if self.options.dropout and self._own_classifier:
            raise UserError(
                f"options.dropout: {self.options.dropout:g} would change nothing: the model has a head of its own",
                "recipe: options.dropout",
                "remove it; it is for backbones that get a new head here",
            )
        labels, shares = self.label_facts(rows)
        values, lines = self.input_facts()
        return Facts(labels | values | {"classes": self.table(labels["labels"])}, (shares, *lines))

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Labels that look alike, pictures that can't be read, and pictures on both sides."""
        yield from Classifier.audit(self, train, held_out)
        yield from self.picture_findings(train, held_out)

    def class_names(self) -> Sequence[str]:
        """The labels."""
        return self.labels

    # The model

    def _config(self) -> Any:
        names = dict(enumerate(self.labels))
        return load_config(
            self.source, num_labels=len(names), id2label=names, label2id={v: k for k, v in names.items()}
        )

    @property
    def _own_classifier(self) -> bool:
        """Whether transformers has a classifier of this family."""
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

        return type(load_config(self.source)) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    def load(self) -> nn.Module:
        """The architecture's own classifier, or its backbone with a linear head."""
        from transformers import AutoModelForImageClassification

        config = self._config()
        known = stored_labels(load_config(self.source)) == self.labels
        if not self._own_classifier:
            backbone, fresh = load_backbone(self.source, config)
            made = BackboneClassifier(backbone, len(self.labels), self.options.dropout)
            self.with_head(made)
            self.knows_labels = known and not self.fresh
            self.fresh |= {f"backbone.{name}" for name in fresh}
            return self.settled(made)
        model, fresh = load_model(AutoModelForImageClassification, self.source, config)
        head = {n for n, _ in model.named_parameters() if not n.startswith(model.base_model_prefix + ".")}
        self.knows_labels = known and not (fresh & head)
        # A head for as many other labels fits in shape alone: what it knows is about something else.
        self.fresh = fresh if known else fresh | renew_output(model, head, len(self.labels))
        return self.settled(model)

    def skeleton(self) -> nn.Module:
        """The model's shape on the meta device, from its configuration alone."""
        from transformers import AutoModel, AutoModelForImageClassification

        config = self._config()
        if not self._own_classifier:
            model = BackboneClassifier(AutoModel.from_config(config), len(self.labels), self.options.dropout)
            self.fresh = frozenset(name for name, _ in model.named_parameters() if not name.startswith("backbone."))
            return self.settled(model.to("meta"))
        with torch.device("meta"):
            own = AutoModelForImageClassification.from_config(config)
        head = {n for n, _ in own.named_parameters() if not n.startswith(own.base_model_prefix + ".")}
        self.fresh = absent_parameters(self.source, own)
        if stored_labels(load_config(self.source)) != self.labels:
            self.fresh |= renew_output(own, head, len(self.labels))
        return self.settled(own)

    def layers(self, model: nn.Module) -> LayerGroups:
        """Stages or blocks, bottom to top; the classifier is the head."""
        return picture_layers(model, self.fresh)

    # Rows to sums

    def example(self, row: Row, sample: Sample, placement: Placement | None) -> Example:
        """The picture, and its label's number."""
        found = dict(super().example(row, sample, placement))
        if (label := self.label_number(row)) is not None:
            found["label"] = label
        return found

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits of a batch, [pictures, labels]."""
        out = model(pixel_values=self.numbers(batch))
        found: Tensor = out if isinstance(out, Tensor) else out.logits
        return found

    # Judging

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Macro-F1, top-1 and top-5 accuracy, log loss (nats) and expected calibration error."""
        found = super().score(predictions, rows)
        if len(self.labels) > 5:
            found["top_5_accuracy"] = top_accuracy(predictions, rows, 5)
        return found

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Galleries of the worst and of random pictures, confusion, the table by class, calibration."""
        galleries = classification_galleries(rows, base, tuned, self.pixels)
        panels = self.classes.panels(rows, base, tuned, lambda row: str(row["image"]))
        return [*galleries, *(panel for panel in panels if panel["kind"] != "examples")]

    # Deployment

    def deployed(self, model: nn.Module, numbers: Tensor) -> dict[str, Tensor]:
        """Probabilities of the labels, [pictures, labels], for pictures as the network takes them."""
        out = model(pixel_values=numbers)
        logits: Tensor = out if isinstance(out, Tensor) else out.logits
        return {"scores": logits.float().softmax(-1)}

    def read_deployed(self, outputs: Mapping[str, np.ndarray], placements: Sequence[Placement]) -> list[Any]:
        """Predictions from what a deployed model gives."""
        return self.classes.named(outputs["scores"].tolist())

    def postprocessing(self) -> dict[str, Any]:
        """How outputs become a prediction."""
        return {"text": "scores are probabilities of the classes; the largest is the prediction"}

    def write_predictions(self, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> bool:
        """JSON with label and probabilities by file name."""
        return write_labels(rows, predictions, folder)

    def load_snippet(self, folder: str) -> str | None:
        """Loading without this project."""
        if not self._own_classifier:
            return None
        return (
            "from transformers import pipeline\n\n"
            f'classify = pipeline("image-classification", model="{folder}")\nprint(classify("picture.jpg"))'
        )
