"""How fast this machine is, measured in seconds and kept: products, memory, calls, disk, decoding. It knows no model.

Rates are those of the threads that torch uses now; other threads, another torch or another processor are measured anew.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith.machine import available_cores, cache_folder, describe

Progress = Callable[[str, int, int], None]
Points = tuple[tuple[float, float, float], ...]
"""Measured points: two sizes, and what was done per second there."""

FORMAT = 1


@dataclass(frozen=True)
class UnitRates:
    """What one device does per second.

    Args:
        products, batched, convolutions: By precision: (narrowest size, operations of one, operations per second).
        attention: By precision: (positions, operations of one, operations per second) of the fused kernel.
        moves, functions: By precision: (bytes of one, 0, bytes per second) of sums, and of what is costlier to compute.
        call_seconds: What a call of an operation costs whatever its size, forward without gradients.
        training_call_seconds: The same in a pass forward and back, for each operation of both.
    """

    products: Mapping[str, Points]
    batched: Mapping[str, Points]
    convolutions: Mapping[str, Points]
    attention: Mapping[str, Points]
    moves: Mapping[str, Points]
    functions: Mapping[str, Points]
    call_seconds: float
    training_call_seconds: float


@dataclass(frozen=True)
class Rates:
    """What was measured of a machine.

    Args:
        units: By device: ``cpu``, ``cuda``.
        write_bytes, read_bytes: Of the disk with the cache folder, per second; read past the system's own cache.
        pictures: JPEG pictures of 500 x 375 decoded per second by one thread; None where Pillow is missing.
        sound_seconds: Seconds of 16 kHz sound decoded per second by one thread, by format; empty without soundfile.
    """

    cpu: str
    cores: int
    threads: int
    torch: str
    units: Mapping[str, UnitRates]
    write_bytes: float
    read_bytes: float
    pictures: float | None
    sound_seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The rates as JSON-able values."""
        return asdict(self) | {"format": FORMAT}

    def lines(self) -> list[tuple[str, str]]:
        """What to tell a person: a name and the figures."""
        found = []
        for name, unit in self.units.items():
            for precision, points in unit.products.items():
                best = max(rate for _, _, rate in points)
                found.append((f"{name} products {precision}", f"up to {best / 1e9:,.0f} billion operations/s"))
            large = unit.moves["fp32"][-1][2]
            found.append((f"{name} memory", f"{large / 1e9:,.1f} GB/s"))
            found.append((f"{name} calls", f"{unit.call_seconds * 1e6:,.1f} µs each"))
        found.append(("disk", f"{self.write_bytes / 1e6:,.0f} MB/s written, {self.read_bytes / 1e6:,.0f} MB/s read"))
        if self.pictures is not None:
            found.append(("JPEG", f"{self.pictures:,.0f} pictures/s a thread"))
        found += [(kind, f"{rate:,.0f} s of sound/s a thread") for kind, rate in self.sound_seconds.items()]
        return found


def rate_at(points: Points, first: float, second: float) -> float:
    """The rate at two sizes: of the nearest measured points, nearer ones counting more, on logarithmic scales."""
    near = []
    for one, other, rate in points:
        apart = math.log2(max(first, 1) / max(one, 1)) ** 2 + math.log2(max(second, 1) / max(other, 1)) ** 2
        near.append((apart, rate))
    near.sort()
    weights = [(1 / (apart + 0.05), rate) for apart, rate in near[:3]]
    total = sum(weight for weight, _ in weights)
    return math.exp(sum(weight * math.log(rate) for weight, rate in weights) / total)


def stored() -> Rates | None:
    """What was measured on this machine with as many threads and the same torch; None where nothing was."""
    try:
        kept = json.loads(_place().read_text(encoding="utf-8"))
        if kept.pop("format") != FORMAT:
            return None
        units = {name: _unit(found) for name, found in kept.pop("units").items()}
        return Rates(units=units, **kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def measure(progress: Progress = lambda _what, _done, _total: None) -> Rates:
    """Measure this machine in a few seconds and keep the result for ``stored``.

    Args:
        progress: Receives what is measured, how much is done, and of how much.

    Raises:
        UserError: The cache folder can't be made.
    """
    from tunesmith.rates.measuring import measured

    found = measured(cache_folder("rates"), key(), progress)
    place = _place()
    draft = place.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
    draft.replace(place)
    return found


def key() -> dict[str, Any]:
    """What rates depend on."""
    import torch

    return {
        "cpu": describe().cpu,
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "torch": metadata.version("torch"),
    }


def _place() -> Path:
    name = blake2b(json.dumps(key(), sort_keys=True).encode(), digest_size=8).hexdigest()
    return cache_folder("rates") / f"{name}.json"


def _unit(kept: Mapping[str, Any]) -> UnitRates:
    tables = {
        name: {kind: tuple((float(a), float(b), float(c)) for a, b, c in points) for kind, points in value.items()}
        for name, value in kept.items()
        if isinstance(value, dict)
    }
    rest = {name: float(value) for name, value in kept.items() if name not in tables}
    return UnitRates(**tables, **rest)  # type: ignore[arg-type]
