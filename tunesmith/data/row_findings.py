"""What is wrong with rows beside each other: repeats, contradictions, leaks, lengths, numbers. It knows no columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tunesmith.data.tally import SHOWN_ROWS, Side, share_of
from tunesmith.types import Finding

DUPLICATES_WARNING_SHARE, DUPLICATES_ERROR_SHARE = 0.01, 0.3
CONTRADICTIONS_ERROR_SHARE = 0.05
LEAK_ERROR_SHARE = 0.01
FEW_TRAIN_ROWS = 50
FEW_HELD_OUT_ROWS = 30
OUTLIER_TIMES = 100


def comparison_findings(
    sides: tuple[Side, Side], source: str, held_out_source: str, explicit_eval: bool, labelled: bool
) -> Iterator[Finding]:
    """Rows that repeat or contradict each other, and held-out rows that stand in the training rows."""
    import numpy as np

    train, held = sides
    judged = (train,) if explicit_eval else sides
    parts = [side.arrays() for side in judged]
    inputs, labels, compared = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    number = np.flatnonzero(compared)

    def place(row: int) -> str:
        return train.place(row) if row < len(train.rows) else held.place(row - len(train.rows))

    order = np.lexsort((labels[number], inputs[number]))
    by_input, by_label, rows = inputs[number][order], labels[number][order], number[order]
    same_input = by_input[1:] == by_input[:-1]
    same = same_input & (by_label[1:] == by_label[:-1])
    if repeats := int(same.sum()):
        at = np.flatnonzero(same)[:SHOWN_ROWS]
        share = repeats / len(inputs)
        example = f"{place(int(rows[at[0] + 1]))} repeats {place(int(rows[at[0]]))}"
        yield Finding(
            "duplicate-rows",
            "error" if share >= DUPLICATES_ERROR_SHARE else "warning" if share >= DUPLICATES_WARNING_SHARE else "note",
            f"{share_of(repeats, len(inputs))} repeat another row exactly ({example})",
            source,
            "leave the repeated rows out; where they are meant, say why in audit.accept",
            tuple(place(int(rows[index + 1])) for index in at),
            share,
        )
    if labelled:
        differs = same_input & (by_label[1:] != by_label[:-1])
        at = np.flatnonzero(differs)[:SHOWN_ROWS]
        pairs = [(place(int(rows[index])), place(int(rows[index + 1]))) for index in at]
        count = int(np.isin(by_input, by_input[1:][differs]).sum())
        yield from _contradictions(pairs, count, len(inputs), source)
    yield from _leak(train, held, held_out_source)


def _contradictions(pairs: Sequence[tuple[str, str]], count: int, total: int, source: str) -> Iterator[Finding]:
    if not pairs:
        return
    share = count / total
    example = " and ".join(pairs[0])
    yield Finding(
        "contradictory-labels",
        "error" if share >= CONTRADICTIONS_ERROR_SHARE else "warning",
        f"{share_of(count, total)} have the same inputs as a row with another label (for example {example})",
        source,
        "decide for one label, or leave these rows out",
        tuple(place for pair in pairs for place in pair)[:SHOWN_ROWS],
        share,
    )


def _leak(train: Side, held: Side, held_out_source: str) -> Iterator[Finding]:
    import numpy as np

    known, _, known_compared = train.arrays()
    asked, _, asked_compared = held.arrays()
    leaked = np.flatnonzero(np.isin(asked, known[known_compared]) & asked_compared)
    if not len(leaked):
        return
    share = len(leaked) / len(asked)
    twin = int(np.flatnonzero(known == asked[leaked[0]])[0])
    yield Finding(
        "leak",
        "error" if share >= LEAK_ERROR_SHARE else "warning",
        f"{len(leaked):,} of {len(asked):,} held-out rows ({share:.1%}) also stand in the training rows "
        f"({held.place(int(leaked[0]))} is {train.place(twin)}): the score would flatter the model",
        held_out_source,
        "leave these rows out of one of the two",
        tuple(held.place(int(row)) for row in leaked[:SHOWN_ROWS]),
        share,
    )


def amount_findings(sides: tuple[Side, Side], source: str, held_out_source: str) -> Iterator[Finding]:
    """Whether either side has too few rows."""
    train, held = sides
    if len(train.rows) < FEW_TRAIN_ROWS:
        yield Finding(
            "few-rows",
            "warning",
            f"there are only {len(train.rows):,} training rows; below {FEW_TRAIN_ROWS} a model learns them by heart",
            source,
            "add rows",
        )
    if len(held.rows) < FEW_HELD_OUT_ROWS:
        widest = 1.96 * 0.5 / math.sqrt(max(1, len(held.rows)))
        yield Finding(
            "few-rows",
            "warning",
            f"there are only {len(held.rows):,} held-out rows: the interval of an accuracy will be up to "
            f"±{100 * min(0.5, widest):.0f} points wide",
            held_out_source,
            "hold out more rows (data.eval)",
        )


def length_findings(sides: tuple[Side, Side], source: str, unit: str) -> Iterator[Finding]:
    """How long rows are, and those far longer than the others."""
    import numpy as np

    lengths = np.concatenate([np.frombuffer(side.lengths, dtype=np.int64) for side in sides])
    if not len(lengths) or not lengths.max():
        return
    median, high = (float(np.percentile(lengths, share)) for share in (50, 99))
    said = f"{unit} per row: half have at most {median:,.0f}, 99 % at most {high:,.0f}, the longest {lengths.max():,}"
    far = np.flatnonzero(lengths >= OUTLIER_TIMES * max(1.0, median))
    first = len(sides[0].rows)
    places = [sides[0].place(int(row)) if row < first else sides[1].place(int(row) - first) for row in far[:SHOWN_ROWS]]
    if not places:
        yield Finding("length-outliers", "note", said, source, "nothing to do")
        return
    yield Finding(
        "length-outliers",
        "warning",
        f"{len(far):,} rows are at least {OUTLIER_TIMES} times as long as the median ({said}): {', '.join(places)}",
        source,
        "check these rows; a broken quote or a whole document may have become one row",
        tuple(places),
        len(far) / len(lengths),
    )
