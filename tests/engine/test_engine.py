"""Precision, clipping, recomputation, compilation: what the engine promises of a step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine.conftest import World, end_of, make_rows, user_error
from tunesmith.journey import loop_of
from tunesmith.machine import has_compiler
from tunesmith.plan import make_plan
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe
from tunesmith.run import Run
from tunesmith.train.engine import LocalEngine, _buckets
from tunesmith.train.loop import Loop
from tunesmith.train.signals import StopRequest
from tunesmith.train.step import Objective, accumulate, pieces_of
from tunesmith.tune import fine_tune


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def tune(world: World, name: str, **sections: Any) -> Run:
    sections["run"] = {"name": name, **sections.get("run", {})}
    return fine_tune(world.recipe(name, **sections))


def loop_for(world: World, **sections: Any) -> Loop:
    source = read_recipe(world.recipe(**sections), ())
    prepared = prepare(source)
    return loop_of(prepared, make_plan(prepared), StopRequest(), checkpoints=world.root / "checkpoints")


def gradients(loop: Loop, micro: int = 8) -> dict[str, Tensor]:
    """Gradients of one step over the first rows, all layers learning, dropout on."""
    job = loop.job
    loop._enter(job.stages[0])
    rows = np.arange(8)
    pieces = pieces_of(rows, micro, 0, 1)
    batches = [(piece, job.sets["train"].batch(list(piece.rows))) for piece in pieces]
    address = loop.address(0)
    accumulate(Objective(job.task, job.model), job.task, job.engine, batches, loop.around(address))
    return {n: p.grad.clone() for n, p in job.model.named_parameters() if p.grad is not None}


ALL = [{"train": "all", "steps": 6, "lr": 1e-3}]


def test_recomputed_blocks_give_the_same_gradients(world: World) -> None:
    """With dropout on: the recomputed pass drops what the first one dropped."""
    plain = gradients(loop_for(world, stages=ALL))
    again = gradients(loop_for(world, stages=ALL, engine={"gradient_checkpointing": True}))
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert sum(float(g.abs().sum()) > 0 for g in plain.values()) > 40


def test_micro_batches_give_the_same_gradients(world: World) -> None:
    whole = gradients(loop_for(world, stages=ALL))
    for micro in (1, 3):
        cut = gradients(loop_for(world, stages=ALL), micro)
        largest = max(float(g.abs().max()) for g in whole.values())
        assert max(float((whole[n] - cut[n]).abs().max()) for n in whole) <= 1e-5 * largest


def test_bf16_learns_what_fp32_learns(world: World) -> None:
    """Two precisions in one process; weights stay fp32, losses agree to what bf16 can hold."""
    exact = end_of(tune(world, "fp32", stages=ALL).folder)
    half = end_of(tune(world, "bf16", stages=ALL, engine={"precision": "bf16"}).folder)
    assert half["losses"] != exact["losses"]
    assert half["losses"] == pytest.approx(exact["losses"], abs=0.05)
    from safetensors.torch import load_file

    weights = load_file(world.runs / "bf16" / "model" / "model.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float32}
    assert end_of(tune(world, "fp32-again", stages=ALL).folder)["losses"] == exact["losses"]


def test_fp16_is_refused_on_the_cpu(world: World) -> None:
    said = user_error(world.recipe(engine={"precision": "fp16", "device": "cpu"}))
    assert "fp16" in said.what
    assert "CPU" in said.what
    assert "bf16" in said.fix
    assert "recipe.yaml:" in said.where


def test_clipping_scales_the_whole_gradient() -> None:
    engine = LocalEngine("cpu", "fp32")
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    for limit, wanted in ((1.0, 1.0), (100.0, 5.0), (None, 5.0)):
        parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0, 0]), torch.tensor([0, 4.0])
        assert engine.clip(optimizer, limit) == pytest.approx(5.0)
        norm = float(torch.cat([p.grad for p in parameters if p.grad is not None]).norm())
        assert norm == pytest.approx(wanted, rel=1e-5)


def test_buckets_hold_everything_once_and_one_type() -> None:
    tensors = [torch.zeros(n, dtype=t) for n, t in ((3, torch.float32), (4, torch.float32), (2, torch.float64))]
    found = list(_buckets(tensors))
    assert [len(b) for b in found] == [2, 1]
    assert [t for b in found for t in b] == tensors or all(
        a is b for a, b in zip([t for b in found for t in b], tensors, strict=True)
    )
    assert list(_buckets([])) == []


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compiled_blocks_learn_what_others_learn(world: World) -> None:
    if not has_compiler() and not os.environ.get("CI"):
        pytest.skip("torch.compile finds no C++ compiler here")
    assert has_compiler(), "install g++: in CI torch.compile is tested"
    stages = [{"train": {"top": 1}, "steps": 4, "lr": 1e-3}]
    plain = end_of(tune(world, "plain", stages=stages, rows=80).folder)
    fast = end_of(tune(world, "compiled", stages=stages, rows=80, engine={"compile": True}).folder)
    assert fast["losses"] == pytest.approx(plain["losses"], abs=1e-4)


def test_rows_of_ones_own(world: World) -> None:
    """Rows given in Python train like rows read from a file."""
    stages = [{"train": "head", "steps": 4, "lr": 1e-2}]
    file = tune(world, "file", stages=stages)
    given = fine_tune(world.recipe("given", stages=stages, run={"name": "given"}), rows=make_rows(120))
    assert end_of(file.folder)["losses"] == end_of(given.folder)["losses"]
    assert Path(given.folder).name == "given"
