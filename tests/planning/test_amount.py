"""How much data there is, beside the least that handbooks name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import small_decoders, small_models
from tunesmith.forecast.amount import data_needs, nearest_first
from tunesmith.language.task import DecoderTask
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe
from tunesmith.registry import find_task, task_names
from tunesmith.traits import DataReference

HANDBOOK = {
    "causal-lm": {("Llama-2 7B", 1_000, "examples"), ("Falcon 40B", 50_000, "examples")},
    "object-detection": {("YOLO, a detector", 100, "pictures")},
    "text-to-image": {("Stable Diffusion with DreamBooth", 10, "pictures")},
    "speech-to-text": {("Whisper", 50, "hours")},
}


def prepared_of(folder: Path, **values: Any) -> Prepared:
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    return prepare(read_recipe(file), shape_only=True)


@pytest.mark.parametrize("name", sorted(HANDBOOK))
def test_every_handbook_minimum_is_declared_by_its_task(name: str) -> None:
    kind = find_task(name)
    assert {(one.what, one.least, kind.unit) for one in kind.references} == HANDBOOK[name]


def test_every_task_counts_in_a_unit_of_its_own_or_in_examples() -> None:
    units = {name: find_task(name).unit for name in task_names()}
    assert units["text-classification"] == "examples"
    assert units["image-classification"] == "pictures"
    assert units["speech-ctc"] == "hours"


def test_conversations_are_held_against_the_model_of_nearest_size(tmp_path: Path) -> None:
    model = small_decoders.write_decoder(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    rows = "".join(json.dumps(row) + "\n" for row in small_decoders.conversations(64))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    accept = {"few-rows": "a test", "leak": "a test"}
    prepared = prepared_of(
        tmp_path, task="causal-lm", model=str(model), data={"train": str(tmp_path / "rows.jsonl"), "eval": 0.25},
        options={"forgetting": None}, audit={"accept": accept},
    )  # fmt: skip
    found = data_needs(prepared)
    assert found["rows"] == found["amount"] == 48
    assert [one["what"] for one in found["references"]] == ["Llama-2 7B", "Falcon 40B"]
    assert found["references"][0]["least"] == 1_000
    assert "48 examples to learn from, 5% of" in found["said"]
    assert "no verdict" in found["said"]
    assert "--learning-curve" in found["said"]


def test_the_nearest_reference_is_of_nearest_size() -> None:
    names = [one.what for one in nearest_first(DecoderTask.references, 70_000_000_000)]
    assert names == ["Falcon 40B", "Llama-2 7B"]
    assert nearest_first(DecoderTask.references, 13_000_000_000)[0].what == "Llama-2 7B"
    assert nearest_first(DecoderTask.references, None) == list(DecoderTask.references)
    assert nearest_first([DataReference("a", 1)], 5) == [DataReference("a", 1)]


def test_recordings_are_counted_in_hours() -> None:
    rows = [{"id": str(i), "seconds": 1800.0} for i in range(3)] + [{"id": "x"}]
    kind = find_task("speech-to-text")
    task = kind(kind.Options(), None)  # type: ignore[arg-type]
    assert task.amount(rows) == 1.5


def test_pictures_are_counted_as_they_are() -> None:
    kind = find_task("image-classification")
    task = kind(kind.Options(), None)  # type: ignore[arg-type]
    assert task.amount([{"id": "a"}, {"id": "b"}]) == 2


def test_a_task_without_a_reference_says_so(tmp_path: Path) -> None:
    model = small_models.write_model(tmp_path / "model")
    rows = "".join(json.dumps(row) + "\n" for row in small_models.rows_of(80))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    prepared = prepared_of(
        tmp_path, task="text-classification", model=str(model), data={"train": str(tmp_path / "rows.jsonl")},
        audit={"accept": {"few-rows": "a test", "leak": "a test"}},
    )  # fmt: skip
    found = data_needs(prepared)
    assert found["references"] == []
    assert "handbooks name no least amount" in found["said"]
    assert found["rows"] == 64
