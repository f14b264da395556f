"""Items: every shape that is taken, and every row that is none, with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.diagnose.items import (
    WANTED_ITEMS,
    conversation_of,
    few_items,
    majority_answer,
    read_items,
    same_questions,
    without_items,
)
from tunesmith.errors import UserError

ROOT = Path(__file__).parents[2]


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "cases.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def test_an_item_keeps_all_that_it_says(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"id": "a", "input": "What is it?", "reference": "40 euros", "gold": "It is 40 euros.", "slice": "fees"},
        {"id": "b", "input": "Who?", "references": ["Ada", "Ada Lovelace"], "system": "Be brief.", "pattern": ".+"},
        {"id": "c", "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
                   {"role": "user", "content": "What is 2 + 2?"}], "reference": 4},
    )  # fmt: skip
    first, second, third = read_items(file)
    assert (first.id, first.input, first.references, first.gold, first.slice, first.line) == (
        "a", "What is it?", ("40 euros",), "It is 40 euros.", "fees", 1,
    )  # fmt: skip
    assert second.references == ("Ada", "Ada Lovelace")
    assert [m["role"] for m in second.messages] == ["system", "user"]
    assert second.row == {"pattern": ".+"}
    assert third.references == ("4",)
    assert [m["content"] for m in conversation_of(third)] == ["Hi", "Hello", "What is 2 + 2?", "4"]


def test_rows_to_learn_from_are_items_too() -> None:
    items = read_items(ROOT / "examples/faq/faq.jsonl", limit=20)
    assert len(items) == 20
    assert items[0].messages[0]["role"] == "system"
    assert items[0].references[0].startswith("A bygglov is")
    queries = read_items(ROOT / "examples/text-to-sql/eval.jsonl", limit=3)
    assert queries[0].row["schema"].startswith("CREATE TABLE")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"input": "Who?"}, "has no 'reference'"),
        ({"input": "", "reference": "x"}, "an empty input"),
        ({"input": "Who?", "reference": "  "}, "an empty reference"),
        ({"id": "b", "input": "Who?", "references": []}, "references are no list"),
        ({"id": "b", "input": "Who?", "references": "[broken"}, "are no JSON list"),
        ({"input": 5, "reference": "x"}, "not a text"),
        ({"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "reference": "x"},
         "ends with an answer"),
        ({"input": "Who?", "reference": "x", "gold": {"a": 1}}, "gold is no text"),
        ({"text": "raw"}, "asks nothing"),
        ({"colour": "red"}, "fits no known shape"),
    ],
)  # fmt: skip
def test_what_is_no_item_is_named_with_its_line(tmp_path: Path, row: Any, what: str) -> None:
    file = written(tmp_path, {"input": "Good?", "reference": "yes"}, row)
    with pytest.raises(UserError) as fault:
        read_items(file)
    assert what in fault.value.what
    assert fault.value.where.endswith("cases.jsonl:2")
    assert fault.value.fix


def test_broken_json_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"input": "a", "reference": "b"}\n{"input": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"cases\.jsonl:2"):
        read_items(file)
    file.write_text("", encoding="utf-8")
    with pytest.raises(UserError):
        read_items(file)


def test_few_items_are_allowed_and_said(tmp_path: Path) -> None:
    three = read_items(written(tmp_path, *({"input": f"q{n}?", "reference": "x"} for n in range(3))))
    assert few_items(three).startswith("3 items are few: at least 100")
    assert few_items(three * 34) == ""
    assert WANTED_ITEMS == 100


def test_the_same_question_is_found_and_kept_out_of_training(tmp_path: Path) -> None:
    items = read_items(
        written(
            tmp_path,
            {"input": "What is 1+1?", "reference": "2"},
            {"input": "what is  1+1", "reference": "3"},
            {"input": "What is 1-1?", "reference": "0"},
            {"input": "What is 1-1?", "system": "Count.", "reference": "2"},
        )
    )
    # Signs inside a question are part of it, and so is what the system says.
    assert same_questions(items) == [[0, 1]]
    assert [row.id for row in without_items(items, items[:1])] == [items[2].id, items[3].id]
    assert majority_answer(items) == "2"
