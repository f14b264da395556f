"""One request to a decoder: its prompt made ready, its replies piece by piece. It knows no route and no HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tunesmith.asking.model import Prompt, Reply, TooLong
from tunesmith.asking.spoken import Spoken
from tunesmith.errors import UserError
from tunesmith.server.decoding import Ask, Engine
from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from tunesmith.asking.local import LocalModel
    from tunesmith.model.continuous import Growing, Noted

Lease = Callable[["LocalModel"], AbstractContextManager[tuple[Engine, "str | None"]]]
READY = threading.Lock()
"""One prompt at a time is made ready: a tokenizer is not meant for two threads, and templates hold the interpreter."""


@dataclass(frozen=True)
class Piece:
    """More of a reply.

    Args:
        index: Of which of the replies.
        text: What is new; it may be empty.
        noted: Of the tokens that are new, where that was asked for.
        written: The whole reply, where this is its last piece.
    """

    index: int
    text: str
    noted: tuple[Noted, ...] = ()
    written: Written | None = None


@dataclass(frozen=True)
class Written:
    """A whole reply.

    Args:
        reply: Its text, and what it cost.
        tokens: Its tokens; the one that ended it is left out.
        noted: Of each token of the text, where that was asked for.
    """

    reply: Reply
    tokens: tuple[int, ...]
    noted: tuple[Noted, ...] = ()


class Decoder:
    """A decoder that is served.

    Args:
        local: Its template and tokenizer.
        lease: What computes for it, loaded if need be.
    """

    def __init__(self, local: LocalModel, lease: Lease) -> None:
        self.local, self._lease = local, lease

    async def submit(self, prompt: Prompt, *, n: int = 1, note: int | None = None) -> list[Written]:
        """Replies to a prompt; drawn ones each by a seed of their own. Cancelling it lets them go.

        Args:
            prompt: It.
            n: How many.
            note: How many of the likeliest tokens are noted beside each token; None notes nothing.

        Raises:
            ApiFault: 400 where the prompt can't be read, 429 where too many wait, 503 where there is no memory.
        """
        found: dict[int, Written] = {}
        async with aclosing(self._pieces(prompt, n, note, whole=True)) as pieces:
            async for piece in pieces:
                if piece.written is not None:
                    found[piece.index] = piece.written
        return [found[i] for i in range(n)]

    def stream(self, prompt: Prompt, *, n: int = 1, note: int | None = None) -> AsyncGenerator[Piece, None]:
        """The same piece by piece, as the tokens come. Closing it lets the replies go."""
        return self._pieces(prompt, n, note, whole=False)

    async def _pieces(self, prompt: Prompt, n: int, note: int | None, *, whole: bool) -> AsyncGenerator[Piece, None]:
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[tuple[int, int, bool]] = asyncio.Queue()
        growing = await asyncio.to_thread(self._growing, prompt, n, note)
        lease = self._lease(self.local)
        engine, adapter = await _entered(lease)
        asks: list[Ask] = []
        try:
            for index, one in enumerate(growing):
                one.adapter = adapter
                asks.append(Ask(one, _teller(loop, told, index, one, whole)))
            engine.submit(asks)
            voices = [_Voice(self.local, prompt, ask) for ask in asks]
            left = set(range(n))
            while left:
                index, count, done = await told.get()
                if index not in left:
                    continue
                if done:
                    left.discard(index)
                    yield voices[index].last(index)
                elif not whole:
                    piece = voices[index].more(index, count)
                    if piece is not None:
                        yield piece
        finally:
            engine.cancel(asks)
            lease.__exit__(None, None, None)

    def _growing(self, prompt: Prompt, n: int, note: int | None) -> list[Growing]:
        """The replies before their first token."""
        from tunesmith.asking.local import UNBOUNDED
        from tunesmith.model.continuous import Growing

        local = self.local
        _check_length(local, prompt)
        try:
            with READY:
                ids = local.tokens_of(prompt)
                steers = [local.steer(replace(prompt, seed=prompt.seed + i)) for i in range(n)]
        except TooLong as fault:
            raise too_long(local.context, fault.what) from fault
        except UserError as fault:
            raise unanswerable(fault) from fault
        if not ids:
            raise ApiFault(400, "the prompt is empty", param="prompt", code="invalid_value")
        room = prompt.max_tokens if local.context == UNBOUNDED else min(prompt.max_tokens, local.context - len(ids))
        return [Growing(ids, local.stops, room, steer=one, note=note) for one in steers]


async def _entered(lease: AbstractContextManager[tuple[Engine, str | None]]) -> tuple[Engine, str | None]:
    """A lease, taken in a thread, for weights may have to be loaded; who is cancelled meanwhile gives it back."""
    entering = asyncio.ensure_future(asyncio.to_thread(lease.__enter__))

    def give_back(done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            lease.__exit__(None, None, None)

    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(give_back)
        raise


class _Voice:
    """A reply that is being written, as text."""

    def __init__(self, local: LocalModel, prompt: Prompt, ask: Ask) -> None:
        self._local, self._prompt, self._ask = local, prompt, ask
        self._spoken = Spoken(local.text_of, prompt.stop)
        self._noted = 0

    def more(self, index: int, count: int) -> Piece | None:
        """What is new after so many tokens, if anything can be said."""
        growing = self._ask.growing
        text = self._spoken.add(growing.written[:count])
        if not text:
            return None
        noted = tuple(growing.noted[self._noted : count])
        self._noted += len(noted)
        return Piece(index, text, noted)

    def last(self, index: int) -> Piece:
        """What is left, and the whole.

        Raises:
            ApiFault: It could not go on.
        """
        growing, local = self._ask.growing, self._local
        if growing.fault is not None:
            raise _fault_of(growing.fault)
        seconds = time.monotonic() - self._ask.began
        reply = local.reply(self._prompt, len(growing.prompt), growing.answer, seconds)
        noted = tuple(growing.noted[: _tokens_of(local, growing.written, reply.text)])
        written = Written(reply, tuple(growing.written), noted)
        return Piece(index, self._spoken.rest(reply.text), noted[self._noted :], written)


def _tokens_of(local: LocalModel, written: Sequence[int], text: str) -> int:
    """How many tokens the text is of; those of the text that ended it follow."""
    low, high = 0, len(written)
    while low < high:
        middle = (low + high) // 2
        if len(local.text_of(written[:middle])) < len(text):
            low = middle + 1
        else:
            high = middle
    return low if len(local.text_of(written)) > len(text) else len(written)


def _teller(
    loop: asyncio.AbstractEventLoop, told: asyncio.Queue[Any], index: int, growing: Growing, whole: bool
) -> Callable[[], None]:
    """What the base's thread calls after each token: it tells the loop, and does no more."""

    def tell() -> None:
        if growing.done or not whole:
            try:
                loop.call_soon_threadsafe(told.put_nowait, (index, len(growing.written), growing.done))
            except RuntimeError:
                # The loop has ended, and with it everybody who waited.
                return

    return tell


def _check_length(local: LocalModel, prompt: Prompt) -> None:
    """Refuse a text that is too long whatever its tokens are, before it is cut into them."""
    letters = sum(len(str(message.get("content") or "")) for message in prompt.messages)
    if letters > local.context * local.longest_token:
        least = letters // local.longest_token
        raise too_long(local.context, f"the prompt has more than {least:,} tokens")


def too_long(context: int, what: str) -> ApiFault:
    """A prompt that leaves no room for a reply."""
    text = f"This model's maximum context length is {context} tokens: {what}"
    return ApiFault(400, text, param="messages", code="context_length_exceeded")


def unanswerable(fault: UserError) -> ApiFault:
    """A prompt that can't be answered. Where it is at fault is a place of this machine, and stays here."""
    text = "; ".join(part for part in (fault.what, fault.fix) if part)
    return ApiFault(400, text, code="invalid_value")


def _fault_of(fault: Exception) -> Exception:
    if isinstance(fault, UserError):
        return unanswerable(fault)
    if isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError":
        return ApiFault(503, "the server's memory is full; ask again", code="out_of_memory", retry_after=5)
    return fault
