"""Checkpoints that are torn, changed, gone or have no room: found out, said aloud, and the end is the same."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from tests.engine.conftest import World, assert_same_end, events_of
from tunesmith.errors import UserError
from tunesmith.train.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    remove_newer,
    sweep,
    write_checkpoint,
    write_fault,
)


def write(root: Path, step: int, value: float = 1.0) -> Checkpoint:
    parts = {"weights": {"w": torch.full((4,), value)}, "average": {}, "random": {"cpu": torch.get_rng_state()}}
    return write_checkpoint(root / f"step-{step:09d}", {"step": step}, parts)


def flip(file: Path, at: int = -1) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    tied = torch.randn(3, 3)
    tensors = {"a": tied, "b": tied, "view": torch.arange(10)[2:8:2], "half": torch.ones(2, dtype=torch.bfloat16)}
    write_checkpoint(tmp_path / "c", {"at": [1, None]}, {"weights": tensors, "optimizer": {}})
    found = read_checkpoint(tmp_path / "c")
    assert isinstance(found, Checkpoint)
    assert found.state == {"at": [1, None]}
    assert found.tensors("optimizer") == {}
    back = found.tensors("weights")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in tensors.items())
    assert {f.suffix for f in (tmp_path / "c").iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda c: flip(c / "weights.safetensors"), "weights.safetensors is torn"),
        (lambda c: os.truncate(c / "weights.safetensors", 40), "weights.safetensors is torn"),
        (lambda c: (c / "random.safetensors").unlink(), "random.safetensors is missing"),
        (lambda c: flip(c / "state.json", 3), "state.json is torn"),
        (lambda c: (c / "manifest.json").unlink(), "manifest is missing"),
        (lambda c: os.truncate(c / "manifest.json", 20), "can't be read"),
        (lambda c: (c / "manifest.json").write_text("[]"), "can't be read"),
        (lambda c: (c / "manifest.json").write_text("{}"), "can't be read"),
        (lambda c: (c / "manifest.json").write_bytes(b"\xff\xfe\x00"), "can't be read"),
        (lambda c: [f.unlink() for f in c.iterdir()], "manifest is missing"),
    ],
)
def test_every_harm_is_found(tmp_path: Path, harm: Callable[[Path], object], said: str) -> None:
    write(tmp_path, 3)
    write(tmp_path, 6)
    harm(tmp_path / "step-000000006")
    found, problems = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"step": 3}
    assert len(problems) == 1
    assert said in problems[0]
    assert "goes on from step-000000003" in problems[0]
    remove_newer(tmp_path, found)
    assert [f.name for f in tmp_path.iterdir()] == ["step-000000003"]


def test_none_is_whole(tmp_path: Path) -> None:
    for step in (3, 6):
        flip(write(tmp_path, step).folder / "state.json")
    found, problems = newest_checkpoint(tmp_path)
    assert found is None
    assert len(problems) == 2
    assert all("starts from the beginning" in line for line in problems)
    remove_newer(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two renames leaves the old one aside; a sweep puts it back."""
    write(tmp_path, 3, 1.0)

    class Killed(BaseException):
        pass

    rename, calls = Path.rename, []

    def killed(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            write(tmp_path, 3, 2.0)
    assert newest_checkpoint(tmp_path) == (None, [])
    (tmp_path / ".step-000000006.77.tmp").mkdir()
    sweep(tmp_path)
    found = read_checkpoint(tmp_path / "step-000000003")
    assert isinstance(found, Checkpoint)
    assert found.tensors("weights")["w"].tolist() == [1.0] * 4
    write(tmp_path, 3, 2.0)
    sweep(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["step-000000003"]
    assert found.tensors("weights")["w"].tolist() == [2.0] * 4


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    for step in (3, 6, 12, 9):
        write(tmp_path, step)
    write_checkpoint(tmp_path / "best", {}, {})
    prune_checkpoints(tmp_path, 2)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["best", "step-000000009", "step-000000012"]


def test_faults_of_writing_are_told_apart() -> None:
    full = write_fault(SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert full is not None
    assert full.errno == 28
    denied = write_fault(SafetensorError("I/O error: Permission denied (os error 13)"))
    assert denied is not None
    assert denied.errno == 13
    assert write_fault(SafetensorError("there is no space in this header")) is None
    assert write_fault(ValueError("os error 28")) is None


# Whole runs


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, server: Any) -> World:
    """A world with a whole run, and one that was killed after step 19, with checkpoints of steps 12, 15 and 18."""
    world = World(tmp_path_factory.mktemp("broken"), tiny_model, server)
    code, said = world.train(world.recipe(), "run.name=whole")
    assert code == 0, said
    code, said = world.train(world.recipe(), "run.name=killed", "run.keep=3", die=("step", 20))
    assert code == -signal.SIGKILL, said
    return world


def damage(world: World, name: str, harm: Callable[[Path], object]) -> tuple[int, str, list[str]]:
    """Copy the killed run, harm its checkpoints, go on with it."""
    run = world.runs / name
    shutil.copytree(world.runs / "killed", run)
    harm(run / "checkpoints")
    code, said = world.train(world.recipe(), f"run.name={name}")
    return code, said, [e["text"] for e in events_of(run) if e["kind"] == "warning"]


def test_the_one_before_a_torn_one_is_used_aloud(broken_off: World) -> None:
    def harm(checkpoints: Path) -> None:
        os.truncate(checkpoints / "step-000000018" / "weights.safetensors", 100)
        flip(checkpoints / "step-000000015" / "optimizer.safetensors", 500)
        shutil.copytree(checkpoints / "step-000000012", checkpoints / ".step-000000021.1.tmp")

    code, said, warnings = damage(broken_off, "torn", harm)
    assert code == 0, said
    assert said.count("checkpoint step-000000018 can't be used: weights.safetensors is torn") == 1
    assert len(warnings) == 2
    assert all("goes on from step-000000012" in text for text in warnings)
    assert_same_end(broken_off.runs / "whole", broken_off.runs / "torn")


def test_all_broken_starts_from_the_beginning_aloud(broken_off: World) -> None:
    def harm(checkpoints: Path) -> None:
        for folder in checkpoints.glob("step-*"):
            (folder / "manifest.json").unlink()

    code, said, warnings = damage(broken_off, "all-torn", harm)
    assert code == 0, said
    assert len(warnings) == 3
    assert all("starts from the beginning" in text and text in said for text in warnings)
    assert_same_end(broken_off.runs / "whole", broken_off.runs / "all-torn")


def test_broken_best_is_said_before_more_is_done(broken_off: World) -> None:
    code, said, _ = damage(broken_off, "best", lambda c: flip(c / "best" / "weights.safetensors"))
    assert code == 2
    assert "the best weights so far (step 10) can't be used: weights.safetensors is torn" in said
    assert "--fresh" in said
    assert "Traceback" not in said
    assert len(events_of(broken_off.runs / "best")) <= len(events_of(broken_off.runs / "killed"))
    shutil.copytree(
        broken_off.runs / "killed" / "checkpoints" / "best",
        broken_off.runs / "best" / "checkpoints" / "best",
        dirs_exist_ok=True,
    )
    code, said = broken_off.train(broken_off.recipe(), "run.name=best")
    assert code == 0, said
    assert_same_end(broken_off.runs / "whole", broken_off.runs / "best")


# No room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}; see the test below")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def assert_paused(code: int, said: str, run: Path) -> None:
    assert code == 2, said
    assert "disk is full" in said or "File too large" in said
    assert "fix:" in said
    assert "Traceback" not in said
    assert list((run / "checkpoints").glob(".*")) == []
    found, problems = newest_checkpoint(run / "checkpoints")
    assert found is not None
    assert problems == []


def test_a_full_disk_pauses_the_run(world: World, small_disk: Path) -> None:
    """Real ENOSPC in the middle of training; after making room the same command ends like a run that had it."""
    recipe = world.recipe()
    assert world.train(recipe, "run.name=whole")[0] == 0
    settings = [f"run.folder={small_disk}", "run.name=full"]
    ballast = small_disk / "ballast"
    code, said = world.train(recipe, *settings, die=("step", 8))
    assert code == -signal.SIGKILL, said
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(b"x" * max(0, free - 120_000))
    code, said = world.train(recipe, *settings)
    assert_paused(code, said, small_disk / "full")
    assert json.loads((small_disk / "full" / "state.json").read_text())["status"] in ("failed", "running")
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    code, said = world.train(recipe, *settings)
    assert code == 0, said
    assert_same_end(world.runs / "whole", small_disk / "full")


def test_a_limit_on_file_size_pauses_the_run(world: World) -> None:
    """The same where nothing can be mounted: the system refuses to let the optimizer's file grow (EFBIG)."""
    recipe = world.recipe()
    assert world.train(recipe, "run.name=whole")[0] == 0
    assert sys.platform.startswith("linux")
    assert resource.RLIMIT_FSIZE
    code, said = world.train(recipe, "run.name=full", file_bytes=150_000)
    assert_paused(code, said, world.runs / "full")
    assert "the disk is full: checkpoint step-" in said
    state = json.loads((world.runs / "full" / "state.json").read_text())
    assert state["status"] == "failed"
    assert "disk is full" in state["message"]
    code, said = world.train(recipe, "run.name=full")
    assert code == 0, said
    assert_same_end(world.runs / "whole", world.runs / "full")


def test_no_right_to_write_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UserError, match="Permission denied") as caught:
        write(tmp_path, 3)
    assert "full" not in str(caught.value)
    assert "writable" in caught.value.fix
