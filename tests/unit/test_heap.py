"""The heap under torch: freed blocks stay until they are given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CHILD = """
import os, sys
import numpy as np
from tunesmith.heap import give_back, keep_freed
from tunesmith.machine import resident_bytes
if sys.argv[1] == "kept":
    assert keep_freed()
block = np.ones(64 << 20, dtype=np.uint8)
held = resident_bytes()
del block
freed = resident_bytes()
give_back()
print(held, freed, resident_bytes())
"""
LINUX_WITH_GLIBC = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"


def figures(how: str) -> list[int]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    words = [sys.executable, "-c", CHILD, how]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return [int(size) >> 20 for size in done.stdout.split()]


@pytest.mark.skipif(not LINUX_WITH_GLIBC, reason="the setting is glibc's")
def test_a_freed_block_stays_until_it_is_given_back() -> None:
    held, freed, after = figures("kept")
    assert freed > held - 8
    assert after < held - 48
    held, freed, after = figures("as it is")
    assert freed < held - 48


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith import heap

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not heap.keep_freed()
    assert not heap.give_back()
