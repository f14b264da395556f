"""Dropout whose randomness has an address: (seed, epoch, row), not the state of a global generator.

With it, one batch of eight rows and eight batches of one row drop the same units, two ranks drop what one rank would,
and recomputation in the backward pass needs no saved random state. It knows no task and no loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError

_FUNCTIONAL = (
    "dropout",
    "dropout_p",
    "dropout_prob",
    "dropout_rate",
    "attention_dropout",
    "activation_dropout",
    "relu_dropout",
    "attn_dropout",
    "hidden_dropout",
    "resid_dropout",
    "embd_dropout",
    "attn_pdrop",
    "layerdrop",
    "layer_dropout",
    "drop_prob",
)
_NO_BATCH_AXIS = ("pos_dropout", "sin_dropout", "cos_dropout")
"""Dropouts of what all rows share (DeBERTa's and Funnel's relative positions)."""
_TIME_FIRST = ("XLNet",)
"""Families that put the batch axis second."""
_UNADDRESSED = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass
class RowKeys:
    """The rows in flight: one 31-bit key per row, shared by every dropout module of a model.

    ``lengths``: of rows that lie end to end along the second axis, where they do.
    """

    keys: Tensor | None = None
    lengths: tuple[int, ...] | None = None
    positions: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict)

    @contextmanager
    def over(self, keys: Sequence[int], lengths: Sequence[int] | None = None) -> Iterator[None]:
        """Draw masks for these rows, in batch order, while the context lasts.

        Args:
            keys: One number a row.
            lengths: The rows' lengths where they travel end to end as one.
        """
        self.keys = torch.tensor([k & 0x7FFFFFFF for k in keys], dtype=torch.int32)
        self.lengths = None if lengths is None else tuple(lengths)
        try:
            yield
        finally:
            self.keys = self.lengths = None


def _mix(x: Tensor) -> Tensor:
    """Two rounds of a multiply and xor-shift integer hash, in place; int32 wraps on overflow, which is wanted."""
    for factor in (0x7FEB352D, 0x297A2D39):
        x *= factor
        x ^= x >> 15
    return x


class RowDropout(nn.Module):
    """Inverted dropout with a mask that is a hash of (row key, module, element).

    The element's index counts from the row's first element, so padding after a row changes nothing.

    Args:
        rate: Share of elements that is zeroed, 0 to 1.
        index: Number of this module within its model.
        rows: The rows in flight.
    """

    def __init__(self, rate: float, index: int, rows: RowKeys) -> None:
        super().__init__()
        self.rate, self.index, self.rows = rate, index, rows

    @property
    def p(self) -> float:
        """Zero: attention kernels that read the rate of a module can't draw by row, so they draw nothing."""
        return 0.0

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"rate={self.rate}, by row"

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x`` [rows or rows × k, ...]; the identity in ``eval`` mode.

        Raises:
            UserError: The first axis does not hold the rows.
            RuntimeError: No rows are in flight.
        """
        if not self.training or self.rate == 0.0:
            return x
        if self.rows.keys is None:
            raise RuntimeError("dropout is on, but no rows are in flight: wrap the step in RowKeys.over")
        if self.rate >= 1.0:
            return x * 0.0
        return x * self._mask(x)

    def _mask(self, x: Tensor) -> Tensor:
        keys = self.rows.keys
        assert keys is not None
        row = _mix((keys.to(x.device) ^ (self.index * 0x3C6EF372 & 0x7FFFFFFF)).add_(0x1B873593))
        lengths = self.rows.lengths
        if lengths is not None and x.ndim > 2 and tuple(x.shape[:2]) == (1, sum(lengths)):
            bits = self._end_to_end(row, lengths, x)
        else:
            bits = self._side_by_side(row, x)
        # One more round over every element is the least that leaves no pattern; each pass over them costs time.
        bits *= 0x7FEB352D
        bits ^= bits >> 15
        bits *= 0x297A2D39
        kept = bits >= int(self.rate * 2**32) - 2**31
        return kept.to(x.dtype).mul_(1.0 / (1.0 - self.rate)).view(x.shape)

    def _side_by_side(self, row: Tensor, x: Tensor) -> Tensor:
        """Bits of rows along the first axis, [rows, elements]."""
        if x.shape[0] % len(row):
            raise UserError(
                f"dropout {self.index} of the model can't be drawn by row: its input has {x.shape[0]} entries for "
                f"{len(row)} rows",
                "recipe: optimizer.dropout",
                "write optimizer: {dropout: 0}",
            )
        return row[:, None] ^ self._positions(x.numel() // len(row), x.device)[None, :]

    def _end_to_end(self, row: Tensor, lengths: Sequence[int], x: Tensor) -> Tensor:
        """The bits that each row would get alone, [positions, elements]."""
        width = x[0, 0].numel()
        places = self._positions(max(lengths) * width, x.device).view(-1, width)
        return torch.cat([places[:n] ^ bits for n, bits in zip(lengths, row, strict=True)])

    def _positions(self, count: int, device: torch.device) -> Tensor:
        """Hashes of the elements' places, kept by their number."""
        if torch.compiler.is_compiling():
            # A lookup by length would make the compiler start anew for every length of text.
            return _hashed_positions(count, device)
        at = (count, device)
        if at not in self.rows.positions:
            if len(self.rows.positions) > 256:
                self.rows.positions.clear()
            self.rows.positions[at] = _hashed_positions(count, device)
        return self.rows.positions[at]


