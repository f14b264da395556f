"""Detectors of transformers that predict a set of boxes: YOLOS, DETR, RT-DETR, RT-DETRv2 and D-FINE, in one form.

Labels never go into a model's own forward pass: there box terms are divided by counts that follow the ranks. It knows
no task and no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.denoising import Denoising, Noise, with_noisy_queries
from tunesmith.model.frozen_norm import sound_norms
from tunesmith.model.pretrained import load_model
from tunesmith.model.set_prediction import (
    Bins,
    Costs,
    Layer,
    Objects,
    Pairs,
    assign,
    box_terms,
    centres_of,
    corners_of,
    distilled_sides,
    fine_sides,
    softmax_classes,
    varifocal_classes,
)
from tunesmith.model.weights import Weights

SOFTMAX = ("detr", "yolos")
"""Families whose classes compete, with one more for "nothing"."""
SIGMOID = ("rt_detr", "rt_detr_v2", "d_fine")
"""Families that ask about every class by itself."""
FAMILIES = (*SOFTMAX, *SIGMOID)

Target = Mapping[str, Tensor]
"""The objects of one picture: ``boxes`` x1, y1, x2, y2 in pixels of what the model sees, float [n, 4], and ``labels``
int64 [n]."""


@dataclass(frozen=True)
class DetectorOutputs:
    """What a detector says of a batch.

    Args:
        family: The configuration's ``model_type``.
        size: Height and width of the pictures that it saw.
        last: The answer.
        auxiliary: What earlier layers say, and the encoder, for the loss.
        denoising: The noisy queries, if any.
        denoised: What every layer says of them.
    """

    family: str
    size: tuple[int, int]
    last: Layer
    auxiliary: tuple[Layer, ...] = ()
    denoising: Denoising | None = None
    denoised: tuple[Layer, ...] = ()


def load_detector(source: Weights, config: Any) -> tuple[Any, frozenset[str]]:
    """A detector, and the names of parameters that the weights did not hold (new class heads).

    Args:
        source: The weights.
        config: From ``load_config``, with the number of labels that is wanted.

    Raises:
        UserError: It is of no family that is known here, or needs a package that is not installed.
    """
    from transformers import AutoModelForObjectDetection

    check_detector(source, config)
    try:
        model, fresh = load_model(AutoModelForObjectDetection, source, config)
    except ImportError as fault:
        raise UserError(
            f"model: {source.name!r} can't be loaded: {str(fault).strip().splitlines()[0]}",
            str(source.folder),
            "choose a detector whose backbone is a transformers model (backbone_config.model_type: resnet)",
        ) from fault
    return sound_norms(with_fixed_bins(model)), fresh


def check_detector(source: Weights, config: Any) -> None:
    """Refuse a model of a family that is not known here.

    Raises:
        UserError: It is.
    """
    if config.model_type in FAMILIES:
        return
    raise UserError(
        f"model: {source.name!r} is {config.model_type}, and detectors of that family are not known here",
        str(source.folder),
        f"choose a model of one of these: {', '.join(FAMILIES)}",
    )


def with_fixed_bins(model: nn.Module) -> nn.Module:
    """The same, with the scale of D-FINE's bins as buffers.

    It is held as parameters that must not learn, which ``train: all`` would make learn. Names in files stay the same.
    """
    if model.config.model_type == "d_fine":  # type: ignore[union-attr]
        decoder = model.get_submodule("model.decoder")
        for name in ("up", "reg_scale"):
            kept = decoder.get_parameter(name).detach()
            delattr(decoder, name)
            decoder.register_buffer(name, kept)
    return model


def class_heads(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that hold one row a class: what must be drawn anew where the classes are others."""
    config: Any = model.config
    found = set()
    for name, module in model.named_modules():
        rows = module.out_features if isinstance(module, nn.Linear) else getattr(module, "num_embeddings", None)
        if rows in (config.num_labels, config.num_labels + 1) and any(
            part in _CLASS_LAYERS for part in name.split(".")
        ):
            found |= {f"{name}.{key}" for key, _ in module.named_parameters()}
    return frozenset(found & {name for name, _ in model.named_parameters()})


