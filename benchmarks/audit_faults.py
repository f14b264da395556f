"""Damages clean real data at known rows, and keeps the truth: every world by name.

Texts are damaged in `audit_faults_text`, answers in `audit_faults_answers`, pictures and sound in
`audit_faults_media`; what a world is stands in `audit_worlds`. It knows no audit and none of its codes.

    python benchmarks/audit_faults.py WORLD FOLDER [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import audit_faults_media as media
from benchmarks.audit_faults_answers import answers_faq, answers_sql
from benchmarks.audit_faults_text import million, text_damage, text_doubles, text_flips, text_outliers
from benchmarks.audit_worlds import World


def makers() -> dict[str, Callable[[Path, int, bool], World]]:
    """Every world by name: gets an empty folder, a seed, and whether it is to be small."""
    return {
        "text/flips-5": text_flips(0.05),
        "text/flips-20": text_flips(0.2),
        "text/source-flips-5": text_flips(0.05, "source"),
        "text/source-flips-20": text_flips(0.2, "source"),
        "text/outliers": text_outliers,
        "text/doubles": text_doubles,
        "text/damage": text_damage,
        "answers/faq": answers_faq,
        "answers/sql": answers_sql,
        **media.MAKERS,
        "million": million,
    }


def make(name: str, folder: Path, seed: int = 0, *, quick: bool = False) -> World:
    """One world in a folder that is empty or not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return makers()[name](folder, seed, quick)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("world")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    world = make(given.world, given.folder.resolve(), given.seed, quick=given.quick)
    print(f"{world.recipe}: {world.rows}, { ({fault: len(cases) for fault, cases in world.faults.items()}) }")
