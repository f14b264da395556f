"""What makes a recipe fit: every figure of the list is that of the changed recipe itself, planned from its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import picture_runs, small_decoders
from tests.fixtures.small_models import rows_of, write_model
from tunesmith.cli import planning
from tunesmith.devices import Device, find_device
from tunesmith.errors import EXIT_DONE, EXIT_FINDINGS, UserError
from tunesmith.forecast import ladder
from tunesmith.forecast.changes import STEPS, Here
from tunesmith.forecast.ladder import chosen, fits_nowhere, options_of, write_patched
from tunesmith.forecast.replan import Replanner, patched, settings_of
from tunesmith.plan import Plan, make_plan
from tunesmith.prepare import Prepared, prepare
from tunesmith.recipe import read_recipe, resolved_yaml

MB = 10**6

RECIPE = """\
# A small decoder, all of it.
task: causal-lm
model: {model}   # random weights
data: {{train: rows.jsonl, eval: 0.25}}
adapter: null
stages:
  - {{train: all, epochs: 1, lr: 1.0e-4}}   # one stage
batch:
  rows: 32
  micro: 16   # as it came
optimizer: {{ema: 0.99}}
engine: {{device: cpu, precision: fp32}}
options: {{forgetting: null, metric: perplexity}}
audit: {{accept: {{few-rows: a test, leak: a test}}}}
"""


def planned_with(file: Path, micro: int) -> Plan:
    """The plan of a recipe file with so many rows a pass, whether it fits or not."""
    return make_plan(prepare(read_recipe(file, [f"batch.micro={micro}"])), room=1, strict=False)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 9 million parameters."""
    size = {"hidden_size": 448, "intermediate_size": 1344, "num_hidden_layers": 3, "num_attention_heads": 4}
    return small_decoders.write_decoder(tmp_path_factory.mktemp("ladder") / "model", num_key_value_heads=4, **size)


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Path:
    lines = [json.dumps(row) for row in small_decoders.conversations(80)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(model=model), encoding="utf-8")
    return path


def planned(recipe: Path, room: int | None, *settings: str, target: Device | None = None) -> tuple[Prepared, Plan]:
    prepared = prepare(read_recipe(recipe, settings))
    prepared.raise_errors()
    return prepared, make_plan(prepared, room=room, target=target, strict=False)


LORA = ("adapter={kind: lora, r: 16}", "stages.0.train=adapter")


def resident(recipe: Path, *settings: str) -> int:
    memory = planned(recipe, None, *settings)[1].memory
    assert memory is not None
    return memory.resident


def by_kind(options: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in options if one["kind"] == kind]


def test_every_figure_is_that_of_the_changed_recipe(recipe: Path, tmp_path: Path) -> None:
    prepared, plan = planned(recipe, 1)
    assert plan.memory is not None
    options = options_of(prepared, plan)
    rungs = by_kind(options, "change")
    last = [list(one["patch"])[-1] for one in rungs]
    order = [
        "batch.micro",
        "batch.eval_rows",
        "engine.gradient_checkpointing",
        "optimizer.name",
        "optimizer.ema",
        "stages.0.train",
        "model.dtype",
        "adapter.top",
        "options.max_length",
    ]
    assert {
        "batch.eval_rows",
        "batch.micro",
        "optimizer.name",
        "optimizer.ema",
        "stages.0.train",
        "model.dtype",
    } <= set(last)
    assert last == sorted(last, key=order.index)
    needs = [plan.memory.resident, *(one["resident_bytes"] for one in rungs)]
    assert needs == sorted(needs, reverse=True)
    assert not any(one["fits"] for one in rungs)
    before: dict[str, Any] = {}
    for number, one in enumerate(rungs):
        assert one["saves_bytes"] == plan.memory.resident - one["resident_bytes"] > 0
        assert one["costs"]
        assert before.keys() < one["patch"].keys() or before["model.dtype"] != one["patch"]["model.dtype"]
        before = one["patch"]
        file = write_patched(prepared.source, one["patch"], out=tmp_path / f"rung-{number}.yaml")
        again = planned_with(file, int(one["patch"]["batch.micro"])).memory
        assert again is not None
        # Two traces of one shape may differ by what Python has not thrown away yet.
        assert again.resident == pytest.approx(one["resident_bytes"], rel=1e-3), one["what"]
        assert again.allocated == pytest.approx(one["allocated_bytes"], rel=1e-3), one["what"]


