"""How far two sets of predictions lie apart, when an adapter is merged: by numbers, and by words."""

from __future__ import annotations

import pytest

from tunesmith.export import _apart


def test_numbers_are_compared_relative_to_their_size() -> None:
    one, other = [{"loss": 10.0, "parts": [0.5]}], [{"loss": 10.1, "parts": [0.52]}]
    assert _apart(one, one) == 0.0
    assert _apart(one, other) == pytest.approx(0.02)


def test_rows_that_say_other_words_count_as_their_share() -> None:
    one = [{"text": "press one", "end": 1.0}, {"text": "goodbye", "end": 2.0}]
    other = [{"text": "press one", "end": 1.0}, {"text": "good bye", "end": 2.0, "more": [3.0]}]
    assert _apart(one, one) == 0.0
    assert _apart(one, other) == 0.5


def test_no_rows_are_not_apart() -> None:
    assert _apart([], []) == 0.0
