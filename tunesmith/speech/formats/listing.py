"""What a folder of recordings holds, listed once: recordings, splits, names shared with texts. It opens no file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tunesmith.data import folder_listing
from tunesmith.data.folder_listing import FolderListing, key_of, split_family
from tunesmith.errors import UserError
from tunesmith.speech.audio import is_audio_name

AUDIO_FOLDERS = ("audio", "audios", "wav", "wavs", "wav48", "clips", "recordings", "flac", "mp3", "sounds", "speech")
TEXT_FOLDERS = ("text", "texts", "txt", "transcripts", "transcript", "transcriptions", "lab", "labs", "labels")


@dataclass(frozen=True)
class Listing(FolderListing):
    """The files below a folder that may hold recordings."""

    @cached_property
    def names(self) -> frozenset[str]:
        """All names, to look one up."""
        return frozenset(self.files)

    @cached_property
    def by_folder(self) -> dict[str, list[str]]:
        """Recordings by the folder they lie in, a part of names with ``/`` at its end."""
        found: dict[str, list[str]] = {}
        for name in self._recordings:
            found.setdefault(folder_part(name), []).append(name)
        return found

    @cached_property
    def _recordings(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if is_audio_name(name))

    def recordings(self) -> list[str]:
        """Files whose name ends as a recording's."""
        return list(self._recordings)


def list_files(folder: Path, label: str) -> Listing:
    """Every file below a folder, as `tunesmith.data.folder_listing.list_files` has it.

    Raises:
        UserError: A link to a folder leads out, or the folder cannot be read.
    """
    found = folder_listing.list_files(folder, label)
    return Listing(found.folder, found.label, found.files, found.outside)


def split_of(name: str) -> str | None:
    """The split in a file's path: its first folder, or the second below a folder of recordings or of texts."""
    folders = name.split("/")[:-1]
    if folders and split_family(folders[0]):
        return folders[0]
    if len(folders) > 1 and folders[0].lower() in (*AUDIO_FOLDERS, *TEXT_FOLDERS) and split_family(folders[1]):
        return folders[1]
    return None


def by_key(names: Iterable[str], label: str, what: str) -> dict[str, str]:
    """Files by what a recording and its text file share: the path without its ending and the folder of its kind.

    Raises:
        UserError: Two have one name (a.wav and a.mp3), so that either could be meant.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(key_of(name, (*AUDIO_FOLDERS, *TEXT_FOLDERS)), name)
        if other != name:
            raise UserError(
                f"two {what}s have one name, so that either could be meant: {other} and {name}",
                label,
                "rename or remove one of the two",
            )
    return found


def folder_part(name: str) -> str:
    """The folder in a name, with ``/`` at its end; nothing where the file lies at the top."""
    return name[: name.rfind("/") + 1]
