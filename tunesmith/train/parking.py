"""Weights that a stage no longer runs leave memory: they become pages of a file, read only if they are asked for.

It knows tensors and a folder; no modality, no cache and no loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = "weights.bin"


class Parked:
    """Frozen parameters of some modules, backed by a file while the stage runs.

    On a GPU they stand in main memory as pages of that file, and come back for as long as they are needed.

    Args:
        modules: Whose parameters; none of them may learn.
        folder: Where the file goes; kept for later runs of the same weights.
    """

    def __init__(self, modules: Sequence[nn.Module], folder: Path) -> None:
        found = {id(p): p for module in modules for p in module.parameters() if not p.requires_grad and p.numel()}
        self.parameters = list(found.values())
        self.bytes = sum(p.numel() * p.element_size() for p in self.parameters)
        self._pages: list[Tensor] = []
        # Back in memory they lie as before: in another order the same step would round differently.
        self._strides = [p.stride() for p in self.parameters]
        if self.parameters:
            self._write(folder / FILE)
            self._map(folder / FILE)
            self._leave()

    def _write(self, file: Path) -> None:
        if file.exists() and file.stat().st_size == self.bytes:
            return
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with draft.open("wb") as out:
                for parameter in self.parameters:
                    flat = parameter.detach().cpu().contiguous().view(-1)
                    out.write(flat.view(torch.uint8).numpy().data)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)

    def _map(self, file: Path) -> None:
        # Private pages: whoever writes to them later gets a copy, and the file stays as it is.
        whole = torch.from_file(str(file), shared=False, size=self.bytes, dtype=torch.uint8)
        start = 0
        for parameter in self.parameters:
            size = parameter.numel() * parameter.element_size()
            piece = whole[start : start + size]
            # A type wider than a byte can be viewed only from where it is aligned.
            aligned = piece if start % parameter.element_size() == 0 else piece.clone()
            self._pages.append(aligned.view(parameter.dtype).view(parameter.shape))
            start += size

    def _leave(self) -> None:
        for parameter, page in zip(self.parameters, self._pages, strict=True):
            parameter.data = page

    @contextmanager
    def whole(self, device: torch.device) -> Iterator[None]:
        """The parameters on a device while the context lasts."""
        if device.type == "cpu":
            yield
            return
        self.restore(device)
        try:
            yield
        finally:
            self._leave()

    def restore(self, device: torch.device) -> None:
        """The parameters on a device, to stay."""
        for parameter, page, stride in zip(self.parameters, self._pages, self._strides, strict=True):
            moved = page.to(device)
            if page.stride() != stride:
                moved = torch.empty_strided(page.shape, stride, dtype=page.dtype, device=device).copy_(page)
            parameter.data = moved
