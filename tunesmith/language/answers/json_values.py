"""JSON values: read strictly, and compared as JSON means them. It knows no schema and no call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_NESTED = 100
"""Levels beyond which a value counts as unreadable: everything that walks over it calls itself."""


class NotJson(ValueError):
    """A text that is no JSON, with the reason."""


def parse(text: str) -> Any:
    """What a JSON text says.

    Raises:
        NotJson: It is none, holds NaN or infinity, or is nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise NotJson("it is nested too deeply") from error
    except ValueError as error:
        raise NotJson(str(error)) from error
    if is_deep(value):
        raise NotJson("it is nested too deeply")
    return value


def given(value: Any) -> Any:
    """What a row's cell says that is JSON text (CSV) or already a value (JSONL).

    Raises:
        NotJson: It is a text and no JSON.
    """
    return parse(value) if isinstance(value, str) else value


def is_deep(value: Any) -> bool:
    """Whether lists and objects stand in each other at more than ``MOST_NESTED`` levels."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same: 1 is 1.0 but not true, and the order of an object's keys does not matter."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
