"""A process that answers line for line: started once, started anew, killed by the clock, never heard wrongly."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.child_process import ChildProcess

SECONDS = 60.0
"""More than any answer here takes."""
ECHO = """
import os, sys, time
for line in sys.stdin:
    word, _, text = line.strip().partition(" ")
    if word == "sleep":
        time.sleep(float(text))
    if word == "die":
        os._exit(int(text))
    if word == "half":
        sys.stdout.write("half a line")
        sys.stdout.flush()
        os._exit(0)
    print(os.getpid(), text, flush=True)
"""


@pytest.fixture
def echo() -> Iterator[ChildProcess]:
    process = ChildProcess(["-I", "-S", "-c", ECHO])
    yield process
    process.stop()


def said(process: ChildProcess, text: str) -> tuple[int, str]:
    """Whose answer it is, and what it says."""
    pid, _, rest = process.ask(f"say {text}\n".encode(), SECONDS).line.decode().strip().partition(" ")
    return int(pid), rest


def test_one_process_answers_every_request_line_for_line(echo: ChildProcess) -> None:
    answers = [said(echo, f"word {number}") for number in range(5)]
    assert [text for _, text in answers] == [f"word {number}" for number in range(5)]
    assert len({pid for pid, _ in answers}) == 1


def test_a_process_that_dies_gives_its_code_and_the_next_request_another_one(echo: ChildProcess) -> None:
    first, _ = said(echo, "a")
    answer = echo.ask(b"die 3\n", SECONDS)
    assert (answer.line, answer.late, answer.code) == (b"", False, 3)
    half = echo.ask(b"half\n", SECONDS)
    assert (half.line, half.code) == (b"", 0)
    again, text = said(echo, "b")
    assert (again != first, text) == (True, "b")


def test_a_request_that_takes_too_long_is_killed(echo: ChildProcess) -> None:
    said(echo, "it is started")
    began = time.monotonic()
    answer = echo.ask(b"sleep 50\n", 0.2)
    assert (answer.line, answer.late, answer.code) == (b"", True, -signal.SIGKILL)
    assert time.monotonic() - began < 40
    assert said(echo, "on")[1] == "on"


def test_it_is_started_anew_after_so_many_requests() -> None:
    process = ChildProcess(["-I", "-S", "-c", ECHO], most=2)
    pids = [said(process, str(number))[0] for number in range(6)]
    process.stop()
    assert [pids[0], pids[2], pids[4]] == [pids[1], pids[3], pids[5]]
    assert len(set(pids)) == 3


def test_an_answer_that_nobody_heard_is_not_taken_for_the_next(
    echo: ChildProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(threading.Timer):
        def cancel(self) -> None:
            super().cancel()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Timer", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            echo.ask(b"say unheard\n", SECONDS)
    assert said(echo, "heard")[1] == "heard"


def test_it_ends_with_the_one_that_asks() -> None:
    process = ChildProcess(["-I", "-S", "-c", ECHO])
    pid, _ = said(process, "a")
    del process
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_imports_this_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    ask = "import sys, tunesmith.errors; sys.stdin.readline(); print(sys.path[1:3])"
    process = ChildProcess(["-S", "-c", ask], imports=True)
    line = process.ask(b"\n", SECONDS).line.decode()
    process.stop()
    assert "somewhere" in line
