"""The command ask, from files to what is printed, with a model behind a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.fixtures.fake_endpoint import FakeEndpoint, serving
from tunesmith.asking.opening import open_model
from tunesmith.cli.asking import _talk
from tunesmith.cli.shell import app
from tunesmith.errors import UserError
from tunesmith.retrieval.answering import Answer, ask_all
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.reading import FolderSource
from tunesmith.retrieval.search import open_index

TEXT = "# Library\n\nThe library in Mora opens at nine in the morning.\n\nIt closes at five.\n"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("asked")
    (place / "docs").mkdir()
    (place / "docs" / "library.md").write_text(TEXT, encoding="utf-8")
    build_index(place / "index", [FolderSource(place / "docs")], encoder="none")
    return place / "index"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    for name in ("OPENAI_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    quotes = [{"source": 1, "quote": "The library in Mora opens at nine in the morning."}]
    with serving(lambda _body: json.dumps({"quotes": quotes, "answer": "At nine."})) as found:
        yield found


def ran(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["ask", *map(str, arguments)], standalone_mode=False)


def test_an_answer_with_its_quote_and_its_source(index: Path, fake: FakeEndpoint, tmp_path: Path) -> None:
    model = f"openai:small@{fake.address}"
    done = ran(index, "When does the library open?", "zebra quantum", "--model", model, "--cache", tmp_path)
    assert done.return_value == 0, done.output
    first, second = done.stdout.split("\n\n")
    assert first.splitlines()[:2] == ["At nine. [1]", '  [1] "The library in Mora opens at nine in the morning."']
    assert "library.md, bytes" in first
    assert second.startswith("Not in the documents.")
    assert len(fake.bodies) == 1
    again = ran(index, "When does the library open?", "--model", model, "--cache", tmp_path, "--json")
    assert len(fake.bodies) == 1
    (told,) = json.loads(again.stdout)
    assert (told["answer"], told["supported"], told["cited"]) == ("At nine.", True, [1])
    quote = told["quotes"][0]
    with open_index(index) as opened:
        text = opened.document(quote["document"]).document.text.encode()
    assert text[quote["start"] : quote["end"]].decode() == quote["text"]


def test_an_invented_quote_is_an_exit_code(index: Path, fake: FakeEndpoint) -> None:
    invented = {"quotes": [{"source": 1, "quote": "It opens at ten."}], "answer": "At ten."}
    fake.say = lambda _body: json.dumps(invented)
    done = ran(index, "When does the library open?", "--model", f"openai:small@{fake.address}")
    assert done.return_value == 1
    assert '[in no source] "It opens at ten."' in done.stdout


def test_bad_input(index: Path, tmp_path: Path, fake: FakeEndpoint) -> None:
    model = f"openai:small@{fake.address}"
    for arguments, said in (
        ((index, "--model", model), "there is no QUESTION"),
        ((index, " ", "--model", model), "a question is empty"),
        ((tmp_path / "none", "a", "--model", model), "none"),
        ((index, "a", "--model", "openai:"), "names no endpoint"),
        ((index, "a", "--model", "starter:nothing"), "there is no starter 'nothing'"),
    ):
        done = ran(*arguments)
        assert isinstance(done.exception, UserError), done.output
        assert said in str(done.exception)


def test_one_question_after_the_other(index: Path, fake: FakeEndpoint, capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(["When does the library open?", " ", "x" * 40_000, "closes?", None])
    asked = open_model(f"openai:small@{fake.address}")
    with open_index(index) as opened:

        def answered(line: str) -> list[Answer]:
            return ask_all([line], opened, asked)

        _talk(answered, lambda: next(lines))
    shown = capsys.readouterr()
    assert shown.out.count("At nine. [1]") == 2
    assert len(fake.bodies) == 2
