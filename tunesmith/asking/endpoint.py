"""A model behind an address: any endpoint of OpenAI's chat protocol (OpenAI, vLLM, llama.cpp, Ollama, LiteLLM).

It knows the protocol; no weights and no tokenizer.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from queue import LifoQueue
from typing import Any

from tunesmith.asking.constrained import schema_of_choices
from tunesmith.asking.model import Progress, Prompt, Reply
from tunesmith.errors import UserError
from tunesmith.web.http import Client, Limits
from tunesmith.web.replies import MIB, HttpFault
from tunesmith.web.waiting import Clock, StoppableClock

PREFIX = "openai:"
OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
BYTES_PER_TOKEN = 4
"""Of English text, about; endpoints count only what they were asked."""
CONTEXT = 8192
"""Where an endpoint does not tell."""
_REFUSED = re.compile(r"unsupported|not support|unknown|unrecogni|not permitted|not allowed|extra|unexpected", re.I)
REFUSABLE = ("max_tokens", "temperature", "seed", "stop", "response_format")
"""Settings that some endpoints do not take."""
LIMITS = Limits(
    rate=math.inf,
    attempts=6,
    timeout_seconds=120.0,
    longest_wait_seconds=120.0,
    reply_bytes=32 * MIB,
    sync_bytes=None,
    redirects=0,  # a key must go nowhere but where a person sent it
)
LOOKS = 2
"""Attempts of a first look, where a person waits to hear that nobody is there."""
FIXES = {
    0: "see that the endpoint runs, and that the address ends as the endpoint's does (/v1)",
    401: "put a valid key into the variable of the environment",
    403: "use a key that may use this model",
    404: "check the model's name, and that the address ends as the endpoint's does (/v1)",
    429: "wait, or raise the account's limit",
}


def open_endpoint(
    name: str,
    *,
    key_variable: str | None = None,
    seconds: float = 120.0,
    parallel: int = 4,
    context: int | None = None,
    clock: Clock | None = None,
) -> Endpoint:
    """The endpoint that ``openai:MODEL@BASE_URL`` names.

    Raises:
        UserError: The name says no model or no address, the key's variable is empty, or nothing answers there.
    """
    model, at, base = name.removeprefix(PREFIX).partition("@http")
    base = f"http{base}" if at else os.environ.get("OPENAI_BASE_URL", OPENAI)
    if not model or ("@" in model and not at):
        raise UserError(f"{name!r} names no endpoint", "--model", "write openai:MODEL@https://host/v1")
    key = os.environ.get(key_variable or KEY, "").strip()
    if not key and (key_variable or base == OPENAI):
        raise UserError(f"there is no key in {key_variable or KEY}", "the environment", f"export {key_variable or KEY}")
    limits = replace(LIMITS, timeout_seconds=seconds)
    return Endpoint(model, base, key, limits=limits, clock=clock, parallel=parallel, context=context)


class Endpoint:
    """Asks one model of one endpoint.

    Args:
        model: As the endpoint calls it.
        base: Address, ``https://host/v1``; a person named it, so that it may lie in a private network.
        key: Sent as a bearer; empty sends none.
        limits: How hard it may be asked.
        clock: Whose seconds count; None is the machine's.
        parallel: Prompts at a time.
        context: Most tokens of prompt and reply; None asks the endpoint, and takes 8,192 where it does not say.

    Attributes:
        notes: What a person should know, one sentence each: settings that it does not take.

    Raises:
        UserError: It is no address, a key would travel unencrypted, nothing answers there, or the key is refused.
    """

    def __init__(
        self,
        model: str,
        base: str,
        key: str = "",
        *,
        limits: Limits = LIMITS,
        clock: Clock | None = None,
        parallel: int = 4,
        context: int | None = None,
    ) -> None:
        if "?" in base or "#" in base:
            raise UserError(f"{base!r} is no address of an endpoint", "--model", "write openai:MODEL@https://host/v1")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._clock = StoppableClock(clock)
        # A client has one connection: each thread takes one, the last that was used first, and gives it back.
        self._clients = [
            Client(base, limits, headers=headers, clock=self._clock, fixes=FIXES) for _ in range(max(1, parallel))
        ]
        self._free: LifoQueue[Client] = LifoQueue()
        for client in self._clients:
            self._free.put(client)
        self.name = self.identity = f"{PREFIX}{model}@{self._clients[0].base}"
        self.constrains = True
        self.notes: list[str] = []
        self._model = model
        self._left_out: set[str] = set()
        told = self._told()
        self.context = context or told or CONTEXT
        if context is None and told is None:
            self.notes.append(f"{self.name} does not tell its context: {CONTEXT:,} tokens are assumed")

    def _told(self) -> int | None:
        """The model's context, as vLLM and others tell it; also whether anyone is there.

        Raises:
            UserError: No one is, or the key is refused.
        """
        try:
            listed = self._clients[0].get("models", attempts=LOOKS)
        except HttpFault as fault:
            if fault.status in (0, 401, 403):
                raise
            return None
        finally:
            self._clients[0].close()
        entries = listed.get("data") if isinstance(listed, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("id") == self._model:
                meta = entry.get("meta")
                inner = meta.get("n_ctx") if isinstance(meta, dict) else None
                found = entry.get("max_model_len") or entry.get("context_length") or inner
                return found if isinstance(found, int) and found > 0 else None
        return None

    def count(self, text: str) -> int:
        """About how many tokens a text has."""
        return -(-len(text.encode()) // BYTES_PER_TOKEN)

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        """A reply to each prompt, in their order.

        Raises:
            UserError: A prompt is longer than the context, or the endpoint refuses.
        """
        for number, prompt in enumerate(prompts, 1):
            tokens = sum(self.count(str(message.get("content", ""))) for message in prompt.messages)
            if tokens >= self.context:
                what = f"prompt {number} has about {tokens:,} tokens, and the model takes {self.context:,}"
                raise UserError(what, self.name, "ask with less text, or a model of a longer context")
        found: dict[int, Reply] = {}
        self._clock.start()
        pool = ThreadPoolExecutor(min(len(self._clients), max(1, len(prompts))))
        try:
            waiting = {pool.submit(self._reply, prompt): number for number, prompt in enumerate(prompts)}
            for one in as_completed(waiting):
                found[waiting[one]] = one.result()
                if progress is not None:
                    progress("answering", len(found), len(prompts))
        except BaseException:
            self._clock.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for client in self._clients:
                client.close()
        return [found[number] for number in range(len(prompts))]

    def _reply(self, prompt: Prompt) -> Reply:
        began = time.perf_counter()
        said = self._asked(prompt)
        try:
            choice = said["choices"][0]
            text, why = choice["message"].get("content") or "", choice.get("finish_reason")
            used = said.get("usage") or {}
            counted = int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or self.count(text))
        except (KeyError, IndexError, TypeError, AttributeError) as fault:
            what = f"the endpoint's reply holds no choices: {json.dumps(said)[:200]}"
            raise UserError(what, self.name, "see that it is a chat endpoint of OpenAI's protocol") from fault
        if prompt.choices and prompt.schema is None:
            text = _chosen(text)
        return Reply(str(text), *counted, time.perf_counter() - began, why != "length")

    def _asked(self, prompt: Prompt) -> Any:
        """The endpoint's reply; a setting that it does not take is left out from then on."""
        client = self._free.get()
        try:
            return self._taken(client, prompt)
        finally:
            self._free.put(client)

    def _taken(self, client: Client, prompt: Prompt) -> Any:
        while True:
            left_out = frozenset(self._left_out)
            try:
                return client.post("chat/completions", self._body(prompt, left_out))
            except HttpFault as fault:
                refused = next((one for one in REFUSABLE if one in fault.said), None)
                told = fault.status in (400, 422) and _REFUSED.search(fault.said)
                if not told or refused is None or refused in left_out:
                    raise
                self._leave_out(refused)

    def _leave_out(self, setting: str) -> None:
        if setting in self._left_out:
            return
        self._left_out.add(setting)
        if setting == "response_format":
            self.constrains = False
        if setting != "max_tokens":  # that has another name, by which it is sent
            self.notes.append(f"{self.name} does not take {setting}, which is left out")

    def _body(self, prompt: Prompt, left_out: frozenset[str]) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in left_out else "max_tokens"
        schema = prompt.schema
        if schema is None and prompt.choices:
            schema = schema_of_choices(prompt.choices)
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [dict(message) for message in prompt.messages],
            limit: prompt.max_tokens,
            "temperature": prompt.temperature,
            "seed": prompt.seed,
        }
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        bias = {str(token): value for token, value in prompt.bias.items()}
        rest = {"presence_penalty": prompt.presence, "frequency_penalty": prompt.frequency, "logit_bias": bias}
        rest |= {"top_p": prompt.top_p} if prompt.top_p < 1 else {}
        body |= {name: value for name, value in rest.items() if value}
        if schema is not None:
            named = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return {name: value for name, value in body.items() if name not in left_out}


def _chosen(text: str) -> str:
    """The choice inside ``{"answer": CHOICE}``; what is no such object is given as it is."""
    try:
        return str(json.loads(text)["answer"])
    except (ValueError, KeyError, TypeError):
        return text
