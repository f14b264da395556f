"""A verdict in sentences with their numbers: what the cure is, why, and what would overturn it. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tunesmith.diagnose import statistics
from tunesmith.diagnose.climbing import ASPECTS, FORM_RUNGS, LEAST_GAIN, Climbed, control_rate, dearer, fails
from tunesmith.diagnose.found import LEFT_OUT, Evidence, Test, Verdict
from tunesmith.diagnose.items import WANTED_ITEMS
from tunesmith.diagnose.ladder import SHOTS, TOGETHER, Way, ways_of

CURES = {
    "instructions": "say in the prompt how the answer is to be written",
    "constraint": "constrain the decoding to the schema",
    "few-shot": "put examples in the prompt",
    "retrieval": "bring the passages by retrieval",
    "retriever": "bring the passages with a better retriever",
    "reader": "bring the passages by retrieval without those that distract the reader",
    "larger-model": "take the larger model",
    "fine-tune": "fine-tune",
    "labels": "mend the labels",
    TOGETHER: "put the cheap cures together",
}
"""What each rung advises, as an instruction."""
NAMES = {TOGETHER: "all of them together", "larger-model": "a larger model", "fine-tune": "fine-tuning"}
"""Rungs whose name is no word for a sentence."""
BY = {"content": "content", "form": "form", "right": "answers right in both"}
"""What a test counts."""
LEAST_COMPARED = 10
"""Items that have to be comparable before their share of contradictions says something."""


def cure_words(cures: Sequence[str]) -> str:
    """Several cures as one instruction."""
    words = [CURES[cure] for cure in cures]
    if "fine-tune" in cures and set(cures) & {"retrieval", "retriever", "reader"}:
        words[cures.index("fine-tune")] = "fine-tune the form of the answers"
    return ", and ".join(words)


def name_of(rung: str) -> str:
    """A rung in a sentence."""
    return NAMES.get(rung, rung)


def points(share: float) -> str:
    """A share of the items as signed points."""
    return f"{share * 100:+.0f} points"


def test_words(test: Test) -> str:
    """A test in one sentence."""
    low, high = test.interval
    before = "as it is" if test.against == "as-is" else name_of(test.against)
    tail = f"; it does not count: {test.why}" if test.why else ""
    return (
        f"{name_of(test.rung)} ({test.probe}) against {before}, by {BY[test.aspect]}: {points(test.gain)} "
        f"({low * 100:+.0f} to {high * 100:+.0f}), {test.gained} items gained and {test.lost} lost, "
        f"p = {test.p:.2g}, adjusted {test.adjusted:.2g}{tail}"
    )


@dataclass(frozen=True)
class Told:
    """What every verdict on the same evidence shares.

    Args:
        evidence: All of it.
        base: The items as they are.
        climbed: The tests.
        causes: Failing items by cause.
        against: Why fine-tuning is advised against, or nothing.
    """

    evidence: Evidence
    base: Way
    climbed: Climbed
    causes: Mapping[str, tuple[str, ...]]
    against: str

    def labels(self, at_fault: int, checked: int) -> Verdict:
        """Labels come first."""
        low, high = statistics.share_interval(-(-at_fault // 2), -(-checked // 2))
        said = (
            f"Fix labels first: of {checked} items whose references can be compared, {at_fault} contradict another one."
        )
        why = (
            f"that is {at_fault / checked:.0%} ({low:.0%} to {high:.0%}); no score means much beside such references",
            self._counted("right"),
        )
        overturns = ("the contradicting references turn out to be two right answers: list both as references",)
        return self._verdict("labels", ("labels",), said, why, overturns)

    def labels_suspected(self, at_fault: int, checked: int) -> Verdict:
        """Labels may have to come first."""
        said = (
            f"Inconclusive: of {checked} items whose references can be compared, {at_fault} contradict another one; "
            "that may be chance. Have more items answered twice, or mend these."
        )
        more = max(0, 4 * LEAST_COMPARED - checked)
        return self._verdict(
            "inconclusive", (), said, (self._counted("right"), *self._tests()), (), more=more or checked
        )

    def nothing_wrong(self) -> Verdict:
        """So few items fail that nothing can gain enough."""
        failing, items = self._failing("right"), len(self.base.outcome)
        high = statistics.share_interval(failing, items)[1]
        said = f"Nothing is wrong: {items - failing} of {items} items are right as they are asked."
        why = (f"at most {high:.0%} fail (95 %); no cure could gain {LEAST_GAIN * 100:.0f} points with certainty",)
        return self._verdict("verdict", (), said, why, self._not_covered())

    def too_few(self, more: int) -> Verdict:
        """Nearly all are right, of too few to say so."""
        failing, items = self._failing("right"), len(self.base.outcome)
        high = statistics.share_interval(failing, items)[1]
        said = f"Inconclusive: {items - failing} of {items} items are right, which leaves room for {high:.0%} wrong."
        return self._verdict("inconclusive", (), said, (), (), more=more)

    def no_signal(self, floor: float) -> Verdict:
        """A control is as good as the model."""
        said = (
            f"Inconclusive: a control that does not understand the input reaches {floor:.0%} of right content, the "
            f"model {self.climbed.best['content'].rate('content'):.0%}; these items do not measure the task."
        )
        why, more = tuple(self._controls()), max(0, WANTED_ITEMS - len(self.base.outcome))
        return self._verdict("inconclusive", (), said, why, ("items whose answers are less alike",), more=more)

    def knowledge_untested(self) -> Verdict:
        """Facts are missing, and nothing that brings them was asked."""
        said = "Inconclusive: the model lacks the facts, and nothing that brings them was tested: pass --documents."
        return self._verdict("inconclusive", (), said, tuple(self._failures()), self._not_covered())

    def form_alone(self, together: Test) -> Verdict:
        """Fine-tuning mends how answers are written, and no more of them are right."""
        gains = self.climbed.best["form"].rate("form") - self.base.rate("form")
        lacks = "the model lacks the facts" if self.against else "the content still fails"
        hollow = self.hollow(together) if together.counts else ""
        said = (
            f"Inconclusive: fine-tuning brings {points(gains)} of form, but right answers change by "
            f"{points(together.gain)}{hollow}; {lacks}, and nothing that was tested mends that."
        )
        why = (*self._controls(), *self._failures(), *self._tests()) if hollow else (*self._failures(), *self._tests())
        return self._verdict("inconclusive", (), said, why, self._not_covered())

    def hollow(self, together: Test) -> str:
        """Said of right answers that are no more than those of a control, though more than there are now."""
        floor, rate = control_rate(self.evidence), self.base.rate("right") + together.gain
        if not fails(self.climbed.best["content"], "content") or not 0 < rate < floor + LEAST_GAIN:
            return ""
        return f", no more than a control that does not understand the input reaches ({floor:.0%})"

    def nothing_helps(self) -> Verdict:
        """No rung that was measured can gain enough."""
        most = max((test.interval[1] for test in self.climbed.tests), default=0.0)
        said = f"Nothing that was tested helps: at most {most * 100:.0f} points could be gained by any of it (95 %)."
        why = (*self._failures(), *self._tests())
        return self._verdict("verdict", (), said, why, self._not_covered())

    def undecided(self, tests: Sequence[Test], more: int, cures: Sequence[str]) -> Verdict:
        """An effect may be there and is not shown."""
        best = max(tests, key=lambda test: test.gain, default=None)
        items = len(self.base.outcome)
        if best is None:
            said = f"Inconclusive: {self._failing('right')} of {items} items fail, and no cure was tested."
        else:
            collect = f"collect about {more} more items" if more else "collect more items"
            seen = f"the largest gain seen is {points(best.gain)} by {best.aspect} ({name_of(best.rung)})"
            open_still = "which is not shown to be more than chance"
            if best.gain < LEAST_GAIN:
                least = f"{LEAST_GAIN * 100:.0f} points"
                open_still = f"and a gain of {least} by one of the cures is not ruled out by so few"
            said = f"Inconclusive on {items} items: {seen}, {open_still}; {collect}."
        shown = (f"what counts so far: {cure_words(cures)}",) if cures else ()
        why = (*shown, *self._failures(), *self._tests())
        return self._verdict("inconclusive", (), said, why, self._not_covered(), more=more)

    def cured(self, cures: Sequence[str], together: Test) -> Verdict:
        """What counts is enough to advise."""
        words = cure_words(cures)
        low, high = together.interval
        items, way_rate = len(self.base.outcome), self.base.rate("right") + together.gain
        if together.counts:
            effect = (
                f"right answers rise from {self.base.rate('right'):.0%} to {way_rate:.0%} of {items} items "
                f"({points(together.gain)}, 95 % interval {low * 100:+.0f} to {high * 100:+.0f})"
                f"{self.hollow(together)}"
            )
        else:
            counting = [test for test in self.climbed.tests if test.counts]
            effect = f"{counting[-1].aspect} gains {points(counting[-1].gain)}, and the answers as a whole do not yet"
        said = f"{words[0].upper()}{words[1:]}: {effect}."
        composed = "composed" if "content of" in together.probe else "measured"
        why = (f"{composed}: {test_words(together)}", *self._failures(), *self._tests(), *self._left(cures, way_rate))
        told = self._verdict("verdict", tuple(cures), said, why, (*self._breaks(), *self._not_covered()))
        return replace(told, effect=together)

    # Parts

    def _verdict(
        self,
        kind: str,
        cures: Sequence[str],
        said: str,
        why: Sequence[str],
        overturns: Sequence[str],
        more: int = 0,
    ) -> Verdict:
        assert kind in ("verdict", "inconclusive", "labels")
        return Verdict(
            kind=kind,  # type: ignore[arg-type]
            cures=tuple(cures),
            said=said,
            why=(*why, *self._noted()),
            overturns=tuple(overturns),
            tests=self.climbed.tests,
            causes=self.causes,
            more_items=more,
            against_fine_tuning=self.against,
        )

    def _failing(self, aspect: str) -> int:
        return sum(not getattr(one, aspect) for one in self.base.outcome.values())

    def _counted(self, aspect: str) -> str:
        items = len(self.base.outcome)
        low, high = statistics.share_interval(self._failing(aspect), items)
        what = "content or form" if aspect == "right" else aspect
        return f"{self._failing(aspect)} of {items} items fail in {what} as it is ({low:.0%} to {high:.0%})"

    def _failures(self) -> Iterator[str]:
        yield from (self._counted(aspect) for aspect in ASPECTS)

    def _tests(self) -> Iterator[str]:
        """Those that count, then those that gained something."""
        yield from (test_words(test) for test in self.climbed.tests if test.counts)
        yield from (test_words(test) for test in self.climbed.tests if not test.counts and test.gain >= LEAST_GAIN)

    def _noted(self) -> Iterator[str]:
        """What holds whatever the verdict is."""
        if self.against:
            yield self.against
        if len(self.base.outcome) < WANTED_ITEMS:
            yield f"{len(self.base.outcome)} items are few: at least {WANTED_ITEMS} are wanted"
        if self.evidence.disagreement:
            yield f"{len(self.evidence.disagreement)} items have references that contradict each other"

    def _left(self, cures: Sequence[str], right: float) -> Iterator[str]:
        """What the cures leave failing."""
        if right <= 1 - LEAST_GAIN:
            yield f"{1 - right:.0%} of the items still fail in content or form"
        if "retriever" in cures and "retrieved" in self.evidence.probes:
            recall = self.evidence.probes["retrieved"].extra.get("recall", {})
            if recall:
                yield f"the passages retrieved hold what is needed for {sum(recall.values())} of {len(recall)} items"

    def _controls(self) -> Iterator[str]:
        for name in ("shuffled", "majority"):
            probe = self.evidence.probes.get(name)
            if probe is not None and probe.judged:
                right = sum(one.content for one in probe.judged.values())
                yield f"{name}: {right} of {len(probe.judged)} right in content"

    def _breaks(self) -> Iterator[str]:
        """How many gained items may turn out wrong before each test that counts no longer does."""
        items, count = len(self.base.outcome), len(self.climbed.tests)
        measured = ways_of(self.evidence)
        for test in self.climbed.tests:
            if not test.counts:
                continue
            # The best of several probes was taken, and its p multiplied by how many they are.
            flips, tries = 0, len(measured[test.rung])
            while flips < test.gained:
                flips += 1
                gained = test.gained - flips
                p = statistics.mcnemar(gained, test.lost) * count * tries
                if p >= statistics.LEVEL or (gained - test.lost) / items < LEAST_GAIN:
                    break
            yield (
                f"{flips} of the {test.gained} items that {name_of(test.rung)} gains in {test.aspect} turn out to be "
                "judged wrongly"
            )

    def _not_covered(self) -> tuple[str, ...]:
        """What was not measured and could do better: it is cheaper than what counts, or that leaves enough to gain."""
        measured = ways_of(self.evidence)
        left_out = {one.probe for one in self.evidence.not_tested if one.reason == LEFT_OUT}
        lacking = {
            "instructions": "left out" if "instructions" in left_out else "",
            "constraint": "left out" if "constrained" in left_out else "",
            "few-shot": "left out" if left_out & set(SHOTS) else "",
            "retrieval": "--documents or gold passages",
            "larger-model": "--larger",
            "fine-tune": "--train",
        }
        return tuple(
            f"{name_of(rung)}, which was not tested ({fix})"
            for rung, fix in lacking.items()
            if fix and rung not in measured and any(self._could_mend(rung, aspect) for aspect in ASPECTS)
        )

    def _could_mend(self, rung: str, aspect: str) -> bool:
        best = self.climbed.best[aspect]
        if not fails(self.base, aspect) or (aspect == "form" and rung not in FORM_RUNGS):
            return False
        return fails(best, aspect) or dearer(best.rung, rung)
