"""What a pipeline's text encoders read of prompts: tokens, how many, and a new one with a vector of its own.

It knows tokenizers; no model and no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tunesmith.diffusion.pictures import holds_token
from tunesmith.diffusion.tokens import UNSET_LENGTH, Vocabulary, meaning_of, token_counts, vocabulary_of
from tunesmith.errors import UserError
from tunesmith.model.latent_diffusion import load_tokenizers, token_vectors
from tunesmith.model.new_tokens import add_tokens
from tunesmith.model.pipeline_folder import PipelineFolder
from tunesmith.types import Row

LONGEST_WITHOUT = 256
"""Tokens that an encoder without a length of its own (T5) reads."""
NewToken = tuple[list[int], list[list[int]]]


@dataclass(frozen=True)
class Prompts:
    """The tokenizers of a pipeline.

    Args:
        folder: The pipeline.
        new: A word that gets a vector of its own in every encoder; None: there is none.
        like: What that vector starts as; None: what the word was read as.
    """

    folder: PipelineFolder
    new: str | None = None
    like: str | None = None

    @cached_property
    def _read(self) -> tuple[dict[str, Any], dict[str, NewToken]]:
        found, added = load_tokenizers(self.folder.folder), {}
        if self.new is not None:
            for name, tokenizer in found.items():
                ids, pieces = add_tokens(tokenizer, [self.new])
                if ids and self.like:
                    pieces = [tokenizer(self.like, add_special_tokens=False)["input_ids"]]
                added[name] = ids, pieces
        return found, added

    @property
    def tokenizers(self) -> dict[str, Any]:
        """By text encoder, with the new token where one is learned."""
        return self._read[0]

    @property
    def added(self) -> dict[str, NewToken]:
        """By text encoder the new token's ids (none where it is known already), and what its vector starts as."""
        return self._read[1]

    @cached_property
    def longest(self) -> dict[str, int]:
        """How many tokens each text encoder reads, marks of beginning and end among them."""
        found = {}
        for name, tokenizer in self.tokenizers.items():
            most = self.folder.config(name).get("max_position_embeddings") if name != "text_encoder_3" else None
            own = int(tokenizer.model_max_length)
            found[name] = min(int(most or LONGEST_WITHOUT), own if own < UNSET_LENGTH else UNSET_LENGTH)
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Of the first encoder as it came, with its vectors."""
        first = self.folder.encoders[0]
        tokenizer = load_tokenizers(self.folder.folder)[first]
        return vocabulary_of(tokenizer, token_vectors(self.folder.folder / first))

    def ids(self, text: str, *, whole: bool) -> dict[str, Tensor]:
        """A prompt's tokens by encoder, padded: int64 [tokens].

        Args:
            text: The prompt.
            whole: Whether nothing of it may be cut off.

        Raises:
            UserError: It has more tokens than an encoder reads.
        """
        found = {}
        for name, tokenizer in self.tokenizers.items():
            most = self.longest[name]
            if whole and (count := token_counts(tokenizer, [text])[0]) > most:
                what = f"the prompt has {count:,} tokens, and {name} reads {most}: {count - most:,} would be cut off"
                raise UserError(what, f"{text[:60]!r}", "shorten it, what matters first")
            ids = tokenizer(text, padding="max_length", truncation=True, max_length=most)["input_ids"]
            found[name] = torch.tensor(ids, dtype=torch.int64)
        return found

    def check_new(self, rows: Sequence[Row]) -> None:
        """A vector of its own needs a word that no tokenizer has, written alike in every prompt.

        Raises:
            UserError: It is known already, or would not be found in a prompt.
        """
        if self.new is None:
            return
        if not all(ids for ids, _ in self.added.values()):
            told = meaning_of(self.new, self.vocabulary).told()
            what = f"options.token: {self.new!r} is in the vocabulary already ({told}), so it gets no vector of its own"
            raise UserError(what, "recipe: options.token", f"write a word that is none, such as <{self.new}-1>")
        other = next((r for r in rows if holds_token(r, self.new) and self.new not in str(r["text"])), None)
        if other is not None:
            what = f"{str(other['text'])[:60]!r} has the token {self.new!r} in other letters: not read there"
            raise UserError(what, f"row {other['id']}", f"write it as {self.new}, or options.token as it is there")
