"""One question with answers that can't all be right. It compares texts, and knows no network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST_ANSWERS = 8
"""Different answers to one question from which it is an open one, which has many right answers."""
SHORT_WORDS = 4
STEM, LEAST_STEM, LEAST_STEMS, IN_COMMON = 5, 4, 5, 0.12
_PROGRAM = re.compile(r"\s*(?:```|SELECT\b|WITH\b|INSERT\b|UPDATE\b|DELETE\b|[{\[<]|def |function\b|#include|import )")
MAJORITY = 2 / 3
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)*(?!\w)")
_YES = re.compile("yes|yeah|true|correct|ja|oui|sí|si|sim|tak|да|igen|kyllä|evet|是|はい|네")
_NO = re.compile("no|nope|false|incorrect|nein|non|não|nie|нет|nem|ei|hayır|nej|nee|否|いいえ|아니요")


class Against(NamedTuple):
    """One answer that contradicts another: its place in the group, the other's place, how sure, and why."""

    place: int
    other: int
    score: float
    note: str


def contradictions(answers: Sequence[str], *, rare: bool = False) -> Iterator[Against]:
    """Answers to one question that contradict what most say; all of them where most say nothing in common.

    Answers contradict each other where one says yes and one no, where they have the words in common and the numbers
    not, or differ in a single word. Two that have nothing in common may both be right.

    Args:
        answers: To one question.
        rare: Whether next to no question of the data has several answers. Then two that have nothing in common do not
            belong to one question, and two programs that differ do not say the same.
    """
    plain = [" ".join(_WORD.findall(answer.lower())) for answer in answers]
    counts = Counter(plain)
    if len(counts) < 2 or len(counts) > MOST_ANSWERS:
        return
    usual, times = counts.most_common(1)[0]
    settled = times >= max(2, MAJORITY * len(plain))
    for place, text in enumerate(plain):
        if settled and text == usual:
            continue
        others = [plain.index(usual)] if settled else [n for n, other in enumerate(plain) if other != text]
        found = next((fault for n in others if (fault := _between(answers, plain, place, n, rare))), None)
        if found:
            yield found


def _between(answers: Sequence[str], plain: Sequence[str], place: int, other: int, rare: bool) -> Against | None:
    one, two = plain[place].split(), plain[other].split()
    if not one or not two:
        return None
    said = f"{answers[place][:40]!r} against {answers[other][:40]!r}"
    if (_YES.fullmatch(one[0]) and _NO.fullmatch(two[0])) or (_NO.fullmatch(one[0]) and _YES.fullmatch(two[0])):
        return Against(place, other, 0.95, said)
    if max(len(one), len(two)) <= SHORT_WORDS:
        # One that says the other and a little more is the same answer, told at more length.
        told = set(one) <= set(two) or set(two) <= set(one)
        return None if told else Against(place, other, 0.85, said)
    numbers = [set(_NUMBER.findall(answers[n])) for n in (place, other)]
    words = [{word for word in some if not word.isdigit()} for some in (one, two)]
    alike = len(words[0] & words[1]) / max(1, len(words[0] | words[1]))
    if numbers[0] and numbers[1] and not numbers[0] & numbers[1] and alike >= 0.6:
        shown = " against ".join(", ".join(sorted(some)[:3]) for some in numbers)
        return Against(place, other, 0.85, f"the numbers differ: {shown}")
    if alike >= 0.65 and len(words[0] - words[1]) <= 1 and len(words[1] - words[0]) <= 1 and len(one) >= 5:
        only = " against ".join(" ".join(sorted(a - b)) or "nothing" for a, b in (words, words[::-1]))
        return Against(place, other, 0.75, f"the same but for: {only}")
    apart = rare and _apart(answers[place], answers[other], one, two)
    return Against(place, other, 0.6, f"another answer altogether: {said}") if apart else None


def _apart(first: str, second: str, one: list[str], two: list[str]) -> bool:
    """Whether two answers have nothing in common, or are programs of different words."""
    if _PROGRAM.match(first) and _PROGRAM.match(second):
        return sorted(one) != sorted(two)
    # The first letters alone, so that most forms of a word are one.
    stems = [{word[:STEM] for word in words if len(word) >= LEAST_STEM} for words in (one, two)]
    least = min(map(len, stems))
    return least >= LEAST_STEMS and len(stems[0] & stems[1]) <= IN_COMMON * least
