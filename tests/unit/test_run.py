"""The run directory under kills, full disks, second processes and damaged files."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tunesmith import run as run_room
from tunesmith.errors import UserError
from tunesmith.run import Run, jsonable, list_runs


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(tmp_path / "runs" / "first", create=True)


@contextmanager
def python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A child process that runs the code with the arguments, its output readable; it never outlives the block."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_the_names_are_those_of_the_design(run: Run) -> None:
    named = {path.name for path in vars(run).values() if isinstance(path, Path)} - {run.folder.name}
    assert named == {
        *("recipe.yaml", "recipe.json", "environment.json", "facts.json", "audit.json", "plan.json", "events.jsonl"),
        *("checkpoints", "model", "predictions.jsonl", "panels.json", "scores.json", "receipts.json", "measured.json"),
        *("report.html", "README.md", "state.json"),
    }


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, tunesmith.run; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_json_is_always_valid_and_comes_back(run: Run) -> None:
    @dataclass
    class Point:
        x: float
        y: tuple[int, ...]

    value = {
        "nan": float("nan"),
        "inf": [float("inf"), -np.inf, 1.5],
        7: np.arange(3),
        "scalar": np.float32(0.5),
        "tensor": torch.tensor([1.0, float("nan")]),
        "point": Point(np.float64(2), (1, 2)),
        "path": Path("a/b"),
        "names": {"b", "a"},
        "text": "naïve \N{SNOWMAN}",
        "flag": np.bool_(True),
        "none": None,
    }
    run.write_json("facts.json", value)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    back = json.loads(run.facts.read_text(encoding="utf-8"), parse_constant=refuse)
    assert back == run.read_json("facts.json") == run.read_json(run.facts)
    assert back == {
        "nan": None,
        "inf": [None, None, 1.5],
        "7": [0, 1, 2],
        "scalar": 0.5,
        "tensor": [1.0, None],
        "point": {"x": 2.0, "y": [1, 2]},
        "path": "a/b",
        "names": ["a", "b"],
        "text": "naïve \N{SNOWMAN}",
        "flag": True,
        "none": None,
    }


def test_what_json_cannot_hold_is_our_own_fault(run: Run) -> None:
    with pytest.raises(TypeError):
        run.write_json("facts.json", {"thing": object()})
    assert not run.facts.exists()
    assert jsonable(True) is True


def test_a_write_leaves_only_the_file_with_ordinary_rights(run: Run) -> None:
    run.write_text("recipe.yaml", "task: x\n")
    run.write_text("recipe.yaml", "task: y\n")
    assert run.recipe_yaml.read_text() == "task: y\n"
    assert [path.name for path in run.folder.iterdir()] == ["recipe.yaml"]
    mask = os.umask(0)
    os.umask(mask)
    assert run.recipe_yaml.stat().st_mode & 0o777 == 0o666 & ~mask


def test_readers_and_kills_never_meet_half_a_file(run: Run) -> None:
    """Children rewrite one large file without end and are killed; whoever looks, whenever, sees a whole file."""
    code = """
        import sys
        from tunesmith.run import Run
        run = Run.open(sys.argv[1])
        for i in range(10**9):
            run.write_text("report.html", "abcdefghij"[i % 10] * 4_000_000)
            i == 0 and print("begun", flush=True)
    """
    for kill in range(4):
        with python(code, run.folder) as child:
            assert child.stdout
            assert child.stdout.readline() == "begun\n"
            for _ in range(30 + kill):
                seen = run.report.read_bytes()
                assert len(seen) == 4_000_000
                assert seen.count(seen[:1]) == len(seen)
        seen = run.report.read_bytes()
        assert seen.count(seen[:1]) == len(seen) == 4_000_000


def test_a_failed_write_leaves_the_old_file_and_no_litter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_json("scores.json", {"old": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_room.os, "fsync", full)
    with pytest.raises(UserError, match=r"disk is full \([\d,]+ MiB free\).*last good checkpoint is whole") as caught:
        run.write_json("scores.json", {"new": 1})
    assert "same command" in caught.value.fix
    assert run.read_json("scores.json") == {"old": 1}
    assert [path.name for path in run.folder.iterdir()] == ["scores.json"]


def test_a_disk_that_is_really_full(run: Run) -> None:
    """The system's own full device: every write to it fails as on a full disk."""
    run.append_event({"kind": "step", "step": 1})
    run._log, log = os.open("/dev/full", os.O_WRONLY | os.O_APPEND), run._log
    with pytest.raises(UserError, match="the disk is full"):
        run.append_event({"kind": "step", "step": 2})
    run.close()
    run._log = log
    run.append_event({"kind": "step", "step": 3})
    run.close()
    assert [event["step"] for event in run.read_events()[0]] == [1, 3]


