"""Segmentation models: losses as transformers computes them, as sums, lean in memory; heads on any backbone."""

from __future__ import annotations

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import pixel_loss
from tunesmith.model.backbone_heads import BackboneClassifier, BackboneSegmenter, feature_maps, load_backbone
from tunesmith.model.mask_prediction import MaskWeights, class_map, mask_sums, regions_of
from tunesmith.model.memory import MetaAnswers
from tunesmith.model.pixel_loss import pixel_cross_entropy
from tunesmith.model.pretrained import load_config, quiet
from tunesmith.model.pretrained_part import own_tensors, pretrained_part
from tunesmith.model.segmenters import (
    load_segmenter,
    segment_logits,
    segmentation_counts,
    segmentation_sums,
    segmenter_kind,
)
from tunesmith.model.weights import Weights


def _small_vision() -> Any:
    spec = spec_from_file_location("small_vision", Path(__file__).parents[1] / "fixtures" / "small_vision.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vision = _small_vision()
SIZE = vision.SIZE
FAMILIES = ("segformer", "upernet", "mask2former")
BACKBONES = ("resnet", "mobilenet_v2", "convnext", "vit", "dinov2", "swin")


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def masks_of(count: int, *, ignored: bool = True, block: int = 1, classes: int = 3) -> Tensor:
    """Masks in which every block is of one class."""
    draw = torch.Generator().manual_seed(2)
    masks = torch.randint(0, classes, (count, SIZE // block, SIZE // block), generator=draw)
    if ignored:
        masks[torch.rand(masks.shape, generator=draw) < 0.2] = 255
    return masks.repeat_interleave(block, 1).repeat_interleave(block, 2).to(torch.uint8)


def saved(model: Any, folder: Path) -> Weights:
    with quiet():
        model.save_pretrained(folder)
    return Weights("saved", folder, "folder", None, None, (folder / "model.safetensors",))


def total(model: Any, sums: dict[str, Tensor], masks: Tensor) -> Tensor:
    counts = segmentation_counts(model, masks)
    return torch.stack([value / counts[name.split("/")[-1]] for name, value in sums.items()]).sum()


# Pixels.


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (37, 53), (8, 8)], ids=str)
@pytest.mark.parametrize("band", [1, 700, 1 << 20])
def test_bands_give_the_loss_and_gradient_of_the_enlarged_whole(
    size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_loss, "BAND_BYTES", band)
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 16, 16, generator=draw, requires_grad=True)
    masks = torch.randint(0, 3, (2, *size), generator=draw)
    masks[0, :3] = 255
    whole = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    wanted = F.cross_entropy(whole, masks, ignore_index=255, reduction="sum")
    (slope,) = torch.autograd.grad(3 * wanted, logits)
    found = pixel_cross_entropy(logits, masks.to(torch.uint8))
    (own,) = torch.autograd.grad(3 * found, logits)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(own, slope, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert pixel_cross_entropy(logits, masks).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_enlarged_logits_never_exist_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_loss, "BAND_BYTES", 1 << 16)
    largest = 0
    own = F.cross_entropy

    def watched(logits: Tensor, *args: Any, **more: Any) -> Tensor:
        nonlocal largest
        largest = max(largest, logits.numel() * 4)
        return own(logits, *args, **more)

    monkeypatch.setattr(pixel_loss.F, "cross_entropy", watched)
    logits = torch.randn(1, 8, 16, 16, requires_grad=True)
    pixel_cross_entropy(logits, torch.zeros(1, 128, 128, dtype=torch.uint8)).backward()  # type: ignore[no-untyped-call]
    assert 0 < largest <= 1 << 16
    assert logits.grad is not None


@pytest.mark.parametrize("family", ["segformer", "upernet"])
def test_the_loss_is_transformers_own_mean_when_divided_by_the_pixels(family: str) -> None:
    model, masks = vision.segmenter_of(family).eval(), masks_of(2)
    if family == "upernet":
        # Its second head helps only while it trains; statistics stay still so that both passes see the same.
        model.training = True
    own = model(pixel_values=pictures(2), labels=masks.long()).loss
    sums = segmentation_sums(model, pictures(2), masks)
    assert set(sums) == {"pixels"} | ({"auxiliary/pixels"} if family == "upernet" else set())
    assert total(model, sums, masks).item() == pytest.approx(own.item(), rel=1e-5)
    assert segmentation_counts(model, masks) == {"pixels": float((masks != 255).sum())}


