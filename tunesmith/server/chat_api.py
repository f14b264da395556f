"""``/v1/chat/completions`` and, from ``completions``, ``/v1/completions``: replies, whole or as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from tunesmith.server import completions
from tunesmith.server.chat_objects import Heading, chat_logprobs, finish_of, usage_of
from tunesmith.server.chat_prompt import prompt_of_chat
from tunesmith.server.faults import ApiFault
from tunesmith.server.requests import ChatBody, read_body
from tunesmith.server.streaming import streamed
from tunesmith.server.tool_calls import Said, Saying, said_in
from tunesmith.server.waiting import unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.asking.model import Prompt
    from tunesmith.model.continuous import Noted
    from tunesmith.server.app import Server
    from tunesmith.server.decoder import Decoder, Written


def routes() -> list[Route]:
    """The routes of replies."""
    return [Route("/v1/chat/completions", chat, methods=["POST"]), *completions.routes()]


async def chat(request: Request) -> Response:
    """Replies to a conversation."""
    server: Server = request.app.state.server
    body = await read_body(request, ChatBody)
    note = _note(body)
    decoder: Decoder = await run_in_threadpool(server.models.decoder, body.model)
    prompt = await run_in_threadpool(prompt_of_chat, body, decoder.local)
    seconds = server.settings.seconds
    if body.stream:
        return await streamed(request, _chunks(body, decoder, prompt, note), seconds)
    written = await unless_gone(request, decoder.submit(prompt, n=body.n or 1, note=note), seconds)
    heading = Heading("chat.completion", body.model, "chatcmpl")
    choices = [_choice(body, decoder, index, one) for index, one in enumerate(written)]
    return JSONResponse(heading.around(choices, usage=usage_of([written])))


def _note(body: ChatBody) -> int | None:
    """How many of the likeliest tokens are to be noted; None where nothing is."""
    if body.top_logprobs and not body.logprobs:
        raise ApiFault(400, "top_logprobs needs logprobs: true", param="top_logprobs", code="invalid_value")
    return (body.top_logprobs or 0) if body.logprobs else None


def _message(said: Said) -> dict[str, Any]:
    message = {"role": "assistant", "content": said.content, "refusal": None}
    return {**message, **({"tool_calls": said.calls} if said.calls else {})}


def _choice(body: ChatBody, decoder: Decoder, index: int, one: Written) -> dict[str, Any]:
    said = said_in(one.reply.text, body)
    return {
        "index": index,
        "message": _message(said),
        "logprobs": chat_logprobs(decoder.local, one.noted if body.logprobs else None),
        "finish_reason": finish_of(one, said.calls),
    }


async def _chunks(
    body: ChatBody, decoder: Decoder, prompt: Prompt, note: int | None
) -> AsyncGenerator[dict[str, Any], None]:
    """A reply as the API streams it."""
    heading = Heading("chat.completion.chunk", body.model, "chatcmpl")
    counts = body.stream_options is not None and bool(body.stream_options.include_usage)
    usage: dict[str, Any] = {"usage": None} if counts else {}
    n = body.n or 1

    def chunk(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return heading.around([choice], **usage)

    whole: dict[int, Written] = {}
    saying: dict[int, Saying] = {}
    noted: dict[int, list[Noted]] = {}
    async with aclosing(decoder.stream(prompt, n=n, note=note)) as pieces:
        async for piece in pieces:
            if piece.index not in saying:
                saying[piece.index], noted[piece.index] = Saying(body), []
                yield chunk(piece.index, {"role": "assistant", "content": "", "refusal": None})
            noted[piece.index] += piece.noted
            deltas = saying[piece.index].add(piece.text) if piece.text else []
            finish = None
            if piece.written is not None:
                whole[piece.index] = one = piece.written
                said = said_in(one.reply.text, body)
                deltas += saying[piece.index].end(said)
                finish = finish_of(one, said.calls)
            for delta in deltas:
                # What is noted comes with the first that is said after it.
                found = noted[piece.index] if body.logprobs else None
                yield chunk(piece.index, delta, chat_logprobs(decoder.local, found) if found else None)
                noted[piece.index] = []
            if finish is not None:
                rest = noted[piece.index] if body.logprobs else None
                yield chunk(piece.index, {}, chat_logprobs(decoder.local, rest) if rest else None, finish)
    if counts:
        usage["usage"] = usage_of([[whole[index] for index in range(n)]])
        yield heading.around([], **usage)
