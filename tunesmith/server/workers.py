"""The process that trains a job: started, found again after a restart, asked to stop. It knows no job and no recipe.

Whether a worker lives is told by a lock on a file in the job's folder, which it inherits already locked and which the
system takes back however it dies. So there is no moment at which a second one could be started, and no process id has
to be trusted that another process may have by now.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.run import write_whole

COMMAND = (sys.executable, "-m", "tunesmith.server.worker")
LOCK, OUTCOME, LOG = ".worker", "outcome.json", "worker.log"
VARIABLE = "TUNESMITH_WORKER_LOCK"


def start(folder: Path, command: Sequence[str] = COMMAND) -> subprocess.Popen[bytes] | None:
    """Start the worker of a job's folder.

    Args:
        folder: The job's; the worker runs in it, and writes its log there.
        command: What runs; the folder is added.

    Returns:
        The process, None where one lives already.
    """
    lock = _locked(folder)
    if lock is None:
        return None
    try:
        (folder / OUTCOME).unlink(missing_ok=True)
        with (folder / LOG).open("ab") as log:
            # A session of its own: Ctrl-C at the server's terminal is the server's affair.
            process = subprocess.Popen(
                [*command, str(folder)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,
                env={**os.environ, VARIABLE: str(lock)},
            )
        _write_pid(lock, process.pid)
    finally:
        os.close(lock)
    return process


def announce() -> None:
    """Say in the lock which process has it; to be called by a worker before anything that takes time."""
    number = os.environ.pop(VARIABLE, "")
    if number.isdecimal():
        os.set_inheritable(int(number), False)
        _write_pid(int(number), os.getpid())


def alive(folder: Path) -> bool:
    """Whether a worker of this folder lives."""
    lock = _locked(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


def tell(folder: Path, number: int = signal.SIGTERM) -> bool:
    """Send the folder's worker a signal, if one lives; whether it was sent. SIGTERM lets it save first."""
    with suppress(OSError, ValueError):
        pid = int((folder / LOCK).read_text(encoding="ascii"))
        if hasattr(os, "pidfd_open"):
            # The handle stands for this process for good; only then is the lock looked at again.
            handle = os.pidfd_open(pid)
            try:
                if alive(folder):
                    signal.pidfd_send_signal(handle, number)
                    return True
            finally:
                os.close(handle)
        elif alive(folder):
            os.kill(pid, number)
            return True
    return False


def put_outcome(folder: Path, status: str, message: str = "", **more: Any) -> None:
    """Say how a worker ended: ``finished``, ``interrupted`` or ``failed``, with the reason."""
    told = {"status": status, "message": message, **more}
    # Where not even this finds room, the end of the process has to say it.
    with suppress(UserError):
        write_whole(folder / OUTCOME, json.dumps(told, ensure_ascii=False).encode())


def outcome(folder: Path) -> Mapping[str, Any]:
    """How the last worker ended; empty where it could not say it."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _locked(folder: Path) -> int | None:
    """The folder's lock, taken; None where a worker has it or there is no such folder yet to be one in."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_pid(descriptor: int, pid: int) -> None:
    # In place and in one piece: a reader sees one whole number or the other, and both are the same.
    os.pwrite(descriptor, f"{pid:<10}".encode("ascii"), 0)
