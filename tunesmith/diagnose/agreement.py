"""Whether references agree with themselves, and with what answers are judged by. It asks no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.audit.contradictions import contradictions
from tunesmith.diagnose.content import judge_content
from tunesmith.diagnose.found import Item, Judged
from tunesmith.diagnose.items import same_questions
from tunesmith.diagnose.wanted import Wanted
from tunesmith.errors import UserError

ONE_VALUE = ("number", "choice")
"""Kinds of content of which an item has one right answer, however many references it has."""

MOST_MISFITS = 0.5
"""Share of the references that may be wrong by what is judged before that is the wrong thing to judge by."""


def misfits_said(items: Sequence[Item], judge: Callable[[Item, str], Judged]) -> list[str]:
    """Judge each item's own reference as an answer to it; a note where some are wrong in content.

    Args:
        items: The items.
        judge: Of an output.

    Raises:
        UserError: More than half are wrong: no answer could be right by such a judge.
    """
    judged = {item.line: judge(item, item.references[0]) for item in items}
    misfit = [one for one in judged.values() if not one.right]
    wrong = {line: one for line, one in judged.items() if not one.content}
    if len(misfit) <= MOST_MISFITS * len(items) and not wrong:
        return []
    wrong = wrong or {line: one for line, one in judged.items() if not one.right}
    lines = ", ".join(map(str, list(wrong)[:5]))
    why = next(iter(wrong.values())).why
    said = f"{len(wrong):,} of {len(items):,} references are wrong by what answers are judged by"
    if len(misfit) > MOST_MISFITS * len(items):
        raise UserError(
            f"{said}: {why}",
            f"--items, line {lines}",
            "say with --content how answers are compared, or mend the references",
        )
    return [f"{said} (line {lines}): {why}"]


def disagreement(items: Sequence[Item], train: Sequence[Item], wanted: Wanted) -> tuple[dict[str, str], int]:
    """Items whose references contradict each other, those of an item that asks the same, or of a training row.

    Args:
        items: The items.
        train: Rows to learn from; they must agree with the items that ask the same.
        wanted: How answers are compared.

    Returns:
        Why, by item id; and how many items could be compared, which is what the share is of.
    """
    found: dict[str, str] = {}
    compared: set[str] = set()
    everything = [*items, *train]
    for group in same_questions(everything):
        members = [everything[number] for number in group]
        if group[0] >= len(items):
            continue
        compared |= {everything[number].id for number in group if number < len(items)}
        against = _against(members, wanted)
        for place, number in enumerate(group):
            if number < len(items) and place in against:
                other = members[against[place]]
                where = "a training row" if group[against[place]] >= len(items) else "item"
                found[items[number].id] = f"{where} {other.id} asks the same and says {other.references[0][:80]!r}"
    for item in items:
        if len(item.references) > 1 and item.id not in found:
            compared.add(item.id)
            if wanted.content in ONE_VALUE and (value := _other_value(item, wanted)):
                found[item.id] = f"its own references are {item.references[0][:40]!r} and {value[:40]!r}"
    return found, len(compared)


def _against(members: Sequence[Item], wanted: Wanted) -> dict[int, int]:
    """Of items that ask the same, those that another contradicts, by their places."""
    if wanted.content == "words":
        return {found.place: found.other for found in contradictions([item.references[0] for item in members])}
    against = {}
    for place, item in enumerate(members):
        other = next((n for n, one in enumerate(members) if n != place and not _agree(item, one, wanted)), None)
        if other is not None:
            against[place] = other
    return against


def _agree(one: Item, other: Item, wanted: Wanted) -> bool:
    """Whether an answer of one is right by the other, or the other way round: one may be told at more length."""
    return any(judge_content(text, other, wanted).right for text in one.references) or any(
        judge_content(text, one, wanted).right for text in other.references
    )


def _other_value(item: Item, wanted: Wanted) -> str | None:
    first = Item(item.id, item.input, item.references[:1], messages=item.messages, row=item.row)
    return next((text for text in item.references[1:] if not judge_content(text, first, wanted).right), None)
