"""What the benchmark counts as right where a real model reads: other seeds' items, never those of the verdict."""

from __future__ import annotations

from benchmarks.diagnose import _passages_named, misled, tickets
from tests.fixtures.evidence import drawn, evidence
from tunesmith.diagnose.found import Verdict


def test_a_reader_is_misled_where_other_items_show_it() -> None:
    wide = evidence(drawn({"as-is": (0, 1), "gold": (0.6, 1), "gold-and-distractors": (0.1, 1)}, 40, 0, noise=0))
    none = evidence(drawn({"as-is": (0, 1), "gold": (0.6, 1), "gold-and-distractors": (0.6, 1)}, 40, 0, noise=0))
    assert misled([wide])
    assert not misled([none])
    assert not misled([])


def test_only_what_was_planted_and_forms_are_named() -> None:
    def named(*cures: str) -> bool:
        return _passages_named(Verdict("verdict", cures, ""), {"retrieval"})

    assert named("few-shot", "retrieval")
    assert not named("few-shot", "reader")
    assert not named("retrieval", "fine-tune")
    assert not named("retriever")


def test_tickets_ask_each_thing_once() -> None:
    made = tickets(44)
    assert len({item.input for item in made}) == 44
    for item in made:
        name, number = item.references[0].removeprefix("<<").partition(">>")[0].split(": ")
        assert name in item.input
        assert f" {number} " in item.input
