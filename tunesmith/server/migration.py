"""What a migration brought, job by job and file by file. It asks no service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class MigratedFile:
    """A file of the account.

    Args:
        id: As the API calls it.
        name: As it was uploaded.
        path: Where it is now, from the migration's folder; empty where it is not to be had.
        bytes: Of the copy.
        why: Why there is none; empty where there is one.
        kept: Whether an earlier migration brought it.
    """

    id: str
    name: str = ""
    path: str = ""
    bytes: int = 0
    why: str = ""
    kept: bool = False


@dataclass(frozen=True)
class MigratedJob:
    """A job of the account.

    Args:
        id: As the API calls it.
        hosted: The model that it tuned.
        model: What the recipe tunes in its place; empty where there is no recipe.
        recipe: Its path from the migration's folder; empty where there is none.
        why: Why there is none.
        rows: Training rows that the recipe reads.
        broken: Training and validation rows that it can't read, in all.
        shown: Place and reason of the first of these.
        notes: What a person should know, one sentence each.
        kept: Whether the recipe was there already; it is then left as it was.
    """

    id: str
    hosted: str
    model: str = ""
    recipe: str = ""
    why: str = ""
    rows: int = 0
    broken: int = 0
    shown: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    kept: bool = False


@dataclass
class Migration:
    """Everything that was listed, and what became of it.

    Args:
        source: Address that was asked.
        jobs: In the order of the list, newest first.
        files: Those that jobs name, then the others for fine-tuning.
    """

    source: str
    jobs: list[MigratedJob] = field(default_factory=list)
    files: list[MigratedFile] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether each job has a recipe that reads all of its rows, and each file is here."""
        return all(job.recipe and not job.broken for job in self.jobs) and all(file.path for file in self.files)

    def plain(self) -> dict[str, Any]:
        """The migration as JSON-able values."""
        return {"complete": self.complete, **asdict(self)}

    def lines(self) -> list[str]:
        """The migration for a person."""
        made = [job for job in self.jobs if job.recipe]
        here = [file for file in self.files if file.path]
        head = f"{self.source}: {'complete' if self.complete else 'NOT complete'}"
        found = [head, f"  jobs: {len(self.jobs):,} listed, {len(made):,} with a recipe"]
        size = sum(file.bytes for file in here)
        found.append(f"  files: {len(self.files):,} listed, {len(here):,} here, {size:,} bytes")
        for job in self.jobs:
            found += _job_lines(job)
        found += [f"  {file.id} ({file.name}) is not here: {file.why}" for file in self.files if not file.path]
        return found


def _job_lines(job: MigratedJob) -> list[str]:
    if not job.recipe:
        return [f"  {job.id} has no recipe: {job.why}"]
    said = " (was there, left as it was)" if job.kept else ""
    found = [f"  {job.recipe}{said}: {job.rows:,} rows, {job.model} in place of {job.hosted}"]
    if job.broken:
        found.append(f"    {job.broken:,} rows can't be read: " + "; ".join(f"{p} {why}" for p, why in job.shown[:3]))
    return found + [f"    {note}" for note in job.notes]


def model_names(given: list[str]) -> Mapping[str, str]:
    """``NAME=MODEL`` texts as a mapping; a bare ``MODEL`` stands for every name, as ``""``."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, model = text.partition("=")
        found[name if equals else ""] = model if equals else name
    return found
