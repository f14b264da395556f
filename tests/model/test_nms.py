"""Non-maximum suppression: exactly what the search by hand keeps, class by class, whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tunesmith.model.nms import _PIECE, detect, nms, overlaps


def by_hand(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> list[int]:
    """The definition, box after box, in plain Python and double precision where it does not matter."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if all(labels[i] != labels[k] or _overlap(boxes[i], boxes[k]) <= overlap for k in kept):
            kept.append(i)
    return kept


def _overlap(one: Tensor, other: Tensor) -> float:
    x1, y1, x2, y2 = np.float32(one)
    u1, v1, u2, v2 = np.float32(other)
    common = max(min(x2, u2) - max(x1, u1), np.float32(0)) * max(min(y2, v2) - max(y1, v1), np.float32(0))
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common
    return float(common / union) if union > 0 else 0.0


def world(count: int, seed: int, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * 50
    boxes = torch.cat((corner, corner + 5 + torch.rand(count, 2, generator=random) * 40), 1)
    # Few different scores, so that many are equal.
    scores = torch.randint(0, 50, (count,), generator=random) / 50
    return boxes, scores, torch.randint(0, classes, (count,), generator=random)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.65])
def test_it_keeps_what_the_search_by_hand_keeps(seed: int, overlap: float) -> None:
    boxes, scores, labels = world(150, seed)
    expected = by_hand(boxes, scores, labels, overlap)
    assert nms(boxes, scores, labels, overlap=overlap).tolist() == expected
    assert 5 < len(expected) < 150


def test_more_boxes_than_one_piece() -> None:
    boxes, scores, labels = world(_PIECE + 90, 7, classes=1)
    found = nms(boxes, scores, overlap=0.5)
    assert found.tolist() == by_hand(boxes, scores, labels, 0.5)
    assert nms(boxes, scores, overlap=0.5, limit=9).tolist() == found[:9].tolist()


def test_a_box_that_a_dropped_box_would_drop_is_kept() -> None:
    """A chain: the first drops the second, so the third, which only the second would drop, stays."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [12, 0, 22, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert nms(boxes, scores, overlap=0.4).tolist() == [0, 2]
    assert nms(boxes, scores, overlap=0.5).tolist() == [0, 1, 2, 3]
    assert nms(boxes, scores, torch.tensor([0, 1, 0, 1]), overlap=0.4).tolist() == [0, 1, 2, 3]


def test_no_boxes_empty_boxes_and_equal_ones() -> None:
    none = torch.zeros(0, 4)
    assert nms(none, torch.zeros(0)).tolist() == []
    assert overlaps(none, torch.ones(3, 4)).shape == (0, 3)
    point = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [9, 9, 3, 3]])
    assert nms(point, torch.tensor([0.1, 0.2, 0.3])).tolist() == [2, 1, 0]
    same = torch.tensor([[0.0, 0, 4, 4]]).repeat(3, 1)
    assert nms(same, torch.full((3,), 0.5), overlap=0.99).tolist() == [0]


def test_large_coordinates_do_not_blur_classes() -> None:
    """Moving each class to a place of its own, as is often done, loses the pixels of far boxes."""
    boxes = torch.tensor([[9e6, 0.0, 9e6 + 4, 4], [9e6 + 2, 0.0, 9e6 + 6, 4]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), torch.tensor([999, 999]), overlap=0.34).tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), torch.tensor([999, 999]), overlap=0.33).tolist() == [0]


def test_detect_takes_each_points_best_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([[0.2, 0.9], [0.1, 0.8], [0.6, 0.5], [0.04, 0.03]])
    found = detect(boxes, scores, threshold=0.05)
    assert found.labels.tolist() == [1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6]))
    assert torch.equal(found.boxes, boxes[[0, 2]])
    assert detect(boxes, scores, threshold=0.01, limit=1).labels.tolist() == [1]
    assert len(detect(boxes, scores, threshold=0.01).scores) == 3
    assert len(detect(boxes, scores, threshold=0.01, candidates=2).scores) == 1
    for count in (0, 4):
        nothing = detect(boxes[:count], scores[:count], threshold=0.95)
        assert (nothing.boxes.shape, nothing.scores.shape, nothing.labels.dtype) == ((0, 4), (0,), torch.int64)
