"""Losses of set prediction: the same numbers as transformers' own, but as sums that add up over pictures."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tunesmith.errors import UserError
from tunesmith.model.denoising import Denoising, Noise, with_noisy_queries
from tunesmith.model.detectors import (
    FAMILIES,
    SIGMOID,
    DetectorOutputs,
    Sums,
    class_heads,
    decode_detections,
    detection_counts,
    detection_sums,
    detector_outputs,
    load_detector,
    objects_of,
    rules_of,
    surest,
    with_fixed_bins,
)
from tunesmith.model.frozen_norm import sound_norms
from tunesmith.model.memory import MetaAnswers
from tunesmith.model.pretrained import load_config
from tunesmith.model.set_prediction import (
    Bins,
    Layer,
    assign,
    centres_of,
    cheapest,
    corners_of,
    overlaps,
    pairs_of,
    side_targets,
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


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def targets_of(*numbers: int) -> list[dict[str, Tensor]]:
    """Pictures with so many objects each."""
    draw = torch.Generator().manual_seed(2)
    found = []
    for count in numbers:
        corner = torch.rand(count, 2, generator=draw) * SIZE * 0.6
        size = 4 + torch.rand(count, 2, generator=draw) * SIZE * 0.3
        labels = torch.randint(0, 3, (count,), generator=draw)
        found.append({"boxes": torch.cat([corner, corner + size], 1), "labels": labels})
    return found


def theirs(targets: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The same in the form that transformers takes."""
    return [{"boxes": o.boxes, "class_labels": o.labels} for o in objects_of(targets, (SIZE, SIZE))]


def detector(family: str, **more: Any) -> Any:
    return with_fixed_bins(vision.detector_of(family, **more)).eval()


