"""How well a transcript fits what a network heard: the loss of its tokens, each read with the true ones before it.

It knows features and token ids; no sound and no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.model.frame_labels import BLANK
from tunesmith.model.whisper import IGNORED, Prompting

QUIET_FRAMES = 100
"""Frames of silence that are heard after a recording, so that its end is one: 1 s."""
FRAMES_A_STATE = 2
"""Frames of 10 ms that one state of Whisper's encoder stands for."""
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")


@dataclass(frozen=True)
class Fit:
    """How well a transcript fits a recording, the lower the better.

    Args:
        loss: Nats of the whole transcript, its end left out.
        units: Tokens or characters that it has.
        parts: Nats of each token; none of a model that reads them all at once.
        end: Nats of the end where the transcript ends; None where the model writes none.
        no_speech: The chance that nobody speaks, where the model says so.
    """

    loss: float
    units: int
    parts: tuple[float, ...] = ()
    end: float | None = None
    no_speech: float | None = None

    @property
    def mean(self) -> float:
        """Nats a token or character."""
        return self.loss / max(1, self.units)


@torch.inference_mode()
def whisper_fits(
    model: Any,
    features: Tensor,
    frames: int,
    prefix: Sequence[int],
    written: Sequence[Sequence[int]],
    prompting: Prompting,
) -> list[Fit]:
    """How well some transcripts fit one recording.

    Args:
        model: ``WhisperForConditionalGeneration``.
        features: [1, bins, frames of a whole input].
        frames: How many of them were recorded.
        prefix: What stands before each transcript.
        written: The tokens of each.
        prompting: Its tokenizer.
    """
    device = next(model.parameters()).device
    longest = max(map(len, written)) + len(prefix)
    tokens = torch.full((len(written), longest), prompting.end)
    targets = torch.full((len(written), longest), IGNORED)
    for i, one in enumerate(written):
        tokens[i, : len(prefix) + len(one)] = torch.tensor([*prefix, *one])
        targets[i, len(prefix) - 1 : len(prefix) + len(one)] = torch.tensor([*one, prompting.end])
    states = heard_states(model, features.to(device), frames + QUIET_FRAMES)
    losses, expected = token_losses(model, states, tokens.to(device), targets.to(device))
    known = prompting.tokenizer.get_vocab()
    silent = next((float(expected[known[name]]) for name in NO_SPEECH if name in known), None)
    found = []
    for row, one in zip(losses.cpu().tolist(), written, strict=True):
        *parts, end = row[len(prefix) - 1 : len(prefix) + len(one)]
        found.append(Fit(sum(parts), len(one), tuple(parts), end, silent))
    return found


def ctc_fits(logits: Tensor, frames: int, labels: Sequence[Sequence[int]]) -> list[Fit]:
    """How well some transcripts fit one recording.

    Args:
        logits: [1, frames, labels].
        frames: Of the recording.
        labels: The numbers of each transcript's characters.
    """
    chances = logits.float().log_softmax(-1).transpose(0, 1).expand(-1, len(labels), -1)
    losses = F.ctc_loss(
        chances,
        torch.tensor([number for one in labels for number in one], dtype=torch.int64, device=logits.device),
        torch.full((len(labels),), frames),
        torch.tensor([len(one) for one in labels]),
        blank=BLANK,
        reduction="none",
    )
    # What does not fit into the frames at all has no finite loss.
    most = 20.0 * frames
    return [Fit(min(loss, most), len(one)) for loss, one in zip(losses.cpu().tolist(), labels, strict=True)]


def heard_states(model: Any, features: Tensor, frames: int) -> Tensor:
    """The encoder's states of the first frames alone, [recordings, states, width].

    A whole input has 30 seconds, most of them silence that fills it up; attention to a shorter one costs a fraction,
    and to tell a right transcript from a wrong one it is as good. It is no way to write transcripts: these get worse.

    Args:
        model: ``WhisperForConditionalGeneration``.
        features: [recordings, bins, frames of a whole input].
        frames: How many to hear.
    """
    encoder = model.get_submodule("model.encoder")
    some = features[:, :, : max(FRAMES_A_STATE, frames - frames % FRAMES_A_STATE)]
    hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(some)))).permute(0, 2, 1)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        found = layer(hidden, None)
        hidden = found[0] if isinstance(found, tuple) else found
    states: Tensor = encoder.layer_norm(hidden)
    return states


def token_losses(model: Any, states: Tensor, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Loss in nats of every token of some transcripts of one recording, and what was expected at their beginning.

    Args:
        model: ``WhisperForConditionalGeneration``.
        states: Of one recording, [1, states, width].
        tokens: What the decoder reads, int64 [transcripts, positions].
        targets: What follows each, ``IGNORED`` where nothing counts, int64 [transcripts, positions].

    Returns:
        float32 [transcripts, positions], 0 where nothing counts; and the chances of all tokens after the start token,
        float32 [vocabulary].
    """
    heard = states.expand(len(tokens), -1, -1)
    hidden = model.get_submodule("model.decoder")(
        input_ids=tokens, encoder_hidden_states=heard, use_cache=False
    ).last_hidden_state
    out = model.get_submodule("proj_out")
    counted = targets != IGNORED
    losses = torch.zeros(targets.shape, dtype=torch.float32, device=tokens.device)
    losses[counted] = F.cross_entropy(out(hidden[counted]).float(), targets[counted], reduction="none")
    return losses, out(hidden[0, 0]).float().softmax(-1)
