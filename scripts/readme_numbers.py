"""Write measured numbers into the README, each between its two marks, from the committed results.

    python scripts/readme_numbers.py            # writes
    python scripts/readme_numbers.py --check    # exit code 1 where the README says something else

`<!-- benchmark NAME -->` gets the table of `benchmarks/results/NAME.json`, `<!-- recipe NAME -->` the outcome of
`benchmarks/results/recipes/NAME.json`, which is the `scores.json` of a run of `recipes/NAME.yaml`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARK = re.compile(r"<!-- (benchmark|recipe) ([\w-]+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def outcome(scores: Mapping[str, Any]) -> str:
    """What a run of a recipe came to, as a Markdown table."""
    low, high = scores["interval"]
    lines = ["| on the held-out rows | " + scores["metric"].replace("_", " ") + " |", "|---|--:|"]
    lines += [f"| {name} | {_number(value)} |" for name, value in (scores.get("bases") or {}).items()]
    lines += [f"| after {s['name']} | {_number(s['score'])} |" for s in scores["stages"][:-1]]
    lines.append(f"| tuned | {_number(scores['tuned'])} |")
    lines += [f"| {name} | {_number(one['tuned'])} |" for name, one in (scores.get("beside") or {}).items()]
    difference = (
        f"{scores['difference']:+.3f} [{low:+.3f}, {high:+.3f}] against {scores['base_name']}: {scores['verdict']}"
    )
    others = [
        f"{name}: {_number(probe['base'])} before, {_number(probe['tuned'])} after, "
        f"[{probe['interval'][0]:+.3f}, {probe['interval'][1]:+.3f}]."
        for name, probe in (scores.get("probes") or {}).items()
    ]
    took = ""
    if "seconds" in scores:
        minutes, seconds = divmod(round(scores["seconds"]), 60)
        took = f" In {minutes} min {seconds} s on {scores['machine']['cpu']}, {scores['machine']['cores']} cores."
    return "\n".join(
        [
            *lines,
            "",
            f"{scores['rows']} rows, 95 % interval: {difference}.{took}",
            *(line for one in others for line in ("", one)),
        ]
    )


def predictions(result: Mapping[str, Any]) -> list[str]:
    """How far predictions lie from what was measured, as the rows of a Markdown table."""
    lines = ["| memory | of | cells | median error | 95th percentile | goal |", "|---|---|--:|--:|--:|---|"]
    for name, one in result["summary"].items():
        kind, of = name.split("/")
        goal = one.get("goal")
        words = f"{goal['median']:.0%}, {goal['95th']:.0%}" if goal else ""
        of = {"predicted": "the plan", "classic": "the classic formula", "accelerate": "accelerate estimate-memory"}[of]
        lines.append(f"| {kind} | {of} | {one['cells']} | {one['median']:.1%} | {one['95th']:.1%} | {words} |")
    return lines


def durations(result: Mapping[str, Any]) -> list[str]:
    """Seconds that were predicted beside those that runs took, as the rows of a Markdown table."""
    lines = ["| run | predicted | took | error | goal |", "|---|--:|--:|--:|--:|"]
    for one in result["results"]:
        seconds = f"{one['predicted']:.0f} s | {one['measured']:.0f} s"
        lines.append(f"| {one['case']} | {seconds} | {one['error']:+.0%} | {result['goal']:.0%} |")
    return lines


def faults(result: Mapping[str, Any]) -> list[str]:
    """What was planted and what was found of it, for what has a goal; the rest stands in the result."""
    lines = ["| data | planted | of | recall | precision | goal |", "|---|---|--:|--:|--:|---|"]
    for one in result["results"]:
        goal = one.get("goal")
        if one.get("peer") or not isinstance(goal, Mapping) or "recall" not in goal:
            continue
        wanted = f"{goal['recall']:g}" + (f" at {goal['precision']:g}" if goal["precision"] else "")
        figures = " | ".join("" if one[name] is None else f"{one[name]:.2f}" for name in ("recall", "precision"))
        missed = "" if one["holds"] else ", missed"
        lines.append(f"| {one['case']} | {one['fault']} | {one['planted']} | {figures} | {wanted}{missed} |")
    return lines


def table(result: Mapping[str, Any]) -> str:
    """A benchmark's result as a Markdown table, with the machine it ran on below."""
    if result["benchmark"] in ("plan_time", "audit"):
        rows = durations(result) if result["benchmark"] == "plan_time" else faults(result)
        return "\n".join([*rows, "", _where(result)])
    if "summary" in result:
        return "\n".join([*predictions(result), "", _where(result)])
    lines = ["| case | ours | peer | unit | ratio | goal |", "|---|--:|--:|---|--:|--:|"]
    for one in result["results"]:
        ours, peer, ratio, goal = (_number(one[name]) for name in ("ours", "peer", "ratio", "goal"))
        peer += f" ({one['peer_name']})" if one["peer_name"] else ""
        unit = one["unit"] or one.get("reason") or ""
        lines.append(f"| {one['case']} | {ours} | {peer} | {unit} | {ratio} | {goal} |")
    return "\n".join([*lines, "", _where(result)])


def _where(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"`benchmarks/{result['benchmark']}.py` on {_words(result['machine'])}; {versions}."


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _words(machine: Any) -> str:
    if not isinstance(machine, Mapping):
        return str(machine)
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return f"{machine['cpu']}, {machine['threads']} threads{gpu}, {machine['platform']}"


def text_of(kind: str, name: str, results: Path) -> str | None:
    """What belongs between the marks of a kind; None where there is no result yet."""
    file = results / f"{name}.json" if kind == "benchmark" else results / "recipes" / f"{name}.json"
    if not file.is_file():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    return table(result) if kind == "benchmark" else outcome(result)


def filled(readme: str, results: Path = RESULTS) -> str:
    """The README with every result between its marks; marks without a result hold nothing.

    Raises:
        ValueError: There are no marks.
    """
    if not MARK.search(readme):
        raise ValueError("the README holds no marks: <!-- benchmark NAME -->, then <!-- /benchmark -->")

    def one(found: re.Match[str]) -> str:
        kind, name = found[1], found[2]
        text = text_of(kind, name, results)
        return f"<!-- {kind} {name} -->\n" + (f"{text}\n" if text is not None else "") + f"<!-- /{kind} -->"

    return MARK.sub(one, readme)


def main() -> int:
    """Write or check; 0 done, 1 out of date, 2 no result."""
    parser = argparse.ArgumentParser(description="Write the measured numbers into the README.")
    parser.add_argument("--check", action="store_true", help="write nothing, say whether the README is up to date")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    given = parser.parse_args()
    if not any(given.results.glob("*.json")):
        sys.stderr.write(f"error: there is no result yet\n  --> {given.results}\n  fix: run a benchmark first\n")
        return 2
    old = given.readme.read_text(encoding="utf-8")
    new = filled(old, given.results)
    if given.check and new != old:
        sys.stderr.write("error: the README's numbers are not those of the results\n  fix: run this without --check\n")
        return 1
    if not given.check:
        given.readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
