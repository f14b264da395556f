"""The text of a reply as its tokens come: no half of a letter, and nothing of a text that ends it. It loads nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tunesmith.asking.steps import first_stop

_HALF = "\ufffd"
"""What a decoder writes for bytes that are no whole letter yet."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Spoken:
    """What of a reply can be said already.

    Args:
        decode: Tokens to text.
        stop: Texts before which the reply ends.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._decode, self._stop = decode, stop
        self._before = self._read = 0
        self._kept = ""
        self._closed = False
        self.said = ""

    def add(self, written: Sequence[int]) -> str:
        """What is new and certain, given all tokens so far."""
        # A token's text depends on the one before it (a blank at the start), never on those long before.
        old, new = self._decode(written[self._before : self._read]), self._decode(written[self._before :])
        if self._closed or len(new) <= len(old) or new.endswith(_HALF):
            return ""
        self._before, self._read = self._read, len(written)
        self._kept += new[len(old) :]
        end = first_stop(self._kept, self._stop)
        if end is not None:
            self._closed = True
        else:
            end = len(self._kept) - self._begins()
        found, self._kept = self._kept[:end], self._kept[end:]
        self.said += found
        return found

    def rest(self, whole: str) -> str:
        """What is still to be said, once the whole reply is known."""
        found = whole[len(self.said) :] if whole.startswith(self.said) else ""
        self.said += found
        return found

    def _begins(self) -> int:
        """How many of the last letters may be the beginning of a text that ends the reply."""
        longest = 0
        for stop in self._stop:
            for size in range(min(len(stop) - 1, len(self._kept)), longest, -1):
                if self._kept.endswith(stop[:size]):
                    longest = size
                    break
        return longest


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The bytes that a token stands for.

    Args:
        tokenizer: A fast tokenizer of transformers.
        token: Its id.
    """
    text = str(tokenizer.decode([token]))
    if _HALF not in text:
        return text.encode()
    spelled = str(tokenizer.convert_ids_to_tokens(token))
    one = _BYTE.fullmatch(spelled)
    if one:
        return bytes([int(one[1], 16)])
    table = _byte_level()
    if all(letter in table for letter in spelled):
        return bytes(table[letter] for letter in spelled)
    return text.encode()


@cache
def _byte_level() -> dict[str, int]:
    """Letters that byte-level BPE writes for bytes: those that can be seen stand for themselves (GPT-2's table)."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + place): byte for place, byte in enumerate(rest)}
