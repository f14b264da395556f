"""Answers of a decoder to many prompts at once, with a cache of keys and values: greedily, or as a prompt is steered.

It knows token ids; no text, no template and no task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from tunesmith.model.packing import can_pack

CACHED_BYTES = 512 << 20
"""Most bytes of keys and values that are held at once; one prompt may hold more."""

WRITTEN_TOGETHER = 32
"""Prompts at a time where progress is to show in time."""
READ_TOGETHER = 8192
"""Tokens of prompts with examples that are read at a time."""

WORTH_SHARING = 32
"""From how many common first tokens on they are computed once for all prompts."""

Step: TypeAlias = Callable[[Sequence[int], Tensor], Tensor]
"""Tokens that an answer has so far and the logits of the next one, fp32 [vocabulary], to logits; the highest wins."""

Steer: TypeAlias = Callable[[], Step]
"""A step for one answer from its start: made anew when a batch that did not fit begins again."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Args:
        tokens: Ids, the one that ended it left out.
        ended: Whether it ended by itself, before the limit.
    """

    tokens: tuple[int, ...]
    ended: bool


def answers(
    model: nn.Module,
    prompts: Sequence[Tensor],
    *,
    stop: Sequence[int],
    most: int,
    pad: int,
    longest: int | None = None,
    steers: Sequence[Steer | None] | None = None,
) -> list[Answer]:
    """Answers to prompts, in their order: the likeliest token each time, unless a prompt is steered.

    Prompts of like length travel together; a batch that does not fit in memory is halved.

    Args:
        model: A transformers decoder with ``generate``.
        prompts: Token ids, int64 [tokens] each; to an empty one the answer is empty.
        stop: Ids that end an answer.
        most: Most tokens of an answer.
        pad: Id that fills up the left side of shorter prompts.
        longest: Most tokens that the model takes, prompt and answer together; None where nothing bounds them. To a
            prompt that leaves no room the answer is empty, and not ended.
        steers: For each prompt what changes the logits of its answer, if anything.
    """
    led = [None] * len(prompts) if steers is None else list(steers)
    found: dict[int, Answer] = {}
    rooms = [0 if not len(p) else most if longest is None else min(most, longest - len(p)) for p in prompts]
    together = [i for i, room in enumerate(rooms) if room == most]
    for batch in _batches([len(prompts[i]) for i in together], most, held_tokens(model)):
        indices = [together[i] for i in batch]
        said = _halving(model, [prompts[i] for i in indices], stop, most, pad, [led[i] for i in indices])
        found |= dict(zip(indices, said, strict=True))
    for i, room in enumerate(rooms):
        if i not in found:
            # Alone it has all the room there is, whatever stands beside it.
            found[i] = _halving(model, [prompts[i]], stop, room, pad, [led[i]])[0] if room > 0 else Answer((), False)
    return [found[i] for i in range(len(prompts))]


def token_bytes(model: nn.Module) -> int:
    """Bytes of the keys and values of one token in all layers, as numbers of the model's type."""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 1024) // heads
    kept = heads if getattr(config, "num_key_value_heads", None) is None else config.num_key_value_heads
    layers = getattr(config, "num_hidden_layers", None) or 1
    size = next((p.element_size() for p in model.parameters() if p.is_floating_point()), 4)
    return 2 * int(layers) * int(kept) * int(width) * size


