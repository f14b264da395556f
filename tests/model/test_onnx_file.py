"""ONNX files say what the model says, for every family, with preprocessing and names inside."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.backbone_heads import BackboneClassifier, BackboneSegmenter
from tunesmith.model.deployable import OUTPUTS, Deployable, Pixels, about
from tunesmith.model.onnx_file import (
    Difference,
    averaged,
    check_onnx,
    export_deployable,
    export_onnx,
    raise_differences,
    read_metadata,
    run_onnx,
)

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def _small_vision() -> Any:
    spec = spec_from_file_location("small_vision", Path(__file__).parents[1] / "fixtures" / "small_vision.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vision = _small_vision()
SIZE = vision.SIZE
PIXELS = Pixels(SIZE, SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMES = ["cat", "dog", "håndværk"]


def pictures(count: int) -> list[np.ndarray]:
    """Coloured blocks: noise alone looks alike to a small model."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return list(blocks.repeat(SIZE // 4, 1).repeat(SIZE // 4, 2))


def backbone_model(kind: type[nn.Module]) -> Any:
    from transformers import AutoModel

    torch.manual_seed(0)
    return kind(AutoModel.from_config(vision.backbone_config("mobilenet_v2")), 3)


CASES = {
    "mobilenet_v2": ("label", lambda: vision.classifier_of("mobilenet_v2")),
    "resnet": ("label", lambda: vision.classifier_of("resnet")),
    "convnext": ("label", lambda: vision.classifier_of("convnext")),
    "vit": ("label", lambda: vision.classifier_of("vit")),
    "dinov2": ("label", lambda: vision.classifier_of("dinov2")),
    "backbone": ("label", lambda: backbone_model(BackboneClassifier)),
    "yolos": ("boxes", lambda: vision.detector_of("yolos")),
    "detr": ("boxes", lambda: vision.detector_of("detr")),
    "rt_detr": ("boxes", lambda: vision.detector_of("rt_detr")),
    "rt_detr_v2": ("boxes", lambda: vision.detector_of("rt_detr_v2")),
    "d_fine": ("boxes", lambda: vision.detector_of("d_fine")),
    "segformer": ("mask", lambda: vision.segmenter_of("segformer")),
    "upernet": ("mask", lambda: vision.segmenter_of("upernet")),
    "mask2former": ("mask", lambda: vision.segmenter_of("mask2former")),
    "pyramid": ("mask", lambda: backbone_model(BackboneSegmenter)),
}


def deployed(case: str) -> Deployable:
    kind, make = CASES[case]
    return Deployable(make() if kind == "boxes" else vision.lively(make()), kind, PIXELS)


@pytest.mark.parametrize("case", CASES)
def test_a_file_says_what_the_model_says_for_any_number_of_pictures(case: str, tmp_path: Path) -> None:
    model = deployed(case)
    path = export_deployable(model, tmp_path / "model.onnx", about(model, NAMES))
    given = pictures(5)
    # Batches of two and of one: the file is traced with two.
    differences = check_onnx(path, model, given, batch=2)
    assert {d.name for d in differences} == set(model.outputs)
    assert all(d.holds for d in differences), differences
    raise_differences(differences, path)
    found = run_onnx(path, {"pictures": np.stack(given)})
    assert tuple(found) == OUTPUTS[model.kind]
    assert all(len(values) == 5 for values in found.values())
    # The answers depend on the pictures, or their equality would say nothing.
    first = found[model.outputs[-1]]
    assert np.abs(first[0] - first[1]).max() > 1e-3
    if model.kind == "mask":
        assert found["classes"].shape == found["probabilities"].shape == (5, SIZE, SIZE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx"]


def test_a_file_tells_its_names_and_how_pictures_are_read(tmp_path: Path) -> None:
    model = deployed("yolos")
    path = export_deployable(model, tmp_path / "model.onnx", about(model, NAMES, {"resize": "letterbox"}))
    told = read_metadata(path)
    assert told["classes"] == NAMES
    assert told["outputs"] == ["boxes", "scores"]
    assert told["competing"] is True
    assert told["resize"] == "letterbox"
    assert told["preprocessing"].pop("input").startswith("uint8 RGB")
    assert Pixels.from_json(told["preprocessing"]) == PIXELS


def test_normalising_is_inside(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, pixel_values: Tensor) -> Tensor:
            return pixel_values.mean((2, 3))

    pixels = Pixels(4, 4, (10.0, 20.0, 30.0), (2.0, 4.0, 5.0), scale=1.0, order="bgr")
    model = Deployable(Mean(), "label", pixels, lambda inner, planes: (inner(planes),))
    path = export_deployable(model, tmp_path / "mean.onnx", {})
    red = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    red[..., 0] = 100
    assert run_onnx(path, {"pictures": red})["scores"][0].tolist() == pytest.approx([-5.0, -5.0, 14.0])


class Answers(nn.Module):
    """Says what it is told."""

    def __init__(self, **outputs: Tensor) -> None:
        super().__init__()
        self.told = outputs

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        still = pixel_values.flatten(1).sum(1) * 0
        return tuple(
            (values[None] + still.view(-1, *[1] * values.ndim)).to(values.dtype) for values in self.told.values()
        )


def answering(kind: Any, **outputs: Tensor) -> Deployable:
    return Deployable(Answers(**outputs), kind, Pixels(4, 4), lambda model, planes: model(planes))


def differences(
    kind: Any, tmp_path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]
) -> dict[str, Difference]:
    path = export_deployable(answering(kind, **found), tmp_path / "answers.onnx", {})
    told = check_onnx(path, answering(kind, **wanted), [np.zeros((4, 4, 3), np.uint8)] * 2)
    return {d.name: d for d in told}


