"""Bodies and queries: what is refused before a route sees it, and how the answer names the field at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fixtures.asgi import GOOD, Said, ask
from tests.fixtures.server_parts import bare_app
from tunesmith.server.faults import ApiFault
from tunesmith.server.requests import ChatBody, EmbeddingBody, JobBody, listing, page_of, parsed, read_body

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    async def chat(request: Request) -> Response:
        body = await read_body(request, ChatBody)
        return JSONResponse(body.model_dump(exclude_none=True))

    async def page(request: Request) -> Response:
        found = page_of(request)
        return JSONResponse([found.after, found.limit, found.order])

    return bare_app(tmp_path, [Route("/x", chat, methods=["POST"]), Route("/list", page)])


def post(app: Starlette, body: bytes) -> Said:
    kind = [("content-type", "application/json; charset=utf-8"), ("content-length", str(len(body)))]
    return ask(app, "POST", "/x", [*GOOD, *kind], body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"model": "m", "temperature": NaN}',
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=["nothing", "half", "bytes", "NaN", "half a letter", "deep", "long number"],
)
def test_what_is_no_json_is_refused(app: Starlette, body: bytes) -> None:
    said = post(app, body)
    assert (said.status, said.error()["code"]) == (400, "invalid_json")
    assert len(said.body) < 1000


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"model": 5}, "model", "invalid_value"),
        ({"model": None}, "model", "invalid_value"),
        ({"temperature": 2.5}, "temperature", "invalid_value"),
        ({"temperature": 1e999}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"seed": 1 << 63}, "seed", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role", "invalid_value"),
        ({"messages": [*HELLO, {"role": "user", "content": 5}]}, "messages.1.content", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages.0.colour", "unknown_parameter"),
        ({"audio": {}}, "audio", "unknown_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "invalid_value"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "invalid_value"),
    ],
)
def test_the_field_at_fault_is_named(app: Starlette, change: dict[str, Any], param: str, code: str) -> None:
    said = post(app, json.dumps({"model": "m", "messages": HELLO} | change).replace("Infinity", "1e999").encode())
    error = said.error()
    assert (said.status, error["code"]) == (400, code)
    assert error["param"].startswith(param)
    assert param.rpartition(".")[2] in error["message"]


def test_a_field_that_is_missing_is_named(app: Starlette) -> None:
    error = post(app, b'{"messages": [{"role": "user", "content": "x"}]}').error()
    assert (error["param"], error["code"]) == ("model", "missing_required_parameter")
    assert post(app, b"[]").error()["param"] is None


def test_what_clients_send_is_taken(app: Starlette) -> None:
    sent = {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "short."}]},
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "5"},
        ],
        "temperature": 0,
        "top_p": 1,
        "stop": "\n",
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {}}},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "user": "someone",
        "metadata": {"a": "b"},
    }  # fmt: skip
    assert post(app, json.dumps(sent).encode()).status == 200
    body = ChatBody.model_validate(sent | {"max_tokens": 3, "max_completion_tokens": 7})
    assert [message.text() for message in body.messages] == ["Be short.", "Hello", "", "5"]
    assert body.most_tokens() == 7
    assert parsed({"model": "m", "messages": HELLO, "max_tokens": 3}, ChatBody).most_tokens() == 3


def test_hyperparameters_may_be_left_to_the_server() -> None:
    auto = {"n_epochs": "auto", "batch_size": 4, "learning_rate_multiplier": "auto", "beta": 0.2}
    given = {"model": "m", "training_file": "file-1", "method": {"type": "dpo", "dpo": {"hyperparameters": auto}}}
    body = parsed(given, JobBody)
    assert body.method is not None
    assert body.method.dpo is not None
    assert body.method.dpo.hyperparameters is not None
    assert body.method.dpo.hyperparameters.model_dump() == auto
    with pytest.raises(ApiFault) as fault:
        parsed(given | {"hyperparameters": {"n_epochs": "many"}}, JobBody)
    assert fault.value.param == "hyperparameters.n_epochs"
    with pytest.raises(ApiFault):
        parsed(given | {"method": {"type": "reinforcement"}}, JobBody)


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2], [[1], [2]]])
def test_all_forms_of_input_for_embeddings_are_taken(given: Any) -> None:
    assert parsed({"model": "m", "input": given}, EmbeddingBody).input == given


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [None, 20, "desc"]),
        ("?limit=5&after=file-1&order=asc", ["file-1", 5, "asc"]),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=" + "9" * 5000, "limit"),
        ("?limit=%C2%B2", "limit"),
        ("?limit=", "limit"),
        ("?order=up", "order"),
    ],
)
def test_pages_of_lists(app: Starlette, query: str, found: Any) -> None:
    said = ask(app, "GET", "/list" + query)
    assert (json.loads(said.body) if said.status == 200 else said.error()["param"]) == found


def test_a_list_says_where_it_begins_and_ends() -> None:
    assert listing([]) == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    found = listing([{"id": "a"}, {"id": "b"}], True)
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("a", "b", True)
