"""What YOLOX learns from: SimOTA by hand, losses as sums over pictures, and two pictures learned by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tunesmith.model.nms import detect, overlaps
from tunesmith.model.yolox import Assignment, Outputs, Yolox, YoloxConfig, assign, boxes_of, count, decode, loss_sums


def network(seed: int = 0) -> Yolox:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Yolox(YoloxConfig(2, 0.33, 0.125, size=(64, 64)))


def pictures(count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 255


# SimOTA by hand


def level(boxes: list[list[float]], objectness: list[float], classes: list[list[float]], stride: float = 8) -> Outputs:
    """Points in a row at y = 4, 8 pixels apart, whose boxes and likelihoods are these."""
    grid = torch.tensor([[float(i), 0.0] for i in range(len(boxes))])
    corners = torch.tensor(boxes)
    centre = (corners[:, :2] + corners[:, 2:]) / 2 / stride - grid
    size = ((corners[:, 2:] - corners[:, :2]) / stride).log()
    logits = torch.logit(torch.cat((torch.tensor(objectness)[:, None], torch.tensor(classes)), 1))
    return Outputs(torch.cat((centre, size, logits), 1), grid, torch.full((len(boxes), 1), stride))


def test_simota_gives_each_object_as_many_points_as_its_overlaps_sum_to() -> None:
    """Overlaps 1, 1, 1/2, 0.2 and 0 sum to 2.7: two points, those of least cost."""
    here, there = [0.0, 0, 24, 8], [100.0, 100, 108, 108]
    outputs = level(
        [here, here, [0, 0, 12, 8], [0, 0, 24, 1.6], there],
        objectness=[0.5, 0.5, 0.9, 0.5, 0.5],
        classes=[[0.5, 0.5], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.9, 0.1]],
    )
    found = assign(outputs, torch.tensor([here]), torch.tensor([0]))
    assert found.anchors.tolist() == [0, 1]
    torch.testing.assert_close(found.overlaps, torch.ones(2))
    # Cost decides, not overlap alone: point 0 says the wrong class, and its overlap is not worth that much.
    outputs.raw[0, 5:] = torch.logit(torch.tensor([1e-6, 0.5]))
    found = assign(outputs, torch.tensor([here]), torch.tensor([0]))
    assert found.anchors.tolist() == [1, 2]
    torch.testing.assert_close(found.overlaps, torch.tensor([1.0, 0.5]))


def test_simota_settles_a_point_that_two_objects_want_by_cost() -> None:
    """Both objects want point 1 alone; it predicts the second one's box, so the first goes without."""
    first, second = [0.0, 0, 16, 8], [8.0, 0, 24, 8]
    far = [200.0, 200, 208, 208]
    outputs = level([far, second, far], [0.5, 0.9, 0.5], [[0.5, 0.5]] * 3)
    found = assign(outputs, torch.tensor([first, second]), torch.tensor([0, 0]))
    assert (found.anchors.tolist(), found.objects.tolist(), found.overlaps.tolist()) == ([1], [1], [1.0])


def test_a_point_far_from_the_centre_is_taken_only_for_want_of_others() -> None:
    """Six points in the box; those within 2.5 strides of its centre (x = 44) come first, whatever they predict."""
    box = [0.0, 0, 88, 8]
    outputs = level([box, *[[40.0, 0, 48, 8]] * 10], [0.9] + [0.5] * 10, [[0.9, 0.1]] + [[0.5, 0.5]] * 10)
    found = assign(outputs, torch.tensor([box]), torch.tensor([0]))
    # 1 + 9/11: one point. Number 0 is perfect, but its place (x = 4) is 40 pixels off.
    assert len(found.anchors) == 1
    assert 3 <= int(found.anchors) <= 7


def test_objects_out_of_sight_take_no_point() -> None:
    outputs = level([[0.0, 0, 8, 8]] * 3, [0.5] * 3, [[0.5, 0.5]] * 3)
    away, here = [500.0, 500, 520, 520], [0.0, 0, 8, 8]
    assert assign(outputs, torch.tensor([away]), torch.tensor([0])).anchors.tolist() == []
    assert assign(outputs, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).anchors.tolist() == []
    found = assign(outputs, torch.tensor([away, here]), torch.tensor([0, 1]))
    assert set(found.objects.tolist()) == {1}


