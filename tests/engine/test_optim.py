"""Optimizer groups, schedules, what is carried from stage to stage, and the moving average."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tunesmith.model.layers import LayerGroups
from tunesmith.model.stages import learning_groups
from tunesmith.recipe import OptimizerSection, Stage, Top
from tunesmith.train.optim import (
    MovingAverage,
    build_optimizer,
    carry_state,
    optimizer_tensors,
    parameter_groups,
    rate_at,
    restore_optimizer,
    set_rates,
)

HEAD = Stage(train="head", steps=10, lr=1e-2)
TOP = Stage(train=Top(top=2), steps=10, lr=1e-3, layer_decay=0.5, warmup=0, schedule="constant")


@pytest.fixture
def bert(tiny_model: Path) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)  # type: ignore[no-any-return]


def optimizer_for(
    model: nn.Module, stage: Stage, settings: OptimizerSection | None = None
) -> tuple[LayerGroups, torch.optim.Optimizer]:
    settings = settings or OptimizerSection()
    layers = LayerGroups.of(model)
    learning = learning_groups(layers, stage)
    layers.apply([g.group for g in learning if g.trains])
    return layers, build_optimizer(parameter_groups(layers, learning, settings.weight_decay), settings)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
        for parameter in group["params"]:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def test_rates_fall_with_depth_and_norms_do_not_decay(bert: nn.Module) -> None:
    layers, optimizer = optimizer_for(bert, TOP)
    rates = set_rates(optimizer, TOP, 1e-3, 3, 10)
    assert rates == {
        "head": pytest.approx(1e-3),
        "neck": pytest.approx(5e-4),
        "block 3": pytest.approx(5e-4),
        "block 2": pytest.approx(2.5e-4),
    }
    named = dict(bert.named_parameters())
    seen: list[str] = []
    for group in optimizer.param_groups:
        seen += group["names"]
        for name in group["names"]:
            decays = not (name.endswith(".bias") or "LayerNorm" in name)
            assert group["weight_decay"] == (0.01 if decays else 0.0), name
            assert named[name].requires_grad
    assert sorted(seen) == sorted(n for g in ("block 2", "block 3", "neck", "head") for n in layers.names(g))
    assert not any(p.requires_grad for n, p in named.items() if n not in seen)


def test_moments_are_carried_over_a_change_of_stage(bert: nn.Module) -> None:
    _, first = optimizer_for(bert, HEAD)
    step(bert, first, 1)
    before = {k: v.clone() for k, v in optimizer_tensors(first).items()}
    _, second = optimizer_for(bert, TOP)
    assert carry_state(first, second) == 2
    after = optimizer_tensors(second)
    assert before.keys() == after.keys() == {
        f"classifier.{n}/{slot}" for n in ("weight", "bias") for slot in ("step", "exp_avg", "exp_avg_sq")
    }  # fmt: skip
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert carry_state(None, second) == 0


def test_state_goes_through_tensors_and_back(bert: nn.Module) -> None:
    for name in ("adamw", "sgd"):
        _, one = optimizer_for(bert, TOP, OptimizerSection(name=name))
        step(bert, one, 1)
        kept = {k: v.clone() for k, v in optimizer_tensors(one).items()}
        weights = {n: p.detach().clone() for n, p in bert.named_parameters()}
        step(bert, one, 2)
        wanted = {n: p.detach().clone() for n, p in bert.named_parameters()}
        _, other = optimizer_for(bert, TOP, OptimizerSection(name=name))
        restore_optimizer(other, kept)
        with torch.no_grad():
            for n, p in bert.named_parameters():
                p.copy_(weights[n])
        step(bert, other, 2)
        assert all(torch.equal(p, wanted[n]) for n, p in bert.named_parameters())


def test_state_of_a_wider_stage_is_taken_partly_only_when_asked(bert: nn.Module) -> None:
    _, wide = optimizer_for(bert, TOP)
    step(bert, wide, 1)
    tensors = optimizer_tensors(wide)
    _, narrow = optimizer_for(bert, HEAD)
    with pytest.raises(KeyError):
        restore_optimizer(narrow, tensors)
    _, narrow = optimizer_for(bert, HEAD)
    restore_optimizer(narrow, tensors, partly=True)
    assert optimizer_tensors(narrow).keys() == {k for k in tensors if k.startswith("classifier.")}


@pytest.mark.parametrize(
    ("at", "warmup", "schedule", "wanted"),
    [
        (0, 0, "constant", 1.0),
        (99, 0, "constant", 1.0),
        (0, 0, "linear", 1.0),
        (50, 0, "linear", 0.5),
        (0, 0, "cosine", 1.0),
        (25, 0, "cosine", 0.5 * (1 + math.cos(math.pi / 4))),
        (50, 0, "cosine", 0.5),
        (0, 10, "cosine", 1 / 11),
        (9, 10, "cosine", 10 / 11),
        (10, 10, "cosine", 1.0),
        (0, 0.1, "linear", 1 / 11),
        (10, 0.1, "linear", 1.0),
        (55, 0.1, "linear", 0.5),
        (0, 500, "linear", 1 / 101),
    ],
)
def test_schedule(at: int, warmup: float, schedule: str, wanted: float) -> None:
    assert rate_at(at, 100, warmup, schedule) == pytest.approx(wanted)


def test_no_step_is_wasted_at_rate_zero() -> None:
    for schedule in ("cosine", "linear", "constant"):
        for total in (1, 2, 7):
            assert all(rate_at(i, total, 0.06, schedule) > 0 for i in range(total))


def test_average_is_the_recurrence() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    average = MovingAverage([("w", weight)], 0.9)
    wanted = weight.detach().clone()
    for i in range(1, 200):
        with torch.no_grad():
            weight += 0.1 * i
        average.update()
        decay = min(0.9, (1 + i) / (10 + i))
        wanted = decay * wanted + (1 - decay) * weight.detach()
    assert torch.allclose(average.shadow["w"], wanted, rtol=1e-5)
    live = weight.detach().clone()
    average.swap()
    assert torch.allclose(weight, wanted, rtol=1e-5)
    average.swap()
    assert torch.equal(weight, live)


def test_average_of_what_joins_later_starts_where_it_is() -> None:
    first, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.full((2,), 5.0))
    average = MovingAverage([("first", first)], 0.9)
    average.update()
    average.watch([("late", late)])
    assert average.shadow["late"].tolist() == [5.0, 5.0]
    restored = MovingAverage((), 0.9)
    restored.restore(average.shadow, average.updates)
    restored.watch([("first", first), ("late", late)])
    for one in (average, restored):
        one.update()
    assert all(torch.equal(average.shadow[k], restored.shadow[k]) for k in average.shadow)


def test_sgd_takes_its_momentum_from_the_first_beta(bert: nn.Module) -> None:
    _, sgd = optimizer_for(bert, HEAD, OptimizerSection(name="sgd", betas=(0.7, 0.9)))
    assert sgd.param_groups[0]["momentum"] == 0.7
