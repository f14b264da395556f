"""What every benchmark shares: turns taken in time, the machine and the versions, the table, the JSON.

A benchmark is a set of cases; a case gives rows made by `against` (ours beside a peer) or `within` (a figure of ours
and the bound it must keep). It knows no model and no task.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tunesmith.machine import describe, package_versions

RESULTS = Path(__file__).parent / "results"

Case = Callable[[bool], list[dict[str, Any]]]
"""Gets whether it is to be quick, gives its rows."""


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Each side's figures, taken one after the other in every round, so that what else the machine does meets all.

    Args:
        rounds: How often each side runs.
        sides: Each runs its work once and gives its own seconds, so that it can prepare outside the clock.
    """
    columns: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for column, side in zip(columns, sides, strict=True):
            column.append(side())
    return columns


def against(
    case: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    peer_name: str,
    goal: float | None,
    unit: str = "seconds",
    **more: Any,
) -> dict[str, Any]:
    """A row of ours beside a peer's: medians, and ``ratio`` (peer over ours, above 1 is better), at least ``goal``."""
    ratio = median(peer) / median(ours)
    return {
        "case": case,
        "ours": float(f"{median(ours):.4g}"),
        "peer": float(f"{median(peer):.4g}"),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(ratio, 3),
        "goal": goal,
        "holds": None if goal is None else ratio >= goal,
        "runs": {"ours": _runs(ours), "peer": _runs(peer)},
        **more,
    }


def _runs(figures: Sequence[float]) -> dict[str, Any]:
    """How many figures a median is of, and how far apart they lie."""
    return {
        "count": len(figures),
        "least": float(f"{min(figures):.4g}"),
        "most": float(f"{max(figures):.4g}"),
    }


def within(case: str, ours: Sequence[float], *, unit: str, goal: float, **more: Any) -> dict[str, Any]:
    """A row of ours alone: the median, which must be at most ``goal``."""
    return {
        "case": case,
        "ours": float(f"{median(ours):.4g}"),
        "peer": None,
        "peer_name": None,
        "unit": unit,
        "ratio": None,
        "goal": goal,
        "holds": median(ours) <= goal,
        "runs": {"ours": _runs(ours)},
        **more,
    }


def absent(case: str, *, peer_name: str, reason: str, goal: float | None = None) -> dict[str, Any]:
    """A row for a peer that can't run here: named, with the reason, never left out."""
    empty = {"ours": None, "peer": None, "unit": None, "ratio": None, "goal": goal, "holds": None}
    return {"case": case, "peer_name": peer_name, "reason": reason, **empty}


def machine() -> dict[str, Any]:
    """The machine, with the threads that torch computes with."""
    import torch

    return describe().to_json() | {"threads": torch.get_num_threads()}


def table(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{'case':<34}{'unit':<12}{'ours':>11}{'peer':>11}{'ratio':>8}{'goal':>9}  "]
    for row in report["results"]:
        cells = [("" if row[key] is None else f"{row[key]:.4g}") for key in ("ours", "peer", "ratio", "goal")]
        mark = {None: "", True: "holds", False: "MISSED"}[row["holds"]]
        note = row.get("reason") or mark
        lines.append(
            f"{row['case']:<34}{row['unit'] or '':<12}{cells[0]:>11}{cells[1]:>11}{cells[2]:>8}{cells[3]:>9}  {note}"
        )
    notes = dict.fromkeys(row["note"] for row in report["results"] if row.get("note"))
    size = "quick: small sizes, no figure to quote" if report["quick"] else "full size"
    return "\n".join([*lines, f"({size}; {report['machine']['cpu']}, {report['machine']['threads']} threads)", *notes])


def measure(
    benchmark: str, cases: Mapping[str, Case], chosen: Sequence[str], versions: Sequence[str], *, quick: bool
) -> dict[str, Any]:
    """Run cases, and put their rows together with what they ran on."""
    results = [row for name in chosen for row in cases[name](quick)]
    return {
        "benchmark": benchmark,
        "quick": quick,
        "machine": machine(),
        "versions": package_versions(["tunesmith", *versions]),
        "results": results,
    }


def command(
    benchmark: str, about: str, cases: Mapping[str, Case], versions: Sequence[str], argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """The command line of a benchmark: ``[--quick] [--json] [--cases a,b]``; a full run of all cases keeps its JSON."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute on 2 cores; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--cases", default=",".join(cases), help=f"of {', '.join(cases)} (default: all of them)")
    given = parser.parse_args(argv)
    chosen = given.cases.split(",")
    unknown = [name for name in chosen if name not in cases]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; write some of {','.join(cases)}")
    report = measure(benchmark, cases, chosen, versions, quick=given.quick)
    text = json.dumps(report, indent=2)
    if not given.quick and chosen == list(cases):
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{benchmark}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write((text if given.json else table(report)) + "\n")
    return report
