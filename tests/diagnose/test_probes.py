"""Probes against a model that is a script, so that what each must bring is known; and Ctrl-C in the middle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fixtures.scripted_model import ScriptedModel, asked_of
from tunesmith.asking.model import Prompt
from tunesmith.diagnose.facts import known_facts
from tunesmith.diagnose.form import Judge
from tunesmith.diagnose.found import PROBES, Evidence, Item, NotTested
from tunesmith.diagnose.inquiry import Inquiry, Pilot, Wishes
from tunesmith.diagnose.kept_evidence import read_evidence, write_evidence
from tunesmith.diagnose.probes import ASKED
from tunesmith.diagnose.running import gather
from tunesmith.diagnose.wanted import read_wanted
from tunesmith.errors import Interrupted, UserError
from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.document import Chunk, Passage

TOWNS = [f"Town{chr(65 + n // 26)}{chr(97 + n % 26)}" for n in range(60)]
LAND = {f"Land{n}": town for n, town in enumerate(TOWNS)}
QUESTION = re.compile(r"capital of (Land\d+)")


def item(number: int, *, gold: bool = False, form: str = "<<{}>>") -> Item:
    land, town = f"Land{number}", TOWNS[number]
    asked = f"What is the capital of {land}?"
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": asked})
    passage = f"{land} is a country. Its capital is {town}, a port." if gold else ""
    return Item(f"i{number}", asked, (form.format(town),), passage, messages=messages, line=number + 1)


def land_of(prompt: Prompt) -> str:
    return QUESTION.findall(asked_of(prompt))[-1]


class Pages:
    """A searcher over one page of each land, which leaves out what it is told to."""

    def __init__(self, *lost: str) -> None:
        self.texts = [f"{land} is a country. Its capital is {town}." for land, town in LAND.items() if land not in lost]
        self.words = Bm25(self.texts)

    def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
        found = self.words.best(query, k)
        return [
            Passage(Chunk(f"d{n}", "1", 0, 0, 9, (), self.texts[n], 9), f"page-{n}", f"Page {n}", 1.0 / rank)
            for rank, n in enumerate(found, 1)
        ]


def knows_nothing_reads_all(prompt: Prompt) -> str:
    """Reads passages, copies the form of examples and instructions, and recalls nothing."""
    asked = asked_of(prompt)
    land = land_of(prompt)
    found = re.search(rf"{land} is a country\. Its capital is (\w+)", asked)
    town = found[1] if found else "Nowhere"
    whole = "\n".join(str(message["content"]) for message in prompt.messages)
    return f"<<{town}>>" if "<<" in whole else f"The capital is {town}."


ITEMS = [item(number) for number in range(20)]
WITH_GOLD = [item(number, gold=True) for number in range(20)]


def rates(evidence: Evidence, name: str) -> tuple[float, float]:
    """Shares of content and of form."""
    judged = evidence.probes[name].judged.values()
    return tuple(sum(getattr(one, what) for one in judged) / len(judged) for what in ("content", "form"))  # type: ignore[return-value]


def test_every_probe_brings_what_it_must() -> None:
    model = ScriptedModel(knows_nothing_reads_all)
    evidence = gather(WITH_GOLD, model, Wishes(searcher=Pages("Land3"), k=3))
    assert rates(evidence, "as-is") == (0, 0)
    assert rates(evidence, "instructions") == (0, 1)
    assert rates(evidence, "few-shot-4") == (0, 1)
    assert rates(evidence, "few-shot-near-8") == (0, 1)
    assert rates(evidence, "gold") == (1, 0)
    assert rates(evidence, "gold-and-distractors") == (1, 0)
    assert rates(evidence, "retrieved") == (0.95, 0)
    assert rates(evidence, "all-together") == (0.95, 1)
    assert evidence.probes["all-together"].extra["rungs"] == ["instructions", "few-shot", "retrieval"]
    recall = evidence.probes["retrieved"].extra["recall"]
    assert [name for name, held in recall.items() if not held] == ["i3"]
    assert evidence.unknown_facts == (20, 20)
    assert {one.probe for one in evidence.not_tested} == {
        "constrained", "larger", "pilot-25", "pilot-50", "pilot-100", "pilot-and-passages",
    }  # fmt: skip
    assert set(evidence.probes) | {one.probe for one in evidence.not_tested} == set(PROBES) == set(ASKED)
    probe = evidence.probes["gold-and-distractors"]
    assert (probe.calls, probe.extra["distractors"]) == (20, 4)
    assert probe.prompt_tokens > 20 * 30
    assert probe.reply_tokens == sum(len(text.split()) for text in probe.outputs.values())


def test_the_controls_tell_what_is_given_for_nothing() -> None:
    labels = ["yes", "no", "yes", "yes"] * 5
    items = [
        Item(f"i{n}", f"Is {n} so?", (text,), messages=({"role": "user", "content": f"Is {n} so?"},))
        for n, text in enumerate(labels)
    ]
    model = ScriptedModel(lambda prompt: labels[int(asked_of(prompt).split()[1])])
    evidence = gather(items, model, Wishes(only=("as-is",)))
    assert rates(evidence, "as-is") == (1, 1)
    assert rates(evidence, "majority") == (0.75, 1)
    assert rates(evidence, "shuffled")[0] < 0.9
    assert evidence.probes["shuffled"].calls == 0
    assert all(name != other for name, other in evidence.probes["shuffled"].extra["of"].items())
    # What can't be learned is not paid for.
    reasons = {one.probe: one.reason for one in evidence.not_tested}
    assert "left out" in reasons["larger"]


def test_shots_are_other_rows_and_never_the_question_itself() -> None:
    seen: list[Prompt] = []

    def script(prompt: Prompt) -> str:
        seen.append(prompt)
        return "x"

    twice = [*ITEMS, Item("again", ITEMS[0].input.lower(), ("<<Elsewhere>>",), messages=ITEMS[0].messages)]
    gather(twice, ScriptedModel(script), Wishes(only=("few-shot-4", "few-shot-near-8")))
    shown = [prompt for prompt in seen if len(prompt.messages) > 2]
    assert len(shown) == 2 * len(twice)
    for prompt in shown:
        asked = [str(m["content"]) for m in prompt.messages if m["role"] == "user"]
        assert asked[-1] not in asked[:-1]
        assert len(set(asked)) == len(asked) in (5, 9)
        assert prompt.messages[0]["role"] == "system"


def test_two_examples_are_the_first_of_four() -> None:
    inquiry = Inquiry(ITEMS, ScriptedModel(asked_of), Wishes(), Judge(read_wanted(ITEMS)))
    for one in ITEMS[:5]:
        four = inquiry.shots(one, 4, near=False)
        assert inquiry.shots(one, 2, near=False) == four[:2]
        assert one not in four
    # The nearest to "Land1" by words: none shares it, so that drawn ones fill up.
    assert len(inquiry.shots(ITEMS[1], 8, near=True)) == 8


def test_constrained_decoding_is_asked_where_the_form_and_the_model_allow_it() -> None:
    items = [
        Item(f"i{n}", f"q{n}", (f'{{"a": {n}}}',), messages=({"role": "user", "content": f"q{n}"},)) for n in range(8)
    ]
    model = ScriptedModel(lambda prompt: '{"a": 1}' if prompt.schema else "a is 1")
    evidence = gather(items, model, Wishes(only=("constrained", "as-is")))
    assert rates(evidence, "constrained") == (1 / 8, 1)
    assert rates(evidence, "as-is") == (1 / 8, 0)
    assert evidence.probes["constrained"].extra["schema"]["required"] == ["a"]
    free = ScriptedModel(lambda prompt: "1", constrains=False)
    reasons = {one.probe: one.reason for one in gather(items, free, Wishes(only=("constrained",))).not_tested}
    assert "can't be held to a schema" in reasons["constrained"]


def test_a_schema_that_no_decoding_can_follow_is_a_probe_less_and_no_end() -> None:
    """Only a model that decodes here can tell; the other probes are asked all the same."""
    row = {"json_schema": {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}}
    items = [
        Item(f"i{n}", f"q{n}", ('{"a": 1, "b": 2}',), messages=({"role": "user", "content": f"q{n}"},), row=row)
        for n in range(8)
    ]
    model = ScriptedModel(lambda prompt: "no")
    model.grammars = True  # type: ignore[attr-defined]
    evidence = gather(items, model, Wishes(only=("constrained", "all-together", "instructions")))
    reasons = {one.probe: one.reason for one in evidence.not_tested}
    assert "no reply can be held to this schema" in reasons["constrained"]
    assert evidence.probes["instructions"].calls == 8
    assert "constraint" not in evidence.probes["all-together"].extra["rungs"]


def test_choices_constrain_too() -> None:
    items = [
        Item(f"i{n}", f"q{n}", (("up", "down")[n % 2],), messages=({"role": "user", "content": f"q{n}"},))
        for n in range(12)
    ]
    model = ScriptedModel(lambda prompt: prompt.choices[0] if prompt.choices else "who knows")
    evidence = gather(items, model, Wishes(only=("constrained",)))
    assert rates(evidence, "constrained") == (0.5, 1)


def test_the_gold_passage_is_looked_for_where_none_is_given() -> None:
    evidence = gather(ITEMS, ScriptedModel(knows_nothing_reads_all), Wishes(searcher=Pages("Land5"), skip=("larger",)))
    gold = evidence.probes["gold"]
    assert "i5" not in gold.judged
    assert len(gold.judged) == 19 == len(gold.extra["looked_for"])
    assert all(one.content for one in gold.judged.values())
    assert evidence.probes["retrieved"].extra["recall"]["i5"] is False


def test_what_is_longer_than_the_context_is_wrong_as_it_is_and_left_out_elsewhere() -> None:
    long = Item("long", "What? " * 400, ("<<Oslo>>",), messages=({"role": "user", "content": "What? " * 400},))
    model = ScriptedModel(lambda prompt: "<<Oslo>>", context=300)
    evidence = gather([*ITEMS, long], model, Wishes(only=("instructions",)))
    assert evidence.probes["as-is"].judged["long"].why == "the prompt is longer than the model takes"
    assert "long" not in evidence.probes["instructions"].judged
    assert evidence.probes["instructions"].extra["too_long"] == ["long"]


def test_examples_that_do_not_fit_are_left_out_one_by_one() -> None:
    lengths = []

    def script(prompt: Prompt) -> str:
        lengths.append(len(prompt.messages))
        return "x"

    model = ScriptedModel(script, context=190)
    gather(ITEMS, model, Wishes(only=("few-shot-8",), max_tokens=20))
    shown = lengths[len(ITEMS) :]
    assert len(shown) == len(ITEMS)
    assert all(2 < length < 18 for length in shown)


# Facts


def half_known(prompt: Prompt) -> str:
    """Knows lands below 10; of the lands from 10 to 14 only when it draws; says so in the form of the examples."""
    number = int(land_of(prompt).removeprefix("Land"))
    known = number < 10 or (number < 15 and prompt.temperature > 0 and prompt.seed == 2)
    return f"<<{TOWNS[number]}>>" if known else "<<Nowhere>>"


def test_facts_are_known_weakly_or_not_at_all() -> None:
    model = ScriptedModel(half_known)
    inquiry = Inquiry(ITEMS, model, Wishes(fact_prompts=3), Judge(read_wanted(ITEMS)))
    found = known_facts(inquiry)
    assert not isinstance(found, NotTested)
    assert [found.levels[f"i{n}"] for n in (0, 9, 10, 14, 15, 19)] == [
        "highly-known", "highly-known", "weakly-known", "weakly-known", "unknown", "unknown",
    ]  # fmt: skip
    assert found.unknown == (5, 20)
    # What is known at once is not drawn for.
    assert found.calls == 20 * 3 + 10 * 3 * 2 == len(model.asked)


def test_facts_are_asked_of_the_training_rows_where_there_are_any() -> None:
    train = [item(number) for number in range(20, 50)]
    evidence = gather(ITEMS, ScriptedModel(half_known), Wishes(train=train, fact_rows=12))
    assert evidence.unknown_facts == (12, 12)
    assert set(evidence.facts) <= {row.id for row in train}
    assert any("12 of 12 training rows" in note for note in evidence.notes)


def test_what_stands_in_the_question_is_no_fact() -> None:
    items = [
        Item(f"i{n}", f"Say {town}.", (town,), messages=({"role": "user", "content": f"Say {town}."},))
        for n, town in enumerate(TOWNS[:10])
    ]
    evidence = gather(items, ScriptedModel(lambda prompt: "no"), Wishes(only=("known-facts",)))
    assert evidence.unknown_facts is None
    assert "not recalled" in next(one.reason for one in evidence.not_tested if one.probe == "known-facts")


# Pilots, a larger model, labels


def test_pilots_learn_shares_of_rows_that_no_item_asks() -> None:
    taken: list[tuple[int, float]] = []

    def tune(rows: list[Item], items: list[Item], share: float) -> Pilot:
        taken.append((len(rows), share))
        learned = int(share * len(rows))

        def tuned(prompt: Prompt) -> str:
            return knows_nothing_reads_all(prompt).replace("The capital is ", "<<").replace(".", ">>")

        model = ScriptedModel(tuned, name=f"tuned-{share}")
        return Pilot(model, learned, 1.5, "somewhere")

    train = [item(number) for number in range(10, 50)]
    model = ScriptedModel(knows_nothing_reads_all)
    evidence = gather(WITH_GOLD, model, Wishes(train=train, tune=tune, skip=("known-facts",)))  # type: ignore[arg-type]
    assert taken == [(30, 0.25), (30, 0.5), (30, 1.0)]
    assert any("10 of 40 training rows ask what an item asks" in note for note in evidence.notes)
    assert evidence.probes["pilot-50"].extra["rows"] == 15
    assert evidence.probes["pilot-and-passages"].extra["rungs"] == ["retrieval", "fine-tune"]
    assert rates(evidence, "pilot-100") == (0, 1)
    assert rates(evidence, "pilot-and-passages") == (1, 1)
    assert evidence.probes["few-shot-4"].extra["shown_from"] == "train"


def test_dear_probes_are_not_asked_where_nothing_can_be_gained() -> None:
    right = ScriptedModel(lambda prompt: f"<<{LAND[land_of(prompt)]}>>")
    other = ScriptedModel(right.script, name="larger")
    reasons = {one.probe: one.reason for one in gather(ITEMS, right, Wishes(larger=other)).not_tested}
    assert "100% of the items are right" in reasons["larger"]
    assert not other.asked
    assert "larger" in gather(ITEMS, right, Wishes(larger=other, everything=True)).probes
    assert len(other.asked) == 20


def test_a_pilot_that_can_not_be_made_is_said() -> None:
    def tune(rows: list[Item], items: list[Item], share: float) -> Pilot:
        raise UserError("3 rows are too few for a pilot")

    train = [item(number) for number in range(30, 33)]
    evidence = gather(ITEMS, ScriptedModel(lambda prompt: "x"), Wishes(train=train, tune=tune))  # type: ignore[arg-type]
    reasons = {one.probe: one.reason for one in evidence.not_tested}
    assert "too few" in reasons["pilot-100"]
    assert "pilot-and-passages" in reasons


def test_a_pilot_that_is_stopped_stops_the_diagnosis() -> None:
    def tune(rows: list[Item], items: list[Item], share: float) -> Pilot:
        raise Interrupted("the run was asked to stop")

    train = [item(number) for number in range(30, 50)]
    wishes = Wishes(train=train, tune=tune, only=("pilot-25",))  # type: ignore[arg-type]
    with pytest.raises(Interrupted):
        gather(ITEMS, ScriptedModel(lambda prompt: "x"), wishes)


def test_references_that_contradict_each_other_are_found() -> None:
    same = [
        Item("a", "Is it so?", ("yes",), messages=({"role": "user", "content": "Is it so?"},)),
        Item("b", "is it so", ("no",), messages=({"role": "user", "content": "is it so"},)),
        Item("c", "Is it cold?", ("no",), messages=({"role": "user", "content": "Is it cold?"},)),
        Item("d", "Is it cold?", ("no",), messages=({"role": "user", "content": "Is it cold?"},)),
    ]
    items = [*same, *(Item(f"i{n}", f"{n}?", (("yes", "no")[n % 2],), messages=same[0].messages) for n in range(12))]
    train = [Item("t", "Is it cold?", ("yes",), messages=same[2].messages)]
    model = ScriptedModel(lambda prompt: "yes")
    assert set(gather(same + items[4:], model, Wishes(only=("as-is",))).disagreement) >= {"a", "b"}
    with_train = gather(same, model, Wishes(only=("as-is",), train=train)).disagreement
    assert set(with_train) == {"a", "b", "c", "d"}
    assert "a training row t" in with_train["c"] + with_train["d"]


# Stopping, keeping, wishes


def test_a_diagnosis_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    stopped = ScriptedModel(knows_nothing_reads_all, fail_after=50)
    only = ("instructions", "few-shot-4", "retrieved", "known-facts")
    wishes = Wishes(folder=tmp_path, searcher=Pages(), fact_rows=5, only=only)
    with pytest.raises(KeyboardInterrupt):
        gather(WITH_GOLD, stopped, wishes)
    again = ScriptedModel(knows_nothing_reads_all)
    evidence = gather(WITH_GOLD, again, wishes)
    whole = ScriptedModel(knows_nothing_reads_all)
    assert evidence == gather(WITH_GOLD, whole, Wishes(searcher=Pages(), fact_rows=5, only=only))
    # At most the replies that were asked together are asked again.
    assert len(stopped.asked) + len(again.asked) <= len(whole.asked) + 32
    third = ScriptedModel(knows_nothing_reads_all)
    assert gather(WITH_GOLD, third, wishes) == evidence
    assert third.asked == []


def test_another_model_is_asked_anew(tmp_path: Path) -> None:
    gather(ITEMS, ScriptedModel(knows_nothing_reads_all), Wishes(folder=tmp_path, only=("as-is",)))
    other = ScriptedModel(lambda prompt: "x", identity="another")
    gather(ITEMS, other, Wishes(folder=tmp_path, only=("as-is",)))
    assert len(other.asked) == 20


def test_evidence_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    evidence = gather(WITH_GOLD, ScriptedModel(knows_nothing_reads_all), Wishes(searcher=Pages(), fact_rows=5))
    write_evidence(evidence, tmp_path)
    again = read_evidence(tmp_path)
    assert again.items == evidence.items
    assert {name: probe.judged for name, probe in again.probes.items()} == {
        name: probe.judged for name, probe in evidence.probes.items()
    }
    assert (again.unknown_facts, again.not_tested, again.facts) == (
        evidence.unknown_facts, evidence.not_tested, evidence.facts,
    )  # fmt: skip
    (tmp_path / "evidence.json").write_text('{"items": 3}', encoding="utf-8")
    with pytest.raises(UserError, match="no evidence"):
        read_evidence(tmp_path)


def test_a_probe_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no probe 'few-shots-4'") as fault:
        gather(ITEMS, ScriptedModel(asked_of), Wishes(only=("few-shots-4",)))
    assert fault.value.fix == "write 'few-shot-4'"


def test_three_items_are_enough_to_say_that_they_are_few() -> None:
    evidence = gather(ITEMS[:3], ScriptedModel(knows_nothing_reads_all), Wishes())
    assert any("3 items are few" in note for note in evidence.notes)
    reasons = {one.probe: one.reason for one in evidence.not_tested}
    assert "there are 3 rows to show 4 from" in reasons["few-shot-4"]
    assert "few-shot-2" in evidence.probes


def test_a_reference_that_is_no_json_is_named_with_its_line() -> None:
    schema = {"json_schema": {"type": "integer"}}
    asked = []
    for n in range(10):
        asks = ({"role": "user", "content": f"What is {n} + 1?"},)
        asked.append(
            Item(f"i{n}", asks[0]["content"], (str(n + 1) if n else "one",), messages=asks, line=n + 1, row=schema)
        )
    said = ScriptedModel(lambda prompt: str(int(asked_of(prompt).split()[2]) + 1))
    found = gather(asked, said, Wishes(only=("as-is",)))
    assert any("1 of 10 references are wrong" in note and "(line 1)" in note for note in found.notes)
    assert [name for name, one in found.probes["as-is"].judged.items() if not one.content] == ["i0"]


def test_golds_of_other_items_distract_where_the_search_brings_too_few() -> None:
    class One(Pages):
        def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
            return super().search(query, 1)

    asked = [item(n) for n in range(12)]
    found = gather(
        asked, ScriptedModel(knows_nothing_reads_all), Wishes(searcher=One(), only=("gold-and-distractors",))
    )
    assert len(found.probes["gold-and-distractors"].judged) == 12
