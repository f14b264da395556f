"""What memory a run will take, from shapes alone: the worst batch of the worst stage, and evaluation between steps.

It loads no weights and computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.prepare import Prepared

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tunesmith.data.loader import Loader
    from tunesmith.model.dropout import RowKeys
    from tunesmith.model.layers import LayerGroups
    from tunesmith.model.memory import MemoryPlan
    from tunesmith.plan import Plan
    from tunesmith.types import Sums


def stage_memories(
    plan: Plan,
    prepared: Prepared,
    model: nn.Module,
    layers: LayerGroups,
    dropout: RowKeys,
    train: Loader,
    micro: int,
) -> list[MemoryPlan]:
    """The memory of every stage.

    Args:
        plan: With its stages and their caches decided.
        prepared: The recipe's rows and task.
        model: On the meta device.
        layers: Its groups.
        dropout: Its dropout.
        train: The training rows.
        micro: Rows a pass.
    """
    from tunesmith.forecast.storage import encoded_bytes, parked_bytes
    from tunesmith.model.memory import block_estimate, plan_memory
    from tunesmith.model.stages import learning_groups
    from tunesmith.train.optim import optimizer_bytes
    from tunesmith.train.recompute import recompute_blocks

    recipe, task = prepared.source.recipe, prepared.task
    batch, lengths = _worst_batch(task, train, micro)
    most = train.together(recipe.batch.eval_rows, plan.device.partition(":")[0])
    together = min(most, len(prepared.held_out))
    # What learns makes no difference to it, so that most changes to a recipe leave it as it is.
    shaped = recipe.model_dump_json(include={"model", "options", "adapter"})
    key = (most, together, plan.precision, task.held, shaped)
    if key not in plan.evaluations:
        # It does not depend on the rows of a pass that learns, and of a large model it takes as long as a step.
        plan.evaluations[key] = task.evaluation_bytes(model, together) or _evaluation(
            prepared, model, layers.blocks, dropout, train, most, plan.precision
        )
    rows = (shaped, micro if train.workers else 0)
    if rows not in plan.encoded:
        plan.encoded[rows] = encoded_bytes(prepared, train, micro)
    width = getattr(getattr(model, "config", None), "hidden_size", 1024)
    apart = layers.modules()
    found, parked = [], 0
    for index, stage in enumerate(plan.resolved):
        groups = learning_groups(layers, stage)
        layers.apply([g.group for g in groups if g.trains], stage.within)
        if recipe.engine.gradient_checkpointing:
            recompute_blocks(layers)
        cache = plan.stages[index]["cache"]
        if cache["use"] and plan.device == "cpu":
            # A file's pages beside those of the file that the weights came from, and they stay for later stages.
            parked += parked_bytes(model, layers, cache["boundary"])
        blocks = sum(g.trains and g.group.startswith("block") for g in groups)
        one = plan_memory(
            model,
            lambda: total_of(task.loss(model, batch)),
            optimizer=partial(optimizer_bytes, recipe.optimizer.name),
            average=recipe.optimizer.ema is not None,
            cached=(cache["bytes"] or 0 if cache["use"] else 0) + parked,
            estimate=block_estimate(sum(lengths), width, blocks),
            precision=plan.precision,
            evaluation=plan.evaluations[key],
            encoded=plan.encoded[rows],
            passes=1 if micro >= recipe.batch.rows else 2,
            groups=apart,
            blocks=layers.blocks,
            recomputed=recipe.engine.gradient_checkpointing,
            gpu=plan.device != "cpu",
            around=lambda: dropout.over(range(1, micro + 1), lengths if task.packed else None),
        )
        found.append(one)
    return found


def total_of(sums: Sums) -> Tensor:
    """Loss sums as one scalar, as a step adds them up."""
    import torch

    return torch.stack([value.float() for value in sums.values()]).sum()


def _evaluation(
    prepared: Prepared,
    model: nn.Module,
    blocks: Sequence[nn.Module],
    dropout: RowKeys,
    train: Loader,
    most: int,
    precision: str,
) -> int:
    """What a pass over a batch of evaluation takes beside the weights, where the shape alone tells."""
    from tunesmith.model.memory import passing_bytes

    task = prepared.task
    count = min(most, max(len(prepared.held_out), len(train)))
    batch, lengths = _worst_batch(task, train, count)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with dropout.over(range(1, count + 1), lengths if task.packed else None):
            return passing_bytes(model, lambda: task.loss(model, batch), precision, blocks)
    finally:
        for module, training in modes:
            module.training = training


def _worst_batch(task: Any, train: Loader, micro: int) -> tuple[Any, list[int]]:
    """The longest rows as one batch on the meta device, and how many positions each takes there."""
    import torch

    from tunesmith.train.step import to_device

    order = np.argsort(np.asarray(train.lengths), kind="stable")[::-1][:micro]
    rows = [int(order[i % len(order)]) for i in range(micro)]
    lengths = [int(train.lengths[row if task.packed else rows[0]]) for row in rows]
    return to_device(train.batch(rows), torch.device("meta")), lengths
