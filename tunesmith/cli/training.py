"""The verb that trains: train.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import os
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
from tunesmith.errors import EXIT_DONE


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
