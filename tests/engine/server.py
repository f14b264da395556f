"""Starts ``tunesmith`` in processes of its own without paying for the imports each time: a server that forks.

Every child is a real process that can be killed, sent signals and limited. Commands come as JSON lines on standard
input, answers go out as JSON lines. The server itself computes nothing, so that no thread stands when it forks.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import time
from importlib import import_module
from typing import Any

PRELOADED = (
    "accelerate",
    "safetensors.torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "tunesmith.cli",
    "tunesmith.tasks.text_classification",
    "tunesmith.train.loop",
    "tunesmith.tune",
)


def die_at_disk_event(count: int, under: list[str], note: str) -> None:
    """SIGKILL this process at the n-th thing it does to a file under some folders; 0: only count them."""
    seen = 0
    log = None if count else os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, mode, flags = args
            writes = (mode and set(mode) & set("wax+")) or (not mode and flags & (os.O_WRONLY | os.O_RDWR))
            if not writes:
                return
        elif event not in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            return
        else:
            path = args[0]
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(tuple(under)):
            return
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        if log is not None:
            os.write(log, f"{event} {os.fspath(path)}\n".encode())

    sys.addaudithook(hook)


def signal_at_call(number: int, count: int, owner: Any, name: str) -> None:
    """Send this process a signal when a method is called for the n-th time."""
    whole = getattr(owner, name)
    left = count

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
        return whole(*args, **kwargs)

    setattr(owner, name, counted)


def die(moment: str, count: int, order: dict[str, Any], number: int = signal.SIGKILL) -> None:
    """Signal this process at the n-th moment of a kind: a file touched, a line logged, a step taken, a row read.

    Files touched know only SIGKILL.
    """
    from tunesmith.data.loader import Loader
    from tunesmith.run import Run
    from tunesmith.train.engine import LocalEngine

    if moment == "file":
        die_at_disk_event(count, order["under"], order.get("note", ""))
    elif moment == "own file":
        name = next(a.partition("=")[2] for a in order["args"] if a.startswith("run.name="))
        die_at_disk_event(count, [f"{order['under'][0]}/{name}/"], "")
    else:
        places: dict[str, tuple[Any, str]] = {
            "line": (Run, "append_event"),
            "step": (LocalEngine, "step"),
            "batch": (Loader, "batch"),
        }
        signal_at_call(number, count, *places[moment])


def signal_when_shown(what: str, number: int, times: int = 1) -> None:
    """Send this process a signal when its progress first shows some work."""
    from tunesmith.train.watch import Progress

    whole, sent = Progress.work, []

    def work(self: Progress, name: str, done: int, total: int) -> None:
        if name.startswith(what) and not sent:
            sent.append(name)
            for _ in range(times):
                os.kill(os.getpid(), number)
        whole(self, name, done, total)

    setattr(Progress, "work", work)  # noqa: B010


def child(order: dict[str, Any]) -> None:
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(order["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))
    if "die" in order:
        die(*order["die"], order)
    if "signal_in" in order:
        moment, count, number = order["signal_in"]
        die(moment, count, order, number)
    if "signal_at" in order:
        signal_when_shown(*order["signal_at"])
    sys.argv = ["tunesmith", *order["args"]]
    from tunesmith.cli import main

    code = 1
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code (negative: the signal), None while it still runs."""
    end = time.monotonic() + seconds
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except OSError as fault:
            if fault.errno == errno.ECHILD:
                return None
            raise
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


def serve() -> None:
    for name in PRELOADED:
        import_module(name)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "start":
            pid = os.fork()
            if pid == 0:
                child(order)
            answer: Any = pid
        else:
            answer = wait(order["pid"], order["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
