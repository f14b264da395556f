"""The learning-rate finder as a verb: one stage's range test on untrained weights, with its plot. It changes no run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import UserError
from tunesmith.plan import check_stages, make_plan
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe
from tunesmith.run import write_whole

if TYPE_CHECKING:
    from tunesmith.train.range_test import RangeTest


def find_rate(
    recipe: Path,
    overrides: Sequence[str] = (),
    *,
    stage: int = 0,
    out: Path | None = None,
    say: Callable[[str], None] = lambda _line: None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> tuple[RangeTest, Path]:
    """Run one stage's range test and draw it.

    Returns:
        The test, and the plot's path (SVG).

    Raises:
        UserError: The recipe or the data are at fault, there is no such stage, or no rate lets the loss fall.
    """
    from tunesmith.journey import loop_of, make_further
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.find_lr import draw
    from tunesmith.train.signals import StopRequest

    source = read_recipe(recipe, overrides)
    prepared = prepare(source, say=say, progress=progress)
    prepared.raise_errors()
    plan = make_plan(prepared)
    check_stages(prepared, plan.resolved)
    if not 0 <= stage < len(plan.resolved):
        raise UserError(f"there is no stage {stage}", "--stage", f"write 0 to {len(plan.resolved) - 1}")
    if stage:
        say("the stages before it have not been trained here; in a run, lr: auto tests on what they left")
    with StopRequest() as stop:
        engine = LocalEngine(plan.device, plan.precision)
        if prepared.further:
            make_further(prepared, engine, progress)
        found = loop_of(prepared, plan, stop, engine=engine, progress=progress).try_rates(stage)
    place = out or Path(f"lr-{source.path.stem}-stage-{stage}.svg")
    write_whole(place, draw(found.rates, found.losses, found.picked).encode())
    return found, place
