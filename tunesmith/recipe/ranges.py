"""Kinds of values that the settings of several tasks share: shares and ranges. It knows no section."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from tunesmith.recipe.sections import Wants

Share = Annotated[float, Field(ge=0, le=1)]
Range: TypeAlias = tuple[float, float]
RANGE = Wants("a list of two numbers, the lower first")


def ordered(ends: Range) -> Range:
    """A range as it is.

    Raises:
        ValueError: Its upper end stands first.
    """
    if ends[0] > ends[1]:
        raise ValueError(f"{ends[0]:g} is more than {ends[1]:g}: the lower end stands first")
    return ends
