"""The rule: planted causes are named, nothing is named without cause, labels come before all else."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.fixtures.diagnoses import facts_and_form
from tests.fixtures.evidence import drawn, evidence
from tunesmith.diagnose.advice import Setup, advise
from tunesmith.diagnose.found import LEFT_OUT, Evidence, Judged, NotTested
from tunesmith.diagnose.ladder import SHOTS
from tunesmith.diagnose.rule import decide
from tunesmith.diagnose.statistics import mcnemar

Rates = dict[str, tuple[float, float]]
UNKNOWN = {"unknown_facts": (90, 100)}
PROBES = (
    "as-is", "instructions", "constrained", *SHOTS, "gold", "gold-and-distractors", "retrieved", "all-together",
    "larger", "pilot-100",
)  # fmt: skip


def rates(rest: tuple[float, float], **named: tuple[float, float]) -> Rates:
    """Content and form of every probe; ``few_shot`` stands for all its probes."""
    shots = named.pop("few_shot", None)
    found = dict.fromkeys(PROBES, rest)
    found |= dict.fromkeys(SHOTS, shots) if shots else {}
    return found | {name.replace("_", "-"): pair for name, pair in named.items()}


def with_passages(form: float, **named: tuple[float, float]) -> Rates:
    """A model without the facts, that passages help."""
    found = {"gold": 0.95, "gold_and_distractors": 0.93, "retrieved": 0.92, "all_together": 0.92}
    return rates((0.1, form), **({name: (content, form) for name, content in found.items()} | named))


WORLDS: dict[str, tuple[Rates, Mapping[str, Any], tuple[str, ...]]] = {
    "facts": (with_passages(0.99), UNKNOWN, ("retrieval",)),
    "facts that training brought": (with_passages(0.99, pilot_100=(0.99, 0.99)), UNKNOWN, ("retrieval",)),
    "odd form": (rates((0.95, 0.05), few_shot=(0.95, 0.2), pilot_100=(0.95, 0.97)), {}, ("fine-tune",)),
    "form that words give": (
        rates((0.95, 0.05), **dict.fromkeys(("instructions", "few_shot", "pilot_100"), (0.95, 0.97))),
        {},
        ("instructions",),
    ),
    "form that a schema gives": (rates((0.95, 0.3), constrained=(0.95, 0.99)), {}, ("constraint",)),
    "style": (rates((0.95, 0.1), few_shot=(0.95, 0.95), pilot_100=(0.95, 0.97)), {}, ("few-shot",)),
    "retriever": (with_passages(0.99, retrieved=(0.15, 0.99), all_together=(0.15, 0.99)), UNKNOWN, ("retriever",)),
    "reader": (
        with_passages(0.99, **dict.fromkeys(("gold_and_distractors", "retrieved", "all_together"), (0.3, 0.99))),
        {**UNKNOWN, "held": True},
        ("reader",),
    ),
    "larger": (rates((0.3, 0.99), larger=(0.9, 0.99)), {}, ("larger-model",)),
    "too hard": (rates((0.1, 0.99)), {}, ()),
    "skill": (rates((0.2, 0.99), pilot_100=(0.9, 0.99)), UNKNOWN, ("fine-tune",)),
    "facts and form": (
        with_passages(
            0.05, instructions=(0.1, 0.95), few_shot=(0.1, 0.95), all_together=(0.9, 0.95), pilot_100=(0.1, 0.97)
        ),
        UNKNOWN,
        ("instructions", "retrieval"),
    ),
    "facts and odd form": (with_passages(0.05, pilot_100=(0.1, 0.97)), UNKNOWN, ("retrieval", "fine-tune")),
}


def planted(name: str, count: int, seed: int) -> Evidence:
    chances, more, _ = WORLDS[name]
    more = dict(more)
    outcomes = drawn(chances, count, seed, noise=0.02)
    draw = random.Random(seed)
    held = more.pop("held", False)
    return evidence(
        outcomes, recall=[held or good or draw.random() < 0.05 for good in outcomes["retrieved"][0]], **more
    )


@pytest.mark.parametrize("name", WORLDS)
def test_a_planted_cause_is_named_and_no_other(name: str) -> None:
    verdicts = [decide(planted(name, 200, seed)) for seed in range(4)]
    assert [(one.kind, one.cures) for one in verdicts] == [("verdict", WORLDS[name][2])] * 4


def test_with_few_items_it_is_right_or_says_that_they_are_few() -> None:
    wrong = []
    for name, (_, _, truth) in WORLDS.items():
        for seed in range(4):
            verdict = decide(planted(name, 40, seed))
            if verdict.kind != "inconclusive" and verdict.cures != truth:
                wrong.append((name, seed, verdict.cures))
            assert verdict.kind != "inconclusive" or verdict.more_items > 0
    assert len(wrong) <= 0.1 * 4 * len(WORLDS), wrong


def test_where_nothing_is_wrong_nothing_is_advised() -> None:
    kinds = []
    for seed in range(20):
        verdict = decide(evidence(drawn(rates((0.99, 0.99)), 200, seed, noise=0.005)))
        assert verdict.cures == ()
        kinds.append(verdict.kind)
    assert kinds.count("verdict") >= 18


def test_probes_that_only_differ_by_chance_cure_nothing() -> None:
    # Half of everything is wrong, at random each time: six ways of showing examples are six tries, not six hopes.
    alarms = sum(bool(decide(evidence(drawn(rates((0.5, 1.0)), 100, seed, noise=0.3))).cures) for seed in range(60))
    assert alarms <= 4


def test_three_items_are_too_few() -> None:
    for content in ([True] * 3, [False] * 3):
        outcomes = {"as-is": (content, [True] * 3), "gold": ([True] * 3, [True] * 3)}
        verdict = decide(evidence(outcomes))
        assert verdict.kind == "inconclusive"
        assert verdict.more_items >= 5
        assert any("3 items are few" in line for line in verdict.why)


def test_items_that_contradict_come_before_every_cure() -> None:
    asked = [f"Question {number // 2}" for number in range(40)] + [f"Other {number}" for number in range(60)]
    outcomes = {"as-is": ([False] * 100, [True] * 100), "instructions": ([True] * 100, [True] * 100)}
    against = {f"i{number}": f"item i{number ^ 1} says something else" for number in range(16)}
    verdict = decide(evidence(outcomes, asked=asked, disagreement=against))
    assert (verdict.kind, verdict.cures) == ("labels", ("labels",))
    assert set(verdict.causes["labels"]) == set(against)
    agreed = decide(evidence(outcomes, asked=asked))
    assert (agreed.kind, agreed.cures) == ("verdict", ("instructions",))


def test_one_odd_pair_among_many_that_agree_decides_nothing() -> None:
    asked = [f"Question {number // 2}" for number in range(100)]
    outcomes = {"as-is": ([True] * 60 + [False] * 40, [True] * 100), "instructions": ([True] * 100, [True] * 100)}
    verdict = decide(evidence(outcomes, asked=asked, disagreement={"i0": "i1", "i1": "i0"}))
    assert (verdict.kind, verdict.cures) == ("verdict", ("instructions",))
    assert any("2 items have references that contradict" in line for line in verdict.why)


def test_a_few_contradictions_of_few_pairs_leave_it_open() -> None:
    asked = [f"Question {number // 2}" for number in range(12)] + [f"Other {number}" for number in range(28)]
    outcomes = {"as-is": ([True] * 28 + [False] * 12, [True] * 40), "instructions": ([True] * 40, [True] * 40)}
    verdict = decide(evidence(outcomes, asked=asked, disagreement={"i0": "i1", "i1": "i0"}))
    assert (verdict.kind, verdict.cures) == ("inconclusive", ())


def test_unknown_facts_speak_against_tuning_and_ask_for_documents() -> None:
    outcomes = drawn({"as-is": (0.1, 1.0), "instructions": (0.1, 1.0), "pilot-100": (0.95, 1.0)}, 200, 0, noise=0)
    verdict = decide(evidence(outcomes, **UNKNOWN))
    assert (verdict.kind, verdict.cures) == ("inconclusive", ())
    assert "--documents" in verdict.said
    assert "90 of 100" in verdict.against_fine_tuning
    barred = next(test for test in verdict.tests if test.rung == "fine-tune")
    assert not barred.counts
    assert barred.why == verdict.against_fine_tuning
    known = decide(evidence(outcomes, unknown_facts=(5, 100)))
    assert (known.kind, known.cures, known.against_fine_tuning) == ("verdict", ("fine-tune",), "")


def test_a_constant_answer_is_no_cure() -> None:
    outcomes = drawn({"as-is": (0.4, 1.0), "majority": (0.7, 1.0), "pilot-100": (0.7, 1.0)}, 200, 0, noise=0)
    verdict = decide(evidence(outcomes))
    assert verdict.cures == ()
    assert "control" in next(test.why for test in verdict.tests if test.rung == "fine-tune")


def test_a_form_that_costs_content_is_no_cure() -> None:
    outcomes = drawn({"as-is": (0.9, 0.1), "constrained": (0.5, 1.0), "few-shot-4": (0.9, 0.9)}, 200, 0, noise=0)
    verdict = decide(evidence(outcomes))
    assert verdict.cures == ("few-shot",)
    assert "points of content" in next(t.why for t in verdict.tests if t.rung == "constraint" and t.aspect == "form")


def test_cures_that_fail_together_are_not_advised_together() -> None:
    apart = {"as-is": (0.1, 0.1), "instructions": (0.1, 0.95), "retrieved": (0.95, 0.1)}
    together = decide(evidence(drawn({**apart, "all-together": (0.95, 0.95)}, 200, 0, noise=0), recall=[True] * 200))
    assert together.cures == ("instructions", "retrieval")
    assert together.effect is not None
    assert together.effect.probe == "all-together"
    failing = decide(evidence(drawn({**apart, "all-together": (0.1, 0.1)}, 200, 0, noise=0), recall=[True] * 200))
    assert failing.kind == "inconclusive"


def test_the_probe_that_asked_with_both_is_what_the_effect_is_measured_by() -> None:
    found = facts_and_form()
    probes = {name: probe for name, probe in found.probes.items() if name not in ("gold", "gold-and-distractors")}
    verdict = decide(replace(found, probes=probes, disagreement={}))
    assert verdict.cures == ("retrieval", "fine-tune")
    assert verdict.effect is not None
    assert verdict.effect.probe == "pilot-and-passages"
    right = sum(one.right for one in probes["pilot-and-passages"].judged.values())
    before = sum(one.right for one in probes["as-is"].judged.values())
    assert verdict.effect.gained - verdict.effect.lost == right - before


def test_each_failing_item_goes_to_the_first_rung_that_fixes_it() -> None:
    right, wrong = [True] * 4, [False] * 4
    outcomes = {
        "as-is": (wrong, wrong),
        "instructions": (wrong, [True, True, False, False]),
        "few-shot-2": ([False, True, False, False], [False, True, False, False]),
        "retrieved": ([True, True, False, False], wrong),
        "gold": ([True, True, True, False], wrong),
        "pilot-100": (wrong, right),
    }
    found = evidence(outcomes, recall=[True, True, False, False])
    assert decide(found).causes == {
        "few-shot": ("i1",),
        "instructions + retrieval": ("i0",),
        "retriever + fine-tune": ("i2",),
        "none": ("i3",),
    }


def test_two_models_that_agree_against_the_reference_point_at_the_label() -> None:
    found = evidence({"as-is": ([False] * 2, [True] * 2), "larger": ([False] * 2, [True] * 2)})
    same = Judged(False, True, "Paris", "another answer")
    probes = {name: replace(probe, judged={**probe.judged, "i0": same}) for name, probe in found.probes.items()}
    assert decide(replace(found, probes=probes)).causes == {"labels": ("i0",), "none": ("i1",)}


def test_a_verdict_does_not_depend_on_the_order_of_items_and_is_the_same_twice() -> None:
    found = facts_and_form()
    again = replace(found, items=tuple(reversed(found.items)))
    first, second, turned = decide(found), decide(found), decide(again)
    assert first == second
    assert (first.kind, first.cures, first.tests) == (turned.kind, turned.cures, turned.tests)


@pytest.mark.parametrize(("rung", "probes"), [("instructions", ("instructions",)), ("few-shot", SHOTS)])
def test_what_would_overturn_it_does(rung: str, probes: Sequence[str]) -> None:
    outcomes = drawn({"as-is": (1.0, 0.1), "instructions": (1.0, 0.6)}, 60, 0, noise=0)
    outcomes |= dict.fromkeys(probes, outcomes.pop("instructions"))
    found = evidence(outcomes)
    flips = int(decide(found).overturns[0].split()[0])
    base = found.probes["as-is"].judged
    gained = [name for name in base if found.probes[probes[0]].judged[name].form and not base[name].form]
    assert 0 < flips < len(gained)
    for count, cures in ((flips - 1, (rung,)), (flips, ())):
        turned = {
            name: replace(
                found.probes[name],
                judged={**found.probes[name].judged, **{of: base[of] for of in gained[:count]}},
            )
            for name in probes
        }
        assert decide(replace(found, probes={**found.probes, **turned})).cures == cures


def test_of_several_ways_to_show_examples_the_effect_is_of_one_that_does_both() -> None:
    """All reach the form; by form alone the first of them would be taken, by content another one."""
    right, wrong, some = [True] * 60, [False] * 60, [number % 3 != 0 for number in range(60)]
    outcomes = {"as-is": (wrong, wrong), "few-shot-2": (some, right), "few-shot-near-2": (right, right)}
    found = evidence(outcomes, extras={"few-shot-near-2": {"shots": 2, "nearest": True}})
    verdict = decide(found)
    assert verdict.cures == ("few-shot",)
    assert verdict.effect is not None
    assert (verdict.effect.probe, verdict.effect.gain) == ("few-shot-near-2", 1.0)
    assert "from 0% to 100% of 60 items" in verdict.said
    # Two ways were tried, so that p is twice that of one.
    assert verdict.effect.p == pytest.approx(2 * mcnemar(60, 0))
    (advice,) = advise(found, verdict, Setup("model"))
    assert "nearest" in advice.text


def test_one_pair_of_few_items_is_no_share_of_labels() -> None:
    right = ([True] * 20, [True] * 20)
    asked = [f"Question {number // 2}" for number in range(20)]
    for count in (2, 20):
        pair = {"i0": "i1", "i1": "i0"}
        few = decide(evidence({"as-is": ([False] * count, [True] * count)}, asked=asked, disagreement=pair))
        assert few.kind == "inconclusive"
        assert any("2 items have references that contradict" in line for line in few.why)
    two = {**pair, "i2": "i3", "i3": "i2"}
    assert decide(evidence({"as-is": right}, asked=asked, disagreement=two)).kind == "labels"


def test_where_nothing_is_gained_the_words_say_what_is_not_ruled_out() -> None:
    nothing = ([False] * 6, [True] * 6)
    verdict = decide(evidence({"as-is": nothing, "instructions": nothing}))
    assert verdict.kind == "inconclusive"
    assert "a gain of 5 points by one of the cures is not ruled out by so few" in verdict.said
    assert f"collect about {verdict.more_items} more items" in verdict.said
    likely = ([True] * 3 + [False] * 3, [True] * 6)
    assert "not shown to be more than chance" in decide(evidence({"as-is": nothing, "instructions": likely})).said


@pytest.mark.parametrize("passages", [{}, {"retrieved": (0.0, 0.0), "gold": (0.0, 0.0)}])
@pytest.mark.parametrize("unknown", [UNKNOWN, {}])
def test_the_form_of_wrong_answers_is_no_reason_to_tune(passages: Rates, unknown: Mapping[str, Any]) -> None:
    # A model without the facts says so at length; tuned, it invents them in the right form.
    chances = {"as-is": (0.02, 0.0), "instructions": (0.02, 0.0), "few-shot-4": (0.02, 0.05), **passages}
    verdict = decide(evidence(drawn({**chances, "pilot-100": (0.02, 0.98)}, 200, 0, noise=0), **unknown))
    assert (verdict.kind, verdict.cures) == ("inconclusive", ())
    assert "of form, but right answers change by" in verdict.said


def test_a_pilot_that_always_says_the_same_is_no_cure() -> None:
    half = [number % 2 == 0 for number in range(60)]
    outcomes = {"as-is": ([False] * 60, [False] * 60), "majority": (half, [True] * 60)}
    verdict = decide(evidence({**outcomes, "pilot-100": (half, [True] * 60)}))
    assert (verdict.kind, verdict.cures) == ("inconclusive", ())
    assert "no more than a control" in verdict.said


def test_a_form_that_brings_no_more_than_a_control_says_so() -> None:
    half = [number % 2 == 0 for number in range(60)]
    outcomes = {"as-is": ([False] * 60, [False] * 60), "majority": (half, [True] * 60)}
    verdict = decide(evidence({**outcomes, "constrained": (half, [True] * 60)}))
    assert (verdict.kind, verdict.cures) == ("verdict", ("constraint",))
    assert "no more than a control" in verdict.said
    assert "50% of the items still fail in content or form" in verdict.why


def test_only_what_could_do_better_would_overturn_it() -> None:
    right, wrong = [True] * 60, [False] * 60
    done = decide(evidence({"as-is": (right, wrong), "instructions": (right, right)}))
    assert not any("not tested" in line for line in done.overturns)
    half = [number % 2 == 0 for number in range(60)]
    left = decide(evidence({"as-is": (right, wrong), "instructions": (right, half)}))
    assert [line.partition(",")[0] for line in left.overturns if "not tested" in line] == [
        "a larger model", "fine-tuning",
    ]  # fmt: skip
    skipped = evidence({"as-is": (right, wrong), "pilot-100": (right, right)})
    skipped = replace(skipped, not_tested=(NotTested("few-shot-4", LEFT_OUT),))
    assert any(line.startswith("few-shot, which was not tested") for line in decide(skipped).overturns)
    assert decide(evidence({"as-is": (right, right)})).overturns == ()
