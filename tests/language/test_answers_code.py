"""Code: only what passes its tests passes, whatever it tries; and it reaches nothing outside its folder."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.language.answers import code_child
from tunesmith.language.answers.code import CodeScorer, code_of, run

TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0"
RIGHT = "def add(a, b):\n    return a + b"
WRONG = "def add(a, b):\n    return a - b"
ROW = {"id": "1", "tests": TESTS}
SCORER = CodeScorer(run_code=True, seconds=10)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the walls of Linux")


def passes(answer: str, scorer: CodeScorer = SCORER, **columns: object) -> bool:
    scores = scorer.one(answer, "", {**ROW, **columns})
    assert set(scores) == {"pass_at_1"}
    return scores["pass_at_1"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        f"Here you are:\n```python\n{RIGHT}\n```\nUse it so:\n```python\nassert add(1, 1) == 5\n```",
        f"<think>hm</think>\n```\n{RIGHT}\n```",
        f"```python\n{RIGHT}",
        f"import math, re, json, random, itertools, collections, functools, heapq, bisect, string, datetime\n{RIGHT}",
        f"import asyncio\nasync def one():\n    await asyncio.sleep(0)\nasyncio.run(one())\n{RIGHT}",
        f"import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\n{RIGHT}",
        f"import tempfile\nwith tempfile.TemporaryDirectory() as d:\n    open(d + '/x', 'w').write('1')\n{RIGHT}",
        f"with open('notes.txt', 'w') as f:\n    f.write('1')\nassert open('notes.txt').read() == '1'\n{RIGHT}",
        f"import subprocess, socket, multiprocessing, logging, unittest\n{RIGHT}",
        f"import zoneinfo\nzoneinfo.ZoneInfo('UTC')\n{RIGHT}" if Path("/usr/share/zoneinfo/UTC").exists() else RIGHT,
        f"{RIGHT}\nif __name__ == '__main__':\n    raise SystemExit(input())",
        f"print('some output' * 100000)\n{RIGHT}",
    ],
)
def test_what_is_right_passes(answer: str) -> None:
    assert run(f"{code_of(answer)}\n\n{TESTS}", 10, 2**30) is None
    assert passes(answer)


@pytest.mark.parametrize(
    "answer",
    [
        WRONG,
        "",
        "I can't do that.",
        "def add(a, b)\n    return a + b",
        "def sub(a, b):\n    return a - b",
        "import numpy_of_dreams\n" + RIGHT,
        # Leaving early, and saying that all is well.
        "import sys\nsys.exit(0)",
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "def add(a, b):\n    import os\n    os._exit(0)",
        "print('PASS')\nprint('OK')\nraise SystemExit",
        "import os\nfor n in range(20):\n    try:\n        os.write(n, b'0' * 32)\n    except OSError:\n        pass",
        "import atexit, os\natexit.register(os._exit, 0)\nquit",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "import threading, os\nthreading.Timer(0, os._exit, [0]).start()\nwhile True: pass",
        # Swallowing the tests.
        f"{WRONG}\n'''",
        f"{WRONG}\nif False:",
        f"{WRONG}\nx = \\",
        "(" * 10_000,
        "\x00",
        "\ud800",
    ],
)
def test_what_is_wrong_fails_whatever_it_says(answer: str) -> None:
    assert not passes(answer)


def test_tests_may_themselves_be_swallowed_by_nothing() -> None:
    assert not passes(f"{WRONG}\n'''", tests=f"{TESTS}\n'''")


def test_time_has_an_end() -> None:
    quick = CodeScorer(run_code=True, seconds=0.4)
    for loop in (
        "while True: pass",
        "import time\ntime.sleep(60)",
        "try:\n    while True: pass\nexcept BaseException: pass",
    ):
        start = time.monotonic()
        assert not passes(f"{loop}\n{RIGHT}", quick)
        assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("greedy", "says"),
    [
        ("x = bytearray(8 << 30)", "MemoryError"),
        ("x = []\nwhile True: x.append(' ' * 10_000_000)", "MemoryError"),
        ("x = 'a'\nwhile True: x += x", "MemoryError"),
        ("f = open('big', 'wb')\nwhile True: f.write(b' ' * 1_000_000)", "File too large"),
        ("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()", "refused: more than 256 changes"),
        ("import os\nfor n in range(1500): os.mkdir(str(n))", "refused: more than 256 changes"),
        ("files = [open('f', 'w') for _ in range(1000)]", "Too many open files"),
        ("import sys\nwhile True: sys.stderr.write('x' * 100_000)", ""),
        ("import os\nwhile True: os.write(1, b'x' * 100_000)", "stopped after"),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", ""),
        ("import threading as t\nwhile True: t.Thread(target=t.Event().wait).start()", "can't start new thread"),
    ],
)
def test_memory_disk_and_output_have_an_end(greedy: str, says: str) -> None:
    start = time.monotonic()
    # What nothing but the clock stops gets less of it.
    seconds = 1 if says in ("", "stopped after") else 10
    reason = run(f"{greedy}\n{RIGHT}\n{TESTS}", seconds, 2**28)
    assert reason is not None
    assert says in reason
    assert time.monotonic() - start < seconds + 3


FORBIDDEN = [
    "import socket\nsocket.socket()",
    "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "import socket\nsocket.socket(socket.AF_UNIX).connect('/tmp/x')",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:{port}')",
    "import _socket\n_socket.socket(2, 1, 0)",
    "import os\nos.fork()",
    "import os\nos.system('touch {trap}')",
    "import os\nos.execv('/bin/touch', ['touch', '{trap}'])",
    "import os\nos.posix_spawn('/bin/touch', ['touch', '{trap}'], {{}})",
    "import os\nos.popen('touch {trap}').read()",
    "import subprocess\nsubprocess.run(['touch', '{trap}'])",
    "import pty\npty.spawn(['touch', '{trap}'])",
    "import multiprocessing\np = multiprocessing.Process(target=print)\np.start()\np.join()",
    "import multiprocessing as m\np = m.get_context('spawn').Process(target=print)\np.start()\np.join()",
    "import _posixsubprocess\n_posixsubprocess.fork_exec()",
    "import sys\ndel sys.modules['_posixsubprocess']\nimport _posixsubprocess",
    "import ctypes",
    "import _ctypes",
    "import sys\nassert any('ctypes' in name for name in sys.modules)",
    "import os\nos.kill(os.getppid(), 0)",
    "import os\nos.killpg(os.getpgid(os.getppid()), 0)",
    "import resource, os\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "open('{trap}', 'w')",
    "open('{trap}', 'x')",
    "open('../{trap.name}', 'w')",
    "open('/dev/shm/{trap.name}', 'w')",
    "import os\nos.open('{trap}', os.O_CREAT | os.O_WRONLY)",
    "import os\nos.mkdir('{trap}')",
    "import pathlib\npathlib.Path('{trap}').touch()",
    "import os\nos.symlink('{trap.parent}', 'out')\nopen('out/{trap.name}', 'w')",
    "import os\nos.link('{kept}', 'here')",
    "import os\nos.chdir('{trap.parent}')\nopen('{trap.name}', 'w')",
    "import os\nfd = os.open('{trap.parent}', os.O_RDONLY)\nos.open('{trap.name}', os.O_CREAT, dir_fd=fd)",
    "import os, json\nfd = os.open(os.path.dirname(json.__file__), os.O_RDONLY)",
    "import os\nos.remove('{kept}')",
    "import os\nos.rename('{kept}', 'mine')",
    "import os\nopen('mine', 'w').close()\nos.rename('mine', '{trap}')",
    "import os\nos.chmod('{kept}', 0)",
    "import os\nos.truncate('{kept}', 0)",
    "import os\nos.utime('{kept}')",
    "import shutil\nshutil.rmtree('{kept.parent}')",
    "import shutil\nshutil.copy('{kept}', 'mine')",
    "open('{kept}').read()",
    "open(b'{kept}').read()",
    "import pathlib\npathlib.Path('{kept}').read_text()",
    "import os\nos.listdir('{kept.parent}')",
    "import os\nlist(os.scandir('/'))",
    "open('/proc/self/mem', 'rb')",
    "import sqlite3\nsqlite3.connect('{trap}')",
    "import os\nassert 'SECRET' in os.environ",
    "import sys\nassert any('site-packages' in p for p in sys.path)",
]


@pytest.mark.parametrize("action", FORBIDDEN)
def test_nothing_outside_is_reached(action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    kept, trap = tmp_path / "kept", tmp_path / f"trap-{secrets.token_hex(8)}"
    kept.write_text("precious")
    before = kept.stat().st_mtime_ns
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        answer = action.format(trap=trap, kept=kept, port=server.getsockname()[1])
        reason = run(f"{answer}\n", 5, 2**30) or "done"
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sorted(tmp_path.iterdir()) == [kept]
    assert (kept.read_text(), kept.stat().st_mtime_ns) == ("precious", before)
    shared = Path("/dev/shm") / trap.name
    there = shared.exists()
    shared.unlink(missing_ok=True)
    assert not there
    assert "refused: " in reason or reason.startswith(("PermissionError", "AssertionError"))


def without_hook(body: str) -> str:
    """What the kernel alone lets a process do: the child's walls without its audit hook."""
    start = (
        "import sys, os, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('child', {code_child.__file__!r})\n"
        "child = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(child)\n"
        "child.shut_in()\nimport socket, subprocess, threading, signal\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", start + body], check=False, capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["done"])[-1]