def test_the_list_ends_in_what_is_needed_and_no_more(recipe: Path) -> None:
    prepared, plan = planned(recipe, None)
    assert plan.memory is not None
    assert options_of(prepared, plan) == []
    assert options_of(prepared, plan, room=plan.memory.resident) == []
    assert plan.memory.resident > 1.2 * resident(recipe, *LORA)
    room = resident(recipe, *LORA) + MB
    options = options_of(prepared, plan, room=room)
    settable = [one for one in options if one["patch"]]
    assert settable == options[: len(settable)]
    assert chosen(prepared.source, options) is settable[-1]
    assert settable[-1]["fits"]
    assert settable[-1]["resident_bytes"] <= room
    patch = settable[-1]["patch"]
    for key in patch.keys() - {"adapter.kind", "adapter.r", "stages.0.train"}:
        assert resident(recipe, *settings_of({k: v for k, v in patch.items() if k != key})) > room, key


def test_as_mild_a_form_as_will_do(recipe: Path) -> None:
    """Of 16 rows a pass 4 are enough, so that it is not 1."""
    prepared, plan = planned(recipe, None)
    assert plan.memory is not None
    four, two = resident(recipe, "batch.micro=4"), resident(recipe, "batch.micro=2")
    assert two + MB < four < plan.memory.resident - MB
    for room, rows in ((four + MB // 2, 4), (four - MB // 2, 2)):
        options = options_of(prepared, plan, room=room)
        assert chosen(prepared.source, options)["patch"] == {"batch.micro": rows}


def test_a_recipe_with_an_adapter_gets_smaller_ones(recipe: Path) -> None:
    settings = ("adapter={kind: lora, r: 4}", "stages.0.train=adapter", "model.dtype=fp32")
    prepared, plan = planned(recipe, 1, *settings)
    options = options_of(prepared, plan)
    keys = {key for one in options for key in one["patch"]}
    assert "adapter.kind" not in keys
    assert not any(key.startswith("stages") for key in keys)
    assert "model.dtype" in keys
    assert [one["patch"]["model.dtype"] for one in options if "model.dtype" in one["patch"]][-1] == "nf4"


def test_what_the_task_refuses_is_said(tmp_path: Path) -> None:
    """A pooling of its own can't go with an adapter; fewer blocks can."""
    place = write_model(tmp_path / "encoder")
    recipe = tmp_path / "recipe.yaml"
    rows = "\n".join(json.dumps(row) for row in rows_of(80))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    recipe.write_text(
        f"task: text-classification\nmodel: {place}\ndata: {{train: rows.jsonl}}\n"
        "stages:\n  - {train: all, epochs: 1}\nengine: {device: cpu}\noptions: {pooling: mean}\n",
        encoding="utf-8",
    )
    ladder_of_small = options_of(*planned(recipe, 1))
    refused = by_kind(ladder_of_small, "refused")
    assert [one["what"] for one in refused] == [f"LoRA of rank {16} in place of the weights"]
    assert "pooling" in refused[0]["costs"]
    assert refused[0]["patch"] == {}
    assert not any("nf4" in str(one["patch"]) for one in ladder_of_small)


def test_pictures_get_smaller_where_blocks_have_nothing_to_adapt(tmp_path: Path) -> None:
    """A ResNet has no linear layers; what hangs on the size of its pictures is traced with the new one."""
    data = picture_runs.data_for("image-classification", tmp_path / "pictures", 24)
    folder = picture_runs.classifier_folder(tmp_path / "resnet", "resnet")
    recipe = picture_runs.write_recipe(tmp_path, "image-classification", folder, data, "{size: 512}")
    prepared, plan = planned(recipe, 1)
    options = options_of(prepared, plan)
    assert any("LoRA" in one["what"] for one in by_kind(options, "refused"))
    smaller = [one for one in options if "options.size" in one["patch"]]
    assert [one["patch"]["options.size"] for one in smaller] == [256]
    file = write_patched(prepared.source, smaller[0]["patch"])
    again = planned_with(file, smaller[0]["patch"].get("batch.micro", plan.micro))
    assert again.memory is not None
    assert again.memory.resident == pytest.approx(smaller[0]["resident_bytes"], rel=5e-3)


def test_the_tasks_own_stages_are_written_out(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("stages:\n  - {train: all, epochs: 1, lr: 1.0e-4}   # one stage\n", "")
    recipe.write_text(text, encoding="utf-8")
    prepared, plan = planned(recipe, 1)
    found = next(one for one in options_of(prepared, plan) if "adapter.kind" in one["patch"])
    assert found["patch"]["stages"] == [{"train": "adapter", "epochs": 3.0, "lr": 2e-05}]
    file = write_patched(prepared.source, found["patch"])
    assert "stages:\n  - {train: adapter, epochs: 3.0, lr: 2.0e-05}\n" in file.read_text()


def test_what_is_no_setting_is_told_for_a_gpu(recipe: Path) -> None:
    small = Device("small", 2**30 + 140 * MB, 1e11, {"fp32": 1e13, "fp16": 1e13})
    prepared, plan = planned(recipe, None, target=small)
    options = options_of(prepared, plan)
    others = by_kind(options, "elsewhere")
    assert [one["what"].split()[0] for one in others] == ["sharded", "optimizer", "a"]
    assert all(one["patch"] == {} for one in others)
    assert plan.memory is not None
    assert others[1]["saves_bytes"] == plan.memory.optimizer
    assert find_device(others[2]["what"].split()[4].rstrip(",")).usable_bytes >= plan.memory.resident
    # It has no units for bf16.
    assert {"engine.precision": "bf16"} not in offered(prepared, plan)
    with pytest.raises(UserError, match="nothing that a recipe can set"):
        chosen(prepared.source, options, options.index(others[0]) + 1)


def test_bf16_where_the_device_has_it(recipe: Path) -> None:
    prepared, plan = planned(recipe, 1, target=Device("new", 2**31, 1e11, {"fp32": 1e13, "bf16": 1e14}))
    assert plan.precision == "fp32"
    assert {"engine.precision": "bf16"} in offered(prepared, plan)


def offered(prepared: Prepared, plan: Plan) -> list[dict[str, Any]]:
    """Every change that is tried first, whether it helps or not."""
    assert plan.memory is not None
    here = Here(Replanner(prepared, plan), {}, plan.memory, plan.target)
    return [dict(change.patch) for step in STEPS for change in step(here)]


@pytest.mark.parametrize("overrides", [(), ("run.seed=4", "batch.eval_rows=8")])
def test_the_copy_keeps_the_text_and_fits(recipe: Path, overrides: tuple[str, ...]) -> None:
    prepared, plan = planned(recipe, None, *overrides)
    assert plan.memory is not None
    room = resident(recipe, *LORA, *overrides) + MB
    one = chosen(prepared.source, options_of(prepared, plan, room=room))
    file = write_patched(prepared.source, one["patch"], overrides=overrides)
    assert file == recipe.with_name("recipe.fits.yaml")
    text = file.read_text()
    for said in ("# A small decoder, all of it.", "# random weights", "# one stage", "# as it came"):
        assert said in text
    assert text.startswith("# Changed by `tunesmith plan --apply` from recipe.yaml")
    found = read_recipe(file)
    assert found.recipe == patched(read_recipe(recipe, overrides), one["patch"]).recipe
    again = make_plan(prepare(found), room=room)
    assert again.fits
    assert again.memory is not None
    assert again.memory.resident <= room < plan.memory.resident
    # Its own copies may be replaced; a recipe of a person's may not.
    assert write_patched(prepared.source, one["patch"], overrides=overrides) == file


def test_a_resolved_recipe_keeps_where_its_values_came_from(recipe: Path) -> None:
    source = read_recipe(recipe)
    whole = recipe.with_name("resolved.yaml")
    whole.write_text(resolved_yaml(source.recipe, source.origins), encoding="utf-8")
    found = read_recipe(write_patched(read_recipe(whole), {"batch.micro": 1, "optimizer.name": "adamw-8bit"}))
    assert found.recipe == patched(source, {"batch.micro": 1, "optimizer.name": "adamw-8bit"}).recipe
    assert found.origins["engine.workers"] == "default"
    assert found.origins["optimizer.name"] == "recipe"


def test_where_a_copy_cannot_go(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_recipe(recipe)
    monkeypatch.chdir(tmp_path.parent)
    for out, said in [
        (recipe, "was not written by --apply"),
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "copy.yaml", "no such folder"),
        (tmp_path.parent / "copy.yaml", "found beside the recipe"),
    ]:
        with pytest.raises(UserError, match=said):
            write_patched(source, {"batch.micro": 1}, out=out)
    assert recipe.read_text() == RECIPE.format(model=source.recipe.model.name)


@pytest.fixture
def plan_verb(monkeypatch: pytest.MonkeyPatch, recipe: Path) -> Callable[..., int]:
    """``tunesmith plan`` on a machine with so much room."""
    monkeypatch.chdir(recipe.parent)

    def run(room: int, *overrides: str, **options: Any) -> int:
        monkeypatch.setattr("tunesmith.plan.available_bytes", lambda: round(room / 0.8))
        return planning.plan(recipe, list(overrides), **options)

    return run


def test_the_verb_writes_what_fits(
    plan_verb: Callable[..., int], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = resident(recipe, "batch.micro=2") + MB
    assert plan_verb(room) == EXIT_FINDINGS
    said = capsys.readouterr()
    assert "batch.micro=2" in said.out
    assert "--apply" in said.err
    copy = recipe.with_name("recipe.fits.yaml")
    assert not copy.exists()
    assert plan_verb(room, apply=True) == EXIT_DONE
    assert "batch.micro=2" in capsys.readouterr().err
    assert read_recipe(copy).recipe.batch.micro == 2
    assert "  micro: 2   # as it came\n" in copy.read_text()
    assert plan_verb(room, option=1, out=recipe.with_name("mine.yaml"), as_json=True) == EXIT_DONE
    out = json.loads(capsys.readouterr().out)
    assert out["options"][0]["patch"] == {"batch.micro": 2}
    assert not out["memory"]["fits"]
    assert recipe.with_name("mine.yaml").exists()


def test_the_verb_on_what_fits_already(
    plan_verb: Callable[..., int], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_verb(10**12, apply=True) == EXIT_DONE
    assert "fits as it is: nothing was written" in capsys.readouterr().err
    assert list(recipe.parent.glob("*.yaml")) == [recipe]


def test_the_verb_on_what_fits_nowhere(
    plan_verb: Callable[..., int], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wish in ({}, {"apply": True}):
        with pytest.raises(UserError, match="nothing makes this recipe fit") as caught:
            plan_verb(MB, **wish)
        assert caught.value.code == 2
        assert "still needs" in caught.value.what
        assert "gradient checkpointing" in capsys.readouterr().out
    assert list(recipe.parent.glob("*.yaml")) == [recipe]
    with pytest.raises(UserError, match="lists"):
        plan_verb(MB, option=99)


def test_where_nothing_can_be_changed(recipe: Path) -> None:
    fault = fits_nowhere(read_recipe(recipe), [], MB)
    assert "there is nothing to change" in fault.what
    assert ladder.least_resident([]) is None
