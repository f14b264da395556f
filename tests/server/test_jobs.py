"""Jobs that really train: what clients are told, what is kept, and cancel, pause and resume of a process at work."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.small_decoders import conversations
from tests.server.forking import Forking
from tests.server.job_world import JobWorld
from tunesmith.server import workers
from tunesmith.server.faults import ApiFault


@pytest.fixture(scope="module")
def world(forking: Forking, small_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobWorld]:
    found = JobWorld(tmp_path_factory.mktemp("world"), small_base, forking)
    found.jobs.start()
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(world: JobWorld) -> dict[str, Any]:
    """A job that nothing befell."""
    job = world.ended(world.chat(suffix="colours", metadata={"who": "me"}))
    assert job["status"] == "succeeded", world.told()
    return job


def steps(world: JobWorld, job: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(e.data) for e in world.events(job) if "train_loss" in e.data]


def test_what_is_told_is_what_the_run_wrote(world: JobWorld, whole: dict[str, Any]) -> None:
    run = world.jobs.folder(whole["id"]) / "run"
    written = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    told = steps(world, whole)
    assert [e["train_loss"] for e in told] == [e["loss"] for e in written if e["kind"] == "step"]
    assert [e["step"] for e in told] == list(range(1, 13))
    assert {e["total_steps"] for e in told} == {12}
    assert told[-1]["train_loss"] < told[0]["train_loss"]
    assert all(0 <= e["train_mean_token_accuracy"] <= 1 for e in told)
    scored = [dict(e.data) for e in world.events(whole) if "full_valid_loss" in e.data]
    evaluations = [e for e in written if e["kind"] == "eval"]
    # The validation file is shown, and chooses no weights.
    assert all(e["rows"] == "held_out" and not e["best"] for e in evaluations)
    perplexities = [e["scores"]["perplexity"] for e in evaluations]
    assert [math.exp(e["full_valid_loss"]) for e in scored] == pytest.approx(perplexities)
    # The last scoring is of the weights that were saved, which the run scored again on the same rows.
    assert perplexities[-1] == pytest.approx(json.loads((run / "scores.json").read_text())["tuned"])
    assert whole["trained_tokens"] == sum(e["counts"]["tokens"] for e in written if e["kind"] == "step")


def test_the_result_file_is_the_table_of_these_numbers(world: JobWorld, whole: dict[str, Any]) -> None:
    (file,) = whole["result_files"]
    assert world.store.get_file(file).purpose == "fine-tune-results"
    table = list(csv.DictReader(io.StringIO(world.store.file_path(file).read_text())))
    assert [float(row["train_loss"]) for row in table] == [e["train_loss"] for e in steps(world, whole)]
    assert [row["step"] for row in table if row["valid_loss"]] == ["6", "12"]


def test_checkpoints_are_the_adapters_of_their_epochs(world: JobWorld, whole: dict[str, Any]) -> None:
    last, first = world.jobs.checkpoints(whole["id"]).rows
    assert (first.step, last.step) == (6, 12)
    assert last.model == f"{whole['fine_tuned_model']}:ckpt-step-12"
    assert whole["fine_tuned_model"].startswith("ft:tiny:colours:")
    assert first.metrics["full_valid_loss"] > last.metrics["full_valid_loss"]
    places = [world.store.folder / kept.folder for kept in (first, last)]
    assert all((place / "tokenizer.json").is_file() for place in places)
    bytes_of = [(place / "adapter_model.safetensors").read_bytes() for place in places]
    assert bytes_of[0] != bytes_of[1] == world.weights(whole)


def test_what_was_asked_is_echoed(world: JobWorld, whole: dict[str, Any]) -> None:
    assert whole["hyperparameters"] == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 20.0}
    assert (whole["seed"], whole["metadata"], whole["model"]) == (7, {"who": "me"}, "tiny")
    assert world.jobs.list(metadata={"who": "me"}).rows[-1]["id"] == whole["id"]
    assert not world.jobs.list(metadata={"who": "you"}).rows


def test_a_paused_job_goes_on_to_the_same_end(world: JobWorld, whole: dict[str, Any], forking: Forking) -> None:
    forking.befall({"slow": 0.2})
    job = world.chat()
    world.reached(job, 2)
    assert world.jobs.pause(job["id"])["status"] == "paused"
    assert world.jobs.pause(job["id"])["status"] == "paused"
    world.gone(job)
    assert 2 <= len(steps(world, job)) < 12
    assert list((world.jobs.folder(job["id"]) / "run" / "checkpoints").glob("step-*"))
    assert world.jobs.retrieve(job["id"])["status"] == "paused"
    assert world.jobs.resume(job["id"])["status"] == "queued"
    assert world.ended(job)["status"] == "succeeded", world.told()
    assert any(e.message.startswith("Going on from step") for e in world.events(job))
    assert [e["train_loss"] for e in steps(world, job)] == [e["train_loss"] for e in steps(world, whole)]
    assert world.weights(job) == world.weights(whole)


def test_a_cancelled_job_is_over(world: JobWorld, whole: dict[str, Any]) -> None:
    job = world.chat(hyperparameters={"n_epochs": 500})
    waiting = world.chat()
    world.reached(job, 2)
    assert world.jobs.retrieve(waiting["id"])["status"] == "queued"
    assert world.jobs.cancel(waiting["id"])["status"] == "cancelled"
    done = world.jobs.cancel(job["id"])
    assert done["status"] == "cancelled"
    assert done["finished_at"] is not None
    world.gone(job)
    assert world.jobs.retrieve(job["id"])["fine_tuned_model"] is None
    assert not (world.jobs.folder(waiting["id"])).exists()
    for act in (world.jobs.cancel, world.jobs.pause, world.jobs.resume):
        for ended in (job, whole):
            with pytest.raises(ApiFault) as fault:
                act(ended["id"])
            assert (fault.value.status, fault.value.code) == (400, "job_has_ended")


def test_preferences(world: JobWorld) -> None:
    job = world.ended(world.preference(beta=0.3))
    assert job["status"] == "succeeded", world.told()
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.3
    scored = [dict(e.data) for e in world.events(job) if "full_valid_loss" in e.data]
    assert 0 < scored[-1]["full_valid_loss"] < math.log(2)
    assert 0 <= scored[-1]["full_valid_preference_accuracy"] <= 1
    assert steps(world, job)[0]["train_loss"] == pytest.approx(math.log(2), abs=1e-3)


def test_without_a_validation_file_some_rows_are_held_out(world: JobWorld) -> None:
    """And what may be "auto" or left out is resolved at once."""
    rows = world.rows(conversations(24))
    hyperparameters = {"n_epochs": "auto", "batch_size": "auto"}
    made = world.jobs.create({"model": "tiny", "training_file": rows, "hyperparameters": hyperparameters})
    assert made["hyperparameters"] == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert isinstance(made["seed"], int)
    done = world.ended(made)
    assert done["status"] == "succeeded", world.told()
    assert done["seed"] == made["seed"]
    recorded = json.loads((world.jobs.folder(made["id"]) / "run" / "environment.json").read_text())
    assert 1 <= recorded["data"]["eval"]["rows"] <= 4
    assert any("held out" in e.message for e in world.events(made))


def test_the_plan_refuses_what_does_not_fit(world: JobWorld, forking: Forking) -> None:
    forking.befall({"memory": 1 << 16})
    job = world.ended(world.chat())
    assert job["status"] == "failed", world.told()
    assert job["error"]["code"] == "plan_refused"
    assert "stage 1 needs" in job["error"]["message"]
    assert job["fine_tuned_model"] is None


def test_a_full_disk_ends_a_job_that_may_go_on(world: JobWorld, forking: Forking, whole: dict[str, Any]) -> None:
    weights = len(world.weights(whole))
    forking.befall({"file_bytes": weights // 2})
    job = world.chat()
    failed = world.ended(job)
    assert failed["status"] == "failed", world.told()
    assert failed["error"]["code"] == "insufficient_storage", failed
    assert "can't be written" in failed["error"]["message"]
    assert "resume the job" in failed["error"]["message"]
    assert world.jobs.resume(job["id"])["error"] is None
    assert world.ended(job)["status"] == "succeeded", world.told()
    assert world.weights(job) == world.weights(whole)


def test_a_worker_that_dies_each_time_is_given_up(world: JobWorld, forking: Forking) -> None:
    forking.befall(*[{"file": 1}] * 5)
    job = world.ended(world.chat())
    assert job["status"] == "failed", world.told()
    assert job["error"]["code"] == "worker_died"
    assert forking.left() == 0


def test_rates_are_the_tasks_own(forking: Forking) -> None:
    from tunesmith.server.job_recipe import RATES

    assert forking.call("tests.server.job_world:own_rates") == [RATES["supervised"], RATES["dpo"]]


def test_a_stopped_server_leaves_no_worker(world: JobWorld) -> None:
    job = world.chat(hyperparameters={"n_epochs": 400})
    world.reached(job, 1)
    world.jobs.stop()
    assert not workers.alive(world.jobs.folder(job["id"]))
    assert world.jobs.retrieve(job["id"])["status"] == "running"
    before = len(steps(world, job))
    world.jobs.start()
    world.reached(job, before + 2)
    world.jobs.cancel(job["id"])
    world.gone(job)
    told = [e["step"] for e in steps(world, job)]
    assert told == list(range(1, len(told) + 1))


def test_the_folder_has_one_server(world: JobWorld, small_base: str) -> None:
    from tunesmith.errors import UserError

    other = JobWorld(world.folder, small_base, command=("false",))
    with pytest.raises(UserError, match="another server"):
        other.jobs.start()
    other.close()


def test_a_job_is_an_ordinary_run(world: JobWorld, whole: dict[str, Any]) -> None:
    """Its recipe, read beside it, names files that are there, and says what the job said."""
    from tunesmith.recipe import read_recipe

    folder: Path = world.jobs.folder(whole["id"])
    recipe = read_recipe(folder / "recipe.yaml").recipe
    assert (folder / recipe.data.train).is_file()
    assert (folder / str(recipe.data.eval)).is_file()
    assert not Path(recipe.data.train).is_absolute()
    assert (recipe.run.seed, recipe.batch.rows, recipe.stages[0].epochs) == (7, 4, 2)  # type: ignore[index]
    assert (folder / "run" / "report.html").is_file()
