"""Which of many boxes to keep: the best of those that overlap, class by class. It knows boxes; no model and no file."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_PIECE = 512
"""Boxes that are compared with each other at once: memory stays small, and few pieces are needed."""


class Detections(NamedTuple):
    """What was found in a picture, the most certain first.

    Args:
        boxes: float [n, 4]: x1, y1, x2, y2.
        scores: float [n].
        labels: int64 [n].
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each box with each: [n, 4] and [m, 4] to [n, m]; 0 where both are empty."""
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    union = _areas(one)[:, None] + _areas(other) - common
    return torch.where(union > 0, common / union, torch.zeros_like(common))


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def nms(
    boxes: Tensor, scores: Tensor, labels: Tensor | None = None, *, overlap: float = 0.65, limit: int | None = None
) -> Tensor:
    """Indices of the boxes to keep, the most certain first: greedy non-maximum suppression, exactly.

    From the most certain to the least, a box is kept unless it overlaps a kept one of its class by more than
    ``overlap``. Of equal scores the one that comes first counts as more certain.

    Args:
        boxes: float [n, 4]: x1, y1, x2, y2.
        scores: float [n].
        labels: int64 [n]; None: all of one class.
        overlap: Intersection over union above which the less certain of two boxes goes.
        limit: Most boxes to keep; the search ends where they are found.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    labels = torch.zeros_like(order) if labels is None else labels[order]
    most = len(order) if limit is None else min(limit, len(order))
    kept = order.new_zeros(0)
    for start in range(0, len(order), _PIECE):
        if len(kept) >= most:
            break
        piece = torch.arange(start, min(start + _PIECE, len(order)), device=order.device)
        free = ~_clash(boxes, labels, kept, piece, overlap).any(0)
        piece = piece[free]
        kept = torch.cat((kept, piece[_greedy(_clash(boxes, labels, piece, piece, overlap).triu(1))]))
    return order[kept[:most]]


def _clash(boxes: Tensor, labels: Tensor, one: Tensor, other: Tensor, overlap: float) -> Tensor:
    """Whether boxes are of one class and overlap too much: bool [one, other]."""
    return (overlaps(boxes[one], boxes[other]) > overlap) & (labels[one][:, None] == labels[other])


def _greedy(above: Tensor) -> Tensor:
    """Which boxes the greedy search keeps: bool [n].

    All at once instead of one by one: a box is out if a kept one clashes with it. Each round settles at least one box
    more, in order, so the rounds end where the search by hand does; a few rounds are usual.

    Args:
        above: bool [n, n], upper triangle: the box of the row is more certain and clashes with that of the column.
    """
    kept = torch.ones(len(above), dtype=torch.bool, device=above.device)
    while True:
        again = ~(above & kept[:, None]).any(0)
        if torch.equal(again, kept):
            return kept
        kept = again


def detect(
    boxes: Tensor,
    scores: Tensor,
    *,
    threshold: float = 0.01,
    overlap: float = 0.65,
    limit: int = 300,
    candidates: int | None = None,
) -> Detections:
    """What is in one picture, from the scores of all classes at every anchor point.

    Each point stands for its most likely class, as in the official YOLOX.

    Args:
        boxes: float [anchors, 4].
        scores: float [anchors, classes], 0 to 1.
        threshold: Scores below it are nothing.
        overlap: See ``nms``.
        limit: Most boxes to give.
        candidates: Most boxes to compare, the most certain ones; None: all. A limit makes the worst case (thousands of
            boxes above a low threshold) fast, at the price of objects that only less certain boxes show.
    """
    best, labels = scores.max(1) if len(scores) else (scores.new_zeros(0), boxes.new_zeros(0, dtype=torch.int64))
    found = (best >= threshold).nonzero().flatten()
    if candidates is not None and len(found) > candidates:
        found = found[best[found].argsort(descending=True, stable=True)[:candidates]]
    found = found[nms(boxes[found], best[found], labels[found], overlap=overlap, limit=limit)]
    return Detections(boxes[found], best[found], labels[found])
