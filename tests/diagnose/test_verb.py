"""The command: from files to a verdict with its exit code, and every wish that can't be met."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith.cli.diagnosing  # noqa: F401  (registers the verb)
from tests.fixtures.scripted_model import ScriptedModel, asked_of
from tunesmith.asking.model import Prompt
from tunesmith.cli import main

Run = Callable[..., tuple[int, str, str]]


def town_of(number: int) -> str:
    return f"Town{chr(65 + number // 26)}{chr(97 + number % 26)}"


def reads_only(prompt: Prompt) -> str:
    """Answers from passages alone."""
    asked = asked_of(prompt)
    land = re.findall(r"Land\d+", asked)[-1]
    found = re.search(rf"capital of {land} is (\w+)", asked)
    return found[1] if found else "Unknown"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with items and documents, where models are scripts."""
    monkeypatch.chdir(tmp_path)
    asked = [{"input": f"What is the capital of Land{n}?", "reference": town_of(n)} for n in range(60)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    (tmp_path / "object.json").write_text('{"type": "object"}', encoding="utf-8")
    (tmp_path / "lists.jsonl").write_text('{"input": "a", "reference": [1]}\n', encoding="utf-8")
    (tmp_path / "odd.json").write_text('{"type": "objekt"}', encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text('{"input": "a", "reference": "b"}\n{"input": "a"\n', encoding="utf-8")
    (tmp_path / "docs").mkdir()
    for n in range(60):
        text = f"# Land{n}\n\nThe capital of Land{n} is {town_of(n)}.\n"
        (tmp_path / "docs" / f"land-{n}.md").write_text(text, encoding="utf-8")
    scripts: dict[str, ScriptedModel] = {"reader": ScriptedModel(reads_only, name="reader")}

    def opened(name: str, **_wishes: Any) -> ScriptedModel:
        return scripts[name]

    monkeypatch.setattr("tunesmith.asking.opening.open_model", opened)
    return tmp_path


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def ran(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tunesmith", "diagnose", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        assert isinstance(done.value.code, int)
        return done.value.code, said.out, said.err

    return ran


BASIC = ("--model", "reader", "--items", "cases.jsonl", "--encoder", "none", "--fact-rows", 20)


def test_a_lack_of_knowledge_is_told_from_a_lack_of_form(run: Run, place: Path) -> None:
    code, out, _ = run(*BASIC, "--documents", "docs", "--json")
    told = json.loads(out)
    assert code == 0 == told["exit"]
    assert told["verdict"]["kind"] == "verdict"
    assert told["verdict"]["cures"] == ["retrieval"]
    assert told["facts"]["unknown"] == 20
    kept = place / "runs/diagnosis"
    assert json.loads((kept / "diagnosis.json").read_text(encoding="utf-8"))["verdict"] == told["verdict"]
    assert (kept / "evidence.json").is_file()
    assert (kept / "replies.sqlite").is_file()
    assert (kept / "index/index.sqlite").is_file()
    # Nothing is asked twice: the second run answers from what is kept.
    code, out, _ = run(*BASIC, "--documents", "docs", "--page", "page.html")
    assert code == 0
    assert (place / "page.html").read_text(encoding="utf-8").count("<html") == 1
    assert "page: page.html" in out
    assert told["verdict"]["said"] in " ".join(out.split())


def test_three_items_decide_nothing(run: Run) -> None:
    code, out, err = run(*BASIC, "--documents", "docs", "--limit", 3, "--json")
    assert code == 3
    assert json.loads(out)["verdict"]["kind"] == "inconclusive"
    assert json.loads(out)["verdict"]["more_items"] > 0
    assert "3 items are few" in err


def test_items_that_contradict_each_other_come_first(run: Run, place: Path) -> None:
    rows = [{"input": f"Is Land{n} large?", "reference": answer} for n in range(40) for answer in ("yes", "no")]
    (place / "split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, out, _ = run("--model", "reader", "--items", "split.jsonl", "--only", "as-is", "--json")
    assert code == 4
    assert json.loads(out)["verdict"]["kind"] == "labels"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--items", "cases.jsonl", "--only", "few-shot-3"), "no probe 'few-shot-3'"),
        (("--items", "nowhere.jsonl"), "there is no file or folder 'nowhere.jsonl'"),
        (("--items", "cases.jsonl", "--documents", "nowhere"), "nowhere"),
        (("--items", "cases.jsonl", "--pattern", "("), "no regular expression"),
        (("--items", "cases.jsonl", "--pattern", ".*", "--schema", "s.json"), "one form"),
        (("--items", "cases.jsonl", "--schema", "none.json"), "can't be read"),
        (("--items", "cases.jsonl", "--content", "vibes"), "no such kind"),
        (("--items", "cases.jsonl", "--out", "cases.jsonl"), "can't be made"),
        (("--items", "cases.jsonl", "--content", "call"), "60 of 60 references are wrong by"),
        (("--items", "cases.jsonl", "--content", "sql"), "60 of 60 references are wrong by"),
        (("--items", "cases.jsonl", "--content", "choice"), "60 different answers"),
        (("--items", "lists.jsonl", "--schema", "object.json"), "breaks their own schema"),
        (("--items", "lists.jsonl", "--schema", "odd.json"), "no JSON Schema that can be used"),
        (("--items", "cases.jsonl", "--page", "nowhere/page.html"), "the page can't be written"),
        (("--items", "cases.jsonl", "--page", "docs"), "the page can't be written"),
        (("--items", "broken.jsonl"), "mend them, or leave them out"),
        (("--items", "cases.jsonl", "--larger-reply-price", 8), "no such model"),
    ],
)
def test_what_can_not_be_done_is_said(run: Run, words: tuple[str, ...], what: str) -> None:
    code, _, err = run("--model", "reader", "--encoder", "none", *words)
    assert code == 2
    assert "Traceback" not in err
    assert what in err
    assert "fix: " in err


def test_a_stop_says_how_to_go_on(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel(reads_only, name="reader", fail_after=70)
    monkeypatch.setattr("tunesmith.asking.opening.open_model", lambda name, **_wishes: model)
    code, _, err = run(*BASIC)
    assert code == 130
    assert "kept in runs/diagnosis" in err
    assert not (place / "runs/diagnosis/evidence.json").exists()
