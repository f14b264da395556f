"""Scores without a judge are those of other implementations of the same formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.retrieval.scores import (
    answer_exact,
    answer_f1,
    citation_scores,
    hit_at,
    means,
    ndcg_at,
    recall_at,
    reciprocal_rank,
)

IDS = [f"d{n}" for n in range(30)]


def worlds(count: int = 60) -> list[tuple[list[str], dict[str, float]]]:
    """Orders of passages, and gains of some of them."""
    rng = np.random.default_rng(5)
    made = []
    for _ in range(count):
        order = [IDS[i] for i in rng.permutation(30)]
        right = rng.choice(30, size=int(rng.integers(1, 9)), replace=False)
        made.append((order, {IDS[i]: float(rng.integers(1, 4)) for i in right}))
    return made


@pytest.mark.parametrize("k", [1, 3, 10, 30])
def test_ndcg_is_that_of_scikit_learn(k: int) -> None:
    from sklearn.metrics import ndcg_score

    for order, gains in worlds():
        truth = [[gains.get(one, 0.0) for one in IDS]]
        scores = [[-order.index(one) for one in IDS]]
        assert ndcg_at(order, gains, k) == pytest.approx(ndcg_score(truth, scores, k=k), abs=1e-12)


def test_recall_rank_and_ndcg_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    made = worlds()
    queries = {f"q{n}": "" for n in range(len(made))}
    relevant = {f"q{n}": set(gains) for n, (_, gains) in enumerate(made)}
    theirs = InformationRetrievalEvaluator(
        queries, dict.fromkeys(IDS, ""), relevant, mrr_at_k=[10], ndcg_at_k=[10], accuracy_at_k=[1, 5],
        precision_recall_at_k=[1, 5, 10], map_at_k=[10],
    )  # fmt: skip
    listed = [[{"corpus_id": one, "score": -float(rank)} for rank, one in enumerate(order)] for order, _ in made]
    told = theirs.compute_metrics(listed)
    ours = means([
        {
            "mrr": reciprocal_rank(order, gains, 10),
            "ndcg": ndcg_at(order, set(gains), 10),
            **{f"recall{k}": recall_at(order, gains, k) for k in (1, 5, 10)},
            **{f"hit{k}": hit_at(order, gains, k) for k in (1, 5)},
        }
        for order, gains in made
    ])  # fmt: skip
    assert ours["mrr"] == pytest.approx(told["mrr@k"][10])
    assert ours["ndcg"] == pytest.approx(told["ndcg@k"][10])
    assert [ours[f"recall{k}"] for k in (1, 5, 10)] == pytest.approx([told["recall@k"][k] for k in (1, 5, 10)])
    assert [ours[f"hit{k}"] for k in (1, 5)] == pytest.approx([told["accuracy@k"][k] for k in (1, 5)])


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        # Worked by hand from the rules of evaluate-v1.1.py and evaluate-v2.0.py.
        ("The Eiffel Tower.", ["eiffel tower"], 1, 1),
        ("a tower", ["the Eiffel tower", "tower"], 1, 1),
        ("in Paris, France", ["Paris"], 0, 0.5),
        ("cat cat dog", ["cat dog dog"], 0, 2 / 3),
        ("1,000", ["1000"], 1, 1),
        ("blue", ["red"], 0, 0),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("", ["red"], 0, 0),
        ("the", [""], 1, 1),
    ],
)
def test_answers_are_judged_by_the_rules_of_squad(answer: str, references: list[str], exact: float, f1: float) -> None:
    assert answer_exact(answer, references) == exact
    assert answer_f1(answer, references) == pytest.approx(f1)


def test_citations() -> None:
    assert citation_scores([1, 2], [2, 3, 4]) == (0.5, pytest.approx(1 / 3))
    assert citation_scores([], [1]) == (0.0, 0.0)
    assert citation_scores([], []) == (1.0, 1.0)
    assert citation_scores([1], []) == (0.0, 1.0)


def test_edges() -> None:
    assert ndcg_at(["a", "a", "b"], {"b"}) == pytest.approx(1 / math.log2(3))
    assert ndcg_at([], {"b"}) == 0
    assert ndcg_at(["a"], set()) == 1
    assert recall_at(["a"], [], 1) == 1
    assert reciprocal_rank(["a", "b"], {"b"}, 1) == 0
    assert means([{"a": 1.0}, {"a": 0.0, "b": 1.0}]) == {"a": 0.5, "b": 1.0}
