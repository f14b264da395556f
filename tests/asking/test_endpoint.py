"""An endpoint of OpenAI's protocol on a real socket: what is sent, what is waited for, what is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fixtures.fake_endpoint import FakeEndpoint, serving
from tests.fixtures.fake_http import FakeClock
from tunesmith.asking.endpoint import LIMITS, Endpoint, open_endpoint
from tunesmith.asking.model import Prompt
from tunesmith.asking.opening import open_model
from tunesmith.errors import UserError
from tunesmith.web.replies import HttpFault


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    with serving(lambda body: f"echo {body['messages'][-1]['content']}") as found:
        yield found


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def prompt(text: str, **settings: Any) -> Prompt:
    return Prompt(({"role": "user", "content": text},), **settings)


def opened(fake: FakeEndpoint, clock: FakeClock | None = None, **wishes: Any) -> Endpoint:
    return open_endpoint(f"openai:small@{fake.address}", clock=clock or FakeClock(), **wishes)


def test_prompts_go_out_whole_and_replies_come_in_order(fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    model = open_model(f"openai:small@{fake.address}", parallel=3)
    found = model.answer([prompt(str(n), max_tokens=9, temperature=0.5, seed=n, stop=("x",)) for n in range(8)])
    assert [reply.text for reply in found] == [f"echo {n}" for n in range(8)]
    assert (found[0].prompt_tokens, found[0].tokens, found[0].ended) == (7, 3, True)
    assert found[0].seconds > 0
    assert set(fake.keys) == {"Bearer secret-1"}
    body = next(body for body in fake.bodies if body["seed"] == 4)
    assert body == {
        "model": "small", "messages": [{"role": "user", "content": "4"}], "max_tokens": 9, "temperature": 0.5,
        "seed": 4, "stop": ["x"],
    }  # fmt: skip
    assert model.context == 4096
    assert fake.address in model.identity


def test_schema_and_choices_are_asked_for_by_response_format(fake: FakeEndpoint) -> None:
    fake.say = lambda body: '{"answer": "no"}' if "response_format" in body else "free"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    model = opened(fake, parallel=1)
    found = model.answer([prompt("a", schema=schema), prompt("b", choices=("yes", "no")), prompt("c")])
    assert [reply.text for reply in found] == ['{"answer": "no"}', "no", "free"]
    sent = fake.bodies[0]["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"] == schema
    assert fake.bodies[1]["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"] == ["yes", "no"]


def test_what_says_later_is_asked_again_after_as_long_as_it_says(fake: FakeEndpoint) -> None:
    clock = FakeClock()
    fake.faults = [(429, {"Retry-After": "7"}, "{}"), (503, {}, "busy"), (502, {}, "")]
    assert opened(fake, clock).answer([prompt("a")])[0].text == "echo a"
    assert clock.slept == [7.0, 2.0, 4.0]


def test_it_gives_up_where_the_wait_is_too_long_or_never_ends(fake: FakeEndpoint) -> None:
    clock = FakeClock()
    model = opened(fake, clock)
    fake.faults = [(429, {"Retry-After": "100000"}, json.dumps({"error": {"message": "quota is used up"}}))]
    with pytest.raises(HttpFault, match=r"429.*quota is used up"):
        model.answer([prompt("a")])
    assert clock.slept == []
    fake.faults = [(500, {}, "oh")] * LIMITS.attempts
    with pytest.raises(HttpFault, match="500"):
        model.answer([prompt("a")])
    assert len(fake.bodies) == 1 + LIMITS.attempts


def test_a_fault_stops_the_waits_of_the_others(fake: FakeEndpoint) -> None:
    model = open_endpoint(f"openai:small@{fake.address}", parallel=2)
    fake.faults = [(429, {"Retry-After": "100"}, "{}"), (401, {}, "{}")]
    began = time.perf_counter()
    with pytest.raises(HttpFault, match="401"):
        model.answer([prompt("a"), prompt("b"), prompt("c")])
    assert time.perf_counter() - began < 30
    assert model.answer([prompt("d")])[0].text == "echo d"


def test_settings_that_it_does_not_take_are_left_out_and_said(fake: FakeEndpoint) -> None:
    fake.refused = ("max_tokens", "temperature", "response_format")
    model = opened(fake, parallel=1)
    assert model.constrains
    assert model.answer([prompt("a", max_tokens=5, choices=("yes",)), prompt("b")])[0].text == "echo a"
    assert fake.bodies[-1]["max_completion_tokens"] == 5 or fake.bodies[-1]["max_completion_tokens"] == 256
    assert "temperature" not in fake.bodies[-1]
    assert len(fake.bodies) == 5
    assert not model.constrains
    assert any("does not take temperature" in note for note in model.notes)


def test_a_fault_of_the_prompt_is_no_fault_of_a_setting(fake: FakeEndpoint) -> None:
    model = opened(fake)
    told = "This model's maximum context length is 4096 tokens; reduce the messages or max_tokens."
    fake.faults = [(400, {}, json.dumps({"error": {"message": told}}))]
    with pytest.raises(HttpFault, match="maximum context length"):
        model.answer([prompt("a")])
    assert len(fake.bodies) == 1


def test_a_redirect_is_not_followed(fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    model = opened(fake)
    with serving(lambda body: "stolen") as other:
        for status in (302, 307, 308):
            fake.faults = [(status, {"Location": f"{other.address}/chat/completions"}, "")]
            with pytest.raises(HttpFault, match="elsewhere"):
                model.answer([prompt("a")])
        assert other.bodies == []


def test_a_refused_key_a_wrong_address_and_nobody_there(fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(fake)
    fake.faults = [(401, {}, json.dumps({"error": {"message": "bad key"}}))]
    with pytest.raises(HttpFault, match=r"401.*bad key"):
        model.answer([prompt("a")])
    fake.models = None
    assert opened(fake).context == 8192
    assert "does not tell its context" in opened(fake).notes[0]
    clock = FakeClock()
    with pytest.raises(HttpFault, match="no answer in 2 attempts: the connection failed"):
        open_endpoint("openai:small@http://127.0.0.1:9/v1", clock=clock)
    assert clock.slept == [1.0]
    with pytest.raises(UserError, match="no key in OPENAI_API_KEY"):
        open_model("openai:gpt-4o-mini")
    with pytest.raises(UserError, match="no key in MY_KEY"):
        opened(fake, key_variable="MY_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-1")
    with pytest.raises(UserError, match="unencrypted"):
        open_model("openai:small@http://models.example.com/v1")
    for name in ("openai:", "openai:@http://x/v1", "openai:small@ftp://x"):
        with pytest.raises(UserError, match="names no endpoint"):
            open_model(name)


@pytest.mark.parametrize("body", ["no json", "{}", '{"choices": []}', '{"choices": [{"message": null}]}', "[]"])
def test_a_reply_without_an_answer_is_named(fake: FakeEndpoint, body: str) -> None:
    model = opened(fake)
    fake.faults = [(200, {}, body)] * LIMITS.attempts
    with pytest.raises(UserError, match=r"no JSON|holds no choices"):
        model.answer([prompt("a")])


def test_what_is_too_long_is_not_sent(fake: FakeEndpoint) -> None:
    model = opened(fake, context=100)
    with pytest.raises(UserError, match="prompt 1 has about"):
        model.answer([prompt("word " * 200)])
    assert fake.bodies == []


def test_a_cut_reply_has_not_ended(fake: FakeEndpoint) -> None:
    fake.finish = "length"
    assert not opened(fake).answer([prompt("a")])[0].ended


def test_a_reply_without_end_is_not_read_to_its_end(fake: FakeEndpoint) -> None:
    model = Endpoint("small", fake.address, limits=replace(LIMITS, reply_bytes=1000), clock=FakeClock())
    fake.faults = [(200, {}, "[" + "1," * 5000 + "1]")] * LIMITS.attempts
    with pytest.raises(HttpFault, match="the reply holds more than"):
        model.answer([prompt("a")])
    assert len(fake.bodies) == 1


def test_every_thread_has_a_connection_of_its_own_and_none_stays_open(fake: FakeEndpoint) -> None:
    together = threading.Barrier(3)
    fake.say = lambda body: f"{together.wait(30) >= 0} {body['seed']}"
    model = opened(fake, parallel=3)
    found = model.answer([prompt("a", seed=seed) for seed in range(9)])
    assert [reply.text for reply in found] == [f"True {seed}" for seed in range(9)]
    assert all(client._open is None for client in model._clients)


def test_an_address_with_a_query_is_none(fake: FakeEndpoint) -> None:
    with pytest.raises(UserError, match="no address of an endpoint"):
        open_endpoint(f"openai:small@{fake.address}?key=1")
