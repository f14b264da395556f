"""From a recipe to the rows that an audit judges. It knows no check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tunesmith.audit.data import AuditData, Progress, Wishes
from tunesmith.audit.found import Skipped
from tunesmith.audit.kept import Kept
from tunesmith.audit.sounds import remember_sounds
from tunesmith.data.audit import BEFORE_WEIGHTS
from tunesmith.prepare import prepare
from tunesmith.recipe import Source


def open_data(
    source: Source,
    *,
    wishes: Wishes | None = None,
    weights_needed: bool = True,
    kept: Kept | None = None,
    say: Callable[[str], None] = lambda _line: None,
    progress: Progress = lambda _what, _done, _total: None,
) -> AuditData:
    """Read and split the rows, and find the weights.

    Args:
        source: The recipe.
        wishes: What was asked for.
        weights_needed: Whether missing weights are a fault; where not, what needs a network is left out.
        kept: Measures of earlier audits; by default those of this machine.
        say: Receives lines for a person.
        progress: Receives what is being done, how much is done, and of how much.

    Raises:
        UserError: A setting, a file, a row or the weights are at fault.
    """
    store = kept or Kept()
    remember_sounds(store)
    recipe = source.recipe
    accepting = _with_broken(source, 1.0)
    prepared = prepare(accepting, say=say, progress=progress, weights_needed=weights_needed, despite_errors=True)
    # What can't be read is a finding like any other; how much of it a run accepts, the recipe says as before.
    prepared.source = _with_broken(prepared.source, recipe.data.broken_rows)
    return AuditData(
        prepared,
        store,
        wishes or Wishes(),
        progress,
        has_weights=bool(prepared.weights.files),
    )


def _with_broken(source: Source, share: float) -> Source:
    """The recipe, accepting so great a share of broken rows."""
    section = source.recipe.data.model_copy(update={"broken_rows": share})
    return replace(source, recipe=source.recipe.model_copy(update={"data": section}))


def left_out(data: AuditData) -> list[Skipped]:
    """What the rows alone do not allow."""
    if data.has_weights:
        return []
    why, fix = data.prepared.no_weights, "name weights with --model"
    if why is None:
        codes = dict.fromkeys(one.code for one in data.prepared.errors() if one.code in BEFORE_WEIGHTS)
        why, fix = f"errors come first ({', '.join(codes)})", "mend them, then audit again"
    return [Skipped("network", f"what a network tells is left out: {why}; {fix}")]
