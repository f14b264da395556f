"""Work that no one waits for any longer is left off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from tunesmith.server.faults import ApiFault
from tunesmith.server.waiting import unless_gone


def outcome(work: Callable[[list[str]], Awaitable[Any]], *, gone_after: float, seconds: float) -> tuple[Any, list[str]]:
    """What a client gets whose connection lasts so long, and what the work went through."""
    passed: list[str] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(gone_after)
        return {"type": "http.disconnect"}

    async def whole() -> Any:
        found = await unless_gone(Request({"type": "http"}, receive), work(passed), seconds)
        # Nothing of it is left running.
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    try:
        return asyncio.run(whole()), passed
    except ApiFault as fault:
        return fault.status, passed


async def slow(passed: list[str]) -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        passed.append("left off")
        raise
    return "too late"


async def quick(passed: list[str]) -> str:
    await asyncio.sleep(0)
    return "done"


async def wrong(passed: list[str]) -> str:
    raise ApiFault(404, "no such model")


def test_what_is_done_in_time_is_answered() -> None:
    assert outcome(quick, gone_after=30, seconds=30) == ("done", [])


def test_work_ends_when_its_client_goes_away() -> None:
    assert outcome(slow, gone_after=0.01, seconds=30) == (499, ["left off"])


def test_work_ends_when_its_time_is_over() -> None:
    assert outcome(slow, gone_after=30, seconds=0.01) == (504, ["left off"])


def test_what_the_work_raises_is_raised() -> None:
    assert outcome(wrong, gone_after=30, seconds=30) == (404, [])


def test_work_ends_when_the_server_does() -> None:
    passed: list[str] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(30)
        return {}

    async def whole() -> None:
        task = asyncio.ensure_future(unless_gone(Request({"type": "http"}, receive), slow(passed), 30))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    assert passed == ["left off"]
