"""Pictures that can't be read, or that show little: dark, blurred, odd, repeated; and what the data are made of.

Each picture is decoded once. It knows no model and no box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.audit.bursts import runs_of
from tunesmith.audit.found import Found, Mark, Skipped, View, share_level
from tunesmith.audit.mask_rules import OF_MASKS
from tunesmith.audit.picture_rules import RULES, Rule
from tunesmith.audit.picture_table import PictureSide, broken_rows, picture_table
from tunesmith.audit.variety import variety_views
from tunesmith.audit.watermarks import watermark_findings

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.audit.found import SideName

MOST_MARKS = 100_000
LEAST_FOR_RELATIVE = 8
"""So many pictures must there be before one can be odd among them."""
OTHER_FAULTS = ("names ", "(", *OF_MASKS)
"""How reasons begin that are about labels, boxes and masks, not about the picture's file."""
RELATIVE = ("odd-aspect", "odd-size", "grey-among-colours")


def picture_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Look at every picture of both sides."""
    table = picture_table(data)
    for side, pictures in table.items():
        yield from _unreadable(data, side, pictures)
        if not len(pictures):
            continue
        where = data.where(side)
        for rule in RULES:
            if len(pictures) >= LEAST_FOR_RELATIVE or rule.code not in RELATIVE:
                yield from _by_rule(rule, side, pictures, where)
        yield from _bursts(side, pictures, where)
    yield from watermark_findings(data, table)
    yield from variety_views(data, table)


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} pictures ({count / total:.1%})"


def _unreadable(data: AuditData, side: SideName, pictures: PictureSide) -> Iterator[Found]:
    """Pictures that no reader opens, also those that reading left out, and those that are damaged but decode."""
    refused = [(name, why) for name, why in broken_rows(data, side) if not why.startswith(OTHER_FAULTS)]
    bad = [(at, str(pictures.measures[at]["fault"])) for at in np.flatnonzero(~pictures.readable)]
    bad.sort(key=lambda item: bool(pictures.measures[item[0]].get("decodes")))
    if not refused and not bad:
        return
    told = [*refused, *((pictures.names[at], why) for at, why in bad)]
    marks = [Mark(name, side, 1.0, why) for name, why in refused]
    marks += [Mark(pictures.ids[at], side, 1.0, why) for at, why in bad]
    total = len(pictures) + len(refused)
    damaged = sum(bool(pictures.measures[at].get("decodes")) for at, _ in bad)
    more = f" ({damaged:,} of them decode all the same)" if damaged else ""
    yield Found(
        "unreadable-picture",
        "error",
        f"{_of(len(told), total)} cannot be read or are damaged{more}: "
        + "; ".join(f"{name} {why}" for name, why in told[:3]),
        data.where(side),
        "mend these pictures, or leave them and their labels out",
        marks[:MOST_MARKS],
        len(told) / total,
        remedy="drop",
    )


def _by_rule(rule: Rule, side: SideName, pictures: PictureSide, where: str) -> Iterator[Found]:
    scores = np.nan_to_num(rule.test(pictures)) * pictures.readable
    order = np.argsort(-scores, kind="stable")
    found = order[: int((scores > 0).sum())]
    if not len(found):
        return
    share = len(found) / len(pictures)
    classes = _mostly(pictures, found)
    yield Found(
        rule.code,
        share_level(share, rule.warning),
        f"{_of(len(found), len(pictures))} {rule.what}{classes}",
        where,
        rule.fix,
        [
            Mark(pictures.ids[at], side, round(float(scores[at]), 3), rule.note(pictures.measures[at]))
            for at in found[:MOST_MARKS]
        ],
        share,
        remedy="drop" if rule.remedy else None,
    )


def _mostly(pictures: PictureSide, found: Sequence[int] | np.ndarray) -> str:
    """Words where a fault sticks to one class, which a model would then tell by it."""
    labels = [pictures.labels[at] for at in found if pictures.labels[at] is not None]
    if len(labels) < 8:
        return ""
    names, counts = np.unique(np.array(labels, dtype=str), return_counts=True)
    top = int(counts.argmax())
    usual = sum(label == names[top] for label in pictures.labels) / len(pictures)
    if counts[top] / len(labels) < max(0.5, 3 * usual):
        return ""
    return (
        f"; {counts[top] / len(labels):.0%} of them are {names[top]!r}, a class of {usual:.0%}: it could be told by it"
    )


def _bursts(side: SideName, pictures: PictureSide, where: str) -> Iterator[Found]:
    runs = runs_of(pictures)
    if not runs:
        return
    later = [(run[0], at) for run in runs for at in run[1:]]
    share = len(later) / len(pictures)
    longest = max(runs, key=len)
    marks = [
        Mark(pictures.ids[at], side, 0.8, f"follows {pictures.names[first]} in a run", f"{side}:{pictures.ids[first]}")
        for first, at in later[:MOST_MARKS]
    ]
    yield Found(
        "burst",
        share_level(share, 0.05),
        f"{len(runs):,} runs of three or more pictures that follow each other in order of their files are nearly the "
        f"same, {len(later) + len(runs):,} pictures in all; the longest has {len(longest):,} "
        f"({pictures.names[longest[0]]} to {pictures.names[longest[-1]]})",
        where,
        "keep one or two of each run, and keep runs on one side (data.group_by): frames count as one picture",
        marks,
        share,
    )