# Masks.


def at_every_point(monkeypatch: pytest.MonkeyPatch, height: int, width: int) -> None:
    """Let transformers' loss look at the middle of every cell instead of at random points."""
    module = import_module("transformers.models.mask2former.modeling_mask2former")
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([(columns + 0.5) / width, (rows + 0.5) / height], -1).reshape(1, -1, 2).float()
    monkeypatch.setattr(torch, "rand", lambda *shape, device=None: points.expand(shape[0], -1, -1))
    monkeypatch.setattr(
        module.Mask2FormerLoss, "sample_points_using_uncertainty",
        lambda _self, logits, *_args: points.expand(len(logits), -1, -1),
    )  # fmt: skip


def test_mask2former_is_transformers_own_loss_at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vision.segmenter_of("mask2former").eval()
    masks = masks_of(2, ignored=False, block=4)
    masks[1][masks[1] == 2] = 0
    at_every_point(monkeypatch, SIZE // 4, SIZE // 4)
    labels = [mask.unique().long() for mask in masks]
    given = [(mask[None] == ids[:, None, None]).float() for mask, ids in zip(masks, labels, strict=True)]
    own = model(pixel_values=pictures(2), mask_labels=given, class_labels=labels).loss
    sums = segmentation_sums(model, pictures(2), masks)
    assert set(sums) == {"class/queries", "mask/masks", "dice/masks"}
    assert segmentation_counts(model, masks)["masks"] == 5
    assert total(model, sums, masks).item() == pytest.approx(own.item(), rel=1e-5)


def test_ignored_pixels_neither_pull_nor_push_a_mask() -> None:
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[:, 4:] = 1
    mask[4:, 4:] = 255
    regions = regions_of(mask, (4, 4), 3)
    assert regions.labels.tolist() == [0, 1]
    assert regions.counted.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    classes = torch.randn(1, 5, 4)
    said = torch.randn(1, 5, 4, 4, requires_grad=True)
    sums = mask_sums(classes, said, [regions], MaskWeights(2.0, 5.0, 5.0, 0.1))
    (slope,) = torch.autograd.grad(sums["mask/masks"] + sums["dice/masks"], said)
    assert slope[..., 2:, 2:].abs().sum() == 0
    assert slope.abs().sum() > 0


def test_a_class_map_holds_probabilities_of_the_best_explained_classes() -> None:
    classes = torch.full((1, 2, 4), -9.0)
    classes[0, 0, 2] = classes[0, 1, 0] = 9.0
    masks = torch.full((1, 2, 2, 2), -9.0)
    masks[0, 0, 0] = masks[0, 1, 1] = 9.0
    likely = class_map(classes, masks)
    assert likely.argmax(1)[0].tolist() == [[2, 2], [0, 0]]
    torch.testing.assert_close(likely.sum(1), torch.ones(1, 2, 2))


# All families.


@pytest.mark.parametrize("family", FAMILIES)
def test_sums_add_up_over_pictures(family: str) -> None:
    model, masks = vision.segmenter_of(family).eval(), masks_of(3)
    masks[1] = 255
    counts = segmentation_counts(model, masks)
    whole = segmentation_sums(model, pictures(3), masks)
    assert {name.split("/")[-1] for name in whole} == set(counts)
    assert all(n > 0 for n in counts.values())
    summed = dict.fromkeys(whole, 0.0)
    for i in range(3):
        for name, value in segmentation_sums(model, pictures(3)[i : i + 1], masks[i : i + 1]).items():
            summed[name] += value.item()
        for unit, number in segmentation_counts(model, masks[i : i + 1]).items():
            counts[unit] -= number
    assert {name: value.item() for name, value in whole.items()} == pytest.approx(summed, rel=2e-5)
    assert counts == pytest.approx(dict.fromkeys(counts, 0.0), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_come_at_the_size_that_is_asked_for(family: str) -> None:
    model = vision.segmenter_of(family).eval()
    with torch.no_grad():
        small, large = segment_logits(model, pictures(2)), segment_logits(model, pictures(2), (50, 70))
        assert small.shape[:2] == (2, 3)
        assert large.shape == (2, 3, 50, 70)
        if family == "upernet":
            theirs = model(pixel_values=pictures(2)).logits
            torch.testing.assert_close(segment_logits(model, pictures(2), (SIZE, SIZE)), theirs)
        if family == "mask2former":
            torch.testing.assert_close(large.softmax(1), large.exp(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_run_on_the_meta_device(family: str) -> None:
    model = vision.segmenter_of(family).to("meta").train()
    with MetaAnswers():
        sums = segmentation_sums(model, pictures(2).to("meta"), masks_of(2).to("meta"))
    assert all(value.is_meta for value in sums.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_segmenter_comes_back_and_new_classes_are_fresh(family: str, tmp_path: Path) -> None:
    model = vision.segmenter_of(family).eval()
    source = saved(model, tmp_path)
    same, fresh = load_segmenter(source, load_config(source))
    assert fresh == frozenset()
    with torch.no_grad():
        a, b = (segment_logits(m.eval(), pictures(1)) for m in (model, same))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))
    _, fresh = load_segmenter(source, load_config(source, num_labels=5))
    wanted = {
        "segformer": {"decode_head.classifier"},
        "upernet": {"decode_head.classifier", "auxiliary_head.classifier"},
        "mask2former": {"class_predictor"},
    }[family]
    assert {name.rpartition(".")[0] for name in fresh} == wanted


# Heads on backbones.


@pytest.mark.parametrize("family", BACKBONES)
def test_any_backbone_takes_a_fresh_head_which_learns(family: str, tmp_path: Path) -> None:
    source = saved(vision.lively(vision.classifier_of(family)), tmp_path)
    config = load_config(source, num_labels=4)
    backbone, fresh = load_backbone(source, config)
    assert fresh == frozenset()
    torch.manual_seed(0)
    segmenter, classifier = BackboneSegmenter(backbone, 4, width=16), BackboneClassifier(backbone, 4)
    masks = masks_of(2, block=16, ignored=False)
    maps = feature_maps(backbone, pictures(2))
    assert [found.shape[1] for found in maps] == [layer.in_channels for layer in segmenter.head.lateral]
    assert all(a.shape[-1] >= b.shape[-1] for a, b in pairwise(maps))
    for model, unit in ((segmenter, "pixels"), (classifier, "examples")):
        head = [p for name, p in model.named_parameters() if name.startswith("head.")]
        optimizer, losses = torch.optim.AdamW(head, lr=3e-2), []
        model.eval()
        for _ in range(12):
            optimizer.zero_grad()
            if unit == "pixels":
                loss = total(model, segmentation_sums(model, pictures(2), masks), masks)
            else:
                loss = F.cross_entropy(model(pictures(2)), torch.tensor([1, 3]))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0], unit
        assert pretrained_part(model) == ("backbone", backbone)
        assert set(own_tensors(model, "backbone")) == {f"head.{name}" for name in model.head.state_dict()}


def test_a_folder_with_a_head_of_ours_gets_one_again(tmp_path: Path) -> None:
    source = saved(vision.segmenter_of("segformer"), tmp_path)
    config = load_config(source)
    assert segmenter_kind(source, config) == "pixels"
    assert segmenter_kind(source, config, "backbone") == "backbone"
    (tmp_path / "head.safetensors").touch()
    assert segmenter_kind(source, config) == "backbone"


def test_heads_have_no_batch_statistics() -> None:
    # They would tie pictures together, and a loss would no longer be a sum over them.
    from transformers import AutoModel

    model = BackboneSegmenter(AutoModel.from_config(vision.backbone_config("resnet")), 3, width=16)
    assert not [m for m in model.head.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_what_takes_no_pictures_and_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig, BertConfig, BertModel

    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    source = saved(BertModel(BertConfig(vocab_size=8, **settings)), tmp_path)
    with pytest.raises(UserError, match="'saved' takes no pictures"):
        load_segmenter(source, load_config(source))
    with pytest.raises(UserError, match="is detr, which can't be fine-tuned for segmentation here"):
        segmenter_kind(source, AutoConfig.for_model("detr"))
