"""One speaker, video, session or source file on both sides of the split: the score would be that of rows half known.

It looks at what columns and names of files say, and compares no contents.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, Mark, Skipped, share_level
from tunesmith.data.digest import canonical_json, digest_number
from tunesmith.data.reading import did_you_mean
from tunesmith.data.row_findings import LEAK_ERROR_SHARE
from tunesmith.data.tally import is_empty
from tunesmith.errors import UserError
from tunesmith.types import Row

MOST_MARKS = 100_000
TOLD_EVERY = 1000
LOOKED_AT = 200
"""Rows whose columns are looked at to tell which may be groups."""
MOST_DROPPED = 0.5
"""Share of the training rows that ``--fix`` leaves out at most; beyond it, the rows want another split."""
LEAST_GROUPS, LARGEST_GROUP, LEAST_ROWS = 5, 0.5, 2.0
"""A guessed column is one of groups if it has so many values, none of them too common, and so many rows a value."""
_NAMES = re.compile(
    r"(?:^|_)(speaker|spk|reader|client|video|clip|movie|episode|session|chapter|recording|meeting|dialog(?:ue)?|"
    r"conversation|thread|source_file|document|doc|article|book|patient|subject|person|user|author|customer|device|"
    r"camera|sequence|scene|schema|database|db|group)(?:_?(?:id|name|key|uid|no|number))?$"
)
_FRAME = re.compile(r"^(.*?[^0-9])([0-9]{1,9})$")
"""A file's stem: what comes before the number of a frame, and the number."""

Value = Callable[[Row], object]


@dataclass
class _Grouping:
    """A way to tell groups: of every row the digest of its group, 0 where it has none."""

    name: str
    sure: bool
    value: Value
    train: array[int]
    eval: array[int]

    @classmethod
    def of(cls, name: str, sure: bool, value: Value) -> _Grouping:
        return cls(name, sure, value, array("Q"), array("Q"))


def group_findings(data: AuditData) -> Iterator[Found | Skipped]:
    """Groups with rows on both sides, by ``data.group_by``, by the columns that were named, and by what looks like one.

    Raises:
        UserError: No row has a column that was named.
    """
    groupings = _groupings(data)
    if not groupings:
        yield Skipped(
            "groups", "no column looks like a speaker, video, session or source; name one with --group COLUMN"
        )
        return
    done, total = 0, sum(map(len, data.sides.values()))
    for side, rows in data.sides.items():
        for row in rows:
            for one in groupings:
                value = one.value(row)
                known = 0 if is_empty(value) else digest_number(canonical_json(value))
                (one.train if side == "train" else one.eval).append(known)
            done += 1
            if done % TOLD_EVERY == 0 or done == total:
                data.progress("reading groups", done, total)
    labels = _labels(data)
    for one in groupings:
        train, held = (np.frombuffer(some, dtype=np.uint64) for some in (one.train, one.eval))
        if one.sure and not train.any() and not held.any():
            columns = [name for name in data.sides["train"][0] if name != "id"]
            raise UserError(
                f"no row has a value in column {one.name!r}{did_you_mean(one.name, columns)}",
                "command line: --group",
                f"name one of the columns that exist: {', '.join(columns)}",
            )
        if one.sure or _is_grouping(train, held, labels):
            yield from _leak(data, one, train, held)


def _groupings(data: AuditData) -> list[_Grouping]:
    """What may tell groups; columns that somebody named are sure."""
    named = [name for name in (data.prepared.source.recipe.data.group_by, *data.wishes.groups) if name]
    found = [_Grouping.of(name, True, _column(name)) for name in dict.fromkeys(named)]
    rows = data.sides["train"]
    head = [rows[number] for number in range(min(LOOKED_AT, len(rows)))]
    columns = dict.fromkeys(name for row in head for name in row)
    spared = {*named, *data.task.columns, "id", *(("speaker",) if data.has("audio") else ())}
    for name in columns:
        if name not in spared and _NAMES.search(_snake(name)):
            found.append(_Grouping.of(name, False, _column(name)))
    file = next((name for name in data.task.file_columns if name in columns and name in data.task.columns), None)
    if file is not None:
        found.append(_Grouping.of("the file's name before its number", False, _before_number(file)))
        found.append(_Grouping.of("the file's folder", False, _folder(file)))
    return found


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s.-]+", "_", name).lower()


def _column(name: str) -> Value:
    return lambda row: row.get(name)


