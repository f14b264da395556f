"""Rows without ids of their own are named by file and line: in the marks, in the text and in the JSON."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.audits import data_of, report_of
from tests.fixtures.audits import found as found_of
from tunesmith.audit.found import Mark
from tunesmith.audit.places import located
from tunesmith.report.audited import audit_text


def test_marks_of_rows_without_ids_say_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = ["text,label"]
    lines += [f"row number {n} says {'good' if n % 2 else 'bad'} things,{'ab'[n % 2]}" for n in range(40)]
    file.write_text("\n".join([*lines, lines[4]]) + "\n", encoding="utf-8")
    data = data_of("text-classification", tmp_path / "kept", train=str(file), eval="0.25")
    stands = {str(row["text"]): side for side, rows in data.sides.items() for row in rows}
    assert len(stands) == 40
    marks = []
    for side, rows in data.sides.items():
        row = rows[3]
        twin = data.sides["train"][0]
        marks.append((Mark(str(row["id"]), side, twin=f"train:{twin['id']}"), str(row["text"]), str(twin["text"])))
    (told,) = located(data, [found_of("duplicate-rows", "warning", "two", [mark for mark, _, _ in marks])])
    for mark, (_, text, twin) in zip(told.marks, marks, strict=True):
        where, _, line = mark.place.rpartition(":")
        assert Path(where).name == "rows.csv"
        assert lines[int(line) - 1].startswith(text + ",")
        assert lines[int(mark.twin_place.rpartition(":")[2]) - 1].startswith(twin + ",")
    shown = audit_text(report_of(data, told).to_json())
    assert all(mark.place in shown for mark in told.marks)
    assert told.finding.rows == tuple(mark.place for mark in told.marks)


def test_rows_with_ids_keep_them(tmp_path: Path) -> None:
    data = data_of("text-classification", tmp_path / "kept")
    mark = Mark(str(data.sides["train"][0]["id"]), "train")
    (told,) = located(data, [found_of("outliers", "note", "one", [mark])])
    assert told.marks == [mark]
