"""The audit: every finding on data that has the fault, none on data that has not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.audit import KNOWN_CODES, apply_accept, audit_rows
from tunesmith.data.source import read_rows
from tunesmith.data.split import split_rows
from tunesmith.errors import UserError
from tunesmith.types import Finding

COLUMNS: Mapping[str, Any] = {"text": str, "label": object}


def rows(count: int, labels: str = "ab", start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": str(n), "text": f"some words in row {n}", "label": labels[n % len(labels)]}
        for n in range(start, start + count)
    ]


def audit(train: Any, held_out: Any = None, **options: Any) -> dict[str, Finding]:
    held = rows(100, start=5000) if held_out is None else held_out
    settings = {
        "columns": COLUMNS,
        "target": "label",
        "source": "train.csv",
        "held_out_source": "eval.csv",
        "explicit_eval": True,
    }
    found = audit_rows(train, held, **{**settings, **options})
    order = [("error", "warning", "note").index(finding.level) for finding in found]
    assert order == sorted(order)
    for finding in found:
        assert finding.code in KNOWN_CODES
        assert finding.fix
        assert finding.where
        assert len(finding.rows) <= 5
    return {finding.code: finding for finding in found}


def test_good_rows_give_a_note_on_lengths_only() -> None:
    found = audit(rows(200))
    assert list(found) == ["length-outliers"]
    assert found["length-outliers"].level == "note"
    assert "half have at most 5, 99 % at most 5, the longest 5" in found["length-outliers"].what


def test_a_missing_column_is_named_with_those_that_exist() -> None:
    train = [{"id": row["id"], "Text": row["text"], "label": row["label"]} for row in rows(100)]
    found = audit(train)
    finding = found["missing-column"]
    assert finding.level == "error"
    assert finding.what == "there is no column 'text' (did you mean 'Text'?); the columns are: Text, label"
    assert finding.fix == "tell which column it is: data.columns: {text: Text}"
    assert "duplicate-rows" not in found, "rows without inputs are not compared"
    finding = audit([{"id": str(n), "text": f"t{n}"} for n in range(100)])["missing-column"]
    assert "'label'" in finding.what


def test_a_column_missing_from_the_eval_source_only() -> None:
    found = audit(rows(100), [{"id": row["id"], "text": row["text"]} for row in rows(50, start=900)])
    assert found["missing-column"].where == "eval.csv"
    assert "label-missing" not in found


@pytest.mark.parametrize(("count", "level"), [(3, "warning"), (30, "error")])
def test_empty_values(count: int, level: str) -> None:
    train = rows(400)
    for n in range(count):
        train[n * 2]["text"] = ("", None, " \t\n", float("nan"))[n % 4]
    finding = audit(train)["empty-value"]
    assert finding.level == level
    assert finding.share == count / 400
    assert finding.rows[:3] == ("0", "2", "4")
    assert f"empty in {count} of 400 rows" in finding.what


def test_wrong_types() -> None:
    train = rows(100)
    train[3]["text"], train[7]["text"] = 17, ["a"]
    finding = audit(train)["wrong-type"]
    assert (finding.level, finding.rows) == ("error", ("3", "7"))
    assert "1 times a number, 1 times a list" in finding.what
    numbers = [{"id": str(n), "x": str(n) if n else "no number", "label": "ab"[n % 2]} for n in range(60)]
    assert audit(numbers, numbers[1:], columns={"x": float})["wrong-type"].rows == ("0",)
    train = rows(100)
    train[5]["label"] = ["a", "b"]
    assert audit(train, columns={"text": str, "label": str})["wrong-type"].rows == ("5",)


def test_a_constant_column() -> None:
    train = [{**row, "title": "same"} for row in rows(100)]
    finding = audit(train, columns={**COLUMNS, "title": str})["constant-column"]
    assert (finding.level, finding.where) == ("warning", "train.csv, column title")
    train[50]["title"] = "other"
    assert "constant-column" not in audit(train, train, columns={**COLUMNS, "title": str})


def test_labels_that_are_missing() -> None:
    train = rows(100)
    train[4]["label"], train[9]["label"] = None, " "
    finding = audit(train)["label-missing"]
    assert (finding.level, finding.rows) == ("error", ("4", "9"))
    assert finding.what.startswith("2 rows have no label")


def test_labels_of_mixed_types() -> None:
    train = rows(100)
    for n in range(0, 40, 2):
        train[n]["label"] = 1
    finding = audit(train, rows(50, start=900))["mixed-label-types"]
    assert finding.level == "error"
    assert "20 rows a number (1)" in finding.what
    assert {"0", "1"} <= set(finding.rows)
    assert "rows a text ('b', 'a')" in finding.what
    train = rows(100)
    train[0]["label"] = True
    assert audit(train)["mixed-label-types"].level == "error"


def test_numbers_among_words_in_a_file_without_types() -> None:
    train = rows(300, ["0", "1", "good"])  # type: ignore[arg-type]
    finding = audit(train, train[:60])["mixed-label-types"]
    assert finding.level == "warning"
    assert "mixed-label-types" not in audit(rows(300, "01"), rows(60, "01", 900))
    whole = [{**row, "label": 1 if n % 2 else 2.0} for n, row in enumerate(rows(100))]
    assert "mixed-label-types" not in audit(whole, [{**row, "label": 2} for row in rows(50, start=900)])


def test_one_class_only() -> None:
    found = audit(rows(100, "a"), rows(50, "a", 900))
    finding = found["one-class"]
    assert finding.level == "error"
    assert finding.what == "all 100 training rows have the label 'a': there is nothing to tell apart"
    assert "rare-class" not in found
    assert "imbalance" not in found


def test_rare_classes() -> None:
    found = audit([*rows(100), *rows(5, "c", 200)])
    assert found["rare-class"].level == "warning"
    assert "'c': 5" in found["rare-class"].what
    assert found["rare-class"].rows == ("200", "201", "202", "203", "204")
    finding = audit([*rows(100), *rows(5, "c", 200), *rows(1, "d", 300)])["rare-class"]
    assert finding.level == "error"
    assert "2 of 4 classes have fewer than 10 rows, 1 of them a single one ('d': 1, 'c': 5)" in finding.what


def test_rows_of_one_divided_source_are_counted_on_both_sides() -> None:
    train, held = [*rows(100), *rows(9, "c", 200)], [*rows(50, start=500), *rows(2, "c", 300)]
    assert "rare-class" not in audit(train, held, explicit_eval=False)
    assert "'c': 9" in audit(train, held)["rare-class"].what


def test_a_label_that_only_the_eval_rows_have() -> None:
    finding = audit(rows(100), [*rows(50, start=900), *rows(3, "z", 990)])["label-only-in-eval"]
    assert finding.level == "error"
    assert "3 held-out rows have a label that no training row has: 'z'" in finding.what
    assert finding.rows == ("990", "991", "992")


@pytest.mark.parametrize(("count", "level"), [(900, "note"), (6000, "warning")])
def test_imbalance(count: int, level: str) -> None:
    finding = audit([*rows(count, "a"), *rows(50, "b", 20_000)], rows(60, start=30_000))["imbalance"]
    assert finding.level == level
    assert f"({count // 50}:1)" in finding.what


@pytest.mark.parametrize(("share", "level"), [(0.005, "note"), (0.02, "warning"), (0.4, "error")])
def test_duplicate_rows(share: float, level: str) -> None:
    train = rows(1000)
    count = int(1000 * share)
    for n in range(count):
        train[999 - n] = {**train[n // 2], "id": f"copy {n}"}
    finding = audit(train)["duplicate-rows"]
    assert finding.level == level
    assert finding.share == share
    assert f"{count} of 1,000 rows ({share:.1%}) repeat another row exactly" in finding.what
    assert all(place.startswith("copy") for place in finding.rows)


def test_contradictory_labels() -> None:
    train = rows(1000)
    for n in range(0, 20, 2):
        train[500 + n] = {**train[n], "id": f"other {n}", "label": "b"}
    found = audit(train)
    assert "duplicate-rows" not in found
    finding = found["contradictory-labels"]
    assert (finding.level, finding.share) == ("warning", 0.02)
    assert any(place.startswith("other") for place in finding.rows)
    for n in range(100):
        train[200 + n] = {**train[n + 100], "id": f"more {n}", "label": "c"}
    assert audit(train)["contradictory-labels"].level == "error"


def test_a_leak_names_the_row_and_its_twin() -> None:
    train, held = rows(1000), rows(500, start=5000)
    held[3] = {**train[17], "id": "leaked", "label": "z"}
    finding = audit([*train, *rows(5, "z", 1200)], held)["leak"]
    assert finding.level == "warning"
    assert finding.rows == ("leaked",)
    assert "(leaked is 17)" in finding.what
    held[4:10] = [{**row, "id": f"leaked {n}"} for n, row in enumerate(train[:6])]
    finding = audit(train, held)["leak"]
    assert finding.level == "error"
    assert "7 of 500 held-out rows (1.4%)" in finding.what


def test_few_rows() -> None:
    found = audit_rows(
        rows(20),
        rows(10, start=90),
        columns=COLUMNS,
        target="label",
        source="a",
        held_out_source="b",
        explicit_eval=True,
    )
    few = [finding for finding in found if finding.code == "few-rows"]
    assert [finding.where for finding in few] == ["a", "b"]
    assert "20 training rows" in few[0].what
    assert "±31 points" in few[1].what


def test_a_text_of_100_000_words_is_named(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    lines = [f"a short text number {n},{'ab'[n % 2]}" for n in range(200)]
    lines[120] = f"{'word ' * 100_000},a"
    path.write_text("text,label\n" + "\n".join(lines))
    store = read_rows(path)
    finding = audit(store)["length-outliers"]
    assert finding.level == "warning"
    assert finding.rows == (f"{path}:122",)
    assert "the longest 100,000" in finding.what


def test_a_length_of_the_task_is_used() -> None:
    found = audit(rows(200), length=lambda row: 5000 if row["id"] == "9" else 7)
    assert found["length-outliers"].rows == ("9",)


def test_rows_without_classes_have_no_label_findings() -> None:
    data = [{"id": str(n), "text": f"t {n}"} for n in range(200)]
    found = audit(data, data[:60], columns={"text": str}, target=None)
    assert set(found) == {"leak", "length-outliers"}


def test_free_text_as_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.tally.LABELS_KEPT", 50)
    train = [{**row, "label": row["text"]} for row in rows(100)]
    assert audit(train, train)["too-many-labels"].level == "error"


def test_a_split_file_has_no_leak_and_places_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {n % 600},{'ab'[n % 2]}\n" for n in range(1000)))
    store = read_rows(path)
    split = split_rows(store, share=0.2, seed=0, inputs=["text"], target="label", group_by=None, stratify=True)
    found = audit(store.take(split.train), store.take(split.eval), explicit_eval=False)
    assert "leak" not in found
    assert found["duplicate-rows"].level == "error"
    assert found["duplicate-rows"].share == 0.4
    assert all(int(place.rpartition(":")[2]) > 601 for place in found["duplicate-rows"].rows)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = "words " * 100
    path.write_text("text,label\n" + "".join(f"{text}{n},{'ab'[n % 2]}\n" for n in range(15_000)))
    store = read_rows(path, memory_bytes=2**16)
    tracemalloc.start()
    audit(store, rows(60, start=10**6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


def test_accepting_findings() -> None:
    findings = list(audit(rows(100, "a"), rows(50, "a", 900)).values())
    settled, unused = apply_accept(findings, {"one-class": "a trial", "leak": "known"})
    by_code = {finding.code: finding for finding in settled}
    assert by_code["one-class"].level == "note"
    assert by_code["one-class"].what.endswith("(accepted: a trial)")
    assert by_code["length-outliers"] == findings[-1]
    assert unused == ["leak"]
    assert apply_accept(findings, {}) == (findings, [])


@pytest.mark.parametrize(
    ("accept", "said"),
    [
        ({"duplicate-row": "x"}, "did you mean 'duplicate-rows'?"),
        ({"leak": " "}, "without a reason"),
        ({"missing-column": "x"}, "cannot be accepted"),
    ],
)
def test_what_cannot_be_accepted(accept: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        apply_accept([], accept)
    assert said in caught.value.what
    assert caught.value.where.startswith("audit.accept.")


def test_a_code_of_a_task_can_be_accepted() -> None:
    assert apply_accept([], {"clipped-audio": "old tapes"}, known=["clipped-audio"]) == ([], ["clipped-audio"])
