"""A store, a base of random weights, files of rows and jobs on them, followed in this process or in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fixtures.small_decoders import conversations, pairs, write_decoder
from tests.server.forking import ROOT, Forking
from tunesmith.server import workers
from tunesmith.server.early_plan import EarlyPlans, Taken
from tunesmith.server.jobs import Jobs
from tunesmith.server.settings import Settings
from tunesmith.server.store import Store
from tunesmith.server.training_file import check_rows

ENDED = ("succeeded", "failed", "cancelled")
SECONDS = 600.0
"""Most that is waited: these machines may be busy."""


def make_base(folder: str) -> None:
    """A decoder of random weights, in a process that has torch."""
    write_decoder(Path(folder))


def own_rates() -> list[float]:
    """Learning rates of the tasks themselves."""
    from tunesmith.registry import find_task

    return [find_task(name).rates[0] for name in ("causal-lm", "preference")]


def tokens_said(run: str) -> int:
    """How many tokens the model of a run writes when it may write eight and must not end."""
    from tunesmith.asking.model import Prompt
    from tunesmith.asking.opening import open_model

    model: Any = open_model(run, device="cpu")
    asked = Prompt(({"role": "user", "content": "what colour is grass?"},), max_tokens=8)
    return int(model.answer([replace(asked, bias={token: -100.0 for token in model.stops})])[0].tokens)


def merged_apart(base: str, adapter: str, merged: str) -> tuple[float, dict[str, float]]:
    """How far merged weights are from the base with the adapter added, relative to their size; and how far each layer
    that the adapter has was moved by it.
    """
    from safetensors.torch import load_file

    settings = json.loads((Path(adapter) / "adapter_config.json").read_text())
    weights, found = (load_file(Path(place) / "model.safetensors") for place in (base, merged))
    update = load_file(Path(adapter) / "adapter_model.safetensors")
    assert found.keys() == weights.keys()
    apart, changed = 0.0, {}
    for name, before in weights.items():
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        # What is frozen was held in the type of the merged weights while the adapter learned.
        held = wanted = before.to(found[name].dtype).float()
        if f"{layer}.lora_A.weight" in update:
            product = update[f"{layer}.lora_B.weight"] @ update[f"{layer}.lora_A.weight"]
            wanted = wanted + settings["lora_alpha"] / settings["r"] * product
            changed[name] = float((found[name].float() - held).abs().max())
        apart = max(apart, float(((found[name].float() - wanted).abs() / (wanted.abs() + 1e-3)).max()))
    return apart, changed


class Unplanned(EarlyPlans):
    """What a job takes is told by its own worker alone."""

    def taken(self, recipe: str) -> Taken | None:
        """Nothing is told."""
        return None


class JobWorld:
    """A place for jobs.

    Args:
        folder: Of the store.
        model: A base, known as ``tiny``.
        forking: What forks workers.
        command: What trains instead of a fork.
        clock: Of the store.
        at_once: Workers that train at a time.
        plans: What tells whether a job can ever fit; by default nothing does.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        forking: Forking | None = None,
        command: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
        at_once: int = 1,
        plans: EarlyPlans | None = None,
    ) -> None:
        self.settings: dict[str, Any] = {"models": {"tiny": model}, "device": "cpu", "jobs_at_once": at_once}
        self.folder, self.store, self.forking = folder, Store(folder, clock=clock), forking
        self.command = command or (forking.command if forking else workers.COMMAND)
        settings = Settings(folder=folder, **self.settings)
        self.jobs = Jobs(self.store, settings, command=self.command, plans=plans or Unplanned("cpu"))

    def rows(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
        """Upload rows; the file's id."""
        place = self.store.upload_path()
        place.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "id"}) + "\n" for r in rows))
        checked = check_rows(place, name)
        return self.store.add_file(place, filename=name, purpose="fine-tune", kind=checked.kind, rows=checked.rows).id

    def chat(self, **body: Any) -> dict[str, Any]:
        """Make a supervised job: 24 rows to learn, 8 to judge by, six steps an epoch."""
        rows = conversations(32)
        files = {"training_file": self.rows(rows[:24]), "validation_file": self.rows(rows[24:])}
        settings = {"n_epochs": 2, "learning_rate_multiplier": 20.0} | body.pop("hyperparameters", {})
        method = {"type": "supervised", "supervised": {"hyperparameters": settings}}
        return self.jobs.create({"model": "tiny", "seed": 7, "method": method, **files, **body})

    def preference(self, **settings: Any) -> dict[str, Any]:
        """Make a job on preferences."""
        rows = pairs(24)
        method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, **settings}}}
        files = {"training_file": self.rows(rows[:16]), "validation_file": self.rows(rows[16:])}
        return self.jobs.create({"model": "tiny", "seed": 7, "method": method, **files})

    def until(self, true: Callable[[], Any], what: str = "") -> Any:
        """Wait for something."""
        end = time.monotonic() + SECONDS
        while not (found := true()):
            assert time.monotonic() < end, f"{what or 'it'} did not come true: {self.told()}"
            time.sleep(0.02)
        return found

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it has ended."""
        return self.until(lambda: (j := self.jobs.retrieve(job["id"]))["status"] in ENDED and j, "the end")

    def reached(self, job: dict[str, Any], step: int) -> None:
        """Wait until a step was told."""
        self.until(lambda: any(e.data.get("step", 0) >= step for e in self.events(job)), f"step {step}")

    def gone(self, job: dict[str, Any]) -> None:
        """Wait until no worker of the job lives."""
        self.until(lambda: not workers.alive(self.jobs.folder(job["id"])), "the worker's end")

    def events(self, job: dict[str, Any]) -> Any:
        """All events, oldest first."""
        return self.store.list_events(job["id"], order="asc").rows

    def told(self) -> str:
        """What jobs and workers say, for a test that fails."""
        logs = [place.read_text(errors="replace")[-2000:] for place in self.folder.glob("jobs/*/worker.log")]
        events = [e.message for job in self.store.list_jobs().rows for e in self.store.list_events(job["id"]).rows[:5]]
        return json.dumps([[job["id"], job["status"]] for job in self.store.list_jobs().rows]) + "\n".join(
            [*events, *logs]
        )

    def weights(self, job: dict[str, Any], folder: str = "model") -> bytes:
        """The bytes of the adapter that a job made."""
        return (self.jobs.folder(job["id"]) / "run" / folder / "adapter_model.safetensors").read_bytes()

    def serving(self, when: str = "never", number: int = 0) -> subprocess.Popen[bytes]:
        """Follow the jobs in another process, until they have ended or it has killed itself."""
        arguments = [json.dumps(self.settings), json.dumps(self.command), when, str(number)]
        script = str(Path(__file__).with_name("lone_jobs.py"))
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, script, str(self.folder), *arguments], env=env)

    def serve(self, when: str = "never", number: int = 0) -> int:
        """The same, and its exit code."""
        return self.serving(when, number).wait(SECONDS)

    def close(self) -> None:
        """Stop following, and let the store go."""
        self.jobs.stop()
        self.store.close()
