"""SIGKILL of the server at every change of a job's state, and of the worker at moments of every sort.

No job is lost, none runs twice, and the weights are those of a job that nothing befell.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.forking import Forking
from tests.server.job_world import JobWorld
from tunesmith.server import workers

DEATHS_OF_SERVERS = [
    ("before", 1), ("after", 1),  # the files are validated
    ("before", 1), ("after", 1),  # a worker is about to start
    ("before", 2), ("after", 2), ("before", 2), ("after", 3),  # a worker has died, and the next is about to start
    ("before", 2), ("after", 1),  # the worker has finished
]  # fmt: skip
DEATHS_OF_WORKERS: list[dict[str, Any]] = [
    {"file": 3},
    {"line": 6},
    {"step": 8, "signal": "SIGTERM"},
    {"state": 2},
    {"outcome": 1},
]


@pytest.fixture(scope="module")
def whole(forking: Forking, small_base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[float]]:
    """Weights and losses of the job without a death."""
    world = JobWorld(tmp_path_factory.mktemp("whole"), small_base, forking)
    world.jobs.start()
    job = world.chat()
    assert world.ended(job)["status"] == "succeeded", world.told()
    found = world.weights(job), losses(world, job)
    world.close()
    return found


def losses(world: JobWorld, job: dict[str, Any]) -> list[float]:
    return [e.data["train_loss"] for e in world.events(job) if e.message.startswith("Step") and "train_loss" in e.data]


def assert_same_end(world: JobWorld, job: dict[str, Any], whole: tuple[bytes, list[float]]) -> None:
    done = world.jobs.retrieve(job["id"])
    assert done["status"] == "succeeded", world.told()
    assert (world.weights(job), losses(world, job)) == whole
    told = [e.message for e in world.events(job)]
    assert sum("New fine-tuned model" in line for line in told) == 1
    results = world.store.list_files(purpose="fine-tune-results").rows
    assert [file.id for file in results] == done["result_files"]
    assert [kept.step for kept in world.jobs.checkpoints(job["id"]).rows] == [12, 6]


def test_killed_at_every_change_of_state(
    tmp_path: Path, forking: Forking, small_base: str, whole: tuple[bytes, list[float]]
) -> None:
    world = JobWorld(tmp_path, small_base, forking)
    job = world.chat()
    forking.befall(*DEATHS_OF_WORKERS)
    for when, number in DEATHS_OF_SERVERS:
        assert world.serve(when, number) == -signal.SIGKILL, (when, number, world.told())
    assert forking.left() == 0
    assert world.serve() == 0
    assert_same_end(world, job, whole)
    assert any("without a word" in e.message for e in world.events(job))
    world.close()


def test_a_worker_outlives_its_server(
    tmp_path: Path, forking: Forking, small_base: str, whole: tuple[bytes, list[float]]
) -> None:
    """The next server finds it, starts no other, and tells what it did meanwhile once."""
    world = JobWorld(tmp_path, small_base, forking)
    job = world.chat()
    server = world.serving()
    world.reached(job, 1)
    server.kill()
    server.wait()
    lock = world.jobs.folder(job["id"]) / workers.LOCK
    pid = lock.read_text()
    again = world.serving()
    assert again.wait(600) == 0
    assert lock.read_text() == pid
    assert_same_end(world, job, whole)
    assert not any("Going on" in e.message for e in world.events(job))
    world.close()


def test_what_was_paused_or_cancelled_before_a_death_stays_so(
    tmp_path: Path, forking: Forking, small_base: str
) -> None:
    """A server that died between the change of a state and the signal: the next one sends it."""
    world = JobWorld(tmp_path, small_base, forking)
    jobs = [world.chat(hyperparameters={"n_epochs": 500}) for _ in range(2)]
    for job, status in zip(jobs, ("paused", "cancelled"), strict=True):
        server = world.serving()
        world.reached(job, 1)
        server.kill()
        server.wait()
        assert workers.alive(world.jobs.folder(job["id"]))
        world.store.update_job(job["id"], expected_status="running", status=status)
        again = world.serving()
        world.gone(job)
        again.kill()
        again.wait()
        assert world.jobs.retrieve(job["id"])["status"] == status
    # The paused one saved first.
    assert list((world.jobs.folder(jobs[0]["id"]) / "run" / "checkpoints").glob("step-*"))
    world.close()


FAKE = """
import json, os, sys, time
folder = sys.argv[-1]
with open(sys.argv[1], "a") as log: log.write(os.path.basename(folder) + "\\n")
time.sleep(0.02)
os.makedirs(folder + "/run", exist_ok=True)
open(folder + "/outcome.json", "w").write(json.dumps({"status": "finished"}))
"""


def test_fifty_jobs_survive_five_restarts(tmp_path: Path) -> None:
    """The queue alone: workers that note their job, and do nothing else."""
    log = tmp_path / "ran.txt"
    world = JobWorld(tmp_path / "world", "none", command=(sys.executable, "-S", "-c", FAKE, str(log)), at_once=2)
    jobs = [world.chat() for _ in range(50)]
    rng = random.Random(10)
    for round_ in range(5):
        server = world.serving()
        enough = (round_ + 1) * 7 + rng.randint(0, 3)
        world.until(lambda enough=enough: log.exists() and len(log.read_text().split()) >= enough)
        time.sleep(rng.random() * 0.1)
        server.kill()
        server.wait()
        assert any(world.jobs.retrieve(job["id"])["status"] == "queued" for job in jobs)
    assert world.serve() == 0
    assert {world.jobs.retrieve(job["id"])["status"] for job in jobs} == {"succeeded"}
    ran = log.read_text().split()
    assert sorted(ran) == sorted(job["id"] for job in jobs)
    # Oldest first, but for the two that run at a time.
    places = {job["id"]: n for n, job in enumerate(jobs)}
    assert all(abs(places[name] - n) <= 2 for n, name in enumerate(ran))
    world.close()


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    now = [2_000_000_000.0]
    log = tmp_path / "ran.txt"
    command = (sys.executable, "-S", "-c", FAKE, str(log))
    world = JobWorld(tmp_path / "world", "none", command=command, clock=lambda: now[0])
    first = world.chat()
    now[0] -= 1_000_000_000
    second = world.chat()
    assert [job["id"] for job in world.jobs.list().rows] == [second["id"], first["id"]]
    world.jobs.start()
    assert world.ended(first)["status"] == "succeeded"
    now[0] += 3_000_000_000
    assert world.ended(second)["status"] == "succeeded"
    assert log.read_text().split() == [first["id"], second["id"]]
    told = [e.message for e in world.events(first)]
    assert told[0].startswith("Created")
    assert told[-1].startswith("The job has successfully")
    world.close()


def test_a_signal_goes_to_a_worker_alone(tmp_path: Path) -> None:
    """A process id that another process has by now is no worker."""
    (tmp_path / workers.LOCK).write_text(f"{os.getpid():<10}")
    assert not workers.alive(tmp_path)
    assert not workers.tell(tmp_path, signal.SIGKILL)


def test_a_second_worker_is_not_started(tmp_path: Path) -> None:
    code = "import sys, time; print('here', flush=True); time.sleep(600)"
    first = workers.start(tmp_path, (sys.executable, "-S", "-c", code))
    assert first is not None
    assert workers.alive(tmp_path)
    assert workers.start(tmp_path, (sys.executable, "-S", "-c", code)) is None
    assert workers.tell(tmp_path)
    assert first.wait(60) == -signal.SIGTERM
    assert not workers.alive(tmp_path)
    workers.put_outcome(tmp_path, "failed", "so", code="x")
    assert workers.outcome(tmp_path) == json.loads((tmp_path / workers.OUTCOME).read_text())
