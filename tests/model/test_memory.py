"""The memory plan against real tensors: what is counted exactly must be exact."""

from __future__ import annotations

from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunesmith.model.dropout import address_dropout
from tunesmith.model.layers import LayerGroups
from tunesmith.model.ledger import step_held
from tunesmith.model.memory import LIBRARY_BYTES, block_estimate, plan_memory, saved_bytes, workspace_bytes
from tunesmith.train.optim import optimizer_bytes


def _families() -> Any:
    spec = spec_from_file_location("families", Path(__file__).parents[1] / "fixtures" / "families.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


families = _families()


def _most_allocated(work: Any) -> int:
    """The most bytes that torch's CPU allocator had given out at once while some work ran."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _pair(family: str, train: Any, device: str) -> tuple[nn.Module, Any]:
    """The model on a device with a stage applied, and its step."""
    from transformers import AutoModelForSequenceClassification

    config = families.config_of(family, hidden_size=32, intermediate_size=64)
    config.use_cache = False
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(config)
    rows, _ = address_dropout(model)
    layers = LayerGroups.of(model)
    layers.apply(layers.learning(train))
    ids, mask = (t.to(device) for t in families.probe((24, 20, 17, 9)))

    def run() -> Tensor:
        with rows.over([1, 2, 3, 4]):
            logits = model(input_ids=ids, attention_mask=mask).logits
            return nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64, device=device))

    return model, run


@pytest.mark.parametrize("train", ["head", 1, "all"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_and_optimizer_are_exact(train: Any, optimizer: str) -> None:
    shape, run_shape = _pair("bert", train, "meta")
    plan = plan_memory(
        shape, run_shape, optimizer=partial(optimizer_bytes, optimizer), average=True, cached=0, estimate=0
    )
    model, run = _pair("bert", train, "cpu")
    run().backward()
    learning = [p for p in model.parameters() if p.requires_grad]
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    stepper = kinds[optimizer](learning, lr=0.1, **({"momentum": 0.9} if optimizer == "sgd" else {}))
    stepper.step()
    state = [v for s in stepper.state.values() for v in s.values() if isinstance(v, Tensor) and v.ndim]
    assert plan.weights == _bytes([*model.parameters(), *model.buffers()])
    assert plan.optimizer == _bytes(state)
    assert plan.average == _bytes(learning)
    assert plan.traced
    assert plan.allocated == plan.weights + plan.optimizer + plan.average + plan.step
    assert plan.resident == plan.allocated + plan.workspace
    assert sum(plan.parts().values()) == plan.resident
    held = step_held(shape, run_shape)
    left = held.end - _bytes(p.grad for p in learning)
    assert 0 <= left < 4096, "what is left of a step is its gradients, and a few numbers of its rows"
    assert sum(held.by.values()) == held.most


@pytest.mark.parametrize("train", ["head", 1, "all"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_worst_moment_of_a_step_is_foreseen(family: str, train: Any) -> None:
    """Against what torch's own allocator reports to the profiler."""
    shape, run_shape = _pair(family, train, "meta")
    model, run = _pair(family, train, "cpu")
    real = _most_allocated(lambda: run().backward())
    assert step_held(shape, run_shape).most == pytest.approx(real, rel=0.02)
    assert step_held(model, run).most == pytest.approx(real, rel=0.02)


def test_gradients_of_an_earlier_micro_batch_stand_while_the_next_one_runs() -> None:
    shape, run = _pair("bert", "all", "meta")
    once, again = step_held(shape, run), step_held(shape, run, passes=2)
    learning = _bytes(p for p in shape.parameters() if p.requires_grad)
    assert 0.5 * learning < again.most - once.most <= learning


def test_autocast_on_the_shape_holds_what_autocast_holds() -> None:
    shape, run_shape = _pair("bert", "all", "meta")
    _, run = _pair("bert", "all", "cpu")

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = run()
        loss.backward()

    foreseen = step_held(shape, run_shape, precision="bf16").most
    assert foreseen == pytest.approx(_most_allocated(step), rel=0.05)
    assert foreseen < 0.9 * step_held(shape, run_shape).most


def test_what_stands_beside_tensors_grows_with_them_and_is_less_on_a_gpu() -> None:
    shape, run = _pair("bert", "all", "meta")
    held = step_held(shape, run)
    beside = workspace_bytes(shape, held, recomputed=False, gpu=False)
    assert 0.2 * held.most <= beside - LIBRARY_BYTES <= 0.35 * held.most
    kept = workspace_bytes(shape, held, recomputed=True, gpu=False)
    assert kept >= beside
    filters = nn.Sequential(nn.Conv2d(3, 64, 3, device="meta"))
    pictures = step_held(filters, lambda: filters(torch.zeros(2, 3, 64, 64, device="meta")).sum())
    assert pictures.widest > 2 * 3 * 64 * 64 * 4
    beside = workspace_bytes(filters, pictures, recomputed=False, gpu=False)
    assert beside > 2 * LIBRARY_BYTES + 0.5 * pictures.widest, "convolutions have a library of their own"
    assert workspace_bytes(filters, pictures, recomputed=False, gpu=True) < 1.05 * (64 << 20)


def test_encoded_rows_stand_in_the_same_memory_on_a_cpu_only() -> None:
    shape, run = _pair("bert", "head", "meta")
    here, bare, gpu = (
        plan_memory(
            shape, run, optimizer=partial(optimizer_bytes, "adamw"), average=False, cached=0, estimate=0, **more
        )
        for more in ({"encoded": 5_000_000}, {}, {"encoded": 5_000_000, "gpu": True})
    )
    assert here.resident - bare.resident == here.parts()["encoded rows"] == 5_000_000
    assert here.allocated == bare.allocated, "no tensor of a step"
    assert sum(here.parts().values()) == here.resident
    assert "encoded rows" not in gpu.parts()


def test_activations_are_told_apart_by_layer_group() -> None:
    shape, run = _pair("bert", "all", "meta")
    held = step_held(shape, run, groups=LayerGroups.of(shape).modules())
    blocks = [size for name, size in held.by.items() if name.startswith("block")]
    assert len(blocks) >= 2
    assert max(blocks) < 1.5 * min(blocks)
    assert {"embeddings", "head"} <= held.by.keys()


@pytest.mark.parametrize("train", ["head", 1, "all"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_activations_traced_on_the_shape_are_those_of_a_real_step(family: str, train: Any) -> None:
    model, run = _pair(family, train, "cpu")
    shape, run_shape = _pair(family, train, "meta")
    real, traced = saved_bytes(model, run), saved_bytes(shape, run_shape)
    assert traced == pytest.approx(real, rel=0.05)
    assert real > 0


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_keeps_no_matrix_of_all_pairs_on_the_shape_either(mask: str | None) -> None:
    """As the fused kernel of a real step: 384 x 384 weights for 4 heads would be nine tenths of all that is kept."""

    def kept(device: str) -> int:
        layer = nn.Linear(32, 96, device=device)
        x = torch.rand(2, 384, 32, device=device)
        hidden = None if mask is None else torch.zeros(2, 1, 384, 384, device=device)
        hidden = hidden.bool().logical_not() if hidden is not None and mask == "bool" else hidden

        def run() -> Tensor:
            query, key, value = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in layer(x).split(32, -1))
            return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=hidden).sum()

        return saved_bytes(layer, run)

    assert kept("meta") == pytest.approx(kept("cpu"), rel=0.02)
    assert kept("cpu") < 4 * 2 * 4 * 384 * 384


def test_more_rows_and_more_learning_blocks_keep_more() -> None:
    sizes = [saved_bytes(*_pair("bert", train, "meta")) for train in ("head", 1, 2, "all")]
    assert sizes == sorted(set(sizes))


def test_a_storage_is_counted_once_and_parameters_not_at_all() -> None:
    layer = nn.Linear(8, 8, bias=False)
    x = torch.randn(4, 8)
    assert saved_bytes(layer, lambda: layer(x) + layer(x.view(4, 8))) == 4 * 8 * 4


def test_a_model_that_needs_numbers_is_estimated_and_says_so() -> None:
    class Looks(nn.Module):
        """Asks a tensor for its value."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[: int(x.sum().item())]

    model = Looks().to("meta")
    plan = plan_memory(
        model,
        lambda: model(torch.ones(2, 4, device="meta")),
        optimizer=partial(optimizer_bytes, "sgd"),
        average=False,
        cached=0,
        estimate=123,
    )
    assert (plan.activations, plan.traced) == (123, False)
    assert "moving average" not in plan.parts()


def test_the_estimate_is_that_of_the_paper() -> None:
    assert block_estimate(512, 1024, 24) == 2 * 34 * 512 * 1024 * 24
