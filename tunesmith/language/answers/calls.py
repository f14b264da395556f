"""Function calls: an answer is right when it calls what the reference calls, with the same arguments. It runs nothing.

It knows no function: whether a call makes sense is not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tunesmith.language.answers.call_text import Call, calls_from, calls_in
from tunesmith.language.answers.faults import Fault, gather
from tunesmith.language.answers.json_values import NotJson, given, same
from tunesmith.types import Finding, Row

MOST_CALLS = 200
"""Calls in one answer beyond which it counts as wrong: each is held against each."""


@dataclass(frozen=True)
class CallScorer:
    """Judges by parsed calls: 1 is 1.0, and neither the order of arguments nor that of calls matters.

    The right calls are the row's ``tool_calls`` where it has them (OpenAI's shape; an empty list: nothing is to be
    called), else those in the reference.
    """

    name: ClassVar[str] = "call"
    goal: ClassVar[str] = "call_exact_match"
    codes: ClassVar[tuple[str, ...]] = ("gold-call-unreadable",)

    def one(self, answer: str, reference: str, row: Row) -> dict[str, float]:
        """``call_exact_match``; ``call_name_match``: the same functions; ``parses``: the answer is calls.

        Where nothing is to be called, an answer that holds no call is right in all three.
        """
        try:
            wanted = _gold(reference, row)
        except NotJson:
            return {"call_exact_match": 0.0, "call_name_match": 0.0, "parses": float(_found(answer) is not None)}
        found = _found(answer)
        parses = found is not None or not wanted
        found = found or []
        names = Counter(call.name for call in found) == Counter(call.name for call in wanted)
        return {
            "call_exact_match": float(parses and names and same_calls(found, wanted)),
            "call_name_match": float(parses and names),
            "parses": float(parses),
        }

    def findings(self, rows: Sequence[Row], references: Sequence[str]) -> Iterable[Finding]:
        """Rows whose right calls can't be read."""
        return gather(rows, references, _fault)


def same_calls(found: Sequence[Call], wanted: Sequence[Call]) -> bool:
    """Whether each call of one side stands for exactly one of the other."""
    if len(found) != len(wanted) or len(wanted) > MOST_CALLS:
        return False
    left = list(wanted)
    for call in found:
        at = next((i for i, other in enumerate(left) if _same_call(call, other)), None)
        if at is None:
            return False
        left.pop(at)
    return True


def _same_call(one: Call, other: Call) -> bool:
    return one.name == other.name and same(one.arguments, other.arguments)


def _found(answer: str) -> list[Call] | None:
    try:
        return calls_in(answer)
    except NotJson:
        return None


def _gold(reference: str, row: Row) -> list[Call]:
    calls = row.get("tool_calls")
    return calls_in(reference) if calls is None or calls == "" else list(calls_from(given(calls)))


def _fault(row: Row, reference: str) -> Fault | None:
    try:
        wanted = _gold(reference, row)
    except NotJson as error:
        return Fault(
            "gold-call-unreadable",
            "have right calls that can't be read",
            "column tool_calls" if row.get("tool_calls") else "the reference",
            'write them as [{"function": {"name": ..., "arguments": {...}}}] in \'tool_calls\', or as JSON or f(a=1) '
            "in the reference; where nothing is to be called, give an empty list in 'tool_calls'",
            str(error),
        )
    if len(wanted) > MOST_CALLS:
        return Fault(
            "gold-call-unreadable",
            "have right calls that can't be read",
            "the reference",
            "leave these rows out",
            f"it has {len(wanted):,} calls; the most is {MOST_CALLS}",
        )
    return None
