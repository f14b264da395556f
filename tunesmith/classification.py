"""What every classification shares, whatever is classified: naming, scoring, tallies, panels.

It knows no model and no input: a text, a picture or a sound are all the same to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith import metrics
from tunesmith.types import Finding, Row, Scores

SHOWN = 12
LEAST_PROBABILITY = 1e-6
"""What log loss counts a zero as: predictions are kept to six digits."""


_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")


def label_of(row: Row) -> str:
    """A row's label as its name."""
    return str(row["label"])


def ordered_labels(rows: Sequence[Row]) -> list[str]:
    """All labels: by number where every one is a number, else by name."""
    names = {label_of(row) for row in rows}
    if all(_NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


@dataclass(frozen=True)
class Classes:
    """A label table, and everything that follows from it.

    Args:
        labels: Names, in the order of the head's outputs.
    """

    labels: tuple[str, ...]

    def findings(self) -> list[Finding]:
        """A warning for labels that differ only in case or blanks."""
        folded: dict[str, list[str]] = {}
        for label in self.labels:
            folded.setdefault(" ".join(label.split()).casefold(), []).append(label)
        return [
            Finding(
                "similar-labels",
                "warning",
                f"labels that differ only in case or blanks: {', '.join(map(repr, sorted(variants)))}",
                "label",
                "write them alike",
            )
            for variants in folded.values()
            if len(variants) > 1
        ]

    def named(self, probabilities: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
        """Predictions from probabilities [rows, classes]: the most probable label and the probability of each."""
        out = []
        for row in probabilities:
            best = max(range(len(row)), key=row.__getitem__)
            shares = {name: round(float(p), 6) for name, p in zip(self.labels, row, strict=True)}
            out.append({"label": self.labels[best], "probabilities": shares})
        return out

    def arrays(self, predictions: Sequence[Any], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the true and of the predicted labels, each [rows]."""
        index = {label: i for i, label in enumerate(self.labels)}
        true = np.array([index[label_of(row)] for row in rows], dtype=np.int64)
        return true, np.array([index[p["label"]] for p in predictions], dtype=np.int64)

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Macro-F1, accuracy, log loss (nats) and expected calibration error (15 bins)."""
        true, found = self.arrays(predictions, rows)
        matrix = metrics.confusion(true, found, len(self.labels))
        of_truth = [p["probabilities"][self.labels[t]] for p, t in zip(predictions, true, strict=True)]
        return {
            "macro_f1": metrics.macro_f1(matrix),
            "accuracy": metrics.accuracy(matrix),
            "log_loss": float(-np.log(np.clip(of_truth, LEAST_PROBABILITY, 1)).mean()),
            "calibration_error": metrics.expected_calibration_error(_confidence(predictions), true == found),
        }

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Statistics by row, whose sums determine macro-F1 (``metrics.macro_f1_from``)."""
        return metrics.tally_classification(*self.arrays(predictions, rows), len(self.labels))

    def panels(
        self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any], shown: Callable[[Row], str]
    ) -> list[dict[str, Any]]:
        """Confusion matrices, the table by class, calibration, the worst mistakes, and what changed.

        Args:
            rows: The held-out rows.
            base, tuned: Predictions for them.
            shown: A row's input, for a person.
        """
        true, found = self.arrays(tuned, rows)
        matrix = metrics.confusion(true, found, len(self.labels))
        before = metrics.confusion(*self.arrays(base, rows), len(self.labels)) if base is not None else None
        wrong = sorted(np.flatnonzero(true != found).tolist(), key=lambda i: -_confidence(tuned)[i])

        def items(chosen: Sequence[int]) -> list[dict[str, Any]]:
            return [_example(rows[i], base[i] if base is not None else None, tuned[i], shown) for i in chosen[:SHOWN]]

        panels: list[dict[str, Any]] = [
            {
                "kind": "confusion",
                "title": "Confusion matrix",
                "labels": list(self.labels),
                "base": before.tolist() if before is not None else None,
                "tuned": matrix.tolist(),
            },
            self._by_class(matrix),
            _calibration(tuned, true == found),
            {
                "kind": "examples",
                "title": "Worst mistakes",
                "note": f"{len(wrong)} of {len(rows)} held-out rows are wrong; the surest of them first.",
                "items": items(wrong),
            },
        ]
        if base is not None:
            right_before = np.array([p["label"] == label_of(row) for p, row in zip(base, rows, strict=True)])
            for title, mask in (
                ("Mended: wrong before, right now", ~right_before & (true == found)),
                ("Broken: right before, wrong now", right_before & (true != found)),
            ):
                chosen = np.flatnonzero(mask).tolist()
                note = f"{len(chosen)} held-out rows."
                panels.append({"kind": "examples", "title": title, "note": note, "items": items(chosen)})
        return panels

    def _by_class(self, matrix: np.ndarray) -> dict[str, Any]:
        table = [
            [label, s.support, round(s.precision, 4), round(s.recall, 4), round(s.f1, 4)]
            for label, s in zip(self.labels, metrics.per_class(matrix), strict=True)
        ]
        columns = ["label", "rows", "precision", "recall", "F1"]
        note = "On the held-out rows."
        return {"kind": "table", "title": "By class, tuned", "columns": columns, "rows": table, "note": note}


def _confidence(predictions: Sequence[Any]) -> np.ndarray:
    return np.array([max(p["probabilities"].values()) for p in predictions])


def _calibration(predictions: Sequence[Any], right: np.ndarray) -> dict[str, Any]:
    sure = _confidence(predictions)
    bins = [
        {"confidence": b.confidence, "accuracy": b.accuracy, "rows": b.rows}
        for b in metrics.reliability(sure, right)
        if b.rows
    ]
    error = metrics.expected_calibration_error(sure, right)
    return {"kind": "calibration", "title": "Calibration", "bins": bins, "error": error}


def _example(row: Row, base: Any, tuned: Any, shown: Callable[[Row], str]) -> dict[str, Any]:
    expected = label_of(row)
    return {
        "id": row["id"],
        "input": shown(row)[:2000],
        "expected": expected,
        "base": base["label"] if base else None,
        "tuned": tuned["label"],
        "base_ok": base["label"] == expected if base else None,
        "tuned_ok": tuned["label"] == expected,
        "detail": {name: round(p, 4) for name, p in tuned["probabilities"].items()},
    }
