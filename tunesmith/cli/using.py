"""Verbs that use finished runs: evaluate, predict, export, report, runs.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli.shell import AsJson, RunPath, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[str | None, typer.Option(help="Rows to score on (default: the run's held-out rows).")] = None,
    as_json: AsJson = False,
) -> int:
    """Score a finished run again, on its held-out rows or others."""
    from tunesmith.report.console import result_table
    from tunesmith.rescore import rescore

    with progress_bar(as_json) as (say, bar):
        scores = rescore(run, data, say=say, progress=bar.work)
    emit(scores) if as_json else tell(result_table(scores, []))
    return EXIT_DONE


@app.command()
def predict(
    run: RunPath,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Plain inputs, files of rows; pictures, recordings, folders, patterns in quotes.", metavar="INPUT"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for predictions.json, drawn pictures, subtitles; it must not exist.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="How many pictures of each prompt (text-to-image).")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk to the model, turn by turn.")] = False,
    as_json: AsJson = False,
) -> int:
    """Use the tuned model of a finished run."""
    from tunesmith.predict import predict as predict_inputs

    if chat and as_json:
        raise UserError("--chat prints no JSON", "command line", "leave one of --chat and --json out")
    if chat and out is not None:
        raise UserError("--chat writes no files", "command line", "leave one of --chat and --out out")
    if chat:
        from tunesmith.predict import listen, talk

        talk(run, inputs or (), listen=listen, say=tell)
        return EXIT_DONE
    if not inputs:
        raise UserError("there is no INPUT", "command line", "give a text or a file of rows, or --chat")
    with progress_bar(as_json) as (_say_line, bar):
        found = predict_inputs(run, inputs, out=out, progress=bar.work, n=n)
    if as_json:
        emit(found)
    else:
        from tunesmith.report.console import predictions_text

        tell(predictions_text(found))
        if out is not None:
            tell(f"written: {out}")
    faults = [one for one in found if "fault" in one]
    for one in faults:
        note(f"{one['id']}: {one['fault']}")
    if faults:
        note(f"{len(faults):,} of {len(found):,} inputs can't be read")
    return EXIT_FINDINGS if faults else EXIT_DONE


@app.command()
def export(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="Folder for the merged model, or file; it must not exist.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="merge (default: an adapter into its base); of pictures onnx; of Whisper ctranslate2, ggml; of "
            "diffusion kohya."
        ),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Type of the merged weights: bf16 (default), fp16 or fp32.")] = None,
    as_json: AsJson = False,
) -> int:
    """Write a run's model for others (an adapter merged, ONNX), and measure that it says the same."""
    from tunesmith.export import export as export_run

    with progress_bar(as_json) as (_say_line, bar), quiet_libraries():
        made = export_run(run, out, format=format, dtype=dtype, progress=bar.work)
    if as_json:
        emit(made.to_json())
    else:
        tell(str(made))
    return EXIT_DONE


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="Weights in another layout: a .pth file of the official YOLOX.")],
    out: Annotated[Path, typer.Option(help="Folder for the converted model; it must not exist or be empty.")],
    as_json: AsJson = False,
) -> int:
    """Write weights of another layout as a folder that a recipe can name (official YOLOX)."""
    from tunesmith.model.yolox_weights import convert_official

    if not file.is_file():
        raise UserError(f"there is no file {file}", "command line", "name a .pth file of the official YOLOX")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("something is there already", str(out), "name a folder that does not exist")
    with progress_bar(as_json), quiet_libraries():
        out.mkdir(parents=True, exist_ok=True)
        try:
            convert_official(file, out)
        except BaseException:
            shutil.rmtree(out)
            raise
    emit({"folder": str(out)}) if as_json else tell(f"model: {out}\nwrite in a recipe: model: {out}")
    return EXIT_DONE


@app.command()
def report(run: RunPath, as_json: AsJson = False) -> int:
    """Write a run's report and model card again."""
    from tunesmith.report import write_card, write_report
    from tunesmith.run import Run

    opened = Run.open(run)
    page, card = write_report(opened.folder), write_card(opened.folder)
    emit({"report": str(page), "card": str(card)}) if as_json else tell(f"report: {page}\ncard: {card}")
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
    emit([asdict(summary) for summary in found]) if as_json else tell(runs_text(found, folder))
    return EXIT_DONE
