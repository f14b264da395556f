"""Where marked rows stand in their files, for rows that have no id a person would know. It knows no check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import Found, Mark


def located(data: AuditData, findings: Sequence[Found]) -> list[Found]:
    """The findings with ``file:line`` of each mark and its twin, for rows whose ids are made from their content."""
    places: dict[str, str] = {}
    named = {key for found in findings for mark in found.marks for key in (f"{mark.side}:{mark.row}", mark.twin) if key}
    for side, rows in data.sides.items():
        wanted = {key.partition(":")[2] for key in named if key.startswith(f"{side}:")}
        listed = getattr(rows, "content_ids", lambda: None)() if wanted else None
        for number, name in enumerate(listed or ()):
            if name in wanted:
                places[f"{side}:{name}"] = rows.place(number)  # type: ignore[attr-defined]
    return [replace(found, marks=[_with(mark, places) for mark in found.marks]) for found in findings]


def _with(mark: Mark, places: Mapping[str, str]) -> Mark:
    own, twin = places.get(f"{mark.side}:{mark.row}", ""), places.get(mark.twin or "", "")
    return replace(mark, place=own, twin_place=twin) if own or twin else mark