def test_an_event_that_meets_a_full_disk_half_way_is_taken_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.append_event({"kind": "step", "step": 1})
    real, calls = os.write, []

    def half(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) == 1:
            return real(descriptor, data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_room.os, "write", half)
    with pytest.raises(UserError, match="the disk is full"):
        run.append_event({"kind": "step", "step": 2})
    monkeypatch.undo()
    run.append_event({"kind": "step", "step": 3})
    assert [event["step"] for event in run.read_events()[0]] == [1, 3]


@pytest.mark.parametrize("create", [True, False])
def test_a_file_in_place_of_the_folder(tmp_path: Path, create: bool) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run is a file"):
        Run.open(tmp_path / "run", create=create)
    with pytest.raises(UserError):
        Run.open(tmp_path / "run" / "below", create=create)


def test_a_place_where_nobody_may_write() -> None:
    with pytest.raises(UserError, match=r"can't be written|no permission"):
        Run.open("/proc/tunesmith-test/run", create=True)


def test_no_write_permission_is_one_clear_error() -> None:
    """As an ordinary user: root, as which the tests may run, passes every permission check."""
    code = """
        import fcntl, os, sys
        from pathlib import Path
        from tunesmith.errors import UserError
        from tunesmith.run import Run
        if os.geteuid() == 0:
            os.setgid(65534); os.setuid(65534)
        run = Run(Path(sys.argv[1]))
        for act in (lambda: Run.open(sys.argv[1], create=True), lambda: run.write_json("scores.json", {}), run.lock,
                    lambda: run.append_event({"step": 1})):
            try:
                act()
            except UserError as error:
                print(error.what)
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with python(code, folder) as child:
            lines = child.communicate()[0].splitlines()
        Path(folder).chmod(0o755)
        assert list(Path(folder).iterdir()) == []
    assert len(lines) == 4
    assert all(line.startswith("no permission to write") for line in lines), lines


def test_a_missing_run_suggests_a_near_one(run: Run) -> None:
    run.set_state("running")
    with pytest.raises(UserError, match=r"did you mean '.*first'"):
        Run.open(run.folder.with_name("frist"))
    with pytest.raises(UserError, match="no such run"):
        Run.open(run.folder / "nowhere" / "else")


@pytest.mark.parametrize(
    ("content", "words", "where"),
    [
        (b'{"a": 1,\n "b": ', "Expecting value", ":2:7"),
        (b"", "Expecting value", ":1:1"),
        (b'{"a": "\xff\xfe"}', "can't decode byte", ""),
    ],
)
def test_a_damaged_file_is_named_with_its_place(run: Run, content: bytes, words: str, where: str) -> None:
    run.scores.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        run.read_json("scores.json")
    assert caught.value.where == f"{run.scores}{where}"
    with pytest.raises(UserError, match=r"has no plan\.json"):
        run.read_json("plan.json")


def test_events_come_back_in_order_and_survive_a_kill(run: Run) -> None:
    code = """
        import os, signal, sys
        from tunesmith.run import Run
        run = Run.open(sys.argv[1])
        for step in range(1, 101):
            run.append_event({"kind": "step", "step": step, "loss": float("nan")})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with python(code, run.folder) as child:
        assert child.wait() == -signal.SIGKILL
    events, torn = run.read_events()
    assert not torn
    assert [event["step"] for event in events] == list(range(1, 101))
    assert events[0]["loss"] is None


