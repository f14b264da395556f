"""Bad input through the command line: an exit code, one error in one shape, and never a stack trace."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS
from tunesmith.run import Run


def rows(desk: Any) -> list[dict[str, Any]]:
    desk.recipe()
    return [json.loads(line) for line in (desk.folder / "rows.jsonl").read_text().splitlines()]


# The data


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", b"text,label\n"])
def test_an_empty_file(desk: Any, content: bytes) -> None:
    said = desk.train_says(content)
    what, where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "empty" in what or "no row" in what
    assert "bad.csv" in where


def test_one_class_only(desk: Any) -> None:
    said = desk.train_says([{**row, "label": "yes"} for row in rows(desk)], "one.jsonl")
    what, where, _fix = said.error()
    assert said.code == EXIT_FINDINGS
    assert what.startswith("audit: one-class: ")
    assert "'yes'" in what
    assert where.startswith("one.jsonl")


def test_a_label_seen_only_in_the_held_out_rows(desk: Any) -> None:
    desk.write("eval.jsonl", [*rows(desk)[:20], {"text": "w1 w2 w59", "label": "maybe"}])
    said = desk("train", desk.recipe(data={"eval": "eval.jsonl"}, audit={"accept": {"leak": "on purpose"}}))
    what, where, _fix = said.error()
    assert said.code == EXIT_FINDINGS
    assert "label-only-in-eval" in what
    assert "'maybe'" in what
    assert where.startswith("eval.jsonl")


def test_what_can_not_be_learned_is_no_matter_of_acceptance(desk: Any) -> None:
    desk.write("eval.jsonl", [*desk.rows(20, seed=9), {"text": "w1 w2 w59", "label": "maybe"}])
    accepted = {"label-only-in-eval": "later", "one-class": "so be it", "leak": "short texts"}
    said = desk("train", desk.recipe(data={"eval": "eval.jsonl"}, audit={"accept": accepted}))
    what, where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "'maybe'" in what
    assert where.startswith("eval.jsonl, row ")
    desk.write("one.jsonl", [{**row, "label": "yes"} for row in rows(desk)])
    said = desk("train", desk.recipe("one.yaml", data={"train": "one.jsonl"}, audit={"accept": accepted}))
    assert said.code == EXIT_COULD_NOT_RUN
    assert "one class" in said.error()[0]


def test_a_column_that_can_not_be_accepted_away_is_not_offered_for_it(desk: Any) -> None:
    said = desk.train_says([{**row, "text": 4} if i == 3 else row for i, row in enumerate(rows(desk))], "four.jsonl")
    what, where, fix = said.error()
    assert said.code == EXIT_FINDINGS
    assert "wrong-type" in what
    assert where.endswith("four.jsonl:4")
    assert "accept" not in fix


def test_more_blocks_than_the_model_has(desk: Any) -> None:
    said = desk("plan", desk.recipe(stages=[{"train": {"top": 9}, "epochs": 1}]))
    assert said.code == EXIT_COULD_NOT_RUN
    assert "9" in said.error()[0]


def test_forty_percent_of_the_rows_are_duplicates(desk: Any) -> None:
    few = rows(desk)[:48]
    said = desk("audit", _audited(desk, [*few, *few[:32]]), "--json", "--fail-on", "warning")
    found = {finding["code"]: finding for finding in said.json["findings"]}
    assert said.code == EXIT_FINDINGS
    assert found["duplicate-rows"]["level"] in ("error", "warning")
    assert found["duplicate-rows"]["share"] == pytest.approx(0.4)


def _audited(desk: Any, content: list[dict[str, Any]]) -> Path:
    desk.write("audited.jsonl", content)
    return Path(desk.recipe("audited.yaml", data={"train": "audited.jsonl"}))


def test_a_text_of_a_hundred_thousand_words_is_cut_and_counted(desk: Any) -> None:
    long = {"id": "long", "text": "w1 " * 100_000, "label": "yes"}
    numbered = [{"id": f"r{i}", **row} for i, row in enumerate(rows(desk))]
    desk.write("long.jsonl", [*numbered, long])
    said = desk("train", desk.recipe(data={"train": "long.jsonl"}))
    assert said.code == EXIT_DONE, said.err
    assert "100,002" in said.err  # its tokens: the words, and one at either end
    audit = json.loads((desk.folder / "runs/recipe/audit.json").read_text())
    cut = next(finding for finding in audit["findings"] if finding["code"] == "truncated")
    assert "long" in cut["rows"]


def test_binary_garbage_in_a_csv(desk: Any) -> None:
    said = desk.train_says(bytes(range(256)) * 400)
    _what, where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "bad.csv" in where


def test_a_garbage_line_among_good_ones_is_counted_and_named(desk: Any) -> None:
    lines = [f'"{row["text"]}",{row["label"]}\n' for row in rows(desk)]
    broken = ["text,label\n", *lines[:40], "\x00\x01,\x02,x,y,z\n", *lines[40:]]
    said = desk.train_says("".join(broken))
    what, where, fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "bad.csv:42" in what + where + said.err
    assert "data.broken_rows" in fix


def test_a_missing_column(desk: Any) -> None:
    said = desk.train_says([{"txt": row["text"], "label": row["label"]} for row in rows(desk)], "txt.jsonl")
    what, where, fix = said.error()
    assert said.code == EXIT_FINDINGS
    assert "missing-column" in what
    assert "'text'" in what
    assert "'txt'" in what
    assert where == "txt.jsonl"
    assert "data.columns: {text: txt}" in fix


def test_mixed_label_types(desk: Any) -> None:
    mixed = [{**row, "label": 1 if i % 2 else "1.0"} for i, row in enumerate(rows(desk))]
    said = desk("audit", _audited(desk, mixed), "--json", "--fail-on", "warning")
    assert said.code == EXIT_FINDINGS
    assert "mixed-label-types" in {finding["code"] for finding in said.json["findings"]}


def test_options_labels_that_leave_out_a_label(desk: Any) -> None:
    three = [{**row, "label": "maybe"} if i % 3 == 0 else row for i, row in enumerate(rows(desk))]
    desk.write("three.jsonl", three)
    said = desk("train", desk.recipe(data={"train": "three.jsonl"}, options={"labels": ["no", "yes"]}))
    what, where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "maybe" in what
    assert "options.labels" in what + where


# The model


def test_a_model_that_does_not_exist_offline_says_so_in_one_line(desk: Any) -> None:
    said = desk("train", desk.recipe(model="nobody/nothing-like-this"))
    what, _where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "nobody/nothing-like-this" in what
    assert "\n" not in what
    assert len(what) < 200


def test_an_unknown_starter(desk: Any) -> None:
    said = desk("plan", desk.recipe(model="starter:minilm-l7"))
    what, where, fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "minilm-l7" in what
    assert "recipe.yaml:" in where
    assert "starter:minilm-l6" in fix


# The recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- task: text-classification\n- model: x\n", "list"),
        ("", "empty"),
        ("task: [\n", ""),
        ("just words\n", ""),
        ("task: text-classification\ntask: text-classification\n", "task"),
    ],
)
def test_a_recipe_that_is_none(desk: Any, text: str, words: str) -> None:
    said = desk("train", desk.write("odd.yaml", text))
    what, where, _fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert words in what
    assert "odd.yaml" in where


def test_a_folder_and_a_missing_file_as_recipe(desk: Any) -> None:
    (desk.folder / "folder").mkdir()
    for name in ("folder", "nothing.yaml"):
        said = desk("train", name)
        what, where, _fix = said.error()
        assert said.code == EXIT_COULD_NOT_RUN
        assert name in what + where


@pytest.mark.parametrize(
    ("section", "what", "fix"),
    [
        ({"task": "text-clasification"}, "text-clasification", "text-classification"),
        ({"bacth": {"rows": 8}}, "bacth", "batch"),
        ({"options": {"max_lenght": 32}}, "max_lenght", "max_length"),
        ({"stages": [{"train": "head", "epochs": 1, "lr": float("nan")}]}, "stages.0.lr", ""),
        ({"stages": [{"train": "head", "epochs": 1, "lr": float("inf")}]}, "stages.0.lr", ""),
        ({"stages": [{"train": "head", "epochs": 1, "lr": -1.0}]}, "stages.0.lr", ""),
        ({"stages": [{"train": "adapter", "epochs": 1}]}, "adapter", ""),
        ({"audit": {"accept": {"duplicate-row": "they are"}}}, "duplicate-row", "duplicate-rows"),
        ({"audit": {"accept": {"missing-column": "why not"}}}, "missing-column", "mend"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place_and_its_fix(
    desk: Any, section: dict[str, Any], what: str, fix: str
) -> None:
    said = desk("plan", desk.recipe(**section))
    found = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert what in found[0]
    assert "recipe.yaml:" in found[1]
    assert fix in found[2]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("stages.0.epochs=many", "stages.0.epochs"),
        ("stages.7.epochs=1", "stages.7"),
        ("batch.rwos=4", "batch.rwos"),
        ("batch.rows", "batch.rows"),
        ("=4", ""),
        ("stages.0.lr=nan", "stages.0.lr"),
        ("batch.rows=0", "batch.rows"),
    ],
)
def test_a_wrong_override(desk: Any, override: str, what: str) -> None:
    said = desk("plan", desk.recipe(), override)
    found = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert what in found[0]
    assert "command line" in found[1]


# The run directory


def test_a_run_directory_of_another_recipe_is_refused_and_left_alone(desk: Any, finished: Path) -> None:
    shutil.copytree(finished / "runs", desk.folder / "runs")
    before = _snapshot(desk.folder / "runs")
    said = desk("train", desk.recipe(batch={"rows": 4}))
    what, where, fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert "another recipe" in what
    assert "batch.rows" in what
    assert where.endswith("runs/recipe")
    assert "--fresh" in fix
    assert _snapshot(desk.folder / "runs") == before


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_place_that_can_not_be_written(desk: Any) -> None:
    desk.write("in-the-way", "a file\n")
    for folder in ("/proc/tunesmith", "in-the-way", "in-the-way/deeper"):
        said = desk("train", desk.recipe(), f"run.folder={folder}")
        what, where, _fix = said.error()
        assert said.code == EXIT_COULD_NOT_RUN
        assert "Errno" not in what
        assert folder in where


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(desk: Any) -> None:
    locked = desk.folder / "locked"
    locked.mkdir(mode=0o500)
    said = desk("train", desk.recipe(), f"run.folder={locked}")
    assert said.code == EXIT_COULD_NOT_RUN
    assert "permission" in said.error()[0]


def test_a_second_process_in_one_run_is_refused(desk: Any) -> None:
    recipe = desk.recipe()
    with Run.open(desk.folder / "runs" / "recipe", create=True).lock():
        said = desk("train", recipe)
    what, _where, fix = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert f"pid {os.getpid()}" in what
    assert "run.name" in fix
    assert not (desk.folder / "runs/recipe/state.json").exists()


# Using a run


@pytest.mark.parametrize("command", [("predict", "w1"), ("evaluate",)])
def test_a_run_that_is_not_finished_or_not_there(desk: Any, command: tuple[str, ...]) -> None:
    run = Run.open(desk.folder / "runs" / "half", create=True)
    run.set_state("interrupted", "stopped by Ctrl-C")
    verb, *rest = command
    said = desk(verb, run.folder, *rest)
    assert said.code == EXIT_COULD_NOT_RUN
    assert "interrupted" in said.error()[0]
    said = desk(verb, desk.folder / "runs" / "hafl", *rest)
    assert said.code == EXIT_COULD_NOT_RUN
    assert "half" in said.error()[2]
    said = desk(verb, desk.recipe(), *rest)
    assert said.code == EXIT_COULD_NOT_RUN
    assert "is a file" in said.error()[0]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "empty"),
        ([{"text": "w1 w2"}], "label"),
        ([{"words": "w1 w2", "label": "yes"}], "'text'"),
        ([{"text": "w1", "label": "yes"}, {"text": "w2", "label": None}], "label"),
        ([{"text": "w1", "label": "yes"}, {"text": None, "label": "yes"}], "text"),
        ([{"text": "w1", "label": "yes"}, {"text": "w2", "label": "perhaps"}], "'perhaps'"),
    ],
)
def test_evaluate_on_rows_that_can_not_be_scored(
    desk: Any, finished: Path, content: list[dict[str, Any]], what: str
) -> None:
    desk.write("new.jsonl", content)
    said = desk("evaluate", finished / "runs/recipe", "--data", "new.jsonl")
    found = said.error()
    assert said.code == EXIT_COULD_NOT_RUN
    assert what in found[0]
    assert "new.jsonl" in found[1]


def test_evaluate_where_the_rows_are_not_found_or_have_changed(desk: Any, finished: Path) -> None:
    moved = desk.folder / "elsewhere" / "run"
    shutil.copytree(finished / "runs/recipe", moved)
    said = desk("evaluate", moved)
    assert said.code == EXIT_COULD_NOT_RUN
    assert "--data" in said.error()[2]
    desk.write("rows.jsonl", rows(desk)[:-1])
    said = desk("evaluate", moved)
    assert said.code == EXIT_COULD_NOT_RUN
    assert "not those that this run began with" in said.error()[0]


@pytest.mark.parametrize(
    ("given", "what"), [("nothing.csv", "no file"), ("", "empty"), ("  ", "empty"), ("wrong.jsonl", "no 'text'")]
)
def test_predict_on_inputs_that_are_none(desk: Any, finished: Path, given: str, what: str) -> None:
    desk.write("wrong.jsonl", [{"words": "w1"}])
    said = desk("predict", finished / "runs/recipe", given)
    assert said.code == EXIT_COULD_NOT_RUN
    assert what in said.error()[0]


def test_words_the_command_line_does_not_know(desk: Any, finished: Path) -> None:
    recipe = desk.recipe()
    orders = [
        ("trian", recipe),
        ("train",),
        ("train", "--frseh", recipe),
        ("plan", recipe, "--stage", "1"),
        ("audit", recipe, "--fail-on", "nothing"),
        ("find-lr", recipe, "--stage", "many"),
        ("find-lr", recipe, "--stage", "7"),
        ("predict", finished / "runs/recipe"),
        ("predict", finished / "runs/recipe", "w1", "--n", "2"),
        ("explain", "stges.train"),
        ("explain", "options.max_lenght"),
        ("explain", "options.max_length", "--task", "text"),
        ("cache", "empty"),
    ]
    for order in orders:
        said = desk(*order)
        assert said.code == EXIT_COULD_NOT_RUN, order
        assert said.error()[0], order
        assert said.out == "", order
