"""A job's run, followed while it is written: its events, its findings and its epochs' models into the store.

It starts and ends nothing. What it has told already it need not know: the store keeps one event of a key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.server.job_events import Tail, Told, told_of, train_metrics, valid_metrics
from tunesmith.server.job_recipe import model_name
from tunesmith.server.worker import epoch_folder

if TYPE_CHECKING:
    from tunesmith.server.kept import Job
    from tunesmith.server.store import Store


class Following:
    """A job that is followed.

    Args:
        store: Takes what is told.
        job: It.
        run: The folder of its run; need not be there yet.
    """

    def __init__(self, store: Store, job: Job, run: Path) -> None:
        self.store, self.job, self.run = store, job, run
        self._tail = Tail(run / "events.jsonl")
        self._total: int | None = None
        self._audited = False
        self._last: Mapping[str, Any] = {}
        self._scored: dict[int, dict[str, Any]] = {}

    def follow(self) -> None:
        """Tell what is new."""
        events = self._tail.read()
        with self.store.transaction():
            self._findings()
            for event in events:
                self._tell(event)
            self._checkpoints()

    def close(self) -> None:
        """Let the files go."""
        self._tail.close()

    def _tell(self, event: Mapping[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "stage" and event.get("event") == "start":
            self._total = int(event["steps"])
        elif kind == "step":
            self._last = event
        elif kind == "eval":
            self._scored[int(event["step"])] = train_metrics(self._last) | valid_metrics(event)
        told = told_of(event, self._total)
        if told is not None:
            self._add(told)

    def _findings(self) -> None:
        """What the audit found of the rows, once it has been written."""
        if self._audited:
            return
        with suppress(OSError, ValueError):
            audit = json.loads((self.run / "audit.json").read_text(encoding="utf-8"))
            for finding in audit["findings"]:
                text = f"{finding['code']}: {finding['what']}"
                self._add(Told(f"finding-{finding['code']}-{finding['what']}", text, level="warn"))
            self._audited = True

    def _checkpoints(self) -> None:
        """Epochs whose model lies in its place by now; not every epoch's is kept."""
        for step in list(self._scored):
            if (self.run / epoch_folder(step)).is_dir():
                name = self.job["id"]
                place = (self.run / epoch_folder(step)).relative_to(self.store.folder).as_posix()
                model = model_name(self.job, step)
                metrics = {"step": step, **self._scored.pop(step)}
                self.store.add_checkpoint(name, step=step, model=model, folder=place, metrics=metrics)
                self._add(Told(f"checkpoint-{step}", f"Checkpoint created at step {step}: {model}"))

    def _add(self, told: Told) -> None:
        self.store.add_event(
            self.job["id"], told.message, level=told.level, kind=told.kind, data=told.data, key=told.key
        )
