"""The machine room: what is here to run on, measured, with the reason wherever something is not.

It knows no recipe, no model and no run. Torch is imported inside the functions that ask about devices, never at import.
Limits of a container (cgroup v1 and v2, CPU affinity) count as the machine's own.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError

DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "fp16")
# Kernels write "no limit" into a cgroup v1 file as the largest page-aligned number; anything above 2**60 is that.
NO_LIMIT = 2**60
GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What a run finds. Sizes in bytes; None where the system does not say.

    Args:
        cores: Cores this process may use: affinity and container quota counted.
        physical_cores: Cores without hyper-threads, of the whole machine.
        memory_bytes: Memory this process may use: the machine's, or the container's limit if lower.
        available_bytes: What of it is free now without swapping.
        device: Device that ``auto`` takes: cuda, mps or cpu.
        gpu: Name of the first GPU, empty without one.
        disk_free_bytes: Free space where runs are written.
    """

    cpu: str
    cores: int
    physical_cores: int | None
    memory_bytes: int
    available_bytes: int | None
    device: str
    gpu: str
    gpu_bytes: int | None
    disk_free_bytes: int
    platform: str
    python: str

    def to_json(self) -> dict[str, Any]:
        """The machine as JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Check:
    """One line of ``tunesmith doctor``: whether a thing works here, the figures, and what to do where it does not."""

    name: str
    works: bool
    detail: str
    fix: str = ""


def cache_folder(*parts: str) -> Path:
    """A folder under $TUNESMITH_CACHE, else $XDG_CACHE_HOME/tunesmith, else ~/.cache/tunesmith; made if missing."""
    chosen = os.environ.get("TUNESMITH_CACHE")
    top = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunesmith"
    folder = top.expanduser().joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "set TUNESMITH_CACHE to a folder that can be written"
        raise UserError(f"the cache folder can't be made: {error.strerror}", str(folder), fix) from error
    return folder


def free_bytes(path: str | Path) -> int:
    """Free bytes on the disk that holds, or would hold, the path."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def describe(folder: str | Path = ".") -> Machine:
    """Measure this machine; ``folder`` is where runs will be written. Imports torch."""
    device = pick_device("auto")
    gpu = import_module("torch").cuda.get_device_properties(0) if device == "cuda" else None
    return Machine(
        cpu=_cpu_name(),
        cores=available_cores(),
        physical_cores=_physical_cores(),
        memory_bytes=memory_bytes(),
        available_bytes=available_bytes(),
        device=device,
        gpu=gpu.name if gpu else "",
        gpu_bytes=int(gpu.total_memory) if gpu else None,
        disk_free_bytes=free_bytes(folder),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def available_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: the affinity mask, lowered to whole cores of a container's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [float(cores)]
    for folder in _cgroups("cpu", root):
        older = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        quota, _, period = (_text(folder / "cpu.max") or " ".join(older)).partition(" ")
        if quota.isdigit():
            quotas.append(int(quota) / int(period))
    return max(1, int(min(quotas)))


def memory_bytes(root: Path = Path("/")) -> int:
    """Memory this process may use: the machine's, or a container's limit where that is lower."""
    total = _meminfo("MemTotal", root) or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *(limit for limit, _ in _memory_limits(root))])


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can be taken now without swapping, a container's limit counted; None where nothing tells."""
    free = _meminfo("MemAvailable", root)
    if free is None:
        psutil = _psutil()
        free = None if psutil is None else int(psutil.virtual_memory().available)
    rooms = [max(0, limit - used) for limit, used in _memory_limits(root)]
    return min([free, *rooms]) if free is not None else None


def resident_bytes() -> int:
    """Bytes of this process in memory now."""
    statm = _text(Path("/proc/self/statm"))
    if statm:
        return int(statm.split()[1]) * resource.getpagesize()
    psutil = _psutil()
    return peak_resident_bytes() if psutil is None else int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most bytes of this process in memory since it began, or since `reset_peak` where that works."""
    # Linux hands ru_maxrss down through exec, so that a small child of a large process reports its parent's peak.
    found = re.search(r"^VmHWM:\s+(\d+) kB", _text(Path("/proc/self/status")), re.M)
    if found:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def reset_peak() -> bool:
    """Start `peak_resident_bytes` anew from what is in memory now; False where the system can't (outside Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


