"""A fine-tuning job of OpenAI's API as a recipe: what a job of our own server would train. It asks no service."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from tunesmith.server import job_recipe

STARTER = "starter:smollm2-135m"
"""The model where a person names none: a small one that comes with a package."""
SEEDS = 2**32


class NotOurs(Exception):
    """Why a job can't be a recipe, to follow its id in a sentence."""


@dataclass(frozen=True)
class HostedJob:
    """What a job says of its training.

    Args:
        about: As the API lists it.
        method: The way it trained.
        asked: Its hyperparameters, those that are told and can be.
        notes: What a person should know, one sentence each.
    """

    about: Mapping[str, Any]
    method: job_recipe.Method
    asked: Mapping[str, float | int]
    notes: tuple[str, ...]

    @property
    def model(self) -> str:
        """The model that it tuned."""
        return one_line(self.about.get("model"))


def read_job(about: Mapping[str, Any]) -> HostedJob:
    """A job as the API lists it; those from before there were methods have their hyperparameters at the top.

    Raises:
        NotOurs: Its method is none of ours.
    """
    notes: list[str] = []
    told = about.get("method") if isinstance(about.get("method"), Mapping) else {}
    named = (told or {}).get("type") or "supervised"
    kind = next((one for one in job_recipe.TASKS if one == named), None)
    if kind is None:
        raise NotOurs(f"its method is {one_line(named)}, and a recipe has {' and '.join(job_recipe.TASKS)}")
    inner = (told or {}).get(kind)
    given = inner.get("hyperparameters") if isinstance(inner, Mapping) else None
    places = [one for one in (given, about.get("hyperparameters")) if isinstance(one, Mapping)]
    names = ("n_epochs", "batch_size", "learning_rate_multiplier", *(("beta",) if kind == "dpo" else ()))
    asked = {name: n for name in names if (n := _number(name, places, notes)) is not None}
    for one in about.get("integrations") or ():
        service = one.get("type") if isinstance(one, Mapping) else one
        notes.append(f"it reported to {one_line(service)}; run.track is where a recipe says so")
    return HostedJob(about, kind, asked, tuple(notes))


def model_of(name: str, models: Mapping[str, str]) -> str:
    """What stands in for a hosted model: by its name, by its name without the date, else the one for all (``""``)."""
    undated = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name)
    return models.get(name) or models.get(undated) or models.get("") or STARTER


def migrated_recipe(job: HostedJob, model: str, rows: int, train: str, eval: str | None) -> str:
    """The recipe of a job, as YAML with a word on where it is from.

    The service keeps its learning rates to itself and tells a factor only: here it multiplies the method's own rate.

    Args:
        job: What was trained there.
        model: What is tuned here.
        rows: Training rows, by which the batch goes where the job does not tell it.
        train: Path of the training rows, as the recipe writes it.
        eval: Path of the validation rows; None holds out a share of the training rows.
    """
    about, found = job.about, job_recipe.resolved(job.method, job.asked, rows)
    text = job_recipe.recipe_of(
        job.method, found, model=model, training=train, validation=eval, seed=_seed(about), device="auto"
    )
    tree = yaml.safe_load(text)
    # Where a run goes is a person's to say, and what the audit finds is theirs to accept.
    for section in ("engine", "audit"):
        del tree[section]
    tree["run"] = {**({"name": name} if (name := _name(about)) else {}), "seed": _seed(about)}
    held = "its validation file" if eval else "a share of its rows, to prove that it helped"
    head = [
        f"# Job {one_line(about.get('id'))} of {_day(about.get('created_at'))}, which ended as "
        f"{one_line(about.get('status'))}.",
        f"# It tuned {job.model}, whose weights stay with the service. Held out is {held}.",
        f"# learning_rate_multiplier {found.learning_rate_multiplier:g} multiplies {job_recipe.RATES[job.method]:g}, "
        "what an adapter takes here.",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _number(name: str, places: list[Mapping[str, Any]], notes: list[str]) -> float | int | None:
    """A hyperparameter; None where the service kept it to itself, as "auto" does."""
    for value in (place[name] for place in places if place.get(name) not in (None, "auto")):
        fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if fine and (name not in ("n_epochs", "batch_size") or value == int(value)):
            return int(value) if value == int(value) else float(value)
        notes.append(f"{name} is {one_line(value)}, which is no number that it can be; it is left out")
        return None
    return None


def _seed(about: Mapping[str, Any]) -> int:
    seed = about.get("seed")
    return seed % SEEDS if isinstance(seed, int) and not isinstance(seed, bool) else 0


def _name(about: Mapping[str, Any]) -> str:
    """A run's name of the job's suffix; empty where it had none."""
    parts = str(about.get("fine_tuned_model") or "").split(":")
    suffix = about.get("user_provided_suffix") or (parts[3] if len(parts) > 4 else "")
    slug = re.sub(r"[^A-Za-z0-9]+", "-", str(suffix)).strip("-")
    return f"{slug}-{str(about.get('id'))[-8:]}" if slug else ""


def _day(seconds: Any) -> str:
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d}"
    except (TypeError, ValueError, OverflowError, OSError):
        return "a day that is not told"


def one_line(value: Any) -> str:
    """A value that a service told, so that no character of it ends a line."""
    return "".join(c if c.isprintable() else " " for c in str(value))[:120]
