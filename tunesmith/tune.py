"""The whole journey: recipe, rows, plan, base, stages, saved model, proof, report. The verb behind ``tunesmith train``.

It reads as the story of a run; every chapter is told elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Interrupted, UserError
from tunesmith.evaluate import strongest_base
from tunesmith.journey import Hooks, Journey, frozen_digests, loop_of, make_further, predicted, probed
from tunesmith.machine import PeakSampler, pick_device, pick_precision
from tunesmith.plan import loader_of, make_plan
from tunesmith.prepare import Progress, Rows, prepare
from tunesmith.prove import finish, write_pages
from tunesmith.recipe import Source, read_recipe
from tunesmith.record import check_same_data, check_same_recipe, rewind_events, sweep_drafts, write_beginnings
from tunesmith.registry import find_task
from tunesmith.run import Run, Status, refusal

if TYPE_CHECKING:
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.signals import StopRequest
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
    engine = _early_engine(source)
    main = engine is None or engine.main
    try:
        with ExitStack() as held:
            done = False
            if main:
                with _told(engine):
                    run, done = _take(folder, source, fresh, hooks, held)
            if engine is not None:
                done = _hear(engine, done)
            if not main:
                run = Run.open(folder)
            if not done:
                _kept(run, main, lambda: _tune(run, source, rows, held_out, hooks, engine))
    finally:
        if engine is not None:
            engine.close()
    return run


def run_folder(source: Source) -> Path:
    """Where the run of a recipe lies."""
    settings = source.recipe.run
    return Path(settings.folder) / (settings.name or source.path.stem)


def _early_engine(source: Source) -> LocalEngine | None:
    """With several processes, the engine comes first: only one of them may open the run, and the others must know."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from tunesmith.train.engine import LocalEngine

    device = pick_device(source.recipe.engine.device)
    low = find_task(source.recipe.task, source.where("task")).low_precision
    return LocalEngine(device, pick_precision(source.recipe.engine.precision, device, low=low)[0])


@contextmanager
def _told(engine: LocalEngine | None) -> Iterator[None]:
    """Let the other processes hear why the main one does not begin, or they would wait for it."""
    try:
        yield
    except UserError as fault:
        if engine is not None:
            engine.gather([fault.what])
        raise


def _hear(engine: LocalEngine, done: bool) -> bool:
    heard = engine.gather([done])[0][0]
    if isinstance(heard, str):
        raise UserError(f"the main process could not begin: {heard}")
    return bool(heard)


def _take(folder: Path, source: Source, fresh: bool, hooks: Hooks, held: ExitStack) -> tuple[Run, bool]:
    """Open the run's folder for this process alone; the run, and whether it is finished already."""
    if fresh:
        _put_aside(folder, hooks)
    run = Run.open(folder, create=True)
    held.enter_context(run.lock())
    check_same_recipe(run, source)
    done = run.state.exists() and run.read_json("state.json").get("status") == "finished"
    if done:
        hooks.say(f"{folder} is finished already; --fresh starts anew")
        sweep_drafts(run)
        if not (run.report.exists() and run.card.exists()):
            write_pages(run)
    return run, done


