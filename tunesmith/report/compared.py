"""Compared networks as a table for a terminal. It knows no run and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.report import figures
from tunesmith.report.tables import table_of, text_of


def compare_text(found: Sequence[Mapping[str, Any]]) -> str:
    """Networks that were probed, best first, with what they cost; then those that could not be, each with why."""
    probed = [one for one in found if one["fault"] is None]
    first = probed[0]
    scores = [
        [
            one["model"],
            f"{one['score']:.4f}",
            _interval(one["interval"], ".3f"),
            "" if one["verdict"] == "best" else _interval(one["reach"], "+.3f"),
            _verdict(one["verdict"]),
        ]
        for one in probed
    ]
    names = ["model", first["metric"], "95 % interval", "less best", "verdict"]
    costs = [
        [
            one["model"],
            figures.parameters(one["parameters"]),
            figures.size(one["bytes"]),
            f"{one['rows_per_second']:,.0f}",
            one["license"],
        ]
        for one in probed
    ]
    how = {"linear": "fitted to its optimum", "trained": "trained by the loop"}
    heads = ", ".join(dict.fromkeys(how[one["probe"]] for one in probed))
    lines = [f"a head on the frozen network, {heads}; {first['rows']:,} held-out rows, the same for all"]
    for one in found:
        if one["fault"] is not None:
            lines.append(f"not probed: {one['model']}: {one['fault']}")
    return text_of(
        table_of(names, scores, right=(1,), fold=(0,)),
        table_of(["model", "parameters", "on disk", "rows/s", "licence"], costs, right=(1, 2, 3), fold=(0, 4)),
        *lines,
    )


def _interval(ends: Sequence[float], form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def _verdict(said: str) -> str:
    """No difference shown is no proof of none."""
    return {"no difference shown": "not told apart"}.get(said, said)
