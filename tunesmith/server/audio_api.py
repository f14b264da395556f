"""POST /v1/audio/transcriptions: a recording to its transcript, by a tuned or a pretrained model for speech.

Texts and subtitles are those that ``tunesmith predict`` writes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from tunesmith.server.answering import Answered, ask, refuse
from tunesmith.server.forms import Incoming, read_form
from tunesmith.server.requests import Body, Id, parsed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tunesmith.types import Row

PATH = "/v1/audio/transcriptions"
LISTENERS = ("speech-to-text", "speech-ctc")
LONGEST = 3 * 3600.0
"""Seconds of sound a request may bring: silence of days packs into a small FLAC, and does not fit into memory."""
LISTS = ("timestamp_granularities", "include")


class TranscriptionBody(Body):
    """The fields of the form beside ``file``. ``stream`` changes nothing, as with the hosted ``whisper-1``."""

    model_config = ConfigDict(extra="forbid", strict=False)

    model: Id
    language: Annotated[str, Field(min_length=2, max_length=32)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    prompt: str | None = None
    temperature: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    timestamp_granularities: list[Literal["word", "segment"]] = Field(default_factory=list)
    include: list[str] = Field(default_factory=list)
    chunking_strategy: Literal["auto"] | None = None
    stream: bool = False


def routes() -> list[Route]:
    """Routes of this room."""
    return [Route(PATH, transcriptions, methods=["POST"])]


async def transcriptions(request: Request) -> Response:
    """The transcript of one recording."""
    async with read_form(request, most_files=1) as form:
        body = parsed(form.plain(LISTS), TranscriptionBody)
        files = form.files.get("file", [])
        if len(files) != 1:
            raise refuse("file", "Missing required parameter: 'file', the recording")
        _check_wanted(body)
        said = await ask(request, body.model, _check_listener, lambda task, model: [_row(task, model, files[0], body)])
    if said.faults[0] is not None:
        raise refuse("file", f"the recording {said.faults[0]}")
    return _answer(said, body)


def _check_wanted(body: TranscriptionBody) -> None:
    """Refuse what would change the answer at the hosted API and can't here."""
    if body.temperature:
        raise refuse("temperature", "transcripts are the likeliest words: leave temperature out, or write 0")
    if body.prompt and body.prompt.strip():
        raise refuse("prompt", "a prompt is not taken: train the model on the words that it should know")
    if "word" in body.timestamp_granularities:
        raise refuse("timestamp_granularities", "times are those of segments: write segment")
    if body.include:
        raise refuse("include", "nothing more can be included: leave it out")


def _check_listener(kind: str) -> None:
    if kind not in LISTENERS:
        raise refuse("model", f"a {kind} model transcribes nothing: name one for {' or '.join(LISTENERS)}")


def _row(task: Any, model: Any, file: Incoming, body: TranscriptionBody) -> Row:
    """The recording as a row, with its language.

    Raises:
        ApiFault: It is no recording that can be read, or the model does not know the language.
    """
    from tunesmith.errors import UserError
    from tunesmith.speech.inputs import recording_row

    row = recording_row(file.place, file.name)
    if "fault" in row:
        raise refuse("file", f"the recording {row['fault']}")
    check_length([row])
    row |= {"id": "1", **({"language": body.language} if body.language else {})}
    try:
        language = task.language_heard(model, row)
    except UserError as fault:
        raise refuse("language" if body.language else "file", f"{fault.what}; {fault.fix}") from fault
    return {**row, **({} if language is None else {"language": language})}


def check_length(rows: Sequence[Row]) -> None:
    """Refuse more sound than fits into memory.

    Raises:
        ApiFault: The recordings of these rows, by their headers, are longer than `LONGEST` together.
    """
    seconds = sum(float(row.get("seconds") or 0.0) for row in rows)
    if seconds > LONGEST:
        what = f"{seconds / 3600:,.1f} hours of sound are more than the {LONGEST / 3600:g} that a request may bring"
        raise refuse("file", f"{what}: send it in parts")


def _answer(said: Answered, body: TranscriptionBody) -> Response:
    from tunesmith.speech.showing import segments_of
    from tunesmith.speech.subtitles import to_srt, to_vtt

    row, one = said.rows[0], said.predictions[0]
    text, parts = str(one["text"]), segments_of(one, row)
    if body.response_format == "text":
        return PlainTextResponse(text.strip() + "\n")
    if body.response_format == "srt":
        return PlainTextResponse(to_srt(parts))
    if body.response_format == "vtt":
        return PlainTextResponse(to_vtt(parts), media_type="text/vtt")
    usage = {"type": "duration", "seconds": math.ceil(row["seconds"])}
    if body.response_format == "json":
        return JSONResponse({"text": text, "usage": usage})
    return JSONResponse(
        {
            "task": getattr(said.task.options, "write", "transcribe"),
            "language": said.task.language_of(row),
            "duration": row["seconds"],
            "text": text,
            "segments": [_segment(number, part) for number, part in enumerate(parts)],
            "usage": usage,
        }
    )


def _segment(number: int, part: Any) -> dict[str, Any]:
    """A part as the API has it; what the task does not tell is null, not made up."""
    written = part.text.encode("utf-8")
    return {
        "id": number,
        "seek": 0,
        "start": part.start,
        "end": part.end,
        "text": part.text,
        "temperature": 0.0,
        "compression_ratio": round(len(written) / len(zlib.compress(written)), 4),
        "tokens": None,
        "avg_logprob": None,
        "no_speech_prob": None,
    }
