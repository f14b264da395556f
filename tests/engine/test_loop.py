"""What stops a run and what leaves no trace: numbers that are not finite, explosions, rehearsal, lack of memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.engine.conftest import World, end_of, events_of, make_rows, user_error
from tests.engine.test_engine import loop_for, one_thread
from tunesmith.journey import Hooks
from tunesmith.run import Run
from tunesmith.tasks.text_classification import TextClassification
from tunesmith.train import loop as loop_module
from tunesmith.train.checkpoint import newest_checkpoint
from tunesmith.train.loop import Loop
from tunesmith.train.range_test import range_test
from tunesmith.train.rehearsal import rehearse
from tunesmith.train.step import Objective
from tunesmith.train.watch import Ask
from tunesmith.tune import fine_tune


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


HEAD_THEN_ALL = [{"train": "head", "steps": 5, "lr": 1e-2}, {"train": "all", "steps": 8, "lr": 1e-3}]


UNKNOWN = 1
"""Token of a word that the tokenizer does not have: the poison in the rows below."""


def bad_number(batch: Any, bad: float, good: float) -> Tensor:
    """``bad`` for a batch with poison in it, else ``good``; on the meta device, too."""
    poison = (batch["input_ids"] == UNKNOWN).any()
    return torch.where(poison, torch.full_like(poison, bad, dtype=torch.float32), good)


class Poisoned(TextClassification):
    """Text classification with rows in it whose loss is not a number."""

    def loss(self, model: torch.nn.Module, batch: Any) -> dict[str, Tensor]:
        return {k: v * bad_number(batch, float("nan"), 1.0) for k, v in super().loss(model, batch).items()}


class Shifted(TextClassification):
    """The same with an infinite loss, whose gradient is finite."""

    def loss(self, model: torch.nn.Module, batch: Any) -> dict[str, Tensor]:
        return {k: v + bad_number(batch, float("inf"), 0.0) for k, v in super().loss(model, batch).items()}


def poisoned(world: World, monkeypatch: pytest.MonkeyPatch, kind: type[TextClassification]) -> dict[str, Any]:
    monkeypatch.setattr("tunesmith.prepare.find_task", lambda *_: kind)
    rows = make_rows(120)
    sections: dict[str, Any] = {"stages": [{"train": "head", "steps": 20, "lr": 1e-2}], "cache": {"use": "off"}}
    loop = loop_for(world, **sections)
    bad = loop.job.sets["train"].rows[loop.order(0)[4][0]]["id"]
    # One word for another, so that the row keeps its length and its place: the fifth step.
    for row in rows:
        if row["id"] == bad:
            row["text"] = "poison" + row["text"][row["text"].index(" ") :]
    recipe = world.recipe("bad", run={"name": "bad", "checkpoint_steps": 1}, **sections)
    return {"recipe": recipe, "rows": rows}


def test_a_loss_that_is_not_finite(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with the step, its rows and the last checkpoint; the bad step touched nothing."""
    order = poisoned(world, monkeypatch, Poisoned)
    said = user_error(**order)
    run = world.runs / "bad"
    assert said.what.startswith("the loss is not finite at step ")
    assert "the step was not applied" in said.what
    step = int(said.what.split("at step ")[1].split()[0])
    found, _ = newest_checkpoint(run / "checkpoints")
    assert found is not None
    assert found.state["position"]["step"] == step - 1
    assert str(found.folder) in said.where
    named = said.where.split("rows ")[1].split(";")[0].split(", ")
    assert step == 5
    assert len(named) == 8
    texts = {row["id"]: row["text"] for row in order["rows"]}
    assert "poison" in texts[named[0]]
    assert json.loads((run / "state.json").read_text())["status"] == "failed"
    assert [e["step"] for e in events_of(run) if e["kind"] == "step"] == list(range(1, step))
    weights = found.tensors("weights") | found.tensors("optimizer")
    assert all(bool(t.isfinite().all()) for t in weights.values() if t.is_floating_point())


