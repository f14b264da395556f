"""Verbs that explain: settings, tasks, this machine, its cache.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.shell import (
    AsJson,
    app,
    emit,
    progress_bar,
    tell,
)
from tunesmith.errors import EXIT_DONE

cache_app = typer.Typer(help="The activation cache on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")


@app.command()
def explain(
    key: Annotated[str | None, typer.Argument(help="A setting: stages.train. Left out: all of them.")] = None,
    task: Annotated[str | None, typer.Option(help="Task whose options are meant (options.max_length).")] = None,
    as_json: AsJson = False,
) -> int:
    """Say what a setting of the recipe means."""
    from dataclasses import asdict

    from tunesmith.recipe.explain import explain as explained
    from tunesmith.recipe.explain import render

    options = None
    if task is not None or (key is not None and key.startswith("options.")):
        from tunesmith.registry import find_task

        options = find_task(task or "text-classification", "--task").Options
    found = explained(key, options)
    emit(asdict(found)) if as_json else tell(render(found))
    return EXIT_DONE


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> int:
    """Print or write the recipe's JSON Schema, for editors."""
    from tunesmith.recipe.schema import schema_text
    from tunesmith.registry import find_task, task_names

    text = schema_text({name: find_task(name).Options for name in task_names()})
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        tell(f"schema: {out}")
    return EXIT_DONE


@app.command()
def tasks(as_json: AsJson = False) -> int:
    """List the installed tasks."""
    from tunesmith.registry import find_task, task_names

    found = {name: next(iter((find_task(name).__doc__ or "").strip().splitlines()), "") for name in task_names()}
    emit(found) if as_json else tell("\n".join(f"{name:24} {about}" for name, about in found.items()))
    return EXIT_DONE


@app.command()
def doctor(
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure how fast this machine is, and keep it: plans say how long.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Say what this machine can run, and why not the rest."""
    from dataclasses import asdict

    from tunesmith.machine import Check
    from tunesmith.machine import doctor as checks
    from tunesmith.model.starter import STARTERS
    from tunesmith.rates import measure as measured
    from tunesmith.rates import stored
    from tunesmith.report.console import doctor_text

    rates = stored()
    if measure:
        with progress_bar(as_json) as (_say, bar):
            rates = measured(bar.work)
    found = checks({s.name: " ".join(p.requirement for p in s.packages) for s in STARTERS.values()})
    if rates is not None:
        found += [Check(f"rate {name}", True, figures) for name, figures in rates.lines()]
    emit([asdict(check) for check in found]) if as_json else tell(doctor_text(found))
    if measure and not as_json:
        tell("kept: plans on this machine now say how long a run will take")
    return EXIT_DONE


@cache_app.command("list")
def cache_list(as_json: AsJson = False) -> int:
    """Show what the cache holds."""
    from tunesmith.machine import cache_folder
    from tunesmith.model.store import cache_entries

    found = cache_entries(cache_folder("activations"))
    if as_json:
        emit([{"folder": str(e.folder), "bytes": e.bytes, **e.about} for e in found])
        return EXIT_DONE
    for entry in found:
        about = ", ".join(f"{k} {v}" for k, v in entry.about.items())
        tell(f"{entry.bytes / 1e6:10,.1f} MB  {entry.folder.name[:8]}  {about}")
    tell(f"{sum(e.bytes for e in found) / 1e6:10,.1f} MB in {len(found)} entries of {cache_folder('activations')}")
    return EXIT_DONE


@cache_app.command("clear")
def cache_clear(as_json: AsJson = False) -> int:
    """Remove every recorded activation."""
    from tunesmith.machine import cache_folder
    from tunesmith.model.store import clear_cache

    count, size = clear_cache(cache_folder("activations"))
    emit({"entries": count, "bytes": size}) if as_json else tell(f"removed {count} entries, {size / 1e6:,.1f} MB")
    return EXIT_DONE
