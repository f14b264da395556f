"""Every recipe that we give out reads, is checked whole, plans and trains, at small size."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.fixtures import small_pipelines, sounds
from tunesmith.errors import UserError
from tunesmith.machine import cache_folder
from tunesmith.model.starter import PREFIX, locate
from tunesmith.plan import make_plan
from tunesmith.prepare import prepare
from tunesmith.recipe import Source, read_recipe
from tunesmith.tune import fine_tune

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
ROWS = 160
SMALL = {
    "causal-lm": ["data.limit=14", "options.shots=[1]", "options.max_new_tokens=8", "options.forgetting=null"],
    "text-to-image": ["options.steps=3", "options.samples={rows: 1}"],
}
"""What makes a task's recipe small beside fewer epochs, where fewer rows are not enough."""
SIDES = {"image-classification": 64, "object-detection": 96, "image-segmentation": 64}


def pictures(source: Source, folder: Path) -> list[str]:
    """Drawn pictures in place of those that a script builds, as settings; nothing for tasks without pictures."""
    task = source.recipe.task
    if task not in SIDES:
        return []
    spec = spec_from_file_location("pictures", ROOT / "tests" / "fixtures" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = sys.modules["pictures"] = module_from_spec(spec)
    spec.loader.exec_module(drawn)
    side, places = SIDES[task], {"train": folder / "train", "eval": folder / "eval"}
    for seed, place in enumerate(places.values()):
        if task == "image-classification":
            drawn.image_folder(place, per_class=20 if not seed else 4, size=side, seed=seed)
        elif task == "object-detection":
            drawn.coco(place, count=16 if not seed else 6, size=(side, side), seed=seed)
        else:
            drawn.mask_folder(place, count=16 if not seed else 6, size=(side, side), seed=seed)
    codes = ("few-rows", "near-picture-leak", "repeated-picture", "picture-leak")
    accepted = ", ".join(f"{code}: drawn" for code in codes)
    return [
        *(f"data.{name}={place}" for name, place in places.items()),
        f"options.size={side}",
        f"audit.accept={{{accepted}}}",
    ]


def recordings(source: Source, folder: Path) -> list[str]:
    """Drawn speech in place of what a script fetches, as settings; nothing for tasks without sound."""
    if not source.recipe.task.startswith("speech"):
        return []
    for side, count, seed in (("train", 10, 0), ("eval", 4, 1)):
        sounds.audio_folder(folder / "sounds" / side, count, name="metadata.jsonl", seed=seed)
    codes = ("few-rows", "near-audio-leak", "noisy", "narrow-band", "speaking-rate")
    return [
        *(f"data.{side}={folder / 'sounds' / side}" for side in ("train", "eval")),
        f"audit.accept={{{', '.join(f'{code}: drawn' for code in codes)}}}",
    ]


def pipelines(source: Source, folder: Path) -> list[str]:
    """A small random pipeline in place of the one that a script trains, as settings; nothing for other tasks."""
    if source.recipe.task != "text-to-image":
        return []
    place = folder / "pipeline"
    if not place.is_dir():
        small_pipelines.clip_folder(small_pipelines.write(place, "sd") / "clip")
    return [f"model.name={place}", f"options.text_scorer={place / 'clip'}"]


def need_weights(source: Source) -> None:
    """Skip, with the reason, where a starter's package is not installed; in CI that is an error."""
    if not source.recipe.model.name.startswith(PREFIX):
        return
    try:
        locate(source.recipe.model.name)
    except UserError as fault:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"{fault.what}: {fault.fix}")


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Converted weights are those of this machine: to convert them anew for each recipe would take longer than the rest.
    starters = cache_folder("starter")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "starter").symlink_to(starters)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))


def test_there_are_recipes_and_each_says_how_it_is_run() -> None:
    assert RECIPES
    for path in RECIPES:
        assert f"tunesmith train recipes/{path.name}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_plans_as_it_stands(path: Path, tmp_path: Path) -> None:
    source = read_recipe(path.relative_to(ROOT))
    need_weights(source)
    if drawn := [*pictures(source, tmp_path), *recordings(source, tmp_path), *pipelines(source, tmp_path)]:
        source = read_recipe(path.relative_to(ROOT), drawn)
    prepared = prepare(source)
    assert prepared.errors() == []
    plan = make_plan(prepared)
    assert len(plan.stages) == len(plan.resolved) > 0
    assert all(stage["steps"] > 0 and stage["trainable"] > 0 for stage in plan.stages)
    assert plan.memory is not None
    assert plan.memory.resident > 10**6


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_at_small_size(path: Path, tmp_path: Path) -> None:
    written = read_recipe(path.relative_to(ROOT))
    need_weights(written)
    few = [f"stages.{i}.epochs=1" for i in range(len(written.recipe.stages or ()))]
    smaller = SMALL.get(written.recipe.task, [f"data.limit={ROWS}"]) + pictures(written, tmp_path)
    smaller += recordings(written, tmp_path) + pipelines(written, tmp_path)
    run = fine_tune(path.relative_to(ROOT), [f"run.folder={tmp_path}", *smaller, *few])
    scores, receipts = run.read_json("scores.json"), run.read_json("receipts.json")
    assert 0 < scores["rows"] < ROWS / 2
    assert scores["rows"] == len((run.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    assert [stage["name"] for stage in scores["stages"]] == [s["name"] for s in run.read_json("plan.json")["stages"]]
    # Memory is predicted for the real size: at this one the process itself is most of what is measured.
    assert [r["promise"] for r in receipts if not r["holds"] and "memory" not in r["promise"]] == []
    assert run.report.stat().st_size > 10_000
    assert run.card.is_file()
