"""What predictions take that are no single pass: answers written token by token. Told where prompts are token ids.

It knows how answers are written (``model.generation``); no rates and no modality beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.forecast.passes import over, traced

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.data.loader import Loader
    from tunesmith.forecast.time import Forecast
    from tunesmith.task import Task

TOKEN_CALLS = 200
"""What transformers does for every token beside the model, in calls: masks, positions, the next token, who is done."""
LONGEST_TO_USUAL = 1.25
"""``max_new_tokens: auto`` is a quarter more than the longest usual answer."""


def tokens_written(values: Mapping[str, Any], *, base: bool) -> int | None:
    """How many tokens the longest of some answers has, by the task's facts; None where it writes none.

    Args:
        values: The task's facts.
        base: Whether the untrained model writes, which often does not know when to end.
    """
    if "max_new_tokens" not in values:
        return None
    most = int(values["max_new_tokens"])
    return most if base else max(1, int(most / LONGEST_TO_USUAL))


def says_otherwise(task: Task) -> bool:
    """Whether validation predicts in a way of its own."""
    from tunesmith.task import Task

    return type(task).validate is not Task.validate


def writes(task: Task) -> bool:
    """Whether predictions are more than one pass: not where they are judged by what ``validate`` says of one."""
    return not task.one_pass and not (says_otherwise(task) and task.validation_metric[0] == task.goal)


def written_seconds(forecast: Forecast, loader: Loader, *, base: bool) -> float | None:
    """Seconds of a task's own predictions for all rows, where they are written.

    Args:
        forecast: Of the run.
        loader: The rows.
        base: Whether the untrained model writes, which often does not know when to end.
    """
    from tunesmith.data.loader import sorted_batches
    from tunesmith.model.generation import WRITTEN_TOGETHER

    task, device = forecast.prepared.task, forecast.plan.device.partition(":")[0]
    scored = forecast.forward(loader, task.validate) if says_otherwise(task) else 0.0
    most = loader.together(min(forecast.prepared.source.recipe.batch.eval_rows, WRITTEN_TOGETHER), device)
    batches = sorted_batches(loader.lengths, most)

    if "prompts" not in loader.batch(batches[0][:1]):
        return forecast.forward(loader, task.predict, base=base)

    def cost(rows: np.ndarray) -> float | None:
        return _answers(forecast, loader.batch(rows), base=base)

    written = over(batches, forecast.size(loader), cost, typical=2)
    return None if scored is None or written is None else scored + written


def base_seconds(forecast: Forecast) -> float | None:
    """Seconds of scoring what one has without training.

    Each candidate is scored on training rows, by which one is chosen. The costliest is taken to be that one, which is
    then scored on the held-out rows; where answers are written, another is shown beside it.
    """
    task, rows, held = forecast.prepared.task, forecast.prepared.train, forecast.sets["held_out"]
    if writes(task):
        return _written_bases(forecast)
    # A candidate that asks the model nothing (the majority class) has no operations to count.
    candidates = task.bases(forecast.model, rows).values()
    chosen = [forecast.forward(held, predict, base=True) or 0.0 for predict in candidates]
    # Training rows are taken to be as long as the held-out ones.
    share = min(task.base_rows, len(rows)) / max(1, len(held)) if len(chosen) > 1 else 0.0
    return share * sum(chosen) + max(chosen)


def _written_bases(forecast: Forecast) -> float | None:
    """The same where answers are written: each candidate says which prompts it would ask."""
    from tunesmith.plan import loader_of

    task, rows, held = forecast.prepared.task, forecast.prepared.train, forecast.sets["held_out"]
    asked: list[Any] = []

    def noted(_model: Any, batch: Any) -> list[Any]:
        asked.append(batch)
        return [None] * len(batch.get("prompts", ()))

    told = copy(task)
    told.predict = noted  # type: ignore[method-assign,assignment]
    candidates = list(told.bases(forecast.model, rows).values())
    plain = written_seconds(forecast, held, base=True)
    if len(candidates) == 1 or plain is None:
        return plain
    step = max(1, len(rows) // task.base_rows)
    sample = [row for row in (rows[i] for i in range(0, len(rows), step)) if task.can_judge(row)][: task.base_rows]
    loader, found = loader_of(forecast.prepared, sample), []
    for predict in candidates:
        asked.clear()
        try:
            predict(forecast.model, loader.batch(range(len(sample))))
        except (RuntimeError, NotImplementedError, TypeError, KeyError):
            return None
        found.append(_summed([_asked(forecast, batch) for batch in asked]))
    if any(one is None for one in found):
        return None
    costs = [one or 0.0 for one in found]
    return sum(costs) + plain + max(costs) * len(held) / max(1, len(sample))


def _asked(forecast: Forecast, batch: Any) -> float | None:
    """Seconds of a whole prediction for a batch: how likely its reference is, and the answers."""
    lengths = batch.get("segments") or [len(prompt) for prompt in batch["prompts"]]
    return _summed([*(_read(forecast, n) for n in lengths), _answers(forecast, batch, base=True)])


def _summed(parts: Sequence[float | None]) -> float | None:
    return None if any(part is None for part in parts) else float(sum(part or 0.0 for part in parts))


def _answers(forecast: Forecast, batch: Any, *, base: bool) -> float | None:
    """Seconds of reading a batch's prompts and writing answers to them, a token of each at a time."""
    values = forecast.prepared.task.facts.values
    prompts: Sequence[Tensor] | None = batch.get("prompts")
    if not prompts or "max_new_tokens" not in values:
        return None
    rows, longest, shared = len(prompts), max(len(prompt) for prompt in prompts), _common(prompts)
    steps = tokens_written(values, base=base) or 1
    reading, common, token = _read(forecast, longest - shared), _read(forecast, shared), _token(forecast, rows)
    if reading is None or common is None or token is None:
        return None
    return rows * reading + common + steps * (token + _kept(forecast, rows, longest + steps // 2))


def _common(prompts: Sequence[Tensor]) -> int:
    """How many first tokens all prompts have in common, where so many are computed once."""
    import torch

    from tunesmith.model.generation import WORTH_SHARING

    least = min(len(prompt) for prompt in prompts) - 1
    if len(prompts) < 2 or least < WORTH_SHARING:
        return 0
    alike = torch.stack([prompt[:least] == prompts[0][:least] for prompt in prompts]).all(0)
    count = int(alike.long().cumprod(0).sum())
    return count if count >= WORTH_SHARING else 0


def _read(forecast: Forecast, positions: int) -> float | None:
    """Seconds of reading a prompt of that many tokens, interpolated between powers of two."""
    if positions < 1:
        return 0.0
    low = max(16, 1 << (positions.bit_length() - 1))
    at_low, at_high = _forward(forecast, 1, low), _forward(forecast, 1, 2 * low)
    if at_low is None or at_high is None:
        return None
    return at_low + (at_high - at_low) * (positions - low) / low


def _token(forecast: Forecast, rows: int) -> float | None:
    """Seconds of one more token of every answer."""
    return _forward(forecast, rows, 1)


def _forward(forecast: Forecast, rows: int, positions: int) -> float | None:
    """Seconds of a forward pass over that many tokens, with the logits of the last alone."""
    import torch

    model: Any = forecast.model

    def run() -> Any:
        ids = torch.zeros(rows, positions, dtype=torch.int64, device="meta")
        return model(input_ids=ids, use_cache=False, logits_to_keep=1)

    known = (rows, positions)
    if known not in forecast.read:
        precision, blocks = forecast.plan.precision, forecast.layers.blocks
        found = traced(model, run, training=False, precision=precision, blocks=blocks)
        forecast.read[known] = None if found is None else forecast.pricing.seconds(found.work())
    return forecast.read[known]


def _kept(forecast: Forecast, rows: int, positions: int) -> float:
    """Seconds of one token's way through the keys and values so far: copied once, and read."""
    from tunesmith.model.generation import token_bytes
    from tunesmith.model.operations import MOVE, Operation

    layers = max(1, len(forecast.layers.blocks))
    each = Operation(MOVE, bytes=3 * rows * positions * token_bytes(forecast.model) // layers)
    calls = Operation(MOVE, bytes=1)
    return forecast.pricing.seconds({each: layers, calls: np.float64(TOKEN_CALLS)})
