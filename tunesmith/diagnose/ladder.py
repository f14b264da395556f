"""The ladder: what each rung makes of every item, and the first rung that fixes it. It tests nothing.

A probe is a way of asking; a rung is a cure. Most rungs are one probe. Retriever and reader are read off two: the gold
passage is what a perfect retriever would bring, so that its outcome counts for the retriever where the passages really
retrieved lack it, and for the reader where they hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tunesmith.diagnose.found import RUNGS, Evidence, Judged, Probe

Outcome = Mapping[str, Judged]
"""Of all items that were asked as they are, by id."""

SINGLE = {"instructions": "instructions", "constraint": "constrained", "larger-model": "larger"}
"""Rungs of one probe each."""
SHOTS = ("few-shot-2", "few-shot-4", "few-shot-8", "few-shot-near-2", "few-shot-near-4", "few-shot-near-8")
TOGETHER = "all-together"
"""Rung of the probe of this name: several cures at once. It stands behind the reader, before what costs more."""
PARTS = ("instructions", "constraint", "few-shot", "retrieval")
"""Of ``all-together``, where its probe does not say which (``extra["rungs"]``)."""
ORDER = (*RUNGS[: RUNGS.index("larger-model")], TOGETHER, *RUNGS[RUNGS.index("larger-model") :])


@dataclass(frozen=True)
class Way:
    """A rung as it was measured.

    Args:
        rung: One of ``ORDER``.
        probe: Whose outcome it is; of two, both names.
        outcome: Of every item; one that the probe could not ask keeps the outcome that it has as it is.
    """

    rung: str
    probe: str
    outcome: Outcome

    def rate(self, aspect: str) -> float:
        """Share of the items that are right in ``content``, in ``form`` or in both (``right``)."""
        return sum(getattr(one, aspect) for one in self.outcome.values()) / len(self.outcome) if self.outcome else 0.0


def as_it_is(evidence: Evidence) -> Way:
    """The items as they are asked today."""
    known = {item.id for item in evidence.items}
    judged = evidence.probes["as-is"].judged
    return Way("as-is", "as-is", {name: one for name, one in judged.items() if name in known})


def ways_of(evidence: Evidence) -> dict[str, tuple[Way, ...]]:
    """Every rung that was measured, cheapest first, with the probes that it may be read from (several for few-shot)."""
    base = as_it_is(evidence).outcome
    probes = evidence.probes
    ways: dict[str, tuple[Way, ...]] = {}
    for rung, probe in SINGLE.items():
        if probe in probes:
            ways[rung] = (Way(rung, probe, _whole(probes[probe], base)),)
    shots = [Way("few-shot", name, _whole(probes[name], base)) for name in SHOTS if name in probes]
    if shots:
        ways["few-shot"] = tuple(shots)
    ways |= {way.rung: (way,) for way in _passages(evidence, base)}
    if TOGETHER in probes:
        ways[TOGETHER] = (Way(TOGETHER, TOGETHER, _whole(probes[TOGETHER], base)),)
    pilot = next((name for name in ("pilot-100", "pilot-50", "pilot-25") if name in probes), None)
    if pilot is not None:
        ways["fine-tune"] = (Way("fine-tune", pilot, _whole(probes[pilot], base)),)
    return {rung: ways[rung] for rung in ORDER if rung in ways}


def _whole(probe: Probe, base: Outcome) -> Outcome:
    return {name: probe.judged.get(name, one) for name, one in base.items()}


def _passages(evidence: Evidence, base: Outcome) -> list[Way]:
    """Retrieval, retriever and reader, from those of their three probes that were asked."""
    asked = {
        name: Way("retrieval", name, _whole(evidence.probes[name], base))
        for name in ("retrieved", "gold-and-distractors", "gold")
        if name in evidence.probes
    }
    gold, crowded, retrieved = asked.get("gold"), asked.get("gold-and-distractors"), asked.get("retrieved")
    if retrieved is None:
        # What is known of retrieval is then what it could bring, with distractors where they were asked.
        if crowded is None or gold is None:
            return list(asked.values())[:1]
        return [crowded, Way("reader", "gold", gold.outcome)]
    if gold is None:
        return [retrieved]
    lacks = passage_lacks(evidence)
    return [
        retrieved,
        Way("retriever", "gold, where retrieved lacks it", _either(gold, retrieved, lacks)),
        Way("reader", "gold, where retrieved holds it", _either(gold, retrieved, lambda name: not lacks(name))),
    ]


def passage_lacks(evidence: Evidence) -> Callable[[str], bool]:
    """Whether the passages retrieved for an item lack what it needs.

    By the recall that was measured; where an item has none, by whether the gold passage is read among distractors: a
    reader who finds it there would have found it here.
    """
    recall = evidence.probes["retrieved"].extra.get("recall", {})
    crowded = evidence.probes.get("gold-and-distractors")

    def lacks(name: str) -> bool:
        if name in recall:
            return not recall[name]
        return crowded is not None and name in crowded.judged and crowded.judged[name].content

    return lacks


def _either(first: Way, second: Way, where: Callable[[str], bool]) -> Outcome:
    return {name: first.outcome[name] if where(name) else one for name, one in second.outcome.items()}


def both_mended(ways: Mapping[str, Sequence[Way]], evidence: Evidence) -> Way:
    """The reader's rung above a retriever that was mended: the gold passage everywhere."""
    (reader,) = ways["reader"]
    if "retriever" not in ways:
        return reader
    return Way("reader", "gold", _whole(evidence.probes["gold"], as_it_is(evidence).outcome))


