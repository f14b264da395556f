"""Who follows the jobs: starts workers, tells what they write, brings state and processes together after any crash.

It decides by what is there: the job's state in the store, whether a worker lives, and what the last one left in the
job's folder. It remembers nothing that a restart could lose.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING

from tunesmith.errors import UserError
from tunesmith.run import Run, write_whole
from tunesmith.server import workers
from tunesmith.server.faults import ApiFault
from tunesmith.server.following import Following
from tunesmith.server.job_events import metrics_table, trained_tokens
from tunesmith.server.job_recipe import RECIPE, RUN, Hyperparameters, model_name, recipe_of
from tunesmith.server.kept import Job
from tunesmith.server.merged_base import START
from tunesmith.server.tuned_base import weights_beneath

if TYPE_CHECKING:
    from tunesmith.server.settings import Settings
    from tunesmith.server.store import Store

LIVING = ("validating_files", "queued", "running", "paused")
LOCK = ".server"
LOOK_SECONDS = 0.5
END_SECONDS = 30.0
"""After these a worker whose job was cancelled is killed: nothing of it is wanted any more."""
STOP_SECONDS = 30.0
MOST_DEATHS = 5
"""Workers that may die in a row, without a checkpoint in between, before a job is given up."""
RESULTS = "fine-tune-results"
PARAMS = {"invalid_training_file": "training_file", "plan_refused": "model", "base_unavailable": "model"}


class _Moved(Exception):
    """The job's state was changed meanwhile."""


