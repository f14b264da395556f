"""The C library's heap under torch on a CPU: what is freed is kept for the next step, and given back when asked.

glibc takes every block above its threshold (by itself 32 MB at most) from the system and gives it back when it is
freed. A step's large tensors are then new pages every time, which the system must find and clear: for pictures that
took as long as the arithmetic (benchmarks/results/heap.json). A higher threshold keeps them. Elsewhere than on
Linux nothing is done.
"""

from __future__ import annotations

import ctypes
import platform
from contextlib import suppress

LARGEST_KEPT = 128 << 20
"""Bytes of a block up to which it comes from the heap."""
KEPT_AT_THE_TOP = 1 << 30
"""Free bytes at the heap's end from which on it shrinks."""
KEPT_ANYWAY = 32 << 20
"""Bytes of a block up to which glibc keeps it by itself, once it has seen one freed (DEFAULT_MMAP_THRESHOLD_MAX)."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD."""


def keep_freed() -> bool:
    """Let this process keep what it frees; whether the C library has such a setting and took it."""
    with suppress(OSError, AttributeError):
        if platform.system() == "Linux":
            set_option = ctypes.CDLL(None).mallopt
            return bool(set_option(TRIM_THRESHOLD, KEPT_AT_THE_TOP)) and bool(set_option(MMAP_THRESHOLD, LARGEST_KEPT))
    return False


def give_back() -> bool:
    """Give all free pages back to the system now; whether there were any, as far as the C library says."""
    with suppress(OSError, AttributeError):
        if platform.system() == "Linux":
            return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
