"""The benchmark of image generation runs: both sides learn the same, and a GPU's cases are set up at a tiny size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.peers.test_benchmarks import load, quick

pytestmark = pytest.mark.skipif(
    find_spec("peft") is None or find_spec("diffusers") is None, reason="diffusers or peft is not installed"
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The shape of the report is looked at here, not its figures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Any:
    """The benchmark with the tiny shape in place of the larger ones."""
    module = load("image_generation")
    for name in ("QUARTER", "EIGHTH", "EMOJI"):
        monkeypatch.setattr(module, name, module.TINY)
    return module


@pytest.mark.heavy
@pytest.mark.usefixtures("small")
def test_a_step_and_a_run_are_measured_beside_the_example_of_diffusers(capsys: pytest.CaptureFixture[str]) -> None:
    step, run = quick("image_generation", "cached/lora-step", capsys)
    assert (step["case"], step["goal"]) == ("cached/lora-step", 1.5)
    assert "train_dreambooth_lora" in step["peer_name"]
    assert "blocks are frozen" in step["size"]["cache"]
    assert (run["case"], run["goal"]) == ("cached/run", None)
    # The run holds all of its steps, and ours the making of its cache, too.
    assert run["peer"] > step["peer"] * (step["size"]["steps"] - 1)
    assert run["ours"] > step["ours"] * (step["size"]["steps"] - 1) + run["size"]["recording_seconds"]


@pytest.mark.heavy
@pytest.mark.usefixtures("small")
def test_with_the_same_noise_both_sides_have_the_same_losses(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = quick("image_generation", "cached/loss", capsys)
    assert row["size"]["steps"] == 6
    assert row["goal"] == 1e-4
    assert row["holds"], row


@pytest.mark.heavy
def test_other_noise_gives_other_losses(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison would show if the sides did not learn the same."""
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    work, last = small.Work(small.TINY, 4, 2, 2), []
    with small.silence():
        small.written(work, tmp_path)
        mine = small.ours(work, tmp_path, last)
        plan = small.plan_from(*last, work, same_noise=True)
        shifted = replace(plan, seeds=[[seed + 1 for seed in seeds] for seeds in plan.seeds])
        other = small.theirs(work, tmp_path, shifted)
    assert max(abs(a - b) / abs(b) for a, b in zip(mine.losses, other.losses, strict=True)) > 1e-2


@pytest.mark.heavy
def test_the_small_shape_has_no_larger_share_outside_its_denoiser_than_the_real_one() -> None:
    sides = load("image_generation_sides")
    real, small = sides.shares(sides.SD15), sides.shares(sides.QUARTER)
    assert 0.6 < real["vae"] < 0.7
    assert 0.9 * real["vae"] < small["vae"] < real["vae"]
    assert small["text_encoder"] < real["text_encoder"]


@pytest.mark.heavy
@pytest.mark.parametrize("learns", ["lora", "all"])
def test_what_a_gpu_is_to_run_is_set_up_at_a_tiny_size(
    small: Any, learns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that measures memory, on the CPU; its figures mean nothing here."""
    monkeypatch.setenv("TUNESMITH_CACHE", "")
    work = small.Work(small.TINY, 2, 1, 2, learns, "cpu", recompute=learns == "all")
    peak, steps = small.measured(f"memory/{learns}-512", work, 4.0, rounds=1)
    assert (peak["unit"], peak["ours"], peak["holds"]) == ("GiB", 0.0, True)
    assert steps["ours"] > 0
    assert steps["size"]["steps_per_second"] > 0
    assert ("lora" in steps["peer_name"]) == (learns == "lora")


def test_without_a_gpu_its_cases_are_named_with_the_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is at hand")
    module = load("image_generation")
    rows = [row for case in ("memory/lora-512", "memory/all-512") for row in module.CASES[case](True)]
    assert [row["case"] for row in rows if row["goal"]] == ["memory/lora-512", "memory/all-512"]
    assert all(row["reason"] == "no GPU is at hand" and row["ours"] is None for row in rows)
