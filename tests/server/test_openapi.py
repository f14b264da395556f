"""The published OpenAPI: it names every route, its references lead somewhere, its bodies are the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tunesmith.server import openapi
from tunesmith.server.app import all_routes
from tunesmith.server.openapi import bodies, document, forms, general


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads(json.dumps(document(all_routes())))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def operations(published: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in published["paths"].items() for method in methods}


def test_every_route_is_published_and_no_other(published: dict[str, Any]) -> None:
    routes = {
        (method, general(route.path)) for route in all_routes() for method in route.methods or () if method != "HEAD"
    }
    assert operations(published) == routes
    assert len(routes) > 20


def test_what_is_said_of_a_route_is_said_of_one_that_there_is(published: dict[str, Any]) -> None:
    from tunesmith.server.answer_shapes import ANSWERS, OTHERS

    there = operations(published)
    assert {*bodies(), *forms(), *ANSWERS, *OTHERS, *openapi.ONCE, *(("GET", path) for path in openapi.LISTS)} <= there
    assert there == {*ANSWERS, *OTHERS}


def test_every_route_says_what_it_is_for_and_has_a_name_of_its_own(published: dict[str, Any]) -> None:
    found = [one for methods in published["paths"].values() for one in methods.values()]
    assert all(len(one["summary"]) > 10 and one["summary"].endswith((".", ":")) for one in found)
    names = [one["operationId"] for one in found]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(published: dict[str, Any]) -> None:
    named = set(references(published))
    assert named
    known = {f"#/components/schemas/{name}" for name in published["components"]["schemas"]}
    assert named <= known


def test_every_route_that_takes_something_says_what(published: dict[str, Any]) -> None:
    """What takes no body is what acts on the thing that its path names."""
    acts = ("cancel", "pause", "resume")
    for method, path in operations(published):
        said = published["paths"][path][method.lower()]
        assert ("requestBody" in said) == (method == "POST" and not path.endswith(acts)), (method, path)
        placeholders = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert placeholders == {one["name"] for one in said.get("parameters", []) if one["in"] == "path"}


def test_the_schema_of_a_body_takes_what_its_class_takes(published: dict[str, Any]) -> None:
    import jsonschema

    schema = {"$ref": "#/components/schemas/ChatBody", "components": published["components"]}
    hello = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    jsonschema.validate(hello, schema)
    for wrong in ({"temperature": 3}, {"colour": 1}, {"messages": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(hello | wrong, schema)


def test_a_placeholder_of_a_kind_is_published_by_its_name() -> None:
    assert general("/v1/models/{model:path}") == "/v1/models/{model}"
    assert general("/v1/files/{file_id}/content") == "/v1/files/{file_id}/content"
