"""Groups on both sides: by the column that says so, by names of columns and of files; and not where none are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import picture_sources as drawn
from tunesmith.audit.data import AuditData, Wishes
from tunesmith.audit.found import Found, Skipped
from tunesmith.audit.groups import group_findings
from tunesmith.audit.kept import Kept
from tunesmith.errors import UserError
from tunesmith.prepare import read_sides
from tunesmith.recipe import read_recipe

Row = dict[str, Any]


def rows(count: int, start: int = 0, **more: Any) -> list[Row]:
    """Rows of four a group: ``session`` 0 has the rows 0 to 3."""
    return [
        {"id": f"r{n}", "text": f"text {n}", "label": "ab"[n % 2], **{k: v(n) for k, v in more.items()}}
        for n in range(start, start + count)
    ]


def said(
    folder: Path, train: list[Row], held_out: list[Row] | None, groups: tuple[str, ...] = (), **data: Any
) -> list[Found | Skipped]:
    sections = {"task": "text-classification", "model": "starter:none", "data": {"train": "train.jsonl", **data}}
    source = read_recipe(folder / "recipe.yaml", text=yaml.safe_dump(sections))
    prepared = read_sides(source, rows=train, held_out=held_out)
    return list(
        group_findings(AuditData(prepared, Kept(folder / "k.sqlite"), Wishes(groups=groups), has_weights=False))
    )


def by_four(n: int) -> str:
    return f"s{n // 4}"


def test_a_named_column_with_values_on_both_sides_is_a_leak_of_its_training_rows(tmp_path: Path) -> None:
    train = rows(80, who=by_four)
    held = [*rows(38, 100, who=by_four), *rows(2, 12, who=by_four)]
    held[-2]["id"], held[-1]["id"] = "h1", "h2"
    (found,) = said(tmp_path, train, held, ("who",))
    assert isinstance(found, Found)
    assert (found.code, found.level, found.remedy) == ("group-leak", "error", "drop")
    assert {mark.row for mark in found.marks} == {"r12", "r13", "r14", "r15"}
    assert {mark.twin for mark in found.marks} == {"eval:h1"}
    assert {mark.side for mark in found.marks} == {"train"}
    assert found.share == pytest.approx(2 / 40)
    assert "1 of 30 values" in found.what


def test_the_recipes_own_group_is_looked_at_without_being_asked(tmp_path: Path) -> None:
    train, held = rows(80, who=by_four), rows(40, 60, who=by_four)
    (found,) = said(tmp_path, train, held, group_by="who")
    assert isinstance(found, Found)
    assert found.code == "group-leak"
    assert len(found.marks) == 20
    assert said(tmp_path, rows(80, who=by_four), None, group_by="who") == [], "the split keeps groups together"


@pytest.mark.parametrize("column", ["speaker_id", "video", "sessionId", "patient", "source_file", "user", "doc_id"])
def test_a_column_that_looks_like_a_group_is_suspected_and_group_by_is_the_fix(column: str, tmp_path: Path) -> None:
    (found,) = said(tmp_path, rows(200, **{column: by_four}), None)
    assert isinstance(found, Found)
    assert (found.code, found.level) == ("group-suspected", "warning")
    assert found.fix.startswith(f"set data.group_by: {column}")
    assert found.marks
    assert said(tmp_path, rows(200, **{column: by_four}), None, group_by=column) == []


@pytest.mark.parametrize(
    "value", [lambda n: f"u{n}", lambda n: "one", lambda n: "ab"[n % 2], lambda n: by_four(n) if n % 3 == 0 else None]
)
def test_a_column_of_the_name_that_divides_nothing_is_no_group(value: Any, tmp_path: Path) -> None:
    assert said(tmp_path, rows(200, user=value), None) == []


def test_without_a_column_that_could_be_one_it_says_so(tmp_path: Path) -> None:
    (skipped,) = said(tmp_path, rows(80, source=lambda n: ["web", "print"][n % 2]), None)
    assert isinstance(skipped, Skipped)
    assert "--group" in skipped.reason


def test_most_rows_are_never_left_out_for_a_group(tmp_path: Path) -> None:
    train, held = rows(80, who=lambda n: f"s{n % 4}"), rows(40, 100, who=lambda n: f"s{n % 4}")
    (found,) = said(tmp_path, train, held, ("who",))
    assert isinstance(found, Found)
    assert (found.remedy, len(found.marks)) == (None, 80)
    assert "divide the rows anew" in found.fix


def test_a_column_that_no_row_has_is_named_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'who'"):
        said(tmp_path, rows(80, who=by_four), None, ("whoo",))


def test_frames_of_one_video_are_told_by_the_names_of_files(tmp_path: Path) -> None:
    pictures = []
    for number in range(40):
        name = f"clip-{number // 8}_frame_{number % 8:04d}.png"
        drawn.save(tmp_path / name, number)
        pictures.append({"image": name, "label": "ab"[number % 2]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pictures), encoding="utf-8")
    sections = {
        "task": "image-classification",
        "model": "starter:none",
        "data": {"train": str(tmp_path / "rows.jsonl")},
    }
    source = read_recipe(tmp_path / "recipe.yaml", text=yaml.safe_dump(sections))
    data = AuditData(read_sides(source), Kept(tmp_path / "k.sqlite"), has_weights=False)
    (found,) = group_findings(data)
    assert isinstance(found, Found)
    assert found.code == "group-suspected"
    assert "file's name before its number" in found.what
    assert "frames of one recording" in found.fix


def test_numbered_files_of_classes_are_no_groups(tmp_path: Path) -> None:
    for at, label in enumerate(("cat", "dog", "cow", "hen", "pig", "ant")):
        for number in range(6):
            drawn.save(tmp_path / "d" / label / f"{label}_{number:03d}.png", 10 * at + number)
    sections = {"task": "image-classification", "model": "starter:none", "data": {"train": str(tmp_path / "d")}}
    source = read_recipe(tmp_path / "recipe.yaml", text=yaml.safe_dump(sections))
    data = AuditData(read_sides(source), Kept(tmp_path / "k.sqlite"), has_weights=False)
    assert list(group_findings(data)) == []
