"""What a folder of pictures holds, listed once: pictures, splits, names shared with labels. It opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.data import folder_listing
from tunesmith.data.folder_listing import LINK_OUT, FolderListing, key_of, leads_out, split_family
from tunesmith.errors import UserError
from tunesmith.pictures.files import is_picture_name

__all__ = [
    "IMAGE_FOLDERS",
    "LABEL_FOLDERS",
    "LINK_OUT",
    "Listing",
    "choose_split",
    "key_of",
    "leads_out",
    "list_files",
    "pictures_by_key",
    "split_family",
    "split_of",
]

IMAGE_FOLDERS = ("images", "image", "img", "imgs", "jpegimages", "pictures", "photos")
LABEL_FOLDERS = ("labels", "annotations", "masks")


@dataclass(frozen=True)
class Listing(FolderListing):
    """The files below a folder that may hold pictures."""

    def pictures(self) -> list[str]:
        """Files whose name ends as a picture's."""
        return [name for name in self.files if is_picture_name(name)]


def list_files(folder: Path, label: str, *, within: Path | None = None) -> Listing:
    """Every file below a folder, as `tunesmith.data.folder_listing.list_files` has it.

    Raises:
        UserError: A link to a folder leads out, or the folder cannot be read.
    """
    found = folder_listing.list_files(folder, label, within=within)
    return Listing(found.folder, found.label, found.files, found.outside)


def split_of(name: str) -> str | None:
    """The split in a file's path: its first folder, or the second below a folder of images or of labels."""
    folders = name.split("/")[:-1]
    if folders and split_family(folders[0]):
        return folders[0]
    if len(folders) > 1 and folders[0].lower() in (*IMAGE_FOLDERS, *LABEL_FOLDERS) and split_family(folders[1]):
        return folders[1]
    return None


def choose_split(
    counts: Mapping[str, int], wanted: str | None, label: str, notes: list[str], unit: str = "pictures"
) -> str | None:
    """Which of the splits of pictures is read, as `tunesmith.data.folder_listing.choose_split` tells it.

    Raises:
        UserError: The wanted split is not there, or none is asked for and there is no training split.
    """
    return folder_listing.choose_split(counts, wanted, label, notes, unit)


def pictures_by_key(names: Iterable[str], label: str, dropped: Sequence[str] = IMAGE_FOLDERS) -> dict[str, str]:
    """Pictures by what they share with their labels.

    Raises:
        UserError: Two pictures have one name (a.jpg and a.png), so that a label could belong to either.
    """
    found: dict[str, str] = {}
    clashes: list[tuple[str, str]] = []
    for name in names:
        other = found.setdefault(key_of(name, dropped), name)
        if other != name:
            clashes.append((other, name))
    if clashes:
        first, second = clashes[0]
        more = f" ({len(clashes):,} such pairs)" if len(clashes) > 1 else ""
        raise UserError(
            f"two pictures have one name, so that their label could belong to either: {first} and {second}{more}",
            label,
            "rename or remove one of the two, and its label with it",
        )
    return found
