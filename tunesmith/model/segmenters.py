"""Segmentation models in one form: SegFormer, UperNet and their like, Mask2Former, and any backbone with a fresh head.

Loading, logits at a wanted size, and losses as sums. It knows no task and no file format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.backbone_heads import BackboneSegmenter, load_backbone
from tunesmith.model.frozen_norm import sound_norms
from tunesmith.model.mask_prediction import MaskWeights, class_map, labels_in, mask_sums, regions_of
from tunesmith.model.pixel_loss import IGNORED, enlarged, pixel_cross_entropy
from tunesmith.model.pretrained import load_model
from tunesmith.model.weights import Weights

Kind = Literal["pixels", "masks", "backbone"]
HEAD_FILE = "head.safetensors"
"""What ``Task.save`` writes beside a backbone with a head of ours."""
NO_BACKBONES = ("mask2former", "upernet", "detr", "maskformer", "oneformer", "eomt", "yolos", "rt_detr", "d_fine")


def holds_head(source: Weights) -> bool:
    """Whether the weights are a backbone with a head of ours beside it."""
    return (Path(source.folder) / HEAD_FILE).is_file()


def segmenter_kind(source: Weights, config: Any, wanted: Literal["auto", "backbone"] = "auto") -> Kind:
    """What loads a model: one that labels pixels, one that labels masks, or a backbone with a fresh head.

    Args:
        source: The weights.
        config: Theirs.
        wanted: ``backbone`` puts our own head on a family that has one of its own.

    Raises:
        UserError: It is none of them.
    """
    from transformers import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING

    if wanted == "backbone" or holds_head(source):
        return "backbone"
    if config.model_type == "mask2former":
        return "masks"
    if type(config) in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING:
        return "pixels"
    if config.model_type in NO_BACKBONES:
        raise UserError(
            f"model: {source.name!r} is {config.model_type}, which can't be fine-tuned for segmentation here",
            str(source.folder),
            "choose SegFormer, UperNet, Mask2Former or any picture backbone",
        )
    return "backbone"


def load_segmenter(
    source: Weights, config: Any, wanted: Literal["auto", "backbone"] = "auto"
) -> tuple[Any, frozenset[str]]:
    """A segmentation model, and the names of parameters that the weights did not hold.

    Of a ``BackboneSegmenter`` these are the backbone's; its head is for ``Task.with_head``, which finds a saved one.

    Args:
        source: The weights.
        config: From ``load_config``, with the number of labels that is wanted.
        wanted: See ``segmenter_kind``.
    """
    from transformers import AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    kind = segmenter_kind(source, config, wanted)
    if kind == "backbone":
        backbone, fresh = load_backbone(source, config)
        return BackboneSegmenter(backbone, config.num_labels), frozenset(f"backbone.{name}" for name in fresh)
    auto = AutoModelForUniversalSegmentation if kind == "masks" else AutoModelForSemanticSegmentation
    model, fresh = load_model(auto, source, config)
    return sound_norms(model), fresh


_CLASS_LAYERS = ("classifier", "class_predictor")


def class_layers(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that hold one row a class: what knows the pretrained classes and no others."""
    config: Any = getattr(model, "config", None) or model.get_submodule("backbone").config
    found: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and any(part in _CLASS_LAYERS for part in name.split(".")):
            rows = module.out_features if isinstance(module, nn.Linear) else module.out_channels
            if rows in (config.num_labels, config.num_labels + 1):
                found |= {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
    return frozenset(found)


@torch.no_grad()
def renew_classes(model: nn.Module) -> frozenset[str]:
    """Draw them anew; their names."""
    names = class_layers(model)
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.zero_() if name.endswith("bias") else parameter.normal_(std=0.02)
    return names


def segment_logits(model: nn.Module, pixel_values: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Logits of every pixel [batch, classes, height, width]; a softmax over classes gives probabilities.

    Args:
        model: From ``load_segmenter``.
        pixel_values: Normalised, [batch, 3, height, width].
        size: Height and width that are wanted; None: as the model gives them.
    """
    if _labels_masks(model):
        out = model(pixel_values=pixel_values)
        likely = class_map(out.class_queries_logits, out.masks_queries_logits)
        return (enlarged(likely, size) if size else likely).clamp(min=1e-9).log()
    logits = _logits(model, pixel_values)[0]
    return enlarged(logits, size) if size else logits


def _labels_masks(model: nn.Module) -> bool:
    return getattr(getattr(model, "config", None), "model_type", "") == "mask2former"


def _logits(model: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits as small as the head makes them, and those of a second head that helps training."""
    if isinstance(model, BackboneSegmenter):
        return model(pixel_values), None
    if model.config.model_type != "upernet":
        return model(pixel_values=pixel_values).logits, None
    # Its own forward pass enlarges both, and gives away one.
    maps = model.backbone(pixel_values).feature_maps
    helped = model.auxiliary_head is not None and model.training
    return model.decode_head(maps), model.auxiliary_head(maps) if helped else None


def segmentation_counts(model_or_config: Any, masks: Tensor) -> dict[str, float]:
    """How many of each unit a batch holds, known before the forward pass.

    ``pixels`` that are not ignored; of a model that labels masks, ``masks`` (classes in a picture, summed) and
    ``queries``, of which those that should say "nothing" weigh less.

    Args:
        model_or_config: The model, or its configuration.
        masks: Class ids, 255 where ignored, integers [batch, rows, columns].
    """
    config = getattr(model_or_config, "config", model_or_config)
    if getattr(config, "model_type", "") != "mask2former":
        return {"pixels": float((masks != IGNORED).sum())}
    numbers = [labels_in(mask) for mask in masks]
    full = [min(n, config.num_queries) for n in numbers]
    queries = sum(n + config.no_object_weight * (config.num_queries - n) for n in full)
    return {"masks": float(sum(numbers)), "queries": float(queries)}


def segmentation_sums(model: nn.Module, pixel_values: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Loss sums of a batch by term and unit; the units are ``segmentation_counts``'s.

    Pixels: cross-entropy, and while UperNet trains that of its second head (``auxiliary/pixels``). Mask2Former:
    ``class``, ``mask`` and ``dice``, of every layer of its decoder.

    Args:
        model: From ``load_segmenter``.
        pixel_values: Normalised, [batch, 3, height, width].
        masks: Class ids, 255 where ignored, integers [batch, rows, columns], of any size.
    """
    if _labels_masks(model):
        return _mask_sums(model, pixel_values, masks)
    logits, helping = _logits(model, pixel_values)
    sums = {"pixels": pixel_cross_entropy(logits, masks)}
    if helping is not None:
        config: Any = model.config
        sums["auxiliary/pixels"] = config.auxiliary_loss_weight * pixel_cross_entropy(helping, masks)
    return sums


def _mask_sums(model: Any, pixel_values: Tensor, masks: Tensor) -> dict[str, Tensor]:
    config = model.config
    out = model(pixel_values=pixel_values, output_auxiliary_logits=True)
    weights = MaskWeights(config.class_weight, config.mask_weight, config.dice_weight, config.no_object_weight)
    said = [(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in out.auxiliary_logits]
    said.append((out.class_queries_logits, out.masks_queries_logits))
    height, width = said[-1][1].shape[-2:]
    regions = [regions_of(mask, (height, width), config.num_labels) for mask in masks]
    found = [mask_sums(classes, where, regions, weights) for classes, where in said]
    return {name: torch.stack([sums[name] for sums in found]).sum() for name in found[0]}
