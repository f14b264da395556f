"""Ctrl-C and SIGTERM, two processes at one run, a run of another recipe or other rows, a finished run."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Process, World, assert_same_end, events_of
from tunesmith.train.signals import StopRequest, stopped


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, server: Any) -> World:
    """A world with one whole run."""
    world = World(tmp_path_factory.mktemp("signals"), tiny_model, server)
    code, said = world.train(world.recipe(), "run.name=whole")
    assert code == 0, said
    return world


def once_halted(process: Process, seconds: float = 60) -> None:
    """Wait until a process that stops itself with SIGSTOP has done so."""
    end = time.monotonic() + seconds
    while process.state() != "T":
        assert process.state() not in ("Z", ""), process.said()
        assert time.monotonic() < end, process.said()
        time.sleep(0.002)


def state_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "state.json").read_text()))


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")], ids=["term", "int"]
)
def test_a_signal_saves_and_says_how_to_go_on(place: World, number: int, code: int, word: str) -> None:
    run = place.runs / word
    # The process halts itself in a step, so that the signal comes from outside and yet always while steps are done.
    halt = ["step", 7, int(signal.SIGSTOP)]
    process = place.start(place.recipe(), f"run.name={word}", "run.checkpoint_steps=1000", signal_in=halt)
    once_halted(process)
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == code
    said = process.said()
    assert f"stopped by {word} after step" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert state_of(run)["status"] == "interrupted"
    steps = [e["step"] for e in events_of(run) if e["kind"] == "step"]
    assert (run / "checkpoints" / f"step-{steps[-1]:09d}" / "manifest.json").exists()
    assert steps[-1] == 7
    again, said = place.train(place.recipe(), f"run.name={word}")
    assert again == 0, said
    assert f"going on from step {steps[-1]}" in said
    assert_same_end(place.runs / "whole", run)


@pytest.mark.parametrize("slow", ["reading", "scoring the base", "recording", "finding", "scoring the saved model"])
def test_a_signal_between_the_steps(place: World, slow: str) -> None:
    """Where no step is being done a signal is met, too: reading, base, recording, range test, proof."""
    name = f"at-{slow.rpartition(' ')[2]}"
    settings = [f"run.name={name}"]
    recipe = place.recipe()
    if slow == "finding":
        recipe = place.recipe("auto", stages=[{"train": "all", "epochs": 1, "lr": "auto"}])
    cache = place.root / "cache" / name
    code, said = place.train(recipe, *settings, cache=cache, signal_at=[slow, int(signal.SIGTERM)])
    assert code == 143, said
    assert "stopped by SIGTERM" in said
    assert state_of(place.runs / name)["status"] == "interrupted"
    code, said = place.train(recipe, *settings, cache=cache)
    assert code == 0, said
    if slow != "finding":
        assert_same_end(place.runs / "whole", place.runs / name)


def test_a_second_ctrl_c_stops_at_once(place: World) -> None:
    run = place.runs / "twice"
    code, said = place.train(place.recipe(), "run.name=twice", signal_at=["scoring the base", int(signal.SIGINT), 2])
    assert code == 130, said
    assert "Traceback" not in said
    state = state_of(run)
    assert state["status"] == "interrupted"
    assert "second Ctrl-C" in state["message"]
    code, said = place.train(place.recipe(), "run.name=twice")
    assert code == 0, said
    assert_same_end(place.runs / "whole", run)


def test_two_processes_at_one_run(place: World) -> None:
    run = place.runs / "two"
    first = place.start(place.recipe(), "run.name=two", signal_in=["step", 3, int(signal.SIGSTOP)])
    once_halted(first)
    for more in ([], ["--fresh"]):
        code, said = place.train(place.recipe(), "run.name=two", *more)
        assert code == 2, said
        assert f"another process (pid {first.pid}) trains into this run" in said
        assert state_of(run)["status"] == "running"
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait() == 0, first.said()
    assert not (place.runs / "two.old-1").exists()
    assert_same_end(place.runs / "whole", run)


def test_a_run_of_another_recipe(place: World) -> None:
    before = (place.runs / "whole" / "state.json").read_bytes()
    code, said = place.train(place.recipe(), "run.name=whole", "stages.0.lr=0.5", "batch.rows=4")
    assert code == 2
    assert "this run belongs to another recipe" in said
    assert "stages.0.lr: 0.03 -> 0.5" in said
    assert "batch.rows: 8 -> 4" in said
    assert (place.runs / "whole" / "state.json").read_bytes() == before


def test_other_rows(place: World) -> None:
    code, said = place.train(place.recipe(), "run.name=rows", die=("step", 7))
    assert code == -signal.SIGKILL, said
    file = place.root / "rows-120.csv"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("w1 ", "w2 ", 1))
        code, said = place.train(place.recipe(), "run.name=rows")
    finally:
        file.write_text(kept)
    assert code == 2
    assert "the train rows are not those that this run began with" in said
    code, said = place.train(place.recipe(), "run.name=rows")
    assert code == 0, said
    assert_same_end(place.runs / "whole", place.runs / "rows")


def test_a_finished_run(place: World) -> None:
    run = place.runs / "whole"
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"}
    code, said = place.train(place.recipe(), "run.name=whole")
    assert code == 0
    assert "is finished already; --fresh starts anew" in said
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"} == before
    (run / "report.html").unlink()
    assert place.train(place.recipe(), "run.name=whole")[0] == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_fresh_puts_the_old_run_aside(place: World) -> None:
    code, said = place.train(place.recipe(), "run.name=again", die=("step", 7))
    assert code == -signal.SIGKILL, said
    old = (place.runs / "again" / "events.jsonl").read_bytes()
    code, said = place.train(place.recipe(), "run.name=again", "--fresh")
    assert code == 0, said
    assert "again.old-1" in said
    assert (place.runs / "again.old-1" / "events.jsonl").read_bytes() == old
    assert_same_end(place.runs / "whole", place.runs / "again")
    assert not any(e["kind"] == "resume" for e in events_of(place.runs / "again"))


def test_stop_request_gives_the_handlers_back() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_stop_request_in_another_thread_asks_for_nothing() -> None:
    seen: list[int | None] = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_stopped_tells_the_code(tmp_path: Path) -> None:
    assert stopped(int(signal.SIGTERM), tmp_path, 4).code == 143
    assert stopped(int(signal.SIGINT), tmp_path).code == 130
    assert "after step 4" in stopped(int(signal.SIGTERM), tmp_path, 4).what
