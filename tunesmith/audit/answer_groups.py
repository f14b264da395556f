"""Answers to the same question beside each other, and what preferences have in common. It reads rows again, a few."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.audit.contradictions import MOST_ANSWERS, contradictions
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, SideName
from tunesmith.audit.gathered import Fault, Gathered
from tunesmith.language.rows import answer_of
from tunesmith.types import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tunesmith.audit.answers import Answers

MOST_GROUPS = 20_000
"""Questions with several answers that are compared, which reads their rows again."""
RARE_SHARE = 0.1
"""Share of rows up to which questions with several answers are rare: the data answers a question once."""
LEAST_PAIRS, DECIDES = 50, 0.85
CONTRADICTION = Fault(
    "have the same question as another row and an answer that contradicts its",
    "decide for one answer; --fix keeps the one that most of them give, and none where none prevails",
    warning=0.001,
    error=0.05,
    remedy="drop",
)
OPPOSITE = Fault(
    "prefer the answer that another row with the same prompt rejects for the other",
    "decide for one order, or leave both rows out",
    warning=0.001,
    error=0.05,
    remedy="drop",
)


def contradiction_findings(data: AuditData, questions: array[int], answers: array[int]) -> Iterator[Found]:
    """Rows whose answer contradicts that of another row with the same prompt.

    Args:
        data: What is judged.
        questions, answers: A hash of each row's prompt and answer; 0 where there is none.
    """
    import numpy as np

    gathered = Gathered(data, {"contradictory-answers": CONTRADICTION})
    groups = _groups(np.frombuffer(questions, np.uint64), np.frombuffer(answers, np.uint64))
    rare = sum(map(len, groups)) <= RARE_SHARE * len(questions)
    for group in groups:
        rows = [place_of(data, number) for number in group]
        for found in contradictions([answer_of(row) for _, row in rows], rare=rare):
            side, row = rows[found.place]
            other_side, other = rows[found.other]
            gathered.add(
                "contradictory-answers",
                side,
                str(row["id"]),
                found.note,
                found.score,
                twin=f"{other_side}:{other['id']}",
            )
    yield from gathered.findings()


def _groups(questions: NDArray[np.uint64], answers: NDArray[np.uint64]) -> list[list[int]]:
    """Numbers of rows with one question and some, not many, different answers."""
    import numpy as np

    rows = np.flatnonzero((questions != 0) & (answers != 0))
    order = rows[np.lexsort((rows, answers[rows], questions[rows]))]
    if not len(order):
        return []
    asked, said = questions[order], answers[order]
    starts = np.flatnonzero(np.concatenate([[True], asked[1:] != asked[:-1]]))
    fresh = np.concatenate([[True], (asked[1:] != asked[:-1]) | (said[1:] != said[:-1])])
    different = np.add.reduceat(fresh.astype(int), starts)
    ends = np.append(starts[1:], len(order))
    several = np.flatnonzero((different > 1) & (different <= MOST_ANSWERS) & (ends - starts <= 20 * MOST_ANSWERS))
    return [np.sort(order[starts[group] : ends[group]]).tolist() for group in several[:MOST_GROUPS]]


def preference_findings(data: AuditData, answers: Answers) -> Iterator[Found]:
    """Pairs that stand the other way round in another row, and whether length alone tells what is preferred."""
    import numpy as np

    asked = np.frombuffer(answers.questions, np.uint64)
    better, worse = (np.frombuffer(side, np.uint64) for side in (answers.chosen, answers.rejected))
    # Odd factors, so that the order of the pair counts.
    mixed = asked * np.uint64(0x9E3779B97F4A7C15)
    forth = mixed ^ (better * np.uint64(0xC2B2AE3D27D4EB4F)) ^ (worse * np.uint64(0x165667B19E3779F9))
    back = mixed ^ (worse * np.uint64(0xC2B2AE3D27D4EB4F)) ^ (better * np.uint64(0x165667B19E3779F9))
    gathered = Gathered(data, {"contradictory-preferences": OPPOSITE})
    turned = np.flatnonzero(np.isin(forth, back) & (better != worse) & (better != 0) & (worse != 0))
    order = np.argsort(back, kind="stable")
    sorted_back = back[order]
    for number in turned.tolist():
        other = int(order[np.searchsorted(sorted_back, forth[number])])
        side, row = place_of(data, number)
        other_side, twin = place_of(data, other)
        where = f"{other_side}:{twin['id']}"
        gathered.add("contradictory-preferences", side, str(row["id"]), "the other way round", 0.95, twin=where)
    yield from gathered.findings()
    yield from _length_decides(data, answers)


def _length_decides(data: AuditData, answers: Answers) -> Iterator[Found]:
    import numpy as np

    better, worse = (np.frombuffer(side, np.int32) for side in (answers.words, answers.other_words))
    judged = (better >= 0) & (worse >= 0) & (better != worse)
    if judged.sum() < LEAST_PAIRS:
        return
    longer = float((better > worse)[judged].mean())
    share = max(longer, 1 - longer)
    if share >= DECIDES:
        which = "longer" if longer > 0.5 else "shorter"
        yield Found(
            "length-decides",
            "warning" if share >= 0.95 else "note",
            f"the preferred answer is the {which} one in {share:.1%} of {int(judged.sum()):,} pairs of different "
            "length: a model can learn length in place of what you mean",
            data.where("train"),
            f"add pairs in which the {'shorter' if longer > 0.5 else 'longer'} answer is preferred",
            share=share,
        )


def place_of(data: AuditData, number: int) -> tuple[SideName, Row]:
    """Side and row of a number that counts on through both sides."""
    train = data.sides["train"]
    return ("train", train[number]) if number < len(train) else ("eval", data.sides["eval"][number - len(train)])