@LINUX
@pytest.mark.skipif(os.uname().machine not in code_child.MACHINES, reason="no filter for this machine")
@pytest.mark.parametrize(
    "body",
    [
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
        "socket.socket()",
        "socket.socket(socket.AF_INET6)",
        "socket.socket(socket.AF_UNIX).connect('/x')",
        "socket.socket(socket.AF_UNIX).bind('x')",
        "os.kill(os.getppid(), 0)",
        "os.mkfifo('/tmp/tunesmith-fifo')",
        "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
        "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)",
    ],
)
def test_the_kernel_refuses_too(body: str) -> None:
    assert without_hook(body).startswith("PermissionError: [Errno 1]")


@LINUX
def test_the_code_itself_runs_within_the_walls(tmp_path: Path) -> None:
    # Python tells no hook of this one, so only the kernel can refuse it.
    assert "not permitted" in str(run(f"import os\nos.mkfifo({str(tmp_path / 'x')!r})\n", 5, 2**30))
    assert list(tmp_path.iterdir()) == []


@LINUX
def test_the_kernel_lets_a_lone_process_live() -> None:
    body = (
        "t = threading.Thread(target=print); t.start(); t.join()\n"
        "a, b = socket.socketpair(); a.send(b'1'); assert b.recv(1) == b'1'\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None); os.kill(os.getpid(), signal.SIGUSR1)\n"
        "status = open('/proc/self/status').read()\n"
        "assert 'CapEff:\\t0000000000000000' in status and 'NoNewPrivs:\\t1' in status\n"
    )
    assert without_hook(body) == "done"


