"""Climbing the ladder: each rung against the best cheaper one that counted, by content and form. It advises nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tunesmith.diagnose import statistics
from tunesmith.diagnose.found import Evidence, Test
from tunesmith.diagnose.ladder import ORDER, TOGETHER, Way, both_mended, ways_of

LEAST_GAIN = 0.05
"""Net share of the items that an intervention must gain."""
WORTH = 0.1
"""Share of the failing items that a dearer rung must fix beyond a cheaper one that counts, to take its place."""
ASPECTS = ("content", "form")
FORM_RUNGS = ("instructions", "constraint", "few-shot", TOGETHER, "larger-model", "fine-tune")
"""Rungs that can mend how an answer is written; a passage can't."""
CONTROLS = ("shuffled", "majority")
"""Probes that say what no understanding of the input reaches."""

Key = tuple[str, str]
"""Aspect and rung."""


@dataclass(frozen=True)
class Climbed:
    """What the tests came to.

    Args:
        tests: Of every rung, by aspect, against the best cheaper one that counted.
        best: The way that is left, by aspect; as it is where nothing counted.
        taken: Rungs that counted on the way there, cheapest first, by aspect.
    """

    tests: tuple[Test, ...]
    best: Mapping[str, Way]
    taken: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Ladder:
    """What stays the same while it is climbed."""

    evidence: Evidence
    base: Way
    ways: Mapping[str, Sequence[Way]]
    floor: float
    barred: Mapping[Key, str]


def climb(evidence: Evidence, base: Way, barred: Mapping[Key, str]) -> Climbed:
    """Takes the cheapest rung that counts, holds the dearer ones against it, and again until no other one is worth it.

    Args:
        evidence: With the probes.
        base: The items as they are.
        barred: Rungs that never count for an aspect, with the reason.
    """
    ladder = _Ladder(evidence, base, ways_of(evidence), control_rate(evidence), barred)
    taken: list[Key] = []
    while True:
        tests, chosen = _tests(ladder, taken)
        following = next((t for t in tests if worth_it(t, base) and (t.aspect, t.rung) not in taken), None)
        if following is None:
            break
        taken.append((following.aspect, following.rung))
    # A rung that was taken early and does not count beside all others is none that the verdict can rest on.
    kept = {
        aspect: tuple(t.rung for t in tests if t.aspect == aspect and t.counts and (aspect, t.rung) in taken)
        for aspect in ASPECTS
    }
    best = {}
    for aspect, rungs in kept.items():
        best[aspect] = chosen[aspect, rungs[-1]] if rungs else base
        if rungs and (cheap := _as_good(ladder, aspect, best[aspect], chosen)) is not None:
            best[aspect], kept[aspect] = cheap, (cheap.rung,)
    return Climbed(tuple(tests), best, kept)


def _as_good(ladder: _Ladder, aspect: str, best: Way, chosen: Mapping[Key, Way]) -> Way | None:
    """The cheapest rung that reaches what a dearer one does, to less than the least gain or than can be shown.

    With few items it may miss, by an item, the adjusted level that the dearer one keeps: what is shown of that one
    holds for it, and it has to differ from nothing by itself.
    """
    for (of, rung), way in chosen.items():
        if of != aspect or not dearer(best.rung, rung) or _unfit(ladder, aspect, way):
            continue
        short = compared(aspect, best, way)
        near = short.gain < 2 * LEAST_GAIN and (short.gain < LEAST_GAIN or short.p >= statistics.LEVEL)
        if near and compared(aspect, way, ladder.base).counts:
            return way
    return None


def worth_it(test: Test, base: Way) -> bool:
    """Whether a rung that counts is a cure, or a step further that is large beside what fails."""
    return test.counts and (test.against == base.rung or test.gain >= WORTH * (1 - base.rate(test.aspect)))


def fails(way: Way, aspect: str) -> bool:
    """Whether so many items fail in an aspect that mending it could gain enough."""
    return way.rate(aspect) <= 1 - LEAST_GAIN


