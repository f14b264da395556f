"""The turn that a camera wrote beside a picture (EXIF orientation, 1 to 8), applied to pixels and to points.

It reads the one tag it needs and no other, since EXIF is often damaged. It knows no label format.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORIENTATION_TAG, SHORT, MOST_ENTRIES = 0x0112, 3, 1024
_PNG_START = 8

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture into the one a person sees."""


def orientation_of(exif: bytes) -> int:
    """The orientation in a block of EXIF, 1 (as stored) where there is none or it is damaged."""
    content = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for entry in range(min(count, MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", content, start + 2 + 12 * entry)
            if tag == ORIENTATION_TAG:
                return int(value) if kind == SHORT and value in TURNS else 1
    except struct.error:
        return 1
    return 1


def late_png_exif(stream: BinaryIO) -> bytes:
    """The EXIF block of a PNG that stands behind its pixels, where a reader of the beginning does not see it."""
    place = stream.tell()
    try:
        stream.seek(_PNG_START)
        while len(head := stream.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"eXIf":
                return stream.read(min(length, 2**20))
            if name == b"IEND":
                break
            stream.seek(length + 4, 1)
        return b""
    finally:
        stream.seek(place)


def swaps_sides(orientation: int) -> bool:
    """Whether width and height change places."""
    return orientation >= 5


def turn_pixels(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An array [height, width, ...] as stored, as a person sees it."""
    turned = pixels.swapaxes(0, 1) if swaps_sides(orientation) else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def turn_points(points: NDArray[Any], orientation: int, width: float, height: float) -> NDArray[Any]:
    """Points [n, 2] as x, y of the stored picture, where a person sees them.

    Args:
        points: In pixels, 0 at the upper left edge.
        orientation: 1 to 8.
        width: Of the stored picture.
        height: Of the stored picture.
    """
    turned = points[:, ::-1].copy() if swaps_sides(orientation) else points.copy()
    shown_width, shown_height = (height, width) if swaps_sides(orientation) else (width, height)
    if orientation in (2, 3, 6, 7):
        turned[:, 0] = shown_width - turned[:, 0]
    if orientation in (3, 4, 7, 8):
        turned[:, 1] = shown_height - turned[:, 1]
    return turned
