"""What lengths do to what is learned: rows that are cut, answers that are cut away, rows that teach nothing.

It knows rendered conversations; no tokenizer and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tunesmith.language.template import Rendered, answer_is_left, cut
from tunesmith.types import Finding, Row

LEAST_LEARNED = 0.005
"""Share of learned tokens below which a run refuses: the data is hardly about its answers then."""
SHOWN = 5


def length_findings(rows: Sequence[Row], rendered: Iterable[Rendered], limit: int) -> Iterator[Finding]:
    """Findings of rows whose conversations have at most ``limit`` tokens left.

    Args:
        rows: All rows.
        rendered: Their conversations, uncut, in order.
        limit: Most tokens.
    """
    long: list[str] = []
    gone: list[str] = []
    empty: list[str] = []
    longest = tokens = learned = 0
    for row, whole in zip(rows, rendered, strict=True):
        kept = cut(whole, limit)
        tokens, learned, longest = tokens + len(kept.ids), learned + sum(kept.learned), max(longest, len(whole.ids))
        if len(whole.ids) > limit:
            long.append(str(row["id"]))
        if not any(whole.learned):
            empty.append(str(row["id"]))
        elif whole.prompt < len(whole.ids) and not answer_is_left(kept) and answer_is_left(whole):
            gone.append(str(row["id"]))
    if long:
        share = len(long) / len(rows)
        yield Finding(
            "truncated",
            "warning" if share > 0.05 else "note",
            f"{len(long):,} rows are longer than {limit} tokens and lose their end; the longest has {longest:,}",
            "messages",
            "raise options.max_length, or shorten these rows",
            tuple(long[:SHOWN]),
            share,
        )
    if gone:
        yield Finding(
            "answer-cut",
            "error",
            f"{len(gone):,} rows lose their whole answer at {limit} tokens: nothing would be learned from them",
            "messages",
            "raise options.max_length, or shorten their prompts",
            tuple(gone[:SHOWN]),
            len(gone) / len(rows),
        )
    if empty:
        yield Finding(
            "nothing-learned",
            "error",
            f"{len(empty):,} rows hold nothing that is learned",
            "messages",
            "give them an answer of the assistant (with weight 1), or leave them out",
            tuple(empty[:SHOWN]),
            len(empty) / len(rows),
        )
    if learned < LEAST_LEARNED * tokens:
        yield Finding(
            "little-learned",
            "error",
            f"{learned:,} of {tokens:,} tokens are learned ({learned / max(1, tokens):.2%}); below {LEAST_LEARNED:.1%} "
            "the time goes into prompts",
            "messages",
            "see what is learned with `tunesmith audit`; shorten the prompts, or write options: {learn: all}",
        )
