"""A finished run's model in a form that others load: an adapter merged into its base, and proof that it is the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.predict import need_finished, run_model
from tunesmith.prove import load_task
from tunesmith.run import Run
from tunesmith.task import Task
from tunesmith.types import Row

if TYPE_CHECKING:
    from torch import nn

CHECKED_ROWS = 16
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
        what = "this run has no adapter: its model is whole as it is"
        raise UserError(what, str(opened.model), f"copy {opened.model}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("something is there already", str(out), "name a folder that does not exist")
    if dtype not in task.holds:
        what = f"a model for {task.name} can't be merged in {dtype}"
        raise UserError(what, str(opened.folder), f"write --dtype {task.holds[0]}")
    task.held = dtype
    rows = _rows(opened, task)
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


def _rows(run: Run, task: Task) -> list[Row]:
    """Some of the held-out rows, as the run keeps them."""
    with (run.folder / "predictions.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line) for _, line in zip(range(CHECKED_ROWS), lines, strict=False)]
    return [{**one["row"], "id": one["id"]} for one in found]


def _numbers(task: Task, model: nn.Module, rows: Sequence[Row], progress: Any) -> list[Any]:
    return run_model(task, model, rows, rows=8, device="cpu", predictor=task.validate, progress=progress)


def _loaded(task: Task, folder: Path) -> nn.Module:
    from dataclasses import replace

    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection

    source = replace(resolve(ModelSection(name=str(folder.resolve()))), remote_code=task.source.remote_code)
    other = type(task)(task.options, source, task.facts)
    other.held = task.held
    return other.load()


def _apart(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Largest difference of numbers at the same place, relative to their size."""
    pairs = zip(_flat(list(a)), _flat(list(b)), strict=True)
    return max((abs(x - y) / max(1.0, abs(x)) for x, y in pairs), default=0.0)


def _flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in _flat(value[key])]
    if isinstance(value, (list, tuple)):
        return [x for one in value for x in _flat(one)]
    return [float(value)] if isinstance(value, (int, float)) else []
