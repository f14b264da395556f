"""The rule: evidence in, verdict out, the same one each time. It asks no model and reads no file.

Content and form are decided apart, each on the ladder. What is advised is the least that reaches the best of both: a
cure of the content and one of the form stand together where neither does both. Labels come first, since no score
means anything beside references that contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.diagnose import statistics
from tunesmith.diagnose.climbing import LEAST_GAIN, WORTH, Climbed, climb, compared, control_rate, dearer, fails
from tunesmith.diagnose.found import Evidence, Test, Verdict
from tunesmith.diagnose.items import same_questions
from tunesmith.diagnose.ladder import (
    ORDER,
    SHOTS,
    TOGETHER,
    Way,
    as_it_is,
    asked_together,
    causes_of,
    parts_of,
    ways_of,
)
from tunesmith.diagnose.sentences import LEAST_COMPARED, Told

UNKNOWN_SHARE = 0.2
"""Of training facts: above it, plain fine-tuning on them is advised against."""
CONTRADICTING_SHARE = 0.05
"""Of the items whose label can be held against another one: where the share is surely above it, labels come first."""
SUSPICIOUS_SHARE = 0.1
"""Share of contradicting items, of at least ``LEAST_COMPARED``, beside which nothing else is decided."""
MOST_FAILING = 0.15
"""What the interval of the failing share must stay below before nothing is called wrong."""
LIKELY = 0.15
"""An unadjusted p below which a gain in what nothing cures yet is not passed over: more items are asked for."""
LEAST_CONTROL = 0.1
"""Share of right answers that a control must reach before it says something of the items."""


def decide(evidence: Evidence) -> Verdict:
    """The cure, by measurement.

    Args:
        evidence: With the probe ``as-is``; every other one is optional, and what was left out is said.

    Returns:
        ``labels`` before all else where labels contradict themselves; ``inconclusive``, with the number of items that
        would decide it, where an effect is likely and not shown; else ``verdict``.
    """
    base, against = as_it_is(evidence), against_fine_tuning(evidence)
    climbed = climb(evidence, base, {("content", "fine-tune"): against} if against else {})
    if against and _is_skill(climbed, base):
        against, climbed = "", climb(evidence, base, {})
    told = Told(evidence, base, climbed, causes_of(evidence, climbed.taken), against)
    at_fault, checked = contradictions(evidence)
    if labels_come_first(evidence):
        return told.labels(at_fault, checked)
    if at_fault and at_fault >= SUSPICIOUS_SHARE * checked and checked >= LEAST_COMPARED:
        return told.labels_suspected(at_fault, checked)
    items = len(base.outcome)
    failing = sum(not one.right for one in base.outcome.values())
    if failing < LEAST_GAIN * items or not (fails(base, "content") or fails(base, "form")):
        if statistics.share_interval(failing, items)[1] < MOST_FAILING:
            return told.nothing_wrong()
        return told.too_few(_items_for_nothing_wrong(failing, items) - items)
    floor = control_rate(evidence)
    if floor >= LEAST_CONTROL and not fails(base, "form") and climbed.best["content"].rate("content") < floor:
        return told.no_signal(floor)
    return _by_tests(evidence, base, climbed, told)


def _by_tests(evidence: Evidence, base: Way, climbed: Climbed, told: Told) -> Verdict:
    cures = cures_of(evidence, climbed, told.against)
    if likely := _likely(climbed):
        return told.undecided(likely, _more_items(likely, climbed, base), cures)
    if cures:
        return _by_cures(evidence, base, climbed, told, cures)
    if fails(base, "content") and told.against and not {"retrieval", "retriever"} & set(ways_of(evidence)):
        return told.knowledge_untested()
    possible = [test for test in climbed.tests if test.interval[1] >= _least(test, base) and not test.why]
    if possible or not climbed.tests:
        return told.undecided(possible, _more_items(possible, climbed, base), ())
    return told.nothing_helps()


def _by_cures(evidence: Evidence, base: Way, climbed: Climbed, told: Told, cures: Sequence[str]) -> Verdict:
    together = joined(evidence, base, cures, climbed)
    if len(cures) > 1 and not together.counts:
        return told.undecided([together], _more_items([together], climbed, base), cures)
    # A tuned form of answers that stay wrong is no cure: facts that are missing would be invented in good style.
    if "fine-tune" in cures and (not together.counts or told.hollow(together)):
        return told.form_alone(together)
    return told.cured(cures, together)


def against_fine_tuning(evidence: Evidence) -> str:
    """Why plain fine-tuning on the rows is advised against; empty if it is not, or if their facts were not asked for.

    A model that learns facts it does not know learns to invent (Gekhman et al. 2024, arXiv:2405.05904).
    """
    unknown, asked = evidence.unknown_facts or (0, 0)
    if not asked or unknown <= UNKNOWN_SHARE * asked or statistics.share_interval(unknown, asked)[0] < 0.1:
        return ""
    return (
        f"the model knows none of the answers to {unknown} of {asked} rows whose facts were asked for "
        f"({unknown / asked:.0%}, above {UNKNOWN_SHARE:.0%}): plain fine-tuning on such rows teaches it to invent; "
        "bring the facts by retrieval"
    )


def _is_skill(climbed: Climbed, base: Way) -> bool:
    """Whether answers that the model never gives are no facts: no passage brings them, and training on others does."""
    tests = {test.rung: test for test in climbed.tests if test.aspect == "content"}
    passages = [tests[rung] for rung in ("retrieval", "retriever", "reader") if rung in tests]
    useless = bool(passages) and all(test.interval[1] < _least(test, base) for test in passages)
    return useless and "fine-tune" in tests and bool(tests["fine-tune"].why)


# Labels


def contradictions(evidence: Evidence) -> tuple[int, int]:
    """Items whose references contradict others, and how many items could be compared."""
    at_fault = set(evidence.disagreement)
    grouped = {evidence.items[number].id for group in same_questions(evidence.items) for number in group}
    return len(at_fault), max(evidence.compared, len(at_fault | grouped))


def labels_come_first(evidence: Evidence) -> bool:
    """Whether the share of contradicting labels is surely too high, and is not one odd pair."""
    at_fault, checked = contradictions(evidence)
    # Two items contradict each other together, so that there are half as many things to count.
    low, _ = statistics.share_interval(-(-at_fault // 2), -(-checked // 2))
    # Of one pair Wilson's interval begins at 21 %, where the exact one begins at 3 %.
    return at_fault > 2 and low > CONTRADICTING_SHARE


# Cures


def cures_of(evidence: Evidence, climbed: Climbed, against: str = "") -> tuple[str, ...]:
    """The least that reaches what was best in content and in form, in the order of the ladder."""
    content, form = climbed.best["content"], climbed.best["form"]
    rungs: set[str] = set()
    if climbed.taken["content"] and climbed.taken["form"]:
        cheap, dear = sorted((("content", content), ("form", form)), key=lambda pair: ORDER.index(pair[1].rung))
        if _covers(cheap[1], dear):
            rungs = {cheap[1].rung}
        elif _covers(dear[1], cheap) and not (against and dear[1].rung == "fine-tune"):
            rungs = {dear[1].rung}
        else:
            rungs = {content.rung, form.rung}
    elif climbed.taken["content"]:
        rungs = {content.rung} | _form_lost(evidence, content)
    elif climbed.taken["form"]:
        rungs = {form.rung}
    if "reader" in rungs and "retriever" in climbed.taken["content"]:
        rungs.add("retriever")
    if TOGETHER in rungs:
        rungs = (rungs - {TOGETHER}) | set(parts_of(evidence))
    return tuple(sorted(rungs, key=ORDER.index))


def _covers(way: Way, other: tuple[str, Way]) -> bool:
    """Whether a way is as good as another one in that one's aspect, to less than the least gain."""
    aspect, best = other
    return way.rate(aspect) > best.rate(aspect) - LEAST_GAIN


