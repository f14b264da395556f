"""The verb of migration: migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.shell import AsJson, app, emit, progress_bar, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError


@app.command()
def migrate(
    service: Annotated[str, typer.Argument(help="Whose fine-tuning API: openai.", metavar="SERVICE")],
    into: Annotated[Path, typer.Option(help="Folder for files, jobs and recipes.")],
    base_url: Annotated[
        str | None, typer.Option(help="Address of the API. [default: OPENAI_BASE_URL, else the hosted one]")
    ] = None,
    key_variable: Annotated[
        str | None, typer.Option(help="Variable of the environment with the key. [default: OPENAI_API_KEY]")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="What the recipes tune: MODEL, or NAME=MODEL for jobs of one hosted model; may be repeated. "
            "[default: starter:smollm2-135m]",
            metavar="[NAME=]MODEL",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Bring files and fine-tuning jobs of an account here, as data and recipes. Exit code 1 when some are missing."""
    from tunesmith.server.migrate import migrate as bring
    from tunesmith.server.migrate import open_account
    from tunesmith.server.migration import model_names

    if service != "openai":
        raise UserError(f"there is no migration from {service!r}", "SERVICE", "write openai")
    with progress_bar(as_json) as (_, bar):
        found = bring(open_account(base_url, key_variable), into, model_names(model or []), bar.work)
    if as_json:
        emit(found.plain())
    else:
        tell("\n".join(found.lines()))
    return EXIT_DONE if found.complete else EXIT_FINDINGS
