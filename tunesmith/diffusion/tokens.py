"""How many tokens captions have, and what a word is to a tokenizer: one word that it knows, or pieces.

It takes any tokenizer of transformers, and knows no model and no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1000
UNSET_LENGTH = 10**9
"""Tokenizers without a length of their own say a number beyond all use."""


@dataclass(frozen=True)
class CaptionLengths:
    """Tokens of captions in one text encoder.

    Args:
        name: The encoder's, where a model has several (``text_encoder_2``).
        most: How many tokens it reads, marks of beginning and end among them.
        tokens: Of each caption, these marks included.
    """

    name: str
    most: int
    tokens: tuple[int, ...]

    @property
    def lost(self) -> list[int]:
        """Tokens of each caption that would be cut off."""
        return [max(0, count - self.most) for count in self.tokens]


def token_counts(tokenizer: Any, captions: Sequence[str]) -> list[int]:
    """Tokens of each caption, with the marks that the tokenizer adds, nothing cut off.

    Args:
        tokenizer: Of transformers.
        captions: Texts.
    """
    counts: list[int] = []
    for start in range(0, len(captions), AT_ONCE):
        # verbose: it would warn of lengths, which is what is asked for here.
        made = tokenizer(list(captions[start : start + AT_ONCE]), truncation=False, padding=False, verbose=False)
        counts += [len(ids) for ids in made["input_ids"]]
    return counts


def caption_lengths(
    tokenizer: Any, captions: Sequence[str], *, most: int | None = None, name: str = "text_encoder"
) -> CaptionLengths:
    """Lengths of captions in a text encoder.

    Args:
        tokenizer: Of transformers.
        captions: Texts, in the order of the rows.
        most: How many tokens the encoder reads (``max_position_embeddings``; for T5 what the recipe sets); default:
            the tokenizer's own ``model_max_length``, 77 of CLIP.
        name: The encoder's.

    Raises:
        ValueError: Neither says how many it reads.
    """
    own = int(tokenizer.model_max_length)
    if most is None and own > UNSET_LENGTH:
        raise ValueError(f"the tokenizer of {name} has no length of its own; most is needed")
    return CaptionLengths(name, min(own, most) if most is not None else own, tuple(token_counts(tokenizer, captions)))


@dataclass(frozen=True)
class Vocabulary:
    """What is asked of a tokenizer about single words.

    Args:
        encode: A text to token ids, without marks of beginning and end.
        decode: Token ids to text.
        size: How many tokens there are.
        unknown: The id of what is not known, where the tokenizer has one.
        near: The words whose vectors in the text encoder are nearest to a token's, the nearest first.
    """

    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    size: int
    unknown: int | None = None
    near: Callable[[int], Sequence[str]] | None = None


def vocabulary_of(tokenizer: Any, vectors: NDArray[np.float32] | None = None) -> Vocabulary:
    """A tokenizer's vocabulary; to be asked before new tokens are added to it.

    Args:
        tokenizer: Of transformers.
        vectors: The text encoder's token embeddings, float [tokens, width], to say what a token is near to.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)).strip()

    near = None
    if vectors is not None:
        table = vectors

        def near(number: int) -> list[str]:
            return nearest_words(table, number, decode)

    # Of CLIP it is the mark of the end, which no text holds: its own tokenizer knows every text by its bytes.
    return Vocabulary(encode, decode, len(tokenizer), tokenizer.unk_token_id, near)


def nearest_words(
    vectors: NDArray[np.float32], number: int, decode: Callable[[Sequence[int]], str], count: int = 4
) -> list[str]:
    """The words of a vocabulary whose vectors have the largest cosine with a token's, without itself and its likes.

    Args:
        vectors: Float [tokens, width].
        number: The token.
        decode: Ids to text.
        count: How many words.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = vectors @ vectors[number] / np.maximum(lengths * lengths[number], 1e-12)
    own = decode([number]).casefold()
    found: dict[str, None] = {}
    for at in np.argsort(-cosine, kind="stable")[: 8 * count + 8].tolist():
        word = decode([at]).casefold() if at < len(vectors) else ""
        if at != number and word and word != own:
            found[word] = None
        if len(found) == count:
            break
    return list(found)


@dataclass(frozen=True)
class Meaning:
    """What a word is to a tokenizer.

    Args:
        word: As it was written.
        ids: The tokens that it becomes.
        pieces: Their texts.
        near: What each token is nearest to, where that is known.
        unknown: Whether the tokenizer does not know it, so that it can't be told from other unknown words.
        size: How many tokens the vocabulary has.
    """

    word: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    near: tuple[tuple[str, ...], ...]
    unknown: bool
    size: int

    @property
    def is_known_word(self) -> bool:
        """Whether it is one token that was there before."""
        return len(self.ids) == 1 and not self.unknown

    def told(self) -> str:
        """Its pieces with their numbers and what they are near to, for a sentence."""
        said = []
        for number, piece, words in zip(self.ids, self.pieces, self.near, strict=True):
            near = f", near to {', '.join(words)}" if words else ""
            said.append(f"{piece!r} (number {number:,}{near})")
        return ", ".join(said)


def meaning_of(word: str, vocabulary: Vocabulary) -> Meaning:
    """How a word falls apart, and what its pieces are.

    Args:
        word: The word that is to name a subject.
        vocabulary: Before the word was added to it.
    """
    ids = tuple(int(number) for number in vocabulary.encode(word))
    near = tuple(tuple(vocabulary.near(number)) if vocabulary.near else () for number in ids)
    pieces = tuple(vocabulary.decode([number]) for number in ids)
    return Meaning(word, ids, pieces, near, not ids or vocabulary.unknown in ids, vocabulary.size)
