"""The table of models, methods and GPUs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import small_models
from tunesmith.devices import DEVICES, find_device
from tunesmith.errors import UserError
from tunesmith.forecast.family import FITS, METHODS, NOT, TIGHT, built_in, family_table, named_shapes
from tunesmith.recipe import read_recipe
from tunesmith.report.family_table import family_text

ROOT = Path(__file__).resolve().parents[2]
SQL = ROOT / "recipes/text-to-sql.yaml"
ORDER = {NOT: 0, TIGHT: 1, FITS: 2}


def table(*names: str, devices: tuple[str, ...] = ("T4", "RTX-4090", "A100-80GB", "H200")) -> list[dict[str, Any]]:
    source = read_recipe(SQL, ["options.max_length=512", "batch.rows=16"])
    return family_table(source, names, [find_device(name) for name in devices])


def answer(found: list[dict[str, Any]], model: str, method: str, device: str) -> str:
    (entry,) = [e for e in found if (e["model"], e["method"], e["device"]) == (model, method, find_device(device).name)]
    return str(entry["answer"])


def test_a_family_by_method_by_gpu() -> None:
    found = table("llama")
    assert len(found) == 4 * len(METHODS) * 4
    assert {entry["model"] for entry in found} == {"llama-1B", "llama-3B", "llama-8B", "llama-70B"}
    assert all(entry["public_numbers"] for entry in found)
    assert answer(found, "llama-8B", "all, fp32", "A100-80GB") == NOT
    assert answer(found, "llama-8B", "LoRA, bf16", "A100-80GB") == FITS
    assert answer(found, "llama-8B", "LoRA, 4 bit", "RTX-4090") in (FITS, TIGHT)
    assert answer(found, "llama-70B", "LoRA, bf16", "A100-80GB") == NOT
    assert answer(found, "llama-70B", "all, fp32", "H200") == NOT
    assert answer(found, "llama-1B", "LoRA, 4 bit", "T4") in (FITS, TIGHT)


def test_a_larger_gpu_never_fits_less_and_a_larger_model_never_more() -> None:
    found = table("llama", "qwen2.5")
    by_memory = sorted({(entry["memory_bytes"], entry["device"]) for entry in found})
    ranks = {(e["model"], e["method"], e["device"]): ORDER[e["answer"]] for e in found}
    for model in dict.fromkeys(entry["model"] for entry in found):
        for method in METHODS:
            got = [ranks[model, method.name, device] for _, device in by_memory]
            assert got == sorted(got), (model, method.name)
    for method in METHODS:
        for _, device in by_memory:
            sizes = [ranks[f"llama-{size}", method.name, device] for size in ("1B", "3B", "8B", "70B")]
            assert sizes == sorted(sizes, reverse=True), (method.name, device)


def test_what_only_fits_with_less_says_the_bytes_of_that() -> None:
    tight = [entry for entry in table("llama", "qwen2.5") if entry["answer"] == TIGHT]
    assert tight
    for entry in tight:
        usable = find_device(entry["device"]).usable_bytes
        assert entry["bytes"] <= usable < entry["bytes_asked"]
        assert entry["rows"] == 1


def test_the_recipes_own_model_stands_alone_and_all_gpus_are_known() -> None:
    found = family_table(read_recipe(SQL))
    assert {entry["model"] for entry in found} == {"starter:smollm2-135m"}
    assert {entry["device"] for entry in found} == set(DEVICES)
    assert not any(entry["public_numbers"] for entry in found)
    assert {entry["parameters"] for entry in found} == {134_515_008}


def test_a_folder_wins_over_a_family_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_models.write_model(tmp_path / "llama")
    monkeypatch.chdir(tmp_path)
    ((name, shape, public),) = named_shapes("llama")
    assert (name, public) == ("llama", False)
    assert shape.parameters < 100_000
    shutil.rmtree(tmp_path / "llama")
    assert len(named_shapes("llama")) == 4


def test_one_size_of_a_family() -> None:
    ((name, shape, public),) = named_shapes("qwen2.5-7b")
    assert (name, public, shape.parameters) == ("qwen2.5-7B", True, 7_615_616_512)


def test_a_family_that_is_not_there_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no family or model 'lama'") as fault:
        named_shapes("lama")
    assert "llama" in fault.value.fix
    assert fault.value.where == "--models"


def test_what_comes_along_says_what_it_is() -> None:
    file = ROOT / "tunesmith/forecast/public_configs.json"
    assert "makers published" in json.loads(file.read_text(encoding="utf-8"))["said"]
    assert len(built_in()) > 10


def test_the_text_fits_80_columns_and_marks_what_was_not_fetched() -> None:
    text = family_text(family_table(read_recipe(SQL), ["llama"]))
    rows = text.split("\n\n")[0].splitlines()
    assert max(map(len, rows)) <= 80
    assert "llama-8B*, 8.03 B" in text
    assert "published; nothing was fetched" in text
    assert sum(line.strip().startswith("LoRA, 4 bit") for line in rows) == 4
    assert {"yes", "tight", "no"} <= set(text.split())
    own = family_text(family_table(read_recipe(SQL), devices=[find_device("T4")]))
    assert "published" not in own
    assert "134.5 M" in own or "135 M" in own
