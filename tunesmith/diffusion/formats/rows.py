"""Rows of any reader (CSV, JSONL, data sets, metadata files) as captioned pictures, or as prompts. It opens no folder.

A picture may be named by its path, or stand in the row as bytes or a Pillow picture; then it is written out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.digest import plain
from tunesmith.data.opened import Misfit
from tunesmith.diffusion.buckets import MOST_PIXELS
from tunesmith.diffusion.formats.captions import PROMPT_OPTION, absent, both_told, caption_in, columns_of
from tunesmith.errors import UserError
from tunesmith.pictures.files import content_of, find_picture
from tunesmith.pictures.formats.rows import IMAGE_COLUMNS
from tunesmith.pictures.formats.rows import RowReader as PictureReader
from tunesmith.pictures.kept import PictureStore

COLUMNS = ("image", "text", "content", "height", "width")
"""What rows of captioned pictures have, in this order.

Of rows of prompts image and content are empty, and a size is there only where the row asks for one.
"""
_MAPPED = "set data.columns.text to the one that is meant"


class CaptionReader:
    """Turns raw rows into captioned pictures, or into prompts where no row of the source has a picture.

    Args:
        folders: Folders that paths in rows start from, tried in turn.
        answered: Whether pictures are wanted; without, only the text of a row counts.
        prompt: What every picture shows, where the recipe says it.
        label: The source's name, for places.
        beside: How many pictures lie in the folder of the rows, where it has any; such rows must name them.
        store: Takes pictures that stand inside rows.
        most_pixels: The largest picture that is read.
        mend: What to do about two columns that say different things.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        answered: bool = True,
        prompt: str | None = None,
        label: str = "the rows",
        beside: int = 0,
        store: PictureStore | None = None,
        most_pixels: int = MOST_PIXELS,
        mend: str = _MAPPED,
    ) -> None:
        self.store, self.folders = store or PictureStore(), list(folders)
        self.answered, self.prompt, self.label, self.beside, self.mend = answered, prompt, label, beside, mend
        self.captions: Counter[str] = Counter()
        self.prompts = self.pictures = self.left = 0
        # Boxes that nobody asks for: what is left is the picture and its size.
        self._pictures = PictureReader("boxes", folders, answered=False, store=self.store, most_pixels=most_pixels)

    def row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The row in our columns; other columns stay.

        Raises:
            Misfit: It lacks a caption, or has two.
            PictureFault: Its picture can't be used.
            UserError: The source mixes pictures with prompts, or captions with a prompt for all.
        """
        named = [column for column in columns_of(raw, IMAGE_COLUMNS) if not absent(raw[column])]
        captions, text = caption_in(raw, self.mend)
        rest = {column: value for column, value in raw.items() if column not in captions}
        if not named or not self.answered:
            return self._prompt(rest, captions, text, bool(named))
        if self.prompts:
            raise UserError(
                f"some rows have a picture and others have none: {self.prompts:,} of them came before the first with "
                f"a picture ({str(raw[named[0]])[:60]!r})",
                self.label,
                "give each row its picture, or put the rows without one into a file of their own",
            )
        if text is not None and self.prompt is not None:
            raise both_told(self.prompt, f"a row has a caption ({text[:60]!r})", self.label)
        if text is None and self.prompt is None:
            others = ", ".join(str(column) for column in rest if column not in named) or "nothing"
            raise Misfit(
                f"has no caption: beside the picture it has {others}; text is expected (or one prompt for all "
                f"pictures, {PROMPT_OPTION})"
            )
        made = self._pictures.row(rest)
        picture = find_picture(made["image"], [*self.folders, self.store.folder])
        assert picture is not None
        found = {
            "image": made["image"],
            "text": text if text is not None else self.prompt,
            "content": content_of(picture),
            "height": made["height"],
            "width": made["width"],
        }
        self.pictures += 1
        self.captions[captions[0] if text is not None else PROMPT_OPTION] += 1
        return {**{column: value for column, value in made.items() if column not in found}, **found}

    def _prompt(self, rest: dict[str, Any], captions: Sequence[str], text: str | None, named: bool) -> dict[str, Any]:
        """A row without a picture."""
        if self.answered:
            columns = ", ".join(str(column) for column in rest) or "no other columns"
            if self.beside:
                raise UserError(
                    f"its rows name no picture (they have {', '.join([*captions, columns])}), while the folder has "
                    f"{self.beside:,} pictures",
                    self.label,
                    "name each row's picture in a column image; or move the file of prompts out of the folder",
                )
            if self.pictures or text is None:
                raise Misfit(
                    f"names no picture{', as other rows do' if self.pictures else ''}: it has {columns}; image is "
                    "expected"
                )
        elif text is None:
            raise Misfit(f"has no text: it has {', '.join(map(str, rest)) or 'no columns'}; text is expected")
        self.left += named
        self.prompts += 1
        self.captions[captions[0]] += 1
        kept = {}
        for column, value in rest.items():
            item, whole = plain(value)
            if whole and column not in COLUMNS:
                kept[column] = item
        asked = {} if named else {side: number for side in ("height", "width") if (number := _side(rest, side))}
        return {**kept, "image": "", "text": text, "content": "", **asked}

    def notes(self) -> list[str]:
        """What a person should know of the rows taken so far, one sentence each."""
        said = list(self._pictures.notes())
        if self.prompts:
            said.append(f"{self.prompts:,} rows are prompts without a picture")
        if self.left:
            said.append(f"the pictures of {self.left:,} rows were left aside: only their prompts are asked for")
        columns = [f"{name} ({count:,})" for name, count in self.captions.most_common() if name != PROMPT_OPTION]
        if columns:
            said.append(f"captions are in column {', '.join(columns)}")
        if count := self.captions[PROMPT_OPTION]:
            said.append(f"{count:,} pictures have the prompt of {PROMPT_OPTION}: {self.prompt}")
        return said


def _side(raw: Mapping[str, Any], side: str) -> int | None:
    """Pixels that a prompt asks for.

    Raises:
        Misfit: It is no whole number above 0.
    """
    value = raw.get(side)
    if absent(value):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not number.is_integer() or number < 1:
        raise Misfit(f"has {str(value)[:40]!r} in {side}, which is no number of pixels")
    return int(number)
