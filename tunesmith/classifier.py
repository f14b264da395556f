"""What tasks that give one of several labels have in common: the label table, its loss, its scores, its panels.

It knows no kind of input and no architecture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tunesmith import metrics
from tunesmith.classification import Classes, label_of, ordered_labels
from tunesmith.errors import UserError
from tunesmith.model.pretrained import load_config, stored_labels
from tunesmith.task import Task, TaskOptions
from tunesmith.types import Batch, Counts, Finding, Row, Scores, Sums


class ClassifierOptions(TaskOptions):
    """Settings of every task that gives one of several labels."""

    labels: list[str] | None = Field(
        None, min_length=2, description="The labels in their order; left out, those of the data."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced weighs each row by the inverse share of its class."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target that is spread over all classes.")


class Classifier(Task):
    """A task that gives one of several labels. Abstract: it has no model."""

    target = "label"
    goal = "macro_f1"
    options: ClassifierOptions
    knows_labels = False
    """Whether the head that was loaded gives these very labels; set by ``load``."""

    @abstractmethod
    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Logits of a batch, [rows, labels]."""

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the head's outputs."""
        return list(self.facts.values["labels"])

    @cached_property
    def classes(self) -> Classes:
        """The label table."""
        return Classes(tuple(self.labels))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @cached_property
    def _weights(self) -> Tensor:
        return torch.tensor(self.facts.values["class_weights"], dtype=torch.float32)

    def label_facts(self, rows: Sequence[Row]) -> tuple[dict[str, Any], str]:
        """The labels of training rows with their counts and weights, and one line for a person.

        Raises:
            UserError: ``options.labels`` leaves some of them out.
        """
        counts = Counter(label_of(row) for row in rows)
        labels = self.options.labels or self._order_of(ordered_labels(rows))
        unknown = sorted(set(counts) - set(labels))
        if unknown:
            raise UserError(
                f"options.labels leaves out {len(unknown)} labels of the data: {', '.join(unknown[:5])}",
                "recipe: options.labels",
                "add them, or leave options.labels out",
            )
        total = sum(counts.values())
        balanced = [total / (len(labels) * max(1, counts[label])) for label in labels]
        values = {
            "labels": labels,
            "label_counts": {label: counts[label] for label in labels},
            "class_weights": balanced if self.options.class_weights == "balanced" else [1.0] * len(labels),
        }
        return values, f"{len(labels)} labels: {', '.join(f'{x} {counts[x] / total:.0%}' for x in labels)}"

    def _order_of(self, labels: list[str]) -> list[str]:
        """The base model's own order where it is a classifier of exactly these labels, so that its head still fits."""
        stored = stored_labels(load_config(self.source))
        return stored if sorted(stored) == sorted(labels) else labels

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Labels that differ only in case or blanks."""
        return self.classes.findings()

    def label_number(self, row: Row) -> Tensor | None:
        """The number of a row's label; None where it has none."""
        return None if row.get("label") is None else torch.tensor(self._index[label_of(row)])

    def count(self, batch: Batch) -> Counts:
        """Rows, each weighing what its class weighs."""
        return {"examples": float(self._weights[batch["label"].cpu()].sum())}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Weighted cross-entropy, summed over rows."""
        each = F.cross_entropy(
            self.logits(model, batch).float(),
            batch["label"],
            reduction="none",
            label_smoothing=self.options.label_smoothing,
        )
        return {"examples": (each * self._weights.to(each.device)[batch["label"]]).sum()}

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The most probable label, and the probability of each."""
        return self.named(self.logits(model, batch).float().softmax(-1))

    def named(self, probabilities: Tensor) -> list[Any]:
        """Predictions from probabilities, [rows, labels]."""
        return self.classes.named(probabilities.tolist())

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The majority class, and a head that already knows these labels."""
        counts = self.facts.values["label_counts"]
        shares = torch.tensor([counts[label] for label in self.labels], dtype=torch.float32)
        shares = shares / shares.sum()

        def majority(_model: nn.Module, batch: Batch) -> list[Any]:
            return self.named(shares.expand(len(next(iter(batch.values()))), -1))

        found: dict[str, Callable[[nn.Module, Batch], list[Any]]] = {"majority class": majority}
        if self.knows_labels:
            found["pretrained classifier"] = self.predict
        return found

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Macro-F1, accuracy, log loss (nats) and expected calibration error."""
        return self.classes.score(predictions, rows)

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Counts by class, whose sums determine macro-F1."""
        return self.classes.tally(predictions, rows)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """Macro-F1 of summed tallies."""
        return metrics.macro_f1_from(totals)
