"""Encoders of raw sound that label frames (wav2vec2, HuBERT, WavLM, arXiv:2006.11477), trained by CTC, as sums.

It knows waves and label numbers; no rows and no loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.model.layers import EMBEDDINGS, NECK, LayerGroups

BLANK = 0


class RowsApart(nn.Module):
    """A feature extractor that hears every recording alone: its group norm runs over time, silence at the end too.

    ``lengths`` are the samples of each row of the batch that comes next.
    """

    lengths: Sequence[int] | None = None

    def forward(self, input_values: Tensor) -> Tensor:
        """Features [rows, channels, frames] of waves [rows, samples], nought behind a row's end."""
        lengths = self.lengths or [input_values.shape[1]] * len(input_values)
        parts = [super(RowsApart, self).forward(one[None, :n]) for one, n in zip(input_values, lengths, strict=True)]
        longest = max(part.shape[-1] for part in parts)
        return torch.cat([F.pad(part, (0, longest - part.shape[-1])) for part in parts])


def rows_apart(model: Any) -> None:
    """Let a model's feature extractor hear each row alone where its norm would mix them with what fills them up."""
    if getattr(model.config, "feat_extract_norm", "layer") != "group":
        return
    extractor = body_of(model).feature_extractor
    kind = type(extractor)
    if not isinstance(extractor, RowsApart):
        extractor.__class__ = type(f"{kind.__name__}RowsApart", (RowsApart, kind), {})


def body_of(model: Any) -> Any:
    """The encoder beneath the layer of labels."""
    return getattr(model, model.base_model_prefix)


def frames_of(config: Any, samples: int) -> int:
    """How many frames a model makes of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    if getattr(config, "add_adapter", False):
        for _ in range(config.num_adapter_layers):
            samples = (samples - 1) // config.adapter_stride + 1
    return max(0, samples)


def frame_logits(model: Any, waves: Tensor, lengths: Sequence[int], heard: Tensor) -> Tensor:
    """Logits of every frame, [rows, frames, labels].

    The encoder's parts are called one by one: what stands between them in transformers counts frames by the shape of
    what the first puts out, which a recorded activation does not have.

    Args:
        model: An ``AutoModelForCTC`` after ``rows_apart``.
        waves: [rows, samples], nought behind a row's end.
        lengths: Samples of each row.
        heard: Which frames lie before a row's end, bool [rows, frames].
    """
    body = body_of(model)
    if isinstance(body.feature_extractor, RowsApart):
        body.feature_extractor.lengths = lengths
    found = body.feature_projection(body.feature_extractor(waves).transpose(1, 2))
    with warnings.catch_warnings():
        # WavLM hands torch two kinds of masks.
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
        hidden = body.encoder(found[0] if isinstance(found, tuple) else found, attention_mask=heard)[0]
    if getattr(body, "adapter", None) is not None:
        hidden = body.adapter(hidden)
    logits: Tensor = model.lm_head(model.dropout(hidden))
    return logits


def ctc_sum(logits: Tensor, frames: Sequence[int], labels: Tensor, counts: Sequence[int]) -> Tensor:
    """Connectionist temporal classification (ICML 2006), nats summed over rows.

    Args:
        logits: [rows, frames, labels].
        frames: Of each row.
        labels: Label numbers of all rows, end to end, int64.
        counts: How many of them each row has.
    """
    chances = logits.float().log_softmax(-1).transpose(0, 1)
    if logits.is_meta:
        return chances.sum()
    return F.ctc_loss(
        chances,
        labels,
        torch.tensor(list(frames)),
        torch.tensor(list(counts)),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )


def collapsed(best: Sequence[int]) -> list[tuple[int, int]]:
    """Labels of frames without repeats and blanks, each with the frame that it begins at."""
    found, before = [], BLANK
    for at, label in enumerate(best):
        if label not in (before, BLANK):
            found.append((label, at))
        before = label
    return found


def speech_layers(model: Any, fresh: frozenset[str]) -> LayerGroups:
    """The transformer's blocks with what feeds them below; a last norm belongs above."""
    body = body_of(model)
    found = LayerGroups.of(model, trunk=body, blocks=list(body.encoder.layers), fresh=fresh)
    if not getattr(model.config, "do_stable_layer_norm", False):
        return found
    last = {f"{model.base_model_prefix}.encoder.layer_norm.{key}" for key in ("weight", "bias")}
    groups = dict(found.groups)
    moved = tuple(name for name in groups[EMBEDDINGS] if name in last)
    groups[EMBEDDINGS] = tuple(name for name in groups[EMBEDDINGS] if name not in last)
    ordered = {}
    for name, members in groups.items():
        if name in ("adapter", "head") and moved:
            ordered[NECK] = (*groups.get(NECK, ()), *moved)
            moved = ()
        if name != NECK or name not in ordered:
            ordered[name] = members
    return LayerGroups(found.model, found.trunk, found.blocks, ordered, found.helpers)
