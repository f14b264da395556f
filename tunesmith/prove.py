"""The proof: save, reload as a stranger would, score both on the same rows, and write receipts, report and card."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.evaluate import (
    cache_receipts,
    checkpoint_receipt,
    compare,
    data_receipt,
    frozen_receipt,
    memory_receipt,
    rehearsal_receipt,
    reload_receipt,
)
from tunesmith.journey import Journey, frozen_digests, predicted, probed
from tunesmith.plan import loader_of
from tunesmith.recipe import Recipe
from tunesmith.report import write_card, write_report
from tunesmith.run import Run, refusal
from tunesmith.task import Task
from tunesmith.types import Receipt

if TYPE_CHECKING:
    from torch import nn


def finish(journey: Journey, measured: dict[str, Any], started: float) -> None:
    """Save, reload, score, compare, and write the proofs (main rank)."""
    run, job, task = journey.run, journey.job, journey.prepared.task
    alone = journey.engine.alone()
    held_out = job.sets["held_out"]
    in_memory = journey.loop.judged
    if in_memory is None:
        in_memory = _with_engine(
            journey, alone, lambda: predicted(journey, task.predict, held_out, "scoring the tuned model")
        )
    _save(journey)
    receipts = _receipts_of_training(journey)
    # The trained weights are on disk now; two models side by side would need the memory of two.
    journey.loop.release()
    again = _reloaded(journey)
    if task.fresh_process:
        reload_rows = _apart(journey)
    else:
        reload_rows = _with_engine(
            journey, alone, lambda: predicted(journey, again[0].predict, held_out, "scoring the saved model", again[1])
        )
    _calibrate(journey, *again)
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
    scores["bases"] = journey.shown
    scores["probes"] = _probes(journey, *again)
    run.write_json("scores.json", scores)
    panels = [*_comparisons(scores), *task.show(rows, journey.base, reload_rows), *_developed(journey)]
    for panel in panels:
        if "warning" in panel:
            journey.hooks.say(f"warning: {panel.pop('warning')}")
    run.write_json("panels.json", panels)
    lines = (
        json.dumps({"id": row["id"], "row": _shown(row), "base": b, "tuned": t}, ensure_ascii=False)
        for row, b, t in zip(rows, journey.base, reload_rows, strict=True)
    )
    run.write_text("predictions.jsonl", "\n".join(lines) + "\n")
    measured |= {"seconds": time.monotonic() - started, "steps": journey.loop.at.step}
    if peaks := _peaks(run):
        measured["allocated_peak_bytes"] = max(held for held, _ in peaks.values())
    run.write_json("measured.json", measured | _rates(run))
    receipts += _receipts(journey, in_memory, reload_rows, measured)
    run.write_json("receipts.json", [receipt.to_json() for receipt in receipts])
    run.set_state("finished")
    write_pages(run)


def _apart(journey: Journey) -> list[Any]:
    """What the saved model says of the held-out rows in a process of its own."""
    from tunesmith.apart import predicted_apart

    return predicted_apart(
        journey.run,
        journey.prepared.held_out,
        journey.prepared.task.folders,
        device=journey.plan.device,
        precision=journey.plan.precision,
        batch=journey.recipe.batch.eval_rows,
        progress=lambda done, total: journey.hooks.progress("scoring the saved model", done, total),
    )


def _developed(journey: Journey) -> list[dict[str, Any]]:
    """Panels of the sample rows as the model learned."""
    events, _ = journey.run.read_events()
    taken = {int(e["step"]): journey.run.read_json(e["file"]) for e in events if e["kind"] == "samples"}
    rows = journey.job.sets["samples"].rows if "samples" in journey.job.sets else ()
    return journey.prepared.task.show_samples(rows, sorted(taken.items())) if taken else []


def _calibrate(journey: Journey, again: Any, model: nn.Module) -> None:
    """Let the task choose what it chooses by predictions: on validation rows, else on those it learned from."""
    task, run = journey.prepared.task, journey.run
    if type(task).calibrate is Task.calibrate:
        return
    validation = "validation" in journey.job.sets
    rows = journey.prepared.validation if validation else journey.prepared.train
    loader = loader_of(journey.prepared, rows)
    alone = journey.engine.alone()
    found = _with_engine(journey, alone, lambda: predicted(journey, again.predict, loader, "calibrating", model))
    task.facts.values.update(task.calibrate(found, rows))
    kept = run.read_json("facts.json")
    run.write_json("facts.json", {**kept, "values": task.facts.values})


def _probes(journey: Journey, task: Any, model: nn.Module) -> dict[str, Any]:
    """Base against tuned on what must not get worse."""
    alone = journey.engine.alone()
    after = _with_engine(journey, alone, lambda: probed(journey, task, model))
    found = {}
    for name, rows in task.probes(journey.prepared.held_out).items():
        metric, higher = task.validation_metric
        judge = task.of_validation()
        found[name] = compare(
            judge, rows, journey.probed[name], after[name], base_name="before", seed=journey.recipe.run.seed
        ) | {"metric": metric, "higher_is_better": higher}
    return found


def _comparisons(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Panels of what stands beside the verdict: other bases, and what must not get worse."""
    panels: list[dict[str, Any]] = []
    if len(scores["bases"]) > 1:
        rows: list[list[Any]] = [[name, value] for name, value in scores["bases"].items()]
        note = "On the held-out rows; which base counts was chosen on training rows."
        columns = ["without training", scores["metric"].replace("_", " ")]
        panels.append({"kind": "table", "title": "Bases", "columns": columns, "rows": rows, "note": note})
    if scores["probes"]:
        rows = []
        for name, probe in scores["probes"].items():
            low, high = probe["interval"]
            rows.append([name, probe["rows"], probe["base"], probe["tuned"], f"[{low:+.3f}, {high:+.3f}]"])
        metric = next(iter(scores["probes"].values()))["metric"]
        columns = ["probe", "rows", f"{metric} before", "after", "95 % interval of the difference"]
        note = "Rows of other kinds, or under other conditions, which nothing was learned from."
        panels.append({"kind": "table", "title": "Beside the verdict", "columns": columns, "rows": rows, "note": note})
    return panels


