"""What is wrong with class labels: missing, mixed, too few of a kind, unseen in training. It compares no inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from tunesmith.data.tally import LABELS_KEPT, SHOWN_ROWS, Label, Tally
from tunesmith.types import Finding, Level

RARE_ROWS = 10
IMBALANCE_NOTE, IMBALANCE_WARNING = 10, 50


def label_findings(tally: Tally, source: str, held_out_source: str, explicit_eval: bool) -> Iterator[Finding]:
    """Findings on the labels of both sides; rows are counted on both where one source was divided."""
    where = f"{source}, column {tally.target}"
    for name, cases in tally.missing_labels.items():
        yield Finding(
            "label-missing",
            "error",
            f"{cases.count:,} rows have no label in column {tally.target}",
            f"{name}, column {tally.target}",
            "label these rows, or leave them out",
            tuple(cases.places),
        )
    if tally.too_many_labels:
        yield Finding(
            "too-many-labels",
            "error",
            f"column {tally.target} has more than {LABELS_KEPT:,} different values",
            where,
            "check that this is the column of labels; free text is no class",
        )
        return
    labels = sorted(tally.labels.values(), key=lambda label: -label.counts["train"])
    learned = [label for label in labels if label.counts["train"]]
    yield from _label_kinds(labels, where)
    if len(learned) == 1:
        yield _one_class(learned[0], where)
    elif learned:
        rows = [sum(label.counts.values()) if not explicit_eval else label.counts["train"] for label in learned]
        yield from _rare(learned, rows, where)
        yield from _imbalance(learned, rows, where)
    unseen = [label for label in labels if not label.counts["train"]]
    if unseen and learned:
        yield _unseen(unseen, f"{held_out_source}, column {tally.target}")


def _names(labels: Iterable[Label], most: int = 8) -> str:
    shown = [repr(label.value) if label.kind == "text" else str(label.value) for label in labels]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _one_class(label: Label, where: str) -> Finding:
    return Finding(
        "one-class",
        "error",
        f"all {label.counts['train']:,} training rows have the label {_names([label])}: there is nothing to tell apart",
        where,
        "add rows of at least one other class, or check data.columns",
        tuple(label.places["train"]),
        1.0,
    )


def _unseen(labels: Sequence[Label], where: str) -> Finding:
    count = sum(label.counts["held out"] for label in labels)
    return Finding(
        "label-only-in-eval",
        "error",
        f"{count:,} held-out rows have a label that no training row has: {_names(labels)}",
        where,
        "add training rows with these labels, mend their spelling, or leave the rows out",
        tuple(place for label in labels for place in label.places["held out"])[:SHOWN_ROWS],
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _label_kinds(labels: Sequence[Label], where: str) -> Iterator[Finding]:
    kinds: dict[str, list[Label]] = {}
    for label in labels:
        kinds.setdefault(label.kind, []).append(label)
    level: Level = "error"
    if set(kinds) == {"text"}:  # a file without types: numbers among words are only likely to be a mistake
        numbers = [label for label in labels if _is_number(label.value)]
        words = [label for label in labels if not _is_number(label.value)]
        if not numbers or not words:
            return
        kinds, level = {"number": numbers, "word": words}, "warning"
    if len(kinds) < 2:
        return
    said = "; ".join(
        f"{sum(sum(x.counts.values()) for x in some):,} rows a {kind} ({_names(some, 4)})"
        for kind, some in kinds.items()
    )
    examples = [
        place for some in kinds.values() for place in (some[0].places["train"] + some[0].places["held out"])[:2]
    ]
    yield Finding(
        "mixed-label-types",
        level,
        f"labels are of mixed types: {said}",
        where,
        "write every label in one way",
        tuple(examples[:SHOWN_ROWS]),
    )


def _rare(learned: Sequence[Label], rows: Sequence[int], where: str) -> Iterator[Finding]:
    rare = sorted(((count, place) for place, count in enumerate(rows) if count < RARE_ROWS))
    if not rare:
        return
    single = rare[0][0] < 2
    named = ", ".join(f"{_names([learned[place]])}: {count}" for count, place in rare[:8])
    at_fault = f", {sum(count < 2 for count, _ in rare):,} of them a single one" if single else ""
    yield Finding(
        "rare-class",
        "error" if single else "warning",
        f"{len(rare):,} of {len(learned):,} classes have fewer than {RARE_ROWS} rows{at_fault} ({named})",
        where,
        "add rows of these classes, merge them into others, or leave them out",
        tuple(row for _, place in rare for row in learned[place].places["train"])[:SHOWN_ROWS],
        sum(count for count, _ in rare) / sum(rows),
    )


def _imbalance(learned: Sequence[Label], rows: Sequence[int], where: str) -> Iterator[Finding]:
    most, least = rows.index(max(rows)), rows.index(min(rows))
    ratio = rows[most] / rows[least]
    if ratio > IMBALANCE_NOTE:
        yield Finding(
            "imbalance",
            "warning" if ratio > IMBALANCE_WARNING else "note",
            f"the class {_names([learned[most]])} has {rows[most]:,} rows, "
            f"{_names([learned[least]])} has {rows[least]:,} ({ratio:.0f}:1)",
            where,
            "judge by macro-F1, not accuracy; add rows of the small classes",
        )
