"""Overlap of texts, ROUGE-L and chrF, as their reference libraries compute it. It knows no meaning.

https://github.com/google-research/google-research/tree/master/rouge, https://github.com/mjpost/sacrebleu
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from tunesmith.language.answers.faults import Fault, gather
from tunesmith.language.answers.libraries import library
from tunesmith.types import Finding, Row


@dataclass(frozen=True)
class OverlapScorer:
    """Judges by shared words and characters: the verdict is about chrF, which reads every script; ROUGE-L does not."""

    name: ClassVar[str] = "overlap"
    goal: ClassVar[str] = "chrf"
    codes: ClassVar[tuple[str, ...]] = ("gold-empty", "no-rouge")

    @cached_property
    def _rouge(self) -> Any:
        return library("rouge_score.rouge_scorer", self.name).RougeScorer(["rougeL"], use_stemmer=False)

    @cached_property
    def _chrf(self) -> Any:
        return library("sacrebleu.metrics", self.name).CHRF()

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``rouge_l``: its F-measure, without stemming; ``chrf``: chrF2 of the sentence, both 0 to 1."""
        return {
            "rouge_l": float(self._rouge.score(reference, answer)["rougeL"].fmeasure),
            "chrf": float(self._chrf.sentence_score(answer, [reference]).score) / 100,
        }

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """References that are empty, or hold nothing that ROUGE reads."""
        return gather(rows, references, self._fault)

    def _fault(self, row: Row, reference: str) -> Fault | None:
        if not reference.strip():
            return Fault(
                "gold-empty",
                "have an empty reference, which nothing can overlap with",
                "the reference",
                "give these rows a reference, or leave them out",
            )
        if self._rouge.score(reference, reference)["rougeL"].fmeasure == 0:
            return Fault(
                "no-rouge",
                "have a reference without a word that ROUGE reads (a-z and 0-9), so rouge_l is 0 whatever the answer",
                "the reference",
                "read chrf instead; it is what the verdict is about",
                level="warning",
            )
        return None
