"""Marks of an audit held against the truth: which codes tell of which fault, recall, precision, and goals.

A fault's recall is the share of its cases that were marked; its precision the share of right marks among those of the
same codes. Faults that lie so near to each other that a mark of one is right for the other (``ALLIED``) do not count
against it. It runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = 8


@dataclass(frozen=True)
class Goal:
    """What the issue asks of a fault."""

    recall: float
    precision: float | None = None


REPEATED = ("duplicate-rows", "repeated-picture", "repeated-audio")
NEAR = ("near-duplicates", "near-repeated-picture", "near-repeated-audio")
LEAKED = ("leak", "picture-leak", "audio-in-both-splits")
NEAR_LEAKED = ("near-leak", "near-picture-leak", "near-audio-leak")
KINDS = ("case", "punctuation", "space", "word", "jpeg", "crop", "resize", "brightness", "vorbis", "gain")
"""Of near repeats."""
CODES: dict[str, tuple[str, ...]] = {
    "flips": ("label-errors",),
    "outlier": ("outliers",),
    "exact": REPEATED,
    "leak-exact": LEAKED,
    **{f"near-{kind}": NEAR for kind in KINDS},
    **{f"leak-near-{kind}": NEAR_LEAKED for kind in KINDS},
    "leak-group": ("group-leak", "speaker-in-both-splits"),
    "mojibake": ("encoding-damage",),
    **dict.fromkeys(("e-mail", "phone", "card"), ("personal-data",)),
    "secret": ("secrets",),
    "leftover": ("template-leftovers",),
    "overlap": ("evaluation-overlap",),
    "refusal": ("refusals",),
    **dict.fromkeys(("contradiction", "asked-twice"), ("contradictory-answers",)),
    "unreadable": ("unreadable-picture", "unreadable-audio"),
    "blurred": ("blurred-picture",),
    "dark": ("dark-picture",),
    "bright": ("bright-picture",),
    "low-information": ("low-information-picture", "empty-picture"),
    "turned": ("turned-picture",),
    "transcript-swapped": ("swapped-transcripts", "wrong-transcript"),
    "caption-swapped": ("swapped-captions", "caption-misfit"),
    "caption-empty": ("empty-caption", "file-name-caption"),
    **dict.fromkeys(("box-shifted", "box-dropped", "box-swapped"), ("box-errors",)),
    "box-doubled": ("doubled-box",),
    "box-tiny": ("tiny-box",),
    **dict.fromkeys(("mask-swapped", "mask-shifted", "mask-dropped"), ("mask-errors",)),
}
"""Codes of findings that tell of a fault. A mark of an exact code is right for a near fault, too."""
ALSO: dict[str, tuple[str, ...]] = {
    fault: REPEATED if codes == NEAR else LEAKED for fault, codes in CODES.items() if codes in (NEAR, NEAR_LEAKED)
}
"""Codes that count for a fault's recall, and not against its precision where they are wrong."""
DOUBTED: dict[str, tuple[str, ...]] = {"flips": ("label-doubts",)}
"""Codes of rows that may have a fault: beside a peer they follow those that are said to have it."""
ALLIED: tuple[frozenset[str], ...] = (
    frozenset({"leak-group", "leak-exact"}),
    frozenset({"odd-size", "odd-aspect"}),
    frozenset({"dark", "low-information"}),
    frozenset({"bright", "low-information"}),
    frozenset({"blurred", "low-information"}),
    frozenset({"box-shifted", "box-dropped", "box-swapped", "box-doubled"}),
    frozenset({"mask-shifted", "mask-dropped", "mask-swapped"}),
    frozenset({"transcript-swapped", "silent", "noisy", "clipped", "unreadable"}),
)
"""Faults that can be told for each other."""


def places(mark: Mapping[str, Any]) -> tuple[str, str | None]:
    """``side:row`` of a mark, and of its twin."""
    return f"{mark['side']}:{mark['row']}", mark.get("twin")


