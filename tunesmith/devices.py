"""Common GPUs by name: memory, bandwidth and arithmetic as their makers state them. It knows no model and no torch.

Arithmetic is of dense products (without structured sparsity) that add up in fp32, as training does. Memory is what the
driver reports, which is less than the name says where error correction takes a share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from tunesmith.errors import UserError

MIB = 2**20
CONTEXT_BYTES = 1024 * MIB
"""What the driver's context, the libraries' kernels and workspaces, and the allocator's slack take on each GPU."""
UNIFIED_SHARE = 0.75
"""Share of a unified memory that the system lets the GPU take; the rest is for the system and other programs."""
MOST_DEVICES = 4096


@dataclass(frozen=True)
class Device:
    """One kind of GPU, and how many of them.

    Args:
        name: As the table and ``--gpu`` write it.
        memory_bytes: Of one device.
        bandwidth: Bytes per second between one device's memory and its units.
        flops: Operations per second of one device by precision: ``fp32``, ``bf16``, ``fp16``. One that is not there has
            no units of its own and is computed as fp32.
        count: How many.
        unified: Whether it shares its memory with the CPU.
    """

    name: str
    memory_bytes: int
    bandwidth: float
    flops: Mapping[str, float] = field(default_factory=dict)
    count: int = 1
    unified: bool = False

    @property
    def usable_bytes(self) -> int:
        """What tensors may take on one device: all but the context's share, or the system's of a unified memory."""
        if self.unified:
            return int(self.memory_bytes * UNIFIED_SHARE)
        return self.memory_bytes - CONTEXT_BYTES

    def has(self, precision: str) -> bool:
        """Whether it has units for a precision."""
        return precision in self.flops

    def rate(self, precision: str) -> float:
        """Operations per second of one device in a precision; those of fp32 where it has no units for it."""
        return self.flops.get(precision, self.flops["fp32"])


def _gpu(name: str, mib: int, gigabytes_per_second: float, fp32: float, bf16: float | None, fp16: float) -> Device:
    """A row of the table; arithmetic in 10^12 operations per second, ``bf16`` None where there are no units."""
    rates = {"fp32": fp32, **({} if bf16 is None else {"bf16": bf16}), "fp16": fp16}
    return Device(name, mib * MIB, gigabytes_per_second * 1e9, {kind: rate * 1e12 for kind, rate in rates.items()})


def _apple(name: str, gib: int, gigabytes_per_second: float, fp32: float) -> Device:
    return Device(name, gib * 1024 * MIB, gigabytes_per_second * 1e9, {"fp32": fp32 * 1e12}, unified=True)


# fmt: off
_TABLE = (
    # Volta and Turing have no bf16.
    _gpu("T4", 15360, 300, 8.1, None, 65),
    _gpu("V100-16GB", 16384, 900, 15.7, None, 125),
    _gpu("V100-32GB", 32768, 900, 15.7, None, 125),
    _gpu("RTX-2080Ti", 11264, 616, 13.4, None, 53.8),
    # Ampere. On GeForce, products that add up in fp32 run at half the tensor rate of the same chip's larger sisters.
    _gpu("RTX-3060-12GB", 12288, 360, 12.7, 25.5, 25.5),
    _gpu("RTX-3080-10GB", 10240, 760, 29.8, 59.5, 59.5),
    _gpu("RTX-3090", 24576, 936, 35.6, 71, 71),
    _gpu("A10", 23028, 600, 31.2, 125, 125),
    _gpu("A10G", 23028, 600, 35, 70, 70),
    _gpu("A40", 46068, 696, 37.4, 149.7, 149.7),
    _gpu("RTX-A5000", 24564, 768, 27.8, 111.1, 111.1),
    _gpu("RTX-A6000", 49140, 768, 38.7, 154.8, 154.8),
    _gpu("A100-40GB", 40960, 1555, 19.5, 312, 312),
    _gpu("A100-PCIe-80GB", 81920, 1935, 19.5, 312, 312),
    _gpu("A100-SXM-80GB", 81920, 2039, 19.5, 312, 312),
    # Ada Lovelace.
    _gpu("RTX-4070", 12282, 504, 29.1, 58.3, 58.3),
    _gpu("RTX-4080", 16376, 716.8, 48.7, 97.5, 97.5),
    _gpu("RTX-4090", 24564, 1008, 82.6, 165.2, 165.2),
    _gpu("L4", 23034, 300, 30.3, 121, 121),
    _gpu("L40", 46068, 864, 90.5, 181, 181),
    _gpu("L40S", 46068, 864, 91.6, 362, 362),
    _gpu("RTX-6000-Ada", 49140, 960, 91.1, 364.2, 364.2),
    # Hopper and Blackwell.
    _gpu("H100-PCIe-80GB", 81559, 2000, 51, 756, 756),
    _gpu("H100-NVL-94GB", 95830, 3900, 60, 835, 835),
    _gpu("H100-SXM-80GB", 81559, 3350, 67, 989, 989),
    _gpu("H200", 143771, 4800, 67, 989, 989),
    _gpu("RTX-5080", 16303, 960, 56.3, 112.6, 112.6),
    _gpu("RTX-5090", 32607, 1792, 104.8, 209.5, 209.5),
    _gpu("B200", 183359, 8000, 75, 2250, 2250),
    # AMD CDNA. An MI250 is two devices of 64 GB to whoever uses it; this is one of them: write 2xMI250.
    _gpu("MI210", 65520, 1638, 22.6, 181, 181),
    _gpu("MI250", 65520, 1638, 22.6, 181, 181),
    _gpu("MI300X", 196592, 5300, 163.4, 1307, 1307),
    _gpu("MI325X", 262128, 6000, 163.4, 1307, 1307),
    # Apple: those whose arithmetic Apple states. Their GPUs multiply 16-bit numbers as they do fp32.
    _apple("M1-16GB", 16, 68, 2.6),
    _apple("M1-Pro-32GB", 32, 200, 5.2),
    _apple("M1-Max-64GB", 64, 400, 10.4),
    _apple("M1-Ultra-128GB", 128, 800, 21),
    _apple("M2-24GB", 24, 100, 3.6),
)
# fmt: on