class PeakSampler:
    """Most resident bytes within a ``with`` block (``peak_bytes``, beside ``start_bytes``), sampled by a thread."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.start_bytes = self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-sampler", daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(self.seconds):
            self.peak_bytes = max(self.peak_bytes, resident_bytes())

    def __enter__(self) -> PeakSampler:
        self.start_bytes = self.peak_bytes = resident_bytes()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._done.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, resident_bytes())


def pick_device(wanted: str = "auto") -> str:
    """The device to run on: ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: The device is unknown, or asked for and not here; the message says why it is not.
    """
    if wanted == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if not _why_no_device(device)[0])
    if wanted not in DEVICES:
        raise UserError(f"there is no device '{wanted}'", fix="write auto, " + ", ".join(DEVICES))
    why, fix = _why_no_device(wanted)
    if why:
        raise UserError(f"the device {wanted} is not here: {why}", fix=f"{fix}, or take engine.device: auto")
    return wanted


def pick_precision(wanted: str, device: str, *, low: bool = False) -> tuple[str, str]:
    """The precision of the forward and backward pass on a device, and the reason for it.

    ``auto`` takes bf16 on a GPU with bf16 units (with ``low`` on such a CPU, too), else fp32; never fp16 unasked, since
    its range needs loss scaling.

    Raises:
        UserError: The precision is unknown, or the device can't compute in it.
    """
    if wanted == "auto":
        if device == "cuda" and not _why_no_precision("bf16", device):
            return "bf16", "this GPU has bf16 units: half the bytes, the range of fp32"
        if device == "cuda":
            return "fp32", _why_no_precision("bf16", device)
        if device == "cpu" and low and _cpu_has_bf16():
            return "bf16", "this CPU has bf16 units: products take a quarter of the time"
        return "fp32", f"exact, and the safe choice on {device}"
    if wanted not in PRECISIONS:
        raise UserError(f"there is no precision '{wanted}'", fix="write auto, " + ", ".join(PRECISIONS))
    why = _why_no_precision(wanted, device)
    if why:
        other = "bf16 or fp32" if wanted == "fp16" and device == "cpu" else "fp32"
        raise UserError(f"precision {wanted} does not work on {device}: {why}", fix=f"set engine.precision: {other}")
    if wanted == "bf16" and device == "cpu" and not _cpu_has_bf16():
        return wanted, "set in the recipe; this CPU has no bf16 units, so expect it to be slower than fp32"
    return wanted, "set in the recipe"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution, ``"not installed"`` where there is none."""
    return {name: _version(name) or "not installed" for name in names}


def has_compiler() -> bool:
    """Whether torch.compile finds what it needs on a CPU: a C++ compiler and Python's headers."""
    return not _why_no_compiler()


def doctor(starters: Mapping[str, str] | None = None, folder: str | Path = ".") -> list[Check]:
    """What this machine can run, and why not the rest.

    Args:
        starters: Starter name to the pip requirement of the package that carries its weights.
        folder: Where runs would be written.
    """
    checks = [*_machine_checks(folder), *_torch_checks(), *_package_checks(starters or {})]
    return [replace(check, fix="") if check.works else check for check in checks]


def _machine_checks(folder: str | Path) -> Iterator[Check]:
    here = describe(folder)
    yield Check("python", True, f"{here.python} on {here.platform}")
    physical = f" ({here.physical_cores} physical on the machine)" if here.physical_cores else ""
    yield Check("cpu", True, f"{here.cpu}, {here.cores} cores for this process{physical}")
    free = "unknown" if here.available_bytes is None else f"{here.available_bytes / GIB:.1f} GiB"
    yield Check(
        "memory", here.memory_bytes >= GIB, f"{here.memory_bytes / GIB:.1f} GiB, {free} free", "1 GiB is the least"
    )
    fix = "free some: a run keeps its model and a few checkpoints"
    yield Check("disk", here.disk_free_bytes >= GIB, f"{here.disk_free_bytes / GIB:.1f} GiB free", fix)


