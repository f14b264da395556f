"""The plan's memory against what runs took: predicted and measured bytes over a grid of tasks, methods and sizes.

    python benchmarks/plan.py [--quick] [--json] [--cases text,language,...] [--again]

Every cell is trained twice for a few steps, each time in a process of its own. ``allocated``: the most that torch's
allocator had given out at once, told by its own reports to the profiler, and the weights. ``resident``: the most that
the process held in memory, above what it held with its libraries loaded and used once. Beside both stands the classic
formula (parameters x bytes x 2.5), and what ``accelerate estimate-memory`` says of training with Adam.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import RESULTS, machine
from benchmarks.plan_cells import CELLS, Cell

VERSIONS = ("torch", "transformers", "diffusers", "accelerate")
GOALS = {"allocated": {"median": 0.05, "95th": 0.15}, "resident": {"median": 0.10, "95th": 0.25}}
KINDS = tuple(GOALS)
QUICK = ("text/head/8x128", "language/lora/1x512")


def ready(cell: Cell, folder: Path) -> tuple[Any, Any, Any]:
    """The plan of a cell's recipe; and its loop, not made yet.

    As in a run, what no stage trains is read once before it: a file's pages are in memory from then on.
    """
    from tunesmith.journey import Hooks, Journey, frozen_digests, loop_of
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest

    os.environ["TUNESMITH_CACHE"] = os.environ.get("TUNESMITH_CACHE") or str(folder / "cache")
    file = folder / "recipe.json"
    recipe = cell.recipe(folder)
    file.write_text(json.dumps(recipe), encoding="utf-8")
    prepared = prepare(read_recipe(file))
    accepted = {finding.code: "drawn" for finding in prepared.findings}
    if accepted:
        # Rows that are drawn alike are found out; here they are what is wanted.
        file.write_text(json.dumps(recipe | {"audit": {"accept": accepted}}), encoding="utf-8")
        prepared = prepare(read_recipe(file))
    prepared.raise_errors()
    plan = make_plan(prepared)
    run = Run.open(folder / "runs" / "cell", create=True)

    def make() -> Any:
        loop = loop_of(prepared, plan, StopRequest(), checkpoints=run.checkpoints, emit=run.append_event)
        frozen_digests(Journey(run, prepared, plan, loop.job.engine, Hooks()), loop.job.layers)
        return loop

    return plan, prepared, make


def one(cell: Cell, kind: str, folder: Path) -> dict[str, Any]:
    """Predicted and measured bytes of a cell, in this process."""
    import gc

    import torch

    from tunesmith.heap import give_back
    from tunesmith.machine import peak_resident_bytes, reset_peak, resident_bytes

    plan, prepared, make = ready(cell, folder)
    memory = plan.memory
    assert memory is not None
    weights = prepared.weights
    if kind == "allocated":
        loop = make()
        held = sum(t.numel() * t.element_size() for t in (*loop.job.model.parameters(), *loop.job.model.buffers()))
        measured, predicted = held + _most_allocated(loop.fit), memory.allocated
    else:
        layer = torch.nn.Linear(64, 64)
        (layer(torch.randn(8, 64)) ** 2).sum().backward()
        gc.collect()
        give_back()
        before = resident_bytes()
        if not reset_peak():
            raise SystemExit("resident memory is measured on Linux only")
        loop = make()
        loop.fit()
        measured, predicted = peak_resident_bytes() - before, memory.resident
    return {
        "case": f"{kind}/{cell.name}",
        "predicted": predicted,
        "measured": measured,
        "traced": memory.traced,
        "parts": memory.parts(),
        "classic": int(sum(p.numel() for p in loop.job.model.parameters()) * 4 * 2.5),
        "accelerate": _accelerate(loop.job.model, [str(f) for f in weights.files]),
    }


def _most_allocated(work: Any) -> int:
    """The most bytes that torch's CPU allocator had given out at once while some work ran."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def _accelerate(model: Any, _files: Sequence[str]) -> int | None:
    """What ``accelerate estimate-memory`` says of training with Adam in fp32: four times the model."""
    from accelerate.utils import calculate_maximum_sizes

    try:
        total, _ = calculate_maximum_sizes(model)
    except (AttributeError, TypeError, ValueError):
        return None
    return int(total) * 4


