"""One inquiry: the items, the model, what is asked of it, and what is known by now. Probes read it; it has no rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tunesmith.asking.model import Model, Progress, Prompt, Reply
from tunesmith.diagnose.form import Judge
from tunesmith.diagnose.found import Item, Judged, Probe
from tunesmith.diagnose.items import asked_words, without_items
from tunesmith.diagnose.prompting import messages_of
from tunesmith.diagnose.wanted import Wanted
from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.document import Searcher

LEAST_TOKENS, MOST_TOKENS = 96, 512
"""Bounds of a reply: a model that explains itself needs room, so that its content can be judged apart from its form."""
OF_A_MESSAGE = 8
"""Tokens that a template puts around a message, at most, for telling what fits."""
NEAR_AMONG = 20_000


@dataclass(frozen=True)
class Pilot:
    """A model that learned a share of the rows.

    Args:
        model: It.
        rows: That it learned.
        seconds: That it took to learn them.
        folder: Of its run; empty if it has none.
    """

    model: Model
    rows: int
    seconds: float = 0.0
    folder: str = ""


class Tune(Protocol):
    """Tunes the model that is diagnosed."""

    def __call__(self, rows: Sequence[Item], items: Sequence[Item], share: float) -> Pilot:
        """A model that learned a share of the rows; the items are shown to nothing but its scores.

        Raises:
            UserError: It can't be tuned.
        """
        ...


@dataclass(frozen=True)
class Wishes:
    """What a diagnosis may use, and how much.

    Args:
        train: Rows to learn and to show from; without them examples are other items, and nothing is tuned.
        searcher: Finds passages.
        larger: Another model.
        tune: Tunes the model, as `pilot.tuner` does.
        wanted: What answers are judged by; None: it is read off the references.
        k: Passages that are retrieved.
        distractors: Passages beside the gold one.
        seed: Of shots and orders.
        max_tokens: Most tokens of a reply; None: by the references.
        only: Names of probes; empty: all. ``as-is`` is always asked.
        skip: Names of probes.
        everything: Ask also what can't gain enough any more.
        fact_rows: Most rows whose facts are asked for.
        fact_prompts: Few-shot prompts that each is asked with.
        fact_draws: Draws for each of these prompts, where none of them brings the fact.
        folder: Where replies are kept, so that a diagnosis that was stopped goes on; None: they are not.
    """

    train: Sequence[Item] = ()
    searcher: Searcher | None = None
    larger: Model | None = None
    tune: Tune | None = None
    wanted: Wanted | None = None
    k: int = 5
    distractors: int = 4
    seed: int = 0
    max_tokens: int | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    everything: bool = False
    fact_rows: int = 100
    fact_prompts: int = 4
    fact_draws: int = 2
    folder: Path | None = None


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass
class Inquiry:
    """What the probes share.

    Args:
        items: The items.
        model: That is asked.
        wishes: What may be used.
        judge: Judges outputs.
        progress: Receives what is being done.
        probes: Those asked by now.
        notes: What a person should know.
        pilots: Tuned models by name of their probe.
    """

    items: Sequence[Item]
    model: Model
    wishes: Wishes
    judge: Judge
    progress: Progress = silent
    probes: dict[str, Probe] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pilots: dict[str, Pilot] = field(default_factory=dict)
    _tokens: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def wanted(self) -> Wanted:
        """What answers are judged by."""
        return self.judge.wanted

    @cached_property
    def train(self) -> list[Item]:
        """Training rows that ask nothing that an item asks."""
        return without_items(self.wishes.train, self.items)

    @cached_property
    def max_tokens(self) -> int:
        """Most tokens of a reply."""
        if self.wishes.max_tokens is not None:
            return self.wishes.max_tokens
        longest = max(self.model.count(text) for item in self.items for text in item.references)
        most = min(MOST_TOKENS, max(LEAST_TOKENS, 2 * longest + 16))
        return max(longest, min(most, self.model.context // 2)) if longest < self.model.context else most

    # Asking

    def prompt(self, item: Item, *, constraint: Mapping[str, Any] | None = None, **put_in: Any) -> Prompt:
        """A prompt of an item; ``put_in`` goes to `messages_of`."""
        return Prompt(messages_of(item, **put_in), max_tokens=self.max_tokens, **(constraint or {}))

    def fits(self, prompt: Prompt, model: Model | None = None) -> bool:
        """Whether prompt and reply fit in a model's context."""
        model = model or self.model
        return self.length(prompt, model) + prompt.max_tokens <= model.context

    def length(self, prompt: Prompt, model: Model) -> int:
        """Tokens of a prompt, about."""
        total = 0
        for message in prompt.messages:
            key = (model.identity, str(message["content"]))
            if key not in self._tokens:
                self._tokens[key] = model.count(key[1])
            total += self._tokens[key] + OF_A_MESSAGE
        return total

    def ask(self, what: str, prompts: Sequence[Prompt], model: Model | None = None) -> list[Reply]:
        """Replies to prompts, in their order; equal prompts are asked once."""
        asked = model or self.model

        def told(_what: str, done: int, total: int) -> None:
            self.progress(f"asking: {what}", done, total)

        told("", 0, len(prompts))
        return asked.answer(prompts, told)

    def probe(
        self,
        name: str,
        prompt_of: Callable[[Item], Prompt | None],
        *,
        items: Sequence[Item] | None = None,
        model: Model | None = None,
        **extra: Any,
    ) -> Probe:
        """Ask items in one way and judge the outputs; an item whose prompt is None, or does not fit, is left out.

        As they are, items whose prompt does not fit are wrong: the model can't answer them.
        """
        asked: dict[str, Prompt] = {}
        too_long = []
        for item in self.items if items is None else items:
            prompt = prompt_of(item)
            if prompt is not None and self.fits(prompt, model):
                asked[item.id] = prompt
            elif prompt is not None:
                too_long.append(item.id)
        replies = dict(zip(asked, self.ask(name, list(asked.values()), model), strict=True))
        known = {item.id: item for item in self.items}
        outputs = {name: reply.text for name, reply in replies.items()}
        judged = {name: self.judge(known[name], text) for name, text in outputs.items()}
        if too_long and name == "as-is":
            outputs |= dict.fromkeys(too_long, "")
            judged |= dict.fromkeys(too_long, Judged(False, False, "", "the prompt is longer than the model takes"))
        if too_long:
            extra["too_long"] = too_long
        return Probe(
            name,
            outputs,
            judged,
            prompt_tokens=sum(reply.prompt_tokens for reply in replies.values()),
            reply_tokens=sum(reply.tokens for reply in replies.values()),
            seconds=sum(reply.seconds for reply in replies.values()),
            calls=len(replies),
            extra={**extra, "cut": sum(not reply.ended for reply in replies.values())},
        )

    def right(self, name: str) -> float:
        """Share of the items that a probe gets right, in content and form."""
        judged = self.probes[name].judged
        return sum(one.right for one in judged.values()) / max(1, len(judged))

    # Examples

    @cached_property
    def shown(self) -> list[Item]:
        """Rows that examples are taken from: training rows, else the items themselves."""
        return list(self.train or self.items)[:NEAR_AMONG]

    @property
    def shown_from(self) -> str:
        """Where examples come from."""
        return "train" if self.train else "other items"

    @cached_property
    def _near(self) -> Bm25:
        return Bm25([row.input for row in self.shown])

    def shots(self, item: Item, count: int, *, near: bool, draw: int = 0) -> list[Item]:
        """Other rows to show before an item: the first of a drawn order, or those that share its words.

        Two are the first two of four. The nearest stands last, beside the question.
        """
        words = asked_words(item)
        order: Sequence[int]
        if near:
            best = self._near.best(item.input, 4 * count + 8)
            order = [*best, *(number for number in self._drawn(item, count, draw) if number not in set(best))]
        else:
            order = self._drawn(item, count, draw)
        chosen: list[Item] = []
        for number in order:
            row = self.shown[number]
            if row.id != item.id and asked_words(row) != words:
                chosen.append(row)
            if len(chosen) == count:
                break
        return chosen[::-1] if near else chosen

    def _drawn(self, item: Item, count: int, draw: int) -> list[int]:
        rng = np.random.default_rng([self.wishes.seed, draw, *item.id.encode("utf-8", "surrogatepass")])
        most = min(len(self.shown), 4 * max(8, count) + 8)
        return [int(number) for number in rng.choice(len(self.shown), size=most, replace=False)]

    def shot_prompt(self, item: Item, count: int, *, near: bool, draw: int = 0, **put_in: Any) -> Prompt | None:
        """A prompt with as many examples as fit; None where there is none at all."""
        shots = self.shots(item, count, near=near, draw=draw)
        while shots:
            prompt = self.prompt(item, shots=shots, **put_in)
            if self.fits(prompt):
                return prompt
            shots = shots[1:] if near else shots[:-1]
        return None
