"""Write the benchmark's numbers into the README, between its two marks, from the committed result.

python scripts/readme_numbers.py            # writes
python scripts/readme_numbers.py --check    # exit code 1 where the README says something else
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "text_classification.json"
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"


def table(result: Mapping[str, Any]) -> str:
    """A benchmark's result as a Markdown table, with the machine it ran on below."""
    lines = ["| case | ours | peer | unit | ratio | goal |", "|---|--:|--:|---|--:|--:|"]
    for one in result["results"]:
        ours, peer, ratio, goal = (_number(one[name]) for name in ("ours", "peer", "ratio", "goal"))
        peer += f" ({one['peer_name']})" if one["peer_name"] else ""
        lines.append(f"| {one['case']} | {ours} | {peer} | {one['unit']} | {ratio} | {goal} |")
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    where = f"`benchmarks/{result['benchmark']}.py` on {_words(result['machine'])}; {versions}."
    return "\n".join([*lines, "", where])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _words(machine: Any) -> str:
    if not isinstance(machine, Mapping):
        return str(machine)
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return f"{machine['cpu']}, {machine['threads']} threads{gpu}, {machine['platform']}"


def filled(readme: str, text: str) -> str:
    """The README with ``text`` between the marks.

    Raises:
        ValueError: The marks are not there, once each and in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"the README must hold {BEGIN} and {END}, once each and in this order")
    before, after = readme[: readme.index(BEGIN)], readme[readme.index(END) :]
    return f"{before}{BEGIN}\n{text}\n{after}"


def main() -> int:
    """Write or check; 0 done, 1 out of date, 2 no result."""
    parser = argparse.ArgumentParser(description="Write the benchmark's numbers into the README.")
    parser.add_argument("--check", action="store_true", help="write nothing, say whether the README is up to date")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    given = parser.parse_args()
    if not given.result.is_file():
        sys.stderr.write(f"error: there is no result yet\n  --> {given.result}\n  fix: run the benchmark first\n")
        return 2
    old = given.readme.read_text(encoding="utf-8")
    new = filled(old, table(json.loads(given.result.read_text(encoding="utf-8"))))
    if given.check and new != old:
        sys.stderr.write("error: the README's numbers are not those of the result\n  fix: run this without --check\n")
        return 1
    if not given.check:
        given.readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
