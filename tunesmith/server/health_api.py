"""The routes by which a server is watched: whether it is well, what it measures, what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from tunesmith.server.app import Server
    from tunesmith.server.measures import Labels

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def routes() -> list[Route]:
    """``/healthz``, ``/metrics`` and ``/openapi.json``."""
    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", published, methods=["GET"]),
    ]


async def healthz(request: Request) -> Response:
    """Whether the server answers and its store can be read."""
    from tunesmith import __version__

    jobs = await run_in_threadpool(request.app.state.server.store.count_jobs)
    return JSONResponse({"status": "ok", "version": __version__, "jobs": jobs})


async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    server: Server = request.app.state.server
    jobs = await run_in_threadpool(server.store.count_jobs)
    counts: dict[Labels, float] = {(("status", name),): float(count) for name, count in jobs.items()}
    gauges: dict[str, tuple[str, Mapping[Labels, float]]] = {"tunesmith_jobs": ("Jobs by status.", counts)}
    for part in (server.models, *server.extra.values()):
        more = getattr(part, "gauges", None)
        if more is not None:
            gauges |= await run_in_threadpool(more)
    return Response(server.measures.text(gauges), media_type=PROMETHEUS)


async def published(request: Request) -> Response:
    """The OpenAPI of all routes."""
    from tunesmith.server.openapi import document

    return JSONResponse(document(request.app.routes))
