"""The directory a run leaves: its names, writes that are whole or absent, one process at a time, reading it back.

It knows no task, no model and no torch; what stands in the files is the affair of those who write them.
"""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tunesmith.errors import UserError

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class RunSummary:
    """One line of ``tunesmith runs``; None where the run has not come that far.

    ``status`` is one of `Status`, ``unreadable`` where a file is damaged, or ``interrupted`` where the state says
    running and no process holds the run any more.
    """

    name: str
    folder: Path
    status: str
    metric: str | None = None
    base: float | None = None
    tuned: float | None = None
    verdict: str | None = None
    started: str | None = None
    message: str = ""


class Lock:
    """The right to write into a run. It ends with `release`, a ``with`` block or the process, however that dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others in. Doing it twice does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *failure: object) -> None:
        self.release()


class Run:
    """A run directory: where everything is, and how it is written and read.

    Files are named as in the directory (``"scores.json"``) or by their path (``run.scores``).
    """

    def __init__(self, folder: Path) -> None:
        # Absolute, so that a file's path may stand for its name, and a change of directory loses nothing.
        self.folder = folder = folder.absolute()
        self.recipe_yaml = folder / "recipe.yaml"
        self.recipe_json = folder / "recipe.json"
        self.environment = folder / "environment.json"
        self.facts = folder / "facts.json"
        self.audit = folder / "audit.json"
        self.plan = folder / "plan.json"
        self.events = folder / "events.jsonl"
        self.checkpoints = folder / "checkpoints"
        self.model = folder / "model"
        self.predictions = folder / "predictions.jsonl"
        self.panels = folder / "panels.json"
        self.scores = folder / "scores.json"
        self.receipts = folder / "receipts.json"
        self.measured = folder / "measured.json"
        self.report = folder / "report.html"
        self.card = folder / "README.md"
        self.state = folder / "state.json"
        self._log: int | None = None

    @classmethod
    def open(cls, folder: str | Path, *, create: bool = False) -> Run:
        """Open a run's folder; with ``create`` make it where it is missing, and make sure that it can be written.

        Raises:
            UserError: There is no such folder, a file stands in its place, or it can't be written.
        """
        place = Path(folder)
        if place.exists() and not place.is_dir():
            raise UserError(f"a run is a folder, and {place.name} is a file", str(place), "name another run")
        if not create:
            if not place.is_dir():
                raise _no_run(place)
            return cls(place)
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe = place / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise refusal(error, place) from error
        return cls(place)

    def write_text(self, name: str | Path, text: str) -> Path:
        """Write a file of the run, whole or not at all, and give its path."""
        return write_whole(self.folder / name, text.encode("utf-8"))

    def write_json(self, name: str | Path, value: Any) -> Path:
        """Write JSON (`jsonable` first, so that it is always valid), whole or not at all, and give its path."""
        text = json.dumps(jsonable(value), ensure_ascii=False, indent=1, allow_nan=False)
        return self.write_text(name, text + "\n")

    def read_json(self, name: str | Path) -> Any:
        """Read a JSON file of the run.

        Raises:
            UserError: It is missing, torn or no JSON; the message names line and column.
        """
        path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"the run has no {path.name}", str(path), "let the run finish first") from error
        except OSError as error:
            raise UserError(
                f"{path.name} can't be read: {error.strerror}", str(path), "mend the file's rights"
            ) from error
        except ValueError as error:
            at = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            fix = "restore the file, or start the run anew under another name"
            raise UserError(f"{path.name} is damaged: {error}", f"{path}{at}", fix) from error

    def set_state(self, status: Status, message: str = "") -> None:
        """Say how far the run is, with the time."""
        if status not in get_args(Status):
            raise ValueError(f"no status of a run: {status}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.write_json(self.state, {"status": status, "message": message, "at": now})

    def append_event(self, event: Mapping[str, Any]) -> None:
        """Add one line to the events, handed to the system on return (it outlives the process, not a power cut).

        A half line that a killed process left is cut first, and a warning event says so.
        """
        cut = 0
        try:
            if self._log is None:
                cut = _cut_torn_line(self.events)
                self._log = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            if cut:
                text = f"cut {cut} bytes of an event that an earlier process had not finished writing"
                _append_whole(self._log, {"kind": "warning", "text": text})
            _append_whole(self._log, event)
        except OSError as error:
            raise refusal(error, self.events) from error

    def read_events(self) -> tuple[list[dict[str, Any]], bool]:
        """All events, and whether a torn last line was left out; no file is no events.

        Raises:
            UserError: A line before the last is damaged.
        """
        try:
            lines = self.events.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], False
        torn = bool(lines.pop())
        events: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
            except ValueError as error:
                # A power cut can leave a last line of full length whose bytes never reached the disk.
                if number == len(lines) and not torn:
                    return events, True
                fix = "remove that line, or start the run anew under another name"
                raise UserError("an event is damaged: it is no JSON", f"{self.events}:{number}", fix) from error
            events.append(event)
        return events, torn

    def close(self) -> None:
        """Close the event log; the next event opens it again."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def lock(self) -> Lock:
        """Take the run for this process alone; the system gives it back when the process ends, even by SIGKILL.

        Raises:
            UserError: Another process has it; the message gives its id.
        """
        path = self.folder / ".lock"
        with ExitStack() as undo:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                lock = undo.enter_context(Lock(descriptor))
                _take(descriptor, path)
            except OSError as error:
                raise refusal(error, path) from error
            undo.pop_all()
        return lock

    def is_locked(self) -> bool:
        """Whether a process (this one counts) holds the run now."""
        import fcntl

        try:
            descriptor = os.open(self.folder / ".lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def list_runs(folder: str | Path) -> list[RunSummary]:
    """Every run under a folder, oldest first; a damaged run is listed as unreadable and hides no other."""
    top = Path(folder)
    if not top.is_dir():
        return []
    runs = (
        Run(place) for place in top.iterdir() if (place / "state.json").exists() or (place / "recipe.json").exists()
    )
    return sorted(map(_summary, runs), key=lambda run: (run.started or "", run.name))


def jsonable(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities become null, arrays lists, paths text, dataclasses objects."""
    plain: Any = value
    if isinstance(value, float):
        plain = float(value) if math.isfinite(value) else None
    elif isinstance(value, Mapping):
        plain = {str(key): jsonable(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        plain = [jsonable(inner) for inner in (sorted(value) if isinstance(value, set | frozenset) else value)]
    elif isinstance(value, Path):
        plain = str(value)
    elif is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    elif hasattr(value, "tolist"):  # numpy arrays and scalars, and tensors, none of which this room imports
        plain = jsonable(value.tolist())
    return plain


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file so that its name always stands for the whole old or the whole new content, even after a power cut.

    Raises:
        UserError: The disk is full or the place can't be written; the old file is then untouched.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise refusal(error, path) from error
    return path


def sync_folder(folder: Path) -> None:
    """Bring a folder's table of names to the disk: without it a renamed file may lose its name in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(error: OSError, path: Path) -> UserError:
    """What a person is told when the system refuses to write: the reason, the place and the way on."""
    what, fix = f"{path.name} can't be written ({error.strerror})", "choose another folder (run.folder)"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = f"the disk is full ({_free_bytes(path) / 2**20:,.0f} MiB free): {path.name} was not written. "
        what += "Nothing written before is touched: the last good checkpoint is whole"
        fix = "free some space, then give the same command again; it goes on from the last good checkpoint"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        what = f"no permission to write {path.name} ({error.strerror})"
        fix = "choose a folder you may write (run.folder), or mend its rights"
    elif error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        what = f"a file stands where a folder belongs, or the reverse ({error.strerror})"
        fix = "move that file away, or choose another folder (run.folder)"
    return UserError(what, str(path), fix)


def _free_bytes(path: Path) -> int:
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free


def _no_run(place: Path) -> UserError:
    names = [run.name for run in list_runs(place.parent)]
    near = difflib.get_close_matches(place.name, names, n=1)
    fix = f"did you mean '{place.parent / near[0]}'?" if near else "`tunesmith runs` lists the runs there are"
    return UserError("there is no such run", str(place), fix)


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(jsonable(event), ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _append_whole(descriptor: int, event: Mapping[str, Any]) -> None:
    """Append a line, or nothing where the disk is full."""
    line, size = _line(event), os.fstat(descriptor).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _cut_torn_line(path: Path) -> int:
    """Cut what follows the last line's end; gives the number of bytes cut."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
        return len(data) - whole


def _take(descriptor: int, path: Path) -> None:
    """Lock an open file. A look by `is_locked` takes it for an instant, so one refusal is none yet."""
    import fcntl

    for pause in (0.02, 0.05, 0.1, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
            return
    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    fix = f"wait until it ends, stop it (kill {holder}), or give this run another name (run.name)"
    raise UserError(f"another process (pid {holder}) trains into this run", str(path.parent), fix)


def _summary(run: Run) -> RunSummary:
    name = run.folder.name
    found: list[dict[str, Any]] = []
    for path in (run.state, run.scores, run.environment):
        try:
            found.append(dict(run.read_json(path)) if path.exists() else {})
        except (UserError, TypeError, ValueError) as error:
            what = error.what if isinstance(error, UserError) else f"{path.name} holds no object"
            return RunSummary(name, run.folder, "unreadable", message=what)
    state, scores, environment = found
    status = state.get("status", "interrupted")
    if status == "running" and not run.is_locked():
        status = "interrupted"
    figures = {key: scores.get(key) for key in ("metric", "base", "tuned", "verdict")}
    started, message = environment.get("started"), state.get("message", "")
    return RunSummary(name, run.folder, status, **figures, started=started, message=message)