def test_no_events_yet(run: Run) -> None:
    assert run.read_events() == ([], False)


@pytest.mark.parametrize("tail", [b'{"kind": "st', b'{"kind": "step", "step": 3}', b"\x00\x00\x00\n", b'{"a": \xff'])
def test_a_torn_last_event_is_left_out_and_said(run: Run, tail: bytes) -> None:
    run.events.write_bytes(b'{"step": 1}\n{"step": 2}\n' + tail)
    assert run.read_events() == ([{"step": 1}, {"step": 2}], True)


def test_the_next_event_cuts_a_torn_one_aloud(run: Run) -> None:
    run.events.write_bytes(b'{"step": 1}\n{"ste')
    run.append_event({"step": 2})
    events, torn = run.read_events()
    assert [event.get("step") for event in events] == [1, None, 2]
    assert not torn
    assert events[1]["kind"] == "warning"
    assert "cut 5 bytes" in events[1]["text"]


def test_damage_before_the_last_event_is_an_error(run: Run) -> None:
    run.events.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match="event is damaged") as caught:
        run.read_events()
    assert caught.value.where == f"{run.events}:2"


def test_a_second_process_is_refused_and_a_killed_one_lets_go(run: Run) -> None:
    code = """
        import sys, time
        from tunesmith.run import Run
        lock = Run.open(sys.argv[1]).lock()
        print("held", flush=True)
        time.sleep(60)
    """
    with python(code, run.folder) as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        assert run.is_locked()
        with pytest.raises(UserError, match=rf"another process \(pid {child.pid}\) trains into this run") as caught:
            run.lock()
        assert f"kill {child.pid}" in caught.value.fix
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not run.is_locked()
        with run.lock():
            assert run.is_locked()


def test_a_lock_is_given_back(run: Run) -> None:
    assert not run.is_locked()
    lock = run.lock()
    with pytest.raises(UserError, match=f"pid {os.getpid()}"):
        run.lock()
    lock.release()
    lock.release()
    with run.lock(), pytest.raises(UserError):
        Run.open(run.folder).lock()
    assert not run.is_locked()


def test_the_state_is_checked_and_dated(run: Run) -> None:
    run.set_state("interrupted", "Ctrl-C")
    state = run.read_json("state.json")
    assert (state["status"], state["message"]) == ("interrupted", "Ctrl-C")
    assert state["at"].endswith("+00:00")
    with pytest.raises(ValueError, match="no status"):
        run.set_state("done")  # type: ignore[arg-type]


def test_runs_are_listed_with_what_they_have(tmp_path: Path) -> None:
    made = {name: Run.open(tmp_path / name, create=True) for name in ("b", "a", "killed", "torn", "list", "empty")}
    scores = {"metric": "macro_f1", "base": 0.5, "tuned": 0.75, "verdict": "better", "rows": 10}
    for name, started in [("b", "2026-01-01T00:00:00"), ("a", "2026-01-02T00:00:00")]:
        made[name].write_json("environment.json", {"started": started})
    made["b"].write_json("scores.json", scores)
    made["b"].set_state("finished")
    made["a"].set_state("running")
    made["killed"].set_state("running")
    made["torn"].set_state("finished")
    made["torn"].scores.write_text('{"metric"')
    made["list"].state.write_text("[1]")
    with made["a"].lock():
        found = {run.name: run for run in list_runs(tmp_path)}
    assert list(found) == ["killed", "list", "torn", "b", "a"]
    assert (found["b"].status, found["b"].metric, found["b"].tuned) == ("finished", "macro_f1", 0.75)
    assert (found["b"].verdict, found["b"].started) == ("better", "2026-01-01T00:00:00")
    assert (found["a"].status, found["a"].tuned) == ("running", None)
    assert found["killed"].status == "interrupted"
    assert found["torn"].status == found["list"].status == "unreadable"
    assert "scores.json is damaged" in found["torn"].message
    assert list_runs(tmp_path / "nowhere") == []
