"""The verbs index and retrieve, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tunesmith.cli.retrieving  # noqa: F401
from tunesmith.cli.shell import app
from tunesmith.errors import UserError


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "apples.md").write_text("# Apples\n\nApple trees are cut in late winter.\n")
    (folder / "roses.txt").write_text("Roses are cut when the forsythia blooms.\n")
    return folder


def test_a_folder_is_indexed_and_searched(notes: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    made = typed("index", notes, "--into", index, "--encoder", "none")
    assert "2 documents, 2 chunks, encoder none" in made.stdout
    found = typed("retrieve", index, "when are apple trees cut?", "--k", 1)
    assert found.stdout.startswith(f"[1] {notes / 'apples.md'}, bytes 0 to 45 (bm25 1)")
    assert "Apple trees are cut in late winter." in found.stdout
    (passage,) = json.loads(typed("retrieve", index, "forsythia", "--json").stdout)
    assert (passage["chunk"]["document"], passage["ranks"]) == ("roses.txt", {"bm25": 1})
    assert typed("retrieve", index, "zebra").stdout == "nothing was found\n"
    (notes / "roses.txt").unlink()
    told = json.loads(typed("index", notes, "--into", index, "--json").stdout)
    assert (told["unchanged"], told["removed"]) == (1, ["roses.txt"])


def test_a_passage_cannot_steer_the_terminal(notes: Path, tmp_path: Path) -> None:
    (notes / "tulips.txt").write_text(
        "Tulips\x1b]0;owned\x07 are \u202eplanted in autumn.\r\nAll of them.\n", newline=""
    )
    typed("index", notes, "--into", tmp_path / "index", "--encoder", "none")
    found = typed("retrieve", tmp_path / "index", "tulips").stdout
    assert "Tulips\ufffd]0;owned\ufffd are \ufffdplanted in autumn.\n    All of them." in found


def test_what_is_not_read_is_named(notes: Path, tmp_path: Path) -> None:
    (notes / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))
    made = typed("index", notes, "--into", tmp_path / "index", "--encoder", "none")
    assert "1 not read" in made.stdout
    assert f"not read: {notes / 'photo.jpg'}: " in made.stdout


def test_faults(notes: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    typed("index", notes, "--into", index, "--encoder", "none")
    for words, said in (
        (("retrieve", tmp_path, "a"), "there is no index in"),
        (("retrieve", index, "a", "--label", "x"), "a label has a name and a value"),
        (("retrieve", index, "a", "--method", "magic"), "there is no method 'magic'"),
        (("index", notes, "--into", index, "--encoder", "starter:minilm-l6"), "made with the encoder 'none'"),
        (("index", "--into", tmp_path / "new"), "nothing to index"),
        (("index", tmp_path / "absent", "--into", index), "absent"),
    ):
        fault = typed(*words).exception
        assert isinstance(fault, UserError)
        assert said in str(fault)
