"""What a camera wrote beside a picture: when it was taken, and the size it had then. It knows no pixels.

EXIF is often damaged: what can't be read is None, never an error.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

EXIF_IFD, TAKEN, CHANGED, WIDTH, HEIGHT = 0x8769, 0x9003, 0x0132, 0xA002, 0xA003
MOST_ENTRIES = 1024
_ASCII, _SHORT, _LONG = 2, 3, 4
_WHEN = re.compile(rb"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d)")


@dataclass(frozen=True)
class Shot:
    """What EXIF says of a photograph.

    Args:
        hour: Of the day it was taken at, 0 to 23, by the camera's clock.
        month: 1 to 12.
        size: Width and height in pixels when it was written.
    """

    hour: int | None = None
    month: int | None = None
    size: tuple[int, int] | None = None


def shot_of(exif: bytes) -> Shot:
    """What a block of EXIF says; nothing where it is damaged."""
    content = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return Shot()
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        tags = _entries(content, order, start)
        if EXIF_IFD in tags and isinstance(tags[EXIF_IFD], int):
            tags = {**tags, **_entries(content, order, int(tags[EXIF_IFD]))}
    except struct.error:
        return Shot()
    hour, month = _when(tags.get(TAKEN, tags.get(CHANGED)))
    width, height = tags.get(WIDTH), tags.get(HEIGHT)
    size = (width, height) if isinstance(width, int) and isinstance(height, int) and width and height else None
    return Shot(hour, month, size)


def _entries(content: bytes, order: str, start: int) -> dict[int, int | bytes]:
    """The tags that are wanted, numbers and texts."""
    found: dict[int, int | bytes] = {}
    (count,) = struct.unpack_from(f"{order}H", content, start)
    for entry in range(min(count, MOST_ENTRIES)):
        place = start + 2 + 12 * entry
        tag, kind, number = struct.unpack_from(f"{order}HHI", content, place)
        if tag not in (EXIF_IFD, TAKEN, CHANGED, WIDTH, HEIGHT):
            continue
        if kind == _ASCII and number > 4:
            (at,) = struct.unpack_from(f"{order}I", content, place + 8)
            found[tag] = content[at : at + min(number, 64)]
        elif kind in (_SHORT, _LONG) and number == 1:
            (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", content, place + 8)
    return found


def _when(text: int | bytes | None) -> tuple[int | None, int | None]:
    match = _WHEN.match(text) if isinstance(text, bytes) else None
    if match is None:
        return None, None
    month, hour = int(match[2]), int(match[4])
    return (hour if hour < 24 else None), (month if 1 <= month <= 12 else None)
