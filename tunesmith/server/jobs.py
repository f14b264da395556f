"""Jobs as clients see them: made, listed, cancelled, paused, resumed. What becomes of them is the supervisor's affair.

A change of a job's state is one compare-and-set in the store. What follows from it, a worker that has to start or to
stop, is done by whoever looks next, so that a crash between the two loses nothing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.server import workers
from tunesmith.server.early_plan import EarlyPlans
from tunesmith.server.faults import ApiFault
from tunesmith.server.job_recipe import (
    KINDS,
    LEAST_ROWS,
    Hyperparameters,
    Method,
    base_of,
    method_of,
    recipe_of,
    resolved,
)
from tunesmith.server.kept import ENDED, Answer, Checkpoint, Event, Job, Page
from tunesmith.server.repeated import digest_of, once
from tunesmith.server.supervisor import Supervisor
from tunesmith.server.tuned_base import tuned_base

if TYPE_CHECKING:
    from tunesmith.server.kept import File
    from tunesmith.server.settings import Settings
    from tunesmith.server.store import Store

ROUTE = "POST /v1/fine_tuning/jobs"
TRAINING = "fine-tune"
REFUSED = "plan_refused"
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Jobs:
    """The jobs of a store.

    Args:
        store: Where they are kept.
        settings: Bases, device, and how many may train at a time.
        command: What trains a job; the job's folder is added.
        plans: Tells before a job is made whether it can ever fit; by default a process that reads headers.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        command: Sequence[str] = workers.COMMAND,
        plans: EarlyPlans | None = None,
    ) -> None:
        self.store, self.settings = store, settings
        self.plans = plans or EarlyPlans(settings.device)
        self.supervisor = Supervisor(store, settings, command)

    def start(self) -> None:
        """Follow jobs from now on: those that an earlier server left, too.

        Raises:
            UserError: Another server follows the jobs of this folder.
        """
        self.supervisor.start()

    def stop(self) -> None:
        """Follow jobs no longer; workers save and end, and the next server goes on with them."""
        self.supervisor.stop()

    def create(self, body: Mapping[str, Any], idempotency: str | None = None) -> dict[str, Any]:
        """Make a job.

        Args:
            body: As ``JobBody`` checked it.
            idempotency: A second request with this key gives the first one's job.

        Raises:
            ApiFault: 400 for a file, a model or a setting that can't be, or that never fits into this machine's
                memory; 409 for a key of another body.
        """
        asked = {name: value for name, value in body.items() if value is not None}
        digest = digest_of(asked)
        if idempotency is None or self.store.recall(idempotency, ROUTE, digest) is None:
            # Outside of the transaction, which would keep everybody else waiting.
            self._plan(self._checked(asked))
        answer = once(self.store, idempotency, ROUTE, digest, lambda: Answer(200, public(self._made(asked))))
        self.supervisor.wake()
        return dict(answer.body)

    def _checked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a job of this body is to be, once all that it names has been found."""
        kind, hyperparameters = method_of(body)
        start = tuned_base(self.store, self.settings.models, body["model"])
        base = start.weights if start else base_of(self.settings.models, body["model"])
        training = self._rows("training_file", body["training_file"], kind)
        named = body.get("validation_file")
        validation = self._rows("validation_file", named, kind) if named else None
        if validation is not None and validation.id == training.id:
            text = "validation_file is the training file: what was learned by heart would count as understood"
            raise ApiFault(400, text, param="validation_file", code="invalid_value")
        rows = int(training.data["rows"])
        if rows < LEAST_ROWS:
            text = f"Training file has {rows} examples, but must have at least {LEAST_ROWS}"
            raise ApiFault(400, text, param="training_file", code="invalid_n_examples")
        suffix = body.get("suffix")
        if suffix is not None and not _SUFFIX.fullmatch(suffix):
            text = "suffix takes letters, digits, '.', '_' and '-', 64 at most, and begins with a letter or digit"
            raise ApiFault(400, text, param="suffix", code="invalid_value")
        return {
            "model": body["model"],
            "base": base,
            "start": start.places if start else None,
            "root": start.root if start else None,
            "kind": kind,
            "training_file": training.id,
            "validation_file": validation.id if validation else None,
            "hyperparameters": resolved(kind, hyperparameters, rows).public(),
            "suffix": suffix,
            "seed": body["seed"] if "seed" in body else secrets.randbelow(1 << 31),
            "metadata": body.get("metadata"),
        }

    def _plan(self, values: Mapping[str, Any]) -> None:
        """Refuse what can't fit whenever its turn comes; what fits by then is for the plan at its turn to say.

        Raises:
            ApiFault: 400, it takes more than there is.
        """
        recipe = recipe_of(
            values["kind"],
            Hyperparameters(**values["hyperparameters"]),
            model=values["base"],
            training="rows.jsonl",
            validation=None,
            seed=0,
            device="auto",
        )
        taken = self.plans.taken(recipe)
        if taken is not None and not taken.fits:
            fix = "name a smaller model, or start the server on a machine with more memory"
            raise ApiFault(400, f"The job can't be trained here: {taken}. Fix: {fix}", param="model", code=REFUSED)

    def _made(self, body: Mapping[str, Any]) -> Job:
        # Read again: what was found before may be gone by now, and from here on it can't go.
        values = self._checked(body)
        job = self.store.add_job(
            **values, fine_tuned_model=None, finished_at=None, trained_tokens=None, result_files=[], error=None
        )
        self.store.add_event(job["id"], f"Created fine-tuning job: {job['id']}", key="created")
        if values["start"] is not None:
            text = f"The adapter of {job['model']} is merged into a base of this job's own; a new one is learned on it"
            self.store.add_event(job["id"], text, key="start")
        if values["validation_file"] is None:
            text = "No validation file: about a tenth of the rows is held out to judge by, and is not learned from"
            self.store.add_event(job["id"], text, key="held-out")
        return job

    def _rows(self, param: str, file_id: str, kind: Method) -> File:
        try:
            file = self.store.get_file(file_id)
        except ApiFault as fault:
            text = f"invalid {param}: {file_id[:200]} does not exist; upload it first (POST /v1/files)"
            raise ApiFault(400, text, param=param, code="file_not_found") from fault
        if file.purpose != TRAINING:
            text = f"{param}: {file_id} was uploaded with purpose '{file.purpose}', and has to be '{TRAINING}'"
            raise ApiFault(400, text, param=param, code="invalid_file_purpose")
        if file.data.get("kind") != KINDS[kind]:
            text = f"{param}: {file_id} holds {file.data.get('kind')} rows, and method {kind} takes {KINDS[kind]} rows"
            raise ApiFault(400, text, param=param, code="invalid_file_format")
        return file

    def retrieve(self, job_id: str) -> dict[str, Any]:
        """A job.

        Raises:
            ApiFault: 404, there is none.
        """
        return public(self.store.get_job(job_id))

    def list(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: str = "desc",
        metadata: Mapping[str, str] | None = None,
    ) -> Page[dict[str, Any]]:
        """Jobs, newest first."""
        return self.store.list_jobs(after=after, limit=limit, order=order, metadata=metadata).of(public)

    def events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, order: str = "desc"
    ) -> Page[Event]:
        """What happened to a job, newest first.

        Raises:
            ApiFault: 404, there is none.
        """
        return self.store.list_events(job_id, after=after, limit=limit, order=order)

    def checkpoints(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, order: str = "desc"
    ) -> Page[Checkpoint]:
        """Its models at the end of epochs, newest first.

        Raises:
            ApiFault: 404, there is none.
        """
        return self.store.list_checkpoints(job_id, after=after, limit=limit, order=order)

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job for good; its worker stops at the next step.

        Raises:
            ApiFault: 404, there is none; 400, it has ended.
        """
        living = ("validating_files", "queued", "running", "paused")
        with self.store.transaction():
            job = self._changed(job_id, living, "cancelled", "cancel", finished_at=self.store.now())
            self.store.add_event(job_id, "Fine-tuning job was cancelled", key="cancelled")
        self._stop(job_id)
        return public(job)

    def pause(self, job_id: str) -> dict[str, Any]:
        """Let a job rest: its worker saves and stops at the next step. Pausing one that rests changes nothing.

        Raises:
            ApiFault: 404, there is none; 400, it has ended.
        """
        with self.store.transaction():
            job = self._changed(job_id, ("validating_files", "queued", "running", "paused"), "paused", "pause")
            self.store.add_event(job_id, "Fine-tuning job was paused")
        self._stop(job_id)
        return public(job)

    def resume(self, job_id: str) -> dict[str, Any]:
        """Let a job that rests go on from where it was; so may one that failed for want of space on the disk.

        Raises:
            ApiFault: 404, there is none; 400, it does not rest.
        """
        with self.store.transaction():
            job = self.store.get_job(job_id)
            if job["status"] == "failed" and (job["error"] or {}).get("code") == "insufficient_storage":
                self._rows("training_file", job["training_file"], job["kind"])
                if job["validation_file"] is not None:
                    self._rows("validation_file", job["validation_file"], job["kind"])
                expected = "failed"
            else:
                expected = "paused"
            job = self._changed(job_id, (expected,), "queued", "resume", error=None, finished_at=None)
            self.store.add_event(job_id, "Fine-tuning job was resumed")
        self.supervisor.wake()
        return public(job)

    def _changed(self, job_id: str, expected: Collection[str], status: str, verb: str, **data: Any) -> Job:
        job = self.store.update_job(job_id, expected_status=expected, status=status, **data)
        if job is None:
            now = self.store.get_job(job_id)["status"]
            why = f"it has {now}" if now in ("succeeded", "failed") else f"its status is {now}"
            text = f"{job_id} can't be {verb}{'' if verb.endswith('e') else 'l'}{'d' if verb.endswith('e') else 'ed'}"
            code = "job_has_ended" if now in ENDED else "invalid_job_status"
            raise ApiFault(400, f"{text}: {why}", param="fine_tuning_job_id", code=code)
        return job

    def _stop(self, job_id: str) -> None:
        self.supervisor.watch_end(job_id)
        workers.tell(self.folder(job_id))
        self.supervisor.wake()

    def folder(self, job_id: str) -> Path:
        """Where a job's recipe, log and run lie."""
        return self.store.jobs / job_id


def public(job: Job) -> dict[str, Any]:
    """A job as the API says it."""
    hyperparameters = job["hyperparameters"]
    plain = {name: value for name, value in hyperparameters.items() if name != "beta"}
    return {
        "id": job["id"],
        "object": "fine_tuning.job",
        "created_at": job["created_at"],
        "finished_at": job["finished_at"],
        "status": job["status"],
        "model": job["model"],
        "fine_tuned_model": job["fine_tuned_model"],
        "organization_id": "local",
        "training_file": job["training_file"],
        "validation_file": job["validation_file"],
        "result_files": job["result_files"],
        "trained_tokens": job["trained_tokens"],
        "hyperparameters": plain,
        "method": {"type": job["kind"], job["kind"]: {"hyperparameters": hyperparameters}},
        "suffix": job["suffix"],
        "user_provided_suffix": job["suffix"],
        "seed": job["seed"],
        "metadata": job["metadata"],
        "integrations": [],
        "estimated_finish": None,
        "error": job["error"],
    }


__all__ = ["Jobs", "public"]
