"""The front of the answers: every scorer keeps the contract, is found by its name, and loads nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.language.answers import SCORERS, find_scorer, finding_codes
from tunesmith.language.answers.extract import Fence, fenced, fences, without_thought
from tunesmith.language.answers.faults import SHOWN_ROWS, Fault, gather

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "exact": ("Paris", {}),
    "sql": ("SELECT a FROM t", {"schema": "CREATE TABLE t (a); INSERT INTO t VALUES (1);"}),
    "call": ('{"name": "f", "arguments": {"a": 1}}', {}),
    "json": ('{"a": 1}', {"json_schema": {"type": "object", "required": ["a"]}}),
    "code": ("def f():\n    return 1", {"tests": "assert f() == 1"}),
    "overlap": ("the cat sat on the mat", {}),
}
ODD = [
    "",
    " \n",
    "```",
    "```sql",
    "{",
    "[",
    "\x00",
    "\ud800",
    "<tool_call>",
    "<think>",
    "f(",
    "SELECT",
    "é🙂" * 50,
    "(" * 5000,
]


def test_there_is_a_good_row_for_every_scorer() -> None:
    assert set(GOOD) == set(SCORERS) == {"exact", "sql", "call", "json", "code", "overlap"}


@pytest.mark.parametrize("name", GOOD)
def test_every_scorer_keeps_the_contract(name: str) -> None:
    scorer = find_scorer(name, run_code=True)
    reference, columns = GOOD[name]
    row = {"id": "1", **columns}
    assert scorer.name == name
    assert list(scorer.findings([row], [reference])) == []
    right = scorer.one(reference, reference, row)
    assert right[scorer.goal] == 1
    assert set(right.values()) == {1.0}
    for answer in ODD:
        wrong = scorer.one(answer, reference, row)
        assert wrong.keys() == right.keys()
        assert wrong[scorer.goal] < 0.5
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in wrong.values())
    # A row that the audit complains of, and that a person accepted all the same, is scored and never fatal.
    assert scorer.one(reference, "", {"id": "2"}).keys() == right.keys()
    assert {finding.code for finding in scorer.findings([{"id": "2"}], [""])} <= set(scorer.codes)


def test_a_name_that_nobody_has_is_guessed() -> None:
    with pytest.raises(UserError, match="no scorer of answers is called 'exat'") as fault:
        find_scorer("exat")
    assert fault.value.fix == "write 'exact'"
    with pytest.raises(UserError) as fault:
        find_scorer("bleurt")
    assert fault.value.fix == "write one of: exact, sql, call, json, code, overlap"


def test_finding_codes_are_stable_names() -> None:
    codes = finding_codes()
    assert len(set(codes)) == len(codes) > 5
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_the_front_loads_nothing_heavy() -> None:
    heavy = "('torch', 'transformers', 'jsonschema', 'rouge_score', 'sacrebleu', 'nltk')"
    code = f"import sys, tunesmith.language.answers; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["json", "overlap"])
def test_a_missing_library_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("jsonschema", "rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, module, None)
    reference, columns = GOOD[name]
    with pytest.raises(UserError) as fault:
        find_scorer(name).one(reference, reference, {"id": "1", **columns})
    assert fault.value.fix == "pip install 'tunesmith[language]'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no fence", []),
        ("```sql\nSELECT 1\n```", [Fence("sql", "SELECT 1")]),
        ("See:\n\n~~~Python title=x\na\n\nb\n~~~\nand ```inline```", [Fence("python", "a\n\nb")]),
        ("```\ncut", [Fence("", "cut")]),
        ('```json {"a": 1}```', [Fence("json", '{"a": 1}')]),
        ("````\n```\ninner\n```\n````", [Fence("", "```\ninner\n```")]),
        ("```py\ndef f():\n    '''\n    ```x\n    '''\n```", [Fence("py", "def f():\n    '''\n    ```x\n    '''")]),
        (
            "- item\n  ```sql\n  SELECT 1\n  ```\n```sql\nSELECT 2\n```",
            [Fence("sql", "  SELECT 1"), Fence("sql", "SELECT 2")],
        ),
        ("```", [Fence("", "")]),
    ],
)
def test_fences_are_read_as_commonmark_does(text: str, expected: list[Fence]) -> None:
    assert list(fences(text)) == expected


def test_the_fence_that_names_the_language_comes_first() -> None:
    text = "```text\na\n```\n```\nb\n```\n```SQL\nc\n```\n```sql\nd\n```"
    assert fenced(text, ("sql",)) == "c"
    assert fenced(text, ("json",)) == "b"
    assert fenced("```text\na\n```", ("json",)) is None


def test_thoughts_are_no_part_of_an_answer() -> None:
    assert without_thought("<think>SELECT 1</think> SELECT 2") == " SELECT 2"
    assert without_thought("SELECT 3") == "SELECT 3"


def test_faults_are_gathered_by_kind() -> None:
    rows = [{"id": str(n)} for n in range(20)]

    def fault(row: dict[str, str], reference: str) -> Fault | None:
        code = {0: "odd", 1: "even"}.get(int(row["id"]) % 4)
        return Fault(code, "are wrong", "column x", "mend", f"{reference}\n is   bad") if code else None

    odd, even = gather(rows, [f"ref {row['id']}" for row in rows], fault)  # type: ignore[arg-type]
    assert (odd.code, odd.level, odd.share, odd.rows) == ("odd", "error", 0.25, ("0", "4", "8", "12", "16"))
    assert odd.what == "5 of 20 rows (25.0%) are wrong; row 0: ref 0 is bad"
    assert (even.code, even.rows[0], len(even.rows)) == ("even", "1", SHOWN_ROWS)
