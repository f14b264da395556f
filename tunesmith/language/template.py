"""A conversation as token ids, and which of them are learned. It knows no shape of rows, no model and no loss.

The text is what the tokenizer's own chat template makes of the messages, tokenized once. What is learned is found by
its place in that text: never by a marker that some template happens to write, since a user may write it too, and never
by a token's id, since a tokenizer may pad with its end token.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, TypeAlias

from tunesmith.errors import UserError
from tunesmith.language.defaults import TEMPLATES, ensure_template
from tunesmith.language.rows import is_text
from tunesmith.language.spans import Rendering, Span

__all__ = ["TEMPLATES", "Learn", "Rendered", "Renderer", "answer_is_left", "coloured", "cut", "ensure_template"]

Learn: TypeAlias = Literal["answers", "last", "all"]
"""Every answer of the assistant's, the last one, or every token."""

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_CLOSING = re.compile(r"(s+)(?:b+s+)*b*$")
_ADDED, _OPEN, _REWRITTEN = "end token added", "no end token inside", "rewritten"
_TOGETHER = 256


@dataclass(frozen=True)
class Rendered:
    """A conversation in tokens.

    Args:
        ids: Token ids.
        learned: Of each, whether its loss counts.
        prompt: How many stand before the last answer: what a server would be given to answer.
    """

    ids: list[int]
    learned: list[bool]
    prompt: int


@dataclass(frozen=True)
class _Draft:
    """A conversation as text.

    Args:
        text: All of it.
        kind: ``raw`` text, prompt and completion ``joined``, or what a template made of a ``chat``.
        spans: What is learned; of ``all``, what is not.
        last: The last answer; None where there is none yet.
        weight: Whether the last answer is learned.
    """

    text: str
    kind: Literal["raw", "joined", "chat"] = "chat"
    spans: tuple[Span, ...] = ()
    last: Span | None = None
    weight: bool = True


