"""The whole journey: recipe, rows, plan, base, stages, saved model, proof, report. The verb behind ``tunesmith train``.

It reads as the story of a run; every chapter is told elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Interrupted, UserError
from tunesmith.evaluate import strongest_base
from tunesmith.journey import Hooks, Journey, frozen_digests, loop_of, predicted
from tunesmith.machine import PeakSampler
from tunesmith.plan import loader_of, make_plan
from tunesmith.prepare import Rows, prepare
from tunesmith.prove import finish
from tunesmith.recipe import Source, read_recipe
from tunesmith.record import check_same_data, check_same_recipe, write_beginnings
from tunesmith.run import Run

if TYPE_CHECKING:
    from tunesmith.train.watch import Watcher

BASE_FILE = "base.jsonl"


def fine_tune(
    recipe: str | Path | Source,
    overrides: Sequence[str] = (),
    *,
    rows: Rows | None = None,
    held_out: Rows | None = None,
    fresh: bool = False,
    hooks: Hooks | None = None,
) -> Run:
    """Fine-tune by a recipe, or go on where an interrupted run of it stopped.

    Args:
        recipe: A recipe's path, or a recipe that was read.
        overrides: ``key=value`` settings that win over the file.
        rows, held_out: Rows in place of the recipe's sources.
        fresh: Put aside what an earlier run of this name left, and start anew.
        hooks: How to speak to a person.

    Returns:
        The finished run.

    Raises:
        UserError: Something that a person can mend; what was done is saved.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on from there.
    """
    hooks = hooks or Hooks()
    source = recipe if isinstance(recipe, Source) else read_recipe(recipe, overrides)
    folder = run_folder(source)
    if fresh and int(os.environ.get("RANK", "0")) == 0:
        _put_aside(folder, hooks)
    main = int(os.environ.get("RANK", "0")) == 0
    run = Run.open(folder, create=True)
    with run.lock() if main else nullcontext():
        check_same_recipe(run, source)
        if _finished(run):
            hooks.say(f"{folder} is finished already; --fresh starts anew")
            return run
        try:
            run.set_state("running")
            _tune(run, source, rows, held_out, hooks)
        except Interrupted as stop:
            run.set_state("interrupted", str(stop.what))
            raise
        except KeyboardInterrupt:
            run.set_state("interrupted", "stopped at once by a second Ctrl-C")
            raise
        except UserError as fault:
            run.set_state("failed", fault.what)
            raise
        finally:
            run.close()
    return run


def run_folder(source: Source) -> Path:
    """Where the run of a recipe lies."""
    settings = source.recipe.run
    return Path(settings.folder) / (settings.name or source.path.stem)


def _put_aside(folder: Path, hooks: Hooks) -> None:
    if not folder.exists():
        return
    number = 1
    while (other := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    folder.rename(other)
    hooks.say(f"the earlier run now lies in {other}")


def _finished(run: Run) -> bool:
    return run.state.exists() and run.read_json("state.json").get("status") == "finished"


def _tune(run: Run, source: Source, rows: Rows | None, held_out: Rows | None, hooks: Hooks) -> None:
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.signals import StopRequest

    started = time.monotonic()
    prepared = prepare(source, rows=rows, held_out=held_out, say=hooks.say, progress=hooks.progress)
    check_same_data(run, prepared)
    run.write_json("audit.json", prepared.audit_json())
    for finding in prepared.findings:
        hooks.say(f"{finding.level}: {finding.code}: {finding.what}")
    prepared.raise_errors()
    plan = make_plan(prepared, world=int(os.environ.get("WORLD_SIZE", "1")))
    engine = LocalEngine(plan.device, plan.precision)
    if engine.main:
        write_beginnings(run, source, prepared, plan)
    for decision in plan.decisions:
        hooks.say(f"{decision['what']}: {decision['value']} ({decision['reason']})")
    engine.track(source.recipe.run.track, run.folder.name, run.folder / "tracking", {"recipe": source.path.name})
    journey = Journey(run, prepared, plan, engine, hooks)
    try:
        with StopRequest() as stop, PeakSampler() as memory, hooks.around():
            _load(journey, stop)
            _score_base(journey)
            _fit(journey)
        if engine.main:
            measured = {"peak_bytes": memory.peak_bytes, "baseline_bytes": memory.start_bytes}
            finish(journey, measured, started)
    finally:
        engine.close()


def _load(journey: Journey, stop: Any) -> None:
    """Load the model, and put together what the loop needs."""
    journey.loop = loop_of(
        journey.prepared,
        journey.plan,
        stop,
        engine=journey.engine,
        checkpoints=journey.run.checkpoints,
        watchers=_watchers(journey),
        progress=journey.hooks.progress,
        emit=_emitter(journey),
    )
    journey.job = journey.loop.job
    journey.digests = frozen_digests(journey, journey.job.layers)
    if journey.engine.main:
        model = journey.job.model
        known = journey.run.read_json("environment.json")
        known["base"] |= {"class": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
        journey.run.write_json("environment.json", known)


def _watchers(journey: Journey) -> list[Watcher]:
    from tunesmith.train.watch import Explosion, Plateau

    task = journey.prepared.task
    patience = [stage.patience for stage in journey.plan.resolved]
    watchers: list[Watcher] = [Explosion()]
    if any(patience):
        watchers.append(Plateau(patience, task.higher_is_better, task.goal))
    return [*watchers, journey.hooks.watcher] if journey.hooks.watcher else watchers


def _emitter(journey: Journey) -> Callable[[dict[str, Any]], None]:
    from tunesmith.train.find_lr import draw

    run, engine = journey.run, journey.engine

    def emit(event: dict[str, Any]) -> None:
        run.append_event(event)
        if event["kind"] == "lr-finder":
            run.write_text(f"lr-stage-{event['stage']}.svg", draw(event["rates"], event["losses"], event["picked"]))
        numbers = {"loss": event.get("loss"), "norm": event.get("norm"), **event.get("scores", {})}
        numbers |= {f"lr/{group}": rate for group, rate in event.get("lr", {}).items()}
        if event["kind"] in ("step", "eval"):
            engine.log({k: float(v) for k, v in numbers.items() if v is not None}, event["step"])

    return emit


def _score_base(journey: Journey) -> None:
    """Score what one has without training; a resumed run reads it back."""
    run, task, hooks = journey.run, journey.prepared.task, journey.hooks
    file = run.folder / BASE_FILE
    if file.exists():
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        journey.base_name, journey.base = lines[0]["base_name"], [line["prediction"] for line in lines[1:]]
        return
    journey.job.model.to(journey.engine.device)

    def on_rows(predict: Any, rows: Sequence[Any]) -> list[Any]:
        return predicted(journey, predict, loader_of(journey.prepared, rows), "scoring the base")

    name, predict, all_bases = strongest_base(task, journey.job.model, journey.prepared.train, on_rows)
    journey.base_name = name
    journey.base = predicted(journey, predict, journey.job.sets["held_out"], "scoring the base")
    others = ", ".join(f"{n} {value:.4f}" for n, value in all_bases.items())
    hooks.say(f"base: {name}, the strongest without training by {task.goal} on training rows ({others})")
    if journey.engine.main:
        records = [{"base_name": name, "candidates": all_bases}, *({"prediction": p} for p in journey.base)]
        run.write_text(BASE_FILE, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def _fit(journey: Journey) -> None:
    """Run the stages, from the newest whole checkpoint if there is one."""
    from tunesmith.train.checkpoint import newest_checkpoint

    found, problems = newest_checkpoint(journey.run.checkpoints)
    for problem in problems:
        journey.hooks.say(f"warning: {problem}")
    if journey.engine.main:
        journey.run.truncate_events(found.state["position"]["step"] if found else 0)
    if found is not None:
        journey.loop.resume(found)
        _say_changed_threads(journey, found.state)
    for problem in problems:
        journey.loop.emit({"kind": "warning", "text": problem})
    journey.loop.fit()


def _say_changed_threads(journey: Journey, state: Mapping[str, Any]) -> None:
    import torch

    for what, now in (("threads", torch.get_num_threads()), ("world", journey.engine.world)):
        if state[what] != now:
            journey.hooks.say(
                f"warning: the run began with {what} {state[what]} and goes on with {now}: "
                "equal to rounding, not bit for bit"
            )
