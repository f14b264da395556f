"""The YOLOX network in plain torch, its modules named as in the official release, so that its weights load by name.

From the paper (arXiv:2107.08430): a CSP Darknet with a focus stem, a path aggregation neck and a decoupled head without
anchor boxes. It knows tensors alone: no picture file, no loss, no task.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.yolox.config import STRIDES, YoloxConfig

PRIOR = 0.01
"""How likely the fresh outputs call an anchor point an object: rare, or the first steps drown in background."""
EPS, MOMENTUM = 1e-3, 0.03
"""Of every BatchNorm."""


class Outputs(NamedTuple):
    """What the network says about each anchor point.

    Args:
        raw: [batch, anchors, 5 + classes]: centre x, y and log width, height in strides; logits of objectness and
            classes.
        grid: [anchors, 2]: column and row of the anchor point in its level.
        stride: [anchors, 1]: pixels between the points of its level.
    """

    raw: Tensor
    grid: Tensor
    stride: Tensor


class Decoded(NamedTuple):
    """Boxes with the likelihood of each class.

    Args:
        boxes: [batch, anchors, 4]: x1, y1, x2, y2 in pixels of what the network was given; not clipped.
        scores: [batch, anchors, classes]: objectness times class, 0 to 1.
    """

    boxes: Tensor
    scores: Tensor


class Parts(NamedTuple):
    """A network from bottom to top, as ``LayerGroups.of`` takes it.

    Args:
        trunk: Backbone and neck; everything outside it is the head.
        blocks: The stages of the backbone above the stem, which count as embeddings; what follows is the neck.
    """

    trunk: nn.Module
    blocks: tuple[nn.Module, ...]


class _Conv(nn.Module):
    """Convolution that keeps the size (or halves it), BatchNorm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPS, momentum=MOMENTUM)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.act(self.bn(self.conv(x)))
        return found


class _DepthwiseConv(nn.Module):
    """A convolution of each channel alone, then one across channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = _Conv(inputs, inputs, kernel, stride, groups=inputs)
        self.pconv = _Conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.pconv(self.dconv(x))
        return found


def _conv(inputs: int, outputs: int, kernel: int, stride: int, depthwise: bool) -> nn.Module:
    return (_DepthwiseConv if depthwise else _Conv)(inputs, outputs, kernel, stride)


class _Focus(nn.Module):
    """Every second pixel of rows and columns as a channel of its own, then a convolution."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(12, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        found: Tensor = self.conv(torch.cat(corners, 1))
        return found


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, channels, 1)
        self.conv2 = _conv(channels, channels, 3, 1, depthwise)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv2(self.conv1(x))
        return found + x if self.shortcut else found


