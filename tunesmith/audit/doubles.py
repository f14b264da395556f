"""Rows that stand twice: exactly, nearly, on both sides of the split, and with labels that contradict each other.

It compares content by digest, texts by their words and shingles, pictures by their pixels. What sounds alike is told
by the checks of recordings.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import Effect, Found, Mark, SideName, Skipped, View, share_level
from tunesmith.audit.near_texts import PIECE, NearPairs, NearTexts
from tunesmith.audit.row_texts import reader
from tunesmith.data.digest import canonical_json, content_number, digest_number
from tunesmith.data.row_findings import (
    CONTRADICTIONS_ERROR_SHARE,
    DUPLICATES_ERROR_SHARE,
    DUPLICATES_WARNING_SHARE,
    LEAK_ERROR_SHARE,
)
from tunesmith.data.tally import is_empty, share_of

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData
    from tunesmith.types import Row

MOST_MARKS = 100_000
TELL_EVERY = 500
NEAR_ERROR_SHARE = 0.05
LEAST_FAULT = 0.95
"""Texts that are alike at least so much and labelled differently are told all the same."""
ALSO = {
    "duplicate-rows": "repeated-picture",
    "leak": "picture-leak",
    "near-duplicates": "near-repeated-picture",
    "near-leak": "near-picture-leak",
    "contradictory-labels": "contradictory-pictures",
}
"""The same fault under the code that the findings of pictures in every run give it."""
SIDES: tuple[SideName, SideName] = ("train", "eval")


def double_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Duplicates, contradictions and leaks, exact and near."""
    pool = _pool(data)
    found = [*_duplicates(data, pool), *_contradictions(data, pool), *_leak(data, pool)]
    near: list[NearPairs] = []
    if pool.texts is not None:
        total = "comparing texts"
        near.append(pool.texts.pairs(pool.text, pool.side, pool.content, lambda n, of: data.progress(total, n, of)))
        if pool.texts.left_out:
            yield Skipped("doubles", f"{pool.texts.left_out:,} of the pairs that may be alike were not compared")
    if data.has("pictures"):
        from tunesmith.audit.near_pictures import near_pictures

        near.append(near_pictures(data, pool.content))
    for pairs in (_without_minimal(pool, one) for one in near):
        found += [*_near_duplicates(data, pool, pairs), *_near_leak(data, pool, pairs)]
    quick = {finding.code for finding in data.prepared.findings}
    for one in found:
        yield one
        if ALSO.get(one.code) in quick:
            yield replace(one, code=ALSO[one.code])


@dataclass
class _Pool:
    """The rows of both sides, one after the other, by number: a few bytes each."""

    rows: tuple[Sequence[Row], Sequence[Row]]
    text_of: Callable[[Row], str]
    texts: NearTexts | None
    contents: array[int] = field(default_factory=lambda: array("Q"))
    labels: array[int] = field(default_factory=lambda: array("Q"))
    whole: bytearray = field(default_factory=bytearray)

    def row(self, number: int) -> Row:
        """A row by its number."""
        first = len(self.rows[0])
        return self.rows[0][number] if number < first else self.rows[1][number - first]

    def text(self, number: int) -> str:
        """The text of a row."""
        return self.text_of(self.row(number))

    def name(self, number: int) -> str:
        """Its id."""
        return str(self.row(number)["id"])

    def side_of(self, number: int) -> SideName:
        """The side that a row stands on."""
        return SIDES[int(number >= len(self.rows[0]))]

    def place(self, number: int) -> str:
        """``side:id``."""
        return f"{self.side_of(number)}:{self.name(number)}"

    @property
    def side(self) -> NDArray[np.int8]:
        """0 for training rows, 1 for held-out ones, int8 [rows]."""
        return np.repeat(np.arange(2, dtype=np.int8), [len(rows) for rows in self.rows])

    @property
    def content(self) -> NDArray[np.uint64]:
        """Digests of what identifies rows, uint64 [rows]."""
        return np.frombuffer(self.contents, dtype=np.uint64)

    @property
    def label(self) -> NDArray[np.uint64]:
        """Digests of labels, 0 where there is none, uint64 [rows]."""
        return np.frombuffer(self.labels, dtype=np.uint64)

    @property
    def compared(self) -> NDArray[np.int64]:
        """Numbers of the rows that lack no input."""
        return np.flatnonzero(np.frombuffer(self.whole, dtype=np.bool_))


def _pool(data: AuditData) -> _Pool:
    """One pass over all rows."""
    task, sides = data.task, data.sides
    inputs = task.inputs
    read = reader(data)

    def text_of(row: Row) -> str:
        return PIECE.join(piece.text for piece in read(row))

    pool = _Pool((sides["train"], sides["eval"]), text_of, NearTexts() if data.has("text") else None)
    total, done = sum(map(len, pool.rows)), 0
    for rows in pool.rows:
        for row in rows:
            # What is not there is the same of all (no start: the beginning); a file's name says nothing of its content.
            own = not is_empty(row.get(task.identity[0])) if task.identity else False
            pool.contents.append(content_number(row, [n for n in task.identity if n in row] if own else inputs))
            pool.labels.append(0 if data.label is None else _label_number(row.get(data.label)))
            whole = all(not is_empty(row.get(name)) for name in inputs)
            pool.whole.append(whole and (own or not task.reads_files))
            if pool.texts is not None:
                pool.texts.add(text_of(row))
            done += 1
            if done % TELL_EVERY == 0 or done == total:
                data.progress("comparing rows", done, total)
    return pool


