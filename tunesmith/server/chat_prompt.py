"""From a request's body to a prompt. It knows no model but its template."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.asking.model import Prompt
from tunesmith.language.messages import Misfit, messages_of, tools_of
from tunesmith.server.faults import ApiFault
from tunesmith.server.requests import ChatBody, NamedTool, Sampling, SchemaFormat, Tool
from tunesmith.server.tool_calls import has_to_call, offered

if TYPE_CHECKING:
    from tunesmith.asking.local import LocalModel

UNBOUNDED_REPLY = 4096
"""Most tokens of a reply where neither the request nor the model says a limit."""
_TOLD = (
    "You may call these functions. To call one, answer with nothing but JSON of the form "
    '{"name": "...", "arguments": {...}}.\n\n'
)
_DEFINITIONS = ("$defs", "definitions")


def sampling_of(body: Sampling, local: LocalModel, most: int | None) -> dict[str, Any]:
    """What decides how tokens are drawn, as a prompt has it.

    Args:
        body: The request's.
        local: The model that is asked.
        most: Most tokens of a reply that the request allows.

    Raises:
        ApiFault: 400, a bias is of no token.
    """
    from tunesmith.asking.local import UNBOUNDED

    longest = UNBOUNDED_REPLY if local.context == UNBOUNDED else local.context
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return {
        "max_tokens": most if most is not None else longest,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        # Replies of one request that are drawn alike would be one reply.
        "seed": secrets.randbits(31) if body.seed is None else body.seed % (1 << 63),
        "stop": stop,
        "presence": body.presence_penalty or 0.0,
        "frequency": body.frequency_penalty or 0.0,
        "bias": _bias(body.logit_bias or {}, local.vocabulary),
    }


def prompt_of_chat(body: ChatBody, local: LocalModel) -> Prompt:
    """The prompt that a chat is.

    Raises:
        ApiFault: 400, its messages are no conversation, or its tools and formats contradict each other.
    """
    met: Counter[str] = Counter()
    try:
        spelled = [_spelled(message.model_dump(exclude_none=True, by_alias=True)) for message in body.messages]
        messages = messages_of(spelled, "messages", met)
        tools = tools_of(offered(body), "tools") if offered(body) else []
    except Misfit as fault:
        raise ApiFault(400, str(fault), param="messages", code="invalid_value") from fault
    if tools and not local.takes_tools:
        messages, tools = _told(messages, tools), []
    return Prompt(
        tuple(messages),
        tools=tuple(tools),
        schema=_schema(body),
        **sampling_of(body, local, body.most_tokens()),
    )


def _spelled(message: dict[str, Any]) -> dict[str, Any]:
    """A message as templates know it: they have one name for who instructs the model."""
    message.pop("refusal", None)
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _told(messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages that say the tools themselves, for a template that does not."""
    said = _TOLD + "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    if messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{said}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": said}, *messages]


def _schema(body: ChatBody) -> Mapping[str, Any] | None:
    """What the reply has to be: a call where one is required, else what the format says."""
    if has_to_call(body) and body.tool_choice is not None:
        return _schema_of_calls(body.tools or [], body.tool_choice)
    if isinstance(body.response_format, SchemaFormat):
        return body.response_format.json_schema.schema_ or {"type": "object"}
    if body.response_format is not None and body.response_format.type == "json_object":
        return {"type": "object"}
    return None


def _schema_of_calls(tools: Sequence[Tool], choice: str | NamedTool) -> dict[str, Any]:
    wanted = [tool for tool in tools if isinstance(choice, str) or tool.function.name == choice.function.name]
    if not wanted:
        what = "tool_choice asks for a tool that is not among the tools"
        raise ApiFault(400, what, param="tool_choice", code="invalid_value")
    definitions: dict[str, dict[str, Any]] = {}
    forms = []
    for tool in wanted:
        arguments = dict(tool.function.parameters or {"type": "object"})
        # References are from the root of the whole schema.
        for word in _DEFINITIONS:
            definitions.setdefault(word, {}).update(arguments.pop(word, {}))
        forms.append({
            "type": "object",
            "properties": {"name": {"const": tool.function.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        })  # fmt: skip
    whole = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {**whole, **{word: found for word, found in definitions.items() if found}}


def _bias(bias: Mapping[str, float], vocabulary: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for token, value in bias.items():
        if not (token.isascii() and token.isdigit() and int(token[:10]) < vocabulary):
            what = f"logit_bias: {token[:40]!r} is the id of no token; there are {vocabulary:,}"
            raise ApiFault(400, what, param="logit_bias", code="invalid_value")
        found[int(token)] = value
    return found
