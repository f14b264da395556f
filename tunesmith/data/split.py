"""Which rows are learned from and which are held out. It knows no file and no model.

A row's side follows from a hash of the seed and its key (its group, else the content of its inputs), so that equal
inputs and members of one group stay together, the order of the rows does not matter, and new rows move few old ones.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.data.digest import canonical_json, content_number, digest_number
from tunesmith.data.reading import did_you_mean
from tunesmith.errors import UserError
from tunesmith.types import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Row numbers of both sides, ascending, and what to tell a person about them."""

    train: array[int]
    eval: array[int]
    lines: tuple[str, ...]


def split_rows(
    rows: Sequence[Row],
    *,
    share: float,
    seed: int,
    inputs: Sequence[str],
    target: str | None,
    group_by: str | None,
    stratify: bool,
) -> Split:
    """Hold out a share of the rows.

    Args:
        rows: All rows, each with an id.
        share: Of the rows to hold out, between 0 and 1; met to within one key (of each label, where stratified).
        seed: Another seed holds out other rows.
        inputs: The columns whose content makes two rows the same.
        target: The label's column, for stratifying.
        group_by: Column whose values never straddle the split.
        stratify: Keep label shares equal on both sides; every label with two keys or more stands on both.

    Raises:
        UserError: where the group column does not exist, or where one side would be empty.
    """
    import numpy as np

    if not len(rows):
        raise UserError("there are no rows to divide", "data.train", "give a source with at least a few rows")
    keys, labels, ungrouped = _keys_and_labels(rows, seed, inputs, target if stratify else None, group_by)
    numbers = np.frombuffer(keys, dtype=np.uint64)
    distinct, key_of_row, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    strata = _label_of_key(key_of_row, np.frombuffer(labels, dtype=np.uint64), len(distinct))
    held = np.zeros(len(distinct), dtype=bool)
    by_label = np.argsort(strata, kind="stable")  # within a label, keys stay in the order of their hashes
    for members in np.split(by_label, np.flatnonzero(np.diff(strata[by_label]) != 0) + 1):
        held[members[_held_out(sizes[members].tolist(), share)]] = True
    sides = held[key_of_row]
    train, held_out = (array("q", np.flatnonzero(side).astype(np.int64).tobytes()) for side in (~sides, sides))
    if not train or not held_out:
        raise _empty_side(len(rows), len(distinct), group_by, stratify and target is not None)
    lines = [_sizes_line(len(rows), len(held_out), seed, f"{len(distinct):,} groups by {group_by}" if group_by else "")]
    if abs(len(held_out) / len(rows) - share) > max(0.02, 0.1 * share):
        lines.append(f"{share:.1%} was asked for; whole groups, equal inputs and small classes do not divide closer")
    if not group_by and len(distinct) < len(rows):
        lines.append(f"{len(rows) - len(distinct):,} rows repeat another row's inputs and went to the same side as it")
    if stratify and target:
        lines.append(f"the shares of {target} are kept on both sides")
    if ungrouped:
        lines.append(f"{ungrouped:,} rows have no {group_by}; each of them is a group by its content")
    return Split(train, held_out, tuple(lines))


def _keys_and_labels(
    rows: Sequence[Row], seed: int, inputs: Sequence[str], target: str | None, group_by: str | None
) -> tuple[array[int], array[int], int]:
    """Hash of seed and key, and digest of the label, of every row; how many rows lack a group."""
    keys, labels = array("Q"), array("Q")
    ungrouped = 0
    for row in rows:
        group = row.get(group_by) if group_by else None
        if group is None or group == "":
            ungrouped += 1
            key: list[Any] = [seed, "content", _content(row, inputs)]
        else:
            key = [seed, "group", group]
        keys.append(digest_number(canonical_json(key)))
        labels.append(digest_number(canonical_json(row.get(target))) if target else 0)
    if group_by and ungrouped == len(rows):
        known = [name for name in (rows[0] if len(rows) else ()) if name != "id"]
        raise UserError(
            f"data.group_by: no row has a value in column '{group_by}'{did_you_mean(group_by, known)}",
            "data.group_by",
            f"name one of the columns that exist: {', '.join(known)}",
        )
    return keys, labels, ungrouped if group_by else 0


def _content(row: Row, inputs: Sequence[str]) -> int:
    """What a row is told by: its inputs, or all its columns where it has none of them (the audit will say so)."""
    if any(name in row for name in inputs):
        return content_number(row, inputs)
    return content_number(row, sorted(name for name in row if name != "id"))


def _label_of_key(key_of_row: NDArray[np.intp], labels: NDArray[np.uint64], keys: int) -> NDArray[np.uint64]:
    """The commonest label among the rows of each key; of equals, the one whose digest is smallest."""
    import numpy as np

    order = np.lexsort((labels, key_of_row))
    key, label = key_of_row[order], labels[order]
    first = np.flatnonzero(np.concatenate(([True], (key[1:] != key[:-1]) | (label[1:] != label[:-1]))))
    times = np.diff(np.append(first, len(key)))
    best = np.lexsort((label[first], -times, key[first]))
    _, start = np.unique(key[first][best], return_index=True)
    chosen: NDArray[np.uint64] = label[first][best][start]
    assert len(chosen) == keys
    return chosen


def _held_out(sizes: Sequence[int], share: float) -> list[int]:
    """Places of the keys to hold out, where the keys stand in the order of their hashes.

    A key is taken where that brings the rows held out nearer to the share; at least one is taken and one is left.
    """
    if len(sizes) < 2:
        return []
    wanted, taken = share * sum(sizes), 0
    chosen: list[int] = []
    for place, size in enumerate(sizes):
        if wanted - taken <= 0.5:
            break
        if size < 2 * (wanted - taken):
            chosen.append(place)
            taken += size
    if not chosen:
        return [min(range(len(sizes)), key=lambda place: sizes[place])]
    return chosen[:-1] if len(chosen) == len(sizes) else chosen


def _sizes_line(rows: int, held_out: int, seed: int, grouped: str) -> str:
    details = "; ".join(part for part in (f"{held_out / rows:.1%}", f"seed {seed}", grouped) if part)
    return f"{held_out:,} of {rows:,} rows are held out ({details})"


def _empty_side(rows: int, keys: int, group_by: str | None, stratified: bool) -> UserError:
    if group_by and keys < 2:
        return UserError(
            f"data.group_by: all {rows:,} rows have one value in column '{group_by}', so no rows can be held out",
            "data.eval",
            "group by a column with more values, or give the held-out rows as a source of their own",
        )
    if keys < 2:
        return UserError(
            f"all {rows:,} rows have the same inputs, so no rows can be held out",
            "data.eval",
            "give more rows, or give the held-out rows as a source of their own",
        )
    unit = f"value of {group_by}" if group_by else "input"
    fix = "give more rows for every label, or give the held-out rows as a source of their own"
    return UserError(
        f"every label stands with one {unit} only, so no rows can be held out",
        "data.eval",
        f"set data.stratify: false, or {fix}" if stratified else fix,
    )
