"""Activations on disk: one folder per key, segments of rows in it, memory-mapped when read.

Two runs may share a folder: each writes segments of its own, and a segment counts once its index is in place, which is
written last. It knows neither models nor tasks.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

KEY_BYTES = 16
SEGMENT_ROWS = 4096
SEGMENT_BYTES = 256 << 20


@dataclass(frozen=True)
class LeafLayout:
    """Shape of one tensor of a row.

    Args:
        tail: Shape without the batch axis, and without the ragged axis if there is one.
        dtype: Stored type.
        ragged: Whether rows differ in length along the first axis.
        left: Whether padding comes before a row.
        packed: Whether rows lie end to end along the second axis of a batch of one, and nothing is padded.
    """

    tail: tuple[int, ...]
    dtype: torch.dtype
    ragged: bool
    left: bool = False
    packed: bool = False

    @property
    def per_position(self) -> int:
        """Elements in one position of the ragged axis, or in the whole row."""
        return prod(self.tail)

    @property
    def bytes_per_position(self) -> int:
        """Bytes of the same."""
        return self.per_position * self.dtype.itemsize

    def batch_shape(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Shape of the tensor of a batch with rows of these lengths."""
        if self.packed:
            return (1, sum(lengths), *self.tail)
        return (len(lengths), *((max(lengths),) if self.ragged else ()), *self.tail)

    def row_of(self, data: Tensor, index: int, lengths: Sequence[int]) -> Tensor:
        """One row of a batch's tensor, without its padding."""
        if not self.ragged:
            return data[index]
        if self.packed:
            start = sum(lengths[:index])
            return data[0, start : start + lengths[index]]
        start = max(lengths) - lengths[index] if self.left else 0
        return data[index, start : start + lengths[index]]


@dataclass(frozen=True)
class _Place:
    segment: int
    row: int
    start: int
    length: int


class ActivationStore:
    """Rows of activations by content digest.

    Args:
        folder: The key's folder; made if need be.
        layouts: One per stored tensor.
    """

    def __init__(self, folder: Path, layouts: Sequence[LeafLayout]) -> None:
        self.folder, self.layouts = folder, tuple(layouts)
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[bytes, _Place] = {}
        self._maps: list[list[Tensor]] = []
        self._open: _Segment | None = None
        self._mounted: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Mount segments that other processes have closed since."""
        for index in sorted(self.folder.glob("*.index.safetensors")):
            if index.name not in self._mounted:
                self._mount(index)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, keys: Sequence[bytes], lengths: Sequence[int], leaves: Sequence[Tensor]) -> None:
        """Keep these rows. ``leaves``: one tensor [rows, (padded), ...] per layout; padding is not stored.

        Of a packed layout it is [1, positions of all rows, ...].

        A row that is held already is not taken again: the same row in another batch differs in its last bit, and which
        of the two a later process reads must not depend on chance.
        """
        if self._open is None:
            self._open = _Segment(self.folder, len(self.layouts))
        fresh = [i for i, key in enumerate(keys) if key not in self._places and key not in self._open.held]
        # Of a row that stands twice in this batch the first is taken.
        fresh = [i for i in fresh if keys.index(keys[i]) == i]
        self._open.add(keys, lengths, leaves, self.layouts, fresh)
        if len(self._open.keys) >= SEGMENT_ROWS or self._open.bytes >= SEGMENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Close the open segment, so that its rows can be read, now and after a crash."""
        if self._open is not None and self._open.keys:
            self._mount(self._open.close())
        self._open = None

    def discard(self) -> None:
        """Forget the open segment."""
        if self._open is not None:
            self._open.abandon()
        self._open = None

    def mapped(self) -> set[int]:
        """The storages of the files, which are pages of the system's and none of torch's allocator."""
        return {flat.untyped_storage()._cdata for maps in self._maps for flat in maps}

    def read(self, keys: Sequence[bytes], padded: int) -> list[Tensor]:
        """The stored tensors of these rows, stacked; ragged ones [rows, padded, ...], zero where a row is padded.

        Packed ones are [1, positions of all rows, ...].

        Raises:
            KeyError: A row was never recorded.
        """
        places = [self._places[key] for key in keys]
        out = []
        for number, layout in enumerate(self.layouts):
            if layout.packed:
                parts = (self._maps[p.segment][number][p.start : p.start + p.length] for p in places)
                out.append(torch.cat(list(parts))[None])
                continue
            shape = (len(keys), padded, *layout.tail) if layout.ragged else (len(keys), *layout.tail)
            whole = all(place.length >= padded for place in places) or not layout.ragged
            block = torch.empty(shape, dtype=layout.dtype) if whole else torch.zeros(shape, dtype=layout.dtype)
            for i, place in enumerate(places):
                data = self._maps[place.segment][number]
                if layout.ragged:
                    start = padded - place.length if layout.left else 0
                    block[i, start : start + place.length] = data[place.start : place.start + place.length]
                else:
                    block[i] = data[place.row]
            out.append(block)
        return out

    def _mount(self, index: Path) -> None:
        self._mounted.add(index.name)
        table = load_file(index)
        stem = index.name.removesuffix(".index.safetensors")
        lengths: list[int] = table["lengths"].tolist()
        positions = sum(lengths)
        maps = []
        for number, layout in enumerate(self.layouts):
            count = (positions if layout.ragged else len(lengths)) * layout.per_position
            file = self.folder / f"{stem}.{number}.bin"
            if not file.exists() or file.stat().st_size != count * layout.dtype.itemsize:
                return  # A torn segment holds no rows: they are recorded again.
            flat = torch.from_file(str(file), shared=False, size=count, dtype=layout.dtype)
            maps.append(flat.view(-1, *layout.tail))
        self._maps.append(maps)
        keys = table["keys"].numpy().tobytes()
        start = 0
        for row, length in enumerate(lengths):
            key = keys[row * KEY_BYTES : (row + 1) * KEY_BYTES]
            self._places.setdefault(key, _Place(len(self._maps) - 1, row, start, length))
            start += length


