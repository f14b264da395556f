"""Keep what a run of a recipe came to: its scores, how long it took, and the machine.

    python scripts/recipe_result.py runs/object-detection [--beside FILE --as "from random weights"]

writes `benchmarks/results/recipes/NAME.json`, which the README shows. `--beside` adds the tuned score of another run
of the same recipe under a name; FILE is what `tunesmith evaluate RUN --json` printed of it, or its `scores.json`. Where
the first argument is the name of a result that is there already, only that is added to it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "recipes"


def read(run: Path, name: str) -> Any:
    """A JSON file of a run."""
    return json.loads((run / name).read_text(encoding="utf-8"))


def main() -> None:
    """Write one result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--as", dest="name", default="beside")
    given = parser.parse_args()
    file = RESULTS / f"{given.run.name}.json"
    if given.run.is_dir():
        found = read(given.run, "scores.json")
        found["seconds"] = round(read(given.run, "measured.json")["seconds"], 1)
        found["machine"] = read(given.run, "environment.json")["machine"]
    else:
        found = read(RESULTS, file.name)
    if given.beside is not None:
        other = json.loads(given.beside.read_text(encoding="utf-8"))
        found["beside"] = {given.name: {"tuned": other["tuned"], "scores": other["all"]["tuned"]}}
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main()
