"""The FAQ example is what its script makes of the package, in conversations, with equal questions in one group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "faq"
SCRIPT = ROOT / "scripts" / "make_faq.py"
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (FOLDER / "faq.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        import make_faq

        yield make_faq


def content(row: dict[str, Any], place: int) -> str:
    return str(row["messages"][place]["content"])


def test_the_script_writes_the_same_bytes_again(tmp_path: Path) -> None:
    out = tmp_path / "faq.jsonl"
    offline = {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "5", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, str(SCRIPT), "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **offline})
    if "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == (FOLDER / "faq.jsonl").read_bytes()


def test_every_row_is_a_conversation() -> None:
    assert len(ROWS) == len({row["id"] for row in ROWS}) == 501
    assert len({row["category"] for row in ROWS}) == 39
    for row in ROWS:
        assert set(row) == {"id", "group", "category", "messages"}
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert all(set(message) == {"role", "content"} for message in row["messages"])
        assert content(row, 1).endswith("?")
        assert 60 <= len(content(row, 2)) <= 520
    assert len({content(row, 0) for row in ROWS}) == 1


def test_the_readme_says_what_is_in_the_file() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    lengths = [len(content(row, 2)) for row in ROWS]
    assert f"`faq.jsonl` holds {len(ROWS)} questions" in readme
    assert f"({sum(lengths) / len(lengths):.0f} characters on average, {max(lengths)} at most)" in readme


def test_equal_questions_are_in_one_group() -> None:
    groups = defaultdict(set)
    for row in ROWS:
        groups[content(row, 1).casefold().rstrip("?")].add(row["group"])
    assert [question for question, found in groups.items() if len(found) > 1] == []
    assert {row["group"] for row in ROWS} <= {row["id"] for row in ROWS}
    assert len(ROWS) - len({row["group"] for row in ROWS}) == 6


def test_nothing_advertises_the_publisher(script: ModuleType) -> None:
    for row in ROWS:
        assert "zaragoza" not in json.dumps(row).casefold()
        assert script.without_publisher(content(row, 2)) == content(row, 2)


def test_the_licence_and_the_authors_stand_beside_the_rows() -> None:
    licence = (FOLDER / "LICENSE.txt").read_text(encoding="utf-8")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Attribution 4.0 International" in licence
    for text in (licence, readme):
        assert "Zaragoza AB" in text
        assert "https://github.com/zaragoza-ab/swedish-construction-faq-1000" in text
    assert "CC-BY-4.0" in readme
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 400_000


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("Yes, it applies. Zaragoza AB handles it.", "Yes, it applies."),
        ("Ask in time. Zaragoza AB follows AB 04 kap. 7 § 3. Then wait.", "Ask in time. Then wait."),
        ("U-value 0.13, see AB 04 kap. 5 § 7.", "U-value 0.13, see AB 04 kap. 5 § 7."),
        ("Zaragoza AB does this.", ""),
    ],
)
def test_sentences_about_the_publisher_go(script: ModuleType, answer: str, left: str) -> None:
    assert script.without_publisher(answer) == left


def test_rows_about_the_publisher_go_and_equal_questions_share_a_group(script: ModuleType) -> None:
    given = [
        {"id": "a-1", "category": "a", "q": "What is ROT?", "a": "A deduction. Zaragoza AB knows."},
        {"id": "a-2", "category": "a", "q": "Is Zaragoza AB good?", "a": "Yes."},
        {"id": "b-1", "category": "b", "q": "what is  ROT ?", "a": "Money."},
        {"id": "b-2", "category": "b", "q": "What is RUT?", "a": "Zaragoza AB knows."},
    ]
    found = list(script.answers([json.dumps(row) for row in given]))
    assert [(one.id, one.group, one.answer) for one in found] == [
        ("a-1", "a-1", "A deduction."),
        ("b-1", "a-1", "Money."),
    ]
    assert [message["role"] for message in found[0].row["messages"]] == ["system", "user", "assistant"]


def test_only_the_very_package_is_read(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(script.INNER, '{"id": "a-1"}\n')
    with pytest.raises(SystemExit, match=r"is not the wheel of zaragoza-construction-faq"):
        script.lines(wheel)
    monkeypatch.setattr(script, "SHA256", sha256(wheel.read_bytes()).hexdigest())
    assert script.lines(wheel) == ['{"id": "a-1"}']