class _Segment:
    """A segment being written: data files first, the index last."""

    def __init__(self, folder: Path, leaves: int) -> None:
        self.folder, self.stem = folder, f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        self.keys: list[bytes] = []
        self.held: set[bytes] = set()
        self.lengths: list[int] = []
        self.bytes = 0
        self.files: list[BinaryIO] = [(folder / f"{self.stem}.{n}.bin").open("wb") for n in range(leaves)]

    def add(
        self,
        keys: Sequence[bytes],
        lengths: Sequence[int],
        leaves: Sequence[Tensor],
        layouts: Sequence[LeafLayout],
        chosen: Sequence[int],
    ) -> None:
        for file, leaf, layout in zip(self.files, leaves, layouts, strict=True):
            shape = layout.batch_shape(lengths)
            if tuple(leaf.shape) != shape:
                raise ValueError(f"activations of shape {tuple(leaf.shape)} where {shape} was promised")
            data = leaf.detach().to(device="cpu", dtype=layout.dtype)
            for i in chosen:
                row = layout.row_of(data, i, lengths)
                self.bytes += file.write(row.contiguous().view(-1).view(torch.uint8).numpy().data)
        self.keys.extend(keys[i] for i in chosen)
        self.lengths.extend(lengths[i] for i in chosen)
        self.held.update(self.keys[-len(chosen) :] if chosen else ())

    def close(self) -> Path:
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        index = self.folder / f"{self.stem}.index.safetensors"
        draft = self.folder / f"{self.stem}.index.tmp"
        keys = torch.frombuffer(bytearray(b"".join(self.keys)), dtype=torch.uint8)
        save_file({"keys": keys, "lengths": torch.tensor(self.lengths, dtype=torch.int64)}, draft)
        draft.replace(index)
        return index

    def abandon(self) -> None:
        for file in self.files:
            file.close()
            Path(file.name).unlink(missing_ok=True)


@dataclass(frozen=True)
class CacheEntry:
    """One key's folder in the cache: how large it is and what it was made from."""

    folder: Path
    bytes: int
    about: dict[str, str]


def describe_store(folder: Path, about: dict[str, str]) -> None:
    """Write beside the activations what they were made from, for ``tunesmith cache``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def cache_entries(root: Path) -> list[CacheEntry]:
    """All keys under the cache's root, largest first."""
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir():
            note = folder / "about.json"
            about = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
            found.append(CacheEntry(folder, sum(f.stat().st_size for f in folder.iterdir()), about))
    return sorted(found, key=lambda entry: -entry.bytes)


def clear_cache(root: Path) -> tuple[int, int]:
    """Remove every key under the root; how many, and how many bytes."""
    entries = cache_entries(root)
    for entry in entries:
        shutil.rmtree(entry.folder)
    return len(entries), sum(entry.bytes for entry in entries)
