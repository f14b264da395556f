"""A pilot: the model learns a share of the rows by LoRA, through the same door as every run. It judges nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.asking.model import Model
from tunesmith.data.digest import canonical_json
from tunesmith.diagnose.found import Item
from tunesmith.diagnose.inquiry import Pilot
from tunesmith.diagnose.items import conversation_of
from tunesmith.errors import UserError
from tunesmith.journey import Hooks

LEAST_ROWS = 8
ROWS_A_STEP = 8
LEAST_STEPS, LEAST_EPOCHS, MOST_EPOCHS = 60, 3, 10
"""Few rows are read more often, so that a pilot of a quarter of them is not merely one that was not trained."""
RATE, RANK = 5e-4, 16
_DONE = "seconds.json"


def epochs_of(rows: int) -> int:
    """How often so many rows are read."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(LEAST_STEPS * ROWS_A_STEP / max(1, rows))))


@dataclass(frozen=True)
class Pilots:
    """Makes pilots of one model; those that are finished are read back, one that was stopped goes on.

    Args:
        base: The model's name, as a recipe has it.
        folder: Where their runs are.
        open_model: A run's folder to a model that answers.
        hooks: How a run speaks to a person.
        device: Where to compute.
        seed: Of the order in which rows are taken: a quarter of them stands in the half.
    """

    base: str
    folder: Path
    open_model: Callable[[str], Model]
    hooks: Hooks
    device: str = "auto"
    seed: int = 0

    def __call__(self, rows: Sequence[Item], items: Sequence[Item], share: float) -> Pilot:
        """Tune on a share of the rows.

        Raises:
            UserError: There are too few of them, or the run can't be made.
        """
        from tunesmith.tune import fine_tune

        order = np.random.default_rng(self.seed).permutation(len(rows))
        chosen = [rows[place] for place in order[: math.ceil(share * len(rows))]]
        if len(chosen) < LEAST_ROWS:
            raise UserError(
                f"{len(chosen)} rows are too few for a pilot", "--train", f"give at least {LEAST_ROWS / share:.0f} rows"
            )
        place = self.folder / f"pilot-{share * 100:.0f}-{self._digest(chosen, items)}"
        recipe = self._written(place, chosen, items)
        started = time.monotonic()
        run = fine_tune(recipe, hooks=self.hooks)
        seconds = time.monotonic() - started
        kept = place / _DONE
        if kept.exists():
            seconds = float(json.loads(kept.read_text(encoding="utf-8")))
        else:
            kept.write_text(json.dumps(seconds), encoding="utf-8")
        return Pilot(self.open_model(str(run.folder)), len(chosen), seconds, str(run.folder))

    def _digest(self, rows: Sequence[Item], items: Sequence[Item]) -> str:
        """Of all that a pilot is made from: other rows or another base make another run."""
        said = [[conversation_of(item) for item in some] for some in (rows, items)]
        content = canonical_json([self._recipe(Path(), len(rows)), said])
        return blake2b(content, digest_size=4).hexdigest()

    def _written(self, place: Path, rows: Sequence[Item], items: Sequence[Item]) -> Path:
        """The recipe of a pilot, beside its rows."""
        try:
            place.mkdir(parents=True, exist_ok=True)
            for name, some in (("train", rows), ("items", items)):
                lines = [{"id": f"{n}", "messages": conversation_of(row)} for n, row in enumerate(some)]
                text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                (place / f"{name}.jsonl").write_text(text, encoding="utf-8")
            file = place / "recipe.yaml"
            file.write_text(json.dumps(self._recipe(place.absolute(), len(rows)), indent=1), encoding="utf-8")
        except OSError as fault:
            raise UserError(
                f"the pilot can't be written: {fault.strerror}", str(place), "choose another --out"
            ) from fault
        return file

    def _recipe(self, place: Path, rows: int) -> dict[str, Any]:
        """JSON is YAML, too. No answers are written while it is tuned: the probes ask for them."""
        return {
            "task": "causal-lm",
            "model": self.base,
            "data": {"train": str(place / "train.jsonl"), "eval": str(place / "items.jsonl")},
            "stages": [{"train": "adapter", "epochs": epochs_of(rows), "lr": RATE}],
            "adapter": {"kind": "lora", "r": RANK},
            "batch": {"rows": ROWS_A_STEP},
            "engine": {"device": self.device},
            "options": {"metric": "perplexity", "forgetting": None},
            "run": {"name": "run", "folder": str(place), "seed": self.seed},
        }
