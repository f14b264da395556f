"""Labels that are wrong, told by heads that learned from the other rows: of classes here, of boxes and masks beside.

A row is marked where its label is wrong with a probability of 60 % or more (see `tunesmith.audit.label_noise`); what
confident learning counts beyond that is a note: more of those labels are right than wrong. It reads no picture or text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunesmith.audit.data import AuditData
from tunesmith.audit.effects import effect_without
from tunesmith.audit.found import Found, Mark, SideName, Skipped, View, share_level
from tunesmith.audit.label_noise import ConfidentJoint, Doubt, confident_joint, doubt, normalized_margin
from tunesmith.audit.out_of_fold import LEAST_ROWS, Judged, judge

WRONG = 0.6
"""Probability of a wrong label from which on a row is marked."""
DOUBTFUL = 0.1
WARNING_SHARE = 0.01
LEAST_JUDGED = 30
"""With fewer rows a head learns too little to judge the others."""
MOST_MARKS = 100_000
MOST_SHOWN_CLASSES = 30
SHOWN_PAIRS = 3


def label_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """What is wrong with labels, boxes or masks."""
    if data.has("labels"):
        yield from class_findings(data)
    if data.has("boxes"):
        from tunesmith.audit.label_boxes import box_label_findings

        yield from box_label_findings(data)
    if data.has("masks"):
        from tunesmith.audit.label_masks import mask_label_findings

        yield from mask_label_findings(data)


def class_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Class labels that are probably wrong, which class is taken for which, and what could not be judged."""
    from tunesmith.audit.features import sampled_features, why_none

    if data.label is None:
        return
    total = sum(map(len, data.sides.values()))
    if total < LEAST_JUDGED:
        yield Skipped("label-errors", f"{total} rows are too few for a head to judge one by the others: {LEAST_JUDGED}")
        return
    if sampled_features(data) is None:
        yield Skipped("label-errors", f"labels are judged by the network's features: {why_none(data)}")
        return
    judged = judge(data, data.prepared.source.recipe.run.seed)
    if judged is None:
        yield Skipped("label-errors", f"fewer than two classes have {LEAST_ROWS} rows")
        return
    if judged.left_out:
        names = ", ".join(sorted(judged.left_out)[:5])
        rows = sum(judged.left_out.values())
        why = f"{rows} rows of {len(judged.left_out)} classes with fewer than {LEAST_ROWS} rows ({names})"
        yield Skipped("label-errors", f"{why} are not judged: there is nothing to learn these classes from")
    if judged.sampled:
        yield Skipped(
            "label-errors", f"{len(judged.labels):,} of {total:,} rows are judged, a sample: {why_none(data)}"
        )
    doubts, joint = doubt(judged.labels, judged.probabilities), confident_joint(judged.labels, judged.probabilities)
    yield from _wrong(data, judged, doubts, joint)
    yield from _doubtful(data, judged, doubts, joint)
    yield _pairs(judged, joint, doubts)


def _order(judged: Judged, doubts: Doubt, chosen: np.ndarray) -> np.ndarray:
    """Numbers of the chosen rows, the surest first; of equals the one with the least margin."""
    at = np.flatnonzero(chosen)
    margin = normalized_margin(judged.labels, judged.probabilities)
    return at[np.lexsort((margin[at], -doubts.wrong[at]))][:MOST_MARKS]


def _marks(data: AuditData, judged: Judged, doubts: Doubt, at: np.ndarray) -> list[Mark]:
    column, marks = str(data.label), []
    for i, (side, row) in zip(at, judged.ids(data, at), strict=True):
        said, looks = judged.classes[judged.labels[i]], judged.classes[doubts.looks[i]]
        of_said, of_looks = judged.probabilities[i, [judged.labels[i], doubts.looks[i]]].tolist()
        note = f"said to be {said} (p={of_said:.2f}), looks like {looks} (p={of_looks:.2f})"
        marks.append(Mark(row, side, round(float(doubts.wrong[i]), 4), note, change={column: looks}))
    return marks


