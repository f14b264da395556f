"""Verbs that look ahead: find-lr, plan, compare.

Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tunesmith.cli.shell import AsJson, Overrides, RecipePath, app, emit, note, progress_bar, quiet_libraries, tell
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS

if TYPE_CHECKING:
    from tunesmith.plan import Plan
    from tunesmith.prepare import Prepared


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

    with progress_bar(as_json) as (say, bar):
        found, plot = find_rate(recipe, overrides or (), stage=stage, out=out, say=say, progress=bar.work)
    if as_json:
        emit({**found.to_json(), "plot": str(plot)})
    else:
        tell(f"learning rate: {found.picked:.2e}")
        tell(f"plot: {plot}")
    return EXIT_DONE


@app.command()
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    learning_curve: Annotated[
        bool, typer.Option("--learning-curve", help="Train the head on shares of the rows: what would more bring?")
    ] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Also write it as a web page.", metavar="FILE")] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Plan for another device: A100-80GB, 2xL4.", metavar="NAME")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Answer in half a second, from headers alone.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Say what fits on which GPU, by each method.")] = False,
    models: Annotated[
        list[str] | None, typer.Option(help="With --table: a model or a family (llama, qwen2.5).", metavar="MODEL")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Where it does not fit: write a copy of the recipe that does.")
    ] = False,
    option: Annotated[
        int | None, typer.Option(help="With --apply: the option of this number, not the one that fits.", metavar="N")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --apply: the copy (default: NAME.fits.yaml).", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Say what a run will do and what memory it will take."""
    if table:
        return _show_table(recipe, overrides or (), models or (), as_json)
    if fast:
        return _show_fast(recipe, overrides or (), gpu, page, as_json)
    began = time.perf_counter()
    from tunesmith.devices import find_device
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    target = find_device(gpu) if gpu is not None else None
    with progress_bar(as_json) as (say, bar):
        # A learning curve is measured; all else needs no weights.
        source, shapes = read_recipe(recipe, overrides or ()), not learning_curve
        prepared = prepare(source, say=say, progress=bar.work, shape_only=shapes)
        prepared.raise_errors()
        planned = make_plan(prepared, target=target, strict=False, ahead=True, began=began)
        made = planned.to_json()
        if learning_curve:
            from tunesmith.learning_curve import learning_curve as measured

            with quiet_libraries():
                made["learning_curve"] = measured(prepared, progress=bar.work)
    _write_page(made, page, recipe)
    if as_json:
        emit(made)
    else:
        from tunesmith.report.curve import curve_text
        from tunesmith.report.planned import plan_text

        tell(plan_text(made))
        if learning_curve:
            tell("\n" + curve_text(made["learning_curve"]))
    wanted = ApplyWish(apply or option is not None or out is not None, option, out, overrides or ())
    return _settle(prepared, planned, wanted)


class ApplyWish(NamedTuple):
    """Whether a copy of the recipe that fits is to be written, of which option, where, and with which settings."""

    apply: bool
    option: int | None
    out: Path | None
    overrides: Sequence[str]


def _settle(prepared: Prepared, planned: Plan, wish: ApplyWish) -> int:
    """Say what follows where a recipe does not fit, and write the copy that does where that is asked for."""
    from tunesmith.forecast.ladder import chosen, fits_nowhere, write_patched
    from tunesmith.forecast.replan import settings_of

    options, source = planned.outlook["options"], prepared.source
    if planned.fits:
        if wish.apply:
            note("the recipe fits as it is: nothing was written")
        return EXIT_DONE
    if wish.option is None and not any(one["patch"] and one["fits"] for one in options):
        raise fits_nowhere(source, options, planned.room)
    if not wish.apply:
        note("the recipe does not fit as it is: --apply writes a copy of it that does")
        return EXIT_FINDINGS
    one = chosen(source, options, wish.option)
    place = write_patched(source, one["patch"], out=wish.out, overrides=wish.overrides)
    note(f"written: {place}")
    for setting in settings_of(one["patch"]):
        note(f"  {setting}")
    note(f"costs: {one['costs']}" if one["fits"] else "it does not fit yet: a later option does, or none")
    return EXIT_DONE if one["fits"] else EXIT_FINDINGS


def _write_page(made: Mapping[str, Any], page: Path | None, recipe: Path) -> None:
    if page is not None:
        from tunesmith.report.plan_page import write_plan_page
        from tunesmith.run import jsonable

        note(f"page: {write_plan_page(jsonable(made), page, name=str(recipe))}")


def _show_fast(recipe: Path, overrides: Sequence[str], gpu: str | None, page: Path | None, as_json: bool) -> int:
    from tunesmith.devices import find_device
    from tunesmith.forecast.headers import fast_plan
    from tunesmith.recipe import read_recipe

    device = find_device(gpu) if gpu is not None else None
    made = fast_plan(read_recipe(recipe, overrides), device=device)
    _write_page(made, page, recipe)
    if as_json:
        emit(made)
    else:
        from tunesmith.report.fast_plan import fast_text

        tell(fast_text(made))
    return EXIT_DONE


def _show_table(recipe: Path, overrides: Sequence[str], models: Sequence[str], as_json: bool) -> int:
    from tunesmith.forecast.family import family_table
    from tunesmith.recipe import read_recipe

    found = family_table(read_recipe(recipe, overrides), models)
    if as_json:
        emit(found)
    else:
        from tunesmith.report.family_table import family_text

        tell(family_text(found))
    return EXIT_DONE


@app.command()
def compare(
    recipe: RecipePath,
    others: Annotated[
        list[str] | None,
        typer.Argument(help="More models, and settings that win over the file.", metavar="MODEL|KEY=VALUE"),
    ] = None,
    models: Annotated[list[str] | None, typer.Option(help="Models to rank: --models a b c.", metavar="MODEL")] = None,
    as_json: AsJson = False,
) -> int:
    """Rank models by a head on their frozen features."""
    from tunesmith.compare import compare_models
    from tunesmith.recipe import read_recipe
    from tunesmith.report.compared import compare_text

    # The parser gives an option one value; those after it arrive as arguments, which settings tell by their '='.
    settings = [one for one in others or () if "=" in one]
    names = [*(models or ()), *(one for one in others or () if "=" not in one)]
    with progress_bar(as_json) as (say, bar), quiet_libraries():
        found = compare_models(read_recipe(recipe, settings), names, say=say, progress=bar.work)
    if as_json:
        emit(found)
    else:
        tell(compare_text(found))
    return EXIT_DONE