def write_pages(run: Run) -> None:
    """Write the card and the report of a finished run."""
    write_card(run.folder)
    write_report(run.folder)


def _with_engine(journey: Journey, engine: Any, work: Callable[[], Any]) -> Any:
    before, journey.engine = journey.engine, engine
    try:
        return work()
    finally:
        journey.engine = before


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row can stand in a file of JSON lines."""
    return {k: v for k, v in row.items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return isinstance(value, (str, int, float, bool)) or value is None


def _save(journey: Journey) -> None:
    """Write the model aside, then put it in its place."""
    from tunesmith.train.checkpoint import write_fault

    run = journey.run
    draft = run.folder / ".model.tmp"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        save_into(journey, draft)
        shutil.rmtree(run.model, ignore_errors=True)
        draft.rename(run.model)
    except Exception as fault:
        shutil.rmtree(draft, ignore_errors=True)
        refused = write_fault(fault)
        if refused is None:
            raise
        raise refusal(refused, run.model) from fault


def save_into(journey: Journey, draft: Path) -> None:
    """Write the model as it is now, or its adapter with what belongs beside it, into a folder that is there."""
    from tunesmith.model.pretrained import quiet

    job = journey.job
    if journey.recipe.adapter is not None:
        from tunesmith.model.adapters import save_adapter

        # The vectors of new tokens have a place of their own in peft's files.
        head = sorted({name.split(".")[0] for name in job.layers.names("head") if not name.endswith(".rows")})
        save_adapter(
            job.model,
            draft,
            base_name=journey.prepared.weights.name,
            task_type=job.task.adapter_type,
            modules_to_save=head,
        )
        job.task.save_processor(draft)
        job.task.save_adapter(job.model, draft)
    else:
        with quiet():
            job.task.save(job.model, draft)


def _reloaded(journey: Journey) -> tuple[Any, nn.Module]:
    """The task and the model as a stranger would load them: from the saved files alone."""
    task = load_task(journey.run)
    return task, load_model(journey.run, task).to(journey.engine.device)


def load_task(run: Run) -> Any:
    """The task of a finished run, with its facts, reading from the saved model."""
    from dataclasses import replace

    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection
    from tunesmith.registry import find_task
    from tunesmith.types import Facts

    values, facts = run.read_json("recipe.json")["values"], run.read_json("facts.json")
    kind = find_task(values["task"], str(run.recipe_yaml))
    recipe = Recipe.model_validate(values)
    if recipe.adapter is not None:
        source = resolve(recipe.model, where=str(run.recipe_yaml))
    else:
        source = resolve(ModelSection(name=str(run.model.resolve())), where=str(run.model))
        # What was saved beside the weights is the code of the commit that the recipe trusts, and nothing else.
        source = replace(source, remote_code=recipe.model.remote_code)
    task = kind(kind.Options.model_validate(values["options"]), source, Facts(facts["values"], tuple(facts["lines"])))
    task.adapted, task.trained = recipe.adapter is not None, recipe.adapter is None
    task.saved = run.model if task.adapted and run.model.is_dir() else None
    task.held = run.read_json("plan.json").get("held", "fp32")
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
    recorded: dict[int, float] = {}
    for event in events:
        if event["kind"] == "cache":
            recorded[event["stage"]] = recorded.get(event["stage"], 0.0) + event["seconds"]
    stages = [
        {"name": e["name"], "seconds": e["seconds"], "cache_seconds": recorded.get(e["stage"], 0.0)}
        for e in events
        if e["kind"] == "stage" and e["event"] == "end"
    ]
    rows = sum(e["rows_per_second"] * e["seconds"] for e in steps)
    return {"rows_per_second": rows / seconds, "stages": stages}


def _receipts_of_training(journey: Journey) -> list[Receipt]:
    """What can be said of the model and the optimizer only while they stand in memory."""
    from tunesmith.train.caching import TOLERANCE

    differences = [(e["stage"], e["difference"]) for e in journey.loop.at.ended]
    found, missing = _last_checkpoint(journey)
    return [
        frozen_receipt(journey.digests, frozen_digests(journey, journey.job.layers)),
        *cache_receipts(differences, TOLERANCE[journey.recipe.cache.dtype]),
        checkpoint_receipt(found, missing),
        *_rehearsed(journey),
    ]


def _receipts(
    journey: Journey, in_memory: Sequence[Any], reloaded: Sequence[Any], measured: Mapping[str, Any]
) -> list[Receipt]:
    prepared = journey.prepared
    rows = {"train": len(prepared.train), "validation": len(prepared.validation), "held out": len(prepared.held_out)}
    read = sum(report.rows for report in prepared.reports.values())
    if prepared.further:
        rows["train"] -= len(prepared.further)
    receipts = [
        reload_receipt(prepared.task, in_memory, reloaded, prepared.held_out, journey.base),
        data_receipt(prepared.digests, rows, read),
    ]
    memory = journey.plan.memory
    if memory is not None and journey.plan.device == "cpu":
        receipts.append(memory_receipt(memory.resident, measured["peak_bytes"] - measured["baseline_bytes"]))
    return receipts


def _peaks(run: Run) -> dict[int, tuple[int, int]]:
    """The most bytes that tensors held in each stage's rehearsal, and its rows a pass."""
    events, _ = run.read_events()
    return {int(e["stage"]): (int(e["peak_bytes"]), int(e["micro"])) for e in events if e["kind"] == "rehearsal"}


def _rehearsed(journey: Journey) -> list[Receipt]:
    """What the plan foresaw of tensors against what the rehearsals held, in the stage that held most."""
    peaks, plan = _peaks(journey.run), journey.plan
    # A micro-batch that was halved is not the one that was planned.
    planned = {i: m for i, m in enumerate(plan.memories) if m.traced and peaks.get(i, (0, 0))[1] == plan.micro}
    if not planned:
        return []
    stage = max(planned, key=lambda i: peaks[i][0])
    exact = not plan.stages[stage]["cache"]["use"]
    return [rehearsal_receipt(planned[stage].allocated, peaks[stage][0], exact=exact)]


def _last_checkpoint(journey: Journey) -> tuple[Any, list[str]]:
    """Read the newest checkpoint back, and compare its tensors with those that the loop held when it was written."""
    from tunesmith.train.checkpoint import newest_checkpoint

    found, problems = newest_checkpoint(journey.run.checkpoints)
    if found is None or problems:
        return (problems[0] if problems else None), []
    return found, journey.loop.differences(found)
