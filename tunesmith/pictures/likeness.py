"""Pictures that are alike: the same file, the same pixels, or nearly so. It knows no rows and no labels.

Each picture becomes a digest of its file, a grey thumbnail of 32 x 32 and a difference hash: 64 bits that say where a
9 x 8 thumbnail gets brighter from left to right. Pairs whose hashes differ in two bits at most are compared by their
thumbnails; of those that do not differ at all, the pixels decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunesmith.pictures.files import MOST_PIXELS, Look, PictureFault, open_picture, read_picture, to_rgb
from tunesmith.pictures.orientation import turn_pixels

SIDE = 32
NEAR_BITS = 2
MOST_DIFFERENCE = 3.0
"""Mean difference of two thumbnails, of 255, up to which pictures are nearly the same; less without contrast."""
CONTRAST_SHARE, LEAST_DIFFERENCE = 0.08, 0.25
MOST_COMPARED = 64
PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Sight:
    """What a picture looks like at a glance.

    Args:
        look: What the file is.
        digest: Of the file's bytes.
        bits: The difference hash, an unsigned 64-bit number.
        thumbnail: Grey uint8 [32, 32], as a person sees it.
    """

    look: Look
    digest: int
    bits: int
    thumbnail: NDArray[np.uint8]


def see(path: Path, *, most_pixels: int = MOST_PIXELS) -> Sight:
    """Decode a picture, small where its format allows it.

    Raises:
        PictureFault: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PictureFault("is not there" if isinstance(error, FileNotFoundError) else str(error.strerror)) from error
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
    del content
    with open_picture(path, most_pixels=most_pixels) as (image, look):
        if look.format == "JPEG":
            image.draft("L" if look.mode == "RGB" else None, (2 * SIDE, 2 * SIDE))
        image.load()
        plain = image if image.mode == "L" and "transparency" not in image.info else to_rgb(image).convert("L")
        small = plain.resize((SIDE, SIDE), Image.Resampling.BOX)
    thumbnail = np.ascontiguousarray(turn_pixels(np.asarray(small), look.orientation))
    return Sight(look, digest, difference_hash(thumbnail), thumbnail)


def difference_hash(thumbnail: NDArray[np.uint8]) -> int:
    """64 bits of a grey picture: whether each of 8 x 8 fields is darker than the one to its right."""
    small = np.asarray(Image.fromarray(thumbnail).resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")


def are_near(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Whether two thumbnails differ by no more than saving or resizing a picture anew does."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    contrast = min(float(a.std()), float(b.std()))
    return float(np.abs(a - b).mean()) <= min(MOST_DIFFERENCE, LEAST_DIFFERENCE + CONTRAST_SHARE * contrast)


def near_pairs(known: Sequence[Sight], asked: Sequence[Sight]) -> Iterator[tuple[int, int, bool]]:
    """For each asked picture that is nearly a known one: its number, the known one's, and whether the files are equal.

    At most one known picture is given for each asked one, an equal file before one that is nearly the same.
    """
    by_digest: dict[int, int] = {}
    by_bits: dict[int, list[int]] = {}
    for number, sight in enumerate(known):
        by_digest.setdefault(sight.digest, number)
        by_bits.setdefault(sight.bits, []).append(number)
    found = _neighbours(list(by_bits), list({sight.bits: None for sight in asked}))
    for number, sight in enumerate(asked):
        if sight.digest in by_digest:
            yield number, by_digest[sight.digest], True
            continue
        others = [other for bits in found.get(sight.bits, ()) for other in by_bits[bits][:MOST_COMPARED]]
        near = next((other for other in others if are_near(known[other].thumbnail, sight.thumbnail)), None)
        if near is not None:
            yield number, near, False


def _neighbours(known: Sequence[int], asked: Sequence[int]) -> dict[int, list[int]]:
    """Known hashes within `NEAR_BITS` of each asked one; all are compared, a few million pairs at a time."""
    found: dict[int, list[int]] = {}
    if not known or not asked:
        return found
    ours, theirs = np.array(known, dtype=np.uint64), np.array(asked, dtype=np.uint64)
    step = max(1, PAIRS_AT_ONCE // len(ours))
    for start in range(0, len(theirs), step):
        near = _bit_counts(theirs[start : start + step, None] ^ ours) <= NEAR_BITS
        for at, other in np.argwhere(near):
            found.setdefault(asked[start + int(at)], []).append(known[int(other)])
    return found


def _bit_counts(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values))
    parts = np.ascontiguousarray(values).view(np.uint16).reshape(*values.shape, 4)  # numpy 1
    return np.asarray(_table()[parts].sum(axis=-1, dtype=np.uint8))


@cache
def _table() -> NDArray[np.uint8]:
    """The number of ones in each number of 16 bits."""
    return np.array([value.bit_count() for value in range(2**16)], dtype=np.uint8)


def same_pixels(first: Path, second: Path, *, most_pixels: int = MOST_PIXELS) -> bool:
    """Whether two files decode to the same picture.

    Raises:
        PictureFault: One cannot be read.
    """
    a, b = read_picture(first, most_pixels=most_pixels), read_picture(second, most_pixels=most_pixels)
    return a.shape == b.shape and bool((a == b).all())
