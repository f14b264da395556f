"""YOLOX beside the package ``pixeltable-yolox``, a copy of the official code: same outputs, same losses, same weights.

The package imports torchvision, OpenCV and loguru for other things than the network. Only its network's files are read
here; what they ask of its other modules, a few functions of boxes, is given to them by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunesmith.model.yolox import Assignment, Outputs, Yolox, YoloxConfig, assign, decode, loss_sums
from tunesmith.model.yolox_weights import convert_official

CLASSES = 3


def _overlaps(one: Tensor, other: Tensor, corners: bool = True) -> Tensor:
    """What the package's ``bboxes_iou`` computes."""
    if not corners:
        one, other = (torch.cat((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), 1) for b in (one, other))
    low, high = torch.maximum(one[:, None, :2], other[:, :2]), torch.minimum(one[:, None, 2:], other[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (one, other)]
    return common / (areas[0][:, None] + areas[1] - common)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package's network and head, imported without its other parts."""
    spec = find_spec("yolox")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pixeltable-yolox is not installed: pip install --no-deps pixeltable-yolox==0.4.3")
    root = Path(next(iter(spec.submodule_search_locations)))
    if not (root / "models" / "yolo_head.py").is_file():
        pytest.skip("an installed package called yolox is another one than pixeltable-yolox")
    for name, place in (("yolox", root), ("yolox.models", root / "models"), ("yolox.utils", None), ("loguru", None)):
        module = ModuleType(name)
        if place is not None:
            module.__path__ = [str(place)]
        monkeypatch.setitem(sys.modules, name, module)
    utils: Any = sys.modules["yolox.utils"]
    utils.bboxes_iou = _overlaps
    utils.cxcywh2xyxy = utils.visualize_assign = None
    utils.meshgrid = lambda axes: torch.meshgrid(*axes, indexing="ij")
    sys.modules["loguru"].logger = None  # type: ignore[attr-defined]
    from yolox.models.yolo_head import YoloxHead
    from yolox.models.yolo_pafpn import YoloPafpn

    class Peer(nn.Module):
        def __init__(self, config: YoloxConfig) -> None:
            super().__init__()
            self.backbone = YoloPafpn(config.depth, config.width, depthwise=config.depthwise)
            self.head = YoloxHead(config.classes, config.width, depthwise=config.depthwise)
            for norm in self.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.eps, norm.momentum = 1e-3, 0.03

        def forward(self, images: Tensor, truth: Tensor | None = None) -> Any:
            return self.head(self.backbone(images), truth, images)

    yield Peer
    for name in [name for name in sys.modules if name.startswith("yolox.models.")]:
        del sys.modules[name]


CONFIGS = {
    "thin": YoloxConfig(CLASSES, 0.33, 0.25, depthwise=True),
    "small": YoloxConfig(CLASSES, 0.33, 0.125),
    "deep": YoloxConfig(CLASSES, 0.67, 0.125),
}


def images() -> Tensor:
    return torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)) * 255


def both(peer: Any, config: YoloxConfig) -> tuple[Any, Yolox]:
    """The peer with weights that are not those of a fresh network, and ours with the same."""
    torch.manual_seed(0)
    theirs, ours = peer(config), Yolox(config)
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if "bn" in name and value.is_floating_point():
                value.copy_(torch.rand_like(value) * 0.5 + 0.75)
    missing = ours.load_state_dict(theirs.state_dict(), strict=True)
    assert not missing.missing_keys
    assert list(theirs.state_dict()) == list(ours.state_dict())
    return theirs, ours


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_are_equal(peer: Any, name: str) -> None:
    theirs, ours = both(peer, CONFIGS[name])
    with torch.no_grad():
        expected = theirs.eval()(images())
        found = decode(ours.eval()(images()))
    corners = torch.cat((expected[..., :2] - expected[..., 2:4] / 2, expected[..., :2] + expected[..., 2:4] / 2), -1)
    torch.testing.assert_close(found.boxes, corners, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, expected[..., 4:5] * expected[..., 5:], rtol=1e-4, atol=1e-6)
    assert float(expected[..., 4:].std()) > 1e-4


def test_its_checkpoints_load(peer: Any, tmp_path: Path) -> None:
    theirs, ours = both(peer, CONFIGS["deep"])
    torch.save({"start_epoch": 3, "model": theirs.state_dict(), "optimizer": None}, tmp_path / "latest_ckpt.pth")
    convert_official(tmp_path / "latest_ckpt.pth", tmp_path / "out")
    again = Yolox.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert torch.equal(again(images()).raw, ours.eval()(images()).raw)


BOXES = (torch.tensor([[6.0, 8, 40, 52], [20, 30, 60, 90], [2, 60, 20, 80]]), torch.tensor([[10.0, 10, 50, 70]]))
LABELS = (torch.tensor([0, 2, 1]), torch.tensor([1]))