def _hashed_positions(count: int, device: torch.device) -> Tensor:
    return _mix(torch.arange(1, count + 1, dtype=torch.int32, device=device))


def address_dropout(model: nn.Module, rate: float | None = None) -> tuple[RowKeys, list[str]]:
    """Replace every ``nn.Dropout`` of a model by ``RowDropout``; switch off what can't be addressed.

    Args:
        model: Changed in place.
        rate: A rate for all of them; None keeps each module's own.

    Returns:
        The rows in flight, and a line for every kind of dropout that was switched off.
    """
    rows, index = RowKeys(), 0
    off: set[str] = set()
    quiet: dict[int, Any] = {}
    for module in list(model.modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout) and _shared_by_rows(module, child_name):
                if child.p > 0:
                    off.add(f"{type(module).__name__}.{child_name} ({child.p:g})")
                child.p = 0.0
            elif isinstance(child, nn.Dropout):
                setattr(module, child_name, RowDropout(child.p if rate is None else rate, index, rows))
                index += 1
            elif isinstance(child, _UNADDRESSED) and child.p > 0:
                off.add(f"{type(module).__name__}.{child_name} ({type(child).__name__}, {child.p:g})")
                child.p = 0.0
        for attribute in _FUNCTIONAL:
            # Not through getattr: models of diffusers answer that from their configuration, and warn.
            value = vars(module).get(attribute, getattr(type(module), attribute, None))
            if isinstance(value, float) and value > 0 and not isinstance(module, RowDropout):
                setattr(module, attribute, 0.0)
                off.add(f"{type(module).__name__}.{attribute} ({value:g})")
        off |= _silence_settings(module, quiet)
    attention = [c for c in (getattr(getattr(model, "config", None), a, 0.0) for a in _ATTENTION_SETTINGS) if c]
    if attention and index:
        off.add(f"attention dropout ({attention[0]:g})")
    return rows, sorted(off)


def _shared_by_rows(module: nn.Module, name: str) -> bool:
    return name in _NO_BATCH_AXIS or type(module).__name__.startswith(_TIME_FIRST)


def _silence_settings(module: nn.Module, quiet: dict[int, Any]) -> set[str]:
    """Switch off what a module's forward draws at rates of its configuration; what was switched off.

    Dropout (Falcon), and the change of rotary positions while training (DINOv3), which torch's own generator draws.

    The module gets a copy of the configuration, one for all that shared it: the model's own is saved with the weights.
    """
    config = getattr(module, "config", None)
    code = getattr(unwrap(type(module).forward), "__code__", None)
    if config is None or code is None or "config" not in code.co_names or hasattr(module, "save_pretrained"):
        return set()
    rates = [n for n in code.co_names if "drop" in n or n in _POSITION_SETTINGS]
    found = {n: value for n in rates if isinstance(value := getattr(config, n, None), float) and value > 0}
    if not found:
        return set()
    module.config = quiet.setdefault(id(config), copy(config))
    for name in found:
        setattr(module.config, name, None if name in _POSITION_SETTINGS else 0.0)
    return {f"{type(module).__name__} config.{name} ({value:g})" for name, value in found.items()}


_POSITION_SETTINGS = ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale")
_ATTENTION_SETTINGS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
