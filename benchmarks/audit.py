"""The audit on data that was damaged at known rows: precision and recall of each fault, seconds and memory, and peers.

    python benchmarks/audit.py [--quick] [--json] [--cases text,pictures,...] [--again]

The cases stand in `audit_cases`, the worlds they damage in `audit_faults`, the scores in `audit_scores`, the peers'
comparison in `audit_beside`, the end effect in `audit_end_effect`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.audit_cases import CASES, QUICK, rows_of
from benchmarks.harness import RESULTS, machine

VERSIONS = ("torch", "numpy", "Pillow", "scikit-learn", "cleanlab", "cleanvision")


def table(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{'case':<20}{'fault':<24}{'planted':>8}{'recall':>8}{'precision':>10}{'goal':>13}  "]
    for row in report["results"]:
        mark = {None: "", True: "holds", False: "MISSED"}[row["holds"]]
        name = f"{row['case']:<20}" if not row.get("peer") else f"  {row['peer']:<18}"
        if row.get("reason"):
            lines.append(f"{name}{row['reason']}")
        elif "gain" in row:
            low, high = row["interval"]
            lines.append(f"{name}{row['fault']:<24}{row['accuracy']:.1%} for {row['damaged']:.1%}: "
                         f"{row['gain']:+.1%} [{low:+.1%}, {high:+.1%}]  {mark}")  # fmt: skip
        elif row["fault"] is None:
            ours = (
                f", ours {row['ours_seconds']:.1f} s, {row['ours_peak_mib']:.0f} MiB" if "ours_seconds" in row else ""
            )
            again = f", again {row['again']:.1f} s" if row.get("again") is not None else ""
            lines.append(f"{name}{row['seconds']:.1f} s{again}, {row['peak_mib']:.0f} MiB{ours}  {mark}")
        else:
            recall, precision = (("-" if row[k] is None else f"{row[k]:.3f}") for k in ("recall", "precision"))
            goal = row["goal"]
            wanted = f"{goal['recall']} / {goal['precision'] or '-'}" if isinstance(goal, Mapping) else ""
            ours = f"ours {row['ours_recall']:.3f} / {row['ours_precision'] or 0:.3f}" if row.get("peer") else ""
            lines.append(
                f"{name}{row['fault']:<24}{row['planted']:>8}{recall:>8}{precision:>10}{wanted:>13}  {ours} {mark}"
            )
    size = "quick: small sizes, no figure to quote" if report["quick"] else "full size"
    return "\n".join([*lines, f"({size}; {report['machine']['cpu']}, {report['machine']['threads']} threads)"])


def kept_rows(cases: Sequence[str]) -> list[dict[str, Any]]:
    """The kept rows of other cases than these."""
    file = RESULTS / "audit.json"
    if not file.is_file():
        return []
    return [row for row in json.loads(file.read_text(encoding="utf-8"))["results"] if row["case"] not in cases]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two cases, small; writes nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--cases", default="", help=f"those whose name begins so, with commas: {', '.join(CASES)}")
    parser.add_argument("--again", action="store_true", help="put the rows of these cases in place of the kept ones")
    given = parser.parse_args(argv)
    wanted = tuple(filter(None, given.cases.split(",")))
    cases = [name for name in CASES if (name.startswith(wanted) if wanted else name in QUICK or not given.quick)]
    if not cases:
        parser.error(f"there is no case {given.cases!r}; write some of {','.join(CASES)}")
    rows: list[dict[str, Any]] = []
    for case in cases:
        print(f"{case} ...", file=sys.stderr, flush=True)
        rows += rows_of(case, given.quick)
    from tunesmith.machine import package_versions

    if given.again and not given.quick:
        kept = kept_rows(cases)
        rows = sorted([*kept, *rows], key=lambda row: list(CASES).index(row["case"]))
    report = {
        "benchmark": "audit", "quick": given.quick, "machine": machine(),
        "versions": package_versions(["tunesmith", *VERSIONS]), "results": rows,
    }  # fmt: skip
    if not given.quick and (given.again or cases == list(CASES)):
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "audit.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1) if given.json else table(report))
    return report


if __name__ == "__main__":
    main()