def _before_number(file: str) -> Value:
    """``clip-7_frame_0012.jpg`` is one of ``clip-7_frame_``."""

    def value(row: Row) -> str | None:
        path = PurePosixPath(str(row.get(file) or ""))
        match = _FRAME.fullmatch(path.stem)
        return f"{path.parent}/{match[1]}" if match and any(c.isalnum() for c in match[1]) else None

    return value


def _folder(file: str) -> Value:
    """The innermost folder of a file, where it is not that of its class."""

    def value(row: Row) -> str | None:
        parts = PurePosixPath(str(row.get(file) or "")).parts[:-1]
        return "/".join(parts) if len(parts) > 1 else None

    return value


def _labels(data: AuditData) -> int:
    """How many classes there are; as many groups are the classes again."""
    if data.label is None:
        return 0
    label = data.label
    return len({str(row.get(label)) for row in data.sides["train"]})


def _is_grouping(train: NDArray[np.uint64], held: NDArray[np.uint64], labels: int) -> bool:
    """Whether a guessed column divides the rows as groups do: many values, each on a few rows."""
    both = np.concatenate([train, held])
    known = both[both != 0]
    if len(known) < len(both) / 2:
        return False
    _, counts = np.unique(known, return_counts=True)
    many = len(counts) >= LEAST_GROUPS and len(counts) > labels
    return bool(many and counts.max() <= LARGEST_GROUP * len(known) and len(known) >= LEAST_ROWS * len(counts))


def _leak(data: AuditData, one: _Grouping, train: NDArray[np.uint64], held: NDArray[np.uint64]) -> Iterator[Found]:
    shared = np.intersect1d(np.unique(train[train != 0]), np.unique(held[held != 0]))
    if not len(shared):
        return
    asked, learned = np.flatnonzero(np.isin(held, shared)), np.flatnonzero(np.isin(train, shared))
    share = len(asked) / len(held)
    rows, judged = data.sides["train"], data.sides["eval"]
    twins = _twins(held, asked, judged)
    marks = []
    for number in learned[:MOST_MARKS].tolist():
        row = rows[number]
        marks.append(
            Mark(str(row["id"]), "train", note=f"{one.name} {one.value(row)}", twin=f"eval:{twins[int(train[number])]}")
        )
    groups = len(np.union1d(np.unique(train), np.unique(held)) if len(train) else shared)
    example = _common(one, rows, learned)
    few = len(learned) <= MOST_DROPPED * len(train)
    yield Found(
        "group-leak" if one.sure else "group-suspected",
        share_level(share, 0.0, LEAK_ERROR_SHARE) if one.sure else "warning",
        f"{len(asked):,} of {len(held):,} held-out rows ({share:.1%}) share {one.name} with training rows "
        f"({len(shared):,} of {groups:,} values stand on both sides; the most common is {example!r}): the score says "
        "less about new ones",
        f"{data.where('train')}, {'column ' if not one.name.startswith('the ') else ''}{one.name}",
        _fix(data, one, few),
        marks,
        share,
        remedy="drop" if few else None,
    )


def _twins(held: NDArray[np.uint64], asked: NDArray[np.intp], judged: Sequence[Row]) -> dict[int, str]:
    """Of each shared group the first held-out row."""
    _, first = np.unique(held[asked], return_index=True)
    return {int(held[asked[at]]): str(judged[int(asked[at])]["id"]) for at in first}


def _common(one: _Grouping, rows: Sequence[Row], learned: NDArray[np.intp]) -> str:
    some = Counter(str(one.value(rows[number])) for number in learned[:LOOKED_AT].tolist())
    return some.most_common(1)[0][0] if some else ""


def _fix(data: AuditData, one: _Grouping, few: bool) -> str:
    recipe = data.prepared.source.recipe.data
    mend = "leave these training rows out (--fix)" if few else "divide the rows anew, so that no group is on both sides"
    if one.name.startswith("the "):
        return f"if these are frames of one recording: write it into a column and set data.group_by to it; or {mend}"
    if data.explicit_eval:
        return f"{mend}{'' if one.sure else ', if one value is one source'}"
    if recipe.group_by and recipe.group_by != one.name:
        return f"set data.group_by: {one.name} in place of {recipe.group_by}, if it is the wider group; or {mend}"
    return f"set data.group_by: {one.name}, so that no {one.name} is on both sides; or {mend}"
