"""One base with many adapters in memory, chosen row by row: what each adds is computed for its own rows alone.

As in S-LoRA (arXiv:2311.03285), the product with the frozen weight is made once for all rows. It knows names of
adapters and rows of a batch; no tokens and no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias, cast

from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import peft_format
from tunesmith.model.adapters import detach, load_adapter
from tunesmith.model.lora import LoraLinear

Run: TypeAlias = tuple[str | None, int, int]
"""Neighbouring rows of one adapter (None: the base alone): its name, the first row, and the one after the last."""


class SharedLinear(nn.Module):
    """A frozen linear layer with the updates of many adapters.

    Args:
        base_layer: The layer.
        runs: Which rows are whose; the base fills it before each pass.
    """

    def __init__(self, base_layer: nn.Module, runs: list[Run]) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.updates: dict[str, LoraLinear] = {}
        self._runs = runs

    @property
    def weight(self) -> Tensor:
        """The frozen weight."""
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return cast("Tensor | None", self.base_layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [rows, ..., in] to [rows, ..., out], each row as its adapter does."""
        if len(self._runs) == 1:
            alone = self.updates.get(self._runs[0][0] or "")
            return cast(Tensor, (alone or self.base_layer)(x))
        out = cast(Tensor, self.base_layer(x))
        for name, start, end in self._runs:
            update = self.updates.get(name or "")
            if update is None:
                continue
            if update.lora_magnitude_vector is not None:
                out[start:end] = update(x[start:end])
                continue
            low = (x[start:end] @ update.lora_A.to(x.dtype).t()).mul_(update.scaling)
            out[start:end] += (low @ update.lora_B.to(x.dtype).t()).to(out.dtype)
        return out


class SharedBase:
    """A decoder and the adapters that are held on it.

    Args:
        model: The base, without adapters, in eval mode. Only one thread at a time may use this.

    Attributes:
        mixes: Whether rows of different adapters may go through one pass: experts get rows in an order of their own.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        config: Any = getattr(model, "config", None)
        experts = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
        self.mixes = not any(getattr(config, name, None) for name in experts)
        self._runs: list[Run] = [(None, 0, 0)]
        self._layers: dict[str, SharedLinear] = {}
        self._bytes: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that are held."""
        return tuple(self._bytes)

    def bytes_of(self, name: str) -> int:
        """Memory that an adapter takes."""
        return self._bytes[name]

    def put(self, name: str, folder: Path) -> None:
        """Hold an adapter.

        Args:
            name: What rows call it.
            folder: In peft's format.

        Raises:
            UserError: It is broken, of another model, or changes more than linear layers (see ``can_share``).
        """
        files = peft_format.read(folder)
        if files.whole or files.rows:
            what = "this adapter brings whole layers or vectors of tokens, which would change the base for all"
            raise UserError(what, str(folder), "load it on a base of its own")
        with self._bare():
            try:
                load_adapter(self.model, files)
                found = {n: m for n, m in self.model.named_modules() if isinstance(m, LoraLinear)}
                device = next(self.model.parameters()).device
                for update in found.values():
                    update.to(device).eval().requires_grad_(False)
            finally:
                detach(self.model)
        for layer, update in found.items():
            if layer not in self._layers:
                self._layers[layer] = SharedLinear(update.base_layer, self._runs)
                _put(self.model, layer, self._layers[layer])
            self._layers[layer].updates[name] = update
        own = [p for update in found.values() for p in update.parameters(recurse=False)]
        self._bytes[name] = sum(p.numel() * p.element_size() for p in own)

    def drop(self, name: str) -> None:
        """Hold an adapter no more."""
        self._bytes.pop(name, None)
        for layer in self._layers.values():
            layer.updates.pop(name, None)

    def route(self, names: Sequence[str | None]) -> None:
        """Say whose the rows of the next passes are, in their order; those of one adapter stand together.

        Raises:
            KeyError: An adapter is not held.
        """
        runs: list[Run] = []
        start = 0
        for name, rows in groupby(names):
            if name is not None and name not in self._bytes:
                raise KeyError(name)
            end = start + len(list(rows))
            runs.append((name, start, end))
            start = end
        self._runs[:] = runs

    @contextmanager
    def _bare(self) -> Iterator[None]:
        """The model as it was before any adapter."""
        for name, layer in self._layers.items():
            _put(self.model, name, layer.base_layer)
        try:
            yield
        finally:
            for name, layer in self._layers.items():
                _put(self.model, name, layer)


def can_share(folder: Path) -> bool:
    """Whether an adapter changes linear layers alone, so that others can stand on the same base.

    Raises:
        UserError: It is broken, or of a kind that is not read.
    """
    files = peft_format.read(folder)
    return not files.whole and not files.rows


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
