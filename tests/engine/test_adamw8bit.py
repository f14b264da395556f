"""AdamW with its moments in 8 bits: the same way as AdamW, a quarter of the bytes, nothing lost on the way back."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tunesmith.train.adamw8bit as eight
from tests.engine.conftest import World, assert_same_end, events_of, write_model
from tunesmith.recipe import OptimizerSection
from tunesmith.train.adamw8bit import BLOCK, SMALLEST, AdamW8bit, dequantize, dynamic_map, quantize, state_bytes
from tunesmith.train.optim import build_optimizer, carry_state, optimizer_tensors, restore_optimizer

RATE = {"lr": 1e-2, "weight_decay": 0.1}


def _weights(*shapes: Sequence[int], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in shapes]


def _give(parameters: Sequence[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * 10 ** -(seed % 3)


def _run(kind: Any, parameters: list[nn.Parameter], steps: range) -> torch.optim.Optimizer:
    optimizer = kind(parameters, **RATE)
    for seed in steps:
        _give(parameters, seed)
        optimizer.step()
    return optimizer  # type: ignore[no-any-return]


def _groups(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": list(parameters), "names": [f"p{i}" for i in range(len(parameters))], "group": "all", "rate": 1}]


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_is_256_numbers_of_seven_decades(signed: bool) -> None:
    numbers = dynamic_map(signed)
    assert numbers.shape == (256,)
    assert torch.equal(numbers, numbers.unique())
    assert numbers[-1] == 1
    positive = numbers[numbers > 0]
    assert 1e-7 < float(positive[0]) < 1e-6
    assert (positive[1:] / positive[:-1]).max() < (6 if signed else 3)
    assert bool((numbers < 0).any()) == signed


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [BLOCK, 5 * BLOCK + 17, SMALLEST])
def test_values_come_back_as_near_as_the_map_allows(signed: bool, count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(1))
    values = values if signed else values.square()
    codes, scale = quantize(values, signed)
    assert (codes.dtype, codes.shape, scale.shape) == (torch.uint8, values.shape, (-(-count // BLOCK),))
    back = dequantize(codes, scale, signed)
    gap = dynamic_map(signed).diff().max() / 2
    largest = scale.repeat_interleave(BLOCK)[:count]
    assert ((back - values).abs() <= 1.1 * gap * largest).all()
    assert (back - values).abs().mean() < 0.05 * values.abs().mean()
    assert torch.equal(quantize(torch.zeros(count), signed)[1], torch.zeros_like(scale))


def test_one_wild_value_coarsens_its_own_block_only() -> None:
    values = torch.randn(4 * BLOCK, generator=torch.Generator().manual_seed(1))
    calm = dequantize(*quantize(values, True), True)
    values[7] = 1e4
    wild = dequantize(*quantize(values, True), True)
    assert torch.equal(wild[BLOCK:], calm[BLOCK:])
    assert not torch.equal(wild[:BLOCK], calm[:BLOCK])
    assert wild[7] == 1e4


def test_a_second_moment_never_becomes_zero() -> None:
    """Else the step after divides what is left of the first moment by epsilon alone."""
    values = torch.full((BLOCK,), 1e-12)
    values[0] = 1.0
    assert (dequantize(*quantize(values, False), False) > 0).all()
    weights = _weights((SMALLEST,))
    optimizer = AdamW8bit(weights, lr=1e-3, weight_decay=0.0)
    grad = torch.full((SMALLEST,), 3e-4)
    grad[::BLOCK] = 1.0
    before = weights[0].detach().clone()
    for _ in range(6):
        weights[0].grad = grad
        optimizer.step()
        grad = torch.zeros(SMALLEST)
    assert (weights[0].detach() - before).abs().max() < 6 * 1e-3


def test_the_first_step_is_that_of_adamw() -> None:
    ours, theirs = _weights((64, 96), (33,)), _weights((64, 96), (33,))
    _run(AdamW8bit, ours, range(1))
    _run(torch.optim.AdamW, theirs, range(1))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(ours, theirs, strict=True))


def test_it_goes_the_way_of_adamw() -> None:
    start = _weights((64, 96), (33,))
    ours, theirs = _weights((64, 96), (33,)), _weights((64, 96), (33,))
    _run(AdamW8bit, ours, range(40))
    _run(torch.optim.AdamW, theirs, range(40))
    ways = [(a - s).detach().flatten() for a, s in zip(ours, start, strict=True)]
    wanted = [(b - s).detach().flatten() for b, s in zip(theirs, start, strict=True)]
    assert torch.cosine_similarity(ways[0], wanted[0], 0) > 0.99
    assert float(ways[0].norm() / wanted[0].norm()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(ways[0], wanted[0])
    # Small tensors keep their moments in fp32.
    assert torch.allclose(ways[1], wanted[1], rtol=1e-4, atol=1e-6)


def _learned(kind: Any, steps: int = 300) -> float:
    """The loss on fresh rows of a small network that learns to tell a sum of sines."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(16, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 1))
    optimizer = kind(net.parameters(), lr=2e-3, weight_decay=0.01)

    def loss(rows: int) -> Tensor:
        x = torch.randn(rows, 16, generator=generator)
        return nn.functional.mse_loss(net(x).squeeze(1), x[:, :4].sin().sum(1))

    for _ in range(steps):
        optimizer.zero_grad()
        loss(64).backward()
        optimizer.step()
    with torch.no_grad():
        return float(loss(4096))


