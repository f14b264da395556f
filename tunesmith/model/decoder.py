"""A decoder of text as trainers use it: losses of chosen tokens without logits of the others, packed or padded.

It knows transformers decoders; no template, no rows and no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tunesmith.errors import UserError
from tunesmith.model.autocast import autocast_device
from tunesmith.model.cross_entropy import fused_kernel, linear_cross_entropy, summed_cross_entropy
from tunesmith.model.new_tokens import TokenRows
from tunesmith.model.packing import packed, segment_positions

CHECKED_TOKENS = 12


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: a linear map, a factor, a cap."""

    weight: Tensor
    bias: Tensor | None
    softcap: float | None
    scale: float
    rows: Tensor | None = None
    ids: Tensor | None = None


def head_of(model: nn.Module) -> Head:
    """The output layer of a decoder with what its configuration says is done to the logits."""
    layer = model.get_output_embeddings()  # type: ignore[operator]
    config: Any = model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    learned = (layer.rows, layer.ids) if isinstance(layer, TokenRows) else (None, None)
    return Head(layer.weight, getattr(layer, "bias", None), softcap, scale, *learned)


def collate_tokens(texts: Sequence[Tensor], learned: Sequence[Tensor], *, end_to_end: bool, pad: int) -> dict[str, Any]:
    """Texts as one batch.

    Args:
        texts: Token ids of each, int64 [tokens].
        learned: Which of them are learned, bool [tokens]; the first token of a text has nothing before it that could
            predict it, and never is.
        end_to_end: Whether texts travel end to end as one row.
        pad: Id that fills up shorter texts where they do not.

    Returns:
        ``input_ids`` [1, all tokens] or [texts, longest]; ``position_ids`` and ``segments`` (lengths), or
        ``attention_mask``; and for the learned tokens, in order: ``at`` (where the state lies that predicts it, in the
        flattened batch), ``targets`` and ``owner`` (number of its text), int64 [learned].
    """
    lengths = [len(text) for text in texts]
    longest = max(lengths)
    starts = [0] * len(texts)
    for i in range(1, len(texts)):
        starts[i] = starts[i - 1] + (lengths[i - 1] if end_to_end else longest)
    places = [mask[1:].nonzero()[:, 0] for mask in learned]
    batch: dict[str, Any] = {
        "at": torch.cat([place + start for place, start in zip(places, starts, strict=True)]),
        "targets": torch.cat([text[1:][place] for text, place in zip(texts, places, strict=True)]),
        "owner": torch.cat([torch.full_like(place, i) for i, place in enumerate(places)]),
    }
    if end_to_end:
        ids = torch.cat(list(texts))[None]
        return batch | {"input_ids": ids, "position_ids": segment_positions(lengths)[None], "segments": lengths}
    ids = pad_sequence(list(texts), batch_first=True, padding_value=pad)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).to(torch.int64)
    return batch | {"input_ids": ids, "attention_mask": mask}


def token_losses(model: nn.Module, batch: Mapping[str, Any], right: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of every learned token of a batch made by ``collate_tokens``, in nats, fp32 [learned].

    Args:
        model: The decoder.
        batch: As ``collate_tokens`` makes it.
        right: Filled with which of the tokens the model takes to be the likeliest, bool [learned].
    """
    return _judged(model, batch, linear_cross_entropy, right)


def summed_losses(model: nn.Module, batch: Mapping[str, Any], right: Tensor | None = None) -> Tensor:
    """Their sum; ``right`` as ``room_for_right`` gives it."""
    return _judged(model, batch, summed_cross_entropy, right)


def room_for_right(batch: Mapping[str, Any], *, summed: bool = False) -> Tensor | None:
    """What the losses of a batch fill with the tokens predicted rightly; None where a fused kernel sums them."""
    targets: Tensor = batch["targets"]
    if summed and targets.is_cuda and fused_kernel() is not None:
        return None
    return torch.empty_like(targets, dtype=torch.bool)


def _judged(
    model: nn.Module, batch: Mapping[str, Any], loss: Callable[..., Tensor], right: Tensor | None = None
) -> Tensor:
    inputs = {k: batch[k] for k in ("input_ids", "position_ids", "attention_mask", "segments") if k in batch}
    trunk: Any = model.base_model
    with packed(model) if "segments" in batch else nullcontext():
        hidden = trunk(**inputs, use_cache=False).last_hidden_state
    head = head_of(model)
    states = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch["at"])
    device = autocast_device(hidden)
    if torch.is_autocast_enabled(device):
        states = states.to(torch.get_autocast_dtype(device))
    more = {"softcap": head.softcap, "scale": head.scale, "rows": head.rows, "ids": head.ids, "right": right}
    return loss(states, head.weight, batch["targets"], head.bias, **more)


def sums_by_text(values: Tensor, owner: Tensor, texts: int) -> Tensor:
    """Values of learned tokens summed by text, [texts]; gradients flow."""
    return torch.zeros(texts, dtype=values.dtype, device=values.device).index_add(0, owner, values)


@torch.no_grad()
def check_decoder(model: nn.Module, *, end_to_end: bool) -> None:
    """Measure, before anything is learned, that losses are those of the model's own logits, and that texts do not mix.

    Raises:
        UserError: The model computes its logits in a way that is not known here, or its packed texts see each other.
    """
    vocabulary = head_of(model).weight.shape[0]
    ids = (torch.arange(2 * CHECKED_TOKENS) * 7919 + 11) % max(2, min(vocabulary, 30_000))
    texts = [ids[: CHECKED_TOKENS + 3], ids[CHECKED_TOKENS + 3 :]]
    all_learned = [torch.ones(len(text), dtype=torch.bool) for text in texts]
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        alone = [_own_losses(model, text.to(device)) for text in texts]
        batch = collate_tokens(texts, all_learned, end_to_end=end_to_end, pad=0)
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        ours = torch.split(token_losses(model, batch), [len(text) - 1 for text in texts])
    except TypeError as fault:
        kind = type(model).__name__
        raise UserError(f"{kind} can't be run so: {fault}", kind, "write options: {packing: false}") from fault
    finally:
        model.train(training)
    tolerance = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.1
    kind = type(model).__name__
    if not bool(torch.allclose(ours[0], alone[0], rtol=tolerance, atol=tolerance)):
        raise UserError(
            f"the logits of {kind} are not a linear map of its last states that is known here "
            f"(loss {float(ours[0].mean()):.4f} against its own {float(alone[0].mean()):.4f})",
            kind,
            "choose another model, or report this one",
        )
    if not bool(torch.allclose(ours[1], alone[1], rtol=tolerance, atol=tolerance)):
        raise UserError(
            f"texts that travel end to end see each other in {kind} "
            f"(loss {float(ours[1].mean()):.4f} against {float(alone[1].mean()):.4f} alone)",
            kind,
            "write options: {packing: false}, which pads instead",
        )


def _own_losses(model: Any, text: Tensor) -> Tensor:
    logits = model(input_ids=text[None], use_cache=False).logits[0, :-1].float()
    return nn.functional.cross_entropy(logits, text[1:], reduction="none")
