"""Checkpoints that can't be torn: safetensors and JSON, written aside, flushed, a manifest of digests last, renamed.

Nothing in a checkpoint can run code. It knows no task and no loop.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.errors import UserError

MANIFEST = "manifest.json"
STATE = "state.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Checkpoint:
    """One saved state.

    Args:
        folder: Where it lies.
        state: JSON-able position and counters.
    """

    folder: Path
    state: dict[str, Any]

    def tensors(self, part: str) -> dict[str, Tensor]:
        """The tensors of one part (``weights``, ``optimizer``, ``average``, ``random``); empty if it has none."""
        file = self.folder / f"{part}.safetensors"
        return load_file(file) if file.exists() else {}


def write_checkpoint(folder: Path, state: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> Checkpoint:
    """Write a checkpoint so that it is either whole or not there.

    Args:
        folder: Its final place; replaced if it exists.
        state: JSON-able.
        parts: Part name to named tensors; empty parts are left out.

    Raises:
        UserError: The disk is full or not writable. What was there before is untouched.
    """
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for part, tensors in parts.items():
            if tensors:
                whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
                save_file(_unshared(whole), draft / f"{part}.safetensors")
        (draft / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        manifest = {
            file.name: {"bytes": file.stat().st_size, "digest": _digest(file)} for file in sorted(draft.iterdir())
        }
        for file in draft.iterdir():
            _flush(file)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _flush(draft / MANIFEST)
        _flush(draft)
        _replace(draft, folder)
    except OSError as fault:
        shutil.rmtree(draft, ignore_errors=True)
        raise _disk_error(fault, folder) from fault
    except Exception as fault:
        # safetensors raises an exception of its own for a failed write.
        shutil.rmtree(draft, ignore_errors=True)
        if "space" in str(fault).lower() or "os error" in str(fault).lower():
            raise _disk_error(OSError(errno.ENOSPC, str(fault)), folder) from fault
        raise
    return Checkpoint(folder, dict(state))


def read_checkpoint(folder: Path) -> Checkpoint | str:
    """A checkpoint whose every file has the digest its manifest names, or what is wrong with it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest.items():
            file = folder / name
            if not file.exists():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"] or _digest(file) != entry["digest"]:
                return f"{name} is torn or was changed"
        return Checkpoint(folder, json.loads((folder / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return "its manifest is missing"
    except (ValueError, KeyError, TypeError) as fault:
        return f"its manifest can't be read ({fault})"


def newest_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a run, and a line for each newer one that is not whole."""
    problems: list[str] = []
    for folder in sorted(root.glob("step-*"), reverse=True):
        found = read_checkpoint(folder)
        if isinstance(found, Checkpoint):
            return found, problems
        problems.append(f"checkpoint {folder.name} can't be used: {found}; the one before it is taken")
    return None, problems


def prune_checkpoints(root: Path, keep: int) -> None:
    """Remove all but the newest ``keep``, and what a killed process left half written."""
    for folder in sorted(root.glob("step-*"), reverse=True)[keep:]:
        shutil.rmtree(folder, ignore_errors=True)
    for draft in root.glob(".*.tmp"):
        if not _alive(draft.name.split(".")[-2]):
            shutil.rmtree(draft, ignore_errors=True)


def random_state() -> dict[str, Tensor]:
    """State of torch's global generators, as tensors."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return state


def restore_random(state: Mapping[str, Tensor]) -> None:
    """Put torch's global generators back."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            if f"cuda:{i}" in state:
                torch.cuda.set_rng_state(state[f"cuda:{i}"], i)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied weights stand once in memory; safetensors wants every tensor to own its bytes."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return out


def _replace(draft: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old.tmp")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(file: Path) -> str:
    digest = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _alive(pid: str) -> bool:
    return pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()


def _disk_error(fault: OSError, folder: Path) -> UserError:
    root = next((p for p in folder.parents if p.exists()), folder)
    free = shutil.disk_usage(root).free / 2**20
    if fault.errno in _FULL:
        return UserError(
            f"the disk is full: checkpoint {folder.name} was not written ({free:,.0f} MiB are free)",
            str(folder.parent),
            "make room and run the same command again: it goes on from the last checkpoint, which is whole",
        )
    return UserError(
        f"checkpoint {folder.name} can't be written: {fault.strerror or fault}",
        str(folder.parent),
        "make the run's folder writable and run the same command again",
    )
