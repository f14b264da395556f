"""What a damaged data set is: its rows, its truth, its files, and rows that are taken once each. It damages no text.

A world is a folder with a recipe and the rows it names, some of them damaged. Each kind of damage is a fault with its
cases; a case is one damaged row, or the two rows that should not stand beside each other. A row carries one fault at
most.
"""

from __future__ import annotations

import csv
import json
import string
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

Row = dict[str, Any]
Case = tuple[str, ...]
"""``side:id`` of a damaged row; of two, where the fault is that both are there."""


@dataclass
class World:
    """A damaged data set.

    Args:
        name: Which one.
        folder: Where it lies.
        recipe: Its recipe file.
        faults: Cases by fault.
        rows: How many rows each side has.
        arguments: What an audit is to be told beside the recipe.
    """

    name: str
    folder: Path
    recipe: Path
    faults: dict[str, list[Case]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def save(self) -> World:
        """Write the truth beside the data; the world itself."""
        truth = {"world": self.name, "rows": self.rows, "arguments": self.arguments, "faults": self.faults}
        (self.folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
        return self


class Draw:
    """Rows that are taken once each, by seed and world.

    Args:
        seed: With it and the name everything is drawn.
        name: Of the world.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self._free: dict[str, list[int]] = {}

    def over(self, side: str, count: int) -> None:
        """The rows of a side, in a drawn order."""
        self._free[side] = [int(i) for i in self.rng.permutation(count)]

    def take(self, side: str, count: int, fit: Callable[[int], bool] = lambda _at: True) -> list[int]:
        """So many rows of a side that are fit and that nobody took yet.

        Raises:
            LookupError: There are too few.
        """
        chosen: list[int] = []
        for at in self._free[side]:
            if len(chosen) == count:
                break
            if fit(at):
                chosen.append(at)
        if len(chosen) < count:
            raise LookupError(f"{len(chosen)} of {count} rows of {side} are fit")
        taken = set(chosen)
        self._free[side] = [at for at in self._free[side] if at not in taken]
        return chosen

    def one(self, values: Sequence[Any]) -> Any:
        """One of some values."""
        return values[int(self.rng.integers(len(values)))]

    def letters(self, count: int, of: str = string.ascii_letters + string.digits) -> str:
        """A drawn word."""
        return "".join(of[int(i)] for i in self.rng.integers(len(of), size=count))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_recipe(folder: Path, task: str, model: str, train: str, held_out: str, **more: Any) -> Path:
    """A recipe for a world's rows."""
    recipe = {
        "task": task,
        "model": model,
        "data": {"train": str(folder / train), "eval": str(folder / held_out), "validation": 0.0, "broken_rows": 0.2},
        "stages": [{"train": "head", "epochs": 1, "lr": 1e-3}],
        "run": {"folder": str(folder / "runs"), "name": "run"},
        **more,
    }
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe, indent=1), encoding="utf-8")
    return file


def flipped(labels: Sequence[str], share: float, draw: Draw) -> dict[int, str]:
    """Row to another label, for a share of the rows, drawn evenly over classes."""
    count, names = round(share * len(labels)), sorted(set(labels))
    order = draw.take("train", count)
    return {at: draw.one([name for name in names if name != labels[at]]) for at in order}
