"""Picture files: what one is, before it is decoded, and its pixels as a person sees them. It knows no labels.

Only the formats named here are opened, each by its own reader, found by content and not by name: nothing that a
picture library would hand to another program is tried. The size is checked before a pixel is decoded.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tunesmith.pictures.orientation import TURNS, late_png_exif, orientation_of, swaps_sides

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PIXELS = 100_000_000
"""The largest picture that is decoded: 300 MB as RGB. A file that says it is larger may be a decompression bomb."""

PICTURE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".ppm"),
        *(".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"),
    )
)
"""Endings, in lower case, of files that are taken for pictures; the content decides what they are."""

HEAD_BYTES = 64
_WEBP, _AVIF = b"WEBP", (b"avif", b"avis")
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    *((b"P%d" % kind, "PPM") for kind in range(1, 7)),
    (b"BM", "BMP"),
)
_NO_PICTURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the picture itself: run git lfs pull"),
    (b"<!doctype html", "is a web page, not a picture: the download went wrong"),
    (b"<html", "is a web page, not a picture: the download went wrong"),
    (b"<svg", "is an SVG drawing, which has no pixels: save it as PNG"),
    (b"<?xml", "is XML (an SVG drawing?), which has no pixels: save it as PNG"),
    (b"%pdf", "is a PDF document: save its pages as PNG"),
    (b"8bps", "is a Photoshop document: save it as PNG"),
    (b"pk\x03\x04", "is a zip archive: unpack it"),
)


class PictureFault(Exception):
    """Why a picture can't be used, in words that follow its name.

    Args:
        reason: ``is truncated: ...``
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, AttributeError),
    *(RuntimeError, ArithmeticError, AssertionError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What readers of damaged pictures raise."""


@dataclass(frozen=True)
class Look:
    """What a picture file is, told by its beginning; no pixel is decoded.

    Args:
        format: JPEG, PNG, GIF, TIFF, WebP, BMP, PPM, JPEG 2000 or AVIF.
        width: As a person sees it, in pixels.
        height: As a person sees it, in pixels.
        orientation: The EXIF turn, 1 (none) to 8, that leads from the stored picture to the shown one.
        mode: Pillow's name of the pixels' kind (RGB, CMYK, ``I;16``).
        deep: Whether it has more than 8 bits a channel.
        animated: Whether it has more than one frame or page.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    mode: str = "RGB"
    deep: bool = False
    animated: bool = False

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height in the file, before the EXIF turn."""
        return (self.height, self.width) if swaps_sides(self.orientation) else (self.width, self.height)


def is_picture_name(name: str) -> bool:
    """Whether a file's name ends as a picture's does, in any case."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def find_picture(name: str, folders: Sequence[Path]) -> Path | None:
    """The file that a row names: absolute, or below the first of the folders that has it."""
    return next((place for folder in folders if (place := folder / name).is_file()), None)


def folder_of(row: Mapping[str, Any], folders: Sequence[Path]) -> Path | None:
    """The folder that a row's picture lies in; None where it is not there.

    Training and held-out pictures may have the same names in folders of their own: the digest in ``content`` tells
    which one is meant.

    Args:
        row: With ``image``, and ``mask`` and ``content`` where it has them.
        folders: Where relative paths may start from.
    """
    found = [folder for folder in folders if (folder / str(row["image"])).is_file()]
    if len(found) < 2 or "content" not in row:
        return found[0] if found else None
    for folder in found:
        picture = folder / str(row["image"])
        mask = [folder / str(row["mask"])] if isinstance(row.get("mask"), str) else []
        with suppress(PictureFault):
            if row["content"] in (content_of(picture), content_of(picture, *mask)):
                return folder
    return found[0]


def look_at_picture(path: Path, *, most_pixels: int = MOST_PIXELS) -> Look:
    """What the file is, without decoding it.

    Raises:
        PictureFault: It is missing, no picture, of a format that isn't read, or too large.
    """
    with open_picture(path, most_pixels=most_pixels) as (_, look):
        return look


def content_of(*paths: Path) -> str:
    """A digest of files' bytes, 16 hexadecimal characters: it names a picture where its path may hold another one.

    Raises:
        PictureFault: It cannot be read.
    """
    try:
        digest = hashlib.blake2b(digest_size=8)
        for path in paths:
            digest.update(path.read_bytes())
        return digest.hexdigest()
    except OSError as error:
        raise PictureFault(f"cannot be read ({error.strerror})") from error


def read_picture(
    path: Path, *, most_pixels: int = MOST_PIXELS, at_least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """The pixels as a person sees them, uint8 [height, width, 3] RGB.

    The EXIF turn is applied; CMYK, 16 bit, palettes and grey are converted, transparency lies on white, and of an
    animation it is the first frame. Values of 16 bits are divided by 257.

    Args:
        path: The file.
        most_pixels: A larger picture is refused before it is decoded.
        at_least: Height and width that are wanted. A JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size, which
            is far faster, but never smaller than this; without it the picture has its full size.

    Raises:
        PictureFault: It cannot be read.
    """
    import numpy as np

    with open_picture(path, most_pixels=most_pixels) as (image, look):
        if at_least is not None and look.format == "JPEG":
            wanted = at_least if swaps_sides(look.orientation) else (at_least[1], at_least[0])
            image.draft(None, (max(1, wanted[0]), max(1, wanted[1])))
        plain = to_rgb(image)
    turn = TURNS.get(look.orientation)
    return np.array(plain.transpose(turn) if turn is not None else plain)


@contextmanager
def open_picture(path: Path, *, most_pixels: int = MOST_PIXELS) -> Iterator[tuple[Image.Image, Look]]:
    """The picture, opened but not decoded; whatever goes wrong inside, decoding too, becomes a `PictureFault`."""
    try:
        with path.open("rb") as stream:
            image, look = _opened(stream)
            if look.width * look.height > most_pixels:
                raise PictureFault(
                    f"says it has {look.width:,} x {look.height:,} pixels; more than {most_pixels:,} are not decoded, "
                    f"since a small file can claim any size"
                )
            yield image, look
    except PictureFault:
        raise
    except FileNotFoundError as error:
        raise PictureFault("is not there") from error
    except PermissionError as error:
        raise PictureFault("may not be read: change its permissions") from error
    except IsADirectoryError as error:
        raise PictureFault("is a folder") from error
    except DECODING_ERRORS as error:
        raise PictureFault(_why(error)) from error


def _why(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in said.lower() or isinstance(error, EOFError) or "Premature" in said:
        return "is truncated: the file ends before the picture does"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    return f"cannot be decoded ({said[:120]})"


def _readers() -> dict[str, Callable[..., ImageFile]]:
    readers: dict[str, Callable[..., ImageFile]] = {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "GIF": GifImageFile,
        "BMP": BmpImageFile,
        "TIFF": TiffImageFile,
        "WebP": WebPImageFile,
        "PPM": PpmImageFile,
        "JPEG 2000": Jpeg2KImageFile,
    }
    try:
        from PIL.AvifImagePlugin import AvifImageFile
    except ImportError:  # Pillow before 11.3
        return readers
    return {**readers, "AVIF": AvifImageFile}


_READERS = _readers()


def _format_of(head: bytes) -> str:
    """The format that a file's first bytes are of.

    Raises:
        PictureFault: None that is read.
    """
    if not head:
        raise PictureFault("is empty (0 bytes)")
    if head[:4] == b"RIFF" and head[8:12] == _WEBP:
        return "WebP"
    if head[4:8] == b"ftyp":
        if head[8:12] in _AVIF:
            return "AVIF"
        raise PictureFault("is HEIC or a film, which is not read: convert it to JPEG")
    for beginning, name in _BEGINNINGS:
        if head.startswith(beginning):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, reason in _NO_PICTURES:
        if text.startswith(beginning):
            raise PictureFault(reason)
    if not head.strip(b"\0"):
        raise PictureFault("holds zeros only: it was not written whole")
    raise PictureFault("is no picture of a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF)")


def _opened(stream: BinaryIO) -> tuple[ImageFile, Look]:
    head = stream.read(HEAD_BYTES)
    name = _format_of(head)
    stream.seek(0)
    if name not in _READERS:
        raise PictureFault(f"is {name}, which this version of Pillow does not read: convert it, or update Pillow")
    image = _READERS[name](stream)
    orientation = _orientation(image, name, stream)
    width, height = image.size
    if swaps_sides(orientation):
        width, height = height, width
    return image, Look(
        format=name,
        width=width,
        height=height,
        orientation=orientation,
        mode=image.mode,
        deep=image.mode[0] in "IF" or any(";16" in str(tile[-1]) for tile in image.tile),
        animated=bool(getattr(image, "is_animated", False)),
    )


def _orientation(image: ImageFile, name: str, stream: BinaryIO) -> int:
    """The turn still to be made; Pillow turns a TIFF by itself."""
    if name == "TIFF":
        return 1
    exif = image.info.get("exif")
    if exif is None and name == "PNG":
        exif = late_png_exif(stream)
    return orientation_of(exif) if isinstance(exif, bytes) else 1


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture as RGB of 8 bits, transparency on white, not turned.

    Raises:
        PictureFault: Its values have no fixed range.
        OSError: It is truncated, and all else that decoding raises.
    """
    image.load()
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGB", seen.size, (255, 255, 255))
        white.paste(seen, mask=seen.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    import numpy as np

    values: NDArray[Any] = np.asarray(image)
    if not np.isfinite(values).all():
        raise PictureFault("holds values that are no numbers")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        if low < 0 or high > 1:
            raise PictureFault(f"holds floating-point values from {low:g} to {high:g}; only 0 to 1 have a meaning")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if low < 0 or high > 65535:
        raise PictureFault(f"holds whole numbers from {low:,.0f} to {high:,.0f}, beyond 16 bits")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
