"""Rows to predictions through a model that is held: its own thread, its queue, one computation at a time.

What is answered is what ``tunesmith predict`` gives for the same rows. It knows no route.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from tunesmith.errors import UserError
from tunesmith.predict import predict_table
from tunesmith.server.faults import ApiFault
from tunesmith.server.tasks_held import engine_for
from tunesmith.server.turns import Stop, Turns
from tunesmith.types import Row

if TYPE_CHECKING:
    from starlette.requests import Request

TURNS = "turns"
Check = Callable[[str], None]
Rows = Callable[[Any, Any], Sequence[Row]]


@dataclass(frozen=True)
class Answered:
    """What a model said.

    Args:
        task: The task that asked it.
        rows: As they were asked.
        predictions: Of each row.
        faults: Why a row's file could not be read; None where it was predicted.
    """

    task: Any
    rows: Sequence[Row]
    predictions: Sequence[Any]
    faults: Sequence[str | None]


async def ask(request: Request, name: str, check: Check, rows: Rows) -> Answered:
    """Predictions for rows by the model of a name.

    Args:
        request: Its body has been read.
        name: Of the model.
        check: Is told the model's kind; raises `ApiFault` where such a one can't answer what was asked.
        rows: Makes the rows for the task and its model, in the model's thread.

    Raises:
        ApiFault: There is no such model, it can't answer that, or too many wait for it.
    """
    server = request.app.state.server
    # Before it waits: a name that stands for nothing gets no queue.
    named = await run_in_threadpool(server.models.resolve, name)
    check(named.kind)

    def work(stop: Stop) -> Answered:
        import torch

        stop.check()
        task, model, lock = server.models.task(name)
        with lock, stop.within(model):
            stop.check()
            engine = engine_for(server.settings.device)
            try:
                table = rows(task, model.to(engine.device))
                found = predict_table(task, model, table, engine=engine, progress=stop.check)
            except UserError as fault:
                # Where it is names a file of this machine.
                said = "; ".join(part for part in (fault.what, fault.fix) if part)
                raise ApiFault(400, said, code="invalid_input") from fault
            except (MemoryError, torch.OutOfMemoryError) as fault:
                raise ApiFault(503, "memory does not suffice; ask for less at once", code="out_of_memory") from fault
        return Answered(task, table, [one for one, _ in found], [why for _, why in found])

    turns: Turns = server.extra.setdefault(TURNS, Turns(server.settings))
    return await turns.take(request, named.place, work)


def refuse(param: str, what: str) -> ApiFault:
    """A field that is at fault."""
    return ApiFault(400, what, param=param, code="invalid_value")