_CLASS_LAYERS = ("class_embed", "enc_score_head", "denoising_class_embed", "class_labels_classifier")


def detector_outputs(
    model: nn.Module,
    pixel_values: Tensor,
    pixel_mask: Tensor | None = None,
    *,
    targets: Sequence[Target] | None = None,
    seeds: Tensor | Sequence[int] | None = None,
) -> DetectorOutputs:
    """What a detector says of pictures.

    Args:
        model: From ``load_detector``.
        pixel_values: Normalised, [batch, 3, height, width].
        pixel_mask: 1 where there is a picture and 0 where there is padding, [batch, height, width].
        targets: The objects, from which a model in training makes its noisy queries; they never reach its own loss.
        seeds: Where each picture's noise comes from. Without targets and seeds there are no noisy queries.
    """
    config: Any = model.config
    size = (pixel_values.shape[-2], pixel_values.shape[-1])
    inputs = {"pixel_values": pixel_values}
    if pixel_mask is not None and config.model_type != "yolos":
        inputs["pixel_mask"] = pixel_mask
    if config.model_type in SOFTMAX:
        return _softmax_outputs(model, inputs, size)
    denoising = None
    if denoises(model) and targets is not None and seeds is not None:
        noise = Noise(config.num_denoising, config.label_noise_ratio, config.box_noise_scale)
        denoising = Denoising.of(objects_of(targets, size), seeds, noise, config.num_labels)
    with with_noisy_queries(model.get_submodule("model"), denoising):
        out = model(**inputs)
    layers = _layers(config, out)
    noisy: tuple[Layer, ...] = ()
    if denoising is not None:
        halves = [denoising.split(layer) for layer in layers]
        noisy, layers = tuple(first for first, _ in halves), [second for _, second in halves]
    if not config.auxiliary_loss:
        return DetectorOutputs(config.model_type, size, layers[-1], (), denoising)
    encoder = _layer(config, out.enc_topk_logits, out.enc_topk_bboxes)
    return DetectorOutputs(config.model_type, size, layers[-1], (*layers[:-1], encoder), denoising, noisy)


def denoises(model: nn.Module) -> bool:
    """Whether this model, as it is now, learns from noisy queries: while it trains, if its configuration says so."""
    config: Any = model.config
    return bool(config.model_type in SIGMOID and model.training and config.num_denoising > 0)


def _softmax_outputs(model: Any, inputs: dict[str, Tensor], size: tuple[int, int]) -> DetectorOutputs:
    config = model.config
    if config.model_type == "yolos" or not config.auxiliary_loss:
        out = model(**inputs)
        return DetectorOutputs(config.model_type, size, Layer(out.logits, out.pred_boxes))
    inner = model.model(**inputs)
    states = [*inner.intermediate_hidden_states[:-1], inner.last_hidden_state]
    layers = [Layer(model.class_labels_classifier(s), model.bbox_predictor(s).sigmoid()) for s in states]
    return DetectorOutputs(config.model_type, size, layers[-1], tuple(layers[:-1]))


def _layer(config: Any, logits: Tensor, boxes: Tensor, *sides: Tensor) -> Layer:
    # D-FINE's boxes come from distances, and may reach out of the picture.
    return Layer(logits, boxes.clamp(0, 1) if config.model_type == "d_fine" else boxes, *sides)


def _layers(config: Any, out: Any) -> list[Layer]:
    """The decoder's layers, bottom to top; of D-FINE, while it trains, first what it says before the first one.

    transformers pairs D-FINE's logits and boxes with the distances of the layer above, because that first answer has
    none; the authors' code pairs what belongs together, as here.
    """
    answers = [
        (out.intermediate_logits[:, i], out.intermediate_reference_points[:, i])
        for i in range(out.intermediate_logits.shape[1])
    ]
    if config.model_type != "d_fine":
        return [_layer(config, *both) for both in answers]
    corners, references = out.intermediate_predicted_corners, out.initial_reference_points
    first = len(answers) - corners.shape[1]
    sides = [(), *((corners[:, i], references[:, i]) for i in range(corners.shape[1]))][1 - first :]
    return [_layer(config, *both, *more) for both, more in zip(answers, sides, strict=True)]


