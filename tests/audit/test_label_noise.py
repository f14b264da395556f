"""Wrong labels among probabilities: the confident joint is cleanlab's, planted ones are found, clean ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.audit.label_noise import confident_joint, doubt, normalized_margin
from tunesmith.audit.out_of_fold import folds_of, sifted, units_of


def clouds(
    rows: int, classes: int, apart: float, share: float, seed: int = 0, *, only: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of Gaussian classes, their true labels, and labels of which a share is wrong (``only``: from, to)."""
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % classes
    centres = np.linalg.qr(rng.normal(size=(24, classes)))[0].T * apart
    points = (centres[truth] + rng.normal(size=(rows, 24))).astype(np.float32)
    labels = truth.copy()
    if only:
        at = rng.permutation(np.flatnonzero(truth == only[0]))[: int(share * rows)]
        labels[at] = only[1]
    else:
        at = rng.permutation(rows)[: int(share * rows)]
        labels[at] = (labels[at] + rng.integers(1, classes, len(at))) % classes
    return points, truth, labels


def judged(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return sifted(points, labels, int(labels.max()) + 1, units_of(points))


@pytest.mark.parametrize(("classes", "share"), [(2, 0.05), (4, 0.05), (4, 0.2)])
def test_planted_flips_are_found_and_counted(classes: int, share: float) -> None:
    points, truth, labels = clouds(800, classes, 4.5, share)
    found = doubt(labels, judged(points, labels))
    marked, wrong = found.wrong >= 0.5, labels != truth
    assert (marked & wrong).sum() / wrong.sum() >= 0.9
    assert (marked & wrong).sum() / marked.sum() >= 0.8
    assert abs(found.noise - wrong.mean()) < 0.02
    hit = marked & wrong
    assert (found.looks[hit] == truth[hit]).mean() > 0.95


def test_classes_that_overlap_are_not_taken_for_wrong_labels() -> None:
    points, truth, labels = clouds(1000, 2, 1.8, 0.0)
    probabilities = judged(points, labels)
    errs = float((probabilities.argmax(1) != truth).mean())
    found = doubt(labels, probabilities)
    assert errs > 0.05, "classes that are told apart prove nothing"
    assert (found.wrong >= 0.5).mean() < errs / 4
    assert confident_joint(labels, probabilities).noise > 2 * found.noise, "the bound counts the head's own errors"


def test_flips_from_one_class_to_another_show_in_the_rates() -> None:
    points, truth, labels = clouds(900, 3, 4.5, 0.05, only=(0, 2))
    found = doubt(labels, judged(points, labels))
    assert abs(found.rates[0, 2] - 0.15) < 0.04
    assert found.rates[1, 2] < 0.03
    assert np.allclose(found.rates.sum(1), 1)
    assert (labels != truth)[found.wrong >= 0.5].mean() > 0.85


def test_the_confident_joint_is_cleanlabs() -> None:
    count = pytest.importorskip("cleanlab.count")
    points, _, labels = clouds(600, 4, 2.5, 0.1)
    probabilities = judged(points, labels).astype(np.float64)
    ours = confident_joint(labels, probabilities.astype(np.float32))
    theirs, issues = count.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    assert (ours.counts == theirs).all()
    assert set(np.flatnonzero(ours.issues)) == set(issues)
    # It rounds counts to whole rows.
    assert np.abs(ours.joint - count.estimate_joint(labels, probabilities, confident_joint=theirs)).max() < 1 / 600


@pytest.mark.parametrize(("apart", "share"), [(2.5, 0.05), (3.5, 0.05), (2.5, 0.2)])
def test_at_least_cleanlabs_recall_at_its_precision(apart: float, share: float) -> None:
    rank = pytest.importorskip("cleanlab.filter")
    points, truth, labels = clouds(1000, 4, apart, share, seed=3)
    wrong, probabilities = labels != truth, judged(points, labels)
    theirs = np.zeros(len(labels), dtype=bool)
    theirs[rank.find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")] = True
    precision, recall = wrong[theirs].mean(), wrong[theirs].sum() / wrong.sum()
    order = np.argsort(-doubt(labels, probabilities).wrong)
    hits = np.cumsum(wrong[order])
    reached = hits / np.arange(1, len(order) + 1) >= precision
    assert recall > 0.3
    assert (hits[reached] / wrong.sum()).max() >= recall


def test_margins_are_those_of_the_label_against_the_best_other() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=np.float32)
    assert np.allclose(normalized_margin(np.array([0, 0]), probabilities), [0.5, -0.5])


def test_a_class_without_sure_rows_is_taken_at_its_word() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    probabilities = np.full((40, 2), [1.0, 0.0], dtype=np.float32)
    found = confident_joint(labels, probabilities)
    assert np.isclose(found.joint.sum(), 1)
    assert np.isfinite(doubt(labels, probabilities).wrong).all()


def test_folds_keep_units_together_and_classes_even() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 0, 0, 1], 25)
    units = np.arange(100) // 2
    folds = folds_of(labels, units, 5, rng)
    assert all(len(set(folds[units == unit])) == 1 for unit in range(50))
    assert np.ptp(np.bincount(folds[labels == 0], minlength=5)) <= 4


def test_copies_with_one_wrong_label_do_not_vouch_for_each_other() -> None:
    points, _, labels = clouds(300, 2, 4.5, 0.0)
    copied, said = np.concatenate([points, points[:1], points[:1]]), np.concatenate([labels, [1, 1]])
    said[0] = 1
    found = doubt(said, judged(copied, said))
    assert (found.wrong[[0, 300, 301]] >= 0.5).all()
