"""The plan's time against what runs took: predicted and measured seconds of whole trainings, by recipe.

    python benchmarks/plan_time.py [--quick] [--json] [--cases text,pictures,...]

The machine's rates are measured first (`tunesmith doctor --measure`). Then each case is planned in a process of its
own and trained in another, as a user would, and the training's wall seconds stand beside the plan's. Parts that the
plan leaves out, and says so, are in the measured seconds all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import RESULTS, machine
from tunesmith.machine import package_versions

ROOT = Path(__file__).resolve().parent.parent

VERSIONS = ("torch", "transformers", "diffusers", "accelerate")
GOAL = 0.25


@dataclass(frozen=True)
class Case:
    """A recipe of `recipes/`, with settings laid over it, on so many of its rows."""

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)


CASES = (
    Case("text/head, then top 2", "text-classification"),
    Case(
        "text/all weights", "text-classification", ("stages=[{train: all, epochs: 2, lr: 5e-5}]",), {"data.train": 1200}
    ),
    Case(
        "text/LoRA", "text-classification", ("adapter={kind: lora}", "stages=[{train: adapter, epochs: 2, lr: 1e-3}]")
    ),
    Case("pictures/head, then top 4", "image-classification"),
    Case("pictures/all weights", "image-classification", ("stages=[{train: all, epochs: 3, lr: 1e-4}]",)),
    Case("segmentation/head, then all", "image-segmentation", ("stages.0.epochs=3", "stages.1.epochs=4")),
    Case("detection/all weights", "object-detection", ("stages.0.epochs=4",)),
    Case("speech/top 6", "speech-to-text", ("stages.0.epochs=1",)),
    Case("language/SQL", "text-to-sql", (), {"data.train": 128, "data.eval": 24}),
    Case("language/chat", "chat-style", ("stages.0.epochs=1",)),
    Case("diffusion/LoRA", "text-to-image", ("stages.0.epochs=12", "options.samples.epochs=12")),
)
QUICK = ("text/all weights", "pictures/all weights")


def shortened(file: Path, rows: int, folder: Path) -> Path:
    """The first rows of a file of lines, its header among them."""
    copy = folder / f"{rows}-{file.name}"
    with file.open(encoding="utf-8") as lines:
        copy.write_text("".join(line for line, _ in zip(lines, range(rows), strict=False)), encoding="utf-8")
    return copy


def called(verb: str, case: Case, folder: Path, *more: str) -> tuple[float, str]:
    """Wall seconds of one command on a case, in a process of its own, and what it wrote."""
    import yaml

    recipe = ROOT / "recipes" / f"{case.recipe}.yaml"
    settings = list(case.settings)
    for key, count in case.rows.items():
        file = ROOT / yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"][key.partition(".")[2]]
        settings.append(f"{key}={shortened(file, count, folder)}")
    words = [sys.executable, "-m", "tunesmith", verb, str(recipe), *settings, *more]
    began = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{case.name}: {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return time.perf_counter() - began, done.stdout


def row(case: Case) -> dict[str, Any]:
    """Predicted and measured seconds of one case, from an empty cache of activations."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, said = called("plan", case, folder, "--json")
        forecast = json.loads(said)["time"]
        measured, _ = called("train", case, folder, f"run.folder={folder}")
    predicted = forecast["seconds"]
    print(
        f"{case.name:<32}{predicted:>9.1f}{measured:>9.1f}{predicted / measured - 1:>+8.1%}",
        file=sys.stderr,
        flush=True,
    )
    return {
        "case": case.name,
        "recipe": case.recipe,
        "settings": [*case.settings, *(f"{key}: first {count}" for key, count in case.rows.items())],
        "predicted": round(predicted, 2),
        "measured": round(measured, 2),
        "error": round(predicted / measured - 1, 4),
        "within": abs(predicted / measured - 1) <= GOAL,
        "parts": {part: round(seconds, 2) for part, seconds in forecast["parts"].items()},
        "basis": forecast["basis"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and keep the figures of a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short cases, nothing kept")
    parser.add_argument("--json", action="store_true", help="the report itself")
    parser.add_argument("--cases", default="", help="beginnings of names, with commas; put in place of kept rows")
    options = parser.parse_args(arguments)
    starts = tuple(filter(None, options.cases.split(",")))
    cases = [case for case in CASES if (case.name in QUICK if options.quick else case.name.startswith(starts or ""))]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    subprocess.run(
        [sys.executable, "-m", "tunesmith", "doctor", "--measure"], check=True, capture_output=True, cwd=ROOT
    )
    with tempfile.TemporaryDirectory() as cache:
        _keep_rates(Path(cache))
        os.environ["TUNESMITH_CACHE"] = cache
        rows: list[dict[str, Any]] = []
        for case in cases:
            rows.append(row(case))
            if not options.quick:
                # As it goes: some cases take minutes, and what is measured is measured.
                _kept(rows)
    report = report_of(rows) if options.quick else _kept(rows)
    print(json.dumps(report) if options.json else json.dumps(report["summary"], indent=1))


def _kept(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The report with these rows in place of the kept ones of their cases, written."""
    file = RESULTS / "plan_time.json"
    before = json.loads(file.read_text(encoding="utf-8"))["results"] if file.exists() else []
    known = {one["case"]: one for one in (*before, *rows)}
    report = report_of([known[case.name] for case in CASES if case.name in known])
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _keep_rates(cache: Path) -> None:
    """Put the machine's rates, and the starters that were made ready, beside an otherwise empty cache."""
    from tunesmith.machine import cache_folder

    for kept in ("rates", "starter"):
        folder = cache_folder(kept)
        if folder.is_dir():
            (cache / kept).symlink_to(folder.resolve(), target_is_directory=True)


def report_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rows with the machine, the versions and how far off they are."""
    errors = sorted(abs(one["error"]) for one in rows)
    return {
        "benchmark": "plan_time",
        "machine": machine(),
        "versions": package_versions(VERSIONS),
        "goal": GOAL,
        "summary": {
            "cases": len(rows),
            "median": round(median(errors), 4),
            "worst": errors[-1],
            "within": sum(one["within"] for one in rows),
        },
        "results": list(rows),
    }


if __name__ == "__main__":
    main()
