"""Files that decode although they are damaged: missing ends, sectors of zeros, wrong checksums. It sees no label.

A reader of JPEG fills what is missing with grey and says nothing, and a reader of PNG skips checksums.
"""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SECTOR, LOST_BYTES = 512, 4096
TRAILING_ZEROS = 64
LEAST_GREY_SHARE = 1 / 32
_ZEROS, _LOST = re.compile(rb"\0*"), bytes(LOST_BYTES)
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")


def damage_of(content: bytes) -> str | None:
    """What is wrong with a file's bytes, in words that follow its name; None where nothing is."""
    if content.startswith(b"\xff\xd8\xff"):
        return _of_jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _of_png(content)
    return None


def _of_jpeg(content: bytes) -> str | None:
    start = content.find(_SCAN)
    if start < 0:
        return None
    kept = content.rstrip(b"\0")
    if len(content) - len(kept) >= TRAILING_ZEROS and content.find(_END, start) < 0:
        share = (len(content) - len(kept)) / len(content)
        return f"was not written whole: its last {share:.0%} are zeros"
    at = content.find(_LOST, start)
    while at >= 0:
        end = at + len(_ZEROS.match(content, at)[0])  # type: ignore[index]
        # Zeros may be the code of a flat area; only a lost block of a disk begins at the edge of a sector.
        if at % SECTOR == 0 and end < len(content):
            return f"has lost {end - at:,} bytes: there are zeros in their place"
        at = content.find(_LOST, end)
    return None


def _of_png(content: bytes) -> str | None:
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name = content[at + 4 : at + 8]
        if at + 12 + length > len(content):
            return None
        if name in _CRITICAL:
            (told,) = struct.unpack_from(">I", content, at + 8 + length)
            if told != zlib.crc32(content[at + 4 : at + 8 + length]):
                return "is damaged: the checksum of its pixels is wrong"
        if name == b"IEND":
            return None
        at += 12 + length
    return None


def missing_below(pixels: NDArray[np.uint8], side: int = 8) -> float:
    """Which share of a JPEG at the bottom is the exact grey of missing data, 0 to 1; 0 where too little is.

    Args:
        pixels: [height, width, 3], as stored.
        side: Of a block in these pixels: 8 at the full size.
    """
    height = len(pixels)
    if height < 2 * side or (np.abs(pixels[-1].astype(np.int16) - 128) > 1).any():
        return 0.0
    grey = np.asarray((np.abs(pixels.astype(np.int16) - 128) <= 1).all(axis=(1, 2)))
    rows = 0 if grey.all() else int(np.argmin(grey[::-1]))
    share = rows / height
    return share if share >= LEAST_GREY_SHARE else 0.0
