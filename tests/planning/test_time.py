"""How long a run takes: what is counted, what it is held against, and what is said where it can't be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures import small_models
from tunesmith.devices import find_device
from tunesmith.forecast.passes import over, traced
from tunesmith.forecast.pricing import Pricing, measured_pricing, stated_pricing
from tunesmith.forecast.time import predict_time
from tunesmith.model.operations import (
    ATTENTION,
    CONVOLUTION,
    FUNCTION,
    MOVE,
    PRODUCT,
    VIEW,
    Counting,
    Operation,
    flops_of,
)
from tunesmith.rates import Rates, UnitRates

ROWS, WIDTH, OUTPUTS = 7, 24, 40


def flat(rate: float, calls: float = 1e-6) -> UnitRates:
    """A device that does everything at one rate."""
    points = {kind: ((1.0, 1.0, rate),) for kind in ("fp32", "bf16")}
    return UnitRates(points, points, points, points, points, points, calls, 2 * calls)


def counted(work: Any) -> Counting:
    with Counting() as counting:
        work()
    return counting


def test_a_product_is_counted_forward_and_back() -> None:
    layer = nn.Linear(WIDTH, OUTPUTS).to("meta")
    given = torch.zeros(ROWS, WIDTH, device="meta", requires_grad=True)
    forward = 2 * ROWS * WIDTH * OUTPUTS
    assert flops_of(counted(lambda: layer(given)).work) == forward
    # Back: one product for the weight, one for what comes in.
    assert flops_of(counted(lambda: layer(given).sum().backward()).work) == 3 * forward


@pytest.mark.parametrize(
    ("run", "flops"),
    [
        (lambda x: torch.bmm(x, x.transpose(1, 2)), 2 * 4 * 16 * 16 * 32),
        (lambda x: torch.mm(x[0], x[0].t(), out=torch.empty(16, 16, device="meta")), 2 * 16 * 16 * 32),
        (lambda x: torch.empty(16, 16, device="meta").addmm_(x[0], x[0].t()), 2 * 16 * 16 * 32),
        (lambda x: nn.functional.conv1d(x, torch.empty(8, 16, 3, device="meta"), padding=1), 2 * 4 * 8 * 32 * 16 * 3),
        (
            lambda x: nn.functional.conv1d(x, torch.empty(16, 1, 3, device="meta"), padding=1, groups=16),
            2 * 4 * 16 * 32 * 3,
        ),
        (
            lambda x: nn.functional.conv_transpose1d(x, torch.empty(16, 8, 2, device="meta"), stride=2),
            2 * 4 * 16 * 32 * 8 * 2,
        ),
    ],
)
def test_what_multiplies_is_counted(run: Any, flops: int) -> None:
    given = torch.zeros(4, 16, 32, device="meta")
    assert flops_of(counted(lambda: run(given)).work) == flops


def test_attention_is_counted_by_its_two_products_and_its_five_back() -> None:
    from tunesmith.model.operations import StandIns

    q = torch.zeros(2, 3, 16, 8, device="meta", requires_grad=True)
    product = 2 * 2 * 3 * 16 * 16 * 8
    with StandIns():
        counting = counted(lambda: nn.functional.scaled_dot_product_attention(q, q, q).sum().backward())
    assert flops_of(counting.work) == 7 * product
    assert {o.kind for o in counting.work if o.flops} == {ATTENTION}


def test_bytes_of_what_moves_and_of_what_only_looks() -> None:
    x = torch.zeros(10, 20, device="meta")
    work = counted(lambda: (x + x, x.view(20, 10), x.t(), x.softmax(-1), x.add_(1))).work
    kinds = {kind: [o for o in work if o.kind == kind] for kind in (MOVE, FUNCTION, VIEW)}
    assert sorted(o.bytes for o in kinds[MOVE]) == [1600, 2400]
    assert [o.bytes for o in kinds[FUNCTION]] == [1600]
    assert sum(work[o] for o in kinds[VIEW]) == 2


def test_an_expanded_tensor_is_read_once_and_a_table_row_by_row() -> None:
    one, table = torch.zeros(1, 20, device="meta"), torch.zeros(50_000, 8, device="meta")
    (add,) = counted(lambda: one.expand(1000, 20) + 1).work - counted(lambda: one.expand(1000, 20)).work
    assert add.bytes == 20 * 4 + 1000 * 20 * 4
    ids = torch.zeros(5, dtype=torch.int64, device="meta")
    (look,) = counted(lambda: nn.functional.embedding(ids, table)).work
    assert look.bytes == 2 * 5 * 8 * 4


@pytest.mark.parametrize("training", [False, True])
def test_a_pass_is_cut_at_the_boundary(training: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)).to("meta")
    for layer in model[:2]:
        layer.requires_grad_(False)
    product = 2 * 5 * 8 * 8
    found = traced(model, lambda: {"x": model(torch.zeros(5, 8, device="meta")).sum()}, training=training, seam="1")
    assert found is not None
    assert flops_of(found.below) == 2 * product
    # Back through the top layer only: for its weight.
    assert flops_of(found.above) == product * (2 if training else 1)
    assert flops_of(found.work()) == flops_of(found.below) + flops_of(found.above)
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_a_model_that_needs_numbers_is_not_told() -> None:
    model = nn.Linear(4, 4).to("meta")

    def run() -> Any:
        raise NotImplementedError("no numbers")

    assert traced(model, run, training=True) is None
    assert traced(model, run, training=False) is None


def test_what_a_prediction_computes_before_it_reads_numbers_is_counted() -> None:
    model = nn.Linear(4, 4).to("meta")
    seen: list[Any] = []

    def run() -> None:
        seen.append(model(torch.zeros(2, 4, device="meta")).softmax(-1).argmax(-1).tolist())

    found = traced(model, run, training=False)
    assert found is not None
    assert flops_of(found.work()) == 2 * 2 * 4 * 4
    assert seen == [[0, 0]]


def test_under_autocast_products_are_narrow() -> None:
    model = nn.Linear(4, 4).to("meta")
    found = traced(model, lambda: model(torch.zeros(2, 4, device="meta")), training=False, precision="bf16")
    assert found is not None
    assert [o.dtype for o in found.work() if o.kind == PRODUCT] == ["bf16"]


def test_batches_between_those_that_were_traced_are_interpolated() -> None:
    batches = [np.arange(n) for n in (1, 4, 2, 9, 5)]
    asked: list[int] = []

    def cost(rows: np.ndarray) -> float:
        asked.append(len(rows))
        return 3.0 * len(rows)

    assert over(batches, len, cost) == pytest.approx(3 * 21)
    assert sorted(asked) == [1, 4, 9]
    assert over([], len, cost) == 0
    assert over(batches, len, lambda _rows: None) is None


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [
        (Operation(PRODUCT, flops=3_000_000, bytes=10, narrow=8), 3e-3),
        (Operation(CONVOLUTION, flops=1000, bytes=5_000_000, narrow=8), 5e-3),
        (Operation(MOVE, bytes=2_000_000), 2e-3),
        (Operation(VIEW), 0.0),
    ],
)
def test_an_operation_takes_the_longer_of_its_arithmetic_and_its_way_through_memory(
    operation: Operation, seconds: float
) -> None:
    pricing = Pricing(flat(1e9), "made up")
    assert pricing.one(operation) == pytest.approx(seconds)
    assert pricing.seconds({operation: 2}) == pytest.approx(2 * (seconds + 1e-6))
    assert pricing.seconds({operation: 2}, training=True) == pytest.approx(2 * (seconds + 2e-6))
    ahead = replace(pricing, ahead=True)
    assert ahead.seconds({operation: 2}) == pytest.approx(max(2 * seconds, 2e-6))


def test_a_faster_device_takes_less_time_and_two_less_than_one() -> None:
    work = {Operation(PRODUCT, flops=10**12, bytes=10**8, narrow=1024, dtype="bf16"): 10.0}
    slow, fast, both = (stated_pricing(find_device(name)).seconds(work) for name in ("T4", "H100", "2xH100"))
    assert slow > 20 * fast
    assert fast / 2 < both < fast
    # What 10^13 operations take at the stated 989 x 10^12 a second, of which about half are reached.
    assert 10**13 / 989e12 < fast < 5 * 10**13 / 989e12


def test_rates_of_another_kind_of_device_are_not_taken() -> None:
    rates = Rates("some CPU", 1, 1, "2", {"cpu": flat(1e9)}, 1e9, 1e9, None, {})
    assert measured_pricing(rates, "cuda") is None
    found = measured_pricing(rates, "cpu")
    assert found is not None
    assert "some CPU with 1 thread" in found.basis


RECIPE = """\
task: text-classification
model: {model}
data: {{train: rows, eval: 0.25}}
stages:
  - {{train: head, epochs: 4, lr: 1e-2}}
  - {{train: all, epochs: 2, lr: 1e-3}}