class _CrossStage(nn.Module):
    """Half of the channels through bottlenecks, half past them (arXiv:1911.11929)."""

    def __init__(self, inputs: int, outputs: int, count: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = _Conv(inputs, hidden, 1)
        self.conv2 = _Conv(inputs, hidden, 1)
        self.conv3 = _Conv(2 * hidden, outputs, 1)
        self.m = nn.Sequential(*(_Bottleneck(hidden, shortcut, depthwise) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        through, past = self.conv1(x), self.conv2(x)
        found: Tensor = self.conv3(torch.cat((self.m(through), past), 1))
        return found


class _Pyramid(nn.Module):
    """The largest value of several neighbourhoods beside the value itself (spatial pyramid pooling)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = _Conv(channels, hidden, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in (5, 9, 13))
        self.conv2 = _Conv(4 * hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        found: Tensor = self.conv2(torch.cat((x, *(pool(x) for pool in self.m)), 1))
        return found


class _Darknet(nn.Module):
    """The backbone; puts out its last three stages."""

    def __init__(self, config: YoloxConfig) -> None:
        super().__init__()
        base, count, thin = int(64 * config.width), max(round(3 * config.depth), 1), config.depthwise

        def stage(at: int, bottlenecks: int) -> list[nn.Module]:
            channels = base * 2**at
            cross = _CrossStage(channels, channels, bottlenecks, True, thin)
            return [_conv(channels // 2, channels, 3, 2, thin), cross]

        self.stem = _Focus(base)
        self.dark2 = nn.Sequential(*stage(1, count))
        self.dark3 = nn.Sequential(*stage(2, 3 * count))
        self.dark4 = nn.Sequential(*stage(3, 3 * count))
        top = 16 * base
        self.dark5 = nn.Sequential(
            _conv(top // 2, top, 3, 2, thin), _Pyramid(top), _CrossStage(top, top, count, False, thin)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        third = self.dark3(self.dark2(self.stem(x)))
        fourth = self.dark4(third)
        return third, fourth, self.dark5(fourth)


class _Neck(nn.Module):
    """Backbone and path aggregation: coarse levels told to fine ones, then fine ones back to coarse."""

    def __init__(self, config: YoloxConfig) -> None:
        super().__init__()
        fine, middle, coarse = (int(c * config.width) for c in (256, 512, 1024))
        count, thin = round(3 * config.depth), config.depthwise
        self.backbone = _Darknet(config)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = _Conv(coarse, middle, 1)
        self.C3_p4 = _CrossStage(2 * middle, middle, count, False, thin)
        self.reduce_conv1 = _Conv(middle, fine, 1)
        self.C3_p3 = _CrossStage(2 * fine, fine, count, False, thin)
        self.bu_conv2 = _conv(fine, fine, 3, 2, thin)
        self.C3_n3 = _CrossStage(2 * fine, middle, count, False, thin)
        self.bu_conv1 = _conv(middle, middle, 3, 2, thin)
        self.C3_n4 = _CrossStage(2 * middle, coarse, count, False, thin)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        third, fourth, fifth = self.backbone(x)
        coarse = self.lateral_conv0(fifth)
        middle = self.reduce_conv1(self.C3_p4(torch.cat((self.upsample(coarse), fourth), 1)))
        first: Tensor = self.C3_p3(torch.cat((self.upsample(middle), third), 1))
        second: Tensor = self.C3_n3(torch.cat((self.bu_conv2(first), middle), 1))
        last: Tensor = self.C3_n4(torch.cat((self.bu_conv1(second), coarse), 1))
        return first, second, last


class _Head(nn.Module):
    """For each level, classes apart from boxes and objectness."""

    def __init__(self, config: YoloxConfig) -> None:
        super().__init__()
        hidden = int(256 * config.width)

        def pair() -> nn.Module:
            return nn.Sequential(*(_conv(hidden, hidden, 3, 1, config.depthwise) for _ in range(2)))

        def outputs(count: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(hidden, count, 1) for _ in STRIDES)

        self.cls_convs = nn.ModuleList(pair() for _ in STRIDES)
        self.reg_convs = nn.ModuleList(pair() for _ in STRIDES)
        self.cls_preds = outputs(config.classes)
        self.reg_preds = outputs(4)
        self.obj_preds = outputs(1)
        self.stems = nn.ModuleList(_Conv(int(c * config.width), hidden, 1) for c in (256, 512, 1024))
        for predictions in (self.cls_preds, self.obj_preds):
            _expect_background(predictions)

    def forward(self, levels: tuple[Tensor, ...]) -> Outputs:
        rows, grids, strides = [], [], []
        for i, level in enumerate(levels):
            x = self.stems[i](level)
            classes = self.cls_preds[i](self.cls_convs[i](x))
            boxes = self.reg_convs[i](x)
            found = torch.cat((self.reg_preds[i](boxes), self.obj_preds[i](boxes), classes), 1)
            rows.append(found.flatten(2))
            grids.append(_grid(found))
            strides.append(torch.full_like(grids[-1][:, :1], STRIDES[i]))
        return Outputs(torch.cat(rows, 2).transpose(1, 2), torch.cat(grids), torch.cat(strides))


def _grid(level: Tensor) -> Tensor:
    """Column and row of each position, row by row: [height * width, 2]."""
    height, width = level.shape[-2:]
    rows = torch.arange(height, device=level.device, dtype=torch.float32)
    columns = torch.arange(width, device=level.device, dtype=torch.float32)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def _expect_background(predictions: nn.ModuleList) -> None:
    for conv in predictions:
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        nn.init.constant_(conv.bias, -math.log((1 - PRIOR) / PRIOR))


class Yolox(nn.Module):
    """YOLOX: pictures to what is where.

    Args:
        config: Its shape; weights are random, with outputs that expect background.
    """

    base_model_prefix: ClassVar[str] = "backbone"

    def __init__(self, config: YoloxConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _Neck(config)
        self.head = _Head(config)

    def forward(self, pixel_values: Tensor) -> Outputs:
        """What each anchor point says.

        Args:
            pixel_values: [batch, 3, height, width], 0 to 255, channels as the weights want them (see
                ``preprocessor_config``); sides are multiples of 32.
        """
        found: Outputs = self.head(self.backbone(pixel_values))
        return found

    def with_classes(self, classes: int, names: tuple[str, ...] = ()) -> frozenset[str]:
        """Replace the class outputs by fresh ones for other classes; boxes and objectness stay as they are.

        Returns:
            The names of the fresh parameters.
        """
        self.config = self.config.with_classes(classes, names)
        old = self.head.cls_preds
        fresh = nn.ModuleList(
            nn.Conv2d(conv.in_channels, classes, 1, device=conv.weight.device, dtype=conv.weight.dtype)
            for conv in old
            if isinstance(conv, nn.Conv2d)
        )
        _expect_background(fresh)
        self.head.cls_preds = fresh.train(old.training)
        return frozenset(f"head.cls_preds.{name}" for name, _ in fresh.named_parameters())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, which ``from_pretrained`` reads."""
        from safetensors.torch import save_file

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(state, target / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(self.config.to_json(), indent=2, ensure_ascii=False)
        (target / "config.json").write_text(f"{text}\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Yolox:
        """The network in a folder, in evaluation mode, in fp32.

        Raises:
            UserError: The folder holds no such network, or its weights are not those that its config describes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        source = Path(folder)
        config = YoloxConfig.read(source)
        file = source / "model.safetensors"
        try:
            state = load_file(file)
        except FileNotFoundError:
            raise UserError(f"'{source}' has no model.safetensors", str(source), "fetch the model again") from None
        except SafetensorError as fault:
            raise UserError(f"{file.name} is broken: {fault}", str(file), "fetch the model again") from None
        with torch.device("meta"):
            model = cls(config)
        fill(model, state, str(file))
        return model.float().eval()


def fill(model: Yolox, state: dict[str, Tensor], where: str) -> None:
    """Give a network these tensors, every one of them by name; it may lie on the meta device.

    Raises:
        UserError: One is missing, one too many, or one has another size.
    """
    wanted = model.state_dict()
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        name = wrong[0]
        mine = tuple(wanted[name].shape) if name in wanted else "nothing"
        theirs = tuple(state[name].shape) if name in state else "nothing"
        what = f"{len(wrong)} tensors do not fit this YOLOX network, among them {name}: {theirs}, where it has {mine}"
        raise UserError(what, where, "take the config.json that belongs to these weights")
    model.load_state_dict(state, assign=True)


def boxes_of(found: Tensor, grid: Tensor, stride: Tensor) -> Tensor:
    """Boxes that anchor points describe, as x1, y1, x2, y2 in pixels.

    Args:
        found: [..., 4]: centre and log size in strides.
        grid: [..., 2]: column and row of the point.
        stride: [..., 1].
    """
    centre = (found[..., :2] + grid) * stride
    half = found[..., 2:4].exp() * stride / 2
    return torch.cat((centre - half, centre + half), -1)


def decode(outputs: Outputs) -> Decoded:
    """Boxes and scores of every anchor point, in fp32."""
    raw = outputs.raw.float()
    boxes = boxes_of(raw[..., :4], outputs.grid, outputs.stride)
    return Decoded(boxes, raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid())


def parts(model: Yolox) -> Parts:
    """How a network divides: stem, stages ``dark2`` to ``dark5``, neck, head.

    The neck reads three stages, so what is below a stage that learns can be recorded only up to ``dark3``.
    """
    darknet = model.backbone.backbone
    return Parts(model.backbone, (darknet.dark2, darknet.dark3, darknet.dark4, darknet.dark5))
