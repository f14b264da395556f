"""Two processes (gloo, CPU) against one: the same weights to 1e-6, everything written once, nobody left waiting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.conftest import Process, World, end_of, events_of
from tunesmith.train.engine import LocalEngine
from tunesmith.train.guard import stop_asked

# SGD: Adam divides by the gradient's size, so a gradient that is rounding alone (an attention key's bias) takes whole
# steps in any direction; see the test of AdamW.
SETTINGS: dict[str, Any] = {
    "batch": {"rows": 7, "micro": 3},
    "optimizer": {"name": "sgd", "ema": 0.8},
    "run": {"checkpoint_steps": 5},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, server: Any) -> World:
    """A world with a run of one process, in steps of 7 rows cut into 3, and dropout on."""
    world = World(tmp_path_factory.mktemp("ranks"), tiny_model, server)
    code, said = world.train(world.recipe(**SETTINGS), "run.name=one")
    assert code == 0, said
    return world


def start_two(world: World, *settings: str, recipe: Path | None = None, **order: Any) -> list[Process]:
    """Two ranks as torchrun would start them, without paying for the imports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [env | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    recipe = recipe or world.recipe(**SETTINGS)
    return [world.start(recipe, *settings, env=rank, **order) for rank in ranks]


def largest_difference(one: Path, other: Path, *, but: str = "nothing") -> float:
    first, second = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if not name.endswith(but))


def assert_like_one(world: World, name: str) -> None:
    one, two = world.runs / "one", world.runs / name
    assert largest_difference(one, two) <= 1e-6
    ends = end_of(one), end_of(two)
    assert ends[0]["steps"] == ends[1]["steps"]
    assert ends[0]["losses"] == pytest.approx(ends[1]["losses"], abs=1e-5)
    # What a run that goes on does and says once more.
    again = ("resume", "stage", "cache", "rehearsal")
    kinds = [[e["kind"] for e in events_of(run) if e["kind"] not in again] for run in (one, two)]
    assert kinds[0] == kinds[1]
    assert (two / "report.html").exists()
    assert [p.name for p in two.rglob(".*")] == [".lock"]


@pytest.mark.heavy
def test_torchrun(place: World) -> None:
    """As a person starts it: the command ends by itself, without a warning of a process group left behind."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tunesmith", "train", str(place.recipe(**SETTINGS)), "run.name=torchrun"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TUNESMITH_CACHE": str(place.root / "cache"), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "destroy_process_group" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr
    assert ended.stdout.count("report:") == 1
    assert ended.stderr.count("120 rows (csv") == 1
    assert_like_one(place, "torchrun")


def test_two_ranks_stopped_and_taken_up_again(place: World) -> None:
    """SIGTERM to one rank stops both after the same step; both go on from there."""
    run = place.runs / "two"
    ranks = start_two(place, "run.name=two", cache=place.root / "cache" / "two")
    end = time.monotonic() + 60
    while not (run / "checkpoints").exists():
        assert time.monotonic() < end, ranks[0].said()
        time.sleep(0.005)
    os.kill(ranks[1].pid, signal.SIGTERM)
    assert [rank.wait(30) for rank in ranks] == [143, 143], ranks[0].said() + ranks[1].said()
    assert "stopped by SIGTERM after step" in ranks[0].said()
    ranks = start_two(place, "run.name=two", cache=place.root / "cache" / "two")
    assert [rank.wait(60) for rank in ranks] == [0, 0], ranks[0].said() + ranks[1].said()
    assert sum(e["kind"] == "resume" for e in events_of(run)) == 1
    assert_like_one(place, "two")


def test_two_ranks_at_a_finished_run_and_at_a_wrong_one(place: World) -> None:
    """What only the main process finds out, the other hears: nobody waits for nobody."""
    ranks = start_two(place, "run.name=one")
    assert [rank.wait(30) for rank in ranks] == [0, 0], ranks[0].said() + ranks[1].said()
    assert "finished already" in ranks[0].said()
    ranks = start_two(place, "run.name=one", "stages.0.lr=0.5")
    assert [rank.wait(30) for rank in ranks] == [2, 2], ranks[0].said() + ranks[1].said()
    assert "another recipe" in ranks[0].said()
    assert all("Traceback" not in rank.said() for rank in ranks)


def test_a_run_may_go_on_with_another_number_of_processes(place: World) -> None:
    """To rounding, and it says so."""
    code, said = place.train(place.recipe(**SETTINGS), "run.name=grown", die=("step", 24))
    assert code == -signal.SIGKILL, said
    ranks = start_two(place, "run.name=grown")
    assert [rank.wait(60) for rank in ranks] == [0, 0], ranks[0].said() + ranks[1].said()
    assert "began with world 1 and goes on with 2: equal to rounding, not bit for bit" in ranks[0].said()
    assert largest_difference(place.runs / "one", place.runs / "grown") <= 1e-6


def test_adamw_and_a_layer_that_nothing_reads(place: World) -> None:
    """Pooling by mean leaves BERT's pooler without a gradient; AdamW agrees wherever there is one to agree on."""
    stages = [{"train": {"top": 2}, "steps": 6, "lr": 1e-3}, {"train": "all", "steps": 6, "lr": 1e-3}]
    recipe = place.recipe("mean", batch={"rows": 7}, stages=stages, options={"pooling": "mean"})
    code, said = place.train(recipe, "run.name=mean-1")
    assert code == 0, said
    ranks = start_two(place, "run.name=mean-2", recipe=recipe)
    assert [rank.wait(60) for rank in ranks] == [0, 0], ranks[0].said() + ranks[1].said()
    one, two = place.runs / "mean-1", place.runs / "mean-2"
    assert end_of(one)["losses"] == pytest.approx(end_of(two)["losses"], abs=1e-5)
    assert largest_difference(one, two, but="key.bias") <= 1e-5


@pytest.mark.parametrize(("asked", "means"), [((15, 15), 15), ((0, 15), 15), ((2, 0), 2), ((2, 2), 2), ((0, 0), None)])
def test_signals_of_several_ranks_are_not_added_up(asked: tuple[int, int], means: int | None) -> None:
    class Ranks:
        world, rank = 2, 0

        def sum(self, slots: torch.Tensor) -> torch.Tensor:
            return slots + torch.tensor([0, asked[1]])

    class Stop:
        pass

    class Job:
        engine, stop = Ranks(), Stop()

    Job.stop.asked = asked[0] or None  # type: ignore[attr-defined]
    assert stop_asked(Job()) == means  # type: ignore[arg-type]


def test_one_process_is_its_own_world() -> None:
    engine = LocalEngine("cpu", "fp32")
    assert (engine.rank, engine.world, engine.main) == (0, 1, True)
    assert engine.total([{"rows": 3.0}, {"rows": 4.0}]) == {"rows": 7.0}
    assert engine.gather([1, 2]) == [[1, 2]]
    assert torch.equal(engine.sum(torch.tensor([2.0])), torch.tensor([2.0]))
    engine.wait()
    engine.close()
