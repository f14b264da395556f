"""What a language model is to those who ask it: prompts in, replies out, with what they cost. It loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.errors import UserError

Progress = Callable[[str, int, int], None]


class TooLong(UserError):
    """A prompt has more tokens than the model takes."""


@dataclass(frozen=True)
class Prompt:
    """One question.

    Args:
        messages: Role and content, as a chat has them: ``({"role": "user", "content": "..."},)``.
        max_tokens: Most tokens of the reply.
        temperature: 0 takes the likeliest token each time.
        seed: Of the draws where the temperature is above 0.
        schema: A JSON Schema that the reply must follow by constrained decoding; None leaves it free.
        choices: The only texts that the reply may be, by constrained decoding; empty leaves it free.
        stop: Texts before which the reply ends.
        grammar: A Lark grammar, as llguidance reads it, that the reply must follow; it is narrower than the schema
            beside it, which is for models that follow schemas alone (endpoints).
        tools: Functions that the reply may call, as a chat template takes them.
        top_p: Draws are among the likeliest tokens that have so much of the probability together (arXiv:1904.09751).
        presence: Taken off the logit of each token that the reply holds.
        frequency: Taken off the logit of a token once for each time that the reply holds it.
        bias: Added to the logits of single tokens, by id.
    """

    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    grammar: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    top_p: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What was answered.

    Args:
        text: Without special tokens.
        prompt_tokens: As the model counts them.
        tokens: Of the reply.
        seconds: That it took; of replies made together, its share.
        ended: Whether it came to an end by itself, not by ``max_tokens``.
    """

    text: str
    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    ended: bool = True


class Model(Protocol):
    """Anything that answers prompts: local weights, an endpoint, a script."""

    @property
    def name(self) -> str:
        """For a person."""
        ...

    @property
    def identity(self) -> str:
        """What replies are cached by: other weights, another template or another endpoint have another one."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of prompt and reply together."""
        ...

    @property
    def constrains(self) -> bool:
        """Whether it can follow a schema or choices by constrained decoding."""
        ...

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        """A reply to each prompt, in their order.

        Raises:
            UserError: A prompt is longer than the context, or the endpoint refuses.
        """
        ...

    def count(self, text: str) -> int:
        """Tokens of a text; for endpoints that do not tell, an estimate."""
        ...
