"""Training rows that say, word for word, what the model is to be judged on: held-out rows, evaluation sets in files.

Sequences of 13 words are compared, as for GPT-3 (Brown et al. 2020, appendix C); shorter texts as a whole. Of a row
with a shared sequence the share that is shared decides, of the row or of the one that it is shared with: below a fifth
it is clean (Touvron et al. 2023, appendix A.6, who count a row above four fifths as dirty); below a half where the
other is a held-out row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found
from tunesmith.audit.gathered import Fault, Gathered
from tunesmith.audit.ngrams import WORDS, Block, Reference, Sequences, Shared
from tunesmith.audit.row_texts import Piece, reader
from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.types import Row

PROGRESS_ROWS = 2_000
CLEAN, CLEAN_HELD_OUT, DIRTY = 0.2, 0.5, 0.8
"""Shares of a row. Held-out rows are of the same kind as the others, and share turns of phrase by nature."""
MOST_ROWS = 10
"""Rows up to which a shared sequence tells something; what more rows have is everybody's, as in GPT-3's."""
MOST_ROWS_SHARE = 0.001
MOST_HELD_OUT = 1
"""The same of held-out rows: a context that two of them ask about is likely one that training rows ask about, too."""
MOST_PAIRS = 5_000_000
"""Shared sequences that are held; more of them tell no more."""

HELD_OUT = Fault(
    f"share word sequences ({WORDS} words, or all of a shorter text) with held-out rows",
    "leave these training rows out: the score would flatter the model",
    warning=0.01,
    error=0.2,
    remedy="drop",
)
AGAINST = Fault(
    f"share word sequences ({WORDS} words, or all of a shorter text) with the evaluation sets",
    "leave these training rows out: what is measured there would be no measure",
    warning=0.0,
    error=0.05,
    remedy="drop",
)


def overlap_findings(data: AuditData) -> Iterator[Found]:
    """Training rows that overlap with held-out rows, or with rows of the files given.

    Raises:
        UserError: A file can't be read, or holds no text.
    """
    held = data.sides["eval"]
    read = reader(data)
    comparisons = [_with_held_out(data, read)] if len(held) else []
    comparisons += [_with_files(data)] if data.wishes.against else []
    if not comparisons:
        return
    train = data.sides["train"]
    for found in _sequences(data, train, _learned(read), "comparing with evaluation sets"):
        for comparison in comparisons:
            comparison.add(found)
    for comparison in comparisons:
        yield from comparison.findings(data)


class Comparison:
    """One reference beside the training rows.

    Args:
        code, fault: Of its finding.
        parts: The sequences of its rows.
        place: A row's number to what names it.
        as_file: Whether it is a file's, and no row of the data's own.
    """

    def __init__(
        self, code: str, fault: Fault, parts: list[Sequences], place: Callable[[int], str], *, as_file: bool
    ) -> None:
        self.code, self.fault, self.place, self.as_file = code, fault, place, as_file
        self.reference = Reference(parts, MOST_ROWS if as_file else MOST_HELD_OUT)
        self.clean = CLEAN if as_file else CLEAN_HELD_OUT
        self._parts: list[Shared] = []
        self._held = 0

    def add(self, found: Sequences) -> None:
        """Training sequences."""
        shared = self.reference.shared(found) if self._held < MOST_PAIRS else None
        if shared is not None:
            self._parts.append(shared)
            self._held += len(shared.rows)

    def findings(self, data: AuditData) -> Iterator[Found]:
        """The rows of which a fifth is shared, the surest first, and how many share less."""
        if not self._parts:
            return
        train = data.sides["train"]
        counts = {row: count for part in self._parts for row, count in part.counts.items()}
        gathered = Gathered(data, {self.code: self.fault})
        slight = dirty = 0
        for row, other, number in _best_pairs(self._parts, max(MOST_ROWS, round(MOST_ROWS_SHARE * len(train)))):
            share, covered = number / counts[row], number / self.reference.counts[other]
            score = max(share, covered)
            if score < self.clean:
                slight += 1
                continue
            dirty += score >= DIRTY
            place = self.place(other)
            note = f"{share:.0%} of it, and {covered:.0%} of {place}"
            twin = None if self.as_file else place
            gathered.add(self.code, "train", str(train[row]["id"]), note, min(1.0, score), twin=twin)
        said = f"; {dirty:,} of them nearly wholly ({DIRTY:.0%} or more)" if dirty else ""
        said += f"; {slight:,} further rows share less than {self.clean:.0%}" if slight else ""
        yield from gathered.findings({self.code: said}, "train")


def _best_pairs(parts: Sequence[Shared], most: int) -> Iterator[tuple[int, int, int]]:
    """Each training row with the row that it shares most sequences with, and how many.

    Args:
        parts: What was found.
        most: Training rows that a sequence may be in before it tells nothing.
    """
    import numpy as np

    rows, others, hashes, words = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "others", "hashes", "words")
    )
    _, of_pair = np.unique(np.stack([hashes, rows.astype(np.uint64)]), axis=1, return_index=True)
    found, times = np.unique(hashes[of_pair], return_counts=True)
    kept = np.isin(hashes, found[times <= most])
    if not kept.any():
        return
    pairs, which, counts = np.unique(
        np.stack([rows[kept], others[kept]]), axis=1, return_inverse=True, return_counts=True
    )
    # A single short text says little: "thank you very much".
    enough = np.bincount(which.ravel(), weights=words[kept]) >= WORDS
    pairs, counts = pairs[:, enough], counts[enough]
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    pairs, counts = pairs[:, order], counts[order]
    _, first = np.unique(pairs[0], return_index=True)
    for place in first.tolist():
        yield int(pairs[0, place]), int(pairs[1, place]), int(counts[place])


def _learned(read: Callable[[Row], list[Piece]]) -> Callable[[Row], Iterable[str]]:
    """The texts of a row that tell it from others: all but what the system says in every one."""
    return lambda row: [piece.text for piece in read(row) if piece.role != "system"]


def _sequences(
    data: AuditData, rows: Sequence[Row], texts: Callable[[Row], Iterable[str]], what: str, first: int = 0
) -> Iterator[Sequences]:
    """The word sequences of rows, numbered from ``first`` on, a block at a time."""
    block = Block()
    for number, row in enumerate(rows):
        if number % PROGRESS_ROWS == 0:
            data.progress(what, number, len(rows))
        for text in texts(row):
            block.add(first + number, text)
        if block.full:
            yield block.take()
    data.progress(what, len(rows), len(rows))
    yield block.take()


def _with_held_out(data: AuditData, read: Callable[[Row], list[Piece]]) -> Comparison:
    held = data.sides["eval"]
    parts = list(_sequences(data, held, _learned(read), "reading held-out texts"))
    return Comparison("held-out-overlap", HELD_OUT, parts, lambda number: f"eval:{held[number]['id']}", as_file=False)


def _with_files(data: AuditData) -> Comparison:
    """The evaluation sets that were given: every text in their rows, whatever its column is called.

    Raises:
        UserError: A file can't be read, or holds no text.
    """
    parts: list[Sequences] = []
    firsts, stores = [], []
    first = 0
    for file in data.wishes.against:
        rows = read_rows(str(file), broken_rows=1.0)
        before = len(parts)
        parts += _sequences(data, rows, _all_texts, f"reading {file.name}", first)
        if not any(len(part.counts) for part in parts[before:]):
            raise UserError("it holds no text to compare with", str(file), "give a file with a column of text")
        firsts.append(first)
        stores.append(rows)
        first += len(rows)

    def place(number: int) -> str:
        source = bisect_right(firsts, number) - 1
        return stores[source].place(number - firsts[source])

    return Comparison("evaluation-overlap", AGAINST, parts, place, as_file=True)


def _all_texts(row: Row) -> Iterator[str]:
    """Every text in a row, at any depth."""
    waiting: list[Any] = [value for name, value in row.items() if name != "id"]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
