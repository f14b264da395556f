"""Cosines and diversity against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.diffusion.likeness import Diversity, among, cosines, mean_cosine, nearest, pair_groups, paired_cosine


def unit(count: int, width: int = 7, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def slow_diversity(vectors: np.ndarray, groups: np.ndarray, drawn: list[int]) -> float:
    """Pairs of draws of one group; one picture drawn twice is no pair."""
    found = []
    for place, i in enumerate(drawn):
        for j in drawn[place + 1 :]:
            if groups[i] == groups[j] and i != j:
                found.append(1 - float(np.dot(vectors[i].astype(float), vectors[j].astype(float))))
    return float(np.mean(found)) if found else float("nan")


def test_cosines_by_hand() -> None:
    pictures = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    known = np.array([[0.0, 1.0], [0.8, 0.6], [1.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(cosines(pictures, known), [[0, 0.8, 1], [0.8, 0.96, 0.6]], atol=1e-7)
    np.testing.assert_allclose(mean_cosine(pictures, known), [0.6, 2.36 / 3], atol=1e-7)
    np.testing.assert_allclose(paired_cosine(pictures, known[:2]), [0, 0.96], atol=1e-7)
    highest, at = nearest(pictures, known)
    np.testing.assert_allclose(highest, [1, 0.96], atol=1e-7)
    assert at.tolist() == [2, 1]
    assert among(known) == pytest.approx((0.6 + 0 + 0.8) / 3, abs=1e-7)
    assert among(known[:1]) is None


@pytest.mark.parametrize("seed", range(5))
def test_diversity_equals_a_plain_loop_on_resamples_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, groups = unit(13, seed=seed), rng.integers(0, 4, 13)
    diversity = Diversity(vectors, groups)
    assert diversity.of(np.arange(13)) == pytest.approx(slow_diversity(vectors, groups, list(range(13))), abs=1e-7)
    for _ in range(10):
        drawn = rng.integers(0, 13, 13)
        expected = slow_diversity(vectors, groups, drawn.tolist())
        assert diversity.of(drawn) == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_diversity_of_no_pair_is_not_a_number() -> None:
    assert np.isnan(Diversity(unit(3), np.arange(3)).of(np.arange(3)))
    assert np.isnan(Diversity(unit(3), np.zeros(3, int)).of(np.array([1, 1, 1])))
    with pytest.raises(ValueError, match="2 groups stand beside 3"):
        Diversity(unit(3), np.zeros(2, int))


def test_the_same_picture_has_no_diversity() -> None:
    assert Diversity(np.repeat(unit(1), 4, axis=0), np.zeros(4, int)).of(np.arange(4)) == pytest.approx(0, abs=1e-6)


def test_pictures_of_one_prompt_are_compared_and_all_where_no_prompt_stands_twice() -> None:
    assert pair_groups(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert pair_groups(["b", "a", "c"]).tolist() == [0, 0, 0]
