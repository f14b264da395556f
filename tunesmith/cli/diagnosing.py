"""The verb that finds the root of a problem before anything is tuned: diagnose.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.shell import AsJson, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import Interrupted, UserError

if TYPE_CHECKING:
    from tunesmith.diagnose.advice import Setup
    from tunesmith.diagnose.costs import Prices
    from tunesmith.diagnose.found import Evidence, Item
    from tunesmith.diagnose.running import Wishes

COMMAND = "command line"


@app.command()
def diagnose(
    model: Annotated[
        str, typer.Option(help="starter:NAME, a folder, a run, a hub id, or openai:MODEL@BASE_URL.", metavar="M")
    ],
    items: Annotated[Path, typer.Option(help="Rows {input, reference, gold?, slice?}: JSONL, CSV, Parquet, ...")],
    documents: Annotated[
        Path | None, typer.Option(help="Documents that may hold the answers (a folder or file), or their index.")
    ] = None,
    train: Annotated[Path | None, typer.Option(help="Rows to learn from: examples, facts, and the pilots.")] = None,
    larger: Annotated[str | None, typer.Option(help="A larger model, named as --model is.", metavar="M2")] = None,
    content: Annotated[
        str | None,
        typer.Option(help="How content is compared: exact, choice, number, set, json, call, sql, words."),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="A regular expression of the whole answer; (?P<content>...) is what it says.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="A file with the JSON Schema of the answers.")] = None,
    instructions: Annotated[str | None, typer.Option(help="The form in words, in place of our own.")] = None,
    encoder: Annotated[
        str, typer.Option(help="Of the documents' index: an encoder, or none for words alone.")
    ] = "kept",
    k: Annotated[int, typer.Option("--k", min=1, help="Passages that are retrieved.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="Ask this probe only; repeatable.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave this probe out; repeatable.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Ask also what can't gain enough any more.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first so many items only.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")] = None,
    fact_rows: Annotated[int, typer.Option(min=0, help="Most rows whose facts are asked for.")] = 100,
    prompt_price: Annotated[float, typer.Option(min=0, help="Price of a million prompt tokens.")] = 0.0,
    reply_price: Annotated[float, typer.Option(min=0, help="Price of a million tokens of replies.")] = 0.0,
    hour_price: Annotated[float, typer.Option(min=0, help="Price of an hour of the machine that tunes.")] = 0.0,
    larger_prompt_price: Annotated[
        float, typer.Option(min=0, help="Price of a million prompt tokens of the larger model.")
    ] = 0.0,
    larger_reply_price: Annotated[float, typer.Option(min=0, help="Price of a million tokens of its replies.")] = 0.0,
    currency: Annotated[str, typer.Option(help="Sign before the prices.")] = "",
    seed: Annotated[int, typer.Option(help="Of examples and orders.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of replies, pilots, evidence and recipe.")] = Path("runs/diagnosis"),
    page: Annotated[Path | None, typer.Option(help="Write a page with all of it here.")] = None,
    as_json: AsJson = False,
) -> int:
    """Is fine-tuning the cure? Exit code 0: a verdict, 3: inconclusive, 4: fix labels first, 2: could not run."""
    from tunesmith.diagnose.inquiry import Wishes
    from tunesmith.diagnose.items import read_items

    if page is not None and (page.is_dir() or not page.absolute().parent.is_dir()):
        # Known before an hour of asking, not after it.
        raise UserError("the page can't be written there", str(page), "name a file in a folder that exists")
    if larger is None and (larger_prompt_price or larger_reply_price):
        raise UserError("a price of a larger model is given and no such model", COMMAND, "name it by --larger")
    asked = read_items(items, limit=limit)
    learned = read_items(train) if train is not None else []
    wishes = Wishes(
        train=learned,
        wanted=_wanted(asked, content, pattern, schema, instructions),
        k=k,
        seed=seed,
        max_tokens=max_tokens,
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        everything=everything,
        fact_rows=fact_rows,
    )
    names = {"model": model, "larger": larger, "device": device, "encoder": encoder}
    with progress_bar(as_json) as (say, bar), quiet_libraries():
        evidence = _evidence(asked, wishes, names, documents, out, say, bar)
    from tunesmith.diagnose.advice import Setup
    from tunesmith.diagnose.costs import Prices

    assert wishes.wanted is not None
    setup = Setup(model, larger or "", str(documents or ""), learned, wishes.wanted.content, str(out))
    prices = Prices(prompt_price, reply_price, hour_price, currency, larger_prompt_price, larger_reply_price)
    return _told(evidence, setup, prices, page, as_json)


def _wanted(
    items: Sequence[Item], content: str | None, pattern: str | None, schema: Path | None, instructions: str | None
) -> Any:
    """What answers are judged by: read off the references, unless a person says it.

    Raises:
        UserError: An option says nothing that fits the items.
    """
    from tunesmith.diagnose.wanted import read_wanted

    if pattern is not None and schema is not None:
        raise UserError("an answer has one form", COMMAND, "leave one of --pattern and --schema out")
    read: Mapping[str, Any] | None = None
    if schema is not None:
        try:
            read = json.loads(schema.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise UserError(f"the JSON Schema can't be read: {fault}", str(schema), "name a file of JSON") from fault
        if not isinstance(read, dict):
            raise UserError("a JSON Schema is an object", str(schema), "write it as {...}")
    return read_wanted(items, content=content, pattern=pattern, schema=read, instructions=instructions)


def _evidence(
    items: Sequence[Item],
    wishes: Wishes,
    names: Mapping[str, Any],
    documents: Path | None,
    out: Path,
    say: Any,
    bar: Any,
) -> Evidence:
    """Open what is named, and ask.

    Raises:
        UserError: Something can't be opened, or the model refuses.
    """
    from dataclasses import replace

    from tunesmith.asking.opening import open_model
    from tunesmith.diagnose.kept_evidence import write_evidence
    from tunesmith.diagnose.opening import need_place, open_documents, tuner_of
    from tunesmith.diagnose.running import gather
    from tunesmith.journey import Hooks

    need_place(out)
    model = open_model(names["model"], device=names["device"])
    larger = open_model(names["larger"], device=names["device"]) if names["larger"] else None
    searcher = open_documents(documents, out, names["encoder"], bar.work) if documents is not None else None
    hooks = Hooks(watcher=bar, progress=bar.work)
    tune = tuner_of(names["model"], out, device=names["device"], hooks=hooks) if wishes.train else None
    wishes = replace(wishes, larger=larger, searcher=searcher, tune=tune, folder=out)
    try:
        evidence = gather(items, model, wishes, progress=bar.work, say=say)
    except (KeyboardInterrupt, Interrupted):
        note(f"what was answered is kept in {out}: the same command goes on from there")
        raise
    write_evidence(evidence, out)
    return evidence


def _told(evidence: Evidence, setup: Setup, prices: Prices, page: Path | None, as_json: bool) -> int:
    """Decide, write and show.

    Raises:
        UserError: The page can't be written.
    """
    from tunesmith.diagnose.advice import DIAGNOSIS, advise, remove_stale, write_advice
    from tunesmith.diagnose.costs import costs_of
    from tunesmith.diagnose.found import Exit
    from tunesmith.diagnose.rule import decide
    from tunesmith.diagnose.said import diagnosis_json
    from tunesmith.report.diagnosed import diagnosis_text
    from tunesmith.run import jsonable, write_whole

    verdict, out = decide(evidence), Path(setup.folder)
    advice = advise(evidence, verdict, setup)
    told = diagnosis_json(evidence, verdict, costs_of(evidence, prices), advice)
    text = json.dumps(jsonable(told), ensure_ascii=False, indent=1, allow_nan=False)
    try:
        remove_stale(out)
        write_whole(out / DIAGNOSIS, (text + "\n").encode("utf-8", "replace"))
        write_advice(advice, out)
        if page is not None:
            from tunesmith.report.diagnosis_page import write_diagnosis_page

            write_diagnosis_page(told, page)
    except OSError as fault:
        where = str(fault.filename or page or out)
        raise UserError(f"cannot write {where}: {fault.strerror}", where, "name a file in a folder") from fault
    if as_json:
        emit(told)
    else:
        tell(diagnosis_text(told, colour=sys.stdout.isatty()))
    if page is not None:
        (note if as_json else tell)(f"page: {page}")
    return Exit[verdict.kind]
