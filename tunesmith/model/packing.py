"""Examples end to end as one row, each with positions of its own, attending to itself alone: nothing is padding.

It knows attention and transformers' place to put one in; no text, no task and no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tunesmith.model.autocast import autocast_device

PACKED = "tunesmith_packed"
"""The name under which transformers finds this attention. It has no mask of its own there, so none is made."""

FILLED = 1.25
"""How many products filling up may cost, for one that is needed."""
MOST_WEIGHTS = 1 << 19
"""Most attention weights of a group, over all heads: they stay in a core's cache."""

_UNDERSTOOD = ("position_ids", "cache_position", "use_cache", "output_attentions", "is_causal", "output_hidden_states")


def segment_positions(lengths: Sequence[int]) -> Tensor:
    """Positions of every token within its own example, int64 [tokens]."""
    return torch.cat([torch.arange(n) for n in lengths]) if lengths else torch.zeros(0, dtype=torch.int64)


def can_pack(model: nn.Module) -> str | None:
    """None where a model's attention can be told which tokens belong together, else why not."""
    kind = type(model).__name__
    if not getattr(model, "_supports_attention_backend", False):
        return f"{kind} brings an attention of its own"
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config  # type: ignore[operator]
    layers = set(getattr(config, "layer_types", None) or ())
    strange = sorted(layers - {"full_attention", "sliding_attention"})
    if strange:
        return f"{kind} has layers of kind {', '.join(strange)}"
    return None


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Let a model's attention read ``segments`` while the context lasts."""
    _register()
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    found = [c for c in configs.values() if hasattr(c, "_attn_implementation")]
    before = [config._attn_implementation for config in found]
    for config in found:
        config._attn_implementation = PACKED
    try:
        yield
    finally:
        for config, kind in zip(found, before, strict=True):
            config._attn_implementation = kind


def _register() -> None:
    from transformers import AttentionInterface

    if PACKED not in AttentionInterface._global_mapping:
        AttentionInterface.register(PACKED, packed_attention)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segments: Sequence[int] = (),
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every segment to itself, as transformers calls an attention.

    Args:
        module: The attention layer.
        query: [1, heads, tokens, width].
        key, value: [1, groups, tokens, width]; ``heads`` is a multiple of ``groups``.
        attention_mask: None: the segments say all.
        dropout: 0; attention dropout can't be drawn by row.
        scaling: Factor on the products.
        sliding_window: How many tokens back a token sees, itself included.
        softcap: Products are squashed to ± this by a tanh (Gemma 2).
        segments: Lengths of the examples, in order.

    Returns:
        [1, tokens, heads, width].
    """
    strange = [name for name, v in others.items() if v is not None and name not in _UNDERSTOOD]
    if strange or attention_mask is not None or dropout:
        raise TypeError(f"packed attention knows nothing of {', '.join(strange) or 'a mask or dropout'}")
    if sum(segments) != query.shape[2] or query.shape[0] != 1:
        raise ValueError(f"segments of {sum(segments)} tokens in all for a row of {query.shape[2]}")
    device = autocast_device(query)
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    longest = max(segments)
    window = sliding_window if sliding_window is not None and sliding_window < longest else None
    # The operands have their type: autocast would take the weights to fp32 on the way forward and not on the way back.
    with torch.autocast(device, enabled=False):
        if query.device.type == "cuda" and softcap is None and query.dtype in (torch.bfloat16, torch.float16):
            return _on_cuda(query, key, value, segments, scale, window), None
        out = _SegmentAttention.apply(query, key, value, tuple(segments), scale, window, softcap)  # type: ignore[no-untyped-call]
    return out, None


def _on_cuda(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[int], scale: float, window: int | None
) -> Tensor:
    """Variable-length flash attention of torch; where it lacks the kernel, scaled dot products a segment."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return _by_segment(query, key, value, segments, scale, window)
    ends = torch.tensor([0, *segments], device=query.device).cumsum(0).to(torch.int32)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    longest = max(segments)
    seen = (-1 if window is None else window - 1, 0)
    grouped = query.shape[1] != key.shape[1]
    out = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale, window_size=seen, enable_gqa=grouped)
    assert isinstance(out, Tensor)
    return out[None]


def _by_segment(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[int], scale: float, window: int | None
) -> Tensor:
    parts = []
    for q, k, v in zip(*(torch.split(x, list(segments), 2) for x in (query, key, value)), strict=True):
        mask = None if window is None else _allowed(q.shape[2], window, q.device)
        parts.append(
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2)


def _allowed(length: int, window: int | None, device: torch.device) -> Tensor:
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    seen = ones.tril()
    return seen if window is None else seen & ones.triu(1 - window)


