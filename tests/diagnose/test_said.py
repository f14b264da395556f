"""What is handed on: JSON, text, costs, advice that is ready to use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures import diagnoses
from tests.fixtures.evidence import drawn, evidence
from tunesmith.diagnose.advice import Setup, advise, distractor_gap, remove_stale, write_advice
from tunesmith.diagnose.costs import Prices, costs_of
from tunesmith.diagnose.found import Exit, Verdict
from tunesmith.diagnose.items import read_items
from tunesmith.diagnose.pilot import epochs_of
from tunesmith.diagnose.rule import decide
from tunesmith.diagnose.said import diagnosis_json
from tunesmith.report.diagnosed import diagnosis_text
from tunesmith.report.diagnosis_page import render_diagnosis


def test_the_json_is_plain_and_its_counts_are_those_of_the_probes() -> None:
    found = diagnoses.facts_and_form()
    verdict = decide(found)
    told = diagnosis_json(found, verdict)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["exit"] == Exit["verdict"] == 0
    probes = {probe["name"]: probe for probe in told["probes"]}
    for name, probe in found.probes.items():
        table = probes[name]["table"]
        assert sum(table.values()) == len(probe.judged)
        assert table["both"] == sum(one.right for one in probe.judged.values())
        assert table["both"] + table["content"] == sum(one.content for one in probe.judged.values())
    failing = sum(not one.right for one in found.probes["as-is"].judged.values())
    assert sum(cause["items"] for cause in told["causes"]) == failing
    assert all(1 <= len(cause["shown"]) <= 3 for cause in told["causes"])


def test_evidence_for_a_cause_shows_what_fixed_it() -> None:
    found = diagnoses.facts_and_form()
    told = diagnosis_json(found, decide(found))
    cause = next(one for one in told["causes"] if one["cause"] == "retrieval + fine-tune")
    for item in cause["shown"]:
        after = {one["probe"]: one for one in item["after"]}
        assert after["retrieved"]["content"]
        assert after["pilot-100"]["form"]
        assert not item["content"]
        assert item["output"] == found.probes["as-is"].outputs[item["id"]]


@pytest.mark.parametrize("kind", ["verdict", "inconclusive", "labels"])
def test_every_kind_is_told_and_drawn(kind: str) -> None:
    right = ([True] * 40, [True] * 40)
    asked = [f"Q {n // 2}" for n in range(40)]
    against = {f"i{n}": "another" for n in range(20)}
    found = {
        "verdict": evidence({"as-is": ([False] * 40, [True] * 40), "instructions": right}),
        "inconclusive": evidence({"as-is": ([False] * 4 + [True] * 36, [True] * 40), "instructions": right}),
        "labels": evidence({"as-is": right}, asked=asked, disagreement=against),
    }[kind]
    verdict = decide(found)
    assert verdict.kind == kind
    told = diagnosis_json(found, verdict)
    text, page = diagnosis_text(told), render_diagnosis(told)
    assert text.splitlines()[-1].startswith(f"{kind}: ")
    assert "\033" not in text
    assert diagnosis_text(told, colour=True).splitlines()[-1].startswith("\033[1;")
    assert {"verdict": "Verdict", "inconclusive": "Inconclusive", "labels": "Labels first"}[kind] in page


def test_cost_of_a_call_and_break_even_by_hand() -> None:
    outcomes = drawn({"as-is": (0.5, 1.0), "few-shot-4": (0.9, 1.0), "pilot-100": (0.9, 1.0)}, 50, 0)
    found = evidence(outcomes, extras={"pilot-100": {"training_seconds": 600.0, "rows": 300}})
    probes = dict(found.probes)
    probes["few-shot-4"] = replace(probes["few-shot-4"], prompt_tokens=50 * 500, reply_tokens=50 * 10, seconds=50.0)
    probes["pilot-100"] = replace(probes["pilot-100"], prompt_tokens=50 * 50, reply_tokens=50 * 10, seconds=20.0)
    found = replace(found, probes=probes)
    by_seconds = {one.probe: one for one in costs_of(found).each}
    assert by_seconds["few-shot-4"].break_even == 1000  # 600 s over 1 s less 0.4 s
    assert by_seconds["as-is"].break_even is None
    priced = costs_of(found, Prices(prompt=2.0, reply=10.0, hour=9.0, currency="€"))
    few = next(one for one in priced.each if one.probe == "few-shot-4")
    assert few.price == pytest.approx((500 * 2 + 10 * 10) / 1e6)
    assert priced.tuning_price == pytest.approx(1.5)
    assert few.break_even == 1667  # 1.5 over 450 prompt tokens at 2 a million
    assert few.of == "price"


def test_the_larger_model_has_prices_and_a_break_even_of_its_own() -> None:
    outcomes = drawn({"as-is": (0.5, 1.0), "larger": (0.9, 1.0), "pilot-100": (0.9, 1.0)}, 50, 0)
    found = evidence(outcomes, extras={"pilot-100": {"training_seconds": 600.0, "rows": 300}})
    probes = {
        name: replace(probe, prompt_tokens=50 * 100, reply_tokens=50 * 10, seconds=50.0 * seconds)
        for (name, probe), seconds in zip(found.probes.items(), (0.25, 0.75, 0.25), strict=True)
    }
    found = replace(found, probes=probes)
    own = Prices(prompt=2.0, reply=10.0, hour=9.0, larger_prompt=20.0, larger_reply=80.0)
    larger = next(one for one in costs_of(found, own).each if one.probe == "larger")
    assert larger.price == pytest.approx((100 * 20 + 10 * 80) / 1e6)
    assert (larger.break_even, larger.of) == (600, "price")  # 1.5 over 0.0028 less 0.0003
    assert costs_of(found, own).unpriced == ()
    # Without a price of its own it has none: that of the other model is not taken for it.
    lacking = costs_of(found, replace(own, larger_prompt=0.0, larger_reply=0.0))
    larger = next(one for one in lacking.each if one.probe == "larger")
    assert (larger.price, larger.break_even, larger.of) == (None, 1200, "seconds")  # 600 s over 0.75 s less 0.25 s
    assert lacking.unpriced == ("larger",)
    told = diagnosis_json(found, decide(found), lacking)
    assert "no price is known of: larger" in diagnosis_text(told)
    assert "1,200 (seconds)" in diagnosis_text(told)
    page = render_diagnosis(told)
    assert "No price is known of: larger." in page
    assert "200 calls, by seconds" in page
    # Its price alone is one, too, and nothing to hold it against.
    alone = costs_of(found, Prices(hour=9.0, larger_reply=80.0))
    assert [one.price is None for one in alone.each] == [True, False, True]
    assert alone.each[1].of == "seconds"


def test_tuning_on_all_rows_is_told_from_a_pilot_on_a_share_of_them() -> None:
    """A quarter of the rows is read more often: its seconds are not a quarter of those of all."""
    outcomes = drawn({"as-is": (0.5, 1.0), "pilot-25": (0.9, 1.0), "pilot-and-passages": (0.9, 1.0)}, 50, 0)
    found = evidence(outcomes, extras={"pilot-25": {"training_seconds": 100.0, "rows": 100}})
    costs = costs_of(found)
    assert (epochs_of(100), epochs_of(400)) == (5, 3)
    assert costs.tuned_rows == 400
    assert costs.tuning_seconds == pytest.approx(100.0 * 400 * 3 / (100 * 5))
    # With passages in its prompt a call of the tuned model costs more, and that is shown.
    assert [one.probe for one in costs.each] == ["as-is", "pilot-25", "pilot-and-passages"]


def test_a_recipe_for_the_winner_reads_and_its_rows_have_passages(tmp_path: Path) -> None:
    from tunesmith.recipe.read import read_recipe

    found = diagnoses.facts_and_form()
    verdict = decide(found)
    assert "fine-tune" in verdict.cures
    advice = advise(found, verdict, diagnoses.setup(str(tmp_path)))
    assert [one.rung for one in advice] == list(verdict.cures)
    written = {path.name for path in write_advice(advice, tmp_path)}
    assert {"recipe.yaml", "train.jsonl", "pairs.jsonl", "retriever.yaml"} <= written
    source = read_recipe(tmp_path / "recipe.yaml")
    assert source.recipe.task == "causal-lm"
    rows = read_items(tmp_path / "train.jsonl")
    assert len(rows) == 12
    # Facts come from the passage, so that the rows teach no fact.
    assert all("The fee of hall" in row.input and "These passages" in row.input for row in rows)
    assert read_recipe(tmp_path / "retriever.yaml").recipe.task == "retrieval"


@pytest.mark.parametrize(
    "rung",
    [
        "instructions",
        "constraint",
        "few-shot",
        "retrieval",
        "retriever",
        "reader",
        "larger-model",
        "fine-tune",
        "labels",
    ],
)
def test_there_is_advice_for_every_cure(rung: str, tmp_path: Path) -> None:
    found = diagnoses.facts_and_form()
    (one,) = advise(found, Verdict("verdict", (rung,), ""), diagnoses.setup(str(tmp_path)))
    assert one.rung == rung
    assert one.text.endswith(".")
    assert all(path.stat().st_size > 1 for path in write_advice([one], tmp_path))
    if rung == "constraint":
        assert json.loads(one.files["schema.json"]) == {"type": "string"}
    if rung == "instructions":
        assert "40 euros" in one.files["instructions.txt"]


def test_training_with_distractors_is_offered_only_where_their_cost_was_measured() -> None:
    found = diagnoses.facts_and_form()
    gap = distractor_gap(found)
    assert gap is not None
    assert gap > 0.1
    reader = Verdict("verdict", ("reader",), "")
    assert "RAFT" in advise(found, reader, diagnoses.setup())[0].text
    without = replace(found, probes={k: v for k, v in found.probes.items() if k != "gold-and-distractors"})
    assert distractor_gap(without) is None
    assert "RAFT" not in advise(without, reader, diagnoses.setup())[0].text


def test_advice_that_no_longer_holds_is_taken_away(tmp_path: Path) -> None:
    found = diagnoses.facts_and_form()
    verdict = decide(found)
    advice = advise(found, verdict, Setup("starter:smollm2-135m", train=found.items, folder=str(tmp_path)))
    write_advice(advice, tmp_path)
    told = diagnosis_json(found, verdict, None, advice)
    (tmp_path / "diagnosis.json").write_text(json.dumps(told), encoding="utf-8")
    names = {name for one in advice for name in one.files}
    assert {"recipe.yaml", "train.jsonl"} <= names
    (tmp_path / "train.jsonl").write_text("mine", encoding="utf-8")
    (tmp_path / "other.txt").write_text("mine", encoding="utf-8")
    remove_stale(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"diagnosis.json", "train.jsonl", "other.txt"}


def test_documents_that_are_an_index_are_not_indexed_again(tmp_path: Path) -> None:
    found = evidence({"as-is": ([False] * 40, [True] * 40), "retrieved": ([True] * 40, [True] * 40)})
    (tmp_path / "index.sqlite").touch()
    (one,) = advise(found, decide(found), Setup("openai:m@http://127.0.0.1/v1", documents=str(tmp_path)))
    assert one.rung == "retrieval"
    assert [command.split()[:3] for command in one.commands] == [["tunesmith", "ask", str(tmp_path)]]


def test_the_recipe_reads_the_rows_as_often_as_the_pilot() -> None:
    found = diagnoses.facts_and_form()
    advice = advise(found, decide(found), Setup("m", train=found.items[:16]))
    recipe = next(one.files["recipe.yaml"] for one in advice if one.rung == "fine-tune")
    assert f"epochs: {epochs_of(16)}," in recipe
