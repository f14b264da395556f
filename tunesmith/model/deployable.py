"""A picture model as others are to use it: pictures go in as they are, named answers come out.

What stands before and behind the model (scaling, normalising, decoding) is part of the module, so that a file made of
it needs no other code. It knows models; no file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunesmith.model.detectors import FAMILIES, SOFTMAX, decoded, detector_outputs
from tunesmith.model.segmenters import segment_logits

Kind = Literal["label", "boxes", "mask"]
OUTPUTS: dict[str, tuple[str, ...]] = {
    "label": ("scores",),
    "boxes": ("boxes", "scores"),
    "mask": ("classes", "probabilities"),
}
"""Names of what comes out.

``label``: ``scores`` [batch, classes], which sum to one. ``boxes``: ``boxes`` x1, y1, x2, y2 in pixels of the picture
that went in [batch, candidates, 4] and their ``scores`` [batch, candidates, classes], before overlapping ones are
removed. ``mask``: ``classes``, the id of every pixel [batch, height, width], and its probability, ``probabilities``.
"""
INPUT = "pictures"
ARTICLE = "uint8 RGB [batch, height, width, 3], already at the model's height and width"

Answer = Callable[[Any, Tensor], tuple[Tensor, ...]]
"""From a model and normalised pictures [batch, 3, height, width] to what its kind puts out."""


@dataclass(frozen=True)
class Pixels:
    """How a picture becomes what a model reads: ``(value * scale - mean) / std`` a channel.

    Args:
        height, width: Of the pictures.
        mean, std: A channel, in the order of ``order``.
        scale: Factor on the values 0 to 255.
        order: Of the channels that the model wants.
    """

    height: int
    width: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    order: Literal["rgb", "bgr"] = "rgb"

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Pixels:
        """From ``to_json``."""
        return cls(**values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])})


class Deployable(nn.Module):
    """A model with its preprocessing and decoding.

    Args:
        model: Any picture model; kept as it is, and put in ``eval`` mode.
        kind: What it says.
        pixels: How pictures become its input.
        answer: From the model and normalised pictures to the outputs of the kind; by default what fits the families
            that are known here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, kind: Kind, pixels: Pixels, answer: Answer | None = None) -> None:
        super().__init__()
        self.model, self.kind, self.pixels = model, kind, pixels
        self.answer = answer or _answer(model, kind)
        self.register_buffer("mean", torch.tensor(pixels.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(pixels.std).view(1, 3, 1, 1), persistent=False)
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what comes out."""
        return OUTPUTS[self.kind]

    def normalised(self, pictures: Tensor) -> Tensor:
        """What the model reads, [batch, 3, height, width]."""
        planes = pictures.permute(0, 3, 1, 2).float() * self.pixels.scale
        planes = planes.flip(1) if self.pixels.order == "bgr" else planes
        return (planes - self.mean) / self.std

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the kind, for pictures uint8 (or float of 0 to 255) [batch, height, width, 3]."""
        return self.answer(self.model, self.normalised(pictures))


def _answer(model: nn.Module, kind: Kind) -> Answer:
    if kind == "label":
        return class_scores
    if kind == "mask":
        return pixel_classes
    family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if family not in FAMILIES:
        raise TypeError(f"{family}: give Deployable an answer that decodes its boxes")
    return candidate_boxes


def class_scores(model: Any, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """Probabilities of the classes, [batch, classes]."""
    out = model(pixel_values)
    return ((out if isinstance(out, Tensor) else out.logits).float().softmax(-1),)


def candidate_boxes(model: Any, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """Boxes in pixels [batch, candidates, 4], and scores [batch, candidates, classes]."""
    boxes, scores = decoded(detector_outputs(model, pixel_values))
    height, width = pixel_values.shape[-2:]
    return boxes * boxes.new_tensor([width, height, width, height]), scores


def pixel_classes(model: Any, pixel_values: Tensor) -> tuple[Tensor, ...]:
    """The most probable class of every pixel, int64 [batch, height, width], and its probability."""
    height, width = int(pixel_values.shape[-2]), int(pixel_values.shape[-1])
    likely, classes = segment_logits(model, pixel_values, (height, width)).float().softmax(1).max(1)
    return classes, likely


def about(deployable: Deployable, classes: Sequence[str], more: dict[str, Any] | None = None) -> dict[str, str]:
    """What a file should say of itself: names and JSON texts.

    Args:
        deployable: What the file is made of.
        classes: Names, in the order of the model's classes.
        more: Further JSON-able values by name (how pictures are resized, how overlapping boxes are removed).
    """
    values: dict[str, Any] = {
        "kind": deployable.kind,
        "classes": list(classes),
        "preprocessing": deployable.pixels.to_json() | {"input": ARTICLE},
        "outputs": list(deployable.outputs),
    }
    if deployable.kind == "boxes":
        family = getattr(getattr(deployable.model, "config", None), "model_type", "")
        # Where a softmax decides, a candidate is one detection: that of its best class.
        values["competing"] = family in SOFTMAX
    return {name: json.dumps(value) for name, value in (values | (more or {})).items()}
