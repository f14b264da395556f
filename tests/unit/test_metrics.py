"""Scores against scikit-learn, intervals against theory and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from tunesmith import metrics
from tunesmith.errors import UserError

CASES = [(2, 1), (2, 7), (3, 200), (5, 40), (12, 30), (40, 60)]


def labels(classes: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Skewed labels, right two times in three, so that classes are absent where rows are few."""
    rng = np.random.default_rng([classes, rows, seed])
    share = rng.dirichlet(np.full(classes, 0.4))
    true = rng.choice(classes, rows, p=share)
    return true, np.where(rng.random(rows) < 0.67, true, rng.integers(0, classes, rows))


@pytest.mark.parametrize(("classes", "rows"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(classes: int, rows: int, seed: int) -> None:
    true, predicted = labels(classes, rows, seed)
    matrix = metrics.confusion(true, predicted, classes)
    assert matrix.dtype == np.int64
    every = list(range(classes))
    np.testing.assert_array_equal(matrix, confusion_matrix(true, predicted, labels=every))
    assert metrics.accuracy(matrix) == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert metrics.macro_f1(matrix) == pytest.approx(f1_score(true, predicted, average="macro"), abs=1e-12)
    ours = [(c.precision, c.recall, c.f1, c.support) for c in metrics.per_class(matrix)]
    theirs = precision_recall_fscore_support(true, predicted, labels=every, zero_division=0)
    np.testing.assert_allclose(np.array(ours).T, np.array(theirs), atol=1e-12)


def test_absent_classes_do_not_move_macro_f1_but_appear_in_the_table() -> None:
    true, predicted = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])
    narrow, wide = metrics.confusion(true, predicted, 3), metrics.confusion(true, predicted, 9)
    assert metrics.macro_f1(narrow) == metrics.macro_f1(wide) == pytest.approx((2 / 3 + 0.8) / 2)
    assert metrics.per_class(wide)[8] == metrics.ClassScores(0.0, 0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("true", "predicted", "words"),
    [
        ([0, 1], [0], "2 true classes"),
        ([0, 3], [0, 1], "outside 0 to 2"),
        ([0, -1], [0, 1], "outside 0 to 2"),
        ([0.0, 1.0], [0, 1], "integers"),
        ([], [], "no true classes"),
    ],
)
def test_bad_labels_are_refused(true: list[float], predicted: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.confusion(true, predicted, 3)
    with pytest.raises(ValueError, match=words):
        metrics.tally_classification(true, predicted, 3)


def test_scores_of_no_rows_are_refused() -> None:
    for score in (metrics.accuracy, metrics.macro_f1, metrics.per_class):
        with pytest.raises(ValueError, match="0 rows"):
            score(np.zeros((3, 3)))


def test_calibration_by_hand() -> None:
    confidence = np.array([0.95, 0.85, 0.85, 0.65, 0.15, 1.0, 0.0])
    correct = np.array([1, 1, 0, 1, 0, 1, 0])
    bins = metrics.reliability(confidence, correct, bins=10)
    assert [(round(b.low, 1), b.rows) for b in bins] == [(0.0, 1), (0.1, 1), (0.6, 1), (0.8, 2), (0.9, 2)]
    by_hand = (1 * 0.0 + 1 * 0.15 + 1 * 0.35 + 2 * abs(0.5 - 0.85) + 2 * abs(1.0 - 0.975)) / 7
    assert metrics.expected_calibration_error(confidence, correct, bins=10) == pytest.approx(by_hand)
    assert bins[-1].to_json() == pytest.approx({"low": 0.9, "high": 1.0, "confidence": 0.975, "accuracy": 1, "rows": 2})


def test_a_bin_holds_its_upper_edge() -> None:
    bins = metrics.reliability([0.5, 0.75, 1.0], [1, 0, 1], bins=2)
    assert [(b.low, b.high, b.rows) for b in bins] == [(0.0, 0.5, 1), (0.5, 1.0, 2)]


def test_calibration_error_of_a_calibrated_and_of_a_boastful_model() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1.0, 200_000)
    honest = rng.random(confidence.size) < confidence
    assert metrics.expected_calibration_error(confidence, honest) < 0.01
    assert metrics.expected_calibration_error(np.ones(1000), np.arange(1000) % 2) == pytest.approx(0.5)


def test_calibration_takes_float32_rounding_and_refuses_what_is_no_probability() -> None:
    assert metrics.expected_calibration_error(np.float32([1.0000001, 1]), [1, 1]) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="outside"):
        metrics.reliability([1.2], [1])
    with pytest.raises(ValueError, match="beside"):
        metrics.reliability([0.2, 0.3], [1])
    with pytest.raises(UserError, match="confidence of 1 of 2 rows"):
        metrics.reliability([np.nan, 0.3], [1, 0])


