"""Set prediction: which prediction answers for which object, and what is still wrong with it, as sums over pictures.

Matching and terms of DETR (arXiv:2005.12872), RT-DETR (arXiv:2304.08069) and D-FINE (arXiv:2410.13842). Nothing here is
divided: a count of objects that grows with ranks or micro-batches would change the numbers. It knows boxes, logits and
objects; no model, no file and no ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.errors import UserError

TEMPERATURE = 5.0
"""How much D-FINE softens the distributions that a layer learns from the last one."""


@dataclass(frozen=True)
class Objects:
    """What is in one picture.

    Args:
        boxes: Centre x, centre y, width, height in shares of the picture, float [n, 4].
        labels: Class ids, int64 [n].
    """

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Layer:
    """What one layer of a detector says.

    Args:
        logits: [batch, queries, classes], with one more class for "nothing" where a softmax decides.
        boxes: Centre x, centre y, width, height in shares of the picture, [batch, queries, 4].
        corners: Logits of the distances of the four sides, [batch, queries, 4 * (bins + 1)] (D-FINE).
        references: The boxes that those distances start from, [batch, queries, 4].
    """

    logits: Tensor
    boxes: Tensor
    corners: Tensor | None = None
    references: Tensor | None = None

    def some(self, queries: slice) -> Layer:
        """The same of some of its queries."""
        corners = None if self.corners is None else self.corners[:, queries]
        references = None if self.references is None else self.references[:, queries]
        return Layer(self.logits[:, queries], self.boxes[:, queries], corners, references)


@dataclass(frozen=True)
class Costs:
    """Weights of what makes a prediction a bad answer for an object.

    Args:
        label: Of the class.
        l1: Of the distance of the boxes.
        giou: Of their generalized overlap.
        focal: Alpha and gamma where a sigmoid decides about classes, None where a softmax does.
    """

    label: float
    l1: float
    giou: float
    focal: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pairs:
    """Matched predictions and objects of a batch, one after the other.

    Args:
        pictures, queries: Which prediction, int64 [m].
        objects: Which object of its picture, int64 [m].
        boxes, labels: That object, [m, 4] and [m].
    """

    pictures: Tensor
    queries: Tensor
    objects: Tensor
    boxes: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Pairs:
        """The same on a device."""
        parts = (self.pictures, self.queries, self.objects, self.boxes, self.labels)
        return Pairs(*(part.to(device) for part in parts))

    def of(self, values: Tensor) -> Tensor:
        """The matched ones of values by picture and query, [m, ...]."""
        return values[self.pictures, self.queries]


def corners_of(boxes: Tensor) -> Tensor:
    """Centre and size [..., 4] as x1, y1, x2, y2."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)


