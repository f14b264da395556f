"""The whole journey: recipe, rows, plan, base, stages, saved model, proof, report. The verb behind ``tunesmith train``.

It reads as the story of a run; every chapter is told elsewhere.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Interrupted, UserError
from tunesmith.evaluate import (
    cache_receipts,
    checkpoint_receipt,
    compare,
    data_receipt,
    frozen_receipt,
    memory_receipt,
    reload_receipt,
    strongest_base,
)
from tunesmith.machine import PeakSampler, describe, package_versions
from tunesmith.plan import Plan, loader_of, make_plan, with_adapter
from tunesmith.prepare import Prepared, Rows, prepare
from tunesmith.recipe import Recipe, Source, read_recipe, recipe_digest, resolved_yaml
from tunesmith.recipe.resolved import difference
from tunesmith.report import write_card, write_report
from tunesmith.run import Run
from tunesmith.types import Receipt

if TYPE_CHECKING:
    from torch import nn

    from tunesmith.data.loader import Loader
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.loop import Job, Loop
    from tunesmith.train.watch import Watcher

PACKAGES = ("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "numpy", "tunesmith")
BASE_FILE = "base.jsonl"


@dataclass
class Hooks:
    """How a run speaks to a person; all silent by default.

    Args:
        say: Receives lines.
        watcher: Sees the events (a progress bar).
        progress: Receives what is being done beside steps, how much is done, and of how much.
    """

    say: Callable[[str], None] = lambda _line: None
    watcher: Watcher | None = None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass
class _Journey:
    """What the chapters hand on to each other."""

    run: Run
    prepared: Prepared
    plan: Plan
    engine: LocalEngine
    hooks: Hooks
    job: Job = field(init=False)
    loop: Loop = field(init=False)
    base_name: str = ""
    base: list[Any] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.prepared.source.recipe


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
        _check_same_recipe(run, source)
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


def _check_same_recipe(run: Run, source: Source) -> None:
    if not run.recipe_json.exists():
        return
    stored = run.read_json("recipe.json")
    if stored["written_digest"] == recipe_digest(source.recipe):
        return
    before = Recipe.model_validate(stored["written"])
    lines = difference(before, source.recipe)
    shown = "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "")
    raise UserError(
        f"this run belongs to another recipe: {shown}",
        str(run.folder),
        "give this one a name of its own (run.name=...), or put the old run aside with --fresh",
    )


def _finished(run: Run) -> bool:
    return run.state.exists() and run.read_json("state.json").get("status") == "finished"


def _tune(run: Run, source: Source, rows: Rows | None, held_out: Rows | None, hooks: Hooks) -> None:
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.signals import StopRequest

    started = time.monotonic()
    prepared = prepare(source, rows=rows, held_out=held_out, say=hooks.say, progress=hooks.progress)
    _check_same_data(run, prepared)
    run.write_json("audit.json", prepared.audit_json())
    for finding in prepared.findings:
        hooks.say(f"{finding.level}: {finding.code}: {finding.what}")
    prepared.raise_errors()
    plan = make_plan(prepared, world=int(os.environ.get("WORLD_SIZE", "1")))
    engine = LocalEngine(plan.device, plan.precision)
    if engine.main:
        _write_beginnings(run, source, prepared, plan)
    for decision in plan.decisions:
        hooks.say(f"{decision['what']}: {decision['value']} ({decision['reason']})")
    engine.track(source.recipe.run.track, run.folder.name, run.folder / "tracking", {"recipe": source.path.name})
    journey = _Journey(run, prepared, plan, engine, hooks)
    try:
        with StopRequest() as stop, PeakSampler() as memory, hooks.around():
            _load(journey, stop)
            _score_base(journey)
            _fit(journey)
        if engine.main:
            measured = {"peak_bytes": memory.peak_bytes, "baseline_bytes": memory.start_bytes}
            _finish(journey, measured, started)
    finally:
        engine.close()


def _check_same_data(run: Run, prepared: Prepared) -> None:
    if not run.environment.exists():
        return
    stored = run.read_json("environment.json")["digests"]
    changed = [name for name, digest in prepared.digests.items() if stored.get(name) != digest]
    if changed:
        raise UserError(
            f"the {changed[0]} rows are not those that this run began with",
            str(run.folder),
            "put the old rows back to go on, or start anew with --fresh",
        )


def _write_beginnings(run: Run, source: Source, prepared: Prepared, plan: Plan) -> None:
    recipe = prepared.source.recipe
    origins = dict(prepared.source.origins)
    if not recipe.stages:
        recipe = recipe.model_copy(update={"stages": plan.resolved})
        for i, stage in enumerate(plan.resolved):
            origins |= {f"stages.{i}.{name}": "auto" for name in type(stage).model_fields}
    run.write_text("recipe.yaml", resolved_yaml(recipe, origins))
    values = {
        "values": recipe.model_dump(mode="json"),
        "origins": origins,
        "digest": recipe_digest(recipe),
        "written": source.recipe.model_dump(mode="json"),
        "written_digest": recipe_digest(source.recipe),
        "file": source.path.name,
    }
    run.write_json("recipe.json", values)
    run.write_json("facts.json", {"values": prepared.task.facts.values, "lines": list(prepared.task.facts.lines)})
    run.write_json("plan.json", plan.to_json())
    if not run.environment.exists():
        run.write_json("environment.json", _environment(run, prepared, plan))


def _environment(run: Run, prepared: Prepared, plan: Plan) -> dict[str, Any]:
    from tunesmith import __version__
    from tunesmith.model.weights import weights_digest

    recipe, weights = prepared.source.recipe, prepared.weights
    reports = prepared.reports
    data: dict[str, Any] = {
        name: {
            "path": ", ".join(report.paths[:3]) or "rows",
            "format": report.format,
            "rows": report.rows,
            "digest": prepared.digests[name],
            "bytes": report.bytes,
        }
        for name, report in reports.items()
    }
    data.setdefault("eval", {"share": recipe.data.eval, "rows": len(prepared.held_out)})
    data["split"] = prepared.lines
    return {
        "tunesmith": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "packages": package_versions(PACKAGES),
        "machine": {**describe(run.folder).to_json(), "device": plan.device},
        "seed": recipe.run.seed,
        "task": prepared.task.name,
        "data": data,
        "digests": prepared.digests,
        "base": {
            "name": weights.name,
            "folder": str(weights.folder),
            "origin": weights.origin,
            "revision": weights.revision,
            "digest": weights_digest(weights),
            "license": weights.license,
            "pipeline_tag": prepared.task.pipeline_tag,
            "load_snippet": prepared.task.load_snippet("model"),
        },
    }


def _load(journey: _Journey, stop: Any) -> None:
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
    journey.digests = _frozen_digests(journey, journey.job.layers)
    if journey.engine.main:
        model = journey.job.model
        known = journey.run.read_json("environment.json")
        known["base"] |= {"class": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
        journey.run.write_json("environment.json", known)


def loop_of(
    prepared: Prepared,
    plan: Plan,
    stop: Any,
    *,
    engine: LocalEngine | None = None,
    checkpoints: Path = Path(),
    watchers: Sequence[Watcher] = (),
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
    emit: Callable[[dict[str, Any]], None] = lambda _event: None,
) -> Loop:
    """Load the model and put together a loop, ready to run."""
    import torch

    from tunesmith.model.dropout import address_dropout
    from tunesmith.train.engine import LocalEngine
    from tunesmith.train.loop import Job, Loop

    recipe, task = prepared.source.recipe, prepared.task
    # The only global seed: new layers are drawn here; from now on everything random has an address.
    torch.manual_seed(recipe.run.seed)
    task.adapted = recipe.adapter is not None
    model = task.load()
    layers = with_adapter(prepared, model)
    dropout, _ = address_dropout(model, recipe.optimizer.dropout)
    if recipe.engine.compile:
        for block in layers.blocks:
            block.compile(dynamic=True)
    sets = {"train": loader_of(prepared, prepared.train), "held_out": loader_of(prepared, prepared.held_out)}
    if len(prepared.validation):
        sets["validation"] = loader_of(prepared, prepared.validation)
    job = Job(
        recipe=recipe,
        task=task,
        model=model,
        layers=layers,
        dropout=dropout,
        stages=plan.resolved,
        sets=sets,
        engine=engine or LocalEngine(plan.device, plan.precision),
        precision=plan.precision,
        micro=plan.micro,
        checkpoints=checkpoints,
        watchers=watchers,
        progress=progress,
        stop=stop,
    )
    return Loop(job, emit)


def _watchers(journey: _Journey) -> list[Watcher]:
    from tunesmith.train.watch import Explosion, Plateau

    task = journey.prepared.task
    patience = [stage.patience for stage in journey.plan.resolved]
    watchers: list[Watcher] = [Explosion()]
    if any(patience):
        watchers.append(Plateau(patience, task.higher_is_better, task.goal))
    return [*watchers, journey.hooks.watcher] if journey.hooks.watcher else watchers


def _emitter(journey: _Journey) -> Callable[[dict[str, Any]], None]:
    run, engine = journey.run, journey.engine

    def emit(event: dict[str, Any]) -> None:
        run.append_event(event)
        numbers = {"loss": event.get("loss"), "norm": event.get("norm"), **event.get("scores", {})}
        numbers |= {f"lr/{group}": rate for group, rate in event.get("lr", {}).items()}
        if event["kind"] in ("step", "eval"):
            engine.log({k: float(v) for k, v in numbers.items() if v is not None}, event["step"])

    return emit


def _frozen_digests(journey: _Journey, layers: Any) -> dict[str, str]:
    """Digest of every group that no stage trains."""
    from tunesmith.model.stages import learning_groups
    from tunesmith.train.caching import tensors_digest

    learned = {g.group for stage in journey.plan.resolved for g in learning_groups(layers, stage) if g.trains}
    return {
        group: tensors_digest(dict(layers.parameters(group)))
        for group in layers.groups
        if group not in learned and layers.groups[group]
    }


def _predict(journey: _Journey, predict: Any, loader: Loader, what: str, model: nn.Module | None = None) -> list[Any]:
    from tunesmith.train.inference import predict_rows

    return predict_rows(
        model if model is not None else journey.job.model,
        predict,
        loader,
        loader.lengths,
        journey.engine,
        rows=journey.recipe.batch.eval_rows,
        on_progress=lambda done, total: journey.hooks.progress(what, done, total),
    )


def _score_base(journey: _Journey) -> None:
    """Score what one has without training; a resumed run reads it back."""
    run, task, hooks = journey.run, journey.prepared.task, journey.hooks
    file = run.folder / BASE_FILE
    if file.exists():
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        journey.base_name, journey.base = lines[0]["base_name"], [line["prediction"] for line in lines[1:]]
        return
    journey.job.model.to(journey.engine.device)

    def on_rows(predict: Any, rows: Sequence[Any]) -> list[Any]:
        return _predict(journey, predict, loader_of(journey.prepared, rows), "scoring the base")

    name, predict, all_bases = strongest_base(task, journey.job.model, journey.prepared.train, on_rows)
    journey.base_name = name
    journey.base = _predict(journey, predict, journey.job.sets["held_out"], "scoring the base")
    others = ", ".join(f"{n} {value:.4f}" for n, value in all_bases.items())
    hooks.say(f"base: {name}, the strongest without training by {task.goal} on training rows ({others})")
    if journey.engine.main:
        records = [{"base_name": name, "candidates": all_bases}, *({"prediction": p} for p in journey.base)]
        run.write_text(BASE_FILE, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def _fit(journey: _Journey) -> None:
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


def _say_changed_threads(journey: _Journey, state: Mapping[str, Any]) -> None:
    import torch

    for what, now in (("threads", torch.get_num_threads()), ("world", journey.engine.world)):
        if state[what] != now:
            journey.hooks.say(
                f"warning: the run began with {what} {state[what]} and goes on with {now}: equal to rounding, not bit for bit"
            )


def _finish(journey: _Journey, measured: dict[str, Any], started: float) -> None:
    """Save, reload, score, compare, and write the proofs (main rank)."""
    run, job, task = journey.run, journey.job, journey.prepared.task
    alone = journey.engine.alone()
    held_out = job.sets["held_out"]
    in_memory = _with_engine(journey, alone, lambda: _predict(journey, task.predict, held_out, "scoring the tuned model"))
    _save(journey)
    again = _reloaded(journey)
    reload_rows = _with_engine(
        journey, alone, lambda: _predict(journey, again[0].predict, held_out, "scoring the saved model", again[1])
    )
    rows = journey.prepared.held_out
    group = journey.recipe.data.group_by
    groups = [row.get(group) for row in rows] if group else None
    scores = compare(
        task, rows, journey.base, reload_rows, base_name=journey.base_name, seed=journey.recipe.run.seed, groups=groups
    )
    scores["stages"] = [
        {"name": s["name"], "train": s["train"], "score": s["scores"][task.goal], "scores": s["scores"]}
        for s in journey.loop.at.stage_scores
    ]
    scores["kept"] = journey.loop.at.best
    run.write_json("scores.json", scores)
    run.write_json("panels.json", task.show(rows, journey.base, reload_rows))
    lines = (
        json.dumps({"id": row["id"], "row": _shown(row), "base": b, "tuned": t}, ensure_ascii=False)
        for row, b, t in zip(rows, journey.base, reload_rows, strict=True)
    )
    run.write_text("predictions.jsonl", "\n".join(lines) + "\n")
    measured |= {"seconds": time.monotonic() - started, "steps": journey.loop.at.step}
    run.write_json("measured.json", measured | _rates(run))
    receipts = _receipts(journey, in_memory, reload_rows, measured)
    run.write_json("receipts.json", [receipt.to_json() for receipt in receipts])
    run.set_state("finished")
    write_card(run.folder)
    write_report(run.folder)


def _with_engine(journey: _Journey, engine: Any, work: Callable[[], Any]) -> Any:
    before, journey.engine = journey.engine, engine
    try:
        return work()
    finally:
        journey.engine = before


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if isinstance(v, (str, int, float, bool)) or v is None}


def _save(journey: _Journey) -> None:
    """Write the model aside, then put it in its place."""
    run, job = journey.run, journey.job
    draft = run.folder / ".model.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    if journey.recipe.adapter is not None:
        from tunesmith.model.adapters import save_adapter

        head = sorted({name.split(".")[0] for name in job.layers.names("head")})
        kinds = {"text-classification": "SEQ_CLS"}
        save_adapter(
            job.model,
            draft,
            base_name=journey.prepared.weights.name,
            task_type=kinds.get(job.task.pipeline_tag or ""),
            modules_to_save=head,
        )
        job.task.save_processor(draft)
    else:
        job.task.save(job.model, draft)
    shutil.rmtree(run.model, ignore_errors=True)
    draft.rename(run.model)


def _reloaded(journey: _Journey) -> tuple[Any, nn.Module]:
    """The task and the model as a stranger would load them: from the saved files alone."""
    task = load_task(journey.run)
    return task, load_model(journey.run, task).to(journey.engine.device)


def load_task(run: Run) -> Any:
    """The task of a finished run, with its facts, reading from the saved model."""
    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection
    from tunesmith.task import find_task
    from tunesmith.types import Facts

    values, facts = run.read_json("recipe.json")["values"], run.read_json("facts.json")
    kind = find_task(values["task"], str(run.recipe_yaml))
    recipe = Recipe.model_validate(values)
    if recipe.adapter is not None:
        source = resolve(recipe.model, where=str(run.recipe_yaml))
    else:
        source = resolve(ModelSection(name=str(run.model.resolve())), where=str(run.model))
    task = kind(kind.Options.model_validate(values["options"]), source, Facts(facts["values"], tuple(facts["lines"])))
    task.adapted = recipe.adapter is not None
    return task


def load_model(run: Run, task: Any) -> nn.Module:
    """The tuned model of a finished run, on the CPU."""
    model: nn.Module = task.load()
    if task.adapted:
        from tunesmith.model.adapters import load_adapter

        load_adapter(model, run.model)
    return model


def _rates(run: Run) -> dict[str, Any]:
    events, _ = run.read_events()
    steps = [e for e in events if e["kind"] == "step"]
    seconds = sum(e["seconds"] for e in steps) or 1e-9
    recorded = {e["stage"]: e["seconds"] for e in events if e["kind"] == "cache"}
    stages = [
        {"name": e["name"], "seconds": e["seconds"], "cache_seconds": recorded.get(e["stage"], 0.0)}
        for e in events
        if e["kind"] == "stage" and e["event"] == "end"
    ]
    rows = sum(e["rows_per_second"] * e["seconds"] for e in steps)
    return {"rows_per_second": rows / seconds, "stages": stages}


def _receipts(
    journey: _Journey, in_memory: Sequence[Any], reloaded: Sequence[Any], measured: Mapping[str, Any]
) -> list[Receipt]:
    from tunesmith.train.caching import TOLERANCE

    prepared, loop = journey.prepared, journey.loop
    rows = {"train": len(prepared.train), "validation": len(prepared.validation), "held out": len(prepared.held_out)}
    read = sum(report.rows for report in prepared.reports.values())
    differences = [(e["stage"], e["difference"]) for e in loop.at.ended]
    found, missing = _last_checkpoint(journey)
    receipts = [
        frozen_receipt(journey.digests, _frozen_digests(journey, journey.job.layers)),
        reload_receipt(prepared.task, in_memory, reloaded, prepared.held_out),
        *cache_receipts(differences, TOLERANCE[journey.recipe.cache.dtype]),
        checkpoint_receipt(found, missing),
        data_receipt(prepared.digests, rows, read),
    ]
    predicted = journey.plan.memory
    if predicted is not None and journey.plan.device == "cpu":
        receipts.append(memory_receipt(predicted.resident, measured["peak_bytes"] - measured["baseline_bytes"]))
    return receipts


def _last_checkpoint(journey: _Journey) -> tuple[Any, list[str]]:
    """Read the newest checkpoint back, and compare its tensors with those that the loop held when it was written."""
    from tunesmith.train.checkpoint import newest_checkpoint

    found, problems = newest_checkpoint(journey.run.checkpoints)
    if found is None or problems:
        return (problems[0] if problems else None), []
    return found, journey.loop.differences(found)
