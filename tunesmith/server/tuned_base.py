"""A model that a job of this server tuned, as the base of another job. It starts nothing and merges nothing.

What a tuned model is, an adapter beside its base, is no base for a recipe. So its adapter is merged into a base of the
new job's own, in the new job's process; here it is only told from what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.server.job_recipe import RUN
from tunesmith.server.merged_base import BASE

if TYPE_CHECKING:
    from tunesmith.server.kept import Job
    from tunesmith.server.store import Store

ADAPTER = "model"
"""The folder of a finished run that has its adapter."""


@dataclass(frozen=True)
class TunedBase:
    """What a job goes on from.

    Args:
        root: The base of the first job of the line, by the name that clients use.
        weights: What the adapter stands on, as a recipe names it.
        places: Of the run and of the adapter, relative to the store's folder.
    """

    root: str
    weights: str
    places: dict[str, str]


def tuned_base(store: Store, models: Mapping[str, str], name: str) -> TunedBase | None:
    """What a name stands for, where it is a model that a job tuned or a checkpoint of it; else None.

    Args:
        store: With the jobs.
        models: Bases, whose names come first.
        name: As the client says it.
    """
    if name in models:
        return None
    job, adapter = store.find_job(name), ""
    if job is not None and job["status"] == "succeeded":
        adapter = f"{_run(store, job)}/{ADAPTER}"
    else:
        kept = store.find_checkpoint(name)
        if kept is None:
            return None
        job, adapter = store.get_job(kept.job), kept.folder
    places = {"run": _run(store, job), "adapter": adapter}
    return TunedBase(str(job.get("root") or job["model"]), weights_beneath(store, job), places)


def weights_beneath(store: Store, job: Job) -> str:
    """The weights that a job's adapter stands on, as a recipe names them from any folder."""
    return str((store.jobs / job["id"] / BASE).resolve()) if job.get("start") else str(job["base"])


def _run(store: Store, job: Job) -> str:
    folder = store.jobs / str(job["id"]) / RUN
    return folder.relative_to(store.folder).as_posix()
