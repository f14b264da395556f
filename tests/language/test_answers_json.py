"""JSON: strict reading, the row's schema, equality of values; and that no schema makes anything be fetched."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tunesmith.language.answers.json_schema import JsonScorer, json_of
from tunesmith.language.answers.json_values import NotJson

SCORER = JsonScorer()
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}
GOLD = '{"name": "Ada", "age": 36}'


def scores(answer: str, schema: Any = SCHEMA, reference: str = GOLD) -> tuple[float, ...]:
    found = SCORER.one(answer, reference, {"id": "1", "json_schema": schema})
    return tuple(found[name] for name in ("json_valid", "schema_valid", "json_match"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GOLD, (1, 1, 1)),
        ('{"age": 36.0, "name": "Ada"}', (1, 1, 1)),
        (f"Here it is:\n```json\n{GOLD}\n```", (1, 1, 1)),
        (f"<think>{{</think>\n{GOLD}", (1, 1, 1)),
        ('{"name": "Eve"}', (1, 1, 0)),
        ('{"name": "Ada", "age": -1}', (1, 0, 0)),
        ('{"name": "Ada", "age": 36, "x": null}', (1, 0, 0)),
        ("null", (1, 0, 0)),
        (f"Here it is: {GOLD}", (0, 0, 0)),
        (GOLD[:-1], (0, 0, 0)),
        ("{'name': 'Ada'}", (0, 0, 0)),
        ('{"name": "Ada", "age": NaN}', (0, 0, 0)),
        ('{"name": "Ada", "age": Infinity}', (0, 0, 0)),
        ("[" * 100_000, (0, 0, 0)),
        ("9" * 10_000, (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_an_answer_is_json_keeps_the_schema_and_says_the_same(answer: str, expected: tuple[float, ...]) -> None:
    assert scores(answer) == expected
    assert scores(answer, json.dumps(SCHEMA)) == expected


def test_a_text_with_json_inside_a_string_is_read_whole() -> None:
    assert json_of('{"text": "```json\\n1\\n```"}') == {"text": "```json\n1\n```"}
    with pytest.raises(NotJson):
        json_of("```text\n1\n```")


def test_the_draft_that_a_schema_names_is_kept() -> None:
    pair = {"items": [{"type": "integer"}], "additionalItems": False}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert scores("[1]", old) == (1, 1, 0)
    assert scores("[1, 2]", old) == (1, 0, 0)
    assert scores("[1]", {"$schema": "https://example.invalid/unknown", "type": "array"}) == (1, 1, 0)


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
def test_nothing_is_fetched(keyword: str) -> None:
    asked: list[str] = []

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/schema.json"
        try:
            row = {"id": "1", "json_schema": {keyword: url}}
            valid = SCORER.one("{}", "{}", row)["schema_valid"]
            findings = list(SCORER.findings([row], ["{}"]))
        finally:
            server.shutdown()
            thread.join()
    assert asked == []
    if keyword == "$schema":
        assert (valid, findings) == (1, [])
    else:
        assert valid == 0
        assert [(f.code, url in f.what) for f in findings] == [("no-json-schema", True)]


def test_a_schema_that_refers_to_a_file_reads_none(tmp_path: Any) -> None:
    (tmp_path / "s.json").write_text("{}")
    assert scores("{}", {"$ref": (tmp_path / "s.json").as_uri()}) == (1, 0, 0)


@pytest.mark.parametrize(
    ("schema", "reference", "code", "says"),
    [
        (None, GOLD, "no-json-schema", "there is none"),
        ("{", GOLD, "no-json-schema", "it is no JSON"),
        ([1], GOLD, "no-json-schema", "it is no object"),
        ({"type": "objct"}, GOLD, "no-json-schema", "it is no schema"),
        ({"properties": {"name": {"pattern": "("}}}, GOLD, "no-json-schema", "regex"),
        ({"$schema": ["x"]}, GOLD, "no-json-schema", "$schema"),
        ({"$ref": "#"}, GOLD, "no-json-schema", "it can't be applied"),
        ({"$ref": "#/$defs/none"}, GOLD, "no-json-schema", "it refers to"),
        ({"default": {1, 2}}, GOLD, "no-json-schema", "it is no JSON"),
        (SCHEMA, "Ada is 36", "gold-json-invalid", "Expecting value"),
        (SCHEMA, '{"age": 1}', "gold-breaks-schema", "'name' is a required property"),
    ],
)
def test_rows_that_cannot_be_judged_are_found(schema: Any, reference: str, code: str, says: str) -> None:
    rows = [{"id": "good", "json_schema": SCHEMA}, {"id": "bad", "json_schema": schema}]
    (found,) = SCORER.findings(rows, [GOLD, reference])
    assert (found.code, found.level, found.rows, found.share) == (code, "error", ("bad",), 0.5)
    assert says in found.what
    assert code in SCORER.codes
    assert scores(GOLD, schema, reference)[0] == 1
