"""A decoder on this machine that answers prompts: a starter, a folder, a hub id, an adapter, or a run of ours.

It knows weights and chat templates; no network, no cache and no retrieval.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.asking.constrained import Vocabulary, grammar_of, is_installed
from tunesmith.asking.model import Progress, Prompt, Reply, TooLong
from tunesmith.asking.spoken import token_bytes
from tunesmith.asking.steps import drawn, first_stop, nucleus, penalised, stopped, together
from tunesmith.data.digest import canonical_json
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.model.generation import Answer, Steer
    from tunesmith.model.weights import Weights

UNBOUNDED = 1 << 20
"""Context of a model that says no limit."""
_TRIAL = ({"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"})


class LocalModel:
    """Weights on this machine.

    Args:
        name: As it was asked for.
        source: The weights beneath.
        adapter: Folder of an adapter upon them, or None.
        held: ``fp32``, ``bf16``, ``fp16`` or ``nf4``.
        device: Where it computes.
        template: As ``options.template`` of a recipe: ``auto``, ``plain``, ``chatml``, a file, or ``none``, which puts
            the messages' contents end to end.
        new_tokens: Tokens that a run added.
        settings: What the chat template takes besides messages (``enable_thinking``).

    Attributes:
        notes: What a person should know, one sentence each.
        grammars: Whether it can be held to a grammar, too; an endpoint takes schemas alone.
    """

    def __init__(
        self,
        name: str,
        source: Weights,
        *,
        adapter: Path | None = None,
        held: str = "fp32",
        device: str = "cpu",
        template: str = "auto",
        new_tokens: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        from tunesmith.language.defaults import ensure_template
        from tunesmith.language.template import Renderer
        from tunesmith.model.new_tokens import add_tokens
        from tunesmith.model.pretrained import load_config, load_tokenizer, longest_input

        self.name, self.constrains = name, is_installed()
        self.grammars = self.constrains
        self._source, self._adapter, self._held, self._device = source, adapter, held, device
        self._config = load_config(source)
        _check_decodes(name, source)
        self._plain = template == "none"
        tokenizer = load_tokenizer(source)
        self._new = add_tokens(tokenizer, new_tokens)
        if adapter is not None and (adapter / "tokenizer_config.json").is_file():
            from dataclasses import replace

            tokenizer = load_tokenizer(replace(source, folder=adapter))
        said = None if self._plain else ensure_template(tokenizer, template, "--template")
        self.notes = [f"{name}: {said}"] if said and template == "auto" else []
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self._specials = sorted((str(t) for t in added if t.special and len(str(t)) > 1), key=len, reverse=True)
        self._renderer = Renderer(tokenizer, concatenate=self._plain, settings=settings)
        self._takes_system = self._plain or self._renders_system()
        self.context = longest_input(self._config, tokenizer) or UNBOUNDED
        self._stop = self._stops()

    @cached_property
    def identity(self) -> str:
        """Digest of all that decides what is answered: weights, adapter, tokenizer, template, precision."""
        from tunesmith.model.file_digests import files_digest

        files = [*self._source.files]
        for folder in (Path(self._source.folder), *([self._adapter] if self._adapter else [])):
            names = ("config.json", "tokenizer.json", "adapter_config.json", "adapter_model.safetensors")
            files += [folder / n for n in names if (folder / n).is_file()]
        rest = {
            "files": files_digest(files),
            "template": "none" if self._plain else str(self._tokenizer.chat_template),
            "settings": self._renderer.settings,
            "held": self._held,
            "stop": self._stop,
        }
        return "local:" + blake2b(canonical_json(rest), digest_size=16).hexdigest()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        """A reply to each prompt, in their order.

        Raises:
            UserError: A prompt is longer than the context, the template refuses it, or it can't be constrained.
        """
        grammars = [grammar_of(prompt) for prompt in prompts]
        asked = [self._ids(prompt, number) for number, prompt in enumerate(prompts, 1)]
        assert self._model is not None, "loaded here, so that no reply is said to take that long"
        replies: dict[int, Reply] = {}
        for group in together([(len(ids), p.max_tokens) for ids, p in zip(asked, prompts, strict=True)]):
            began = time.perf_counter()
            written = self._written(
                [asked[i] for i in group], [prompts[i] for i in group], [grammars[i] for i in group]
            )
            seconds = (time.perf_counter() - began) / len(group)
            for i, one in zip(group, written, strict=True):
                replies[i] = self.reply(prompts[i], len(asked[i]), one, seconds)
            if progress is not None:
                progress("answering", len(replies), len(prompts))
        return [replies[i] for i in range(len(prompts))]

    def tokens_of(self, prompt: Prompt) -> list[int]:
        """A prompt in tokens: for who makes replies token by token.

        Raises:
            TooLong: It leaves no room for a reply.
            UserError: The template refuses it.
        """
        return self._ids(prompt, 1)

    def steer(self, prompt: Prompt) -> Steer | None:
        """What steers the reply to a prompt, if anything.

        Raises:
            UserError: It can't be constrained.
        """
        return self._steer(prompt, grammar_of(prompt))

    def reply(self, prompt: Prompt, prompt_tokens: int, answer: Answer, seconds: float) -> Reply:
        """What a person gets of the tokens that answer a prompt."""
        text = self.text_of(answer.tokens)
        end = first_stop(text, prompt.stop)
        kept = text if end is None else text[:end]
        return Reply(kept, prompt_tokens, len(answer.tokens), seconds, answer.ended or end is not None)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Tokens as text, without special ones."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def token_text(self, token: int) -> str:
        """One token as text."""
        return str(self._tokenizer.decode([token]))

    def token_bytes(self, token: int) -> bytes:
        """One token as the bytes that it stands for: half a letter has no text."""
        return token_bytes(self._tokenizer, token)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return len(self._tokenizer)

    @property
    def source(self) -> Weights:
        """The weights beneath."""
        return self._source

    @property
    def adapter(self) -> Path | None:
        """Folder of the adapter upon them."""
        return self._adapter

    @property
    def held(self) -> str:
        """Precision of the weights."""
        return self._held

    @property
    def device(self) -> str:
        """Where it computes."""
        return self._device

    @property
    def stops(self) -> frozenset[int]:
        """Ids that end a reply."""
        return frozenset(self._stop)

    @property
    def pad(self) -> int:
        """Id that fills up shorter prompts."""
        return int(self._tokenizer.pad_token_id)

    @cached_property
    def longest_token(self) -> int:
        """Letters of the longest token: a text of more letters than that times some tokens has more tokens."""
        return max(len(token) for token in self._tokenizer.get_vocab())

    @property
    def adds_tokens(self) -> bool:
        """Whether a run added tokens, so that the weights beneath are not as others have them."""
        return bool(self._new[0])

    def load(self, *, adapted: bool = True) -> Any:
        """The weights, in eval mode, for who asks them himself: with the adapter on them or without."""
        return self._model if adapted else self._loaded(adapted=False)

    def _written(self, asked: Sequence[list[int]], prompts: Sequence[Prompt], grammars: Sequence[str | None]) -> Any:
        import torch

        from tunesmith.model.generation import answers

        tensors = [torch.tensor(ids, device=self._device) for ids in asked]
        longest = None if self.context == UNBOUNDED else self.context
        steers = [self._steer(prompt, grammar) for prompt, grammar in zip(prompts, grammars, strict=True)]
        pad = int(self._tokenizer.pad_token_id)
        most = prompts[0].max_tokens
        with torch.inference_mode():
            return answers(self._model, tensors, stop=self._stop, most=most, pad=pad, longest=longest, steers=steers)

    def _steer(self, prompt: Prompt, grammar: str | None) -> Steer | None:
        """What changes the logits of a prompt's reply, if anything."""
        changes = bool(prompt.presence or prompt.frequency or prompt.bias)
        if grammar is None and prompt.temperature <= 0 and not prompt.stop and not changes:
            return None

        def begin() -> Any:
            steps = []
            if changes:
                steps.append(penalised(prompt.presence, prompt.frequency, prompt.bias))
            if grammar is not None:
                steps.append(self._vocabulary.step(grammar))
            if prompt.temperature > 0 and prompt.top_p < 1:
                steps.append(nucleus(prompt.temperature, prompt.top_p))
            if prompt.temperature > 0:
                steps.append(drawn(prompt.temperature, prompt.seed))
            if prompt.stop:
                steps.append(stopped(self._tokenizer, prompt.stop, self._stop[0]))

            def step(written: Sequence[int], logits: Any) -> Any:
                for one in steps:
                    logits = one(written, logits)
                return logits

            return step

        return begin

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer, self._stop)

    @cached_property
    def _model(self) -> Any:
        """The weights, loaded when the first prompt is asked."""
        return self._loaded(adapted=True)

    def _loaded(self, *, adapted: bool) -> Any:
        from tunesmith.model.adapters import load_adapter
        from tunesmith.model.lean_norm import lean_norms
        from tunesmith.model.new_tokens import add_rows
        from tunesmith.model.pretrained import load_decoder

        model, _ = load_decoder(self._source, self._config, self._held)
        lean_norms(model)
        ids, pieces = self._new
        if ids:
            add_rows(model, ids, pieces)
        if adapted and self._adapter is not None:
            load_adapter(model, self._adapter)
        return model.to(self._device).eval()

    def _ids(self, prompt: Prompt, number: int) -> list[int]:
        """A prompt in tokens."""
        messages = [dict(message) for message in prompt.messages]
        if not messages or messages[-1]["role"] == "assistant":
            what = f"prompt {number} asks nothing: it ends with an answer" if messages else f"prompt {number} is empty"
            raise UserError(what, self.name, "end it with a message of the user's")
        for message in messages:
            for part in ("content", "tool_calls"):
                if part in message:
                    message[part] = self._spelled(message[part])
        if not self._takes_system:
            messages = _system_into_user(messages)
        row: dict[str, Any] = {"messages": messages, "plain": True, "id": f"prompt {number}"}
        if prompt.tools:
            row["tools"] = [dict(tool) for tool in prompt.tools]
        if self._plain:
            text = "\n\n".join(str(message["content"]) for message in messages)
            row["messages"] = [{"role": "user", "content": text}]
        found: list[int] = self._renderer(row).ids
        if len(found) >= self.context:
            raise TooLong(
                f"prompt {number} has {len(found):,} tokens, and the model takes {self.context:,} with the reply",
                self.name,
                "ask with less text (fewer passages or examples), or a model of a longer context",
            )
        return found

    def _spelled(self, said: Any) -> Any:
        """A text in which no special token stands: a document that holds one could end its turn and begin another."""
        if isinstance(said, Mapping):
            return {name: self._spelled(inner) for name, inner in said.items()}
        if isinstance(said, list | tuple):
            return [self._spelled(inner) for inner in said]
        if not isinstance(said, str):
            return said
        for token in self._specials:
            if token in said:
                said = said.replace(token, f"{token[0]} {token[1:]}")
        return said

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the template tells the model of tools."""
        if self._plain:
            return False
        tool = {"type": "function", "function": {"name": "Q1Z", "description": "", "parameters": {"type": "object"}}}
        row: dict[str, Any] = {"messages": [_TRIAL[0]], "tools": [tool]}
        try:
            return "Q1Z" in self._renderer.text(row, row["messages"], True)
        except UserError:
            return False

    def _renders_system(self) -> bool:
        row = {"messages": [{"role": "system", "content": "be brief"}, _TRIAL[0]]}
        try:
            return "be brief" in self._renderer.text(row, row["messages"], True)
        except UserError:
            return False

    def _stops(self) -> list[int]:
        """Ids that end a reply: what the template ends an answer with, and what model and tokenizer say."""
        from tunesmith.model.pretrained import end_tokens

        found = dict.fromkeys(end_tokens(self._adapter or Path(self._source.folder)))
        if not self._plain:
            self._renderer({"messages": [dict(message) for message in _TRIAL]})
            found |= dict.fromkeys(self._renderer.stops)
        if self._tokenizer.eos_token_id is not None:
            found[int(self._tokenizer.eos_token_id)] = None
        return [int(one) for one in found]


def _check_decodes(name: str, source: Weights) -> None:
    """Refuse what has no language head that writes from left to right.

    Raises:
        UserError: It is an encoder, or no text model at all.
    """
    from tunesmith.model.pretrained import saved_classes

    kinds = saved_classes(source)
    if kinds and not any("CausalLM" in kind or "LMHead" in kind or "ConditionalGeneration" in kind for kind in kinds):
        what = f"'{name}' writes no text: its weights are those of a {kinds[0]}"
        raise UserError(what, str(source.folder), "name a decoder (a chat model), such as starter:smollm2-135m")


def _system_into_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For templates that know no system: what it says stands before what the user asks first."""
    said = "\n\n".join(str(m["content"]) for m in messages if m["role"] == "system")
    rest = [m for m in messages if m["role"] != "system"]
    if not said or not rest:
        return rest or [{"role": "user", "content": said}]
    return [{**rest[0], "content": f"{said}\n\n{rest[0]['content']}"}, *rest[1:]]
