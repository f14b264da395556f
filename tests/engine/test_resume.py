"""SIGKILL at any moment, then the same command: the end is that of a run that was never killed, bit for bit."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from tests.engine.conftest import STAGES, World, assert_same_end, end_of, events_of

LORA = [{"train": "head", "epochs": 1, "lr": 1e-2}, {"train": "adapter", "epochs": 2, "lr": 5e-3}]
SHRINKING = [
    {"train": "all", "steps": 7, "lr": 1e-3},
    {"train": {"top": 1}, "steps": 8, "lr": 1e-3},
    {"train": "head", "steps": 6, "lr": 1e-2},
]
PLATEAU = [{"train": {"top": 1}, "epochs": 9, "lr": 1e-2, "patience": 1}, {"train": "all", "epochs": 1, "lr": 1e-3}]
AUTO = [{"train": "all", "epochs": 2, "lr": "auto"}, {"train": "head", "epochs": 1, "lr": 1e-3}]

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "average": {"optimizer": {"ema": 0.9}, "data": {"validation": 0.0}},
    "average, fewer groups stage by stage": {
        "optimizer": {"ema": 0.9, "name": "sgd"},
        "stages": SHRINKING,
        "data": {"validation": 0.0},
    },
    "best, fewer groups stage by stage": {"stages": SHRINKING, "optimizer": {"ema": 0.8}},
    "rate found": {"stages": AUTO},
    "plateau": {"stages": PLATEAU},
    "adapter": {"adapter": {"kind": "lora", "r": 4, "dropout": 0.1}, "stages": LORA},
    "recomputed, not cached, cut up": {
        "engine": {"gradient_checkpointing": True, "workers": 2},
        "cache": {"use": "off"},
        "batch": {"micro": 3},
    },
    "one checkpoint": {"run": {"keep": 1, "checkpoint_steps": 1}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again(world: World, kind: str) -> None:
    """Three kills at moments of every sort, each in the process that goes on after the one before."""
    recipe = world.recipe(**KINDS[kind])
    assert world.train(recipe, "run.name=whole", cache=world.root / "other")[0] == 0
    rng = random.Random(kind)
    deaths = [("file", rng.randint(28, 60)), ("line", rng.randint(8, 14)), ("step", rng.randint(6, 12))]
    killed = 0
    for moment in rng.sample(deaths, 3):
        code, said = world.train(recipe, "run.name=killed", die=moment)
        assert code in (0, -signal.SIGKILL), said
        killed += code != 0
    assert killed >= 2
    code, said = world.train(recipe, "run.name=killed")
    assert code == 0, said
    assert_same_end(world.runs / "whole", world.runs / "killed")
    assert sum(e["kind"] == "resume" for e in events_of(world.runs / "killed")) >= 1


MOMENTS = {
    "while the recipe is written": ("file", 13),
    "while activations are recorded": ("file", 36),
    "before the recording's index is in place": ("file", 37),
    "in the first checkpoint": ("file", 41),
    "before the first checkpoint's name": ("file", 43),
    "in the middle of a stage": ("step", 11),
    "on the first step of a stage": ("step", 21),
    "before a stage's last line": ("line", 24),
    "while rows are encoded": ("batch", 30),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, server: Any) -> World:
    """A world with a run that was never killed, and the list of what it did to files."""
    world = World(tmp_path_factory.mktemp("whole"), tiny_model, server)
    note = world.root / "note.txt"
    code, said = world.train(world.recipe(), "run.name=whole", die=("file", 0), note=str(note))
    assert code == 0, said
    return world


def kill_and_go_on(world: World, name: str, moment: tuple[str, int]) -> None:
    code, said = world.train(world.recipe(), f"run.name={name}", die=moment, cache=world.root / "cache" / name)
    assert code == -signal.SIGKILL, said
    code, said = world.train(world.recipe(), f"run.name={name}", cache=world.root / "cache" / name)
    assert code == 0, said
    assert_same_end(world.runs / "whole", world.runs / name)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment(whole: World, moment: str) -> None:
    kill_and_go_on(whole, f"at-{list(MOMENTS).index(moment)}", MOMENTS[moment])


@pytest.mark.parametrize("back", [1, 3, 7, 11, 16])
def test_killed_near_the_end(whole: World, back: int) -> None:
    """In the last checkpoints, the saving of the model, the scores, the receipts, the card and the report."""
    touched = [line for line in (whole.root / "note.txt").read_text().splitlines() if "/whole/" in line]
    kill_and_go_on(whole, f"back-{back}", ("own file", len(touched) - back + 1))


def test_a_kill_is_seen_in_the_weights(whole: World) -> None:
    """The comparison has teeth: another seed gives another end."""
    code, said = whole.train(whole.recipe(), "run.name=other", "run.seed=1")
    assert code == 0, said
    with pytest.raises(AssertionError):
        assert_same_end(whole.runs / "whole", whole.runs / "other")
    assert len(end_of(whole.runs / "whole")["steps"]) == len(STAGES) * 10 + 10
