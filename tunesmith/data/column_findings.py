"""What is wrong with single columns: missing, empty, of the wrong type, always the same. It compares no rows."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.reading import did_you_mean
from tunesmith.data.tally import ColumnTally, SourceTally, share_of
from tunesmith.types import Finding

EMPTY_ERROR_SHARE = 0.05


def columns_findings(source: SourceTally, target: str | None) -> Iterator[Finding]:
    """Findings on every wanted column of one source; whether a label is there, the label findings say."""
    for name, tally in source.columns.items():
        if source.lacks(name):
            yield _missing(source, name)
            continue
        where = f"{source.name}, column {name}"
        if tally.wrong.count:
            yield _wrong(source, name, tally, where)
        if name == target:
            continue
        if tally.empty.count:
            share = tally.empty.count / source.rows
            yield Finding(
                "empty-value",
                "error" if share > EMPTY_ERROR_SHARE else "warning",
                f"column {name} is empty in {share_of(tally.empty.count, source.rows)}",
                where,
                "fill these values in, or leave the rows out",
                tuple(tally.empty.places),
                share,
            )
        if tally.constant and tally.first is not None and source.rows > 1:
            yield Finding(
                "constant-column",
                "warning",
                f"column {name} has the same value in all {source.rows:,} rows: nothing can be learned from it",
                where,
                "check that this is the right column",
                share=1.0,
            )


def _missing(source: SourceTally, name: str) -> Finding:
    known = [column for column in source.seen if column != "id"]
    near = did_you_mean(name, known)
    example = near.split("'")[1] if near else "YOUR_COLUMN"
    return Finding(
        "missing-column",
        "error",
        f"there is no column '{name}'{near}; the columns are: {', '.join(known)}",
        source.name,
        f"tell which column it is: data.columns: {{{name}: {example}}}",
        share=1.0,
    )


def _wrong(source: SourceTally, name: str, tally: ColumnTally, where: str) -> Finding:
    kinds = ", ".join(f"{count:,} times a {kind}" for kind, count in tally.wrong_kinds.most_common(3))
    expected = getattr(tally.expected, "__name__", str(tally.expected))
    return Finding(
        "wrong-type",
        "error",
        f"column {name} must hold {expected}, but {share_of(tally.wrong.count, source.rows)} do not ({kinds})",
        where,
        "mend these values in the source",
        tuple(tally.wrong.places),
        tally.wrong.count / source.rows,
    )
