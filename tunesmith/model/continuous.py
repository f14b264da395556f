"""Answers that grow together: a prompt joins at any token and leaves when it is answered.

Continuous batching, as in Orca (OSDI 2022): each pass writes one token of every open answer, whenever each began. It
knows token ids and rows of a cache; no text, no template and no queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tunesmith.errors import UserError
from tunesmith.model.generation import READ_TOGETHER, Answer, Steer, Step, held_tokens
from tunesmith.model.packing import can_pack
from tunesmith.model.shared_base import SharedBase


@dataclass(frozen=True)
class Noted:
    """How likely a token was, before anything steered it.

    Args:
        token: Its id.
        logprob: Natural logarithm of its probability.
        likeliest: The likeliest tokens at its place with theirs, best first.
    """

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(eq=False)
class Growing:
    """One answer on its way.

    Args:
        prompt: Token ids; at least one.
        stop: Ids that end it.
        most: Most tokens, at least one.
        steer: What changes the logits of its tokens, if anything.
        adapter: Whose answer it is; None is the base's.
        note: How many of the likeliest tokens are noted at each place; None notes nothing.
        written: Its tokens so far.
        noted: What was noted of each.
        ended: Whether it ended by itself.
        fault: Why it could not go on.
    """

    prompt: Sequence[int]
    stop: frozenset[int]
    most: int
    steer: Steer | None = None
    adapter: str | None = None
    note: int | None = None
    written: list[int] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    ended: bool = False
    fault: Exception | None = None
    _step: Step | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more comes."""
        return self.ended or self.fault is not None or len(self.written) >= self.most

    @property
    def answer(self) -> Answer:
        """What was written so far."""
        return Answer(tuple(self.written), self.ended)

    def take(self, logits: Tensor, likeliest: int) -> None:
        """The next token.

        Args:
            logits: fp32 [vocabulary].
            likeliest: Where they are highest.
        """
        token = likeliest
        if self.steer is not None:
            self._step = self._step or self.steer()
            token = int(self._step(self.written, logits.clone()).argmax())
        if token in self.stop:
            self.ended = True
            return
        if self.note is not None:
            scores = torch.log_softmax(logits, 0)
            values, places = scores.topk(min(self.note, len(scores)))
            pairs = tuple(zip(places.tolist(), values.tolist(), strict=True))
            self.noted.append(Noted(token, float(scores[token]), pairs))
        self.written.append(token)


@dataclass(eq=False)
class _Group:
    """Rows that go through the model in one pass: a cache, and which of its places are theirs, int64 [rows, length]."""

    rows: list[Growing]
    cache: Any
    mask: Tensor