class Renderer:
    """Rows with ``messages`` to token ids; counts what a person should hear of.

    Args:
        tokenizer: A fast tokenizer with a chat template (see ``ensure_template``).
        learn: Which tokens are learned. An answer with ``weight`` 0 never is.
        concatenate: Join a prompt and its completion as they are, without a template.
        settings: What the template takes besides messages and tools (``enable_thinking``).

    Attributes:
        counts: Everything that ``notes`` tells of.
        stops: Ids of the tokens that end answers, by how often: a generation has to stop at each of them.

    Raises:
        UserError: The tokenizer can't say where its tokens stand in a text.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        learn: Learn = "answers",
        concatenate: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(
                f"the tokenizer {type(tokenizer).__name__} can't say where its tokens stand in a text",
                str(getattr(tokenizer, "name_or_path", "")),
                "put a tokenizer.json beside the weights: only fast tokenizers can tell what is learned",
            )
        self.tokenizer, self.learn, self.concatenate = tokenizer, learn, concatenate
        self.settings = dict(settings or {})
        self.counts: Counter[str] = Counter()
        self.stops: Counter[int] = Counter()
        special = {number: str(t) for number, t in tokenizer.added_tokens_decoder.items() if t.special}
        # What stands for a word that is not known ends no answer.
        special.pop(tokenizer.unk_token_id, None)
        if tokenizer.eos_token_id is not None:
            special[tokenizer.eos_token_id] = tokenizer.eos_token
        self._special, self._special_texts = special, frozenset(special.values())
        self._before = _added_before(tokenizer)

    def __call__(self, row: Mapping[str, Any]) -> Rendered:
        """One row in tokens.

        Raises:
            UserError: The template refuses the conversation, or what is learned can't be told.
        """
        return self.many([row])[0]

    def many(self, rows: Sequence[Mapping[str, Any]]) -> list[Rendered]:
        """The same for many rows: the tokenizer takes them together in a fraction of the time."""
        found: list[Rendered] = []
        for start in range(0, len(rows), _TOGETHER):
            drafts = [self._draft(row) for row in rows[start : start + _TOGETHER]]
            texts = [draft.text for draft in drafts]
            tokens = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            each = zip(drafts, tokens["input_ids"], tokens["offset_mapping"], strict=True)
            found += [self._placed(draft, list(ids), offsets) for draft, ids, offsets in each]
        return found

    def notes(self) -> list[str]:
        """What a person should know of the rows rendered so far, one sentence each."""
        end = self.tokenizer.eos_token
        told = {
            _ADDED: f"answers end without an end token in this template: {end} is added after the last one",
            _OPEN: "answers are followed by no end token in this template: the model does not learn to end them there",
            _REWRITTEN: "earlier answers are written otherwise than the model would have given them, since the "
            "template rewrites them once a conversation goes on; learn: last leaves them out",
        }
        lines = [f"{self.counts[name]:,} {sentence}" for name, sentence in told.items() if self.counts[name]]
        if "strftime_now" in str(self.tokenizer.chat_template) and not self.concatenate:
            lines.append("the chat template writes today's date into each conversation")
        return lines

    def text(self, row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], ask: bool) -> str:
        """What the template makes of some of a row's messages.

        Raises:
            UserError: There is no template, or it refuses them.
        """
        from jinja2 import TemplateError

        place = _place(row)
        if not self.tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template", place, "write options.template: auto")
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tools=row.get("tools"),
                    tokenize=False,
                    add_generation_prompt=ask,
                    **self.settings,
                )
            )
        except (TemplateError, TypeError, ValueError, KeyError) as fault:
            raise UserError(
                f"the chat template refuses the conversation: {fault}",
                place,
                "change the row, or choose another template (options.template)",
            ) from fault

    def _draft(self, row: Mapping[str, Any]) -> _Draft:
        messages = messages_for_template(row)
        if is_text(row):
            return _Draft(messages[0]["content"], "raw")
        if self.concatenate:
            return self._joined(row)
        answered = messages[-1]["role"] == "assistant"
        text = self.text(row, messages, not answered)
        if not answered:
            return _Draft(text)
        marks = cache(partial(self._marks, row, messages))
        whole = Rendering(messages, text, partial(self.text, row), self._special_texts, marks)
        places = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
        free = [n for n in places if row["messages"][n].get("weight") == 0]
        last = places[-1]
        wanted = free if self.learn == "all" else [n for n in places if n not in free]
        if self.learn == "last":
            wanted = [n for n in wanted if n == last]
        spans = {place: self._span(row, whole, place) for place in {*wanted, last}}
        self.counts[_REWRITTEN] += sum(spans[place].rewritten for place in wanted if place != last)
        return _Draft(text, "chat", tuple(spans[place] for place in wanted), spans[last], last not in free)

    def _span(self, row: Mapping[str, Any], whole: Rendering, place: int) -> Span:
        try:
            span = whole.answer(place)
        except UserError as fault:
            raise UserError(fault.what, fault.where or _place(row), fault.fix) from fault
        said = whole.text[span.start : span.end]
        calls = [call["function"]["name"] for call in whole.messages[place].get("tool_calls", ())]
        if lost := [name for name in calls if name not in said]:
            raise UserError(
                f"the chat template leaves out the tool calls of message {place + 1} ({lost[0]})",
                _place(row),
                "choose a template that writes tool calls (options.template), or a model that was made for them",
            )
        return span

    def _marks(self, row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        """What the template marks as generated, as characters; nothing where it marks nothing."""
        if not _GENERATION.search(self.tokenizer.get_chat_template(tools=row.get("tools"))):
            return []
        found = self.tokenizer.apply_chat_template(
            list(messages),
            tools=row.get("tools"),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
            **self.settings,
        )
        marks: list[tuple[int, int]] = []
        for place, (marked, (start, end)) in enumerate(
            zip(found["assistant_masks"], found["offset_mapping"], strict=True)
        ):
            if marked and place and found["assistant_masks"][place - 1]:
                marks[-1] = (marks[-1][0], end)
            elif marked:
                marks.append((start, end))
        return marks

    def _joined(self, row: Mapping[str, Any]) -> _Draft:
        """Prompt and completion as they are."""
        messages = row["messages"]
        if not row.get("plain"):
            raise UserError(
                "a conversation can't be written without a template: it is more than a prompt and a completion",
                _place(row),
                "write options.template: auto",
            )
        text = "".join(message["content"] for message in messages)
        if messages[-1]["role"] != "assistant":
            return _Draft(text, "joined")
        span, weight = Span(len(text) - len(messages[-1]["content"]), len(text)), messages[-1].get("weight") != 0
        return _Draft(text, "joined", (span,) if weight != (self.learn == "all") else (), span, weight)

    def _placed(self, draft: _Draft, ids: list[int], offsets: Sequence[tuple[int, int]]) -> Rendered:
        """A draft's tokens: which are learned, and an end token where the template wrote none."""
        learned = [self.learn == "all" or draft.kind == "raw"] * len(ids)
        for span in draft.spans:
            first, end, ended = self._tokens(draft, span, ids, offsets)
            learned[first:end] = [self.learn != "all"] * (end - first)
            self.counts[_OPEN] += not ended and span is not draft.last
        # A conversation that waits for its answer has nothing to end.
        prompt, closed = len(ids), True
        if draft.last is not None:
            prompt, end, ended = self._tokens(draft, draft.last, ids, offsets)
            self.stops.update(ids[end - 1 : end] if ended else [])
            closed = ended or end < len(ids)
            self.counts[_OPEN] += closed and not ended
        elif draft.kind == "raw":
            prompt, closed = 0, ids[-1:] == [self.tokenizer.eos_token_id]
        if not closed:
            ids, learned = [*ids, self._end_token()], [*learned, draft.weight]
            self.stops[ids[-1]] += 1
            self.counts[_ADDED] += draft.kind == "chat"
        if draft.kind == "chat":
            return Rendered(ids, learned, prompt)
        before = len(self._before)
        return Rendered(
            [*self._before, *ids], [draft.kind == "raw" or self.learn == "all"] * before + learned, before + prompt
        )

    def _tokens(
        self, draft: _Draft, span: Span, ids: list[int], offsets: Sequence[tuple[int, int]]
    ) -> tuple[int, int, bool]:
        """The tokens of a span: the first, the one after the last, and whether a special token ends it.

        Blanks after the special token, and what a template writes after those, are left out: no server reads on.
        """
        first = bisect_right(offsets, span.start, key=lambda pair: pair[1])
        end = max(first, bisect_left(offsets, span.end, key=lambda pair: pair[0]))
        kinds = "".join(
            "s" if ids[n] in self._special else "b" if not draft.text[slice(*offsets[n])].strip() else "x"
            for n in range(first, end)
        )
        closing = _CLOSING.search(kinds)
        return first, first + closing.end(1) if closing else end, closing is not None

    def _end_token(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise UserError(
                "neither the chat template nor the tokenizer has an end token, so the model could not learn to stop",
                str(getattr(self.tokenizer, "name_or_path", "")),
                "set eos_token in its tokenizer_config.json",
            )
        return int(self.tokenizer.eos_token_id)


def messages_for_template(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's messages without what is ours alone."""
    return [{name: value for name, value in message.items() if name != "weight"} for message in row["messages"]]


def _place(row: Mapping[str, Any]) -> str:
    return f"row {row['id']}" if "id" in row else "a row"


def _added_before(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before every text by itself."""
    whole, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = (n for n in range(len(whole) - len(bare) + 1) if whole[n : n + len(bare)] == bare)
    return tuple(whole[: next(starts, 0)])


def cut(rendered: Rendered, max_length: int) -> Rendered:
    """The first tokens of a conversation; the end is what is lost."""
    ids, learned = rendered.ids[:max_length], rendered.learned[:max_length]
    return Rendered(ids, learned, min(rendered.prompt, len(ids)))


def answer_is_left(rendered: Rendered) -> bool:
    """Whether anything of the last answer is still learned."""
    return any(rendered.learned[rendered.prompt :])


def coloured(tokenizer: Any, rendered: Rendered) -> list[tuple[str, bool]]:
    """The conversation as pieces of text, each learned or not, for a person to look at.

    A piece is what its tokens add to the text before them: many tokenizers write a blank or half a letter only in the
    company of their neighbours.
    """
    pieces: list[tuple[str, bool]] = []
    so_far, start, total = "", 0, len(rendered.ids)
    while start < total:
        flag, end = rendered.learned[start], start + 1
        while end < total and rendered.learned[end] == flag:
            end += 1
        text = _decoded(tokenizer, rendered.ids[:end])
        while text.endswith("\ufffd") and end < total:
            end += 1
            text = _decoded(tokenizer, rendered.ids[:end])
        piece = text[len(so_far) :] if text.startswith(so_far) else _decoded(tokenizer, rendered.ids[start:end])
        pieces.append((piece, flag))
        so_far, start = text, end
    return pieces


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
