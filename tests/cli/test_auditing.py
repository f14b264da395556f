"""The verb audit: what it reads, what it says, its exit codes, and the mended copy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS
from tunesmith.report.audited import audit_text

COLUMNS = ("--only", "columns")


def damaged(desk: Any) -> list[dict[str, Any]]:
    """120 rows, three of them without a text."""
    rows: list[dict[str, Any]] = [{"id": f"r{n}", **row} for n, row in enumerate(desk.rows(120))]
    for number in (5, 17, 60):
        rows[number]["text"] = ""
    desk.write("rows.jsonl", rows)
    return rows


def test_a_recipe_is_judged_and_the_table_names_every_finding(desk: Any) -> None:
    damaged(desk)
    said = desk("audit", desk.recipe(), *COLUMNS)
    assert said.code == EXIT_DONE
    assert "warning: empty-value: column text is empty in" in said.out
    assert said.out.splitlines()[-1].startswith("audit: 0 errors, ")
    table = [line.split() for line in said.out.splitlines() if line.startswith("warning  ")]
    assert any(row[1] == "empty-value" and row[-2:] == ["leave", "out"] for row in table)


def test_json_has_every_row_and_nothing_else_on_standard_output(desk: Any) -> None:
    damaged(desk)
    said = desk("audit", desk.recipe(), *COLUMNS, "--json")
    assert said.code == EXIT_DONE
    found = [one for one in said.json["findings"] if one["code"] == "empty-value"]
    marked = {mark["row"] for one in found for mark in one["marks"]}
    assert marked == {"r5", "r17", "r60"}
    assert set(said.json) >= {
        "name",
        "rows",
        "findings",
        "views",
        "skipped",
        "seconds",
        "accepted",
        "proof",
        "previews",
    }
    assert sum(said.json["rows"].values()) == 120


@pytest.mark.parametrize(("level", "code"), [("error", EXIT_DONE), ("warning", EXIT_FINDINGS), ("note", EXIT_FINDINGS)])
def test_the_exit_code_is_1_from_the_level_on(desk: Any, level: str, code: int) -> None:
    damaged(desk)
    assert desk("audit", desk.recipe(), *COLUMNS, "--fail-on", level).code == code


def test_what_the_recipe_accepts_is_a_note_with_its_reason(desk: Any) -> None:
    damaged(desk)
    accepted = {"accept": {"empty-value": "nobody spoke", "few-rows": "a test"}}
    said = desk("audit", desk.recipe(audit=accepted), *COLUMNS, "--json", "--fail-on", "warning")
    assert said.code == EXIT_DONE
    found = [one for one in said.json["findings"] if one["code"] == "empty-value"]
    assert {one["level"] for one in found} == {"note"}
    assert all("(accepted: nobody spoke)" in one["what"] for one in found)


def test_a_file_and_a_folder_need_no_recipe(desk: Any) -> None:
    damaged(desk)
    file = desk("audit", "rows.jsonl", "--model", desk.model, *COLUMNS, "--json")
    assert file.code == EXIT_DONE, file.err
    assert "task: text-classification" in file.err
    (desk.folder / "data").mkdir()
    (desk.folder / "rows.jsonl").rename(desk.folder / "data" / "rows.jsonl")
    folder = desk("audit", "data", "--model", desk.model, *COLUMNS, "--json")
    assert folder.json["rows"] == file.json["rows"]


def test_without_weights_what_needs_none_is_judged_all_the_same(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged(desk)
    monkeypatch.setitem(
        __import__("tunesmith.audit.folder").audit.folder.STARTERS, "text-classification", "starter:none"
    )
    said = desk("audit", "rows.jsonl", *COLUMNS, "--json")
    assert said.code == EXIT_DONE, said.err
    (left,) = [one for one in said.json["skipped"] if one["check"] == "network"]
    assert "--model" in left["reason"]
    assert desk("audit", "rows.jsonl", "--model", "starter:none", *COLUMNS).code == EXIT_COULD_NOT_RUN


def test_quick_says_what_every_run_says(desk: Any) -> None:
    damaged(desk)
    said = desk("audit", desk.recipe(), "--quick", "--json")
    assert set(said.json) == {"findings", "previews", "accepted", "rows"}
    assert all("marks" not in one for one in said.json["findings"])
    text = desk("audit", desk.recipe(), "--quick", "--fail-on", "warning")
    assert text.code == EXIT_FINDINGS
    assert "warning: empty-value" in text.out


def test_an_error_does_not_hide_what_the_network_tells(desk: Any) -> None:
    rows = desk.rows(120)
    desk.write("rows.jsonl", rows)
    desk.write("eval.jsonl", rows[:40])
    said = desk("audit", desk.recipe(data={"eval": "eval.jsonl"}), *COLUMNS, "--json")
    assert said.code == EXIT_FINDINGS
    assert "leak" in {one["code"] for one in said.json["findings"] if one["level"] == "error"}
    assert "network" not in {one["check"] for one in said.json["skipped"]}
    assert "amount" in {view["name"] for view in said.json["views"]}


# The mended copy


def test_fix_writes_a_copy_that_is_clean_and_logs_what_it_did(desk: Any) -> None:
    damaged(desk)
    recipe = desk.recipe()
    said = desk("audit", recipe, *COLUMNS, "--fix", "mended", "--json")
    assert said.json["fixed"]["removed"] == {"empty-value": 3}
    logged = [json.loads(line) for line in (desk.folder / "mended/removed.jsonl").read_text().splitlines()]
    assert {one["row"] for one in logged} == {"r5", "r17", "r60"}
    again = desk("audit", "mended/recipe.yaml", *COLUMNS, "--json")
    assert "empty-value" not in {one["code"] for one in again.json["findings"]}
    assert sum(again.json["rows"].values()) == 117
    text = desk("audit", recipe, *COLUMNS, "--fix", "other")
    assert "mended copy: other: 3 rows left out (empty-value 3)" in text.out


def test_codes_says_which_findings_fix_acts_on(desk: Any) -> None:
    damaged(desk)
    said = desk("audit", desk.recipe(), *COLUMNS, "--fix", "mended", "--codes", "rare-class", "--json")
    assert said.json["fixed"]["removed"] == {}
    assert sum(said.json["fixed"]["rows"].values()) == 120


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "no such file or folder"),
        (("nowhere.yaml",), "no such file"),
        (("empty",), "the folder is empty"),
        (("broken.yaml",), "tsak"),
        (("recipe.yaml", "--fail-on", "nothing"), "no such level"),
        (("recipe.yaml", "--only", "colums"), "no check 'colums'"),
        (("recipe.yaml", "--skip", "nothing"), "no check 'nothing'"),
        (("recipe.yaml", "--fix", "data/mended"), "inside of the data"),
        (("recipe.yaml", "--fix", "data"), "not empty"),
        (("recipe.yaml", "--fix", "new", "--codes", "leek"), "no finding 'leek'"),
        (("recipe.yaml", "--codes", "leak"), "--fix"),
        (("recipe.yaml", "--relabel"), "--fix"),
        (("recipe.yaml", "--prove"), "--fix"),
        (("recipe.yaml", "--quick", "--fix", "new"), "--quick"),
        (("recipe.yaml", "--only", "groups", "--group", "nobody"), "no row has a value in column 'nobody'"),
    ],
)
def test_bad_input_ends_with_2_the_place_and_the_fix(desk: Any, words: tuple[str, ...], said: str) -> None:
    (desk.folder / "empty").mkdir()
    (desk.folder / "data").mkdir()
    desk.write("data/rows.jsonl", desk.rows(80))
    desk.write("broken.yaml", "tsak: text-classification\n")
    desk.recipe(data={"train": "data"})
    found = desk("audit", *words)
    assert found.code == EXIT_COULD_NOT_RUN
    what, where, _ = found.error()
    assert said in what
    assert where
    assert not (desk.folder / "new").exists()


def test_a_column_named_twice_in_the_recipe_is_no_traceback(desk: Any) -> None:
    desk.write("rows.csv", "text,text\na,b\n")
    assert desk("audit", "rows.csv").code == EXIT_COULD_NOT_RUN


# The text


def test_the_text_shows_effects_twins_and_what_is_missing() -> None:
    found = {
        "code": "leak",
        "level": "error",
        "what": "2 rows leak",
        "where": "rows.csv",
        "fix": "leave them out",
        "rows": [],
        "share": 0.5,
        "marks": [
            {"row": f"r{n}", "side": side, "twin": "eval:h", "note": ""} for n, side in enumerate(("train", "eval"))
        ],
        "effect": {"said": "accuracy 0.9, without them 0.8"},
        "remedy": "drop",
    }
    report = {
        "findings": [found],
        "views": [{"title": "Light", "said": ["no pictures darker than 10 %"]}],
        "skipped": [{"check": "toxicity", "reason": "no model is named"}],
        "rows": {"train": 4, "eval": 4},
        "seconds": {"doubles": 1.0},
        "proof": None,
    }
    lines = audit_text(report).splitlines()
    assert "  --> rows.csv: r0 (eval:h), eval:r1 (eval:h)" in lines
    assert "  effect: accuracy 0.9, without them 0.8" in lines
    assert "Light: no pictures darker than 10 %" in lines
    assert "not looked at: toxicity: no model is named" in lines
    assert lines[-1] == "audit: 1 errors, 0 warnings, 0 notes"
    clean = audit_text({**report, "findings": [], "views": [], "skipped": []})
    assert clean.splitlines()[-1] == "audit: 0 errors, 0 warnings, 0 notes"


def test_an_accepted_code_that_matched_nothing_is_said(desk: Any) -> None:
    desk.write("rows.jsonl", [{"id": f"r{n}", **row} for n, row in enumerate(desk.rows(120))])
    recipe = desk.recipe(audit={"accept": {"secrets": "made up", "few-rows": "a test"}})
    assert "nothing was found under 'secrets'" in desk("audit", recipe, "--json").err
    # With some checks left out nothing can be said of what they would have found.
    assert "nothing was found under 'secrets'" not in desk("audit", recipe, *COLUMNS, "--json").err
