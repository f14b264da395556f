"""A finished text classifier's probabilities of texts, as others trained it. It knows no task and no row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tunesmith.errors import UserError
from tunesmith.model.pretrained import (
    load_config,
    load_model,
    load_tokenizer,
    longest_input,
    saved_classes,
    stored_labels,
)
from tunesmith.model.weights import Weights

BATCH_ROWS = 32
MOST_TOKENS = 512


class TextScores:
    """A sequence classifier, ready to judge.

    Args:
        source: Its weights.
        device: Where it computes.

    Attributes:
        labels: Names of its outputs, in order.
        several: Whether a text may have several of them at once.

    Raises:
        UserError: The weights are no finished text classifier's.
    """

    def __init__(self, source: Weights, device: torch.device | str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification

        if not any("SequenceClassification" in name for name in saved_classes(source)):
            what = f"{source.name!r} was not trained to classify texts"
            raise UserError(
                what,
                str(source.folder),
                "name a text classifier (one whose config.json names a ForSequenceClassification)",
            )
        config = load_config(source)
        self.model, fresh = load_model(AutoModelForSequenceClassification, source, config)
        if fresh:
            what = f"{source.name!r} holds no {', '.join(sorted(fresh)[:3])}, so it can't judge"
            raise UserError(what, str(source.folder), "name a text classifier with its head")
        self.model.to(device).eval()
        self.device = torch.device(device)
        self.tokenizer = load_tokenizer(source)
        self.labels = stored_labels(config)
        self.several = getattr(config, "problem_type", None) == "multi_label_classification"
        self._longest = min(longest_input(config, self.tokenizer) or MOST_TOKENS, MOST_TOKENS)

    def of(self, texts: Sequence[str]) -> Iterator[list[float]]:
        """One probability a label for each text, in order; longer texts are judged by their beginning."""
        for start in range(0, len(texts), BATCH_ROWS):
            yield from self._batch(texts[start : start + BATCH_ROWS])

    @torch.inference_mode()
    def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        encoded: Any = self.tokenizer(
            list(texts), truncation=True, max_length=self._longest, padding=True, return_tensors="pt"
        )
        logits = self.model(**encoded.to(self.device)).logits.float()
        found: list[list[float]] = (logits.sigmoid() if self.several else logits.softmax(-1)).cpu().tolist()
        return found
