"""A row that shows a finding, ready for the audit's page. It knows the shape of evidence and no check.

What is not the page's own (an address of a picture that leads elsewhere, a colour that is none) is never written: the
card says so in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.report import figures
from tunesmith.report.audio_panel import checked_sound
from tunesmith.report.audit_views import SIDES, wave
from tunesmith.report.panels import checked_colour, checked_image

Json = Mapping[str, Any]

KINDS = {"mark": "what it is about", "del": "goes", "ins": "comes", "odd": "a character that can't be seen", "more": ""}
"""Kinds of pieces of a text, and what a mark says to those who hear the page."""


def entry_of(entry: Json) -> dict[str, Any]:
    """A card: the row, what is wrong with it, and the row it stands beside."""
    twin = entry.get("twin")
    score = figures.as_number(entry.get("score"))
    row = _row_of(entry)
    changes = [
        (str(one.get("column")), figures.plain(one.get("before")), figures.plain(one.get("after")))
        for one in entry.get("change") or []
    ]
    if any(before == row["label"] for _, before, _ in changes):
        row["label"] = None
    return {
        **row,
        "note": str(entry.get("note") or ""),
        "sure": score if score is not None and score < 1 else None,
        "changes": changes,
        "twin": _row_of(twin) if twin else None,
    }


def _row_of(entry: Json) -> dict[str, Any]:
    missing = [str(entry["missing"])] if entry.get("missing") else []
    side = str(entry.get("side"))
    pictures: dict[str, str | None] = {"picture": None, "suggested": None}
    sound = None
    try:
        pictures = {name: checked_image(entry[name]) if entry.get(name) else None for name in pictures}
        sound = checked_sound(entry["sound"]) if entry.get("sound") else None
        legend = [(str(one["name"]), checked_colour(one["colour"])) for one in entry.get("legend") or []]
    except (ValueError, KeyError, TypeError) as error:
        missing.append(f"it can't be shown: {error}")
        legend = []
    seconds, cut = figures.as_number(entry.get("seconds")), figures.as_number(entry.get("cut"))
    lines = [_size(entry), "shown closer" if entry.get("close") else ""]
    if seconds is not None:
        first = f" (the first {figures.duration(cut)} here)" if cut else ""
        lines.append(f"{figures.duration(seconds)}{first}")
    return {
        "row": str(entry.get("row")),
        "side": SIDES.get(side, side),
        "held": side == "eval",
        **pictures,
        "alt": _alt(entry),
        "sound": sound,
        "wave": wave(_peaks(entry)) if entry.get("wave") else None,
        "legend": legend,
        "label": None if entry.get("label") is None else str(entry["label"]),
        "texts": [(str(name), _pieces(pieces)) for name, pieces in (entry.get("text") or {}).items()],
        "beside": [(str(name), figures.plain(value)) for name, value in (entry.get("beside") or {}).items()],
        "file": str(entry.get("file") or ""),
        "facts": " · ".join(filter(None, lines)),
        "missing": missing,
    }


def _peaks(entry: Json) -> list[float]:
    return [value for one in entry["wave"] if (value := figures.as_number(one)) is not None]


def _size(entry: Json) -> str:
    size = entry.get("size")
    return f"{figures.number(size[0])} × {figures.number(size[1])}" if size else ""


def _alt(entry: Json) -> str:
    """What a picture shows, for those who do not see it."""
    boxes = entry.get("boxes")
    name = f"the picture of row {entry.get('row')}"
    if boxes is None:
        return name
    labels = [str(one.get("label")) for one in boxes]
    return f"{name} with {len(labels)} box{'es' * (len(labels) != 1)}: {', '.join(labels[:8])}" if labels else name


def _pieces(pieces: Sequence[Any]) -> list[tuple[str, str, str]]:
    """``(words, kind, what the kind means)`` for every piece."""
    return [(str(words), kind if kind in KINDS else "", KINDS.get(kind, "")) for words, kind in pieces]


def left_out(evidence: Mapping[str, Sequence[Json]]) -> int:
    """How many pictures and sounds the page has no room for."""
    entries = [one for shown in evidence.values() for entry in shown for one in (entry, entry.get("twin") or {})]
    return sum(bool(one.get("left_out")) for one in entries)