def total(model: Any, sums: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """All terms, divided as transformers divides them: classes of a sigmoid by the number of boxes, too."""
    counts = detection_counts(model.config, targets)
    boxes = max(1.0, counts["boxes"])
    units = counts | {"boxes": boxes, "objects": boxes}
    return torch.stack([value / units[name.split("/")[1]] for name, value in sums.items()]).sum()


def as_transformers_pairs_them(outputs: DetectorOutputs) -> DetectorOutputs:
    """D-FINE's answers, each with the distances of the layer above; the last without."""

    def shifted(layers: list[Layer]) -> tuple[Layer, ...]:
        return tuple(Layer(a.logits, a.boxes, b.corners, b.references) for a, b in pairwise(layers))

    *decoder, encoder = outputs.auxiliary
    last = outputs.last
    auxiliary = (*shifted([*decoder, last])[:-1], encoder)
    return replace(
        outputs, auxiliary=auxiliary, denoised=shifted(list(outputs.denoised)), last=Layer(last.logits, last.boxes)
    )


def still(model: Any) -> Any:
    """In training mode but for what is random, and norms whose statistics would tie pictures together."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model


# Against transformers.


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "d_fine"])
@pytest.mark.parametrize("numbers", [(3, 1), (0, 4), (9, 2)], ids=str)
def test_the_loss_and_its_gradient_are_transformers_own_when_divided_alike(family: str, numbers: Any) -> None:
    model, targets = detector(family), targets_of(*numbers)
    own = model(pixel_values=pictures(2), labels=theirs(targets)).loss
    own.backward()
    slopes = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    mine = total(model, detection_sums(model, detector_outputs(model, pictures(2)), targets), targets)
    mine.backward()
    assert mine.item() == pytest.approx(own.item(), rel=1e-5)
    assert slopes
    for name, parameter in model.named_parameters():
        if name in slopes:
            torch.testing.assert_close(parameter.grad, slopes[name], rtol=1e-3, atol=1e-4, msg=name)


def test_detr_with_a_loss_at_every_layer_is_transformers_own() -> None:
    model, targets = detector("detr", auxiliary_loss=True, decoder_layers=3), targets_of(3, 1)
    own = model(pixel_values=pictures(2), labels=theirs(targets)).loss
    outputs = detector_outputs(model, pictures(2))
    assert len(outputs.auxiliary) == 2
    mine = total(model, detection_sums(model, outputs, targets), targets)
    assert mine.item() == pytest.approx(own.item(), rel=1e-5)


@pytest.mark.parametrize("numbers", [(3,), (2, 2)], ids=str)
def test_d_fine_is_transformers_own_where_layers_are_paired_as_there(numbers: Any) -> None:
    # As many objects in every picture: its distillation is mixed over a batch, and ours within a picture.
    model, targets = still(detector("d_fine", num_denoising=0)), targets_of(*numbers)
    own = model(pixel_values=pictures(len(numbers)), labels=theirs(targets)).loss
    outputs = as_transformers_pairs_them(detector_outputs(model, pictures(len(numbers))))
    sums = _with_teacher(model, outputs, targets)
    assert total(model, sums, targets).item() == pytest.approx(own.item(), rel=1e-5)


def _with_teacher(model: Any, outputs: DetectorOutputs, targets: Any) -> dict[str, Tensor]:
    """The sums where the last layer teaches but has no distances of its own to learn."""
    whole = detector_outputs(model, pictures(len(targets))).last
    objects, rules, sums = objects_of(targets, outputs.size), rules_of(model), Sums(rules_of(model))
    weight = torch.ones(outputs.last.boxes.shape[:2])
    for layer in (outputs.last, *outputs.auxiliary):
        sums.add(layer, assign(layer, objects, rules.costs), weight, whole)
    return sums.by_name("", weight)


def test_d_fine_is_transformers_criterion_given_layers_paired_as_the_authors_do() -> None:
    from transformers.loss.loss_d_fine import DFineLoss

    model, targets = still(detector("d_fine", num_denoising=0)), targets_of(2, 2)
    outputs = detector_outputs(model, pictures(2))
    first, *middle, encoder = outputs.auxiliary
    assert first.corners is None
    assert all(layer.corners is not None for layer in (*middle, outputs.last))
    teacher = {"teacher_corners": outputs.last.corners, "teacher_logits": outputs.last.logits}

    def as_dict(layer: Layer) -> dict[str, Any]:
        found: dict[str, Any] = {"logits": layer.logits, "pred_boxes": layer.boxes}
        if layer.corners is not None:
            found |= {"pred_corners": layer.corners, "ref_points": layer.references, **teacher}
        return found

    given = as_dict(outputs.last) | {"auxiliary_outputs": [as_dict(layer) for layer in (first, *middle, encoder)]}
    own = sum(DFineLoss(model.config)(given, theirs(targets)).values())
    mine = total(model, detection_sums(model, outputs, targets), targets)
    assert mine.item() == pytest.approx(own.item(), rel=1e-5)


@pytest.mark.parametrize("family", SIGMOID)
def test_noisy_queries_cost_what_they_cost_in_transformers(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, targets = still(detector(family)), targets_of(2, 2)
    labels = theirs(targets)
    made: dict[str, Any] = {}
    module = import_module(type(model).__module__)
    build = module.get_contrastive_denoising_training_group

    def listening(*args: Any, class_embed: Any, **more: Any) -> Any:
        def embed(ids: Tensor) -> Tensor:
            made["labels"] = ids
            return class_embed(ids)

        group = build(*args, class_embed=embed, **more)
        made["boxes"], made["about"] = group[1], group[3]
        return group

    monkeypatch.setattr(module, "get_contrastive_denoising_training_group", listening)
    own = model(pixel_values=pictures(2), labels=labels).loss
    groups = made["about"]["dn_num_group"]
    number = torch.arange(made["labels"].shape[1])
    objects = objects_of(targets, (SIZE, SIZE))
    found = [(its, torch.arange(2).tile(groups)) for its in made["about"]["dn_positive_idx"]]
    same = Denoising(
        made["labels"].long(), made["boxes"], (number // 4).expand(2, -1),
        torch.full((2, len(number)), 1 / groups), pairs_of(found, objects),
    )  # fmt: skip
    monkeypatch.setattr(Denoising, "of", lambda *_: same)
    outputs = detector_outputs(model, pictures(2), targets=targets, seeds=[0, 0])
    assert len(outputs.denoised) == 3 + (family == "d_fine")
    if family == "d_fine":
        outputs = as_transformers_pairs_them(outputs)
        sums = _with_teacher(model, outputs, targets)
        noisy, teacher = Sums(rules_of(model)), detector_outputs(model, pictures(2), targets=targets, seeds=[0, 0])
        for i, layer in enumerate(outputs.denoised):
            last = i == len(outputs.denoised) - 1
            noisy.add(layer, same.pairs, same.weight, layer if last else teacher.denoised[-1])
        sums |= noisy.by_name("denoising_", same.weight)
    else:
        sums = detection_sums(model, outputs, targets)
    assert total(model, sums, targets).item() == pytest.approx(own.item(), rel=1e-5)


# Sums.


@pytest.mark.parametrize("family", FAMILIES)
def test_sums_add_up_over_pictures_with_and_without_noise(family: str) -> None:
    model, targets, seeds = still(detector(family)), targets_of(3, 0, 5), [7, 8, 9]
    whole = detection_sums(model, detector_outputs(model, pictures(3), targets=targets, seeds=seeds), targets)
    counts = detection_counts(model.config, targets)
    assert {name.split("/")[1] for name in whole} == set(counts)
    assert all(n > 0 for n in counts.values())
    summed = dict.fromkeys(whole, 0.0)
    for i in range(3):
        its = targets[i : i + 1]
        alone = detector_outputs(model, pictures(3)[i : i + 1], targets=its, seeds=seeds[i : i + 1])
        for name, value in detection_sums(model, alone, its).items():
            summed[name] += value.item()
        for unit, number in detection_counts(model.config, its).items():
            counts[unit] -= number
    assert {name: value.item() for name, value in whole.items()} == pytest.approx(summed, rel=2e-5, abs=1e-5)
    assert counts == pytest.approx(dict.fromkeys(counts, 0.0), abs=1e-9)
    noisy = [name for name in whole if name.startswith("denoising_")]
    assert len(noisy) == {"rt_detr": 3, "rt_detr_v2": 3, "d_fine": 5}.get(family, 0)
    assert all(whole[name] > 0 for name in noisy)


@pytest.mark.parametrize("family", SIGMOID)
def test_gradients_add_up_over_pictures(family: str) -> None:
    # torch's own norms give wrong ones for a single picture in the encoder's layout.
    model, targets, seeds = still(sound_norms(detector(family))), targets_of(3, 2), [7, 8]

    def slopes(*rows: int) -> dict[str, Tensor]:
        model.zero_grad()
        its, batch = [targets[i] for i in rows], pictures(2)[list(rows)]
        outputs = detector_outputs(model, batch, targets=its, seeds=[seeds[i] for i in rows])
        torch.stack(list(detection_sums(model, outputs, its).values())).sum().backward()  # type: ignore[no-untyped-call]
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    both, first, second = slopes(0, 1), slopes(0), slopes(1)
    largest = max(float(slope.abs().max()) for slope in both.values())
    assert "model.encoder_input_proj.2.1.bias" in both
    for name, slope in both.items():
        apart = slope - first.get(name, torch.zeros(1)) - second.get(name, torch.zeros(1))
        assert float(apart.abs().max()) < 1e-5 * largest, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [False, True])
def test_pictures_without_objects_are_learned_from(family: str, training: bool) -> None:
    model, targets = detector(family), targets_of(0, 0)
    model = still(model) if training else model
    sums = detection_sums(model, detector_outputs(model, pictures(2), targets=targets, seeds=[1, 2]), targets)
    counts = detection_counts(model.config, targets)
    loss = torch.stack([v / max(counts[name.split("/")[1]], 1e-12) for name, v in sums.items()]).sum()
    assert 0 < loss.item() < 1e4
    loss.backward()
    heads = class_heads(model)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n in heads)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("family", ["yolos", "rt_detr"])
def test_shapes_run_on_the_meta_device(family: str) -> None:
    model, targets = detector(family).to("meta").train(), targets_of(3, 1)
    targets = [{name: tensor.to("meta") for name, tensor in target.items()} for target in targets]
    seeds = torch.zeros(2, dtype=torch.int64, device="meta")
    with MetaAnswers():
        outputs = detector_outputs(model, pictures(2).to("meta"), targets=targets, seeds=seeds)
        sums = detection_sums(model, outputs, targets)
    assert all(value.is_meta for value in sums.values())


def test_ranks_do_not_change_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    # transformers divides by the number of boxes a rank, and that by the number of ranks.
    from accelerate import PartialState
    from transformers.loss import loss_for_object_detection as own

    model, targets = detector("yolos"), targets_of(3, 1)
    before = detection_sums(model, detector_outputs(model, pictures(2)), targets)
    alone = model(pixel_values=pictures(2), labels=theirs(targets)).loss
    monkeypatch.setattr(PartialState, "_shared_state", {"num_processes": 2})
    monkeypatch.setattr(own, "reduce", lambda boxes: boxes)
    assert model(pixel_values=pictures(2), labels=theirs(targets)).loss.item() > 1.2 * alone.item()
    after = detection_sums(model, detector_outputs(model, pictures(2)), targets)
    assert {k: v.item() for k, v in after.items()} == {k: v.item() for k, v in before.items()}


# Noise.


def test_noise_has_an_address_and_other_queries_do_not_see_it() -> None:
    model, targets = still(detector("rt_detr")), targets_of(4, 2)
    plain = detector_outputs(model, pictures(2))
    first, again, other = (
        detector_outputs(model, pictures(2), targets=targets, seeds=s) for s in ([1, 2], [1, 2], [3, 2])
    )
    assert first.denoising is not None
    assert again.denoising is not None
    assert other.denoising is not None
    assert plain.denoising is None
    assert torch.equal(first.denoising.boxes, again.denoising.boxes)
    assert not torch.equal(first.denoising.boxes[0], other.denoising.boxes[0])
    assert torch.equal(first.denoising.boxes[1], other.denoising.boxes[1])
    torch.testing.assert_close(first.last.boxes, plain.last.boxes)
    torch.testing.assert_close(first.last.logits, plain.last.logits)
    assert torch.isfinite(first.denoised[-1].logits).all()
    model.eval()
    assert detector_outputs(model, pictures(2), targets=targets, seeds=[1, 2]).denoising is None


def test_every_group_has_each_object_once_near_and_once_far() -> None:
    objects = objects_of(targets_of(3, 0, 1), (SIZE, SIZE))
    made = Denoising.of(objects, [1, 2, 3], Noise(9, 0.0, 0.4), 3)
    assert made is not None
    assert made.labels.shape == (3, 18)
    assert (made.labels[1] == 3).all()
    assert made.weight.sum(1).tolist() == pytest.approx([6.0, 0.0, 2.0])
    assert made.group[0].tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert (made.pairs.pictures == 0).sum() == 9
    assert (made.pairs.pictures == 2).sum() == 9
    iou, _ = overlaps(corners_of(made.boxes.sigmoid()[0]), corners_of(objects[0].boxes).repeat(6, 1))
    near = torch.arange(18) % 6 < 3
    assert iou[near].min() > 0.4
    assert iou[near].mean() > iou[~near].mean() + 0.15
    assert torch.equal(made.labels[0], objects[0].labels.repeat(6))
    assert Denoising.of(objects_of(targets_of(0), (SIZE, SIZE)), [1], Noise(9, 0.5, 1.0), 3) is None


def test_the_model_is_as_before_after_an_error_with_noisy_queries() -> None:
    model = detector("rt_detr")
    made = Denoising.of(objects_of(targets_of(1), (SIZE, SIZE)), [1], Noise(4, 0.5, 1.0), 3)
    with pytest.raises(RuntimeError, match="on the way"), with_noisy_queries(model.model, made):
        raise RuntimeError("on the way")
    assert not model.model.decoder._forward_pre_hooks


# Boxes and matching.


def test_overlaps_and_forms_of_boxes() -> None:
    a, b = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    iou, giou = overlaps(a, b)
    assert iou.item() == pytest.approx(1 / 7)
    assert giou.item() == pytest.approx(1 / 7 - 2 / 9)
    assert torch.equal(corners_of(centres_of(b)), b)


def test_an_assignment_is_the_cheapest_one_and_passes_over_what_is_no_number() -> None:
    rows, columns = cheapest(torch.tensor([[1.0, 2.0], [float("nan"), 0.5], [0.1, 9.0]]))
    assert dict(zip(columns.tolist(), rows.tolist(), strict=True)) == {0: 2, 1: 1}


def test_sides_lie_between_the_edges_that_are_named() -> None:
    bins = Bins(8, 0.5, 4.0)
    values = bins.values(torch.device("cpu"))
    assert len(values) == 9
    assert torch.equal(values, -values.flip(0))
    reference, box = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[0.53, 0.5, 0.3, 0.02]])
    left, near = side_targets(reference, box, bins)
    meant = values[left] * (1 - near) + values[left + 1] * near
    x1, y1, x2, y2 = corners_of(box)[0].tolist()
    sides = torch.tensor([0.5 - x1, 0.5 - y1, x2 - 0.5, y2 - 0.5]) / 0.2
    assert meant[0].tolist() == pytest.approx((4 * sides - 2).tolist(), abs=1e-5)
    far = side_targets(reference, torch.tensor([[0.5, 0.5, 5.0, 5.0]]), bins)
    assert far[0].tolist() == [[7, 7, 7, 7]]
    assert far[1].tolist() == [[1, 1, 1, 1]]


# Loading and decoding.


def test_candidates_that_ask_about_every_class_may_be_several_detections_and_others_not() -> None:
    boxes, scores = torch.eye(2, 4), torch.tensor([[0.5, 0.4], [0.1, 0.3]])
    assert surest(boxes, scores, 3, competing=False)[1].tolist() == pytest.approx([0.5, 0.4, 0.3])
    found, best, ids = surest(boxes, scores, 3, competing=True)
    assert (best.tolist(), ids.tolist()) == (pytest.approx([0.5, 0.3]), [0, 1])
    assert torch.equal(found, boxes)


def test_detections_are_in_the_pixels_that_are_asked_for_best_first() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.4, 0.2], [0.5, 0.5, 1.0, 1.0]]])
    logits = torch.tensor([[[2.0, 0.0, -9.0], [3.0, 1.0, -9.0], [-9.0, -9.0, 4.0]]])
    ((found, scores, ids),) = decode_detections(
        DetectorOutputs("rt_detr", (64, 64), Layer(logits, boxes)), [(10, 20)], 4
    )
    assert ids.tolist() == [2, 0, 0, 1]
    assert scores.tolist() == pytest.approx(torch.tensor([4.0, 3.0, 2.0, 1.0]).sigmoid().tolist())
    assert found[1].tolist() == pytest.approx([0.0, 0.0, 6.0, 2.0], abs=1e-5)
    assert found[2].tolist() == pytest.approx([8.0, 3.0, 12.0, 7.0], abs=1e-5)
    ((_, scores, ids),) = decode_detections(DetectorOutputs("yolos", (64, 64), Layer(logits, boxes)), [(10, 20)])
    assert ids.tolist() == [0, 0, 0]
    assert scores[0].item() == pytest.approx(torch.tensor([3.0, 1.0, -9.0]).softmax(0)[0].item())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_detector_comes_back_and_new_classes_are_fresh(family: str, tmp_path: Path) -> None:
    model = detector(family)
    model.save_pretrained(tmp_path)
    source = Weights("saved", tmp_path, "folder", None, None, (tmp_path / "model.safetensors",))
    same, fresh = load_detector(source, load_config(source))
    assert fresh == frozenset()
    with torch.no_grad():
        a, b = (detector_outputs(m.eval(), pictures(1)).last for m in (model, same))
    torch.testing.assert_close(a.boxes, b.boxes)
    other, fresh = load_detector(source, load_config(source, num_labels=5))
    assert fresh == class_heads(other)
    assert fresh
    before = {name: tensor for name, tensor in model.state_dict().items() if name not in fresh}
    tied = {id(p) for n, p in other.named_parameters() if n in fresh}
    for name, tensor in other.state_dict(keep_vars=True).items():
        if name in before and id(tensor) not in tied:
            assert torch.equal(tensor, before[name]), name
    assert not [name for name, p in other.named_parameters() if name.endswith((".up", ".reg_scale"))]


def test_a_detector_of_an_unknown_family_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    source = Weights("mine", tmp_path, "folder", None, None, ())
    with pytest.raises(UserError, match="'mine' is owlvit, and detectors of that family are not known here"):
        load_detector(source, AutoConfig.for_model("owlvit"))
