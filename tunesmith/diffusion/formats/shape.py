"""Any source of captioned pictures as rows of one shape: what the data room asks, and hands folders and rows to.

It knows no model and no loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.opened import Misfit
from tunesmith.diffusion.buckets import MOST_PIXELS
from tunesmith.diffusion.formats.captions import check_prompt
from tunesmith.diffusion.formats.opening import open_captions
from tunesmith.diffusion.formats.rows import CaptionReader
from tunesmith.pictures.files import PictureFault, is_picture_name
from tunesmith.pictures.formats.opened import Opened
from tunesmith.pictures.kept import PictureStore
from tunesmith.pictures.pairing import Pairing

__all__ = ["CaptionShape"]


class CaptionShape:
    """Raw rows to rows with ``image``, ``text``, ``content``, ``height`` and ``width`` (a `tunesmith.types.RowShape`).

    ``image`` is the picture's path from one of ``folders`` (or absolute), ``text`` its caption, ``content`` the digest
    of its file, ``height`` and ``width`` its pixels as a person sees it. Rows of prompts have an empty ``image`` and
    ``content``, and a size only where they ask for one; they are taken only where no row of the source has a picture.

    Args:
        prompt: What every picture shows (``a photo of sks dog``), for pictures without captions.
        answered: Whether pictures are wanted; without, only the text of a row counts.
        store: Where pictures that stand inside rows are written to; ``folders`` names it then.
        most_pixels: A picture with more is refused before it is decoded.

    Attributes:
        opened: The source, where ``open`` found one.

    Raises:
        UserError: The prompt is blank.
    """

    makes_json = True
    """Whether rows are JSON once they are shaped, whatever stood in them: bytes and pictures were written to files."""

    def __init__(
        self,
        *,
        prompt: str | None = None,
        answered: bool = True,
        store: PictureStore | None = None,
        most_pixels: int = MOST_PIXELS,
    ) -> None:
        self.prompt, self.answered = check_prompt(prompt), answered
        self.store, self.most_pixels = store or PictureStore(), most_pixels
        self.opened: Opened | None = None
        self._reader: CaptionReader | None = None
        self._folders: list[Path] = [Path()]
        self._label, self._beside = "the rows", 0

    def open(self, path: Path, label: str, split: str | None = None) -> Opened | None:
        """The source where it is a folder of pictures, a picture, or a file of prompts; None: rows that others read.

        Raises:
            UserError: A caption is missing, stands alone, is there twice or beside a prompt; or there are no pictures.
        """
        self._folders = [path if path.is_dir() else path.parent, Path()]
        self._label = label
        self.opened = open_captions(
            path,
            label=label,
            split=split,
            prompt=self.prompt,
            answered=self.answered,
            most_pixels=self.most_pixels,
        )
        if self.opened is None and path.is_dir():
            self._beside = sum(is_picture_name(file.name) for file in path.rglob("*"))
        return self.opened

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any] | str:
        """The row in our columns, or why it has none: words that follow its place in a sentence.

        Raises:
            UserError: The source mixes pictures with prompts, or captions with a prompt for all.
        """
        if self.opened is not None:
            return dict(row)
        if self._reader is None:
            self._reader = CaptionReader(
                self._folders,
                answered=self.answered,
                prompt=self.prompt,
                label=self._label,
                beside=self._beside,
                store=self.store,
                most_pixels=self.most_pixels,
            )
        try:
            return self._reader.row(row)
        except PictureFault as fault:
            return fault.reason
        except Misfit as fault:
            return str(fault)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where paths in rows start from: the source, and where pictures that stood inside rows were written to."""
        start = [self.opened.root] if self.opened is not None else self._folders
        return tuple(dict.fromkeys([*start, *([self.store.folder] if self.store.used else [])]))

    def notes(self) -> list[str]:
        """What a person should know once the rows were read: the split, the pairing table, where captions were."""
        if self.opened is not None:
            if isinstance(self.opened.records, Iterator) and hasattr(self.opened.records, "close"):
                self.opened.records.close()
            return list(self.opened.notes)
        return self._reader.notes() if self._reader is not None else []

    @property
    def pairing(self) -> Pairing | None:
        """Pictures and captions, counted, where the source has both as files."""
        return self.opened.pairing if self.opened is not None else None
