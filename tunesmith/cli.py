"""The doors: every verb of the command line. It parses, calls and shows; it decides nothing.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS, EXIT_INTERRUPTED, UserError

app = typer.Typer(
    name="tunesmith",
    help="Fine-tune a pretrained model on your own data, in stages, and prove that it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cache_app = typer.Typer(help="The activation cache on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")

RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that win over the file: stages.0.epochs=2", metavar="KEY=VALUE"),
]
RunPath = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def main() -> None:
    """The command ``tunesmith``. Exit codes: 0 done, 1 findings, 2 could not run, 130 and 143 stopped by a signal."""
    # A model's library makes a million objects that live to the end. To look for garbage among them after every 700 new
    # ones, and once more when all ends, takes a third of a short command's time.
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    try:
        code = app(prog_name="tunesmith", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else EXIT_DONE)
    except UserError as fault:
        sys.stderr.write(f"{fault}\n")
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(EXIT_INTERRUPTED)
    except typer.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as fault:
        if not hasattr(fault, "format_message") or not hasattr(fault, "exit_code"):
            raise
        sys.stderr.write(_complaint(fault) + "\n")
        sys.exit(EXIT_COULD_NOT_RUN)


def _complaint(fault: Any) -> str:
    """The command line parser's own complaints, in the one shape that all errors have."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context is not None else "tunesmith"
    if type(fault).__name__ == "NoArgsIsHelpError":
        return str(fault.format_message())
    return str(UserError(fault.format_message().rstrip("."), "command line", f"see `{command} --help`"))


def _emit(value: Any) -> None:
    from tunesmith.run import jsonable

    sys.stdout.write(json.dumps(jsonable(value), ensure_ascii=False, indent=1) + "\n")


def _say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def _shown(as_json: bool) -> Iterator[tuple[Callable[[str], None], Any]]:
    """Where lines go, and the progress bar; with --json both go to standard error."""
    from tunesmith.train.watch import Progress

    with Progress() as bar:
        yield (_note if as_json else bar.say), bar


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """The terminal belongs to our bar: the bars of transformers would break its lines."""
    from tunesmith.model.pretrained import quiet

    with quiet():
        yield


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
    with _shown(as_json) as (say, bar), _quiet_libraries():
        run = fine_tune(source, fresh=fresh, hooks=Hooks(say=say, watcher=bar, progress=bar.work))
    if as_json:
        _emit(
            {"run": str(run.folder), "scores": run.read_json("scores.json"), "receipts": run.read_json("receipts.json")}
        )
    else:
        _say(result_table(run.read_json("scores.json"), run.read_json("receipts.json")))
        _say(f"report: {run.report}")
        _say(f"model:  {run.model}")
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
    with _shown(as_json) as (say, bar):
        prepared = prepare(read_recipe(recipe, overrides or ()), say=say, progress=bar.work)
    if as_json:
        _emit(prepared.audit_json())
    else:
        from tunesmith.report.console import findings_text, previews_text

        if shown := prepared.previews():
            _say(previews_text(shown, colour=sys.stdout.isatty()))
        _say(findings_text(prepared.findings))
    worst = levels[: levels.index(fail_on) + 1]
    return EXIT_FINDINGS if any(f.level in worst for f in prepared.findings) else EXIT_DONE


@app.command()
def plan(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> int:
    """Say what a run will do and what memory it will take."""
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    with _shown(as_json) as (say, bar):
        prepared = prepare(read_recipe(recipe, overrides or ()), say=say, progress=bar.work)
        prepared.raise_errors()
        made = make_plan(prepared)
    if as_json:
        _emit(made.to_json())
    else:
        from tunesmith.report.console import plan_text

        _say(plan_text(made.to_json()))
    return EXIT_DONE


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

    with _shown(as_json) as (say, bar):
        found, plot = find_rate(recipe, overrides or (), stage=stage, out=out, say=say, progress=bar.work)
    if as_json:
        _emit({**found.to_json(), "plot": str(plot)})
    else:
        _say(f"learning rate: {found.picked:.2e}")
        _say(f"plot: {plot}")
    return EXIT_DONE


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[str | None, typer.Option(help="Rows to score on (default: the run's held-out rows).")] = None,
    as_json: AsJson = False,
) -> int:
    """Score a finished run again, on its held-out rows or others."""
    from tunesmith.report.console import result_table
    from tunesmith.rescore import rescore

    with _shown(as_json) as (say, bar):
        scores = rescore(run, data, say=say, progress=bar.work)
    _emit(scores) if as_json else _say(result_table(scores, []))
    return EXIT_DONE


