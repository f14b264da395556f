"""The verb of connectors: sync."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.shell import AsJson, app, emit, progress_bar, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS


@app.command()
def sync(
    source: Annotated[
        str,
        typer.Argument(
            help="notion:, drive:, hubspot:, zendesk:SUBDOMAIN, sitemap:ADDRESS, a file or a folder.", metavar="SOURCE"
        ),
    ],
    into: Annotated[Path, typer.Option(help="Folder for the documents and the receipt.")],
    most_mib: Annotated[int, typer.Option(min=1, help="Most MiB to receive; then it stops, and can go on.")] = 4096,
    as_json: AsJson = False,
) -> int:
    """Bring a copy of a source's documents up to date, and account for them. Exit code 1 when it is not complete."""
    from tunesmith.connectors.connector import Connector
    from tunesmith.connectors.folder import kept_in, sync_into
    from tunesmith.connectors.naming import find_source

    with progress_bar(as_json) as (say, bar):
        found = find_source(source, kept_in(into), say)
        if isinstance(found, Connector):
            found.receipt.most_bytes = most_mib << 20
        receipt = sync_into(found, into, bar.work)
    if as_json:
        emit(receipt.plain())
    else:
        tell("\n".join(receipt.lines()))
    return EXIT_DONE if receipt.complete else EXIT_FINDINGS
