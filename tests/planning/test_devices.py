"""The table of GPUs: names as people write them, counts, and what is said of names that do not exist."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tunesmith.devices import CONTEXT_BYTES, DEVICES, find_device
from tunesmith.errors import UserError


@pytest.mark.parametrize(
    ("written", "name", "count"),
    [
        ("T4", "T4", 1),
        ("2xA100-80GB", "A100-SXM-80GB", 2),
        ("8 x h100", "H100-SXM-80GB", 8),
        ("rtx 4090", "RTX-4090", 1),
        ("4090", "RTX-4090", 1),
        ("NVIDIA GeForce RTX 3090", "RTX-3090", 1),
        ("a100 pcie 80gb", "A100-PCIe-80GB", 1),
        ("A6000", "RTX-A6000", 1),
        ("L40", "L40", 1),
        ("l40s", "L40S", 1),
        ("A10", "A10", 1),
        ("3060", "RTX-3060-12GB", 1),
        ("m1-max-64gb", "M1-Max-64GB", 1),
    ],
)
def test_a_device_is_found_however_it_is_written(written: str, name: str, count: int) -> None:
    found = find_device(written)
    assert (found.name, found.count) == (name, count)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("A100", ("A100-40GB", "A100-PCIe-80GB", "A100-SXM-80GB")),
        ("2xV100", ("V100-16GB", "V100-32GB")),
        ("MI", ("MI210", "MI300X")),
    ],
)
def test_a_name_of_several_devices_names_them(written: str, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="several devices") as fault:
        find_device(written)
    assert all(name in fault.value.what for name in names)


@pytest.mark.parametrize(
    ("written", "near"), [("A100-90GB", "A100-"), ("RTX-4095", "RTX-4090"), ("M2-Max-64GB", "M1-Max-64GB")]
)
def test_an_unknown_device_is_told_with_the_nearest_names(written: str, near: str) -> None:
    with pytest.raises(UserError, match="there is no device") as fault:
        find_device(written)
    assert near in fault.value.fix


@pytest.mark.parametrize("written", ["0xT4", "-1xT4", "99999xT4", "", "x", "2x", "GPU", "RTX-"])
def test_what_names_no_device_is_refused(written: str) -> None:
    with pytest.raises(UserError):
        find_device(written)


@pytest.mark.parametrize("name", DEVICES)
def test_every_row_of_the_table_is_sound(name: str) -> None:
    device = DEVICES[name]
    assert find_device(name) == device
    assert device.count == 1
    assert 8e9 <= device.usable_bytes < device.memory_bytes <= 300e9
    assert 60e9 <= device.bandwidth <= 8000e9
    assert 2e12 <= device.flops["fp32"] <= 200e12
    # Units for 16 bits are never slower than the general ones, and bf16 never faster than fp16.
    assert (
        device.flops["fp32"] <= device.rate("bf16") <= device.rate("fp16") or device.unified or not device.has("bf16")
    )
    if not device.unified:
        assert device.memory_bytes - device.usable_bytes == CONTEXT_BYTES


def test_devices_before_ampere_have_no_bf16_units() -> None:
    without = {name for name, device in DEVICES.items() if not device.has("bf16") and not device.unified}
    assert without == {"T4", "V100-16GB", "V100-32GB", "RTX-2080Ti"}
    assert DEVICES["T4"].rate("bf16") == DEVICES["T4"].flops["fp32"]


def test_the_table_needs_no_torch() -> None:
    code = "import sys, tunesmith.devices as d; d.find_device('T4'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
