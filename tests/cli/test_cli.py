"""Every command of the command line: what it prints, valid JSON, exit codes 0, 1 and 2, one shape of error."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tunesmith.cli import app
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS
from tunesmith.model.starter import STARTERS
from tunesmith.report import figures

COMMANDS = ["train", "audit", "find-lr", "plan", "compare", "evaluate", "predict", "export", "convert"]
COMMANDS += ["report", "runs", "diagnose", "index", "retrieve", "ask", "sync", "migrate", "serve"]
COMMANDS += ["explain", "schema", "tasks", "doctor", "cache"]


def fits(text: str) -> bool:
    """Whether every line of a table fits a terminal of 80 columns, without blanks at its end."""
    return all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines())


@pytest.fixture
def copied(desk: Any, finished: Path) -> Path:
    """The finished run with its recipe and rows, here, where it may be written."""
    for item in finished.iterdir():
        if item.is_dir():
            shutil.copytree(item, desk.folder / item.name)
        else:
            shutil.copy2(item, desk.folder / item.name)
    return Path("runs/recipe")


# Help


def test_the_help_lists_every_command_in_one_line_each(desk: Any) -> None:
    said = desk("--help")
    assert said.code == EXIT_DONE
    names = re.findall(r"^  ([a-z-]+) {2,}\S.*\.$", said.out.split("Commands:")[1], flags=re.M)
    assert names == COMMANDS, "a command is missing, or its line is too long and was cut"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_fits(desk: Any, command: str) -> None:
    said = desk(command, "--help")
    assert said.code == EXIT_DONE
    assert said.out.startswith(f"Usage: tunesmith {command}")
    assert all(len(line) <= 80 for line in said.out.splitlines())
    if command not in ("schema", "cache"):
        assert "--json" in said.out


def test_no_command_shows_the_help_and_is_no_success(desk: Any) -> None:
    said = desk()
    assert said.code == EXIT_COULD_NOT_RUN
    assert said.err.startswith("Usage: tunesmith")
    assert said.out == ""


def test_the_help_imports_nothing_heavy() -> None:
    code = "import sys; from tunesmith.cli import main; sys.argv = ['tunesmith', '--help']\ntry: main()\n"
    code += "except SystemExit: pass\n"
    code += "sys.exit(' '.join(m for m in ('torch', 'transformers', 'numpy', 'pydantic') if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_crash() -> None:
    """As ``tunesmith explain | head -1``: the pipe is closed before anything is written."""
    code = "import os, sys; from tunesmith.cli import main; sys.argv = ['tunesmith', 'explain']\n"
    code += "reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1); main()"
    done = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE, text=True)
    assert done.returncode != EXIT_DONE
    assert done.stderr == ""


# Training


def test_train_ends_with_the_table_the_report_and_the_model_and_no_noise(desk: Any) -> None:
    desk.recipe()
    said = desk("train", "recipe.yaml", "stages.0.epochs=1", "run.name=first")
    assert said.code == EXIT_DONE
    lines = said.out.splitlines()
    assert lines[0].split() == ["metric", "base", "tuned", "difference", "95", "%", "interval", "verdict"]
    assert fits("\n".join(lines[:3]))
    report, model = Path(lines[-2].removeprefix("report: ")), Path(lines[-1].removeprefix("model:").strip())
    assert report.is_file()
    assert (model / "config.json").is_file()
    assert "Writing model shards" not in said.err
    assert "Warning" not in said.err
    assert "|" not in said.err, "a progress bar of some library"
    assert re.search(r"^head 1/8  loss \d\.\d+  .*rows/s  lr \S+  .* left$", said.err, flags=re.M)


def test_a_second_train_of_a_finished_run_says_so_and_changes_nothing(desk: Any, copied: Path) -> None:
    before = (desk.folder / copied / "scores.json").stat().st_mtime_ns
    said = desk("train", "recipe.yaml")
    assert said.code == EXIT_DONE
    assert "finished already" in said.err
    assert (desk.folder / copied / "scores.json").stat().st_mtime_ns == before


def test_fresh_puts_the_earlier_run_aside(desk: Any, copied: Path) -> None:
    said = desk("train", "recipe.yaml", "--fresh", "--json")
    assert said.code == EXIT_DONE
    assert set(said.json) == {"run", "scores", "receipts"}
    assert Path(said.json["run"]).name == copied.name
    assert said.json["scores"]["rows"] == 16
    assert sorted(p.name for p in (desk.folder / "runs").iterdir()) == ["recipe", "recipe.old-1"]


# Before training


def test_plan_fits_eighty_columns_and_says_the_same_as_its_json(desk: Any) -> None:
    recipe = desk.recipe()
    said, as_json = desk("plan", recipe), desk("plan", recipe, "--json")
    assert (said.code, as_json.code) == (EXIT_DONE, EXIT_DONE)
    assert fits(said.out)
    plan = as_json.json
    assert [stage["name"] for stage in plan["stages"]] == ["head", "top 1"]
    first = next(line for line in said.out.splitlines() if line.split()[:2] == ["1", "head"])
    assert first.split()[2:6] == ["2", "16", "0.03", f"{plan['stages'][0]['trainable']:,}"]
    for decision in plan["decisions"]:
        assert f"{decision['what']}: {decision['value']}" in said.out
    assert f"{plan['memory']['resident_bytes'] / 1e6:,.1f}" in said.out


def test_plan_writes_its_page_beside_what_it_prints(desk: Any) -> None:
    recipe = desk.recipe()
    said = desk("plan", recipe, "--page", "plan.html", "--json")
    assert said.code == EXIT_DONE
    page = (desk.folder / "plan.html").read_text(encoding="utf-8")
    assert figures.size(said.json["memory"]["resident_bytes"]) in page
    assert all(f"{number + 1} · {stage['name']}" in page for number, stage in enumerate(said.json["stages"]))
    assert "page: plan.html" in said.err
    failed = desk("plan", recipe, "--page", "none/plan.html")
    assert failed.code == EXIT_COULD_NOT_RUN
    assert failed.error()[0].startswith("cannot write plan.html")


def test_audit_exits_1_from_the_level_that_was_asked_for(desk: Any) -> None:
    desk.write("rows.jsonl", desk.rows(80))
    recipe = desk.recipe()
    plain = desk("audit", recipe, "--json")
    levels = {finding["level"] for finding in plain.json["findings"]}
    assert levels == {"warning", "note"}
    assert plain.code == EXIT_DONE
    for level, code in (("error", EXIT_DONE), ("warning", EXIT_FINDINGS), ("note", EXIT_FINDINGS)):
        said = desk("audit", recipe, "--fail-on", level)
        assert said.code == code, level
    assert "warning: few-rows: " in said.out
    assert re.search(r"^audit: 0 errors, 1 warnings, \d notes$", said.out, flags=re.M)


def test_find_lr_draws_its_plot_where_it_says(desk: Any) -> None:
    data = [{"text": " ".join([word] * 6), "label": word} for word in ("w1", "w2") for _ in range(60)]
    desk.write("easy.jsonl", [{**row, "text": f"{row['text']} w{5 + i % 50}"} for i, row in enumerate(data)])
    recipe = desk.recipe("easy.yaml", data={"train": "easy.jsonl"}, audit={"accept": {"duplicate-rows": "few words"}})
    said = desk("find-lr", recipe, "--json")
    assert said.code == EXIT_DONE, said.err
    assert said.json["plot"] == "lr-easy-stage-0.svg"
    assert (desk.folder / "lr-easy-stage-0.svg").read_text(encoding="utf-8").startswith("<svg")
    assert 1e-6 < said.json["picked"] < 1
    said = desk("find-lr", recipe, "--out", "plot.svg")
    assert said.out.splitlines()[-1] == "plot: plot.svg"
    assert (desk.folder / "plot.svg").is_file()
    assert not (desk.folder / "runs").exists(), "it changes no run"


# Using a run


def test_predict_takes_words_files_and_a_mixture(desk: Any, copied: Path) -> None:
    desk.write("more.csv", "text,label,other\nw1 w2 w3,unknown,4\nw58 w59,,\n")
    said = desk("predict", copied, "w1 w2 w3", "more.csv", "--json")
    assert said.code == EXIT_DONE
    assert [found["text"] for found in said.json] == ["w1 w2 w3", "w1 w2 w3", "w58 w59"]
    one, same, _other = (found["prediction"] for found in said.json)
    assert set(one["probabilities"]) == {"no", "yes"}
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert one["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)
    table = desk("predict", copied, "w1 w2 w3").out
    assert fits(table)
    assert f"{one['label']} ({one['probabilities'][one['label']]:.3f})" in table


def test_evaluate_gives_the_scores_of_the_run_again_from_any_folder(
    desk: Any, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads((desk.folder / copied / "scores.json").read_text())
    elsewhere = desk.folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    said = desk("evaluate", desk.folder / copied, "--json")
    assert said.code == EXIT_DONE, said.err
    for name in ("metric", "base", "base_name", "tuned", "difference", "interval", "verdict", "rows"):
        assert said.json[name] == stored[name], name


def test_evaluate_on_new_rows_needs_no_training_rows_and_names_those_it_has_seen(desk: Any, copied: Path) -> None:
    new = desk.write("new.jsonl", desk.rows(40, seed=77))
    said = desk("evaluate", copied, "--data", new, "--json")
    assert said.code == EXIT_DONE, said.err
    assert said.json["rows"] == 40
    assert "proves nothing" not in said.err
    seen = desk("evaluate", copied, "--data", "rows.jsonl")
    assert seen.code == EXIT_DONE
    assert "64 of 80" in seen.err
    assert "proves nothing" in seen.err
    (desk.folder / "rows.jsonl").unlink()
    again = desk("evaluate", copied, "--data", new, "--json")
    assert again.json == said.json


def test_report_writes_page_and_card_again(desk: Any, copied: Path) -> None:
    for name in ("report.html", "README.md"):
        (desk.folder / copied / name).unlink()
    said = desk("report", copied, "--json")
    assert said.code == EXIT_DONE
    assert Path(said.json["report"]).is_file()
    assert Path(said.json["card"]).read_text(encoding="utf-8").startswith("---\n")


def test_runs_lists_verdicts_and_what_became_of_the_others(desk: Any, copied: Path) -> None:
    half = desk.folder / "runs" / "half"
    half.mkdir()
    state = {"status": "failed", "message": "the disk is full", "at": "2026-01-01T00:00:00+00:00"}
    (half / "state.json").write_text(json.dumps(state))
    said, as_json = desk("runs"), desk("runs", "--json")
    assert (said.code, as_json.code) == (EXIT_DONE, EXIT_DONE)
    assert {run["name"]: run["status"] for run in as_json.json} == {"recipe": "finished", "half": "failed"}
    assert fits(said.out)
    finished = next(run for run in as_json.json if run["name"] == "recipe")
    assert finished["verdict"] in said.out
    assert f"{finished['tuned']:.4f}" in said.out
    assert "half: the disk is full" in said.out
    empty = desk("runs", "nowhere")
    assert (empty.code, empty.out) == (EXIT_DONE, "no runs in nowhere\n")


# What needs no run


def test_explain_a_setting_a_section_and_an_option(desk: Any) -> None:
    said = desk("explain", "stages.lr")
    assert said.code == EXIT_DONE
    assert "learning rate" in said.out
    assert desk("explain", "stages.lr", "--json").json["key"] == "stages.lr"
    option = desk("explain", "options.max_length")
    assert "tokens" in option.out
    every = desk("explain")
    for section in ("model.name", "stages.train", "run.keep"):
        assert section in every.out


def test_schema_on_the_screen_and_in_a_file_is_the_published_one(desk: Any) -> None:
    printed, written = desk("schema"), desk("schema", "--out", "schema.json")
    assert (printed.code, written.code) == (EXIT_DONE, EXIT_DONE)
    assert (desk.folder / "schema.json").read_text(encoding="utf-8") == printed.out
    published = Path(__file__).parents[2] / "docs" / "recipe.schema.json"
    assert printed.json == json.loads(published.read_text(encoding="utf-8"))


def test_tasks_and_doctor(desk: Any) -> None:
    assert "text-classification" in desk("tasks", "--json").json
    names = [line.split()[0] for line in desk("tasks").out.splitlines()]
    assert names == [
        "causal-lm",
        "image-classification",
        "image-segmentation",
        "object-detection",
        "preference",
        "retrieval",
        "speech-ctc",
        "speech-to-text",
        "text-classification",
        "text-to-image",
    ]
    checks = {check["name"]: check for check in desk("doctor", "--json").json}
    assert checks["python"]["works"]
    assert {f"starter:{name}" for name in STARTERS} <= set(checks)
    for name, starter in STARTERS.items():
        assert starter.packages[0].distribution in checks[f"starter:{name}"]["detail"]
    said = desk("doctor")
    assert said.code == EXIT_DONE
    assert fits(said.out)


def test_cache_list_and_clear(desk: Any) -> None:
    assert desk("cache", "list", "--json").json == []
    desk("train", desk.recipe(cache={"use": "on"}))
    entries = desk("cache", "list", "--json").json
    assert entries
    assert all(entry["bytes"] > 0 for entry in entries)
    listed = desk("cache", "list").out
    assert f"in {len(entries)} entries" in listed
    assert desk("cache", "clear", "--json").json["entries"] == len(entries)
    assert desk("cache", "list", "--json").json == []


def test_every_command_is_tested_here() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    groups = {group.name for group in app.registered_groups}
    assert names | groups == set(COMMANDS)


# The terminal


def test_a_table_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.report.console import predictions_text

    found = [{"id": "1", "text": "word " * 40, "prediction": {"label": "yes", "probabilities": {"yes": 0.9}}}]
    heights = {}
    for columns in ("40", "80", "160"):
        monkeypatch.setenv("COLUMNS", columns)
        text = predictions_text(found)
        heights[columns] = len(text.splitlines())
        assert max(map(len, text.splitlines())) <= max(80, int(columns))
    assert heights["40"] == heights["80"] > heights["160"]


def test_markup_in_the_data_is_shown_as_it_is() -> None:
    from tunesmith.report.console import predictions_text

    text = predictions_text([{"id": "[bold]", "text": "[red]a[/red] [/]", "prediction": "x[/nothing]"}])
    assert all(part in text for part in ("[bold]", "[red]a[/red] [/]", "x[/nothing]"))


def test_the_receipts_that_do_not_hold_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    from tunesmith.report.console import result_table

    scores = {"metric": "accuracy", "base": 0.5, "tuned": 0.75, "difference": 0.25, "interval": [0.1, 0.4]}
    scores |= {"verdict": "better", "base_name": "majority class", "rows": 1234, "stages": []}
    receipts = [
        {"promise": "frozen stays", "holds": True, "measured": 0, "tolerance": 0},
        {"promise": "memory", "holds": False, "measured": 2.5, "tolerance": "1 ± 0.35"},
    ]
    text = result_table(scores, receipts)
    assert "1,234 held-out rows" in text
    assert "1 of 2 promises hold" in text
    assert "broken: memory: measured 2.5, tolerance 1 ± 0.35" in text
    assert "frozen stays" not in text


def test_nothing_is_written_by_tables_themselves() -> None:
    from tunesmith.report.console import findings_text, runs_text

    console = Console(file=io.StringIO())
    assert findings_text([]) == "audit: nothing to complain about"
    assert runs_text([], Path("here")) == "no runs in here"
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
