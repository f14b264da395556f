"""Verbs that look ahead: plan.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

from tunesmith.cli.shell import AsJson, Overrides, RecipePath, app, emit, progress_bar, tell
from tunesmith.errors import EXIT_DONE


@app.command()
def plan(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> int:
    """Say what a run will do and what memory it will take."""
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    with progress_bar(as_json) as (say, bar):
        prepared = prepare(read_recipe(recipe, overrides or ()), say=say, progress=bar.work)
        prepared.raise_errors()
        made = make_plan(prepared)
    if as_json:
        emit(made.to_json())
    else:
        from tunesmith.report.console import plan_text

        tell(plan_text(made.to_json()))
    return EXIT_DONE
