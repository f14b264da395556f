from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from tunesmith.errors import UserError
from tunesmith.report import write_card
from tunesmith.report.card import fenced, hub_id, markdown, metadata
from tunesmith.report.read import read_run


def load_fixture() -> ModuleType:
    spec = spec_from_file_location("make_run", Path(__file__).parents[1] / "fixtures" / "make_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runs = load_fixture()


def change_base(folder: Path, **values: object) -> None:
    path = folder / "environment.json"
    environment = json.loads(path.read_text(encoding="utf-8"))
    environment["base"] |= values
    path.write_text(json.dumps(environment), encoding="utf-8")


def test_the_hub_reads_the_card(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "sentiment")
    change_base(folder, name="sentence-transformers/all-MiniLM-L6-v2")
    path = write_card(folder)
    assert path == folder / "README.md"
    assert path.read_bytes() == (folder / "model" / "README.md").read_bytes()
    data = ModelCard.load(path).data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-classification"
    assert data.license == "apache-2.0"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.tags == ["tunesmith", "text-classification"]
    assert data.metrics == ["f1", "accuracy", "calibration_error"]
    assert data.model_name == "sentiment"
    results = {one.metric_name: one for one in data.eval_results}
    assert results["macro_f1"].metric_type == "f1"
    assert results["macro_f1"].metric_value == pytest.approx(0.6784)
    assert results["macro_f1"].dataset_name == "sentiment.csv"
    assert results["macro_f1"].task_type == "text-classification"


def test_front_matter_follows_the_schema_of_results(tmp_path: Path) -> None:
    front = metadata(read_run(runs.make_run(tmp_path / "run")))
    name, results = model_index_to_eval_results(front["model-index"])
    assert name == "run"
    assert len(results) == 3
    (result,) = front["model-index"][0]["results"]
    assert set(result) == {"task", "dataset", "metrics"}
    assert all(set(one) == {"type", "name", "value"} for one in result["metrics"])


def test_the_body_says_what_was_measured(tmp_path: Path) -> None:
    text = write_card(runs.make_run(tmp_path / "run")).read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "+0.268" in line)
    assert row == r"| macro\_f1 | 0.411 | 0.678 | +0.268 | +0.228 to +0.307 | **better** |"
    assert "| top 2 | block 4, block 5, head | 3\u202f550\u202f083 | 3 | 1e-4 | 0.678 |" in text
    assert "603 held-out rows" in text
    assert "| ✗ | memory as predicted | 1.31 | 1.25 |" in text
    assert "```python\nfrom transformers import pipeline" in text
    assert "## Limits" in text
    assert "```yaml\ntask: text-classification  # recipe" in text
    assert "\n\n\n\n" not in text


def test_tables_are_whole(tmp_path: Path) -> None:
    lines = write_card(runs.make_run(tmp_path / "run")).read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert line.replace(r"\|", "").count("|") == above.replace(r"\|", "").count("|")
        if line.startswith("|---") or line.startswith("| ---"):
            assert above.startswith("|")


def test_markup_of_the_data_stays_text(tmp_path: Path) -> None:
    text = write_card(runs.make_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert markdown("a|b `c` <i>\n# d [x](y)") == r"a\|b \`c\` &lt;i&gt; \# d \[x\](y)"


def test_a_fence_can_not_be_closed_from_inside() -> None:
    text = fenced("a\n```\n<script>\n````\n", "yaml")
    assert text.startswith("`````yaml\n")
    assert text.endswith("\n`````")


def test_the_licence_is_left_out_when_not_known(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    change_base(folder, license=None)
    path = write_card(folder)
    assert ModelCard.load(path).data.get("license") is None
    assert "licence of the base model is not recorded" in path.read_text(encoding="utf-8")


def test_an_adapter_says_what_it_needs(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    change_base(folder, name="org/encoder")
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    recipe["values"]["adapter"] = {"kind": "lora", "r": 16}
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    data = ModelCard.load(write_card(folder)).data
    assert data.library_name == "peft"
    assert data.base_model_relation == "adapter"


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ({"name": "org/model", "folder": "/cache/models--org--model/snapshots/abc"}, "org/model"),
        ({"name": "bert-base-uncased"}, "bert-base-uncased"),
        ({"name": "starter:minilm"}, None),
        ({"name": "/models/mine"}, None),
        ({"name": "./mine"}, None),
        ({"name": "models/mine", "folder": "/home/someone/models/mine"}, None),
        ({}, None),
    ],
)
def test_only_a_hub_id_is_a_base_model(start: dict[str, str], found: str | None) -> None:
    assert hub_id(start) == found


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    path = write_card(runs.make_run(tmp_path / "run", status="interrupted"))
    text = path.read_text(encoding="utf-8")
    assert "This run is unfinished (interrupted)" in text
    assert "Not scored yet" in text
    assert ModelCard.load(path).data.eval_results is None


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_card(tmp_path)
