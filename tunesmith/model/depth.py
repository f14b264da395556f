"""Deep networks by a few of their blocks: what a pass takes is a straight line over alike ones.

It knows no task, and neither bytes nor operations: whoever traces says how two traces become the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from torch import nn

LEAST_RUN = 12
"""So many blocks of one kind, one after the other, are worth two traces of a few."""
FEW, MORE = 2, 4
"""How many of a run stay in the first trace, and in the one that tells its slope."""
NO_SHAPE = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AttributeError, LookupError)
"""What a network raises that can't run with some of its blocks taken out."""

T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """The blocks that a trace runs.

    Args:
        lower: Parameters in the lower half of each run that is shortened: the way back is past the middle there.
    """

    lower: Collection[nn.Parameter] = ()


@dataclass(frozen=True)
class Slope:
    """How a trace grows with one run.

    Args:
        run: Positions of its blocks.
        few, more: Traces with `FEW` and with `MORE` of its blocks.
    """

    run: range
    few: Any
    more: Any

    def at_full(self, few: float, more: float) -> float:
        """By how much a figure is more with all blocks of the run, given what it is with few and with more."""
        return (more - few) / (MORE - FEW) * (len(self.run) - FEW)


def by_depth(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    trace: Callable[[Kept], T],
    whole: Callable[[T, Sequence[Slope]], T],
) -> T:
    """Trace a network with long runs of alike blocks cut short, and add what was left out; else trace it as it is.

    Args:
        model: On the meta device, frozen as it shall be.
        blocks: In execution order; those of one ``ModuleList``, else nothing is left out.
        trace: Runs the network as it is now.
        whole: Makes the trace of the whole network of one with few blocks and the slopes of its runs.
    """
    runs, owner = runs_of(blocks), _list_of(model, blocks)
    if owner is None or not runs:
        return trace(Kept())
    try:
        few = _short(owner, blocks, dict.fromkeys(runs, FEW), trace)
        slopes = [Slope(run, few, _short(owner, blocks, dict.fromkeys(runs, FEW) | {run: MORE}, trace)) for run in runs]
    except NO_SHAPE:
        return trace(Kept())
    return whole(few, slopes)


def runs_of(blocks: Sequence[nn.Module]) -> list[range]:
    """Positions of alike blocks in a row, of at least `LEAST_RUN`: of one kind and shape, learning alike."""
    marks = [_mark(block) for block in blocks]
    starts = [i for i in range(len(marks)) if i == 0 or marks[i] != marks[i - 1]]
    found = [range(a, b) for a, b in pairwise([*starts, len(marks)])]
    return [run for run in found if len(run) >= LEAST_RUN]


def _mark(block: nn.Module) -> tuple[Any, ...]:
    """What makes two blocks alike."""
    shapes = [(name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in block.named_parameters()]
    # Read from the instance: some libraries warn where a name is looked up by `getattr`.
    said = [(type(m), m.training, vars(m).get("attention_type"), vars(m).get("is_sliding")) for m in block.modules()]
    return (tuple(shapes), tuple(said))


def _list_of(model: nn.Module, blocks: Sequence[nn.Module]) -> nn.ModuleList | None:
    wanted = [id(block) for block in blocks]
    lists = (m for m in model.modules() if isinstance(m, nn.ModuleList))
    return next((one for one in lists if [id(block) for block in one] == wanted), None)


def _short(owner: nn.ModuleList, blocks: Sequence[nn.Module], left: dict[range, int], trace: Callable[[Kept], T]) -> T:
    # The first one stays, which keeps less where nothing below it learns; and the last ones: the end of what is frozen
    # is where a cache's boundary lies.
    kept = {run: [run[0], *run[len(run) - count + 1 :]] for run, count in left.items()}
    out = {i for run in kept for i in run} - {i for some in kept.values() for i in some}
    low = [blocks[i] for some in kept.values() for i in some[: len(some) // 2]]
    with _only(owner, [block for i, block in enumerate(blocks) if i not in out]):
        return trace(Kept({p for block in low for p in block.parameters()}))


@contextmanager
def _only(owner: nn.ModuleList, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """A list with some of its blocks for a while."""
    before = owner._modules
    owner._modules = {str(i): block for i, block in enumerate(blocks)}
    try:
        yield
    finally:
        owner._modules = before
