"""What shows that a finding is true: its rows, read again, with their pictures, sounds and words ready for a page.

It knows findings and rows; how a picture is drawn and a text marked stands in ``evidence_media`` and ``evidence_text``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.audit.evidence_media import Media
from tunesmith.audit.evidence_text import chosen, marked, texts_of
from tunesmith.audit.found import LEVELS, AuditReport, Found, Mark, SideName
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

Json = dict[str, Any]
Key = tuple[SideName, str]

MOST_ROWS = 12
"""Rows of a finding that are shown."""
MOST_BYTES = 6_000_000
"""Of pictures and sounds in one page."""
SHORT = 60
"""Characters of a value that stands in a line with others."""
BESIDE = 6
"""Columns that the task does not read, shown beside the others."""
HIDDEN = ("secrets",)
"""Codes whose page does not repeat what was found."""
FILES = ("image", "audio", "mask", "content", "objects", "areas", "masks")
OWN = ("id", "height", "width", "start", "end", "seconds", "source_id", "image_id", "tools", "plain", "prior")


@dataclass(frozen=True)
class _Shown:
    """One row of a finding that is to be shown; ``placed``: known by its place or id alone, whatever its side."""

    code: str
    mark: Mark
    rank: int
    level: int
    placed: bool


@dataclass
class _Rows:
    """The rows that are shown, by side and id, and by place."""

    named: dict[Key, Row]
    placed: dict[str, tuple[SideName, Row]]


def evidence(
    data: AuditData, report: AuditReport, most: int = MOST_ROWS, most_bytes: int = MOST_BYTES
) -> dict[str, list[Json]]:
    """The rows of every finding as a page shows them; all rows are gone over once, and only these are kept.

    Args:
        data: Where the rows are.
        report: What was found in them.
        most: Rows of a finding, the surest first.
        most_bytes: Of pictures and sounds: the surest rows of every finding get theirs first, errors before notes.

    Returns:
        Code to entries. An entry has ``row``, ``side``, ``note``, ``score``; where the row has them ``label``,
        ``text`` (name to pieces, see `evidence_text`), ``beside`` (other columns), ``file``, ``picture``,
        ``suggested``, ``boxes``, ``legend``, ``size``, ``sound``, ``wave``, ``seconds``; ``missing``, why something of
        it is not there; ``change`` (``column``, ``before``, ``after``); ``twin``, an entry of the row it stands beside.
    """
    shown = list(_shown(report.findings, most))
    rows = _rows(data, shown)
    media = Media(data, most_bytes)
    made: dict[int, Json] = {}
    for number, one in sorted(enumerate(shown), key=lambda pair: (pair[1].rank, pair[1].level, pair[0])):
        entry = _entry(data, rows, one, media)
        if entry is not None:
            made[number] = entry
        data.progress("evidence", len(made), len(shown))
    found: dict[str, list[Json]] = {}
    for number, one in enumerate(shown):
        if number in made:
            found.setdefault(one.code, []).append(made[number])
    return found


def _shown(findings: Iterable[Found], most: int) -> Iterator[_Shown]:
    """The surest rows of every finding; of one without marks the places it names, which may stand on either side."""
    for finding in findings:
        level, placed = LEVELS.index(finding.level), not finding.marks
        marks = [Mark(place, "train") for place in finding.rows[:most]] if placed else finding.marks[:most]
        for rank, mark in enumerate(marks):
            yield _Shown(finding.code, mark, rank, level, placed)


def _rows(data: AuditData, shown: Sequence[_Shown]) -> _Rows:
    """Go over each side once, no further than to the last row that is wanted."""
    wanted: dict[SideName, set[str]] = {"train": set(), "eval": set()}
    places = {one.mark.row for one in shown if one.placed}
    for one in shown:
        for side, name in [] if one.placed else _keys(one.mark):
            wanted[side].add(name)
    found = _Rows({}, {})
    for side, rows in data.sides.items():
        left = wanted[side]
        place = getattr(rows, "place", None)
        for at, row in enumerate(rows if left or places else ()):
            name = str(row["id"])
            if name in left:
                left.discard(name)
                found.named[side, name] = row
            if places:
                for known in (name, *([] if place is None else [place(at)])):
                    if known in places:
                        found.placed.setdefault(known, (side, row))
            if not left and len(found.placed) == len(places):
                break
    return found


def _keys(mark: Mark) -> Iterator[Key]:
    yield mark.side, mark.row
    if mark.twin is not None:
        yield _twin(mark.twin)


def _twin(name: str) -> Key:
    side, _, row = name.partition(":")
    return ("eval" if side == "eval" else "train"), row


def _entry(data: AuditData, rows: _Rows, one: _Shown, media: Media) -> Json | None:
    """One row with its twin; None for a place that is no row's."""
    mark, row = one.mark, rows.named.get((one.mark.side, one.mark.row))
    if one.placed:
        if mark.row not in rows.placed:
            return None
        side, row = rows.placed[mark.row]
        mark = Mark(str(row["id"]), side)
    entry: Json = {"row": mark.row, "side": mark.side, "note": mark.note, "score": mark.score}
    if mark.place:
        entry["file"] = mark.place
    if row is None:
        return entry | {"missing": "it is not among the rows that were read"}
    key = None if mark.twin is None else _twin(mark.twin)
    twin = None if key is None else rows.named.get(key)
    entry |= _told(data, row, mark, twin, one.code in HIDDEN) | media.of(
        (mark.side, mark.row), row, mark.change, mark.note
    )
    if key is not None:
        other: Json = {"row": key[1], "side": key[0]} | ({"file": mark.twin_place} if mark.twin_place else {})
        if twin is not None:
            other |= _told(data, twin, Mark(key[1], key[0], note=mark.note), row) | media.of(key, twin, None)
        entry["twin"] = other
    return entry


def _told(data: AuditData, row: Row, mark: Mark, beside: Row | None, hidden: bool = False) -> Json:
    """What a row says in words; with ``hidden``, without what a change takes away."""
    label, change = data.label, mark.change or {}
    found: Json = {}
    if label is not None and row.get(label) is not None:
        found["label"] = str(row[label])
    for column in ("image", "audio"):
        if row.get(column):
            found["file"] = str(row[column])
    read = [name for name in data.task.columns if name not in FILES and name != label and name in row]
    texts: dict[str, Any] = {}
    for name in read:
        others = texts_of(beside.get(name), name) if beside is not None else {}
        mended = texts_of(change[name], name) if name in change else {}
        for part, text in texts_of(row[name], name).items():
            texts[part] = marked(text, mark.note, beside=others.get(part), changed=mended.get(part), hidden=hidden)
    if texts:
        found["text"] = chosen(texts)
    changes = [
        {"column": name, "before": _short(row.get(name)), "after": _short(value)}
        for name, value in change.items()
        if name not in read and name not in FILES
    ]
    if changes:
        found["change"] = changes
    known = {*read, *FILES, *OWN, label, *change}
    more = {name: _short(value) for name, value in row.items() if name not in known and _is_plain(value)}
    if more:
        found["beside"] = dict(list(more.items())[:BESIDE])
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
