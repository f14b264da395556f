"""The optimum of a smooth convex function by L-BFGS. It knows no head and no rows.

Torch's own first loads its compiler, which takes longer than the fits of a thousand rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Value = Callable[["Tensor"], tuple[float, "Tensor"]]

MEMORY = 20
ENOUGH = 1e-4
"""Of the decrease that the slope promises, what a step must bring (Armijo)."""
HALVINGS = 12
FLAT, STILL = 1e-5, 2e-6
"""Largest slope, and least relative decrease, at which the search ends."""


def minimised(value: Value, start: Tensor, most_steps: int, solve: Callable[[Tensor], Tensor]) -> Tensor:
    """Where the function is least, found from a start (Liu and Nocedal 1989).

    Args:
        value: The function with its gradient; convex, so that every step's curvature is positive.
        start: Of any shape; it is not changed.
        most_steps: At most so many.
        solve: A gradient to the step that would end the search if the curvature were a known one, up to its size.
    """
    at = start
    loss, gradient = value(at)
    kept: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=MEMORY)
    for _ in range(most_steps):
        if float(gradient.abs().max()) <= FLAT:
            break
        direction = _direction(gradient, kept, solve)
        slope = float((direction * gradient).sum())
        size = 1.0
        for _halved in range(HALVINGS):
            there = at + size * direction
            found, turned = value(there)
            if found <= loss + ENOUGH * size * slope:
                break
            size /= 2
        else:
            break
        step, change = there - at, turned - gradient
        curvature = float((step * change).sum())
        if curvature > 1e-10:
            kept.append((step, change, curvature))
        before, at, loss, gradient = loss, there, found, turned
        if before - loss <= STILL * max(abs(before), abs(loss), 1.0):
            break
    return at


def _direction(
    gradient: Tensor, kept: deque[tuple[Tensor, Tensor, float]], solve: Callable[[Tensor], Tensor]
) -> Tensor:
    """Downwards, by what the last steps tell of the curvature (the two loops of Nocedal 1980)."""
    found = -gradient
    shares = []
    for step, change, curvature in reversed(kept):
        share = float((step * found).sum()) / curvature
        shares.append(share)
        found = found - share * change
    found = solve(found)
    if kept:
        _, change, curvature = kept[-1]
        found = found * (curvature / float((change * solve(change)).sum()))
    for (step, change, curvature), share in zip(kept, reversed(shares), strict=True):
        found = found + (share - float((change * found).sum()) / curvature) * step
    return found
