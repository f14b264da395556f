"""What YOLOX learns from: which anchor points answer for which object, and the losses of their answers, as sums.

SimOTA (arXiv:2107.08430, section 3, a short form of arXiv:2103.14259) gives every object as many anchor points as
overlap it well, those at which the network is least wrong. It knows the network's outputs; no augmentation, no loop.

The official code divides each sum by the number of foreground points, which is known only after the forward pass. Here
counts are known before it, so the unit is the *object*: a sum over a batch is divided by its number of objects
(``count``). With m foreground points an object, gradients are m times the official ones: about 1 at first, since boxes
overlap nothing yet, and more later, at most 10. The terms' weights among each other are the official ones. SGD sees m
as a higher rate. AdamW does not see a factor that stays as it is, so while m is steady its steps are the official
ones; while m grows, newer gradients weigh more in its averages, and the steps are others. A picture without objects
counts as one, so that what it teaches, that nothing is there, has a divisor too; what a picture adds does not depend
on what it is batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tunesmith.model.yolox.network import Outputs, boxes_of

UNIT = "objects"
RADIUS = 2.5
"""How many strides from an object's centre a point may lie without lying in its box."""
MOST_POINTS = 10
"""Overlaps that are summed to say how many points an object gets."""
OVERLAP_COST = 3.0
OUTSIDE_COST = 1e5
"""What a point costs that is not both in the box and near its centre: it is taken only for want of others."""
BOX_WEIGHT = 5.0
_LEAST_LOG = -100.0
"""Where the logarithm of a likelihood ends, as in torch's cross entropy."""


class Assignment(NamedTuple):
    """The foreground of one picture.

    Args:
        anchors: int64 [foreground], ascending: which anchor points.
        objects: int64 [foreground]: the object that each answers for.
        overlaps: float32 [foreground]: the overlap of its box as it is now with the object's.
    """

    anchors: Tensor
    objects: Tensor
    overlaps: Tensor


def count(boxes: Sequence[Tensor], crowd: Sequence[Tensor] | None = None) -> dict[str, float]:
    """How many units the losses of a batch are a sum over: the objects, and one for each picture without.

    Args:
        boxes: For each picture, [objects, 4].
        crowd: For each picture, [objects]: which of them are groups that are not counted.
    """
    whole = [len(b) for b in boxes] if crowd is None else [int((~c.bool()).sum()) for c in crowd]
    return {UNIT: float(sum(max(1, n) for n in whole))}


def loss_sums(
    outputs: Outputs,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    crowd: Sequence[Tensor] | None = None,
    *,
    l1: bool = False,
    assignments: Sequence[Assignment] | None = None,
) -> dict[str, Tensor]:
    """Loss sums over the batch: ``box`` (times five), ``objectness``, ``class`` and ``l1``, each ``/objects``.

    Args:
        outputs: Of the network.
        boxes: For each picture, float32 [objects, 4]: x1, y1, x2, y2 in pixels of what the network was given.
        labels: For each picture, int64 [objects].
        crowd: For each picture, bool [objects]: groups of objects too many to be drawn apart. No point answers for
            them, and what the network says inside them is neither right nor wrong.
        l1: Whether to add the distance of the raw box outputs, as the last epochs of the paper do.
        assignments: Take these instead of SimOTA's.
    """
    raw = outputs.raw.float()
    if crowd is not None:
        ignored = torch.stack([_inside(outputs, b[c.bool()]).any(0) for b, c in zip(boxes, crowd, strict=True)])
        boxes = [b[~c.bool()] for b, c in zip(boxes, crowd, strict=True)]
        labels = [x[~c.bool()] for x, c in zip(labels, crowd, strict=True)]
    if assignments is None:
        pictures = zip(raw.detach(), boxes, labels, strict=True)
        assignments = [assign(Outputs(found, *outputs[1:]), b, x) for found, b, x in pictures]
    foreground = torch.cat([torch.full_like(a.anchors, i) for i, a in enumerate(assignments)])
    anchors = torch.cat([a.anchors for a in assignments])
    target = torch.cat([b.float()[a.objects] for b, a in zip(boxes, assignments, strict=True)])
    answers = raw[foreground, anchors]
    grid, stride = outputs.grid[anchors], outputs.stride[anchors]

    there = torch.zeros_like(raw[..., 4])
    there[foreground, anchors] = 1.0
    objectness = functional.binary_cross_entropy_with_logits(raw[..., 4], there, reduction="none")
    if crowd is not None:
        objectness = objectness.masked_fill(ignored & (there == 0), 0.0)
    classes = torch.zeros_like(answers[:, 5:])
    if len(answers):
        label = torch.cat([x[a.objects] for x, a in zip(labels, assignments, strict=True)])
        classes[torch.arange(len(label), device=label.device), label] = torch.cat([a.overlaps for a in assignments])
    overlap = _overlap(boxes_of(answers[:, :4], grid, stride), target)
    sums = {
        f"box/{UNIT}": BOX_WEIGHT * (1 - overlap.square()).sum(),
        f"objectness/{UNIT}": objectness.sum(),
        f"class/{UNIT}": functional.binary_cross_entropy_with_logits(answers[:, 5:], classes, reduction="sum"),
    }
    if l1:
        sums[f"l1/{UNIT}"] = (answers[:, :4] - _raw_of(target, grid, stride)).abs().sum()
    return sums


