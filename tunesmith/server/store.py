"""What the server keeps: files, jobs, their events and checkpoints, and answers to repeated requests, in SQLite.

It knows no route and starts nothing. Several processes may have one store open: the server, and a worker a job.
What is asked for in an order comes in the order in which it was written, whatever the clock said then.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.server.database import as_json, new_id, sync_folder
from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import (
    ENDED,
    Answer,
    Checkpoint,
    Event,
    File,
    Job,
    Page,
    checkpoint_of,
    event_of,
    file_of,
    job_of,
)
from tunesmith.server.upload_tables import UPLOADING, UploadTables


class Store(UploadTables):
    """An open store. Safe to use from several threads.

    Args:
        folder: Made if need be, for its owner alone.
        clock: Seconds since 1970, for what is written down; nothing is decided by it.

    Attributes:
        files: Folder of the files.
        jobs: Folder of the jobs' run directories.
        parts: Folder of the parts of uploads that have not ended.

    Raises:
        UserError: The folder can't be written, or its database is none of ours.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, clock=clock)
        self.files, self.jobs, self.parts = folder / "files", folder / "jobs", folder / "parts"
        try:
            for place in (self.files, self.jobs, self.parts):
                place.mkdir(mode=0o700, exist_ok=True)
        except OSError as fault:
            fix = "name another folder with --folder, or free some space"
            raise UserError(f"the server can't keep its files here: {fault}", str(folder), fix) from fault

    # Files

    def upload_path(self) -> Path:
        """Where a file may be written before it is whole; `add_file` moves it from there."""
        return self.files / (UPLOADING + secrets.token_hex(16))

    def file_path(self, file_id: str) -> Path:
        """Where the content of a file lies.

        Raises:
            ApiFault: 404, there is none.
        """
        return self.files / self.get_file(file_id).id

    def add_file(self, source: Path, *, filename: str, purpose: str, **data: Any) -> File:
        """Take a whole file over by moving it; after this it outlives a loss of power.

        Args:
            source: The file, on the same disk; its content has been synced by whoever wrote it.
            filename: As the client called it.
            purpose: As the client said.
            data: What else is to be known of it, JSON.

        Raises:
            ApiFault: 507, the disk is full.
        """
        name = new_id("file")
        place = self.files / name
        size = source.stat().st_size
        source.replace(place)
        try:
            sync_folder(self.files)
            self._insert("file", id=name, filename=filename, purpose=purpose, bytes=size, data=as_json(data))
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        return self.get_file(name)

    def get_file(self, file_id: str) -> File:
        """A file by its id.

        Raises:
            ApiFault: 404, there is none.
        """
        row = self._one("SELECT * FROM file WHERE id = ?", file_id)
        if row is None:
            fix = "upload it first (POST /v1/files), or list what there is (GET /v1/files)"
            raise ApiFault(404, f"No such File object: {file_id[:100]}. {fix}", param="id", code="file_not_found")
        return file_of(row)

    def list_files(
        self, *, purpose: str | None = None, after: str | None = None, limit: int | None = None, order: str = "desc"
    ) -> Page[File]:
        """Files, newest first, or oldest first with order ``asc``.

        Raises:
            ApiFault: 400, nothing listed has the id ``after``.
        """
        where = {"purpose = ?": purpose} if purpose is not None else {}
        return self._page("file", where, after, limit, order).of(file_of)

    def delete_file(self, file_id: str) -> None:
        """Remove a file: first from the list, then from the disk.

        Raises:
            ApiFault: 404, there is none; 409, a job that has not ended needs it.
        """
        with self.transaction():
            found = self.get_file(file_id)
            needed = self._one(
                "SELECT id FROM job WHERE status NOT IN (SELECT value FROM json_each(?)) AND ? IN "
                "(json_extract(data, '$.training_file'), json_extract(data, '$.validation_file'))",
                as_json(ENDED),
                file_id,
            )
            if needed is not None:
                what = f"{file_id} is needed by {needed['id']}, which has not ended: cancel that job, or wait for it"
                raise ApiFault(409, what, param="file_id", code="file_in_use")
            self._db.execute("DELETE FROM file WHERE id = ?", (file_id,))
        (self.files / found.id).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove what uploads left that a crash cut off; to be called once, before the server answers. How many."""
        with self.transaction():
            known = {row["id"] for row in self._db.execute("SELECT id FROM file UNION SELECT id FROM upload_part")}
            left = [place for part in (self.files, self.parts) for place in part.iterdir() if place.name not in known]
            for place in left:
                place.unlink(missing_ok=True)
        return len(left)

    # Jobs

    def add_job(self, *, status: str = "validating_files", job_id: str | None = None, **data: Any) -> Job:
        """A new job: ``{"id", "created_at", "status", ...data}``. What stands in ``data`` is the caller's, JSON."""
        name = job_id or new_id("ftjob")
        self._insert("job", id=name, status=status, data=as_json(data))
        return self.get_job(name)

    def get_job(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            ApiFault: 404, there is none.
        """
        row = self._one("SELECT * FROM job WHERE id = ?", job_id)
        if row is None:
            what = f"Could not find fine tune: {job_id[:100]}. List what there is with GET /v1/fine_tuning/jobs"
            raise ApiFault(404, what, param="fine_tune_id", code="fine_tune_not_found")
        return job_of(row)

    def update_job(
        self,
        job_id: str,
        *,
        expected_status: str | Collection[str] | None = None,
        status: str | None = None,
        **data: Any,
    ) -> Job | None:
        """Change a job at once: its status, and fields of its data; fields that are not named stay.

        Args:
            job_id: The job.
            expected_status: Its status, or one of these, has to be so; otherwise nothing changes.
            status: The new one; by default it stays.
            data: Fields.

        Returns:
            The job as it is now; None where its status was another than expected.

        Raises:
            ApiFault: 404, there is none.
        """
        expected = (expected_status,) if isinstance(expected_status, str) else expected_status
        with self.transaction():
            job = self.get_job(job_id)
            if expected is not None and job["status"] not in expected:
                return None
            kept = {name: value for name, value in job.items() if name not in ("id", "created_at", "status")} | data
            self._db.execute(
                "UPDATE job SET status = ?, data = ? WHERE id = ?", (status or job["status"], as_json(kept), job_id)
            )
            return self.get_job(job_id)

    def list_jobs(
        self,
        *,
        statuses: Collection[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: str = "desc",
    ) -> Page[Job]:
        """Jobs, newest first, or oldest first with order ``asc``: those of some statuses, with this metadata.

        Raises:
            ApiFault: 400, nothing listed has the id ``after``.
        """
        where: dict[str, Any] = {}
        if statuses is not None:
            where["status IN (SELECT value FROM json_each(?))"] = as_json(list(statuses))
        if metadata:
            where[
                "NOT EXISTS (SELECT 1 FROM json_each(?) AS want WHERE want.value IS NOT (SELECT have.value FROM "
                "json_each(job.data, '$.metadata') AS have WHERE have.key = want.key))"
            ] = as_json(dict(metadata))
        return self._page("job", where, after, limit, order).of(job_of)

    def count_jobs(self) -> dict[str, int]:
        """How many jobs there are of each status that any has."""
        found = self._all("SELECT status, count(*) FROM job GROUP BY status ORDER BY status")
        return {str(status): int(count) for status, count in found}

    def find_job(self, fine_tuned_model: str) -> Job | None:
        """The job that made a model, by the model's name."""
        row = self._one("SELECT * FROM job WHERE json_extract(data, '$.fine_tuned_model') = ?", fine_tuned_model)
        return None if row is None else job_of(row)

    # Events and checkpoints

    def add_event(
        self,
        job_id: str,
        message: str,
        *,
        level: str = "info",
        kind: str = "message",
        data: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Event:
        """Write down what happened to a job.

        Args:
            job_id: The job.
            message: For a person.
            level: ``info``, ``warn`` or ``error``.
            kind: ``message`` or ``metrics``.
            data: The numbers, JSON.
            key: Of two events of a job with one key, the first is kept: a step that is done again after a restart is
                told once.
        """
        with self.transaction():
            told = key and self._one("SELECT * FROM event WHERE job = ? AND key = ?", job_id, key)
            if told:
                return event_of(told)
            name = new_id("ftevent")
            self._insert(
                "event", id=name, job=job_id, level=level, kind=kind, message=message, key=key, data=as_json(data or {})
            )
            return event_of(self._one("SELECT * FROM event WHERE id = ?", name))

    def list_events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, order: str = "desc"
    ) -> Page[Event]:
        """Events of a job, newest first.

        Raises:
            ApiFault: 404, there is no such job; 400, nothing listed has the id ``after``.
        """
        self.get_job(job_id)
        return self._page("event", {"job = ?": job_id}, after, limit, order).of(event_of)

    def add_checkpoint(
        self, job_id: str, *, step: int, model: str, folder: str, metrics: Mapping[str, Any]
    ) -> Checkpoint:
        """Write down a checkpoint that may be asked; one of a step that is there already stays as it is.

        Args:
            job_id: The job.
            step: Optimizer steps done.
            model: The name by which it is asked.
            folder: Where its weights are, relative to the store's folder.
            metrics: Step, train_loss and the like.
        """
        with self.transaction():
            kept = self._one("SELECT * FROM checkpoint WHERE job = ? AND step = ?", job_id, step)
            if kept is None:
                values = {"step": step, "model": model, "folder": folder, "metrics": as_json(metrics)}
                self._insert("checkpoint", id=new_id("ftckpt"), job=job_id, **values)
                kept = self._one("SELECT * FROM checkpoint WHERE job = ? AND step = ?", job_id, step)
            return checkpoint_of(kept)

    def list_checkpoints(
        self, job_id: str, *, after: str | None = None, limit: int | None = None, order: str = "desc"
    ) -> Page[Checkpoint]:
        """Checkpoints of a job, newest first.

        Raises:
            ApiFault: 404, there is no such job; 400, nothing listed has the id ``after``.
        """
        self.get_job(job_id)
        return self._page("checkpoint", {"job = ?": job_id}, after, limit, order).of(checkpoint_of)

    def find_checkpoint(self, model: str) -> Checkpoint | None:
        """A checkpoint by the name by which it is asked."""
        row = self._one("SELECT * FROM checkpoint WHERE model = ?", model)
        return None if row is None else checkpoint_of(row)

    # Requests that are sent twice

    def recall(self, key: str, route: str, body_digest: str) -> Answer | None:
        """What was answered to a request with this key; together with `remember` in one `transaction`.

        Raises:
            ApiFault: 409, the key was used for another body.
        """
        row = self._one("SELECT * FROM idempotency WHERE key = ? AND route = ?", key, route)
        if row is None:
            return None
        if row["body_digest"] != body_digest:
            what = "this Idempotency-Key was used for another request: send a new key with a new request"
            raise ApiFault(409, what, param="Idempotency-Key", code="idempotency_key_reused")
        return Answer(int(row["status"]), json.loads(row["response"]))

    def remember(self, key: str, route: str, body_digest: str, status: int, response: Any) -> None:
        """Keep the answer to a request. It stays: a clock that jumps must not make a job run twice."""
        self._insert(
            "idempotency", key=key, route=route, body_digest=body_digest, status=status, response=as_json(response)
        )
