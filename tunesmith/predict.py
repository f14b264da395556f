"""Using a finished run: predictions for new inputs, and its score on new rows."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.folder import FORMATS
from tunesmith.data.loader import Loader
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.run import Run, jsonable
from tunesmith.task import Task
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.train.engine import Engine

Progress = Callable[[str, int, int], None]
FILES_AT_ONCE = 16
"""Most files that are read before they are predicted together."""


def predict(
    run: str | Path | Run,
    inputs: Sequence[str | Row],
    *,
    rows: int = 64,
    device: str = "auto",
    out: str | Path | None = None,
    n: int | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> list[dict[str, Any]]:
    """Predictions of a finished run's tuned model.

    Args:
        run: The run, or its folder.
        inputs: Rows; files of rows; what else the task reads (pictures, folders, patterns); or plain values, where the
            task has one input column.
        rows: Rows per forward pass.
        device: Where to compute.
        out: A folder that does not exist or is empty: takes ``predictions.json``, and what else the task writes. Of a
            task that makes pictures it is by default a new folder in the run's ``predictions``.
        n: How many different answers to each input, of a task that draws them.
        progress: Receives what is being done.

    Returns:
        For every row its id, its inputs and its prediction (the file, where one was written in its place); ``fault``
        where its file can't be read.

    Raises:
        UserError: The run is not finished, an input can't be read, or something is in the way of ``out``.
    """
    from tunesmith.prove import load_model, load_task

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    folder = None if out is None else need_free(Path(out))
    task = load_task(opened)
    task.for_person = True
    table = rows_of(opened, task, inputs)
    draws = task.seeded and not task.one_pass
    if n is not None and not draws:
        raise UserError(f"--n: a model for {task.name} has one answer to an input", "command line", "leave --n out")
    if n is not None:
        table = [{**row, "id": f"{row['id']}-{number}"} for row in table for number in range(1, n + 1)]
    if draws and folder is None:
        folder = _next_folder(opened.folder / "predictions")
    model = load_model(opened, task)
    found = predict_table(task, model, table, rows=rows, device=device, progress=progress)
    if folder is not None:
        good = [(row, one) for row, (one, fault) in zip(table, found, strict=True) if fault is None]
        files = _write(task, [row for row, _ in good], [one for _, one in good], folder)
        if files is not None:
            found = [(str(folder / name), None) for name in files]
    names = [name for name in task.inputs if any(name in row for row in table)]
    return [
        {"id": row["id"], **{name: row.get(name) for name in names}, "prediction": prediction}
        | ({} if fault is None else {"fault": fault})
        for row, (prediction, fault) in zip(table, found, strict=True)
    ]


def need_free(place: Path) -> Path:
    """A place for a folder.

    Raises:
        UserError: Something is there.
    """
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError("something is there already", str(place), "name a folder that does not exist")
    return place


def _next_folder(start: Path) -> Path:
    """The first folder below one that does not exist: ``0001``, ``0002``."""
    number = 1
    while (start / f"{number:04d}").exists():
        number += 1
    return start / f"{number:04d}"


def _write(task: Task, rows: Sequence[Row], predictions: Sequence[Any], folder: Path) -> list[str] | None:
    """Write predictions aside, then put the folder in its place; names of files that stand for predictions."""
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        written = task.write_predictions(rows, predictions, draft)
        if not written:
            told = [{**row, "prediction": one} for row, one in zip(rows, predictions, strict=True)]
            text = json.dumps(jsonable(told), ensure_ascii=False, indent=1)
            (draft / "predictions.json").write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
        return written if isinstance(written, list) else None
    except OSError as fault:
        raise UserError(f"it can't be written: {fault.strerror}", str(folder), "choose another place") from fault
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def predict_table(
    task: Task,
    model: Any,
    table: Sequence[Row],
    *,
    rows: int = 64,
    device: str = "auto",
    engine: Engine | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> list[tuple[Any, str | None]]:
    """The prediction for each row, or why its file can't be read.

    Args:
        task: ``for_person`` is set.
        model: On any device.
        table: Rows with the task's inputs.
        rows: Rows per forward pass.
        device: Where to compute.
        engine: Used in place of one made for ``device``, where several threads predict.
        progress: Receives what is being done.

    Raises:
        UserError: None can be read.
    """
    if task.reads_files:
        return _run_readable(task, model, table, rows=rows, device=device, engine=engine, progress=progress)
    found = run_model(task, model, table, rows=rows, device=device, engine=engine, progress=progress)
    return [(one, None) for one in found]


def _run_readable(
    task: Task,
    model: Any,
    table: Sequence[Row],
    *,
    rows: int,
    device: str,
    engine: Engine | None,
    progress: Progress,
) -> list[tuple[Any, str | None]]:
    """Predictions for the rows whose files can be read, and why the others can't; each file is read once.

    Raises:
        UserError: None can be read.
    """
    found: list[tuple[Any, str | None]] = [(None, None)] * len(table)
    size = min(rows, FILES_AT_ONCE)
    for start in range(0, len(table), size):
        encoded: dict[int, Any] = {}
        for i in range(start, min(start + size, len(table))):
            try:
                if "fault" not in table[i]:
                    encoded[i] = task.encode(table[i])
                found[i] = (None, table[i].get("fault"))
            except UserError as fault:
                found[i] = (None, fault.what)
        if encoded:
            examples = [{"id": str(i), "example": example} for i, example in encoded.items()]
            said = run_model(
                task,
                model,
                examples,
                rows=size,
                device=device,
                engine=engine,
                encode=lambda row, _rng=None: row["example"],
                progress=lambda _what, _done, _total: None,
            )
            for i, one in zip(encoded, said, strict=True):
                found[i] = (one, None)
        progress("predicting", min(start + size, len(table)), len(table))
    faults = [(row["id"], fault) for row, (_, fault) in zip(table, found, strict=True) if fault is not None]
    if table and len(faults) == len(table):
        shown = "; ".join(f"{name}: {fault}" for name, fault in faults[:3])
        raise UserError(f"none of {len(table):,} inputs can be read: {shown}", "INPUT", "mend them, or give others")
    return found


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
        read = task.inputs_of(item, columns) if isinstance(item, str) else None
        if read is not None:
            table.extend(read)
            continue
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
    encode: Any = None,
    engine: Engine | None = None,
    progress: Progress,
) -> list[Any]:
    """Predictions for rows, in their order."""
    from tunesmith.machine import pick_device
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.inference import predict_rows

    engine = engine or LocalEngine(pick_device(device))
    loader = Loader(
        table, encode or task.encode, task.collate, length=task.length, cpu_rows=task.cpu_rows, seeded=task.seeded
    )
    return predict_rows(
        model.to(engine.device),
        predictor or task.predict,
        loader,
        loader.lengths,
        engine,
        rows=rows,
        on_progress=lambda done, total: progress("predicting", done, total),
    )