def control_rate(evidence: Evidence) -> float:
    """The share of right content that a constant answer or shuffled inputs reach."""
    rates = [
        sum(one.content for one in evidence.probes[name].judged.values()) / len(evidence.probes[name].judged)
        for name in CONTROLS
        if name in evidence.probes and evidence.probes[name].judged
    ]
    return max(rates, default=0.0)


def compared(aspect: str, way: Way, best: Way, tries: int = 1) -> Test:
    """One rung against another on the same items, not yet adjusted.

    Args:
        aspect: ``content``, ``form`` or ``right``.
        way: The rung.
        best: What it has to beat.
        tries: Probes among which this one was picked as the best; p is multiplied by it (Bonferroni).
    """
    before = {name: getattr(one, aspect) for name, one in best.outcome.items()}
    after = {name: getattr(way.outcome[name], aspect) for name in before}
    gained = sum(after[name] and not before[name] for name in before)
    lost = sum(before[name] and not after[name] for name in before)
    p = min(1.0, statistics.mcnemar(gained, lost) * tries)
    gain = (gained - lost) / len(before) if before else 0.0
    return Test(
        rung=way.rung,
        probe=way.probe,
        gained=gained,
        lost=lost,
        gain=gain,
        interval=statistics.paired_interval(gained, lost, len(before)),
        p=p,
        adjusted=p,
        counts=p < statistics.LEVEL and gain >= LEAST_GAIN,
        aspect=aspect,
        against=best.rung,
    )


def _tests(ladder: _Ladder, taken: Sequence[Key]) -> tuple[list[Test], dict[Key, Way]]:
    """All tests, adjusted for each other, and the way that stands for each rung."""
    drafts, chosen = [], {}
    for aspect in ASPECTS:
        if not fails(ladder.base, aspect):
            continue
        best = ladder.base
        for rung, some in ladder.ways.items():
            if aspect == "form" and rung not in FORM_RUNGS:
                continue
            mended = rung == "reader" and best.rung == "retriever"
            tried = (both_mended(ladder.ways, ladder.evidence),) if mended else some
            way = max(tried, key=lambda one: one.rate(aspect))
            drafts.append(compared(aspect, way, best, len(tried)))
            chosen[aspect, rung] = way
            if (aspect, rung) in taken:
                best = way
    adjusted = statistics.holm([test.p for test in drafts])
    return [_judged(ladder, test, p, chosen) for test, p in zip(drafts, adjusted, strict=True)], chosen


def _judged(ladder: _Ladder, test: Test, adjusted: float, chosen: Mapping[Key, Way]) -> Test:
    """The test with its adjusted p, and whether it counts."""
    shown = adjusted < statistics.LEVEL and test.gain >= LEAST_GAIN
    why = _unfit(ladder, test.aspect, chosen[test.aspect, test.rung]) if shown else ""
    return replace(test, adjusted=adjusted, counts=shown and not why, why=why)


def _unfit(ladder: _Ladder, aspect: str, way: Way) -> str:
    """Why a rung is no cure of an aspect, whatever it gains; empty if it may be one."""
    if (aspect, way.rung) in ladder.barred:
        return ladder.barred[aspect, way.rung]
    content = compared("content", way, ladder.base)
    if aspect == "form" and content.gain <= -LEAST_GAIN and content.p < statistics.LEVEL:
        return f"it takes {-content.gain * 100:.0f} points of content"
    if aspect == "content" and ladder.floor > 0 and way.rate("content") < ladder.floor + LEAST_GAIN:
        return "it is no better than a control that does not understand the input"
    return ""


def dearer(rung: str, other: str) -> bool:
    """Whether a rung stands above another one on the ladder; everything stands above ``as-is``."""
    return other == "as-is" or (rung != "as-is" and ORDER.index(rung) > ORDER.index(other))
