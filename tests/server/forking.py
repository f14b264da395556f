"""Workers without paying for the imports each time: a process that has them forks, and hands the worker's lock on.

Every worker is a real process that trains, that can be killed, sent signals and limited. The process that the
supervisor starts only sends its folder and its lock here and waits; the fork has that lock then, and says so in it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

PRELOADED = (
    "accelerate",
    "safetensors.torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "tunesmith.cli",
    "tunesmith.report",
    "tunesmith.server.worker",
    "tunesmith.tasks.causal_lm",
    "tunesmith.tasks.preference",
    "tunesmith.train.loop",
    "tunesmith.train.reference",
    "tunesmith.tune",
)
MOMENTS = {
    "line": ("tunesmith.run", "Run", "append_event"),
    "step": ("tunesmith.train.engine", "LocalEngine", "step"),
    "state": ("tunesmith.run", "Run", "set_state"),
    "outcome": ("tunesmith.server.worker", "", "put_outcome"),
    "merge": ("tunesmith.server.merged_base", "", "sync_folder"),
}
"""What a worker is killed before: the n-th line of its log, step, state of its run, the word on how it ended, or a
folder's way to the disk while a base is merged: the first before it has its name, the second after."""
ROOT = Path(__file__).parents[2]


class Forking:
    """The process that forks.

    Args:
        folder: For its socket, and for ``next.json``: what is to befall the worker that starts next.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "socket"
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                            "TUNESMITH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(folder)], stdout=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def command(self) -> tuple[str, ...]:
        """What a supervisor starts as a worker."""
        return (sys.executable, "-S", __file__, "ask", str(self.socket))

    def befall(self, *orders: dict[str, Any]) -> None:
        """What is to befall the workers that start next, one each."""
        (self.folder / "next.json").write_text(json.dumps(orders))

    def left(self) -> int:
        """Of these, those that have befallen nobody yet."""
        return len(json.loads((self.folder / "next.json").read_text()))

    def call(self, function: str, *values: Any) -> Any:
        """What a function ``module:name`` gives, called in a fork, so that this process needs no torch."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.socket))
            socket.send_fds(line, [json.dumps({"call": function, "values": values}).encode()], [2])
            line.shutdown(socket.SHUT_WR)
            answer = json.loads(b"".join(iter(lambda: line.recv(1 << 16), b"")))
        assert "fault" not in answer, answer["fault"]
        return answer["value"]

    def close(self) -> None:
        """End it; workers go on."""
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _befallen(order: dict[str, Any]) -> None:
    from tests.engine.server import die_at_disk_event, signal_at_call

    if "file_bytes" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))
    if "slow" in order:
        # A fast machine would be through before anybody could ask for anything.
        from tunesmith.train.engine import LocalEngine

        stepped = LocalEngine.step

        def slowly(*values: Any, **named: Any) -> Any:
            time.sleep(order["slow"])
            return stepped(*values, **named)

        LocalEngine.step = slowly  # type: ignore[method-assign]
    if "memory" in order:
        import tunesmith.plan

        tunesmith.plan.available_bytes = lambda: order["memory"]
    if "file" in order:
        die_at_disk_event(order["file"], [str(Path.cwd())], order.get("note", ""))
    for name, (module, owner, method) in MOMENTS.items():
        if name in order:
            number, where = getattr(signal, order.get("signal", "SIGKILL")), import_module(module)
            signal_at_call(number, order[name], getattr(where, owner) if owner else where, method)


def _child(about: dict[str, Any], fds: list[int], folder: Path, line: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    import torch

    torch.set_num_threads(1)
    if "call" in about:
        module, _, name = about["call"].partition(":")
        try:
            answer = {"value": getattr(import_module(module), name)(*about["values"])}
        except BaseException as fault:
            answer = {"fault": f"{type(fault).__name__}: {fault}"}
        line.sendall(json.dumps(answer, default=str).encode())
        return 0
    os.dup2(fds[1], 1)
    os.dup2(fds[1], 2)
    os.setsid()
    os.environ["TUNESMITH_WORKER_LOCK"] = str(fds[0])
    os.chdir(about["folder"])
    control = folder / "next.json"
    orders = json.loads(control.read_text()) if control.exists() else []
    if orders:
        control.write_text(json.dumps(orders[1:]))
        _befallen(orders[0])
    from tunesmith.server.worker import main

    return main([about["folder"]])


def serve(folder: Path) -> None:
    """Fork for whoever asks, until ended."""
    sys.path.insert(0, str(ROOT))
    for name in PRELOADED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(8)
    print("ready", flush=True)
    while True:
        line, _ = listener.accept()
        data, fds, _, _ = socket.recv_fds(line, 1 << 16, 2)
        if os.fork() == 0:
            listener.close()
            code = 1
            try:
                code = _child(json.loads(data), fds, folder, line)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        for fd in fds:
            os.close(fd)
        line.close()


def ask(place: str, folder: str) -> None:
    """Have a worker forked, and live as long as it does."""
    lock = int(os.environ["TUNESMITH_WORKER_LOCK"])
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        socket.send_fds(line, [json.dumps({"folder": folder}).encode()], [lock, 1])
        os.close(lock)
        line.recv(1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        ask(sys.argv[2], sys.argv[3])
