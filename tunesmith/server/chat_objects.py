"""What chat and completion routes answer, in the API's shapes. It knows no model."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.asking.local import LocalModel
    from tunesmith.model.continuous import Noted
    from tunesmith.server.decoder import Written

LEAST = -9999.0
"""The API's number for a token that can't be: minus infinity is no JSON."""


@dataclass(frozen=True)
class Heading:
    """What all objects of one answer have in common.

    Args:
        kind: ``chat.completion``, ``chat.completion.chunk`` or ``text_completion``.
        model: As the client called it.
        prefix: Of the id.
    """

    kind: str
    model: str
    prefix: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, choices: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The object around choices."""
        head = {"id": f"{self.prefix}-{self.id}", "object": self.kind, "created": self.created, "model": self.model}
        return {**head, "choices": list(choices), "system_fingerprint": None, **more}


def usage_of(written: Sequence[Sequence[Written]]) -> dict[str, int]:
    """Tokens: of each prompt once, of each of its replies."""
    asked = sum(replies[0].reply.prompt_tokens for replies in written)
    said = sum(one.reply.tokens for replies in written for one in replies)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def finish_of(written: Written, calls: Sequence[Any] = ()) -> str:
    """Why a reply ended."""
    if not written.reply.ended:
        return "length"
    return "tool_calls" if calls else "stop"


def chat_logprobs(local: LocalModel, noted: Sequence[Noted] | None) -> dict[str, Any] | None:
    """How likely tokens were, as chats say it; None where nobody asked."""
    if noted is None:
        return None

    def said(token: int, logprob: float) -> dict[str, Any]:
        found = list(local.token_bytes(token))
        return {"token": local.token_text(token), "logprob": max(logprob, LEAST), "bytes": found}

    content = [
        {**said(one.token, one.logprob), "top_logprobs": [said(*pair) for pair in one.likeliest]} for one in noted
    ]
    return {"content": content, "refusal": None}


def plain_logprobs(local: LocalModel, noted: Sequence[Noted] | None, start: int) -> dict[str, Any] | None:
    """The same as completions say it.

    Args:
        local: The model that wrote them.
        noted: The tokens; None where nobody asked.
        start: Letters before them.
    """
    if noted is None:
        return None
    texts = [local.token_text(one.token) for one in noted]
    offsets = [start + sum(len(text) for text in texts[:place]) for place in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [max(one.logprob, LEAST) for one in noted],
        "top_logprobs": [{local.token_text(t): max(v, LEAST) for t, v in one.likeliest} for one in noted],
        "text_offset": offsets,
    }
