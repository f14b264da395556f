"""How rows become pictures of the model's sizes, and which prompts hold the subject's token. It knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tunesmith.diffusion.buckets import Crop, Picture, Size, choose, crop_for, describe, fit_to, plan_crops, read_for
from tunesmith.diffusion.text_findings import has_word, word_of
from tunesmith.errors import UserError
from tunesmith.pictures.files import PictureFault, folder_of
from tunesmith.types import Row

Micro = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Feeding:
    """How pictures lie in buckets.

    Args:
        buckets: Sizes that pictures are learned at.
        side: Of the square one, in pixels.
        multiple: What sides are multiples of.
    """

    buckets: tuple[Size, ...]
    side: int
    multiple: int

    def size_of(self, row: Row) -> Size | None:
        """Height and width of a row's picture as the model gets it; None where only the file tells."""
        if not row.get("image"):
            return self.asked(row)
        if row.get("height") and row.get("width"):
            return choose(int(row["height"]), int(row["width"]), self.buckets)
        return None

    def asked(self, row: Row) -> Size:
        """The size of a picture that a row asks for: its own ``height`` and ``width``, else the square.

        Of a row whose picture was left out they are that picture's, and its bucket is meant.

        Raises:
            UserError: A side that the model can't make.
        """
        wanted = int(row.get("height") or self.side), int(row.get("width") or self.side)
        if row.get("content"):
            return choose(*wanted, self.buckets)
        if any(side % self.multiple or side < self.multiple for side in wanted):
            what = (
                f"a picture of {wanted[0]} x {wanted[1]} pixels can't be made: sides are multiples of {self.multiple}"
            )
            raise UserError(what, f"row {row.get('id')}", f"write {self.side} x {self.side}, the size of the model")
        return wanted

    def describe(self, rows: Sequence[Row]) -> list[str]:
        """What becomes of the pictures, for a person."""
        return describe(plan_crops((row for row in rows if not row.get("prior")), self.buckets))

    def crop(self, row: Row) -> Crop:
        """The centre crop of a row's picture."""
        original = int(row["height"]), int(row["width"])
        return crop_for(original, choose(*original, self.buckets))

    def fed(
        self,
        row: Row,
        folders: Sequence[Path],
        rng: np.random.Generator | None,
        *,
        crop: str = "center",
        flip: bool = False,
        planning: bool = False,
    ) -> tuple[Picture, Micro]:
        """A row's picture in its bucket, uint8 [height, width, 3], and SDXL's six numbers of it.

        A row without a picture gives a black one: nothing is learned of it.

        Args:
            row: With ``image``, and perhaps its ``height`` and ``width``, which the file tells else.
            folders: Where relative paths start from.
            rng: Draws crop and flip; None: neither.
            crop: ``center`` or ``random``.
            flip: Whether half of the pictures are mirrored.
            planning: Whether a class picture that is not made yet may be a black one.

        Raises:
            UserError: The picture can't be read.
        """
        if not row.get("image"):
            height, width = self.asked(row)
            return np.zeros((height, width, 3), np.uint8), (height, width, 0, 0, height, width)
        place = picture_file(row, folders)
        known = row.get("height") and row.get("width")
        sized = row if known else {**row, **dict(zip(("height", "width"), read(row, folders).shape[:2], strict=True))}
        original = int(sized["height"]), int(sized["width"])
        bucket = choose(*original, self.buckets)
        if place is None and planning and row.get("prior"):
            return np.zeros((*bucket, 3), np.uint8), (*original, 0, 0, *bucket)
        image, taken = fit_to(read(sized, folders, bucket), bucket, rng if crop == "random" else None, original)
        if rng is not None and flip and rng.random() < 0.5:
            image = image[:, ::-1]
        return image, taken.conditioning


def picture_file(row: Row, folders: Sequence[Path]) -> Path | None:
    """Where a row's picture lies; None where it is not there."""
    found = folder_of(row, folders)
    return None if found is None else found / str(row["image"])


def read(row: Row, folders: Sequence[Path], bucket: Size | None = None) -> Picture:
    """A row's picture, uint8 [height, width, 3], at no less than what covers a bucket.

    Raises:
        UserError: It is not there or can't be read.
    """
    place = picture_file(row, folders)
    if place is None:
        looked = ", ".join(str(folder) or "." for folder in folders)
        raise UserError(f"there is no picture {row['image']!r}", f"row {row['id']}", f"looked in: {looked}")
    original = int(row.get("height") or 0), int(row.get("width") or 0)
    try:
        if bucket is not None and all(original):
            return read_for(place, original, bucket)
        from tunesmith.pictures.files import read_picture

        return read_picture(place)
    except PictureFault as fault:
        raise UserError(f"the picture {fault.reason}", f"{place} (row {row['id']})", "mend or remove it") from fault


def holds_token(row: Row, token: str | None) -> bool:
    """Whether a row's prompt holds the token as a word; never of a class picture."""
    return token is not None and not row.get("prior") and has_word(str(row.get("text")), token)


def without_token(text: str, token: str | None) -> str:
    """A prompt without the token, for a text encoder that does not know it."""
    return " ".join(word_of(token).sub(" ", text).split()) if token else text
