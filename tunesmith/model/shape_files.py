"""What of a model's files is weights, and what tells its shape. It knows names of files, nothing inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

WEIGHTS = ("*.safetensors",)
"""How files of weights are called on a hub."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_NOT_WEIGHTS = re.compile(r"^(training_args|optimizer|scheduler|scaler|rng_state|random_states)")


def without_weights(patterns: Iterable[str]) -> list[str]:
    """Patterns of a download, those of weights left out."""
    return [pattern for pattern in patterns if not pattern.endswith(WEIGHTS[0].lstrip("*"))]


def pickles_in(folder: Path) -> list[Path]:
    """Files of a folder that may be weights in pickle form, by name."""
    return [f for f in sorted(folder.iterdir()) if f.suffix in PICKLES and not _NOT_WEIGHTS.match(f.name)]


def no_weights(folder: Path, *, partly: bool = False) -> bool:
    """Whether a folder holds a model's configuration and no safetensors weights.

    Args:
        folder: Of a model, or of a pipeline with a folder for each part.
        partly: Count weights that are there only in part as none: a hub's cache may hold some of the shards.
    """
    pipeline = (folder / "model_index.json").is_file()
    if not pipeline and not (folder / "config.json").is_file():
        return False
    found = list(folder.glob("*/*.safetensors" if pipeline else "*.safetensors"))
    return not found or (partly and _in_part(folder, pipeline))


def _in_part(folder: Path, pipeline: bool) -> bool:
    """Whether an index names shards that are not there, or a part of a pipeline has no weights."""
    if pipeline:
        parts = [config.parent for config in folder.glob("*/config.json")]
        return any(not list(part.glob("*.safetensors")) for part in parts)
    if (folder / "model.safetensors").is_file():
        return False
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False
        if any(not (folder / str(name)).is_file() for name in names):
            return True
    return False