def objects_of(targets: Sequence[Target], size: tuple[int, int]) -> list[Objects]:
    """Objects in shares of pictures of this height and width."""
    height, width = size
    found = []
    for target in targets:
        boxes = target["boxes"].reshape(-1, 4).float()
        found.append(Objects(centres_of(boxes / boxes.new_tensor([width, height, width, height])), target["labels"]))
    return found


def decoded(outputs: DetectorOutputs) -> tuple[Tensor, Tensor]:
    """Boxes x1, y1, x2, y2 in shares of the picture [batch, queries, 4], and scores [batch, queries, classes]."""
    logits = outputs.last.logits.float()
    scores = logits.softmax(-1)[..., :-1] if outputs.family in SOFTMAX else logits.sigmoid()
    return corners_of(outputs.last.boxes.float()).clamp(0, 1), scores


def decode_detections(
    outputs: DetectorOutputs, sizes: Sequence[tuple[float, float]], top: int = 100
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The surest detections of every picture, best first.

    Args:
        outputs: From ``detector_outputs``.
        sizes: Height and width of each picture in the pixels that the boxes are wanted in. The model's picture must be
            the whole of it, however it was stretched; boxes in a padded picture are for the caller to move back.
        top: At most so many.

    Returns:
        By picture: boxes x1, y1, x2, y2 in pixels [n, 4], scores [n], class ids int64 [n].
    """
    boxes, scores = decoded(outputs)
    found = []
    for i, (height, width) in enumerate(sizes):
        pixels = boxes[i] * boxes.new_tensor([width, height, width, height])
        found.append(surest(pixels, scores[i], top, competing=outputs.family in SOFTMAX))
    return found


def surest(boxes: Tensor, scores: Tensor, top: int, *, competing: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The surest detections among one picture's candidates, best first.

    Args:
        boxes: [candidates, 4].
        scores: [candidates, classes].
        top: At most so many.
        competing: Whether classes compete (a softmax decides): then a candidate is one detection, of its best class.

    Returns:
        Boxes [n, 4], scores [n], class ids int64 [n].
    """
    classes = scores.shape[-1]
    if competing:
        best, labels = scores.max(-1)
        kept, place = best.topk(min(top, len(best)))
        return boxes[place], kept, labels[place]
    kept, place = scores.flatten().topk(min(top, scores.numel()))
    return boxes[place // classes], kept, place % classes


# Loss.


def detection_counts(config: Any, targets: Sequence[Target]) -> dict[str, float]:
    """How many of each unit a batch holds, known before the forward pass.

    ``boxes`` are the objects. Classes are judged where there are no objects, too, so their unit can't be nought: with
    a sigmoid it is ``objects``, at least one a picture; with a softmax it is ``queries``, of which those that should
    say "nothing" weigh less. ``pictures`` is what D-FINE's distillation is a sum over.
    """
    numbers = [len(target["labels"]) for target in targets]
    if config.model_type in SOFTMAX:
        queries = config.num_detection_tokens if config.model_type == "yolos" else config.num_queries
        full = [min(n, queries) for n in numbers]
        weights = (n + config.eos_coefficient * (queries - n) for n in full)
        return {"boxes": float(sum(numbers)), "queries": float(sum(weights))}
    counts = {"boxes": float(sum(numbers)), "objects": float(sum(max(1, n) for n in numbers))}
    return counts | ({"pictures": float(len(targets))} if config.model_type == "d_fine" else {})


def detection_sums(model: nn.Module, outputs: DetectorOutputs, targets: Sequence[Target]) -> dict[str, Tensor]:
    """Loss sums of a batch by term and unit, weighed as the configuration says; the units are ``detection_counts``'s.

    Terms: ``class``, ``l1`` and ``giou`` of the last layer, and where the configuration has ``auxiliary_loss`` also of
    every earlier one and of the encoder's choice. D-FINE: ``sides`` (fine-grained localization) of every layer that
    has distances, and ``distilled`` of all but the last. While noisy queries are there, the same once more as
    ``denoising_...``. Left out: D-FINE's matching of the union of all layers, which transformers does not do either.

    Args:
        model: From ``load_detector``.
        outputs: From ``detector_outputs``.
        targets: The objects of every picture.
    """
    objects = objects_of(targets, outputs.size)
    rules = rules_of(model)
    weight = outputs.last.boxes.new_ones(outputs.last.boxes.shape[:2], dtype=torch.float32)
    teacher = outputs.last if outputs.last.corners is not None else None
    sums = Sums(rules)
    for layer in (outputs.last, *outputs.auxiliary):
        sums.add(layer, assign(layer, objects, rules.costs), weight, teacher)
    if not denoises(model) or not model.config.auxiliary_loss:  # type: ignore[union-attr]
        return sums.by_name("", weight)
    # Every rank names the same terms, whether its pictures have objects or not.
    noisy = Sums(rules)
    if outputs.denoising is not None:
        teacher = outputs.denoised[-1] if outputs.denoised[-1].corners is not None else None
        for layer in outputs.denoised:
            noisy.add(layer, outputs.denoising.pairs, outputs.denoising.weight, teacher)
    return sums.by_name("", weight) | noisy.by_name("denoising_", weight)


@dataclass(frozen=True)
class Rules:
    """How a family matches and what its terms weigh.

    Args:
        costs: What makes a bad match.
        class_unit: The unit of the class term.
        classes: The class term of a layer.
        weights: Factor of every term by its name and unit.
        bins: Of D-FINE.
    """

    costs: Costs
    classes: Callable[[Layer, Pairs, Tensor], Tensor]
    weights: Mapping[str, float]
    bins: Bins | None = None


def rules_of(model: nn.Module) -> Rules:
    """The rules of a model's family, with its configuration's numbers."""
    config: Any = model.config
    if config.model_type in SOFTMAX:
        nothing = config.eos_coefficient
        weights = {
            "class/queries": 1.0,
            "l1/boxes": config.bbox_loss_coefficient,
            "giou/boxes": config.giou_loss_coefficient,
        }
        costs = Costs(config.class_cost, config.bbox_cost, config.giou_cost)
        return Rules(costs, lambda layer, pairs, _: softmax_classes(layer, pairs, nothing), weights)
    alpha, gamma = config.focal_loss_alpha, config.focal_loss_gamma
    focal = (config.matcher_alpha, config.matcher_gamma) if config.use_focal_loss else None
    costs = Costs(config.matcher_class_cost, config.matcher_bbox_cost, config.matcher_giou_cost, focal)
    weights = {
        "class/objects": config.weight_loss_vfl,
        "l1/boxes": config.weight_loss_bbox,
        "giou/boxes": config.weight_loss_giou,
    }
    bins = None
    if config.model_type == "d_fine":
        weights |= {"sides/boxes": config.weight_loss_fgl, "distilled/pictures": config.weight_loss_ddf}
        bins = Bins(config.max_num_bins, config.up, config.reg_scale)
    return Rules(
        costs, lambda layer, pairs, weight: varifocal_classes(layer, pairs, weight, alpha, gamma), weights, bins
    )


class Sums:
    """Terms of several layers, added up by name."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.found: dict[str, Tensor] = {}

    def add(self, layer: Layer, pairs: Pairs, weight: Tensor, teacher: Layer | None) -> None:
        """Add the terms of one layer."""
        rules = self.rules
        l1, giou = box_terms(layer, pairs, weight)
        terms = {"class": rules.classes(layer, pairs, weight), "l1": l1, "giou": giou}
        if rules.bins is not None and layer.corners is not None:
            terms["sides"] = fine_sides(layer, pairs, weight, rules.bins)
            if teacher is not None and layer is not teacher:
                terms["distilled"] = distilled_sides(layer, teacher, pairs, weight)
        for name, factor in rules.weights.items():
            term = terms.get(name.split("/")[0])
            if term is not None:
                self.found[name] = self.found[name] + factor * term if name in self.found else factor * term

    def by_name(self, prefix: str, like: Tensor) -> dict[str, Tensor]:
        """The sums, nought where there was nothing to add."""
        return {prefix + name: self.found.get(name, like.new_zeros(())) for name in self.rules.weights}
