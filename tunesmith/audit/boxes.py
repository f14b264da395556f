"""Boxes and masks that are out of place: outside, doubled, tiny, empty, missing where the same scene has them.

It asks no model; `tunesmith.audit.labels` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.audit.box_rules import rule_findings
from tunesmith.audit.box_twins import twin_findings
from tunesmith.audit.found import Found, Skipped, View
from tunesmith.audit.mask_rules import mask_findings
from tunesmith.audit.picture_table import broken_rows, picture_table

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData


def box_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Look at all boxes and masks of both sides."""
    size = data.task.preprocessing.size if data.has("boxes") and data.has_weights else None  # type: ignore[attr-defined]
    table = picture_table(data)
    for side, rows in data.sides.items():
        if not len(rows):
            continue
        where = data.where(side)
        refused = broken_rows(data, side)
        yield from rule_findings(rows, side, where, refused=refused, input_size=size)
        if data.has("masks"):
            yield from mask_findings(data, side, refused)
        yield from twin_findings(rows, side, where, table[side])
