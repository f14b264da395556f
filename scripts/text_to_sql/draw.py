"""Seeded choices. It knows addresses and numbers, not what is chosen for what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of choices that follows from its address alone; no library version can change it."""

    def __init__(self, *address: object) -> None:
        self._address = ":".join(str(part) for part in address)
        self._drawn = 0

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count`` - 1."""
        digest = hashlib.blake2b(f"{self._address}#{self._drawn}".encode(), digest_size=8).digest()
        self._drawn += 1
        return int.from_bytes(digest, "big") % count

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """So many different items, in a drawn order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in a drawn order."""
        return self.sample(items, len(items))
