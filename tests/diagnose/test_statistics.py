"""Tests and intervals against scipy, statsmodels' formulas and simulation."""

from __future__ import annotations

import math
import random

import pytest

from tunesmith.diagnose import statistics


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (6, 0), (9, 1), (3, 12), (25, 25), (400, 310)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert statistics.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert statistics.mcnemar(lost, gained) == statistics.mcnemar(gained, lost)


def test_mcnemar_of_very_many_items_is_a_number() -> None:
    assert 0 <= statistics.mcnemar(6000, 4000) < 1e-80


def test_holm_by_hand() -> None:
    # Holm (1979): 4 x .01, 3 x .013 (not below the one before), 2 x .03, 1 x .04 (not below the one before).
    assert statistics.holm([0.04, 0.01, 0.03, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert statistics.holm([]) == []
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]


def test_share_interval_is_wilsons() -> None:
    from scipy.stats import binomtest

    for count, items in [(0, 10), (3, 40), (40, 40), (97, 200)]:
        expected = binomtest(count, items).proportion_ci(method="wilson")
        assert statistics.share_interval(count, items) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert statistics.share_interval(0, 0) == (0.0, 1.0)


def test_paired_interval_holds_the_true_gain_as_often_as_it_says() -> None:
    draw = random.Random(0)
    up, down, items, held = 0.25, 0.1, 60, 0
    for _ in range(2000):
        changes = [draw.random() for _ in range(items)]
        gained, lost = sum(c < up for c in changes), sum(up <= c < up + down for c in changes)
        low, high = statistics.paired_interval(gained, lost, items)
        held += low <= up - down <= high
    assert 0.935 <= held / 2000 <= 0.98
    assert statistics.paired_interval(0, 0, 0) == (-1.0, 1.0)


def test_as_many_items_as_asked_for_show_the_gain_as_often_as_promised() -> None:
    gained, lost, items, tests = 6, 2, 40, 8
    wanted = statistics.items_to_show(gained, lost, items, tests)
    draw = random.Random(1)
    up, down, shown = gained / items, lost / items, 0
    for _ in range(400):
        changes = [draw.random() for _ in range(wanted)]
        better, worse = sum(c < up for c in changes), sum(up <= c < up + down for c in changes)
        shown += better > worse and statistics.mcnemar(better, worse) < statistics.LEVEL / tests
    assert statistics.POWER - 0.08 <= shown / 400 <= statistics.POWER + 0.08
    assert statistics.items_to_show(2, 2, 40, tests) == 0


def test_as_many_items_as_asked_for_leave_the_least_gain_outside() -> None:
    wanted = statistics.items_to_exclude(1, 1, 40, 0.05)
    scaled = round(wanted / 40)
    assert statistics.paired_interval(scaled, scaled, wanted)[1] == pytest.approx(0.05, abs=0.01)
    assert statistics.items_to_exclude(10, 0, 40, 0.05) == 0
    assert math.isfinite(statistics.items_to_exclude(0, 0, 3, 0.05))


@pytest.mark.parametrize(
    ("gained", "lost", "items", "tests"), [(3, 0, 3, 24), (3, 0, 3, 1), (2, 1, 8, 12), (9, 1, 40, 6)]
)
def test_as_many_items_as_asked_for_are_enough_for_the_exact_test(
    gained: int, lost: int, items: int, tests: int
) -> None:
    wanted = statistics.items_to_show(gained, lost, items, tests)
    assert statistics.mcnemar(wanted * gained // items, -(-wanted * lost // items)) * tests < statistics.LEVEL
