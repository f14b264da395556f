"""A task from somebody else's package: ten lines, installed with pip, found by name, trained, scored, used."""

from __future__ import annotations

import ast
import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.model.starter import locate

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[2]
ROWS = 120
MODEL = '''"""The other package's model: a transformers encoder with a head of its own on the mean of the tokens."""

from torch import nn
from transformers import AutoModel


class Reader(nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.trunk = AutoModel.from_pretrained(folder)
        self.head = nn.Linear(self.trunk.config.hidden_size, 1)

    def forward(self, batch):
        states = self.trunk(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        return self.head((states * mask).sum(1) / mask.sum(1))[:, 0]
'''
TASK = '''"""The other package's task."""

import torch.nn.functional as F

from tunesmith import Task

from .model import Reader


class Pleasant(Task):
    """Whether a sentence is pleasant to read."""

    name, columns, target, goal = "pleasant", {"text": str, "label": object}, "label", "accuracy"

    def load(self):
        return self.with_head(Reader(self.source.folder))

    def encode(self, row, rng=None):
        return {**self.tokens(row["text"], 32), "label": float(row.get("label") == "positive")}

    def loss(self, model, batch):
        return {"examples": F.binary_cross_entropy_with_logits(model(batch), batch["label"], reduction="sum")}

    def predict(self, model, batch):
        return ["positive" if logit > 0 else "negative" for logit in model(batch).tolist()]
'''
PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "pleasant-sentences"
version = "1.0"

[project.entry-points."tunesmith.tasks"]
pleasant = "pleasant_sentences:Pleasant"

[tool.setuptools]
packages = ["pleasant_sentences"]
"""
RECIPE = """task: pleasant
model: starter:minilm-l6
data: {train: rows.csv, eval: 0.25}
stages:
  - {train: head, epochs: 8, lr: 3e-2}
  - {train: {top: 1}, epochs: 2, lr: 2e-4}
batch: {rows: 16}
audit: {accept: {few-rows: a test}}
run: {folder: runs, name: pleasant}
"""


def lines_of_code(source: str, name: str) -> list[str]:
    """The lines of a class that are neither blank nor comment nor docstring."""
    tree = ast.parse(source)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    documented = [node for node in ast.walk(found) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    words: set[int] = set()
    for node in documented:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            words |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    numbered = enumerate(source.splitlines(), 1)
    inside = ((n, line.strip()) for n, line in numbered if found.lineno <= n <= (found.end_lineno or 0))
    return [line for n, line in inside if n not in words and line and not line.startswith("#")]


class Desk:
    """The folder of a person who has installed the other package."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.installed = folder, folder / "installed"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self.installed),
            "HF_HUB_OFFLINE": "1",
            "TUNESMITH_CACHE": str(folder / "cache"),
            "COLUMNS": "200",
        }

    def install(self) -> None:
        package = self.folder / "package"
        code = package / "pleasant_sentences"
        code.mkdir(parents=True)
        (package / "pyproject.toml").write_text(PROJECT)
        (code / "__init__.py").write_text(TASK)
        (code / "model.py").write_text(MODEL)
        offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        self.run("pip", "install", "--quiet", *offline, "--target", str(self.installed), str(package))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    try:
        locate("starter:minilm-l6", where="test")
    except UserError as fault:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"{fault.what}: {fault.fix}")
    made = Desk(tmp_path_factory.mktemp("third-party"))
    with (ROOT / "examples" / "sentiment" / "sentiment.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for _, row in zip(range(ROWS), csv.DictReader(stream), strict=False)]
    with (made.folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (made.folder / "recipe.yaml").write_text(RECIPE)
    made.install()
    return made


@pytest.fixture(scope="module")
def trained(desk: Desk) -> Path:
    desk.run("tunesmith", "train", "recipe.yaml")
    return desk.folder / "runs" / "pleasant"


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text(encoding="utf-8"))


def test_the_task_takes_ten_lines(tmp_path: Path) -> None:
    lines = lines_of_code(TASK, "Pleasant")
    assert len(lines) == 10, "\n".join(lines)
    assert lines[0] == "class Pleasant(Task):"
    # Ten lines as a formatter leaves them, not ten lines of golf.
    file = tmp_path / "task.py"
    file.write_text(TASK)
    form = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", str(file)]
    done = subprocess.run(form, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_line_counter_counts() -> None:
    words = '"""Words\n    and words."""'
    source = f"class A:\n    {words}\n\n    # why\n    x = 1\n\n    def f(self):\n        {words}\n        return 2\n"
    assert lines_of_code(source, "A") == ["class A:", "x = 1", "def f(self):", "return 2"]


def test_the_installed_task_is_listed(desk: Desk) -> None:
    listed = json.loads(desk.run("tunesmith", "tasks", "--json").stdout)
    assert listed["pleasant"] == "Whether a sentence is pleasant to read."
    assert "text-classification" in listed


def test_it_is_trained_and_scored_and_reported(trained: Path) -> None:
    scores = read(trained, "scores.json")
    assert scores["metric"] == "accuracy"
    assert 20 <= scores["rows"] <= ROWS // 3
    assert scores["tuned"] > scores["base"]
    assert scores["base_name"] == "pretrained model"
    assert [stage["name"] for stage in scores["stages"]] == ["head", "top 1"]
    assert read(trained, "state.json")["status"] == "finished"
    assert "pleasant" in (trained / "report.html").read_text(encoding="utf-8")
    assert (trained / "README.md").is_file()


def test_its_receipts_hold(trained: Path) -> None:
    receipts: list[Mapping[str, Any]] = read(trained, "receipts.json")
    promises = {receipt["promise"]: receipt["holds"] for receipt in receipts}
    # How well the plan foresees memory is measured where the plan is tested.
    promises.pop("memory was predicted", None)
    assert all(promises.values()), receipts
    assert {"frozen weights are unchanged", "the saved model reloads to the same outputs"} <= promises.keys()
    assert "the cache equals no cache (stage top 1)" in promises


def test_its_backbone_is_saved_as_transformers_saves_it(trained: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, loading = AutoModel.from_pretrained(trained / "model", output_loading_info=True)
    assert not loading["missing_keys"]
    assert model.config.hidden_size == 384
    assert AutoTokenizer.from_pretrained(trained / "model")("so good")["input_ids"]
    assert (trained / "model" / "head.safetensors").is_file()


def test_its_tuned_model_predicts_what_it_predicted_in_the_run(desk: Desk, trained: Path) -> None:
    lines = (trained / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line) for line in lines][:6]
    texts = [entry["row"]["text"] for entry in kept]
    told = json.loads(desk.run("tunesmith", "predict", str(trained), *texts, "--json").stdout)
    assert [entry["prediction"] for entry in told] == [entry["tuned"] for entry in kept]
    assert {entry["tuned"] for entry in map(json.loads, lines)} == {"positive", "negative"}