def test_an_infinite_loss_with_a_finite_gradient_is_not_applied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    order = poisoned(world, monkeypatch, Shifted)
    optimizer_steps: list[int] = []
    whole = torch.optim.AdamW.step

    def counted(self: torch.optim.AdamW, *args: Any) -> Any:
        optimizer_steps.append(1)
        return whole(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    said = user_error(**order)
    step = int(said.what.split("at step ")[1].split()[0])
    assert len(optimizer_steps) == step - 1


def test_an_exploding_loss_names_its_rows(world: World) -> None:
    stages = [{"train": "all", "steps": 60, "lr": 30.0, "schedule": "constant", "warmup": 30}]
    said = user_error(world.recipe(stages=stages, run={"name": "boom"}, optimizer={"clip": None, "name": "sgd"}))
    assert "exploded" in said.what or "not finite" in said.what
    assert "rows r" in said.where
    assert "last good checkpoint" in said.where


def test_rehearsal_leaves_no_trace(world: World) -> None:
    loop = loop_for(world, stages=HEAD_THEN_ALL)
    job = loop.job
    loop._enter(job.stages[1])
    job.model.register_buffer("seen", torch.zeros(1))
    handle = job.model.register_forward_hook(lambda module, *_: module.seen.add_(1) is None or None)
    before = {k: v.clone() for k, v in job.model.state_dict().items()}
    random = torch.get_rng_state()
    rehearse(loop, Objective(job.task, job.model))
    handle.remove()
    after = job.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for p in job.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert loop.optimizer is not None
    assert not loop.optimizer.state


def test_range_test_leaves_no_trace(world: World) -> None:
    loop = loop_for(world, stages=[{"train": "all", "steps": 8, "lr": "auto"}])
    job = loop.job
    learning = loop._enter(job.stages[0])
    before = {k: v.clone() for k, v in job.model.state_dict().items()}
    random = torch.get_rng_state()
    found = range_test(loop, Objective(job.task, job.model), learning)
    assert 1e-6 < found.picked < 1
    assert all(torch.equal(v, before[k]) for k, v in job.model.state_dict().items())
    assert all(p.grad is None for p in job.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert loop.optimizer is not None
    assert not loop.optimizer.state


def test_lack_of_memory_halves_the_micro_batch_aloud(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers stay the same to rounding, and a run that is resumed keeps the smaller micro-batch."""
    settings: dict[str, Any] = {"stages": HEAD_THEN_ALL, "cache": {"use": "off"}, "optimizer": {"name": "sgd"}}
    whole = fine_tune(world.recipe("whole", run={"name": "whole"}, **settings))
    real = TextClassification.loss
    sizes: list[int] = []

    def tight(self: TextClassification, model: torch.nn.Module, batch: Any) -> Any:
        if len(batch["label"]) > 2 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("simulated")
        sizes.append(len(batch["label"]))
        return real(self, model, batch)

    said: list[str] = []
    recipe = world.recipe("tight", run={"name": "tight", "checkpoint_steps": 1}, **settings)
    # The plan runs the loss on shapes alone; the memory runs out when it is real.
    monkeypatch.setattr("tunesmith.tune.make_plan", _planned_before(TextClassification, "loss", tight, monkeypatch))
    cut = fine_tune(recipe, hooks=Hooks(say=said.append))
    warnings = [e["text"] for e in events_of(cut.folder) if e["kind"] == "warning"]
    assert warnings[:2] == [
        "out of memory: the micro-batch is now 4 rows",
        "out of memory: the micro-batch is now 2 rows",
    ]
    assert max(sizes) <= 64
    one, two = end_of(whole.folder), end_of(cut.folder)
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-6)
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-5)
    found, _ = newest_checkpoint(cut.checkpoints)
    assert found is not None
    assert found.state["micro"] == 2


def _planned_before(owner: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tunesmith.plan import make_plan

    def planned(*args: Any, **kwargs: Any) -> Any:
        plan = make_plan(*args, **kwargs)
        monkeypatch.setattr(owner, name, value)
        return plan

    return planned


def test_not_even_one_row_fits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr("tunesmith.tune.make_plan", _planned_before(TextClassification, "loss", never, monkeypatch))
    said = user_error(world.recipe(stages=HEAD_THEN_ALL, cache={"use": "off"}))
    assert "not even one row fits in memory" in said.what
    assert "gradient_checkpointing" in said.fix


class Asking:
    """A watcher that asks for one thing at one step."""

    def __init__(self, kind: Any, step: int) -> None:
        self.kind, self.step = kind, step

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        due = event["kind"] == "step" and event["step"] == self.step
        return Ask(self.kind, "because") if due else None

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to remember."""


def asked(world: World, kind: str) -> Run:
    recipe = world.recipe(kind, stages=HEAD_THEN_ALL, run={"name": kind, "checkpoint_steps": 1000, "keep": 9})
    return fine_tune(recipe, hooks=Hooks(watcher=Asking(kind, 3)))


def test_a_watcher_is_given_what_it_asks_for(world: World) -> None:
    saved = asked(world, "save")
    steps = [int(f.name[-9:]) for f in sorted(saved.checkpoints.glob("step-*"))]
    assert steps == [3, 5, 13]
    judged = asked(world, "evaluate")
    evals = [e["step"] for e in events_of(judged.folder) if e["kind"] == "eval"]
    assert evals == [3, *(e["step"] for e in events_of(saved.folder) if e["kind"] == "eval")]
    ended = asked(world, "stop")
    ends = [e["step"] for e in events_of(ended.folder) if e["kind"] == "stage" and e["event"] == "end"]
    assert ends == [3, 11]


def test_what_went_wrong_outside_our_care_is_kept_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug of someone's")

    monkeypatch.setattr("tunesmith.tune.finish", broken)
    recipe = world.recipe(stages=HEAD_THEN_ALL, run={"name": "bug"})
    with pytest.raises(RuntimeError, match="a bug"):
        fine_tune(recipe)
    state = json.loads((world.runs / "bug" / "state.json").read_text())
    assert state["status"] == "failed"
    assert "a bug of someone's" in state["message"]
    monkeypatch.undo()
    monkeypatch.setenv("TUNESMITH_CACHE", str(world.root / "cache"))
    with one_thread():
        fine_tune(recipe)
    assert json.loads((world.runs / "bug" / "state.json").read_text())["status"] == "finished"


def test_the_best_weights_of_an_early_stage_come_back_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later stage that only makes it worse leaves nothing of itself in the model that is saved."""
    real = loop_module.evaluate

    def worse_later(loop: Loop, index: int, epoch: float) -> None:
        # The first stage's last score can't be beaten.
        if loop.at.best is not None and index > 0:
            loop.at.best["score"] = 2.0
        real(loop, index, epoch)

    monkeypatch.setattr(loop_module, "evaluate", worse_later)
    alone = fine_tune(world.recipe("alone", stages=HEAD_THEN_ALL[:1]))
    both = fine_tune(world.recipe("both", stages=HEAD_THEN_ALL))
    assert both.read_json("scores.json")["kept"]["stage"] == 0
    first, second = (load_file(run.model / "model.safetensors") for run in (alone, both))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("largest", [0, 1 << 40], ids=["a tensor above the bar", "none above it"])
def test_freed_memory_is_kept_where_a_step_has_large_tensors(
    world: World, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    from tunesmith.train import rehearsal

    kept: list[int] = []
    monkeypatch.setattr(rehearsal, "KEPT_ANYWAY", largest)
    monkeypatch.setattr(rehearsal, "keep_freed", lambda: kept.append(1))
    loop = loop_for(world, stages=HEAD_THEN_ALL)
    loop._enter(loop.job.stages[1])
    rehearse(loop, Objective(loop.job.task, loop.job.model))
    assert bool(kept) == (largest == 0)


def test_what_is_read_of_the_caches_file_is_not_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pages are planned as mapped: counted as tensors they broke the receipt of the rehearsed step."""
    from tunesmith.model.store import ActivationStore

    def held(name: str) -> int:
        run = fine_tune(world.recipe(name, run={"name": name}, stages=HEAD_THEN_ALL[:1], cache={"use": "on"}))
        (event,) = [e for e in run.read_events()[0] if e["kind"] == "rehearsal"]
        return int(event["peak_bytes"])

    apart = held("apart")
    monkeypatch.setattr(ActivationStore, "mapped", lambda _store: set())
    assert held("counted") > apart
