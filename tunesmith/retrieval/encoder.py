"""What an index asks of an encoder, and what is said where the two do not belong together. It loads none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Chunk

NONE = "none"
KEPT = "kept"
HEADER_TOKENS = 32
"""Most tokens of headings in front of a chunk that is encoded; an eighth of what the encoder takes, if that is less."""
UNFAMILIAR = 0.15
"""Share of letters in unknown tokens or pieces of a letter or two, from which on a language counts as one that the
encoder does not know. In MiniLM English has 0.03 (one text of twenty 0.1), Swedish 0.35, German 0.25, Greek 0.9."""


class Encoder(Protocol):
    """What makes vectors: `tunesmith.model.sentence_encoder.TextEncoder`, or anything like it.

    Args:
        name: By which it is opened again.
        identity: Other vectors, another identity.
        width: Numbers in a vector.
        room: Most tokens of a text that lose nothing.
    """

    name: str
    identity: str
    width: int

    @property
    def room(self) -> int:
        """Most tokens of a document that lose nothing."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text."""
        ...

    def unfamiliar(self, text: str) -> float:
        """Share of letters in unknown or very short tokens."""
        ...

    def encode(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Vectors of length 1, [texts, width]."""
        ...


def header_tokens(encoder: Encoder) -> int:
    """Most tokens of headings in front of a chunk."""
    return min(HEADER_TOKENS, encoder.room // 8)


def text_to_encode(chunk: Chunk, encoder: Encoder) -> str:
    """A chunk below its headings, as far as these fit: a chunk alone does not say what it is about."""
    room = min(header_tokens(encoder), encoder.room - chunk.tokens)
    names = list(dict.fromkeys(chunk.path))
    while names and encoder.count(" > ".join(names) + "\n") > room:
        names.pop(0)
    return f"{' > '.join(names)}\n{chunk.text}" if names else chunk.text


def other_encoder(kept: str, asked: str, folder: Path) -> UserError:
    """What is said where an index and an encoder do not belong together."""
    what = f"this index was made with the encoder '{kept}', and not with '{asked}'"
    if kept == asked:
        what = f"the encoder '{asked}' is not the one any more that this index was made with: its files have changed"
    fix = f"encode its documents anew: tunesmith index --into {folder} --encoder {asked} --rebuild"
    return UserError(f"{what}, so that their vectors can't be compared", str(folder), fix)