@pytest.mark.parametrize(("classes", "rows"), CASES)
def test_a_tally_of_any_rows_gives_their_score(classes: int, rows: int) -> None:
    true, predicted = labels(classes, rows)
    tally = metrics.tally_classification(true, predicted, classes)
    rng = np.random.default_rng(3)
    draws = rng.integers(0, rows, (50, rows))
    totals = np.stack([tally[drawn].sum(axis=0) for drawn in draws])
    f1 = [f1_score(true[d], predicted[d], average="macro") for d in draws]
    np.testing.assert_allclose(metrics.macro_f1_from(totals), f1, atol=1e-12)
    np.testing.assert_allclose(metrics.accuracy_from(totals), (true == predicted)[draws].mean(axis=1), atol=1e-12)


def rates(totals: np.ndarray) -> np.ndarray:
    """Errors a word: the first column over the second."""
    with np.errstate(invalid="ignore"):
        return totals[:, 0] / totals[:, 1]


@pytest.mark.parametrize("distinct", [True, False], ids=["every-pair-its-own", "few-pairs"])
def test_the_interval_is_that_of_a_plain_bootstrap(distinct: bool) -> None:
    rng = np.random.default_rng(5)
    rows = 400
    words = rng.integers(1, 30, rows) if distinct else np.full(rows, 4)
    base, tuned = rng.binomial(words, 0.3), rng.binomial(words, 0.25)
    ours = metrics.paired_bootstrap(
        np.stack([base, words], 1), np.stack([tuned, words], 1), rates, resamples=20_000, seed=1
    )
    index = np.random.default_rng(2).integers(0, rows, (20_000, rows))
    plain = (tuned[index].sum(1) - base[index].sum(1)) / words[index].sum(1)
    assert ours.difference == pytest.approx((tuned.sum() - base.sum()) / words.sum())
    # Two independent sets of 20,000 resamples differ by about 0.015 standard errors at these quantiles.
    np.testing.assert_allclose([ours.low, ours.high], np.quantile(plain, [0.025, 0.975]), atol=0.08 * plain.std())


def test_the_score_version_agrees_with_the_tally_version() -> None:
    rng = np.random.default_rng(8)
    base, tuned = rng.random(120) < 0.6, rng.random(120) < 0.75
    scores = metrics.paired_bootstrap_scores(
        lambda i: float(base[i].mean()), lambda i: float(tuned[i].mean()), 120, resamples=4000
    )
    tallies = metrics.paired_bootstrap(base[:, None], tuned[:, None], lambda totals: totals[:, 0] / 120)
    assert scores.difference == pytest.approx(tallies.difference)
    assert scores.low == pytest.approx(tallies.low, abs=0.012)
    assert scores.high == pytest.approx(tallies.high, abs=0.012)
    assert scores.units == tallies.units == 120


def test_same_seed_same_interval_whatever_the_order_of_rows() -> None:
    rng = np.random.default_rng(9)
    base, tuned = rng.normal(size=(80, 3)), rng.normal(size=(80, 3))
    order = rng.permutation(80)

    def mean(totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] / 80

    first = metrics.paired_bootstrap(base, tuned, mean, resamples=500)
    assert first == metrics.paired_bootstrap(base, tuned, mean, resamples=500)
    shuffled = metrics.paired_bootstrap(base[order], tuned[order], mean, resamples=500)
    assert (shuffled.low, shuffled.high) == pytest.approx((first.low, first.high), abs=1e-12)
    assert metrics.paired_bootstrap(base, tuned, mean, resamples=500, seed=1).low != first.low


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    base, tuned = rng.normal(size=(50, 1)), rng.normal(size=(50, 1))
    whole = metrics.paired_bootstrap(base, tuned, lambda t: t[:, 0], resamples=1000)
    monkeypatch.setattr(metrics, "CHUNK_BYTES", 10_000)
    pieces = metrics.paired_bootstrap(base, tuned, lambda t: t[:, 0], resamples=1000)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


@pytest.mark.parametrize("group_size", [1, 5])
def test_the_interval_covers_the_truth_as_often_as_it_says(group_size: int) -> None:
    """200 simulated held-out sets with known true accuracies; rows of one group share their luck entirely."""
    rng = np.random.default_rng(11)
    covered, groups = 0, 60
    for trial in range(200):
        luck = rng.random((groups, 1)).repeat(group_size, axis=1).ravel()
        base, tuned = luck < 0.6, (luck + 0.3) % 1 < 0.7
        interval = metrics.paired_bootstrap(
            base[:, None],
            tuned[:, None],
            lambda totals, rows=luck.size: totals[:, 0] / rows,
            resamples=1000,
            seed=trial,
            groups=np.arange(groups).repeat(group_size),
        )
        covered += interval.low - 1e-9 <= 0.1 <= interval.high + 1e-9
    # Binomial(200, 0.95) lies in 180 to 199 with probability above 0.995.
    assert 180 <= covered <= 199