def _put_aside(folder: Path, hooks: Hooks) -> None:
    if not folder.exists():
        return
    number = 1
    while (other := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    with Run.open(folder).lock():
        folder.rename(other)
    hooks.say(f"the earlier run now lies in {other}")


def _kept(run: Run, main: bool, work: Callable[[], None]) -> None:
    """Do the work of a run, and keep how it ended in ``state.json``."""

    def state(status: Status, message: str = "") -> None:
        if main:
            # The fault that ends the run counts; on a full disk its note may not find room beside it.
            with suppress(UserError):
                run.set_state(status, message)

    if main:
        sweep_drafts(run)
        run.set_state("running")
    try:
        work()
    except Interrupted as stop:
        state("interrupted", stop.what)
        raise
    except KeyboardInterrupt:
        state("interrupted", "stopped at once by a second Ctrl-C")
        raise
    except UserError as fault:
        state("failed", fault.what)
        raise
    except Exception as fault:
        state("failed", f"{type(fault).__name__}: {fault}")
        refused = _full_disk(fault, run)
        if refused is None:
            raise
        raise refused from fault
    finally:
        run.close()


def _full_disk(fault: Exception, run: Run) -> UserError | None:
    from tunesmith.train.checkpoint import FULL, write_fault

    refused = write_fault(fault)
    if refused is None or refused.errno not in FULL:
        return None
    return refusal(refused, Path(refused.filename) if isinstance(refused.filename, str) else run.folder)


def _tune(
    run: Run, source: Source, rows: Rows | None, held_out: Rows | None, hooks: Hooks, early: LocalEngine | None
) -> None:
    from tunesmith.train.signals import StopRequest

    started = time.monotonic()
    with StopRequest() as stop:
        hooks = replace(hooks, progress=_stoppable(hooks.progress, stop, run.folder))
        prepared = prepare(source, rows=rows, held_out=held_out, say=hooks.say, progress=hooks.progress)
        check_same_data(run, prepared)
        main = early is None or early.main
        if main:
            run.write_json("audit.json", prepared.audit_json())
        for finding in (f for f in prepared.findings if f.level != "error"):
            hooks.say(f"{finding.level}: {finding.code}: {finding.what}")
        prepared.raise_errors()
        plan = make_plan(prepared, world=early.world if early is not None else 1)
        if main:
            write_beginnings(run, source, prepared, plan)
        for decision in plan.decisions:
            hooks.say(f"{decision['what']}: {decision['value']} ({decision['reason']})")
        from tunesmith.train.engine import LocalEngine

        engine = early or LocalEngine(plan.device, plan.precision)
        try:
            _travel(Journey(run, prepared, plan, engine, hooks), stop, started)
        finally:
            engine.close()


def _travel(journey: Journey, stop: StopRequest, started: float) -> None:
    run, engine, recipe = journey.run, journey.engine, journey.recipe
    file = journey.prepared.source.path.name
    engine.track(recipe.run.track, run.folder.name, run.folder / "tracking", {"recipe": file})
    if engine.main:
        for sheet in journey.prepared.task.write_previews(journey.prepared.train, run.folder):
            journey.hooks.say(f"what the model will see: {sheet}")
    with PeakSampler() as memory, journey.hooks.around():
        if journey.prepared.further:
            make_further(journey.prepared, engine, journey.hooks.progress)
        _load(journey, stop)
        _score_base(journey)
        _fit(journey)
    if engine.main:
        measured = {"peak_bytes": memory.peak_bytes, "baseline_bytes": memory.start_bytes}
        finish(journey, measured, started)


def _stoppable(progress: Progress, stop: StopRequest, folder: Path) -> Progress:
    """Progress at which a run that was asked to stop does so."""

    def told(what: str, done: int, total: int) -> None:
        progress(what, done, total)
        if stop.asked is not None:
            from tunesmith.train.signals import stopped

            raise stopped(stop.asked, folder)

    return told


def _load(journey: Journey, stop: StopRequest) -> None:
    """Load the model, and put together what the loop needs."""
    journey.loop = loop_of(
        journey.prepared,
        journey.plan,
        stop,
        engine=journey.engine,
        checkpoints=journey.run.checkpoints,
        watchers=_watchers(journey),
        watch_held_out=journey.hooks.watch_held_out,
        progress=journey.hooks.progress,
        emit=_emitter(journey),
    )
    journey.job = journey.loop.job
    if journey.prepared.task.reference_width:
        from tunesmith.train.reference import record_references

        job, rows = journey.job, journey.recipe.batch.eval_rows
        job.model.to(journey.engine.device)
        record_references(
            job.task, job.layers, job.sets, job.engine, job.precision, rows, journey.hooks.progress, job.watched
        )
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
        metric, higher = task.validation_metric
        watchers.append(Plateau(patience, higher, metric))
    own = [journey.hooks.watcher] if journey.hooks.watcher else []
    return [*watchers, *own, *journey.hooks.watchers(journey)]


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
        journey.shown, journey.probed = lines[0]["shown"], lines[0]["probed"]
        return
    journey.job.model.to(journey.engine.device)

    def on_rows(predict: Any, rows: Sequence[Any]) -> list[Any]:
        return predicted(journey, predict, loader_of(journey.prepared, rows), "scoring the base")

    name, predict, all_bases = strongest_base(task, journey.job.model, journey.prepared.train, on_rows)
    journey.base_name = name
    journey.base = predicted(journey, predict, journey.job.sets["held_out"], "scoring the base")
    journey.shown = {name: task.score(journey.base, journey.prepared.held_out)[task.goal]}
    candidates = task.bases(journey.job.model, journey.prepared.train)
    for other in _others(name, all_bases, task.higher_is_better) if not task.one_pass else ():
        found = predicted(journey, candidates[other], journey.job.sets["held_out"], f"scoring the base, {other}")
        journey.shown[other] = task.score(found, journey.prepared.held_out)[task.goal]
    journey.probed = probed(journey, task, journey.job.model)
    others = ", ".join(f"{n} {value:.4f}" for n, value in all_bases.items())
    chosen = f", the strongest without training by {task.goal} on training rows ({others})" if others else ""
    hooks.say(f"base: {name}{chosen}")
    if journey.engine.main:
        about = {"base_name": name, "candidates": all_bases, "shown": journey.shown, "probed": journey.probed}
        records = [about, *({"prediction": p} for p in journey.base)]
        run.write_text(BASE_FILE, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def _others(chosen: str, scores: Mapping[str, float], higher: bool) -> list[str]:
    """What is shown beside the base: the first candidate; where that is the base itself, the best of the rest."""
    if not scores:
        return []
    first, *rest = scores
    if chosen != first:
        return [first]
    return [max(reversed(rest), key=lambda name: scores[name] if higher else -scores[name])] if rest else []


def _fit(journey: Journey) -> None:
    """Run the stages, from the newest whole checkpoint if there is one."""
    from tunesmith.train.checkpoint import newest_checkpoint, remove_newer, sweep

    root, engine = journey.run.checkpoints, journey.engine
    if engine.main:
        sweep(root)
    engine.wait()
    found, problems = newest_checkpoint(root)
    engine.wait()
    if engine.main:
        remove_newer(root, found)
        count = rewind_events(journey.run, found.state["events"] if found else 0)
        if found is not None:
            found.state["events"] = count
    if found is not None:
        journey.loop.resume(found)
        problems += _changes(journey, found.state)
    for problem in problems:
        journey.loop.emit({"kind": "warning", "text": problem})
        if journey.hooks.watcher is None:
            journey.hooks.say(f"warning: {problem}")
    journey.loop.fit()


def _changes(journey: Journey, state: Mapping[str, Any]) -> list[str]:
    from tunesmith.train.saving import surroundings

    return [
        f"the run began with {what} {state[what]} and goes on with {now}: equal to rounding, not bit for bit"
        for what, now in surroundings(journey.loop).items()
        if state[what] != now
    ]
