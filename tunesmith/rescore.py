"""Scoring a finished run again: base and tuned model on the run's held-out rows, or on rows it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.evaluate import compare
from tunesmith.model.weights import resolve
from tunesmith.predict import need_finished, run_model
from tunesmith.prepare import prepare
from tunesmith.recipe import Source, read_recipe
from tunesmith.run import Run
from tunesmith.task import Task
from tunesmith.types import Facts, Row


def rescore(
    run: str | Path | Run,
    data: str | None = None,
    *,
    say: Callable[[str], None] = lambda _line: None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Base against tuned, by the same code, on the same rows.

    Args:
        run: A finished run.
        data: Rows to score on; None takes the run's held-out rows, found anew from its recipe.
        say, progress: How to speak to a person.

    Returns:
        As in ``scores.json``.

    Raises:
        UserError: The run is not finished, or the rows can't be read or lack a column.
    """
    from tunesmith.prove import load_model, load_task

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    source = read_recipe(opened.recipe_yaml)
    prepared = prepare(source, say=say, progress=progress)
    task = load_task(opened)
    rows: Sequence[Row] = prepared.held_out if data is None else _read(source, task, data)
    size = source.recipe.batch.eval_rows
    tuned = run_model(task, load_model(opened, task), rows, rows=size, progress=progress)
    name = opened.read_json("scores.json")["base_name"]
    plain = _untrained(task, source)
    model = plain.load()
    base = run_model(
        plain, model, rows, rows=size, predictor=plain.bases(model, prepared.train)[name], progress=progress
    )
    return compare(task, rows, base, tuned, base_name=name, seed=source.recipe.run.seed)


def _untrained(task: Task, source: Source) -> Task:
    plain = type(task)(task.options, resolve(source.recipe.model), Facts(task.facts.values, task.facts.lines))
    plain.adapted = task.adapted
    return plain


def _read(source: Source, task: Task, data: str) -> Sequence[Row]:
    settings = source.recipe.data
    store = read_rows(data, columns=settings.columns, broken_rows=settings.broken_rows)
    for name in task.columns:
        if len(store) and name not in store[0]:
            raise UserError(
                f"{data} has no column {name!r}",
                data,
                f"name it in the recipe's data.columns; there are {', '.join(store[0])}",
            )
    return store
