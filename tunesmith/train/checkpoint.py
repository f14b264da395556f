"""Checkpoints that can't be torn: safetensors and JSON, written aside, flushed, a manifest of digests last, renamed.

Nothing in a checkpoint can run code. It knows no task and no loop.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.errors import UserError

MANIFEST = "manifest.json"
STATE = "state.json"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no more room."""


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
    except BaseException as fault:
        shutil.rmtree(draft, ignore_errors=True)
        refused = write_fault(fault)
        if refused is None:
            raise
        raise _disk_error(refused, folder) from fault
    return Checkpoint(folder, dict(state))


def write_fault(fault: BaseException) -> OSError | None:
    """The system's refusal to write that an exception stands for; None where it is another fault.

    safetensors raises an exception of its own, with the system's error number in its text.
    """
    if isinstance(fault, OSError):
        return fault
    told = _OS_ERROR.search(str(fault)) if isinstance(fault, SafetensorError) else None
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else None


def read_checkpoint(folder: Path) -> Checkpoint | str:
    """A checkpoint whose every file has the digest its manifest names, or what is wrong with it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name in (STATE, *manifest):
            entry, file = manifest[name], folder / name
            if not file.exists():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"] or _digest(file) != entry["digest"]:
                return f"{name} is torn or was changed"
        return Checkpoint(folder, json.loads((folder / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return "its manifest is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as fault:
        return f"its manifest can't be read ({fault})"


def newest_checkpoint(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a run, and a line for each newer one that is not whole."""
    broken: list[str] = []
    for folder in _by_age(root):
        found = read_checkpoint(folder)
        if isinstance(found, Checkpoint):
            return found, [f"{line}; the run goes on from {folder.name}" for line in broken]
        broken.append(f"checkpoint {folder.name} can't be used: {found}")
    return None, [f"{line}; no other is whole, so the run starts from the beginning" for line in broken]


def remove_newer(root: Path, kept: Checkpoint | None) -> None:
    """Remove what is newer than the checkpoint that a run goes on from: it is broken, and its step comes again."""
    for folder in _by_age(root):
        if kept is not None and folder.name <= kept.folder.name:
            return
        shutil.rmtree(folder)


def _by_age(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"), reverse=True)


def sweep(root: Path) -> None:
    """Tidy what killed processes left half done; only for the one that holds the run.

    A folder that was put aside for a newer one that never came into its place is put back.
    """
    for aside in sorted(root.glob(".*.old.tmp")):
        place = root / aside.name.removeprefix(".").rsplit(".", 3)[0]
        if not place.exists():
            aside.rename(place)
    for draft in root.glob(".*.tmp"):
        shutil.rmtree(draft)


def prune_checkpoints(root: Path, keep: int) -> None:
    """Remove all but the newest ``keep``."""
    for folder in _by_age(root)[keep:]:
        shutil.rmtree(folder, ignore_errors=True)


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


def _disk_error(fault: OSError, folder: Path) -> UserError:
    root = next((p for p in folder.parents if p.exists()), folder)
    free = shutil.disk_usage(root).free / 2**20
    if fault.errno in FULL:
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