BOXES = torch.tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 9.0, 9.0]])
SCORES = torch.tensor([[0.9, 0.1], [0.2, 0.7], [0.001, 0.002]])


def test_candidates_that_change_places_are_the_same_and_moved_ones_are_not(tmp_path: Path) -> None:
    wanted = {"boxes": BOXES, "scores": SCORES}
    order = torch.tensor([1, 0, 2])
    found = differences("boxes", tmp_path, wanted, {"boxes": BOXES[order], "scores": SCORES[order]})
    assert {d.largest for d in found.values()} == {0.0}
    # The third is no detection.
    away = torch.tensor([[0.0], [0.0], [50.0]])
    found = differences("boxes", tmp_path, wanted, {"boxes": BOXES + away, "scores": SCORES})
    assert all(d.holds for d in found.values())
    moved = torch.tensor([[0.0], [0.2], [0.0]])
    found = differences("boxes", tmp_path, wanted, {"boxes": BOXES + moved, "scores": SCORES})
    assert found["scores"].holds
    assert found["boxes"].largest == pytest.approx(0.2)
    assert found["boxes"].where == "picture 0, candidate 1"
    with pytest.raises(UserError, match=r"boxes differ by 0\.2 \(at most 0\.05\) at picture 0, candidate 1"):
        raise_differences(list(found.values()), Path("answers.onnx"))


def test_other_scores_and_detections_where_there_are_none_are_found(tmp_path: Path) -> None:
    wanted = {"boxes": BOXES, "scores": SCORES}
    found = differences("boxes", tmp_path, wanted, {"boxes": BOXES, "scores": SCORES + 0.01})
    assert not found["scores"].holds
    found = differences("boxes", tmp_path, {"boxes": BOXES, "scores": SCORES * 0}, wanted)
    assert found["scores"].largest == pytest.approx(0.89)
    nan = SCORES.clone()
    nan[0] = float("nan")
    found = differences("boxes", tmp_path, wanted, {"boxes": BOXES, "scores": nan})
    assert found["scores"].largest == float("inf")
    assert found["scores"].where == "picture 0, where row 0, column 0 is no number"
    fewer = {"boxes": BOXES[:2], "scores": SCORES[:2]}
    assert "shape is (2, 4) and not (3, 4)" in differences("boxes", tmp_path, wanted, fewer)["boxes"].where


def test_pixels_whose_classes_are_equally_likely_may_differ(tmp_path: Path) -> None:
    classes, likely = torch.zeros(4, 4, dtype=torch.int64), torch.full((4, 4), 0.5)
    other, less = classes.clone(), likely.clone()
    other[1, 2] = 1
    found = differences("mask", tmp_path, {"classes": classes, "probabilities": likely},
                        {"classes": other, "probabilities": likely})  # fmt: skip
    assert all(d.holds for d in found.values())
    less[1, 2] = 0.6
    found = differences("mask", tmp_path, {"classes": classes, "probabilities": likely},
                        {"classes": other, "probabilities": less})  # fmt: skip
    assert found["classes"].largest == pytest.approx(1 / 16)
    assert found["classes"].where == found["probabilities"].where == "picture 0, row 1, column 2"


def test_a_model_that_onnx_can_not_say_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, pixel_values: Tensor) -> Tensor:
            return torch.linalg.eigvals(pixel_values[:, 0]).real

    model = Deployable(Odd(), "label", Pixels(4, 4), lambda inner, planes: (inner(planes),))
    with pytest.raises(UserError, match="Odd can't be written as ONNX"):
        export_deployable(model, tmp_path / "odd.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match="need the package 'onnxruntime', which is not installed"):
        run_onnx(tmp_path / "model.onnx", {})


def test_a_detector_of_another_family_needs_its_own_decoding() -> None:
    with pytest.raises(TypeError, match="Answers: give Deployable an answer"):
        Deployable(Answers(), "boxes", Pixels(4, 4))


@pytest.mark.parametrize("given", [7, 10])
@pytest.mark.parametrize("wanted", [1, 3, 6])
def test_averages_are_those_of_adaptive_pooling(given: int, wanted: int) -> None:
    pool = nn.AdaptiveAvgPool2d(wanted)
    maps = torch.randn(1, 2, given, 9)
    torch.testing.assert_close(averaged(maps, wanted), pool(maps))


def test_any_module_can_be_exported_with_axes_of_its_own(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor]:
            return (a + b,)

    example = (torch.zeros(2, 3), torch.zeros(2, 3))
    path = export_onnx(
        Sum(), example, tmp_path / "sum.onnx", input_names=["a", "b"], output_names=["sum"],
        dynamic={"a": {1: "width"}, "b": {1: "width"}}, metadata={"note": "plain", "numbers": json.dumps([1, 2])},
    )  # fmt: skip
    ones = np.ones((2, 5), dtype=np.float32)
    assert run_onnx(path, {"a": ones, "b": ones})["sum"].tolist() == [[2.0] * 5] * 2
    assert read_metadata(path) == {"note": "plain", "numbers": [1, 2]}
