"""Reading a run directory back, whole or half written, into one record.

It knows the files of a run and their shapes, and nothing of pages, cards, tasks or models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError

Json = dict[str, Any]

NEEDED: dict[str, tuple[str, ...]] = {
    "recipe.json": ("values",),
    "environment.json": (),
    "facts.json": (),
    "audit.json": ("findings",),
    "plan.json": ("stages",),
    "scores.json": ("metric", "base", "tuned", "difference", "interval", "verdict", "rows"),
    "measured.json": (),
    "state.json": ("status",),
}
"""The files that hold one object, and the keys without which the page could not say what it has to say."""

LISTS = ("panels.json", "receipts.json")


@dataclass(frozen=True)
class Events:
    """What ``events.jsonl`` tells, by kind, in the order it happened.

    Args:
        steps: One entry an optimizer step.
        evals: One entry an evaluation during training.
        stages: Starts and ends of stages.
        caches: Recordings of the activation cache.
        finders: Learning-rate range tests.
        resumes: Steps at which the run was taken up again.
        warnings: What the run had to say aloud.
        replaced: How many step lines a resumed run wrote a second time; the later ones count.
        unreadable: Line numbers that are no JSON object (the last line of a killed run).
        unknown: How often each kind appeared that this reader has no place for.
    """

    steps: list[Json] = field(default_factory=list)
    evals: list[Json] = field(default_factory=list)
    stages: list[Json] = field(default_factory=list)
    caches: list[Json] = field(default_factory=list)
    finders: list[Json] = field(default_factory=list)
    resumes: list[Json] = field(default_factory=list)
    warnings: list[Json] = field(default_factory=list)
    replaced: int = 0
    unreadable: list[int] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """A run as its directory tells it; a file that is not there is None.

    Args:
        folder: The run directory.
        recipe_text: ``recipe.yaml`` as it stands, with the comments on origins.
    """

    folder: Path
    recipe: Json | None
    recipe_text: str | None
    environment: Json | None
    facts: Json | None
    audit: Json | None
    plan: Json | None
    events: Events | None
    panels: list[Json] | None
    scores: Json | None
    receipts: list[Json] | None
    measured: Json | None
    state: Json | None

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.folder.resolve().name

    @property
    def status(self) -> str:
        """``finished``, ``running``, ``interrupted``, ``failed``, or ``unknown`` without a state file."""
        return str((self.state or {}).get("status", "unknown"))

    @property
    def task(self) -> str:
        """The recipe's task, or an empty string."""
        return str(((self.recipe or {}).get("values") or {}).get("task") or "")


def read_run(folder: Path) -> RunRecord:
    """Reads every known file of a run directory.

    Raises:
        UserError: The folder is missing, holds no run, or one of its files is damaged.
    """
    if not folder.is_dir():
        raise UserError("there is no such run directory", str(folder), "name a folder that 'tunesmith train' wrote")
    one = {name: _read_object(folder / name, needed) for name, needed in NEEDED.items()}
    many = {name: _read_list(folder / name) for name in LISTS}
    events = _read_events(folder / "events.jsonl")
    if events is None and not any(value is not None for value in (*one.values(), *many.values())):
        raise UserError(
            "this folder holds no run: none of its files is one that a run writes",
            str(folder),
            "name the run's own folder, the one with recipe.json in it",
        )
    recipe_text = folder / "recipe.yaml"
    return RunRecord(
        folder=folder,
        recipe=one["recipe.json"],
        recipe_text=_read_text(recipe_text) if recipe_text.is_file() else None,
        environment=one["environment.json"],
        facts=one["facts.json"],
        audit=one["audit.json"],
        plan=one["plan.json"],
        events=events,
        panels=many["panels.json"],
        scores=one["scores.json"],
        receipts=many["receipts.json"],
        measured=one["measured.json"],
        state=one["state.json"],
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path, f"it is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise UserError(
            f"cannot read a file of the run: {error.strerror}", str(path), "check its permissions"
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, f"it is not JSON ({error.msg})", f":{error.lineno}:{error.colno}") from error


def _damaged(path: Path, why: str, place: str = "") -> UserError:
    fix = "run the same 'tunesmith train' command again, which writes the file anew, or restore it from a copy"
    return UserError(f"{path.name} of this run is damaged: {why}", f"{path}{place}", fix)


def _read_object(path: Path, needed: Iterable[str]) -> Json | None:
    if not path.is_file():
        return None
    value = _read_json(path)
    if not isinstance(value, dict):
        raise _damaged(path, "it holds no object")
    if missing := [key for key in needed if key not in value]:
        raise _damaged(path, f"it lacks {', '.join(missing)}")
    return value


def _read_list(path: Path) -> list[Json] | None:
    if not path.is_file():
        return None
    value = _read_json(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _damaged(path, "it holds no list of objects")
    return value


def _read_events(path: Path) -> Events | None:
    if not path.is_file():
        return None
    places = {"step": "steps", "eval": "evals", "stage": "stages", "cache": "caches"}
    places |= {"lr-finder": "finders", "resume": "resumes", "warning": "warnings"}
    events = Events()
    replaced = 0
    for line_number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        event = _event(line)
        if event is None:
            events.unreadable.append(line_number)
            continue
        kind = str(event.get("kind"))
        if kind not in places:
            events.unknown[kind] = events.unknown.get(kind, 0) + 1
            continue
        if kind == "resume":
            replaced += _rewind(events, event.get("step"))
        getattr(events, places[kind]).append(event)
    return Events(**{**events.__dict__, "replaced": replaced})


def _event(line: str) -> Json | None:
    """One line as an object; None for a torn one, which the page counts aloud."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _rewind(events: Events, step: object) -> int:
    """Forgets what was written after the checkpoint that a resumed run started from; returns the steps forgotten."""
    if not isinstance(step, int):
        return 0
    before = len(events.steps)
    for entries in (events.steps, events.evals, events.stages):
        entries[:] = [entry for entry in entries if not _after(entry, step)]
    return before - len(events.steps)


def _after(entry: Json, step: int) -> bool:
    at = entry.get("step")
    return isinstance(at, int) and at > step
