"""YOLOX weights from an ONNX graph and from official files: the same numbers, the same names, fit to be trained."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import yolox_weights
from tunesmith.model.nms import detect
from tunesmith.model.yolox import Yolox, YoloxConfig, decode
from tunesmith.model.yolox_weights import COCO, DDDDOCR, config_of, convert, convert_official, from_onnx, unfold
from tunesmith.pictures.augment import Sample, fit
from tunesmith.pictures.preprocess import Preprocessing, as_bytes

PACKAGE = "ddddocr==1.6.1"
SMALL = YoloxConfig(3, 0.33, 0.125, size=(64, 64))


def package() -> Path:
    """The package's folder. Skips, with the reason, where it is not installed; in CI that is an error."""
    pytest.importorskip("onnx")
    try:
        files = importlib.metadata.files(PACKAGE.split("==", maxsplit=1)[0]) or []
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"the starter's package is not installed: pip install --no-deps {PACKAGE}")
    return next(Path(str(file.locate())).parent for file in files if file.name == DDDDOCR)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("yolox")
    convert((package(),), target)
    return target


def noise(count: int = 1, side: int = 416, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 255


def test_the_converted_network_puts_out_what_the_graph_does(folder: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(package() / DDDDOCR), options, providers=["CPUExecutionProvider"])
    model = Yolox.from_pretrained(folder)
    picture = noise()
    theirs = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: picture.numpy()})[0])
    with torch.no_grad():
        raw = model(picture).raw
    ours = torch.cat((raw[..., :4], raw[..., 4:].sigmoid()), -1)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    assert float(theirs[..., :4].std()) > 0.1