DEVICES: Mapping[str, Device] = {device.name: device for device in _TABLE}
"""The table, by name."""

_ALIASES = {"A100-80GB": "A100-SXM-80GB", "H100": "H100-SXM-80GB", "H100-80GB": "H100-SXM-80GB"}
"""What people write for one of several boards with the same chip: the one that servers carry."""


def find_device(written: str) -> Device:
    """The device that a name stands for, and how many of them: ``T4``, ``2xA100-80GB``, ``rtx 4090``.

    Case, blanks, dashes, and a leading maker's name do not count.

    Args:
        written: A name of the table, with a count and an ``x`` before it where there are several.

    Raises:
        UserError: There is no such device; several bear the name; or the count is no number of devices.
    """
    found = re.fullmatch(r"\s*(?:(-?\d+)\s*[x×*]\s*)?(.+?)\s*", written, re.IGNORECASE)
    count, name = (int(found[1] or 1), found[2]) if found else (1, "")
    if not 1 <= count <= MOST_DEVICES:
        raise UserError(
            f"{written!r} asks for {count} devices", "--gpu", f"write 1 to {MOST_DEVICES}, as in 2xA100-80GB"
        )
    plain = _plain(name)
    names = {_plain(key): key for key in DEVICES} | {_plain(key): value for key, value in _ALIASES.items()}
    if plain in names:
        return replace(DEVICES[names[plain]], count=count)
    # A size is no device, and one letter names half the table.
    same = [key for key in DEVICES if len(plain) > 1 and _plain(key).removeprefix("RTX").startswith(plain)]
    if len(same) == 1 and _whole(plain, same[0]):
        return replace(DEVICES[same[0]], count=count)
    if same:
        what = f"{name!r} could be several devices: {', '.join(same)}"
        raise UserError(
            what, "--gpu", f"write one of them, as in {count}x{same[0]}" if count > 1 else "write one of them"
        )
    raise UserError(f"there is no device {name!r} in the table", "--gpu", f"write {' or '.join(_near(plain))}")


def _plain(name: str) -> str:
    """A name without what people write differently."""
    plain = re.sub(r"[^A-Z0-9]", "", name.upper())
    return re.sub(r"^(NVIDIA|GEFORCE|TESLA|QUADRO|AMD|INSTINCT|RADEON|APPLE)+", "", plain)


def _whole(plain: str, name: str) -> bool:
    """Whether the name is cut where one of its parts ends: V100 is not T4's neighbour, RTX-30 is no device."""
    starts, at = set(), ""
    for part in name.upper().split("-"):
        at += part
        starts |= {at, at.removeprefix("RTX")}
    return plain in starts


def _near(plain: str) -> list[str]:
    known = {_plain(key): key for key in DEVICES}
    bare = {key.removeprefix("RTX"): name for key, name in known.items()}
    near = get_close_matches(plain, [*known, *bare], n=6, cutoff=0.5)
    return list(dict.fromkeys((known | bare)[one] for one in near))[:3] or ["T4", "RTX-4090", "A100-80GB"]