@app.command()
def predict(
    run: RunPath,
    inputs: Annotated[list[str] | None, typer.Argument(help="Files of rows, or plain inputs.", metavar="INPUT")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk to the model, turn by turn.")] = False,
    as_json: AsJson = False,
) -> int:
    """Use the tuned model of a finished run."""
    from tunesmith.predict import predict as predict_inputs

    if chat and as_json:
        raise UserError("--chat prints no JSON", "command line", "leave one of --chat and --json out")
    if chat:
        from tunesmith.predict import listen, talk

        talk(run, inputs or (), listen=listen, say=_say)
        return EXIT_DONE
    if not inputs:
        raise UserError("there is no INPUT", "command line", "give a text or a file of rows, or --chat")
    with _shown(as_json) as (_say_line, bar):
        found = predict_inputs(run, inputs, progress=bar.work)
    if as_json:
        _emit(found)
    else:
        from tunesmith.report.console import predictions_text

        _say(predictions_text(found))
    return EXIT_DONE


@app.command()
def export(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="Folder for the whole model; it must not exist.")],
    dtype: Annotated[str, typer.Option(help="Type of the merged weights: bf16, fp16 or fp32.")] = "bf16",
    as_json: AsJson = False,
) -> int:
    """Merge a run's adapter into its base, and measure that the result says the same."""
    from tunesmith.export import TOLERANCE, merge_adapter

    if dtype not in TOLERANCE:
        raise UserError(f"--dtype {dtype}: there is no such type", "command line", f"write {' or '.join(TOLERANCE)}")
    with _shown(as_json) as (_say_line, bar):
        made = merge_adapter(run, out, dtype=dtype, progress=bar.work)
    if as_json:
        _emit(made.to_json())
    else:
        _say(str(made))
    return EXIT_DONE


@app.command()
def report(run: RunPath, as_json: AsJson = False) -> int:
    """Write a run's report and model card again."""
    from tunesmith.report import write_card, write_report
    from tunesmith.run import Run

    opened = Run.open(run)
    page, card = write_report(opened.folder), write_card(opened.folder)
    _emit({"report": str(page), "card": str(card)}) if as_json else _say(f"report: {page}\ncard: {card}")
    return EXIT_DONE


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"), as_json: AsJson = False
) -> int:
    """List runs with their verdicts."""
    from dataclasses import asdict

    from tunesmith.report.console import runs_text
    from tunesmith.run import list_runs

    found = list_runs(folder)
    _emit([asdict(summary) for summary in found]) if as_json else _say(runs_text(found, folder))
    return EXIT_DONE


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
    _emit(asdict(found)) if as_json else _say(render(found))
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
        _say(f"schema: {out}")
    return EXIT_DONE


@app.command()
def tasks(as_json: AsJson = False) -> int:
    """List the installed tasks."""
    from tunesmith.registry import find_task, task_names

    found = {name: next(iter((find_task(name).__doc__ or "").strip().splitlines()), "") for name in task_names()}
    _emit(found) if as_json else _say("\n".join(f"{name:24} {about}" for name, about in found.items()))
    return EXIT_DONE


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Say what this machine can run, and why not the rest."""
    from dataclasses import asdict

    from tunesmith.machine import doctor as checks
    from tunesmith.model.starter import STARTERS
    from tunesmith.report.console import doctor_text

    found = checks({s.name: p.requirement for s in STARTERS.values() for p in s.packages})
    _emit([asdict(check) for check in found]) if as_json else _say(doctor_text(found))
    return EXIT_DONE


@cache_app.command("list")
def cache_list(as_json: AsJson = False) -> int:
    """Show what the cache holds."""
    from tunesmith.machine import cache_folder
    from tunesmith.model.store import cache_entries

    found = cache_entries(cache_folder("activations"))
    if as_json:
        _emit([{"folder": str(e.folder), "bytes": e.bytes, **e.about} for e in found])
        return EXIT_DONE
    for entry in found:
        about = ", ".join(f"{k} {v}" for k, v in entry.about.items())
        _say(f"{entry.bytes / 1e6:10,.1f} MB  {entry.folder.name[:8]}  {about}")
    _say(f"{sum(e.bytes for e in found) / 1e6:10,.1f} MB in {len(found)} entries of {cache_folder('activations')}")
    return EXIT_DONE


@cache_app.command("clear")
def cache_clear(as_json: AsJson = False) -> int:
    """Remove every recorded activation."""
    from tunesmith.machine import cache_folder
    from tunesmith.model.store import clear_cache

    count, size = clear_cache(cache_folder("activations"))
    _emit({"entries": count, "bytes": size}) if as_json else _say(f"removed {count} entries, {size / 1e6:,.1f} MB")
    return EXIT_DONE
