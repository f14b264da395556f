"""Exact paired tests and intervals of shares, in plain arithmetic. It knows counts, no items and no probes.

McNemar (1947), exact form; Holm (1979); the interval of a paired difference after Bonett and Price (2012), of a share
after Wilson (1927); the number of pairs that a test needs after Connor (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

LEVEL = 0.05
"""Of error, after the adjustment."""
POWER = 0.8
"""Chance that the items asked for show a difference as large as the one seen."""
Z = NormalDist().inv_cdf(0.975)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of as uneven a division of the items that changed, if neither direction were likelier; 1 for none.

    Args:
        gained: Items that became right.
        lost: Items that became wrong.
    """
    changed = gained + lost
    tail = ways = 1
    for k in range(min(gained, lost)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    # Whole numbers divided once: as exact as a float can hold, however many items.
    return min(1.0, float(Fraction(2 * tail, 2**changed)))


def holm(values: Sequence[float]) -> list[float]:
    """P values adjusted for each other, in the order given, so that the chance of any false one stays at the level."""
    adjusted = [0.0] * len(values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, values[index] * (len(values) - place)))
        adjusted[index] = largest
    return adjusted


def paired_interval(gained: int, lost: int, items: int) -> tuple[float, float]:
    """95 % interval of the net gain, as a share of the items; -1 to 1 where there are none."""
    if not items:
        return -1.0, 1.0
    up, down = (gained + 1) / (items + 2), (lost + 1) / (items + 2)
    reach = Z * math.sqrt((up + down - (up - down) ** 2) / (items + 2))
    return max(-1.0, up - down - reach), min(1.0, up - down + reach)


def share_interval(count: int, items: int) -> tuple[float, float]:
    """95 % interval of a share; 0 to 1 where there are no items."""
    if not items:
        return 0.0, 1.0
    share, square = count / items, Z * Z
    middle = (share + square / (2 * items)) / (1 + square / items)
    reach = Z / (1 + square / items) * math.sqrt(share * (1 - share) / items + square / (4 * items * items))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def items_to_show(gained: int, lost: int, items: int, tests: int) -> int:
    """How many items show a gain of this size in ``tests`` tests, with ``POWER``; 0 if no number does (no gain).

    Args:
        gained: Items that became right, of ``items``.
        lost: Items that became wrong.
        items: How many were asked.
        tests: That share the level; the strictest share of it is taken.
    """
    gain = (gained - lost) / items if items else 0.0
    if gain <= 0:
        return 0
    changed = (gained + lost) / items
    strict = NormalDist().inv_cdf(1 - LEVEL / max(1, tests) / 2)
    power = NormalDist().inv_cdf(POWER)
    wanted = math.ceil((strict * math.sqrt(changed) + power * math.sqrt(changed - gain**2)) ** 2 / gain**2)
    # Of few items the exact test wants more than the normal curve: what is expected of as many has to show it.
    while mcnemar(int(wanted * gained / items), math.ceil(wanted * lost / items)) * max(1, tests) >= LEVEL:
        wanted += 1
    return wanted


def items_to_exclude(gained: int, lost: int, items: int, least: float) -> int:
    """How many items leave a gain of ``least`` outside the interval, if the gain stays as seen; 0 if it is as large."""
    gain = (gained - lost) / items if items else 0.0
    if gain >= least:
        return 0
    # The two items that Bonett and Price add keep this above zero where nothing changed.
    changed = (gained + lost + 2) / (items + 2)
    return math.ceil(Z * Z * max(changed - gain**2, 1e-9) / (least - gain) ** 2)
