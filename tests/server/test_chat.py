"""Chats and completions over HTTP: the tokens that are written offline, whole or as they come, and every refusal."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from starlette.testclient import TestClient

from tests.fixtures.small_decoders import CHATML, write_decoder
from tests.server.held import fault_of, official, serving
from tunesmith.asking.model import Prompt
from tunesmith.asking.opening import open_model
from tunesmith.server import decoding
from tunesmith.server.chat_prompt import prompt_of_chat
from tunesmith.server.decoder import Decoder
from tunesmith.server.faults import ApiFault
from tunesmith.server.models import Models
from tunesmith.server.requests import ChatBody, parsed
from tunesmith.server.settings import Settings
from tunesmith.server.store import Store

ASKED = ("what colour is grass?", "sky: which colour? please", "a", "tell me the colour of coal (4)")
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["red", "blue"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["kind", "n"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "paint", "description": "Paint it.", "parameters": SCHEMA},
}


def messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A base whose weights say something, and two adapters of it."""
    from transformers import AutoModelForCausalLM

    from tunesmith.model.adapters import attach, detach, save_adapter
    from tunesmith.recipe import AdapterSection

    folder = write_decoder(tmp_path_factory.mktemp("served") / "base", longest=1024, max_position_embeddings=1024)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    found = {"base": str(folder)}
    for number in (1, 2):
        attach(model, list(model.model.layers), AdapterSection(r=4), seed=number)
        torch.manual_seed(number)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.5)
        place = folder.parent / f"adapter-{number}"
        save_adapter(model, place, base_name=str(folder), task_type="CAUSAL_LM")
        detach(model)
        found[f"tuned-{number}"] = str(place)
    return found


@pytest.fixture(scope="module")
def client(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("server"), models=places) as found:
        yield found


@pytest.fixture(scope="module")
def openai_client(client: TestClient) -> openai.OpenAI:
    return official(client)


def models_of(folder: Path, places: dict[str, str], **settings: Any) -> Models:
    return Models(Settings(folder, device="cpu", models=places, **settings))


def test_what_is_served_is_what_is_written_offline_token_for_token(places: dict[str, str], tmp_path: Path) -> None:
    prompts = [Prompt(({"role": "user", "content": text},), max_tokens=12) for text in ASKED]
    prompts += [Prompt(prompts[0].messages, max_tokens=12, temperature=1.0, top_p=0.9, seed=4)]
    wanted = {}
    for name, place in places.items():
        local = open_model(place, device="cpu", dtype="fp32")
        wanted[name] = [(reply.text, reply.tokens, reply.ended) for reply in local.answer(prompts)]
    assert len({str(one) for one in wanted.values()}) == 3
    models = models_of(tmp_path, places)

    async def all_at_once() -> dict[str, list[Any]]:
        asked = [(name, models.decoder(name).submit(prompt)) for prompt in prompts for name in places]
        found = await asyncio.gather(*(one for _, one in asked))
        return {n: [w[0].reply for (m, _), w in zip(asked, found, strict=True) if m == n] for n in places}

    served = asyncio.run(all_at_once())
    told = models.gauges()
    models.stop()
    assert {n: [(r.text, r.tokens, r.ended) for r in some] for n, some in served.items()} == wanted
    assert told["tunesmith_models_held"][1][()] == 1
    assert told["tunesmith_adapters_held"][1][()] == 2


def test_a_stream_says_what_the_whole_reply_says(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tuned-1",
        "messages": messages(ASKED[0]),
        "max_tokens": 16,
        "n": 2,
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
        # Special tokens are no text, so that their bytes would be in the way below.
        "logit_bias": {"0": -100, "1": -100},
    }
    whole = openai_client.chat.completions.create(**asked)
    texts, tokens, ends = ["", ""], [[], []], [None, None]
    usage = None
    for chunk in openai_client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            tokens[choice.index] += choice.logprobs.content or [] if choice.logprobs else []
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert ends == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    for choice, streamed in zip(whole.choices, tokens, strict=True):
        assert choice.logprobs is not None
        noted = choice.logprobs.content
        assert noted is not None
        assert b"".join(bytes(one.bytes or []) for one in noted).decode(errors="replace") == choice.message.content
        assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in noted)
        assert [one.token for one in streamed] == [one.token for one in noted][: len(streamed)]


def test_a_stop_ends_a_reply_and_is_never_said(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "base", "messages": messages(ASKED[0]), "temperature": 0, "max_tokens": 30}
    whole = openai_client.chat.completions.create(**asked).choices[0].message.content or ""
    stop = whole[4:7]
    kept = openai_client.chat.completions.create(**asked, stop=[stop, "not there"]).choices[0]
    said = [
        chunk.choices[0].delta.content or ""
        for chunk in openai_client.chat.completions.create(**asked, stop=stop, stream=True)
    ]
    assert kept.message.content == "".join(said) == whole[: whole.index(stop)]
    assert kept.finish_reason == "stop"


