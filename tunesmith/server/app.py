"""The server's one application: its rooms' routes behind the gate, and every fault in the API's shape.

It knows no route's business. The rooms of the routes are imported when an application is made.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from tunesmith.errors import UserError
from tunesmith.server.faults import ApiFault
from tunesmith.server.measures import Measured, Measures
from tunesmith.server.security import Gate, fault_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from tunesmith.server.settings import Settings

ROUTE_MODULES = (
    "files_api",
    "uploads_api",
    "jobs_api",
    "models_api",
    "chat_api",
    "embeddings_api",
    "audio_api",
    "images_api",
    "predict_api",
    "health_api",
)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CODES = {404: "not_found", 405: "method_not_allowed"}


@dataclass
class Server:
    """What the routes share: ``request.app.state.server``.

    Args:
        settings: How the server was started.
        store: Files, jobs, events, checkpoints.
        jobs: Creates and follows jobs.
        models: Models that are served.
        measures: How many requests there were, and how long they took.
        extra: What the rooms of the routes keep for the life of the server, by the name of the room.
    """

    settings: Settings
    store: Any
    jobs: Any
    models: Any
    measures: Measures = field(default_factory=Measures)
    extra: dict[str, Any] = field(default_factory=dict)


def make_app(settings: Settings, store: Any = None, jobs: Any = None, models: Any = None) -> Starlette:
    """The application.

    What is not given is made. It is closed with the application, as is what is given.

    Args:
        settings: How it is started; its ``token`` must be set.
        store: Made from ``settings.folder`` if none is given.
        jobs: Made from the store if none is given. Its supervisor runs between start and shutdown of the application.
        models: Made from the store if none is given.

    Raises:
        UserError: The settings have no token, or a folder or model among them can't be used.
    """
    from tunesmith.server.jobs import Jobs
    from tunesmith.server.models import Models
    from tunesmith.server.store import Store

    store = store if store is not None else Store(settings.folder)
    jobs = jobs if jobs is not None else Jobs(store, settings)
    models = models if models is not None else Models(settings, store)
    measures = Measures()
    app = Starlette(
        routes=all_routes(),
        middleware=[Middleware(Measured, measures=measures), Middleware(Gate, settings=settings)],
        exception_handlers={
            ApiFault: _api_fault,
            HTTPException: _http_fault,
            UserError: _user_fault,
            OSError: _os_fault,
        },
        lifespan=_lifespan,
    )
    # A redirect would be made of what the client sent.
    app.router.redirect_slashes = False
    app.state.server = Server(settings, store, jobs, models, measures)
    Gate(app, settings)  # a server without a token is refused here, not at its first request
    return app


def all_routes() -> list[Route]:
    """Every route of every room."""
    rooms = [importlib.import_module(f"tunesmith.server.{name}") for name in ROUTE_MODULES]
    return [route for room in rooms for route in room.routes()]


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """Jobs are followed while the application runs, and no longer."""
    server: Server = app.state.server
    server.store.sweep()
    server.jobs.start()
    try:
        yield
    finally:
        for part in (server.jobs, *server.extra.values(), server.models, server.store):
            stop = getattr(part, "stop", None) or getattr(part, "close", None)
            if stop is not None:
                stop()


async def _api_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, ApiFault)
    return fault_response(fault)


async def _http_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    status = fault.status_code
    texts = {
        404: f"there is no route {request.method} {request.url.path[:200]!a}; GET /openapi.json lists all",
        405: f"{request.url.path[:200]!a} does not take {request.method[:20]}",
    }
    said = fault_response(ApiFault(status, texts.get(status, str(fault.detail)), code=CODES.get(status)))
    for name, value in (fault.headers or {}).items():
        said.headers[name] = value
    return said


async def _user_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, UserError)
    # Where it is names a place on this machine, which is no client's business.
    said = "; ".join(part for part in (fault.what, fault.fix) if part)
    return fault_response(ApiFault(400, said, code="invalid_request"))


async def _os_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, OSError)
    if fault.errno in FULL_DISK:
        text = "the server's disk is full, and nothing was kept; make room there, then send it again"
        return fault_response(ApiFault(507, text, code="insufficient_storage"))
    raise fault