@LINUX
def test_the_network_is_another_one() -> None:
    asks = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({code_child.CLONE_NEWUSER}))"
    if subprocess.run([sys.executable, "-c", asks], check=False).returncode:
        pytest.skip("no user namespaces here")
    there = without_hook("print(os.readlink('/proc/self/ns/net'), file=sys.stderr)")
    assert there.startswith("net:")
    assert there != str(Path("/proc/self/ns/net").readlink())


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert passes(RIGHT)
    assert not passes("import os\nos.makedirs('a/b/c')\nopen('a/b/c/d', 'w').close()\nos.chmod('a/b', 0)")
    assert list(tmp_path.iterdir()) == []


def test_a_row_brings_its_setup_and_tests_in_either_shape() -> None:
    body = "    return a + b"
    assert passes(body, setup="def add(a: int, b: int) -> int:\n    '''The sum.'''\n")
    assert passes(
        "def add(a, b):\n    return int(sqrt(a * a)) * (1 if a > 0 else -1) + b", setup=["from math import sqrt"]
    )
    assert passes(RIGHT, tests=TESTS.splitlines())
    assert passes(f"from __future__ import annotations\n{RIGHT}", setup="import math")
    assert not passes(RIGHT, tests=None)


def test_nothing_runs_unless_a_person_said_so(tmp_path: Path) -> None:
    scorer = CodeScorer()
    for attempt in (lambda: scorer.one(RIGHT, RIGHT, ROW), lambda: list(scorer.findings([ROW], [RIGHT]))):
        with pytest.raises(UserError) as fault:
            attempt()
        assert fault.value.fix == "options.run_code: true"


def test_rows_that_cannot_be_judged_are_found() -> None:
    rows = [
        {"id": "good", "tests": TESTS},
        {"id": "none"},
        {"id": "blank", "tests": " \n"},
        {"id": "wrong", "tests": TESTS},
        {"id": "package", "tests": "import torch"},
    ]
    found = {f.code: f for f in SCORER.findings(rows, [RIGHT, RIGHT, RIGHT, WRONG, RIGHT])}
    assert set(found) == {"no-tests", "gold-code-fails"} == set(SCORER.codes)
    assert (found["no-tests"].rows, found["no-tests"].level) == (("none", "blank"), "error")
    assert found["gold-code-fails"].rows == ("wrong", "package")
    assert found["gold-code-fails"].what.endswith("row wrong: AssertionError")
