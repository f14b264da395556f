"""Verbs that lead to a run: train, and what one asks before.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.shell import (
    AsJson,
    Overrides,
    RecipePath,
    app,
    emit,
    progress_bar,
    quiet_libraries,
    tell,
)
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError


@app.command()
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Put an earlier run of this name aside and start anew.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Fine-tune by a recipe, or go on with an interrupted run."""
    from tunesmith.journey import Hooks
    from tunesmith.recipe import read_recipe
    from tunesmith.report.console import result_table
    from tunesmith.tune import fine_tune

    source = read_recipe(recipe, overrides or ())
    main_rank = os.environ.get("RANK", "0") == "0"
    if not main_rank:
        fine_tune(source, fresh=fresh)
        return EXIT_DONE
    with progress_bar(as_json) as (say, bar), quiet_libraries():
        run = fine_tune(source, fresh=fresh, hooks=Hooks(say=say, watcher=bar, progress=bar.work))
    if as_json:
        emit(
            {"run": str(run.folder), "scores": run.read_json("scores.json"), "receipts": run.read_json("receipts.json")}
        )
    else:
        tell(result_table(run.read_json("scores.json"), run.read_json("receipts.json")))
        tell(f"report: {run.report}")
        tell(f"model:  {run.model}")
    return EXIT_DONE


@app.command()
def audit(
    recipe: RecipePath,
    overrides: Overrides = None,
    fail_on: Annotated[
        str, typer.Option(help="Level from which on the exit code is 1: error, warning or note.")
    ] = "error",
    as_json: AsJson = False,
) -> int:
    """Judge the data of a recipe. Exit code 1 when there are findings."""
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    levels = ("error", "warning", "note")
    if fail_on not in levels:
        raise UserError(
            f"--fail-on {fail_on}: there is no such level", "command line", f"write one of {', '.join(levels)}"
        )
    with progress_bar(as_json) as (say, bar):
        prepared = prepare(read_recipe(recipe, overrides or ()), say=say, progress=bar.work)
    if as_json:
        emit(prepared.audit_json())
    else:
        from tunesmith.report.console import findings_text, previews_text

        if shown := prepared.previews():
            tell(previews_text(shown, colour=sys.stdout.isatty()))
        tell(findings_text(prepared.findings))
    worst = levels[: levels.index(fail_on) + 1]
    return EXIT_FINDINGS if any(f.level in worst for f in prepared.findings) else EXIT_DONE


@app.command("find-lr")
def find_lr(
    recipe: RecipePath,
    overrides: Overrides = None,
    stage: Annotated[int, typer.Option(help="Which stage, counted from 0.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Where the plot goes (default: lr-RECIPE-stage-N.svg, here).")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run the learning-rate range test of a stage and draw it."""
    from tunesmith.find_rate import find_rate

    with progress_bar(as_json) as (say, bar):
        found, plot = find_rate(recipe, overrides or (), stage=stage, out=out, say=say, progress=bar.work)
    if as_json:
        emit({**found.to_json(), "plot": str(plot)})
    else:
        tell(f"learning rate: {found.picked:.2e}")
        tell(f"plot: {plot}")
    return EXIT_DONE
