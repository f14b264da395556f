"""The YOLOX network: names and shapes of the official one, files, other classes, layer groups, preprocessing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.boundary import Boundary, find_boundary
from tunesmith.model.layers import LayerGroups
from tunesmith.model.yolox import (
    Yolox,
    YoloxConfig,
    boxes_of,
    decode,
    parts,
    preprocessor_config,
    write_preprocessor,
)
from tunesmith.pictures.augment import Sample, fit
from tunesmith.pictures.preprocess import FILE, Preprocessing, as_bytes

SMALL = YoloxConfig(2, 0.33, 0.125, size=(64, 64), names=("red", "blue"))


def network(config: YoloxConfig = SMALL, seed: int = 0) -> Yolox:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Yolox(config)


def pictures(count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 255


# Shapes and names


@pytest.mark.parametrize(
    ("variant", "millions"),
    [("nano", 0.91), ("tiny", 5.06), ("s", 8.97), ("m", 25.33), ("l", 54.21), ("x", 99.07)],
)
def test_every_variant_has_the_parameters_of_the_paper(variant: str, millions: float) -> None:
    """As the official release lists them, for 80 classes."""
    with torch.device("meta"):
        model = Yolox(YoloxConfig.of(variant, 80))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


def test_names_are_the_official_ones() -> None:
    with torch.device("meta"):
        names = set(Yolox(YoloxConfig.of("s", 80)).state_dict())
    convs = {
        "backbone.backbone.stem.conv",
        "backbone.backbone.dark2.0",
        "backbone.backbone.dark3.1.m.2.conv2",
        "backbone.backbone.dark5.1.conv2",
        "backbone.backbone.dark5.2.conv3",
        "backbone.lateral_conv0",
        "backbone.C3_p4.m.0.conv1",
        "backbone.reduce_conv1",
        "backbone.C3_p3.conv1",
        "backbone.bu_conv2",
        "backbone.C3_n3.conv2",
        "backbone.bu_conv1",
        "backbone.C3_n4.conv3",
        "head.stems.2",
        "head.cls_convs.0.1",
        "head.reg_convs.1.0",
    }
    ends = {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
    assert {f"{conv}.{end}" for conv in convs for end in ends} <= names
    outputs = {
        f"head.{kind}_preds.{i}.{p}" for kind in ("cls", "reg", "obj") for i in range(3) for p in ("weight", "bias")
    }
    assert outputs <= names
    # 74 convolutions with BatchNorm, nine outputs with bias.
    assert len(names) == 74 * 6 + 9 * 2
    with torch.device("meta"):
        thin = set(Yolox(YoloxConfig.of("nano", 80)).state_dict())
    assert {"backbone.backbone.dark2.0.dconv.conv.weight", "head.cls_convs.0.0.pconv.bn.bias"} <= thin


def test_outputs_have_a_row_for_each_point_of_each_level() -> None:
    model = network().eval()
    with torch.no_grad():
        found = model(pictures()[..., :32])
    assert found.raw.shape == (2, 8 * 4 + 4 * 2 + 2 * 1, 7)
    assert found.grid[:5].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]]
    assert found.grid[32:36].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert found.stride.flatten().tolist() == [8] * 32 + [16] * 8 + [32] * 2
    assert all(
        norm.eps == 1e-3 and norm.momentum == 0.03 for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)
    )


def test_a_fresh_network_expects_background() -> None:
    """One in a hundred, for objectness and for classes; with most classes the loss would else drown in it."""
    with torch.no_grad():
        scores = decode(network().eval()(pictures())).scores
    assert 0.2e-4 < float(scores.mean()) < 5e-4
    assert scores.shape == (2, 84, 2)


def test_boxes_are_corners_in_pixels() -> None:
    found = boxes_of(
        torch.tensor([[0.5, 0.25, 0.0, float(np.log(2.0))]]),
        grid=torch.tensor([[3.0, 1.0]]),
        stride=torch.tensor([[16.0]]),
    )
    torch.testing.assert_close(found, torch.tensor([[48.0, 4.0, 64.0, 36.0]]))


# Files


def test_save_and_load(tmp_path: Path) -> None:
    model = network().eval()
    model.save_pretrained(tmp_path / "model")
    again = Yolox.from_pretrained(tmp_path / "model")
    assert again.config == SMALL
    assert not again.training
    assert all(p.requires_grad for p in again.parameters())
    with torch.no_grad():
        assert torch.equal(model(pictures()).raw, again(pictures()).raw)
    values = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert (values["model_type"], values["id2label"]) == ("yolox", {"0": "red", "1": "blue"})


def test_what_can_not_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        Yolox.from_pretrained(tmp_path)
    network().save_pretrained(tmp_path)
    good = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for change, why in (
        ({"model_type": "resnet"}, "of type 'resnet'"),
        ({"num_labels": 3, "id2label": {}}, r"head\.cls_preds\.0\.weight: \(2, "),
        ({"width": 0.25}, "tensors do not fit"),
        ({"width": "wide"}, "does not describe"),
        ({"width": 0.0}, "width 0.0"),
        ({"num_labels": 3}, "2 class names for 3"),
        ({"image_size": [64, 60]}, "multiples of 32"),
        ({"image_size": 64}, "does not describe"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(good | change), encoding="utf-8")
        with pytest.raises(UserError, match=why) as caught:
            Yolox.from_pretrained(tmp_path)
        assert caught.value.fix
    (tmp_path / "config.json").write_text(json.dumps(good), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is broken"):
        Yolox.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        Yolox.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no YOLOX variant 'huge'"):
        YoloxConfig.of("huge", 2)


def test_other_classes_leave_the_rest_alone() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = model.with_classes(5, ("a", "b", "c", "d", "e"))
    assert fresh == {f"head.cls_preds.{i}.{p}" for i in range(3) for p in ("weight", "bias")}
    assert model.config.names[-1] == "e"
    assert model(pictures()).raw.shape[-1] == 10
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in after.items() if "running" not in name and "tracked" not in name}
    changed = {
        name
        for name in changed
        if after[name].shape != before[name].shape or not torch.equal(after[name], before[name])
    }
    assert changed == fresh
    assert all(float(after[f"head.cls_preds.{i}.bias"].sigmoid().mean()) == pytest.approx(0.01) for i in range(3))


def test_layer_groups_from_bottom_to_top() -> None:
    model = network()
    fresh = model.with_classes(3)
    trunk, blocks = parts(model)
    groups = LayerGroups.of(model, trunk=trunk, blocks=blocks, fresh=fresh)
    assert list(groups.groups) == ["embeddings", "block 0", "block 1", "block 2", "block 3", "neck", "head"]
    start = {group: {".".join(name.split(".")[:3]) for name in names} for group, names in groups.groups.items()}
    assert start["embeddings"] == {"backbone.backbone.stem"}
    assert start["block 3"] == {"backbone.backbone.dark5"}
    assert start["neck"] == {
        f"backbone.{name}.{part}"
        for name, kinds in {
            "lateral_conv0": ("conv", "bn"),
            "reduce_conv1": ("conv", "bn"),
            "bu_conv1": ("conv", "bn"),
            "bu_conv2": ("conv", "bn"),
            "C3_p4": ("conv1", "conv2", "conv3", "m"),
            "C3_p3": ("conv1", "conv2", "conv3", "m"),
            "C3_n3": ("conv1", "conv2", "conv3", "m"),
            "C3_n4": ("conv1", "conv2", "conv3", "m"),
        }.items()
        for part in kinds
    }
    assert {name.split(".")[0] for name in groups.groups["head"]} == {"head"}
    assert sum(len(names) for names in groups.groups.values()) == len(list(model.parameters()))


# Preprocessing


def test_pictures_are_padded_at_the_end_and_turned_to_bgr(tmp_path: Path) -> None:
    write_preprocessor(tmp_path, (64, 96))
    wanted = Preprocessing.read(tmp_path, "stretch", 224)
    assert (wanted.size, wanted.fit, wanted.filter) == ((64, 96), "letterbox", "bilinear")
    image = np.zeros((20, 40, 3), dtype=np.uint8)
    image[..., 0] = 200
    boxed, place = fit(Sample(image), wanted.size, wanted.fit, resample=wanted.filter)
    assert (boxed.image.shape, place.scale) == ((64, 96, 3), (2.4, 2.4))
    assert (boxed.image[:48] == (200, 0, 0)).all()
    assert (boxed.image[48:] == 114).all()
    numbers = wanted.numbers(as_bytes(boxed.image)[None])
    assert (numbers.dtype, tuple(numbers.shape)) == (torch.float32, (1, 3, 64, 96))
    assert numbers[0, :, 0, 0].tolist() == [0, 0, 200]
    assert replace(wanted, order="RGB").numbers(as_bytes(boxed.image)[None])[0, :, 0, 0].tolist() == [200, 0, 0]
    file = tmp_path / FILE
    file.write_text(json.dumps(wanted.to_json()), encoding="utf-8")
    assert Preprocessing.read(tmp_path, "stretch", 224) == wanted


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"channel_order": "GBR"}, "channel_order is 'GBR'"),
        ({"pad_value": 0}, "pad_value is 0, and only 114"),
        ({"pad_position": "center"}, "pad_position is 'center'"),
        ({"size": {"height": None, "width": 64}}, "int"),
    ],
)
def test_what_is_not_done_to_a_picture_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    (tmp_path / FILE).write_text(json.dumps(preprocessor_config((64, 96)) | change), encoding="utf-8")
    with pytest.raises(UserError, match=why) as caught:
        Preprocessing.read(tmp_path, "letterbox", 224)
    assert FILE in caught.value.where


@pytest.mark.parametrize(("train", "seam"), [("head", "backbone"), (1, "dark3"), (2, "dark3"), (3, "dark2")])
def test_what_is_frozen_can_be_recorded(train: str | int, seam: str) -> None:
    """The neck reads the last three stages: below a stage that learns, the topmost whole cut is ``dark3``."""
    model = network()
    fresh = model.with_classes(3)
    trunk, blocks = parts(model)
    groups = LayerGroups.of(model, trunk=trunk, blocks=blocks, fresh=fresh)
    groups.apply(groups.learning(train))
    images = pictures()

    def loss() -> Tensor:
        return decode(model(images)).scores.sum()

    found = find_boundary(groups, loss)
    assert isinstance(found, Boundary), found
    assert found.name.split(".")[-1] == seam
    frozen = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad]
    assert frozen
    assert not any(norm.training for norm in frozen)