class Supervisor:
    """Follows the jobs of a store in a thread of its own.

    Args:
        store: With the jobs.
        settings: How many may train at a time, and where.
        command: What trains a job; the job's folder is added.
    """

    def __init__(self, store: Store, settings: Settings, command: Sequence[str]) -> None:
        self.store, self.settings, self.command = store, settings, tuple(command)
        self._thread: threading.Thread | None = None
        self._wake, self._over = threading.Event(), False
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._codes: dict[str, int] = {}
        self._following: dict[str, Following] = {}
        self._ending: dict[str, float] = {}
        self._lock: int | None = None
        self._complained: dict[str, str] = {}

    def start(self) -> None:
        """Follow jobs from now on.

        Raises:
            UserError: Another server does.
        """
        if self._thread is not None:
            return
        self._lock = os.open(self.store.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(self._lock)
            fix = "stop that one, or name another folder with --folder"
            raise UserError("another server has this folder", str(self.store.folder), fix) from fault
        for job in self.store.list_jobs(statuses=("cancelled",)).rows:
            self.watch_end(job["id"])
        self._over = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask the workers to save and end, and follow jobs no longer.

        Args:
            seconds: Most that is waited for them; one that takes longer goes on, and the next server finds it.
        """
        if self._thread is None:
            return
        self._over = True
        self._wake.set()
        self._thread.join()
        self._thread = None
        living = [self.folder(job["id"]) for job in self.store.list_jobs(statuses=LIVING).rows]
        living = [folder for folder in living if folder.is_dir() and workers.tell(folder)]
        until = time.monotonic() + seconds
        while (living or self._children) and time.monotonic() < until:
            time.sleep(0.05)
            self._reap()
            living = [folder for folder in living if workers.alive(folder)]
        for following in self._following.values():
            following.close()
        self._following.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def wake(self) -> None:
        """Look at once: something was changed."""
        self._wake.set()

    def watch_end(self, job_id: str) -> None:
        """See to it that the worker of a job that was cancelled ends."""
        self._ending.setdefault(job_id, time.monotonic())

    def folder(self, job_id: str) -> Path:
        """Where a job's recipe, log and run lie."""
        return self.store.jobs / job_id

    def _run(self) -> None:
        while not self._over:
            self._wake.clear()
            try:
                self.look()
            except Exception as fault:
                self._complain("jobs", fault)
            self._wake.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Bring every job one step further, if it can go."""
        self._reap()
        jobs = self.store.list_jobs(statuses=LIVING, order="asc").rows
        known = dict.fromkeys([*(job["id"] for job in jobs), *list(self._ending)])
        alive = {name for name in known if self._alive(name)}
        self._end(alive)
        waiting: list[Job] = []
        for job in jobs:
            try:
                if self._looked_at(job, job["id"] in alive):
                    waiting.append(job)
            except Exception as fault:
                self._complain(job["id"], fault)
        waiting.sort(key=lambda job: job["status"] != "running")
        for job in waiting[: max(0, self.settings.jobs_at_once - len(alive))]:
            try:
                self._start(job)
            except Exception as fault:
                self._complain(job["id"], fault)

    def _looked_at(self, job: Job, alive: bool) -> bool:
        """Do what a job's state asks for; whether it waits for a worker."""
        status, name = job["status"], job["id"]
        if status == "validating_files":
            self._validate(job)
            return False
        if alive:
            self._follow(job)
            if status != "running":
                workers.tell(self.folder(name), SIGTERM)
            return False
        if status == "queued":
            return True
        left = workers.outcome(self.folder(name))
        if left.get("status") == "finished":
            self._finish(job)
        elif left.get("status") == "failed" and status == "running":
            self._fail(job, str(left.get("code")), str(left.get("message")))
        elif status == "running":
            return not self._given_up(job, died=not left)
        return False

    # What is done

    def _validate(self, job: Job) -> None:
        """See that the files, which were read when they came, are whole still."""
        for param in ("training_file", "validation_file"):
            named = job[param]
            try:
                whole = named is None or self.store.file_path(named).stat().st_size == self.store.get_file(named).bytes
            except (ApiFault, OSError):
                whole = False
            if not whole:
                text = f"{param}: the content of {named} is gone or was changed: upload the file again"
                self._fail(job, "invalid_training_file", text, param)
                return
        if self.store.update_job(job["id"], expected_status="validating_files", status="queued"):
            self.store.add_event(job["id"], "Files validated, moving job to queued state", key="validated")
        self.wake()

    def _start(self, job: Job) -> None:
        name, folder = job["id"], self.folder(job["id"])
        folder.mkdir(mode=0o700, exist_ok=True)
        if job.get("start") and not (folder / START).exists():
            start = {name: self._beside(job, self.store.folder / place) for name, place in job["start"].items()}
            write_whole(folder / START, json.dumps(start).encode())
        if not (folder / RECIPE).exists():
            write_whole(folder / RECIPE, self._recipe(job).encode())
        if job["status"] == "queued":
            # What an earlier worker left must not be taken for the end of the next.
            (folder / workers.OUTCOME).unlink(missing_ok=True)
        if not self.store.update_job(name, expected_status=("queued", "running"), status="running"):
            return
        process = workers.start(folder, self.command)
        if process is None:
            return
        self._children.append((name, process))
        self.store.add_event(name, "Fine-tuning job started", key="started")

    def _beside(self, job: Job, place: Path) -> str:
        """A place relative to the job's folder, so that the server's folder may move."""
        return os.path.relpath(place, self.folder(job["id"]))

    def _recipe(self, job: Job) -> str:
        validation = job["validation_file"]
        return recipe_of(
            job["kind"],
            Hyperparameters(**job["hyperparameters"]),
            model=weights_beneath(self.store, job),
            training=self._beside(job, self.store.file_path(job["training_file"])),
            validation=self._beside(job, self.store.file_path(validation)) if validation else None,
            seed=job["seed"],
            device=self.settings.device,
        )

    def _follow(self, job: Job) -> Following:
        found = self._following.get(job["id"])
        if found is None:
            found = self._following[job["id"]] = Following(self.store, job, self.folder(job["id"]) / RUN)
        found.follow()
        return found

    def _finish(self, job: Job) -> None:
        """Write down what a worker has finished: all of it, or nothing where the job was cancelled meanwhile."""
        name = job["id"]
        self._follow(job)
        events, _ = Run.open(self.folder(name) / RUN).read_events()
        table = self.store.upload_path()
        write_whole(table, metrics_table(events).encode())
        try:
            with self.store.transaction():
                file = self.store.add_file(table, filename="step_metrics.csv", purpose=RESULTS, job=name)
                model = model_name(job)
                values = {"fine_tuned_model": model, "trained_tokens": trained_tokens(events)}
                self._moved(job, "succeeded", result_files=[file.id], finished_at=self.store.now(), **values)
                self.store.add_event(name, f"New fine-tuned model created: {model}", key="model")
                self.store.add_event(name, "The job has successfully completed", key="succeeded")
        except _Moved:
            return
        finally:
            table.unlink(missing_ok=True)
        self._forget(name)

    def _fail(self, job: Job, code: str, message: str, param: str | None = None) -> None:
        name, error = job["id"], {"code": code, "message": message, "param": param or PARAMS.get(code)}
        if self.folder(name).is_dir():
            self._follow(job)
        with suppress(_Moved), self.store.transaction():
            self._moved(job, "failed", error=error, finished_at=self.store.now())
            self.store.add_event(name, f"The job failed: {message}", level="error")
        self._forget(name)

    def _moved(self, job: Job, status: str, **data: object) -> None:
        if self.store.update_job(job["id"], expected_status=job["status"], status=status, **data) is None:
            raise _Moved

    def _given_up(self, job: Job, *, died: bool) -> bool:
        """Count a worker that died, by whatever; whether it is one too many, and the job has failed."""
        name, folder = job["id"], self.folder(job["id"])
        if not died or not (folder / workers.LOCK).exists():
            return False
        mark = _mark(folder)
        if job.get("seen_death") == mark:
            return False
        reached = _reached(folder)
        again = job.get("deaths", 0) + 1 if job.get("reached") == reached else 1
        self.store.update_job(name, expected_status="running", deaths=again, reached=reached, seen_death=mark)
        self.store.add_event(name, "The process that trains ended without a word; it is started again", level="warn")
        if again < MOST_DEATHS:
            return False
        how = f" (exit code {self._codes[name]})" if name in self._codes else ""
        text = f"the process that trains died {again} times in a row without coming further{how}: most often memory "
        self._fail(job, "worker_died", text + "has run out; its log, worker.log, is in the job's folder")
        return True

    def _end(self, alive: Iterable[str]) -> None:
        """Stop the workers of jobs that were cancelled."""
        for name, since in list(self._ending.items()):
            try:
                gone = self.store.get_job(name)["status"] != "cancelled"
            except ApiFault:
                gone = True
            if name not in alive or gone:
                self._ending.pop(name, None)
                self._forget(name)
            else:
                workers.tell(self.folder(name), SIGTERM if time.monotonic() - since < END_SECONDS else SIGKILL)

    # What is remembered for speed alone

    def _alive(self, name: str) -> bool:
        folder = self.folder(name)
        return folder.is_dir() and workers.alive(folder)

    def _reap(self) -> None:
        """Take the exit codes of processes that have ended, which would stay in the system's table otherwise."""
        for name, process in self._children:
            if process.poll() is not None:
                self._codes[name] = process.returncode
        self._children = [child for child in self._children if child[1].returncode is None]

    def _forget(self, name: str) -> None:
        following = self._following.pop(name, None)
        if following is not None:
            following.close()
        self._codes.pop(name, None)
        self._complained.pop(name, None)

    def _complain(self, name: str, fault: Exception) -> None:
        """Say on the terminal what went wrong, once for as long as it is the same; it is tried again."""
        said = f"{type(fault).__name__}: {fault}"
        if self._complained.get(name) != said:
            self._complained[name] = said
            sys.stderr.write(f"{name}: {said}\n")
            if not isinstance(fault, ApiFault | UserError | OSError):
                traceback.print_exception(fault)


def _reached(folder: Path) -> str:
    """The newest checkpoint of a job's run."""
    return max((place.name for place in (folder / RUN / "checkpoints").glob("step-*")), default="")


def _mark(folder: Path) -> str:
    """What tells one worker of a folder from the next."""
    return (folder / workers.LOCK).read_text(encoding="ascii").strip()