def test_formats_and_required_calls_are_held_to(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tuned-2", "messages": messages("paint"), "max_tokens": 60, "seed": 1}
    form = {"type": "json_schema", "json_schema": {"name": "paint", "schema": SCHEMA, "strict": True}}
    found = json.loads(openai_client.chat.completions.create(**asked, response_format=form).choices[0].message.content)
    assert found["kind"] in ("red", "blue")
    assert 0 <= found["n"] <= 9
    chosen = {"type": "function", "function": {"name": "paint"}}
    called = openai_client.chat.completions.create(**asked, tools=[TOOL], tool_choice=chosen).choices[0]
    assert called.finish_reason == "tool_calls"
    assert called.message.content is None
    assert called.message.tool_calls
    assert set(json.loads(called.message.tool_calls[0].function.arguments)) == {"kind", "n"}
    with openai_client.chat.completions.stream(**asked, tools=[TOOL], tool_choice="required") as events:
        last = events.get_final_completion().choices[0]
    assert last.message.tool_calls
    assert last.message.tool_calls[0].function.name == "paint"
    # The conversation goes on with what the tool said.
    after = [
        *messages("paint"),
        called.message.to_dict(),
        {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "done"},
    ]
    more = openai_client.chat.completions.create(model="tuned-2", messages=after, max_tokens=3)  # type: ignore[arg-type]
    assert more.usage is not None
    assert more.usage.prompt_tokens > 20


def test_a_template_is_given_the_tools_or_the_system_says_them(places: dict[str, str], tmp_path: Path) -> None:
    body = parsed({"model": "m", "messages": messages("a"), "tools": [TOOL]}, ChatBody)
    knows = "{% for tool in tools or [] %}[{{ tool['function']['name'] }}]{% endfor %}" + CHATML
    for template, told in ((knows, "[paint]"), (CHATML, '"name": "paint"')):
        place = write_decoder(tmp_path / str(len(told)), template=template, longest=1024, max_position_embeddings=1024)
        local = open_model(str(place), device="cpu", dtype="fp32")
        text = local._tokenizer.decode(local.tokens_of(prompt_of_chat(body, local)))  # type: ignore[attr-defined]
        assert told in text


def test_completions_go_on_with_texts_as_they_are(openai_client: openai.OpenAI, places: dict[str, str]) -> None:
    texts = ["colour = ", "the colour of"]
    plain = open_model(places["base"], device="cpu", dtype="fp32", template="none")
    wanted = [r.text for r in plain.answer([Prompt(tuple(messages(text)), max_tokens=8) for text in texts])]
    asked: dict[str, Any] = {"model": "base", "prompt": texts, "max_tokens": 8, "temperature": 0}
    whole = openai_client.completions.create(**asked, logprobs=2)
    assert [choice.text for choice in whole.choices] == wanted
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert logprobs.text_offset[0] == len(texts[0])
    said = ["", ""]
    for chunk in openai_client.completions.create(**asked, stream=True, echo=True):
        said[chunk.choices[0].index] += chunk.choices[0].text
    assert said == [text + more for text, more in zip(texts, wanted, strict=True)]


@pytest.mark.parametrize(
    ("change", "status", "param", "said"),
    [
        ({"model": "none"}, 404, "model", "does not exist"),
        ({"messages": messages("z" * 4_000_000)}, 400, "messages", "maximum context length is 1024 tokens"),
        ({"messages": messages("z" * 1100)}, 400, "messages", "has 1,1"),
        ({"messages": [*messages("a"), {"role": "assistant", "content": "b"}]}, 400, None, "asks nothing"),
        ({"messages": [{"role": "user"}]}, 400, "messages", "has no content"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "odd"}}}}, 400,
         None, "no reply can be held to this schema"),
        ({"tool_choice": "required"}, 400, "tool_choice", "not among the tools"),
        ({"logit_bias": {"99999": 1.0}}, 400, "logit_bias", "id of no token"),
        ({"top_logprobs": 2}, 400, "top_logprobs", "needs logprobs"),
        ({"stream": True, "messages": messages("z" * 1100)}, 400, "messages", "has 1,1"),
    ],
)  # fmt: skip
def test_refusals(client: TestClient, change: dict[str, Any], status: int, param: str | None, said: str) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "base", "messages": messages("a")} | change)
    found = fault_of(answer)
    assert found[:2] == (status, param)
    assert said in found[2]
    assert "/tmp" not in found[2]
    if "maximum context" in found[2] or "has 1,1" in found[2]:
        assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_what_a_completion_can_t_do_is_refused(client: TestClient) -> None:
    for field, value in (("suffix", "b"), ("best_of", 3)):
        answer = client.post("/v1/completions", json={"model": "base", "prompt": "a", field: value})
        assert fault_of(answer)[:2] == (400, field)
    assert fault_of(client.post("/v1/completions", json={"model": "base", "prompt": ""}))[0] == 400


