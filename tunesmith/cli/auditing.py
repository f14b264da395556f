"""The verb that judges data before compute is spent on it: audit.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.shell import AsJson, Overrides, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import AuditReport
    from tunesmith.recipe import Source

LEVELS = ("error", "warning", "note")
COMMAND = "command line"


@app.command()
def audit(
    path: Annotated[
        Path, typer.Argument(help="A recipe (.yaml), or a folder or file of rows.", metavar="RECIPE|FOLDER|FILE")
    ],
    overrides: Overrides = None,
    fail_on: Annotated[
        str, typer.Option(help="Level from which on the exit code is 1: error, warning or note.")
    ] = "error",
    page: Annotated[Path | None, typer.Option(help="Write a page with plots and the offending rows here.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Write a mended copy of the rows into this new folder.")] = None,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="With --fix: give labels found wrong the likely one, not leave them out.")
    ] = False,
    codes: Annotated[list[str] | None, typer.Option(help="With --fix: act on this finding only; repeatable.")] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="With --fix: train on the rows as they are and on the copy, and compare.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run this check only; repeatable.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave this check out; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the findings that every run makes.")] = False,
    against: Annotated[
        list[Path] | None, typer.Option(help="A file of evaluation rows that must not stand in training; repeatable.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A column that says where a row comes from (speaker); repeatable.")
    ] = None,
    toxicity: Annotated[str | None, typer.Option(help="A text classifier (hub id or folder) of toxicity.")] = None,
    no_effects: Annotated[
        bool, typer.Option("--no-effects", help="Do not measure what faults do to a score, which trains heads.")
    ] = False,
    most_seconds: Annotated[
        float | None, typer.Option(min=1.0, help="About how long a check that can judge a sample may take.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Weights in place of the recipe's, or of the starter.")] = None,
    as_json: AsJson = False,
) -> int:
    """Judge the data of a recipe, or of a folder or file. Exit code 1 when there are findings."""
    from tunesmith.audit.folder import is_recipe, source_of

    _check_options(fail_on, fix=fix, needs_fix={"--relabel": relabel, "--codes": codes, "--prove": prove}, quick=quick)
    source = source_of(path, model, overrides or ())
    if quick:
        return _quick(source, fail_on, as_json, weights_needed=is_recipe(path) or model is not None)
    if fix is not None:
        from tunesmith.audit.fixing import check_codes, check_place

        check_place(fix, source)
        check_codes(codes or (), source)
    from tunesmith.audit.data import Wishes
    from tunesmith.audit.opening import open_data
    from tunesmith.audit.run import audit as judged
    from tunesmith.audit.run import chosen_checks

    chosen_checks(only or (), skip or ())
    wishes = Wishes(tuple(against or ()), toxicity, tuple(group or ()), not no_effects, most_seconds)
    with progress_bar(as_json) as (say, bar), quiet_libraries():
        if not is_recipe(path):
            say(_guess(source))
        needed = is_recipe(path) or model is not None
        data = open_data(source, wishes=wishes, weights_needed=needed, say=say, progress=bar.work)
        report = judged(data, only=only or (), skip=skip or (), say=say)
        log = None
        if fix is not None:
            from tunesmith.audit.fixing import write_fixed

            log = write_fixed(data, report, fix, codes=codes or (), relabel=relabel)
            if prove:
                from tunesmith.audit.proving import proof

                report.proof = proof(data, log, say=say, progress=bar.work, watcher=bar)
        if page is not None:
            _write_page(data, report, page)
    _show(data, report, log, as_json)
    if page is not None:
        (note if as_json else tell)(f"page: {page}")
    return _code(report.findings, fail_on)


def _check_options(fail_on: str, *, fix: Path | None, needs_fix: dict[str, Any], quick: bool) -> None:
    """See that options go together.

    Raises:
        UserError: There is no such level, or an option says nothing without ``--fix``.
    """
    if fail_on not in LEVELS:
        raise UserError(f"--fail-on {fail_on}: there is no such level", COMMAND, f"write one of {', '.join(LEVELS)}")
    alone = next((name for name, value in needs_fix.items() if value and fix is None), None)
    if alone is not None:
        raise UserError(f"{alone} is about the copy that --fix writes", COMMAND, "add --fix FOLDER, a new folder")
    if quick and fix is not None:
        raise UserError("--quick finds no rows that --fix could mend", COMMAND, "leave one of the two out")


def _guess(source: Source) -> str:
    recipe = source.recipe
    said = [f"task: {recipe.task}", f"train: {recipe.data.train}", f"eval: {recipe.data.eval}"]
    said += [f"{ours}: column {theirs}" for ours, theirs in recipe.data.columns.items()]
    return f"no recipe, so that the rows tell: {', '.join(said)} (change it: task=..., data.eval=...)"


def _quick(source: Source, fail_on: str, as_json: bool, *, weights_needed: bool) -> int:
    """The findings of every run."""
    from tunesmith.prepare import prepare

    with progress_bar(as_json) as (say, bar):
        prepared = prepare(source, say=say, progress=bar.work, weights_needed=weights_needed)
    if as_json:
        emit(prepared.audit_json())
    else:
        from tunesmith.report.console import findings_text, previews_text

        if shown := prepared.previews():
            tell(previews_text(shown, colour=sys.stdout.isatty()))
        tell(findings_text(prepared.findings))
    return _code(prepared.findings, fail_on)


def _code(findings: Iterable[Any], fail_on: str) -> int:
    worst = LEVELS[: LEVELS.index(fail_on) + 1]
    return EXIT_FINDINGS if any(found.level in worst for found in findings) else EXIT_DONE


def _show(data: AuditData, report: AuditReport, log: Any, as_json: bool) -> None:
    told = report.to_json()
    previews: Sequence[Any] = data.prepared.previews()
    if log is not None:
        told["fixed"] = log.to_json()
    if as_json:
        emit({**told, "previews": [preview.to_json() for preview in previews]})
        return
    from tunesmith.report.audited import audit_text
    from tunesmith.report.console import previews_text

    if previews:
        tell(previews_text(previews, colour=sys.stdout.isatty()))
    tell(audit_text(told))


def _write_page(data: AuditData, report: AuditReport, page: Path) -> None:
    """The page with the offending rows.

    Raises:
        UserError: It can't be written.
    """
    from tunesmith.audit.evidence import evidence
    from tunesmith.report.audit_page import write_audit_page

    try:
        write_audit_page(report.to_json(), evidence(data, report), page)
    except OSError as fault:
        raise UserError(f"cannot write {page}: {fault.strerror}", str(page), "name a file in a folder") from fault
