"""The proof: two real runs, held against the same rows, and an interval that can be computed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures import small_models
from tunesmith.audit.data import AuditData
from tunesmith.audit.fixing import write_fixed
from tunesmith.audit.found import AuditReport, Found, Mark
from tunesmith.audit.kept import Kept
from tunesmith.audit.opening import open_data
from tunesmith.audit.proving import proof
from tunesmith.prepare import prepare
from tunesmith.recipe import read_recipe
from tunesmith.run import Run

pytestmark = pytest.mark.heavy


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[AuditData, AuditReport]:
    """Training rows of which half of one class have the other's label, ten more without a text, and two leaks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    model = small_models.write_model(tmp_path / "model")
    rows = [{"id": f"r{n}", **row} for n, row in enumerate(small_models.rows_of(360))]
    train, held = rows[:240], rows[240:]
    flipped = [row for row in train if row["label"] == "bad"][::2]
    for row in flipped:
        row["label"] = "good"
    empty = [row for row in train if row["label"] == "bad"][:10]
    for row in empty:
        row["text"] = ""
    leaked = [{**row, "id": f"leaked-{row['id']}"} for row in held[:2]]
    for name, some in (("train", [*train, *leaked]), ("eval", held)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    sections = {
        "task": "text-classification",
        "model": str(model),
        "data": {"train": "train.jsonl", "eval": "eval.jsonl"},
        "stages": [{"train": "all", "epochs": 6, "lr": 5e-3}],
        "batch": {"rows": 16},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    data = open_data(read_recipe("recipe.yaml"), kept=Kept(tmp_path / "k.sqlite"))
    marks = [Mark(str(row["id"]), "train") for row in (*flipped, *empty, *leaked)]
    found = Found("leak", "error", "what", "where", "fix", marks, remedy="drop")
    return data, AuditReport("rows", {}, [found])


def test_the_mended_copy_is_better_and_the_figures_are_those_of_the_runs(damaged: Any, tmp_path: Path) -> None:
    data, report = damaged
    assert {found.code for found in data.prepared.errors()} >= {"leak"}, "what a run would stop at"
    log = write_fixed(data, report, tmp_path / "mended")
    told = proof(data, log)
    found, mended = (Run.open(told[name]["run"]) for name in ("found", "mended"))
    assert (found.folder.name, mended.folder.name) == ("recipe-as-found", "recipe-fixed")
    assert (told["found"]["rows"], told["mended"]["rows"]) == (242, 242 - len(report.findings[0].marks))
    held = [[one["id"] for one in lines(run.predictions)] for run in (found, mended)]
    assert held[0] == held[1] == [f"r{n}" for n in range(240, 360)]
    for run, side in ((found, "found"), (mended, "mended")):
        assert run.read_json("scores.json")["tuned"] == pytest.approx(told[side]["score"])
    assert told["difference"] == pytest.approx(told["mended"]["score"] - told["found"]["score"])
    low, high = told["interval"]
    assert low < told["difference"] < high
    assert told["verdict"] == "better"
    assert f"{told['difference']:+.4f} [{low:+.4f}, {high:+.4f}]" in told["said"]
    assert not read_recipe("recipe.yaml").recipe.audit.accept, "the person's own recipe is as it was"
    assert prepare(read_recipe(log.recipe)).errors() == []


def test_both_are_judged_by_the_copys_held_out_rows(damaged: Any, tmp_path: Path) -> None:
    data, report = damaged
    gone = Found("rare-class", "error", "what", "where", "fix", [Mark("r250", "eval")], remedy="drop")
    report.findings.append(gone)
    log = write_fixed(data, report, tmp_path / "mended")
    told = proof(data, log)
    assert told["rows"] == 119
    assert (log.folder / "eval.jsonl").read_bytes() == (log.folder / "as-found" / "eval.jsonl").read_bytes()
