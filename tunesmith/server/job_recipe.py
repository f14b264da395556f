"""What a client asked for as a recipe, and what was left to us, resolved. It starts nothing and keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from tunesmith.server.faults import ApiFault

Method: TypeAlias = Literal["supervised", "dpo"]

RATES: Mapping[Method, float] = {"supervised": 2e-4, "dpo": 5e-5}
"""Peak learning rate of an adapter at multiplier 1: what the tasks themselves take."""
TASKS: Mapping[Method, str] = {"supervised": "causal-lm", "dpo": "preference"}
KINDS: Mapping[Method, Literal["conversation", "preference"]] = {
    "supervised": "conversation",
    "dpo": "preference",
}
LEAST_ROWS = 10
EPOCHS = 3
BATCH_SHARE, LEAST_BATCH, MOST_BATCH = 0.002, 4, 32
BETA = 0.1
HELD_OUT = 0.1
"""Share of the rows that judge a job without a validation file."""
ACCEPTED = ("few-rows", "leak", "duplicate-rows")
"""Findings that the hosted API takes without a word; here they are told as events."""
REASON = "the server takes such rows, as the hosted API does, and tells of them"
RUN = "run"
RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Hyperparameters:
    """Of a job, resolved.

    Args:
        n_epochs: Passes over the training rows.
        batch_size: Rows a step.
        learning_rate_multiplier: Factor on the method's own rate.
        beta: How strongly the reference holds (dpo only).
    """

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float | None = None

    def public(self) -> dict[str, Any]:
        """As the API says them."""
        found = {
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return found if self.beta is None else found | {"beta": self.beta}


def method_of(body: Mapping[str, Any]) -> tuple[Method, Mapping[str, Any]]:
    """Which way a job trains, and what its body says of it; the older ``hyperparameters`` count for supervised jobs.

    Raises:
        ApiFault: 400, both places say something, or the settings belong to another method.
    """
    method = body.get("method") or {"type": "supervised"}
    kind: Method = method["type"]
    other = "dpo" if kind == "supervised" else "supervised"
    if method.get(other) is not None:
        text = f"method.{other} has no meaning beside method.type '{kind}': remove it, or write type '{other}'"
        raise ApiFault(400, text, param=f"method.{other}", code="invalid_value")
    asked = (method.get(kind) or {}).get("hyperparameters")
    older = body.get("hyperparameters")
    if older and (asked or kind == "dpo"):
        text = f"hyperparameters stands beside method: write all of them into method.{kind}.hyperparameters"
        raise ApiFault(400, text, param="hyperparameters", code="invalid_value")
    return kind, asked or older or {}


def resolved(kind: Method, asked: Mapping[str, Any], rows: int) -> Hyperparameters:
    """The hyperparameters of a job on so many rows; what is ``"auto"`` or left out is chosen.

    Three epochs, 0.2 % of the rows a step (4 to 32), the method's own rate, beta 0.1.
    """

    def of(name: str, default: Any) -> Any:
        value = asked.get(name)
        return default if value is None or value == "auto" else value

    batch = min(MOST_BATCH, max(LEAST_BATCH, round(rows * BATCH_SHARE)))
    return Hyperparameters(
        n_epochs=int(of("n_epochs", EPOCHS)),
        batch_size=int(of("batch_size", batch)),
        learning_rate_multiplier=float(of("learning_rate_multiplier", 1.0)),
        beta=float(of("beta", BETA)) if kind == "dpo" else None,
    )


def recipe_of(
    kind: Method,
    found: Hyperparameters,
    *,
    model: str,
    training: str,
    validation: str | None,
    seed: int,
    device: str,
) -> str:
    """The recipe of a job as YAML.

    Args:
        kind: The method.
        found: Its hyperparameters.
        model: The base as a recipe names it.
        training, validation: Files of rows, relative to the folder of the job. Without a validation file a share of
            the training rows is held out.
        seed: Of the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """
    options = {"metric": "perplexity"} if kind == "supervised" else {"method": "dpo", "beta": found.beta}
    rate = RATES[kind] * found.learning_rate_multiplier
    tree = {
        "task": TASKS[kind],
        "model": model,
        # As the hosted API does it: all rows are learned from, and no weights are chosen by the validation rows.
        "data": {"train": training, "eval": validation or HELD_OUT, "validation": 0.0, "format": "jsonl"},
        "stages": [{"train": "adapter", "epochs": found.n_epochs, "lr": rate}],
        "adapter": {"kind": "lora"},
        "batch": {"rows": found.batch_size},
        "engine": {"device": device},
        "audit": {"accept": dict.fromkeys(ACCEPTED, REASON)},
        "run": {"name": RUN, "folder": ".", "seed": seed, "checkpoint_seconds": 30.0},
        "options": options,
    }
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def base_of(models: Mapping[str, str], name: str) -> str:
    """The base that a client's model stands for, as a recipe names it from any folder.

    Raises:
        ApiFault: 400, there is none of this name.
    """
    if name not in models:
        known = ", ".join(sorted(models)) or "none: start the server with --model NAME=MODEL"
        text = f"The model `{name[:200]}` does not exist or can't be fine-tuned. Models that can: {known}"
        raise ApiFault(400, text, param="model", code="model_not_found")
    place = Path(models[name]).expanduser()
    return str(place.resolve()) if place.is_dir() else models[name]


def model_name(job: Mapping[str, Any], step: int | None = None) -> str:
    """What a job's model is called: ``ft:BASE:SUFFIX:ID``; that of a checkpoint ends with ``:ckpt-step-N``.

    A job that went on from a tuned model says the base of that one, as the hosted API does.
    """
    base = job.get("root") or job["model"]
    name = f"ft:{base}:{job['suffix'] or ''}:{job['id'].removeprefix('ftjob-')[:8]}"
    return name if step is None else f"{name}:ckpt-step-{step}"
