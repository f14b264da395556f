"""POST /v1/images/generations: prompts to pictures, by a tuned or a pretrained pipeline.

The same prompt and seed give the same picture, as in ``tunesmith predict``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from tunesmith.server.answering import ask, refuse
from tunesmith.server.requests import ImageBody, read_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.types import Row

PATH = "/v1/images/generations"
LARGEST = 4
"""How many times the pixels of the model's own size a picture may have: memory grows with them, and likeness falls."""


def routes() -> list[Route]:
    """Routes of this room."""
    return [Route(PATH, generations, methods=["POST"])]


async def generations(request: Request) -> Response:
    """Pictures of a prompt, PNG in base64."""
    body = await read_body(request, ImageBody)
    if body.response_format == "url":
        raise refuse("response_format", "pictures are answered as b64_json: this server keeps none to be fetched")
    if body.output_format not in (None, "png"):
        raise refuse("output_format", "pictures are answered as png, without loss: leave output_format out")
    if not body.prompt.strip():
        raise refuse("prompt", "'prompt' is empty")

    def rows(task: Any, _model: Any) -> Sequence[Row]:
        return rows_of(task, body)

    said = await ask(request, body.model, _check_maker, rows)
    height, width = said.task.feeding.asked(said.rows[0])
    return JSONResponse(
        {
            "created": int(time.time()),
            "data": [{"b64_json": one["png"]} for one in said.predictions],
            "output_format": "png",
            "size": f"{width}x{height}",
        }
    )


def rows_of(task: Any, body: ImageBody) -> list[dict[str, Any]]:
    """The rows that ``tunesmith predict`` would make of the prompt: noise comes from a row's id.

    Without a seed the id is 1; with one it is the seed. Several pictures of it have ``-1``, ``-2`` behind it.

    Raises:
        ApiFault: The size is larger than the model's own by far.
    """
    seed = 1 if body.seed is None else body.seed
    ids = [str(seed)] if body.n is None else [f"{seed}-{number}" for number in range(1, body.n + 1)]
    size: dict[str, int] = {}
    if body.size not in (None, "auto"):
        width, height = map(int, str(body.size).split("x"))
        side = int(task.feeding.side)
        if width * height > LARGEST * side**2:
            what = (
                f"a picture of {width} x {height} is too large for this model: at most {LARGEST} times {side} x {side}"
            )
            raise refuse("size", what)
        size = {"height": height, "width": width}
    return [{"id": one, "image": "", "text": body.prompt, **size} for one in ids]


def _check_maker(kind: str) -> None:
    if kind != "text-to-image":
        raise refuse("model", f"a {kind} model makes no pictures: name one for text-to-image")
