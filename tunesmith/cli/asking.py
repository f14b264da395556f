"""The verb that answers from documents: ask.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.retrieving import IndexPath, labels_of
from tunesmith.cli.shell import AsJson, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError

if TYPE_CHECKING:
    from tunesmith.retrieval.answering import Answer

COMMAND = "command line"


@app.command()
def ask(
    folder: IndexPath,
    questions: Annotated[
        list[str] | None,
        typer.Argument(help="Questions, each in quotes; none at a terminal: one after the other.", metavar="QUESTION"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="What answers: starter:NAME, a folder, a run, a hub id, openai:MODEL@BASE_URL.")
    ] = "starter:smollm2-135m",
    k: Annotated[int, typer.Option("--k", min=1, help="Most passages that the model is given.")] = 5,
    label: Annotated[
        list[str] | None, typer.Option(help="Only documents with this label; repeatable.", metavar="NAME=VALUE")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder in which replies are kept, so that nothing is asked twice.")
    ] = None,
    key_variable: Annotated[
        str | None, typer.Option(help="Variable of the environment with an endpoint's key (OPENAI_API_KEY).")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Answer questions from an index, with checked quotes. Exit code 1 when a quote stands in no source."""
    from tunesmith.asking.opening import open_model
    from tunesmith.retrieval.answering import ask_all
    from tunesmith.retrieval.search import open_index

    if not questions and (as_json or not sys.stdin.isatty()):
        raise UserError("there is no QUESTION", COMMAND, "write one, in quotes")
    labels = labels_of(label or ())
    with quiet_libraries(), open_index(folder) as opened:
        asked = open_model(model, key_variable=key_variable, cache=cache)
        if not questions:
            from tunesmith.predict import listen

            _talk(lambda line: ask_all([line], opened, asked, k=k, labels=labels), listen)
            return EXIT_DONE
        with progress_bar(as_json) as (_say, bar):
            answers = ask_all(questions, opened, asked, k=k, labels=labels, progress=bar.work)
        notes = dict.fromkeys(line for question in questions for line in opened.notes(question))
    emit([answer_json(one) for one in answers]) if as_json else tell("\n\n".join(answer_text(one) for one in answers))
    for line in (*notes, *getattr(asked, "notes", ())):
        note(f"note: {line}")
    invented = any(not quote.found for answer in answers for quote in answer.quotes)
    return EXIT_FINDINGS if invented else EXIT_DONE


def _talk(answered: Callable[[str], list[Answer]], listen: Callable[[], str | None]) -> None:
    """One question after the other, each by itself."""
    while (line := listen()) is not None:
        if not line.strip():
            continue
        try:
            tell("\n".join(answer_text(one) for one in answered(line)))
        except UserError as fault:
            note(str(fault))


def answer_text(answer: Answer) -> str:
    """An answer for a terminal: its text, its quotes with where they stand, its sources."""
    from tunesmith.retrieval.answering import NOT_THERE
    from tunesmith.retrieval.quotes import one_line, printable

    lines = [printable(answer.text) or f"{NOT_THERE.capitalize()}."]
    if answer.cited:
        lines[0] += " " + "".join(f"[{number}]" for number in answer.cited)
    for quote in answer.quotes:
        mark = f"[{quote.source}]" if quote.found else "[in no source]"
        lines.append(f'  {mark} "{printable(one_line(quote.text))}"')
    # Where nothing is cited a person may want to look into all that was read.
    shown = answer.cited or range(1, len(answer.sources) + 1)
    for number in shown:
        passage = answer.sources[number - 1]
        where = f"{passage.source}, bytes {passage.chunk.start} to {passage.chunk.end}"
        lines.append(f"  {'source' if answer.cited else 'read'} {number}: {printable(where)}")
    return "\n".join([*lines, *(f"  note: {printable(line)}" for line in answer.notes)])


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer as JSON: what a program needs to show and to resolve its citations."""
    from dataclasses import asdict

    return {
        "question": answer.question,
        "answer": answer.text or None,
        "in_documents": answer.there,
        "supported": answer.supported,
        "cited": list(answer.cited),
        "quotes": [asdict(quote) for quote in answer.quotes],
        "sources": [{"number": number, **asdict(passage)} for number, passage in enumerate(answer.sources, 1)],
        "notes": list(answer.notes),
        "reply": None if answer.reply is None else asdict(answer.reply),
    }
