"""What is measured here against other ways to measure it, and container limits on made-up system trees."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from tunesmith import machine
from tunesmith.errors import UserError

linux = pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc, which only Linux has")
MIB = 2**20


def hold(size: int) -> mmap.mmap:
    """Memory that is really resident, and really given back on close."""
    memory = mmap.mmap(-1, size)
    for at in range(0, size, mmap.PAGESIZE):
        memory[at] = 1
    return memory


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, tunesmith.machine; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "own"))
    assert machine.cache_folder("starter", "x") == tmp_path / "own" / "starter" / "x"
    assert (tmp_path / "own" / "starter" / "x").is_dir()
    monkeypatch.delenv("TUNESMITH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert machine.cache_folder() == tmp_path / "xdg" / "tunesmith"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.cache_folder("a") == tmp_path / ".cache" / "tunesmith" / "a"


def test_a_cache_folder_that_is_a_file_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set TUNESMITH_CACHE"):
        machine.cache_folder("weights")


def test_describe_measures_this_machine(tmp_path: Path) -> None:
    here = machine.describe(tmp_path)
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.device in machine.DEVICES
    assert 0 < here.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + 1
    assert here.available_bytes is not None
    assert 0 < here.available_bytes < here.memory_bytes
    assert here.disk_free_bytes > 0
    assert here.cpu
    assert here.to_json()["python"] == platform.python_version()


def test_free_bytes_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    there = machine.free_bytes(tmp_path)
    assert machine.free_bytes(tmp_path / "not" / "yet") == pytest.approx(there, rel=0.05)


@linux
def test_affinity_limits_the_cores() -> None:
    allowed = os.sched_getaffinity(0)
    code = "import os; os.sched_setaffinity(0, {%d}); from tunesmith.machine import available_cores as c; print(c())"
    out = subprocess.run([sys.executable, "-c", code % min(allowed)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "1"


@linux
@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/pod/box\n", "sys/fs/cgroup/pod/cpu.max": "100000 100000\n"},
        {"proc/self/cgroup": "0::/pod/box\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/box\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["v2-parent", "v2-fraction", "v1-below-one"],
)
def test_a_container_quota_limits_the_cores(tmp_path: Path, files: dict[str, str]) -> None:
    assert machine.available_cores(tree(tmp_path, files)) == 1


@linux
def test_no_quota_leaves_the_affinity(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/box\n4:cpu:/box\n",
        "sys/fs/cgroup/box/cpu.max": "max 100000\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
    }
    assert machine.available_cores(tree(tmp_path, files)) == len(os.sched_getaffinity(0))


MEMINFO = {"proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 10 kB\nMemAvailable: 4194304 kB\n"}


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({}, 8192, 4096),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max"}, 8192, 4096),
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/memory.max": f"{1024 * MIB}",
                "sys/fs/cgroup/pod/memory.current": f"{700 * MIB}",
                "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {300 * MIB}\n",
            },
            1024,
            624,
        ),
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:memory:/host/path/not/mounted/here\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2048 * MIB}",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2000 * MIB}",
                "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n",
            },
            2048,
            148,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
            },
            8192,
            4096,
        ),
    ],
    ids=["none", "v2-max", "v2-parent", "v1-namespace", "v1-no-limit"],
)
def test_container_limits_are_the_memory(tmp_path: Path, files: dict[str, str], total: int, available: int) -> None:
    root = tree(tmp_path, MEMINFO | files)
    assert machine.memory_bytes(root) == total * MIB
    assert machine.available_bytes(root) == available * MIB


def test_resident_bytes_sees_what_is_taken_and_given_back() -> None:
    before = machine.resident_bytes()
    with hold(64 * MIB):
        assert machine.resident_bytes() - before == pytest.approx(64 * MIB, rel=0.1)
    assert machine.resident_bytes() - before < 16 * MIB


@linux
def test_the_peak_stays_and_can_be_reset() -> None:
    with hold(96 * MIB):
        high = machine.resident_bytes()
    assert machine.peak_resident_bytes() >= high - 4 * MIB
    assert machine.reset_peak()
    assert machine.peak_resident_bytes() < high - 64 * MIB


@linux
def test_a_child_does_not_report_the_peak_of_its_parent() -> None:
    code = "from tunesmith.machine import peak_resident_bytes as p; print(p())"
    with hold(256 * MIB):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 128 * MIB


def test_peak_sampler_catches_a_spike_and_ends_its_thread() -> None:
    with machine.PeakSampler() as memory, hold(96 * MIB):
        time.sleep(0.1)
    assert memory.peak_bytes - memory.start_bytes == pytest.approx(96 * MIB, rel=0.1)
    assert not any(thread.name == "peak-sampler" for thread in threading.enumerate())
    with pytest.raises(KeyError), machine.PeakSampler():
        raise KeyError
    assert not any(thread.name == "peak-sampler" for thread in threading.enumerate())


def gpu(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


def none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)


def test_auto_takes_the_best_device_here(monkeypatch: pytest.MonkeyPatch) -> None:
    none(monkeypatch)
    assert machine.pick_device("auto") == machine.pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert machine.pick_device("auto") == machine.pick_device("mps") == "mps"
    gpu(monkeypatch, bf16=True)
    assert machine.pick_device("auto") == machine.pick_device("cuda") == "cuda"


def test_a_missing_device_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    none(monkeypatch)
    with pytest.raises(UserError, match="built without CUDA"):
        machine.pick_device("cuda")
    with pytest.raises(UserError, match="built without MPS"):
        machine.pick_device("mps")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no usable CUDA driver") as caught:
        machine.pick_device("cuda")
    assert "engine.device: auto" in caught.value.fix
    with pytest.raises(UserError, match="no device 'tpu'"):
        machine.pick_device("tpu")


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.pick_precision("auto", "cpu")[0] == "fp32"
    assert machine.pick_precision("auto", "mps")[0] == "fp32"
    assert machine.pick_precision("bf16", "cpu")[0] == "bf16"
    gpu(monkeypatch, bf16=True)
    assert machine.pick_precision("auto", "cuda")[0] == "bf16"
    assert machine.pick_precision("fp16", "cuda")[0] == "fp16"
    gpu(monkeypatch, bf16=False)
    chosen, reason = machine.pick_precision("auto", "cuda")
    assert (chosen, "no bf16 units" in reason) == ("fp32", True)
    with pytest.raises(UserError, match="no bf16 units"):
        machine.pick_precision("bf16", "cuda")


@pytest.mark.parametrize(("wanted", "words"), [("fp16", "does not work on cpu"), ("fp8", "no precision 'fp8'")])
def test_a_precision_that_does_not_work_is_refused(wanted: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        machine.pick_precision(wanted, "cpu")
    assert "bf16" in caught.value.fix


def test_bf16_on_a_cpu_without_units_is_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_text", lambda path: "flags\t\t: fpu avx2 avx512f")
    assert "slower than fp32" in machine.pick_precision("bf16", "cpu")[1]
    monkeypatch.setattr(machine, "_text", lambda path: "flags\t\t: fpu avx2 avx512_bf16 amx_tile")
    assert "slower" not in machine.pick_precision("bf16", "cpu")[1]


def test_package_versions_name_what_is_missing() -> None:
    found = machine.package_versions(["torch", "no-such-distribution"])
    assert found == {"torch": torch.__version__, "no-such-distribution": "not installed"}


def test_a_compiler_is_looked_for_where_torch_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not machine.has_compiler()
    compiler = tree(tmp_path, {"my-c++": "#!/bin/sh\n", "Python.h": ""}) / "my-c++"
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(machine.sysconfig, "get_path", lambda name: str(tmp_path))
    assert machine.has_compiler()
    monkeypatch.setattr(machine.sysconfig, "get_path", lambda name: str(tmp_path / "elsewhere"))
    assert not machine.has_compiler()


def test_doctor_says_what_works_and_how_to_mend_the_rest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    none(monkeypatch)
    needs = ["torch>=2", 'numpy>=1; extra == "small"', 'no-such-thing>=3; extra == "data"', 'ruff; extra == "dev"']
    real = machine.metadata.version
    monkeypatch.setattr(machine.metadata, "requires", lambda name: needs)
    monkeypatch.setattr(machine.metadata, "version", lambda name: "0.1.0" if name == "tunesmith" else real(name))
    starters = {"here": f"numpy=={real('numpy')}", "old": "numpy==0.0.1", "gone": "no-such-thing==1.0"}
    found = {check.name: check for check in machine.doctor(starters, tmp_path)}
    assert found["device cpu"].works
    assert found["device cpu"].detail == "auto takes this one"
    assert not found["device cuda"].works
    assert found["precision fp32"].works
    assert not found["precision fp16"].works
    assert found["extra small"].works
    assert "extra dev" not in found
    assert found["extra data"] == machine.Check(
        "extra data", False, "missing: no-such-thing", "pip install 'tunesmith[data]'"
    )
    assert found["starter:here"].works
    assert found["starter:gone"].fix == "pip install --no-deps no-such-thing==1.0"
    assert "wanted 0.0.1" in found["starter:old"].detail
    assert {"python", "cpu", "memory", "disk", "torch.compile"} <= set(found)
    assert all(check.works == (check.fix == "") for name, check in found.items() if not name.startswith("precision"))
