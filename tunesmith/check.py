"""``check_task``: the contract of a task, as a suite that measures it, for our own tasks and for other people's.

It knows no modality: a task is handed in with a few of its rows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import ValidationError

from tunesmith.checks import outcome, rows, runs, steps
from tunesmith.checks.world import DoesNotApply, Measured, World, checked_rows
from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.model.weights import Weights
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Row

if TYPE_CHECKING:
    from torch import nn

CHECKS: Mapping[str, Callable[[World], Measured]] = {
    "encode-repeatable": rows.encoding_is_repeatable,
    "encode-rng": rows.encoding_draws_from_its_rng,
    "columns": rows.columns,
    "length": rows.lengths,
    "audit": rows.audit,
    "count": steps.counts,
    "loss-sum": steps.loss_is_a_sum,
    "learns": steps.learns,
    "accumulation": steps.accumulation,
    "two-ranks": steps.two_ranks,
    "frozen": runs.frozen,
    "cache-head": runs.cache_of_the_head,
    "cache-top": runs.cache_of_the_top,
    "resume-mid-epoch": runs.resume_in_mid_epoch,
    "resume-epoch": runs.resume_between_epochs,
    "predict-json": outcome.predictions_are_json,
    "predict-batch": outcome.predictions_do_not_depend_on_the_batch,
    "predict-unlabelled": rows.rows_without_target,
    "score": outcome.scores,
    "tally": outcome.tallies,
    "save": outcome.saving,
}
"""Every check by its name, which is also what a task's ``exceptions`` are written under."""

Status: TypeAlias = Literal["passed", "failed", "excepted", "does not apply"]


@dataclass(frozen=True)
class CheckResult:
    """One check of a task.

    Args:
        name: The check.
        status: ``excepted`` where the task declares it so, ``does not apply`` where there is nothing to measure.
        measured: The figure; empty where nothing was measured.
        tolerance: What it was held against.
        detail: How it was measured, or what went wrong, or the reason.
        seconds: How long it took.
    """

    name: str
    status: Status
    measured: float | str
    tolerance: float | str
    detail: str
    seconds: float


@dataclass(frozen=True)
class CheckReport:
    """All that ``check_task`` found.

    Args:
        task: The task's name.
        results: One per check, in order.
        left_out: Checks that the caller did not ask for.
    """

    task: str
    results: tuple[CheckResult, ...]
    left_out: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def raise_failures(self) -> None:
        """Stop where a check failed.

        Raises:
            UserError: With every failure and the figure that was measured.
        """
        if not self.failures:
            return
        lines = "".join(
            f"\n  {r.name}: {_figure(r.measured)} (tolerance {_figure(r.tolerance)}): {r.detail}" for r in self.failures
        )
        raise UserError(
            f"{len(self.failures)} of {len(self.results)} checks of task {self.task!r} failed:{lines}",
            f"task {self.task}",
            "mend the task, or declare the check in its exceptions with the reason",
            code=EXIT_FINDINGS,
        )

    def __str__(self) -> str:
        head = ("check", "result", "measured", "tolerance", "detail")
        table = [head, *((r.name, r.status, _figure(r.measured), _figure(r.tolerance), r.detail) for r in self.results)]
        widths = [max(len(line[i]) for line in table) for i in range(4)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[4]]) for line in table]
        if self.left_out:
            lines.append(f"not asked for: {', '.join(self.left_out)}")
        return "\n".join(line.rstrip() for line in lines)


def _figure(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def check_task(
    kind: type[Task],
    rows: Sequence[Row],
    *,
    model: Callable[[Task], nn.Module] | None = None,
    source: Weights | None = None,
    options: Mapping[str, Any] | None = None,
    checks: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> CheckReport:
    """Measure whether a task keeps the contract, on a few rows and a small model. A failure raises nothing by itself.

    Args:
        kind: The task.
        rows: At least eight, of different length where rows have one, every label among them; ids are added where
            they are missing.
        model: Makes a small model in place of the task's ``load``; it sets ``task.fresh`` as ``load`` does.
        source: The pretrained weights that ``load`` reads; None for a task whose model reads none.
        options: The recipe's ``options``.
        checks: Names of the checks to run; all of them by default.
        say: Receives a line per check.

    Raises:
        UserError: An option, the rows, or the name of a check is at fault.
    """
    import torch

    where = f"task {getattr(kind, 'name', kind.__name__)}"
    _check_names(checks or (), "checks", where)
    _check_names(kind.exceptions, f"{kind.__name__}.exceptions", where)
    chosen = list(CHECKS) if checks is None else [name for name in CHECKS if name in checks]
    results = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-check-") as place, torch.random.fork_rng():
        folder = Path(place)
        (folder / "nothing").mkdir()
        (folder / "nothing" / "config.json").write_text("{}", encoding="utf-8")
        weights = source or Weights("none", folder / "nothing", "folder", None, None, ())
        world = World(kind, checked_rows(rows, where), _options(kind, options or {}, where), weights, model, folder)
        for name in chosen:
            results.append(_run(name, world))
            say(f"{name}: {results[-1].status}")
    left_out = tuple(name for name in CHECKS if name not in chosen)
    return CheckReport(kind.name, tuple(results), left_out)


def _run(name: str, world: World) -> CheckResult:
    reason = world.kind.exceptions.get(name)
    if reason is not None:
        return CheckResult(name, "excepted", "", "", reason, 0.0)
    started = time.perf_counter()
    try:
        found = CHECKS[name](world)
    except DoesNotApply as why:
        return CheckResult(name, "does not apply", "", "", str(why), time.perf_counter() - started)
    except Exception as fault:
        # A task under test may raise anything, and whatever it raises is the finding.
        told = fault.what if isinstance(fault, UserError) else (str(fault).strip().splitlines() or [""])[0]
        detail = f"{type(fault).__name__}: {told}"
        return CheckResult(name, "failed", "raised", "", detail, time.perf_counter() - started)
    status: Status = "passed" if found.holds else "failed"
    seconds = time.perf_counter() - started
    return CheckResult(name, status, found.measured, found.tolerance, found.detail, seconds)


def _check_names(names: Sequence[str] | Mapping[str, str], what: str, where: str) -> None:
    for name in names:
        if name not in CHECKS:
            near = get_close_matches(name, CHECKS, n=1)
            fix = f"write '{near[0]}'" if near else f"write one of: {', '.join(CHECKS)}"
            raise UserError(f"{what}: there is no check called {name!r}", where, fix)


def _options(kind: type[Task], options: Mapping[str, Any], where: str) -> TaskOptions:
    try:
        return kind.Options.model_validate(dict(options))
    except ValidationError as fault:
        first = fault.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(f"options.{name}: {first['msg']}", where, "mend the options that check_task is given") from None
