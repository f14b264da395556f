"""Rows that are answered from passages: what stands in the prompt, what is quoted, what is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import small_decoders
from tunesmith.asking.model import Reply
from tunesmith.data.source import read_rows
from tunesmith.retrieval.answering import prompt_for, read_reply
from tunesmith.retrieval.document import Chunk, Passage
from tunesmith.retrieval.grounded import Grounded, GroundedShape, grounded_rows, supporting


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i}",
            "question": f"How long does permit {i} take?",
            "answer": f"Permit {i} takes {i + 2} weeks.",
            "gold": f"About permits.\nAs to permit {i}: it takes {i + 2} weeks in this town. Nothing else is known.",
        }
        for i in range(count)
    ]


def _passages(texts: list[str]) -> list[Passage]:
    return [Passage(Chunk("d", "1", i, 0, len(t.encode()), (), t, 1), "", "", 0.0) for i, t in enumerate(texts)]


def test_each_row_is_what_ask_asks_and_what_it_can_read() -> None:
    made, given = grounded_rows(rows(), Grounded(distractors=3, without_gold=0.25)), rows()
    without = 0
    for row, raw in zip(made, given, strict=True):
        system, user, reply = row["messages"]
        texts = [block.split(">\n", 1)[1].split("\n</source-")[0] for block in user["content"].split("<source-")[1:]]
        passages = _passages(texts)
        wanted = prompt_for(raw["question"], passages, constrained=False).messages
        assert [system, user] == [dict(message) for message in wanted]
        answer = read_reply(raw["question"], passages, Reply(reply["content"]))
        if raw["gold"] in texts:
            assert answer.text == raw["answer"]
            assert answer.supported
            assert answer.notes == ()
            assert [texts[quote.source - 1] for quote in answer.quotes] == [raw["gold"]] * len(answer.quotes)
            assert len(texts) == 4
        else:
            without += 1
            assert not answer.there
            assert len(texts) == 3
        assert "gold" not in row
        assert "distractors" not in row
    assert 4 <= without <= 17, "a quarter of forty, by chance"
    both = [(row["messages"][1]["content"], raw["gold"]) for row, raw in zip(made, given, strict=True)]
    places = {content.split(gold)[0].count("<source-") for content, gold in both if gold in content}
    assert places == {1, 2, 3, 4}, "the right passage stands anywhere"


def test_a_row_is_the_same_every_time_and_in_any_order() -> None:
    once = grounded_rows(rows(12))
    assert grounded_rows(rows(12)) == once
    shape = GroundedShape(Grounded(distractors=1))
    two = [{**row, "distractors": ["another passage"]} for row in rows(12)]
    forward = [shape(row) for row in two]
    assert [GroundedShape(Grounded(distractors=1))(row) for row in reversed(two)][::-1] == forward


def test_a_file_lends_its_passages_to_each_other(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    shape = GroundedShape(Grounded(distractors=2))
    found = read_rows(file, shape=shape)
    assert [row["messages"] for row in found] == [r["messages"] for r in grounded_rows(rows(), Grounded(distractors=2))]
    assert "2.0 other passages each" in shape.notes()[0]


def test_own_distractors_come_first() -> None:
    row = {**rows(1)[0], "distractors": ["one of mine", "another of mine"]}
    content = GroundedShape(Grounded(distractors=1, without_gold=0))(row)
    assert isinstance(content, dict)
    assert "one of mine" in content["messages"][1]["content"]
    assert "another of mine" not in content["messages"][1]["content"]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("It costs 30 crowns and takes two weeks.", ["The fee is 30 crowns.", "It takes two weeks in summer."]),
        ("30 crowns.", ["The fee is 30 crowns."]),
        ("Yes.", ["Permits are for roofs."]),
    ],
)
def test_the_sentences_that_an_answer_rests_on(answer: str, wanted: list[str]) -> None:
    passage = "Permits are for roofs. The fee is 30 crowns.\nIt takes two weeks in summer."
    assert supporting("Are permits for roofs?", answer, passage) == wanted


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"gold": None}, "has no gold passage"),
        ({"gold": " "}, "has no gold passage"),
        ({"distractors": "a text"}, "distractors that are no list"),
        ({"question": None, "answer": None, "text": "raw"}, "is raw text"),
        ({"answer": None}, "fits no known shape"),
    ],
)
def test_rows_that_are_none(change: dict[str, Any], why: str) -> None:
    raw = {name: value for name, value in {**rows(1)[0], **change}.items() if value is not None}
    assert why in str(GroundedShape(Grounded())(raw))


def test_a_question_to_predict_needs_no_answer() -> None:
    shape = GroundedShape(Grounded(), answered=False)
    asked = shape({"id": "1", "question": "How long?", "distractors": ["ten weeks"]})
    assert isinstance(asked, dict)
    assert asked["messages"][-1]["role"] == "user"
    assert "has no passage" in str(shape({"id": "1", "question": "How long?"}))


def test_a_language_task_learns_the_reply_and_nothing_else(tmp_path: Path) -> None:
    from tunesmith.model.weights import resolve
    from tunesmith.recipe import ModelSection
    from tunesmith.tasks.causal_lm import CausalLM

    model = small_decoders.write_decoder(tmp_path / "model", longest=4096, max_position_embeddings=4096)
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(6)), encoding="utf-8")
    options = CausalLM.Options.model_validate({"grounded": {"distractors": 1, "without_gold": 0.5}})
    task = CausalLM(options, resolve(ModelSection(name=str(model))))
    found = list(read_rows(file, shape=task.row_shape(options)))
    task.facts = task.survey(found)
    for row, preview in zip(found, task.preview(found), strict=True):
        learned = "".join(text for text, learns in preview.spans if learns)
        assert learned.replace("<|im_end|>", "").strip() == row["messages"][-1]["content"]
    told = {json.loads(row["messages"][-1]["content"])["answer"] is None for row in found}
    assert told == {True, False}


def test_what_diagnosis_offers_is_ready_to_train(tmp_path: Path) -> None:
    from tests.fixtures import diagnoses
    from tunesmith.diagnose.advice import advise, write_advice
    from tunesmith.diagnose.found import Item, Verdict
    from tunesmith.recipe import read_recipe, resolve_options
    from tunesmith.tasks.causal_lm import CausalLM

    train = [Item(raw["id"], raw["question"], (raw["answer"],), gold=raw["gold"]) for raw in rows(8)]
    setup = replace(diagnoses.setup(str(tmp_path)), train=train)
    (offered,) = advise(diagnoses.facts_and_form(), Verdict("verdict", ("reader",), ""), setup)
    write_advice([offered], tmp_path)
    recipe = resolve_options(read_recipe(tmp_path / "reader.yaml"), CausalLM.Options).recipe
    shape = CausalLM.row_shape(CausalLM.Options.model_validate(recipe.options))
    assert isinstance(shape, GroundedShape)
    found = read_rows(recipe.data.train, shape=shape)
    assert "8 rows are answered from passages: 4.0 other passages each" in shape.notes()[0]
    assert len(found) == 8
    assert offered.commands[-1].endswith("reader.yaml")
