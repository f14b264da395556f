"""Frozen BatchNorm stays frozen through the real loop: running statistics are bit for bit as before."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.check import check_task
from tunesmith.checks import runs
from tunesmith.checks.world import World, snapshot
from tunesmith.model.frozen_norm import moving_norms, sound_norms, statistics, still_norms
from tunesmith.model.layers import LayerGroups
from tunesmith.model.picture_layers import picture_layers
from tunesmith.model.weights import Weights
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Batch, Example, Row, Sums


def _small_vision() -> Any:
    spec = spec_from_file_location("small_vision", Path(__file__).parents[1] / "fixtures" / "small_vision.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vision = _small_vision()
NORMS = ("running_mean", "running_var", "num_batches_tracked")


class Colours(Task):
    """A picture of one colour and noise to the colour's number."""

    name = "colours"
    columns = {"colour": int, "seed": int}  # noqa: RUF012
    target = "colour"
    goal = "accuracy"
    family = "resnet"

    def load(self) -> nn.Module:
        model: nn.Module = vision.lively(vision.classifier_of(self.family), apart=1.0)
        self.fresh = frozenset(name for name, _ in model.named_parameters() if name.startswith("classifier"))
        return model

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        noise = np.random.default_rng(row["seed"]).normal(size=(3, vision.SIZE, vision.SIZE))
        picture = torch.tensor(noise, dtype=torch.float32)
        picture[row["colour"]] += 1.0
        return {"pixels": picture, "colour": torch.tensor(row["colour"])}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        return {"examples": F.cross_entropy(model(batch["pixels"]).logits, batch["colour"], reduction="sum")}

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        return model(batch["pixels"]).logits.argmax(-1).tolist()


class StillColours(Colours):
    """The same with statistics that stay."""

    name = "still-colours"

    def load(self) -> nn.Module:
        model = super().load()
        assert len(still_norms(model, self.fresh)) == 14
        return model


ROWS = [{"colour": i % 3, "seed": i} for i in range(9)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "config.json").write_text("{}")
    rows = [{"id": str(i), **row} for i, row in enumerate(ROWS)]
    return World(Colours, rows, TaskOptions(), Weights("none", tmp_path, "folder", None, None, ()), None, tmp_path)


def trained(world: World, train: Any, cache: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    before = snapshot(world.pristine)
    ran = runs._run(world, [{"train": train, "epochs": 2, **runs.STAGE}], world.place("run"), cache=cache)
    return before, ran.weights


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_statistics_below_what_learns_are_bit_equal_and_the_others_move(world: World, cache: str) -> None:
    with torch.random.fork_rng():
        before, after = trained(world, "head", cache)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {"classifier.1.weight", "classifier.1.bias"}
        before, after = trained(world, {"top": 1}, cache)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    still = [name for name in before if name.endswith(NORMS) and ".stages.3." not in name]
    assert len(still) > 20
    assert not moved & set(still)
    # Or this test could not fail.
    assert {name for name in before if name.endswith(NORMS) and ".stages.3." in name} <= moved


def test_frozen_norms_pass_the_checks_of_a_task() -> None:
    names = ["frozen", "cache-head", "cache-top", "resume-mid-epoch"]
    report = check_task(Colours, ROWS, checks=names)
    assert {r.name: r.status for r in report.results} == dict.fromkeys(names, "passed"), str(report)


def test_still_norms_pass_also_those_that_batch_statistics_break() -> None:
    names = ["loss-sum", "accumulation", "two-ranks", "frozen", "cache-head", "cache-top"]
    report = check_task(StillColours, ROWS, checks=names)
    assert {r.name: r.status for r in report.results} == dict.fromkeys(names, "passed"), str(report)
    # Or they would say nothing.
    report = check_task(Colours, ROWS, checks=["accumulation", "two-ranks"])
    assert {r.status for r in report.results} == {"failed"}


def test_still_statistics_are_bit_equal_after_all_layers_learned() -> None:
    model = vision.lively(vision.classifier_of("resnet"), apart=1.0)
    names = still_norms(model)
    assert set(statistics(model)) == {f"{name}.{key}" for name in names for key in NORMS}
    assert moving_norms(model) == ()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    pictures = torch.randn(4, 3, vision.SIZE, vision.SIZE)
    F.cross_entropy(model(pictures).logits, torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) == name.endswith(NORMS) for name in before)
    with torch.no_grad():
        torch.testing.assert_close(model.train()(pictures).logits, model.eval()(pictures).logits)


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_do_not_depend_on_how_they_lie_in_memory(still: bool, count: int) -> None:
    model = nn.Sequential(nn.BatchNorm2d(16))
    nn.init.normal_(model[0].weight)
    model = sound_norms(model)
    if still:
        assert still_norms(model) == ("0",)
    given = torch.randn(count, 16, 5, 5, requires_grad=True)
    slope = torch.randn(count, 16, 5, 5)
    # As it comes back from tokens: of one picture, torch's own norm takes it for another layout.
    turned = slope.flatten(2).permute(0, 2, 1).contiguous().permute(0, 2, 1).reshape(count, 16, 5, 5)
    assert torch.equal(turned, slope)
    assert turned.stride() != slope.stride()
    inputs = (given, *model.parameters())
    plain = torch.autograd.grad(model(given), inputs, slope)
    for a, b in zip(plain, torch.autograd.grad(model(given), inputs, turned), strict=True):
        torch.testing.assert_close(b, a)


