"""Passages of the probes: the gold one, distractors, those really retrieved, and whether these hold what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from tunesmith.diagnose.content import holds, plain
from tunesmith.diagnose.found import Item
from tunesmith.diagnose.inquiry import Inquiry
from tunesmith.retrieval.document import Passage

RUN = 3
"""Words of the runs by which two passages are compared."""
HELD = 0.5
"""The share of a gold passage's runs that stand in retrieved ones before they hold it: chunks are cut elsewhere."""
ALIKE = 0.95
"""From here on two passages are one, though only one of them names the answer."""
DEEPER = 3
"""How many times as many passages are looked through for a gold one or for distractors."""


@dataclass
class Passages:
    """What was found for each item, each search made once.

    Args:
        inquiry: With its searcher.
        found_gold: Ids of items whose gold passage was found in the index by question and answer.
    """

    inquiry: Inquiry
    found_gold: set[str] = field(default_factory=set)
    _gold: dict[str, str] = field(default_factory=dict)
    _kept: dict[str, list[Passage]] = field(default_factory=dict)

    def retrieved(self, item: Item) -> list[Passage]:
        """The passages that a search for the question brings; none where there is no searcher."""
        searcher, k = self.inquiry.wishes.searcher, self.inquiry.wishes.k
        if searcher is None:
            return []
        if item.id not in self._kept:
            self._kept[item.id] = list(searcher.search(item.input, k=k * DEEPER))
        return self._kept[item.id][:k]

    def gold(self, item: Item) -> str:
        """The gold passage: the item's own, else the first in the index that holds the answer; empty if there is none.

        A search for question and answer together is one that no user can make: what it finds is what a better
        retriever could bring.
        """
        if item.gold:
            return item.gold
        if item.id not in self._gold:
            self._gold[item.id] = self._looked_for(item)
        return self._gold[item.id]

    def _looked_for(self, item: Item) -> str:
        searcher = self.inquiry.wishes.searcher
        if searcher is None or holds("", item, self.inquiry.wanted) is None:
            return ""
        k = self.inquiry.wishes.k * DEEPER
        self.retrieved(item)
        for passage in [*searcher.search(f"{item.input} {item.references[0]}", k=k), *self._kept[item.id]]:
            if holds(passage.chunk.text, item, self.inquiry.wanted):
                self.found_gold.add(item.id)
                return passage.chunk.text
        return ""

    def recalled(self, item: Item) -> bool | None:
        """Whether the retrieved passages hold the gold one, else the answer; None where neither can be told."""
        texts = [passage.chunk.text for passage in self.retrieved(item)]
        gold = self.gold(item)
        if gold:
            # Pages of one template share most of their words: the answer has to stand there, too, if it can be seen.
            whole = "\n".join(texts)
            return shared(whole, gold) >= HELD and holds(whole, item, self.inquiry.wanted) is not False
        held = [holds(text, item, self.inquiry.wanted) for text in texts]
        return None if any(one is None for one in held) or holds("", item, self.inquiry.wanted) is None else any(held)

    def crowded(self, item: Item, count: int) -> list[str]:
        """The gold passage among so many others, in a drawn order; empty where there is no gold one."""
        gold = self.gold(item)
        others = self._others(item, gold, count) if gold else []
        if not gold or not others:
            return []
        rng = np.random.default_rng([self.inquiry.wishes.seed, *item.id.encode("utf-8", "surrogatepass")])
        passages = [gold, *others]
        return [passages[place] for place in rng.permutation(len(passages))]

    def _others(self, item: Item, gold: str, count: int) -> list[str]:
        """Passages that do not hold the answer: those near the question from the index, else other items' gold ones."""
        self.retrieved(item)
        near = [passage.chunk.text for passage in self._kept.get(item.id, [])]
        rng = np.random.default_rng([self.inquiry.wishes.seed, 1, *item.id.encode("utf-8", "surrogatepass")])
        items = self.inquiry.items
        far = (passage for place in rng.permutation(len(items)) if (passage := self.gold(items[place])))
        found: list[str] = []
        for text in chain(near, far):
            held = holds(text, item, self.inquiry.wanted)
            other = held is False or (held is None and shared(text, gold) < HELD)
            if other and shared(text, gold) < ALIKE and text not in found:
                found.append(text)
            if len(found) == count:
                break
        return found


def shared(whole: str, part: str) -> float:
    """Share of a passage's runs of words that stand in another text."""
    wanted, words = _runs(part), _runs(whole)
    return len(wanted & words) / max(1, len(wanted))


def _runs(text: str) -> set[tuple[str, ...]]:
    words = plain(text)
    size = min(RUN, max(1, len(words)))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def texts_of(passages: Sequence[Passage]) -> list[str]:
    """Passages as they go into a prompt: the headings above each, then its text."""
    return [
        f"{' > '.join(passage.chunk.path)}\n{passage.chunk.text}" if passage.chunk.path else passage.chunk.text
        for passage in passages
    ]