def test_rows_of_a_group_are_no_independent_rows() -> None:
    rng = np.random.default_rng(12)
    gain = rng.normal(0.2, 1, 20).repeat(25)[:, None]
    zero = np.zeros_like(gain)
    speakers = [f"speaker {i}" for i in np.arange(20).repeat(25)]

    def mean(totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] / gain.size

    alone = metrics.paired_bootstrap(zero, gain, mean, resamples=2000)
    grouped = metrics.paired_bootstrap(zero, gain, mean, resamples=2000, groups=speakers)
    assert grouped.units == 20
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(5, rel=0.15)
    by_index = metrics.paired_bootstrap_scores(
        lambda i: 0.0, lambda i: float(gain[i].mean()), gain.size, groups=speakers, resamples=2000
    )
    assert (by_index.low, by_index.high) == pytest.approx((grouped.low, grouped.high), abs=0.08)
    with pytest.raises(ValueError, match="19 groups"):
        metrics.paired_bootstrap(zero, gain, mean, groups=np.arange(19))


@pytest.mark.parametrize("rows", [1, 30])
def test_equal_models_differ_by_exactly_nothing(rows: int) -> None:
    tally = metrics.tally_classification(*labels(3, rows), 3)
    interval = metrics.paired_bootstrap(tally, tally, metrics.macro_f1_from, resamples=200)
    assert (interval.difference, interval.low, interval.high, interval.differing) == (0, 0, 0, 0)
    assert metrics.verdict(interval) == "no difference shown"


@pytest.mark.parametrize(
    ("gained", "expected"), [(1, "no difference shown"), (5, "no difference shown"), (6, "better")]
)
@pytest.mark.parametrize("rows", [6, 1000])
def test_a_handful_of_changed_rows_is_no_proof(rows: int, gained: int, expected: str) -> None:
    """A plain percentile interval lies above zero from one row of one, or four of a thousand."""
    true = np.arange(rows) % 2
    base = metrics.tally_classification(true, np.where(np.arange(rows) < gained, 1 - true, true), 2)
    tuned = metrics.tally_classification(true, true, 2)
    interval = metrics.paired_bootstrap(base, tuned, metrics.accuracy_from, resamples=4000)
    assert interval.differing == gained
    assert metrics.verdict(interval) == expected


def test_verdict_follows_the_sign_and_the_direction_of_the_metric() -> None:
    def made(low: float, high: float) -> metrics.Interval:
        return metrics.Interval((low + high) / 2, low, high, 0.0, 0.0, units=100, differing=50)

    assert metrics.verdict(made(0.1, 0.2)) == "better"
    assert metrics.verdict(made(-0.2, -0.1)) == "worse"
    assert metrics.verdict(made(-0.2, -0.1), higher_is_better=False) == "better"
    assert metrics.verdict(made(0.1, 0.2), higher_is_better=False) == "worse"
    for low, high in [(-0.1, 0.1), (0.0, 0.1), (-0.1, 0.0)]:
        assert metrics.verdict(made(low, high)) == "no difference shown"


def test_a_real_gain_is_shown_and_a_coin_toss_is_not() -> None:
    rng = np.random.default_rng(21)
    true = rng.integers(0, 3, 600)

    def model(skill: float) -> np.ndarray:
        guess = np.where(rng.random(600) < skill, true, rng.integers(0, 3, 600))
        return metrics.tally_classification(true, guess, 3)

    weak, strong, other = model(0.4), model(0.7), model(0.4)
    assert metrics.verdict(metrics.paired_bootstrap(weak, strong, metrics.macro_f1_from)) == "better"
    assert metrics.verdict(metrics.paired_bootstrap(strong, weak, metrics.macro_f1_from)) == "worse"
    assert metrics.verdict(metrics.paired_bootstrap(weak, other, metrics.macro_f1_from)) == "no difference shown"


def test_what_is_not_a_number_is_an_error_and_never_a_verdict() -> None:
    good, bad = np.ones((4, 2)), np.array([[1, 1], [1, np.nan], [1, 1], [np.inf, 1]])
    with pytest.raises(UserError, match="tuned tally of 2 of 4 rows") as caught:
        metrics.paired_bootstrap(good, bad, rates)
    assert caught.value.where == "held-out row 1 (counted from 0)"
    with pytest.raises(UserError, match="no value"):
        metrics.paired_bootstrap(good * 0, good * 0, rates, resamples=10)
    with pytest.raises(ValueError, match="no pair"):
        metrics.paired_bootstrap(good, good[:3], rates)
    with pytest.raises(ValueError, match="no pair"):
        metrics.paired_bootstrap(good[:0], good[:0], rates)
    with pytest.raises(ValueError, match="no rows"):
        metrics.paired_bootstrap_scores(lambda i: 0.0, lambda i: 0.0, 0)


def test_resamples_without_a_value_are_counted() -> None:
    words = np.array([5.0, 0, 0])
    pair = np.stack([words * 0.2, words], 1)
    interval = metrics.paired_bootstrap(pair, pair, rates, resamples=2000)
    assert interval.undefined / 2000 == pytest.approx((2 / 3) ** 3, abs=0.04)