def test_models_are_listed_and_told(openai_client: openai.OpenAI, places: dict[str, str]) -> None:
    assert [model.id for model in openai_client.models.list()] == list(places)
    assert openai_client.models.retrieve("tuned-1").owned_by == "tunesmith"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("ft:base:none:1")


def test_what_jobs_tuned_and_their_checkpoints_are_asked_by_name(places: dict[str, str], tmp_path: Path) -> None:
    import shutil

    store = Store(tmp_path)
    job = store.add_job(status="succeeded", fine_tuned_model="ft:base:colours:1", model="base")
    shutil.copytree(places["tuned-1"], store.jobs / job["id"] / "step-2")
    folder = f"jobs/{job['id']}/step-2"
    store.add_checkpoint(job["id"], step=2, model="ft:base:colours:1:ckpt-step-2", folder=folder, metrics={})
    models = Models(Settings(tmp_path, device="cpu", models=places), store)
    prompt = Prompt(tuple(messages("a")), max_tokens=6)
    found = asyncio.run(models.decoder("ft:base:colours:1:ckpt-step-2").submit(prompt))
    same = asyncio.run(models.decoder("tuned-1").submit(prompt))
    assert [card["id"] for card in models.cards()] == [*places, "ft:base:colours:1"]
    models.stop()
    assert found[0].tokens == same[0].tokens


# Many at once


def test_a_full_queue_is_429_and_says_when_to_come_again(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MOST_ROWS", 1)
    models = models_of(tmp_path, places, queue=1)
    prompt = Prompt(tuple(messages("a")), max_tokens=2)
    release, blocked = threading.Event(), threading.Event()

    def hold() -> None:
        blocked.set()
        release.wait(60)

    async def crowd(decoder: Decoder) -> list[Any]:
        await decoder.submit(prompt)
        with models.lease(decoder.local) as (engine, _):
            holder = threading.Thread(target=lambda: engine._between(hold))
            holder.start()
            assert await asyncio.to_thread(blocked.wait, 60)
            waiting = [asyncio.create_task(decoder.submit(prompt)) for _ in range(4)]
            while engine.waiting < 2 or sum(task.done() for task in waiting) < 2:
                await asyncio.sleep(0.01)
            release.set()
            found = await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.to_thread(holder.join)
        return found

    found = asyncio.run(crowd(models.decoder("base")))
    models.stop()
    faults = [one for one in found if isinstance(one, ApiFault)]
    assert len(faults) == 2
    assert all(fault.status == 429 and (fault.retry_after or 0) >= 1 for fault in faults)
    assert all(one[0].reply.tokens == 2 for one in found if isinstance(one, list))


def test_who_is_cancelled_leaves_the_batch(places: dict[str, str], tmp_path: Path) -> None:
    models = models_of(tmp_path, places)
    prompt = Prompt(tuple(messages("a")), max_tokens=900, bias={2: -100.0})

    async def leave() -> tuple[int, int]:
        decoder = models.decoder("tuned-1")
        with models.lease(decoder.local) as (engine, _):
            stream = decoder.stream(prompt)
            await anext(stream)
            task = asyncio.create_task(decoder.submit(prompt))
            while engine.live < 2:
                await asyncio.sleep(0)
            task.cancel()
            await stream.aclose()
            while engine.live:
                await asyncio.sleep(0.01)
            assert task.cancelled() or (await asyncio.gather(task, return_exceptions=True))
            return engine.cancelled, engine.tokens

    cancelled, tokens = asyncio.run(leave())
    busy = [held.users for held in models._held.values()]
    models.stop()
    assert cancelled == 2
    assert tokens < 1500
    assert busy == [0]


def test_memory_is_kept_and_who_was_asked_longest_ago_leaves(places: dict[str, str], tmp_path: Path) -> None:
    other = write_decoder(tmp_path / "other", longest=1024, max_position_embeddings=1024)
    all_places = places | {"other": str(other)}
    room = models_of(tmp_path, all_places)
    prompt = Prompt(tuple(messages("a")), max_tokens=2)
    asyncio.run(room.decoder("base").submit(prompt))
    base = room.bytes
    asyncio.run(room.decoder("tuned-1").submit(prompt))
    adapter = room.bytes - base
    room.stop()
    assert 0 < adapter < base
    models = models_of(tmp_path, all_places, model_bytes=base + adapter + adapter // 2)
    for name in ("tuned-1", "tuned-2"):
        asyncio.run(models.decoder(name).submit(prompt))
        assert models.bytes == base + adapter
    with models.lease(models.decoder("base").local), pytest.raises(ApiFault) as caught:
        asyncio.run(models.decoder("other").submit(prompt))
    assert (caught.value.status, caught.value.code) == (503, "models_busy")
    asyncio.run(models.decoder("other").submit(prompt))
    assert models.bytes == base
    models.stop()
    small = models_of(tmp_path, all_places, model_bytes=base // 2)
    with pytest.raises(ApiFault) as caught:
        asyncio.run(small.decoder("base").submit(prompt))
    assert caught.value.code == "model_too_large"