def _wrong(data: AuditData, judged: Judged, doubts: Doubt, joint: ConfidentJoint) -> Iterator[Found]:
    rule = "marked: a label that is wrong with a probability of 60 % or more"
    for number, side in enumerate(("train", "eval")):
        mine = judged.sides == number
        at = _order(judged, doubts, mine & (doubts.wrong >= WRONG))
        rows, count = int(mine.sum()), int((mine & (doubts.wrong >= WRONG)).sum())
        if not count:
            continue
        noise = float(doubts.wrong[mine].mean())
        marks = _marks(data, judged, doubts, at)
        where = "training" if side == "train" else "held-out"
        what = (
            f"{count:,} of {rows:,} {where} rows ({count / rows:.1%}) have a label that is probably wrong; about "
            f"{noise:.1%} of the labels are estimated to be ({rule}; the first: {marks[0].row}, {marks[0].note})"
        )
        yield _found(data, side, what, marks, count / rows)  # type: ignore[arg-type]


def _found(data: AuditData, side: SideName, what: str, marks: list[Mark], share: float) -> Found:
    where = f"{data.where(side)}, column {data.label}"
    if side == "eval":
        fix = "look at them by hand and mend the label: left out because they are hard they would flatter the score"
        return Found("label-errors", share_level(share, WARNING_SHARE), what, where, fix, marks, share)
    fix = (
        "look at the surest first and mend the label; --fix leaves them out, --fix --relabel writes what they look like"
    )
    effect = effect_without(data, {mark.row for mark in marks}, ()) if data.wishes.effects else None
    return Found(
        "label-errors", share_level(share, WARNING_SHARE), what, where, fix, marks, share, effect=effect, remedy="drop"
    )


def _doubtful(data: AuditData, judged: Judged, doubts: Doubt, joint: ConfidentJoint) -> Iterator[Found]:
    chosen = (joint.issues | (doubts.wrong >= DOUBTFUL)) & (doubts.wrong < WRONG)
    if not chosen.any():
        return
    at = _order(judged, doubts, chosen)
    count, rows = int(chosen.sum()), len(judged.labels)
    expected = float(doubts.wrong[chosen].sum())
    what = (
        f"{count:,} of {rows:,} rows look like another class than their label's, but not surely: about "
        f"{expected:,.0f} of these labels are estimated to be wrong"
    )
    fix = "look at the first of them where labels matter much; do not leave them out unseen"
    yield Found("label-doubts", "note", what, data.where("train"), fix, _marks(data, judged, doubts, at), count / rows)


def _pairs(judged: Judged, joint: ConfidentJoint, doubts: Doubt) -> View:
    counts = joint.counts
    beside = counts - np.diag(np.diag(counts))
    order = np.sort(np.argsort(-(beside.sum(0) + beside.sum(1)), kind="stable")[:MOST_SHOWN_CLASSES])
    names = [judged.classes[i] for i in order]
    said = [
        f"Confident learning counts {beside.sum():,} of {counts.sum():,} sure rows beside their label "
        f"({joint.noise:.1%} of all labels, an upper bound: a head that errs adds to it).",
        f"About {doubts.noise:.1%} of the labels are estimated to be wrong.",
    ]
    for flat in np.argsort(-beside, axis=None, kind="stable")[:SHOWN_PAIRS]:
        carried, looks = np.unravel_index(flat, beside.shape)
        if beside[carried, looks]:
            said.append(
                f"{beside[carried, looks]} rows labelled {judged.classes[carried]} look like {judged.classes[looks]}."
            )
    if len(order) < len(judged.classes):
        said.append(f"The {len(order)} classes of {len(judged.classes)} that are confused most are shown.")
    return View(
        "label-pairs",
        "Labels (down) and what the rows surely look like (across)",
        "matrix",
        {"names": names, "cells": counts[np.ix_(order, order)].tolist()},
        said=said,
    )
