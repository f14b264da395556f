"""The optima of smooth convex functions by L-BFGS, several searches side by side. It knows no head and no rows.

Side by side the functions share what they read (one product serves all heads of the same rows). Plain arrays: torch
takes longer to be imported than the searches of some thousand rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float32]
Each: TypeAlias = NDArray[np.float64]
"""A number for each search, [searches]."""
Numbers: TypeAlias = NDArray[np.int64]
Value: TypeAlias = Callable[[Points, Numbers], tuple[Each, Points]]
Pair: TypeAlias = tuple[Points, Points, Each]

MEMORY = 20
ENOUGH = 1e-4
"""Of the decrease that the slope promises, what a step must bring (Armijo)."""
HALVINGS = 12
FLAT, STILL = 1e-5, 2e-6
"""Largest slope, and least relative decrease, at which a search ends."""
LEAST_CURVATURE = 1e-10


def minimised(value: Value, start: Points, most_steps: int, solve: Callable[[Points], Points]) -> Points:
    """Where each function is least, found from a start (Liu and Nocedal 1989), [searches, ...].

    Args:
        value: Points [some, ...] and the numbers of their searches [some] to values [some] and gradients [some, ...];
            convex, so that every step's curvature is positive.
        start: [searches, ...]; it is not changed.
        most_steps: At most so many in each.
        solve: Gradients to the steps that would end the searches if the curvature were a known one, up to its size.
    """
    at, going = start.copy(), np.arange(len(start))
    loss, gradient = value(at, going)
    kept: deque[Pair] = deque(maxlen=MEMORY)
    for _ in range(most_steps):
        going = going[np.abs(gradient[going]).reshape(len(going), -1).max(1) > FLAT] if len(going) else going
        if not len(going):
            break
        past = [(step[going], change[going], curvature[going]) for step, change, curvature in kept]
        direction = _direction(gradient[going], past, solve)
        moved, there, found, turned = _searched(value, at, loss, gradient, direction, going)
        step, change = np.zeros_like(at), np.zeros_like(at)
        step[moved], change[moved] = there - at[moved], turned - gradient[moved]
        kept.append((step, change, _dot(step, change)))
        before = loss[moved]
        at[moved], loss[moved], gradient[moved] = there, found, turned
        size = np.maximum(np.maximum(np.abs(before), np.abs(found)), 1.0)
        going = moved[before - found > STILL * size]
    return at


def _searched(
    value: Value, at: Points, loss: Each, gradient: Points, direction: Points, going: Numbers
) -> tuple[Numbers, Points, Each, Points]:
    """The searches that got lower on their way, with their new points, values and gradients."""
    slope, size = _dot(direction, gradient[going]), np.ones(len(going))
    there = at[going] + direction
    found, turned = np.empty(len(going)), np.empty_like(there)
    left = np.arange(len(going))
    for _ in range(HALVINGS):
        found[left], turned[left] = value(there[left], going[left])
        left = left[~(found[left] <= loss[going[left]] + ENOUGH * size[left] * slope[left])]
        if not len(left):
            break
        size[left] /= 2
        there[left] = at[going[left]] + _each(size[left], there) * direction[left]
    low = np.delete(np.arange(len(going)), left)
    return going[low], there[low], found[low], turned[low]


def _direction(gradient: Points, kept: Sequence[Pair], solve: Callable[[Points], Points]) -> Points:
    """Downwards, by what the last steps tell of the curvature (the two loops of Nocedal 1980)."""
    found = -gradient
    shares = []
    for step, change, curvature in reversed(kept):
        share = _ratio(_dot(step, found), curvature)
        shares.append(share)
        found -= _each(share, found) * change
    found = solve(found)
    if kept:
        _, change, curvature = kept[-1]
        scale = _ratio(curvature, _dot(change, solve(change)))
        found *= _each(np.where(scale > 0, scale, 1.0), found)
    for (step, change, curvature), share in zip(kept, reversed(shares), strict=True):
        turn = np.where(curvature > LEAST_CURVATURE, share - _ratio(_dot(change, found), curvature), 0.0)
        found += _each(turn, found) * step
    return found


def _dot(one: Points, other: Points) -> Each:
    """Inner product of each search, [searches]."""
    flat = (len(one), -1)
    found: Each = np.einsum("sn,sn->s", one.reshape(flat), other.reshape(flat)).astype(np.float64)
    return found


def _ratio(above: Each, below: Each) -> Each:
    """One over the other; 0 where a step had no curvature to tell of."""
    known = below > LEAST_CURVATURE
    return np.where(known, above / np.where(known, below, 1.0), 0.0)


def _each(numbers: Each, like: Points) -> Points:
    """A number for each search, to be multiplied with its point."""
    return numbers.astype(np.float32).reshape(-1, *(1,) * (like.ndim - 1))
