"""Jobs that go on from a model that was tuned here: its adapter is in the base that the new one is learned on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.small_decoders import pairs
from tests.server.forking import Forking
from tests.server.job_world import JobWorld


@pytest.fixture(scope="module")
def world(forking: Forking, small_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobWorld]:
    found = JobWorld(tmp_path_factory.mktemp("again"), small_base, forking)
    found.jobs.start()
    yield found
    found.close()


@pytest.fixture(scope="module")
def first(world: JobWorld) -> dict[str, Any]:
    job = world.ended(world.chat(suffix="one"))
    assert job["status"] == "succeeded", world.told()
    return job


@pytest.fixture(scope="module")
def second(world: JobWorld, first: dict[str, Any]) -> dict[str, Any]:
    job = world.ended(world.chat(model=first["fine_tuned_model"], suffix="two"))
    assert job["status"] == "succeeded", world.told()
    return job


def losses(world: JobWorld, job: dict[str, Any]) -> list[float]:
    return [e.data["train_loss"] for e in world.events(job) if "train_loss" in e.data]


def assert_merged(world: JobWorld, base: Path, adapter: Path, merged: Path) -> None:
    """The merged weights are W + (alpha / r) B A where the adapter has a layer, and W elsewhere."""
    forking = world.forking
    assert forking is not None
    apart, changed = forking.call("tests.server.job_world:merged_apart", str(base), str(adapter), str(merged))
    # Rounded once to bf16, where the CPU has units for it and what is frozen is held so.
    assert apart <= 2**-8
    assert len(changed) == 21
    assert min(changed.values()) > 0


def test_it_is_learned_on_the_base_with_the_adapter_in_it(
    world: JobWorld, small_base: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert second["model"] == first["fine_tuned_model"]
    assert second["fine_tuned_model"].startswith("ft:tiny:two:")
    folder = world.jobs.folder(second["id"])
    assert_merged(world, Path(small_base), world.jobs.folder(first["id"]) / "run" / "model", folder / "base")
    assert not (folder / ".base.tmp").exists()
    assert any("merged into a base" in e.message for e in world.events(second))
    # It begins where the other one ended: on the same rows its base scores what the other's model did.
    ended, begun = (
        json.loads((world.jobs.folder(j["id"]) / "run" / "scores.json").read_text()) for j in (first, second)
    )
    assert begun["base"] == pytest.approx(ended["tuned"], rel=2e-3)
    assert ended["tuned"] < 0.98 * ended["base"]
    assert begun["tuned"] < 0.98 * begun["base"]
    assert losses(world, second)[0] < losses(world, first)[0]
    recorded = json.loads((folder / "run" / "recipe.json").read_text())["values"]
    assert recorded["model"]["name"] == str(folder / "base")
    checkpoints = world.jobs.checkpoints(second["id"]).rows
    assert checkpoints[0].model == f"{second['fine_tuned_model']}:ckpt-step-12"


def test_a_checkpoint_is_gone_on_from_too_and_by_the_other_method(
    world: JobWorld, small_base: str, first: dict[str, Any]
) -> None:
    kept = world.jobs.checkpoints(first["id"]).rows[-1]
    assert kept.step == 6
    rows = pairs(24)
    files = {"training_file": world.rows(rows[:16]), "validation_file": world.rows(rows[16:])}
    method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1}}}
    job = world.ended(world.jobs.create({"model": kept.model, "seed": 7, "method": method, **files}))
    assert job["status"] == "succeeded", world.told()
    assert_merged(world, Path(small_base), world.store.folder / kept.folder, world.jobs.folder(job["id"]) / "base")


def test_a_third_stands_on_the_second(world: JobWorld, second: dict[str, Any]) -> None:
    job = world.ended(world.chat(model=second["fine_tuned_model"]))
    assert job["status"] == "succeeded", world.told()
    assert job["fine_tuned_model"].startswith("ft:tiny::")
    before = world.jobs.folder(second["id"])
    assert_merged(world, before / "base", before / "run" / "model", world.jobs.folder(job["id"]) / "base")


def test_a_death_while_it_is_merged_changes_nothing(
    world: JobWorld, forking: Forking, first: dict[str, Any], second: dict[str, Any]
) -> None:
    forking.befall({"merge": 1}, {"merge": 2})
    job = world.ended(world.chat(model=first["fine_tuned_model"]))
    assert job["status"] == "succeeded", world.told()
    assert forking.left() == 0
    assert sum("without a word" in e.message for e in world.events(job)) == 2
    assert world.weights(job) == world.weights(second)
    assert losses(world, job) == losses(world, second)


def test_a_full_disk_while_it_is_merged_ends_a_job_that_may_go_on(
    world: JobWorld, forking: Forking, small_base: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    forking.befall({"file_bytes": (Path(small_base) / "model.safetensors").stat().st_size // 2})
    job = world.ended(world.chat(model=first["fine_tuned_model"]))
    assert (job["status"], job["error"]["code"]) == ("failed", "insufficient_storage"), world.told()
    assert "resume the job" in job["error"]["message"]
    assert not (world.jobs.folder(job["id"]) / "base").exists()
    world.jobs.resume(job["id"])
    assert world.ended(job)["status"] == "succeeded", world.told()
    assert world.weights(job) == world.weights(second)


def test_once_begun_it_needs_nothing_of_the_one_before(world: JobWorld, forking: Forking) -> None:
    first = world.ended(world.chat(hyperparameters={"n_epochs": 1}))
    second = world.ended(world.chat(model=first["fine_tuned_model"], hyperparameters={"n_epochs": 1}))
    assert second["status"] == "succeeded", world.told()
    shutil.rmtree(world.jobs.folder(first["id"]))
    run = world.jobs.folder(second["id"]) / "run"
    assert forking.call("tests.server.job_world:tokens_said", str(run)) == 8
    # What has not begun has nothing to stand on.
    failed = world.ended(world.chat(model=first["fine_tuned_model"]))
    assert failed["status"] == "failed", world.told()
    assert (failed["error"]["code"], failed["error"]["param"]) == ("base_unavailable", "model")
