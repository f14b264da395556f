"""What rows of a step tell each other, however the step is cut: in-batch negatives that cutting does not change.

Each micro-batch gets what all other rows of its step say of themselves, computed once without gradients. Its loss then
gives the gradient that reaches its own rows; over all micro-batches and ranks these add up to the gradient of the whole
step in one pass (GradCache, arXiv:2101.06983). Dropout has an address, so both passes drop the same units. It knows
no modality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tunesmith.task import Task
from tunesmith.types import Batch

if TYPE_CHECKING:
    from tunesmith.train.engine import Engine
    from tunesmith.train.step import Around, Piece

COMPANY = "company"
"""The key of a batch under which a list lies: what the rows of each other micro-batch of the step share."""


def shares_of(
    task: Task, model: nn.Module, engine: Engine, micro: Sequence[tuple[Piece, Batch]], around: Around
) -> list[Any]:
    """What the rows of each of this rank's micro-batches share; None for one that only keeps the others company."""
    found: list[Any] = []
    for piece, batch in micro:
        if not piece.weight:
            found.append(None)
            continue
        with torch.no_grad(), around(piece.rows), engine.precision():
            found.append(task.share(model, batch))
    return found


def with_company(
    task: Task, model: nn.Module, engine: Engine, micro: Sequence[tuple[Piece, Batch]], around: Around
) -> list[tuple[Piece, Batch]]:
    """The micro-batches, each with what all other rows of the step share; as they are where there are no others."""
    if len(micro) == 1 and engine.world == 1:
        return list(micro)
    from tunesmith.train.step import to_device

    mine = shares_of(task, model, engine, micro, around)
    cpu = torch.device("cpu")
    everyone = engine.gather([to_device(share, cpu) for share in mine]) if engine.world > 1 else [mine]
    told = []
    for number, (piece, batch) in enumerate(micro):
        others = [
            to_device(share, engine.device)
            for rank, shares in enumerate(everyone)
            for place, share in enumerate(shares)
            if share is not None and (rank, place) != (engine.rank, number)
        ]
        told.append((piece, batch | {COMPANY: others}))
    return told
