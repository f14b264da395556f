"""Does the mended copy make a better model? Two runs of one recipe, and the difference on the same held-out rows.

It judges no row: it trains on the training rows as they are and on those of the copy, by the same seed. Both are held
against the copy's held-out rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.audit.data import AuditData, Progress
from tunesmith.audit.fixing import FixLog, write_copy
from tunesmith.audit.mended import Decisions
from tunesmith.data.audit import NEVER_ACCEPTED
from tunesmith.errors import UserError
from tunesmith.evaluate import compare
from tunesmith.journey import Hooks
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import Source, read_recipe
from tunesmith.run import Run
from tunesmith.tune import fine_tune

if TYPE_CHECKING:
    from tunesmith.train.watch import Watcher

AS_FOUND = "as-found"
REASON = "training on the rows as they were found, beside the mended copy"


def proof(
    data: AuditData,
    log: FixLog,
    *,
    say: Callable[[str], None] = lambda _line: None,
    progress: Progress = lambda _what, _done, _total: None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Train on the rows as they are and on the mended copy, and compare.

    The rows as they are stand in the copy's folder ``as-found`` with the copy's held-out rows, so that the recipe's
    share of held-out rows is drawn once. Rows that no model can be fed with are in neither.

    Args:
        data: As it was judged.
        log: The mended copy.
        say: Receives lines for a person.
        progress: Receives what is being done, how much is done, and of how much.
        watcher: Sees the events of both runs.

    Returns:
        ``metric``, ``higher_is_better``; ``found`` and ``mended`` (``run``, ``score`` and ``rows``, of training each);
        ``difference``, ``interval`` (95 %, paired bootstrap over held-out rows), ``verdict``, ``rows`` (held out),
        ``seed``, and ``said``, the same in words.

    Raises:
        UserError: The recipe can't be trained on one of the two; what was written stays.
    """
    hooks = Hooks(say=say, progress=progress, watcher=watcher)
    place = log.folder / AS_FOUND
    write_copy(data, _as_found(log.decisions), place, AS_FOUND)
    say("proof: training on the rows as they are")
    first, found = _trained(place / "recipe.yaml", hooks)
    say("proof: training on the mended copy")
    second, mended = _trained(log.recipe, hooks)
    rows = first.held_out
    group = first.source.recipe.data.group_by
    seed = first.source.recipe.run.seed
    scores = compare(
        first.task,
        rows,
        _predictions(found, [str(row["id"]) for row in rows]),
        _predictions(mended, [str(row["id"]) for row in rows]),
        base_name="rows as they are",
        seed=seed,
        groups=[row.get(group) for row in rows] if group else None,
    )
    sides = {
        "found": {"run": str(found.folder), "score": scores["base"], "rows": len(first.learning)},
        "mended": {"run": str(mended.folder), "score": scores["tuned"], "rows": len(second.learning)},
    }
    kept = ("metric", "higher_is_better", "difference", "interval", "verdict", "rows")
    told = {**{name: scores[name] for name in kept}, **sides, "seed": seed}
    return {**told, "said": _said(told)}


def _as_found(decisions: Decisions) -> Decisions:
    """All training rows but those that stop any run; held-out rows as the copy has them."""
    stopping = {row: one for row, one in decisions.by_row["train"].items() if one.code in NEVER_ACCEPTED}
    return Decisions({"train": stopping, "eval": dict(decisions.by_row["eval"])})


def _trained(recipe: Path, hooks: Hooks) -> tuple[Prepared, Run]:
    """A finished run of a recipe, whatever its audit says that can be accepted."""
    source = _accepting(read_recipe(recipe), hooks)
    run = fine_tune(source, fresh=True, hooks=hooks)
    return prepare(source), run


def _accepting(source: Source, hooks: Hooks) -> Source:
    """The recipe with every error of the audit accepted: that the rows are at fault is what is measured."""
    prepared = prepare(source, progress=hooks.progress)
    codes = [found.code for found in prepared.errors() if found.code not in NEVER_ACCEPTED]
    if not codes:
        return source
    audit = source.recipe.audit
    section = audit.model_copy(update={"accept": {**dict.fromkeys(codes, REASON), **audit.accept}})
    found = replace(source, recipe=source.recipe.model_copy(update={"audit": section}))
    # Errors of the rows hide those of the task, which come after the weights.
    return _accepting(found, hooks)


def _predictions(run: Run, rows: Sequence[str]) -> list[Any]:
    """What the tuned model says of the held-out rows, in their order.

    Raises:
        UserError: The run was held against other rows.
    """
    lines = run.predictions.read_text(encoding="utf-8").splitlines()
    said = {str(one["id"]): one["tuned"] for one in map(json.loads, lines)}
    if set(said) != set(rows):
        raise UserError("the two runs were held against different rows", str(run.folder), "report this as a bug")
    return [said[row] for row in rows]


def _said(told: Mapping[str, Any]) -> str:
    low, high = told["interval"]
    found, mended = told["found"], told["mended"]
    return (
        f"{told['metric'].replace('_', ' ')} {found['score']:.4f} after {found['rows']:,} rows as they are, "
        f"{mended['score']:.4f} after {mended['rows']:,} rows of the copy: {told['difference']:+.4f} "
        f"[{low:+.4f}, {high:+.4f}] ({told['verdict']}; 95 %, paired bootstrap over {told['rows']:,} held-out rows, "
        f"one run each with seed {told['seed']})"
    )
