"""What a data folder holds, listed once: names, links that lead out of it, splits. It opens no file.

Names are relative to the folder, with ``/`` between, in sorted order on every system; hidden ones are left out.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tunesmith.data.reading import did_you_mean
from tunesmith.errors import UserError

_SKIPPED = ("__MACOSX", "Thumbs.db", "desktop.ini", "__pycache__")
_FAMILIES = {
    "train": re.compile(r"(train|training)([-_ ]?(set|\d{2,4}))?", re.IGNORECASE),
    "validation": re.compile(r"(val|valid|validation|dev|eval)([-_ ]?(set|\d{2,4}))?", re.IGNORECASE),
    "test": re.compile(r"(test|testing)([-_ ]?(set|\d{2,4}))?", re.IGNORECASE),
}
LINK_OUT = "is a link that leads out of the data folder (to {target}); it is not followed"


@dataclass(frozen=True)
class FolderListing:
    """The files below a folder.

    Args:
        folder: The folder.
        label: Its name for places.
        files: Relative names.
        outside: Links among them that lead out of the folder, with where they lead.
    """

    folder: Path
    label: str
    files: tuple[str, ...]
    outside: Mapping[str, str] = field(default_factory=dict)

    def ending(self, *suffixes: str) -> list[str]:
        """Files of these endings, in any case."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def kinds(self) -> str:
        """What there is, counted by ending, for a sentence."""
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no extension" for name in self.files)
        return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(8)) or "nothing"


def list_files(folder: Path, label: str, *, within: Path | None = None) -> FolderListing:
    """Every file below a folder.

    A link to a folder inside is left out, since what it leads to is listed already.

    Args:
        folder: The folder.
        label: Its name for places.
        within: The data folder that links may not leave, where it is larger than ``folder``.

    Raises:
        UserError: A link to a folder leads out, or the folder cannot be read.
    """
    real = Path(os.path.realpath(within or folder))
    outside: dict[str, str] = {}
    try:
        files = sorted(_walk(folder, "", real, label, outside))
    except PermissionError as error:
        raise UserError("no permission to read it", str(error.filename), "change its permissions") from error
    return FolderListing(folder, label, tuple(files), outside)


def _walk(folder: Path, before: str, real: Path, label: str, outside: dict[str, str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        name = before + entry.name
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            leads_out = not target.is_relative_to(real)
            if entry.is_dir():
                if leads_out:
                    raise UserError(
                        f"the folder {name} " + LINK_OUT.format(target=target),
                        f"{label}/{name}",
                        "name the folder that it leads to as the source, or copy it here",
                    )
                continue
            if leads_out:
                outside[name] = str(target)
        elif entry.is_dir():
            yield from _walk(Path(entry.path), f"{name}/", real, label, outside)
            continue
        yield name


def leads_out(path: Path, folder: Path) -> str | None:
    """Where a path leads whose name lies in the folder while its content does not; None where all is well.

    A path that says by itself that it lies elsewhere (absolute, or with ``..``) hides nothing.
    """
    named = Path(os.path.normpath(path.absolute()))
    if not named.is_relative_to(Path(os.path.normpath(folder.absolute()))):
        return None
    real = Path(os.path.realpath(path))
    return None if real.is_relative_to(Path(os.path.realpath(folder))) else str(real)


def split_family(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` where a folder or file is named so (train2017, valid, dev), else None."""
    return next((family for family, pattern in _FAMILIES.items() if pattern.fullmatch(name)), None)


def choose_split(
    counts: Mapping[str, int], wanted: str | None, label: str, notes: list[str], unit: str = "files"
) -> str | None:
    """Which of the splits found is read, aloud.

    Args:
        counts: Split to how many files it has; empty where there are none.
        wanted: What the recipe asks for.
        label: The source's name.
        notes: Takes what was decided.
        unit: What is counted.

    Returns:
        The split's name as found; None where the source has no splits.

    Raises:
        UserError: The wanted split is not there, or none is asked for and there is no training split.
    """
    if not counts:
        if wanted is not None:
            raise UserError(
                f"split '{wanted}' was asked for, but there are no splits (folders train, val, test)",
                label,
                "leave data.split out, or name the folder itself",
            )
        return None
    found = _same_split(wanted or "train", counts)
    if found is None and wanted is None and len(counts) == 1:
        found = next(iter(counts))
    if found is None:
        known = ", ".join(counts)
        what = f"there is no split '{wanted}'{did_you_mean(wanted, counts)}" if wanted else "there is no training split"
        raise UserError(what, label, f"set data.split (data.eval_split for held-out rows) to one of: {known}")
    rest = ", ".join(f"{name} ({count:,})" for name, count in counts.items() if name != found)
    left = f"; left alone: {rest}" if rest else ""
    notes.append(f"split '{found}' of {label} is read ({counts[found]:,} {unit}){left}")
    return found


def _same_split(wanted: str, known: Iterable[str]) -> str | None:
    names = list(known)
    if wanted in names:
        return wanted
    family = split_family(wanted)
    near = [name for name in names if name.lower() == wanted.lower() or (family and split_family(name) == family)]
    return near[0] if len(near) == 1 else None


def key_of(name: str, dropped: Sequence[str]) -> str:
    """What a file and its label have in common: the path without its ending and without the folder of its kind."""
    path = PurePosixPath(name)
    folders = list(path.parts[:-1])
    for place in range(len(folders) - 1, -1, -1):
        if folders[place].lower() in dropped:
            del folders[place]
            break
    return "/".join([*folders, path.stem])
