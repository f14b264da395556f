"""Checks of a step's arithmetic: it learns, sums are sums, and neither cutting nor ranks change it.

It knows no modality and no stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tunesmith.checks.world import (
    Fitting,
    Measured,
    World,
    evaluating,
    largest,
    loss_sums,
    none_of,
    weights_distance,
    within,
)
from tunesmith.data.loader import Address

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tunesmith.train.engine import Engine

RATES = (1e-3, 1e-2, 1e-4)
LEARNING_STEPS = 60
STEP_SHARE = 0.01
"""How far the first SGD step moves the weights, relative to their norm: far enough for a wrong divisor to show."""


def learns(world: World) -> Measured:
    """AdamW on eight rows brings their loss under half; the best of three rates counts."""
    best = np.inf
    for rate in RATES:
        best = min(best, _loss_ratio(world, rate))
        if best < 0.5:
            break
    return Measured(bool(best < 0.5), best, "< 0.5", f"loss after at most {LEARNING_STEPS} steps over loss before")


def _loss_ratio(world: World, rate: float) -> float:
    import torch

    fitting = world.fitting(dropout=0.0)
    fitting.layers.apply(fitting.layers.learning("all"))
    batch = world.batch(world.spread)
    learning = [p for p in fitting.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=0.0)
    before = _mean_loss(world, fitting.model, batch)
    after = before
    for step in range(LEARNING_STEPS):
        fitting.layers.train_mode()
        _gradients(world, fitting, [world.spread], Address(0, 0, step))
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 4:
            after = _mean_loss(world, fitting.model, batch)
            if after < before / 2:
                break
    return after / before if before else float(np.inf)


def _mean_loss(world: World, model: nn.Module, batch: dict[str, Any]) -> float:
    from tunesmith.train.step import divided

    with evaluating(model):
        return float(sum(divided(world.task.loss(model, batch), world.task.count(batch)).values()))


def loss_is_a_sum(world: World) -> Measured:
    """The loss of a batch is the sum of the losses of its rows, one by one."""
    model = world.fitting().model
    whole = loss_sums(world.task, model, world.batch(world.spread))
    alone = [loss_sums(world.task, model, world.batch([i])) for i in world.spread]
    summed = {name: sum(row.get(name, 0.0) for row in alone) for name in whole}
    worst = largest(abs(value - summed[name]) / max(abs(summed[name]), 1e-6) for name, value in whole.items())
    return within(worst, 1e-4, f"{len(world.spread)} rows at once against one by one, terms {', '.join(whole)}")


def counts(world: World) -> Measured:
    """Every loss term's unit is counted, every count is used, and counts of rows add up to the batch's."""
    task, model = world.task, world.fitting().model
    batch = world.batch(world.spread)
    whole, units = task.count(batch), {name.rsplit("/", 1)[-1] for name in loss_sums(task, model, batch)}
    faults = [f"loss has the unit {unit!r}, which count does not give" for unit in sorted(units - whole.keys())]
    faults += [f"count gives {unit!r}, which no loss term has" for unit in sorted(whole.keys() - units)]
    faults += [f"count of {unit!r} is {n}" for unit, n in whole.items() if not (np.isfinite(n) and n > 0)]
    rows = [task.count(world.batch([i])) for i in world.spread]
    for unit, n in whole.items():
        summed = sum(row.get(unit, 0.0) for row in rows)
        if abs(n - summed) > 1e-6 * max(1.0, abs(summed)):
            faults.append(f"count of {unit!r} is {n:g} for the batch and {summed:g} for its rows")
    if task.count(batch) != whole:
        faults.append("count changes with the forward pass")
    return none_of(faults, f"units {', '.join(sorted(units))}")


def accumulation(world: World) -> Measured:
    """8 × 1, 2 × 4 and 1 × 8 rows give the same weights after two SGD steps, with the model's own dropout."""
    rows = world.spread
    rate, whole = _two_steps(world, rows, 8, None)
    worst = largest(weights_distance(whole, _two_steps(world, rows, micro, rate)[1]) for micro in (4, 1))
    lengths = world.loaded.lengths
    about = f"rows of length {min(lengths[i] for i in rows)} to {max(lengths[i] for i in rows)}, dropout on"
    return within(worst, 1e-6, f"largest difference relative to the largest weight; {about}")


