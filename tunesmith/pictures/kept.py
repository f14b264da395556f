"""Pictures that stand inside rows, written to files once, named by their content. It knows no rows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tunesmith.data.kept_files import KeptFiles

_EXACT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


class PictureStore(KeptFiles):
    """A folder of pictures by the digest of their bytes; what is there already is not written again.

    Args:
        folder: By default ``pictures`` in the cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder, kind="pictures")

    def take(self, value: Any) -> str | None:
        """The name of a picture that is bytes, ``{"bytes", "path"}``, a Pillow picture or an array of uint8.

        None for anything else.

        Raises:
            UserError: The folder takes no more.
        """
        if isinstance(value, Mapping):
            value = value.get("bytes")
        if _is_pixels(value):
            value = Image.fromarray(value)
        if isinstance(value, Image.Image):
            value = _encoded(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            content = bytes(value)
            return self.write(content, _suffix(content))
        return None


def _is_pixels(value: Any) -> bool:
    """Whether it is an array uint8 [height, width] or [height, width, 3 or 4]."""
    shape: tuple[int, ...] = getattr(value, "shape", ())
    whole = len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))
    return whole and min(shape) > 0 and str(getattr(value, "dtype", "")) == "uint8" and hasattr(value, "tobytes")


def _encoded(picture: Image.Image) -> bytes:
    """A Pillow picture as PNG, without loss."""
    kept = picture if picture.mode in _EXACT_MODES else picture.convert("RGB")
    held = io.BytesIO()
    exif = picture.info.get("exif")
    kept.save(held, "PNG", compress_level=1, **({"exif": exif} if isinstance(exif, bytes) else {}))
    return held.getvalue()


def _suffix(content: bytes) -> str:
    """The ending that the content has earned; any other is told apart when it is opened."""
    for beginning, suffix in ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp")):
        if content.startswith(beginning):
            return suffix
    return ".webp" if content[8:12] == b"WEBP" else ".tif" if content[:2] in (b"II", b"MM") else ".bin"
