"""The front door of captioned pictures: which layout a file or folder is of, found by its content and said aloud.

It reads no layout itself. Files of rows (CSV, JSONL, Parquet) and saved data sets are other readers' matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tunesmith.data.arrow import is_saved_data_set
from tunesmith.data.folder import FORMATS
from tunesmith.data.reading import Record
from tunesmith.data.text_file import look_at
from tunesmith.diffusion.buckets import MOST_PIXELS
from tunesmith.diffusion.formats.captions import CAPTION_ENDINGS, PROMPT_OPTION, caption_files
from tunesmith.diffusion.formats.metadata import open_metadata
from tunesmith.diffusion.formats.texts_beside import has_captions_beside, open_pictures
from tunesmith.errors import UserError
from tunesmith.pictures.files import is_picture_name
from tunesmith.pictures.formats.listing import Listing, list_files
from tunesmith.pictures.formats.metadata import metadata_files
from tunesmith.pictures.formats.opened import Opened, Request

WANTED = (
    "pictures with a text file beside each, a metadata.jsonl with file_name and text beside the pictures, rows (CSV, "
    f"JSONL, Parquet) with image and text; or pictures of one subject and {PROMPT_OPTION}"
)
PROMPTS_WANTED = "a text file with one prompt a line, or rows (CSV, JSONL) with text"


def open_captions(
    path: Path,
    *,
    label: str,
    split: str | None = None,
    prompt: str | None = None,
    answered: bool = True,
    most_pixels: int = MOST_PIXELS,
) -> Opened | None:
    """The source as rows, or None where it is rows already (CSV, JSONL, Parquet, saved data sets: others read those).

    Args:
        path: A file or folder.
        label: The source as the person wrote it, for places.
        split: The split that is wanted, where the source has several (default: train).
        prompt: What every picture shows, where the recipe says it.
        answered: Whether pictures are wanted; without, prompts are.
        most_pixels: A picture with more is refused before it is decoded.

    Raises:
        UserError: It is a source at fault.
    """
    request = Request(path, "label", label, split, most_pixels=most_pixels)
    if path.is_file():
        return _open_file(request, prompt)
    if is_saved_data_set(path):
        return None
    listing = list_files(path, label)
    if not listing.files:
        raise UserError("the folder is empty", label, f"give {WANTED if answered else PROMPTS_WANTED}")
    return _open_folder(request, listing, prompt)


def _open_file(request: Request, prompt: str | None) -> Opened | None:
    name = request.path.name
    if is_picture_name(name):
        beside = [request.path.with_suffix(ending).name for ending in CAPTION_ENDINGS]
        there = [text for text in beside if (request.root / text).is_file()]
        return open_pictures(request, Listing(request.root, request.root_label, (name, *there)), prompt)
    if request.path.suffix.lower() == ".txt":
        return _open_prompts(request)
    return None


def _open_prompts(request: Request) -> Opened:
    """A text file with one prompt a line; blank lines are left out."""
    file = look_at(request.path, request.label)
    request.notes.extend(file.notes)
    with file.open() as (text, _):
        lines = [(number, " ".join(line.split())) for number, line in enumerate(text, 1) if line.strip()]
    request.notes.append(f"{request.label}: {len(lines):,} prompts, one a line")

    def records() -> Iterator[Record]:
        for number, line in lines:
            yield number, {"image": "", "text": line, "content": ""}

    return Opened(
        format="prompts",
        records=records(),
        paths=(request.label,),
        notes=request.notes,
        classes=None,
        root=request.root,
        between=":",
        total=len(lines),
    )


def _open_folder(request: Request, listing: Listing, prompt: str | None) -> Opened | None:
    pictures = listing.pictures()
    metadata = metadata_files(listing)
    captioned = has_captions_beside(listing)
    if metadata and captioned:
        raise UserError(
            f"two captions for a picture: {metadata[0]} has captions, and so have text files beside the pictures "
            f"({caption_files(listing)[0]})",
            f"{request.root_label}/{metadata[0]}",
            "keep one of the two: the file of rows, or the text files",
        )
    if metadata:
        return open_metadata(request, listing, metadata, prompt)
    tables = [name for name in listing.files if PurePosixPath(name).suffix.lower() in FORMATS]
    if captioned and tables:
        request.notes.append(f"{', '.join(tables[:5])} in {request.label} were left alone; name one to read it")
    elif tables:
        return None
    if not pictures:
        texts = len(caption_files(listing))
        held = f"{texts:,} text files and no pictures" if texts else f"no pictures: it has {listing.kinds()}"
        raise UserError(f"the folder holds {held}", request.label, f"give {WANTED}")
    return open_pictures(request, listing, prompt)