def table() -> Tensor:
    """Class, centre and size by row, rows of zeros behind: what the package's head is given."""
    out = torch.zeros(2, 5, 5)
    for i, (boxes, labels) in enumerate(zip(BOXES, LABELS, strict=True)):
        out[i, : len(boxes), 0] = labels
        out[i, : len(boxes), 1:3] = (boxes[:, :2] + boxes[:, 2:]) / 2
        out[i, : len(boxes), 3:] = boxes[:, 2:] - boxes[:, :2]
    return out


def test_losses_are_equal_where_the_same_points_answer(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package divides by the foreground points; times their number its losses are our sums, and so are slopes."""
    theirs, ours = both(peer, CONFIGS["deep"])
    theirs.head.use_l1 = True
    found = ours.train()(images())
    given = [
        assign(Outputs(raw, *found[1:]), boxes, labels)
        for raw, boxes, labels in zip(found.raw.detach(), BOXES, LABELS, strict=True)
    ]

    def same(picture: int, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        mine = given[picture]
        mask = torch.zeros(found.raw.shape[1], dtype=torch.bool)
        mask[mine.anchors] = True
        return LABELS[picture][mine.objects], mask, mine.overlaps, mine.objects, len(mine.anchors)

    monkeypatch.setattr(theirs.head, "get_assignments", same)
    total, box, objectness, classes, l1, _ = theirs.train()(images(), table())
    points = sum(len(one.anchors) for one in given)
    sums = loss_sums(found, BOXES, LABELS, l1=True)
    for name, value in (("box", box), ("objectness", objectness), ("class", classes), ("l1", l1)):
        torch.testing.assert_close(sums[f"{name}/objects"], value * points, rtol=1e-4, atol=1e-4)
    (total * points).backward()
    sum(sums.values(), torch.zeros(())).backward()
    slopes = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = slopes[name].grad
        assert expected is not None
        torch.testing.assert_close(
            parameter.grad, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()), msg=name
        )


def test_adamw_takes_the_packages_steps_while_as_many_points_answer(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two points an object at every step: the package's losses are half of ours, and AdamW moves alike by both."""
    theirs, ours = both(peer, CONFIGS["deep"])
    start = torch.cat([p.detach().flatten() for p in ours.parameters()])
    given = [
        Assignment(torch.tensor([9, 10, 40, 41, 60, 61]), torch.tensor([0, 0, 1, 1, 2, 2]), torch.full((6,), 0.5)),
        Assignment(torch.tensor([20, 28]), torch.tensor([0, 0]), torch.tensor([0.75, 0.5])),
    ]

    def same(picture: int, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        mine = given[picture]
        mask = torch.zeros(sum(96 * 64 // s**2 for s in (8, 16, 32)), dtype=torch.bool)
        mask[mine.anchors] = True
        return LABELS[picture][mine.objects], mask, mine.overlaps, mine.objects, len(mine.anchors)

    monkeypatch.setattr(theirs.head, "get_assignments", same)
    for model in (theirs.train(), ours.train()):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(4):
            optimizer.zero_grad()
            if model is theirs:
                loss = theirs(images(), table())[0]
            else:
                loss = sum(loss_sums(ours(images()), BOXES, LABELS, assignments=given).values(), torch.zeros(())) / 4
            loss.backward()
            optimizer.step()
    moved = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (ours, theirs)]
    assert float((moved[0] - start).norm()) > 0.05
    assert float((moved[0] - moved[1]).norm()) < 0.05 * float((moved[0] - start).norm())


def test_the_same_points_are_taken(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the package's own cost and matching, given the paper's candidates, which it has since narrowed."""
    theirs, ours = both(peer, CONFIGS["deep"])
    with torch.no_grad():
        found = ours.eval()(images())
    places, strides = found.grid.T[:, None], found.stride.T
    decoded = decode(found).boxes
    centred = torch.cat(((decoded[..., :2] + decoded[..., 2:]) / 2, decoded[..., 2:] - decoded[..., :2]), -1)

    def candidates(boxes: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        points = (found.grid + 0.5) * found.stride
        apart = (points - boxes[:, None, :2]).abs()
        inside, near = (apart < boxes[:, None, 2:] / 2).all(-1), (apart < 2.5 * found.stride).all(-1)
        kept = (inside | near).any(0)
        return kept, (inside & near)[:, kept]

    monkeypatch.setattr(theirs.head, "get_geometry_constraint", candidates)
    monkeypatch.setattr(torch.cuda.amp, "autocast", lambda enabled: torch.no_grad())
    for i, (boxes, labels) in enumerate(zip(BOXES, LABELS, strict=True)):
        rows = table()[i, : len(boxes)]
        _, mask, overlaps, objects, _ = theirs.head.get_assignments(
            i,
            len(boxes),
            rows[:, 1:],
            rows[:, 0],
            centred[i],
            strides,
            *places,
            found.raw[..., 5:],
            found.raw[..., 4:5],
        )
        mine: Assignment = assign(Outputs(found.raw[i], *found[1:]), boxes, labels)
        assert mine.anchors.tolist() == mask.nonzero().flatten().tolist()
        assert mine.objects.tolist() == objects.tolist()
        torch.testing.assert_close(mine.overlaps, overlaps)
        assert len(mine.anchors) >= len(boxes)
