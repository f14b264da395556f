"""The answers: how a generated text is judged against a row. It knows no model, no tokenizer and no loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from tunesmith.errors import UserError
from tunesmith.language.answers.calls import CallScorer
from tunesmith.language.answers.code import CodeScorer
from tunesmith.language.answers.exact import ExactScorer
from tunesmith.language.answers.json_schema import JsonScorer
from tunesmith.language.answers.overlap import OverlapScorer
from tunesmith.language.answers.sql import SqlScorer
from tunesmith.types import Finding, Row

__all__ = ["SCORERS", "Scorer", "find_scorer", "finding_codes"]


class Scorer(Protocol):
    """One way to judge answers."""

    @property
    def name(self) -> str:
        """What a recipe calls it."""

    @property
    def goal(self) -> str:
        """The metric of ``one`` that a verdict is about; more is better."""

    @property
    def codes(self) -> Sequence[str]:
        """Codes of all its findings."""

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """Metrics of one row, each in [0, 1], with the same keys for every row; whoever asks averages them."""

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """Rows that can't be judged: the reference itself, given as the answer, would not be right."""


SCORERS: Mapping[str, Callable[[Path, bool], Scorer]] = {
    "exact": lambda folder, run_code: ExactScorer(),
    "sql": lambda folder, run_code: SqlScorer(folder=folder),
    "call": lambda folder, run_code: CallScorer(),
    "json": lambda folder, run_code: JsonScorer(),
    "code": lambda folder, run_code: CodeScorer(run_code=run_code),
    "overlap": lambda folder, run_code: OverlapScorer(),
}
"""Name to what makes the scorer, from the folder that a row's paths start from and whether code may be run."""


def find_scorer(name: str, *, folder: Path | None = None, run_code: bool = False) -> Scorer:
    """The scorer called ``name``.

    Args:
        name: One of ``SCORERS``.
        folder: Where relative paths in rows start (default: the working directory).
        run_code: Whether a person has allowed that generated code is run.

    Raises:
        UserError: No scorer is called so.
    """
    if name not in SCORERS:
        near = get_close_matches(name.lower(), SCORERS, n=1)
        fix = f"write '{near[0]}'" if near else f"write one of: {', '.join(SCORERS)}"
        raise UserError(f"no scorer of answers is called {name!r}", "recipe: options", fix)
    return SCORERS[name](folder or Path(), run_code)


def finding_codes() -> tuple[str, ...]:
    """Codes of all findings that any scorer may make."""
    return tuple(dict.fromkeys(code for make in SCORERS.values() for code in make(Path(), False).codes))
