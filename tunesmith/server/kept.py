"""What the store gives back: a file, an event, a checkpoint, a page of them, each with the object that the API says."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

Job: TypeAlias = dict[str, Any]
"""``id``, ``created_at``, ``status``, and what whoever made it keeps there."""
ENDED = ("succeeded", "failed", "cancelled")
"""Statuses of jobs that change no more."""
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list.

    Args:
        rows: It.
        has_more: Whether the list goes on.
    """

    rows: tuple[T, ...]
    has_more: bool

    def of(self, made: Callable[[T], U]) -> Page[U]:
        """The same page of other things."""
        return Page(tuple(made(row) for row in self.rows), self.has_more)


@dataclass(frozen=True)
class File:
    """A file that was uploaded, or that a job made.

    Args:
        id: ``file-...``.
        created: Seconds since 1970.
        filename: As the client called it; never a path here.
        purpose: ``fine-tune``, ``fine-tune-results``, ...
        bytes: Size.
        data: What else is known of it: ``rows`` and ``kind`` of one that was checked, ``note`` for a person.
    """

    id: str
    created: int
    filename: str
    purpose: str
    bytes: int
    data: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """The API's object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created,
            "expires_at": None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": self.data.get("note"),
        }


@dataclass(frozen=True)
class Upload:
    """A file that comes in parts.

    Args:
        id: ``upload_...``.
        created: Seconds since 1970.
        expires: When it is given up, in seconds since 1970.
        status: ``pending``, ``completed``, ``cancelled`` or ``expired``.
        filename: As the client calls it; never a path here.
        purpose: What the file is for.
        bytes: That it is to have.
        data: What else is known: ``file``, ``part_ids`` and ``md5`` of one that is whole.
    """

    id: str
    created: int
    expires: int
    status: str
    filename: str
    purpose: str
    bytes: int
    data: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """The API's object."""
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "file": self.data.get("file"),
        }


@dataclass(frozen=True)
class Part:
    """A part of an upload.

    Args:
        id: ``part_...``.
        created: Seconds since 1970.
        upload: Of which upload.
        bytes: Size.
    """

    id: str
    created: int
    upload: str
    bytes: int

    def public(self) -> dict[str, Any]:
        """The API's object."""
        return {"id": self.id, "object": "upload.part", "created_at": self.created, "upload_id": self.upload}


@dataclass(frozen=True)
class Event:
    """What happened to a job.

    Args:
        id: ``ftevent-...``.
        created: Seconds since 1970.
        job: Of which job.
        level: ``info``, ``warn`` or ``error``.
        kind: ``message`` or ``metrics``.
        message: For a person.
        data: Numbers.
    """

    id: str
    created: int
    job: str
    level: str
    kind: str
    message: str
    data: Mapping[str, Any]

    def public(self) -> dict[str, Any]:
        """The API's object."""
        return {
            "id": self.id,
            "object": "fine_tuning.job.event",
            "created_at": self.created,
            "level": self.level,
            "message": self.message,
            "type": self.kind,
            "data": dict(self.data),
        }


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a job that may be asked.

    Args:
        id: ``ftckpt-...``.
        created: Seconds since 1970.
        job: Of which job.
        step: Optimizer steps done.
        model: The name by which it is asked.
        folder: Where its weights are, relative to the store's folder.
        metrics: Numbers.
    """

    id: str
    created: int
    job: str
    step: int
    model: str
    folder: str
    metrics: Mapping[str, Any]

    def public(self) -> dict[str, Any]:
        """The API's object."""
        return {
            "id": self.id,
            "object": "fine_tuning.job.checkpoint",
            "created_at": self.created,
            "fine_tuned_model_checkpoint": self.model,
            "fine_tuning_job_id": self.job,
            "metrics": dict(self.metrics),
            "step_number": self.step,
        }


@dataclass(frozen=True)
class Answer:
    """What was answered to a request.

    Args:
        status: HTTP status.
        body: JSON.
    """

    status: int
    body: Any


def file_of(row: sqlite3.Row) -> File:
    """A file from its row."""
    return File(row["id"], row["created"], row["filename"], row["purpose"], row["bytes"], json.loads(row["data"]))


def upload_of(row: sqlite3.Row) -> Upload:
    """An upload from its row."""
    times, texts = (row["created"], row["expires"]), (row["status"], row["filename"], row["purpose"])
    return Upload(row["id"], *times, *texts, row["bytes"], json.loads(row["data"]))


def part_of(row: sqlite3.Row) -> Part:
    """A part from its row."""
    return Part(row["id"], row["created"], row["upload"], row["bytes"])


def job_of(row: sqlite3.Row) -> Job:
    """A job from its row."""
    return {**json.loads(row["data"]), "id": row["id"], "created_at": row["created"], "status": row["status"]}


def event_of(row: sqlite3.Row | None) -> Event:
    """An event from its row."""
    assert row is not None
    texts = (row["job"], row["level"], row["kind"], row["message"])
    return Event(row["id"], row["created"], *texts, json.loads(row["data"]))


def checkpoint_of(row: sqlite3.Row | None) -> Checkpoint:
    """A checkpoint from its row."""
    assert row is not None
    places = (row["step"], row["model"], row["folder"])
    return Checkpoint(row["id"], row["created"], row["job"], *places, json.loads(row["metrics"]))
