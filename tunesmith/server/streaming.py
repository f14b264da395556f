"""Server-sent events: JSON objects as they come, a fault as an object of its own, ``[DONE]`` at the end.

It knows no model and no route.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import StreamingResponse

from tunesmith.server.faults import ApiFault
from tunesmith.server.waiting import unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
DONE = "data: [DONE]\n\n"


async def streamed(request: Request, parts: AsyncGenerator[dict[str, Any], None], seconds: float) -> StreamingResponse:
    """A response that gives parts as they come. What fails before the first part is a fault with its own status.

    Args:
        request: Whose body has been read.
        parts: Closed when the client goes away.
        seconds: Most time for all of them.

    Raises:
        ApiFault: What the first part raises; 499 where the client went away, 504 where it took too long.
    """
    ends = time.monotonic() + seconds
    try:
        first = await unless_gone(request, anext(parts), seconds)
    except BaseException:
        await parts.aclose()
        raise
    events = _events(first, parts, ends)
    return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _events(
    first: dict[str, Any], parts: AsyncGenerator[dict[str, Any], None], ends: float
) -> AsyncIterator[str]:
    async with aclosing(parts):
        yield event(first)
        while True:
            try:
                part = await asyncio.wait_for(anext(parts), max(0.0, ends - time.monotonic()))
            except StopAsyncIteration:
                break
            except TimeoutError:
                yield event(ApiFault(504, "the answer took longer than one may take", code="timeout").body())
                break
            except ApiFault as fault:
                yield event(fault.body())
                break
            except Exception as fault:  # the status was sent: all that is left is to say it in the stream
                traceback.print_exception(fault, file=sys.stderr)
                yield event(ApiFault(500, "the server failed; its terminal says where", code="server_error").body())
                break
            yield event(part)
    yield DONE


def event(part: dict[str, Any]) -> str:
    """One event."""
    return f"data: {json.dumps(part, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def together(streams: list[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """What several streams give, as it comes, each with the number of its stream; closing it closes all.

    Raises:
        Exception: The first that one of them raises.
    """
    came: asyncio.Queue[tuple[int, T | None, BaseException | None]] = asyncio.Queue()

    async def follow(number: int, stream: AsyncGenerator[T, None]) -> None:
        try:
            async with aclosing(stream):
                async for part in stream:
                    came.put_nowait((number, part, None))
            came.put_nowait((number, None, None))
        except Exception as fault:  # raised below, where somebody waits for it
            came.put_nowait((number, None, fault))

    tasks = [asyncio.create_task(follow(number, stream)) for number, stream in enumerate(streams)]
    left = len(tasks)
    try:
        while left:
            number, part, fault = await came.get()
            if fault is not None:
                raise fault
            if part is None:
                left -= 1
            else:
                yield number, part
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