def _form_lost(evidence: Evidence, content: Way) -> set[str]:
    """The cheapest rung of form that a cure of the content needs because it spoils the form, if that was measured."""
    measured = ways_of(evidence)
    if TOGETHER not in measured or content.rung == TOGETHER or content.rung not in parts_of(evidence):
        return set()
    (together,) = measured[TOGETHER]
    if not compared("right", together, content).counts:
        return set()
    return {next(rung for rung in parts_of(evidence) if rung != content.rung)}


def joined(evidence: Evidence, base: Way, cures: Sequence[str], climbed: Climbed) -> Test:
    """The cures together against the items as they are, by answers that are right in content and form.

    Where no probe asked with all of them, content is taken from one probe and form from the other.
    """
    content, form = climbed.best["content"], climbed.best["form"]
    alone = [way for way in (content, form) if (way.rung,) == tuple(cures)]
    if alone:
        # What is best by content and what is best by form may be two probes of one rung (examples): one has to do both.
        way = max(alone, key=lambda one: one.rate("right"))
        return compared("right", way, base, max(1, len(ways_of(evidence).get(way.rung, ()))))
    if (asked := asked_together(evidence, cures)) is not None:
        way = asked
    elif form.rung == base.rung:
        way = content
    else:
        outcome = {
            name: type(one)(one.content, form.outcome[name].form, one.extracted)
            for name, one in content.outcome.items()
        }
        way = Way(" + ".join(cures), f"content of {content.probe}, form of {form.probe}", outcome)
    return compared("right", way, base)


# Doubt


def _least(test: Test, base: Way) -> float:
    """The gain below which a rung is no cure, whatever else it is."""
    return max(LEAST_GAIN, WORTH * (1 - base.rate(test.aspect)))


def _likely(climbed: Climbed) -> list[Test]:
    """Tests that would probably count with more items: of an aspect that nothing cures yet, or a large step further."""
    out = []
    for test in climbed.tests:
        best = climbed.best[test.aspect].rung
        cured = best != "as-is"
        least, level = (2 * LEAST_GAIN, statistics.LEVEL) if cured else (LEAST_GAIN, LIKELY)
        open_still = not test.counts and not test.why and dearer(test.rung, best)
        if open_still and test.p < level and test.gain >= least:
            out.append(test)
    return out


def _more_items(tests: Sequence[Test], climbed: Climbed, base: Way) -> int:
    """About how many more items would decide the likeliest of these tests, in round numbers."""
    items, count = len(base.outcome), max(1, len(climbed.tests))
    best = max(tests, key=lambda test: test.gain, default=None)
    if best is None:
        return 0
    if best.gain >= LEAST_GAIN:
        # Of several ways of showing examples the best is taken, and its p multiplied by how many there are.
        tries = len(SHOTS) if best.rung == "few-shot" else 1
        wanted = statistics.items_to_show(best.gained, best.lost, items, count * tries)
    else:
        wanted = max(statistics.items_to_exclude(t.gained, t.lost, items, _least(t, base)) for t in tests)
    return _round(max(wanted - items, items // 4))


def _items_for_nothing_wrong(failing: int, items: int) -> int:
    """The least number of items, failing at the same rate, at which nothing would be called wrong."""
    share = failing / max(1, items)
    size = max(items, 1)
    while statistics.share_interval(round(share * size), size)[1] >= MOST_FAILING:
        size += 1
    return size


def _round(count: int) -> int:
    step = 5 if count < 50 else 10 if count < 200 else 50
    return -(-count // step) * step
