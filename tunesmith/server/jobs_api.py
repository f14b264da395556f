"""The routes of fine-tuning jobs. What a job is and what becomes of it is said elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.server.repeated import key_of
from tunesmith.server.requests import JobBody, listing, page_of, read_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from tunesmith.server.jobs import Jobs


def routes() -> list[Route]:
    """All routes of jobs."""
    from starlette.routing import Route

    top = "/v1/fine_tuning/jobs"
    one = f"{top}/{{job_id}}"
    return [
        Route(top, create_job, methods=["POST"]),
        Route(top, list_jobs, methods=["GET"]),
        Route(one, retrieve_job, methods=["GET"]),
        Route(f"{one}/cancel", cancel_job, methods=["POST"]),
        Route(f"{one}/pause", pause_job, methods=["POST"]),
        Route(f"{one}/resume", resume_job, methods=["POST"]),
        Route(f"{one}/events", list_events, methods=["GET"]),
        Route(f"{one}/checkpoints", list_checkpoints, methods=["GET"]),
    ]


async def create_job(request: Request) -> Response:
    """Make a job of files that were uploaded.

    Raises:
        ApiFault: 400 for a file, a model or a setting that can't be; 409 for an Idempotency-Key of another body.
    """
    key = key_of(request)
    body = await read_body(request, JobBody)
    return await _answered(_jobs(request).create, body.model_dump(exclude_none=True), key)


async def list_jobs(request: Request) -> Response:
    """Jobs, newest first, a page at a time; ``metadata[KEY]=VALUE`` gives those that carry it.

    Raises:
        ApiFault: 400 for a page that has no meaning.
    """
    asked, metadata = page_of(request), _metadata(request)

    def found() -> dict[str, Any]:
        jobs = _jobs(request).list(after=asked.after, limit=asked.limit, order=asked.order, metadata=metadata)
        return listing(list(jobs.rows), jobs.has_more)

    return await _answered(found)


async def retrieve_job(request: Request) -> Response:
    """A job as it is now.

    Raises:
        ApiFault: 404, there is none.
    """
    return await _answered(_jobs(request).retrieve, _id(request))


async def cancel_job(request: Request) -> Response:
    """End a job for good.

    Raises:
        ApiFault: 404, there is none; 400, it has ended.
    """
    return await _answered(_jobs(request).cancel, _id(request))


async def pause_job(request: Request) -> Response:
    """Let a job save and rest.

    Raises:
        ApiFault: 404, there is none; 400, it has ended.
    """
    return await _answered(_jobs(request).pause, _id(request))


async def resume_job(request: Request) -> Response:
    """Let a job that rests go on.

    Raises:
        ApiFault: 404, there is none; 400, it does not rest.
    """
    return await _answered(_jobs(request).resume, _id(request))


async def list_events(request: Request) -> Response:
    """What happened to a job, newest first.

    Raises:
        ApiFault: 404, there is none; 400 for a page that has no meaning.
    """
    asked = page_of(request)

    def found() -> dict[str, Any]:
        page = _jobs(request).events(_id(request), after=asked.after, limit=asked.limit, order=asked.order)
        return listing([event.public() for event in page.rows], page.has_more)

    return await _answered(found)


async def list_checkpoints(request: Request) -> Response:
    """A job's models at the end of epochs, newest first.

    Raises:
        ApiFault: 404, there is none; 400 for a page that has no meaning.
    """
    asked = page_of(request, 10)

    def found() -> dict[str, Any]:
        page = _jobs(request).checkpoints(_id(request), after=asked.after, limit=asked.limit, order=asked.order)
        return listing([kept.public() for kept in page.rows], page.has_more)

    return await _answered(found)


async def _answered(act: Callable[..., dict[str, Any]], *values: Any) -> Response:
    """The store waits for its disk, so it is asked from a thread."""
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    return JSONResponse(await run_in_threadpool(act, *values))


def _jobs(request: Request) -> Jobs:
    found: Jobs = request.app.state.server.jobs
    return found


def _id(request: Request) -> str:
    return str(request.path_params["job_id"])


def _metadata(request: Request) -> Mapping[str, str]:
    return {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[") and name.endswith("]")
    }
