"""A finished run's model in a form that others load, and proof that it is the same.

An adapter is merged into its base; a task may know further formats, which it writes and measures itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.predict import need_finished, need_free, run_model
from tunesmith.prove import load_model, load_task
from tunesmith.recipe import read_recipe
from tunesmith.rescore import prepared_again
from tunesmith.run import Run
from tunesmith.task import Task
from tunesmith.types import Row

if TYPE_CHECKING:
    from torch import nn

CHECKED_ROWS = 16
EXPORT_ROWS = 32
"""Held-out rows on which another format is held against the model."""
MERGE = "merge"
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""Largest difference of any number in ``validate``'s predictions between the adapter beside its base and merged into
it, relative to its size: the rounding of a merged weight to its own type, through all layers."""


@dataclass(frozen=True)
class Merged:
    """What merging did.

    Args:
        folder: Where the whole model lies.
        dtype: Type of its weights.
        rounding: Largest absolute difference that rounding a merged weight to that type made.
        difference: Largest relative difference of a prediction's numbers, merged against not merged.
        reload: The same, merged in memory against loaded from the folder.
        rows: On how many rows.
    """

    folder: Path
    dtype: str
    rounding: float
    difference: float
    reload: float
    rows: int

    def __str__(self) -> str:
        return (
            f"model: {self.folder} ({self.dtype})\nmerged against beside its base, on {self.rows} rows: largest "
            f"relative difference {self.difference:.2e}; rounding of a weight {self.rounding:.2e}; "
            f"loaded again {self.reload:.2e}"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {**vars(self), "folder": str(self.folder)}


def merge_adapter(
    run: str | Path | Run,
    out: Path,
    *,
    dtype: str = "bf16",
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Merged:
    """Merge a run's adapter into its base, save the whole model, load it again, and measure both differences.

    Args:
        run: A finished run with an adapter.
        out: A folder that does not exist or is empty.
        dtype: ``bf16``, ``fp16`` or ``fp32``: the base is loaded in it from its own files (never from 4 bit).
        progress: Told what is done.

    Raises:
        UserError: No adapter, a folder in the way, or a merged model that says something else; nothing is left then.
    """
    from tunesmith.model.adapters import load_adapter, merge

    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    task = load_task(opened)
    if not task.adapted:
        other = "".join(f", or write --format {name} --out FILE{ending}" for name, ending in task.exports.items())
        what = "this run has no adapter: its model is whole as it is"
        raise UserError(what, str(opened.model), f"copy {opened.model}{other}")
    need_free(out)
    if dtype not in task.holds:
        what = f"a model for {task.name} can't be merged in {dtype}"
        raise UserError(what, str(opened.folder), f"write --dtype {task.holds[0]}")
    task.held = dtype
    rows = _rows(opened, CHECKED_ROWS)
    if not _readable(task, rows):
        rows = _placed(opened, task, rows, progress)
    model = task.load()
    load_adapter(model, opened.model)
    beside = _numbers(task, model, rows, progress)
    rounding = merge(model)
    inside = _numbers(task, model, rows, progress)
    draft = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        task.adapted = False
        task.save(model, draft)
        again = _numbers(task, _loaded(task, draft), rows, progress)
        found = Merged(out, dtype, rounding, _apart(beside, inside), _apart(inside, again), len(rows))
        if not (found.difference <= TOLERANCE[dtype] and found.reload <= TOLERANCE["fp32"]):
            raise UserError(
                f"the merged model differs: {found.difference:.3g} from the adapter beside its base "
                f"(tolerance {TOLERANCE[dtype]:g}), {found.reload:.3g} after loading",
                str(out),
                "write --dtype fp32, or use the adapter beside its base",
                code=EXIT_FINDINGS,
            )
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


@dataclass(frozen=True)
class Exported:
    """A model in another format.

    Args:
        file: The file; what was measured stands beside it, in a file that ends in ``.json``.
        measured: What the task says of it, with the differences under ``verified``.
    """

    file: Path
    measured: dict[str, Any]

    def __str__(self) -> str:
        verified = self.measured["verified"]
        how = next(
            f"{words.format(verified[unit])}:"
            for unit, words in (
                ("pictures", "held against the run's model on {} held-out rows"),
                ("recordings", "held against the run's model on {} held-out rows"),
                ("layers", "read back, {} layers against the run's"),
            )
            if unit in verified
        )
        lines = [
            f"{one['output']}: largest difference {one['largest']:.2e} (at most {one['tolerance']:g})"
            for one in self.measured["verified"]["differences"]
        ]
        notes = [str(self.measured["note"])] if "note" in self.measured else []
        return "\n".join([f"model: {self.file}", how, *lines, *notes])

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"file": str(self.file), **self.measured}


def export(
    run: str | Path | Run,
    out: Path,
    *,
    format: str | None = None,
    dtype: str | None = None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Merged | Exported:
    """Export a run's model, and measure that the result says the same.

    Args:
        run: A finished run.
        out: A folder for ``merge``; else a file.
        format: ``merge`` (the default) or one that the run's task knows.
        dtype: For ``merge``: type of the weights, by default bf16.
        progress: Told what is done.

    Raises:
        UserError: It can't be exported so, something is in the way, or the result says something else.
    """
    if format in (None, MERGE):
        if dtype is not None and dtype not in TOLERANCE:
            what = f"--dtype {dtype}: there is no such type"
            raise UserError(what, "command line", f"write {' or '.join(TOLERANCE)}")
        return merge_adapter(run, out, dtype=dtype or "bf16", progress=progress)
    assert format is not None
    opened = run if isinstance(run, Run) else Run.open(run)
    need_finished(opened)
    task = load_task(opened)
    if format not in task.exports:
        known = " or ".join((*task.exports, *([MERGE] if task.adapted else []))) or None
        what = f"a model for {task.name} can't be exported as {format}"
        fix = f"write --format {known}" if known else f"copy {opened.model}, which other tools load as it is"
        raise UserError(what, str(opened.folder), fix)
    if dtype is not None:
        raise UserError(f"--dtype is for merged adapters, not for {format}", "command line", "leave it out")
    return _export_as(format, opened, task, out, progress)


def _export_as(format: str, run: Run, task: Task, out: Path, progress: Callable[[str, int, int], None]) -> Exported:
    ending = task.exports[format]
    beside = out.with_suffix(".json") if ending else out.with_name(f"{out.name}.json")
    if ending and out.suffix != ending:
        raise UserError(f"--out {out}: the file's name must end in {ending}", "command line", f"write {out}{ending}")
    for place in (out, beside):
        if place.exists():
            raise UserError("something is there already", str(place), "name a file that does not exist")
    rows = _placed(run, task, _rows(run, EXPORT_ROWS), progress)
    model = load_model(run, task)
    if task.adapted and format not in task.adapter_exports:
        from tunesmith.model.adapters import merge

        merge(model)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Exported(out, task.export(format, model, rows, out))
        beside.write_text(json.dumps(made.measured, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as fault:
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        raise UserError(f"it can't be written: {fault.strerror}", str(out), "choose another place") from fault
    return made


def _placed(run: Run, task: Task, rows: Sequence[Row], progress: Callable[[str, int, int], None]) -> list[Row]:
    """Rows with their inputs alone, which the task can read: their files are looked for as in ``rescore``.

    First below the sources that the recipe names; where they are elsewhere, by reading these anew.

    Raises:
        UserError: They are not found from here.
    """
    # What tells a part from its whole (start and end of a recording) is no input column, and decides what is read.
    names = dict.fromkeys(("id", *task.inputs, *(name for name in task.key_columns if name != task.target)))
    inputs: list[Row] = [{name: row[name] for name in names if name in row} for row in rows]
    source = read_recipe(run.recipe_yaml)
    data = source.recipe.data
    named = [Path(place).expanduser() for place in (data.eval, data.train) if isinstance(place, str)]
    for start in (Path(), *run.folder.parents):
        places = [start / place for place in named]
        task.folders = tuple(dict.fromkeys([*(p if p.is_dir() else p.parent for p in places if p.exists()), start]))
        if _readable(task, inputs):
            return inputs
    prepared = prepared_again(run, source, lambda _line: None, progress, needed=True)
    assert prepared is not None
    task.folders = prepared.task.folders
    return inputs


def _readable(task: Task, rows: Sequence[Row]) -> bool:
    try:
        for row in rows:
            task.encode(row)
    except UserError:
        return False
    return True


def _rows(run: Run, count: int) -> list[Row]:
    """Some of the held-out rows, as the run keeps them."""
    with (run.folder / "predictions.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
    return [{**one["row"], "id": one["id"]} for one in found]


def _numbers(task: Task, model: nn.Module, rows: Sequence[Row], progress: Any) -> list[Any]:
    return run_model(task, model, rows, rows=8, device="cpu", predictor=task.validate, progress=progress)


def _loaded(task: Task, folder: Path) -> nn.Module:
    from dataclasses import replace

    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection

    source = replace(resolve(ModelSection(name=str(folder.resolve()))), remote_code=task.source.remote_code)
    other = type(task)(task.options, source, task.facts)
    other.held, other.trained = task.held, True
    return other.load()


def _apart(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Largest difference of numbers at the same place, relative to their size, or the share of rows of other words."""
    told = [_words(one) == _words(other) for one, other in zip(a, b, strict=True)]
    others = told.count(False) / max(1, len(told))
    numbers = [(_flat(one), _flat(other)) for one, other in zip(a, b, strict=True)]
    # Rows with other words may have other times, and more of them.
    pairs = [pair for same, (x, y) in zip(told, numbers, strict=True) if same for pair in zip(x, y, strict=True)]
    return max([others, *(abs(x - y) / max(1.0, abs(x)) for x, y in pairs)])


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in _words(value[key])]
    if isinstance(value, (list, tuple)):
        return [x for one in value for x in _words(one)]
    return [value] if isinstance(value, str) else []


def _flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in _flat(value[key])]
    if isinstance(value, (list, tuple)):
        return [x for one in value for x in _flat(one)]
    return [float(value)] if isinstance(value, (int, float)) else []
