"""Exact match: an answer is right when it is the reference. It knows no meaning, spelling or format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tunesmith.types import Finding, Row

FINAL_PUNCTUATION = ".!?,;:\u2026\u3002\uff01\uff1f"


def exact_match(answer: str, reference: str) -> float:
    """1 where both are the same text, blanks around them aside."""
    return float(answer.strip() == reference.strip())


def normalised(text: str) -> str:
    """A text without what rarely matters: case, the number of blanks, punctuation at its end."""
    return " ".join(text.split()).casefold().rstrip(FINAL_PUNCTUATION + " ")


@dataclass(frozen=True)
class ExactScorer:
    """Judges by equality of texts."""

    name: ClassVar[str] = "exact"
    goal: ClassVar[str] = "exact_match"
    codes: ClassVar[tuple[str, ...]] = ()

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``exact_match``, and ``exact_match_normalised``: case, blanks and final punctuation aside."""
        return {
            "exact_match": exact_match(answer, reference),
            "exact_match_normalised": float(normalised(answer) == normalised(reference)),
        }

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """None: every text can be compared."""
        return ()
