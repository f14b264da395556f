"""Scoring a finished run again: base and tuned model on the run's held-out rows, or on rows it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunesmith.data.audit import NEVER_ACCEPTED, audit_rows
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.evaluate import compare
from tunesmith.model.weights import resolve
from tunesmith.predict import need_finished, run_model
from tunesmith.prepare import Prepared, check_known_labels, prepare
from tunesmith.recipe import Recipe, Source, read_recipe
from tunesmith.record import check_same_data
from tunesmith.run import Run
from tunesmith.task import Task
from tunesmith.types import Facts, Row

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def rescore(
    run: str | Path | Run,
    data: str | None = None,
    *,
    say: Say = lambda _line: None,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Base against tuned, by the same code, on the same rows.

    Args:
        run: A finished run.
        data: Rows to score on; None takes the run's held-out rows, found anew from its recipe.
        say, progress: How to speak to a person.

    Returns:
        As in ``scores.json``.

    Raises:
        UserError: The run is not finished; its rows are not here, or have changed; or the rows given can't be read,
            lack a column or have labels that the model does not know.
    """
    from tunesmith.prove import load_model, load_task

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    task = load_task(opened)
    source = read_recipe(opened.recipe_yaml)
    prepared = prepared_again(opened, source, say, progress, needed=data is None)
    if data is not None:
        rows, more = _read(source.recipe, task, data, say, progress)
        _judge(task, rows, data, prepared, say)
        place = Path(data).expanduser()
        task.folders = (place if place.is_dir() else place.parent, Path(), *more)
    else:
        assert prepared is not None
        rows = prepared.held_out
        task.folders = prepared.task.folders
    size = source.recipe.batch.eval_rows
    tuned = run_model(task, load_model(opened, task), rows, rows=size, progress=progress)
    name = opened.read_json("scores.json")["base_name"]
    plain = _untrained(task, source.recipe)
    model = plain.load()
    bases = plain.bases(model, prepared.train if prepared is not None else ())
    if name not in bases:
        what = f"the base of this run ({name}) needs its training rows, which are not found from here"
        raise UserError(what, str(opened.folder), "give the command in the folder in which the run was trained")
    predictor = bases[name]
    base = run_model(plain, model, rows, rows=size, predictor=predictor, progress=progress)
    return compare(task, rows, base, tuned, base_name=name, seed=source.recipe.run.seed)


def prepared_again(run: Run, source: Source, say: Say, progress: Progress, *, needed: bool) -> Prepared | None:
    """The run's own rows, found anew; None where they are not here and not needed.

    A run keeps no path of the machine it was made on: its rows are looked for here, then from its folder upward, and
    their digests tell whether they are the same.
    """
    data = source.recipe.data
    places = [Path(place).expanduser() for place in (data.train, data.eval) if isinstance(place, str)]
    here = (folder for folder in (Path(), *run.folder.parents) if all((folder / p).exists() for p in places))
    start = next(here, None)
    if start is None and not needed:
        return None
    try:
        prepared = prepare(replace(source, path=(start or Path()) / source.path.name), say=say, progress=progress)
    except UserError as fault:
        if start is not None:
            raise
        fix = "give the command in the folder in which the run was trained, or give rows with --data"
        raise UserError(f"the rows of this run are not found from here: {fault.what}", fault.where, fix) from fault
    check_same_data(run, prepared)
    return prepared


def _untrained(task: Task, recipe: Recipe) -> Task:
    plain = type(task)(task.options, resolve(recipe.model), Facts(task.facts.values, task.facts.lines))
    plain.adapted, plain.held, plain.folders = task.adapted, task.held, task.folders
    return plain


def _read(
    recipe: Recipe, task: Task, data: str, say: Say, progress: Progress
) -> tuple[Sequence[Row], tuple[Path, ...]]:
    """Rows, and where else their files may lie."""
    shape = task.row_shape(task.options)
    names = {ours: theirs for ours, theirs in recipe.data.columns.items() if shape or ours in (*task.columns, "id")}
    store = read_rows(
        data,
        columns=names,
        broken_rows=recipe.data.broken_rows,
        on_progress=lambda done, total: progress(f"reading {data}", done, total),
        shape=shape,
    )
    for line in store.report.lines():
        say(line)
    return store, tuple(getattr(shape, "folders", ()))


def _judge(task: Task, rows: Sequence[Row], data: str, prepared: Prepared | None, say: Say) -> None:
    """Rows that can't be scored are an error; rows that the model learned from are no proof, and are named."""
    learned = prepared.learning if prepared is not None else rows
    found = audit_rows(
        learned,
        rows,
        columns=task.columns,
        target=task.class_column(),
        source=prepared.source.recipe.data.train if prepared is not None else data,
        held_out_source=data,
        explicit_eval=prepared is not None,
        identity=task.identity,
    )
    for finding in found:
        if finding.code in (*NEVER_ACCEPTED, "empty-value") and finding.where.startswith(data):
            raise UserError(finding.what, finding.where, finding.fix)
        if finding.code == "leak" and prepared is not None:
            say(f"warning: {finding.what}; a score on them proves nothing")
    check_known_labels(task, rows, data)