def parts_of(evidence: Evidence) -> tuple[str, ...]:
    """Rungs that ``all-together`` joined."""
    named = evidence.probes[TOGETHER].extra.get("rungs") if TOGETHER in evidence.probes else None
    measured = ways_of(evidence)
    return tuple(named) if named else tuple(rung for rung in PARTS if rung in measured)


def asked_together(evidence: Evidence, rungs: Sequence[str]) -> Way | None:
    """The probe that asked with all of these rungs and the fewest others; None where no probe did."""
    joint = {name: tuple(probe.extra.get("rungs", ())) for name, probe in evidence.probes.items()}
    if TOGETHER in joint:
        joint[TOGETHER] = parts_of(evidence)
    fitting = sorted((len(of), name) for name, of in joint.items() if of and set(rungs) <= set(of))
    if not fitting:
        return None
    name = fitting[0][1]
    return Way(" + ".join(rungs), name, _whole(evidence.probes[name], as_it_is(evidence).outcome))


def causes_of(evidence: Evidence, taken: Mapping[str, Sequence[str]] | None = None) -> dict[str, tuple[str, ...]]:
    """Failing items by the first rung that fixes each, in the order of the ladder.

    An item that no rung fixes alone may be fixed by two, one for its form and one for its content: its cause is then
    ``form rung + content rung``, of those that counted where these fix it. One whose references contradict each other
    is ``labels`` whatever fixes it; so is one where nothing helps and a larger model gives the same other answer. The
    rest is ``none``.

    Args:
        evidence: With the probes.
        taken: Rungs that counted, by aspect.
    """
    ways = ways_of(evidence)
    found: dict[str, list[str]] = {}
    for name, judged in as_it_is(evidence).outcome.items():
        if not judged.right:
            found.setdefault(_cause(name, ways, evidence, taken or {}), []).append(name)
    order = [*ORDER, *sorted(set(found) - {*ORDER, "none"}, key=_place), "none"]
    return {cause: tuple(found[cause]) for cause in order if cause in found}


def _place(cause: str) -> tuple[int, ...]:
    return tuple(ORDER.index(part) for part in cause.split(" + ") if part in ORDER)


def _cause(name: str, ways: Mapping[str, Sequence[Way]], evidence: Evidence, taken: Mapping[str, Sequence[str]]) -> str:
    if name in evidence.disagreement:
        return "labels"

    def first(aspect: str) -> str | None:
        fixing = [r for r, some in ways.items() if any(getattr(w.outcome[name], aspect) for w in some)]
        counted = [rung for rung in fixing if rung in taken.get(aspect, ())]
        return next(iter(counted or fixing), None)

    alone = first("right")
    form, content = first("form"), first("content")
    if alone is not None and alone not in (TOGETHER, "larger-model", "fine-tune"):
        return alone
    base = evidence.probes["as-is"].judged[name]
    if form is not None and content is not None and form != content and not base.form and not base.content:
        # Two cheap cures come before one dear one that does both.
        pair = sorted({form, content}, key=ORDER.index)
        if alone is None or ORDER.index(pair[-1]) < ORDER.index(alone) or alone == TOGETHER:
            return " + ".join(pair)
    if alone is not None:
        return alone
    return "labels" if _suspected(name, evidence) else "none"


def _suspected(name: str, evidence: Evidence) -> bool:
    """Whether two models give the same answer, and the reference another one."""
    larger = evidence.probes.get("larger")
    theirs = larger.judged.get(name) if larger else None
    if theirs is None or theirs.content or not theirs.extracted.strip():
        return False
    ours = evidence.probes["as-is"].judged[name]
    return not ours.content and ours.extracted.strip().casefold() == theirs.extracted.strip().casefold()
