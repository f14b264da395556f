"""Keeping what a step frees, beside the C library's own way of giving it back: seconds a step, and the process's peak.

    python benchmarks/heap.py [--quick] [--json]

The same training runs in processes of its own, in turns: once as it is, once with `tunesmith.heap.keep_freed` left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import RESULTS, against, in_turn, machine, table
from tunesmith.machine import package_versions

ROOT = Path(__file__).resolve().parent.parent

CASES = {
    "pictures/all weights": ("image-classification", "stages=[{train: all, steps: 16, lr: 1e-4}]"),
    "detection/all weights": ("object-detection", "stages=[{train: all, steps: 12, lr: 1e-3}]"),
    "text/all weights": ("text-classification", "stages=[{train: all, steps: 20, lr: 5e-5}]"),
}
CHILD = """
import json, resource, sys
import tunesmith.train.rehearsal as rehearsal
if sys.argv[1] == "given back":
    rehearsal.keep_freed = lambda: False
from tunesmith.tune import fine_tune
fine_tune(sys.argv[2], overrides=sys.argv[3:])
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def step_seconds(how: str, recipe: str, stages: str, peaks: list[float]) -> float:
    """Median seconds of a step of one training; its peak of resident bytes is added to ``peaks``."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", CHILD, how, str(ROOT / "recipes" / f"{recipe}.yaml"), stages]
        words += [f"run.folder={folder}", "run.name=run"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        peaks.append(json.loads(done.stdout.splitlines()[-1])["peak"])
        events = [json.loads(line) for line in (Path(folder) / "run/events.jsonl").read_text().splitlines()]
    return median(event["seconds"] for event in events if event["kind"] == "step")


def rows(rounds: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row of seconds a step for each case, with the peaks beside it."""
    found = []
    for name in names:
        kept: list[float] = []
        given: list[float] = []
        ours, peer = in_turn(
            rounds,
            lambda case=CASES[name], kept=kept: step_seconds("kept", *case, kept),
            lambda case=CASES[name], given=given: step_seconds("given back", *case, given),
        )
        more = {"peak_bytes": {"kept": int(median(kept)), "given back": int(median(given))}}
        found.append(against(name, ours, peer, peer_name="freed memory given back", goal=None, **more))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and keep the figures of a full run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case, one round, nothing kept")
    parser.add_argument("--json", action="store_true", help="the report itself")
    options = parser.parse_args(arguments)
    report = {
        "benchmark": "heap",
        "quick": options.quick,
        "machine": machine(),
        "versions": package_versions(["torch", "transformers"]),
        "results": rows(1 if options.quick else 3, list(CASES)[:1] if options.quick else list(CASES)),
    }
    if not options.quick:
        (RESULTS / "heap.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report) if options.json else table(report))


if __name__ == "__main__":
    main()
