"""The forward pass of encoders of BERT's build on a CPU: no padding, and the weights once in the type they multiply in.

All tokens of a batch are one row of states; attention runs over texts of one length together. In bf16 products take
half of the time and less; states, norms and pooling stay in fp32. What is built so is told by its parts, and held
against transformers' own pass before it is used. It knows no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.model.sentence import SentenceEncoder

MOST_WEIGHTS = 1 << 20
"""Most attention weights that are made at once, over all heads: they stay in a core's cache."""
FARTHEST = 1e-4
"""By which a number in the two passes' vectors of the probe may differ, in fp32 and as a share of the largest."""
_PROBE = (7, 5, 5, 2, 1)
"""Lengths of the texts that the two passes are compared on."""


class _Linear(NamedTuple):
    weight: Tensor
    bias: Tensor | None


class _Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    eps: float


class _Layer(NamedTuple):
    inward: _Linear  # query, key and value together; the query is scaled already
    outward: _Linear
    attended: _Norm
    wide: _Linear
    bend: Callable[[Tensor], Tensor]
    narrow: _Linear
    finished: _Norm


class LeanEncoder:
    """Tokens of several texts to a vector each.

    Args:
        network: A transformer and its pooling.
        dtype: In which its products are computed.

    Raises:
        TypeError, AttributeError: It has other parts than BERT's.
    """

    def __init__(self, network: SentenceEncoder, dtype: torch.dtype = torch.float32) -> None:
        model: Any = network.transformer
        self.pooling, self.dtype = network.pooling, dtype
        parts = model.embeddings
        self.heads = int(model.config.num_attention_heads)
        self.words = parts.word_embeddings.weight.detach()
        self.places = (parts.position_embeddings.weight + parts.token_type_embeddings.weight[0]).detach()
        # RoBERTa counts positions from behind its padding token's number.
        padding = parts.position_embeddings.padding_idx
        self.first = 0 if padding is None else padding + 1
        self.norm = _norm(parts.LayerNorm)
        self.layers = [self._layer(layer) for layer in model.encoder.layer]

    def _layer(self, layer: Any) -> _Layer:
        own = layer.attention.self
        width = own.query.weight.shape[0] // self.heads
        scales = (width**-0.5, 1.0, 1.0)
        three = list(zip((own.query, own.key, own.value), scales, strict=True))
        weight = torch.cat([one.weight.detach() * scale for one, scale in three])
        bias = None if own.query.bias is None else torch.cat([one.bias.detach() * scale for one, scale in three])
        return _Layer(
            _Linear(weight.to(self.dtype), None if bias is None else bias.to(self.dtype)),
            self._linear(layer.attention.output.dense),
            _norm(layer.attention.output.LayerNorm),
            self._linear(layer.intermediate.dense),
            layer.intermediate.intermediate_act_fn,
            self._linear(layer.output.dense),
            _norm(layer.output.LayerNorm),
        )

    def _linear(self, layer: nn.Linear) -> _Linear:
        bias = None if layer.bias is None else layer.bias.detach().to(self.dtype)
        return _Linear(layer.weight.detach().to(self.dtype), bias)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Pooled states [texts, width] in fp32; a text without a token has zeros.

        Args:
            ids: Tokens of each text, fastest where texts of one length stand together.
        """
        lengths = [len(one) for one in ids]
        out: Tensor = self.words.new_zeros(len(ids), self.words.shape[1])
        here = [at for at, length in enumerate(lengths) if length]
        if not here:
            return out
        lengths = [lengths[at] for at in here]
        states: Tensor = self._states(torch.tensor([token for one in ids for token in one]), lengths)
        out[here] = torch.stack([self._pooled(one) for one in torch.split(states, lengths)])
        return out

    def _states(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Last states of all tokens, [tokens, width] in fp32."""
        at = torch.tensor([self.first + place for length in lengths for place in range(length)])
        states = _normed(self.words[tokens] + self.places[at], self.norm)
        for layer in self.layers:
            mixed = self._attended(F.linear(states.to(self.dtype), *layer.inward), lengths)
            states = _normed(states + F.linear(mixed, *layer.outward), layer.attended)
            wide = layer.bend(F.linear(states.to(self.dtype), *layer.wide))
            states = _normed(states + F.linear(wide, *layer.narrow), layer.finished)
        return states

    def _attended(self, inward: Tensor, lengths: Sequence[int]) -> Tensor:
        """Attention of every text to itself: [tokens, 3 * width] to [tokens, width]."""
        tokens, width = inward.shape[0], inward.shape[1] // 3
        out = inward.new_empty(tokens, width)
        at = 0
        for length, alike in groupby(lengths):
            waiting = len(list(alike))
            together = max(1, MOST_WEIGHTS // (length * length * self.heads))
            while waiting:
                texts = min(waiting, together)
                end = at + texts * length
                parts = inward[at:end].view(texts, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
                query, key, value = parts.reshape(3, texts * self.heads, length, -1)
                mixed = torch.bmm(torch.bmm(query, key.transpose(1, 2)).softmax(-1), value)
                split = mixed.view(texts, self.heads, length, -1).transpose(1, 2)
                out[at:end].view(texts, length, self.heads, -1).copy_(split)
                at, waiting = end, waiting - texts
        return out

    def _pooled(self, states: Tensor) -> Tensor:
        """One vector of a text's states [tokens, width]."""
        if self.pooling == "cls":
            return states[0]
        if self.pooling == "lasttoken":
            return states[-1]
        return states.amax(0) if self.pooling == "max" else states.mean(0)


@torch.inference_mode()
def lean_encoder(network: SentenceEncoder, dtype: torch.dtype = torch.float32) -> LeanEncoder | None:
    """The lean pass of an encoder in fp32 on a CPU; None where it is not built so, or the two passes disagree."""
    try:
        exact = LeanEncoder(network)
        vocabulary = exact.words.shape[0]
        # Behind the first tokens, which may mean padding.
        drawn = torch.Generator().manual_seed(0)
        ids = [torch.randint(min(10, vocabulary - 1), vocabulary, (n,), generator=drawn).tolist() for n in _PROBE]
        longest = max(_PROBE)
        padding = getattr(network.transformer.config, "pad_token_id", None) or 0
        tokens = torch.tensor([[*one, *[padding] * (longest - len(one))] for one in ids])
        mask = (torch.arange(longest) < torch.tensor(_PROBE)[:, None]).to(torch.int64)
        theirs, ours = network(tokens, mask), exact(ids)
    except (AttributeError, TypeError, RuntimeError, ValueError, IndexError):
        # Another build; transformers' own pass computes it.
        return None
    if not torch.isfinite(ours).all() or (ours - theirs).abs().max() > FARTHEST * theirs.abs().max():
        return None
    return exact if dtype == torch.float32 else LeanEncoder(network, dtype)


def _norm(layer: nn.LayerNorm) -> _Norm:
    if not isinstance(layer, nn.LayerNorm):
        raise TypeError("not a layer norm")
    return _Norm(layer.weight.detach(), layer.bias.detach(), layer.eps)


def _normed(states: Tensor, norm: _Norm) -> Tensor:
    return F.layer_norm(states, states.shape[-1:], norm.weight, norm.bias, norm.eps)