def held_tokens(model: nn.Module) -> int:
    """Of how many tokens, prompt and answer together, keys and values are held at once."""
    return max(1, CACHED_BYTES // token_bytes(model))


def answering_bytes(model: nn.Module, prompt: int, most: int, rows: int) -> int:
    """About how much memory answers to ``rows`` prompts take beside the weights.

    Keys and values; what one block computes while it reads the prompts; and, as an answer grows, a second copy of one
    layer's keys and values.

    Args:
        model: May be on the meta device.
        prompt: Tokens of the longest prompt.
        most: Most tokens of an answer.
        rows: How many are asked for together.
    """
    together = min(rows, max(1, held_tokens(model) // max(1, prompt + most)), max(1, READ_TOGETHER // max(1, prompt)))
    config: Any = getattr(model, "config", None)
    hidden = getattr(config, "hidden_size", 1024)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    kept = together * (prompt + most) * token_bytes(model)
    return kept + together * prompt * (6 * hidden + 3 * inner) * 4


def _batches(lengths: Sequence[int], most: int, held: int) -> Iterator[list[int]]:
    """Numbers of prompts that travel together, longest first: one that does not fit fails at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, held // (lengths[order[start]] + most))
        yield order[start : start + size]
        start += size


def _halving(
    model: nn.Module,
    prompts: list[Tensor],
    stop: Sequence[int],
    most: int,
    pad: int,
    steers: Sequence[Steer | None],
) -> list[Answer]:
    try:
        return _together(model, prompts, stop, most, pad, steers)
    except (torch.OutOfMemoryError, MemoryError):
        if len(prompts) == 1:
            raise
    # Not inside the handler: what was raised holds the memory of the batch that did not fit.
    half = len(prompts) // 2
    first = _halving(model, prompts[:half], stop, most, pad, steers[:half])
    return first + _halving(model, prompts[half:], stop, most, pad, steers[half:])


def _shared(prompts: Sequence[Tensor]) -> int:
    """How many first tokens all prompts have in common, each keeping one of its own; 0 where it does not pay."""
    if len(prompts) < 2:
        return 0
    least = min(len(p) for p in prompts) - 1
    first = prompts[0][:least]
    alike = torch.stack([p[:least] == first for p in prompts]).all(0)
    count = int(alike.long().cumprod(0).sum())
    return count if count >= WORTH_SHARING else 0


def _begun(model: Any, tokens: Tensor, rows: int) -> Any:
    """Keys and values of what all rows begin with, computed once."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model(input_ids=tokens[None], past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(rows)
    return cache


def _steered(steers: Sequence[Steer | None], start: int, stop: Sequence[int]) -> list[Any]:
    """What ``generate`` calls at each token: every row's own step, until the row has ended.

    Args:
        steers: Of the rows.
        start: Tokens before the answers.
        stop: Ids that end an answer.
    """
    steps = [None if steer is None else steer() for steer in steers]
    written: list[list[int]] = [[] for _ in steps]
    open_rows = {row for row, step in enumerate(steps) if step is not None}

    def change(ids: Tensor, scores: Tensor) -> Tensor:
        last = ids[:, -1].tolist() if ids.shape[1] > start else None
        for row in sorted(open_rows):
            if last is not None:
                written[row].append(last[row])
                if last[row] in stop:
                    open_rows.discard(row)
                    continue
            step = steps[row]
            assert step is not None, "only rows with a step are open"
            scores[row] = step(written[row], scores[row].float()).to(scores.dtype)
        return scores

    return [change] if open_rows else []


def _together(
    model: Any,
    prompts: list[Tensor],
    stop: Sequence[int],
    most: int,
    pad: int,
    steers: Sequence[Steer | None],
) -> list[Answer]:
    from transformers import GenerationConfig, LogitsProcessorList

    device = prompts[0].device
    longest = max(len(p) for p in prompts)
    # A model with layers of another kind keeps something else than keys and values.
    # And what fills up shorter prompts behind the common start would count in a window that slides.
    slides = getattr(model.config, "sliding_window", None) is not None
    shared = _shared(prompts) if can_pack(model) is None and not slides else 0
    ids = torch.full((len(prompts), longest), pad, dtype=torch.int64, device=device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        # What fills up a shorter prompt stands behind what all have in common.
        own = len(prompt) - shared
        ids[row, :shared], ids[row, longest - own :] = prompt[:shared], prompt[shared:]
        mask[row, :shared] = mask[row, longest - own :] = 1
    settings = GenerationConfig(
        max_new_tokens=most, do_sample=False, eos_token_id=list(stop), pad_token_id=pad, use_cache=True
    )
    before, model.generation_config = model.generation_config, settings
    try:
        begun = {"past_key_values": _begun(model, prompts[0][:shared], len(prompts))} if shared else {}
        changes = LogitsProcessorList(_steered(steers, longest, stop))
        out = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=changes, **begun
        )
    finally:
        model.generation_config = before
    ends = set(stop)
    found = []
    for row in out[:, longest:].tolist():
        end = next((i for i, token in enumerate(row) if token in ends), None)
        found.append(Answer(tuple(row if end is None else row[:end]), end is not None))
    return found
