"""Whether two results of queries are the same rows. It knows no SQL and no database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias

TOLERANCE = 1e-6
"""Relative distance at which two numbers, one of them a float, count as the same."""
NOISE = 1e-12
"""What a float may be away from zero and still count as it: sums that should cancel leave as much."""
MOST_TO_MATCH = 500
"""Rows alike in all but floats up to which every pairing is tried; beyond, only that of the sorted rows."""

Rows: TypeAlias = Sequence[Sequence[Any]]


def same_rows(found: Rows, gold: Rows, ordered: bool) -> bool:
    """Whether two results hold the same rows: as often each, and in the same order where ``ordered``.

    Cells are compared by column, whatever its name; floats within ``TOLERANCE``, everything else exactly.
    """
    if len(found) != len(gold) or (gold and len(found[0]) != len(gold[0])):
        return False
    if ordered:
        return all(_same_row(a, b) for a, b in zip(found, gold, strict=True))
    if not gold:
        return True
    loose = [i for i in range(len(gold[0])) if any(isinstance(row[i], float) for row in chain(found, gold))]
    one, other = _grouped(found, loose), _grouped(gold, loose)
    return one.keys() == other.keys() and all(_same_numbers(one[key], other[key]) for key in one)


def _grouped(rows: Rows, loose: Sequence[int]) -> dict[tuple[Any, ...], list[tuple[float, ...]]]:
    """The numbers in the loose columns of all rows that agree in everything else."""
    groups: dict[tuple[Any, ...], list[tuple[float, ...]]] = {}
    for row in rows:
        exact = list(row)
        numbers = []
        for i in loose:
            if isinstance(row[i], int | float):
                numbers.append(row[i])
                exact[i] = _Number
        groups.setdefault(tuple(exact), []).append(tuple(numbers))
    return groups


class _Number:
    """Stands for a number that is compared with a tolerance."""


def _same_numbers(found: list[tuple[float, ...]], gold: list[tuple[float, ...]]) -> bool:
    if len(found) != len(gold):
        return False
    found, gold = sorted(found), sorted(gold)
    if all(_same_row(a, b) for a, b in zip(found, gold, strict=True)):
        return True
    # Two rows whose first floats are all but equal may be sorted either way; then any pairing will do.
    if len(gold) > MOST_TO_MATCH:
        return False
    left = list(gold)
    for row in found:
        at = next((i for i, other in enumerate(left) if _same_row(row, other)), None)
        if at is None:
            return False
        left.pop(at)
    return True


def _same_row(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(_same_cell(a, b) for a, b in zip(one, other, strict=True))


def _same_cell(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float) and float in (type(one), type(other)):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=NOISE)
    return type(one) is type(other) and bool(one == other)
