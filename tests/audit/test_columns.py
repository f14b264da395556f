"""Columns, classes and amounts: every fault is found with all of its rows, and clean rows have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.audit.columns import column_findings
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, View
from tunesmith.audit.kept import Kept
from tunesmith.data.audit import KNOWN_CODES
from tunesmith.data.deep_codes import DEEP_CODES
from tunesmith.prepare import read_sides
from tunesmith.recipe import read_recipe

Row = dict[str, Any]


def rows(count: int, labels: str = "ab", start: int = 0, **more: Any) -> list[Row]:
    return [
        {"id": f"r{n}", "text": f"text number {n}", "label": labels[n % len(labels)], **more}
        for n in range(start, start + count)
    ]


def said(train: list[Row], held_out: list[Row], folder: Path, task: str = "text-classification") -> list[Any]:
    text = yaml.safe_dump({"task": task, "model": "starter:none", "data": {"train": "train.jsonl"}})
    prepared = read_sides(read_recipe(folder / "recipe.yaml", text=text), rows=train, held_out=held_out)
    return list(column_findings(AuditData(prepared, Kept(folder / "k.sqlite"), has_weights=False)))


def findings(train: list[Row], held_out: list[Row], folder: Path, **more: Any) -> dict[str, Found]:
    found = [one for one in said(train, held_out, folder, **more) if isinstance(one, Found)]
    assert all(one.code in {*KNOWN_CODES, *DEEP_CODES} for one in found)
    return {one.code: one for one in found}


def marked(found: Found) -> list[str]:
    return [f"{mark.side}:{mark.row}" for mark in found.marks]


def test_clean_rows_have_no_finding(tmp_path: Path) -> None:
    assert findings(rows(100), rows(40, start=900), tmp_path) == {}


def test_every_empty_value_is_marked_on_its_side(tmp_path: Path) -> None:
    train, held = rows(100), rows(40, start=900)
    for row in (train[3], train[50], train[77], held[5]):
        row["text"] = " "
    found = [one for one in said(train, held, tmp_path) if isinstance(one, Found)]
    assert [(one.code, one.level, marked(one)) for one in found] == [
        ("empty-value", "warning", ["train:r3", "train:r50", "train:r77"]),
        ("empty-value", "warning", ["eval:r905"]),
    ]
    assert found[0].share == pytest.approx(0.03)
    assert found[0].remedy == "drop"
    for row in train[:6]:
        row["text"] = ""
    assert findings(train, rows(40, start=900), tmp_path)["empty-value"].level == "error"


def test_missing_labels_and_values_of_another_type_are_marked(tmp_path: Path) -> None:
    train = rows(100)
    train[4]["label"], train[9]["label"], train[11]["text"] = None, "", 7
    del train[20]["label"]
    found = findings(train, rows(40, start=900), tmp_path)
    assert marked(found["label-missing"])[:2] == ["train:r4", "train:r9"]
    assert found["label-missing"].what.startswith("3 rows")
    assert marked(found["wrong-type"]) == ["train:r11"]
    assert {found[code].remedy for code in ("label-missing", "wrong-type")} == {"drop"}


def test_columns_that_say_nothing_are_one_note(tmp_path: Path) -> None:
    train = rows(60, source="web", comment="")
    found = findings(train, rows(40, start=900), tmp_path)
    assert list(found) == ["idle-column"]
    assert "comment say nothing" in found["idle-column"].what
    assert "source never change" in found["idle-column"].what
    train[7]["source"] = "print"
    assert "source" not in findings(train, rows(40, start=900), tmp_path)["idle-column"].what


def test_a_rare_class_names_all_of_its_rows(tmp_path: Path) -> None:
    train = [*rows(100), *rows(4, "c", 200), *rows(1, "d", 300), *rows(10, "e", 400)]
    found = findings(train, rows(40, start=900), tmp_path)["rare-class"]
    assert found.level == "error"
    assert marked(found) == ["train:r300", *(f"train:r{n}" for n in range(200, 204))]
    assert [mark.score for mark in found.marks] == sorted((mark.score for mark in found.marks), reverse=True)
    assert "'d': 1, 'c': 4" in found.what
    assert found.remedy is None, "nobody knows whether they should go"


def test_a_class_that_only_judges_names_its_rows(tmp_path: Path) -> None:
    found = findings(rows(100), [*rows(40, start=900), *rows(3, "z", 990)], tmp_path)["label-only-in-eval"]
    assert marked(found) == ["eval:r990", "eval:r991", "eval:r992"]
    assert found.remedy == "drop"


def test_classes_are_counted_on_both_sides(tmp_path: Path) -> None:
    views = {one.name: one for one in said(rows(90, "aab"), rows(40, start=900), tmp_path) if isinstance(one, View)}
    assert views["classes"].data == {"names": ["a", "b"], "counts": {"train": [60, 30], "eval": [20, 20]}}
    assert "2:1" in views["classes"].said[0]
    views = {one.name: one for one in said(rows(90, "abc"), rows(40, start=900), tmp_path) if isinstance(one, View)}
    assert any("'c'" in line and "no held-out row" in line for line in views["classes"].said)


def test_lines_that_are_no_rows_are_found_with_their_places(tmp_path: Path) -> None:
    from tunesmith.audit.opening import open_data

    lines = ["text,label", *(f"text number {n},{'ab'[n % 2]}" for n in range(60)), "a,b,c", "d"]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = yaml.safe_dump({"task": "text-classification", "model": "starter:none", "data": {"train": "rows.csv"}})
    source = read_recipe(tmp_path / "recipe.yaml", text=text)
    data = open_data(source, weights_needed=False, kept=Kept(tmp_path / "k.sqlite"))
    found = {one.code: one for one in column_findings(data) if isinstance(one, Found)}["broken-rows"]
    assert [mark.row for mark in found.marks] == ["rows.csv:62", "rows.csv:63"]
    assert found.level == "error", "training stops at more than one in a hundred"
    assert data.prepared.source.recipe.data.broken_rows == 0.01
