"""Exact match and overlap: what counts as the same text, and that overlap is what the reference libraries say."""

from __future__ import annotations

import pytest

from tunesmith.language.answers.exact import ExactScorer
from tunesmith.language.answers.overlap import OverlapScorer

ROW = {"id": "1"}
PAIRS = [
    ("The cat sat on the mat.", "A cat was sitting on the mat."),
    ("police killed the gunman", "police kill the gunman"),
    ("the gunman kill police", "police kill the gunman"),
    ("", "police kill the gunman"),
    ("Кошка сидит на ковре", "Кошка сидела на ковре"),
    ("the the the the", "the cat"),
    ("running runs ran", "run"),
    ("naïve café", "naive cafe"),
]


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "loose"),
    [
        (" Paris\n", "Paris", 1, 1),
        ("paris", "Paris", 0, 1),
        ("Paris.", "Paris", 0, 1),
        ("New   York\nCity", "New York City", 0, 1),
        ("STRASSE", "Straße", 0, 1),
        ("Paris. It is in France.", "Paris", 0, 0),
        ("3.5", "35", 0, 0),
        ("東京。", "東京", 0, 1),
        ("", "Paris", 0, 0),
    ],
)
def test_exact_match(answer: str, reference: str, exact: float, loose: float) -> None:
    assert ExactScorer().one(answer, reference, ROW) == {"exact_match": exact, "exact_match_normalised": loose}


def test_overlap_is_what_the_reference_libraries_say() -> None:
    from rouge_score import rouge_scorer
    from sacrebleu.metrics import CHRF

    rouge, chrf = rouge_scorer.RougeScorer(["rougeL"]), CHRF()
    scorer = OverlapScorer()
    for answer, reference in PAIRS:
        assert scorer.one(answer, reference, ROW) == {
            "rouge_l": pytest.approx(rouge.score(reference, answer)["rougeL"].fmeasure, abs=1e-12),
            "chrf": pytest.approx(chrf.sentence_score(answer, [reference]).score / 100, abs=1e-12),
        }


def test_rouge_l_agrees_with_its_paper() -> None:
    # Lin 2004, section 3.1: the longest common subsequences are 3 and 2 words of 4.
    scores = [OverlapScorer().one(answer, reference, ROW)["rouge_l"] for answer, reference in PAIRS[1:3]]
    assert scores == pytest.approx([0.75, 0.5])


def test_references_that_overlap_with_nothing_are_found() -> None:
    rows = [{"id": str(n)} for n in range(4)]
    found = {f.code: f for f in OverlapScorer().findings(rows, ["a cat", " ", "Кошка", "東京"])}
    assert set(found) == {"gold-empty", "no-rouge"} == set(OverlapScorer.codes)
    assert (found["gold-empty"].level, found["gold-empty"].rows) == ("error", ("1",))
    assert (found["no-rouge"].level, found["no-rouge"].rows) == ("warning", ("2", "3"))
    assert OverlapScorer().one("Кошка", "Кошка", ROW)["chrf"] == 1
