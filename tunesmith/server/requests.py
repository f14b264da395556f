"""What requests say: bodies and queries, read and checked before a route sees them. It knows no model and no store.

The names and limits of the fields are OpenAI's, so that its clients need no change. A field that is not named here is
refused: an answer that left a setting out of account would be wrong without a sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from tunesmith.server.faults import ApiFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MOST_LISTED = 100
MOST_WAYS = 16
MOST_TOKENS = 1 << 20
SEED = 1 << 63
"""Whole numbers go into SQLite, which holds 64 bits."""


class Body(BaseModel):
    """A JSON body: strictly typed, without unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


AnyBody = TypeVar("AnyBody", bound=Body)
Id = Annotated[str, Field(min_length=1, max_length=512)]
Seed = Annotated[int, Field(ge=-SEED, lt=SEED)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
Ways = Annotated[int, Field(ge=1, le=MOST_WAYS)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Stops = Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]


class TextPart(Body):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class CalledFunction(Body):
    """A function that the model calls; ``arguments`` is a JSON text."""

    name: str
    arguments: str


class ToolCall(Body):
    """A call in a message of the assistant."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    def text(self) -> str:
        """Its content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class OfferedFunction(Body):
    """A function that the model may call; ``parameters`` is a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that is offered."""

    type: Literal["function"]
    function: OfferedFunction


class NamedFunction(Body):
    """A function by its name."""

    name: str


class NamedTool(Body):
    """The tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class NamedSchema(Body):
    """A JSON schema that an answer has to fit."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextFormat(Body):
    """Free text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | SchemaFormat, Field(discriminator="type")]


class StreamOptions(Body):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(Body):
    """What chat and plain completions share."""

    model: Id
    temperature: Temperature | None = None
    top_p: Probability | None = None
    n: Ways | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100.0, le=100.0)]] | None = None
    user: str | None = None


class ChatBody(Sampling):
    """POST /v1/chat/completions. What follows ``parallel_tool_calls`` is the hosted API's and changes nothing here."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def most_tokens(self) -> int | None:
        """Most tokens of the answer; ``max_completion_tokens`` is the newer name and wins."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionBody(Sampling):
    """POST /v1/completions."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_WAYS)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Ways | None = None


class EmbeddingBody(Body):
    """POST /v1/embeddings. Token ids are lists of whole numbers, as some clients send them.

    ``input_type`` is ours: which side of a search a text is on, where an encoder reads the two differently.
    """

    model: Id
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=2048)]
        | Annotated[list[int], Field(min_length=1, max_length=MOST_TOKENS)]
        | Annotated[list[Annotated[list[int], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = None
    input_type: Literal["query", "passage"] | None = None
    user: str | None = None


class ImageBody(Body):
    """POST /v1/images/generations. What follows ``seed`` is for the hosted API and changes nothing here."""

    model: Id
    prompt: Annotated[str, Field(min_length=1, max_length=32000)]
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$")] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    seed: Seed | None = None
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    user: str | None = None


Auto = Literal["auto"]


class Hyperparameters(Body):
    """Of a job; what is ``"auto"`` or left out is chosen when the job is made, and echoed."""

    n_epochs: Annotated[int, Field(ge=1, le=1000)] | Auto | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Auto | None = None
    learning_rate_multiplier: Annotated[float, Field(gt=0.0, le=10000.0)] | Auto | None = None


class PreferenceHyperparameters(Hyperparameters):
    """With the weight of the reference in direct preference optimisation."""

    beta: Annotated[float, Field(gt=0.0, le=2.0)] | Auto | None = None


class Supervised(Body):
    """How a supervised job trains."""

    hyperparameters: Hyperparameters | None = None


class Preferring(Body):
    """How a job on preferences trains."""

    hyperparameters: PreferenceHyperparameters | None = None


class Method(Body):
    """Which way a job trains."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Preferring | None = None


class JobBody(Body):
    """POST /v1/fine_tuning/jobs. ``hyperparameters`` is the older place of the supervised method's."""

    model: Id
    training_file: Id
    validation_file: Id | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for.

    Args:
        after: The id after which it begins; None for the first page.
        limit: Most entries.
        order: ``asc`` or ``desc`` by time of making.
    """

    after: str | None = None
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"


async def read_body(request: Request, model: type[AnyBody]) -> AnyBody:
    """The request's JSON body.

    Args:
        request: Its body has not been read yet.
        model: What the body has to be.

    Raises:
        ApiFault: 400 where it is no JSON or not of this shape, with ``param`` naming the first field at fault.
    """
    return parsed(await read_json(request), model)


async def read_json(request: Request) -> Any:
    """The request's body as JSON values: no NaN, no lone surrogates, no nesting without end.

    Raises:
        ApiFault: 400 where it is no JSON, 415 where it does not say that it is.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiFault(415, "send the body as Content-Type application/json", code="unsupported_media_type")
    try:
        return from_json(await request.body(), allow_inf_nan=False)
    except (ValueError, RecursionError) as fault:
        raise ApiFault(400, f"the body is no JSON: {str(fault)[:200]}", code="invalid_json") from fault


def parsed(values: Any, model: type[AnyBody]) -> AnyBody:
    """Values as a body of this shape.

    Raises:
        ApiFault: 400 with ``param`` naming the first field at fault.
    """
    try:
        return model.model_validate(values)
    except ValidationError as fault:
        raise _shape_fault(fault) from fault


def _shape_fault(fault: ValidationError) -> ApiFault:
    """The first thing that is wrong about a body, and how many more there are."""
    # Where a field may be one of several kinds, pydantic complains for each; the deepest complaint is the nearest.
    first, more = fault.errors(include_url=False, include_input=False), fault.error_count() - 1
    one = first[0]
    place = ".".join(str(part) for part in one["loc"] if not (isinstance(part, str) and set(part) & set("[]()-")))
    place = place[:200]
    if one["type"] == "extra_forbidden":
        text, code = f"Unrecognized request argument supplied: {place}", "unknown_parameter"
    elif one["type"] == "missing":
        text, code = f"Missing required parameter: '{place}'", "missing_required_parameter"
    else:
        text, code = f"Invalid value for '{place or 'body'}': {one['msg']}", "invalid_value"
    return ApiFault(400, text + (f" (and {more} more)" if more else ""), param=place or None, code=code)


def page_of(
    request: Request, limit: int = 20, order: Literal["asc", "desc"] = "desc", *, most: int = MOST_LISTED
) -> Page:
    """Which part of a list the query asks for.

    Args:
        request: With ``after``, ``limit`` and ``order`` in its query, or without.
        limit: Where the query gives none.
        order: Where the query gives none.
        most: Most that it may ask for.

    Raises:
        ApiFault: 400 where one of them can't be.
    """
    query: Mapping[str, str] = request.query_params
    asked, way = query.get("limit", str(limit)), query.get("order", order)
    if not (asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= most):
        raise ApiFault(400, f"'limit' has to be 1 to {most}", param="limit", code="invalid_value")
    if way not in ("asc", "desc"):
        raise ApiFault(400, "'order' has to be asc or desc", param="order", code="invalid_value")
    return Page(query.get("after") or None, int(asked), "asc" if way == "asc" else "desc")


def listing(data: list[dict[str, Any]], has_more: bool = False) -> dict[str, Any]:
    """A list as the API answers it."""
    first, last = (data[0].get("id"), data[-1].get("id")) if data else (None, None)
    return {"object": "list", "data": data, "has_more": has_more, "first_id": first, "last_id": last}