@torch.no_grad()
def assign(outputs: Outputs, boxes: Tensor, labels: Tensor) -> Assignment:
    """SimOTA for one picture.

    A point is a candidate if it lies in some object's box or near its centre. Each object takes as many candidates as
    the ten best overlaps sum to, those of least cost; a point that several want goes to the one it costs least. An
    object that has no candidate of its own, since it lies outside the picture, takes none.

    Args:
        outputs: ``raw`` is [anchors, 5 + classes]; gradients are not followed.
        boxes: [objects, 4], x1, y1, x2, y2 in pixels.
        labels: int64 [objects].
    """
    boxes = boxes.float()
    inside, near = _inside(outputs, boxes), _near(outputs, boxes)
    candidate = inside | near
    objects = candidate.any(1).nonzero().flatten()
    anchors = candidate.any(0).nonzero().flatten()
    if not len(anchors):
        return Assignment(anchors, anchors, torch.zeros(0, device=anchors.device))
    boxes, labels = boxes[objects], labels[objects]
    good = (inside & near)[objects][:, anchors]
    raw = outputs.raw[anchors].float()
    overlaps = _overlap(boxes[:, None], boxes_of(raw[:, :4], outputs.grid[anchors], outputs.stride[anchors]))
    cost = _class_cost(raw, labels) - OVERLAP_COST * (overlaps + 1e-8).log() + OUTSIDE_COST * ~good
    taken = _cheapest(cost, overlaps)
    kept = taken.any(0).nonzero().flatten()
    owner = taken[:, kept].int().argmax(0)
    return Assignment(anchors[kept], objects[owner], overlaps[owner, kept])


def _cheapest(cost: Tensor, overlaps: Tensor) -> Tensor:
    """Which candidates each object takes: bool [objects, candidates], at most one object for each."""
    count = min(MOST_POINTS, cost.shape[1])
    wanted = overlaps.topk(count, dim=1).values.sum(1).int().clamp(min=1)
    order = cost.topk(int(wanted.max()), dim=1, largest=False).indices
    ranked = torch.arange(order.shape[1], device=cost.device) < wanted[:, None]
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, order, ranked)
    several = (taken.sum(0) > 1).nonzero().flatten()
    taken[:, several] = False
    taken[cost[:, several].argmin(0), several] = True
    return taken


def _class_cost(raw: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each candidate's classes with each object's: [objects, candidates].

    The likelihood of a class is the root of class times objectness. What all other classes cost is summed once for
    all objects, so no table of objects, candidates and classes is made.
    """
    likely = (raw[:, 5:].sigmoid() * raw[:, 4:5].sigmoid()).sqrt()
    yes = likely.log().clamp(min=_LEAST_LOG)
    no = torch.log1p(-likely).clamp(min=_LEAST_LOG)
    return (no - yes)[:, labels].T - no.sum(1)


def _inside(outputs: Outputs, boxes: Tensor) -> Tensor:
    """Which points lie in which boxes: bool [objects, anchors]."""
    point = (outputs.grid + 0.5) * outputs.stride
    return ((point > boxes[:, None, :2]) & (point < boxes[:, None, 2:])).all(-1)


def _near(outputs: Outputs, boxes: Tensor) -> Tensor:
    """Which points lie within some strides of which boxes' centres: bool [objects, anchors]."""
    point = (outputs.grid + 0.5) * outputs.stride
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return ((point - centre).abs() < RADIUS * outputs.stride).all(-1)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes, each with each where their leading axes say so."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1)
    return common / (areas - common + 1e-16)


def _raw_of(boxes: Tensor, grid: Tensor, stride: Tensor) -> Tensor:
    """What a point would have to put out for these boxes; the inverse of ``boxes_of``."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat((centre / stride - grid, (size / stride + 1e-8).log()), 1)
