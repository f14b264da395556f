"""Where an answer stands in a rendered conversation. It knows no tokenizer and no marker of any template.

A place is found by what the template itself does: it renders the conversation up to the answer, up to its end, and
with the answer replaced. A template may rewrite earlier turns once the conversation goes on (a reasoning model's
thoughts are dropped, an end of text follows the last turn only), so the longer text need not begin with the shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tunesmith.errors import UserError

Render: TypeAlias = Callable[[Sequence[Mapping[str, Any]], bool], str]
"""Messages, and whether to ask for an answer after them, to text."""


@dataclass(frozen=True)
class Span:
    """Characters of a rendered conversation, and how they were found.

    Args:
        start: The first.
        end: The one after the last.
        rewritten: Whether the template writes the answer otherwise once the conversation goes on.
    """

    start: int
    end: int
    rewritten: bool = False


@dataclass(frozen=True)
class Rendering:
    """A whole conversation as text, with what finds its answers.

    Args:
        messages: The messages.
        text: What the template makes of them all.
        render: Renders some of them.
        specials: The texts of special tokens.
        masked: What the template itself marks as generated, or None where it marks nothing.
    """

    messages: Sequence[Mapping[str, Any]]
    text: str
    render: Render
    specials: Collection[str]
    masked: Callable[[], list[tuple[int, int]]] | None = None

    def answer(self, place: int) -> Span:
        """Where the assistant's message at this place stands, with its end of turn.

        Raises:
            UserError: The template rewrites the conversation in a way that leaves no trace of it.
        """
        asked = self.render(self.messages[:place], True) if place else None
        last = place == len(self.messages) - 1
        done = self.text if last else self.render(self.messages[: place + 1], False)
        if asked is not None and self.text.startswith(done) and done.startswith(asked):
            return Span(len(asked), len(done))
        return self._marked(place, done) or self._replaced(place, asked, done)

    def _marked(self, place: int, done: str) -> Span | None:
        """By the template's own marks, where there is one for every answer."""
        answers = [n for n, message in enumerate(self.messages) if message["role"] == "assistant"]
        marks = self.masked() if self.masked else []
        if len(marks) != len(answers):
            return None
        start, end = marks[answers.index(place)]
        # Some templates mark the answer alone; the model has to learn to end it as well.
        closing = max((s for s in self.specials if done.rstrip().endswith(s)), key=len, default="")
        if closing and not self.text[start:end].rstrip().endswith(closing) and self.text.startswith(closing, end):
            end += len(closing)
        return Span(start, end, True)

    def _replaced(self, place: int, asked: str | None, done: str) -> Span:
        """By rendering the conversation with a word in the answer's place that occurs nowhere else."""
        word = "answer"
        while word in self.text or word in done:
            word += "Q"
        others = [*self.messages]
        others[place] = _with(self.messages[place], word)
        before, found, after = self.render(others, False).partition(word)
        short, _, tail = self.render(others[: place + 1], False).partition(word)
        whole = self.text.startswith(before) and self.text.endswith(after)
        if not found or not whole or len(before) + len(after) > len(self.text):
            raise self._lost(place, done)
        end = _end_of_turn(after, tail, self.specials)
        start = self._start(place, asked, before, short)
        if end is None or start is None:
            raise self._lost(place, done)
        return Span(start, len(self.text) - len(after) + end, True)

    def _start(self, place: int, asked: str | None, before: str, short: str) -> int | None:
        """Where the answer begins, given the text before the word that stands in it."""
        if asked is not None and before.startswith(asked):
            return len(asked)
        own = short[len(asked) :] if asked is not None and short.startswith(asked) else None
        if own is not None and before.endswith(own):
            return len(before) - len(own)
        return None if self.messages[place].get("tool_calls") else len(before)

    def _lost(self, place: int, done: str) -> UserError:
        at = next((i for i, (a, b) in enumerate(zip(done, self.text, strict=False)) if a != b), len(done))
        alone, inside = (text[max(0, at - 20) : at + 40] for text in (done, self.text))
        return UserError(
            f"the chat template writes message {place + 1} in two ways: {alone!r} when it is the last one, {inside!r} "
            "in the whole conversation, so what is to be learned can't be told",
            "",
            "learn the last answers only, or give a template that marks answers with {% generation %}",
        )


def _with(message: Mapping[str, Any], word: str) -> dict[str, Any]:
    """The message with this word as its content, or as the name of its last call."""
    calls = message.get("tool_calls")
    if not calls:
        # A template may take thoughts out of the content; what stands beside it stays as it is.
        return {**message, "content": word}
    last = {**calls[-1], "function": {**calls[-1]["function"], "name": word}}
    return {**message, "tool_calls": [*calls[:-1], last]}


def _end_of_turn(after: str, tail: str, specials: Collection[str]) -> int | None:
    """Characters after the answer that end it: those it has when it is the last message, as far as they are the same.

    Where they are not the same throughout (an end of text follows the last turn only), up to a special token.
    """
    if after.startswith(tail):
        return len(tail)
    same = next((i for i, (a, b) in enumerate(zip(after, tail, strict=False)) if a != b), min(len(after), len(tail)))
    ends = [tail.rfind(special, 0, same) + len(special) for special in specials if special in tail[:same]]
    return max(ends, default=None)
