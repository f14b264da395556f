"""Image classifiers that packages carry as folders in Hugging Face's layout: MobileNetV2 and EfficientNet-Lite0.

Both were trained on ImageNet-1k; the class names come from a package of their own. It knows the names and layouts of
those files; no starter, recipe or task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = "imagenet1k_label_to_names.json"
_AGAIN = "install the package that carries it again"
_OPEN = 30.0
"""Bias at which a gate lets everything through: the sigmoid of it is 1 in fp32, fp16 and bf16, its slope 0."""
_COUNTER = "num_batches_tracked"


def convert_mobilenet_v2(sources: tuple[Path, ...], target: Path) -> None:
    """Write torchvision's MobileNetV2 (first weights) as transformers' ``MobileNetV2ForImageClassification``.

    Both list their layers in the order in which they run, so names follow from the order; shapes are checked.

    Args:
        sources: The folder with the ``.pth`` file and the one with the class names.
        target: An empty folder.

    Raises:
        UserError: A file is missing, broken or another network.
    """
    from transformers import MobileNetV2Config

    config = MobileNetV2Config(
        architectures=["MobileNetV2ForImageClassification"],
        tf_padding=False,
        layer_norm_eps=1e-5,
        classifier_dropout_prob=0.2,
        image_size=224,
        **_classes(sources[1]),
    )
    file, state = _state(sources[0], "mobilenet_v2-*.pth")
    wanted = _wanted(config, "MobileNetV2ForImageClassification")
    if len(state) != len(wanted):
        raise UserError(
            f"{file.name} holds {len(state)} tensors, not the {len(wanted)} of MobileNetV2", str(file), _AGAIN
        )
    renamed = {name: value for name, value in zip(wanted, state.values(), strict=True)}
    ends = [name.rsplit(".", 1)[-1] for name in state]
    if ends != [name.rsplit(".", 1)[-1] for name in wanted]:
        raise UserError(f"{file.name} lists its tensors in another order than MobileNetV2 does", str(file), _AGAIN)
    _write(renamed, wanted, file, config, target)
    _processor(target, resample=2, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def convert_efficientnet_lite0(sources: tuple[Path, ...], target: Path) -> None:
    """Write EfficientNet-Lite0 as transformers' ``EfficientNetForImageClassification``.

    Lite has no squeeze-and-excitation, which transformers' blocks always have. Its gates are written wide open, with
    the fewest channels: they multiply by exactly 1, and stay so, because the slope of an open gate is exactly 0.

    Args:
        sources: The folder with the ``.pth`` file and the one with the class names.
        target: An empty folder.

    Raises:
        UserError: A file is missing, broken or another network.
    """
    from transformers import EfficientNetConfig

    config = EfficientNetConfig(
        architectures=["EfficientNetForImageClassification"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        squeeze_expansion_ratio=1e-3,
        hidden_act="relu6",
        hidden_dim=1280,
        # torch's meaning of it; transformers passes on the number that its TensorFlow original means the other way.
        batch_norm_momentum=0.01,
        dropout_rate=0.2,
        drop_connect_rate=0.0,
        image_size=224,
        **_classes(sources[1]),
    )
    file, state = _state(sources[0], "efficientnet-lite0-*.pth")
    wanted = _wanted(config, "EfficientNetForImageClassification")
    renamed = {_lite_name(name, file): value for name, value in state.items()}
    renamed |= dict(_open_gates(wanted))
    _write(renamed, wanted, file, config, target)
    _processor(target, resample=3, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


_LITE_BLOCK = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
_LITE = {
    "_conv_stem": "efficientnet.embeddings.convolution",
    "_bn0": "efficientnet.embeddings.batchnorm",
    "_conv_head": "efficientnet.encoder.top_conv",
    "_bn1": "efficientnet.encoder.top_bn",
    "_fc": "classifier",
}


def _lite_name(name: str, file: Path) -> str:
    """A tensor's name in transformers."""
    path = name.split(".")
    block = len(path) == 4 and path[0] == "_blocks"
    found = _LITE_BLOCK.get(path[2]) if block else _LITE.get(path[0])
    if found is None or len(path) != (4 if block else 2):
        what = f"{file.name} holds a tensor called {name}, which EfficientNet-Lite0 does not have"
        raise UserError(what, str(file), _AGAIN)
    return f"efficientnet.encoder.blocks.{path[1]}.{found}.{path[3]}" if block else f"{found}.{path[1]}"


def _open_gates(wanted: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    import torch

    for name, value in wanted.items():
        if ".squeeze_excite." in name:
            fill = _OPEN if name.endswith(".expand.bias") else 0.0
            yield name, torch.full(tuple(value.shape), fill)


def _classes(folder: Path) -> dict[str, Any]:
    """The class names, as transformers' configs take them; of two that are equal, the second says its number."""
    file = folder / NAMES
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"the folder holds no {NAMES}", str(folder), _AGAIN) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise UserError(f"{NAMES} is not JSON: {fault}", str(file), _AGAIN) from None
    numbers = [str(i) for i in range(1000)]
    if not isinstance(names, dict) or sorted(names) != sorted(numbers):
        raise UserError(f"{NAMES} is not a table of 1000 class names", str(file), _AGAIN)
    table: dict[int, str] = {}
    for i, name in enumerate(str(names[number]) for number in numbers):
        table[i] = name if name not in table.values() else f"{name} ({i})"
    return {"id2label": table, "label2id": {name: i for i, name in table.items()}}


def _state(folder: Path, pattern: str) -> tuple[Path, dict[str, Tensor]]:
    """The one file that fits the pattern, and its tensors; nothing else is read from it."""
    from tunesmith.model.weights import read_pickle

    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise UserError(f"{len(files)} files in this folder are called {pattern}, not one", str(folder), _AGAIN)
    return files[0], read_pickle(files[0], str(files[0]))


def _wanted(config: Any, architecture: str) -> dict[str, Tensor]:
    """Names and shapes of the network's tensors, without their numbers."""
    import torch
    import transformers

    with torch.device("meta"):
        return dict(getattr(transformers, architecture)(config).state_dict())


def _write(state: dict[str, Tensor], wanted: Mapping[str, Tensor], file: Path, config: Any, target: Path) -> None:
    """Write config and weights. A missing counter of batches is no fault: only a momentum of None reads it."""
    import torch
    from safetensors.torch import save_file

    state |= {name: torch.tensor(0) for name in wanted if name.endswith(_COUNTER) and name not in state}
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        raise UserError(f"{file.name} lacks {wrong[0]}, has it in another size or too much", str(file), _AGAIN)
    config.save_pretrained(target)
    tensors = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def _processor(target: Path, *, resample: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """What happens to a picture before the network: the shorter side to 256, the middle 224 of both, normalised."""
    values = {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "resample": resample,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    (target / "preprocessor_config.json").write_text(f"{json.dumps(values, indent=2)}\n", encoding="utf-8")
