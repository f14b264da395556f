"""Steps of a reply: drawing by temperature, ending at a text; and which prompts travel together. It loads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

WRITTEN_TOGETHER = 32
"""Most prompts at a time, so that progress shows in time and little is lost when a person stops."""


def drawn(temperature: float, seed: int) -> Callable[[Sequence[int], Any], Any]:
    """A step that draws the next token with its probability at a temperature.

    The highest of logits plus Gumbel noise is such a draw, so that each reply has a generator of its own and does not
    depend on what is asked beside it.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def step(_written: Sequence[int], logits: Any) -> Any:
        # An exponential is minus the logarithm of a uniform draw; torch never draws 0.
        gumbel = -torch.empty(len(logits), dtype=torch.float64).exponential_(generator=generator).log()
        return logits / temperature + gumbel.to(logits.device, logits.dtype)

    return step


def nucleus(temperature: float, top_p: float) -> Callable[[Sequence[int], Any], Any]:
    """A step that leaves the likeliest tokens whose probabilities reach ``top_p`` together (arXiv:1904.09751)."""
    import torch

    def step(_written: Sequence[int], logits: Any) -> Any:
        ordered, places = torch.softmax(logits / temperature, 0).sort(descending=True)
        # A token stays where those before it fall short; the likeliest always does.
        rest = places[1:][(ordered.cumsum(0) - ordered)[1:] >= top_p]
        return logits.index_fill(0, rest, -torch.inf)

    return step


def penalised(presence: float, frequency: float, bias: Mapping[int, float]) -> Callable[[Sequence[int], Any], Any]:
    """A step that lowers the logits of tokens that were written, and adds what single tokens are given."""
    import torch

    def step(written: Sequence[int], logits: Any) -> Any:
        change = dict(bias)
        for token, count in Counter(written).items():
            change[token] = change.get(token, 0.0) - presence - frequency * count
        if not change:
            return logits
        places = torch.tensor(list(change), device=logits.device)
        return logits.index_add(0, places, torch.tensor(list(change.values()), device=logits.device).to(logits))

    return step


def stopped(tokenizer: Any, stop: Sequence[str], end: int) -> Callable[[Sequence[int], Any], Any]:
    """A step that ends a reply once it holds one of some texts.

    Args:
        tokenizer: Its tokenizer.
        stop: The texts.
        end: The token that ends a reply.
    """
    import torch

    tail = max(len(text.encode()) for text in stop) + 8

    def step(written: Sequence[int], logits: Any) -> Any:
        text = tokenizer.decode(list(written[-tail:]), skip_special_tokens=True) if written else ""
        if first_stop(text, stop) is None:
            return logits
        ended = torch.full_like(logits, -torch.inf)
        ended[end] = 0.0
        return ended

    return step


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of some texts begins; None where none is there."""
    found = [place for one in stop if (place := text.find(one)) >= 0]
    return min(found) if found else None


def together(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Numbers of prompts that travel together: of one limit, longest first, a few at a time.

    Args:
        sizes: Tokens and most tokens of the reply of each prompt.
    """
    for most in sorted({most for _, most in sizes}, reverse=True):
        alike = sorted((i for i, size in enumerate(sizes) if size[1] == most), key=lambda i: -sizes[i][0])
        for start in range(0, len(alike), WRITTEN_TOGETHER):
            yield alike[start : start + WRITTEN_TOGETHER]
