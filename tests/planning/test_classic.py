"""The handbooks' formula, as handbooks use it."""

from __future__ import annotations

from tunesmith.forecast.classic import CLASSIC_NAME, GIB, classic_bytes


def test_a_model_of_seven_billion_in_32_bit_is_told_to_need_65_to_78_gib() -> None:
    low, high = classic_bytes(7_000_000_000, 4)
    assert round(low / GIB) == 65
    assert round(high / GIB) == 78
    assert "handbooks" in CLASSIC_NAME


def test_fewer_bytes_need_less() -> None:
    assert classic_bytes(1_000, 2) == (5_000, 6_000)
    assert classic_bytes(0, 4) == (0, 0)