def _label_number(value: Any) -> int:
    if is_empty(value):
        return 0
    # 1 and 1.0 are one label.
    return digest_number(canonical_json(int(value) if isinstance(value, float) and value.is_integer() else value))


def _judged(data: AuditData) -> list[tuple[SideName, ...]]:
    """The sides that are judged together: those of one source."""
    return [("train",), ("eval",)] if data.explicit_eval else [("train", "eval")]


def _duplicates(data: AuditData, pool: _Pool) -> Iterator[Found]:
    keys, at = pool.content, pool.compared
    side = pool.side
    order = at[np.lexsort((at, side[at], pool.label[at], keys[at]))]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (keys[order[1:]] == keys[order[:-1]]) & (pool.label[order[1:]] == pool.label[order[:-1]])
    again[1:] &= side[order[1:]] == side[order[:-1]]
    first = order[np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))] if len(order) else order
    pairs = [(int(b), int(a)) for b, a in zip(order[again], first[again], strict=True)]
    pairs.sort()
    for together in _judged(data):
        own = [pair for pair in pairs if pool.side_of(pair[0]) in together]
        if not own:
            continue
        rows = sum(len(data.sides[name]) for name in together)
        share = len(own) / rows
        example = f"{pool.name(own[0][0])} repeats {pool.name(own[0][1])}"
        yield Found(
            "duplicate-rows",
            share_level(share, DUPLICATES_WARNING_SHARE, DUPLICATES_ERROR_SHARE),
            f"{share_of(len(own), rows)} repeat another row exactly ({example})",
            data.where(together[0]),
            "leave the repeated rows out (--fix); where they are meant, say why in audit.accept",
            [_mark(pool, b, a, 1.0, "the same row again") for b, a in own[:MOST_MARKS]],
            share,
            remedy="drop",
        )


def _contradictions(data: AuditData, pool: _Pool) -> Iterator[Found]:
    """Rows with the same inputs and different labels, of all sides that are judged together."""
    if data.label is None:
        return
    keys, labels = pool.content, pool.label
    at = pool.compared
    at = at[labels[at] != 0]
    for together in _judged(data):
        own = at[np.isin(pool.side[at], [SIDES.index(name) for name in together])]
        order = own[np.lexsort((own, keys[own]))]
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = keys[order[1:]] != keys[order[:-1]]
        groups = [group for group in np.split(order, np.flatnonzero(fresh)[1:]) if len(group) > 1] if len(order) else []
        groups = [group for group in groups if len(set(labels[group].tolist())) > 1]
        if not groups:
            continue
        rows = sum(len(data.sides[name]) for name in together)
        count = sum(map(len, groups))
        marks = [mark for group in groups for mark in _contradicting(data, pool, group)]
        marks.sort(key=lambda mark: -mark.score)
        share = count / rows
        example = " and ".join(pool.name(int(number)) for number in groups[0][:2])
        yield Found(
            "contradictory-labels",
            share_level(share, 0.0, CONTRADICTIONS_ERROR_SHARE),
            f"{share_of(count, rows)} have the same inputs as a row with another label (for example {example})",
            data.where(together[0]),
            "decide for one label, or leave these rows out (--fix)",
            marks[:MOST_MARKS],
            share,
            remedy="drop",
        )


def _contradicting(data: AuditData, pool: _Pool, group: NDArray[np.int64]) -> Iterator[Mark]:
    """The rows of a group that are outvoted; all of them where no label has the majority."""
    assert data.label is not None
    values, counts = np.unique(pool.label[group], return_counts=True)
    top = values[np.argmax(counts)]
    decided = counts.max() * 2 > len(group)
    said = {int(number): str(pool.row(int(number)).get(data.label)) for number in group}
    for number in group.tolist():
        if decided and pool.label[number] == top:
            continue
        twin = next(int(other) for other in group if pool.label[other] != pool.label[number])
        votes = counts.max() / len(group) if decided else 0.5
        note = f"labelled {said[number]!r}; the same inputs are labelled {said[twin]!r} in {pool.name(twin)}"
        yield _mark(pool, number, twin, float(votes), note)