def test_sound_norms_are_the_norms_that_they_were() -> None:
    plain, sound = vision.classifier_of("resnet"), sound_norms(vision.classifier_of("resnet"))
    pictures = torch.randn(4, 3, vision.SIZE, vision.SIZE)
    assert torch.equal(plain.train()(pictures).logits, sound.train()(pictures).logits)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), sound.state_dict().values(), strict=True))
    assert moving_norms(sound) == moving_norms(plain) != ()


def test_norms_of_a_fresh_head_go_on_moving() -> None:
    model = vision.segmenter_of("segformer")
    fresh = frozenset(name for name, _ in model.named_parameters() if name.startswith("decode_head"))
    assert still_norms(model, fresh) == ()
    assert moving_norms(model) == ("decode_head.batch_norm",)
    assert still_norms(model) == ("decode_head.batch_norm",)


def test_a_norm_without_parameters_is_as_frozen_as_its_group() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
            self.classifier = nn.Linear(4, 2)

    model = Small()
    fresh = frozenset({"classifier.weight", "classifier.bias"})
    layers = LayerGroups.of(model, trunk=model.body, fresh=fresh)
    layers.apply(layers.learning("head"))
    assert not model.body[1].training


@pytest.mark.parametrize("family", ["rt_detr", "rt_detr_v2", "d_fine", "upernet", "mask2former"])
def test_every_parameter_of_a_picture_model_is_in_one_group_and_blocks_run_in_order(family: str) -> None:
    segments = family in ("upernet", "mask2former")
    model = vision.segmenter_of(family) if segments else vision.detector_of(family)
    layers = picture_layers(model)
    grouped = [name for group in layers.groups for name in layers.names(group)]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())
    of_block = [layers.names(f"block {i}") for i in range(len(layers.blocks))]
    for names, block in zip(of_block, layers.blocks, strict=True):
        own = {id(p) for p in block.parameters()}
        assert own <= {id(p) for n, p in model.named_parameters() if n in names}
    order: list[int] = []
    for i, block in enumerate(layers.blocks):
        block.register_forward_hook(lambda *_, i=i: order.append(i))
    with torch.no_grad():
        model.eval()(pixel_values=torch.zeros(1, 3, vision.SIZE, vision.SIZE))
    assert order == list(range(len(layers.blocks)))
    assert all(not name.startswith("model.backbone") for name in layers.names("head"))
    layers.apply(layers.learning("head"))
    assert not any(m.training for block in layers.blocks for m in block.modules() if isinstance(m, nn.BatchNorm2d))
