"""Detectors of every family behind one face: YOLOX, which is ours, and those of transformers that predict sets.

It knows boxes in the model's own pixels; no row, no file of labels and no task.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import yolox
from tunesmith.model.detectors import (
    SOFTMAX,
    class_heads,
    decode_detections,
    decoded,
    detection_counts,
    detection_sums,
    detector_outputs,
    load_detector,
    surest,
    with_fixed_bins,
)
from tunesmith.model.frozen_norm import sound_norms
from tunesmith.model.layers import LayerGroups
from tunesmith.model.nms import detect
from tunesmith.model.picture_layers import picture_layers
from tunesmith.model.pretrained import load_config, stored_labels
from tunesmith.model.weights import Weights

MOST = 100
"""Detections a picture, as COCO counts them."""
LEAST_SCORE = 0.01
OVERLAP = 0.65
"""Of YOLOX's boxes, above which the less certain one goes."""
STEP = 32
"""Sides of YOLOX's input are multiples of this."""


class Target(NamedTuple):
    """The objects of one picture, in pixels of what the model sees.

    Args:
        boxes: float32 [objects, 4]: x1, y1, x2, y2.
        labels: int64 [objects].
        crowd: bool [objects]: groups too many to be drawn apart.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor


class Found(NamedTuple):
    """What is found in one picture, the surest first.

    Args:
        boxes: float32 [found, 4], in pixels of what the model saw.
        scores: float32 [found].
        labels: int64 [found].
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass
class Detector(ABC):
    """A family of detectors with weights and classes.

    Args:
        source: The weights.
        labels: Names of the classes that are wanted.
        random: Whether weights are drawn instead of loaded.
    """

    source: Weights
    labels: Sequence[str]
    random: bool = False

    @property
    def known(self) -> bool:
        """Whether the pretrained classes are the wanted ones."""
        return not self.random and self.stored == list(self.labels)

    @property
    @abstractmethod
    def stored(self) -> list[str]:
        """Names of the pretrained classes."""

    @abstractmethod
    def load(self) -> tuple[nn.Module, frozenset[str]]:
        """The model, and the names of its fresh parameters."""

    @abstractmethod
    def skeleton(self) -> tuple[nn.Module, frozenset[str]]:
        """Its shape on the meta device."""

    @abstractmethod
    def layers(self, model: nn.Module, fresh: frozenset[str]) -> LayerGroups:
        """Layer groups, bottom to top."""

    @abstractmethod
    def counts(self, targets: Sequence[Target]) -> dict[str, float]:
        """Units of the loss sums."""

    @abstractmethod
    def sums(
        self, model: nn.Module, numbers: Tensor, targets: Sequence[Target], seeds: Tensor | Sequence[int]
    ) -> dict[str, Tensor]:
        """Loss sums of a batch."""

    @abstractmethod
    def found(self, model: nn.Module, numbers: Tensor) -> list[Found]:
        """What is found in pictures."""

    @abstractmethod
    def candidates(self, model: nn.Module, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [batch, candidates, 4] in pixels of the input and scores [batch, candidates, classes], for export."""

    @property
    @abstractmethod
    def choosing(self) -> dict[str, Any]:
        """What ``chosen`` does, for those who do it elsewhere."""

    @abstractmethod
    def chosen(self, boxes: Tensor, scores: Tensor) -> Found:
        """What is found among one picture's candidates."""


class YoloxDetector(Detector):
    """YOLOX (arXiv:2107.08430)."""

    @property
    def _config(self) -> yolox.YoloxConfig:
        return yolox.YoloxConfig.read(Path(self.source.folder))

    @property
    def stored(self) -> list[str]:
        """Names of the pretrained classes."""
        return list(self._config.names)

    def load(self) -> tuple[nn.Module, frozenset[str]]:
        """The network; the rows of pretrained classes that are wanted are kept."""
        names = tuple(self.labels)
        if self.random:
            model = yolox.Yolox(self._config.with_classes(len(names), names))
            return model, frozenset(name for name, _ in model.named_parameters())
        model = yolox.Yolox.from_pretrained(Path(self.source.folder)).train()
        if self.stored == list(names):
            return model, frozenset()
        kept = [self.stored.index(name) for name in names] if set(names) <= set(self.stored) else None
        before = [_copied(conv) for conv in _convs(model)]
        fresh = model.with_classes(len(names), names)
        if kept is None:
            return model, fresh
        with torch.no_grad():
            for conv, (weight, bias) in zip(_convs(model), before, strict=True):
                conv.weight.copy_(weight[kept])
                assert conv.bias is not None
                conv.bias.copy_(bias[kept])
        return model, frozenset()

    @property
    def known(self) -> bool:
        """Whether all wanted classes are among the pretrained ones."""
        return not self.random and set(self.labels) <= set(self.stored)

    def skeleton(self) -> tuple[nn.Module, frozenset[str]]:
        """Its shape on the meta device."""
        names = tuple(self.labels)
        with torch.device("meta"):
            model = yolox.Yolox(self._config.with_classes(len(names), names))
        every = frozenset(name for name, _ in model.named_parameters())
        if self.random:
            return model, every
        return model, frozenset() if self.known else frozenset(n for n in every if n.startswith("head.cls_preds."))

    def layers(self, model: nn.Module, fresh: frozenset[str]) -> LayerGroups:
        """Stages of the backbone as blocks; the path aggregation is the neck."""
        found = yolox.parts(model)  # type: ignore[arg-type]
        return LayerGroups.of(model, trunk=found.trunk, blocks=found.blocks, fresh=fresh)

    def counts(self, targets: Sequence[Target]) -> dict[str, float]:
        """Objects, at least one a picture."""
        return yolox.count([t.boxes for t in targets], [t.crowd for t in targets])

    def sums(
        self, model: nn.Module, numbers: Tensor, targets: Sequence[Target], seeds: Tensor | Sequence[int]
    ) -> dict[str, Tensor]:
        """Box, objectness and class."""
        outputs = model(numbers)
        if numbers.is_meta:
            # Who answers for which object depends on numbers; what the network keeps for its backward pass does not.
            return {"box/objects": outputs.raw.float().sum()}
        crowd = [t.crowd for t in targets]
        return yolox.loss_sums(outputs, [t.boxes for t in targets], [t.labels for t in targets], crowd)

    def found(self, model: nn.Module, numbers: Tensor) -> list[Found]:
        """After non-maximum suppression."""
        boxes, scores = yolox.decode(model(numbers))
        return [self.chosen(b, s) for b, s in zip(boxes, scores, strict=True)]

    def candidates(self, model: nn.Module, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Of every anchor point."""
        boxes, scores = yolox.decode(model(numbers))
        return boxes, scores

    @property
    def choosing(self) -> dict[str, Any]:
        """Non-maximum suppression."""
        text = (
            "each candidate stands for its best class; of those with at least least_score, the best first, one is kept "
            "unless it overlaps a kept one of its class by more than overlap (intersection over union)"
        )
        return {"method": "nms", "text": text, "least_score": LEAST_SCORE, "overlap": OVERLAP, "most": MOST}

    def chosen(self, boxes: Tensor, scores: Tensor) -> Found:
        """By non-maximum suppression, a class at a time."""
        found = detect(boxes, scores, threshold=LEAST_SCORE, overlap=OVERLAP, limit=MOST, candidates=1000)
        return Found(*found)


def _convs(model: yolox.Yolox) -> list[nn.Conv2d]:
    """The layers that say classes, one a level."""
    return [conv for conv in model.head.cls_preds if isinstance(conv, nn.Conv2d)]


def _copied(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert conv.bias is not None
    return conv.weight.detach().clone(), conv.bias.detach().clone()


class SetDetector(Detector):
    """DETR, YOLOS, RT-DETR, RT-DETRv2 and D-FINE."""

    def _config_of(self, labels: Sequence[str]) -> Any:
        names = dict(enumerate(labels))
        return load_config(
            self.source, num_labels=len(names), id2label=names, label2id={v: k for k, v in names.items()}
        )

    @property
    def stored(self) -> list[str]:
        """Names of the pretrained classes."""
        return stored_labels(load_config(self.source))

    def load(self) -> tuple[nn.Module, frozenset[str]]:
        """Transformers' detector; class outputs are drawn anew where the classes are others."""
        config = self._config_of(self.labels)
        if self.random:
            from transformers import AutoModelForObjectDetection

            drawn: nn.Module = sound_norms(with_fixed_bins(AutoModelForObjectDetection.from_config(config)))
            return drawn, frozenset(name for name, _ in drawn.named_parameters())
        model, fresh = load_detector(self.source, config)
        if self.known:
            return model, fresh
        heads = class_heads(model)
        _redraw(model, heads - fresh)
        return model, fresh | heads

    def skeleton(self) -> tuple[nn.Module, frozenset[str]]:
        """Its shape on the meta device."""
        from transformers import AutoModelForObjectDetection

        model = AutoModelForObjectDetection.from_config(self._config_of(self.labels))
        model = with_fixed_bins(model)
        every = frozenset(name for name, _ in model.named_parameters())
        fresh = every if self.random else frozenset() if self.known else class_heads(model)
        return model.to("meta"), fresh

    def layers(self, model: nn.Module, fresh: frozenset[str]) -> LayerGroups:
        """Stages, encoder, decoder layers."""
        return picture_layers(model, fresh)

    def counts(self, targets: Sequence[Target]) -> dict[str, float]:
        """As the family's loss is a sum over."""
        return detection_counts(self._config_of(self.labels), [_mapping(t) for t in targets])

    def sums(
        self, model: nn.Module, numbers: Tensor, targets: Sequence[Target], seeds: Tensor | Sequence[int]
    ) -> dict[str, Tensor]:
        """Terms of every layer; on the meta device, where there are only shapes, those of some matching."""
        mapped = [_mapping(t) for t in targets]
        outputs = detector_outputs(model, numbers, targets=mapped, seeds=seeds)
        return detection_sums(model, outputs, mapped)

    def found(self, model: nn.Module, numbers: Tensor) -> list[Found]:
        """The surest queries; such models need no suppression."""
        outputs = detector_outputs(model, numbers)
        sizes = [(float(numbers.shape[-2]), float(numbers.shape[-1]))] * len(numbers)
        return [_above(Found(*one)) for one in decode_detections(outputs, sizes, MOST)]

    def candidates(self, model: nn.Module, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Of every query."""
        boxes, scores = decoded(detector_outputs(model, numbers))
        height, width = numbers.shape[-2:]
        return boxes * boxes.new_tensor([width, height, width, height]), scores

    @property
    def choosing(self) -> dict[str, Any]:
        """The surest answers."""
        text = "every pair of candidate and class is a detection; the surest are kept, with at least least_score"
        return {"method": "top", "text": text, "least_score": LEAST_SCORE, "most": MOST}

    def chosen(self, boxes: Tensor, scores: Tensor) -> Found:
        """The surest answers over queries and classes."""
        return _above(Found(*surest(boxes, scores, MOST, competing=model_type_of(self.source) in SOFTMAX)))


def _above(found: Found) -> Found:
    kept = found.scores >= LEAST_SCORE
    return Found(found.boxes[kept], found.scores[kept], found.labels[kept])


def _mapping(target: Target) -> dict[str, Tensor]:
    """Without groups too many to be drawn apart, which a set can't answer for; shapes alone don't tell them."""
    if target.crowd.is_meta:
        return {"boxes": target.boxes, "labels": target.labels}
    single = ~target.crowd
    return {"boxes": target.boxes[single], "labels": target.labels[single]}


@torch.no_grad()
def _redraw(model: Any, names: frozenset[str]) -> None:
    std = getattr(model.config, "initializer_range", None) or 0.02
    for name, parameter in model.named_parameters():
        if name not in names:
            continue
        if name.endswith("bias"):
            # As for focal losses: every class is rare at first (arXiv:1708.02002).
            parameter.fill_(-4.595 if "class_labels_classifier" not in name else 0.0)
        else:
            parameter.normal_(std=std)


def model_type_of(source: Weights) -> str:
    """The ``model_type`` of a folder's config.json.

    Raises:
        UserError: It can't be read.
    """
    file = Path(source.folder) / "config.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError) as fault:
        raise UserError(f"model: config.json can't be read: {fault}", str(file), "fetch the model again") from fault


def detector_of(source: Weights, labels: Sequence[str], *, random: bool = False) -> Detector:
    """The family that a folder's weights belong to."""
    kind = YoloxDetector if model_type_of(source) == "yolox" else SetDetector
    return kind(source, labels, random)


def stored_classes(source: Weights) -> list[str]:
    """The classes that a folder's weights know, in the order of their outputs; none where it does not say."""
    if model_type_of(source) == "yolox":
        return list(yolox.YoloxConfig.read(Path(source.folder)).names)
    return stored_labels(load_config(source))