def _leak(data: AuditData, pool: _Pool) -> Iterator[Found]:
    at, keys = pool.compared, pool.content
    learned, judged = (at[pool.side[at] == number] for number in (0, 1))
    held, first = np.unique(keys[judged], return_index=True)
    in_held = learned[np.isin(keys[learned], held)]
    if not len(in_held):
        return
    leaked = judged[np.isin(keys[judged], keys[in_held])]
    twins = judged[first[np.searchsorted(held, keys[in_held])]]
    rows = len(data.sides["eval"])
    share = len(leaked) / rows
    marks = [
        _mark(pool, int(number), int(twin), 1.0, "the same row is held out")
        for number, twin in zip(in_held[:MOST_MARKS], twins, strict=False)
    ]
    yield Found(
        "leak",
        share_level(share, 0.0, LEAK_ERROR_SHARE),
        f"{len(leaked):,} of {rows:,} held-out rows ({share:.1%}) also stand in the training rows "
        f"({pool.name(int(twins[0]))} is {pool.name(int(in_held[0]))}): the score would flatter the model",
        data.where("eval"),
        "leave these rows out of the training rows (--fix)",
        marks,
        share,
        effect=_effect(data, marks),
        remedy="drop",
    )


def _near_duplicates(data: AuditData, pool: _Pool, pairs: NearPairs) -> Iterator[Found]:
    side = pool.side
    within = np.flatnonzero(side[pairs.first] == side[pairs.second])
    best = _best(pairs.second[within], pairs.alike[within])
    chosen = within[best]
    for together in _judged(data):
        own = chosen[np.isin(side[pairs.second[chosen]], [SIDES.index(name) for name in together])]
        if not len(own):
            continue
        rows = sum(len(data.sides[name]) for name in together)
        share = len(own) / rows
        marks = _near_marks(data, pool, pairs, own, late=True)
        yield Found(
            "near-duplicates",
            share_level(share, DUPLICATES_WARNING_SHARE, DUPLICATES_ERROR_SHARE),
            f"{share_of(len(own), rows)} nearly repeat another row "
            f"({marks[0].row} and {(marks[0].twin or '').partition(':')[2]}: {marks[0].note})",
            data.where(together[0]),
            "leave one of each two out (--fix); where they are meant, say why in audit.accept",
            marks,
            share,
            remedy="drop",
        )


def _near_leak(data: AuditData, pool: _Pool, pairs: NearPairs) -> Iterator[Found]:
    side = pool.side
    across = np.flatnonzero(side[pairs.first] != side[pairs.second])
    if not len(across):
        return
    own = across[_best(pairs.first[across], pairs.alike[across])]
    rows = len(data.sides["eval"])
    count = len(np.unique(pairs.second[across]))
    share = count / rows
    marks = _near_marks(data, pool, pairs, own, late=False)
    yield Found(
        "near-leak",
        share_level(share, 0.0, NEAR_ERROR_SHARE),
        f"{count:,} of {rows:,} held-out rows ({share:.1%}) nearly stand in the training rows "
        f"({(marks[0].twin or '').partition(':')[2]} and {marks[0].row}: {marks[0].note}): "
        "the score would flatter the model",
        data.where("eval"),
        "leave these rows out of the training rows (--fix); rows of one origin belong on one side (data.group_by)",
        marks,
        share,
        effect=_effect(data, marks),
        remedy="drop",
    )


def _without_minimal(pool: _Pool, pairs: NearPairs) -> NearPairs:
    """Without texts that differ in few words and in their label: what a model learns most from."""
    minimal = np.isin(pairs.how, ("o", "r")) & (pairs.alike < LEAST_FAULT)
    return pairs.take(~minimal | (pool.label[pairs.first] == pool.label[pairs.second]))


def _best(numbers: NDArray[np.int64], alike: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of the pair that is most alike, for each number, in order of the numbers."""
    order = np.lexsort((-alike, numbers))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = numbers[order[1:]] != numbers[order[:-1]]
    return order[fresh]


def _near_marks(data: AuditData, pool: _Pool, pairs: NearPairs, own: NDArray[np.int64], *, late: bool) -> list[Mark]:
    """Marks of pairs, the likest first; of the second row, or of the first."""
    own = own[np.argsort(-pairs.alike[own], kind="stable")][:MOST_MARKS]
    marked, twins = (pairs.second, pairs.first) if late else (pairs.first, pairs.second)
    marks = []
    for at in own.tolist():
        number, twin = int(marked[at]), int(twins[at])
        note = said_of(str(pairs.how[at]), float(pairs.alike[at]))
        if data.label is not None and pool.label[number] != pool.label[twin]:
            one, other = (pool.row(n).get(data.label) for n in (number, twin))
            note += f"; labelled {one!r} here and {other!r} there"
        marks.append(_mark(pool, number, twin, round(float(pairs.alike[at]), 4), note))
    return marks


def said_of(how: str, alike: float) -> str:
    """How two rows are alike, in words."""
    return {
        "s": "the same words",
        "o": "all words but one are the same",
        "r": f"{alike:.0%} of the text is the same",
        "p": "the same pixels",
        "n": "nearly the same picture",
        "c": "nearly the same picture, cropped",
    }[how]


def _mark(pool: _Pool, number: int, twin: int, score: float, note: str) -> Mark:
    return Mark(pool.name(number), pool.side_of(number), score, note, pool.place(twin))


def _effect(data: AuditData, marks: Sequence[Mark]) -> Effect | None:
    """What leaked rows do to the score, where a head can be trained."""
    if not data.wishes.effects or data.label is None:
        return None
    from tunesmith.audit.effects import effect_without

    return effect_without(data, [mark.row for mark in marks], [])
