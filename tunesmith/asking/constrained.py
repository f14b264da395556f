"""Constrained decoding: which tokens may come next, so that a reply follows a JSON Schema, choices or a grammar.

The automata are llguidance's (MIT, no dependencies). It knows token ids and logits; no model and no prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from tunesmith.asking.model import Prompt
from tunesmith.errors import UserError

FIX = "pip install 'tunesmith[constrained]'"
KEPT_GRAMMARS = 256


def is_installed() -> bool:
    """Whether replies can be constrained here."""
    return find_spec("llguidance") is not None


def grammar_of(prompt: Prompt) -> str | None:
    """What a prompt's reply must follow, as llguidance reads it; None where it is free.

    Raises:
        UserError: The library is not installed, or the schema or grammar is none that can be followed.
    """
    if prompt.grammar:
        return _checked("grammar", prompt.grammar)
    if prompt.schema is not None:
        return _checked("schema", json.dumps(prompt.schema, ensure_ascii=False))
    if prompt.choices:
        if not all(prompt.choices):
            raise UserError("an empty text is no choice", "the choices", "leave it out")
        return _checked("choices", json.dumps(list(prompt.choices), ensure_ascii=False))
    return None


@lru_cache(maxsize=KEPT_GRAMMARS)
def _checked(kind: str, text: str) -> str:
    matcher = _library().LLMatcher
    if kind == "schema":
        # The blanks that models write by themselves, and no others: else a small one writes blanks for ever.
        spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = matcher.grammar_from_json_schema(text, overrides=spaced)
    elif kind == "choices":
        options = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in json.loads(text))
        grammar = matcher.grammar_from_lark(f"start: {options}")
    else:
        grammar = matcher.grammar_from_lark(text)
    fault = matcher.validate_grammar(grammar)
    if fault and not fault.startswith("WARNING"):
        first = fault.strip().splitlines()[0][:300]
        raise UserError(f"no reply can be held to this {kind}: {first}", kind, "use what JSON Schema has in common use")
    return str(grammar)


class Vocabulary:
    """A tokenizer's tokens as text, made once for all prompts.

    Args:
        tokenizer: A fast tokenizer of transformers.
        stop: Ids that end a reply.

    Raises:
        UserError: The library is not installed, or can't read this tokenizer.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[int]) -> None:
        self._made: dict[int, Any] = {}
        self._stop = list(stop)
        settings = json.loads(tokenizer.backend_tokenizer.to_str())
        # A tokenizer that was asked to pad or cut would do so to what is read here.
        self._text = json.dumps(settings | {"padding": None, "truncation": None})
        self._where = str(getattr(tokenizer, "name_or_path", ""))

    def sized(self, size: int) -> Any:
        """The library's own tokenizer for logits of this size."""
        if size not in self._made:
            try:
                self._made[size] = _library().LLTokenizer(self._text, n_vocab=size, eos_token=self._stop)
            except ValueError as fault:
                what = f"replies can't be constrained with this tokenizer: {str(fault).splitlines()[0][:200]}"
                raise UserError(what, self._where, "ask without schema and choices, or take another model") from fault
        return self._made[size]

    def step(self, grammar: str) -> Any:
        """A step of ``model.generation``: logits of tokens that may not come become minus infinity."""
        return _Follow(self, grammar)


class _Follow:
    """One reply on its way through a grammar."""

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        self._vocabulary, self._grammar = vocabulary, grammar
        self._matcher: Any = None
        self._bits: Any = None

    def __call__(self, written: Sequence[int], logits: Any) -> Any:
        import numpy as np
        import torch

        if self._matcher is None:
            size = len(logits)
            self._matcher = _library().LLMatcher(self._vocabulary.sized(size), self._grammar)
            self._bits = np.zeros((size + 31) // 32, dtype=np.int32)
        elif written:
            self._matcher.consume_token(written[-1])
        if self._matcher.is_error():
            raise UserError(
                f"constrained decoding failed: {self._matcher.get_error().splitlines()[0][:200]}",
                "the schema",
                "make the schema simpler",
            )
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: len(logits)].astype(bool)
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)


def schema_of_choices(choices: Sequence[str]) -> Mapping[str, Any]:
    """The same as a JSON Schema, for endpoints that know no other constraint: ``{"answer": CHOICE}``."""
    return {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }


def _library() -> ModuleType:
    try:
        import llguidance
    except ImportError as fault:
        what = f"constrained decoding needs the package llguidance, which does not load ({fault})"
        raise UserError(what, "", FIX) from fault
    found: ModuleType = llguidance
    return found