def test_the_folder_says_what_it_is(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert Yolox.from_pretrained(folder).config == YoloxConfig.of("tiny", 1, ("character",))
    wanted = Preprocessing.read(folder, "stretch", 224)
    assert (wanted.size, wanted.fit, wanted.order, wanted.scale) == ((416, 416), "letterbox", "BGR", 1.0)


COLOURS = (
    ((200, 30, 30), (240, 230, 200)),
    ((30, 30, 200), (250, 240, 210)),
    ((20, 120, 20), (200, 220, 255)),
    ((255, 200, 0), (20, 40, 120)),
    ((0, 90, 200), (255, 180, 60)),
    ((230, 60, 20), (60, 90, 220)),
)
PLACES = [(20 + 65 * i, 25 + 4 * (i % 3)) for i in range(4)]


def written(ink: tuple[int, int, int], paper: tuple[int, int, int]) -> np.ndarray:
    picture = Image.new("RGB", (300, 120), paper)
    for letter, place in zip("A7kQ", PLACES, strict=True):
        ImageDraw.Draw(picture).text(place, letter, fill=ink, font=ImageFont.load_default(60))
    return np.asarray(picture)


def test_it_finds_characters_most_surely_with_blue_first(folder: Path) -> None:
    """Four letters in six pairs of colours: all are found where they are, and less surely in the order RGB."""
    model, sure = Yolox.from_pretrained(folder), {"BGR": 0.0, "RGB": 0.0}
    for order in sure:
        wanted = replace(Preprocessing.read(folder, "letterbox", 416), order=order)
        boxed = [fit(Sample(written(*colours)), wanted.size, wanted.fit) for colours in COLOURS]
        with torch.no_grad():
            found = decode(model(wanted.numbers(torch.stack([as_bytes(sample.image) for sample, _ in boxed]))))
        for i, (_, place) in enumerate(boxed):
            kept = detect(found.boxes[i], found.scores[i], threshold=0.3, overlap=0.45)
            sure[order] += float(kept.scores.sum())
            centres = (kept.boxes[:, 0] + kept.boxes[:, 2]).sort().values / 2 / place.scale[0]
            assert len(centres) == 4 or order == "RGB"
            assert order == "RGB" or float((centres - torch.tensor([38.0, 103, 168, 233])).abs().max()) < 15
    assert sure["BGR"] > sure["RGB"] + 0.1


# BatchNorm that was folded


def folded(seed: int = 0) -> Yolox:
    """A network as it comes out of a graph: scales in the convolutions, BatchNorm that does nothing but add."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Yolox(SMALL).eval()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.bias, std=0.5)
                norm.running_var.fill_(1 - norm.eps)
        for name, conv in model.named_modules():
            if isinstance(conv, nn.Conv2d) and not name.startswith("head.cls_preds"):
                conv.weight.data *= 3
    return model


def test_unfolding_changes_nothing_until_batchnorm_learns() -> None:
    model, pictures = folded(), noise(6, 64)
    with torch.no_grad():
        model.backbone.backbone.stem.conv.conv.weight.data /= 100
        before = model(pictures).raw
        unfold(model, pictures)
        assert (model(pictures).raw - before).norm() / before.norm() < 1e-4
        again = folded()
        again.backbone.backbone.stem.conv.conv.weight.data /= 100
        lost = (again.train()(pictures).raw - before).norm() / before.norm()
        kept = (model.train()(pictures).raw - before).norm() / before.norm()
    assert kept < 0.01 < 0.2 < lost
    norms = [norm for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)]
    assert all(norm.weight.requires_grad and not norm._forward_pre_hooks for norm in norms)


def test_the_starter_can_be_trained_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BatchNorm with the batch's own statistics leaves of what was pretrained far more than it would have left."""
    monkeypatch.setattr(yolox_weights, "unfold", lambda model, pictures: None)
    bare, ready = from_onnx(package() / DDDDOCR), Yolox.from_pretrained(folder)
    pictures = yolox_weights._drawings((192, 192))[:6].flip(1)

    def agreement(model: Yolox) -> float:
        with torch.no_grad():
            still = model.eval()(pictures).raw[..., 4].flatten()
            moved = model.train()(pictures).raw[..., 4].flatten()
        return float(torch.corrcoef(torch.stack((still, moved)))[0, 1])

    assert agreement(bare) < 0.35 < 0.45 < agreement(ready)


# Official files


def official(file: Path, model: Yolox, **more: Any) -> None:
    torch.save({"start_epoch": 300, "model": model.state_dict(), "best_ap": 0.4, **more}, file)


def test_a_command_makes_a_folder_that_a_recipe_can_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.cli import main

    official(tmp_path / "mine.pth", Yolox(YoloxConfig(80, 0.33, 0.125)).eval())
    for place, code in (("made", 0), ("made", 2)):
        monkeypatch.setattr(
            "sys.argv", ["tunesmith", "convert", str(tmp_path / "mine.pth"), "--out", str(tmp_path / place)]
        )
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == code
    assert Yolox.from_pretrained(tmp_path / "made").config.classes == 80


def test_official_files_load_by_name(tmp_path: Path) -> None:
    model, file = Yolox(YoloxConfig(80, 0.33, 0.125)).eval(), tmp_path / "yolox_mine.pth"
    official(file, model, optimizer={"state": {}, "param_groups": [{"lr": 0.01}]})
    convert_official(file, tmp_path / "out")
    again = Yolox.from_pretrained(tmp_path / "out")
    assert (again.config.names[0], again.config.names[-1], len(set(COCO))) == ("person", "toothbrush", 80)
    with torch.no_grad():
        assert torch.equal(again(noise(1, 64)).raw, model(noise(1, 64)).raw)
    assert Preprocessing.read(tmp_path / "out", "letterbox", 416).order == "BGR"
    convert_official(file, tmp_path / "named", tuple(f"class {i}" for i in range(80)))
    assert Yolox.from_pretrained(tmp_path / "named").config.names[79] == "class 79"


@pytest.mark.parametrize("variant", ["nano", "tiny", "s", "m", "l", "x"])
def test_the_shape_is_read_off_the_tensors(variant: str) -> None:
    with torch.device("meta"):
        state = Yolox(YoloxConfig.of(variant, 7)).state_dict()
    assert config_of(state, "") == YoloxConfig.of(variant, 7)


def test_an_unpublished_shape_loads_too(tmp_path: Path) -> None:
    model = Yolox(YoloxConfig(2, 5 / 3, 0.0625, depthwise=True))
    official(tmp_path / "odd.pth", model)
    convert_official(tmp_path / "odd.pth", tmp_path / "out", ("a", "b"))
    again = Yolox.from_pretrained(tmp_path / "out")
    assert again.state_dict().keys() == model.state_dict().keys()


# Faults


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save({"model": {"fc.weight": torch.zeros(2, 2)}}, file)
    with pytest.raises(UserError, match=r"no YOLOX state dict: it has no backbone\.backbone\.stem"):
        convert_official(file, tmp_path / "out")
    state = Yolox(SMALL).state_dict()
    del state["backbone.C3_n4.conv3.bn.bias"]
    torch.save(state, file)
    with pytest.raises(UserError, match=r"backbone\.C3_n4\.conv3\.bn\.bias: nothing, where it has"):
        convert_official(file, tmp_path / "out")
    torch.save({"model": Yolox(SMALL)}, file)
    with pytest.raises(UserError, match="more than tensors"):
        convert_official(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_graphs_that_are_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    with pytest.raises(UserError, match=f"holds no {DDDDOCR}"):
        convert((tmp_path,), tmp_path / "out")
    file = tmp_path / DDDDOCR
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="is broken"):
        convert((tmp_path,), tmp_path / "out")
    weight = onnx.numpy_helper.from_array(torch.zeros(4, 3, 1, 1).numpy(), "w")
    bias = onnx.numpy_helper.from_array(torch.zeros(4).numpy(), "b")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, count, 2, 2]) for name, count in (("x", 3), ("y", 4))]
    for inputs, why in (
        (["x", "w", "b"], "1 convolutions that are not those"),
        (["x", "w"], "without weight and bias"),
    ):
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Conv", inputs, ["y"])], "g", values[:1], values[1:], [weight, bias]
        )
        onnx.save(onnx.helper.make_model(graph), file)
        with pytest.raises(UserError, match=why):
            convert((tmp_path,), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="the package onnx") as caught:
        convert((tmp_path,), tmp_path / "out")
    assert caught.value.fix == "pip install onnx"
    assert not (tmp_path / "out").exists()
