"""What a run takes on disk and in memory, held against what a real one left there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import small_models
from tunesmith.forecast.storage import encoded_bytes, predict_disk, predict_host
from tunesmith.plan import loaders_of, make_plan, shape_of
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe

RECIPE = """\
task: text-classification
model: {model}
data: {{train: rows, eval: 0.25}}
stages:
  - {{train: head, epochs: 3, lr: 1e-2}}
  - {{train: {{top: 1}}, epochs: 3, lr: 1e-3}}
batch: {{rows: 16}}
engine: {{device: cpu}}
audit: {{accept: {{few-rows: a test, leak: a test}}}}
run: {{folder: {folder}, name: here}}
"""
SIZE = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
ROWS = 240


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    folder = small_models.write_model(tmp_path / "model")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=64, max_position_embeddings=48, pad_token_id=0, **SIZE)).save_pretrained(folder)
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(model=folder, folder=tmp_path / "runs"), encoding="utf-8")
    return file


def disk_of(file: Path, *settings: str, **more: Any) -> dict[str, Any]:
    prepared = prepare(read_recipe(file, settings), rows=small_models.rows_of(ROWS))
    plan = make_plan(prepared)
    model, layers, _, _ = shape_of(prepared)
    return predict_disk(plan, prepared, model, layers, **more)


def bytes_in(*places: Path) -> int:
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["stages=[{train: all, epochs: 1, lr: 1e-3}]", "run.keep=1"],
        ["stages=[{train: all, epochs: 2, lr: 1e-3}]", "optimizer.ema=0.9", "run.checkpoint_steps=4"],
        ["stages=[{train: all, epochs: 1, lr: 1e-3}]", "optimizer.name=sgd"],
        ["stages=[{train: adapter, epochs: 1, lr: 1e-3}]", "adapter={kind: lora, r: 8}"],
    ],
    ids=["head, then a block", "all, one kept", "average, by steps", "sgd", "adapter"],
)
def test_a_run_leaves_what_was_predicted(recipe: Path, tmp_path: Path, settings: list[str]) -> None:
    from tunesmith.tune import fine_tune

    predicted = disk_of(recipe, *settings)["parts"]
    run = fine_tune(recipe, settings, rows=small_models.rows_of(ROWS))
    best = run.checkpoints / "best"
    found = {
        "activation cache": bytes_in(tmp_path / "cache" / "activations"),
        "checkpoints": bytes_in(*run.checkpoints.glob("step-*")),
        "best weights so far": bytes_in(best),
        "saved model": bytes_in(run.model),
    }
    for name, size in found.items():
        # A few thousand bytes of JSON stand beside the tensors.
        assert predicted.get(name, 0) == pytest.approx(size, rel=0.1, abs=8_000), name
    whole = sum(found.values())
    assert sum(predicted.get(name, 0) for name in found) == pytest.approx(whole, rel=0.1)


def test_parts_make_the_whole_and_what_is_free_is_told(recipe: Path) -> None:
    found = disk_of(recipe)
    assert found["bytes"] == sum(found["parts"].values())
    assert found["free_bytes"] > 0


def test_more_checkpoints_kept_take_more_room(recipe: Path) -> None:
    stages = "stages=[{train: all, epochs: 6, lr: 1e-3}]"
    one, three = (disk_of(recipe, stages, f"run.keep={keep}", "run.checkpoint_steps=2")["parts"] for keep in (1, 3))
    assert three["checkpoints"] == 3 * one["checkpoints"]
    assert three["saved model"] == one["saved model"]


def test_a_long_stage_saves_between(recipe: Path) -> None:
    stages = "stages=[{train: all, epochs: 6, lr: 1e-3}]"
    short, long = (disk_of(recipe, stages, "run.keep=5", seconds=[seconds])["parts"] for seconds in (30.0, 1000.0))
    assert long["checkpoints"] == 5 * short["checkpoints"]


def test_nothing_is_cached_where_the_recipe_says_so(recipe: Path) -> None:
    assert "activation cache" in disk_of(recipe)["parts"]
    assert "activation cache" not in disk_of(recipe, "cache.use=off")["parts"]


@pytest.fixture
def host(recipe: Path) -> Callable[..., dict[str, Any]]:
    def predicted(*settings: str, device: str = "cpu") -> dict[str, Any]:
        prepared = prepare(read_recipe(recipe, settings), rows=small_models.rows_of(ROWS))
        plan = make_plan(prepared)
        plan.device = device
        model, layers, _, _ = shape_of(prepared)
        return predict_host(plan, prepared, model, layers, loaders_of(prepared))

    return predicted


def test_the_machines_own_memory_by_part(host: Callable[..., dict[str, Any]]) -> None:
    plain, workers, moved = host(), host("engine.workers=4"), host(device="cuda")
    assert plain["bytes"] == sum(plain["parts"].values())
    assert plain["parts"]["this process with its libraries"] > 50e6
    assert plain["parts"]["activation cache, mapped"] > 0
    assert workers["parts"]["batches ahead"] > plain["parts"]["batches ahead"]
    copy = "model, before it moves to the device"
    assert copy not in plain["parts"]
    assert moved["parts"][copy] > 1e6


def test_encoded_rows_are_as_large_as_those_that_are_kept(recipe: Path, host: Callable[..., dict[str, Any]]) -> None:
    prepared = prepare(read_recipe(recipe), rows=small_models.rows_of(ROWS))
    sets = loaders_of(prepared)
    kept = 0
    for loader in sets.values():
        assert loader.lengths
        kept += loader._memo_bytes
    assert host()["parts"]["encoded rows, kept"] == pytest.approx(kept, rel=0.1)


def test_what_encoded_rows_take_is_what_is_kept_of_them(recipe: Path) -> None:
    prepared = prepare(read_recipe(recipe), rows=small_models.rows_of(ROWS))
    sets = loaders_of(prepared)
    for loader in sets.values():
        for i in range(len(loader)):
            loader.example(i)
    kept = sum(loader._memo_bytes for loader in sets.values())
    assert encoded_bytes(prepared, loaders_of(prepared)["train"], 16) == pytest.approx(kept, rel=0.1)


def test_rows_that_are_drawn_anew_are_not_kept_and_batches_ahead_are_counted(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(read_recipe(recipe), rows=small_models.rows_of(ROWS))
    train = loaders_of(prepared)["train"]
    kept = encoded_bytes(prepared, train, 16)
    monkeypatch.setattr(type(prepared.task), "random", True)
    others = len(prepared.held_out) + len(prepared.validation)
    assert encoded_bytes(prepared, train, 16) == pytest.approx(kept * others / ROWS, rel=0.05)
    train.workers = 2
    ahead = encoded_bytes(prepared, train, 16) - encoded_bytes(prepared, train, 0)
    assert ahead == pytest.approx(3 * 16 * kept / ROWS, rel=0.05)


def test_mapped_is_the_cache_of_the_stage_and_the_weights_parked_until_then(recipe: Path, tmp_path: Path) -> None:
    from tunesmith.tune import fine_tune

    run = fine_tune(recipe, rows=small_models.rows_of(ROWS))
    cached = [stage["cache"]["bytes"] for stage in run.read_json("plan.json")["stages"]]
    mapped = [one["parts"]["activation cache, mapped"] for one in run.read_json("plan.json")["memory"]["stages"]]
    parked = sorted(bytes_in(file) for file in (tmp_path / "cache").rglob("weights.bin"))
    assert len(parked) == len(cached) == 2
    # The head's stage parks all blocks, the one with a block above fewer.
    assert mapped == [cached[0] + parked[1], cached[1] + parked[1] + parked[0]]


CHILD = """
import gc, sys
from pathlib import Path
import torch
from tests.fixtures import small_models
from tunesmith.heap import give_back
from tunesmith.journey import loop_of
from tunesmith.machine import peak_resident_bytes, reset_peak, resident_bytes
from tunesmith.plan import make_plan
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe
from tunesmith.train.signals import StopRequest
file = Path(sys.argv[1])
prepared = prepare(read_recipe(file, sys.argv[2:]), rows=small_models.rows_of(64))
plan = make_plan(prepared)
layer = torch.nn.Linear(64, 64)
(layer(torch.randn(8, 64)) ** 2).sum().backward()
gc.collect()
give_back()
before = resident_bytes()
assert reset_peak()
loop_of(prepared, plan, StopRequest(), checkpoints=file.parent / "checkpoints").fit()
print(plan.memory.allocated, plan.memory.resident, peak_resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the peak is reset on Linux only")
def test_a_small_model_needs_what_the_libraries_need(recipe: Path) -> None:
    """Twice its tensors, of which the shares of a large model's step know nothing."""
    words = [sys.executable, "-c", CHILD, str(recipe), "cache.use=off", "stages=[{train: all, steps: 3, lr: 1e-4}]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    allocated, predicted, measured = map(int, done.stdout.split())
    assert measured > 1.5 * allocated
    assert predicted == pytest.approx(measured, rel=0.25)