def score(
    marks: Sequence[Mapping[str, Any]], cases: Sequence[Sequence[str]], *, also: Sequence[Mapping[str, Any]] = (),
    family: Iterable[Sequence[str]] = (), spared: Iterable[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Hold marks against the truth.

    Args:
        marks: What was found, the surest first.
        cases: What was planted.
        also: Marks that count for recall alone.
        family: Cases of other faults that the same codes tell of: marks of them are right.
        spared: Places where a mark is right for a reason of its own.

    Returns:
        ``planted``, ``found`` (cases), ``marked`` (marks that count), ``right`` (of them), ``missed`` and ``wrong``.
    """
    every = [*cases, *family]
    by_place: dict[str, list[int]] = {}
    for number, case in enumerate(every):
        for place in case:
            by_place.setdefault(place, []).append(number)

    def told(mark: Mapping[str, Any]) -> list[int]:
        place, twin = places(mark)
        numbers = by_place.get(place, [])
        if twin is None:
            return numbers
        return [number for number in numbers if len(every[number]) == 1 or twin in every[number]]

    spare, found, wrong, right = set(spared), set[int](), [], 0
    for mark in marks:
        if numbers := told(mark):
            right += 1
            found.update(numbers)
        elif places(mark)[0] not in spare:
            wrong.append(mark)
    for mark in also:
        found.update(told(mark))
    missed = [cases[number] for number in range(len(cases)) if number not in found]
    return {
        "planted": len(cases), "found": len(cases) - len(missed), "marked": right + len(wrong), "right": right,
        "missed": [" ".join(case) for case in missed[:SHOWN]],
        "wrong": [" ".join(filter(None, places(mark))) + f" {mark.get('note') or ''}" for mark in wrong[:SHOWN]],
    }  # fmt: skip


def pooled(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several worlds put together, with recall and precision."""
    total: dict[str, Any] = {key: sum(one[key] for one in scores) for key in ("planted", "found", "marked", "right")}
    total["recall"] = round(total["found"] / total["planted"], 4) if total["planted"] else None
    total["precision"] = round(total["right"] / total["marked"], 4) if total["marked"] else None
    total |= {key: [text for one in scores for text in one[key]][:SHOWN] for key in ("missed", "wrong")}
    return total


def marks_of(report: Mapping[str, Any], codes: Iterable[str]) -> list[Mapping[str, Any]]:
    """The marks of findings with some codes; findings of every run have none."""
    wanted = set(codes)
    unique: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    for found in report["findings"]:
        if found["code"] in wanted:
            for mark in found.get("marks", ()):
                # Two codes may say the same of a row.
                unique.setdefault(places(mark), mark)
    return list(unique.values())


def marked_by_code(report: Mapping[str, Any]) -> dict[str, int]:
    """How many marks each code has."""
    counts: dict[str, int] = {}
    for found in report["findings"]:
        counts[found["code"]] = counts.get(found["code"], 0) + len(found.get("marks", ()))
    return counts


def judged(report: Mapping[str, Any], faults: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, Any]]:
    """Each fault's marks held against the truth."""
    made = {}
    for fault, cases in faults.items():
        codes, also = CODES.get(fault, (fault,)), ALSO.get(fault, ())
        # A mark of a near repeat says not how it came to be: it is right for all faults of its codes.
        same = [other for other in faults if CODES.get(other, (other,)) == codes and other != fault]
        near = [other for other in faults if other in allied(fault) or set(CODES.get(other, ())) & set(also)]
        made[fault] = score(
            marks_of(report, codes), cases, also=marks_of(report, also),
            family=[case for other in same for case in faults[other]],
            spared={place for other in near for case in faults[other] for place in case},
        )  # fmt: skip
    return made


def allied(fault: str) -> set[str]:
    """Faults that can be told for this one."""
    return {other for group in ALLIED if fault in group for other in group}


def held(total: Mapping[str, Any], goal: Goal | None) -> dict[str, Any]:
    """Whether a goal holds."""
    if goal is None:
        return {"goal": None, "holds": None}
    exact = goal.precision is None or (total["precision"] or 0) >= goal.precision
    return {
        "goal": {"recall": goal.recall, "precision": goal.precision},
        "holds": total["recall"] >= goal.recall and exact,
    }