class Batch:
    """Open answers of one base.

    Args:
        base: The decoder and its adapters; one thread at a time uses both.
        pad: Id that fills up shorter prompts.

    Raises:
        UserError: The model keeps no keys and values that could grow.
    """

    def __init__(self, base: SharedBase, pad: int) -> None:
        import inspect

        model: Any = base.model
        known = inspect.signature(model.forward).parameters
        if "past_key_values" not in known:
            what = f"a {type(model).__name__} keeps no keys and values, so its answers can't grow side by side"
            raise UserError(what, "", "serve a transformer decoder")
        self._base, self._model, self._pad = base, model, pad
        self._extra = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        # What fills up a shorter row would count in a window that slides, and in a state that is no key.
        slides = getattr(model.config, "sliding_window", None) is not None
        self.merges = can_pack(model) is None and not slides and "position_ids" in known
        self.room = held_tokens(model)
        self._device = next(model.parameters()).device
        self._groups: list[_Group] = []

    @property
    def rows(self) -> list[Growing]:
        """The answers that are open."""
        return [row for group in self._groups for row in group.rows]

    @property
    def tokens(self) -> int:
        """Tokens of which keys and values are held, those that only fill up included."""
        return sum(group.mask.numel() for group in self._groups)

    @torch.inference_mode()
    def join(self, rows: Sequence[Growing]) -> None:
        """Read prompts, and write the first token of each; one that can't be read has a ``fault``."""
        for part in self._together(rows):
            try:
                group = self._read(part)
            except (torch.OutOfMemoryError, MemoryError) as fault:
                for row in part:
                    row.fault = fault
                continue
            self._settle(group)
        self._merge()

    @torch.inference_mode()
    def step(self) -> list[Growing]:
        """Write one more token of every open answer.

        Returns:
            The answers that were open, each with a token more, ended, or with a ``fault``.
        """
        met = self.rows
        for group in list(self._groups):
            self._groups.remove(group)
            while group.rows:
                length = group.mask.shape[1]
                try:
                    self._write(group)
                    break
                except (torch.OutOfMemoryError, MemoryError) as fault:
                    # Who came last gives way; nothing of the token that failed may stay in the cache.
                    last = max(range(len(group.rows)), key=lambda i: -len(group.rows[i].written))
                    group.rows[last].fault = fault
                if len(group.rows) > 1:
                    _crop(group, length)
                self._keep(group)
            self._settle(group)
        self._merge()
        return met

    def leave(self, rows: Sequence[Growing]) -> None:
        """Let answers go that nobody waits for any more."""
        gone = {id(row) for row in rows}
        for group in list(self._groups):
            self._keep(group, gone)
            if not group.rows:
                self._groups.remove(group)

    def _together(self, rows: Sequence[Growing]) -> Iterator[list[Growing]]:
        """Prompts that are read together: of like length, so many tokens at a time."""
        ordered = sorted(rows, key=lambda row: (len(row.prompt), row.adapter or ""))
        part: list[Growing] = []
        for row in ordered:
            alike = not part or (self._base.mixes or row.adapter == part[0].adapter)
            full = bool(part) and (len(part) + 1) * len(row.prompt) > READ_TOGETHER
            if part and (not self.merges or full or not alike):
                yield part
                part = []
            part.append(row)
        if part:
            yield part

    def _read(self, rows: list[Growing]) -> _Group:
        from transformers import DynamicCache

        rows = sorted(rows, key=_by_adapter)
        longest = max(len(row.prompt) for row in rows)
        ids = torch.full((len(rows), longest), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, longest - len(row.prompt) :] = torch.tensor(list(row.prompt))
            mask[place, longest - len(row.prompt) :] = 1
        group = _Group(rows, DynamicCache(config=self._model.config), mask.to(self._device))
        positions = (group.mask.cumsum(1) - 1).clamp(min=0)
        self._take(group, self._logits(group, ids.to(self._device), positions))
        return group

    def _write(self, group: _Group) -> None:
        ids = torch.tensor([[row.written[-1]] for row in group.rows], device=self._device)
        group.mask = torch.cat([group.mask, torch.ones_like(ids)], 1)
        self._take(group, self._logits(group, ids, group.mask.sum(1, keepdim=True) - 1))

    def _logits(self, group: _Group, ids: Tensor, positions: Tensor) -> Tensor:
        """fp32 [rows, vocabulary]."""
        self._base.route([row.adapter for row in group.rows])
        placed = {"attention_mask": group.mask, "position_ids": positions} if self.merges else {}
        out = self._model(input_ids=ids, past_key_values=group.cache, use_cache=True, **placed, **self._extra)
        found: Tensor = out.logits[:, -1].float()
        return found

    def _take(self, group: _Group, logits: Tensor) -> None:
        for row, line, likeliest in zip(group.rows, logits, logits.argmax(-1).tolist(), strict=True):
            try:
                row.take(line, likeliest)
            except UserError as fault:
                row.fault = fault

    def _settle(self, group: _Group) -> None:
        self._keep(group)
        if group.rows:
            self._groups.append(group)

    def _keep(self, group: _Group, gone: set[int] | frozenset[int] = frozenset()) -> None:
        """Rows that go on; what fills up all of them goes, too."""
        stay = [i for i, row in enumerate(group.rows) if not row.done and id(row) not in gone]
        if len(stay) == len(group.rows):
            return
        group.rows = [group.rows[i] for i in stay]
        if stay:
            places = torch.tensor(stay, device=self._device)
            mask = group.mask[places]
            first = int(mask.argmax(1).min())
            group.mask = mask[:, first:]
            for layer in group.cache.layers:
                layer.keys = layer.keys[places][:, :, first:]
                layer.values = layer.values[places][:, :, first:]

    def _merge(self) -> None:
        """One group of all that can be computed together."""
        if not self.merges or len(self._groups) < 2:
            return
        parts: dict[str, list[_Group]] = {}
        for group in self._groups:
            parts.setdefault("" if self._base.mixes else group.rows[0].adapter or "", []).append(group)
        self._groups = [_merged(groups) for groups in parts.values()]


def _by_adapter(row: Growing) -> str:
    return row.adapter or ""


def _crop(group: _Group, length: int) -> None:
    group.mask = group.mask[:, :length]
    for layer in group.cache.layers:
        if layer.keys.shape[2] > length:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


def _merged(groups: list[_Group]) -> _Group:
    """Groups as one: shorter ones are filled up on the left, and rows of one adapter stand together."""
    if len(groups) == 1:
        return groups[0]
    longest = max(group.mask.shape[1] for group in groups)
    rows = [row for group in groups for row in group.rows]
    order = sorted(range(len(rows)), key=lambda i: _by_adapter(rows[i]))
    first = groups[0]
    places = torch.tensor(order, device=first.mask.device)

    def joined(parts: Sequence[Tensor], at: int) -> Tensor:
        filled = []
        for part in parts:
            missing = longest - part.shape[at]
            shape = [*part.shape[:at], missing, *part.shape[at + 1 :]]
            filled.append(torch.cat([part.new_zeros(shape), part], at) if missing else part)
        return torch.cat(filled)[places]

    for layer, *others in zip(*(group.cache.layers for group in groups), strict=True):
        layer.keys = joined([layer.keys, *(other.keys for other in others)], 2)
        layer.values = joined([layer.values, *(other.values for other in others)], 2)
    mask = joined([group.mask for group in groups], 1)
    return _Group([rows[i] for i in order], first.cache, mask)
