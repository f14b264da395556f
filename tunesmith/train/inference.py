"""Predictions for many rows, in their order, over all ranks. It knows no modality and no metric."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from tunesmith.data.loader import Loader, sorted_batches
from tunesmith.model.generation import WRITTEN_TOGETHER
from tunesmith.train.engine import Engine
from tunesmith.train.step import to_device
from tunesmith.types import Batch

Predict = Callable[[nn.Module, Batch], list[Any]]

Found = TypeVar("Found")


def halving(rows: np.ndarray, work: Callable[[np.ndarray], Found]) -> list[Found]:
    """What ``work`` makes of rows together; of halves of them, in order, where memory does not suffice.

    Raises:
        MemoryError: Not even one row fits.
    """
    try:
        return [work(rows)]
    except (torch.OutOfMemoryError, MemoryError):
        if len(rows) == 1:
            raise
    # Not inside the handler: what was raised holds the memory of the batch that did not fit.
    half = len(rows) // 2
    return [found for part in (rows[:half], rows[half:]) for found in halving(part, work)]


def predict_rows(
    model: nn.Module,
    predict: Predict,
    loader: Loader,
    lengths: list[int],
    engine: Engine,
    *,
    rows: int,
    around: Callable[[np.ndarray], AbstractContextManager[Any]] | None = None,
    slow: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Any]:
    """One prediction per row of ``loader``, in row order; the model's modes are as before afterwards.

    Args:
        model: Put into ``eval`` mode meanwhile.
        predict: A task's ``predict``, or another predictor of the same shape.
        loader: The rows.
        lengths: Their lengths; longest batches go first.
        engine: Device, precision, ranks.
        rows: Rows per forward pass.
        around: Context for the rows of a batch (cached activations).
        slow: Whether a batch is many forward passes, so that fewer rows at a time show progress in time.
            A batch that does not fit in memory is halved, whatever it is.
        on_progress: Called with rows done and rows in all.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    rows = loader.together(min(rows, WRITTEN_TOGETHER) if slow else rows, engine.device.type)
    plan = sorted_batches(lengths, rows)[engine.rank :: engine.world]
    pairs: list[tuple[int, Any]] = []
    try:
        with torch.inference_mode():
            for indices, ready in zip(plan, loader.ahead(plan), strict=True):

                def said(part: np.ndarray, whole: np.ndarray = indices, ready: Batch = ready) -> list[Any]:
                    batch = ready if len(part) == len(whole) else loader.batch(part)
                    with around(part) if around else nullcontext(), engine.precision():
                        return predict(model, to_device(batch, engine.device))

                found = [one for part in halving(indices, said) for one in part]
                if len(found) != len(indices):
                    raise ValueError(f"predict gave {len(found)} predictions for {len(indices)} rows")
                pairs.extend(zip(indices.tolist(), found, strict=True))
                if on_progress:
                    on_progress(len(pairs) * engine.world, len(loader))
    finally:
        for module, training in modes:
            module.training = training
    by_row = {index: value for part in engine.gather(pairs) for index, value in part}
    return [by_row[i] for i in range(len(loader))]