def centres_of(boxes: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2 [..., 4] as centre and size."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union and its generalized form (arXiv:1902.09630) of boxes x1, y1, x2, y2 that broadcast."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    iou = inner / union
    return iou, iou - (outer - union) / outer


@torch.no_grad()
def assign(layer: Layer, objects: Sequence[Objects], costs: Costs) -> Pairs:
    """One prediction for every object of every picture, at the least cost in all (the Hungarian algorithm)."""
    found = [cheapest(_cost(layer, i, o, costs)) if len(o.labels) else _none(o) for i, o in enumerate(objects)]
    return pairs_of(found, objects)


def pairs_of(found: Sequence[tuple[Tensor, Tensor]], objects: Sequence[Objects]) -> Pairs:
    """Pairs from the queries and the objects of each picture."""
    device = objects[0].boxes.device
    pictures = [torch.full((len(queries),), i, dtype=torch.int64) for i, (queries, _) in enumerate(found)]
    chosen = [
        (o.boxes[which.to(device)], o.labels[which.to(device)]) for (_, which), o in zip(found, objects, strict=True)
    ]
    return Pairs(
        torch.cat(pictures).to(device),
        torch.cat([queries for queries, _ in found]).to(device),
        torch.cat([which for _, which in found]).to(device),
        torch.cat([boxes for boxes, _ in chosen]),
        torch.cat([labels for _, labels in chosen]),
    )


def cheapest(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the cheapest one-to-one choice in a cost matrix [rows, columns]; what is no number, last.

    On the meta device, where there are only shapes, the first ones.

    Raises:
        UserError: scipy is not installed.
    """
    if cost.is_meta:
        first = torch.arange(min(cost.shape))
        return first, first
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as fault:
        raise UserError(
            "this model matches predictions and objects through scipy, which is not installed",
            "scipy.optimize.linear_sum_assignment",
            'pip install "tunesmith[images]"',
        ) from fault
    worst = torch.finfo(torch.float32).max
    matrix = torch.nan_to_num(cost.float(), nan=worst, posinf=worst, neginf=worst).cpu().numpy()
    rows, columns = linear_sum_assignment(matrix)
    return torch.as_tensor(rows, dtype=torch.int64), torch.as_tensor(columns, dtype=torch.int64)


def _none(objects: Objects) -> tuple[Tensor, Tensor]:
    empty = torch.zeros(0, dtype=torch.int64)
    return empty, empty


def _cost(layer: Layer, picture: int, objects: Objects, costs: Costs) -> Tensor:
    """What it costs to let a query answer for an object, [queries, objects]."""
    logits, boxes = layer.logits[picture].float(), layer.boxes[picture].float()
    if costs.focal is None:
        label = -logits.softmax(-1)[:, objects.labels]
    else:
        alpha, gamma = costs.focal
        p = logits.sigmoid()[:, objects.labels]
        absent = (1 - alpha) * p**gamma * -(1 - p + 1e-8).log()
        label = alpha * (1 - p) ** gamma * -(p + 1e-8).log() - absent
    l1 = torch.cdist(boxes, objects.boxes, p=1)
    _, giou = overlaps(corners_of(boxes)[:, None], corners_of(objects.boxes)[None])
    return costs.l1 * l1 + costs.label * label - costs.giou * giou


# Terms. ``weight`` [batch, queries] is 1 for a query that counts, less where a picture's queries are several groups.


def softmax_classes(layer: Layer, pairs: Pairs, nothing: float) -> Tensor:
    """Cross-entropy over all queries; those without an object should say "nothing", which weighs ``nothing``."""
    logits = layer.logits.float()
    last = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], last, dtype=torch.int64, device=logits.device)
    wanted[pairs.pictures, pairs.queries] = pairs.labels
    weights = torch.ones(last + 1, device=logits.device)
    weights[last] = nothing
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weights, reduction="sum")


def varifocal_classes(layer: Layer, pairs: Pairs, weight: Tensor, alpha: float, gamma: float) -> Tensor:
    """Varifocal loss (arXiv:2008.13367): a matched query should say its class as surely as its box overlaps."""
    logits = layer.logits.float()
    iou, _ = overlaps(corners_of(pairs.of(layer.boxes.detach().float())), corners_of(pairs.boxes))
    wanted = torch.zeros_like(logits)
    wanted[pairs.pictures, pairs.queries, pairs.labels] = iou
    present = torch.zeros_like(logits)
    present[pairs.pictures, pairs.queries, pairs.labels] = 1
    pull = alpha * logits.detach().sigmoid() ** gamma * (1 - present) + wanted
    each = F.binary_cross_entropy_with_logits(logits, wanted, weight=pull, reduction="none")
    return (each.sum(-1) * weight).sum()


def box_terms(layer: Layer, pairs: Pairs, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of matched boxes (L1), and one minus their generalized overlap."""
    boxes, each = pairs.of(layer.boxes.float()), pairs.of(weight)
    _, giou = overlaps(corners_of(boxes), corners_of(pairs.boxes))
    return ((boxes - pairs.boxes).abs().sum(-1) * each).sum(), ((1 - giou) * each).sum()


@dataclass(frozen=True)
class Bins:
    """How D-FINE cuts the distance of a side into bins.

    Args:
        count: Number of bins; there is one value more.
        upper: Half of the largest distance, in sizes of the box.
        scale: How fine the bins in the middle are.
    """

    count: int
    upper: float
    scale: float

    def values(self, device: torch.device) -> Tensor:
        """The distance that each bin's edge stands for, fp32 [count + 1]; fine in the middle, coarse outside."""
        upper = abs(self.upper) * abs(self.scale)
        step = (upper + 1) ** (2 / (self.count - 2))
        right = step ** torch.arange(1, self.count // 2, dtype=torch.float32, device=device) - 1
        ends = torch.tensor([2 * upper], device=device)
        return torch.cat([-ends, -right.flip(0), torch.zeros(1, device=device), right, ends])


@torch.no_grad()
def side_targets(references: Tensor, boxes: Tensor, bins: Bins) -> tuple[Tensor, Tensor]:
    """Between which two edges the sides of a box lie, seen from a reference.

    Args:
        references: Centre and size, [m, 4].
        boxes: Centre and size, [m, 4].
        bins: The bins.

    Returns:
        The left edge, int64 [m, 4], and how near to the right one it is, 0 to 1, [m, 4].
    """
    scale = abs(bins.scale)
    x1, y1, x2, y2 = corners_of(boxes).unbind(-1)
    x, y, w, h = references.unbind(-1)
    sides = torch.stack([(x - x1) / w, (y - y1) / h, (x2 - x) / w, (y2 - y) / h], -1)
    distance = scale * sides - scale / 2
    values = bins.values(boxes.device)
    left = (torch.searchsorted(values, distance.contiguous(), right=True) - 1).clamp(0, bins.count - 1)
    return left, ((distance - values[left]) / (values[left + 1] - values[left])).clamp(0, 1)


def fine_sides(layer: Layer, pairs: Pairs, weight: Tensor, bins: Bins) -> Tensor:
    """Fine-grained localization: a matched query's distributions should lie where the sides are, weighed by overlap."""
    assert layer.corners is not None
    assert layer.references is not None
    logits = _by_side(pairs.of(layer.corners))
    left, near = side_targets(pairs.of(layer.references.detach()).float(), pairs.boxes, bins)
    surprise = -logits.log_softmax(-1)
    at_left, at_right = (surprise.gather(-1, edge[..., None])[..., 0] for edge in (left, left + 1))
    iou, _ = overlaps(corners_of(pairs.of(layer.boxes.detach().float())), corners_of(pairs.boxes))
    each: Tensor = (at_left * (1 - near) + at_right * near).sum(-1)
    return (each * iou * pairs.of(weight)).sum()


def _by_side(corners: Tensor) -> Tensor:
    """Distributions of the four sides, fp32 [..., 4, bins + 1]."""
    return corners.float().reshape(*corners.shape[:-1], 4, corners.shape[-1] // 4)


def distilled_sides(layer: Layer, teacher: Layer, pairs: Pairs, weight: Tensor) -> Tensor:
    """Decoupled distillation: a layer's distributions should resemble those of the last layer; a sum over pictures.

    Within a picture matched and other queries are averaged apart and mixed by the roots of their numbers, as the
    authors do over a batch; by picture the sum does not depend on what else is in the batch.
    """
    assert layer.corners is not None
    assert teacher.corners is not None
    own = (_by_side(layer.corners) / TEMPERATURE).log_softmax(-1)
    wanted = (_by_side(teacher.corners.detach()) / TEMPERATURE).softmax(-1)
    apart = F.kl_div(own, wanted, reduction="none").sum((-1, -2)) * TEMPERATURE**2
    iou, _ = overlaps(corners_of(pairs.of(layer.boxes.detach().float())), corners_of(pairs.boxes))
    trust = teacher.logits.detach().float().sigmoid().amax(-1)
    trust = trust.index_put((pairs.pictures, pairs.queries), iou)
    matched = torch.zeros_like(weight).index_put((pairs.pictures, pairs.queries), weight.new_ones(()))
    total = weight.new_zeros(len(weight))
    roots = weight.new_zeros(len(weight))
    counted = (weight > 0).to(weight.dtype)
    for part in (matched * counted, (1 - matched) * counted):
        # Every query has four sides, in the sum and in the number.
        root = (4 * part.sum(-1)).sqrt()
        total = total + (apart * trust * part).sum(-1) / root.clamp(min=1e-6)
        roots = roots + root
    return (total / roots.clamp(min=1e-6)).sum()