def _torch_checks() -> Iterator[Check]:
    chosen = pick_device("auto")
    for device in DEVICES:
        why, fix = _why_no_device(device)
        detail = why or ("auto takes this one" if device == chosen else "here")
        yield Check(f"device {device}", not why, detail, fix)
    for precision in PRECISIONS:
        why = _why_no_precision(precision, chosen)
        slow = precision == "bf16" and chosen == "cpu" and not _cpu_has_bf16()
        detail = why or (f"on {chosen}, without units for it: slow" if slow else f"on {chosen}")
        yield Check(f"precision {precision}", not why, detail)
    why = _why_no_compiler()
    fix = "install g++ and Python's development headers (Debian: g++ python3-dev), or leave engine.compile off"
    yield Check("torch.compile", not why, why or "a C++ compiler and Python's headers are here", fix)


def _package_checks(starters: Mapping[str, str]) -> Iterator[Check]:
    extras: dict[str, list[str]] = {}
    for line in (metadata.requires("tunesmith") or []) if _version("tunesmith") else []:
        found = re.match(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([^'\"]+)['\"]", line)
        if found and found[2] != "dev":
            extras.setdefault(found[2], []).append(found[1])
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        detail = f"missing: {', '.join(missing)}" if missing else ", ".join(f"{n} {_version(n)}" for n in names)
        yield Check(f"extra {extra}", not missing, detail, f"pip install 'tunesmith[{extra}]'")
    for name, wanted in sorted(starters.items()):
        packages = [(one.partition("==")[0], one.partition("==")[2]) for one in wanted.split()]
        wrong = [n for n, version in packages if version not in ("", _version(n)) or not _version(n)]
        told = (f"{n} {_version(n) or 'is not installed'}" + f", wanted {v}" * (n in wrong) for n, v in packages)
        yield Check(f"starter:{name}", not wrong, ", ".join(told), f"pip install --no-deps {wanted}")


def _why_no_device(device: str) -> tuple[str, str]:
    """Why a device is not here, and what to do about it; two empty strings where it is."""
    if device == "cpu":
        return "", ""
    import torch

    backends: Any = torch.backends
    if device == "mps" and not backends.mps.is_built():
        return "this torch was built without MPS", "MPS exists on Apple silicon only"
    if device == "mps" and not backends.mps.is_available():
        return "macOS offers no MPS", "update macOS to 14 or newer"
    if device == "cuda" and not backends.cuda.is_built():
        return f"this torch ({torch.__version__}) was built without CUDA", "install a CUDA build of torch"
    if device == "cuda" and not torch.cuda.is_available():
        return "torch finds no usable CUDA driver or GPU", "see whether nvidia-smi lists the GPU"
    return "", ""


def _why_no_precision(precision: str, device: str) -> str:
    if precision == "fp16" and device == "cpu":
        return "fp16 needs a GPU's units; a CPU is slower in it than in fp32, and it overflows"
    if precision == "bf16" and device == "cuda":
        import torch

        if not torch.cuda.is_bf16_supported(including_emulation=False):
            return "this GPU has no bf16 units (they begin with compute capability 8.0)"
    return ""


def _why_no_compiler() -> str:
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        return f"there is no C++ compiler{f' {named}' if named else ''}"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if header.exists() else f"Python's headers are missing ({header})"


def _cpu_has_bf16() -> bool:
    return bool(re.search(r"^(flags|Features)\s*:.*\b(amx_|avx512_)?bf16\b", _text(Path("/proc/cpuinfo")), re.M))


def _cpu_name() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _physical_cores() -> int | None:
    sockets, cores = (
        re.findall(rf"^{name} id\s*:\s*(\d+)", _text(Path("/proc/cpuinfo")), re.M) for name in ("physical", "core")
    )
    return len(set(zip(sockets, cores, strict=False))) or None


def _meminfo(name: str, root: Path) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    return int(found[1]) * 1024 if found else None


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of every control group with a memory limit above this process; file cache is not use."""
    for folder in _cgroups("memory", root):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) < NO_LIMIT:
            used = int(_text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes") or 0)
            stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
            yield int(limit), max(0, used - int(stat.get("total_inactive_file", stat.get("inactive_file", 0))))


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Every control group folder this process stands in, innermost first, for v1's controller and for v2."""
    top = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        inner = Path(path.lstrip("/"))
        if not names or controller in names.split(","):
            for mount in (top / controller,) if names else (top, top / "unified"):
                yield from (mount / part for part in (inner, *inner.parents))


def _text(path: Path) -> str:
    """A small system file's text, empty where the system has none: absence is an answer here."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _psutil() -> Any:
    """The package that reads memory outside Linux, where it is installed (accelerate brings it)."""
    return import_module("psutil") if _version("psutil") else None