def test_training_ends_where_adamw_does() -> None:
    ours, theirs = _learned(AdamW8bit), _learned(torch.optim.AdamW)
    assert theirs < 0.2 * _learned(torch.optim.AdamW, 1)
    assert ours == pytest.approx(theirs, rel=0.1)


def test_weight_decay_is_decoupled() -> None:
    weights = _weights((SMALLEST,))
    before = weights[0].detach().clone()
    weights[0].grad = torch.zeros(SMALLEST)
    AdamW8bit(weights, lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(weights[0], before * (1 - 0.1 * 0.5))


def test_bytes_of_the_state() -> None:
    weights = _weights((512, 300), (SMALLEST + 1,), (SMALLEST - 1,))
    tensors = optimizer_tensors(_run(lambda p, **k: AdamW8bit(_groups(p), **k), weights, range(1)))
    held = sum(t.nbytes for name, t in tensors.items() if not name.endswith("/step"))
    assert held == state_bytes(weights) == state_bytes([w.to("meta") for w in weights])
    large = sum(t.nbytes for name, t in tensors.items() if name.startswith("p0") and not name.endswith("/step"))
    assert large == 512 * 300 * (2 + 8 / BLOCK)


class _Peak(TorchDispatchMode):
    """The most bytes that the storages made in it hold at once."""

    now = most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in known:
                size = tensor.untyped_storage().nbytes()
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self._left, size)
        return out

    def _left(self, size: int) -> None:
        self.now -= size


def test_a_step_holds_one_slice_in_fp32() -> None:
    weights = _weights((8 * eight.SLICE_VALUES["cpu"],))
    optimizer = _run(AdamW8bit, weights, range(1))
    with _Peak() as peak:  # type: ignore[no-untyped-call]
        optimizer.step()
    slice_values = eight.SLICE_VALUES["cpu"]
    assert 8 * slice_values < peak.most <= eight.SLICE_BYTES * slice_values <= 16 << 20