def test_simota_is_what_its_definition_says() -> None:
    """The same by loops over pairs, on the network's own outputs."""
    model, (boxes, labels) = network().eval(), truth()
    with torch.no_grad():
        outputs = model(pictures())
    raw = outputs.raw[0]
    points = (outputs.grid + 0.5) * outputs.stride
    predicted = boxes_of(raw[:, :4], outputs.grid, outputs.stride)
    costs, overlaps = [], []
    in_any = torch.zeros(len(points), dtype=torch.bool)
    for box, label in zip(boxes[0], labels[0], strict=True):
        inside = ((points > box[:2]) & (points < box[2:])).all(1)
        near = ((points - (box[:2] + box[2:]) / 2).abs() < 2.5 * outputs.stride).all(1)
        in_any |= inside | near
        low, high = torch.maximum(predicted[:, :2], box[:2]), torch.minimum(predicted[:, 2:], box[2:])
        common = (high - low).clamp(min=0).prod(1)
        overlap = common / ((predicted[:, 2:] - predicted[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - common)
        likely = (raw[:, 5:].sigmoid() * raw[:, 4:5].sigmoid()).sqrt()
        wanted = functional.one_hot(label, 2).float().expand_as(likely)
        classes = functional.binary_cross_entropy(likely, wanted, reduction="none").sum(1)
        costs.append(classes - 3 * (overlap + 1e-8).log() + 1e5 * ~(inside & near))
        overlaps.append(overlap)
    owners: dict[int, int] = {}
    candidates = in_any.nonzero().flatten().tolist()
    for i, (cost, overlap) in enumerate(zip(costs, overlaps, strict=True)):
        k = max(1, int(sum(sorted((float(overlap[c]) for c in candidates), reverse=True)[:10])))
        for anchor in sorted(candidates, key=lambda c: float(cost[c]))[:k]:
            owners[anchor] = min(range(2), key=lambda o: float(costs[o][anchor])) if anchor in owners else i
    found = assign(Outputs(raw, *outputs[1:]), boxes[0], labels[0])
    assert dict(zip(found.anchors.tolist(), found.objects.tolist(), strict=True)) == owners
    assert len(owners) >= 2


# Losses


def truth() -> tuple[list[Tensor], list[Tensor]]:
    boxes = [torch.tensor([[8.0, 8, 30, 28], [34, 30, 60, 58]]), torch.tensor([[20.0, 12, 44, 40]])]
    return boxes, [torch.tensor([0, 1]), torch.tensor([1])]


def test_losses_by_hand() -> None:
    model, (boxes, labels) = network().eval(), truth()
    with torch.no_grad():
        outputs = model(pictures())
    anchors = torch.tensor([9, 70])
    given = [
        Assignment(anchors, torch.tensor([0, 1]), torch.tensor([0.5, 0.25])),
        Assignment(anchors[:1], torch.tensor([0]), torch.tensor([0.75])),
    ]
    found = loss_sums(outputs, boxes, labels, assignments=given, l1=True)
    assert set(found) == {"box/objects", "objectness/objects", "class/objects", "l1/objects"}
    box = l1 = objectness = classes = 0.0
    for i, one in enumerate(given):
        raw = outputs.raw[i]
        predicted = decode(outputs).boxes[i]
        positive = set(one.anchors.tolist())
        for a, value in enumerate(raw[:, 4].tolist()):
            objectness += np.log1p(np.exp(-value if a in positive else value))
        for a, o, overlap in zip(*(x.tolist() for x in one), strict=True):
            p, t = predicted[a].tolist(), boxes[i][o].tolist()
            common = max(0, min(p[2], t[2]) - max(p[0], t[0])) * max(0, min(p[3], t[3]) - max(p[1], t[1]))
            union = (p[2] - p[0]) * (p[3] - p[1]) + (t[2] - t[0]) * (t[3] - t[1]) - common
            box += 5 * (1 - (common / union) ** 2)
            for c, value in enumerate(raw[a, 5:].tolist()):
                share = overlap if c == labels[i][o] else 0.0
                likely = 1 / (1 + np.exp(-value))
                classes -= share * np.log(likely) + (1 - share) * np.log(1 - likely)
            s, (gx, gy) = float(outputs.stride[a]), outputs.grid[a].tolist()
            wanted = (
                (t[0] + t[2]) / 2 / s - gx,
                (t[1] + t[3]) / 2 / s - gy,
                np.log((t[2] - t[0]) / s),
                np.log((t[3] - t[1]) / s),
            )
            l1 += sum(abs(float(r) - w) for r, w in zip(raw[a, :4], wanted, strict=True))
    for name, value in (("box", box), ("objectness", objectness), ("class", classes), ("l1", l1)):
        assert float(found[f"{name}/objects"]) == pytest.approx(value, rel=1e-4), name
    assert "l1/objects" not in loss_sums(outputs, boxes, labels)


def test_sums_and_gradients_of_a_batch_are_those_of_its_pictures() -> None:
    model, (boxes, labels) = network().eval(), truth()
    images = torch.cat((pictures(), pictures(1, seed=5)))
    boxes, labels = [*boxes, torch.zeros(0, 4)], [*labels, torch.zeros(0, dtype=torch.int64)]

    def gradients(rows: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model.zero_grad()
        sums = loss_sums(model(images[rows]), boxes[rows], labels[rows], l1=True)
        sum(sums.values(), torch.zeros(())).backward()
        return sums, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole, slope = gradients(slice(0, 3))
    apart = [gradients(slice(i, i + 1)) for i in range(3)]
    for name, value in whole.items():
        torch.testing.assert_close(value, sum(sums[name] for sums, _ in apart), rtol=1e-5, atol=1e-5)
    for name, value in slope.items():
        total = sum(one.get(name, torch.zeros(())) for _, one in apart)
        torch.testing.assert_close(value, total, rtol=1e-3, atol=1e-3 * float(value.abs().max()) + 1e-6, msg=name)
    assert count(boxes) == {"objects": 4.0} == {"objects": sum(count([b])["objects"] for b in boxes)}


FIXED = [
    Assignment(torch.tensor([9, 10, 69, 70]), torch.tensor([0, 0, 1, 1]), torch.tensor([0.5, 0.3, 0.25, 0.6])),
    Assignment(torch.tensor([20, 28]), torch.tensor([0, 0]), torch.tensor([0.75, 0.5])),
]
"""Two points for each of the three objects."""


def course(
    optimizer: str, *, official: bool, lr: float, points: list[Assignment] | None, steps: int = 12
) -> tuple[Tensor, list[int]]:
    """Weights after some steps, and the foreground points of each step.

    Args:
        optimizer: ``AdamW`` or ``SGD``.
        official: Whether sums are divided by foreground points, as the official code does, and not by objects.
        lr: The rate.
        points: Which answer for the objects, at every step; None: SimOTA's.
        steps: How many.
    """
    model, (boxes, labels), images = network().train(), truth(), pictures()
    rule = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
    taken = []
    for _ in range(steps):
        outputs = model(images)
        raw = outputs.raw.detach()
        given = points or [assign(Outputs(raw[i], *outputs[1:]), boxes[i], labels[i]) for i in range(2)]
        taken.append(sum(len(one.anchors) for one in given))
        sums = loss_sums(outputs, boxes, labels, assignments=given)
        divisor = taken[-1] if official else count(boxes)["objects"]
        rule.zero_grad()
        (sum(sums.values(), torch.zeros(())) / divisor).backward()
        rule.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), taken


def test_a_steady_number_of_points_is_a_rate_for_sgd_and_nothing_for_adamw() -> None:
    """Beside the official division, by foreground points: here two an object, a factor that rounds nothing."""
    theirs, taken = course("SGD", official=True, lr=2e-3, points=FIXED)
    assert set(taken) == {6}
    assert torch.equal(course("SGD", official=False, lr=1e-3, points=FIXED)[0], theirs)
    assert not torch.allclose(course("SGD", official=False, lr=2e-3, points=FIXED)[0], theirs, atol=1e-3)
    start = torch.cat([p.detach().flatten() for p in network().parameters()])
    theirs = course("AdamW", official=True, lr=1e-3, points=FIXED)[0]
    ours = course("AdamW", official=False, lr=1e-3, points=FIXED)[0]
    # What is left is AdamW's eps.
    assert float((ours - theirs).norm()) < 0.01 * float((ours - start).norm())


def test_a_number_of_points_that_changes_makes_adamw_take_other_steps() -> None:
    start = torch.cat([p.detach().flatten() for p in network().parameters()])
    theirs, taken = course("AdamW", official=True, lr=3e-3, points=None, steps=40)
    ours = course("AdamW", official=False, lr=3e-3, points=None, steps=40)[0]
    assert max(taken) >= 2 * min(taken)
    assert float((ours - theirs).norm()) > 0.3 * float((ours - start).norm())


def test_pictures_without_objects_teach_that_nothing_is_there() -> None:
    model = network().eval()
    nothing, none = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    sums = loss_sums(model(pictures()), nothing, none, l1=True)
    assert sums["objectness/objects"].item() > 0
    assert all(sums[f"{name}/objects"].item() == 0 for name in ("box", "class", "l1"))
    sum(sums.values(), torch.zeros(())).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    assert float(model.head.obj_preds[0].bias.grad) > 0
    assert count(nothing) == {"objects": 2.0}


def test_crowds_are_neither_learned_nor_denied() -> None:
    model, (boxes, labels) = network().eval(), truth()
    outputs = model(pictures())
    crowd = [torch.tensor([False, True]), torch.tensor([False])]
    sums = loss_sums(outputs, boxes, labels, crowd)
    without = [boxes[0][:1], boxes[1]], [labels[0][:1], labels[1]]
    denied = loss_sums(outputs, *without)
    assert torch.equal(sums["box/objects"], denied["box/objects"])
    points = (outputs.grid + 0.5) * outputs.stride
    inside = ((points > boxes[0][1, :2]) & (points < boxes[0][1, 2:])).all(1)
    inside[assign(Outputs(outputs.raw[0], *outputs[1:]), *(x[0] for x in without)).anchors] = False
    spared = functional.softplus(outputs.raw[0, inside, 4]).sum()
    assert int(inside.sum()) > 3
    torch.testing.assert_close(sums["objectness/objects"], denied["objectness/objects"] - spared)
    assert count(boxes, crowd) == {"objects": 2.0}


def test_pictures_of_equally_many_objects_may_come_as_one_tensor() -> None:
    outputs = network().eval()(pictures())
    boxes, labels = torch.stack([truth()[0][0]] * 2), torch.stack([truth()[1][0]] * 2)
    assert loss_sums(outputs, boxes, labels) == loss_sums(outputs, list(boxes), list(labels))
    assert count(boxes) == count(list(boxes)) == {"objects": 4.0}


def test_it_learns_two_pictures_by_heart() -> None:
    """Squares of two colours: the most certain answer is where they are and what they are."""
    boxes = [torch.tensor([[6.0, 8, 30, 32]]), torch.tensor([[28.0, 24, 60, 52]])]
    labels = [torch.tensor([0]), torch.tensor([1])]
    images = torch.full((2, 3, 64, 64), 114.0)
    for i, (channel, (x1, y1, x2, y2)) in enumerate(zip((2, 0), (b[0].int().tolist() for b in boxes), strict=True)):
        images[i, :, y1:y2, x1:x2] = 20
        images[i, channel, y1:y2, x1:x2] = 230
    model = network().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(80):
        sums = loss_sums(model(images), boxes, labels)
        loss = sum(sums.values(), torch.zeros(())) / count(boxes)["objects"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(sums["objectness/objects"].item())
    assert losses[-1] < losses[0] / 2
    with torch.no_grad():
        decoded = decode(model(images))
    for i in range(2):
        found = detect(decoded.boxes[i], decoded.scores[i], threshold=0.3, limit=1)
        assert found.labels.tolist() == labels[i].tolist()
        assert float(overlaps(found.boxes, boxes[i])) > 0.6