def apart(cell: Cell, kind: str, folder: Path) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", cell.name, "--kind", kind, "--folder", str(folder)]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-3:]
        return {"case": f"{kind}/{cell.name}", "predicted": None, "measured": None, "reason": " | ".join(reason)}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def error(row: dict[str, Any], key: str = "predicted") -> float | None:
    """Relative error of a prediction."""
    return None if not row.get("measured") or not row.get(key) else row[key] / row["measured"] - 1


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and 95th percentile of the absolute error, ours and others', by kind."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        own = [row for row in rows if row["case"].startswith(kind)]
        for key in ("predicted", "classic", "accelerate"):
            errors = sorted(abs(e) for row in own if (e := error(row, key)) is not None)
            if errors:
                last = errors[min(len(errors) - 1, int(0.95 * len(errors)))]
                found[f"{kind}/{key}"] = {
                    "cells": len(errors), "median": round(median(errors), 4), "95th": round(last, 4),
                }  # fmt: skip
        ours = found.get(f"{kind}/predicted")
        if ours:
            ours["goal"] = GOALS[kind]
            ours["holds"] = all(ours[name] <= goal for name, goal in GOALS[kind].items())
    return found


def table(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{'case':<52}{'predicted MB':>13}{'measured MB':>13}{'error':>8}{'classic':>9}"]
    for row in report["results"]:
        if row["measured"] is None:
            lines.append(f"{row['case']:<52}  {row['reason']}")
            continue
        shown = [f"{row[k] / 1e6:,.1f}" for k in ("predicted", "measured")]
        errors = [f"{e:+.1%}" if (e := error(row, k)) is not None else "" for k in ("predicted", "classic")]
        lines.append(f"{row['case']:<52}{shown[0]:>13}{shown[1]:>13}{errors[0]:>8}{errors[1]:>9}")
    for name, found in report["summary"].items():
        lines.append(f"{name:<30} median {found['median']:.1%}, 95th {found['95th']:.1%}, {found['cells']} cells")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The command line."""
    from tunesmith.machine import package_versions

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two cells; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--cases", default="", help="cells whose name begins so, separated by commas")
    parser.add_argument("--again", action="store_true", help="put the rows of these cells in place of the kept ones")
    parser.add_argument("--kinds", default=",".join(KINDS), help="allocated, resident")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.one:
        cell = next(cell for cell in CELLS if cell.name == given.one)
        print(json.dumps(one(cell, given.kind, given.folder)))
        return {}
    wanted = QUICK if given.quick else tuple(filter(None, given.cases.split(",")))
    cells = [cell for cell in CELLS if not wanted or cell.name.startswith(wanted)]
    rows = []
    for cell in cells:
        for kind in given.kinds.split(","):
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                rows.append(apart(cell, kind, Path(folder)))
                print(rows[-1]["case"], rows[-1].get("reason") or f"{error(rows[-1]):+.1%}", file=sys.stderr)
    if given.again:
        fresh = {row["case"]: row for row in rows}
        before = json.loads((RESULTS / "plan.json").read_text(encoding="utf-8"))["results"]
        rows = [fresh.get(row["case"], row) for row in before]
    report = {
        "benchmark": "plan", "quick": given.quick, "machine": machine(),
        "versions": package_versions(["tunesmith", *VERSIONS]), "summary": summary(rows), "results": rows,
    }  # fmt: skip
    print(json.dumps(report, indent=1) if given.json else table(report))
    if given.again or (not given.quick and not given.cases and given.kinds == ",".join(KINDS)):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "plan.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