def _two_steps(
    world: World, rows: Sequence[int], micro: int, rate: float | None, world_size: int = 1
) -> tuple[float, Mapping[str, Tensor]]:
    """Weights after two plain SGD steps; the rate is chosen at the first one if it is None."""
    import torch

    fitting = world.fitting()
    fitting.layers.apply(fitting.layers.learning("all"))
    pieces = [rows[i : i + micro] for i in range(0, len(rows), micro)]
    for epoch in range(2):
        fitting.layers.train_mode()
        if world_size == 1:
            _gradients(world, fitting, pieces, Address(0, 0, epoch))
        else:
            _gradients_of_ranks(world, fitting, rows, micro, Address(0, 0, epoch), world_size)
        moving = [p for p in fitting.model.parameters() if p.grad is not None]
        if rate is None:
            slope = _norm([p.grad for p in moving if p.grad is not None])
            rate = STEP_SHARE * _norm(moving) / slope if slope else 0.0
        with torch.no_grad():
            for parameter in moving:
                if parameter.grad is not None:
                    parameter.sub_(rate * parameter.grad)
                parameter.grad = None
    return rate or 0.0, {name: p.detach() for name, p in fitting.model.named_parameters()}


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(np.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors)))


def _gradients(world: World, fitting: Fitting, pieces: Sequence[Sequence[int]], address: Address) -> None:
    from tunesmith.train.step import Objective, Piece, accumulate

    micro = [(Piece(np.asarray(p), 1.0), world.loaded.batch(list(p), address)) for p in pieces]
    around = world.around(fitting, address)
    accumulate(Objective(world.task, fitting.model), world.task, world.engine, micro, around)


def two_ranks(world: World) -> Measured:
    """Two ranks give the weights that one gives, also where the rows don't divide evenly."""
    found = []
    for rows, micro in ((world.spread, 4), (world.spread[:7], 1)):
        rate, one = _two_steps(world, rows, len(rows), None)
        _, two = _two_steps(world, rows, micro, rate, world_size=2)
        found.append(weights_distance(one, two))
    return within(
        largest(found), 1e-6, "two ranks simulated in one process: own rows, shared counts, averaged gradients"
    )


class _Rank:
    """One of several ranks in one process: counts and shares of all are known to it, and gradients simply add up."""

    def __init__(self, rank: int, device: torch.device, counts: dict[str, float], shares: list[list[Any]]) -> None:
        self.rank, self.world, self.device = rank, len(shares), device
        self._counts, self._shares = counts, shares

    def gather(self, _values: Sequence[Any]) -> list[list[Any]]:
        """What the rows of every rank share."""
        return self._shares

    def precision(self) -> AbstractContextManager[None]:
        """Full precision."""
        return nullcontext()

    def total(self, _counts: Sequence[dict[str, float]]) -> dict[str, float]:
        """The counts of all ranks."""
        return self._counts

    def backward(self, _module: nn.Module, loss: Tensor, *, sync: bool) -> None:
        """Backward pass; ``sync`` has nothing to send."""
        loss.backward()  # type: ignore[no-untyped-call]


def _gradients_of_ranks(
    world: World, fitting: Fitting, rows: Sequence[int], micro: int, address: Address, world_size: int
) -> None:
    from tunesmith.train.company import shares_of
    from tunesmith.train.step import Objective, accumulate, pieces_of

    around = world.around(fitting, address)
    of_ranks = []
    for rank in range(world_size):
        pieces = pieces_of(np.asarray(rows), micro, rank, world_size)
        of_ranks.append([(p, world.loaded.batch(list(p.rows), address)) for p in pieces])
    counted = [
        {k: v * piece.weight for k, v in world.task.count(batch).items()}
        for micros in of_ranks
        for piece, batch in micros
    ]
    totals = world.engine.total(counted)
    shares = [
        shares_of(world.task, fitting.model, world.engine, micros, around) if world.task.company else []
        for micros in of_ranks
    ]
    for rank, micros in enumerate(of_ranks):
        engine = cast("Engine", _Rank(rank, world.engine.device, totals, shares))
        accumulate(Objective(world.task, fitting.model), world.task, engine, micros, around)
    for parameter in fitting.model.parameters():
        if parameter.grad is not None:
            # Distributed data parallel averages over ranks.
            parameter.grad /= world_size
