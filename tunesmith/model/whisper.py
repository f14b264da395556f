"""Whisper (arXiv:2212.04356): its prefix tokens, its loss, greedy transcripts with and without times.

It knows features and token ids; no sound, no rows and no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.cross_entropy import summed_cross_entropy
from tunesmith.model.generation import Answer

START, NO_TIMES, BEFORE, FIRST_TIME = "<|startoftranscript|>", "<|notimestamps|>", "<|startofprev|>", "<|0.00|>"
TIME_STEP = 0.02
"""Seconds from one time token to the next."""
MOST_TIMES = 1501
IGNORED = -100


@dataclass(frozen=True)
class Prompting:
    """How a transcript is asked for and how it ends, told by a tokenizer.

    Args:
        tokenizer: Whisper's, with its language, task and time tokens.
        where: The folder of the weights, for errors.
    """

    tokenizer: Any
    where: str

    def token(self, name: str) -> int:
        """The id of a special token.

        Raises:
            UserError: The tokenizer has none of that name.
        """
        found = self.tokenizer.get_vocab().get(name)
        if found is None:
            what = f"the tokenizer has no token {name}"
            raise UserError(what, self.where, "choose a whole Whisper checkpoint: its tokenizer comes with it")
        return int(found)

    @cached_property
    def end(self) -> int:
        """The token that ends a transcript."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def first_time(self) -> int | None:
        """The id of 0.00 seconds; None where the tokenizer has no times."""
        found = self.tokenizer.get_vocab().get(FIRST_TIME)
        return None if found is None else int(found)

    @cached_property
    def languages(self) -> dict[str, int]:
        """Language codes that the model knows; empty for one that knows only English."""
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        known = self.tokenizer.get_vocab()
        found = {code: known[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in known}
        return found if len(found) > 1 else {}

    def code(self, language: str | None) -> str | None:
        """A language's code; None for a model that knows only English.

        Raises:
            UserError: The model does not know it, or needs to be told one.
        """
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        if not self.languages:
            if language not in (None, "en", "english"):
                what = f"this model writes English only, and language is {language!r}"
                raise UserError(what, "recipe: options.language", "choose a multilingual Whisper")
            return None
        if language is None:
            what = "a row names no language, and this model must be told one"
            raise UserError(what, "recipe: options.language", "write options: {language: en}, or a column language")
        named = TO_LANGUAGE_CODE.get(str(language).lower(), str(language).lower().partition("-")[0])
        if named not in self.languages:
            known = ", ".join(sorted(self.languages)[:12])
            what = f"the model does not know the language {language!r}"
            raise UserError(what, "recipe: options.language", f"write a code such as: {known}, ...")
        return str(named)

    def prefix(self, language: str | None, task: str, *, times: bool = False) -> list[int]:
        """What stands before a transcript: exactly one start token, the language, the task, whether times follow.

        Args:
            language: A code or an English name.
            task: ``transcribe`` or ``translate``.
            times: Whether time tokens follow.
        """
        code = self.code(language)
        found = [self.token(START)]
        if code is not None:
            found += [self.languages[code], self.token(f"<|{task}|>")]
        return found if times else [*found, self.token(NO_TIMES)]

    def shown(self, tokens: Sequence[int]) -> str:
        """Token ids as a person reads them, special ones and times among them."""
        return str(self.tokenizer.backend_tokenizer.decode(list(tokens), skip_special_tokens=False))

    def time(self, seconds: float) -> int:
        """The token of a time within a recording.

        Raises:
            UserError: The tokenizer has no times.
        """
        if self.first_time is None:
            what = f"the tokenizer has no token {FIRST_TIME}"
            raise UserError(what, self.where, "choose a whole Whisper checkpoint, or leave times out")
        return self.first_time + min(MOST_TIMES - 1, max(0, round(seconds / TIME_STEP)))

    def timed(self, tokens: Sequence[int], length: float) -> list[tuple[float, float, list[int]]]:
        """Token ids with times among them, as start, end and the ids between.

        A part whose end is missing ends with the recording; what stands outside times belongs to the whole of it.
        """
        first = self.first_time
        found: list[tuple[float, float, list[int]]] = []
        start, held = 0.0, list[int]()
        for token in tokens:
            if first is None or token < first:
                held.append(token)
                continue
            at = (token - first) * TIME_STEP
            if held:
                found.append((start, max(at, start), held))
                held = []
            start = at
        if held:
            found.append((start, max(length, start), held))
        return found


def transcript_sum(model: Any, features: Tensor, tokens: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the tokens that are learned.

    Args:
        model: ``WhisperForConditionalGeneration``.
        features: [batch, bins, frames].
        tokens: What the decoder reads, int64 [batch, positions].
        targets: What follows each, ``IGNORED`` where nothing is learned, int64 [batch, positions].
    """
    # Beneath an adapter, too: whatever is around the layers, they stand where they stood.
    hidden = model.get_submodule("model")(features, decoder_input_ids=tokens, use_cache=False)[0]
    if hidden.is_meta:
        kept, wanted = hidden.flatten(0, 1), targets.flatten()
    else:
        learned = targets != IGNORED
        kept, wanted = hidden[learned], targets[learned]
    out = model.get_submodule("proj_out")
    if type(out) is nn.Linear:
        return summed_cross_entropy(kept, out.weight, wanted, out.bias)
    # An adapter around the last layer.
    return nn.functional.cross_entropy(out(kept).float(), wanted, reduction="sum")


def languages_heard(model: Any, features: Tensor, prompting: Prompting) -> list[str]:
    """The likeliest language of each recording: the language token that follows the start token.

    Args:
        model: ``WhisperForConditionalGeneration``, multilingual.
        features: [batch, bins, frames].
        prompting: Its tokenizer.

    Returns:
        Codes, one a recording.
    """
    codes, ids = list(prompting.languages), list(prompting.languages.values())
    start = features.new_full((len(features), 1), prompting.token(START)).long()
    hidden = model.get_submodule("model")(features, decoder_input_ids=start, use_cache=False)[0]
    logits = model.get_submodule("proj_out")(hidden[:, -1])
    return [codes[place] for place in logits[:, ids].argmax(-1).tolist()]


def transcribed(
    model: Any, features: Tensor, prefix: Tensor, *, most: int, prompting: Prompting, times: bool = False
) -> list[Answer]:
    """Greedy transcripts.

    Args:
        model: ``WhisperForConditionalGeneration``; its generation settings say what it must not write.
        features: [batch, bins, frames].
        prefix: What stands before each transcript, int64 [batch, tokens].
        most: Most tokens of a transcript.
        prompting: Its tokenizer.
        times: Whether time tokens are written.
    """
    from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, WhisperTimeStampLogitsProcessor

    own = model.generation_config
    first = prefix.shape[1]
    most = min(most, model.config.max_target_positions - first)
    settings = GenerationConfig(
        max_new_tokens=most,
        do_sample=False,
        num_beams=1,
        eos_token_id=prompting.end,
        pad_token_id=prompting.end,
        decoder_start_token_id=int(prefix[0, 0]),
        suppress_tokens=getattr(own, "suppress_tokens", None),
        begin_suppress_tokens=getattr(own, "begin_suppress_tokens", None),
        use_cache=True,
    )
    rules = LogitsProcessorList()
    if times:
        settings.no_timestamps_token_id = prompting.token(NO_TIMES)
        settings.max_initial_timestamp_index = getattr(own, "max_initial_timestamp_index", None)
        rules.append(WhisperTimeStampLogitsProcessor(settings, begin_index=first))
    before, model.generation_config = own, settings
    try:
        # Whisper's own ``generate`` cuts, retries and joins; of recordings of one window only its core is wanted.
        out = GenerationMixin.generate(
            model, features, decoder_input_ids=prefix, generation_config=settings, logits_processor=rules
        )
    finally:
        model.generation_config = before
    found = []
    for row in out[:, first:].tolist():
        end = next((i for i, token in enumerate(row) if token == prompting.end), None)
        found.append(Answer(tuple(row if end is None else row[:end]), end is not None))
    return found
