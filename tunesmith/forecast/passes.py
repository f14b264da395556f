"""Passes of a model on the meta device, as counted operations: what lies below a boundary apart from what lies above.

Nothing is computed and no weight is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.model.depth import Slope
    from tunesmith.model.operations import Work

NO_SHAPE = (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AttributeError, LookupError)
"""What a model that computes with its own numbers raises where there are none."""
CALLS_SEEN, MOST_CALLS = 4, 64
"""After how many calls of the model a pass that calls it once a token is told, and any other is given up."""
TYPICAL = 3
"""Batches of how many sizes are traced; what lies between is interpolated."""


@dataclass
class Pass:
    """Operations of one pass: those that run before the boundary's last output, and the others."""

    below: Work = field(default_factory=Counter)
    above: Work = field(default_factory=Counter)

    def work(self, *, cached: bool = False) -> Work:
        """All operations; with the boundary's output at hand, those above it."""
        return self.above if cached else self.below + self.above


def traced(
    model: nn.Module,
    run: Callable[[], Any],
    *,
    training: bool,
    precision: str = "fp32",
    seam: str | None = None,
    repeats: int | None = None,
    blocks: Sequence[nn.Module] = (),
) -> Pass | None:
    """The operations of a pass.

    Args:
        model: On the meta device, frozen as the stage has it.
        run: The pass; in training it gives the loss sums, through which the way back goes.
        training: Forward and back in training mode, or forward alone in evaluation mode.
        precision: What autocast computes in.
        seam: Name of the module at the boundary of a cache.
        repeats: How often a prediction calls the model where it calls it once a token (transformers' ``generate``).
            Shapes do not end that, so it is cut off after a few calls: what runs until the second one reads the input,
            what runs between the third and the fourth writes one token.
        blocks: Of the model; of many alike ones a few run.

    Returns:
        None where the model does not run by its shape alone.
    """
    from tunesmith.model.depth import Kept, by_depth

    end = model.get_submodule(seam) if seam is not None else None

    def trace(kept: Kept) -> Pass | None:
        if kept.lower and end is not None and all(end is not module for module in model.modules()):
            raise LookupError("the boundary is not among the blocks that are left")
        found = _traced(model, run, training, precision, end, repeats)
        if kept.lower and found is None:
            raise LookupError("the shape does not run with a few blocks")
        return found

    return by_depth(model, blocks, trace, _whole)


def _whole(few: Pass | None, slopes: Sequence[Slope]) -> Pass | None:
    """The operations with all blocks, given those with a few."""
    if few is None:
        return None

    def line(works: Callable[[Pass], Work]) -> Work:
        found = Counter(works(few))
        for slope in slopes:
            more = works(slope.more)
            for one in {*works(few), *more}:
                found[one] += round(slope.at_full(works(few)[one], more[one]))
        return found

    return Pass(line(lambda one: one.below), line(lambda one: one.above))


def _traced(
    model: nn.Module,
    run: Callable[[], Any],
    training: bool,
    precision: str,
    seam: nn.Module | None,
    repeats: int | None,
) -> Pass | None:
    """The operations of a pass over the blocks that are there."""
    import torch

    from tunesmith.model.ledger import on_shapes
    from tunesmith.model.operations import Counting, StandIns

    found, counting = Pass(), Counting()
    begun: list[Work] = []
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)

    def reached(_module: nn.Module, _given: Any, _output: Any) -> None:
        found.below += counting.work
        counting.work = Counter()

    def called(_module: nn.Module, _given: Any) -> None:
        begun.append(found.below + counting.work)
        if len(begun) == (CALLS_SEEN if repeats else MOST_CALLS) and not training:
            raise _Enough

    try:
        with ExitStack() as hooks:
            hooks.callback(model.register_forward_pre_hook(called).remove)
            if seam is not None:
                hooks.callback(seam.register_forward_hook(reached).remove)
            with torch.set_grad_enabled(training), StandIns(), counting:
                with on_shapes(precision):
                    sums = run()
                if training:
                    torch.stack([value.float() for value in sums.values()]).sum().backward()  # type: ignore[no-untyped-call]
    except _Enough:
        if repeats is None:
            return None
        # Before the second call the input is read; a boundary lies in that.
        token = begun[3] - begun[2]
        counting.work = begun[1] - found.below + Counter({one: count * (repeats - 1) for one, count in token.items()})
    except NO_SHAPE:
        # What was counted of a prediction before it needed numbers is nearly all there is; half a step is nothing.
        if training or not any(operation.flops for operation in (found.below + counting.work)):
            return None
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter in model.parameters():
            parameter.grad = None
    found.above = counting.work
    return found


class _Enough(Exception):
    """Ends a prediction on shapes, which would never come to an end by itself."""


def over(
    batches: Sequence[np.ndarray],
    size: Callable[[np.ndarray], float],
    cost: Callable[[np.ndarray], float | None],
    *,
    typical: int = TYPICAL,
) -> float | None:
    """The cost of all batches: of a few typical ones by their size, and between them by interpolation.

    Args:
        batches: Rows of each.
        size: Of a batch, in positions.
        cost: Of a batch; None where it can't be told.
        typical: How many are asked for.
    """
    if not batches:
        return 0.0
    sizes = np.array([size(batch) for batch in batches])
    order = np.argsort(sizes, kind="stable")
    picked = {int(order[round(share * (len(order) - 1))]) for share in np.linspace(0, 1, typical)}
    by_size = {float(sizes[i]): i for i in sorted(picked)}
    known, costs = sorted(by_size), []
    for at in known:
        one = cost(batches[by_size[at]])
        if one is None:
            return None
        costs.append(one)
    return float(np.interp(sizes, known, costs).sum())
