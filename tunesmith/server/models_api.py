"""``/v1/models``: what may be asked and tuned. It loads nothing."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def routes() -> list[Route]:
    """The routes of models."""
    return [
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{model:path}", retrieve_model, methods=["GET"]),
    ]


async def list_models(request: Request) -> Response:
    """All models."""
    cards = await run_in_threadpool(request.app.state.server.models.cards)
    return JSONResponse({"object": "list", "data": cards})


async def retrieve_model(request: Request) -> Response:
    """One model, by a name that may hold slashes and colons."""
    named = await run_in_threadpool(request.app.state.server.models.resolve, request.path_params["model"])
    owner = "user" if named.name.startswith("ft:") else "tunesmith"
    return JSONResponse({"id": named.name, "object": "model", "created": named.created, "owned_by": owner})
