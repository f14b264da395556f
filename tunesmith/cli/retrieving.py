"""The verbs of retrieval: index and retrieve.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.shell import AsJson, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError

if TYPE_CHECKING:
    from tunesmith.retrieval.document import Passage
    from tunesmith.retrieval.indexed import IndexReport

SHOWN = 10
"""Documents that could not be read and are named; --json has all."""
COMMAND = "command line"
IndexPath = Annotated[Path, typer.Argument(help="An index's folder.", metavar="INDEX")]


@app.command()
def index(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, sitemap:URL, notion:, drive:, hubspot:, zendesk:", metavar="SOURCE"),
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder of the index.")] = Path("index"),
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Sentence encoder (starter, folder, hub id), or none: words alone. Default: the index's own."
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Cut and encode all documents of the index anew, with --encoder.")
    ] = False,
    forget: Annotated[
        list[str] | None, typer.Option(help="Take out all documents of this source; repeatable.", metavar="SOURCE")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make documents searchable, or bring an index up to date. Exit code 1 when some could not be read."""
    from tunesmith.retrieval.encoder import KEPT
    from tunesmith.retrieval.indexing import build_index

    with progress_bar(as_json) as (say, bar), quiet_libraries():
        found = [_source(name, into, say) for name in sources or ()]
        report = build_index(
            into,
            found,
            encoder=encoder or KEPT,
            rebuild=rebuild,
            forget=forget or (),
            progress=bar.work,
        )
    # A service's own account of what it was asked; files have none.
    receipts = [source.receipt for source in found if hasattr(source, "receipt")]
    if as_json:
        emit({**asdict(report), "receipts": [receipt.plain() for receipt in receipts]})
    else:
        tell("\n".join([index_text(report), *(line for receipt in receipts for line in receipt.lines())]))
    return EXIT_FINDINGS if report.unread else EXIT_DONE


@app.command()
def retrieve(
    folder: IndexPath,
    query: Annotated[str, typer.Argument(help="A question, or words.", metavar="QUERY")],
    k: Annotated[int, typer.Option("--k", min=1, help="How many passages.")] = 5,
    method: Annotated[
        str, typer.Option(help="fusion (words and vectors), ranks (the same by ranks alone), bm25 (words) or vectors.")
    ] = "fusion",
    label: Annotated[
        list[str] | None, typer.Option(help="Only documents with this label; repeatable.", metavar="NAME=VALUE")
    ] = None,
    rerank: Annotated[str | None, typer.Option(help="A cross-encoder (folder or hub id) that orders the best.")] = None,
    as_json: AsJson = False,
) -> int:
    """Find passages in an index. Exit code 1 when there are none."""
    from tunesmith.retrieval.search import open_index

    labels = labels_of(label or ())
    with quiet_libraries():
        reranker = None
        if rerank is not None:
            from tunesmith.model.cross_encoder import open_cross_encoder

            reranker = open_cross_encoder(rerank)
        with open_index(folder, reranker=reranker) as opened:
            found = opened.search(query, k, labels=labels, method=method)  # type: ignore[arg-type]
            notes = opened.notes(query) if method != "bm25" else []
    emit([asdict(passage) for passage in found]) if as_json else tell(passages_text(found))
    for line in notes:
        note(f"note: {line}")
    return EXIT_DONE if found else EXIT_FINDINGS


def _source(name: str, into: Path, say: Callable[[str], None]) -> Any:
    from tunesmith.connectors.naming import find_source

    return find_source(name, into / "sources", say)


def labels_of(pairs: Sequence[str]) -> dict[str, str]:
    """Labels by name.

    Raises:
        UserError: One is not NAME=VALUE.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--label {pair}: a label has a name and a value", COMMAND, "write --label NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def index_text(report: IndexReport) -> str:
    """What an indexing run did, for a terminal."""
    lines = [
        f"{report.folder}: {report.documents:,} documents, {report.chunks:,} chunks, encoder {report.encoder}",
        f"{report.added:,} added, {report.changed:,} changed, {report.unchanged:,} unchanged, "
        f"{len(report.removed):,} removed, {len(report.unread):,} not read; {report.encoded:,} chunks encoded "
        f"in {report.seconds:.1f} s",
    ]
    if report.stale:
        lines.append(f"{len(report.stale):,} of those not read stay as they were: {', '.join(report.stale[:3])}")
    if report.repeated:
        lines.append(f"{len(report.repeated):,} ids came twice, the first counts: {', '.join(report.repeated[:3])}")
    for one in report.unread[:SHOWN]:
        lines.append(f"not read: {one.source}: {one.reason}" + (f"; {one.fix}" if one.fix else ""))
    if len(report.unread) > SHOWN:
        lines.append(f"and {len(report.unread) - SHOWN:,} more (--json names all)")
    return "\n".join([*lines, *(f"note: {line}" for line in report.notes)])


def passages_text(found: Sequence[Passage]) -> str:
    """Passages for a terminal, numbered."""
    from tunesmith.retrieval.quotes import printable

    blocks = []
    for number, passage in enumerate(found, 1):
        chunk = passage.chunk
        ranks = ", ".join(f"{name} {rank}" for name, rank in passage.ranks.items())
        where = f"{passage.source}, bytes {chunk.start} to {chunk.end}"
        path = f"\n    {' > '.join(chunk.path)}" if chunk.path else ""
        text = "\n".join(f"    {line}" for line in chunk.text.splitlines())
        blocks.append(f"[{number}] {where} ({ranks}){path}\n{text}")
    return printable("\n\n".join(blocks)) or "nothing was found"
