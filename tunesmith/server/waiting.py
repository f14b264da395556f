"""Waiting for work that a request asked for: it ends when the client goes away or time is over. It knows no model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from starlette.requests import Request

Result = TypeVar("Result")
GONE = 499
"""The status, known from web servers' logs, of an answer that no one waits for."""


async def unless_gone(request: Request, work: Awaitable[Result], seconds: float) -> Result:
    """The result of work, which is cancelled where no one waits for it any longer.

    Args:
        request: Whose body has been read.
        work: Reacts to being cancelled by leaving off.
        seconds: Most time that it may take.

    Raises:
        ApiFault: 499 where the client went away, 504 where the time was over, and what the work itself raises.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        done, _ = await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if gone in done:
            raise ApiFault(GONE, "the client went away before it was answered", code="client_gone")
        raise ApiFault(504, f"the answer took longer than the {seconds:g} seconds that one may take", code="timeout")
    finally:
        for one in (task, gone):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await one


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
