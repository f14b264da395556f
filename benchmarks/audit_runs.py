"""Worlds made and audited in processes of their own, with their seconds and the most that they held resident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ran:
    """A process that came to its end."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    out: str
    err: str


def ran(command: Sequence[str], cache: Path, folder: Path) -> Ran:
    """Run a command in a process of its own, with a cache: its seconds, and the most that it held resident."""
    env = os.environ | {"TUNESMITH_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    files = folder / "stdout.txt", folder / "stderr.txt"
    with files[0].open("wb") as out, files[1].open("wb") as err:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env=env, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    cpu = round(usage.ru_utime + usage.ru_stime, 2)
    return Ran(child.returncode, round(seconds, 2), cpu, round(usage.ru_maxrss / 1024, 1), *texts)


def audited(
    world: Mapping[str, Any], cache: Path, folder: Path, checks: Sequence[str], *more: str
) -> tuple[dict[str, Any], Ran]:
    """What ``tunesmith audit`` says of a world, and what that took."""
    only = [part for check in checks for part in ("--only", check)]
    command = [sys.executable, "-m", "tunesmith", "audit", world["recipe"], "--json", *world["arguments"], *only, *more]
    done = ran(command, cache, folder)
    if done.code not in (0, 1) or not done.out.startswith("{"):
        raise RuntimeError(f"{' '.join(command[2:])}: exit {done.code}: {done.err.strip()[-1500:]}")
    return dict(json.loads(done.out)), done


def made_world(name: str, folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """A world, made in a process of its own so that this one stays small."""
    command = [sys.executable, str(ROOT / "benchmarks" / "audit_faults.py"), name, str(folder), "--seed", str(seed)]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=False, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-1500:]}")
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return truth | {"recipe": str(folder / "recipe.yaml"), "folder": str(folder)}


def mean_of(costs: Sequence[Mapping[str, Any]], key: str) -> float:
    """The mean of one figure of several runs, to two digits."""
    return round(sum(one[key] for one in costs) / len(costs), 2)
