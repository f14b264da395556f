"""A recipe's own text with settings changed: comments and order stay, and what is read is what was wanted."""

from __future__ import annotations

import pytest

from tunesmith.recipe.document import parse
from tunesmith.recipe.edit import edited

RECIPE = """\
# A recipe with comments.
task: causal-lm
model: a/name           # the weights
data:
  train: rows.jsonl
  # below the data

batch: {rows: 8, micro: 4}   # a step
optimizer:
  name: adamw  # the usual one
stages:
  # two of them
  - {train: head, epochs: 1}
  - train: all   # everything
    epochs: 2
adapter: null
run:
  seed: 3
# the end
"""


@pytest.mark.parametrize(
    ("setting", "there"),
    [
        ("batch.micro=1", "batch: {rows: 8, micro: 1}   # a step\n"),
        ("batch.eval_rows=2", "batch: {rows: 8, micro: 4, eval_rows: 2}   # a step\n"),
        ("optimizer.name=adamw-8bit", "  name: adamw-8bit  # the usual one\n"),
        ("optimizer.ema=null", "  name: adamw  # the usual one\n  ema: null\nstages:\n"),
        ("model.dtype=nf4", "model: {name: a/name, dtype: nf4}           # the weights\n"),
        ("stages.0.train={top: 2}", "  - {train: {top: 2}, epochs: 1}\n"),
        ("stages.1.train=adapter", "  - train: adapter   # everything\n    epochs: 2\n"),
        ("stages.1.warmup=0.1", "    epochs: 2\n    warmup: 0.1\nadapter: null\n"),
        ("adapter.kind=lora", "adapter: {kind: lora}\n"),
        ("engine.precision=bf16", "  seed: 3\nengine:\n  precision: bf16\n# the end\n"),
        ("data.limit=5", "  train: rows.jsonl\n  limit: 5\n  # below the data\n"),
    ],
)
def test_one_setting_at_its_place(setting: str, there: str) -> None:
    text, kept = edited(RECIPE, [setting], "recipe.yaml")
    assert kept
    assert there in text
    before = [line for line in RECIPE.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in before] == [
        line.partition("#")[2] for line in text.splitlines() if "#" in line
    ]


def test_a_whole_list_in_place_of_another() -> None:
    text, kept = edited(RECIPE, ["stages=[{train: all, epochs: 1.5}]"], "recipe.yaml")
    assert kept
    assert "stages:\n  # two of them\n  [{train: all, epochs: 1.5}]\nadapter: null\n" in text


def test_many_settings_and_a_new_section_with_several() -> None:
    settings = ["batch.micro=1", "adapter.kind=lora", "adapter.r=8", "engine.precision=bf16", "engine.workers=2"]
    text, kept = edited(RECIPE, settings, "recipe.yaml")
    tree = parse(text, "recipe.yaml").tree
    assert kept
    assert tree["adapter"] == {"kind": "lora", "r": 8}
    assert tree["engine"] == {"precision": "bf16", "workers": 2}
    assert "  precision: bf16\n  workers: 2\n" in text
    assert text.startswith("# A recipe with comments.\n")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("last", ["run: {}", "run:", "run: |-\n  text", "run:\n  - 1\n  - 2", 'run: "a # b"'])
def test_a_section_behind_any_last_line(last: str, end: str) -> None:
    text, kept = edited(f"task: x\n{last}{end}", ["batch.micro=2"], "recipe.yaml")
    assert kept
    assert parse(text, "recipe.yaml").tree["batch"] == {"micro": 2}
    assert parse(text, "recipe.yaml").tree["run"] == parse(last, "recipe.yaml").tree["run"]


@pytest.mark.parametrize(
    ("text", "setting", "wanted"),
    [
        ("a: &x {r: 1}\nbatch: *x\n", "batch.micro=2", {"a": {"r": 1}, "batch": {"r": 1, "micro": 2}}),
        ("a: &x [{t: 1}]\nstages: *x\n", "stages.0.t=2", {"a": [{"t": 1}], "stages": [{"t": 2}]}),
        ("batch: {rows: 8}\n# said\ntask: x\n", "batch.rows=null", {"batch": {}, "task": "x"}),
    ],
)
def test_what_has_no_place_is_written_anew_and_said(text: str, setting: str, wanted: object) -> None:
    new, kept = edited(text, [setting], "recipe.yaml")
    assert not kept
    assert parse(new, "recipe.yaml").tree == wanted


def test_a_value_from_a_merged_section_is_set_over_it() -> None:
    text, kept = edited("a: &x {rows: 1}\nbatch:\n  <<: *x\n  micro: 3\n", ["batch.rows=2"], "recipe.yaml")
    assert kept
    assert parse(text, "recipe.yaml").tree["batch"] == {"rows": 2, "micro": 3}
    assert parse(text, "recipe.yaml").tree["a"] == {"rows": 1}
