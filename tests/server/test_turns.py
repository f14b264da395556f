"""Turns at a model: in order, not without end, and over when nobody waits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.fixtures.asgi import asked
from tests.fixtures.server_parts import bare_app
from tunesmith.server import health_api
from tunesmith.server.faults import ApiFault
from tunesmith.server.settings import Settings
from tunesmith.server.turns import Stop, Stopped, Turns


class Layers(nn.Module):
    """Layers that each wait for a signal to go on; it counts them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(count))
        self.passed = 0
        self.begun, self.go = threading.Event(), threading.Semaphore(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.begun.set()
        for block in self.blocks:
            assert self.go.acquire(timeout=20)
            x = block(x)
            self.passed += 1
        return x


def request(gone: asyncio.Event | None = None) -> Any:
    async def receive() -> dict[str, str]:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return SimpleNamespace(receive=receive)


def turns(folder: Path, **settings: Any) -> Turns:
    return Turns(Settings(folder, **settings))


def through(model: Layers) -> Any:
    def work(stop: Stop) -> torch.Tensor:
        with stop.within(model), torch.inference_mode():
            return model(torch.zeros(1, 2))

    return work


async def begun(model: Layers) -> None:
    while not model.begun.is_set():
        await asyncio.sleep(0.01)


def test_requests_are_answered_one_at_a_time_in_their_order(tmp_path: Path) -> None:
    line, order, inside = turns(tmp_path), [], []

    def work(number: int) -> Any:
        def compute(_stop: Stop) -> int:
            inside.append(number)
            assert len(inside) == 1
            order.append(number)
            inside.remove(number)
            return number

        return compute

    async def run() -> list[int]:
        return await asyncio.gather(*(line.take(request(), "a", work(number)) for number in range(8)))

    assert asyncio.run(run()) == list(range(8)) == order
    assert line.waiting() == {"a": 0}
    line.close()


def test_a_full_queue_is_refused_with_a_time_to_ask_again(tmp_path: Path) -> None:
    line, model = turns(tmp_path, queue=2), Layers(1)

    async def run() -> None:
        held = [asyncio.ensure_future(line.take(request(), "a", through(model))) for _ in range(3)]
        await begun(model)
        with pytest.raises(ApiFault) as caught:
            await line.take(request(), "a", through(model))
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1
        # Another model has a queue of its own.
        assert await line.take(request(), "b", lambda _stop: 5) == 5
        model.go.release(3)
        await asyncio.gather(*held)
        assert model.passed == 3

    asyncio.run(run())
    line.close()


def test_a_client_that_goes_away_stops_the_network_at_its_next_layer(tmp_path: Path) -> None:
    line, model = turns(tmp_path), Layers(6)

    async def run() -> None:
        gone = asyncio.Event()
        held = asyncio.ensure_future(line.take(request(gone), "a", through(model)))
        waiting = asyncio.ensure_future(line.take(request(gone), "a", through(model)))
        await begun(model)
        gone.set()
        for one in (held, waiting):
            with pytest.raises(ApiFault) as caught:
                await one
            assert caught.value.status == 499
        model.go.release(6)
        while line.waiting()["a"]:
            await asyncio.sleep(0.01)
        # The layer that was waited for was never computed, and the one that waited never began.
        assert model.passed == 0
        assert not any(module._forward_pre_hooks for module in model.modules())
        assert await line.take(request(), "a", lambda _stop: 5) == 5

    asyncio.run(run())
    line.close()


def test_an_answer_that_takes_too_long_is_over(tmp_path: Path) -> None:
    line, model = turns(tmp_path, seconds=0.2), Layers(2)

    async def run() -> None:
        with pytest.raises(ApiFault) as caught:
            await line.take(request(), "a", through(model))
        assert caught.value.code == "timeout"
        model.go.release(2)

    asyncio.run(run())
    line.close()
    assert model.passed == 0


def test_a_server_that_stops_tells_those_who_wait(tmp_path: Path) -> None:
    line, model = turns(tmp_path), Layers(2)

    async def run() -> None:
        held = asyncio.ensure_future(line.take(request(), "a", through(model)))
        await begun(model)
        line.close()
        model.go.release(2)
        with pytest.raises(ApiFault) as caught:
            await held
        assert (caught.value.status, caught.value.code) == (503, "server_stopping")

    asyncio.run(run())


def test_faults_of_the_work_come_out_as_they_are(tmp_path: Path) -> None:
    line = turns(tmp_path)

    def work(_stop: Stop) -> int:
        raise ApiFault(404, "no such model", code="model_not_found")

    with pytest.raises(ApiFault, match="no such model"):
        asyncio.run(line.take(request(), "a", work))
    stop = Stop()
    stop.check()
    stop.set()
    with pytest.raises(Stopped):
        stop.check()
    line.close()


def test_who_is_computed_and_who_waits_is_measured(tmp_path: Path) -> None:
    app = bare_app(tmp_path, health_api.routes())
    line, model = turns(tmp_path), Layers(1)
    app.state.server.extra["turns"] = line

    async def measured() -> dict[str, float]:
        text = (await asked(app, "GET", "/metrics")).body.decode()
        lines = [line.split() for line in text.splitlines() if line.startswith("tunesmith_turns")]
        return {name: float(value) for name, value in lines}

    async def run() -> None:
        held = asyncio.ensure_future(line.take(request(), str(tmp_path), through(model)))
        await begun(model)
        others = [asyncio.ensure_future(line.take(request(), str(tmp_path), lambda _stop: 1)) for _ in range(2)]
        others.append(asyncio.ensure_future(line.take(request(), "another", lambda _stop: 1)))
        assert await others[-1] == 1
        assert await measured() == {"tunesmith_turns_taken": 1, "tunesmith_turns_waiting": 2}
        model.go.release()
        await asyncio.gather(held, *others)
        assert await measured() == {"tunesmith_turns_taken": 0, "tunesmith_turns_waiting": 0}
        assert str(tmp_path) not in (await asked(app, "GET", "/metrics")).body.decode()

    asyncio.run(run())
    line.close()