@lru_cache(maxsize=16)
def _hidden(length: int, heads: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to products: 0 where a token sees another one, else minus infinity; [1, heads * length, length]."""
    allowed = _allowed(length, window, device)
    one = torch.zeros(length, length, dtype=dtype, device=device).masked_fill_(~allowed, float("-inf"))
    return one.repeat(heads, 1)[None]


@dataclass(frozen=True, eq=False)
class _Group:
    """Segments of like length that are computed together, each filled up at its end.

    What fills up stands behind a segment's own tokens, so that no token sees it.

    Args:
        count: Segments.
        length: Of the longest.
        taken: Which token stands at each of the ``count * length`` places; at those that fill up, any.
        places: Which of the places hold tokens.
        tokens: Those tokens.
        filled: Which of the places fill up.
    """

    count: int
    length: int
    taken: Tensor
    places: Tensor
    tokens: Tensor
    filled: Tensor

    def gathered(self, x: Tensor, groups: int, *, blank: bool = False) -> Tensor:
        """Tokens [tokens, heads, width] as [count * groups, heads / groups * length, width]."""
        found = x.index_select(0, self.taken)
        if blank and len(self.filled):
            found.index_fill_(0, self.filled, 0)
        heads, width = x.shape[1:]
        split = found.view(self.count, self.length, groups, heads // groups, width)
        return split.permute(0, 2, 3, 1, 4).reshape(self.count * groups, -1, width)

    def scattered(self, x: Tensor, out: Tensor) -> None:
        """The way back into ``out`` [tokens, heads, width]; what fills up is left out."""
        heads, width = out.shape[1:]
        groups = x.shape[0] // self.count
        split = x.view(self.count, groups, heads // groups, self.length, width).permute(0, 3, 1, 2, 4)
        found = split.reshape(self.count * self.length, heads, width)
        out.index_copy_(0, self.tokens, found if not len(self.filled) else found.index_select(0, self.places))


@lru_cache(maxsize=8)
def _layout(segments: tuple[int, ...], heads: int, device: torch.device) -> tuple[_Group, ...]:
    """Segments in groups: filling up costs at most a quarter more products, and a group's weights stay small."""
    starts = [0, *accumulate(segments)]
    order = sorted(range(len(segments)), key=lambda i: -segments[i])
    groups: list[list[int]] = []
    exact = 0
    for i in order:
        n = segments[i]
        if groups:
            most = segments[groups[-1][0]]
            larger = len(groups[-1]) + 1
            if larger * most * most <= FILLED * (exact + n * n) and larger * most * most * heads <= MOST_WEIGHTS:
                groups[-1].append(i)
                exact += n * n
                continue
        groups.append([i])
        exact = n * n
    return tuple(_group([(starts[i], segments[i]) for i in sorted(chosen)], device) for chosen in groups)


def _group(chosen: Sequence[tuple[int, int]], device: torch.device) -> _Group:
    length = max(n for _, n in chosen)
    place = torch.arange(length)
    starts, lengths = torch.tensor(chosen).unbind(1)
    taken = (starts[:, None] + torch.minimum(place[None], lengths[:, None] - 1)).flatten()
    real = (place[None] < lengths[:, None]).flatten()
    places = real.nonzero()[:, 0]
    parts = (taken, places, taken[places], (~real).nonzero()[:, 0])
    return _Group(len(chosen), length, *(part.to(device) for part in parts))


class _SegmentAttention(torch.autograd.Function):
    """Plain matrix products, segments of like length together, the weights made again going back.

    On a CPU this takes less time than the flash kernel, which reaches a tenth of the products' rate, and it keeps
    nothing for the backward pass but its inputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: tuple[int, ...],
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.shape = (segments, scale, window, softcap)
        heads, tokens, groups = query.shape[1], query.shape[2], key.shape[1]
        out = query.new_empty(tokens, heads, value.shape[-1])
        for group in _layout(segments, heads, query.device):
            q, k, v = (group.gathered(x[0].transpose(0, 1), groups) for x in (query, key, value))
            hidden = _hidden(group.length, heads // groups, window, query.dtype, query.device)
            group.scattered(torch.bmm(_weights(q, k, hidden, scale, softcap)[0], v), out)
        return out[None]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        segments, scale, window, softcap = ctx.shape
        heads, groups = query.shape[1], key.shape[1]
        # Laid out token by token, as the layer's own projections are.
        made = [x.new_empty(x.shape[2], x.shape[1], x.shape[3]) for x in (query, key, value)]
        for group in _layout(segments, heads, query.device):
            q, k, v = (group.gathered(x[0].transpose(0, 1), groups) for x in (query, key, value))
            back = group.gathered(grad[0], groups, blank=True)
            hidden = _hidden(group.length, heads // groups, window, query.dtype, query.device)
            weights, squashed = _weights(q, k, hidden, scale, softcap)
            group.scattered(torch.bmm(weights.transpose(1, 2), back), made[2])
            inner = torch.bmm(back, v.transpose(1, 2))
            inner -= (inner * weights).sum(-1, keepdim=True)
            inner *= weights
            if squashed is not None:
                inner *= 1 - squashed * squashed
            group.scattered(torch.bmm(inner, k).mul_(scale), made[0])
            group.scattered(torch.bmm(inner.transpose(1, 2), q).mul_(scale), made[1])
        return (*(x.transpose(0, 1)[None] for x in made), None, None, None, None)


def _weights(q: Tensor, k: Tensor, hidden: Tensor, scale: float, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """Attention weights [segments * groups, heads / groups * n, n], and the squashed products where there is a cap."""
    squashed = None
    if softcap is None:
        found = torch.baddbmm(hidden.expand(q.shape[0], -1, -1), q, k.transpose(1, 2), alpha=scale)
    else:
        squashed = (torch.bmm(q, k.transpose(1, 2)) * (scale / softcap)).tanh_()
        found = squashed * softcap + hidden
    return found.softmax(-1), squashed
