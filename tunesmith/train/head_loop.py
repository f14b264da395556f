"""A loop that trains one head and leaves nothing behind but what the head says of the held-out rows.

It knows no modality.
"""

from __future__ import annotations

from typing import Any

from tunesmith.recipe import Stage
from tunesmith.train.checkpoint import Checkpoint
from tunesmith.train.looking import predicted
from tunesmith.train.loop import Loop
from tunesmith.train.saving import put_best


class HeadLoop(Loop):
    """The project's loop without checkpoints: the best weights on validation rows predict from recorded activations."""

    said: list[Any]

    def save(self) -> Checkpoint | None:
        """Nothing: a fit of seconds is not resumed."""
        return None

    def _leave(self, index: int, stage: Stage, started: float) -> None:
        # Puts the average in place, too, where there is one and nothing was judged.
        put_best(self)
        self.said = predicted(self, "held_out", self.job.task.predict)
        if self.cache is not None:
            self.cache.end()
        self.cache = None
        self.at.stage, self.at.stage_step, self.at.rate, self.at.over, self.at.best = index + 1, 0, None, False, None