def test_numbers_depend_on_neither_slices_nor_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (16, 24, 5, 7)
    plain, sliced, turned = _weights(shape), _weights(shape), _weights(shape)
    turned[0].data = turned[0].data.to(memory_format=torch.channels_last)
    assert not turned[0].is_contiguous()
    one, three = _run(AdamW8bit, plain, range(3)), _run(AdamW8bit, turned, range(3))
    monkeypatch.setitem(eight.SLICE_VALUES, "cpu", 4 * BLOCK)
    two = _run(AdamW8bit, sliced, range(3))
    for other, state in ((sliced[0], two.state[sliced[0]]), (turned[0], three.state[turned[0]])):
        assert torch.equal(plain[0], other)
        assert all(torch.equal(value, state[slot]) for slot, value in one.state[plain[0]].items())


@pytest.mark.parametrize("way", ["tensors", "state_dict"])
def test_state_comes_back_to_the_bit(way: str) -> None:
    shapes = ((64, 96), (SMALLEST + 3,), (33,))
    whole, first, second = _weights(*shapes), _weights(*shapes), _weights(*shapes)
    settings = OptimizerSection(name="adamw-8bit")
    built = [build_optimizer(_groups(each), settings) for each in (whole, first, second)]
    assert all(isinstance(optimizer, AdamW8bit) for optimizer in built)
    for optimizer in built:
        optimizer.param_groups[0]["lr"] = 1e-2
    for seed in range(6):
        _give(whole, seed)
        built[0].step()
    for seed in range(3):
        _give(first, seed)
        built[1].step()
    with torch.no_grad():
        for old, new in zip(first, second, strict=True):
            new.copy_(old)
    if way == "tensors":
        restore_optimizer(built[2], optimizer_tensors(built[1]))
    else:
        built[2].load_state_dict(built[1].state_dict())
    for seed in range(3, 6):
        _give(second, seed)
        built[2].step()
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))
    ended, wanted = optimizer_tensors(built[2]), optimizer_tensors(built[0])
    assert {name: t.dtype for name, t in ended.items()} == {name: t.dtype for name, t in wanted.items()}
    assert all(torch.equal(ended[name], wanted[name]) for name in wanted)
    assert wanted["p0/exp_avg"].dtype == torch.uint8
    assert wanted["p2/exp_avg"].dtype == torch.float32


def test_the_next_stage_keeps_the_moments() -> None:
    weights = _weights((64, 96))
    old = build_optimizer(_groups(weights), OptimizerSection(name="adamw-8bit"))
    _give(weights, 0)
    old.step()
    new = build_optimizer(_groups(weights), OptimizerSection(name="adamw-8bit"))
    assert carry_state(old, new) == 1
    assert optimizer_tensors(new).keys() == {
        f"p0/{slot}" for slot in ("step", "exp_avg", "exp_avg_scale", "exp_avg_sq", "exp_avg_sq_scale")
    }


def test_a_sparse_gradient_is_refused() -> None:
    table = nn.Embedding(100, 64, sparse=True)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        AdamW8bit(table.parameters()).step()


def test_killed_runs_go_on_to_the_same_end(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a model whose matrices are large enough for 8 bits; the checkpoint holds codes and scales."""
    model = write_model(tmp_path_factory.mktemp("wide"), intermediate=SMALLEST // 32)
    recipe = world.recipe(model=str(model), optimizer={"name": "adamw-8bit"})
    assert world.train(recipe, "run.name=whole", cache=world.root / "other")[0] == 0
    for moment in (("file", 45), ("step", 9)):
        code, said = world.train(recipe, "run.name=killed", die=moment)
        assert code == -signal.SIGKILL, said
    code, said = world.train(recipe, "run.name=killed")
    assert code == 0, said
    assert_same_end(world.runs / "whole", world.runs / "killed")
    assert any(e["kind"] == "resume" for e in events_of(world.runs / "killed"))
    last = sorted(Path(world.runs / "killed" / "checkpoints").glob("step-*"))[-1]
    kept = load_file(last / "optimizer.safetensors")
    assert {t.dtype for name, t in kept.items() if "intermediate.dense.weight/exp" in name and "scale" not in name} == {
        torch.uint8
    }
