"""POST /v1/embeddings: texts to vectors of length one, by a tuned or a pretrained sentence encoder."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from tunesmith.server.answering import ask, refuse
from tunesmith.server.requests import EmbeddingBody, read_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.types import Row

PATH = "/v1/embeddings"


def routes() -> list[Route]:
    """Routes of this room."""
    return [Route(PATH, embeddings, methods=["POST"])]


async def embeddings(request: Request) -> Response:
    """A vector for each text."""
    body = await read_body(request, EmbeddingBody)
    texts = _texts(body.input)
    side = body.input_type or "query"
    counts: list[int] = []

    def rows(task: Any, _model: Any) -> Sequence[Row]:
        beginning = task.prompts["query" if side == "query" else "document"]
        counts.extend(map(len, task.tokenizer([beginning + text for text in texts], verbose=False)["input_ids"]))
        if side == "query":
            return [{"id": str(i), "query": text} for i, text in enumerate(texts, 1)]
        return [{"id": str(i), "query": "", "passages": [text]} for i, text in enumerate(texts, 1)]

    said = await ask(request, body.model, _check_encoder, rows)
    vectors = [one["query"] if side == "query" else one["passages"][0] for one in said.predictions]
    width, most = len(vectors[0]), int(said.task.facts.values["max_length"])
    if body.dimensions not in (None, width):
        raise refuse("dimensions", f"this model's vectors have {width} numbers, and can't be cut: leave dimensions out")
    read = sum(min(count, most) for count in counts)
    answer: dict[str, Any] = {
        "object": "list",
        "model": body.model,
        "data": [
            {"object": "embedding", "index": i, "embedding": _written(vector, body.encoding_format)}
            for i, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }
    if cut := [i for i, count in enumerate(counts) if count > most]:
        # As in ``tunesmith predict``: what is longer loses its end, and here it is said of which texts.
        answer["truncated"] = cut
    return JSONResponse(answer)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            what = (
                "'input' holds token ids, and another tokenizer's would be read as other words: send texts "
                "(LangChain: check_embedding_ctx_length=False)"
            )
            raise refuse("input", what)
        if not text.strip():
            raise refuse("input", f"'input' cannot be an empty string (text {number})")
    return texts


def _check_encoder(kind: str) -> None:
    if kind != "retrieval":
        raise refuse("model", f"a {kind} model makes no embeddings: name a sentence encoder")


def _written(vector: Sequence[float], form: str | None) -> list[float] | str:
    if form != "base64":
        return list(vector)
    import numpy as np

    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
