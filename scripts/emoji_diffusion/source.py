"""Finds the emoji: a folder, the cache, or one npm package fetched into the cache. It knows files, not what they show.

Nothing of the package is installed or run: the pictures of one set, their names and the licence are taken out of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

PACKAGE = "emoji-datasource-google"
VERSION = "16.0.0"
PICTURES = PurePosixPath("img/google/64")
TEXTS = ("emoji.json", "package.json", "LICENSE", "README.md")


@dataclass(frozen=True)
class Source:
    """A folder with ``emoji.json`` and the pictures, and the name and version of what it holds."""

    folder: Path
    name: str

    def picture(self, image: str) -> Path:
        """The file of one picture."""
        return self.folder / PICTURES / image


def stop(what: str, *fixes: str) -> NoReturn:
    """End with one error and what helps against it."""
    sys.exit(f"error: {what}\n  fix: " + "\n    or ".join(fixes))


def cache_folder() -> Path:
    """A folder for data that can be fetched again, made if missing: the one that Tunesmith itself uses."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunesmith"
    folder = Path(os.environ.get("TUNESMITH_CACHE") or home) / "data"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        stop(f"no cache folder {folder} ({fault.strerror})", "set TUNESMITH_CACHE to a folder that can be written")
    return folder


def find(given: Path | None = None) -> Source:
    """The emoji from a folder, else from the cache, else fetched once."""
    folder = given or cache_folder() / f"{PACKAGE}-{VERSION}"
    if given is None and not folder.is_dir():
        _fetch(folder)
    if not (folder / "emoji.json").is_file() or not (folder / PICTURES).is_dir():
        stop(f"{folder} has no emoji.json and {PICTURES}", f"--emoji FOLDER, the unpacked npm package {PACKAGE}")
    try:
        told = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        name = f"{told['name']} {told['version']}"
    except (OSError, ValueError, KeyError):
        name = str(folder)
    return Source(folder, name)


def _fetch(folder: Path) -> None:
    """Download the package with npm, which checks its digest, and keep some of its files."""
    by_hand = f"--emoji FOLDER, the unpacked npm package {PACKAGE}@{VERSION}"
    if shutil.which("npm") is None:
        stop(f"the emoji come in the npm package {PACKAGE}, and there is no npm here", "install npm", by_hand)
    sys.stdout.write(f"fetching {PACKAGE}@{VERSION} (74 MB, once)\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        done = subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=place, check=False,
                              capture_output=True, text=True)  # fmt: skip
        archive = next(Path(place).glob("*.tgz"), None)
        if done.returncode or archive is None:
            said = (done.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
            stop(f"npm could not download {PACKAGE}@{VERSION}: {said}", by_hand)
        filled = Path(place) / "filled"
        _unpack(archive, filled)
        try:
            filled.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise


def _unpack(archive: Path, folder: Path) -> None:
    """Take the wanted files out one by one; no name in the archive decides where a file goes."""
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            name = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            wanted = str(name) in TEXTS or (name.parent == PICTURES and name.suffix == ".png")
            stream = opened.extractfile(member) if wanted and member.isfile() else None
            if stream is not None:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(stream.read())
