"""The comparison: which of several networks says most about a recipe's rows before anything below the head is tuned.

Every network gets the same rows, the same division and a head fitted in the same way; the held-out scores stand beside
size, speed and licence, each with its distance to the best on the same rows. It knows no modality; how far a network
comes once its own layers are tuned it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith import metrics
from tunesmith.errors import Interrupted, UserError
from tunesmith.learning_curve import drawn_rows
from tunesmith.linear_probe import groups_of, open_probe, resampled_scores
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import Source
from tunesmith.recipe.sections import ModelSection

if TYPE_CHECKING:
    from tunesmith.task import Task

Progress = Callable[[str, int, int], None]
Say = Callable[[str], None]


def _silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Probed:
    """A network that could be probed: what it is, and what its head says of the held-out rows."""

    name: str
    prepared: Prepared
    predictions: list[Any]
    about: dict[str, Any]


def compare_models(
    source: Source, names: Sequence[str], *, say: Say = lambda _line: None, progress: Progress = _silent
) -> list[dict[str, Any]]:
    """Rank networks by a probe on their frozen features.

    Args:
        source: The recipe; its model is replaced by each of ``names`` in turn.
        names: Hub ids, folders or starters, as a recipe's ``model``. One alone is held against the recipe's own.
        say: Receives lines for a person.
        progress: Receives what is being done, how much is done, and of how much.

    Returns:
        A dict a network, best first, those that could not be probed last: ``model``, ``metric``,
        ``higher_is_better``, ``score`` and ``interval`` (95 %, bootstrap over rows), ``difference``, ``reach`` and
        ``verdict`` against the best on the same rows (``best``, ``worse``, ``no difference shown``), ``parameters``,
        ``bytes`` on disk, ``rows_per_second``, ``license`` (``unknown`` where nothing says), ``probe``, ``rows``, and
        ``fault``, None or why it could not be probed.

    Raises:
        UserError: Fewer than two networks, one of them twice, or none that can be probed.
    """
    own = source.recipe.model.name
    if len(names) == 1 and own not in names:
        say(f"held against the recipe's own model, {own}")
        names = [own, *names]
    _check_names(names)
    failed: list[dict[str, Any]] = []
    probed: list[Probed] = []
    faults: list[Exception] = []
    for number, name in enumerate(names):
        progress("comparing models", number, len(names))
        try:
            # What is said of the rows is the same for all of them.
            probed.append(_probed(source, name, say if number == 0 else lambda _line: None, progress))
        except Interrupted:
            raise
        except Exception as fault:
            # Whatever is wrong with one network, the others are still to be ranked.
            faults.append(fault)
            failed.append(_failed(name, fault))
    progress("comparing models", len(names), len(names))
    if not probed:
        raise _none_probed(names, faults)
    return [*_ranked(probed), *failed]


def _check_names(names: Sequence[str]) -> None:
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise UserError(f"the model {twice!r} is named twice", "--models", "name every model once")
    if len(names) < 2:
        raise UserError(
            f"there is nothing to compare: {len(names)} model is named" if names else "no models are named",
            "--models",
            "name at least two: tunesmith compare RECIPE --models starter:minilm-l6 another/model",
        )


def source_with(source: Source, name: str) -> Source:
    """The recipe with another model; what it says of its own model holds for that one alone.

    That pickles may be read holds for all: they are read as tensors and nothing else.
    """
    own = source.recipe.model
    model = own if own.name == name else ModelSection(name=name, allow_pickle=own.allow_pickle)
    return replace(source, recipe=source.recipe.model_copy(update={"model": model}))


def _probed(source: Source, name: str, say: Say, progress: Progress) -> Probed:
    """The head learns the training rows, and validation rows pick its penalty, as a run divides them."""
    prepared = prepare(source_with(source, name), say=say, progress=progress)
    prepared.raise_errors()
    probe = open_probe(prepared, progress=progress)
    seed, weights = source.recipe.run.seed, prepared.weights
    about = {
        "parameters": probe.parameters,
        "bytes": sum(file.stat().st_size for file in weights.files),
        "rows_per_second": probe.rows_per_second,
        "license": weights.license or "unknown",
        "probe": probe.how,
        "rows": len(prepared.held_out),
        "fault": None,
    }
    return Probed(name, prepared, probe.predictions(*drawn_rows(prepared, 1.0, seed, 0), seed), about)


def _failed(name: str, fault: Exception) -> dict[str, Any]:
    said = fault.what if isinstance(fault, UserError) else f"{type(fault).__name__}: {fault}"
    return {"model": name, "score": None, "fault": (said.strip().splitlines() or [type(fault).__name__])[0]}


def _none_probed(names: Sequence[str], faults: Sequence[Exception]) -> UserError:
    first = faults[0]
    known = [fault.what for fault in faults if isinstance(fault, UserError)]
    if isinstance(first, UserError) and len(known) == len(faults) and len(set(known)) == 1:
        # The rows or the recipe are at fault, not a model.
        return first
    why = "; ".join(f"{name}: {_failed(name, fault)['fault']}" for name, fault in zip(names, faults, strict=True))
    fix = first.fix if isinstance(first, UserError) else "name models that the recipe's task can load"
    return UserError(f"none of the {len(names)} models could be probed: {why}", "--models", fix)


def _ranked(probed: Sequence[Probed]) -> list[dict[str, Any]]:
    first = probed[0].prepared
    task, rows = first.task, first.held_out
    scores, drawn = resampled_scores(
        task, [one.predictions for one in probed], rows, seed=first.source.recipe.run.seed, groups=groups_of(first)
    )
    order = np.argsort(-scores if task.higher_is_better else scores, kind="stable").tolist()
    best = order[0]
    counted = [_counted(task, one.predictions, rows) for one in probed]
    found = []
    for i in order:
        reach = _reach(drawn[i] - drawn[best])
        differing = sum(a != b for a, b in zip(counted[i], counted[best], strict=True))
        apart = metrics.Interval(
            float(scores[i] - scores[best]), *reach, float(scores[best]), float(scores[i]), differing=differing
        )
        found.append(
            {
                "model": probed[i].name,
                "metric": task.goal,
                "higher_is_better": task.higher_is_better,
                "score": float(scores[i]),
                "interval": list(_reach(drawn[i])),
                "difference": apart.difference,
                "reach": list(reach),
                "verdict": "best" if i == best else metrics.verdict(apart, task.higher_is_better),
                **probed[i].about,
            }
        )
    return found


def _reach(drawn: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of resamples."""
    known = drawn[np.isfinite(drawn)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _counted(task: Task, said: Sequence[Any], rows: Sequence[Any]) -> list[Any]:
    """What of every prediction the score counts: its tally where there is one."""
    tally = task.tally(said, rows)
    return list(said) if tally is None else np.asarray(tally).tolist()
