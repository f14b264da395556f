"""A linear head fitted to its optimum on recorded features, under the task's own loss.

The penalty is chosen, no learning rate is: for a convex loss the result depends on the rows alone, so networks and
numbers of rows can be held beside each other. It knows no modality and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.train.features import Features, taken
from tunesmith.train.step import divided

if TYPE_CHECKING:
    from tunesmith.task import Task
    from tunesmith.types import Batch

DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4)
"""Weights of the penalty ``decay / 2 * |W|^2`` beside the mean loss, strongest first.

scikit-learn's C is 1 / (decay * rows).
"""
DEFAULT_DECAY = 0.1
FEW_ROWS = 20
"""With fewer, and none that judge, the penalty is ``DEFAULT_DECAY``."""
WORSE_IN_A_ROW = 2
"""The path of penalties ends where the loss of the rows that pick one has risen so often."""

Head = Callable[[Tensor], Tensor]
"""Features [rows, width] to what the network's own head would put out, [rows, outputs]."""


@dataclass(frozen=True)
class LinearFit:
    """Fits heads.

    Args:
        task: Gives the loss.
        answers: Stands for the model, from ``Recorder.check``.
        features: Of the rows that may be learned from.
        outputs: Of the head.
        bias: Whether the head has one.
    """

    task: Task
    answers: Any
    features: Features
    outputs: int
    bias: bool

    def head_of(self, rows: Sequence[int], judging: Sequence[int], seed: int) -> Head:
        """The head that learns ``rows``, under the penalty with the least loss on ``judging``.

        Without such rows a fifth of ``rows``, drawn by ``seed``, pick it, and the head is fitted to all of them again.
        """
        if len(judging):
            return self.path(rows, DECAYS, judging)[0]
        if len(rows) < FEW_ROWS:
            return self.path(rows, [DEFAULT_DECAY])[0]
        order = np.random.default_rng(seed).permutation(np.asarray(rows)).tolist()
        _, decay = self.path(order[len(order) // 5 :], DECAYS, order[: len(order) // 5])
        return self.path(rows, [decay])[0]

    def path(self, rows: Sequence[int], decays: Sequence[float], judging: Sequence[int] = ()) -> tuple[Head, float]:
        """Heads under one penalty after another, each from where the one before ended; the best one and its penalty.

        The best on ``judging``, or the last where there are none. Features are standardised by the rows that are
        learned from, so that one scale of penalties fits every network.
        """
        batch, inputs = taken(self.features.batch, rows), self.features.inputs[list(rows)]
        mean = inputs.mean(0) if self.bias else inputs.new_zeros(inputs.shape[1])
        spread = inputs.std(0, unbiased=False)
        # A feature that never changes says nothing; divided by its rounding it would say a lot.
        spread = torch.where(spread > 1e-6 * inputs.abs().amax(0) + 1e-12, spread, torch.ones_like(spread))
        inputs = (inputs - mean) / spread
        judged, of_judged = (self.features.inputs[list(judging)] - mean) / spread, taken(self.features.batch, judging)
        head = nn.Linear(inputs.shape[1], self.outputs, bias=self.bias)
        for parameter in head.parameters():
            nn.init.zeros_(parameter)
        best, worse = (float("inf"), decays[0]), 0
        kept: dict[str, Tensor] = {}
        for decay in decays:
            self._descend(head, inputs, batch, decay)
            with torch.no_grad():
                loss = float(self.loss(head(judged), of_judged)) if len(judging) else 0.0
            if loss < best[0] or not (kept and len(judging)):
                best, worse = (loss, decay), 0
                kept = {name: value.clone() for name, value in head.state_dict().items()}
            else:
                worse += 1
                if worse == WORSE_IN_A_ROW:
                    break
        head.load_state_dict(kept)

        def said(features: Tensor) -> Tensor:
            with torch.no_grad():
                return head((features - mean) / spread)  # type: ignore[no-any-return]

        return said, best[1]

    def _descend(self, head: nn.Linear, inputs: Tensor, batch: Batch, decay: float) -> None:
        optimizer = torch.optim.LBFGS(
            head.parameters(), max_iter=100, tolerance_grad=1e-5, tolerance_change=1e-8, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(head(inputs), batch) + decay / 2 * head.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The task's mean loss of rows, given what the head puts out."""
        sums = self.task.loss(self.answers.saying(outputs), batch)
        return torch.stack([term.float() for term in divided(sums, self.task.count(batch)).values()]).sum()
