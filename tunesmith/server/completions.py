"""``/v1/completions``: texts that a decoder goes on with, without a chat template."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from tunesmith.asking.model import Prompt
from tunesmith.server.chat_objects import Heading, finish_of, plain_logprobs, usage_of
from tunesmith.server.chat_prompt import sampling_of
from tunesmith.server.faults import ApiFault
from tunesmith.server.requests import CompletionBody, read_body
from tunesmith.server.streaming import streamed, together
from tunesmith.server.waiting import unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.server.app import Server
    from tunesmith.server.decoder import Decoder, Written

USUAL = 16
"""Most tokens where a request says none, as in the hosted API."""


def routes() -> list[Route]:
    """The route of completions."""
    return [Route("/v1/completions", complete, methods=["POST"])]


async def complete(request: Request) -> Response:
    """What follows one text, or each of several."""
    server: Server = request.app.state.server
    body = await read_body(request, CompletionBody)
    _check(body)
    decoder: Decoder = await run_in_threadpool(lambda: server.models.decoder(body.model, plain=True))
    sampling = sampling_of(body, decoder.local, body.max_tokens or USUAL)
    texts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    prompts = [Prompt(({"role": "user", "content": text},), **sampling) for text in texts]
    if body.stream:
        return await streamed(request, _chunks(body, decoder, texts, prompts), server.settings.seconds)
    written = await unless_gone(request, _all(body, decoder, prompts), server.settings.seconds)
    heading = Heading("text_completion", body.model, "cmpl")
    choices = [
        _choice(body, decoder, place * len(replies) + number, texts[place], one)
        for place, replies in enumerate(written)
        for number, one in enumerate(replies)
    ]
    return JSONResponse(heading.around(choices, usage=usage_of(written)))


def _check(body: CompletionBody) -> None:
    """Refuse what would be answered otherwise than it was asked."""
    said = {
        "suffix": (bool(body.suffix), "models here write what follows a text, never what stands before a suffix"),
        "best_of": (body.best_of not in (None, body.n or 1), "replies are not chosen among others: leave it out"),
        "echo": (bool(body.echo) and body.logprobs is not None, "the prompt's own logprobs are not given"),
    }
    for name, (wrong, why) in said.items():
        if wrong:
            raise ApiFault(400, f"{name}: {why}", param=name, code="unsupported_parameter")


async def _all(body: CompletionBody, decoder: Decoder, prompts: list[Prompt]) -> list[list[Written]]:
    tasks = [asyncio.create_task(decoder.submit(one, n=body.n or 1, note=body.logprobs)) for one in prompts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _choice(body: CompletionBody, decoder: Decoder, index: int, asked: str, one: Written) -> dict[str, Any]:
    before = asked if body.echo else ""
    return {
        "index": index,
        "text": before + one.reply.text,
        "logprobs": plain_logprobs(decoder.local, None if body.logprobs is None else one.noted, len(asked)),
        "finish_reason": finish_of(one),
    }


async def _chunks(
    body: CompletionBody, decoder: Decoder, texts: list[str], prompts: list[Prompt]
) -> AsyncGenerator[dict[str, Any], None]:
    heading = Heading("text_completion", body.model, "cmpl")
    counts = body.stream_options is not None and bool(body.stream_options.include_usage)
    usage: dict[str, Any] = {"usage": None} if counts else {}
    n = body.n or 1
    whole: dict[int, Written] = {}
    said = [len(text) for text in texts for _ in range(n)]

    def chunk(index: int, text: str, logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return heading.around([choice], **usage)

    if body.echo:
        for index in range(len(said)):
            yield chunk(index, texts[index // n])
    async with aclosing(together([decoder.stream(one, n=n, note=body.logprobs) for one in prompts])) as pieces:
        async for place, piece in pieces:
            index = place * n + piece.index
            if piece.text:
                noted = None if body.logprobs is None else piece.noted
                yield chunk(index, piece.text, plain_logprobs(decoder.local, noted, said[index]))
                said[index] += len(piece.text)
            if piece.written is not None:
                whole[index] = piece.written
                yield chunk(index, "", None, finish_of(piece.written))
    if counts:
        usage["usage"] = usage_of([[whole[place * n + number] for number in range(n)] for place in range(len(texts))])
        yield heading.around([], **usage)
