"""Using a finished run: predictions for new inputs, and its score on new rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.folder import FORMATS
from tunesmith.data.loader import Loader
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.run import Run
from tunesmith.task import Task
from tunesmith.types import Row

Progress = Callable[[str, int, int], None]


def predict(
    run: str | Path | Run,
    inputs: Sequence[str | Row],
    *,
    rows: int = 64,
    device: str = "auto",
    progress: Progress = lambda _what, _done, _total: None,
) -> list[dict[str, Any]]:
    """Predictions of a finished run's tuned model.

    Args:
        run: The run, or its folder.
        inputs: Rows; files of rows; or plain values, where the task has one input column.
        rows: Rows per forward pass.
        device: Where to compute.
        progress: Receives what is being done.

    Returns:
        For every row its id, its inputs and its prediction.

    Raises:
        UserError: The run is not finished, or an input can't be read.
    """
    from tunesmith.prove import load_model, load_task

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    task = load_task(opened)
    task.for_person = True
    table = rows_of(opened, task, inputs)
    found = run_model(task, load_model(opened, task), table, rows=rows, device=device, progress=progress)
    names = [name for name in task.inputs if any(name in row for row in table)]
    return [
        {"id": row["id"], **{name: row.get(name) for name in names}, "prediction": prediction}
        for row, prediction in zip(table, found, strict=True)
    ]


def listen() -> str | None:
    """A line from the person at the terminal; None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def talk(
    run: str | Path | Run,
    opening: Sequence[str],
    *,
    listen: Callable[[], str | None],
    say: Callable[[str], None],
    device: str = "auto",
) -> None:
    """Talk to a finished run's model: what a person says goes in with all that was said before.

    Args:
        run: The run, or its folder.
        opening: A system message, if any.
        listen: Gives the next line of the person; None ends the talk.
        say: Receives every answer.
        device: Where to compute.

    Raises:
        UserError: The run is not finished, or its task does not answer messages.
    """
    from tunesmith.prove import load_model, load_task

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    task = load_task(opened)
    if task.inputs != ("messages",) or task.one_pass:
        raise UserError(f"a model for {task.name} does not talk", str(opened.folder), "leave --chat out")
    task.for_person = True
    model = load_model(opened, task)
    messages: list[dict[str, Any]] = [{"role": "system", "content": line} for line in opening]
    while (line := listen()) is not None:
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        table = rows_of(opened, task, [{"messages": messages}])
        found = run_model(task, model, table, rows=1, device=device, progress=lambda _what, _done, _total: None)
        messages.append({"role": "assistant", "content": found[0]["answer"]})
        say(found[0]["answer"])


def need_finished(run: Run) -> None:
    """A run whose model can be used.

    Raises:
        UserError: It is not finished.
    """
    if not run.scores.exists() or not run.model.is_dir():
        status = run.read_json("state.json").get("status", "unknown") if run.state.exists() else "no run at all"
        raise UserError(
            f"this run has no tuned model yet (it is {status})",
            str(run.folder),
            "finish it: run `tunesmith train` with its recipe again",
        )


def rows_of(run: Run, task: Task, inputs: Sequence[str | Row]) -> list[Row]:
    """Rows from files, mappings and plain values.

    Raises:
        UserError: A row lacks an input column, or a plain value is given to a task of several inputs.
    """
    columns = run.read_json("recipe.json")["values"]["data"]["columns"]
    table: list[Row] = []
    for number, item in enumerate(inputs, 1):
        shape = task.row_shape(task.options, answered=False)
        if not isinstance(item, str):
            given = {"id": str(number), **item}
            found: Sequence[Row] = [given] if shape is None else read_rows([given], shape=shape)
        elif _is_file(item):
            known = {ours: theirs for ours, theirs in columns.items() if shape or ours in (*task.inputs, "id")}
            # What is to be predicted may stand in the file too, with labels that the model does not know.
            found = [
                {name: value for name, value in row.items() if name != task.target}
                for row in read_rows(item, columns=known, shape=shape)
            ]
        elif len(task.inputs) == 1 and item.strip():
            given = {"id": str(number), task.inputs[0]: item}
            found = [given] if shape is None else read_rows([given], shape=shape)
        else:
            what = f"{item!r} is no file" if item.strip() else "an input is empty"
            raise UserError(what, "INPUT", f"give a file with the columns {', '.join(task.inputs)}")
        for row in found:
            missing = [name for name in task.inputs if row.get(name) is None]
            if missing:
                names = [name for name in row if name != "id"]
                fix = f"its columns are {', '.join(names)}; the recipe's data.columns says what they mean"
                raise UserError(
                    f"row {row['id']} has no {missing[0]!r}", item if isinstance(item, str) else "INPUT", fix
                )
        table.extend(found)
    return table


def _is_file(item: str) -> bool:
    """Whether an input names rows; a name that can only be a file's, and is none, is a slip and no input.

    Raises:
        UserError: There is no file of that name.
    """
    try:
        if item and Path(item).exists():
            return True
    except OSError:
        return False  # a text longer than any file's name
    if Path(item).suffix.lower() in FORMATS and not any(letter.isspace() for letter in item):
        raise UserError(f"there is no file {item!r}", "INPUT", "check the path")
    return False


def run_model(
    task: Task,
    model: Any,
    table: Sequence[Row],
    *,
    rows: int,
    device: str = "auto",
    predictor: Any = None,
    progress: Progress,
) -> list[Any]:
    """Predictions for rows, in their order."""
    from tunesmith.machine import pick_device
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.inference import predict_rows

    engine = LocalEngine(pick_device(device))
    loader = Loader(table, task.encode, task.collate, length=task.length, inputs=task.inputs)
    return predict_rows(
        model.to(engine.device),
        predictor or task.predict,
        loader,
        loader.lengths,
        engine,
        rows=rows,
        on_progress=lambda done, total: progress("predicting", done, total),
    )