batch: {{rows: 16}}
engine: {{device: cpu, precision: fp32}}
audit: {{accept: {{few-rows: a test, leak: a test}}}}
run: {{folder: {runs}, name: here}}
"""
SIZE = {"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 1024}


@dataclass
class World:
    """A recipe that is planned, and what its model is on the meta device."""

    prepared: Any
    plan: Any
    model: Any
    layers: Any
    dropout: Any
    sets: Any

    def time(self, **more: Any) -> dict[str, Any] | None:
        return predict_time(self.plan, self.prepared, self.model, self.layers, self.dropout, self.sets, **more)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """A classifier wide enough that its products take more time than its calls."""
    from transformers import BertConfig, BertModel

    from tunesmith.plan import loaders_of, make_plan, shape_of
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    folder = small_models.write_model(tmp_path / "model")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=64, max_position_embeddings=48, pad_token_id=0, **SIZE)).save_pretrained(folder)
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(model=folder, runs=tmp_path / "runs"), encoding="utf-8")

    def planned(*settings: str) -> World:
        prepared = prepare(read_recipe(file, settings), rows=small_models.rows_of(96))
        plan = make_plan(prepared)
        model, layers, dropout, _ = shape_of(prepared)
        return World(prepared, plan, model, layers, dropout, loaders_of(prepared))

    return planned


def keep(monkeypatch: pytest.MonkeyPatch, unit: UnitRates, threads: int = 1) -> None:
    """Let the rates of a made-up CPU be those that were measured."""
    monkeypatch.setattr(
        "tunesmith.rates.stored", lambda: Rates("made up", 1, threads, "2", {"cpu": unit}, 1e9, 1e9, 1.0, {})
    )


def test_without_rates_no_time_is_told(world: Callable[..., World]) -> None:
    assert world().time() is None


def test_the_parts_make_the_whole_and_the_stages_their_share(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, flat(1e9))
    found = world().time(spent=3.0)
    assert found is not None
    assert found["seconds"] == pytest.approx(sum(found["parts"].values()))
    assert len(found["stages"]) == 2
    inside = ("filling the cache", "rehearsal", "steps", "evaluations")
    assert sum(found["stages"]) == pytest.approx(sum(found["parts"].get(name, 0) for name in inside))
    assert found["parts"]["reading and planning"] == 3.0
    assert "made up" in found["basis"]


def test_twice_the_rate_takes_half_the_time_and_twice_the_epochs_twice(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = "stages=[{train: all, epochs: %d, lr: 1e-3}]"
    keep(monkeypatch, flat(1e9, calls=0.0))
    once, twice = world(stages % 1).time(), world(stages % 2).time()
    assert once is not None
    assert twice is not None
    assert twice["parts"]["steps"] == pytest.approx(2 * once["parts"]["steps"])
    assert twice["parts"]["evaluations"] < 2 * once["parts"]["evaluations"]
    keep(monkeypatch, flat(2e9, calls=0.0))
    fast = world(stages % 1).time()
    assert fast is not None
    assert fast["parts"]["steps"] == pytest.approx(once["parts"]["steps"] / 2, rel=0.01)


def test_a_cached_stage_takes_what_lies_above_the_boundary(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, flat(1e9))
    one = world("stages=[{train: head, epochs: 8, lr: 1e-2}]")
    assert one.plan.stages[0]["cache"]["use"]
    cached, plain = one.time(), world("stages=[{train: head, epochs: 8, lr: 1e-2}]", "cache.use=off").time()
    assert cached is not None
    assert plain is not None
    assert "filling the cache" not in plain["parts"]
    assert cached["parts"]["steps"] < plain["parts"]["steps"] / 20
    # Recording is one pass forward over all rows; a head's steps without the cache are eight over the training rows.
    assert plain["parts"]["steps"] / 10 < cached["parts"]["filling the cache"] < plain["parts"]["steps"] / 3


def test_a_named_device_needs_no_measuring(world: Callable[..., World]) -> None:
    one = world()
    slow, fast = (one.time(device=find_device(name)) for name in ("M1-16GB", "H100"))
    assert slow is not None
    assert fast is not None
    assert "H100-SXM-80GB" in fast["basis"]
    assert fast["parts"]["steps"] <= slow["parts"]["steps"]


def test_a_part_that_shapes_do_not_tell_is_named(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, flat(1e9))
    one = world()

    def refused(_model: Any, _batch: Any) -> Any:
        raise NotImplementedError("no numbers")

    monkeypatch.setattr(one.prepared.task, "loss", refused)
    found = one.time()
    assert found is not None
    assert "steps" not in found["parts"]
    assert "not counted, since shapes alone do not tell: filling the cache, steps, rehearsal" in found["basis"]
    assert found["parts"]["closing proof"] > 0


def test_the_model_is_as_before_and_asked_again_the_same_is_said(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, flat(1e9))
    one = world()
    before, after = one.time(), one.time()
    assert before is not None
    assert after is not None
    assert after["parts"]["steps"] == pytest.approx(before["parts"]["steps"], rel=1e-3)
    assert all(p.is_meta and p.grad is None for p in one.model.parameters())


def test_steps_take_as_long_as_measured_rates_say(
    world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a factor of two in a test, where other programs share the machine; a quarter is what is aimed at."""
    from tunesmith.rates import measure
    from tunesmith.tune import fine_tune

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measure()
        settings = ["stages=[{train: all, epochs: 3, lr: 1e-3}]"]
        one = world(*settings)
        found = one.time()
        assert found is not None
        # One thread's own time: other programs' turns do not count, as they do not in the rates.
        monkeypatch.setattr("time.perf_counter", time.thread_time)
        run = fine_tune(tmp_path / "recipe.yaml", settings, rows=small_models.rows_of(96))
    finally:
        torch.set_num_threads(threads)
    events, _ = run.read_events()
    steps = [event["seconds"] for event in events if event["kind"] == "step"]
    # The first step makes the optimizer's state.
    measured = float(np.median(steps)) * len(steps)
    assert 0.5 < found["parts"]["steps"] / measured < 2


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """A small decoder whose held-out answers are written."""
    import json

    from tests.fixtures import small_decoders
    from tunesmith.plan import loaders_of, make_plan, shape_of
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    model = small_decoders.write_decoder(tmp_path / "model")
    lines = [json.dumps(row) for row in small_decoders.conversations(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"task: causal-lm\nmodel: {model}\ndata: {{train: rows.jsonl, eval: 0.25}}\n"
        "stages: [{train: adapter, epochs: 1, lr: 1e-3}]\nadapter: {kind: lora, r: 4}\nbatch: {rows: 8}\n"
        "engine: {device: cpu, precision: fp32}\noptions: {forgetting: null, shots: [1, 2]}\n"
        "audit: {accept: {few-rows: a test, leak: a test}}\n",
        encoding="utf-8",
    )

    def planned(*settings: str) -> World:
        prepared = prepare(read_recipe(file, settings))
        plan = make_plan(prepared)
        model, layers, dropout, _ = shape_of(prepared)
        return World(prepared, plan, model, layers, dropout, loaders_of(prepared))

    return planned


def test_answers_that_are_written_take_a_pass_a_token(
    decoder: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, flat(1e9))
    short, long, none = (
        decoder(*settings).time()
        for settings in (["options.max_new_tokens=20"], ["options.max_new_tokens=80"], ["options.metric=perplexity"])
    )
    assert short is not None
    assert long is not None
    assert none is not None
    part = "closing proof"
    assert none["parts"][part] < short["parts"][part] < long["parts"][part]
    # Four times the tokens: no less than twice and no more than five times what writing them took.
    wrote, wrote_more = (found["parts"][part] - none["parts"][part] for found in (short, long))
    assert 2 < wrote_more / wrote < 5
    assert none["parts"]["scoring the base"] < short["parts"]["scoring the base"] / 3
    assert "not counted" not in long["basis"]
